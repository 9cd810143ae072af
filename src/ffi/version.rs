//! Which interface and which release this is.

use std::ffi::c_char;

/// Major version of the interface that this header describes. It changes when something is removed or changed; 0 as
/// long as nothing is promised.
pub const PLANRT_API_MAJOR: u32 = 0;
/// Minor version of the interface that this header describes. It changes when something is added; while the major is 0,
/// also when something is removed or changed.
pub const PLANRT_API_MINOR: u32 = 2;

/// The version of the interface that the loaded library offers. A program may use it if the major is the one of its
/// header and the minor at least the one of its header; while the major is 0, the minor too must be the same. Null
/// arguments are accepted. Any thread.
///
/// Requires: Each pointer is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_api_version(major: *mut u32, minor: *mut u32) {
    // SAFETY: null or writable, as the header asks.
    if let Some(major) = unsafe { major.as_mut() } {
        *major = PLANRT_API_MAJOR;
    }
    // SAFETY: as above.
    if let Some(minor) = unsafe { minor.as_mut() } {
        *minor = PLANRT_API_MINOR;
    }
}

/// The library's release, "0.2.0"; it lives as long as the process. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn planrt_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
