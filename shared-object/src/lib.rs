//! The dynamic loader, as the crates that call foreign libraries use it. For Linux.

#![warn(missing_docs)]

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::error::Error;
use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;

/// `<dlfcn.h>` on Linux: take what is loaded, load nothing.
const RTLD_NOLOAD: c_int = 4;

/// Why [`open`] did not.
pub enum NotLoaded {
    /// There is no such file.
    NotFound,
    /// The dynamic loader refuses the file, and says this.
    Refused(String),
}

/// Loads a library with all its symbols bound and none of them shown to others.
///
/// # Safety
/// Loading a library runs its code.
pub unsafe fn open(name: &OsStr) -> Result<Library, NotLoaded> {
    // SAFETY: by contract.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        // libloading says that dlopen failed, and its source what dlerror said.
        let reason = match error.source() {
            Some(said) => said.to_string(),
            None => error.to_string(),
        };
        if is_missing(name, &reason) { NotLoaded::NotFound } else { NotLoaded::Refused(reason) }
    })
}

/// Whether the file itself is missing, as opposed to something that it needs.
fn is_missing(name: &OsStr, reason: &str) -> bool {
    if name.as_bytes().contains(&b'/') {
        return !Path::new(name).exists();
    }
    // The loader searched. It names what it did not find: this library, or one that it needs.
    let own = format!("{}: cannot open shared object file", name.to_string_lossy());
    reason.starts_with(&own)
}

/// Takes a library that is in the process already.
pub fn attach(name: &OsStr) -> Option<Library> {
    // SAFETY: nothing is loaded, so no code runs.
    unsafe { Library::open(Some(name), RTLD_NOLOAD | RTLD_NOW | RTLD_LOCAL) }.ok()
}

/// A function of a library, or of what it was linked with. It must not be called after the library
/// is closed.
///
/// # Safety
/// `F` is the type of the function that has this name.
pub unsafe fn symbol<F: Copy>(library: &Library, name: &CStr) -> Option<F> {
    // SAFETY: by contract.
    unsafe { library.get::<F>(name.to_bytes_with_nul()) }.ok().map(|symbol| *symbol)
}

/// `Dl_info` of `<dlfcn.h>`.
#[repr(C)]
struct DlInfo {
    file_name: *const c_char,
    file_base: *mut c_void,
    symbol_name: *const c_char,
    symbol_address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: usize, info: *mut DlInfo) -> c_int;
}

/// The file in which a loaded function lies, by its address; links resolved.
pub fn file_of(function: usize) -> Option<PathBuf> {
    let mut info = DlInfo {
        file_name: ptr::null(),
        file_base: ptr::null_mut(),
        symbol_name: ptr::null(),
        symbol_address: ptr::null_mut(),
    };
    // SAFETY: the loader compares the address with what it has loaded, and fills the structure.
    let found = unsafe { dladdr(function, &mut info) } != 0;
    if !found || info.file_name.is_null() {
        return None;
    }
    // SAFETY: a string of the loader's, which lives as long as the library.
    let name = unsafe { CStr::from_ptr(info.file_name) };
    let path = PathBuf::from(OsString::from_vec(name.to_bytes().to_vec()));
    Some(path.canonicalize().unwrap_or(path))
}
