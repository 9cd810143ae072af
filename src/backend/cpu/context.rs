//! An execution context of the CPU engine.

use super::CpuEngine;
use super::model::{datum_type, run_type};
use super::told::Told;
use crate::backend::host_tensors::{HostTensors, check_profile, check_view, depends_on_data, in_order};
use crate::backend::{Cancellation, Context, LayerTime};
use crate::cuda::Stream;
use crate::engine::{Role, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use crate::tensor::{ElementType, HostTensor, Shape, copy_elements};
use std::ffi::c_void;
use std::sync::Arc;
use tract_onnx::prelude::*;

pub struct CpuContext {
    engine: Arc<CpuEngine>,
    tensors: HostTensors,
    /// Kept until a shape changes.
    arrangement: Option<Arc<Arrangement>>,
    /// The outputs' shapes as the last run gave them.
    results: Vec<Shape>,
    cancellation: Arc<Cancellation>,
}

/// How the inputs' shapes as set are run: by one plan, once or item by item.
pub(super) struct Arrangement {
    /// The shape of each input for one run of the plan.
    pub shapes: Vec<Shape>,
    pub runs: usize,
    /// The shape of each output of all runs together; `None` if it depends on the data.
    pub outputs: Vec<Option<Shape>>,
}

impl CpuContext {
    pub fn new(engine: Arc<CpuEngine>) -> Self {
        Self {
            tensors: HostTensors::new(&engine.model.description),
            arrangement: None,
            results: Vec::new(),
            cancellation: Arc::default(),
            engine,
        }
    }

    fn info(&self, tensor: usize) -> &TensorInfo {
        &self.engine.model.description.tensors[tensor]
    }

    /// How to run with the inputs' shapes as set.
    fn arrange(&mut self) -> Result<Arc<Arrangement>> {
        if let Some(arrangement) = &self.arrangement {
            return Ok(arrangement.clone());
        }
        let model = &self.engine.model;
        let shapes = self.tensors.input_shapes(&model.description)?;
        model.check_shapes(&shapes)?;
        let arrangement = match self.arrange_items(&shapes)? {
            Some(arrangement) => arrangement,
            None => Arrangement { outputs: model.infer(&shapes)?, shapes, runs: 1 },
        };
        Ok(self.arrangement.insert(Arc::new(arrangement)).clone())
    }

    /// A batch as its items, if that can be done.
    pub(super) fn arrange_items(&self, shapes: &[Shape]) -> Result<Option<Arrangement>> {
        let model = &self.engine.model;
        let Some(batch) = shapes.first().and_then(|shape| shape.first()).filter(|_| model.batched) else {
            return Ok(None);
        };
        if shapes.iter().any(|shape| shape.first() != Some(batch)) {
            return Ok(None);
        }
        let item: Vec<_> = shapes.iter().map(|shape| shape.with_first(1)).collect();
        // What does not run as one item may run as a whole.
        let Ok(outputs) = model.infer(&item) else { return Ok(None) };
        let outputs = outputs.into_iter().map(|shape| match shape {
            Some(shape) if shape.first() == Some(&1) => Some(Some(shape.with_first(*batch))),
            // This output does not come item by item: it has more than one row for each.
            _ => None,
        });
        let outputs = outputs.collect::<Option<_>>();
        Ok(outputs.map(|outputs| Arrangement { shapes: item, runs: *batch as usize, outputs }))
    }

    /// Runs with one view for each input, in the model's order, and any views of outputs.
    ///
    /// # Safety
    /// Each view's `data` is valid for its `size`.
    unsafe fn execute(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()> {
        self.cancellation.take()?;
        let work = self.arrange()?;
        let first_output = inputs.len();
        for view in inputs {
            self.check_view(view, &view.shape)?;
        }
        for view in outputs {
            if let Some(shape) = &work.outputs[view.tensor - first_output] {
                self.check_view(view, shape)?;
            }
        }
        let engine = &*self.engine;
        let outputs_of_none = || work.outputs.iter().copied().collect::<Option<Vec<_>>>();
        if work.runs == 0
            && let Some(shapes) = outputs_of_none()
        {
            self.results = shapes;
            return Ok(());
        }
        // SAFETY: as below.
        let told = unsafe { self.told(&work, inputs) }?;
        let plan = engine.plans.get(&engine.model, &work.shapes, told)?;
        engine.require_memory(&plan, &work.shapes, work.runs)?;
        let mut runs = Vec::with_capacity(work.runs);
        for run in 0..work.runs {
            let value = |(view, shape): (&HostTensor, &Shape)| {
                // SAFETY: `check_view` held the view's size against the shape of all runs together.
                unsafe { read(view, self.info(view.tensor).element_type, run, shape) }
            };
            runs.push(inputs.iter().zip(&work.shapes).map(value).collect::<Result<TVec<_>>>()?);
        }
        let run = |inputs| plan.run(&engine.model, inputs, &self.cancellation);
        let results = engine.threads.map(runs, run).or_else(|error| {
            if error.code() == Code::Cancelled {
                self.cancellation.take()?;
            }
            Err(error)
        })?;
        // A request that came during the last node ends this run too: it shall not linger for the next.
        self.cancellation.take()?;
        let shapes = 0..self.engine.model.description.tensors.len() - first_output;
        let shapes = shapes.map(|output| self.shape_of_results(&work, &results, output)).collect::<Result<Vec<_>>>()?;
        for view in outputs {
            self.check_view(view, &shapes[view.tensor - first_output])?;
        }
        for view in outputs {
            for (run, values) in results.iter().enumerate() {
                let value = &values[view.tensor - first_output];
                // SAFETY: the view's size was just held against the shape of all runs' results together.
                unsafe { write(value, self.info(view.tensor).element_type, run, view) };
            }
        }
        self.results = shapes;
        Ok(())
    }

    /// What a plan for these inputs is told.
    ///
    /// # Safety
    /// Each view holds the elements of its shape.
    unsafe fn told(&self, work: &Arrangement, inputs: &[HostTensor]) -> Result<Told> {
        let value = |place: &usize| {
            let view = &inputs[*place];
            // SAFETY: by this function's contract; where there is something to be told, there is one run.
            let value = unsafe { read(view, self.info(view.tensor).element_type, 0, &work.shapes[*place]) };
            value.map(IntoArcTensor::into_arc_tensor)
        };
        self.engine.model.told.iter().map(value).collect()
    }

    /// The shape of one output of all runs together, as it came out.
    fn shape_of_results(&self, work: &Arrangement, results: &[Vec<TValue>], output: usize) -> Result<Shape> {
        let mut extents: Vec<_> = results[0][output].shape().iter().map(|extent| *extent as i64).collect();
        let alike = results.iter().all(|values| values[output].shape() == results[0][output].shape());
        if work.runs > 1 && extents.first() == Some(&1) {
            extents[0] = work.runs as i64;
        }
        let shape = Shape::new(&extents)?;
        if alike && work.outputs[output].is_none_or(|expected| expected == shape) {
            return Ok(shape);
        }
        let name = self.engine.model.outputs().nth(output).map_or_else(String::new, |info| info.quoted().to_string());
        Err(Error::new(
            Code::InvalidModel,
            format!("output {name} came out as {shape}, which is not what the model says or its shapes promise"),
        ))
    }

    /// Holds a view against the model's tensor with that shape.
    fn check_view(&self, view: &HostTensor, shape: &Shape) -> Result<()> {
        check_view(self.info(view.tensor), view, shape)
    }
}

impl Context for CpuContext {
    fn set_profile(&mut self, profile: Option<usize>) -> Result<()> {
        check_profile(profile)
    }

    fn profile(&self) -> Option<usize> {
        None
    }

    fn set_shape(&mut self, tensor: usize, shape: &Shape) -> Result<()> {
        if self.tensors.set_shape(&self.engine.model.description, tensor, shape)? {
            self.arrangement = None;
        }
        Ok(())
    }

    fn shape(&mut self, tensor: usize) -> Result<Shape> {
        if self.info(tensor).role == Role::Input {
            return self.tensors.shape(&self.engine.model.description, tensor);
        }
        let inputs = self.engine.model.inputs().count();
        self.arrange()?.outputs[tensor - inputs].ok_or_else(|| depends_on_data(self.info(tensor)))
    }

    fn result_shape(&mut self, tensor: usize) -> Result<Shape> {
        let inputs = self.engine.model.inputs().count();
        match tensor.checked_sub(inputs).and_then(|output| self.results.get(output)) {
            Some(shape) => Ok(*shape),
            None => self.shape(tensor),
        }
    }

    unsafe fn bind(&mut self, tensor: usize, address: *mut c_void, bytes: usize) -> Result<()> {
        self.tensors.bind(tensor, address, bytes);
        Ok(())
    }

    unsafe fn enqueue(&mut self, _stream: Option<&Stream>) -> Result<()> {
        let views = self.tensors.bound_views(&self.engine.model.description)?;
        let (inputs, outputs) = views.split_at(self.engine.model.inputs().count());
        // SAFETY: what was bound is valid, by this function's contract.
        unsafe { self.execute(inputs, outputs) }
    }

    unsafe fn time_layers(&mut self, _stream: Option<&Stream>, runs: usize) -> Result<Vec<LayerTime>> {
        self.cancellation.take()?;
        let work = self.arrange()?;
        let engine = &*self.engine;
        let views = self.tensors.bound_views(&self.engine.model.description)?;
        for view in views.iter().take(work.shapes.len()) {
            self.check_view(view, &view.shape)?;
        }
        // SAFETY: what was bound is valid, by this function's contract; its size was held against the shape.
        let told = unsafe { self.told(&work, &views) }?;
        let plan = engine.plans.get(&engine.model, &work.shapes, told)?;
        engine.require_memory(&plan, &work.shapes, 1)?;
        let times = Mutex::new(Vec::new());
        // Item after item, each on all threads: side by side the layers of one would wait for those of another. The first run
        // of all touches memory that is new.
        for run in 0..=runs {
            for item in 0..work.runs {
                let value = |(view, shape): (&HostTensor, &Shape)| {
                    self.check_view(view, &view.shape)?;
                    // SAFETY: what was bound is valid, by this function's contract; its size was held against the shape.
                    unsafe { read(view, self.info(view.tensor).element_type, item, shape) }
                };
                let inputs = views.iter().zip(&work.shapes).map(value).collect::<Result<TVec<_>>>()?;
                let tell = |name: &str, kind: &str, time| {
                    if run > 0 {
                        times.lock().push((name.to_owned(), Some(kind.to_owned()), time));
                    }
                };
                engine
                    .threads
                    .map(vec![inputs], |inputs| plan.run_and_tell(&engine.model, inputs, &self.cancellation, tell))?;
            }
        }
        self.cancellation.take()?;
        let times = std::mem::take(&mut *times.lock());
        Ok(LayerTime::mean(times, runs))
    }

    unsafe fn run(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()> {
        let ordered = in_order(&self.engine.model.description, inputs)?;
        for view in &ordered {
            self.set_shape(view.tensor, &view.shape)?;
        }
        // SAFETY: this function's contract.
        unsafe { self.execute(&ordered, outputs) }
    }

    fn cancellation(&self) -> Arc<Cancellation> {
        self.cancellation.clone()
    }
}

/// tract's own copy of one run's part of an input.
///
/// # Safety
/// The view's data is readable for all runs up to this one.
pub(super) unsafe fn read(view: &HostTensor, element_type: ElementType, run: usize, shape: &Shape) -> Result<TValue> {
    let extents: TVec<usize> = shape.iter().map(|extent| *extent as usize).collect();
    let count = shape.elements()?;
    let mut tensor = super::guard(
        || Tensor::zero_dt(datum_type(element_type), &extents),
        || Error::new(Code::OutOfMemory, format!("no memory for an input of shape {shape}")),
    )?;
    let bytes = tensor.as_bytes_mut();
    // SAFETY: the tensor is dense and has `count` elements; the view holds this run's behind those of the runs before.
    unsafe {
        let from = view.data.add(run * count * view.element_type.size());
        copy_elements(from, view.element_type, bytes.as_mut_ptr(), run_type(element_type), count);
    }
    if element_type == ElementType::Bool {
        // Callers take any other byte for true as well; to Rust it would be no bool.
        bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok(tensor.into_tvalue())
}

/// Writes one run's part of an output.
///
/// # Safety
/// The view's data is writable for all runs up to this one.
pub(super) unsafe fn write(value: &TValue, element_type: ElementType, run: usize, view: &HostTensor) {
    let count = value.len();
    let bytes = value.as_bytes();
    // SAFETY: the value is dense; the view has room for this run's part behind those of the runs before.
    unsafe {
        let to = view.data.add(run * count * view.element_type.size());
        copy_elements(bytes.as_ptr(), run_type(element_type), to, view.element_type, count);
    }
}
