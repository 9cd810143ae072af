//! `planrt_stream`.

use super::argument::Out;
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::runtime::planrt_runtime;
use super::{delete, export};
use crate::cuda::{Stream, copy_async};
use std::ffi::c_void;
use std::ptr::NonNull;

/// A CUDA stream, made here or wrapped from the application's. The driver lets any thread use it; the order of work
/// given from several threads at once is theirs to arrange.
#[allow(non_camel_case_types)]
pub struct planrt_stream(Handle<Stream>);
opaque!(planrt_stream, Stream);

/// Makes a stream on the runtime's device that does not wait for the legacy default stream. Lower priorities go first;
/// 0 is the ordinary one, -5 the first on present GPUs, and numbers beyond the device's range mean its ends.
/// `*stream_out` is the caller's, for `planrt_stream_delete`. Any thread.
///
/// Requires: `runtime` is alive, `stream_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_new(
    runtime: *const planrt_runtime,
    priority: i32,
    stream_out: *mut *mut planrt_stream,
) -> *mut planrt_error {
    export!(runtime; stream_out: Out<_> => {
        stream_out.give(Handle::new(Stream::new(runtime.device()?, priority)?));
        Ok(())
    })
}

/// Wraps a stream of the application's: a `CUstream`, which is a `cudaStream_t`, of the device's primary context. It
/// stays the application's and must outlive the handle. Null is the legacy default stream. `*stream_out` is the
/// caller's, for `planrt_stream_delete`. Any thread.
///
/// Requires: `runtime` is alive, `cuda_stream` as said, `stream_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_wrap(
    runtime: *const planrt_runtime,
    cuda_stream: *mut c_void,
    stream_out: *mut *mut planrt_stream,
) -> *mut planrt_error {
    export!(runtime; stream_out: Out<_> => {
        // SAFETY: null, or a stream of the application's that outlives the handle, as the header asks.
        let stream = unsafe { Stream::wrap(runtime.device()?, cuda_stream) };
        stream_out.give(Handle::new(stream));
        Ok(())
    })
}

/// Frees the handle, and the stream if it was made here; work that it holds still ends. Null is accepted.
///
/// Requires: `stream` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_delete(stream: *mut planrt_stream) {
    delete!(stream);
}

/// The `CUstream`, for the application's own CUDA calls; it lives as long as the handle. Null for a bad handle. Any
/// thread.
///
/// Requires: `stream` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_get_native(stream: *const planrt_stream) -> *mut c_void {
    export!(stream; else std::ptr::null_mut() => stream.native())
}

/// Waits until all work given so far has ended.
///
/// Errors: `PLANRT_ERROR_CUDA`, also for a fault in work given earlier.
///
/// Requires: `stream` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_synchronize(stream: *mut planrt_stream) -> *mut planrt_error {
    export!(stream; => stream.synchronize())
}

/// Whether all work given so far has ended, without waiting.
///
/// Requires: `stream` is alive, `done_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_query(stream: *mut planrt_stream, done_out: *mut bool) -> *mut planrt_error {
    export!(stream; done_out: Out<_> => {
        done_out.set(stream.is_done()?);
        Ok(())
    })
}

/// Orders one stream behind another: work given to `stream` from now on waits for what `other` holds now. The host does
/// not wait.
///
/// Requires: Both are alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_wait_for(
    stream: *mut planrt_stream,
    other: *mut planrt_stream,
) -> *mut planrt_error {
    export!(stream, other; => stream.wait_for(other))
}

/// Copies bytes between any two places, host or device, in the stream's order. Both must stay valid until the stream
/// has passed the copy; with ordinary host memory the call may wait for the stream and return when the copy is done.
///
/// Requires: `stream` is alive, `to` writable and `from` readable for `size_bytes` bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_stream_copy(
    stream: *mut planrt_stream,
    to: *mut c_void,
    from: *const c_void,
    size_bytes: usize,
) -> *mut planrt_error {
    export!(stream; to: NonNull<c_void>, from: NonNull<c_void> => {
        // SAFETY: both are valid for so many bytes until the stream has passed the copy, as the header asks.
        unsafe { copy_async(to.as_ptr(), from.as_ptr(), size_bytes, stream) }
    })
}
