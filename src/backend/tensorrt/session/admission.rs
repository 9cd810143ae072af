//! What the thread that submits a request for a plan does with it: shapes, memory, and copies from ordinary memory.

use super::super::diagnostics::told_afterwards;
use super::batch_sizes::Group;
use super::graph_context::GraphContext;
use super::instance::Shared;
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::job::{Job, RequestTensor, Way};
use crate::cuda::{Device, Mark, Marks};
use crate::engine::TensorInfo;
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use crate::tensor::{MemoryKind, Shape};
use std::sync::Arc;

pub struct TensorRtAdmission {
    shared: Arc<Shared>,
    /// Each with a context that can be asked for shapes.
    groups: Vec<(Group, Arc<Mutex<GraphContext>>)>,
    /// The group of each instance.
    instances: Vec<usize>,
    marks: Arc<Marks>,
}

impl TensorRtAdmission {
    pub fn new(shared: &Arc<Shared>, groups: Vec<(Group, Arc<Mutex<GraphContext>>)>, instances: Vec<usize>) -> Self {
        let marks = Marks::new(shared.engine.library().device());
        Self { shared: shared.clone(), groups, instances, marks }
    }

    /// Whether a group's profiles take these shapes.
    fn admits(&self, group: &Group, inputs: &[Shape]) -> bool {
        let description = self.shared.engine.description();
        let shapes: Vec<_> = inputs.iter().copied().map(Some).collect();
        description.profiles.is_empty() || description.profile_admits(group.profiles[0], &shapes)
    }

    /// Whether a group takes items of these shapes in its batches.
    fn admits_items(&self, group: &Group, inputs: &[Shape]) -> bool {
        group.batched && self.admits(group, &group.with_batch(inputs, group.least))
    }

    /// The outputs' shapes for one item of these; `None` where items cannot be told apart.
    fn items(&self, group: &Group, context: &Mutex<GraphContext>, inputs: &[Shape]) -> Option<Vec<Shape>> {
        if group.known {
            return Some(group.outputs.clone());
        }
        let description = self.shared.engine.description();
        told_afterwards(self.shared.engine.library().log(), || {
            let mut context = context.lock();
            group.items_of(inputs, &mut |shapes| context.infer(description, shapes))
        })
    }

    fn way(&self, tensor: &RequestTensor, info: &TensorInfo) -> Result<Way> {
        let device = || std::iter::once(self.shared.engine.library().device());
        let alike = tensor.caller.element_type == tensor.element_type;
        match tensor.caller.kind {
            MemoryKind::Device if !alike => Err(Error::new(
                Code::InvalidArgument,
                format!("{} in device memory has to be {}", info.quoted(), info.element_type),
            )),
            // Kernels take what is part of one allocation; of the rest the driver knows better.
            MemoryKind::Device => {
                Ok(Way::Direct { by_kernel: tensor.caller.locate(device())?.left >= tensor.bytes()? })
            }
            // An application's page-locked memory may have another address on the device, so kernels do not touch it.
            MemoryKind::Pinned if alike && tensor.caller.locate(device())?.kind == MemoryKind::Pinned => {
                Ok(Way::Direct { by_kernel: false })
            }
            MemoryKind::Pinned | MemoryKind::Host => Ok(Way::Staged(None)),
        }
    }
}

impl Admission for TensorRtAdmission {
    fn device(&self) -> Option<&Arc<Device>> {
        Some(self.shared.engine.library().device())
    }

    fn batch_key(&self, inputs: &[Shape]) -> Result<BatchKey> {
        for (group, context) in &self.groups {
            if self.admits_items(group, inputs)
                && let Some(outputs) = self.items(group, context, inputs)
            {
                return Ok(BatchKey { inputs: group.with_batch(inputs, 1), outputs, batched: true, device: None });
            }
            if self.admits(group, inputs) {
                let description = self.shared.engine.description();
                let log = self.shared.engine.library().log();
                let outputs = told_afterwards(log, || context.lock().infer(description, inputs))?;
                return Ok(BatchKey { inputs: inputs.to_vec(), outputs, batched: false, device: None });
            }
        }
        let given: Vec<_> = inputs.iter().map(Shape::to_string).collect();
        let message = format!("none of the session's contexts has a profile that takes {}", given.join(" and "));
        Err(Error::new(Code::Shape, message))
    }

    fn capacity(&self, instance: usize, key: &BatchKey) -> Capacity {
        let (group, _) = &self.groups[self.instances[instance]];
        match key.batched {
            true if self.admits_items(group, &key.inputs) => {
                Capacity { optimal: group.optimal(), max: group.most, costs: group.costs.as_slice().into() }
            }
            false if self.admits(group, &key.inputs) => Capacity { optimal: 1, max: 1, costs: Arc::default() },
            _ => Capacity::default(),
        }
    }

    fn admit(&self, job: &mut Job, after: Dependency<'_>) -> Result<()> {
        let (inputs, outputs) = self.shared.engine.description().tensors.split_at(job.inputs.len());
        for (tensor, info) in job.outputs.iter_mut().zip(outputs) {
            if let Some(tensor) = tensor {
                tensor.way = self.way(tensor, info)?;
            }
        }
        for (tensor, info) in job.inputs.iter_mut().zip(inputs) {
            tensor.way = self.way(tensor, info)?;
            if matches!(tensor.way, Way::Staged(_)) {
                let block = self.shared.blocks.take(tensor.bytes()?)?;
                tensor.stage(block)?;
            }
        }
        job.ready = match after {
            Dependency::Now => None,
            Dependency::Stream(stream) => Some(self.marks.mark(stream)?),
            Dependency::Event(event) => Some(Mark::foreign(event)),
        };
        Ok(())
    }
}
