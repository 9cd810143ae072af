//! The CPU engine as a session sees it. A batch is a list of items that lie where their requests have them: nothing is
//! gathered, and a request's result does not depend on what else is in its batch.

use super::CpuEngine;
use super::context::{CpuContext, read, write};
use crate::backend::lane::{After, Crew, CrewSize, Failure, Intake, Job, Kind, Lane, Part, Room};
use crate::backend::{Cancellation, Context};
use crate::cuda::Device;
use crate::engine::MemoryKind;
use crate::error::{Code, Error, Result};
use crate::tensor::Shape;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// One lane unless more are asked for: a batch has all threads of the engine anyway.
pub fn crew(engine: &Arc<CpuEngine>, size: &CrewSize) -> Crew {
    let lanes = (0..size.contexts.max(1)).map(|_| Box::new(CpuLane { engine: engine.clone() }) as _).collect();
    Crew { lanes, intake: Arc::new(CpuIntake { engine: engine.clone() }) }
}

struct CpuIntake {
    engine: Arc<CpuEngine>,
}

impl Intake for CpuIntake {
    fn device(&self) -> Option<&Arc<Device>> {
        None
    }

    fn kind(&self, inputs: &[Shape]) -> Result<Kind> {
        let tensors = &self.engine.model.description.tensors;
        let mut context = CpuContext::new(self.engine.clone());
        if self.engine.model.batched {
            let item: Vec<_> = inputs.iter().map(|shape| shape.with_first(1)).collect();
            if let Some(arrangement) = context.arrange_items(&item)?
                && let Some(outputs) = arrangement.outputs.into_iter().collect()
            {
                return Ok(Kind { inputs: item, outputs, batched: true, device: None });
            }
        }
        for (tensor, shape) in inputs.iter().enumerate() {
            context.set_shape(tensor, shape)?;
        }
        let outputs = (inputs.len()..tensors.len()).map(|tensor| context.shape(tensor)).collect::<Result<_>>()?;
        Ok(Kind { inputs: inputs.to_vec(), outputs, batched: false, device: None })
    }

    fn room(&self, _: usize, kind: &Kind) -> Room {
        match kind.batched {
            true => Room { usual: self.engine.threads.count(), most: usize::MAX, ..Room::default() },
            false => Room { usual: 1, most: 1, ..Room::default() },
        }
    }

    fn admit(&self, job: &mut Job, _: After<'_>) -> Result<()> {
        let mut parts = job.inputs.iter().chain(job.outputs.iter().flatten());
        if parts.any(|part| part.lent.memory == MemoryKind::Device) {
            return Err(Error::new(
                Code::InvalidArgument,
                "a tensor is in device memory; the CPU engine works on host memory",
            ));
        }
        Ok(())
    }
}

struct CpuLane {
    engine: Arc<CpuEngine>,
}

impl Lane for CpuLane {
    fn run(
        &mut self,
        kind: &Kind,
        jobs: &mut [Job],
        _unwanted: &dyn Fn(usize) -> bool,
    ) -> std::result::Result<(), Failure> {
        let engine = &*self.engine;
        let model = &engine.model;
        let plan = engine.plans.get(model, &kind.inputs)?;
        let never = Cancellation::default();
        let mut runs = Vec::with_capacity(jobs.iter().map(|job| job.items).sum());
        for job in &*jobs {
            for item in 0..job.items {
                let value = |((tensor, part), shape): ((usize, &Part), &Shape)| {
                    // SAFETY: the lent memory holds the elements of all items, as was checked when the request came.
                    unsafe { read(&part.lent.as_host(tensor), part.element_type, item, shape) }
                };
                let inputs = job.inputs.iter().enumerate().zip(&kind.inputs).map(value);
                runs.push(inputs.collect::<Result<TVec<_>>>()?);
            }
        }
        let results = engine.threads.map(runs, |inputs| plan.run(model, inputs, &never))?;
        let expected = kind.outputs.iter().map(Shape::elements).collect::<Result<Vec<_>>>()?;
        if results.iter().any(|values| values.iter().zip(&expected).any(|(value, count)| value.len() != *count)) {
            return Err(Error::new(Code::Internal, "an output came out larger or smaller than tract planned").into());
        }
        let mut results = results.iter();
        for job in &*jobs {
            for (item, values) in results.by_ref().take(job.items).enumerate() {
                for (value, (tensor, part)) in values.iter().zip(job.outputs.iter().enumerate()) {
                    let Some(part) = part else { continue };
                    // SAFETY: the lent memory has room for all items' elements, as was checked; this item's are as many
                    // as was expected.
                    unsafe { write(value, part.element_type, item, &part.lent.as_host(tensor)) };
                }
            }
        }
        Ok(())
    }
}
