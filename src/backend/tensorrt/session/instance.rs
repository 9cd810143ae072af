//! An instance of a session on a plan: batches are gathered by copies on the device (or straight from page-locked memory), run
//! by one of the instance's contexts, and scattered to where requests want them, all on the instance's stream.
//!
//! The contexts of an instance take turns, and share the memory that they read, write and compute in. Instances run side by side.

use super::super::context::Context;
use super::super::engine::Engine;
use super::batch_sizes::Group;
use super::graph_context::{Captures, GraphContext, Work};
use crate::backend::batch::BatchKey;
use crate::backend::instance::{Failure, Instance};
use crate::backend::job::{Job, RequestTensor};
use crate::cuda::{Copier, CopySpan, DeviceMemory, Stream, copy_async};
use crate::error::Result;
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct TensorRtInstance {
    engine: Arc<Engine>,
    pub group: Group,
    /// Each at the shapes that it ran with last; the one that ran last is at the end. They use the memory below, and run
    /// nowhere else.
    contexts: Vec<Arc<Mutex<GraphContext>>>,
    captures: Arc<Captures>,
    copier: Arc<Copier>,
    stream: Arc<Stream>,
    /// Where TensorRT reads and writes, one for each tensor, with room for the largest shape.
    memory: Vec<DeviceMemory>,
    /// Where it computes.
    scratch: DeviceMemory,
}

/// A short batch is timed over so long.
const TIMING: Duration = Duration::from_millis(10);

impl TensorRtInstance {
    /// An instance with one context. `largest` are the bytes of each tensor at its largest, `scratch` those to compute in.
    pub fn new(
        engine: &Arc<Engine>,
        group: Group,
        context: Context,
        largest: &[usize],
        scratch: usize,
        captures: &Arc<Captures>,
        copier: &Arc<Copier>,
    ) -> Result<Self> {
        let device = engine.library().device();
        let stream = Arc::new(Stream::new(device, 0)?);
        let memory = largest.iter().map(|bytes| DeviceMemory::new(device, *bytes)).collect::<Result<Vec<_>>>()?;
        // What is computed before the first batch, and in places of a batch that nobody asked for, is computed of this.
        memory.iter().try_for_each(|memory| memory.clear(&stream))?;
        stream.synchronize()?;
        let mut instance = Self {
            engine: engine.clone(),
            group,
            contexts: Vec::new(),
            captures: captures.clone(),
            copier: copier.clone(),
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
        let prepared = unsafe { GraphContext::new(context, &self.scratch, &self.captures) }?;
        self.contexts.insert(0, Arc::new(Mutex::new(prepared)));
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
        let shapes = &self.group.shapes(size);
        let context = self.context(shapes);
        // SAFETY: as in `compute`.
        unsafe { context.lock().warm_up(shapes, &self.work(&[], &[])) }?;
        self.stream.synchronize()
    }

    /// Seconds that a batch of that size takes at the least, beside one of each other instance.
    pub fn time(&mut self, size: usize, others: &mut [Self]) -> Result<f64> {
        let shapes = &self.group.shapes(size);
        let start = Instant::now();
        let mut least = f64::INFINITY;
        while least.is_infinite() || start.elapsed() < TIMING {
            let run = Instant::now();
            self.compute(shapes, &[], &[])?;
            others.iter_mut().try_for_each(|other| other.compute(shapes, &[], &[]))?;
            self.stream.synchronize()?;
            others.iter().try_for_each(|other| other.stream.synchronize())?;
            least = least.min(run.elapsed().as_secs_f64());
        }
        Ok(least)
    }

    /// The context that is at these shapes, or else the one that has not been used for longest.
    fn context(&mut self, shapes: &[Shape]) -> Arc<Mutex<GraphContext>> {
        let i = self.contexts.iter().rposition(|context| context.lock().is_at(shapes)).unwrap_or(0);
        self.contexts[i..].rotate_left(1);
        self.contexts[self.contexts.len() - 1].clone()
    }

    fn work<'a>(&'a self, gather: &'a [CopySpan], scatter: &'a [CopySpan]) -> Work<'a> {
        let log = self.engine.library().log();
        Work { memory: &self.memory, stream: &self.stream, copier: &self.copier, log, gather, scatter }
    }

    fn compute(&mut self, shapes: &[Shape], gather: &[CopySpan], scatter: &[CopySpan]) -> Result<()> {
        let context = self.context(shapes);
        // SAFETY: the memory has room for the largest shapes, and outlives the contexts; a batch is waited for. For spans see
        // `gather`.
        unsafe { context.lock().run(shapes, &self.work(gather, scatter)) }
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
                let span =
                    CopySpan { to, from: address(tensor), bytes: tensor.caller.shape.bytes(tensor.element_type)? };
                match self.is_for_kernel(&span, tensor) {
                    true => spans.push(span),
                    // SAFETY: the memory is lent until the job is answered, or its own; the places have room for the
                    // largest batch, and the instance's last batch has ended.
                    false => unsafe { copy_async(span.to, span.from, span.bytes, &self.stream) }?,
                }
            }
            Ok(())
        });
        spans
    }

    /// What is copied from the jobs' outputs' places in the batch: spans for a kernel, and returned those for the driver, with
    /// the number of their job.
    fn scatter(&self, key: &BatchKey, jobs: &mut [&mut Job], spans: &mut Vec<CopySpan>) -> Vec<(usize, CopySpan)> {
        let mut others = Vec::new();
        for_each(jobs, |number, job, first| {
            let wanted = if job.progress.is_cancelled() { &[][..] } else { &job.outputs };
            for (output, tensor) in wanted.iter().enumerate() {
                let Some(tensor) = tensor else { continue };
                let from = self.place(job.inputs.len() + output, &key.outputs[output], tensor, first)?;
                let span =
                    CopySpan { to: address(tensor), from, bytes: tensor.caller.shape.bytes(tensor.element_type)? };
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
        tensor.reachable && self.copier.wants(span.bytes)
    }

    /// Where the items from the first one on of a tensor are.
    fn place(&self, index: usize, item: &Shape, tensor: &RequestTensor, first: usize) -> Result<*mut c_void> {
        let offset = first * item.bytes(tensor.element_type)?;
        Ok(self.memory[index].address().wrapping_byte_add(offset))
    }

    fn batch(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> Result<()> {
        let device = self.engine.library().device().clone();
        let _current = device.make_current()?;
        let gather = self.gather(key, jobs);
        let mut scatter = Vec::with_capacity(jobs.len());
        let others = self.scatter(key, jobs, &mut scatter);
        let items = self.group.size(jobs.iter().map(|job| job.items).sum());
        let shapes = self.group.with_batch(&key.inputs, items);
        self.compute(&shapes, &gather, &scatter)?;
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

/// Goes over the jobs of a batch, with each one's number and where its items begin. What fails for one fails that one alone,
/// and what has failed is left out.
fn for_each(jobs: &mut [&mut Job], mut work: impl FnMut(usize, &Job, usize) -> Result<()>) {
    let mut first = 0;
    for (number, job) in jobs.iter_mut().enumerate() {
        if job.failure.is_none() {
            job.failure = work(number, job, first).err();
        }
        first += job.items;
    }
}

/// Where a tensor is while the device works with it.
fn address(tensor: &RequestTensor) -> *mut c_void {
    tensor.block.as_ref().map_or(tensor.caller.address(), |block| block.address())
}

impl Instance for TensorRtInstance {
    fn run(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure> {
        self.batch(key, jobs).map_err(|error| {
            // Whatever failed, the device must have let go of the jobs' memory; if it cannot even be waited for, it
            // will not do anything any more.
            let lost = self.stream.synchronize().is_err();
            self.contexts.iter().for_each(|context| context.lock().forget());
            Failure { error, lost }
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
