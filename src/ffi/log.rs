//! The log's levels and callback.

use crate::error::{Code, Error, Result};
use crate::log::Level;
use std::ffi::{c_char, c_void};

/// How serious a line of the log is: one of the `PLANRT_LOG_` constants, lower is more serious.
#[allow(non_camel_case_types)]
pub type planrt_log_level = i32;

/// Something failed.
pub const PLANRT_LOG_ERROR: planrt_log_level = 1;
/// Something works, but not as one would wish.
pub const PLANRT_LOG_WARNING: planrt_log_level = 2;
/// What was found and loaded.
pub const PLANRT_LOG_INFO: planrt_log_level = 3;
/// For those who look for a fault; TensorRT's own verbose lines are here.
pub const PLANRT_LOG_DEBUG: planrt_log_level = 4;

const _: () = assert!(
    PLANRT_LOG_ERROR == Level::Error as i32
        && PLANRT_LOG_WARNING == Level::Warning as i32
        && PLANRT_LOG_INFO == Level::Info as i32
        && PLANRT_LOG_DEBUG == Level::Debug as i32
);

/// Receives a line of the log, in UTF-8 with what a terminal would act on escaped, valid during the call. It may be
/// called from any thread, several at once, so long as the runtime, or an engine, context or session made from it, is
/// alive. The delete of the last of these returns when no callback is under way but one that it is called from itself,
/// and none comes after it, wherever it is called from. The callback must return: neither throw nor end its thread.
///
/// Inside it calls that return a `planrt_error` fail with `PLANRT_ERROR_IN_USE`, since whoever logs may hold what they
/// would wait for; other calls work. A delete ends the log as said above where it is the last one; everything else that
/// it does is put off to the end of the call that the line came from, or left to a thread of planrt's where it came
/// from none of the application's: work of a session and its callbacks may then go on for a while after the delete.
///
/// Lines that differ in numbers only come at most once a second; the next one says how many were left out.
#[allow(non_camel_case_types)]
pub type planrt_log_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: planrt_log_level, message: *const c_char)>;

/// Takes `user_data` back: nothing of planrt's uses it any more. Called once, from any thread. It must neither throw
/// nor end its thread, nor call planrt.
#[allow(non_camel_case_types)]
pub type planrt_release_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

pub(super) fn log_level(code: planrt_log_level) -> Result<Level> {
    Level::from_code(code).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("{code} is no log level; take a PLANRT_LOG_ constant"))
    })
}
