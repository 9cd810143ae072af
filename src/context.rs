//! An execution context as callers see it: tensors by name, every argument held against the model, one thread at a time.

use crate::backend::{self, Cancellation, Engine};
use crate::cuda::Stream;
use crate::engine::{Description, Role, given_twice, missing_input, too_small};
use crate::error::{Code, Error, Result};
use crate::process::stack;
use crate::sync::{Mutex, MutexGuard};
use crate::tensor::{ElementType, HostTensor, Shape};
use std::ffi::c_void;
use std::sync::Arc;

/// Host memory that a caller lends for one run, under the tensor's name.
pub struct NamedTensor<'a> {
    pub name: &'a str,
    pub data: *mut u8,
    /// Bytes behind `data`.
    pub size: usize,
    pub element_type: ElementType,
    /// For inputs the shape of `data`; unused for outputs.
    pub shape: Shape,
}

pub struct Context {
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    cancellation: Arc<Cancellation>,
}

struct State {
    inner: Box<dyn backend::Context>,
    /// Bytes of the memory bound to each tensor.
    bound: Vec<Option<usize>>,
    /// Whether everything is bound and large enough for the shapes as they are.
    checked: bool,
    /// Whether the last run succeeded, with the inputs' shapes as they are.
    ran: bool,
}

impl Context {
    pub fn new(engine: Arc<dyn Engine>) -> Result<Self> {
        let inner = stack::with_room(|| engine.clone().new_context())?;
        Ok(Self::around(inner, engine))
    }

    /// One that computes in device memory which the caller lends.
    pub fn without_memory(engine: Arc<dyn Engine>) -> Result<Self> {
        let inner = stack::with_room(|| engine.clone().new_context_without_memory())?;
        Ok(Self::around(inner, engine))
    }

    fn around(inner: Box<dyn backend::Context>, engine: Arc<dyn Engine>) -> Self {
        let cancellation = inner.cancellation();
        let bound = vec![None; engine.description().tensors.len()];
        Self { engine, state: Mutex::new(State { inner, bound, checked: false, ran: false }), cancellation }
    }

    /// The state, for the one thread that uses it: a second one is told so instead of being made to wait, since what it
    /// would find after the wait is another thread's shapes and bindings.
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.state.try_lock().ok_or_else(|| {
            Error::new(
                Code::InUse,
                "the context is in use by another thread; a context serves one thread at a time, so make one for each",
            )
        })
    }

    fn description(&self) -> &Description {
        self.engine.description()
    }

    pub fn set_profile(&self, profile: i32) -> Result<()> {
        let mut state = self.state()?;
        let profile = match profile {
            -1 => None,
            number => {
                self.description().profile(number)?;
                Some(number as usize)
            }
        };
        (state.checked, state.ran) = (false, false);
        state.inner.set_profile(profile)
    }

    pub fn profile(&self) -> Result<Option<usize>> {
        Ok(self.state()?.inner.profile())
    }

    pub fn set_shape(&self, name: &str, shape: &Shape) -> Result<()> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        let tensor = self.description().find(name)?;
        self.description().check_shape_of_run(tensor, shape)?;
        (state.checked, state.ran) = (false, false);
        backend::with_stack(&*self.engine, || state.inner.set_shape(tensor, shape))
    }

    /// The shape of a tensor, outputs too, as far as it follows from the inputs' shapes as set.
    pub fn shape(&self, name: &str) -> Result<Shape> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        let tensor = self.description().find(name)?;
        backend::with_stack(&*self.engine, || state.inner.shape(tensor))
    }

    /// The shape that an output had in the last run, also where it depends on the data.
    pub fn output_shape(&self, name: &str) -> Result<Shape> {
        let mut state = self.state()?;
        let tensor = self.description().find_output(name)?;
        if !state.ran {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "{} has no shape yet: no run has succeeded since the inputs' shapes were set, or the last one failed",
                    self.description().tensors[tensor].quoted()
                ),
            ));
        }
        state.inner.result_shape(tensor)
    }

    /// Bytes of a tensor of the shape that it has now.
    pub fn size(&self, name: &str) -> Result<usize> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        let tensor = self.description().find(name)?;
        let shape = backend::with_stack(&*self.engine, || state.inner.shape(tensor))?;
        shape.bytes(self.description().tensors[tensor].element_type)
    }

    /// Binds memory to a tensor. Its size is held against the tensor's when work is enqueued, since the shape may change
    /// until then.
    ///
    /// # Safety
    /// As for [`backend::Context::bind`].
    pub unsafe fn bind(&self, name: &str, address: *mut c_void, bytes: usize) -> Result<()> {
        let mut state = self.state()?;
        let tensor = self.description().find(name)?;
        // SAFETY: as the caller says.
        unsafe { state.inner.bind(tensor, address, bytes) }?;
        state.bound[tensor] = Some(bytes);
        state.checked = false;
        Ok(())
    }

    /// Bytes of device memory for the shapes as set.
    pub fn device_memory_size(&self) -> Result<usize> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        backend::with_stack(&*self.engine, || state.inner.device_memory_size())
    }

    /// # Safety
    /// As for [`backend::Context::lend_device_memory`].
    pub unsafe fn lend_device_memory(&self, address: *mut c_void, size: usize) -> Result<()> {
        /// What CUDA's allocations are aligned to, and TensorRT's parts of them.
        const ALIGNMENT: usize = 256;
        if !address.addr().is_multiple_of(ALIGNMENT) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!(
                    "the device memory begins at {address:p}; a context wants it at a multiple of {ALIGNMENT} bytes"
                ),
            ));
        }
        // SAFETY: as the caller says.
        unsafe { self.state()?.inner.lend_device_memory(address, size) }
    }

    /// # Safety
    /// As for [`backend::Context::set_aux_streams`].
    pub unsafe fn set_aux_streams(&self, streams: &[&Stream]) -> Result<()> {
        if let Some(number) = streams.iter().position(|stream| stream.is_default()) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("streams[{number}] is the default stream, which would wait for the others; make one"),
            ));
        }
        // SAFETY: as the caller says.
        unsafe { self.state()?.inner.set_aux_streams(streams) }
    }

    /// Runs with the bound memory.
    ///
    /// # Safety
    /// As for [`backend::Context::enqueue`].
    pub unsafe fn enqueue(&self, stream: Option<&Stream>) -> Result<()> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        backend::with_stack(&*self.engine, || {
            if !state.checked {
                state.check(self.description())?;
            }
            state.ran = false;
            self.cancellation.take()?;
            // SAFETY: as the caller says.
            unsafe { state.inner.enqueue(stream) }?;
            state.ran = true;
            Ok(())
        })
    }

    /// How long each layer takes, on the mean of so many runs with the bound memory, which have ended then.
    ///
    /// # Safety
    /// As for [`backend::Context::enqueue`].
    pub unsafe fn time_layers(&self, stream: Option<&Stream>, runs: usize) -> Result<Vec<backend::LayerTime>> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        backend::with_stack(&*self.engine, || {
            state.check(self.description())?;
            // SAFETY: as the caller says.
            unsafe { state.inner.time_layers(stream, runs) }
        })
    }

    /// Runs from host memory to host memory.
    ///
    /// # Safety
    /// Each tensor's `data` is valid for its `size` during the call.
    pub unsafe fn run(&self, inputs: &[NamedTensor<'_>], outputs: &[NamedTensor<'_>]) -> Result<()> {
        let mut guard = self.state()?;
        let state = &mut *guard;
        let inputs = self.resolve(inputs, Role::Input)?;
        let outputs = self.resolve(outputs, Role::Output)?;
        let description = self.description();
        if let Some(missing) = description.indexes(Role::Input).find(|i| inputs.iter().all(|t| t.tensor != *i)) {
            return Err(missing_input(&description.tensors[missing]));
        }
        for input in &inputs {
            description.check_shape_of_run(input.tensor, &input.shape)?;
            self.check_size(input, &input.shape)?;
        }
        // All of them are good: only now is anything changed.
        (state.checked, state.ran) = (false, false);
        backend::with_stack(&*self.engine, || {
            for input in &inputs {
                state.inner.set_shape(input.tensor, &input.shape)?;
            }
            for output in &outputs {
                if let Some(shape) = state.known_shape(output.tensor)? {
                    self.check_size(output, &shape)?;
                }
            }
            self.cancellation.take()?;
            // SAFETY: as the caller says.
            unsafe { state.inner.run(&inputs, &outputs) }?;
            state.ran = true;
            Ok(())
        })
    }

    /// Asks the run under way, or else the next one, to end. Any thread, also while the context is in use.
    pub fn cancel(&self) {
        self.cancellation.request();
    }

    fn resolve(&self, tensors: &[NamedTensor<'_>], role: Role) -> Result<Vec<HostTensor>> {
        let description = self.description();
        let mut resolved: Vec<HostTensor> = Vec::with_capacity(tensors.len());
        for given in tensors {
            let tensor = description.find_for(given.name, role, given.element_type, given.data.is_null())?;
            if resolved.iter().any(|t| t.tensor == tensor) {
                return Err(given_twice(given.name));
            }
            resolved.push(HostTensor {
                tensor,
                data: given.data,
                size: given.size,
                element_type: given.element_type,
                shape: given.shape,
            });
        }
        Ok(resolved)
    }

    fn check_size(&self, tensor: &HostTensor, shape: &Shape) -> Result<()> {
        let needed = shape.bytes(tensor.element_type)?;
        if tensor.size < needed {
            let info = &self.description().tensors[tensor.tensor];
            return Err(too_small(info, shape, tensor.element_type, needed, tensor.size));
        }
        Ok(())
    }
}

impl State {
    /// The shape that a tensor will have; `None` where that depends on the data, so that only the backend can hold the
    /// memory against it, after the run.
    fn known_shape(&mut self, tensor: usize) -> Result<Option<Shape>> {
        match self.inner.shape(tensor) {
            Err(error) if error.code() == Code::Unsupported => Ok(None),
            known => known.map(Some),
        }
    }

    fn check(&mut self, description: &Description) -> Result<()> {
        for (tensor, info) in description.tensors.iter().enumerate() {
            let shape = self.known_shape(tensor)?;
            let Some(given) = self.bound[tensor] else {
                return Err(Error::new(Code::InvalidArgument, format!("nothing is bound to {}", info.quoted())));
            };
            if let Some(shape) = shape {
                let needed = shape.bytes(info.element_type)?;
                if given < needed {
                    return Err(too_small(info, &shape, info.element_type, needed, given));
                }
            }
        }
        self.checked = true;
        Ok(())
    }
}
