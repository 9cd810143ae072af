//! Strings that planrt gives.

use std::ffi::{CString, c_char};

/// Frees a string that planrt gave. Null is accepted.
///
/// Requires: `string` is null, or came from a planrt function that says so and is deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_string_delete(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: one of `Out::give_text`, as the header asks.
        drop(unsafe { CString::from_raw(string) });
    }
}
