//! What every engine offers, and the engines there are.

#[cfg(feature = "cpu")]
pub mod cpu;
pub mod lane;
pub mod tensorrt;

use crate::cuda::Stream;
use crate::engine::Description;
use crate::error::{Code, Error, Result};
use crate::tensor::{HostTensor, Shape};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A loaded model. Any thread may use it.
pub trait Engine: Send + Sync {
    fn description(&self) -> &Description;

    /// The layers as JSON, in the form of TensorRT's engine inspector: `{"Layers": […]}`.
    fn layers_json(&self) -> Result<String>;

    /// A new execution context, which keeps the engine alive.
    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>>;

    /// What a session runs its batches with.
    fn crew(self: Arc<Self>, size: &lane::CrewSize) -> Result<lane::Crew>;
}

/// One execution context. Callers have checked tensor indexes, roles, ranks, extents and element types against the
/// engine's [`Description`]; what is left to an implementation is what only it can know.
pub trait Context: Send {
    /// Fixes the profile, or leaves the choice to the shapes (`None`).
    fn set_profile(&mut self, profile: Option<usize>) -> Result<()>;

    /// The profile in use, once there is one.
    fn profile(&self) -> Option<usize>;

    fn set_shape(&mut self, tensor: usize, shape: &Shape) -> Result<()>;

    /// The shape that a tensor has with the inputs' shapes as set; an error while an input's shape is missing.
    fn shape(&mut self, tensor: usize) -> Result<Shape>;

    /// Binds memory of the tensor's [`MemoryKind`](crate::engine::MemoryKind).
    ///
    /// # Safety
    /// `address` stays valid for `bytes` until the binding is replaced and enqueued work has ended.
    unsafe fn bind(&mut self, tensor: usize, address: *mut c_void, bytes: usize) -> Result<()>;

    /// Runs with the bound memory: asynchronously on the stream, or (CPU) before it returns.
    ///
    /// # Safety
    /// The bound memory is valid, and stays so until the work has ended.
    unsafe fn enqueue(&mut self, stream: Option<&Stream>) -> Result<()>;

    /// Runs from host memory to host memory and returns when the outputs are written. Sets the inputs' shapes.
    /// Outputs that are not named are computed and dropped. On an error no output is written.
    ///
    /// # Safety
    /// Each view's `data` is valid for its `size` for the time of the call.
    unsafe fn run(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()>;

    /// The flag that ends a run under way; taken once and usable while the context is busy.
    fn cancellation(&self) -> Arc<Cancellation>;
}

/// Asks the run under way, or else the next one, to end. The run that it ends takes the request with it.
#[derive(Default)]
pub struct Cancellation(AtomicBool);

impl Cancellation {
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if the request was made, which is thereby answered.
    pub fn take(&self) -> Result<()> {
        if self.is_requested() && self.0.swap(false, Ordering::Relaxed) {
            return Err(Error::new(Code::Cancelled, "the run was cancelled"));
        }
        Ok(())
    }
}
