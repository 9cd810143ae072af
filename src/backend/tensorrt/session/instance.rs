//! An instance of a session on a plan: batches are gathered by copies on the device (or straight from page-locked memory), run
//! by one of the instance's contexts, and scattered to where requests want them, all on the instance's stream.
//!
//! The contexts of an instance take turns, and share the memory that they read, write and compute in. Instances run side by side.

use super::super::context::Context;
use super::super::diagnostics::told_afterwards;
use super::super::engine::Engine;
use super::batch_sizes::{Group, bytes_of};
use super::budget::Budget;
use super::graph_context::{Captures, GraphContext, Work};
use crate::backend::batch::BatchKey;
use crate::backend::instance::{Failure, Instance};
use crate::backend::job::{Job, RequestTensor, Way};
use crate::cuda::{Blocks, Copier, CopySpan, DeviceMemory, Stream, copy_async};
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the instances of a session share.
pub struct Shared {
    pub engine: Arc<Engine>,
    pub budget: Budget,
    pub captures: Arc<Captures>,
    pub copier: Copier,
    /// For elements on their way from and to ordinary memory.
    pub blocks: Arc<Blocks>,
}

pub struct TensorRtInstance {
    shared: Arc<Shared>,
    pub group: Group,
    /// Each at the shapes that it ran with last; the one that ran last is at the end. They use the memory below, and run
    /// nowhere else.
    contexts: Vec<Arc<Mutex<GraphContext>>>,
    stream: Arc<Stream>,
    /// Where TensorRT reads and writes, one for each tensor; it grows where shapes take more than any that were tried.
    memory: Vec<DeviceMemory>,
    /// Where it computes.
    scratch: DeviceMemory,
}

/// A short batch is timed over so long.
const TIMED_FOR: Duration = Duration::from_millis(10);

impl TensorRtInstance {
    /// An instance with one context, of a group that was surveyed. `scratch` are the bytes to compute in.
    pub fn new(shared: &Arc<Shared>, group: Group, context: Context, scratch: usize) -> Result<Self> {
        let device = shared.engine.library().device();
        let stream = Arc::new(Stream::new(device, 0)?);
        let memory = group.bytes.iter().map(|bytes| cleared(*bytes, &stream)).collect::<Result<Vec<_>>>()?;
        stream.synchronize()?;
        let mut instance = Self {
            shared: shared.clone(),
            group,
            contexts: Vec::new(),
            stream,
            memory,
            scratch: DeviceMemory::new(device, scratch)?,
        };
        instance.add(context)?;
        Ok(instance)
    }

    /// Takes one more context, which is the first to be used for new shapes.
    pub fn add(&mut self, context: Context) -> Result<()> {
        // SAFETY: contexts run in their instance only, where they take turns.
        let context = unsafe { GraphContext::new(context, &self.scratch, &self.shared.captures) }?;
        self.contexts.insert(0, Arc::new(Mutex::new(context)));
        Ok(())
    }

    /// One of its contexts, to be asked for shapes.
    pub fn any_context(&self) -> &Arc<Mutex<GraphContext>> {
        &self.contexts[0]
    }

    /// Drops the context that ran last.
    pub fn remove_last(&mut self) {
        self.contexts.pop();
    }

    /// Makes one of the contexts ready for a batch of that size, of a group whose shapes are known.
    pub fn warm_up(&mut self, size: usize) -> Result<()> {
        let shapes = self.group.shapes(size);
        let context = self.prepare(&shapes, None)?;
        // SAFETY: as in `compute`.
        let outcome = told_afterwards(self.shared.engine.library().log(), || unsafe {
            context.lock().warm_up(&shapes, &self.work(&[], &[]))
        });
        self.shared.captures.tell(self.shared.engine.library().log());
        outcome?;
        self.stream.synchronize()
    }

    /// Seconds that a batch of that size takes at the least, beside one of each other instance.
    pub fn time(&mut self, size: usize, others: &mut [Self]) -> Result<f64> {
        let shapes = &self.group.shapes(size);
        let start = Instant::now();
        let mut least = f64::INFINITY;
        while least.is_infinite() || start.elapsed() < TIMED_FOR {
            let run = Instant::now();
            self.compute_alone(shapes)?;
            others.iter_mut().try_for_each(|other| other.compute_alone(shapes))?;
            self.stream.synchronize()?;
            others.iter().try_for_each(|other| other.stream.synchronize())?;
            least = least.min(run.elapsed().as_secs_f64());
        }
        Ok(least)
    }

    /// A batch of nobody's.
    fn compute_alone(&mut self, shapes: &[Shape]) -> Result<()> {
        let context = self.prepare(shapes, None)?;
        self.compute(&context, shapes, &[], &[])
    }

    /// The context for these shapes: the one that is at them, or else the one that has not been used for longest. For that
    /// one TensorRT is asked what the outputs' shapes will be; they are those of the batch's items, and there is memory for
    /// them, before anything is copied or computed. Nothing of this instance is at work.
    fn prepare(&mut self, shapes: &[Shape], batch: Option<(&BatchKey, usize)>) -> Result<Arc<Mutex<GraphContext>>> {
        let found = self.contexts.iter().rposition(|context| context.lock().is_at(shapes));
        self.contexts[found.unwrap_or(0)..].rotate_left(1);
        let context = self.contexts[self.contexts.len() - 1].clone();
        if found.is_none() {
            let engine = &self.shared.engine;
            let description = engine.description();
            let outputs = told_afterwards(engine.library().log(), || context.lock().infer(description, shapes))?;
            if let Some((key, items)) = batch
                && let Some(other) = outputs
                    .iter()
                    .zip(&key.outputs)
                    .find_map(|(shape, one)| (*shape != key.whole(one, items)).then_some(shape))
            {
                let message =
                    format!("an output of shape {other} for a batch of {items}: its items cannot be told apart");
                return Err(Error::new(Code::Unsupported, message));
            }
            self.make_room(&bytes_of(description, shapes, &outputs)?)?;
        }
        Ok(context)
    }

    /// Memory for tensors of so many bytes. What was there already stays where it is.
    fn make_room(&mut self, needed: &[usize]) -> Result<()> {
        if self.memory.iter().zip(needed).all(|(memory, needed)| memory.size() >= *needed) {
            return Ok(());
        }
        // Graphs hold addresses.
        self.contexts.iter().for_each(|context| context.lock().forget());
        for (memory, needed) in self.memory.iter_mut().zip(needed).filter(|(memory, needed)| memory.size() < **needed) {
            self.shared.budget.spend(*needed, "a batch's memory")?;
            let larger = cleared(*needed, &self.stream).inspect_err(|_| self.shared.budget.give_back(*needed))?;
            self.shared.budget.give_back(memory.size());
            *memory = larger;
        }
        self.stream.synchronize()
    }

    fn work<'a>(&'a self, gather: &'a [CopySpan], scatter: &'a [CopySpan]) -> Work<'a> {
        Work { memory: &self.memory, stream: &self.stream, copier: &self.shared.copier, gather, scatter }
    }

    /// Starts a batch in a context that was prepared for it.
    fn compute(
        &self,
        context: &Mutex<GraphContext>,
        shapes: &[Shape],
        gather: &[CopySpan],
        scatter: &[CopySpan],
    ) -> Result<()> {
        let log = self.shared.engine.library().log();
        // SAFETY: the memory holds the shapes' elements, and outlives the contexts; a batch is waited for. For spans see
        // `gather`.
        let outcome = told_afterwards(log, || unsafe { context.lock().run(shapes, &self.work(gather, scatter)) });
        self.shared.captures.tell(log);
        outcome
    }

    /// What is copied to the jobs' inputs' places in the batch: by a kernel what is returned; the driver's copies are started.
    fn gather(&self, key: &BatchKey, jobs: &mut [&mut Job]) -> Vec<CopySpan> {
        let mut spans = Vec::with_capacity(jobs.len());
        for_each(jobs, |_, job, first| {
            if let Some(mark) = &job.ready {
                mark.hold_back(&self.stream)?;
            }
            for (index, tensor) in job.inputs.iter().enumerate() {
                let to = self.place(index, &key.inputs[index], tensor, first)?;
                let from = tensor.address().ok_or_else(unstaged)?;
                let span = CopySpan { to, from, bytes: tensor.bytes()? };
                match self.is_for_kernel(&span, tensor) {
                    true => spans.push(span),
                    // SAFETY: the memory is lent until the job is answered, or its own; the places have room for the
                    // batch, and the instance's last batch has ended.
                    false => unsafe { copy_async(span.to, span.from, span.bytes, &self.stream) }?,
                }
            }
            Ok(())
        });
        spans
    }

    /// What is copied from the jobs' outputs' places in the batch: spans for a kernel, and returned those for the driver, with
    /// the number of their job. Outputs on their way to ordinary memory get a block.
    fn scatter(&self, key: &BatchKey, jobs: &mut [&mut Job], spans: &mut Vec<CopySpan>) -> Vec<(usize, CopySpan)> {
        let mut others = Vec::new();
        for_each(jobs, |number, job, first| {
            if job.progress.is_cancelled() {
                return Ok(());
            }
            let inputs = job.inputs.len();
            for (output, tensor) in job.outputs.iter_mut().enumerate() {
                let Some(tensor) = tensor else { continue };
                let from = self.place(inputs + output, &key.outputs[output], tensor, first)?;
                let bytes = tensor.bytes()?;
                if let Way::Staged(block @ None) = &mut tensor.way {
                    *block = Some(self.shared.blocks.take(bytes)?);
                }
                let to = tensor.address().ok_or_else(unstaged)?;
                let span = CopySpan { to, from, bytes };
                match self.is_for_kernel(&span, tensor) {
                    true => spans.push(span),
                    false => others.push((number, span)),
                }
            }
            Ok(())
        });
        others
    }

    fn is_for_kernel(&self, span: &CopySpan, tensor: &RequestTensor) -> bool {
        matches!(tensor.way, Way::Direct { by_kernel: true }) && self.shared.copier.wants(span.bytes)
    }

    /// Where the items from the first one on of a tensor are.
    fn place(&self, index: usize, item: &Shape, tensor: &RequestTensor, first: usize) -> Result<*mut c_void> {
        let (memory, bytes) = (&self.memory[index], tensor.bytes()?);
        let offset = first.checked_mul(item.bytes(tensor.element_type)?);
        match offset.filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= memory.size())) {
            Some(offset) => Ok(memory.address().wrapping_byte_add(offset)),
            None => {
                let message = format!("{bytes} bytes from item {first} on are not in a batch's {}", memory.size());
                Err(Error::new(Code::Internal, message))
            }
        }
    }

    fn batch(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> Result<()> {
        let device = self.shared.engine.library().device().clone();
        let _current = device.make_current()?;
        let items = jobs.iter().map(|job| job.items).sum();
        let items = if key.batched { self.group.size(items) } else { items };
        let shapes: Vec<_> = key.inputs.iter().map(|shape| key.whole(shape, items)).collect();
        let context = self.prepare(&shapes, Some((key, items)))?;
        let gather = self.gather(key, jobs);
        let mut scatter = Vec::with_capacity(jobs.len());
        let others = self.scatter(key, jobs, &mut scatter);
        self.compute(&context, &shapes, &gather, &scatter)?;
        for (number, span) in others {
            if jobs[number].failure.is_none() {
                // SAFETY: as in `gather`.
                jobs[number].failure = unsafe { copy_async(span.to, span.from, span.bytes, &self.stream) }.err();
            }
        }
        jobs.iter().for_each(|job| job.progress.enqueued(&self.stream));
        self.stream.synchronize()
    }
}

/// Memory on the device, full of zeros once the stream has passed: what is computed before the first batch, and in places of a
/// batch that nobody asked for, is computed of this.
fn cleared(bytes: usize, stream: &Stream) -> Result<DeviceMemory> {
    let memory = DeviceMemory::new(stream.device(), bytes)?;
    memory.clear(stream)?;
    Ok(memory)
}

fn unstaged() -> Error {
    Error::new(Code::Internal, "a tensor on its way through a block has none")
}

/// Goes over the jobs of a batch, with each one's number and where its items begin. What fails for one fails that one alone,
/// and what has failed is left out.
fn for_each(jobs: &mut [&mut Job], mut work: impl FnMut(usize, &mut Job, usize) -> Result<()>) {
    let mut first = 0;
    for (number, job) in jobs.iter_mut().enumerate() {
        if job.failure.is_none() {
            job.failure = work(number, job, first).err();
        }
        first += job.items;
    }
}

impl Instance for TensorRtInstance {
    fn run(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure> {
        self.batch(key, jobs).map_err(|error| {
            // Whatever failed, the device must have let go of the jobs' memory; if it cannot even be waited for, it
            // will not do anything any more.
            let waited = self.stream.synchronize();
            self.contexts.iter().for_each(|context| context.lock().forget());
            match waited {
                Ok(()) => Failure { error, lost: false },
                // TensorRT says of a lost device only that it refuses.
                Err(loss) if loss.code() != error.code() => {
                    Failure { error: loss.with_detail(error.to_string()), lost: true }
                }
                Err(_) => Failure { error, lost: true },
            }
        })
    }
}

impl Drop for TensorRtInstance {
    fn drop(&mut self) {
        // What is in the stream uses the memory. Graphs hold the copier's kernel, and a context may live on in the admission.
        let _ = self.stream.synchronize();
        self.contexts.iter().for_each(|context| context.lock().forget());
    }
}
