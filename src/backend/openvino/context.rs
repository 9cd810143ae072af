//! What contexts ask of OpenVINO.

use super::engine::OpenVinoEngine;
use super::failed;
use super::prepared::{Mode, Running};
use crate::backend::host_context::{Arrangement, HostEngine};
use crate::backend::host_tensors::check_view;
use crate::backend::{Cancellation, LayerTime};
use crate::engine::TensorInfo;
use crate::error::{Code, Error, Result};
use crate::process::memory;
use crate::tensor::{ElementType, HostTensor, Shape, copy_elements};
use half::{bf16, f16};
use openvino_c::{InferRequest, Tensor};

impl OpenVinoEngine {
    fn info(&self, tensor: usize) -> &TensorInfo {
        &self.facts.description.tensors[tensor]
    }

    /// Copies one run's inputs to where OpenVINO reads them.
    ///
    /// # Safety
    /// As for [`execute`](HostEngine::execute).
    unsafe fn write_inputs(
        &self,
        work: &Arrangement,
        inputs: &[HostTensor],
        run: usize,
        request: &InferRequest,
    ) -> Result<()> {
        for (index, (view, shape)) in inputs.iter().zip(&work.shapes).enumerate() {
            let Some(place) = self.places[index] else { continue };
            let tensor = request.input(place).map_err(|error| lost(&error))?;
            // SAFETY: the view's size was held against the shape of all runs together, by this function's contract.
            unsafe { write_input(self.info(view.tensor), &tensor, view, run, shape) }?;
        }
        Ok(())
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

impl HostEngine for OpenVinoEngine {
    fn is_batched(&self) -> bool {
        self.facts.batched
    }

    fn check_shapes(&self, shapes: &[Shape]) -> Result<()> {
        self.facts.check_shapes(shapes)
    }

    fn infer(&self, shapes: &[Shape]) -> Result<Vec<Option<Shape>>> {
        if shapes.iter().any(|shape| shape.contains(&0)) {
            return Err(Error::new(Code::Unsupported, "OpenVINO is not given tensors without elements"));
        }
        Ok(self.prepare(shapes, Mode::Single)?.outputs.clone())
    }

    unsafe fn execute(
        &self,
        work: &Arrangement,
        inputs: &[HostTensor],
        outputs: &[HostTensor],
        cancellation: &Cancellation,
    ) -> Result<Vec<Shape>> {
        let first_output = inputs.len();
        let one = |shape: &Option<Shape>| shape.map(|shape| if work.runs > 1 { shape.with_first(1) } else { shape });
        let of_one_run: Vec<_> = work.outputs.iter().map(one).collect();
        self.require_memory(&work.shapes, &of_one_run, work.runs)?;
        let fill = |run: usize, request: &InferRequest| {
            // SAFETY: this function's contract.
            unsafe { self.write_inputs(work, inputs, run, request) }
        };
        let ran = self.run_all(&work.shapes, work.runs, cancellation, fill)?;
        // A request that came during the last node ends this run too: it shall not linger for the next.
        cancellation.take()?;
        let results: Vec<Vec<Part>> = (0..work.outputs.len())
            .map(|output| ran.iter().map(|running| Part::of(running.request()?, output)).collect::<Result<_>>())
            .collect::<Result<_>>()?;
        let shape = |((output, parts), info): ((usize, &Vec<Part>), _)| {
            work.shape_of_results(info, output, parts.iter().map(|part| part.shape))
        };
        let shapes = results.iter().enumerate().zip(self.facts.outputs()).map(shape).collect::<Result<Vec<_>>>()?;
        for view in outputs {
            check_view(self.info(view.tensor), view, &shapes[view.tensor - first_output])?;
        }
        for view in outputs {
            for (run, part) in results[view.tensor - first_output].iter().enumerate() {
                // SAFETY: the view's size was just held against the shape of all runs' results together.
                unsafe { part.copy(self.info(view.tensor).element_type, run, view) }?;
            }
        }
        Ok(shapes)
    }

    unsafe fn time_layers(
        &self,
        work: &Arrangement,
        views: &[HostTensor],
        runs: usize,
        cancellation: &Cancellation,
    ) -> Result<Vec<LayerTime>> {
        let timed = self.prepare(&work.shapes, Mode::Timed)?;
        let mut times = Vec::new();
        // Item after item. The first run of all touches memory that is new.
        for run in 0..=runs {
            for item in 0..work.runs {
                let mut running = timed.request()?;
                // SAFETY: this function's contract.
                unsafe { self.write_inputs(work, views, item, running.request()?) }?;
                running.start()?;
                running.wait(cancellation)?;
                let layers = running.request()?.layer_times().map_err(|error| lost(&error))?;
                if run > 0 {
                    let told = |layer: openvino_c::LayerTime| {
                        (layer.name, Some(format!("{} {}", layer.kind, layer.execution)), layer.time)
                    };
                    times.extend(layers.into_iter().map(told));
                }
            }
        }
        Ok(LayerTime::mean(times, runs))
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
