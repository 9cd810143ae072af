//! The GPUs of this machine, before anything is made.

use super::argument::Out;
use super::error::planrt_error;
use super::export;
use crate::runtime;
use std::ffi::c_char;

/// The GPUs that the CUDA driver shows this process, as JSON, for an application that wants to choose one before it
/// makes a runtime: an object with
///
/// - `driver`: an object with `available`, true or false; if true `cuda_version` ("12.4", the newest CUDA that it speaks), a
///   string; if false `reason`, a string for people;
/// - `devices`: an array, empty where there is no driver, with an object for each GPU: `ordinal`, for
///   `planrt_runtime_options_set_device`, and `total_memory_bytes`, numbers; `name` and `compute_capability` ("9.0"), strings;
///   `free_memory_bytes`, a number, or null with `reason`, a string, where the GPU cannot be used just now.
///
/// The free memory is asked of the GPU itself: that takes some tenths of a second for each that this process does not
/// use yet. No GPU, and no driver, is no error. Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
///
/// Requires: `json_out` is null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_describe_devices(json_out: *mut *mut c_char) -> *mut planrt_error {
    export!(; json_out: Out<_> => {
        json_out.give_text(runtime::describe_devices().to_string());
        Ok(())
    })
}
