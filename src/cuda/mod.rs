//! The CUDA driver, loaded at run time: devices, streams, events, graphs, memory. Nothing here knows of TensorRT.

mod copy;
mod device;
mod event;
mod graph;
mod memory;
mod pool;
mod stream;

pub use copy::{Copier, Piece, Slot};
pub use device::{Current, Device, DeviceInfo, devices, driver_version};
pub use event::Event;
pub use graph::Graph;
pub use memory::{DeviceMemory, PinnedMemory, copy_async, device_of, is_one_allocation, memory_kind};
pub use pool::{Block, Blocks, Mark, Marks};
pub use stream::Stream;

use crate::error::{Code, Error, Result};
use cudarc::driver::sys;
use std::ffi::{CStr, c_char};

/// Makes a result of the driver ours. `doing` says what was tried: "allocating 4096 bytes on the device".
fn check(result: sys::CUresult, doing: impl FnOnce() -> String) -> Result<()> {
    if result == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let code = match result {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Code::OutOfMemory,
        sys::CUresult::CUDA_ERROR_NO_DEVICE | sys::CUresult::CUDA_ERROR_INVALID_DEVICE => Code::NoCuda,
        _ => Code::Cuda,
    };
    let (mut name, mut text): (*const c_char, *const c_char) = (std::ptr::null(), std::ptr::null());
    // SAFETY: both return static strings of the driver, or leave null for a number that they do not know.
    let (name, text) = unsafe {
        sys::cuGetErrorName(result, &mut name);
        sys::cuGetErrorString(result, &mut text);
        let read = |p: *const c_char| if p.is_null() { "unknown".into() } else { CStr::from_ptr(p).to_string_lossy() };
        (read(name), read(text))
    };
    Err(Error::new(code, format!("{}: {text} ({name})", doing())).with_cuda_code(result as i32))
}
