//! What contexts ask of the CPU engine.

use super::CpuEngine;
use super::model::{datum_type, run_type};
use super::told::Told;
use crate::backend::host_context::{Arrangement, HostEngine};
use crate::backend::host_tensors::check_view;
use crate::backend::{Cancellation, LayerTime};
use crate::engine::TensorInfo;
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use crate::tensor::{ElementType, HostTensor, Shape, copy_elements};
use tract_onnx::prelude::*;

impl CpuEngine {
    fn info(&self, tensor: usize) -> &TensorInfo {
        &self.model.description.tensors[tensor]
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
        self.model.told.iter().map(value).collect()
    }
}

impl HostEngine for CpuEngine {
    fn is_batched(&self) -> bool {
        self.model.batched
    }

    fn check_shapes(&self, shapes: &[Shape]) -> Result<()> {
        self.model.check_shapes(shapes)
    }

    fn infer(&self, shapes: &[Shape]) -> Result<Vec<Option<Shape>>> {
        self.model.infer(shapes)
    }

    unsafe fn execute(
        &self,
        work: &Arrangement,
        inputs: &[HostTensor],
        outputs: &[HostTensor],
        cancellation: &Cancellation,
    ) -> Result<Vec<Shape>> {
        let first_output = inputs.len();
        // SAFETY: this function's contract.
        let told = unsafe { self.told(work, inputs) }?;
        let plan = self.plans.get(&self.model, &work.shapes, told)?;
        self.require_memory(&plan, &work.shapes, work.runs)?;
        let mut runs = Vec::with_capacity(work.runs);
        for run in 0..work.runs {
            let value = |(view, shape): (&HostTensor, &Shape)| {
                // SAFETY: the view's size was held against the shape of all runs together, by this function's contract.
                unsafe { read(view, self.info(view.tensor).element_type, run, shape) }
            };
            runs.push(inputs.iter().zip(&work.shapes).map(value).collect::<Result<TVec<_>>>()?);
        }
        let results = self.threads.map(runs, |inputs| plan.run(&self.model, inputs, cancellation))?;
        // A request that came during the last node ends this run too: it shall not linger for the next.
        cancellation.take()?;
        let shape = |(output, info)| {
            let shapes = results.iter().map(|values| shape_of(&values[output])).collect::<Result<Vec<_>>>()?;
            work.shape_of_results(info, output, shapes.into_iter())
        };
        let shapes = self.model.outputs().enumerate().map(shape).collect::<Result<Vec<_>>>()?;
        for view in outputs {
            check_view(self.info(view.tensor), view, &shapes[view.tensor - first_output])?;
        }
        for view in outputs {
            for (run, values) in results.iter().enumerate() {
                let value = &values[view.tensor - first_output];
                // SAFETY: the view's size was just held against the shape of all runs' results together.
                unsafe { write(value, self.info(view.tensor).element_type, run, view) };
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
        // SAFETY: this function's contract.
        let told = unsafe { self.told(work, views) }?;
        let plan = self.plans.get(&self.model, &work.shapes, told)?;
        self.require_memory(&plan, &work.shapes, 1)?;
        let times = Mutex::new(Vec::new());
        // Item after item, each on all threads: side by side the layers of one would wait for those of another. The first run
        // of all touches memory that is new.
        for run in 0..=runs {
            for item in 0..work.runs {
                let value = |(view, shape): (&HostTensor, &Shape)| {
                    // SAFETY: as above.
                    unsafe { read(view, self.info(view.tensor).element_type, item, shape) }
                };
                let inputs = views.iter().zip(&work.shapes).map(value).collect::<Result<TVec<_>>>()?;
                let tell = |name: &str, kind: &str, time| {
                    if run > 0 {
                        times.lock().push((name.to_owned(), Some(kind.to_owned()), time));
                    }
                };
                self.threads.map(vec![inputs], |inputs| plan.run_and_tell(&self.model, inputs, cancellation, tell))?;
            }
        }
        let times = std::mem::take(&mut *times.lock());
        Ok(LayerTime::mean(times, runs))
    }
}

fn shape_of(value: &TValue) -> Result<Shape> {
    Shape::new(&value.shape().iter().map(|extent| *extent as i64).collect::<Vec<_>>())
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
