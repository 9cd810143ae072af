//! What every engine offers, and the engines there are.

pub mod admission;
pub mod batch;
#[cfg(feature = "cpu")]
pub mod cpu;
#[cfg(feature = "cpu")]
mod host_context;
#[cfg(feature = "cpu")]
mod host_tensors;
pub mod instance;
pub mod instance_group;
pub mod job;
#[cfg(feature = "cpu")]
pub mod openvino;
pub mod tensorrt;

use crate::cuda::{Device, Stream, Turns};
use crate::engine::{Backend, Description, Statistic};
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::process::stack;
use crate::tensor::{HostTensor, Shape};
use crate::volume::head::Folded;
use instance_group::{InstanceGroup, InstanceGroupOptions};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A loaded model. Any thread may use it.
pub trait Engine: Send + Sync {
    fn description(&self) -> &Description;

    /// The last convolution of its model, where that was folded out of it: what it gives is features then.
    fn folded(&self) -> Option<&Folded> {
        None
    }

    /// The GPU that it runs on; none for the CPU.
    fn device(&self) -> Option<&Arc<Device>> {
        None
    }

    /// Where its runs, those in CUDA graphs included, must not share the GPU with others of the kind.
    fn turns(&self) -> Option<&Arc<Turns>> {
        None
    }

    /// Where what runs on it is told; none where nothing is.
    fn log(&self) -> Option<&Arc<Log>> {
        None
    }

    /// The layers as JSON, in the form of TensorRT's engine inspector: `{"Layers": […]}`.
    fn layers_json(&self) -> Result<String>;

    /// What the model's file says of itself, as JSON.
    fn metadata(&self) -> Value;

    /// The name that the model gives to an extent that it leaves open.
    fn dimension_name(&self, _tensor: usize, _axis: usize) -> Option<&CStr> {
        None
    }

    /// A number that the engine knows of itself.
    fn statistic(&self, statistic: Statistic) -> Result<i64> {
        Err(Error::new(
            Code::Unsupported,
            format!("{statistic:?} is known of a plan that TensorRT runs, not of this model"),
        ))
    }

    /// Bytes of device memory that a context takes under that profile, besides its inputs and outputs.
    fn profile_device_memory_size(&self, _profile: usize) -> usize {
        0
    }

    /// A new execution context, which keeps the engine alive.
    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>>;

    /// The same without device memory of its own, where a context takes any: it is lent some before it runs.
    fn new_context_without_memory(self: Arc<Self>) -> Result<Box<dyn Context>> {
        self.new_context()
    }

    /// What a session runs its batches with.
    fn instance_group(self: Arc<Self>, options: &InstanceGroupOptions) -> Result<InstanceGroup>;
}

/// Calls into an engine for a thread of the application's, which may have little stack. tract and OpenVINO go deep, on whichever
/// thread has room for it. What TensorRT does stays on the calling thread, whose own default stream may be meant.
pub fn with_stack<R: Send>(engine: &dyn Engine, call: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    const TENSORRT: usize = 256 << 10;
    match engine.description().backend {
        Backend::Cpu | Backend::OpenVino => stack::with_room(call),
        Backend::TensorRt => {
            stack::require(TENSORRT)?;
            call()
        }
    }
}

/// How long a layer takes in a run.
#[derive(Clone, Debug)]
pub struct LayerTime {
    pub name: String,
    /// What it computes, where the engine says so here.
    pub kind: Option<String>,
    pub mean: Duration,
}

impl LayerTime {
    /// Adds up the times of runs layer by layer, in the order in which they come first, and divides by the runs.
    pub fn mean(times: impl IntoIterator<Item = (String, Option<String>, Duration)>, runs: usize) -> Vec<Self> {
        let mut layers: Vec<Self> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (name, kind, time) in times {
            match places.get(&name) {
                Some(place) => layers[*place].mean += time,
                None => {
                    places.insert(name.clone(), layers.len());
                    layers.push(Self { name, kind, mean: time });
                }
            }
        }
        for layer in &mut layers {
            layer.mean = layer.mean.div_f64(runs.max(1) as f64);
        }
        layers
    }
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

    /// The shape that an output had in the last run, where the inputs' shapes have not changed since. The same as
    /// [`shape`](Self::shape) unless it depends on the data.
    fn result_shape(&mut self, tensor: usize) -> Result<Shape> {
        self.shape(tensor)
    }

    /// Binds memory of the tensor's [`MemoryKind`](crate::engine::MemoryKind).
    ///
    /// # Safety
    /// `address` stays valid for `bytes` until the binding is replaced and enqueued work has ended.
    unsafe fn bind(&mut self, tensor: usize, address: *mut c_void, bytes: usize) -> Result<()>;

    /// Bytes of device memory that a run with the shapes as set takes, besides inputs and outputs.
    fn device_memory_size(&mut self) -> Result<usize> {
        Ok(0)
    }

    /// Lends device memory to a context that has none of its own; where a context takes none it is not used.
    ///
    /// # Safety
    /// As for [`bind`](Self::bind); no other work uses it while this context's does.
    unsafe fn lend_device_memory(&mut self, _address: *mut c_void, _size: usize) -> Result<()> {
        Ok(())
    }

    /// Streams for the parts of a run that may go beside one another; not used where a run has no such parts.
    ///
    /// # Safety
    /// They stay alive until they are replaced and enqueued work has ended.
    unsafe fn set_aux_streams(&mut self, _streams: &[&Stream]) -> Result<()> {
        Ok(())
    }

    /// Runs with the bound memory: asynchronously on the stream, or (CPU) before it returns.
    ///
    /// # Safety
    /// The bound memory is valid, and stays so until the work has ended.
    unsafe fn enqueue(&mut self, stream: Option<&Stream>) -> Result<()>;

    /// How long each layer takes, on the mean of so many runs with the bound memory, which have ended then.
    ///
    /// # Safety
    /// As for [`enqueue`](Self::enqueue).
    unsafe fn time_layers(&mut self, _stream: Option<&Stream>, _runs: usize) -> Result<Vec<LayerTime>> {
        Err(Error::new(Code::Unsupported, "this engine does not tell the times of its layers"))
    }

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
