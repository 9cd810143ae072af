//! An execution context that stays at the shapes that it last ran with, and the CUDA graph that goes with them.
//!
//! A graph holds good only as long as the context that it was captured from is as it was (TensorRT's developer guide, "CUDA
//! Graphs"): replayed after its context ran with another shape it computes nonsense. A change of shapes costs about an
//! enqueue, and the graph three. So there is a context for each batch size, and none changes as long as sizes come again.

use super::super::context::Context;
use crate::backend::Context as _;
use crate::cuda::{Copier, CopySpan, DeviceMemory, Graph, Slot, Stream, Turns};
use crate::engine::{Description, Role};
use crate::error::Result;
use crate::log::{Level, Log};
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A graph costs as much to make as some ten launches gain: it is made for shapes that were there this often.
const RUNS_BEFORE_CAPTURE: u32 = 3;

/// So many captures fail one after the other before a plan's work is taken for uncapturable: another thread's call may
/// spoil one.
const FAILED_CAPTURES_TOLERATED: u32 = 3;

/// Whether a plan's work can be captured, as far as its contexts found out.
#[derive(Default)]
pub struct Captures {
    failed: AtomicU32,
    /// What is to be told of that, when no lock is held any more.
    said: Mutex<Option<String>>,
    has_said: AtomicBool,
}

impl Captures {
    fn are_of_use(&self) -> bool {
        Graph::are_available() && self.failed.load(Ordering::Relaxed) < FAILED_CAPTURES_TOLERATED
    }

    fn note(&self, outcome: Result<Captured>) -> Option<Captured> {
        match outcome {
            Ok(captured) => {
                self.failed.store(0, Ordering::Relaxed);
                Some(captured)
            }
            Err(error) => {
                if self.failed.fetch_add(1, Ordering::Relaxed) + 1 == FAILED_CAPTURES_TOLERATED {
                    *self.said.lock() = Some(format!(
                        "the plan's work cannot be captured as a CUDA graph and is enqueued anew each time: {error}"
                    ));
                    self.has_said.store(true, Ordering::Release);
                }
                None
            }
        }
    }

    /// Tells what there is to tell. No lock is held.
    pub fn tell(&self, log: &Log) {
        if self.has_said.swap(false, Ordering::Acquire)
            && let Some(message) = self.said.lock().take()
        {
            log.write(Level::Warning, &message);
        }
    }
}

/// What a run works with: the same each time, but for what is copied.
pub struct Work<'a> {
    /// One for each tensor.
    pub memory: &'a [DeviceMemory],
    pub stream: &'a Stream,
    pub copier: &'a Copier,
    /// What is copied before the network runs, and what after.
    pub gather: &'a [CopySpan],
    pub scatter: &'a [CopySpan],
}

/// A run as a graph: copies, the network, copies. Launches of their own would cost 4 µs of each batch.
struct Captured {
    graph: Graph,
    gather: Option<Slot>,
    scatter: Option<Slot>,
}

impl Captured {
    /// Says what is copied in the next launch; returns what has no place in the graph of the gather and of the scatter.
    ///
    /// # Safety
    /// As for `GraphContext::run`.
    unsafe fn fill<'a>(&mut self, work: &Work<'a>) -> Result<[&'a [CopySpan]; 2]> {
        let mut fill = |slot: &mut Option<Slot>, spans| match slot {
            // SAFETY: the slots are of this graph; the rest as the caller says.
            Some(slot) => unsafe { work.copier.fill(&mut self.graph, slot, spans) },
            None => Ok(spans),
        };
        Ok([fill(&mut self.gather, work.gather)?, fill(&mut self.scatter, work.scatter)?])
    }

    /// # Safety
    /// As for `GraphContext::run`.
    unsafe fn launch(&mut self, work: &Work<'_>, turns: Option<&Arc<Turns>>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe {
            let [gather, scatter] = self.fill(work)?;
            work.copier.copy(gather, work.stream)?;
            Turns::take(turns, work.stream, || self.graph.launch(work.stream))??;
            work.copier.copy(scatter, work.stream)
        }
    }
}

pub struct GraphContext {
    /// Before the context that it was captured from, to be dropped first.
    graph: Option<Captured>,
    context: Context,
    /// The inputs' shapes of the last run; none before the first.
    shapes: Vec<Shape>,
    /// How many runs had these.
    runs: u32,
    captures: Arc<Captures>,
}

impl GraphContext {
    /// The context computes in `scratch`.
    ///
    /// # Safety
    /// Whenever it runs, `scratch` is there, and no other work uses it.
    pub unsafe fn new(mut context: Context, scratch: &DeviceMemory, captures: &Arc<Captures>) -> Result<Self> {
        let profile = context.profile();
        context.set_profile(profile)?;
        // SAFETY: as the caller says.
        unsafe { context.lend_device_memory(scratch.address(), scratch.size()) }?;
        Ok(Self { context, shapes: Vec::new(), runs: 0, graph: None, captures: captures.clone() })
    }

    /// Whether its last run had these shapes.
    pub fn is_at(&self, shapes: &[Shape]) -> bool {
        self.shapes == shapes
    }

    /// The outputs' shapes for these inputs' shapes, as TensorRT infers them.
    pub fn infer(&mut self, description: &Description, inputs: &[Shape]) -> Result<Vec<Shape>> {
        // TensorRT is told of other shapes than those of the last run: the next run lets go of the graph, which may be at
        // work now.
        self.shapes.clear();
        for (tensor, shape) in description.indexes(Role::Input).zip(inputs) {
            self.context.set_shape(tensor, shape)?;
        }
        description.indexes(Role::Output).map(|tensor| self.context.shape(tensor)).collect()
    }

    /// Starts a run on the stream: as a graph where these shapes were there before, else as it is.
    ///
    /// # Safety
    /// The memory holds the shapes' elements and is the same each time, as is the stream; the device reaches the spans'
    /// memory, of which no target overlaps another. All of it stays until the stream has passed the run.
    pub unsafe fn run(&mut self, shapes: &[Shape], work: &Work<'_>) -> Result<()> {
        if self.shapes != shapes {
            self.forget();
            self.shapes = shapes.to_vec();
        }
        if self.graph.is_none() && self.runs >= RUNS_BEFORE_CAPTURE {
            // SAFETY: as the caller says.
            unsafe { self.capture(work) };
        }
        // SAFETY: as the caller says.
        unsafe {
            match &mut self.graph {
                Some(graph) => graph.launch(work, self.context.turns())?,
                None => {
                    work.copier.copy(work.gather, work.stream)?;
                    self.enqueue(work)?;
                    work.copier.copy(work.scatter, work.stream)?;
                }
            }
        }
        self.runs = self.runs.saturating_add(1);
        Ok(())
    }

    /// Has a graph ready for the next run with these shapes, if it can be; to that end it runs once with whatever is there.
    ///
    /// # Safety
    /// As for `run`.
    pub unsafe fn warm_up(&mut self, shapes: &[Shape], work: &Work<'_>) -> Result<()> {
        // SAFETY: as the caller says.
        unsafe {
            if self.graph.is_none() || !self.is_at(shapes) {
                self.run(shapes, work)?;
                self.capture(work);
            }
        }
        Ok(())
    }

    /// The context is not as it was: it was told of other shapes, or something failed. Nothing of it is at work.
    pub fn forget(&mut self) {
        self.graph = None;
        self.shapes.clear();
        self.runs = 0;
    }

    unsafe fn enqueue(&mut self, work: &Work<'_>) -> Result<()> {
        for (tensor, shape) in self.shapes.iter().enumerate() {
            self.context.set_shape(tensor, shape)?;
        }
        for (tensor, memory) in work.memory.iter().enumerate() {
            // SAFETY: as the caller of run says.
            unsafe { self.context.bind(tensor, memory.address(), memory.size()) }?;
        }
        // SAFETY: as the caller of run says.
        unsafe { self.context.enqueue(Some(work.stream)) }
    }

    /// Makes a graph for the shapes of the last run, which settled what TensorRT has to settle for new ones.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn capture(&mut self, work: &Work<'_>) {
        if !self.captures.are_of_use() {
            return;
        }
        // SAFETY: as the caller says.
        let captured = unsafe { self.captured(work, true).or_else(|_| self.captured(work, false)) };
        self.graph = self.captures.note(captured);
    }

    /// The work of the last run, with its copies or without.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn captured(&mut self, work: &Work<'_>, with_copies: bool) -> Result<Captured> {
        let slot = || if with_copies { work.copier.capture(work.stream) } else { Ok(None) };
        let (graph, (gather, scatter)) = Graph::capture(work.stream, || {
            let gather = slot()?;
            // SAFETY: as the caller says.
            unsafe { self.enqueue(work) }?;
            Ok((gather, slot()?))
        })?;
        let mut captured = Captured { graph, gather, scatter };
        // A driver that does not do this shall say so now.
        for spans in [&[CopySpan::NOTHING][..], &[]] {
            // SAFETY: nothing is copied.
            unsafe { captured.fill(&Work { gather: spans, scatter: spans, ..*work }) }?;
        }
        Ok(captured)
    }
}
