//! CUDA graphs: work captured once, and given to a stream again with one call.

use super::{Device, Stream, check, library, sys};
use crate::error::{Code, Error, Result};
use std::sync::Arc;

/// Captured work, ready to be launched. It uses the addresses that it was captured with, or that kernels were given since.
pub struct Graph {
    device: Arc<Device>,
    graph: sys::CUgraphExec,
    /// What it was made from, which its nodes belong to.
    captured: sys::CUgraph,
}

/// A kernel in a graph, whose arguments may change from launch to launch.
pub struct Node(sys::CUgraphNode);

// SAFETY: a name for a place in a graph, which only calls with the graph look at.
unsafe impl Send for Node {}

// SAFETY: the driver's graph calls may come from any thread, one at a time for one graph, which `&mut` sees to.
unsafe impl Send for Graph {}

impl Graph {
    /// Whether the driver has graphs.
    pub fn are_available() -> bool {
        library::load().is_ok_and(|functions| functions.missing_for_graphs().is_empty())
    }

    /// Captures what `work` gives to the stream, which is not run. While it lasts, calls of this thread that a capture
    /// does not allow fail; those of other threads do not.
    pub fn capture<T>(stream: &Stream, work: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        let device = stream.device();
        let _current = device.make_current()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive.
        check(unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) }, || "beginning to capture".to_owned())?;
        let outcome = work();
        let mut captured = std::ptr::null_mut();
        // SAFETY: ends what was begun, also where the work failed; writes one handle.
        let ended = check(unsafe { sys::cuStreamEndCapture(stream.raw(), &mut captured) }, || "capturing".to_owned());
        let mut made = Self { device: device.clone(), graph: std::ptr::null_mut(), captured };
        let outcome = outcome.and_then(|value| ended.map(|()| value))?;
        // SAFETY: the graph was just captured; writes one handle, destroyed in drop.
        check(unsafe { sys::cuGraphInstantiateWithFlags(&mut made.graph, captured, 0) }, || {
            "making a CUDA graph ready".to_owned()
        })?;
        Ok((made, outcome))
    }

    /// The kernel that was given to a stream last, while it is captured.
    pub(super) fn last_node(stream: &Stream) -> Result<Node> {
        // A number: the driver may have states that the enum has not.
        let mut status = 0u32;
        let (mut id, mut graph, mut nodes, mut count) = (0, std::ptr::null_mut(), std::ptr::null(), 0);
        // SAFETY: the stream is alive; each place is written, the nodes' stays valid until the stream's next call.
        unsafe {
            check(
                sys::cuStreamGetCaptureInfo_v2(
                    stream.raw(),
                    (&raw mut status).cast(),
                    &mut id,
                    &mut graph,
                    &mut nodes,
                    &mut count,
                ),
                || "asking what a stream captures".to_owned(),
            )?;
            match count {
                1 => Ok(Node(*nodes)),
                _ => Err(Error::new(
                    Code::Cuda,
                    format!("a captured kernel is followed by {count} nodes, not by itself"),
                )),
            }
        }
    }

    /// Changes the arguments of a kernel for the launches to come.
    ///
    /// # Safety
    /// The node is of this graph, and the kernel takes these arguments.
    pub(super) unsafe fn set_kernel(&mut self, node: &Node, arguments: &sys::CUDA_KERNEL_NODE_PARAMS) -> Result<()> {
        let _current = self.device.make_current()?;
        // SAFETY: both handles are alive; the arguments are copied by the call; the rest as the caller says.
        check(unsafe { sys::cuGraphExecKernelNodeSetParams(self.graph, node.0, arguments) }, || {
            "changing a kernel of a CUDA graph".to_owned()
        })
    }

    /// Whether launches to come run a kernel or leave it out.
    pub(super) fn enable(&mut self, node: &Node, enabled: bool) -> Result<()> {
        let _current = self.device.make_current()?;
        // SAFETY: both handles are alive.
        check(unsafe { sys::cuGraphNodeSetEnabled(self.graph, node.0, u32::from(enabled)) }, || {
            "leaving a kernel of a CUDA graph out".to_owned()
        })
    }

    /// Gives the captured work to a stream.
    ///
    /// # Safety
    /// The memory that it uses is valid until the stream has passed the work.
    pub unsafe fn launch(&mut self, stream: &Stream) -> Result<()> {
        let _current = self.device.make_current()?;
        // SAFETY: both handles are alive; the rest as the caller says.
        check(unsafe { sys::cuGraphLaunch(self.graph, stream.raw()) }, || "launching a CUDA graph".to_owned())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: made in capture, null where that failed; the driver keeps them until launched work has ended.
            unsafe {
                if !self.graph.is_null() {
                    sys::cuGraphExecDestroy(self.graph);
                }
                if !self.captured.is_null() {
                    sys::cuGraphDestroy(self.captured);
                }
            }
        }
    }
}
