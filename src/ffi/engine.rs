//! `planrt_engine_options`, `planrt_engine`, and what an engine says of itself.

use super::argument::{Out, Ref};
use super::build::planrt_build_options;
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::runtime::planrt_runtime;
use super::structs::{Extensible, OutStruct};
use super::tensor::{PLANRT_MAX_RANK, extents, planrt_element_type, planrt_memory_kind, planrt_tensor_role};
use super::{delete, export};
use crate::backend::Engine;
use crate::backend::tensorrt::WeightBudget;
use crate::engine::{Backend, Statistic};
use crate::error::{Code, Error};
use crate::folder::{BuildRequest, Folder};
use crate::runtime::{CpuChoice, EngineOptions};
use crate::sync::Mutex;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

/// The engine that runs a model: one of the `PLANRT_BACKEND_` constants.
#[allow(non_camel_case_types)]
pub type planrt_backend = i32;

/// TensorRT, on an NVIDIA GPU: runs plans.
pub const PLANRT_BACKEND_TENSORRT: planrt_backend = 1;
/// The CPU engine inside planrt: runs ONNX models.
pub const PLANRT_BACKEND_CPU: planrt_backend = 2;
/// OpenVINO, on the CPU: runs ONNX models where the application asks for it.
pub const PLANRT_BACKEND_OPENVINO: planrt_backend = 3;

/// For `planrt_engine_options_set_cpu_backend` only: OpenVINO where it is found and takes the model, else the CPU engine. The log
/// says why OpenVINO is not taken, and `planrt_engine_get_backend` which of them runs.
pub const PLANRT_BACKEND_FASTEST_CPU: planrt_backend = 4;

/// A number that TensorRT knows of a plan: one of the `PLANRT_STATISTIC_` constants.
#[allow(non_camel_case_types)]
pub type planrt_statistic = i32;

/// Bytes of all weights. TensorRT 10.14 and later, TensorRT-RTX.
pub const PLANRT_STATISTIC_WEIGHTS_SIZE: planrt_statistic = 1;
/// Bytes of the weights that were left out of the plan. TensorRT 10.14 and later, TensorRT-RTX.
pub const PLANRT_STATISTIC_STRIPPED_WEIGHTS_SIZE: planrt_statistic = 2;
/// Bytes of the weights that can be streamed; 0 where the plan was not built for it. TensorRT 10 and later,
/// TensorRT-RTX.
pub const PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE: planrt_statistic = 3;
/// Bytes of device memory that these may take. TensorRT 10.1 and later, TensorRT-RTX.
pub const PLANRT_STATISTIC_WEIGHT_STREAMING_BUDGET: planrt_statistic = 4;
/// How many streams besides the one that it is given a run can use. TensorRT 8.6 and later, TensorRT-RTX.
pub const PLANRT_STATISTIC_AUX_STREAMS: planrt_statistic = 5;

const _: () = assert!(
    PLANRT_STATISTIC_WEIGHTS_SIZE == Statistic::WeightsSize as i32
        && PLANRT_STATISTIC_STRIPPED_WEIGHTS_SIZE == Statistic::StrippedWeightsSize as i32
        && PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE == Statistic::StreamableWeightsSize as i32
        && PLANRT_STATISTIC_WEIGHT_STREAMING_BUDGET == Statistic::WeightStreamingBudget as i32
        && PLANRT_STATISTIC_AUX_STREAMS == Statistic::AuxStreams as i32
);

const _: () = assert!(
    PLANRT_BACKEND_TENSORRT == Backend::TensorRt as i32
        && PLANRT_BACKEND_CPU == Backend::Cpu as i32
        && PLANRT_BACKEND_OPENVINO == Backend::OpenVino as i32
);

/// How a model is to be loaded. One thread at a time. Made by `planrt_engine_options_new`, owned by the caller, free to
/// be deleted as soon as the engine is loaded.
#[allow(non_camel_case_types)]
pub struct planrt_engine_options(Handle<Mutex<EngineOptions>>);
opaque!(planrt_engine_options, Mutex<EngineOptions>);

/// A loaded model: a plan on the GPU, or an ONNX model on the CPU, and what it says of itself. Any thread may use it,
/// several at once. Contexts keep it: it may be deleted before them.
#[allow(non_camel_case_types)]
pub struct planrt_engine(Handle<Arc<dyn Engine>>);
opaque!(planrt_engine, Arc<dyn Engine>);

/// One input or output of a model. Set `struct_size` to `sizeof(planrt_tensor_info)` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_tensor_info {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// UTF-8; it lives as long as the engine.
    pub name: *const c_char,
    /// `PLANRT_INPUT` or `PLANRT_OUTPUT`.
    pub role: planrt_tensor_role,
    /// The type of its elements.
    pub element_type: planrt_element_type,
    /// Where memory for `planrt_context_bind` must lie.
    pub memory_kind: planrt_memory_kind,
    /// The number of dimensions.
    pub rank: i32,
    /// Extents in elements, outermost first; -1 where the model leaves one open.
    pub shape: [i64; PLANRT_MAX_RANK],
}

/// The shapes that an input may have under one optimization profile. Set `struct_size` to
/// `sizeof(planrt_profile_shape)` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_profile_shape {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// The number of dimensions.
    pub rank: i32,
    /// The smallest extents, in elements.
    pub min: [i64; PLANRT_MAX_RANK],
    /// The extents that the plan was tuned for.
    pub opt: [i64; PLANRT_MAX_RANK],
    /// The largest extents.
    pub max: [i64; PLANRT_MAX_RANK],
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_tensor_info {
    const FIRST_SIZE: usize = 96;
    const NAME: &'static str = "planrt_tensor_info";
}
// SAFETY: as above.
unsafe impl Extensible for planrt_profile_shape {
    const FIRST_SIZE: usize = 208;
    const NAME: &'static str = "planrt_profile_shape";
}

/// Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_engine_options_delete`.
///
/// Requires: `options_out` is null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_new(options_out: *mut *mut planrt_engine_options) -> *mut planrt_error {
    export!(; options_out: Out<_> => {
        options_out.give(Handle::new(Mutex::default()));
        Ok(())
    })
}

/// Frees options. Null is accepted.
///
/// Requires: `options` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_delete(options: *mut planrt_engine_options) {
    delete!(options);
}

/// What runs ONNX models, those of model folders too: `PLANRT_BACKEND_CPU` (the default), `PLANRT_BACKEND_OPENVINO` or
/// `PLANRT_BACKEND_FASTEST_CPU`.
///
/// OpenVINO is faster, and its answers differ from the CPU engine's by what float32 rounds, so it is taken only where the
/// application says so. planrt has it compute in float32 and hands it the whole model, with the weights that lie in other files,
/// after the same checks as for the CPU engine; up to 2 GiB. Contexts, sessions, batches of independent items, cancelling and
/// threads are the same, but: the last bits of an answer may depend on the number of threads, and in a batch on how many items
/// run beside it; float64 inputs and outputs, and int64 inputs beyond 32 bits, are refused, since OpenVINO computes them in half
/// their width, and so is NaN in an input, of which its Relu, Clip, Max and others make numbers: NaN that comes up within the
/// model may not be seen in its outputs. What else of ONNX is known to come out otherwise is refused when the model is loaded, and
/// models of more than 10,000 nodes. OpenVINO has threads of its own, as many as `planrt_engine_options_set_cpu_threads` says. Which OpenVINO it is,
/// `planrt_runtime_options_set_openvino_path` says. Where there is none, or it does not take the model, loading with
/// `PLANRT_BACKEND_OPENVINO` fails.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_cpu_backend(
    options: *mut planrt_engine_options,
    backend: planrt_backend,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().cpu = match backend {
            PLANRT_BACKEND_CPU => CpuChoice::CpuEngine,
            PLANRT_BACKEND_OPENVINO => CpuChoice::OpenVino,
            PLANRT_BACKEND_FASTEST_CPU => CpuChoice::Fastest,
            _ => {
                let message = format!("{backend} is no backend for ONNX models on the CPU");
                return Err(Error::new(Code::InvalidArgument, message));
            }
        };
        Ok(())
    })
}

/// How many threads the CPU engine may use for a run; 0 (the default) for one a core, at most 1024. With 1 a run works
/// on the thread that calls; with more the engine has that many of its own, which its contexts share and which end with
/// it.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_cpu_threads(
    options: *mut planrt_engine_options,
    threads: i32,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().cpu_threads = usize::try_from(threads).ok().filter(|threads| *threads <= 1024).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("{threads} threads; take 0 for one a core, or 1 to 1024"))
        })?;
        Ok(())
    })
}

/// How many input shapes the CPU engine keeps ready. Each costs memory for the weights as that shape wants them, each
/// new shape the time to prepare it. 1 to 1024; 0 for the default, 4. Beside them an engine keeps the memory that its last
/// runs worked in, of as many runs as it has threads, until it is deleted or memory is short: the next run begins at once.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_cpu_shape_cache(
    options: *mut planrt_engine_options,
    shapes: i32,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().cpu_shape_cache = match usize::try_from(shapes) {
            Ok(0) => EngineOptions::default().cpu_shape_cache,
            Ok(shapes @ 1..=1024) => shapes,
            _ => {
                let message = format!("a cache of {shapes} shapes; take 0 for the default, or 1 to 1024");
                return Err(Error::new(Code::InvalidArgument, message));
            }
        };
        Ok(())
    })
}

/// The lean runtime (`libnvinfer_lean`) that is to run a plan: the one of the TensorRT that built it, for a plan that
/// is version-compatible and was built without its lean runtime inside (`kEXCLUDE_LEAN_RUNTIME`). The TensorRT that
/// planrt found, which may be the dispatch runtime, loads it. Null sets the default again: none. Plans only. TensorRT
/// 8.6 and later have it; with an earlier one the plan fails to load (`PLANRT_ERROR_UNSUPPORTED`).
///
/// Requires: `options` is alive, `path` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_lean_runtime(
    options: *mut planrt_engine_options,
    path: *const c_char,
) -> *mut planrt_error {
    export!(options; path: Option<&Path> => {
        options.lock().plan.lean_runtime = path.map(Path::to_owned);
        Ok(())
    })
}

/// As a budget for weight streaming: what TensorRT recommends for the memory that is free when the plan is loaded.
pub const PLANRT_WEIGHT_STREAMING_AUTOMATIC: i64 = -1;

/// How many bytes of device memory the weights of a plan may take; the rest stays in host memory and is streamed at
/// each run. For plans built with `kWEIGHT_STREAMING`; see `PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE`. A number of
/// bytes, or `PLANRT_WEIGHT_STREAMING_AUTOMATIC`. Without a call TensorRT's own default holds. Plans only. TensorRT
/// 10.1 and later have it; with an earlier one, or a plan that cannot stream, loading fails
/// (`PLANRT_ERROR_UNSUPPORTED`).
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_weight_streaming_budget(
    options: *mut planrt_engine_options,
    budget_bytes: i64,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().plan.weight_budget = Some(match budget_bytes {
            PLANRT_WEIGHT_STREAMING_AUTOMATIC => WeightBudget::Automatic,
            0.. => WeightBudget::Fixed(budget_bytes),
            _ => {
                let message = format!("a budget of {budget_bytes} bytes; take 0 or more");
                return Err(Error::new(Code::InvalidArgument, message));
            }
        });
        Ok(())
    })
}

/// Whether `planrt_engine_load_folder` may run the folder's ONNX model on the CPU where none of its plans runs here: slower
/// by far than the GPU, for an application that would rather wait than fail. Default false.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_cpu_allowed(
    options: *mut planrt_engine_options,
    allowed: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().cpu_allowed = allowed;
        Ok(())
    })
}

/// Whether `planrt_engine_load_folder` may load a folder whose passport has a `head` (`planrt-convert --fold-head`), and
/// `planrt_engine_load_file` a model in one: they give features, of which the model's channels have yet to be made. Segmenters over such an engine, or over its sessions, do that; whoever
/// else runs it has to. Default false: what comes out would be taken for the model's answer.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_features_allowed(
    options: *mut planrt_engine_options,
    allowed: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().features_allowed = allowed;
        Ok(())
    })
}

/// What `planrt_engine_load_folder` does where none of the folder's plans runs here: it builds one from its ONNX model, as
/// `build` says, and keeps it in the file `plan_path`, with what it was built from beside it (`.json`). A plan that is there
/// already is taken, if it is whole, of this model, and runs here; `build` is not compared: name another file for another. Of
/// several processes and threads one builds, and the others wait for it (`.lock`), hearing of that by the progress that `build`
/// has, by which they too can be cancelled. The file is there whole or not at all. Where no TensorRT can build it the
/// ONNX model may run on the CPU, as `planrt_engine_options_set_cpu_allowed` says. Null, the default, for both: none is built.
///
/// `build` is copied; what its progress is called with must be valid while a folder is loaded.
///
/// Requires: `options` is alive, `build` null or alive, `plan_path` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_options_set_build(
    options: *mut planrt_engine_options,
    build: *const planrt_build_options,
    plan_path: *const c_char,
) -> *mut planrt_error {
    export!(options; build: Option<Ref<'_, planrt_build_options>>, plan_path: Option<&Path> => {
        options.lock().build = match (build, plan_path) {
            (Some(build), Some(path)) => {
                Some(BuildRequest { options: build.lock().clone(), path: path.to_owned() })
            }
            (None, None) => None,
            (None, Some(_)) => return Err(Error::new(Code::InvalidArgument, "build is null, and plan_path is not")),
            (Some(_), None) => return Err(Error::new(Code::InvalidArgument, "plan_path is null, and build is not")),
        };
        Ok(())
    })
}

fn options_or_default(options: Option<Ref<'_, planrt_engine_options>>) -> EngineOptions {
    options.map(|options| options.lock().clone()).unwrap_or_default()
}

/// Loads a model from a file, which is mapped, not copied, and read to the end before the call returns; nobody may
/// shorten it meanwhile. What it is, is told by its content: a TensorRT plan runs on the runtime's CUDA device, an ONNX
/// model on the CPU. `options` may be null for the defaults. `*engine_out` is the caller's, for `planrt_engine_delete`.
/// Any thread.
///
/// Where an ONNX model's weights come to more than 16 MiB, the CPU engine does not keep them as the file has them, beside the
/// order in which its layers read them: it holds the file open, and those beside it that weights are in, and reads them again
/// when it prepares a shape. The files may be deleted and others be put in their places. A run for which they are read after
/// somebody wrote into them is an error, `PLANRT_ERROR_IO`.
///
/// Errors: `PLANRT_ERROR_NOT_FOUND`, `_IO`, `_INVALID_MODEL`, `_INCOMPATIBLE_MODEL`, `_MISSING_PLUGIN`, `_NO_CUDA`,
/// `_NO_TENSORRT`, `_NO_OPENVINO`, `_UNSUPPORTED`, `_OUT_OF_MEMORY`, `_TENSORRT`, `_OPENVINO`. `PLANRT_ERROR_UNSUPPORTED` also for a
/// model in a model folder with a `head`, which gives features (`planrt_engine_options_set_features_allowed`).
///
/// Requires: `runtime` is alive, `path` a string, `options` null or alive, `engine_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_load_file(
    runtime: *const planrt_runtime,
    path: *const c_char,
    options: *const planrt_engine_options,
    engine_out: *mut *mut planrt_engine,
) -> *mut planrt_error {
    export!(runtime; path: &Path, options: Option<Ref<'_, planrt_engine_options>>, engine_out: Out<_> => {
        let engine = runtime.load_file(path, &options_or_default(options))?;
        engine_out.give(Handle::logging(engine.clone(), engine.log()));
        Ok(())
    })
}

/// Loads a model from memory: as `planrt_engine_load_file`. `data` is read during the call only.
///
/// Requires: As for `planrt_engine_load_file`; `data` is readable for `size_bytes` bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_load_memory(
    runtime: *const planrt_runtime,
    data: *const c_void,
    size_bytes: usize,
    options: *const planrt_engine_options,
    engine_out: *mut *mut planrt_engine,
) -> *mut planrt_error {
    export!(runtime; data[size_bytes]: &[u8], options: Option<Ref<'_, planrt_engine_options>>, engine_out: Out<_> => {
        let engine = runtime.load_memory(data, &options_or_default(options))?;
        engine_out.give(Handle::logging(engine.clone(), engine.log()));
        Ok(())
    })
}

/// Loads a model from a model folder: as a model is delivered, with the ONNX model, plans of it for GPUs and TensorRTs, test
/// vectors, and the passport `planrt.json`, which has a hash of each (docs/folder.md describes it). Every file is held
/// against its hash first, once a process as long as it stays as it is, by all threads there are.
///
/// The first plan that runs here is taken, those for a GPU of this one's name before others. Where none runs the error
/// says of each why not; or one is built (`planrt_engine_options_set_build`), or the ONNX model runs on the CPU, if
/// `planrt_engine_options_set_cpu_allowed` allows that or the folder has no plans and none is to be built. `options` may be
/// null for the defaults. `*engine_out` is the caller's, for `planrt_engine_delete`. Any thread.
///
/// Errors: those of `planrt_engine_load_file`; `PLANRT_ERROR_INVALID_MODEL` where a file, or the passport, was changed, or a
/// link leads out of the folder, `_NOT_FOUND` where one is missing, `_UNSUPPORTED` for a passport of a later format:
/// the message names the file. `_UNSUPPORTED` also for what `planrt_segmenter_load` makes one model of: an ensemble of folders,
/// and a folder with a `head`, unless `planrt_engine_options_set_features_allowed` allows the engine without it. Where no plan
/// runs the code is that of all of them, or else `PLANRT_ERROR_INCOMPATIBLE_MODEL`.
///
/// Requires: `runtime` is alive, `folder` a string, `options` null or alive, `engine_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_load_folder(
    runtime: *const planrt_runtime,
    folder: *const c_char,
    options: *const planrt_engine_options,
    engine_out: *mut *mut planrt_engine,
) -> *mut planrt_error {
    export!(runtime; folder: &Path, options: Option<Ref<'_, planrt_engine_options>>, engine_out: Out<_> => {
        let options = options_or_default(options);
        let folder = Folder::open(folder)?;
        if !options.features_allowed {
            folder.check_whole()?;
        }
        let engine = folder.load(runtime, &options)?;
        engine_out.give(Handle::logging(engine.clone(), engine.log()));
        Ok(())
    })
}

/// Runs the test vectors of a model folder on an engine that was loaded from it, on the machine where it is to work, and
/// holds the answers against the passport's, within the tolerance that it names for that plan. Files are held against their
/// hashes as in `planrt_engine_load_folder`. Any thread.
///
/// `report_out` is null, or `*report_out` receives what was found, as JSON, for `planrt_string_delete`: an object with
/// `agrees`, true; `tolerance`, an object with `rtol` and `atol`; and `tests`, an array of objects with `name` and `outputs`,
/// an array of objects with `name`, `agrees`, `elements`, `elements_off`, `largest_difference` and `mean_difference`.
///
/// Errors: `PLANRT_ERROR_SELF_TEST` where an answer is another: do not use the model here; the detail says which outputs are
/// off and by how much. `_INVALID_ARGUMENT` where the engine was not loaded from this folder; `_NOT_FOUND` where the folder
/// has no test vectors; those of `planrt_engine_load_folder` and `planrt_context_run`.
///
/// Requires: `engine` is alive, `folder` a string, `report_out` null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_self_test(
    engine: *const planrt_engine,
    folder: *const c_char,
    report_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(engine; folder: &Path, report_out: Option<Out<_>> => {
        let report = Folder::open(folder)?.self_test(engine)?.into_result()?;
        if let Some(report_out) = report_out {
            report_out.give_text(report.to_string());
        }
        Ok(())
    })
}

/// Lets go of an engine; its contexts go on. Null is accepted.
///
/// Requires: `engine` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_delete(engine: *mut planrt_engine) {
    delete!(engine);
}

/// Which engine runs the model: one of the `PLANRT_BACKEND_` constants; 0 for a bad handle. Any thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_backend(engine: *const planrt_engine) -> planrt_backend {
    export!(engine; else 0 => engine.description().backend as i32)
}

/// The model's name, as its builder gave it, in UTF-8; it lives as long as the engine. Empty where it has none. Any
/// thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_name(engine: *const planrt_engine) -> *const c_char {
    export!(engine; else c"".as_ptr() => engine.description().name.as_ptr())
}

/// What the model runs on, for people: "NVIDIA H100 80GB HBM3", "CPU, 8 threads". It lives as long as the engine. Any
/// thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_device_name(engine: *const planrt_engine) -> *const c_char {
    export!(engine; else c"".as_ptr() => engine.description().device_name.as_ptr())
}

/// The number of inputs and outputs together; 0 for a bad handle. Any thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_tensor_count(engine: *const planrt_engine) -> i32 {
    export!(engine; else 0 => i32::try_from(engine.description().tensors.len()).unwrap_or(i32::MAX))
}

/// One input or output: inputs come first, each in the model's order. Any thread.
///
/// Requires: `engine` is alive, `info_out` writable, its `struct_size` set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_tensor_info(
    engine: *const planrt_engine,
    index: i32,
    info_out: *mut planrt_tensor_info,
) -> *mut planrt_error {
    export!(engine; info_out: OutStruct<'_, _> => {
        let tensors = &engine.description().tensors;
        let info = usize::try_from(index).ok().and_then(|i| tensors.get(i)).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("tensor {index} of {}; they begin at 0", tensors.len()))
        })?;
        info_out.set(planrt_tensor_info {
            struct_size: 0,
            name: info.name.as_ptr(),
            role: info.role as i32,
            element_type: info.element_type as i32,
            memory_kind: info.memory_kind as i32,
            rank: info.shape.len() as i32,
            shape: extents(&info.shape),
        });
        Ok(())
    })
}

/// The index of the tensor of that name. Any thread.
///
/// Errors: `PLANRT_ERROR_NOT_FOUND`, with the names that there are.
///
/// Requires: `engine` is alive, `name` a string, `index_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_find_tensor(
    engine: *const planrt_engine,
    name: *const c_char,
    index_out: *mut i32,
) -> *mut planrt_error {
    export!(engine; name: &str, index_out: Out<_> => {
        index_out.set(engine.description().find(name)? as i32);
        Ok(())
    })
}

/// The number of optimization profiles; 0 where there are none: an engine on the CPU takes every shape that the model
/// does. Any thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_profile_count(engine: *const planrt_engine) -> i32 {
    export!(engine; else 0 => engine.description().profiles.len() as i32)
}

/// The shapes that an input may have under a profile. Any thread.
///
/// Requires: `engine` is alive, `input` a string, `shape_out` writable, its `struct_size` set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_profile_shape(
    engine: *const planrt_engine,
    profile: i32,
    input: *const c_char,
    shape_out: *mut planrt_profile_shape,
) -> *mut planrt_error {
    export!(engine; input: &str, shape_out: OutStruct<'_, _> => {
        let description = engine.description();
        let tensor = description.find(input)?;
        let ranges = description.profile(profile)?;
        let range = ranges[tensor].ok_or_else(|| {
            let name = description.tensors[tensor].quoted();
            Error::new(Code::InvalidArgument, format!("profiles hold shapes of inputs; {name} is an output"))
        })?;
        shape_out.set(planrt_profile_shape {
            struct_size: 0,
            rank: range.min.len() as i32,
            min: extents(&range.min),
            opt: extents(&range.opt),
            max: extents(&range.max),
        });
        Ok(())
    })
}

/// Bytes of device memory that one context takes, besides its inputs and outputs; 0 on the CPU. Any thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_device_memory_size(engine: *const planrt_engine) -> usize {
    export!(engine; else 0 => engine.description().device_memory_size)
}

/// Bytes of device memory that one context takes under a profile, besides its inputs and outputs; 0 on the CPU.
/// TensorRT 8 knows the largest profile's only, which it is then. Any thread.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` where there is no such profile.
///
/// Requires: `engine` is alive, `size_bytes_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_profile_device_memory_size(
    engine: *const planrt_engine,
    profile: i32,
    size_bytes_out: *mut usize,
) -> *mut planrt_error {
    export!(engine; size_bytes_out: Out<_> => {
        engine.description().profile(profile)?;
        size_bytes_out.set(engine.profile_device_memory_size(profile as usize));
        Ok(())
    })
}

/// A number that TensorRT knows of a plan. Any thread.
///
/// Errors: `PLANRT_ERROR_UNSUPPORTED` with the version that has it where this TensorRT has not, and on the CPU.
///
/// Requires: `engine` is alive, `value_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_statistic(
    engine: *const planrt_engine,
    statistic: planrt_statistic,
    value_out: *mut i64,
) -> *mut planrt_error {
    export!(engine; value_out: Out<_> => {
        let statistic = Statistic::from_code(statistic).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("{statistic} is no statistic; take a PLANRT_STATISTIC_ constant"))
        })?;
        value_out.set(engine.statistic(statistic)?);
        Ok(())
    })
}

/// The name that the model gives to an extent that it leaves open (ONNX's `dim_param`), in UTF-8; it lives as long as
/// the engine. Extents of the same name have to be the same in one run. Null where there is no name: for extents that
/// are fixed, for a model that gives none, for a plan, since TensorRT keeps none, and where there is no such tensor or
/// axis. Any thread.
///
/// Requires: `engine` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_dimension_name(
    engine: *const planrt_engine,
    tensor: i32,
    axis: i32,
) -> *const c_char {
    export!(engine; else std::ptr::null() => {
        let place = usize::try_from(tensor).ok().zip(usize::try_from(axis).ok());
        place
            .and_then(|(tensor, axis)| engine.dimension_name(tensor, axis))
            .map_or(std::ptr::null(), std::ffi::CStr::as_ptr)
    })
}

/// What the model's file says of itself, as JSON: an object with `format`, "onnx" or "plan", and `name`, the model's.
///
/// For "onnx" also `producer_name`, `producer_version`, `domain` and `description`, strings, empty where the file says
/// nothing; `ir_version` and `model_version`, numbers; `opsets`, an array of objects with `domain`, a string, and
/// `version`, a number; `properties`, an object with what the model's maker put there (`metadata_props`), strings by
/// their keys.
///
/// For "plan" also `builder` ("TensorRT" or "TensorRT-RTX"), `builder_version` ("10.13.3") and `compute_capability`
/// ("9.0", of the GPU that it was built for), strings, null where the plan's header does not say.
///
/// Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
///
/// Requires: `engine` is alive, `json_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_metadata_json(
    engine: *const planrt_engine,
    json_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(engine; json_out: Out<_> => {
        json_out.give_text(engine.metadata().to_string());
        Ok(())
    })
}

/// The model's layers as JSON: `{"Layers": [...]}`. Of a plan it is what TensorRT's engine inspector says: names, or
/// objects with fields of that TensorRT version where the plan was built with detailed profiling. Of an ONNX model each
/// layer is an object with `Name` and `LayerType` (the operator), strings, and `Inputs` and `Outputs`, arrays of
/// tensors' names. Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
///
/// Requires: `engine` is alive, `json_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_engine_get_layers_json(
    engine: *const planrt_engine,
    json_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(engine; json_out: Out<_> => {
        json_out.give_text(engine.layers_json()?);
        Ok(())
    })
}
