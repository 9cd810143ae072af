//! The CPU engine as a session sees it. A batch is a list of items that lie where their requests have them: nothing is
//! gathered, and a request's result does not depend on what else is in its batch.

use super::CpuEngine;
use super::context::{read, write};
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::host_context::{HostContext, HostEngine};
use crate::backend::instance::{Failure, Instance};
use crate::backend::instance_group::{Choices, InstanceChoices, InstanceGroup, InstanceGroupOptions};
use crate::backend::job::{Job, RequestTensor, on_host};
use crate::backend::{Cancellation, Context};
use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use crate::tensor::Shape;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// One instance unless more are asked for: a batch has all threads of the engine anyway.
pub fn instance_group(engine: &Arc<CpuEngine>, size: &InstanceGroupOptions) -> Result<InstanceGroup> {
    let count = size.host_contexts()?;
    let instances = (0..count).map(|_| Box::new(CpuInstance { engine: engine.clone() }) as _).collect();
    let optimal = if engine.model.batched && engine.model.one_batch { engine.threads.count() } else { 1 };
    let choices = InstanceChoices { batch_sizes: Vec::new(), optimal };
    let choices = Choices { instances: vec![choices; count], ..Choices::default() };
    Ok(InstanceGroup { choices, instances, admission: Arc::new(CpuAdmission { engine: engine.clone() }) })
}

struct CpuAdmission {
    engine: Arc<CpuEngine>,
}

impl Admission for CpuAdmission {
    fn device(&self) -> Option<&Arc<Device>> {
        None
    }

    fn batch_key(&self, inputs: &[Shape]) -> Result<BatchKey> {
        let tensors = &self.engine.model.description.tensors;
        self.engine.model.check_shapes(inputs)?;
        let mut context = HostContext::new(self.engine.clone());
        let empty = inputs.iter().any(|shape| shape.first() == Some(&0));
        if self.engine.model.batched && self.engine.model.one_batch && !empty {
            let item: Vec<_> = inputs.iter().map(|shape| shape.with_first(1)).collect();
            if let Some(arrangement) = self.engine.arrange_items(&item)
                && let Some(outputs) = arrangement.outputs.into_iter().collect()
            {
                return Ok(BatchKey { inputs: item, outputs, batched: true, device: None });
            }
        }
        for (tensor, shape) in inputs.iter().enumerate() {
            context.set_shape(tensor, shape)?;
        }
        let outputs = (inputs.len()..tensors.len()).map(|tensor| context.shape(tensor)).collect::<Result<_>>()?;
        Ok(BatchKey { inputs: inputs.to_vec(), outputs, batched: false, device: None })
    }

    fn capacity(&self, _: usize, key: &BatchKey) -> Capacity {
        match key.batched {
            true => Capacity { optimal: self.engine.threads.count(), max: usize::MAX, ..Capacity::default() },
            false => Capacity { optimal: 1, max: 1, ..Capacity::default() },
        }
    }

    fn admit(&self, job: &mut Job, _: Dependency<'_>) -> Result<()> {
        on_host(job)
    }
}

struct CpuInstance {
    engine: Arc<CpuEngine>,
}

impl Instance for CpuInstance {
    fn run(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure> {
        let engine = &*self.engine;
        let model = &engine.model;
        if key.outputs.iter().all(|shape| shape.contains(&0)) {
            return Ok(());
        }
        let never = Cancellation::default();
        let items = jobs.iter().map(|job| job.items).sum();
        // Where there is something to be told, a batch is one job.
        let told = model.told.iter().filter_map(|place| {
            let tensor = &jobs.first()?.inputs[*place];
            // SAFETY: as below.
            Some(unsafe { read(&tensor.caller.as_host(*place), tensor.element_type, 0, &key.inputs[*place]) })
        });
        let told = told.map(|value| value.map(IntoArcTensor::into_arc_tensor)).collect::<Result<_>>()?;
        let plan = engine.plans.get(model, &key.inputs, told)?;
        engine.require_memory(&plan, &key.inputs, items)?;
        let mut runs = Vec::with_capacity(items);
        for job in &*jobs {
            for item in 0..job.items {
                let value = |((index, tensor), shape): ((usize, &RequestTensor), &Shape)| {
                    // SAFETY: the lent memory holds the elements of all items, as was checked when the request came.
                    unsafe { read(&tensor.caller.as_host(index), tensor.element_type, item, shape) }
                };
                let inputs = job.inputs.iter().enumerate().zip(&key.inputs).map(value);
                runs.push(inputs.collect::<Result<TVec<_>>>()?);
            }
        }
        let results = engine.threads.map(runs, |inputs| plan.run(model, inputs, &never))?;
        let expected = key.outputs.iter().map(Shape::elements).collect::<Result<Vec<_>>>()?;
        if results.iter().any(|values| values.iter().zip(&expected).any(|(value, count)| value.len() != *count)) {
            return Err(Error::new(Code::Internal, "an output came out larger or smaller than tract planned").into());
        }
        let mut results = results.iter();
        for job in &*jobs {
            for (item, values) in results.by_ref().take(job.items).enumerate() {
                for (value, (index, tensor)) in values.iter().zip(job.outputs.iter().enumerate()) {
                    let Some(tensor) = tensor else { continue };
                    // SAFETY: the lent memory has room for all items' elements, as was checked; this item's are as many
                    // as was expected.
                    unsafe { write(value, tensor.element_type, item, &tensor.caller.as_host(index)) };
                }
            }
        }
        Ok(())
    }
}
