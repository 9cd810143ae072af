//! The driver's library: found, looked over, and never left half loaded.

use super::sys::Functions;
use crate::error::{Code, Error, Result};
use crate::shared_library;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use once_cell::sync::OnceCell;
use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_void};

/// The driver's functions, once there is a driver that is of use. It stays loaded.
pub static DRIVER: OnceCell<Functions> = OnceCell::new();

/// What a driver installs, and what TensorRT loads.
const NAME: &str = "libcuda.so.1";

/// What is to be done about a driver that cannot be used.
const ADVICE: &str = "install the NVIDIA driver R450 (CUDA 11.0) or later, or run an ONNX model on the CPU";

/// Loads the driver's library and looks for the functions in it. A failure is not remembered: a driver may be installed
/// while we run.
pub fn load() -> Result<&'static Functions> {
    DRIVER.get_or_try_init(|| {
        let unusable = |why: String| Error::new(Code::NoCuda, format!("{why}; {ADVICE}"));
        shared_library::check(NAME).map_err(|why| unusable(format!("the CUDA driver cannot be loaded: {why}")))?;
        // SAFETY: the library is the driver by its name; its initializers are NVIDIA's.
        let library = unsafe { Library::open(Some(NAME), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
            // libloading says that dlopen failed, and its source what dlerror said.
            let said = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            if said.starts_with(&format!("{NAME}: cannot open shared object file")) {
                unusable(format!("no CUDA driver: {NAME} is not on the loader's path"))
            } else {
                unusable(format!("the CUDA driver cannot be loaded: {said}"))
            }
        })?;
        let functions = Functions::find(&library);
        let (library, file) = with_file(library);
        let missing = functions.missing();
        if missing.is_empty() {
            std::mem::forget(library);
            return Ok(functions);
        }
        Err(unusable(lacks(&file, &missing)))
    })
}

fn lacks(file: &str, missing: &[&str]) -> String {
    if missing.contains(&"cuInit") {
        return format!("{file} is no CUDA driver: it lacks cuInit");
    }
    let more = match missing.len() {
        0..=3 => String::new(),
        count => format!(" and {} more", count - 3),
    };
    let named = missing.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    format!("the CUDA driver {file} is too old or damaged: it lacks {named}{more}")
}

/// The beginning of `struct link_map` of `<link.h>`.
#[repr(C)]
struct LinkMap {
    base: usize,
    file: *const c_char,
}

unsafe extern "C" {
    fn dlinfo(handle: *mut c_void, request: c_int, answer: *mut c_void) -> c_int;
}

/// A library with the name of its file.
fn with_file(library: Library) -> (Library, String) {
    const LINK_MAP: c_int = 2;
    let handle = library.into_raw();
    let mut map: *const LinkMap = std::ptr::null();
    // SAFETY: the handle is alive. The loader writes a pointer to its own, whose name lives as long as the library.
    unsafe {
        let known = dlinfo(handle, LINK_MAP, (&raw mut map).cast()) == 0 && !map.is_null() && !(*map).file.is_null();
        let file = if known { CStr::from_ptr((*map).file).to_string_lossy().into_owned() } else { NAME.to_owned() };
        (Library::from_raw(handle), file)
    }
}
