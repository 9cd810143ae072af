//! `planrt_session_options` and `planrt_session`.

use super::argument::{Argument, Call, Out, Ref};
use super::engine::planrt_engine;
use super::error::{lend, planrt_error};
use super::handle::{Handle, opaque};
use super::request::{planrt_request, planrt_request_options, timeout};
use super::stream::planrt_stream;
use super::structs::{Extensible, OutStruct, Struct};
use super::tensor::{self, Inputs, Outputs, planrt_tensor};
use super::{delete, export};
use crate::backend::admission::Dependency;
use crate::cuda::Event;
use crate::error::{Code, Error, Result};
use crate::process::as_application;
use crate::schedule::{BATCH_SIZES, Callback, Delay, Options, Report, Session, Submission, Times, WhenFull};
use crate::sync::Mutex;
use std::ffi::{c_char, c_void};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What a session does when its queue is full: one of the `PLANRT_WHEN_FULL_` constants.
#[allow(non_camel_case_types)]
pub type planrt_when_full = i32;

/// A further request is refused with `PLANRT_ERROR_QUEUE_FULL`.
pub const PLANRT_WHEN_FULL_REFUSE: planrt_when_full = 1;
/// The call waits until there is room.
pub const PLANRT_WHEN_FULL_BLOCK: planrt_when_full = 2;

/// How many counts `planrt_session_statistics` has for batches by their size.
pub const PLANRT_BATCH_SIZES: usize = 66;
const _: () = assert!(PLANRT_BATCH_SIZES == BATCH_SIZES);

/// How a session works. One thread at a time. Made by `planrt_session_options_new`, owned by the caller, free to be
/// deleted as soon as the session is made.
#[allow(non_camel_case_types)]
pub struct planrt_session_options(Handle<Mutex<Options>>);
opaque!(planrt_session_options, Mutex<Options>);

/// Runs requests of many threads on a few execution contexts, those that fit together as one batch. Any thread may use
/// it, several at once. It keeps its engines.
///
/// A request's memory is the session's from `planrt_session_submit` until the request is answered: until
/// `planrt_request_wait` or `planrt_request_poll` has said so or its callback is called, whichever the application
/// looks at first. Inputs must not be written and outputs not be used until then. A request that is refused, by an
/// error of `planrt_session_submit` itself, leaves its memory alone from the return on.
#[allow(non_camel_case_types)]
pub struct planrt_session(Handle<Open>);
opaque!(planrt_session, Open);

/// Ends the session when the handle goes: calls of other threads that wait on it keep what they need until they are
/// back.
pub(super) struct Open(Arc<Session>);

impl Open {
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a session has done since it was made. Times are in microseconds, percentiles within 6 %. Set `struct_size` to
/// `sizeof(planrt_session_statistics)` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_session_statistics {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Requests that were taken in.
    pub submitted: u64,
    /// Requests that were not, because the queue was full.
    pub refused: u64,
    /// Requests answered with success.
    pub succeeded: u64,
    /// Requests answered with an error other than the next two.
    pub failed: u64,
    /// Requests that were cancelled.
    pub cancelled: u64,
    /// Requests whose time-out passed.
    pub timed_out: u64,
    /// Requests that wait now.
    pub waiting_requests: u64,
    /// Items of the batches that run now.
    pub running_items: u64,
    /// Items of all batches.
    pub items: u64,
    /// From submission to the start of the batch: the time that half of the requests stayed below, nine in ten, and 99
    /// in 100.
    pub queue_p50_us: f64,
    pub queue_p90_us: f64,
    pub queue_p99_us: f64,
    /// From the start of the batch to its end, copies included.
    pub run_p50_us: f64,
    pub run_p90_us: f64,
    pub run_p99_us: f64,
    /// From submission to the end of the batch.
    pub total_p50_us: f64,
    pub total_p90_us: f64,
    pub total_p99_us: f64,
    /// The part of the time that contexts were at work: 0 to 1.
    pub utilization: f64,
    /// How many batches had so many items; the last count is of all that had more.
    pub batches: [u64; PLANRT_BATCH_SIZES],
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_session_statistics {
    const FIRST_SIZE: usize = 688;
    const NAME: &'static str = "planrt_session_statistics";
}
const _: () = assert!(size_of::<planrt_session_statistics>() == planrt_session_statistics::FIRST_SIZE);

/// Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_session_options_delete`.
///
/// Requires: `options_out` is null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_new(
    options_out: *mut *mut planrt_session_options,
) -> *mut planrt_error {
    export!(; options_out: Out<_> => {
        options_out.give(Handle::new(Mutex::default()));
        Ok(())
    })
}

/// Frees options. Null is accepted.
///
/// Requires: `options` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_delete(options: *mut planrt_session_options) {
    delete!(options);
}

/// A count of the caller's.
fn count(given: i64, range: RangeInclusive<usize>, name: &str) -> Result<usize> {
    usize::try_from(given).ok().filter(|count| range.contains(count)).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("{name} is {given}; take {} to {}", range.start(), range.end()))
    })
}

/// The most items in a batch, contexts on a device, and requests that wait: more than any machine makes use of.
const MOST_ITEMS: usize = 65_536;
const MOST_CONTEXTS: usize = 256;
const MOST_WAITING: usize = 1 << 20;
const MOST_PREFERRED: usize = 64;

/// The most items in a batch, up to 65536; 1 turns batching off. 0, the default: on the GPU as many as bring more than
/// 8 % over half as many (2 % for a segmenter's own sessions), which is measured when the session is made (none do where one
/// item keeps the device busy), and at most what the plan's profiles take; on the CPU as many as the engine has threads. A
/// request with a larger batch of its own runs alone.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_largest_batch(
    options: *mut planrt_session_options,
    items: i32,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().policy.largest = count(items.into(), 0..=MOST_ITEMS, "the largest batch")?;
        Ok(())
    })
}

/// Sizes at which a batch goes without waiting for more company. None by default; none again for a count of 0, where
/// `sizes` may be null. On the GPU batches are computed at these, at powers of two, at the least and at the largest
/// batch, with places left empty where need be; where none are given and no largest batch is, only up to the size from
/// which on larger ones do not pay.
///
/// Requires: `options` is alive, `sizes` readable for `size_count` numbers.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_preferred_batches(
    options: *mut planrt_session_options,
    sizes: *const i32,
    size_count: usize,
) -> *mut planrt_error {
    export!(options; sizes[size_count]: &[i32] => {
        if sizes.len() > MOST_PREFERRED {
            let message = format!("{} preferred batches; take at most {MOST_PREFERRED}", sizes.len());
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let mut preferred = sizes
            .iter()
            .map(|size| count((*size).into(), 1..=MOST_ITEMS, "a preferred batch"))
            .collect::<Result<Vec<_>>>()?;
        preferred.sort_unstable();
        options.lock().policy.preferred = preferred;
        Ok(())
    })
}

/// How many microseconds the first request of a batch waits for company while a context is free. 0: never. -1, the
/// default: only while other requests run, for a batch that is smaller than its share of what is under way, and up to
/// 100 after the last batch has ended; a request that finds the session idle runs at once.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_max_delay(
    options: *mut planrt_session_options,
    delay_us: i64,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().policy.delay = match delay_us {
            -1 => Delay::Share,
            time => Delay::Fixed(Duration::from_micros(u64::try_from(time).map_err(|_| {
                let message = format!("a delay of {time} microseconds; it is 0 or more, or -1 for the default");
                Error::new(Code::InvalidArgument, message)
            })?)),
        };
        Ok(())
    })
}

/// The most requests that wait, up to 1048576, and what happens to one more. 0 for the defaults: 1024, and
/// `PLANRT_WHEN_FULL_REFUSE`.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_queue(
    options: *mut planrt_session_options,
    capacity: i32,
    when_full: planrt_when_full,
) -> *mut planrt_error {
    export!(options; => {
        let capacity = match count(capacity.into(), 0..=MOST_WAITING, "the queue's capacity")? {
            0 => Options::default().policy.max_waiting,
            capacity => capacity,
        };
        let when_full = match when_full {
            0 | PLANRT_WHEN_FULL_REFUSE => WhenFull::Refuse,
            PLANRT_WHEN_FULL_BLOCK => WhenFull::Block,
            other => {
                let message = format!("{other} is no PLANRT_WHEN_FULL_ constant");
                return Err(Error::new(Code::InvalidArgument, message));
            }
        };
        let mut options = options.lock();
        (options.policy.max_waiting, options.policy.when_full) = (capacity, when_full);
        Ok(())
    })
}

/// How many contexts a session has on each device, up to 256: each runs one batch at a time, side by side with the
/// others. 0, the default: on the GPU four where two small batches at once are faster than one after the other, which
/// is measured when the session is made, else two, and fewer where memory is short; on the CPU one, since a batch has
/// all threads anyway. Making the session fails where as many as asked for do not fit.
///
/// On the GPU each is a TensorRT execution context for each batch size, which share their memory, with a CUDA graph
/// where the plan's work can be captured. TensorRT 8 gives a profile of an engine to one execution context only; where
/// profiles are short the session loads copies of the engine, each with weights of its own: as long as they take no
/// more than an eighth of the free device memory, where neither a number of contexts nor a memory budget is set.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_contexts(
    options: *mut planrt_session_options,
    contexts: i32,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().instance_group.contexts = count(contexts.into(), 0..=MOST_CONTEXTS, "the number of contexts")?;
        Ok(())
    })
}

/// The most bytes of device memory that the contexts of one device, with their inputs and outputs and copies of the
/// engine, may take; 0, the default, for what is free. What TensorRT says beforehand is held against it before it is
/// taken, the rest (a copy of an engine, some MB an execution context) when it is measured.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_memory_budget(
    options: *mut planrt_session_options,
    budget_bytes: usize,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().instance_group.memory_budget = budget_bytes;
        Ok(())
    })
}

/// Whether requests that were running on a device that is lost run again on another one of the session's, instead of
/// failing. Default false.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_retry(
    options: *mut planrt_session_options,
    retry: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().policy.retry = retry;
        Ok(())
    })
}

/// Whether callbacks are made by `planrt_session_pump`, on the thread that calls it, instead of by a thread of the
/// session's. Default false.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_options_set_pumped(
    options: *mut planrt_session_options,
    pumped: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().pumped = pumped;
        Ok(())
    })
}

/// Makes a session over one engine, or over one model's engines on several devices: each request goes to the device
/// with the least to do, or to the one that its device memory is on. `options` may be null for the defaults and is
/// copied. `*session_out` is the caller's, for `planrt_session_delete`. Any thread.
///
/// On the GPU every batch size is run a few times, so that nothing is left to be settled when requests come: this takes
/// some tenths of a second, for a large network a few of its runs, and after three seconds no larger batches are tried:
/// name the sizes that you want (`planrt_session_options_set_largest_batch`) where a network takes longer than that.
///
/// Errors: `PLANRT_ERROR_OUT_OF_MEMORY`, with what the contexts take; `_TENSORRT` where the plan does not run;
/// `_UNSUPPORTED` for a model whose outputs' shapes depend on values; `_INVALID_ARGUMENT` for engines of different
/// models: their inputs and outputs, and what runs them, have to be the same, and for ONNX models and for plans on GPUs
/// of one kind every byte of the file. Plans for different kinds of GPU differ in any case: there the networks' names
/// have to be the same, and that the weights are is the application's word.
///
/// Requires: `engines` is readable for `engine_count` handles that are alive, `options` null or alive, `session_out`
/// writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_new(
    engines: *const *const planrt_engine,
    engine_count: usize,
    options: *const planrt_session_options,
    session_out: *mut *mut planrt_session,
) -> *mut planrt_error {
    export!(;
        engines[engine_count]: Vec<Ref<'_, planrt_engine>>,
        options: Option<Ref<'_, planrt_session_options>>,
        session_out: Out<_>
    => {
        let engines: Vec<_> = engines.iter().map(|engine| engine.get().clone()).collect();
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        let session = Session::new(&engines, &options)?;
        let logs = engines.iter().filter_map(|engine| engine.log());
        session_out.give(Handle::logging(Open(Arc::new(session)), logs));
        Ok(())
    })
}

/// Ends a session. Requests that wait are answered with `PLANRT_ERROR_SHUT_DOWN`, those that run are finished,
/// callbacks that are due are made, and then the call returns: no callback comes after it. Calls of other threads that
/// wait on the session (for room in its queue, or in `planrt_session_run`) end too; none may begin. Requests can still
/// be asked for their outcome. It may be called from inside a callback: then the callbacks that are left are made
/// inside this call, and the one that called is the last. Null is accepted.
///
/// Requires: `session` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_delete(session: *mut planrt_session) {
    delete!(session);
}

/// What an application wants called.
struct Target {
    callback: unsafe extern "C" fn(*mut c_void, *const planrt_error),
    user_data: *mut c_void,
}

// SAFETY: the C interface says from which threads the callback comes; the application's data is for it to look after.
unsafe impl Send for Target {}

impl Target {
    fn call(&self, outcome: &Result<()>) {
        // SAFETY: the application's function, called as it was declared.
        lend(outcome, |error| as_application(|| unsafe { (self.callback)(self.user_data, error) }));
    }
}

/// How a request is to be treated, understood.
struct Submitted<'call> {
    priority: i32,
    timeout: Option<Duration>,
    copied_by_session: bool,
    after: Dependency<'call>,
    callback: Option<Callback>,
}

impl<'call> Argument<'call, *const planrt_request_options> for Submitted<'call> {
    unsafe fn convert(raw: *const planrt_request_options, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Struct(options) = unsafe { Argument::convert(raw, name, call) }?;
        let timeout = u64::try_from(options.timeout_us).map_err(|_| {
            let late = options.timeout_us.unsigned_abs();
            Error::new(Code::Deadline, format!("the time-out passed {late} microseconds before the request was made"))
        })?;
        // SAFETY: null, or a handle that is alive.
        let stream: Option<Ref<'_, planrt_stream>> = unsafe { Argument::convert(options.stream, "stream", call) }?;
        Ok(Self {
            priority: options.priority,
            timeout: (timeout != 0).then(|| Duration::from_micros(timeout)),
            copied_by_session: match options.copy_in_background {
                0 => false,
                1 => true,
                other => {
                    let message = format!("copy_in_background is {other}; it is 0 or 1");
                    return Err(Error::new(Code::InvalidArgument, message));
                }
            },
            after: match stream {
                Some(stream) => Dependency::Stream(stream.get()),
                None if options.event.is_null() => Dependency::Now,
                // SAFETY: the application's event, which outlives the request.
                None => Dependency::Event(unsafe { Event::wrap(options.event) }),
            },
            callback: options.callback.map(|callback| {
                let target = Target { callback, user_data: options.user_data };
                Box::new(move |outcome: &Result<()>| target.call(outcome)) as Callback
            }),
        })
    }
}

/// # Safety
/// Each tensor's memory is valid until the request is answered or refused.
unsafe fn submission<'call>(
    inputs: Inputs<'call>,
    outputs: Outputs<'call>,
    options: Option<Submitted<'call>>,
) -> Result<Submission<'call>> {
    let Submitted { priority, timeout, copied_by_session, after, callback } = options.unwrap_or(Submitted {
        priority: 0,
        timeout: None,
        copied_by_session: false,
        after: Dependency::Now,
        callback: None,
    });
    // SAFETY: as the caller says.
    let inputs = unsafe { tensor::lent(inputs.0) };
    // SAFETY: as the caller says.
    let outputs = unsafe { tensor::lent(outputs.0) };
    Ok(Submission { inputs, outputs, priority, timeout, after, callback, copied_by_session })
}

/// Gives the session a request and returns. Every input must be given; an output that is not given is computed and
/// dropped. Where the model has a batch, the request may have one of its own, and is not split. `options` may be null.
/// `request_out` receives the request, for `planrt_request_delete`, before its callback can be called; it may be null
/// where a callback is given. Any thread.
///
/// Ordinary host memory of a session on a GPU is copied by the calling thread; the outputs, by the thread that first
/// sees the answer.
///
/// Errors: `PLANRT_ERROR_QUEUE_FULL`, `_DEADLINE`, `_SHAPE`, `_BUFFER_TOO_SMALL`, `_NOT_FOUND`, `_INVALID_ARGUMENT`,
/// `_SHUT_DOWN`, and where every device is lost the error of that. The callback is not called then.
///
/// Requires: `session` is alive; the arrays are readable; each element's memory is valid for its `size_bytes`, and
/// stays so until the request is answered.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_submit(
    session: *const planrt_session,
    inputs: *const planrt_tensor,
    input_count: usize,
    outputs: *const planrt_tensor,
    output_count: usize,
    options: *const planrt_request_options,
    request_out: *mut *mut planrt_request,
) -> *mut planrt_error {
    export!(session;
        inputs[input_count]: Inputs<'_>,
        outputs[output_count]: Outputs<'_>,
        options: Option<Submitted<'_>>,
        request_out: Option<Out<_>>
    => {
        // SAFETY: each tensor's memory stays valid until the request is answered, as the header asks.
        let submission = unsafe { submission(inputs, outputs, options) }?;
        if submission.callback.is_none() && request_out.is_none() {
            return Err(Error::new(
                Code::InvalidArgument,
                "request_out is null, and there is no callback: nothing would tell of the answer",
            ));
        }
        // The session may be deleted while this call waits.
        let session = session.0.clone();
        session.submit(submission, |request| {
            if let Some(request_out) = request_out {
                request_out.give(Handle::new(request));
            }
        })
    })
}

/// Runs a request and returns when it is answered, with its error if it failed. Where its batch may go at once it runs
/// on the calling thread, which saves two changes of threads. Any thread.
///
/// A callback is called as it is for `planrt_session_submit`, before this call returns or after it, and the batch runs
/// on a thread of the session's then.
///
/// Errors: as for `planrt_session_submit`, and those of the run.
///
/// Requires: As for `planrt_session_submit`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_run(
    session: *const planrt_session,
    inputs: *const planrt_tensor,
    input_count: usize,
    outputs: *const planrt_tensor,
    output_count: usize,
    options: *const planrt_request_options,
) -> *mut planrt_error {
    export!(session;
        inputs[input_count]: Inputs<'_>,
        outputs[output_count]: Outputs<'_>,
        options: Option<Submitted<'_>>
    => {
        // SAFETY: each tensor's memory stays valid until the request is answered, as the header asks.
        let submission = unsafe { submission(inputs, outputs, options) }?;
        // The session may be deleted while this call waits.
        let session = session.0.clone();
        session.run(submission)
    })
}

/// Makes callbacks that are due, on the calling thread, and waits for the first so many microseconds: 0 not at all, -1
/// without end. `*calls_out` receives how many were made; it may be null. One thread at a time makes callbacks.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a session that makes its callbacks itself, and for a time-out below -1;
/// `*calls_out` is left alone.
///
/// Requires: `session` is alive, `calls_out` null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_pump(
    session: *const planrt_session,
    timeout_us: i64,
    calls_out: *mut usize,
) -> *mut planrt_error {
    export!(session; calls_out: Option<Out<_>> => {
        let session = session.0.clone();
        let calls = session.pump(timeout(timeout_us)?)?;
        if let Some(calls_out) = calls_out {
            calls_out.set(calls);
        }
        Ok(())
    })
}

/// What the session has done so far. Any thread.
///
/// Requires: `session` is alive, `statistics_out` writable, its `struct_size` set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_get_statistics(
    session: *const planrt_session,
    statistics_out: *mut planrt_session_statistics,
) -> *mut planrt_error {
    export!(session; statistics_out: OutStruct<'_, _> => {
        statistics_out.set(planrt_session_statistics::from(session.0.report()));
        Ok(())
    })
}

impl From<Report> for planrt_session_statistics {
    fn from(report: Report) -> Self {
        let times = |Times { p50, p90, p99 }: Times| [p50, p90, p99].map(|time| time.as_secs_f64() * 1e6);
        let [queue_p50_us, queue_p90_us, queue_p99_us] = times(report.queue);
        let [run_p50_us, run_p90_us, run_p99_us] = times(report.run);
        let [total_p50_us, total_p90_us, total_p99_us] = times(report.total);
        Self {
            struct_size: 0,
            submitted: report.submitted,
            refused: report.refused,
            succeeded: report.succeeded,
            failed: report.failed,
            cancelled: report.cancelled,
            timed_out: report.late,
            waiting_requests: report.waiting as u64,
            running_items: report.running as u64,
            items: report.items,
            queue_p50_us,
            queue_p90_us,
            queue_p99_us,
            run_p50_us,
            run_p90_us,
            run_p99_us,
            total_p50_us,
            total_p90_us,
            total_p99_us,
            utilization: report.utilization,
            batches: report.batches,
        }
    }
}

/// The same for Prometheus, in its text format, times in seconds: for an application that has an endpoint to offer it
/// at. `*text_out` is the caller's, for `planrt_string_delete`. Any thread.
///
/// Requires: `session` is alive, `text_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_get_metrics_text(
    session: *const planrt_session,
    text_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(session; text_out: Out<_> => {
        text_out.give_text(session.0.prometheus());
        Ok(())
    })
}

/// What the session chose when it was made, as JSON: an object with `devices`, an array with an object for each engine:
/// `backend` ("tensorrt" or "cpu"), `ordinal` (the CUDA device, null on the CPU), `name` (the device's, for people),
/// `device_memory_bytes` (what contexts, their inputs and outputs and copies of the engine take), `engine_copies`
/// (engines loaded beside the one that was given, since a profile of TensorRT 8 serves one context only) and
/// `contexts`, an array with an object for each: `optimal_batch` (the items that requests are gathered to where no
/// largest batch is set), `batch_sizes` (an array: batches are computed at one of these sizes, `items`, each with
/// `time_us`, the microseconds that it took, null where that was not measured; empty where any size is computed) and
/// `lost` (whether its device was lost). Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
///
/// Requires: `session` is alive, `json_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_session_describe(
    session: *const planrt_session,
    json_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(session; json_out: Out<_> => {
        json_out.give_text(session.0.describe().to_string());
        Ok(())
    })
}
