//! Plans: the model made ready for inputs of known shapes, and the few of them that are kept.

use super::arg_max;
use super::attention;
use super::broadcast;
use super::convolution;
use super::fuse;
use super::grid_sample;
use super::guard;
use super::model::{Model, datum_type};
use super::moved;
use super::numeric;
use super::peak;
use super::pool;
use super::resize;
use super::softmax;
use super::told::Told;
use crate::backend::Cancellation;
use crate::engine::TensorInfo;
use crate::error::{Code, Error, Result};
use crate::process::blocks::Blocks;
use crate::process::{memory, reserve};
use crate::quote::quoted;
use crate::sync::Mutex;
use crate::tensor::Shape;
use once_cell::sync::OnceCell;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::model::memory::eval_tmp_memory_usage;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::plan::eval;

/// What is computed here where tract would, and whether a node with its inputs is of that kind.
const OURS: [(Takes, Eval); 7] = [
    (softmax::takes, softmax::eval),
    (arg_max::takes, arg_max::eval),
    (broadcast::takes, broadcast::eval),
    (resize::takes, resize::eval),
    (grid_sample::takes, grid_sample::eval),
    (pool::takes, pool::eval),
    (moved::takes, moved::eval),
];

type Takes = fn(&TypedNode, &[TValue]) -> bool;
type Eval = fn(&TypedNode, TVec<TValue>) -> TractResult<TVec<TValue>>;

/// The model, optimized for inputs of certain shapes. Any number of threads may run it at once.
pub struct Plan {
    graph: Arc<TypedSimplePlan>,
    /// The most bytes that one run has in use, its inputs and outputs among them, on one thread and on all of the engine's.
    pub peak: u64,
    pub peak_on_all: u64,
    /// The bytes of the outputs of one run, as far as shapes alone tell.
    pub outputs: u64,
    spare: Arc<Spare>,
}

impl Plan {
    fn build(model: &Model, shapes: &[Shape], told: &Told, spare: Arc<Spare>) -> Result<Self> {
        let graph = guard(|| model.typed(shapes, told), || model.refuses(shapes))?;
        let outputs = output_bytes(&graph);
        memory::require("a run", least(&graph)?)?;
        // Weights are packed: for the graph, and by some operators once more.
        memory::require("the model made ready for these shapes", model.size_as_run().saturating_mul(2))?;
        let graph = guard(
            || {
                let mut graph = graph;
                numeric::replace(&mut graph)?;
                let mut graph = graph.into_decluttered()?;
                convolution::replace(&mut graph)?;
                attention::replace(&mut graph)?;
                fuse::fuse(&mut graph)?;
                graph.into_optimized()?.into_runnable()
            },
            || model.refuses(shapes),
        )?;
        let peak = |threads| {
            let peak = guard(|| peak::of(&graph, threads), || Error::new(Code::Internal, "a plan lacks a tensor"))?;
            Ok::<_, Error>(peak.saturating_add(peak / SMALL + LEAST))
        };
        Ok(Self { peak: peak(1)?, peak_on_all: peak(spare.most)?, graph, outputs, spare })
    }

    /// Runs on the calling thread, with whatever executor is in scope. The cancellation is looked at before each node,
    /// and left to the caller to take.
    pub fn run(&self, model: &Model, inputs: TVec<TValue>, cancellation: &Cancellation) -> Result<Vec<TValue>> {
        self.run_and_tell(model, inputs, cancellation, |_, _, _| {})
    }

    /// The same, and tells after each node its name, its operator and how long it took.
    pub fn run_and_tell(
        &self,
        model: &Model,
        inputs: TVec<TValue>,
        cancellation: &Cancellation,
        mut tell: impl FnMut(&str, &str, Duration),
    ) -> Result<Vec<TValue>> {
        let current = Cell::new(0);
        let inputs = inputs.into_iter().enumerate().filter(|(place, _)| !model.told.contains(place));
        let inputs: TVec<_> = inputs.map(|(_, value)| value).collect();
        let work = || {
            guard(
                || {
                    let outputs = self.graph.spawn()?.run_plan_with_eval(inputs, |context, state, node, inputs| {
                        current.set(node.id);
                        if cancellation.is_requested() {
                            return Err(TractError::new(Interrupted));
                        }
                        if reserve::was_used() {
                            bail!("the reserve was used before node \"{}\"", node.name);
                        }
                        let begun = Instant::now();
                        let outputs = match OURS.iter().find(|(takes, _)| takes(node, &inputs)) {
                            Some((_, ours)) => ours(node, inputs),
                            None => eval(context, state, node, inputs),
                        };
                        tell(&node.name, &node.op.name(), begun.elapsed());
                        outputs
                    })?;
                    // tract has shapes as a type of its own where the model has int64, and ways to store what is uniform.
                    let declared = |(value, output): (TValue, &TensorInfo)| {
                        let wanted = datum_type(output.element_type);
                        if value.datum_type() == wanted && value.has_plain_ram_storage() {
                            return Ok(value);
                        }
                        Ok(value.into_tensor().into_plain_ram()?.cast_to_dt(wanted)?.into_owned().into_tvalue())
                    };
                    outputs.into_iter().zip(model.outputs()).map(declared).collect()
                },
                || {
                    let node = self.graph.model().nodes.get(current.get()).map_or("?", |node| node.name.as_str());
                    let message =
                        format!("the model cannot be computed with these inputs: it fails at node {}", quoted(node));
                    Error::new(Code::InvalidModel, message)
                },
            )
        };
        self.spare.within(self.peak.max(self.peak_on_all), work)
    }
}

#[cfg(test)]
impl Plan {
    pub fn operators(&self) -> Vec<String> {
        self.graph.model().nodes.iter().map(|node| node.op.name().into_owned()).collect()
    }
}

fn output_bytes(graph: &TypedModel) -> u64 {
    let facts = graph.outputs.iter().filter_map(|outlet| graph.outlet_fact(*outlet).ok());
    facts.filter_map(|fact| fact.mem_size().to_i64().ok()).map(|size| size as u64).sum()
}

/// Bytes that a run is sure to need, before the graph is made ready: what its tensors take at once, constants left out, and
/// but half of it, since some of them will be made one with others.
fn least(graph: &TypedModel) -> Result<u64> {
    let peak = || -> TractResult<i64> {
        let order = graph.eval_order()?;
        let steps = eval_tmp_memory_usage(graph, &order, |node| !node.op_is::<Const>())?;
        Ok(steps.iter().filter_map(|(_, size)| size.to_i64().ok()).max().unwrap_or(0))
    };
    let peak = guard(peak, || Error::new(Code::Internal, "tract did not say how much memory a run needs"))?;
    Ok(peak as u64 / 2)
}

/// What small tensors and lists take beside what is told of a plan: a part of its peak, and something in any case.
const SMALL: u64 = 64;
const LEAST: u64 = 256 << 10;

/// Why a plan's run ended early.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Memory that runs have worked in, for the next ones: as many at once as an engine has threads.
pub struct Spare {
    most: usize,
    blocks: Mutex<Vec<Blocks>>,
    /// Whether there is so little memory that no more is held than a run needs.
    short: AtomicBool,
}

/// The part of a run's peak that is held beside it: blocks of other sizes, which it or the next one will want.
const HELD: u64 = 4;

impl Spare {
    fn new(most: usize) -> Self {
        Self { most, blocks: Mutex::default(), short: AtomicBool::new(false) }
    }

    /// Works with memory that was used before. What is held of it and what the work has in use, at most `peak`, are no more
    /// than that and a part of it.
    fn within<R>(&self, peak: u64, work: impl FnOnce() -> R) -> R {
        let bound = if self.short.load(Ordering::Relaxed) { peak } else { peak.saturating_add(peak / HELD) };
        let mut blocks = self.blocks.lock().pop().unwrap_or_default();
        let result = blocks.within(bound, work);
        let mut others = self.blocks.lock();
        if others.len() < self.most {
            others.push(blocks);
        }
        result
    }

    fn give_back(&self) {
        self.blocks.lock().clear();
    }
}

/// The plans used last, shared by all contexts of an engine.
pub struct Plans {
    capacity: usize,
    /// Used last at the end. More than `capacity` only while some are being built.
    entries: Mutex<Vec<Entry>>,
    spare: Arc<Spare>,
}

#[derive(Clone)]
struct Entry {
    shapes: Vec<Shape>,
    told: Told,
    /// Empty while a thread builds it; others that want the same plan wait for that one.
    plan: Arc<OnceCell<Arc<Plan>>>,
}

impl Plans {
    /// So many plans are kept, and the memory of so many runs.
    pub fn new(capacity: usize, runs: usize) -> Self {
        Self { capacity: capacity.max(1), entries: Mutex::default(), spare: Arc::new(Spare::new(runs)) }
    }

    /// An error if so much memory is not to be had, also after what is held for the next run has been given back.
    pub fn require_memory(&self, bytes: u64) -> Result<()> {
        let with_more = || memory::require("a run", bytes.saturating_add(bytes / HELD));
        let enough = with_more().or_else(|_| {
            self.spare.give_back();
            with_more()
        });
        self.spare.short.store(enough.is_err(), Ordering::Relaxed);
        enough.or_else(|_| memory::require("a run", bytes))
    }

    /// The plan for inputs of these shapes and values, built if it is not there.
    pub fn get(&self, model: &Model, shapes: &[Shape], told: Told) -> Result<Arc<Plan>> {
        let entry = self.entry(shapes, told);
        let plan = entry
            .plan
            .get_or_try_init(|| Plan::build(model, shapes, &entry.told, self.spare.clone()).map(Arc::new))
            .cloned();
        let mut entries = self.entries.lock();
        if plan.is_err() {
            entries.retain(|other| !Arc::ptr_eq(&other.plan, &entry.plan) || other.plan.get().is_some());
        }
        while entries.len() > self.capacity
            && let Some(oldest) = entries.iter().position(|e| e.plan.get().is_some())
        {
            entries.remove(oldest);
        }
        plan
    }

    fn entry(&self, shapes: &[Shape], told: Told) -> Entry {
        let mut entries = self.entries.lock();
        let entry = match entries.iter().position(|entry| entry.shapes == shapes && entry.told == told) {
            Some(place) => entries.remove(place),
            None => Entry { shapes: shapes.to_vec(), told, plan: Arc::default() },
        };
        entries.push(entry.clone());
        entry
    }

    #[cfg(test)]
    pub fn kept(&self) -> Vec<Vec<Shape>> {
        self.entries.lock().iter().map(|entry| entry.shapes.clone()).collect()
    }
}
