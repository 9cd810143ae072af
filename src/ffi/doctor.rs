//! `planrt_doctor`: what a person asks when a model does not run.

use super::argument::{Out, Ref};
use super::error::planrt_error;
use super::export;
use super::runtime::planrt_runtime_options;
use crate::doctor;
use std::ffi::c_char;
use std::path::Path;

/// Looks at this machine, and at a model if one is given, and writes a report for people: the driver, the GPUs, which
/// TensorRT and where from, its plugins, the CPU engine; what is in the model, and whether it will run here; of a model
/// folder, whether each file is as its passport says, what its test vectors say of each model, and whether it segments volumes,
/// if it says how. Every TensorRT that is found is loaded, and stays loaded. Any thread.
///
/// `options` may be null for the defaults, `model` null for none. `*usable_out` says whether the model, or with none
/// any model at all, will run; it may be null. `*report_out` is the caller's, for `planrt_string_delete`.
///
/// Requires: `options` is null or alive, `model` null or a string, `report_out` writable, `usable_out` null or
/// writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_doctor(
    options: *const planrt_runtime_options,
    model: *const c_char,
    report_out: *mut *mut c_char,
    usable_out: *mut bool,
) -> *mut planrt_error {
    export!(;
        options: Option<Ref<'_, planrt_runtime_options>>,
        model: Option<&Path>,
        report_out: Out<_>,
        usable_out: Option<Out<_>>
    => {
        let options = options.map(|options| options.lock().clone()).unwrap_or_default();
        let diagnosis = doctor::examine(options, model);
        report_out.give_text(diagnosis.report);
        if let Some(usable_out) = usable_out {
            usable_out.set(diagnosis.usable);
        }
        Ok(())
    })
}
