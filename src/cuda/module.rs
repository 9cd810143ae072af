//! Kernels in PTX, loaded for a device and launched.

use super::{Device, Stream, check, sys};
use crate::error::Result;
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// What was loaded of one text in PTX.
pub struct Module {
    device: Arc<Device>,
    module: sys::CUmodule,
}

/// One of a module's kernels, of use as long as the module is.
#[derive(Clone, Copy)]
pub struct Kernel(sys::CUfunction);

// SAFETY: the driver's calls on both handles may come from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}
// SAFETY: as above.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

impl Module {
    pub fn load(device: &Arc<Device>, ptx: &CStr) -> Result<Self> {
        let _current = device.make_current()?;
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends with a null, the handle is written; the module is unloaded in drop.
        check(unsafe { sys::cuModuleLoadData(&mut module, ptx.as_ptr().cast()) }, || {
            format!("loading planrt's kernels on CUDA device {}", device.info.ordinal)
        })?;
        Ok(Self { device: device.clone(), module })
    }

    pub fn kernel(&self, name: &CStr) -> Result<Kernel> {
        let _current = self.device.make_current()?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded, the handle is written.
        check(unsafe { sys::cuModuleGetFunction(&mut function, self.module, name.as_ptr()) }, || {
            format!("looking for planrt's kernel {}", name.to_string_lossy())
        })?;
        Ok(Kernel(function))
    }

    /// Starts a kernel in the stream's order, in so many blocks of so many threads.
    ///
    /// # Safety
    /// The kernel is this module's, and `parameters` point to one value each, of the types that it takes; what it reaches by them
    /// stays valid until the stream has passed it.
    pub unsafe fn launch(
        &self,
        kernel: Kernel,
        [x, y, z]: [u32; 3],
        threads: u32,
        parameters: &mut [*mut c_void],
        stream: &Stream,
    ) -> Result<()> {
        let _current = self.device.make_current()?;
        let (parameters, extra) = (parameters.as_mut_ptr(), std::ptr::null_mut());
        // SAFETY: the parameters are copied by the call; the rest as the caller says.
        check(
            unsafe { sys::cuLaunchKernel(kernel.0, x, y, z, threads, 1, 1, 0, stream.raw(), parameters, extra) },
            || format!("launching a kernel of {x}x{y}x{z} blocks"),
        )
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: loaded in load; who launched its kernels has waited for them.
            unsafe { sys::cuModuleUnload(self.module) };
        }
    }
}
