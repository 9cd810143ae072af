//! `planrt_build_options`, `planrt_plan`: from an ONNX model to a plan.

use super::argument::{Out, Ref};
use super::engine::planrt_profile_shape;
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::runtime::planrt_runtime;
use super::structs::Struct;
use super::tensor::PLANRT_MAX_RANK;
use super::{delete, export};
use crate::build::{self, Bounds, InstanceNormalization, Options, Step, precision};
use crate::error::{Code, Error, Result};
use crate::process::as_application;
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;
use tensorrt_sys::{HardwareCompatibilityLevel, TacticSource};

/// In what a plan may compute: `PLANRT_PRECISION_` constants, joined by `|`; 0 for float32 alone.
#[allow(non_camel_case_types)]
pub type planrt_precision = u32;

/// Float32 with the multiplications' mantissas cut to 10 bits. TensorRT's own default, but not planrt's.
pub const PLANRT_PRECISION_TF32: planrt_precision = 1;
/// Float16 where it is faster. TensorRT 8 and 10.
pub const PLANRT_PRECISION_FLOAT16: planrt_precision = 2;
/// Bfloat16 where it is faster. TensorRT 10.
pub const PLANRT_PRECISION_BFLOAT16: planrt_precision = 4;
/// Int8, with the scales that the model's QuantizeLinear and DequantizeLinear nodes say; a model without is refused.
pub const PLANRT_PRECISION_INT8: planrt_precision = 8;
/// All of these that this TensorRT, GPU and model have. Scales are never made up.
pub const PLANRT_PRECISION_BEST: planrt_precision = 16;
/// Exactly the types in the model. TensorRT 10; all plans of TensorRT 11 and TensorRT-RTX are such.
pub const PLANRT_PRECISION_TYPED: planrt_precision = 32;

/// What a plan is to be capable of: `PLANRT_BUILD_` constants, joined by `|`.
#[allow(non_camel_case_types)]
pub type planrt_build_features = u32;

/// It runs with later TensorRTs. 8.6 and later.
pub const PLANRT_BUILD_VERSION_COMPATIBLE: planrt_build_features = 1;
/// It does so without its lean runtime inside; see `planrt_engine_options_set_lean_runtime`.
pub const PLANRT_BUILD_EXCLUDE_LEAN_RUNTIME: planrt_build_features = 2;
/// Its weights can be replaced.
pub const PLANRT_BUILD_REFITTABLE: planrt_build_features = 4;
/// It lacks its weights, which are put in by refitting. TensorRT 10 and later.
pub const PLANRT_BUILD_STRIP_WEIGHTS: planrt_build_features = 8;
/// Its weights can be streamed; see `planrt_engine_options_set_weight_streaming_budget`. TensorRT 10 and later.
pub const PLANRT_BUILD_WEIGHT_STREAMING: planrt_build_features = 16;
/// Weights that are sparse may be taken for such.
pub const PLANRT_BUILD_SPARSE_WEIGHTS: planrt_build_features = 32;
/// `planrt_engine_get_layers_json` tells all of its layers.
pub const PLANRT_BUILD_DETAILED_LAYERS: planrt_build_features = 64;

const FEATURES: planrt_build_features = 127;

/// On which GPUs a plan runs beside the kind it was built on. TensorRT 8.6 and later.
#[allow(non_camel_case_types)]
pub type planrt_hardware_compatibility = i32;

/// On none.
pub const PLANRT_HARDWARE_SAME: planrt_hardware_compatibility = 0;
/// On Ampere and everything newer.
pub const PLANRT_HARDWARE_AMPERE_PLUS: planrt_hardware_compatibility = 1;
/// On all of the same compute capability. TensorRT 10.9 and later.
pub const PLANRT_HARDWARE_SAME_COMPUTE_CAPABILITY: planrt_hardware_compatibility = 2;

/// Where TensorRT may take kernels from, beside its own: `PLANRT_TACTICS_` constants, joined by `|`.
#[allow(non_camel_case_types)]
pub type planrt_tactics = u32;

/// cuBLAS. TensorRT 8 and 10.
pub const PLANRT_TACTICS_CUBLAS: planrt_tactics = 1;
/// cuBLASLt. TensorRT 8 and 10.
pub const PLANRT_TACTICS_CUBLAS_LT: planrt_tactics = 2;
/// cuDNN. TensorRT 8 and 10.
pub const PLANRT_TACTICS_CUDNN: planrt_tactics = 4;
/// Convolutions with tables of what lies outside of the input, which take memory.
pub const PLANRT_TACTICS_EDGE_MASK_CONVOLUTIONS: planrt_tactics = 8;
/// Convolutions that are compiled for their layer.
pub const PLANRT_TACTICS_JIT_CONVOLUTIONS: planrt_tactics = 16;

/// What the constants stand for.
const SOURCES: [(planrt_tactics, TacticSource); 5] = [
    (PLANRT_TACTICS_CUBLAS, TacticSource::Cublas),
    (PLANRT_TACTICS_CUBLAS_LT, TacticSource::CublasLt),
    (PLANRT_TACTICS_CUDNN, TacticSource::Cudnn),
    (PLANRT_TACTICS_EDGE_MASK_CONVOLUTIONS, TacticSource::EdgeMaskConvolutions),
    (PLANRT_TACTICS_JIT_CONVOLUTIONS, TacticSource::JitConvolutions),
];

fn tactic_sources(bits: planrt_tactics) -> Result<Vec<TacticSource>> {
    let known = SOURCES.iter().fold(0, |all, (bit, _)| all | bit);
    if bits & !known != 0 {
        let message = format!("{:#x} is no source of tactics; take PLANRT_TACTICS_ constants", bits & !known);
        return Err(Error::new(Code::InvalidArgument, message));
    }
    Ok(SOURCES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, source)| *source).collect())
}

/// What InstanceNormalization becomes.
#[allow(non_camel_case_types)]
pub type planrt_instance_normalization = i32;

/// TensorRT's own layers in 8.6 and later. In 8.5 the plugin where cuDNN 8 is there and used (`planrt_build_options_set_tactics`), the
/// plan's weights are not to be replaced, and the model brings all scales and biases, in float32, since a network of scans is up to twice as
/// fast with it; a warning says so. Else decomposed; what cannot be decomposed is the plugin.
pub const PLANRT_INSTANCE_NORMALIZATION_DEFAULT: planrt_instance_normalization = 0;
/// TensorRT's own layers: 8.6 and later.
pub const PLANRT_INSTANCE_NORMALIZATION_NATIVE: planrt_instance_normalization = 1;
/// The plugin, which needs libnvinfer_plugin and cuDNN when the plan is built and when it runs. Two runs of it that share a GPU may wait for
/// each other for ever, so runs of plans with it take turns on the GPU throughout the process, and a warning says so when one is loaded.
/// CUDA graphs that the application captures, and other processes under CUDA's MPS, take no turns.
pub const PLANRT_INSTANCE_NORMALIZATION_PLUGIN: planrt_instance_normalization = 2;
/// Means, products and a root, which every TensorRT computes itself, and no library beside it. The mean and the deviation
/// are computed in float32 whatever the precision. It takes models of opset 7 and later whose tensors' ranks follow from
/// what the model says; another is refused (`PLANRT_ERROR_UNSUPPORTED`).
pub const PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED: planrt_instance_normalization = 3;

const _: () = assert!(
    PLANRT_PRECISION_TF32 == precision::TF32
        && PLANRT_PRECISION_FLOAT16 == precision::FLOAT16
        && PLANRT_PRECISION_BFLOAT16 == precision::BFLOAT16
        && PLANRT_PRECISION_INT8 == precision::INT8
        && PLANRT_PRECISION_BEST == precision::BEST
        && PLANRT_PRECISION_TYPED == precision::TYPED
        && PLANRT_HARDWARE_SAME == HardwareCompatibilityLevel::None as i32
        && PLANRT_HARDWARE_AMPERE_PLUS == HardwareCompatibilityLevel::AmperePlus as i32
        && PLANRT_HARDWARE_SAME_COMPUTE_CAPABILITY == HardwareCompatibilityLevel::SameComputeCapability as i32
        && PLANRT_INSTANCE_NORMALIZATION_DEFAULT == InstanceNormalization::Default as i32
        && PLANRT_INSTANCE_NORMALIZATION_NATIVE == InstanceNormalization::Native as i32
        && PLANRT_INSTANCE_NORMALIZATION_PLUGIN == InstanceNormalization::Plugin as i32
        && PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED == InstanceNormalization::Decomposed as i32
);

/// Hears how far a build is: `done` of `steps` steps of a phase, which may be part of another one (`parent`, else null);
/// false ends the build with `PLANRT_ERROR_CANCELLED`. Before TensorRT 10 a build is heard, and can be ended, between its
/// phases only. Called during the call that builds, one call at a time, also from TensorRT's own threads. The strings
/// live during the call. It must neither throw nor end its thread, nor call planrt with what the build is about.
#[allow(non_camel_case_types)]
pub type planrt_build_progress = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        phase: *const c_char,
        parent: *const c_char,
        done: i32,
        steps: i32,
    ) -> bool,
>;

/// How a plan is to be built. One thread at a time. Made by `planrt_build_options_new`, owned by the caller.
#[allow(non_camel_case_types)]
pub struct planrt_build_options(Handle<Mutex<Options>>);
opaque!(planrt_build_options, Mutex<Options>);

/// A plan in memory. Any thread may use it.
#[allow(non_camel_case_types)]
pub struct planrt_plan(Handle<Vec<u8>>);
opaque!(planrt_plan, Vec<u8>);

/// Makes options that hold the defaults: float32, no profile, all the workspace that there is. `*options_out` is the
/// caller's, for `planrt_build_options_delete`.
///
/// Requires: `options_out` is null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_new(options_out: *mut *mut planrt_build_options) -> *mut planrt_error {
    export!(; options_out: Out<_> => {
        options_out.give(Handle::new(Mutex::default()));
        Ok(())
    })
}

/// Frees options. Null is accepted.
///
/// Requires: `options` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_delete(options: *mut planrt_build_options) {
    delete!(options);
}

/// The shapes that an input takes in an optimization profile. Profiles are numbered from 0, and a new one is the next.
/// A model whose inputs' shapes are fixed needs none; where only the first dimension is open and no profile is set, the
/// plan takes a batch of 1. For an input that is itself a shape these are its values. Of two calls for an input of a profile the
/// later one counts.
///
/// Errors: `PLANRT_ERROR_SHAPE` when the plan is built, where the shapes fall, or are not the model's.
///
/// Requires: `options` is alive, `input` a string, `shape` readable, its `struct_size` set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_profile_shape(
    options: *mut planrt_build_options,
    profile: i32,
    input: *const c_char,
    shape: *const planrt_profile_shape,
) -> *mut planrt_error {
    export!(options; input: &str, shape: Struct<_> => {
        let Struct(planrt_profile_shape { rank, min, opt, max, .. }) = shape;
        let rank = usize::try_from(rank).ok().filter(|rank| *rank <= PLANRT_MAX_RANK).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("a rank of {rank}; it is 0 to {PLANRT_MAX_RANK}"))
        })?;
        let (min, opt, max) = (Shape::new(&min[..rank])?, Shape::new(&opt[..rank])?, Shape::new(&max[..rank])?);
        let mut options = options.lock();
        let count = options.profiles.len();
        let profile = usize::try_from(profile).ok().filter(|profile| *profile <= count).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("profile {profile}; there are {count}, and the next is {count}"))
        })?;
        if profile == count {
            options.profiles.push(Vec::new());
        }
        let bounds = &mut options.profiles[profile];
        bounds.retain(|bounds| bounds.input != input);
        bounds.push(Bounds { input: input.to_owned(), min, opt, max });
        Ok(())
    })
}

/// In what the plan may compute, beside float32: `PLANRT_PRECISION_` constants. Default 0.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_precision(
    options: *mut planrt_build_options,
    precision: planrt_precision,
) -> *mut planrt_error {
    export!(options; => {
        if precision & !precision::ALL != 0 {
            let message = format!("{precision:#x} is no precision; take PLANRT_PRECISION_ constants");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        options.lock().precision = precision;
        Ok(())
    })
}

/// Keeps the layers of a node of the model, by its name, in float32. May be called more than once. TensorRT 8 and 10.
///
/// Requires: `options` is alive, `node` a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_keep_float32_node(
    options: *mut planrt_build_options,
    node: *const c_char,
) -> *mut planrt_error {
    export!(options; node: &str => {
        options.lock().float32_nodes.push(node.to_owned());
        Ok(())
    })
}

/// Keeps the layers of all nodes of an operator ("InstanceNormalization") in float32. May be called more than once.
/// TensorRT 8 and 10.
///
/// Requires: `options` is alive, `operator_type` a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_keep_float32_operator(
    options: *mut planrt_build_options,
    operator_type: *const c_char,
) -> *mut planrt_error {
    export!(options; operator_type: &str => {
        options.lock().float32_operators.push(operator_type.to_owned());
        Ok(())
    })
}

/// How many bytes of device memory a layer may take while it runs; 0, the default, for all that there is.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_workspace_limit(
    options: *mut planrt_build_options,
    limit_bytes: usize,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().workspace_bytes = Some(limit_bytes).filter(|bytes| *bytes != 0);
        Ok(())
    })
}

/// A file with the times that builds have measured. It is read where it is there, and written when a plan is built; one
/// of another TensorRT or GPU begins anew. A build refuses a model or a plan there (`PLANRT_ERROR_INVALID_ARGUMENT`), over which the
/// times would be written. Null, the default, for none.
///
/// Requires: `options` is alive, `path` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_timing_cache(
    options: *mut planrt_build_options,
    path: *const c_char,
) -> *mut planrt_error {
    export!(options; path: Option<&Path> => {
        options.lock().timing_cache = path.map(Path::to_owned);
        Ok(())
    })
}

/// How hard TensorRT looks for fast kernels, 0 to 5; 3 unless it is set. TensorRT 8.6 and later.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_optimization_level(
    options: *mut planrt_build_options,
    level: i32,
) -> *mut planrt_error {
    export!(options; => {
        if !(0..=5).contains(&level) {
            return Err(Error::new(Code::InvalidArgument, format!("an optimization level of {level}; it is 0 to 5")));
        }
        options.lock().optimization_level = Some(level);
        Ok(())
    })
}

/// From where TensorRT takes kernels: those that it uses of its own accord, and those of `use_too`, without those of
/// `use_not`; `PLANRT_TACTICS_` constants. Default 0 and 0. A plan that is built without cuBLAS and cuDNN needs neither of
/// them when it is built or runs, unless a plugin does. Building with `use_too` of a TensorRT that lacks one fails
/// (`PLANRT_ERROR_UNSUPPORTED`); in `use_not` that is no error.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_tactics(
    options: *mut planrt_build_options,
    use_too: planrt_tactics,
    use_not: planrt_tactics,
) -> *mut planrt_error {
    export!(options; => {
        if use_too & use_not != 0 {
            let message = format!("{:#x} is both to be used and not to be", use_too & use_not);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let (added, taken) = (tactic_sources(use_too)?, tactic_sources(use_not)?);
        let mut options = options.lock();
        (options.tactics_added, options.tactics_taken) = (added, taken);
        Ok(())
    })
}

/// What the plan is to be capable of: `PLANRT_BUILD_` constants. Default 0. Building with a TensorRT that lacks one
/// fails (`PLANRT_ERROR_UNSUPPORTED`).
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_features(
    options: *mut planrt_build_options,
    features: planrt_build_features,
) -> *mut planrt_error {
    export!(options; => {
        if features & !FEATURES != 0 {
            let message = format!("{features:#x} is no feature; take PLANRT_BUILD_ constants");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let has = |feature| features & feature != 0;
        let mut options = options.lock();
        options.version_compatible = has(PLANRT_BUILD_VERSION_COMPATIBLE);
        options.exclude_lean_runtime = has(PLANRT_BUILD_EXCLUDE_LEAN_RUNTIME);
        options.refittable = has(PLANRT_BUILD_REFITTABLE);
        options.strip_weights = has(PLANRT_BUILD_STRIP_WEIGHTS);
        options.weight_streaming = has(PLANRT_BUILD_WEIGHT_STREAMING);
        options.sparse_weights = has(PLANRT_BUILD_SPARSE_WEIGHTS);
        options.detailed_layers = has(PLANRT_BUILD_DETAILED_LAYERS);
        Ok(())
    })
}

/// On which GPUs the plan runs: a `PLANRT_HARDWARE_` constant. Default `PLANRT_HARDWARE_SAME`.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_hardware_compatibility(
    options: *mut planrt_build_options,
    compatibility: planrt_hardware_compatibility,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().hardware_compatibility = HardwareCompatibilityLevel::try_from(compatibility).map_err(|_| {
            Error::new(Code::InvalidArgument, format!("{compatibility} is no PLANRT_HARDWARE_ constant"))
        })?;
        Ok(())
    })
}

/// What InstanceNormalization becomes: a `PLANRT_INSTANCE_NORMALIZATION_` constant.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_instance_normalization(
    options: *mut planrt_build_options,
    kind: planrt_instance_normalization,
) -> *mut planrt_error {
    export!(options; => {
        use InstanceNormalization::{Decomposed, Default, Native, Plugin};
        let found = [Default, Native, Plugin, Decomposed].into_iter().find(|known| *known as i32 == kind);
        options.lock().instance_normalization = found.ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("{kind} is no PLANRT_INSTANCE_NORMALIZATION_ constant"))
        })?;
        Ok(())
    })
}

/// The folder in which a model from memory keeps weights in files of their own. Null, the default, for none; a model
/// from a file has them in its own folder.
///
/// Requires: `options` is alive, `path` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_weights_folder(
    options: *mut planrt_build_options,
    path: *const c_char,
) -> *mut planrt_error {
    export!(options; path: Option<&Path> => {
        options.lock().weights_folder = path.map(Path::to_owned);
        Ok(())
    })
}

/// Who hears how far a build is, and may end it. Null, the default, for nobody. `user_data` is handed to each call.
///
/// Requires: `options` is alive; the callback may be called with `user_data` from any thread while a plan is built.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_options_set_progress(
    options: *mut planrt_build_options,
    callback: planrt_build_progress,
    user_data: *mut c_void,
) -> *mut planrt_error {
    export!(options; => {
        let listener = callback.map(|callback| Listener { callback, user_data });
        options.lock().progress = listener.map(|listener| -> build::Callback { Arc::new(move |step| listener.tell(step)) });
        Ok(())
    })
}

/// The application's function, and what it wants to be handed back.
struct Listener {
    callback: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, i32, i32) -> bool,
    user_data: *mut c_void,
}

// SAFETY: the header asks that the callback and its user data may be used from any thread.
unsafe impl Send for Listener {}
// SAFETY: as above.
unsafe impl Sync for Listener {}

impl Listener {
    fn tell(&self, step: &Step<'_>) -> bool {
        let text = |text: &str| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        let (phase, parent) = (text(step.phase), step.parent.map(text));
        let parent = parent.as_ref().map_or(std::ptr::null(), |parent| parent.as_ptr());
        // SAFETY: the application's function, called as it was declared.
        as_application(|| unsafe { (self.callback)(self.user_data, phase.as_ptr(), parent, step.done, step.steps) })
    }
}

/// Builds a plan from an ONNX file, whose weights may be in other files of its folder, with the TensorRT and for the GPU
/// of the runtime. (TensorRT-RTX builds without a GPU.) Minutes may pass. `options` may be null for the defaults and is
/// copied. `*plan_out` is the caller's, for `planrt_plan_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_NOT_FOUND` (also an input, node or operator that the model has not), `_IO`, `_INVALID_MODEL`,
/// `_UNSUPPORTED` (a node that TensorRT's parser does not take, by its name; an option that this TensorRT has not; a
/// TensorRT without a builder), `_SHAPE`, `_NO_CUDA`, `_NO_TENSORRT`, `_MISSING_PLUGIN`, `_OUT_OF_MEMORY`, `_CANCELLED`,
/// `_TENSORRT`.
///
/// Requires: `runtime` is alive, `onnx_path` a string, `options` null or alive, `plan_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_file(
    runtime: *const planrt_runtime,
    onnx_path: *const c_char,
    options: *const planrt_build_options,
    plan_out: *mut *mut planrt_plan,
) -> *mut planrt_error {
    export!(runtime; onnx_path: &Path, options: Option<Ref<'_, planrt_build_options>>, plan_out: Out<_> => {
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        plan_out.give(Handle::new(build::from_file(runtime, onnx_path, &options)?));
        Ok(())
    })
}

/// Builds a plan from an ONNX model in memory: as `planrt_build_file`. `onnx` is read during the call only.
///
/// Requires: As for `planrt_build_file`; `onnx` is readable for `size_bytes` bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_build_memory(
    runtime: *const planrt_runtime,
    onnx: *const c_void,
    size_bytes: usize,
    options: *const planrt_build_options,
    plan_out: *mut *mut planrt_plan,
) -> *mut planrt_error {
    export!(runtime; onnx[size_bytes]: &[u8], options: Option<Ref<'_, planrt_build_options>>, plan_out: Out<_> => {
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        plan_out.give(Handle::new(build::from_memory(runtime, onnx, &options)?));
        Ok(())
    })
}

/// Puts the weights of an ONNX model into a plan of the same graph, whose layers, shapes and precisions stay as they were
/// built: in seconds, where a build takes minutes. A plan that was built without its weights
/// (`PLANRT_BUILD_STRIP_WEIGHTS`) becomes whole so. The plan was built refittable (`PLANRT_BUILD_REFITTABLE`) by this
/// TensorRT. `*plan_out` is a new plan, the caller's, for `planrt_plan_delete`; the old one is as it was.
///
/// Of `options`, which may be null for the defaults and is copied, InstanceNormalization (as when the plan was built), the
/// folder of weights and the progress count. Any thread.
///
/// Errors: `PLANRT_ERROR_INCOMPATIBLE_MODEL` for a model of another graph (it names the layer or the weights), or a plan
/// that does not run here; `_UNSUPPORTED` for a plan that was not built to be refitted, InstanceNormalization as a plugin,
/// and a TensorRT without a parser; `_NOT_FOUND`, `_IO`, `_INVALID_MODEL`, `_NO_CUDA`, `_NO_TENSORRT`, `_CANCELLED`,
/// `_TENSORRT`.
///
/// Requires: `runtime` is alive, the paths are strings, `options` null or alive, `plan_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_refit_file(
    runtime: *const planrt_runtime,
    plan_path: *const c_char,
    onnx_path: *const c_char,
    options: *const planrt_build_options,
    plan_out: *mut *mut planrt_plan,
) -> *mut planrt_error {
    export!(runtime;
        plan_path: &Path,
        onnx_path: &Path,
        options: Option<Ref<'_, planrt_build_options>>,
        plan_out: Out<_>
    => {
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        plan_out.give(Handle::new(build::refit_file(runtime, plan_path, onnx_path, &options)?));
        Ok(())
    })
}

/// Puts the weights of an ONNX model in memory into a plan in memory: as `planrt_refit_file`. Both are read during the
/// call only.
///
/// Requires: As for `planrt_refit_file`; `plan` is readable for `plan_bytes` bytes, `onnx` for `onnx_bytes`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_refit_memory(
    runtime: *const planrt_runtime,
    plan: *const c_void,
    plan_bytes: usize,
    onnx: *const c_void,
    onnx_bytes: usize,
    options: *const planrt_build_options,
    plan_out: *mut *mut planrt_plan,
) -> *mut planrt_error {
    export!(runtime;
        plan[plan_bytes]: &[u8],
        onnx[onnx_bytes]: &[u8],
        options: Option<Ref<'_, planrt_build_options>>,
        plan_out: Out<_>
    => {
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        plan_out.give(Handle::new(build::refit_memory(runtime, plan, onnx, &options)?));
        Ok(())
    })
}

/// A plan's bytes, for `planrt_engine_load_memory`; they live as long as the plan. Null for a bad handle. Any thread.
///
/// Requires: `plan` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_plan_get_data(plan: *const planrt_plan) -> *const c_void {
    export!(plan; else std::ptr::null() => plan.as_ptr().cast())
}

/// How many bytes a plan has; 0 for a bad handle. Any thread.
///
/// Requires: `plan` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_plan_get_size(plan: *const planrt_plan) -> usize {
    export!(plan; else 0 => plan.len())
}

/// Writes a plan to a file. The file is there whole or not at all: it takes the place of an old one when all of it is on
/// the disk. Any thread.
///
/// Errors: `PLANRT_ERROR_IO`; the old file is as it was.
///
/// Requires: `plan` is alive, `path` a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_plan_save(plan: *const planrt_plan, path: *const c_char) -> *mut planrt_error {
    export!(plan; path: &Path => crate::file::write(path, plan))
}

/// Frees a plan. Null is accepted.
///
/// Requires: `plan` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_plan_delete(plan: *mut planrt_plan) {
    delete!(plan);
}
