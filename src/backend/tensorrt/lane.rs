//! Plans as a session sees them: execution contexts with memory of their own, where batches are gathered by copies on the
//! device (or straight from page-locked memory), run as CUDA graphs, and scattered to where requests want them.
//!
//! Everything of one batch is on its lane's stream. Contexts run side by side. Where there is only one, two lanes take
//! turns at it: what one computes and what the other copies overlap, and their computations are in line.

use super::context::Context;
use super::engine::Engine;
use super::sizes::{Run, Sizes};
use crate::backend::lane::{After, Crew, CrewSize, Failure, Intake, Job, Kind, Lane, Part, Room};
use crate::backend::{Context as _, Engine as _};
use crate::cuda::{Blocks, Device, DeviceMemory, Event, Graph, Mark, Marks, Stream, copy_async, memory_kind};
use crate::engine::{Description, MemoryKind, ProfileShape, Role};
use crate::error::{Code, Error, Result};
use crate::log::Level;
use crate::tensor::Shape;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;
use tensorrt_sys::ExecutionContextAllocationStrategy;

/// Contexts where the caller leaves it open: while some are between two batches, the others keep the device busy.
const CONTEXTS: usize = 4;

/// Page-locked memory that is kept for requests from ordinary memory.
const KEEP: usize = 256 << 20;

/// A graph costs as much to make as some ten enqueues: it is made for shapes that were there this often.
const REPEATS: u32 = 3;

/// How often a lane tries to capture before it takes TensorRT's work for uncapturable.
const CAPTURES: u32 = 3;

/// A context and who used it last.
struct Hub {
    context: Context,
    profile: Option<usize>,
    /// Behind the last work, where lanes take turns.
    last: Option<(usize, Arc<Event>)>,
    /// The inputs' shapes that the context was last enqueued with.
    shapes: Vec<Shape>,
    /// Counts the changes of these. A graph holds good only as long as the context that it was captured from is as it was
    /// (TensorRT's developer guide, "CUDA Graphs"); replayed after another shape it computes nonsense.
    changes: u64,
    /// Enqueues since the last change.
    repeats: u32,
    sizes: Sizes,
}

pub fn crew(engine: &Arc<Engine>, size: &CrewSize) -> Result<Crew> {
    let description = engine.description();
    let device = engine.runtime().device();
    let wanted = match size.contexts {
        0 if all_alike(&description.profiles) => CONTEXTS,
        0 => description.profiles.len(),
        count => count,
    };
    let mut contexts: Vec<Arc<Mutex<Hub>>> = Vec::new();
    let mut lanes: Vec<TensorRtLane> = Vec::new();
    let mut budget = Budget::new(device, size.memory_budget)?;
    while contexts.len() < wanted {
        let made = budget
            .spend(description.device_memory_size, "an execution context")
            .and_then(|()| Hub::new(engine, &contexts))
            .and_then(|hub| {
                let lane = TensorRtLane::new(engine, lanes.len(), hub.clone(), &mut budget)?;
                Ok((hub, lane))
            });
        match made {
            Ok((hub, lane)) => {
                contexts.push(hub);
                lanes.push(lane);
            }
            // As many as fit.
            Err(_) if size.contexts == 0 && !contexts.is_empty() => break,
            Err(error) => {
                return Err(error.within(format_args!("context {} of {wanted} of the session", contexts.len() + 1)));
            }
        }
    }
    if let [only] = contexts.as_slice()
        && let Ok(lane) = TensorRtLane::new(engine, 1, only.clone(), &mut budget)
    {
        lanes.push(lane);
        lanes.iter_mut().for_each(|lane| lane.shares = true);
    }
    engine.runtime().log().write(
        Level::Info,
        &format!(
            "session: {} contexts, {} lanes, {} bytes of device memory",
            contexts.len(),
            lanes.len(),
            budget.spent
        ),
    );
    let intake = TensorRtIntake {
        engine: engine.clone(),
        profiles: lanes.iter().map(|lane| lane.hub.lock().profile).collect(),
        contexts,
        blocks: Blocks::new(device, KEEP),
        marks: Marks::new(device),
    };
    Ok(Crew { lanes: lanes.into_iter().map(|lane| Box::new(lane) as _).collect(), intake: Arc::new(intake) })
}

fn all_alike(profiles: &[Vec<Option<ProfileShape>>]) -> bool {
    let range = |shape: &Option<ProfileShape>| shape.map(|shape| (shape.min, shape.max));
    profiles.windows(2).all(|two| two[0].iter().map(range).eq(two[1].iter().map(range)))
}

/// Device memory that may still be taken.
struct Budget {
    left: usize,
    spent: usize,
    what: &'static str,
}

impl Budget {
    fn new(device: &Device, budget: usize) -> Result<Self> {
        let (free, _) = device.memory()?;
        let (left, what) = match budget {
            0 => (free, "is free on the device"),
            budget if budget <= free => (budget, "is left of the session's memory budget"),
            _ => (free, "is free on the device"),
        };
        Ok(Self { left, spent: 0, what })
    }

    fn spend(&mut self, bytes: usize, purpose: &str) -> Result<()> {
        if bytes > self.left {
            return Err(Error::new(
                Code::OutOfMemory,
                format!("{purpose} takes {bytes} bytes of device memory, of which {} {}", self.left, self.what),
            ));
        }
        self.left -= bytes;
        self.spent += bytes;
        Ok(())
    }
}

impl Hub {
    /// A context on a profile that the others do not have, if there is one.
    fn new(engine: &Arc<Engine>, others: &[Arc<Mutex<Self>>]) -> Result<Arc<Mutex<Self>>> {
        let mut context = Context::new(engine.clone(), ExecutionContextAllocationStrategy::Static)?;
        let taken: Vec<_> = others.iter().map(|hub| hub.lock().profile).collect();
        if taken.contains(&context.profile()) {
            // TensorRT lets contexts share; they are spread over the profiles.
            let count = engine.description().profiles.len().max(1);
            context.set_profile(context.profile().map(|_| others.len() % count))?;
        }
        let profile = context.profile();
        context.set_profile(profile)?;
        Ok(Arc::new(Mutex::new(Self {
            context,
            profile,
            last: None,
            shapes: Vec::new(),
            changes: 0,
            repeats: 0,
            sizes: Sizes::new(),
        })))
    }

    /// The outputs' shapes for these inputs' shapes.
    fn outputs(&mut self, description: &Description, inputs: &[Shape]) -> Result<Vec<Shape>> {
        for (tensor, shape) in description.indexes(Role::Input).zip(inputs) {
            self.context.set_shape(tensor, shape)?;
        }
        description.indexes(Role::Output).map(|tensor| self.context.shape(tensor)).collect()
    }
}

/// Whether the leading extent of everything is open: a batch.
fn is_batched(description: &Description) -> bool {
    description.tensors.iter().all(|info| info.shape.first() == Some(&-1))
}

/// The least and the most items that a profile takes.
fn batches(description: &Description, profile: Option<usize>) -> (i64, i64) {
    let ranges = profile.map(|profile| description.profiles[profile].iter().flatten());
    let ranges = ranges.into_iter().flatten().map(|range| (range.min[0], range.max[0]));
    ranges.reduce(|(a, b), (min, max)| (a.max(min), b.min(max))).unwrap_or((1, 1))
}

struct TensorRtIntake {
    engine: Arc<Engine>,
    /// Of each lane.
    profiles: Vec<Option<usize>>,
    contexts: Vec<Arc<Mutex<Hub>>>,
    blocks: Arc<Blocks>,
    marks: Arc<Marks>,
}

impl TensorRtIntake {
    /// Whether a profile takes an item of these shapes, and how many.
    fn items(&self, profile: Option<usize>, kind_inputs: &[Shape], batched: bool) -> i64 {
        let description = self.engine.description();
        let (least, most) = if batched { batches(description, profile) } else { (1, 1) };
        let shapes: Vec<_> =
            kind_inputs.iter().map(|shape| Some(if batched { shape.with_first(least) } else { *shape })).collect();
        match profile.is_none_or(|profile| description.profile_admits(profile, &shapes)) {
            true => most,
            false => 0,
        }
    }
}

impl Intake for TensorRtIntake {
    fn device(&self) -> Option<&Arc<Device>> {
        Some(self.engine.runtime().device())
    }

    fn kind(&self, inputs: &[Shape]) -> Result<Kind> {
        let description = self.engine.description();
        let batched = is_batched(description);
        let inputs: Vec<_> = match batched {
            true => inputs.iter().map(|shape| shape.with_first(1)).collect(),
            false => inputs.to_vec(),
        };
        for hub in &self.contexts {
            let mut hub = hub.lock();
            if self.items(hub.profile, &inputs, batched) == 0 {
                continue;
            }
            if !batched {
                let outputs = hub.outputs(description, &inputs)?;
                return Ok(Kind { inputs, outputs, batched, device: None });
            }
            let (least, _) = batches(description, hub.profile);
            let probe: Vec<_> = inputs.iter().map(|shape| shape.with_first(least)).collect();
            let outputs = hub.outputs(description, &probe)?;
            if let Some(output) = outputs.iter().find(|shape| shape.first() != Some(&least)) {
                let message =
                    format!("an output of shape {output} for a batch of {least}: its items cannot be told apart");
                return Err(Error::new(Code::Unsupported, message));
            }
            let outputs = outputs.iter().map(|shape| shape.with_first(1)).collect();
            return Ok(Kind { inputs, outputs, batched, device: None });
        }
        let given: Vec<_> = inputs.iter().map(Shape::to_string).collect();
        let message = format!("none of the session's contexts has a profile that takes {}", given.join(" and "));
        Err(Error::new(Code::Shape, message))
    }

    fn room(&self, lane: usize, kind: &Kind) -> Room {
        let most = self.items(self.profiles[lane], &kind.inputs, kind.batched) as usize;
        Room { usual: most, most }
    }

    fn admit(&self, job: &mut Job, after: After<'_>) -> Result<()> {
        let tensors = &self.engine.description().tensors;
        let outputs = job.outputs.iter_mut();
        let parts = job.inputs.iter_mut().map(Some).chain(outputs.map(Option::as_mut));
        for (info, part) in tensors.iter().zip(parts) {
            let Some(part) = part else { continue };
            let alike = part.lent.element_type == part.element_type;
            let direct = match part.lent.memory {
                MemoryKind::Device if !alike => {
                    return Err(Error::new(
                        Code::InvalidArgument,
                        format!("\"{}\" in device memory has to be {}", info.name(), info.element_type),
                    ));
                }
                MemoryKind::Device => true,
                MemoryKind::Pinned => {
                    alike && memory_kind(self.engine.runtime().device(), part.lent.address())? == MemoryKind::Pinned
                }
                MemoryKind::Host => false,
            };
            if !direct {
                part.block = Some(self.blocks.take(part.lent.shape.bytes(part.element_type)?)?);
                if info.role == Role::Input {
                    part.stage()?;
                }
            }
        }
        job.ready = match after {
            After::Now => None,
            After::Stream(stream) => Some(self.marks.mark(stream)?),
            After::Event(event) => Some(Mark::foreign(event)),
        };
        Ok(())
    }
}

struct TensorRtLane {
    number: usize,
    engine: Arc<Engine>,
    hub: Arc<Mutex<Hub>>,
    /// Whether another lane uses the context.
    shares: bool,
    stream: Stream,
    /// Where TensorRT reads and writes, one for each tensor, with room for the profile's largest shape.
    memory: Vec<DeviceMemory>,
    /// Behind the computation of the batch.
    computed: Arc<Event>,
    /// The computation for the context's shapes, and at which of their changes it was captured.
    graph: Option<(u64, Graph)>,
    /// How often TensorRT's work could not be captured.
    failed_captures: u32,
    /// How the last batch was computed.
    last_run: Run,
}

// SAFETY: the addresses are of this lane's own memory; the rest is Send.
unsafe impl Send for TensorRtLane {}

impl TensorRtLane {
    fn new(engine: &Arc<Engine>, number: usize, hub: Arc<Mutex<Hub>>, budget: &mut Budget) -> Result<Self> {
        let (description, device) = (engine.description(), engine.runtime().device());
        let memory = {
            let mut hub = hub.lock();
            let profile = hub.profile.map(|profile| &description.profiles[profile]);
            let largest = |tensor: usize| {
                let range = profile.and_then(|profile| profile[tensor]);
                range.map_or(description.tensors[tensor].shape, |range| range.max)
            };
            let inputs: Vec<_> = description.indexes(Role::Input).map(largest).collect();
            let outputs = hub.outputs(description, &inputs)?;
            let sizes = inputs.iter().chain(&outputs).zip(&description.tensors);
            sizes
                .map(|(shape, info)| {
                    let bytes = shape.bytes(info.element_type)?;
                    budget.spend(bytes, "a batch's memory")?;
                    DeviceMemory::new(device, bytes)
                })
                .collect::<Result<_>>()?
        };
        Ok(Self {
            number,
            engine: engine.clone(),
            hub,
            shares: false,
            stream: Stream::new(device, 0)?,
            memory,
            computed: Arc::new(Event::new(device)?),
            graph: None,
            failed_captures: 0,
            last_run: Run::Changed,
        })
    }

    /// Starts the copies of the jobs' inputs to their places in the batch. A job whose memory is bad fails alone.
    fn gather(&self, kind: &Kind, jobs: &mut [Job]) -> Result<()> {
        let mut first = 0;
        for job in jobs {
            let copies = || {
                if let Some(mark) = &job.ready {
                    mark.hold_back(&self.stream)?;
                }
                for (tensor, part) in job.inputs.iter().enumerate() {
                    let to = self.place(tensor, &kind.inputs[tensor], part, first)?;
                    // SAFETY: the memory is lent until the job is answered, or its own; the place has room for the
                    // largest batch, and the lane's last batch has ended.
                    unsafe { copy_async(to, address(part), part.lent.shape.bytes(part.element_type)?, &self.stream) }?;
                }
                Ok(())
            };
            job.failure = copies().err();
            first += job.items;
        }
        Ok(())
    }

    fn scatter(&self, kind: &Kind, jobs: &mut [Job], unwanted: &dyn Fn(usize) -> bool) {
        let mut first = 0;
        for (number, job) in jobs.iter_mut().enumerate() {
            let copies = || {
                for (output, part) in job.outputs.iter().enumerate() {
                    let Some(part) = part else { continue };
                    let from = self.place(job.inputs.len() + output, &kind.outputs[output], part, first)?;
                    // SAFETY: as in `gather`.
                    unsafe {
                        copy_async(address(part), from, part.lent.shape.bytes(part.element_type)?, &self.stream)
                    }?;
                }
                Ok(())
            };
            if job.failure.is_none() && !unwanted(number) {
                job.failure = copies().err();
            }
            first += job.items;
        }
    }

    /// Where the items from the first one on of a tensor are.
    fn place(&self, tensor: usize, item: &Shape, part: &Part, first: usize) -> Result<*mut c_void> {
        let offset = first * item.bytes(part.element_type)?;
        Ok(self.memory[tensor].address().wrapping_byte_add(offset))
    }

    /// Starts the computation: as a graph where the shapes are those of the last time, else as it is.
    fn compute(&mut self, shapes: &[Shape]) -> Result<()> {
        let hub = self.hub.clone();
        let mut hub = hub.lock();
        if let Some((number, event)) = &hub.last
            && *number != self.number
        {
            event.hold_back(&self.stream)?;
        }
        if hub.shapes != shapes {
            hub.shapes = shapes.to_vec();
            hub.changes += 1;
            hub.repeats = 0;
            self.last_run = Run::Changed;
            self.enqueue(&mut hub)?;
        } else {
            hub.repeats += 1;
            self.last_run = Run::Steady;
            let is_captured = self.graph.as_ref().is_some_and(|(captured, _)| *captured == hub.changes);
            if !is_captured && hub.repeats >= REPEATS && self.failed_captures < CAPTURES {
                self.last_run = Run::Captured;
                self.capture(&mut hub);
            }
            match &mut self.graph {
                // SAFETY: the graph uses the lane's own memory and the context's, which live as long as it.
                Some((captured, graph)) if *captured == hub.changes => unsafe { graph.launch(&self.stream) }?,
                _ => self.enqueue(&mut hub)?,
            }
        }
        if self.shares {
            self.computed.record(&self.stream)?;
            hub.last = Some((self.number, self.computed.clone()));
        }
        Ok(())
    }

    fn enqueue(&self, hub: &mut Hub) -> Result<()> {
        for (tensor, shape) in hub.shapes.iter().enumerate() {
            hub.context.set_shape(tensor, shape)?;
        }
        for (tensor, memory) in self.memory.iter().enumerate() {
            // SAFETY: the lane's memory outlives its work: a batch is waited for.
            unsafe { hub.context.bind(tensor, memory.address(), memory.size()) }?;
        }
        // Lanes that share a context order their work by events, which a capture must not wait for.
        hub.context.order_is_kept();
        // SAFETY: as above.
        unsafe { hub.context.enqueue(Some(&self.stream)) }
    }

    /// Makes a graph of the computation for the shapes that the context ran with the last time: what TensorRT has to settle
    /// for new shapes is settled then.
    fn capture(&mut self, hub: &mut Hub) {
        match Graph::capture(&self.stream, || self.enqueue(hub)) {
            Ok(graph) => self.graph = Some((hub.changes, graph)),
            // Another thread's call may have come between, so it is tried again.
            Err(_) if self.failed_captures + 1 < CAPTURES => self.failed_captures += 1,
            Err(error) => {
                self.failed_captures += 1;
                self.engine.runtime().log().write(
                    Level::Warning,
                    &format!(
                        "the plan's work cannot be captured as a CUDA graph and is enqueued anew each time: {error}"
                    ),
                );
            }
        }
    }

    fn batch(&mut self, kind: &Kind, jobs: &mut [Job], unwanted: &dyn Fn(usize) -> bool) -> Result<()> {
        let device = self.engine.runtime().device().clone();
        let _current = device.make_current()?;
        self.gather(kind, jobs)?;
        let items: usize = jobs.iter().map(|job| job.items).sum();
        let (least, most) = match kind.batched {
            true => batches(self.engine.description(), self.hub.lock().profile),
            false => (1, 1),
        };
        // A profile may want more items than there are, and it may cost less to compute as many as the last time; what is
        // computed for those is not looked at.
        let items = items.max(least as usize);
        let items = if kind.batched { self.hub.lock().sizes.choose(items, most as usize) } else { items };
        let shapes = kind.inputs.iter().map(|shape| kind.whole(shape, items)).collect::<Vec<_>>();
        let start = Instant::now();
        self.compute(&shapes)?;
        self.scatter(kind, jobs, unwanted);
        self.stream.synchronize()?;
        self.hub.lock().sizes.ran(start.elapsed().as_secs_f64() * 1e6, self.last_run);
        Ok(())
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
            // will not do anything any more. What was captured may hold what the failure left behind.
            let lost = self.stream.synchronize().is_err();
            // Forgetting the shapes is what tells every lane of this context that its graph is stale.
            self.hub.lock().shapes.clear();
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
