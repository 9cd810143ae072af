//! What a request brings to a batch: the caller's memory, tensor by tensor.

use crate::cuda::{self, Block, Device, Location, Mark, Stream};
#[cfg(feature = "cpu")]
use crate::error::Code;
use crate::error::{Error, Result};
use crate::tensor::{ElementType, HostTensor, MemoryKind, Shape, copy_elements};
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

/// Memory that a caller lends to a request until it is answered.
pub struct CallerMemory {
    data: *mut u8,
    /// Bytes behind `data`.
    pub size: usize,
    pub element_type: ElementType,
    pub kind: MemoryKind,
    /// For inputs the shape of `data`; for outputs the one that it will have, once that is known.
    pub shape: Shape,
    /// What lies at `data`, once somebody has asked.
    location: OnceLock<Location>,
}

// SAFETY: what is lent may be used by any thread until the request is answered, as `new` asks.
unsafe impl Send for CallerMemory {}
// SAFETY: as above.
unsafe impl Sync for CallerMemory {}

impl CallerMemory {
    /// # Safety
    /// `data` is null, or memory of that kind, valid for `size` bytes until the request that it is given to is answered
    /// or refused; until then nobody writes to an input, nor uses an output.
    pub unsafe fn new(data: *mut u8, size: usize, element_type: ElementType, kind: MemoryKind, shape: Shape) -> Self {
        Self { data, size, element_type, kind, shape, location: OnceLock::new() }
    }

    pub fn address(&self) -> *mut c_void {
        self.data.cast()
    }

    /// What lies there, as the driver knows it, which is asked once: by way of the first of the devices that answers.
    pub fn locate<'a>(&self, devices: impl Iterator<Item = &'a Arc<Device>> + Clone) -> Result<Location> {
        if let Some(location) = self.location.get() {
            return Ok(*location);
        }
        let location = cuda::locate_by_any(devices, self.data.cast())?;
        Ok(*self.location.get_or_init(|| location))
    }

    /// As the tensor of that index, for backends that work on host memory.
    pub fn as_host(&self, tensor: usize) -> HostTensor {
        HostTensor { tensor, data: self.data, size: self.size, element_type: self.element_type, shape: self.shape }
    }
}

/// One tensor of a request, and the way of its elements between the caller's memory and the device.
pub struct RequestTensor {
    pub caller: CallerMemory,
    /// The model's element type.
    pub element_type: ElementType,
    pub way: Way,
}

/// How elements get to the device, or from there.
pub enum Way {
    /// The device copies from and to the caller's memory.
    Direct {
        /// Whether kernels may do so, and not the copy engines only.
        by_kernel: bool,
    },
    /// The host does, from and to a block, where they have the model's type: an input's from when the request is taken in, an
    /// output's from when its batch runs until it is delivered. Without one where there is no device.
    Staged(Option<Block>),
}

impl RequestTensor {
    pub fn new(caller: CallerMemory, element_type: ElementType) -> Self {
        Self { caller, element_type, way: Way::Staged(None) }
    }

    /// Bytes of its elements in the model's type.
    pub fn bytes(&self) -> Result<usize> {
        self.caller.shape.bytes(self.element_type)
    }

    /// Where the device finds its elements, or puts them; `None` where there is no block yet.
    pub fn address(&self) -> Option<*mut c_void> {
        match &self.way {
            Way::Direct { .. } => Some(self.caller.address()),
            Way::Staged(block) => block.as_ref().map(Block::address),
        }
    }

    /// Copies an input from the caller's memory into a block, by which it goes from now on.
    pub fn stage(&mut self, block: Block) -> Result<()> {
        let (from, count) = (&self.caller, self.caller.shape.elements()?);
        // SAFETY: the caller's memory holds its shape's elements, as was checked, and the block was made for them.
        unsafe {
            copy_elements(from.data, from.element_type, block.address().cast(), self.element_type, count);
        }
        self.way = Way::Staged(Some(block));
        Ok(())
    }

    /// Copies an output from its block into the caller's memory.
    fn deliver(self) {
        if let (Way::Staged(Some(block)), Ok(count)) = (&self.way, self.caller.shape.elements()) {
            let to = &self.caller;
            // SAFETY: as for `stage`; the caller waits for this.
            unsafe {
                copy_elements(block.address().cast(), self.element_type, to.data, to.element_type, count);
            }
        }
    }
}

/// What a request asks an instance to do.
pub struct Job {
    /// How many items of a batch it is.
    pub items: usize,
    /// One for each input of the model, in its order.
    pub inputs: Vec<RequestTensor>,
    /// One for each output of the model, `None` where nobody wants it.
    pub outputs: Vec<Option<RequestTensor>>,
    /// What its device memory waits for.
    pub ready: Option<Mark>,
    /// Why this one job failed, where the batch did not.
    pub failure: Option<Error>,
    pub progress: Arc<dyn Progress>,
}

/// An error for a job with device memory, for engines that work on host memory.
#[cfg(feature = "cpu")]
pub fn on_host(job: &Job) -> Result<()> {
    let mut tensors = job.inputs.iter().chain(job.outputs.iter().flatten());
    match tensors.any(|tensor| tensor.caller.kind == MemoryKind::Device) {
        false => Ok(()),
        true => {
            Err(Error::new(Code::InvalidArgument, "a tensor is in device memory; the CPU engine works on host memory"))
        }
    }
}

/// How far a request is, between the instance that runs it and those who wait for it.
pub trait Progress: Send + Sync {
    /// Whether nobody wants the outputs any more: they may be dropped.
    fn is_cancelled(&self) -> bool;

    /// All that is done for the request on the device is in that stream now, up to its outputs.
    fn enqueued(&self, stream: &Arc<Stream>);
}

impl Job {
    /// Whether outputs are written by the host: from blocks, or since there is no device.
    pub fn has_host_outputs(&self) -> bool {
        self.outputs.iter().flatten().any(|tensor| matches!(tensor.way, Way::Staged(_)))
    }

    /// What is left to be copied to the caller's memory once the job has run.
    pub fn into_delivery(self) -> Option<Delivery> {
        let is_staged = |tensor: &RequestTensor| matches!(tensor.way, Way::Staged(Some(_)));
        let staged: Vec<_> = self.outputs.into_iter().flatten().filter(is_staged).collect();
        (!staged.is_empty()).then_some(Delivery(staged))
    }
}

/// Outputs that came through blocks.
pub struct Delivery(Vec<RequestTensor>);

impl Delivery {
    /// Copies them into the caller's memory.
    pub fn deliver(self) {
        self.0.into_iter().for_each(RequestTensor::deliver);
    }
}
