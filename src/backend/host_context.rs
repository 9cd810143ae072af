//! Contexts of engines that compute in host memory. Where the items of a batch are independent they are run one by one.

use super::host_tensors::{HostTensors, check_profile, check_view, depends_on_data, in_order};
use super::{Cancellation, Context, Engine, LayerTime};
use crate::cuda::Stream;
use crate::engine::{Role, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::tensor::{HostTensor, Shape};
use std::ffi::c_void;
use std::sync::Arc;

/// How the inputs' shapes as set are run: once or item by item.
pub struct Arrangement {
    /// The shape of each input for one run.
    pub shapes: Vec<Shape>,
    pub runs: usize,
    /// The shape of each output of all runs together; `None` if it depends on the data.
    pub outputs: Vec<Option<Shape>>,
}

impl Arrangement {
    /// The shape of an output of all runs together, as it came out of each.
    pub fn shape_of_results(
        &self,
        info: &TensorInfo,
        output: usize,
        mut results: impl Iterator<Item = Shape>,
    ) -> Result<Shape> {
        let Some(first) = results.next() else {
            return Err(Error::new(Code::Internal, "nothing ran"));
        };
        let mut shape = first;
        if self.runs > 1 && shape.first() == Some(&1) {
            shape = shape.with_first(self.runs as i64);
        }
        if results.all(|other| other == first) && self.outputs[output].is_none_or(|expected| expected == shape) {
            return Ok(shape);
        }
        let name = info.quoted();
        Err(Error::new(
            Code::InvalidModel,
            format!("output {name} came out as {shape}, which is not what the model says or its shapes promise"),
        ))
    }
}

/// An engine that computes in host memory, as its contexts ask for it.
pub trait HostEngine: Engine + 'static {
    /// Whether the items of a batch can be run one by one.
    fn is_batched(&self) -> bool;

    /// An error if the model does not take inputs of these shapes together.
    fn check_shapes(&self, shapes: &[Shape]) -> Result<()>;

    /// The shape of each output of one run; `None` if it depends on the data.
    fn infer(&self, shapes: &[Shape]) -> Result<Vec<Option<Shape>>>;

    /// Runs with one view for each input, in the model's order, and any views of outputs; the shapes of all outputs. A request to
    /// cancel is taken before outputs are written, and where it ends the run it is the caller that takes it.
    ///
    /// # Safety
    /// Each view's `data` is valid for its `size`, and `check_view` held each input's against the shape of all runs together.
    unsafe fn execute(
        &self,
        work: &Arrangement,
        inputs: &[HostTensor],
        outputs: &[HostTensor],
        cancellation: &Cancellation,
    ) -> Result<Vec<Shape>>;

    /// How long each layer takes in so many runs, with a view for each tensor.
    ///
    /// # Safety
    /// As for [`execute`](Self::execute).
    unsafe fn time_layers(
        &self,
        work: &Arrangement,
        views: &[HostTensor],
        runs: usize,
        cancellation: &Cancellation,
    ) -> Result<Vec<LayerTime>>;

    /// How to run with these shapes.
    fn arrange(&self, shapes: &[Shape]) -> Result<Arrangement> {
        self.check_shapes(shapes)?;
        match self.arrange_items(shapes) {
            Some(arrangement) => Ok(arrangement),
            None => Ok(Arrangement { outputs: self.infer(shapes)?, shapes: shapes.to_vec(), runs: 1 }),
        }
    }

    /// A batch as its items, if that can be done.
    fn arrange_items(&self, shapes: &[Shape]) -> Option<Arrangement> {
        let batch = shapes.first().and_then(|shape| shape.first()).filter(|_| self.is_batched())?;
        if shapes.iter().any(|shape| shape.first() != Some(batch)) {
            return None;
        }
        let item: Vec<_> = shapes.iter().map(|shape| shape.with_first(1)).collect();
        // What does not run as one item may run as a whole.
        let outputs = self.infer(&item).ok()?;
        let outputs = outputs.into_iter().map(|shape| match shape {
            Some(shape) if shape.first() == Some(&1) => Some(Some(shape.with_first(*batch))),
            // This output does not come item by item: it has more than one row for each.
            _ => None,
        });
        Some(Arrangement { outputs: outputs.collect::<Option<_>>()?, shapes: item, runs: *batch as usize })
    }
}

pub struct HostContext<E> {
    engine: Arc<E>,
    tensors: HostTensors,
    /// Kept until a shape changes.
    arrangement: Option<Arc<Arrangement>>,
    /// The outputs' shapes as the last run gave them.
    results: Vec<Shape>,
    cancellation: Arc<Cancellation>,
}

impl<E: HostEngine> HostContext<E> {
    pub fn new(engine: Arc<E>) -> Self {
        Self {
            tensors: HostTensors::new(engine.description()),
            arrangement: None,
            results: Vec::new(),
            cancellation: Arc::default(),
            engine,
        }
    }

    fn info(&self, tensor: usize) -> &TensorInfo {
        &self.engine.description().tensors[tensor]
    }

    fn input_count(&self) -> usize {
        self.engine.description().indexes(Role::Input).count()
    }

    /// How to run with the inputs' shapes as set.
    fn arrange(&mut self) -> Result<Arc<Arrangement>> {
        if let Some(arrangement) = &self.arrangement {
            return Ok(arrangement.clone());
        }
        let shapes = self.tensors.input_shapes(self.engine.description())?;
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
            // By items, so all are known.
            self.results = work.outputs.iter().copied().flatten().collect();
            return Ok(());
        }
        // SAFETY: this function's contract; the views were just checked.
        let results = unsafe { self.engine.execute(&work, inputs, outputs, &self.cancellation) };
        self.results = results.or_else(|error| {
            if error.code() == Code::Cancelled {
                self.cancellation.take()?;
            }
            Err(error)
        })?;
        Ok(())
    }
}

impl<E: HostEngine> Context for HostContext<E> {
    fn set_profile(&mut self, profile: Option<usize>) -> Result<()> {
        check_profile(profile)
    }

    fn profile(&self) -> Option<usize> {
        None
    }

    fn set_shape(&mut self, tensor: usize, shape: &Shape) -> Result<()> {
        if self.tensors.set_shape(self.engine.description(), tensor, shape)? {
            self.arrangement = None;
        }
        Ok(())
    }

    fn shape(&mut self, tensor: usize) -> Result<Shape> {
        if self.info(tensor).role == Role::Input {
            return self.tensors.shape(self.engine.description(), tensor);
        }
        let inputs = self.input_count();
        self.arrange()?.outputs[tensor - inputs].ok_or_else(|| depends_on_data(self.info(tensor)))
    }

    fn result_shape(&mut self, tensor: usize) -> Result<Shape> {
        match tensor.checked_sub(self.input_count()).and_then(|output| self.results.get(output)) {
            Some(shape) => Ok(*shape),
            None => self.shape(tensor),
        }
    }

    unsafe fn bind(&mut self, tensor: usize, address: *mut c_void, bytes: usize) -> Result<()> {
        self.tensors.bind(tensor, address, bytes);
        Ok(())
    }

    unsafe fn enqueue(&mut self, _stream: Option<&Stream>) -> Result<()> {
        let views = self.tensors.bound_views(self.engine.description())?;
        let (inputs, outputs) = views.split_at(self.input_count());
        // SAFETY: what was bound is valid, by this function's contract.
        unsafe { self.execute(inputs, outputs) }
    }

    unsafe fn time_layers(&mut self, _stream: Option<&Stream>, runs: usize) -> Result<Vec<LayerTime>> {
        self.cancellation.take()?;
        let work = self.arrange()?;
        let views = self.tensors.bound_views(self.engine.description())?;
        for view in views.iter().take(work.shapes.len()) {
            check_view(self.info(view.tensor), view, &view.shape)?;
        }
        // SAFETY: what was bound is valid, by this function's contract; its size was held against the shape.
        let times = unsafe { self.engine.time_layers(&work, &views, runs, &self.cancellation) }?;
        self.cancellation.take()?;
        Ok(times)
    }

    unsafe fn run(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()> {
        let ordered = in_order(self.engine.description(), inputs)?;
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
