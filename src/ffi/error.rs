//! `planrt_error`.

use crate::error::{Code, Error, Result};
use crate::quote::printable;
use std::ffi::{CString, c_char};

/// What went wrong: a code for programs, a message for people, and what TensorRT and CUDA said.
///
/// Every fallible function returns one, or null on success. The caller owns it and deletes it with
/// `planrt_error_delete`. It belongs to its holder: any thread may read it.
#[allow(non_camel_case_types)]
pub struct planrt_error {
    code: i32,
    cuda_code: i32,
    message: CString,
    detail: CString,
}

/// The kind of an error: one of the `PLANRT_ERROR_` constants. New ones may be added.
#[allow(non_camel_case_types)]
pub type planrt_error_code = i32;

/// A null or otherwise impossible argument: an unknown constant, a struct of the wrong size.
pub const PLANRT_ERROR_INVALID_ARGUMENT: planrt_error_code = 1;
/// No such file, or no such tensor in the model.
pub const PLANRT_ERROR_NOT_FOUND: planrt_error_code = 2;
/// The file is there but cannot be read.
pub const PLANRT_ERROR_IO: planrt_error_code = 3;
/// The model is damaged, cut short, or no model at all.
pub const PLANRT_ERROR_INVALID_MODEL: planrt_error_code = 4;
/// A sound plan, but of another TensorRT version or for another GPU.
pub const PLANRT_ERROR_INCOMPATIBLE_MODEL: planrt_error_code = 5;
/// The plan needs a plugin that is not loaded; the message names it and the library that it is in.
pub const PLANRT_ERROR_MISSING_PLUGIN: planrt_error_code = 6;
/// No CUDA driver, or no device of that ordinal.
pub const PLANRT_ERROR_NO_CUDA: planrt_error_code = 7;
/// No TensorRT library, or one that cannot be used.
pub const PLANRT_ERROR_NO_TENSORRT: planrt_error_code = 8;
/// This backend, TensorRT version or build of planrt cannot do that.
pub const PLANRT_ERROR_UNSUPPORTED: planrt_error_code = 9;
/// A shape that fits no profile, is not set, or does not agree with the model.
pub const PLANRT_ERROR_SHAPE: planrt_error_code = 10;
/// Memory given for a tensor is smaller than the tensor.
pub const PLANRT_ERROR_BUFFER_TOO_SMALL: planrt_error_code = 11;
/// Host or device memory is used up.
pub const PLANRT_ERROR_OUT_OF_MEMORY: planrt_error_code = 12;
/// A context was used from two threads at once, or its profile is taken by another context; or planrt was called from
/// inside its log callback.
pub const PLANRT_ERROR_IN_USE: planrt_error_code = 13;
/// The run was ended by `planrt_context_cancel`, or the request by `planrt_request_cancel`.
pub const PLANRT_ERROR_CANCELLED: planrt_error_code = 14;
/// A CUDA call failed; `planrt_error_get_cuda_code` gives the driver's number.
pub const PLANRT_ERROR_CUDA: planrt_error_code = 15;
/// A TensorRT call failed; `planrt_error_get_detail` gives its lines.
pub const PLANRT_ERROR_TENSORRT: planrt_error_code = 16;
/// An earlier call on this handle failed inside planrt; the handle can only be deleted.
pub const PLANRT_ERROR_POISONED: planrt_error_code = 17;
/// A defect of planrt, caught: the message says where.
pub const PLANRT_ERROR_INTERNAL: planrt_error_code = 18;
/// The request's time-out (`timeout_us`) passed before it ran.
pub const PLANRT_ERROR_DEADLINE: planrt_error_code = 19;
/// As many requests wait in the session's queue as it holds.
pub const PLANRT_ERROR_QUEUE_FULL: planrt_error_code = 20;
/// The session was deleted before the request ran.
pub const PLANRT_ERROR_SHUT_DOWN: planrt_error_code = 21;
/// The handle was made before the process forked: load anew in the child. Or the parent has used CUDA, which its
/// children cannot.
pub const PLANRT_ERROR_FORKED: planrt_error_code = 22;
/// The CUDA device does nothing any more for this process, as after a kernel that went wrong or a fault of the
/// hardware: every further call fails. Start the process anew; a session over several devices goes on with the others.
/// `planrt_error_get_cuda_code` gives the driver's number.
pub const PLANRT_ERROR_DEVICE_LOST: planrt_error_code = 23;
/// What the model answers on this machine is not what its folder's test vectors hold; `planrt_error_get_detail` says
/// where.
pub const PLANRT_ERROR_SELF_TEST: planrt_error_code = 24;
/// No OpenVINO was found, or what was found is none that planrt supports, or is damaged.
pub const PLANRT_ERROR_NO_OPENVINO: planrt_error_code = 25;
/// OpenVINO failed; the detail has what it said.
pub const PLANRT_ERROR_OPENVINO: planrt_error_code = 26;

// The header shows the numbers; the library's own list is the one that is used.
const _: () = assert!(
    PLANRT_ERROR_INVALID_ARGUMENT == Code::InvalidArgument as i32
        && PLANRT_ERROR_NOT_FOUND == Code::NotFound as i32
        && PLANRT_ERROR_IO == Code::Io as i32
        && PLANRT_ERROR_INVALID_MODEL == Code::InvalidModel as i32
        && PLANRT_ERROR_INCOMPATIBLE_MODEL == Code::IncompatibleModel as i32
        && PLANRT_ERROR_MISSING_PLUGIN == Code::MissingPlugin as i32
        && PLANRT_ERROR_NO_CUDA == Code::NoCuda as i32
        && PLANRT_ERROR_NO_TENSORRT == Code::NoTensorRt as i32
        && PLANRT_ERROR_UNSUPPORTED == Code::Unsupported as i32
        && PLANRT_ERROR_SHAPE == Code::Shape as i32
        && PLANRT_ERROR_BUFFER_TOO_SMALL == Code::BufferTooSmall as i32
        && PLANRT_ERROR_OUT_OF_MEMORY == Code::OutOfMemory as i32
        && PLANRT_ERROR_IN_USE == Code::InUse as i32
        && PLANRT_ERROR_CANCELLED == Code::Cancelled as i32
        && PLANRT_ERROR_CUDA == Code::Cuda as i32
        && PLANRT_ERROR_TENSORRT == Code::TensorRt as i32
        && PLANRT_ERROR_POISONED == Code::Poisoned as i32
        && PLANRT_ERROR_INTERNAL == Code::Internal as i32
        && PLANRT_ERROR_DEADLINE == Code::Deadline as i32
        && PLANRT_ERROR_QUEUE_FULL == Code::QueueFull as i32
        && PLANRT_ERROR_SHUT_DOWN == Code::ShutDown as i32
        && PLANRT_ERROR_FORKED == Code::Forked as i32
        && PLANRT_ERROR_DEVICE_LOST == Code::DeviceLost as i32
        && PLANRT_ERROR_SELF_TEST == Code::SelfTest as i32
        && PLANRT_ERROR_NO_OPENVINO == Code::NoOpenVino as i32
        && PLANRT_ERROR_OPENVINO == Code::OpenVino as i32
);

/// The name of a code as this header has it, "PLANRT_ERROR_SHAPE", for logs; it lives as long as the process. Null for
/// an unknown code, and for 0. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn planrt_error_code_get_name(code: planrt_error_code) -> *const c_char {
    let name = match code {
        PLANRT_ERROR_INVALID_ARGUMENT => c"PLANRT_ERROR_INVALID_ARGUMENT",
        PLANRT_ERROR_NOT_FOUND => c"PLANRT_ERROR_NOT_FOUND",
        PLANRT_ERROR_IO => c"PLANRT_ERROR_IO",
        PLANRT_ERROR_INVALID_MODEL => c"PLANRT_ERROR_INVALID_MODEL",
        PLANRT_ERROR_INCOMPATIBLE_MODEL => c"PLANRT_ERROR_INCOMPATIBLE_MODEL",
        PLANRT_ERROR_MISSING_PLUGIN => c"PLANRT_ERROR_MISSING_PLUGIN",
        PLANRT_ERROR_NO_CUDA => c"PLANRT_ERROR_NO_CUDA",
        PLANRT_ERROR_NO_TENSORRT => c"PLANRT_ERROR_NO_TENSORRT",
        PLANRT_ERROR_UNSUPPORTED => c"PLANRT_ERROR_UNSUPPORTED",
        PLANRT_ERROR_SHAPE => c"PLANRT_ERROR_SHAPE",
        PLANRT_ERROR_BUFFER_TOO_SMALL => c"PLANRT_ERROR_BUFFER_TOO_SMALL",
        PLANRT_ERROR_OUT_OF_MEMORY => c"PLANRT_ERROR_OUT_OF_MEMORY",
        PLANRT_ERROR_IN_USE => c"PLANRT_ERROR_IN_USE",
        PLANRT_ERROR_CANCELLED => c"PLANRT_ERROR_CANCELLED",
        PLANRT_ERROR_CUDA => c"PLANRT_ERROR_CUDA",
        PLANRT_ERROR_TENSORRT => c"PLANRT_ERROR_TENSORRT",
        PLANRT_ERROR_POISONED => c"PLANRT_ERROR_POISONED",
        PLANRT_ERROR_INTERNAL => c"PLANRT_ERROR_INTERNAL",
        PLANRT_ERROR_DEADLINE => c"PLANRT_ERROR_DEADLINE",
        PLANRT_ERROR_QUEUE_FULL => c"PLANRT_ERROR_QUEUE_FULL",
        PLANRT_ERROR_SHUT_DOWN => c"PLANRT_ERROR_SHUT_DOWN",
        PLANRT_ERROR_FORKED => c"PLANRT_ERROR_FORKED",
        PLANRT_ERROR_DEVICE_LOST => c"PLANRT_ERROR_DEVICE_LOST",
        PLANRT_ERROR_SELF_TEST => c"PLANRT_ERROR_SELF_TEST",
        PLANRT_ERROR_NO_OPENVINO => c"PLANRT_ERROR_NO_OPENVINO",
        PLANRT_ERROR_OPENVINO => c"PLANRT_ERROR_OPENVINO",
        _ => return std::ptr::null(),
    };
    name.as_ptr()
}

/// Success is null; an error is handed to the caller.
pub(super) fn into_raw(result: Result<()>) -> *mut planrt_error {
    match result {
        Ok(()) => std::ptr::null_mut(),
        Err(error) => Box::into_raw(Box::new(error.into())),
    }
}

/// Lends an outcome to a callback of the application's.
pub(super) fn lend(outcome: &Result<()>, call: impl FnOnce(*const planrt_error)) {
    match outcome {
        Ok(()) => call(std::ptr::null()),
        Err(error) => call(&error.clone().into()),
    }
}

impl From<Error> for planrt_error {
    fn from(error: Error) -> Self {
        let text = |s: &str| CString::new(printable(s).into_owned()).unwrap_or_default();
        Self {
            code: error.code() as i32,
            cuda_code: error.cuda_code(),
            message: text(error.message()),
            detail: text(error.detail()),
        }
    }
}

/// The error's code: one of the `PLANRT_ERROR_` constants; 0 for null.
///
/// Requires: `error` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_error_get_code(error: *const planrt_error) -> planrt_error_code {
    // SAFETY: as the header asks.
    unsafe { error.as_ref() }.map_or(0, |e| e.code)
}

/// One sentence that names what was wrong and what to do, in UTF-8; it lives as long as the error. Empty for null.
/// Names and paths in it are cut where they are long, and characters that a terminal would act on are escaped.
///
/// Requires: `error` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_error_get_message(error: *const planrt_error) -> *const c_char {
    // SAFETY: as the header asks.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |e| e.message.as_ptr())
}

/// What the library underneath said of it (TensorRT's last lines), in UTF-8, lines ended by `\n`; it lives as long as
/// the error. Empty where there is none, and for null.
///
/// Requires: `error` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_error_get_detail(error: *const planrt_error) -> *const c_char {
    // SAFETY: as the header asks.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |e| e.detail.as_ptr())
}

/// The CUDA driver's number (`CUresult`) where a CUDA call failed, else 0.
///
/// Requires: `error` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_error_get_cuda_code(error: *const planrt_error) -> i32 {
    // SAFETY: as the header asks.
    unsafe { error.as_ref() }.map_or(0, |e| e.cuda_code)
}

/// Frees an error. Null is accepted.
///
/// Requires: `error` is null, or came from planrt and is deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_error_delete(error: *mut planrt_error) {
    if !error.is_null() {
        // SAFETY: one of ours, deleted once, as the header asks.
        drop(unsafe { Box::from_raw(error) });
    }
}
