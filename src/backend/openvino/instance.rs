//! OpenVINO as a session sees it. A batch is a list of items that lie where their requests have them; they run side by side,
//! as OpenVINO's scheduler has it.

use super::context::{Part, lost, write_input};
use super::engine::OpenVinoEngine;
use crate::backend::Cancellation;
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::host_context::HostEngine;
use crate::backend::instance::{Failure, Instance};
use crate::backend::instance_group::{Choices, InstanceChoices, InstanceGroup, InstanceGroupOptions};
use crate::backend::job::{Job, on_host};
use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use crate::tensor::Shape;
use openvino_c::InferRequest;
use std::sync::Arc;

/// Two instances unless another number is asked for: while the last items of one batch run, the first of the next fill the
/// streams that are free.
pub fn instance_group(engine: &Arc<OpenVinoEngine>, size: &InstanceGroupOptions) -> Result<InstanceGroup> {
    let count = match size.contexts {
        0 if engine.threads > 1 => 2,
        _ => size.host_contexts()?,
    };
    let instances = (0..count).map(|_| Box::new(OpenVinoInstance { engine: engine.clone() }) as _).collect();
    let optimal = if engine.facts.batched && engine.facts.one_batch { engine.threads } else { 1 };
    let choices = InstanceChoices { batch_sizes: Vec::new(), optimal };
    let choices = Choices { instances: vec![choices; count], ..Choices::default() };
    Ok(InstanceGroup { choices, instances, admission: Arc::new(OpenVinoAdmission { engine: engine.clone() }) })
}

struct OpenVinoAdmission {
    engine: Arc<OpenVinoEngine>,
}

impl Admission for OpenVinoAdmission {
    fn device(&self) -> Option<&Arc<Device>> {
        None
    }

    fn batch_key(&self, inputs: &[Shape]) -> Result<BatchKey> {
        let facts = &self.engine.facts;
        facts.check_shapes(inputs)?;
        let empty = inputs.iter().any(|shape| shape.contains(&0));
        if facts.batched && facts.one_batch && !empty {
            let item: Vec<_> = inputs.iter().map(|shape| shape.with_first(1)).collect();
            if let Some(arrangement) = self.engine.arrange_items(&item)
                && let Some(outputs) = arrangement.outputs.into_iter().collect()
            {
                return Ok(BatchKey { inputs: item, outputs, batched: true, device: None });
            }
        }
        let outputs = self.engine.arrange(inputs)?.outputs;
        let known = |(info, shape): (_, Option<Shape>)| {
            shape.ok_or_else(|| crate::backend::host_tensors::depends_on_data(info))
        };
        let outputs = facts.outputs().zip(outputs).map(known).collect::<Result<_>>()?;
        Ok(BatchKey { inputs: inputs.to_vec(), outputs, batched: false, device: None })
    }

    fn capacity(&self, _: usize, key: &BatchKey) -> Capacity {
        match key.batched {
            true => Capacity { optimal: self.engine.threads, max: usize::MAX, ..Capacity::default() },
            false => Capacity { optimal: 1, max: 1, ..Capacity::default() },
        }
    }

    fn admit(&self, job: &mut Job, _: Dependency<'_>) -> Result<()> {
        on_host(job)
    }
}

struct OpenVinoInstance {
    engine: Arc<OpenVinoEngine>,
}

impl Instance for OpenVinoInstance {
    fn run(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure> {
        let engine = &*self.engine;
        if key.inputs.iter().any(|shape| shape.contains(&0)) {
            // A batch of no items, whose outputs are as empty.
            return Ok(());
        }
        let never = Cancellation::default();
        // Each item's job, and its place in it.
        let items: Vec<_> = jobs.iter().flat_map(|job| (0..job.items).map(move |item| (&**job, item))).collect();
        let outputs: Vec<_> = key.outputs.iter().copied().map(Some).collect();
        engine.require_memory(&key.inputs, &outputs, items.len())?;
        let fill = |run: usize, request: &InferRequest| {
            let (job, item) = items[run];
            let infos = engine.facts.inputs();
            for (index, ((tensor, shape), info)) in job.inputs.iter().zip(&key.inputs).zip(infos).enumerate() {
                let Some(place) = engine.places[index] else { continue };
                let to = request.input(place).map_err(|error| lost(&error))?;
                // SAFETY: the lent memory holds the elements of all items, as was checked when the request came.
                unsafe { write_input(info, &to, &tensor.caller.as_host(index), item, shape) }?;
            }
            Ok(())
        };
        let ran = engine.run_all(&key.inputs, items.len(), &never, fill)?;
        let parts = |request: &InferRequest| {
            let part = |(output, expected): (usize, &Shape)| match Part::of(request, output)? {
                part if part.shape == *expected => Ok(part),
                _ => Err(Error::new(Code::OpenVino, "an output came out larger or smaller than OpenVINO planned")),
            };
            key.outputs.iter().enumerate().map(part).collect::<Result<Vec<_>>>()
        };
        let results = ran.iter().map(|running| parts(running.request()?)).collect::<Result<Vec<_>>>()?;
        for ((job, item), parts) in items.iter().zip(&results) {
            for (part, (index, tensor)) in parts.iter().zip(job.outputs.iter().enumerate()) {
                let Some(tensor) = tensor else { continue };
                // SAFETY: the lent memory has room for all items' elements, as was checked; this item's are as many as was
                // expected.
                unsafe { part.copy(tensor.element_type, *item, &tensor.caller.as_host(index)) }?;
            }
        }
        Ok(())
    }
}
