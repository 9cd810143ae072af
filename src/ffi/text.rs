//! Strings across the boundary.

use super::not_null;
use crate::error::{Code, Error, Result};
use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A UTF-8 string of the caller's.
///
/// # Safety
/// `text` is null or ends with NUL, and outlives the value returned.
pub(super) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    let bytes = unsafe { CStr::from_ptr(not_null(text, name)?) };
    bytes.to_str().map_err(|_| Error::new(Code::InvalidArgument, format!("{name} is not UTF-8")))
}

/// A path of the caller's: any bytes, as the file system takes them.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn path<'a>(text: *const c_char, name: &str) -> Result<&'a Path> {
    let bytes = unsafe { CStr::from_ptr(not_null(text, name)?) };
    if bytes.is_empty() {
        return Err(Error::new(Code::InvalidArgument, format!("{name} is an empty path")));
    }
    Ok(Path::new(OsStr::from_bytes(bytes.to_bytes())))
}

/// A string that the caller owns from here on.
pub(super) fn give(text: String) -> *mut c_char {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default().into_raw()
}

/// Frees a string that planrt gave. Null is accepted.
///
/// Requires: `string` is null, or came from a planrt function that says so and is deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_string_delete(string: *mut c_char) {
    if !string.is_null() {
        drop(unsafe { CString::from_raw(string) });
    }
}
