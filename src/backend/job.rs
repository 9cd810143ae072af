//! What a request brings to a batch: the caller's memory, tensor by tensor.

use crate::cuda::{Block, Mark, Stream};
use crate::engine::MemoryKind;
use crate::error::{Error, Result};
use crate::tensor::{ElementType, HostTensor, Shape, copy_elements};
use std::ffi::c_void;
use std::sync::Arc;

/// Memory that a caller lends to a request until it is answered.
pub struct CallerMemory {
    data: *mut u8,
    /// Bytes behind `data`.
    pub size: usize,
    pub element_type: ElementType,
    pub kind: MemoryKind,
    /// For inputs the shape of `data`; for outputs the one that it will have, once that is known.
    pub shape: Shape,
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
        Self { data, size, element_type, kind, shape }
    }

    pub fn address(&self) -> *mut c_void {
        self.data.cast()
    }

    /// As the tensor of that index, for backends that work on host memory.
    pub fn as_host(&self, tensor: usize) -> HostTensor {
        HostTensor { tensor, data: self.data, size: self.size, element_type: self.element_type, shape: self.shape }
    }
}

/// One tensor of a request, and where it is on its way between the caller's host memory and the device.
pub struct RequestTensor {
    pub caller: CallerMemory,
    /// Its elements in page-locked memory, in the model's type: an input's from when the request is taken in, an
    /// output's until it is delivered.
    pub block: Option<Block>,
    /// Whether the device itself reads or writes the lent memory.
    pub direct: bool,
    /// Whether kernels on the device may touch the lent memory.
    pub reachable: bool,
    /// The model's element type.
    pub element_type: ElementType,
}

impl RequestTensor {
    pub fn new(caller: CallerMemory, element_type: ElementType) -> Self {
        Self { caller, block: None, direct: false, reachable: false, element_type }
    }

    pub fn elements(&self) -> Result<usize> {
        self.caller.shape.elements()
    }

    /// Copies an input from the caller's memory into its block.
    pub fn stage(&self) -> Result<()> {
        if let Some(block) = &self.block {
            let count = self.elements()?;
            // SAFETY: the lent memory holds its shape's elements, as was checked, and the block was made for them.
            unsafe {
                copy_elements(
                    self.caller.data,
                    self.caller.element_type,
                    block.address().cast(),
                    self.element_type,
                    count,
                );
            }
        }
        Ok(())
    }

    /// Copies an output from its block into the caller's memory.
    fn deliver(self) {
        if let (Some(block), Ok(count)) = (&self.block, self.elements()) {
            // SAFETY: as for `stage`; the caller waits for this.
            unsafe {
                copy_elements(
                    block.address().cast(),
                    self.element_type,
                    self.caller.data,
                    self.caller.element_type,
                    count,
                );
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
        self.outputs.iter().flatten().any(|tensor| !tensor.direct)
    }

    /// What is left to be copied to the caller's memory once the job has run.
    pub fn into_delivery(self) -> Option<Delivery> {
        let staged: Vec<_> = self.outputs.into_iter().flatten().filter(|tensor| tensor.block.is_some()).collect();
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
