//! A lane of a session on a plan: batches are gathered by copies on the device (or straight from page-locked memory), run
//! by one of the lane's contexts, and scattered to where requests want them, all on the lane's stream.
//!
//! The contexts of a lane take turns, and share the memory that they read, write and compute in. Lanes run side by side.

use super::context::Context;
use super::engine::Engine;
use super::prepared::{Captures, Prepared};
use super::sizes::Group;
use crate::backend::lane::{Failure, Job, Kind, Lane, Part};
use crate::cuda::{Copier, DeviceMemory, Piece, Stream, copy_async};
use crate::error::Result;
use crate::tensor::Shape;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct TensorRtLane {
    engine: Arc<Engine>,
    pub group: Group,
    /// Each at the shapes that it ran with last; the one that ran last is at the end. They use the memory below, and run
    /// nowhere else.
    contexts: Vec<Arc<Mutex<Prepared>>>,
    captures: Arc<Captures>,
    copier: Arc<Copier>,
    stream: Stream,
    /// Where TensorRT reads and writes, one for each tensor, with room for the largest shape.
    memory: Vec<DeviceMemory>,
    /// Where it computes.
    scratch: DeviceMemory,
}

/// A short batch is timed over so long.
const TIMING: Duration = Duration::from_millis(10);

impl TensorRtLane {
    /// A lane with one context. `largest` are the bytes of each tensor at its largest, `scratch` those to compute in.
    pub fn new(
        engine: &Arc<Engine>,
        group: Group,
        context: Context,
        largest: &[usize],
        scratch: usize,
        captures: &Arc<Captures>,
        copier: &Arc<Copier>,
    ) -> Result<Self> {
        let device = engine.runtime().device();
        let stream = Stream::new(device, 0)?;
        let memory = largest.iter().map(|bytes| DeviceMemory::new(device, *bytes)).collect::<Result<Vec<_>>>()?;
        // What is computed before the first batch, and in places of a batch that nobody asked for, is computed of this.
        memory.iter().try_for_each(|memory| memory.clear(&stream))?;
        stream.synchronize()?;
        let mut lane = Self {
            engine: engine.clone(),
            group,
            contexts: Vec::new(),
            captures: captures.clone(),
            copier: copier.clone(),
            stream,
            memory,
            scratch: DeviceMemory::new(device, scratch)?,
        };
        lane.add(context)?;
        Ok(lane)
    }

    /// Takes one more context, which is the first to be used for new shapes.
    pub fn add(&mut self, context: Context) -> Result<()> {
        // SAFETY: contexts run in their lane only, where they take turns.
        let prepared = unsafe { Prepared::new(context, &self.scratch, &self.captures) }?;
        self.contexts.insert(0, Arc::new(Mutex::new(prepared)));
        Ok(())
    }

    /// One of its contexts, to be asked for shapes.
    pub fn any_context(&self) -> &Arc<Mutex<Prepared>> {
        &self.contexts[0]
    }

    /// Drops the context that ran last.
    pub fn remove_last(&mut self) {
        self.contexts.pop();
    }

    /// Makes one of the contexts ready for a batch of that size, of a group whose shapes are known.
    pub fn settle(&mut self, size: usize) -> Result<()> {
        let shapes = &self.group.shapes(size);
        let context = self.context(shapes);
        // SAFETY: as in `compute`.
        unsafe { context.lock().settle(shapes, &self.memory, &self.stream, self.engine.runtime().log()) }?;
        self.stream.synchronize()
    }

    /// Seconds that a batch of that size takes at the least, beside one of each other lane.
    pub fn time(&mut self, size: usize, others: &mut [Self]) -> Result<f64> {
        let shapes = &self.group.shapes(size);
        let start = Instant::now();
        let mut least = f64::INFINITY;
        while least.is_infinite() || start.elapsed() < TIMING {
            let run = Instant::now();
            self.compute(shapes)?;
            others.iter_mut().try_for_each(|other| other.compute(shapes))?;
            self.stream.synchronize()?;
            others.iter().try_for_each(|other| other.stream.synchronize())?;
            least = least.min(run.elapsed().as_secs_f64());
        }
        Ok(least)
    }

    /// The context that is at these shapes, or else the one that has not been used for longest.
    fn context(&mut self, shapes: &[Shape]) -> Arc<Mutex<Prepared>> {
        let i = self.contexts.iter().rposition(|context| context.lock().is_at(shapes)).unwrap_or(0);
        self.contexts[i..].rotate_left(1);
        self.contexts[self.contexts.len() - 1].clone()
    }

    fn compute(&mut self, shapes: &[Shape]) -> Result<()> {
        let context = self.context(shapes);
        // SAFETY: the memory has room for the largest shapes, and outlives the contexts; a batch is waited for.
        unsafe { context.lock().run(shapes, &self.memory, &self.stream, self.engine.runtime().log()) }
    }

    /// Starts the copies of the jobs' inputs to their places in the batch. A job whose copies cannot be started fails alone.
    fn gather(&self, kind: &Kind, jobs: &mut [Job]) -> Result<()> {
        let mut first = 0;
        let mut pieces = Vec::with_capacity(jobs.len());
        for job in jobs {
            let mut copies = || {
                if let Some(mark) = &job.ready {
                    mark.hold_back(&self.stream)?;
                }
                for (tensor, part) in job.inputs.iter().enumerate() {
                    let to = self.place(tensor, &kind.inputs[tensor], part, first)?;
                    let bytes = part.lent.shape.bytes(part.element_type)?;
                    self.copy(Piece { to, from: address(part), bytes }, part, &mut pieces)?;
                }
                Ok(())
            };
            job.failure = copies().err();
            first += job.items;
        }
        // SAFETY: the memory is lent until the job is answered, or its own; the places have room for the largest batch, and
        // the lane's last batch has ended.
        unsafe { self.copier.copy(&pieces, &self.stream) }
    }

    fn scatter(&self, kind: &Kind, jobs: &mut [Job], unwanted: &dyn Fn(usize) -> bool) -> Result<()> {
        let mut first = 0;
        let mut pieces = Vec::with_capacity(jobs.len());
        for (number, job) in jobs.iter_mut().enumerate() {
            let mut copies = || {
                for (output, part) in job.outputs.iter().enumerate() {
                    let Some(part) = part else { continue };
                    let from = self.place(job.inputs.len() + output, &kind.outputs[output], part, first)?;
                    let bytes = part.lent.shape.bytes(part.element_type)?;
                    self.copy(Piece { to: address(part), from, bytes }, part, &mut pieces)?;
                }
                Ok(())
            };
            if job.failure.is_none() && !unwanted(number) {
                job.failure = copies().err();
            }
            first += job.items;
        }
        // SAFETY: as in `gather`.
        unsafe { self.copier.copy(&pieces, &self.stream) }
    }

    /// Starts a copy, or leaves it to be made with others.
    fn copy(&self, piece: Piece, part: &Part, pieces: &mut Vec<Piece>) -> Result<()> {
        if part.reachable && self.copier.wants(piece.bytes) {
            pieces.push(piece);
            return Ok(());
        }
        // SAFETY: as in `gather`.
        unsafe { copy_async(piece.to, piece.from, piece.bytes, &self.stream) }
    }

    /// Where the items from the first one on of a tensor are.
    fn place(&self, tensor: usize, item: &Shape, part: &Part, first: usize) -> Result<*mut c_void> {
        let offset = first * item.bytes(part.element_type)?;
        Ok(self.memory[tensor].address().wrapping_byte_add(offset))
    }

    fn batch(&mut self, kind: &Kind, jobs: &mut [Job], unwanted: &dyn Fn(usize) -> bool) -> Result<()> {
        let device = self.engine.runtime().device().clone();
        let _current = device.make_current()?;
        self.gather(kind, jobs)?;
        let items = self.group.size(jobs.iter().map(|job| job.items).sum());
        let shapes = self.group.with_batch(&kind.inputs, items);
        self.compute(&shapes)?;
        self.scatter(kind, jobs, unwanted)?;
        self.stream.synchronize()
    }
}

/// Where a part is while the device works with it.
fn address(part: &Part) -> *mut c_void {
    part.block.as_ref().map_or(part.lent.address(), |block| block.address())
}

impl Lane for TensorRtLane {
    fn run(
        &mut self,
        kind: &Kind,
        jobs: &mut [Job],
        unwanted: &dyn Fn(usize) -> bool,
    ) -> std::result::Result<(), Failure> {
        self.batch(kind, jobs, unwanted).map_err(|error| {
            // Whatever failed, the device must have let go of the jobs' memory; if it cannot even be waited for, it
            // will not do anything any more.
            let lost = self.stream.synchronize().is_err();
            self.contexts.iter().for_each(|context| context.lock().forget());
            Failure { error, lost }
        })
    }
}

impl Drop for TensorRtLane {
    fn drop(&mut self) {
        // What is in the stream uses the memory.
        let _ = self.stream.synchronize();
    }
}
