//! CUDA graphs: work captured once, and given to a stream again with one call.

use super::{Device, Stream, check};
use crate::error::Result;
use cudarc::driver::sys;
use std::sync::Arc;

/// Captured work, ready to be launched. It uses the addresses that it was captured with.
pub struct Graph {
    device: Arc<Device>,
    graph: sys::CUgraphExec,
}

// SAFETY: the driver's graph calls may come from any thread, one at a time for one graph, which `&mut` sees to.
unsafe impl Send for Graph {}

impl Graph {
    /// Captures what `work` gives to the stream, which is not run. While it lasts, calls of this thread that a capture
    /// does not allow fail; those of other threads do not.
    pub fn capture(stream: &Stream, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let device = stream.device();
        let _current = device.make_current()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive.
        check(unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) }, || "beginning to capture".to_owned())?;
        let outcome = work();
        let mut captured = std::ptr::null_mut();
        // SAFETY: ends what was begun, also where the work failed; writes one handle.
        let ended = check(unsafe { sys::cuStreamEndCapture(stream.raw(), &mut captured) }, || "capturing".to_owned());
        let mut graph = std::ptr::null_mut();
        let made = outcome.and(ended).and_then(|()| {
            // SAFETY: the graph was just captured; writes one handle, destroyed in drop.
            check(unsafe { sys::cuGraphInstantiateWithFlags(&mut graph, captured, 0) }, || {
                "making a CUDA graph ready".to_owned()
            })
        });
        if !captured.is_null() {
            // SAFETY: what was instantiated does not need it.
            unsafe { sys::cuGraphDestroy(captured) };
        }
        made.map(|()| Self { device: device.clone(), graph })
    }

    /// Gives the captured work to a stream.
    ///
    /// # Safety
    /// The memory that it was captured with is valid until the stream has passed the work.
    pub unsafe fn launch(&mut self, stream: &Stream) -> Result<()> {
        let _current = self.device.make_current()?;
        // SAFETY: both handles are alive; the rest as the caller says.
        check(unsafe { sys::cuGraphLaunch(self.graph, stream.raw()) }, || "launching a CUDA graph".to_owned())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: made in capture; the driver keeps it until launched work has ended.
            unsafe { sys::cuGraphExecDestroy(self.graph) };
        }
    }
}
