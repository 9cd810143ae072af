//! Many small copies at once: by a kernel of ours, one launch for up to 32 of them.
//!
//! A copy by the driver costs 2 to 4 µs, on the host and on the device, however small it is. A batch of sixteen requests has
//! thirty-two of them.

use super::graph::{Graph, Node};
use super::{Device, Stream, check, library, sys};
use crate::error::Result;
use std::ffi::c_void;
use std::sync::Arc;

/// Memory that a kernel on the device reaches, to be copied.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CopySpan {
    pub to: *mut c_void,
    pub from: *const c_void,
    pub bytes: usize,
}

impl CopySpan {
    pub const NOTHING: Self = Self { to: std::ptr::null_mut(), from: std::ptr::null(), bytes: 0 };
}

/// What the kernel takes: `spans` of copy.ptx.
const PIECES: usize = 32;

/// A larger span is the driver's: what a copy of its own costs is nothing then, and the copy engines may have it. Tiles of whole volumes
/// are smaller: a batch of them is copied by one launch in its graph.
const LARGE: usize = 16 << 20;

const THREADS: usize = 256;

/// Bytes that a block of threads copies: 16 for each, since what waits for memory had better wait side by side.
const BLOCK: usize = 16 * THREADS;

pub struct Copier {
    device: Arc<Device>,
    /// `None` where the driver does not take it: then no span is wanted, and the driver copies everything itself.
    module: Option<sys::CUmodule>,
    kernel: Option<sys::CUfunction>,
    /// Whether the driver can leave a kernel of a graph out (CUDA 11.6).
    has_slots: bool,
}

/// A launch of the kernel in a graph: what it copies is said before each launch of the graph.
pub struct Slot {
    node: Node,
    enabled: bool,
}

/// The kernel's one parameter, and how many of the spans count.
struct Pieces([CopySpan; PIECES], usize);

impl Pieces {
    /// Up to `PIECES` of them.
    fn new(some: &[CopySpan]) -> Self {
        let mut spans = [CopySpan::NOTHING; PIECES];
        spans[..some.len()].copy_from_slice(some);
        Self(spans, some.len())
    }

    /// How the kernel is launched for them. The result points to `parameters`, which it makes point to the spans.
    fn launch(&mut self, kernel: sys::CUfunction, parameters: &mut [*mut c_void; 1]) -> sys::CUDA_KERNEL_NODE_PARAMS {
        let most = self.0.iter().map(|span| span.bytes).max().unwrap_or(0);
        parameters[0] = self.0.as_mut_ptr().cast();
        sys::CUDA_KERNEL_NODE_PARAMS {
            func: kernel,
            gridDimX: most.div_ceil(BLOCK).max(1) as u32,
            gridDimY: self.1 as u32,
            gridDimZ: 1,
            blockDimX: THREADS as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            kernelParams: parameters.as_mut_ptr(),
            extra: std::ptr::null_mut(),
        }
    }
}

// SAFETY: the driver's calls on both handles may come from any thread.
unsafe impl Send for Copier {}
// SAFETY: as above.
unsafe impl Sync for Copier {}

impl Copier {
    pub fn new(device: &Arc<Device>) -> Result<Self> {
        let _current = device.make_current()?;
        let (mut module, mut function) = (std::ptr::null_mut(), std::ptr::null_mut());
        let success = sys::Status::SUCCESS;
        // SAFETY: the text ends with a null, the handle is written; the module is unloaded in drop.
        let loaded = unsafe {
            sys::cuModuleLoadData(&mut module, concat!(include_str!("copy.ptx"), "\0").as_ptr().cast()) == success
        };
        let has_slots = library::load()?.missing_for_slots().is_empty();
        let mut copier = Self { device: device.clone(), module: loaded.then_some(module), kernel: None, has_slots };
        // SAFETY: the module is loaded, the handle is written.
        if loaded && unsafe { sys::cuModuleGetFunction(&mut function, module, c"planrt_copy".as_ptr()) } == success {
            copier.kernel = Some(function);
        }
        Ok(copier)
    }

    /// Whether a span is better copied among others than by the driver.
    pub fn wants(&self, bytes: usize) -> bool {
        self.kernel.is_some() && bytes <= LARGE
    }

    /// Starts the copies of spans that it wants, in the stream's order.
    ///
    /// # Safety
    /// The device reaches each span's memory, which stays valid until the stream has passed the copies; no target overlaps
    /// another span.
    pub unsafe fn copy(&self, spans: &[CopySpan], stream: &Stream) -> Result<()> {
        let Some(function) = self.kernel else { return Ok(()) };
        let _current = self.device.make_current()?;
        for some in spans.chunks(PIECES) {
            let (mut spans, mut parameters) = (Pieces::new(some), [std::ptr::null_mut()]);
            let k = spans.launch(function, &mut parameters);
            // SAFETY: the kernel takes one parameter of this size, which is copied by the call; the rest as the caller says.
            let launched = unsafe {
                sys::cuLaunchKernel(
                    k.func,
                    k.gridDimX,
                    k.gridDimY,
                    k.gridDimZ,
                    k.blockDimX,
                    k.blockDimY,
                    k.blockDimZ,
                    k.sharedMemBytes,
                    stream.raw(),
                    k.kernelParams,
                    k.extra,
                )
            };
            check(launched, || format!("copying {} spans", some.len()))?;
        }
        Ok(())
    }

    /// Makes a place for copies in what the stream captures; `None` where the driver knows no such thing. It copies nothing
    /// until it is filled.
    pub fn capture(&self, stream: &Stream) -> Result<Option<Slot>> {
        if self.kernel.is_none() || !self.has_slots {
            return Ok(None);
        }
        // SAFETY: a span of no bytes is not touched.
        unsafe { self.copy(&[CopySpan::NOTHING], stream) }?;
        Ok(Some(Slot { node: Graph::last_node(stream)?, enabled: true }))
    }

    /// Says what a slot copies in the next launch of its graph: the first of these spans. Returns the others.
    ///
    /// # Safety
    /// As for `copy`; the slot is of that graph.
    pub unsafe fn fill<'a>(&self, graph: &mut Graph, slot: &mut Slot, spans: &'a [CopySpan]) -> Result<&'a [CopySpan]> {
        let (own, others) = spans.split_at(spans.len().min(PIECES));
        if slot.enabled == own.is_empty() {
            graph.enable(&slot.node, !own.is_empty())?;
            slot.enabled = !own.is_empty();
        }
        if let Some(function) = self.kernel.filter(|_| slot.enabled) {
            let (mut spans, mut parameters) = (Pieces::new(own), [std::ptr::null_mut()]);
            let arguments = spans.launch(function, &mut parameters);
            // SAFETY: the kernel takes one parameter of this size; the rest as the caller says.
            unsafe { graph.set_kernel(&slot.node, &arguments) }?;
        }
        Ok(others)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        if let Some(module) = self.module
            && let Ok(_current) = self.device.make_current()
        {
            // SAFETY: loaded in new; instances have waited for their work, and let go of graphs with the kernel.
            unsafe { sys::cuModuleUnload(module) };
        }
    }
}
