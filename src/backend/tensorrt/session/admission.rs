//! What the thread that submits a request for a plan does with it: shapes, memory, and copies from ordinary memory.

use super::super::engine::Engine;
use super::batch_sizes::Group;
use super::graph_context::GraphContext;
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::job::Job;
use crate::cuda::{Blocks, Device, Mark, Marks, is_one_allocation, memory_kind};
use crate::engine::{MemoryKind, Role};
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::sync::Arc;

/// Page-locked memory that is kept for requests from ordinary memory.
const KEEP: usize = 256 << 20;

pub struct TensorRtAdmission {
    engine: Arc<Engine>,
    /// Each with a context that can be asked for shapes.
    groups: Vec<(Group, Arc<Mutex<GraphContext>>)>,
    /// The group of each instance.
    instances: Vec<usize>,
    blocks: Arc<Blocks>,
    marks: Arc<Marks>,
}

impl TensorRtAdmission {
    pub fn new(engine: &Arc<Engine>, groups: Vec<(Group, Arc<Mutex<GraphContext>>)>, instances: Vec<usize>) -> Self {
        let device = engine.library().device();
        Self { engine: engine.clone(), groups, instances, blocks: Blocks::new(device, KEEP), marks: Marks::new(device) }
    }

    /// Whether a group's profiles take an item of these shapes.
    fn admits(&self, group: &Group, inputs: &[Shape]) -> bool {
        let description = self.engine.description();
        let shapes: Vec<_> = group.with_batch(inputs, group.least).into_iter().map(Some).collect();
        description.profiles.is_empty() || description.profile_admits(group.profiles[0], &shapes)
    }
}

impl Admission for TensorRtAdmission {
    fn device(&self) -> Option<&Arc<Device>> {
        Some(self.engine.library().device())
    }

    fn batch_key(&self, inputs: &[Shape]) -> Result<BatchKey> {
        let description = self.engine.description();
        for (group, context) in &self.groups {
            if !self.admits(group, inputs) {
                continue;
            }
            let outputs = match group.known {
                true => group.outputs.clone(),
                false => context.lock().outputs(description, &group.with_batch(inputs, group.least))?,
            };
            let least = group.least as i64;
            if group.batched
                && let Some(output) = outputs.iter().find(|shape| shape.first() != Some(&least))
            {
                let message =
                    format!("an output of shape {output} for a batch of {least}: its items cannot be told apart");
                return Err(Error::new(Code::Unsupported, message));
            }
            return Ok(BatchKey {
                inputs: group.with_batch(inputs, 1),
                outputs: group.with_batch(&outputs, 1),
                batched: group.batched,
                device: None,
            });
        }
        let given: Vec<_> = inputs.iter().map(Shape::to_string).collect();
        let message = format!("none of the session's contexts has a profile that takes {}", given.join(" and "));
        Err(Error::new(Code::Shape, message))
    }

    fn capacity(&self, instance: usize, key: &BatchKey) -> Capacity {
        let (group, _) = &self.groups[self.instances[instance]];
        match self.admits(group, &key.inputs) {
            true => Capacity { optimal: group.optimal(), max: group.most, costs: group.costs.as_slice().into() },
            false => Capacity::default(),
        }
    }

    fn admit(&self, job: &mut Job, after: Dependency<'_>) -> Result<()> {
        let infos = &self.engine.description().tensors;
        let outputs = job.outputs.iter_mut();
        let tensors = job.inputs.iter_mut().map(Some).chain(outputs.map(Option::as_mut));
        for (info, tensor) in infos.iter().zip(tensors) {
            let Some(tensor) = tensor else { continue };
            let alike = tensor.caller.element_type == tensor.element_type;
            let direct = match tensor.caller.kind {
                MemoryKind::Device if !alike => {
                    return Err(Error::new(
                        Code::InvalidArgument,
                        format!("\"{}\" in device memory has to be {}", info.name(), info.element_type),
                    ));
                }
                MemoryKind::Device => true,
                MemoryKind::Pinned => {
                    alike && memory_kind(self.engine.library().device(), tensor.caller.address())? == MemoryKind::Pinned
                }
                MemoryKind::Host => false,
            };
            let bytes = tensor.caller.shape.bytes(tensor.element_type)?;
            tensor.direct = direct;
            if direct {
                // An application's page-locked memory may have another address on the device.
                let device = self.engine.library().device();
                tensor.reachable = tensor.caller.kind == MemoryKind::Device
                    && is_one_allocation(device, tensor.caller.address(), bytes);
            } else {
                tensor.block = Some(self.blocks.take(bytes)?);
                if info.role == Role::Input {
                    tensor.stage()?;
                }
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
