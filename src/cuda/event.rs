//! An event: a mark on a stream that another stream, or the host, can wait for.

use super::{Device, Stream, check, sys};
use crate::error::Result;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

pub struct Event {
    /// `None` for the application's event, which is not destroyed here.
    device: Option<Arc<Device>>,
    event: sys::CUevent,
}

// SAFETY: the driver's event calls are thread-safe.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Without timing, which would cost each record and wait.
    pub fn new(device: &Arc<Device>) -> Result<Self> {
        Self::with_flags(device, sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING)
    }

    /// One that knows when the stream passed it.
    pub fn with_time(device: &Arc<Device>) -> Result<Self> {
        Self::with_flags(device, sys::CUevent_flags_enum::CU_EVENT_DEFAULT)
    }

    fn with_flags(device: &Arc<Device>, flags: sys::CUevent_flags_enum) -> Result<Self> {
        let _current = device.make_current()?;
        let mut event = std::ptr::null_mut();
        let flags = flags as u32;
        // SAFETY: writes one handle, destroyed in drop.
        check(unsafe { sys::cuEventCreate(&mut event, flags) }, || "creating a CUDA event".to_owned())?;
        Ok(Self { device: Some(device.clone()), event })
    }

    /// The application's event, which it keeps and destroys.
    ///
    /// # Safety
    /// `event` is a `CUevent` (or `cudaEvent_t`) that outlives the value returned.
    pub unsafe fn wrap(event: *mut c_void) -> Self {
        Self { device: None, event: event.cast() }
    }

    /// Marks what the stream holds now.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        let _current = stream.device().make_current()?;
        // SAFETY: both handles are alive.
        check(unsafe { sys::cuEventRecord(self.event, stream.raw()) }, || "recording a CUDA event".to_owned())
    }

    /// Lets what the stream is given later wait for the mark.
    pub fn hold_back(&self, stream: &Stream) -> Result<()> {
        let _current = stream.device().make_current()?;
        // SAFETY: both handles are alive.
        check(unsafe { sys::cuStreamWaitEvent(stream.raw(), self.event, 0) }, || {
            "ordering one CUDA stream behind another".to_owned()
        })
    }

    /// The time from one mark to this one. Both are [`with_time`](Self::with_time), and their streams have passed them.
    pub fn since(&self, begin: &Self) -> Result<Duration> {
        let _current = self.device.as_ref().map(|device| device.make_current()).transpose()?;
        let mut milliseconds = 0.0;
        // SAFETY: both handles are alive; writes one number.
        check(unsafe { sys::cuEventElapsedTime(&mut milliseconds, begin.event, self.event) }, || {
            "asking for the time between two CUDA events".to_owned()
        })?;
        Ok(Duration::try_from_secs_f64(f64::from(milliseconds) / 1e3).unwrap_or_default())
    }

    /// Waits until the stream has passed the mark.
    pub fn synchronize(&self) -> Result<()> {
        let _current = self.device.as_ref().map(|device| device.make_current()).transpose()?;
        // SAFETY: the handle is alive.
        check(unsafe { sys::cuEventSynchronize(self.event) }, || "waiting for a CUDA event".to_owned())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Some(device) = &self.device
            && let Ok(_current) = device.make_current()
        {
            // SAFETY: created in new; the driver keeps it until recorded work has passed it.
            unsafe { sys::cuEventDestroy_v2(self.event) };
        }
    }
}
