//! `planrt_runtime_options` and `planrt_runtime`.

use super::argument::{Out, Ref};
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::log::{log_level, planrt_log_callback, planrt_log_level, planrt_release_callback};
use super::{delete, export};
use crate::error::{Code, Error};
use crate::log::Sink;
use crate::runtime::{Options, Runtime};
use crate::sync::Mutex;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

/// How a runtime is to be made. One thread at a time. Made by `planrt_runtime_options_new`, owned by the caller, free
/// to be deleted as soon as the runtime is made.
#[allow(non_camel_case_types)]
pub struct planrt_runtime_options(Handle<Mutex<Options>>);
opaque!(planrt_runtime_options, Mutex<Options>);

/// What was found and loaded: the CUDA driver, the device, the TensorRT library, and the log they share. Any thread may
/// use it, several at once. Engines, streams and buffers keep what they need of it: it may be deleted before them.
#[allow(non_camel_case_types)]
pub struct planrt_runtime(Handle<Arc<Runtime>>);
opaque!(planrt_runtime, Arc<Runtime>);

/// Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_runtime_options_delete`.
///
/// Requires: `options_out` is null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_new(
    options_out: *mut *mut planrt_runtime_options,
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
pub unsafe extern "C" fn planrt_runtime_options_delete(options: *mut planrt_runtime_options) {
    delete!(options);
}

/// The CUDA device by its ordinal, as `nvidia-smi` and `CUDA_VISIBLE_DEVICES` leave it. Default 0.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_set_device(
    options: *mut planrt_runtime_options,
    ordinal: i32,
) -> *mut planrt_error {
    export!(options; => {
        if ordinal < 0 {
            return Err(Error::new(Code::InvalidArgument, format!("the device's ordinal is {ordinal}; they begin at 0")));
        }
        options.lock().device = ordinal;
        Ok(())
    })
}

/// The TensorRT library to use: its file, or the folder that it is in. Without it planrt looks at the environment
/// variable `PLANRT_TENSORRT` (the same; it is read when TensorRT is looked for, and no thread may change the environment
/// meanwhile), then for a libnvinfer that the process has loaded already, then on the loader's path. Null sets the default
/// again.
///
/// Requires: `options` is alive, `path` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_set_tensorrt_path(
    options: *mut planrt_runtime_options,
    path: *const c_char,
) -> *mut planrt_error {
    export!(options; path: Option<&Path> => {
        options.lock().tensorrt.path = path.map(Path::to_owned);
        Ok(())
    })
}

/// The OpenVINO to use where an engine is to run on it (`planrt_engine_options_set_cpu_backend`): the file of its library with
/// the C interface (`libopenvino_c.so…`), the folder that it is in, the folder of an unpacked archive of OpenVINO, or that of a
/// Python environment that has the package `openvino`. Without it planrt looks at the environment variable `PLANRT_OPENVINO`
/// (the same; it is read when OpenVINO is looked for, and no thread may change the environment meanwhile), then beside an
/// OpenVINO that the process has loaded already, then on the loader's path. Null sets the default again. OpenVINO 2025.1 and
/// later.
///
/// Requires: `options` is alive, `path` null or a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_set_openvino_path(
    options: *mut planrt_runtime_options,
    path: *const c_char,
) -> *mut planrt_error {
    export!(options; path: Option<&Path> => {
        options.lock().openvino.path = path.map(Path::to_owned);
        Ok(())
    })
}

/// A library with TensorRT plugins of the application's, loaded before the first plan. May be called more than once.
///
/// Requires: `options` is alive, `path` a string.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_add_plugin_library(
    options: *mut planrt_runtime_options,
    path: *const c_char,
) -> *mut planrt_error {
    export!(options; path: &Path => {
        options.lock().tensorrt.plugin_libraries.push(path.to_owned());
        Ok(())
    })
}

/// Whether libnvinfer_plugin, TensorRT's own plugins, may be loaded. It is looked for beside TensorRT and on the
/// loader's path, and only when a plan asks for a plugin. Default true.
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_set_standard_plugins(
    options: *mut planrt_runtime_options,
    enabled: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().tensorrt.standard_plugins = enabled;
        Ok(())
    })
}

/// Whether a plan may bring code that runs on the host, as version-compatible plans do: they hold the lean runtime that
/// runs them. It runs with all the rights of the process, so allow it only where the plans come from someone trusted.
/// Default false. TensorRT 8.6 and later have it; an earlier one refuses to start with it
/// (`PLANRT_ERROR_UNSUPPORTED`).
///
/// Requires: `options` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_set_engine_host_code_allowed(
    options: *mut planrt_runtime_options,
    allowed: bool,
) -> *mut planrt_error {
    export!(options; => {
        options.lock().tensorrt.engine_host_code_allowed = allowed;
        Ok(())
    })
}

/// Where the log goes. Without a callback planrt writes nothing anywhere. A null callback turns the log off, and the
/// rest is ignored.
///
/// `user_data` is handed to each call and must stay valid as long as the callback may be called. `release` is null, or
/// is called with it when that is over: inside the delete of the last runtime, engine, context or session that logs
/// there, or of the options if they go later; where that delete is called from inside the log callback, when the
/// callback has returned. It is called, too, where other options of the log take the place of these; not where this
/// call fails.
///
/// Requires: `options` is alive; the callback and `release` may be called from any thread.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_options_set_log(
    options: *mut planrt_runtime_options,
    callback: planrt_log_callback,
    user_data: *mut c_void,
    release: planrt_release_callback,
    most_verbose: planrt_log_level,
) -> *mut planrt_error {
    export!(options; => {
        let sink = match callback {
            Some(callback) => Some(Sink::new(callback, user_data, release, log_level(most_verbose)?)),
            None => None,
        };
        let before = std::mem::replace(&mut options.lock().sink, sink);
        drop(before);
        Ok(())
    })
}

/// Makes a runtime. It loads nothing: the CUDA driver, TensorRT and OpenVINO are looked for when the first call needs them, so it
/// succeeds on every machine. `options` may be null for the defaults and is copied. `*runtime_out` is the caller's, for
/// `planrt_runtime_delete`.
///
/// Requires: `options` is null or alive, `runtime_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_new(
    options: *const planrt_runtime_options,
    runtime_out: *mut *mut planrt_runtime,
) -> *mut planrt_error {
    export!(; options: Option<Ref<'_, planrt_runtime_options>>, runtime_out: Out<_> => {
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        let runtime = Arc::new(Runtime::new(options));
        runtime_out.give(Handle::logging(runtime.clone(), [runtime.log()]));
        Ok(())
    })
}

/// Lets go of a runtime; what was made from it goes on. Null is accepted.
///
/// Requires: `runtime` is null, or alive and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_delete(runtime: *mut planrt_runtime) {
    delete!(runtime);
}

/// Loads the driver and TensorRT now, for an application that wants to know at its start. Any thread.
///
/// Errors: `PLANRT_ERROR_NO_CUDA`, `PLANRT_ERROR_NO_TENSORRT`, with every place that was looked at;
/// `PLANRT_ERROR_MISSING_PLUGIN` where a plugin library of the application's does not load.
///
/// Requires: `runtime` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_load_tensorrt(runtime: *const planrt_runtime) -> *mut planrt_error {
    export!(runtime; => runtime.tensorrt().map(|_| ()))
}

/// Loads OpenVINO now, for an application that wants to know at its start. Any thread.
///
/// Errors: `PLANRT_ERROR_NO_OPENVINO`, with every place that was looked at, or what is wrong with what was found;
/// `PLANRT_ERROR_UNSUPPORTED` where planrt was built without the CPU engine.
///
/// Requires: `runtime` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_load_openvino(runtime: *const planrt_runtime) -> *mut planrt_error {
    export!(runtime; => runtime.openvino_origin().map(|_| ()))
}

/// What there is and what there is not, with reasons, as JSON: an object with
///
/// - `planrt`: this library's release, a string;
/// - `device`: `available`, true or false; if true `ordinal` and `total_memory_bytes`, numbers, and `name` and
///   `compute_capability` ("9.0"), strings; if false `reason`, a string for people;
/// - `tensorrt`: `available`; if true `version` ("10.13.3"), `flavor` ("full", "lean", "dispatch" or "RTX") and `path` (the
///   library's file), strings; if false `reason`;
/// - `cpu`, the CPU engine: `available`; if false `reason`;
/// - `openvino`: `available`; if true `version` ("2026.4.1") and `path` (the library's file), strings; if false `reason`.
///
/// Fields may be added. It looks for the driver, TensorRT and OpenVINO, and loads what it finds. Any thread. `*json_out` is the
/// caller's, for `planrt_string_delete`.
///
/// Requires: `runtime` is alive, `json_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_runtime_describe(
    runtime: *const planrt_runtime,
    json_out: *mut *mut c_char,
) -> *mut planrt_error {
    export!(runtime; json_out: Out<_> => {
        json_out.give_text(runtime.describe().to_string());
        Ok(())
    })
}
