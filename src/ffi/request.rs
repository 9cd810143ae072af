//! `planrt_request_options` and `planrt_request`.

use super::argument::{Out, OutArray};
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::stream::planrt_stream;
use super::structs::Extensible;
use super::tensor::{PLANRT_MAX_RANK, extents};
use super::{delete, export};
use crate::error::{Code, Error, Result};
use crate::schedule::Request;
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// Receives the outcome of a request, once: null for success, or an error that is valid during the call. It must not
/// throw. It may submit requests, wait for others, and delete the session; a long one holds up other callbacks only.
#[allow(non_camel_case_types)]
pub type planrt_request_callback = Option<unsafe extern "C" fn(user_data: *mut c_void, error: *const planrt_error)>;

/// How a request shall be treated. Fill it with zeros first, which are the defaults, then set `struct_size` to
/// `sizeof(planrt_request_options)`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_request_options {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Microseconds from the call after which the request is not run any more, but answered with
    /// `PLANRT_ERROR_DEADLINE`; 0 for none. A negative one has passed already: the request is refused with that error.
    pub timeout_us: i64,
    /// Higher ones go first; equals, in the order in which they came.
    pub priority: i32,
    /// Who copies outputs that come through memory of planrt's to ordinary host memory: 0 for the thread that first
    /// sees the answer, by `planrt_request_wait`, `_poll` or `_get_error` or in its callback, so that many threads'
    /// copies run side by side; 1 for a thread of the session's, before the request is answered, so that a thread which
    /// must not be held up (of a user interface, say) can poll at any time. It makes no difference where nothing is
    /// left to be copied.
    pub copy_in_background: i32,
    /// Null, or the stream whose work as of now the request's device memory waits for.
    pub stream: *mut planrt_stream,
    /// Null, or a `CUevent` that the application has recorded, instead of `stream`. It must stay valid until the
    /// request is answered.
    pub event: *mut c_void,
    /// Null, or what is called when the request is answered.
    pub callback: planrt_request_callback,
    /// Handed to the callback.
    pub user_data: *mut c_void,
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_request_options {
    const FIRST_SIZE: usize = 56;
    const NAME: &'static str = "planrt_request_options";
}
const _: () = assert!(size_of::<planrt_request_options>() == planrt_request_options::FIRST_SIZE);

/// A request that was submitted. Any thread may use it, several at once. It outlives its session.
#[allow(non_camel_case_types)]
pub struct planrt_request(Handle<Request>);
opaque!(planrt_request, Request);

/// How long a call waits, as the C interface says it: in microseconds, `None` without end.
pub(super) fn timeout(timeout_us: i64) -> Result<Option<Duration>> {
    match u64::try_from(timeout_us) {
        Ok(time) => Ok(Some(Duration::from_micros(time))),
        Err(_) if timeout_us == -1 => Ok(None),
        Err(_) => {
            let message =
                format!("a time-out of {timeout_us} microseconds; it is 0 or more, or -1 to wait without end");
            Err(Error::new(Code::InvalidArgument, message))
        }
    }
}

/// Waits until the request is answered, and returns its error if it failed; so many microseconds at most, or without
/// end for -1. `*done_out` receives whether it is answered, where no error is returned; it may be null where the wait
/// has no end.
///
/// Errors: the request's own, such as `PLANRT_ERROR_CANCELLED`, `_DEADLINE`, `_SHUT_DOWN`: it is answered then, and
/// `*done_out` is left alone. `_INVALID_ARGUMENT` for a time-out below -1.
///
/// Requires: `request` is alive, `done_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_wait(
    request: *const planrt_request,
    timeout_us: i64,
    done_out: *mut bool,
) -> *mut planrt_error {
    export!(request; done_out: Option<Out<_>> => {
        let timeout = timeout(timeout_us)?;
        if timeout.is_some() && done_out.is_none() {
            return Err(Error::new(Code::InvalidArgument, "done_out is null, and the wait may end before the request"));
        }
        let outcome = request.wait(timeout).transpose()?;
        if let Some(done_out) = done_out {
            done_out.set(outcome.is_some());
        }
        Ok(())
    })
}

/// Orders a stream behind the request's outputs: what the stream is given afterwards finds them written. Returns as
/// soon as the request's batch has been given to the device, or where it is answered before that; the host does not
/// wait for the device. In that stream's order the request's memory is the application's again: its inputs may be
/// written, and its outputs be used or freed by the stream. Whether the request succeeded only its answer tells: the
/// outputs of one that failed or was cancelled hold anything. Any thread.
///
/// Errors: those of the request, if it is answered; `PLANRT_ERROR_UNSUPPORTED` where the host writes outputs: for
/// ordinary host memory, for page-locked memory with elements to be converted, and on the CPU engine. Wait for the
/// answer there.
///
/// Requires: `request` and `stream` are alive; no other thread gives the stream work meanwhile.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_order_stream(
    request: *const planrt_request,
    stream: *mut planrt_stream,
) -> *mut planrt_error {
    export!(request, stream; => request.order(stream))
}

/// The shape of one of the request's outputs, given or dropped, from the submission on: in a session it follows from
/// the inputs' shapes. `shape_out` has room for `PLANRT_MAX_RANK` extents. Any thread.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for an input; `_NOT_FOUND`.
///
/// Requires: `request` is alive, `output` a string, `shape_out` and `rank_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_get_output_shape(
    request: *const planrt_request,
    output: *const c_char,
    shape_out: *mut i64,
    rank_out: *mut i32,
) -> *mut planrt_error {
    export!(request; output: &str, shape_out: OutArray<_, PLANRT_MAX_RANK>, rank_out: Out<_> => {
        let shape = request.output_shape(output)?;
        shape_out.set(extents(&shape));
        rank_out.set(shape.len() as i32);
        Ok(())
    })
}

/// Whether the request is answered; its outputs are written then, if it succeeded: copied by this call, where they are
/// to be copied and `copy_in_background` was not asked for. False for a bad handle.
///
/// Requires: `request` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_poll(request: *const planrt_request) -> bool {
    export!(request; else false => request.poll().is_some())
}

/// The error that the request was answered with; null where it succeeded, and while it is not answered.
///
/// Requires: `request` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_get_error(request: *const planrt_request) -> *mut planrt_error {
    export!(request; => request.poll().unwrap_or(Ok(())))
}

/// Gives the request up: it is answered with `PLANRT_ERROR_CANCELLED`, at once if it still waits, else when its batch
/// has ended and its memory is free; its outputs may hold anything then. One that is answered stays as it is.
///
/// Requires: `request` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_cancel(request: *const planrt_request) {
    export!(request; else () => request.cancel());
}

/// Frees the handle. A request that is not answered goes on, with its callback, and its memory stays the session's
/// until then. Null is accepted.
///
/// Requires: `request` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_request_delete(request: *mut planrt_request) {
    delete!(request);
}
