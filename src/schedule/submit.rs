//! What a request asks for, checked and made ready by the thread that submits it.

use super::callbacks::Callback;
use super::keys::{KeyRegistry, RegisteredKey};
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::instance_group::{Choices, InstanceChoices};
use crate::backend::job::{CallerMemory, Job, Progress, RequestTensor};
use crate::backend::{Engine, with_stack};
use crate::engine::{Backend, Description, MemoryKind, Role, TensorInfo, given_twice, missing_input, too_small};
use crate::error::{Code, Error, Result};
use crate::tensor::Shape;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Memory of a request's, under the tensor's name.
pub struct Tensor<'a> {
    pub name: &'a str,
    pub memory: CallerMemory,
}

/// What a request asks for.
pub struct Submission<'a> {
    pub inputs: Vec<Tensor<'a>>,
    pub outputs: Vec<Tensor<'a>>,
    pub priority: i32,
    /// From now on.
    pub timeout: Option<Duration>,
    pub after: Dependency<'a>,
    pub callback: Option<Callback>,
    /// Whether outputs that come through memory of the library's are copied by a thread of the session's, and not by the one
    /// that sees the answer.
    pub copied_by_session: bool,
}

/// One engine's part in a session.
pub struct EngineGroup {
    pub engine: Arc<dyn Engine>,
    pub admission: Arc<dyn Admission>,
    /// How many instances run its batches.
    pub instances: usize,
    pub choices: Choices,
}

impl EngineGroup {
    /// The CUDA device that it is on.
    pub fn ordinal(&self) -> Option<i32> {
        self.admission.device().map(|device| device.info.ordinal)
    }

    /// What was chosen for it, as JSON, given for each of its instances whether it is lost.
    pub fn describe(&self, lost: impl Iterator<Item = bool>) -> Value {
        let description = self.engine.description();
        let context = |(instance, lost): (&InstanceChoices, bool)| {
            let size = |(items, seconds): &(usize, Option<f64>)| json!({ "items": items, "time_us": seconds.map(|seconds| (seconds * 1e9).round() / 1e3) });
            let sizes: Vec<_> = instance.batch_sizes.iter().map(size).collect();
            json!({ "optimal_batch": instance.optimal, "batch_sizes": sizes, "lost": lost })
        };
        json!({
            "backend": match description.backend {
                Backend::TensorRt => "tensorrt",
                Backend::Cpu => "cpu",
                Backend::OpenVino => "openvino",
            },
            "ordinal": self.ordinal(),
            "name": description.device_name.to_string_lossy(),
            "device_memory_bytes": self.choices.device_memory_bytes,
            "engine_copies": self.choices.engine_copies,
            "contexts": self.choices.instances.iter().zip(lost).map(context).collect::<Vec<_>>(),
        })
    }
}

/// The most items of a request: sums of them over all that wait fit in a number then.
const MAX_ITEMS: i64 = i32::MAX as i64;

/// Checks requests.
pub struct Submitter {
    pub groups: Vec<EngineGroup>,
    keys: KeyRegistry,
    /// Whether what one device fails at is tried on another.
    retry: bool,
}

impl Submitter {
    /// At least one group.
    pub fn new(groups: Vec<EngineGroup>, retry: bool) -> Self {
        Self { groups, keys: KeyRegistry::default(), retry }
    }

    pub fn description(&self) -> &Description {
        self.groups[0].engine.description()
    }

    /// Checks what a request asks for and makes its job ready to be queued, with the group of that number where any would do.
    pub fn admit(
        &self,
        inputs: Vec<Tensor<'_>>,
        outputs: Vec<Tensor<'_>>,
        after: Dependency<'_>,
        progress: Arc<dyn Progress>,
        default_group: usize,
    ) -> Result<(Job, Arc<RegisteredKey>)> {
        let default_group = &self.groups[default_group];
        let inputs = self.check_inputs(inputs)?;
        let shapes: Vec<_> = inputs.iter().map(|tensor| tensor.caller.shape).collect();
        let memory = inputs.iter().map(|tensor| &tensor.caller).chain(outputs.iter().map(|tensor| &tensor.memory));
        let device = self.device_of(memory)?;
        let here = self.groups.iter().find(|group| device.is_some() && group.ordinal() == device);
        let group = here.unwrap_or(default_group);
        let known = self.keys.get(&shapes, device, || self.new_key(&shapes, device, group))?;
        let items = check_items(&known, &shapes)?;
        let outputs = self.check_outputs(outputs, &known.key, items)?;
        let mut job = Job { items, inputs, outputs, ready: None, failure: None, progress };
        let anywhere = self.retry && device.is_none() && matches!(after, Dependency::Now);
        group.admission.admit(&mut job, after).or_else(|error| {
            // A device may be lost and no instance have noticed yet.
            let others =
                self.groups.iter().filter(|_| anywhere && matches!(error.code(), Code::Cuda | Code::DeviceLost));
            let mut tried = others.map(|group| group.admission.admit(&mut job, Dependency::Now));
            tried.find(Result::is_ok).unwrap_or(Err(error))
        })?;
        Ok((job, known))
    }

    /// The inputs in the model's order.
    fn check_inputs(&self, given: Vec<Tensor<'_>>) -> Result<Vec<RequestTensor>> {
        let description = self.description();
        let count = description.indexes(Role::Input).count();
        let mut inputs: Vec<Option<RequestTensor>> = (0..count).map(|_| None).collect();
        for Tensor { name, memory } in given {
            let index = description.find_for(name, Role::Input, memory.element_type, memory.address().is_null())?;
            let info = &description.tensors[index];
            self.check_shape(index, &memory.shape)?;
            if inputs[index].replace(request_tensor(memory, info)?).is_some() {
                return Err(given_twice(name));
            }
        }
        if let Some(missing) = inputs.iter().position(Option::is_none) {
            return Err(missing_input(&description.tensors[missing]));
        }
        Ok(inputs.into_iter().flatten().collect())
    }

    /// Some engine has to take the shape.
    fn check_shape(&self, tensor: usize, shape: &Shape) -> Result<()> {
        let mut outcome = Ok(());
        for group in &self.groups {
            match group.engine.description().check_shape(tensor, shape) {
                Ok(()) => return Ok(()),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// The outputs in the model's order, `None` where nobody wants one.
    fn check_outputs(
        &self,
        given: Vec<Tensor<'_>>,
        key: &BatchKey,
        items: usize,
    ) -> Result<Vec<Option<RequestTensor>>> {
        let description = self.description();
        let first = description.indexes(Role::Input).count();
        let mut outputs: Vec<Option<RequestTensor>> = key.outputs.iter().map(|_| None).collect();
        for Tensor { name, mut memory } in given {
            let index = description.find_for(name, Role::Output, memory.element_type, memory.address().is_null())?;
            memory.shape = key.whole(&key.outputs[index - first], items);
            if outputs[index - first].replace(request_tensor(memory, &description.tensors[index])?).is_some() {
                return Err(given_twice(name));
            }
        }
        Ok(outputs)
    }

    /// The device that all of a request's device memory is on.
    fn device_of<'a>(&self, memory: impl Iterator<Item = &'a CallerMemory>) -> Result<Option<i32>> {
        // Any of them may be lost, and does not know about the others' memory then.
        let devices = || self.groups.iter().filter_map(|group| group.admission.device());
        if devices().next().is_none() {
            return Ok(None);
        }
        let invalid = |message: String| Err(Error::new(Code::InvalidArgument, message));
        let mut found = None;
        for memory in memory.filter(|memory| memory.kind == MemoryKind::Device) {
            let address = memory.address();
            let location = memory.locate(devices())?;
            if location.kind != MemoryKind::Device {
                return invalid(format!("{address:p} is said to be device memory, and is none (any more)"));
            }
            let ordinal = location.device;
            if !self.groups.iter().any(|group| group.ordinal() == Some(ordinal)) {
                return invalid(format!("{address:p} is memory of device {ordinal}, which the session does not use"));
            }
            if *found.get_or_insert(ordinal) != ordinal {
                return invalid("a request's device memory is on more than one device".to_owned());
            }
        }
        Ok(found)
    }

    /// The batch key of requests with these inputs' shapes, and what each instance takes of it.
    fn new_key(&self, shapes: &[Shape], device: Option<i32>, asked: &EngineGroup) -> Result<(BatchKey, Vec<Capacity>)> {
        let mut key = with_stack(&*asked.engine, || asked.admission.batch_key(shapes))?;
        key.device = device;
        let capacities = self.groups.iter().flat_map(|group| {
            let here = device.is_none() || group.ordinal() == device;
            let capacity = |instance| if here { group.admission.capacity(instance, &key) } else { Capacity::default() };
            (0..group.instances).map(capacity).collect::<Vec<_>>()
        });
        let capacities = capacities.collect();
        Ok((key, capacities))
    }
}

/// How many items a request with inputs of these shapes is, if some instance takes as many.
fn check_items(known: &RegisteredKey, shapes: &[Shape]) -> Result<usize> {
    let batch = |shape: &Shape| shape.first().copied().filter(|_| known.key.batched).unwrap_or(1);
    let items = shapes.first().map_or(1, batch);
    if let Some(other) = shapes.iter().find(|shape| batch(shape) != items) {
        let message = format!("the inputs' batches differ: {} and {other}", shapes[0]);
        return Err(Error::new(Code::Shape, message));
    }
    let most = known.capacities.iter().map(|capacity| capacity.max).max().unwrap_or(0);
    match usize::try_from(items) {
        Ok(count) if count <= most && items <= MAX_ITEMS => Ok(count),
        _ => Err(Error::new(
            Code::Shape,
            format!(
                "a batch of {items} is more than the session's contexts take at once, {}",
                most.min(MAX_ITEMS as usize)
            ),
        )),
    }
}

/// A tensor whose memory holds its shape.
fn request_tensor(memory: CallerMemory, info: &TensorInfo) -> Result<RequestTensor> {
    let needed = memory.shape.bytes(memory.element_type)?;
    if memory.size < needed {
        return Err(too_small(info, &memory.shape, memory.element_type, needed, memory.size));
    }
    // The library's own copy has the model's element type.
    memory.shape.bytes(info.element_type)?;
    Ok(RequestTensor::new(memory, info.element_type))
}
