//! The CPU engine: runs ONNX models with tract, which is compiled in.
//!
//! tract is at its best with everything known: a plan is built for each shape that is asked for, with a batch of one, and
//! a few of them are kept (`plan`). A batch is run item by item, over the engine's threads (`threads`).

mod arg_max;
mod attention;
mod batch;
mod broadcast;
mod context;
mod convolution;
mod exponential;
mod external;
mod finish;
mod fuse;
pub(super) mod gate;
mod grid_sample;
mod holds;
mod hypot;
mod instance;
mod kept;
pub(super) mod model;
mod moved;
mod native;
pub(super) mod node;
mod normalization;
mod numeric;
mod order;
mod peak;
mod plan;
mod pool;
mod resize;
pub(super) mod rewrite;
mod softmax;
#[cfg(test)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "tests lend memory of their own, which outlives each call")]
pub(crate) mod tests;
mod threads;
mod told;
mod transposed;
mod voxels;
mod weights;
mod widen;

use crate::backend::host_context::HostContext;
use crate::backend::instance_group::{InstanceGroup, InstanceGroupOptions};
use crate::backend::{Context, Engine};
use crate::engine::{Description, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::model::Origin;
use crate::process::reserve;
use crate::tensor::Shape;
use model::{Model, run_type};
use plan::{Plan, Plans};
use std::collections::TryReserveError;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use threads::Threads;
use tract_onnx::prelude::{TractError, TractResult};

/// How the CPU engine runs a model.
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// The most threads one run works with; 0 for as many as the machine has cores.
    pub threads: usize,
    /// How many input shapes stay prepared; at least 1. Each holds its own copy of the weights, packed for that shape.
    pub shape_cache: usize,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { threads: 0, shape_cache: 4 }
    }
}

/// An ONNX model on the CPU.
pub struct CpuEngine {
    model: Model,
    plans: Plans,
    threads: Threads,
}

impl CpuEngine {
    /// Loads the bytes of an ONNX file, which has all of the model. They are not needed afterwards.
    pub fn load(data: &[u8], options: CpuOptions) -> Result<Arc<dyn Engine>> {
        Self::load_from(data, Origin::default(), options)
    }

    /// The same for bytes that are from there. Large weights are read again when a run needs them, of a file that these bytes
    /// are of as of those that lie beside it.
    pub fn load_from(data: &[u8], origin: Origin<'_>, options: CpuOptions) -> Result<Arc<dyn Engine>> {
        Ok(Arc::new(Self::new(data, origin, options)?))
    }

    fn new(data: &[u8], origin: Origin<'_>, options: CpuOptions) -> Result<Self> {
        let threads = Threads::start(options.threads)?;
        let device = match threads.count() {
            1 => "CPU, 1 thread".to_owned(),
            n => format!("CPU, {n} threads"),
        };
        let mut model = Model::read(data, origin, &device)?;
        let plans = Plans::new(options.shape_cache, threads.count());
        if let Some(shapes) = model.only_shapes() {
            // What will be asked for is known, so what tract cannot run is told now and not at the first run.
            if let Err(error) = model.infer(&shapes) {
                let pairs: Vec<_> = shapes.iter().map(|shape| shape.with_first(2)).collect();
                if !model.batched || model.infer(&pairs).is_err() {
                    return Err(error);
                }
                // It runs on several items only.
                model.batched = false;
            }
        }
        Ok(Self { model, plans, threads })
    }
}

/// What a run takes beside its elements, and each of its inputs and outputs: where items are small it is the most.
const PER_RUN: u64 = 256;
const PER_TENSOR: u64 = 512;

impl CpuEngine {
    /// An error if so many runs of a plan, side by side as far as there are threads, take more memory than there is: what
    /// tract allocates cannot fail.
    fn require_memory(&self, plan: &Plan, inputs: &[Shape], runs: usize) -> Result<()> {
        let bytes = |(info, shape): (&TensorInfo, &Shape)| shape.bytes(run_type(info.element_type));
        let inputs: usize = self.model.inputs().zip(inputs).map(bytes).sum::<Result<usize>>()?;
        // The copies of all inputs are there from the beginning, all outputs at the end.
        let (runs, threads) = (runs as u64, self.threads.count() as u64);
        let tensors = self.model.description.tensors.len() as u64;
        let waits = (inputs as u64).max(plan.outputs);
        let beside = |at_once: u64| waits.saturating_mul(runs.saturating_sub(at_once));
        let side_by_side = match runs >= threads {
            true => beside(threads).saturating_add(plan.peak.saturating_mul(threads)),
            false => 0,
        };
        let one_by_one = if runs % threads > 0 { beside(1).saturating_add(plan.peak_on_all) } else { 0 };
        let small = (PER_RUN + PER_TENSOR * tensors).saturating_mul(runs);
        self.plans.require_memory(side_by_side.max(one_by_one).saturating_add(small))
    }
}

impl Engine for CpuEngine {
    fn description(&self) -> &Description {
        &self.model.description
    }

    fn layers_json(&self) -> Result<String> {
        Ok(self.model.layers_json.clone())
    }

    fn metadata(&self) -> serde_json::Value {
        self.model.metadata.clone()
    }

    fn dimension_name(&self, tensor: usize, axis: usize) -> Option<&CStr> {
        self.model.dimension_names.get(tensor)?.get(axis)?.as_deref()
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        Ok(Box::new(HostContext::new(self)))
    }

    fn instance_group(self: Arc<Self>, size: &InstanceGroupOptions) -> Result<InstanceGroup> {
        instance::instance_group(&self, size)
    }
}

/// Calls tract, which means to return errors but has assertions left, and makes of either an [`Error`] of ours.
///
/// A caught panic has gone through the process's panic hook by then; keeping it off the terminal is the C interface's
/// matter.
fn guard<T>(call: impl FnOnce() -> TractResult<T>, error: impl FnOnce() -> Error) -> Result<T> {
    let short =
        |said: &str| Error::new(Code::OutOfMemory, "there is too little free memory for this").with_detail(said);
    reserve::forget();
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) if !reserve::was_used() => return Ok(value),
        Ok(Ok(_)) => return Err(short("small allocations came from planrt's reserve")),
        Ok(Err(failure)) if reserve::was_used() || failure.is::<TryReserveError>() => {
            return Err(short(&failure.to_string()));
        }
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            if words.starts_with("failed to allocate") || words.starts_with("capacity overflow") {
                return Err(short(words));
            }
            TractError::msg(assertion(words))
        }
    };
    let failure = match failure.downcast::<Error>() {
        // Of a file, not of the model.
        Ok(ours) if matches!(ours.code(), Code::Io | Code::OutOfMemory) => return Err(ours),
        Ok(ours) => TractError::new(ours),
        Err(failure) => failure,
    };
    if failure.is::<plan::Interrupted>() {
        return Err(Error::new(Code::Cancelled, "the run was cancelled"));
    }
    Err(error().with_detail(causes(&failure)))
}

/// What a panic says, in words of the model's: most come of numbers in it.
fn assertion(words: &str) -> String {
    let arithmetic =
        ["attempt to divide", "attempt to calculate the remainder", "attempt to shift", "attempt to negate"];
    if words.contains("by zero") || words.contains("divisor of zero") {
        "a whole number is divided by zero".to_owned()
    } else if arithmetic.iter().any(|start| words.starts_with(start)) {
        "a whole number is beyond what its type holds".to_owned()
    } else if ["out of bounds", "out of range", "Index"].iter().any(|part| words.contains(part)) {
        format!("an index is out of range: {words}")
    } else {
        format!("this does not hold: {words}")
    }
}

/// tract's chain of causes, outermost first, a line each. It may quote whole nodes with their weights: those are cut.
fn causes(failure: &TractError) -> String {
    const LONGEST: usize = 400;
    let line = |cause: &(dyn std::error::Error + 'static)| {
        let text = cause.to_string();
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    failure.chain().map(line).collect::<Vec<_>>().join("\n")
}
