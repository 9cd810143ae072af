//! What a session needs of a backend: lanes that run batches, and an intake that makes requests ready for them.

use crate::cuda::{Block, Device, Event, Mark, Stream};
use crate::engine::MemoryKind;
use crate::error::{Error, Result};
use crate::tensor::{ElementType, HostTensor, Shape, copy_elements};
use std::ffi::c_void;
use std::sync::Arc;

/// Memory that a caller lends to a request until it is answered.
pub struct Lent {
    data: *mut u8,
    /// Bytes behind `data`.
    pub size: usize,
    pub element_type: ElementType,
    pub memory: MemoryKind,
    /// For inputs the shape of `data`; for outputs the one that it will have, once that is known.
    pub shape: Shape,
}

// SAFETY: what is lent may be used by any thread until the request is answered, as `new` asks.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    /// # Safety
    /// `data` is null, or memory of that kind, valid for `size` bytes until the request that it is given to is answered
    /// or refused; until then nobody writes to an input, nor uses an output.
    pub unsafe fn new(data: *mut u8, size: usize, element_type: ElementType, memory: MemoryKind, shape: Shape) -> Self {
        Self { data, size, element_type, memory, shape }
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
pub struct Part {
    pub lent: Lent,
    /// Its elements in page-locked memory, in the model's type: an input's from when the request is taken in, an
    /// output's until it is delivered.
    pub block: Option<Block>,
    /// Whether kernels on the device may touch the lent memory.
    pub reachable: bool,
    /// The model's element type.
    pub element_type: ElementType,
}

impl Part {
    pub fn new(lent: Lent, element_type: ElementType) -> Self {
        Self { lent, block: None, reachable: false, element_type }
    }

    pub fn elements(&self) -> Result<usize> {
        self.lent.shape.elements()
    }

    /// Copies an input from the caller's memory into its block.
    pub fn stage(&self) -> Result<()> {
        if let Some(block) = &self.block {
            let count = self.elements()?;
            // SAFETY: the lent memory holds its shape's elements, as was checked, and the block was made for them.
            unsafe {
                copy_elements(self.lent.data, self.lent.element_type, block.address().cast(), self.element_type, count);
            }
        }
        Ok(())
    }

    /// Copies an output from its block into the caller's memory.
    fn deliver(self) {
        if let (Some(block), Ok(count)) = (&self.block, self.elements()) {
            // SAFETY: as for `stage`; the caller waits for this.
            unsafe {
                copy_elements(block.address().cast(), self.element_type, self.lent.data, self.lent.element_type, count);
            }
        }
    }
}

/// What a request asks a lane to do.
pub struct Job {
    /// How many items of a batch it is.
    pub items: usize,
    /// One for each input of the model, in its order.
    pub inputs: Vec<Part>,
    /// One for each output of the model, `None` where nobody wants it.
    pub outputs: Vec<Option<Part>>,
    /// What its device memory waits for.
    pub ready: Option<Mark>,
    /// Why this one job failed, where the batch did not.
    pub failure: Option<Error>,
}

impl Job {
    /// Copies the outputs that came through blocks into the caller's memory.
    pub fn deliver(self) {
        self.outputs.into_iter().flatten().for_each(Part::deliver);
    }
}

/// When a request's device memory is ready to be used.
pub enum After<'a> {
    Now,
    /// When the stream has passed what it holds now.
    Stream(&'a Stream),
    /// When the event that the application has recorded is passed.
    Event(Event),
}

/// Requests of one kind can run in one batch.
#[derive(Debug)]
pub struct Kind {
    /// Each input's shape: of one item where requests are batches of items, else of the whole request.
    pub inputs: Vec<Shape>,
    pub outputs: Vec<Shape>,
    /// Whether the leading extent counts items.
    pub batched: bool,
    /// The device that the requests' memory is on.
    pub device: Option<i32>,
}

impl Kind {
    /// Whether a request with these inputs' shapes, whatever its batch, is of this kind.
    pub fn admits(&self, shapes: &[Shape], device: Option<i32>) -> bool {
        let skipped = usize::from(self.batched);
        let alike = |(own, given): (&Shape, &Shape)| own.len() == given.len() && own[skipped..] == given[skipped..];
        self.device == device && self.inputs.iter().zip(shapes).all(alike)
    }

    /// The shape of one of its tensors in a batch of so many items.
    pub fn whole(&self, shape: &Shape, items: usize) -> Shape {
        if self.batched { shape.with_first(items as i64) } else { *shape }
    }
}

/// How many items a lane takes at once.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// The largest batch that is of use.
    pub usual: usize,
    /// The most that it can do; 0 if it takes no request of this kind.
    pub most: usize,
    /// The sizes at which batches are computed, ascending, and the seconds that each takes; empty where items cost the same
    /// in any company.
    pub costs: Arc<[(usize, f64)]>,
}

/// The first of these ascending sizes that holds so many items; just as many where none does.
pub fn holding(sizes: impl IntoIterator<Item = usize>, items: usize) -> usize {
    sizes.into_iter().find(|size| *size >= items).unwrap_or(items)
}

/// So much dearer than in the best batch an item may be.
const DEARER: f64 = 1.15;

impl Room {
    /// The items that a batch of so many has room for at the same cost.
    pub fn fill(&self, items: usize) -> usize {
        holding(self.costs.iter().map(|(size, _)| *size), items)
    }

    /// How many of so many items go together: rather than a batch with many places empty, fewer go now and the others next.
    pub fn take(&self, waiting: usize) -> usize {
        let each = |(size, cost): &(usize, f64)| cost / waiting.min(*size) as f64;
        let least = self.costs.iter().map(each).fold(f64::INFINITY, f64::min);
        let largest = self.costs.iter().rfind(|size| each(size) <= least * DEARER);
        largest.map_or(waiting, |(size, _)| waiting.min(*size))
    }
}

/// One batch at a time on its way through an engine. Lanes are independent: while one runs, the next batch is gathered
/// in another.
pub trait Lane: Send {
    /// Gathers the jobs' inputs, runs, scatters the outputs, and returns when that has ended. `unwanted` says which jobs
    /// were cancelled meanwhile: their outputs may be dropped.
    fn run(
        &mut self,
        kind: &Kind,
        jobs: &mut [Job],
        unwanted: &dyn Fn(usize) -> bool,
    ) -> std::result::Result<(), Failure>;
}

/// Why a batch failed.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    /// Whether the lane can do nothing any more: its device is lost.
    pub lost: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, lost: false }
    }
}

/// What the thread that submits a request does with it. Any thread.
pub trait Intake: Send + Sync {
    /// The CUDA device of the lanes.
    fn device(&self) -> Option<&Arc<Device>>;

    /// The kind of requests with these inputs' shapes, of which the leading extent is a batch if the model has one.
    fn kind(&self, inputs: &[Shape]) -> Result<Kind>;

    /// What the crew's lane of that number takes of a kind.
    fn room(&self, lane: usize, kind: &Kind) -> Room;

    /// Makes a job ready to be run by any thread: checks memory, notes what to wait for, copies from host memory what
    /// is better copied by many threads.
    fn admit(&self, job: &mut Job, after: After<'_>) -> Result<()>;
}

/// How large a crew shall be.
#[derive(Clone, Debug, Default)]
pub struct CrewSize {
    /// Batches that run side by side; 0 for as many as are of use and fit.
    pub contexts: usize,
    /// Bytes of device memory that contexts, their inputs and outputs may take; 0 for what is free.
    pub memory_budget: usize,
    /// The most items in a batch; 0 for as many as are of use.
    pub largest: usize,
    /// Batch sizes that the application prefers.
    pub preferred: Vec<usize>,
}

pub struct Crew {
    pub lanes: Vec<Box<dyn Lane>>,
    pub intake: Arc<dyn Intake>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_or_nearly() {
        // As measured with a small network on an H100.
        let costs = [(1, 41.0), (2, 56.0), (4, 97.0), (8, 176.0), (16, 351.0)];
        let room = Room { usual: 16, most: 16, costs: costs.into() };
        let taken: Vec<_> = (1..=18).map(|waiting| room.take(waiting)).collect();
        assert_eq!(taken, [1, 2, 2, 4, 4, 4, 7, 8, 8, 8, 8, 8, 8, 14, 15, 16, 16, 16]);
        let flat = Room { usual: 4, most: 8, ..Room::default() };
        assert_eq!((flat.take(3), flat.fill(3)), (3, 3));
        assert_eq!([1, 3, 8, 9, 20].map(|items| room.fill(items)), [1, 4, 8, 16, 20]);
    }
}
