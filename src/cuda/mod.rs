//! The CUDA driver, loaded at run time: devices, streams, events, graphs, memory. Nothing here knows of TensorRT.

mod copy;
mod device;
mod event;
mod graph;
mod library;
mod memory;
mod module;
mod pool;
mod stream;
mod sys;
mod turns;

pub use copy::{Copier, CopySpan, Slot};
pub use device::{Current, Device, DeviceInfo, devices, driver_gaps, driver_version};
pub use event::Event;
pub use graph::Graph;
pub use memory::{DeviceMemory, Location, PinnedMemory, copy_async, locate, locate_by_any};
pub use module::{Kernel, Module};
pub use pool::{Block, Blocks, Mark, Marks};
pub use stream::{Stream, StreamId};
pub use turns::Turns;

use crate::error::{Code, Error, Result};
use std::ffi::{CStr, c_char};
use sys::Status;

/// Makes a result of the driver ours. `doing` says what was tried: "allocating 4096 bytes on the device".
fn check(result: Status, doing: impl FnOnce() -> String) -> Result<()> {
    if result == Status::SUCCESS {
        return Ok(());
    }
    let code = match result {
        Status::OUT_OF_MEMORY => Code::OutOfMemory,
        Status::NO_DEVICE | Status::INVALID_DEVICE => Code::NoCuda,
        _ if result.is_loss() => Code::DeviceLost,
        _ => Code::Cuda,
    };
    let (mut name, mut text): (*const c_char, *const c_char) = (std::ptr::null(), std::ptr::null());
    // SAFETY: both return static strings of the driver, or leave null for a number that they do not know.
    let said = unsafe {
        sys::cuGetErrorName(result, &mut name);
        sys::cuGetErrorString(result, &mut text);
        let read = |p: *const c_char| (!p.is_null()).then(|| CStr::from_ptr(p).to_string_lossy());
        match (read(name), read(text)) {
            (Some(name), Some(text)) => format!("{text} ({name})"),
            _ => format!("the driver's result {}, for which it has no words", result.0),
        }
    };
    Err(Error::new(code, format!("{}: {said}", doing())).with_cuda_code(result.0))
}
