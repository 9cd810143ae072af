//! A CUDA stream: made here, or the application's own.

use super::{Device, Event, check, sys};
use crate::error::Result;
use std::ffi::c_void;
use std::sync::Arc;

pub struct Stream {
    device: Arc<Device>,
    stream: sys::CUstream,
    owned: bool,
}

// SAFETY: the driver's stream calls are thread-safe.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream that does not wait for the legacy default stream. Lower numbers go first; the device clamps them to its
    /// range (on present GPUs -5 to 0).
    pub fn new(device: &Arc<Device>, priority: i32) -> Result<Self> {
        let _current = device.make_current()?;
        let mut stream = std::ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: writes one handle, destroyed in drop.
        check(unsafe { sys::cuStreamCreateWithPriority(&mut stream, flags, priority) }, || {
            "creating a CUDA stream".to_owned()
        })?;
        Ok(Self { device: device.clone(), stream, owned: true })
    }

    /// The application's stream, which it keeps and destroys.
    ///
    /// # Safety
    /// `stream` is a `CUstream` (or `cudaStream_t`) of the device's primary context that outlives the value returned;
    /// null is the legacy default stream.
    pub unsafe fn wrap(device: &Arc<Device>, stream: *mut c_void) -> Self {
        Self { device: device.clone(), stream: stream.cast(), owned: false }
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub fn native(&self) -> *mut c_void {
        self.stream.cast()
    }

    pub(super) fn raw(&self) -> sys::CUstream {
        self.stream
    }

    pub fn synchronize(&self) -> Result<()> {
        let _current = self.device.make_current()?;
        // SAFETY: the handle is alive.
        check(unsafe { sys::cuStreamSynchronize(self.stream) }, || "waiting for a CUDA stream".to_owned())
    }

    /// Whether all work given so far has ended.
    pub fn is_done(&self) -> Result<bool> {
        let _current = self.device.make_current()?;
        // SAFETY: the handle is alive.
        match unsafe { sys::cuStreamQuery(self.stream) } {
            sys::Status::NOT_READY => Ok(false),
            result => check(result, || "asking a CUDA stream whether it is done".to_owned()).map(|()| true),
        }
    }

    /// Lets later work of this stream wait for what `other` holds now.
    pub fn wait_for(&self, other: &Self) -> Result<()> {
        let event = Event::new(&other.device)?;
        event.record(other)?;
        event.hold_back(self)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.owned
            && let Ok(_current) = self.device.make_current()
        {
            // SAFETY: created in new; the driver finishes the work that it still holds before it lets go of it.
            unsafe { sys::cuStreamDestroy_v2(self.stream) };
        }
    }
}
