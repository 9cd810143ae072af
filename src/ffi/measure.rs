//! `planrt_inspect` and `planrt_bench`: what a model is made of, and how fast it runs.

use super::argument::{Argument, Call, Out};
use super::engine::planrt_engine;
use super::error::planrt_error;
use super::export;
use super::structs::{Extensible, Struct, Structs};
use super::tensor::{self, PLANRT_MAX_RANK};
use crate::error::{Code, Error, Result};
use crate::measure::{self, Findings, Given, Settings};
use crate::tensor::Shape;
use std::ffi::c_char;
use std::time::Duration;

/// In which form a report comes: one of the `PLANRT_REPORT_` constants.
#[allow(non_camel_case_types)]
pub type planrt_report_format = i32;

/// Lines for people, whose form may change.
pub const PLANRT_REPORT_TEXT: planrt_report_format = 1;
/// JSON.
pub const PLANRT_REPORT_JSON: planrt_report_format = 2;

/// The shape that an input has while it is measured. Fill it with zeros first, then set `struct_size` to
/// `sizeof(planrt_input_shape)`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_input_shape {
    /// Bytes of this struct, as the caller knows it; the same in all elements of an array.
    pub struct_size: usize,
    /// The input's name in the model, in UTF-8; read during the call only.
    pub name: *const c_char,
    /// The number of dimensions.
    pub rank: i32,
    /// The extents in elements, outermost first.
    pub shape: [i64; PLANRT_MAX_RANK],
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_input_shape {
    const FIRST_SIZE: usize = 88;
    const NAME: &'static str = "planrt_input_shape";
}
const _: () = assert!(size_of::<planrt_input_shape>() == planrt_input_shape::FIRST_SIZE);

/// How a model is measured. Fill it with zeros, which stand for the defaults, then set `struct_size` to
/// `sizeof(planrt_bench_settings)`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_bench_settings {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Contexts that run side by side, each on a thread and a stream of its own; 0 for 1.
    pub streams: i32,
    /// Threads that ask a session, which is measured instead of contexts; 0 for contexts.
    pub concurrency: i32,
    /// The session's largest batch; 0 for its own choice.
    pub largest_batch: i32,
    /// 1: runs are CUDA graphs. Sessions use them of their own accord.
    pub use_cuda_graph: i32,
    /// 1: inputs and outputs stay on the device. 0: they are copied from and to page-locked host memory in each run.
    pub no_data_transfers: i32,
    /// How often each stream or thread runs at least; 0 for 10.
    pub least_runs: i32,
    /// Microseconds that go by before it is measured; 0 for 200000, -1 for one run only.
    pub warm_up_us: i64,
    /// Microseconds for which it is measured; 0 for 3000000, -1 for `least_runs` only.
    pub duration_us: i64,
    /// Percentiles to tell beside the median, more than 0 and at most 100; null for 90, 95 and 99.
    pub percentiles: *const f64,
    /// How many these are, at most 16.
    pub percentile_count: usize,
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_bench_settings {
    const FIRST_SIZE: usize = 64;
    const NAME: &'static str = "planrt_bench_settings";
}
const _: () = assert!(size_of::<planrt_bench_settings>() == planrt_bench_settings::FIRST_SIZE);

/// The shapes of a call.
struct Shapes<'call>(Vec<Given<'call>>);

impl<'call> Argument<'call, (*const planrt_input_shape, usize)> for Shapes<'call> {
    unsafe fn convert(raw: (*const planrt_input_shape, usize), array: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Structs(shapes): Structs<planrt_input_shape> = unsafe { Argument::convert(raw, array, call) }?;
        let one = |(i, input): (usize, &planrt_input_shape)| {
            let given = || {
                tensor::check_rank(input.rank)?;
                Ok(Given {
                    // SAFETY: null or a string, as the caller says.
                    name: unsafe { Argument::convert(input.name, "name", call) }?,
                    shape: Shape::new(&input.shape[..tensor::extent_count(input.rank)])?,
                })
            };
            given().map_err(|error: Error| error.within(format_args!("{array}[{i}]")))
        };
        shapes.iter().enumerate().map(one).collect::<Result<_>>().map(Self)
    }
}

impl<'call> Argument<'call, *const planrt_bench_settings> for Settings {
    unsafe fn convert(raw: *const planrt_bench_settings, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Struct(given) = unsafe { Argument::convert(raw, name, call) }?;
        let planrt_bench_settings { percentiles, percentile_count, .. } = given;
        const MOST_THREADS: i32 = 256;
        const MOST_ITEMS: i32 = 65_536;
        const MOST_PERCENTILES: usize = 16;
        let count = |value: i32, most: i32, what: &str| match usize::try_from(value) {
            Ok(count) if value <= most => Ok(count),
            _ => Err(Error::new(Code::InvalidArgument, format!("{what} is {value}; it is 0 to {most}"))),
        };
        let flag = |value: i32, what: &str| match value {
            0 | 1 => Ok(value == 1),
            _ => Err(Error::new(Code::InvalidArgument, format!("{what} is {value}; it is 0 or 1"))),
        };
        let time = |micros: i64, default: Duration, what: &str| match micros {
            -1 => Ok(Duration::ZERO),
            0 => Ok(default),
            _ => u64::try_from(micros).map(Duration::from_micros).map_err(|_| {
                Error::new(
                    Code::InvalidArgument,
                    format!("{what} is {micros}; it is -1, 0 or a number of microseconds"),
                )
            }),
        };
        let default = Self::default();
        if percentile_count > MOST_PERCENTILES {
            let message = format!("{percentile_count} percentiles; take at most {MOST_PERCENTILES}");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let percentiles = match percentiles.is_null() {
            true => default.percentiles,
            // SAFETY: readable for so many numbers, as the header asks.
            false => unsafe { std::slice::from_raw_parts(percentiles, percentile_count) }.to_vec(),
        };
        if let Some(wrong) = percentiles.iter().find(|percent| !(**percent > 0.0 && **percent <= 100.0)) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("a percentile of {wrong}; it is more than 0, at most 100"),
            ));
        }
        Ok(Self {
            streams: count(given.streams, MOST_THREADS, "streams")?.max(1),
            concurrency: count(given.concurrency, MOST_THREADS, "concurrency")?,
            largest_batch: count(given.largest_batch, MOST_ITEMS, "largest_batch")?,
            cuda_graph: flag(given.use_cuda_graph, "use_cuda_graph")?,
            transfers: !flag(given.no_data_transfers, "no_data_transfers")?,
            least_runs: match count(given.least_runs, i32::MAX, "least_runs")? {
                0 => default.least_runs,
                runs => runs,
            },
            warm_up: time(given.warm_up_us, default.warm_up, "warm_up_us")?,
            duration: time(given.duration_us, default.duration, "duration_us")?,
            percentiles,
        })
    }
}

fn in_format(findings: Findings, format: planrt_report_format) -> Result<String> {
    match format {
        PLANRT_REPORT_TEXT => Ok(findings.text),
        PLANRT_REPORT_JSON => Ok(findings.json.to_string()),
        _ => Err(no_format(format)),
    }
}

fn no_format(format: planrt_report_format) -> Error {
    Error::new(Code::InvalidArgument, format!("{format} is no PLANRT_REPORT_ constant"))
}

/// Tells a model's layers, with how long each takes on the mean of so many runs, or without times for 0 runs. Of a plan
/// they are what TensorRT made of the model, with their precisions where it was built with
/// `PLANRT_BUILD_DETAILED_LAYERS`; timing them keeps them from overlapping, so that they take longer than a run does. Of
/// an ONNX model they are its nodes and, with times, what the CPU engine made of them, in the order in which they ran.
///
/// Inputs hold numbers from -1 to 1. Those of which no shape is given have the one that the model fixes, else the best
/// of the first profile, or where the batch alone is open a batch of 1. `shapes` may be null where `shape_count` is 0.
///
/// As JSON: an object with `metadata` (see `planrt_engine_get_metadata_json`), `device`, `layers`, an array with an
/// object for each: `name`, `type` and `precision` ("FP16"; both null where they are not told), with times `time_us`,
/// and `details`, what the engine says of it (see `planrt_engine_get_layers_json`); with times also `inputs`, the
/// shapes by name, and `runs`.
///
/// Any thread. `*report_out` is the caller's, for `planrt_string_delete`.
///
/// Errors: `PLANRT_ERROR_NOT_FOUND` and `_SHAPE` for shapes that are not the model's, or are missing; `_UNSUPPORTED` for
/// an input that is itself a shape; those of `planrt_context_new` and `planrt_context_enqueue`.
///
/// Requires: `engine` is alive, `shapes` readable for `shape_count` elements, `report_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_inspect(
    engine: *const planrt_engine,
    shapes: *const planrt_input_shape,
    shape_count: usize,
    runs: i32,
    format: planrt_report_format,
    report_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(engine; shapes[shape_count]: Shapes<'_>, report_out: Out<_> => {
        let runs = usize::try_from(runs)
            .map_err(|_| Error::new(Code::InvalidArgument, format!("{runs} runs; it is 0 or more")))?;
        if ![PLANRT_REPORT_TEXT, PLANRT_REPORT_JSON].contains(&format) {
            return Err(no_format(format));
        }
        report_out.give_text(in_format(measure::inspect(engine, &shapes.0, runs)?, format)?);
        Ok(())
    })
}

/// Measures throughput and latency, as trtexec does. Each stream has a context of its own and is given the next run
/// while the last one is under way; a run's latency is what its copies and its computing took on the device, by CUDA
/// events. On the CPU, and with `concurrency`, it is what the call took. Inputs are as for `planrt_inspect`. `settings`
/// may be null for the defaults.
///
/// As JSON: an object with `device`, `inputs` (shapes by name), `transfers`, `streams` and `cuda_graph`, or
/// `concurrency`, `mean_batch_items` and `session` (see `planrt_session_describe`); `runs`, `seconds`,
/// `throughput_qps` (runs or requests a second, each with the batch of its inputs) and `latency`; on a GPU without a
/// session also `enqueue_time` (of the host), `h2d_latency`, `gpu_compute_time` and `d2h_latency`, and `enqueue_bound`,
/// whether the host's part is the longer one. Each time is an object with `min_ms`, `max_ms`, `mean_ms`, `median_ms`
/// and `percentiles_ms`, an object with the times by their percentiles.
///
/// Any thread; the call lasts as long as the measurement. `*report_out` is the caller's, for `planrt_string_delete`.
///
/// Errors: as for `planrt_inspect` and, with `concurrency`, `planrt_session_new`; `PLANRT_ERROR_IN_USE` for more streams
/// than a plan of TensorRT 8 has profiles; `_UNSUPPORTED` for CUDA graphs on a driver that has none.
///
/// Requires: `engine` is alive, `shapes` readable for `shape_count` elements, `settings` null or readable, its
/// percentiles too, `report_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_bench(
    engine: *const planrt_engine,
    shapes: *const planrt_input_shape,
    shape_count: usize,
    settings: *const planrt_bench_settings,
    format: planrt_report_format,
    report_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(engine;
        shapes[shape_count]: Shapes<'_>,
        settings: Option<Settings>,
        report_out: Out<_>
    => {
        if ![PLANRT_REPORT_TEXT, PLANRT_REPORT_JSON].contains(&format) {
            return Err(no_format(format));
        }
        let findings = measure::bench(engine, &shapes.0, &settings.unwrap_or_default())?;
        report_out.give_text(in_format(findings, format)?);
        Ok(())
    })
}
