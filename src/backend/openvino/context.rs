//! An execution context of OpenVINO.

use super::engine::OpenVinoEngine;
use super::failed;
use super::prepared::{Mode, Running};
use crate::backend::host_tensors::{HostTensors, check_profile, check_view, depends_on_data, in_order};
use crate::backend::{Cancellation, Context, LayerTime};
use crate::cuda::Stream;
use crate::engine::{Role, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::process::memory;
use crate::tensor::{ElementType, HostTensor, Shape, copy_elements};
use half::{bf16, f16};
use openvino_c::{InferRequest, Tensor};
use std::ffi::c_void;
use std::sync::Arc;

pub struct OpenVinoContext {
    engine: Arc<OpenVinoEngine>,
    tensors: HostTensors,
    /// Kept until a shape changes.
    arrangement: Option<Arc<Arrangement>>,
    /// The outputs' shapes as the last run gave them.
    results: Vec<Shape>,
    cancellation: Arc<Cancellation>,
}

/// How the inputs' shapes as set are run: once or item by item.
pub(super) struct Arrangement {
    /// The shape of each input for one run.
    pub shapes: Vec<Shape>,
    pub runs: usize,
    /// The shape of each output of one run; `None` if it depends on the data.
    pub items: Vec<Option<Shape>>,
    /// The same of all runs together.
    pub outputs: Vec<Option<Shape>>,
}

impl OpenVinoEngine {
    /// How to run with these shapes.
    pub(super) fn arrange(&self, shapes: &[Shape]) -> Result<Arrangement> {
        self.facts.check_shapes(shapes)?;
        if let Some(arrangement) = self.arrange_items(shapes)? {
            return Ok(arrangement);
        }
        if shapes.iter().any(|shape| shape.contains(&0)) {
            return Err(Error::new(Code::Unsupported, "OpenVINO is not given tensors without elements"));
        }
        let outputs = self.prepare(shapes, Mode::Single)?.outputs.clone();
        Ok(Arrangement { shapes: shapes.to_vec(), runs: 1, items: outputs.clone(), outputs })
    }

    /// A batch as its items, if that can be done.
    pub(super) fn arrange_items(&self, shapes: &[Shape]) -> Result<Option<Arrangement>> {
        let Some(batch) = shapes.first().and_then(|shape| shape.first()).filter(|_| self.facts.batched) else {
            return Ok(None);
        };
        if shapes.iter().any(|shape| shape.first() != Some(batch) || shape.iter().skip(1).any(|extent| *extent == 0)) {
            return Ok(None);
        }
        let item: Vec<_> = shapes.iter().map(|shape| shape.with_first(1)).collect();
        // What does not run as one item may run as a whole.
        let Ok(prepared) = self.prepare(&item, Mode::Single) else { return Ok(None) };
        let items = prepared.outputs.clone();
        let all = items.iter().map(|shape| match shape {
            Some(shape) if shape.first() == Some(&1) => Some(Some(shape.with_first(*batch))),
            // This output does not come item by item.
            _ => None,
        });
        let outputs = all.collect::<Option<_>>();
        Ok(outputs.map(|outputs| Arrangement { shapes: item, runs: *batch as usize, items, outputs }))
    }

    /// Runs so many times, with inputs that `fill` copies into each request; the requests in order, all of which have run.
    pub(super) fn run_all(
        &self,
        shapes: &[Shape],
        runs: usize,
        cancellation: &Cancellation,
        mut fill: impl FnMut(usize, &InferRequest) -> Result<()>,
    ) -> Result<Vec<Running>> {
        let single = self.prepare(shapes, Mode::Single)?;
        let mut all = Vec::with_capacity(runs);
        if runs > 1 && self.threads > 1 {
            let several = self.prepare(shapes, Mode::Several)?;
            for run in 0..runs - runs % several.optimal {
                let mut running = several.request()?;
                fill(run, running.request()?)?;
                running.start()?;
                all.push(running);
            }
            for running in &mut all {
                running.wait(cancellation)?;
            }
        }
        // What is left over has all threads for each.
        for run in all.len()..runs {
            if cancellation.is_requested() {
                return Err(Error::new(Code::Cancelled, "the run was cancelled"));
            }
            let mut running = single.request()?;
            fill(run, running.request()?)?;
            running.start()?;
            running.wait(cancellation)?;
            all.push(running);
        }
        Ok(all)
    }

    /// An error if the copies of inputs and outputs of runs side by side take more memory than there is. What the model
    /// takes besides OpenVINO does not tell.
    pub(super) fn require_memory(&self, shapes: &[Shape], outputs: &[Option<Shape>], runs: usize) -> Result<()> {
        let tensors = self.facts.description.tensors.iter();
        let all = shapes.iter().copied().map(Some).chain(outputs.iter().copied());
        let bytes =
            |(info, shape): (&TensorInfo, Option<Shape>)| shape.map_or(Ok(0), |shape| shape.bytes(info.element_type));
        let bytes = tensors.zip(all).map(bytes).sum::<Result<usize>>()?;
        memory::require("a run", (bytes as u64).saturating_mul(runs as u64))
    }
}

impl OpenVinoContext {
    pub fn new(engine: Arc<OpenVinoEngine>) -> Self {
        Self {
            tensors: HostTensors::new(&engine.facts.description),
            arrangement: None,
            results: Vec::new(),
            cancellation: Arc::default(),
            engine,
        }
    }

    fn info(&self, tensor: usize) -> &TensorInfo {
        &self.engine.facts.description.tensors[tensor]
    }

    fn arrange(&mut self) -> Result<Arc<Arrangement>> {
        if let Some(arrangement) = &self.arrangement {
            return Ok(arrangement.clone());
        }
        let shapes = self.tensors.input_shapes(&self.engine.facts.description)?;
        let arrangement = self.engine.arrange(&shapes)?;
        Ok(self.arrangement.insert(Arc::new(arrangement)).clone())
    }

    /// Runs with one view for each input, in the model's order, and any views of outputs.
    ///
    /// # Safety
    /// Each view's `data` is valid for its `size`.
    unsafe fn execute(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()> {
        self.cancellation.take()?;
        let work = self.arrange()?;
        for view in inputs {
            check_view(self.info(view.tensor), view, &view.shape)?;
        }
        for view in outputs {
            if let Some(shape) = &work.outputs[view.tensor - inputs.len()] {
                check_view(self.info(view.tensor), view, shape)?;
            }
        }
        if work.runs == 0 {
            self.results = work.outputs.iter().copied().flatten().collect();
            return Ok(());
        }
        let engine = &*self.engine;
        engine.require_memory(&work.shapes, &work.items, work.runs)?;
        let fill = |run: usize, request: &InferRequest| {
            for (index, (view, shape)) in inputs.iter().zip(&work.shapes).enumerate() {
                let Some(place) = self.engine.places[index] else { continue };
                let tensor = request.input(place).map_err(|error| lost(&error))?;
                // SAFETY: `check_view` held the view's size against the shape of all runs together.
                unsafe { write_input(self.info(view.tensor), &tensor, view, run, shape) }?;
            }
            Ok(())
        };
        let ran = engine.run_all(&work.shapes, work.runs, &self.cancellation, fill).or_else(|error| {
            if error.code() == Code::Cancelled {
                self.cancellation.take()?;
            }
            Err(error)
        })?;
        // A request that came during the last node ends this run too: it shall not linger for the next.
        self.cancellation.take()?;
        let results: Vec<Vec<Part>> = (0..work.outputs.len())
            .map(|output| ran.iter().map(|running| Part::of(running.request()?, output)).collect::<Result<_>>())
            .collect::<Result<_>>()?;
        let shapes = results.iter().enumerate();
        let shapes =
            shapes.map(|(output, parts)| self.shape_of_parts(&work, parts, output)).collect::<Result<Vec<_>>>()?;
        for view in outputs {
            check_view(self.info(view.tensor), view, &shapes[view.tensor - inputs.len()])?;
        }
        for view in outputs {
            for (run, part) in results[view.tensor - inputs.len()].iter().enumerate() {
                // SAFETY: the view's size was just held against the shape of all runs' results together.
                unsafe { part.copy(self.info(view.tensor).element_type, run, view) }?;
            }
        }
        self.results = shapes;
        Ok(())
    }

    /// The shape of one output of all runs together, as it came out.
    fn shape_of_parts(&self, work: &Arrangement, parts: &[Part], output: usize) -> Result<Shape> {
        let info = self.info(self.engine.facts.inputs().count() + output);
        let Some(first) = parts.first() else {
            return Err(Error::new(Code::Internal, "nothing ran"));
        };
        let mut shape = first.shape;
        if work.runs > 1 && shape.first() == Some(&1) {
            shape = shape.with_first(work.runs as i64);
        }
        let alike = parts.iter().all(|part| part.shape == first.shape);
        if alike && work.outputs[output].is_none_or(|expected| expected == shape) {
            return Ok(shape);
        }
        let name = info.quoted();
        Err(Error::new(
            Code::InvalidModel,
            format!("output {name} came out as {shape}, which is not what the model says or its shapes promise"),
        ))
    }
}

impl Context for OpenVinoContext {
    fn set_profile(&mut self, profile: Option<usize>) -> Result<()> {
        check_profile(profile)
    }

    fn profile(&self) -> Option<usize> {
        None
    }

    fn set_shape(&mut self, tensor: usize, shape: &Shape) -> Result<()> {
        if self.tensors.set_shape(&self.engine.facts.description, tensor, shape)? {
            self.arrangement = None;
        }
        Ok(())
    }

    fn shape(&mut self, tensor: usize) -> Result<Shape> {
        if self.info(tensor).role == Role::Input {
            return self.tensors.shape(&self.engine.facts.description, tensor);
        }
        let inputs = self.engine.facts.inputs().count();
        self.arrange()?.outputs[tensor - inputs].ok_or_else(|| depends_on_data(self.info(tensor)))
    }

    fn result_shape(&mut self, tensor: usize) -> Result<Shape> {
        let inputs = self.engine.facts.inputs().count();
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
        let views = self.tensors.bound_views(&self.engine.facts.description)?;
        let (inputs, outputs) = views.split_at(self.engine.facts.inputs().count());
        // SAFETY: what was bound is valid, by this function's contract.
        unsafe { self.execute(inputs, outputs) }
    }

    unsafe fn time_layers(&mut self, _stream: Option<&Stream>, runs: usize) -> Result<Vec<LayerTime>> {
        self.cancellation.take()?;
        let work = self.arrange()?;
        let views = self.tensors.bound_views(&self.engine.facts.description)?;
        let timed = self.engine.prepare(&work.shapes, Mode::Timed)?;
        let mut times = Vec::new();
        // Item after item. The first run of all touches memory that is new.
        for run in 0..=runs {
            for item in 0..work.runs {
                let mut running = timed.request()?;
                for (index, (view, shape)) in views.iter().zip(&work.shapes).enumerate() {
                    check_view(self.info(view.tensor), view, &view.shape)?;
                    let Some(place) = self.engine.places[index] else { continue };
                    let tensor = running.request()?.input(place).map_err(|error| lost(&error))?;
                    // SAFETY: what was bound is valid, by this function's contract; its size was held against the shape.
                    unsafe { write_input(self.info(view.tensor), &tensor, view, item, shape) }?;
                }
                running.start()?;
                running.wait(&self.cancellation)?;
                let layers = running.request()?.layer_times().map_err(|error| lost(&error))?;
                if run > 0 {
                    let told = |layer: openvino_c::LayerTime| {
                        (layer.name, Some(format!("{} {}", layer.kind, layer.execution)), layer.time)
                    };
                    times.extend(layers.into_iter().map(told));
                }
            }
        }
        self.cancellation.take()?;
        Ok(LayerTime::mean(times, runs))
    }

    unsafe fn run(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()> {
        let ordered = in_order(&self.engine.facts.description, inputs)?;
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

/// The error where OpenVINO does not hand a request's memory out.
pub(super) fn lost(error: &openvino_c::Error) -> Error {
    failed(Code::OpenVino, "OpenVINO does not tell where a request's tensors are", error)
}

/// Copies one run's part of an input to where OpenVINO reads it.
///
/// # Safety
/// The view's data is readable for all runs up to this one.
pub(super) unsafe fn write_input(
    info: &TensorInfo,
    tensor: &Tensor,
    view: &HostTensor,
    run: usize,
    shape: &Shape,
) -> Result<()> {
    let count = shape.elements()?;
    let size = tensor.byte_size().map_err(|error| lost(&error))?;
    let data = tensor.data().map_err(|error| lost(&error))?.cast::<u8>();
    if size != shape.bytes(info.element_type)? || data.is_null() {
        let message = format!("OpenVINO has {size} bytes for input {} of shape {shape}", info.quoted());
        return Err(Error::new(Code::OpenVino, message));
    }
    // SAFETY: the tensor has `count` elements; the view holds this run's behind those of the runs before.
    unsafe {
        let from = view.data.add(run * count * view.element_type.size());
        copy_elements(from, view.element_type, data, info.element_type, count);
    }
    let refuse = |what: String| Err(Error::new(Code::Unsupported, format!("input {} holds {what}", info.quoted())));
    let lost = || refuse("NaN, of which OpenVINO makes numbers on the way".to_owned());
    match info.element_type {
        ElementType::Bool => {
            // SAFETY: as above. Callers take any other byte for true as well.
            let bytes = unsafe { std::slice::from_raw_parts_mut(data, count) };
            bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
        }
        ElementType::Float32 => {
            // SAFETY: as above; OpenVINO aligns what it allocates.
            let numbers = unsafe { std::slice::from_raw_parts(data.cast::<f32>(), count) };
            // All of them, which is done several at a time.
            if numbers.iter().fold(false, |found, number| found | number.is_nan()) {
                return lost();
            }
        }
        ElementType::Float16 => {
            // SAFETY: as above.
            let numbers = unsafe { std::slice::from_raw_parts(data.cast::<f16>(), count) };
            if numbers.iter().any(|number| number.is_nan()) {
                return lost();
            }
        }
        ElementType::BFloat16 => {
            // SAFETY: as above.
            let numbers = unsafe { std::slice::from_raw_parts(data.cast::<bf16>(), count) };
            if numbers.iter().any(|number| number.is_nan()) {
                return lost();
            }
        }
        ElementType::Int64 => {
            // SAFETY: as above; OpenVINO aligns what it allocates.
            let numbers = unsafe { std::slice::from_raw_parts(data.cast::<i64>(), count) };
            if let Some(number) = numbers.iter().find(|number| i32::try_from(**number).is_err()) {
                return refuse(format!("{number}: OpenVINO computes int64 in 32 bits"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// An output of one run, where OpenVINO has it.
pub(super) struct Part {
    tensor: Tensor,
    pub shape: Shape,
}

impl Part {
    pub fn of(request: &InferRequest, output: usize) -> Result<Self> {
        let tensor = request.output(output).map_err(|error| lost(&error))?;
        let shape = Shape::new(&tensor.shape().map_err(|error| lost(&error))?)?;
        Ok(Self { tensor, shape })
    }

    /// Copies it to where it belongs among those of all runs.
    ///
    /// # Safety
    /// The view's data is writable for all runs up to this one.
    pub unsafe fn copy(&self, element_type: ElementType, run: usize, view: &HostTensor) -> Result<()> {
        let count = self.shape.elements()?;
        if count > 0 {
            let data = self.tensor.data().map_err(|error| lost(&error))?.cast::<u8>();
            let size = self.tensor.byte_size().map_err(|error| lost(&error))?;
            if data.is_null() || size != self.shape.bytes(element_type)? {
                let message = format!("OpenVINO has {size} bytes for an output of shape {}", self.shape);
                return Err(Error::new(Code::OpenVino, message));
            }
            // SAFETY: it has as many elements; the view by contract.
            unsafe {
                let to = view.data.add(run * count * view.element_type.size());
                copy_elements(data, element_type, to, view.element_type, count);
            }
        }
        Ok(())
    }
}
