//! `planrt_doctor`: what a person asks when a model does not run.

use super::error::planrt_error;
use super::runtime::planrt_runtime_options;
use super::{export, out, text};
use crate::doctor;
use crate::runtime::Options;
use std::ffi::c_char;

/// Looks at this machine, and at a model if one is given, and writes a report for people: the driver, the GPUs, which
/// TensorRT and where from, its plugins, the CPU engine; what is in the model, and whether it will run here. Every TensorRT
/// that is found is loaded, and stays loaded. Any thread.
///
/// `options` may be null for the defaults, `model` null for none. `*usable_out` says whether the model, or with none any
/// model at all, will run; it may be null. `*report_out` is the caller's, for `planrt_string_delete`.
///
/// Requires: `options` is null or alive, `model` null or a string, `report_out` writable, `usable_out` null or writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_doctor(
    options: *const planrt_runtime_options,
    model: *const c_char,
    report_out: *mut *mut c_char,
    usable_out: *mut bool,
) -> *mut planrt_error {
    export!(=> {
        let place = out(report_out, "report_out")?;
        let options = match options.as_ref() {
            Some(options) => options.0.get("options")?.lock().clone(),
            None => Options::default(),
        };
        let model = if model.is_null() { None } else { Some(text::path(model, "model")?) };
        let diagnosis = doctor::examine(options, model);
        *place = text::give(diagnosis.report);
        if let Some(usable) = usable_out.as_mut() {
            *usable = diagnosis.usable;
        }
        Ok(())
    })
}
