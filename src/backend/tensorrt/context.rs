//! One execution context of a plan: profile, shapes, addresses, runs.

use super::diagnostics::{failed, gather, told_afterwards};
use super::engine::{Engine, shape};
use super::profiles::Held;
use super::transfer::Staging;
use crate::backend::{self, Cancellation, LayerTime};
use crate::cuda::{Device, Event, Stream, StreamId, Turns, locate};
use crate::engine::{Description, MemoryKind, Role, too_small};
use crate::error::{Code, Error, Result};
use crate::tensor::{HostTensor, Shape};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use tensorrt_sys::{Dims, ExecutionContextAllocationStrategy, Profiler};

pub struct Context {
    context: ManuallyDrop<tensorrt_sys::Context>,
    engine: Arc<Engine>,
    device: Arc<Device>,
    /// Orders what this context does on its own account: profile switches, and runs from host memory.
    stream: Stream,
    /// Each tensor's shape, once it is known: an output's until an input's changes.
    shapes: Vec<Option<Shape>>,
    /// Whether TensorRT has been told the profile and the shapes as they are here.
    shapes_told: bool,
    held: Held,
    fixed_profile: Option<usize>,
    /// What the caller bound to each tensor.
    bound: Vec<Bound>,
    /// Whether what is bound was found large enough for the shapes as they are.
    bound_holds: bool,
    /// What TensorRT was told last of each tensor's address; it looks at each one anew, so it is told of changes only.
    told: Vec<*mut c_void>,
    /// Whether these are the caller's bindings: a run from host memory puts its own in their place.
    bound_told: bool,
    last_run: LastRun,
    /// Behind the last run.
    run: Event,
    /// Device memory to compute in; `None` where TensorRT allocated its own.
    lent: Option<Lent>,
    staging: Staging,
    cancellation: Arc<Cancellation>,
}

/// Memory of a tensor.
#[derive(Clone, Copy)]
struct Bound {
    address: *mut c_void,
    bytes: usize,
}

/// What the caller lends a context to compute in.
struct Lent {
    address: *mut c_void,
    size: usize,
    /// Whether TensorRT knows of it, and it was found large enough for the shapes as TensorRT has them.
    told: bool,
}

/// Runs of one context share its memory, so that one has to come after the other.
#[derive(Clone, Copy)]
enum LastRun {
    /// Nothing of the context's is at work.
    Ended,
    /// It was given to this stream, and the context's event lies behind it.
    Marked(Option<StreamId>),
    /// It may be at work, nobody knows where.
    Unmarked,
}

// SAFETY: the raw pointers are the caller's memory, which this only hands to TensorRT; the rest is Send.
unsafe impl Send for Context {}

impl Context {
    /// A context on the first of these profiles that is free.
    pub fn new(
        engine: Arc<Engine>,
        strategy: ExecutionContextAllocationStrategy,
        profiles: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        let log = engine.library().log().clone();
        told_afterwards(&log, || Self::make(engine, strategy, profiles))
    }

    fn make(
        engine: Arc<Engine>,
        strategy: ExecutionContextAllocationStrategy,
        profiles: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        let count = engine.description().tensors.len();
        let device = engine.library().device().clone();
        let _current = device.make_current()?;
        // TensorRT gives a context profile 0 of its own accord if no other has it: one after the other, so that what it gives
        // is what is counted here.
        let creation = engine.clone();
        let _one_at_a_time = creation.profiles().creation();
        let held = creation.profiles().take(profiles)?;
        let stream = Stream::new(&device, 0)?;
        let run = Event::new(&device)?;
        let staging = Staging::new(&device, count);
        let context = engine.create_execution_context(strategy)?;
        let lent = (strategy == ExecutionContextAllocationStrategy::UserManaged).then_some(Lent {
            address: std::ptr::null_mut(),
            size: 0,
            told: false,
        });
        let shapes = engine.description().tensors.iter().map(|t| (!t.shape.is_dynamic()).then_some(t.shape)).collect();
        let mut context = Self {
            context: ManuallyDrop::new(context),
            stream,
            shapes,
            shapes_told: false,
            held,
            fixed_profile: None,
            bound: vec![Bound { address: std::ptr::null_mut(), bytes: 0 }; count],
            bound_holds: false,
            told: vec![std::ptr::null_mut(); count],
            bound_told: false,
            last_run: LastRun::Ended,
            run,
            lent,
            staging,
            cancellation: Arc::default(),
            device,
            engine,
        };
        context.tell_profile()?;
        Ok(context)
    }

    fn description(&self) -> &Description {
        self.engine.description()
    }

    /// Switches TensorRT to the profile that is held. The device's context is current.
    fn tell_profile(&mut self) -> Result<()> {
        let number = self.held.number() as i32;
        if self.context.optimization_profile() == number {
            return Ok(());
        }
        // Work under the old profile must have ended before TensorRT changes what it reads.
        self.device.synchronize()?;
        let stream = self.stream.native();
        // SAFETY: the stream is this context's own and alive.
        let (done, said) = gather(|| unsafe { self.context.set_optimization_profile_async(number, stream) });
        if !done {
            return Err(failed(Code::TensorRt, format!("TensorRT does not switch to profile {number}"), &said));
        }
        self.shapes_told = false;
        self.stream.synchronize()
    }

    fn forget_outputs(&mut self) {
        let tensors = &self.engine.description().tensors;
        for (shape, info) in self.shapes.iter_mut().zip(tensors) {
            if info.role == Role::Output && info.shape.is_dynamic() {
                *shape = None;
            }
        }
    }

    fn switch(&mut self, profiles: impl IntoIterator<Item = usize>) -> Result<()> {
        // The old one is let go of when TensorRT has, or else taken up again.
        let old = std::mem::replace(&mut self.held, self.engine.profiles().take(profiles)?);
        let told = self.tell_profile();
        if told.is_err() && self.context.optimization_profile() != self.held.number() as i32 {
            self.held = old;
        }
        told
    }

    /// The inputs' shapes, as far as they are known; `None` for outputs.
    fn input_shapes(&self) -> Vec<Option<Shape>> {
        let tensors = &self.description().tensors;
        tensors.iter().zip(&self.shapes).map(|(t, shape)| shape.filter(|_| t.role == Role::Input)).collect()
    }

    /// Brings profile and shapes to TensorRT; an error where a shape is missing. The device's context is current.
    fn tell_shapes(&mut self) -> Result<()> {
        if self.shapes_told {
            return Ok(());
        }
        let inputs: Vec<usize> = self.description().indexes(Role::Input).collect();
        if let Some(missing) = inputs.iter().find(|i| self.shapes[**i].is_none()) {
            let name = self.description().tensors[*missing].quoted();
            return Err(Error::new(Code::Shape, format!("the shape of input {name} is not set")));
        }
        self.choose_profile()?;
        self.bound_holds = false;
        if let Some(lent) = &mut self.lent {
            lent.told = false;
        }
        for input in inputs {
            let info = &self.engine.description().tensors[input];
            let Some(wanted) = self.shapes[input] else { continue };
            let dims = Dims::new(&wanted).unwrap_or_default();
            let (done, said) = gather(|| self.context.set_input_shape(&info.name, &dims));
            if !done {
                return Err(failed(
                    Code::Shape,
                    format!("TensorRT refuses shape {wanted} for input {}", info.quoted()),
                    &said,
                ));
            }
        }
        self.shapes_told = true;
        Ok(())
    }

    fn choose_profile(&mut self) -> Result<()> {
        let shapes = self.input_shapes();
        let description = self.engine.description();
        if description.profiles.is_empty() || description.profile_admits(self.held.number(), &shapes) {
            return Ok(());
        }
        let given: Vec<_> = shapes.iter().flatten().map(Shape::to_string).collect();
        if let Some(fixed) = self.fixed_profile {
            return Err(Error::new(
                Code::Shape,
                format!("profile {fixed}, which was asked for, does not admit the shapes {}", given.join(" and ")),
            ));
        }
        let admitting: Vec<_> =
            (0..description.profiles.len()).filter(|profile| description.profile_admits(*profile, &shapes)).collect();
        if admitting.is_empty() {
            return Err(Error::new(
                Code::Shape,
                format!("no profile admits the shapes {} together", given.join(" and ")),
            ));
        }
        self.switch(admitting)
    }

    /// Bytes to compute in, for the shapes that TensorRT was told.
    fn needed_memory(&mut self) -> usize {
        let for_profile = self.engine.profile_device_memory_size(self.held.number());
        match self.context.update_device_memory_size_for_shapes() {
            // TensorRT's way to say that it does not know.
            Ok(0) | Err(_) => for_profile,
            Ok(size) => size,
        }
    }

    /// Brings the memory that was lent to TensorRT; an error where it is too small. Shapes are told.
    fn tell_memory(&mut self) -> Result<()> {
        let Some(Lent { address, size, told: false }) = self.lent else { return Ok(()) };
        let needed = self.needed_memory();
        if size < needed {
            return Err(Error::new(
                Code::BufferTooSmall,
                format!(
                    "the context takes {needed} bytes of device memory with these shapes and was lent {size}; lend it more with \
                     planrt_context_set_device_memory"
                ),
            ));
        }
        // SAFETY: as the caller of lend_device_memory said.
        unsafe {
            if self.context.set_device_memory_v2(address, i64::try_from(size).unwrap_or(i64::MAX)).is_err() {
                self.context.set_device_memory(address);
            }
        }
        self.lent = Some(Lent { address, size, told: true });
        Ok(())
    }

    /// Holds what is bound against the tensors' shapes: TensorRT writes as much as these say, whatever is there. Shapes are
    /// told.
    fn check_bound(&mut self) -> Result<()> {
        if self.bound_holds {
            return Ok(());
        }
        for tensor in 0..self.bound.len() {
            let shape = backend::Context::shape(self, tensor)?;
            let (info, given) = (&self.engine.description().tensors[tensor], self.bound[tensor].bytes);
            let needed = shape.bytes(info.element_type)?;
            if given < needed {
                return Err(too_small(info, &shape, info.element_type, needed, given));
            }
        }
        self.bound_holds = true;
        Ok(())
    }

    /// Tells TensorRT an address.
    ///
    /// # Safety
    /// As for [`backend::Context::bind`].
    unsafe fn tell_address(&mut self, tensor: usize, address: *mut c_void) -> Result<()> {
        if self.told[tensor] == address {
            return Ok(());
        }
        let info = &self.engine.description().tensors[tensor];
        // SAFETY: as the caller says.
        let (done, said) = gather(|| unsafe { self.context.set_tensor_address(&info.name, address) });
        if done {
            self.told[tensor] = address;
            return Ok(());
        }
        Err(failed(Code::TensorRt, format!("TensorRT refuses the memory bound to {}", info.quoted()), &said))
    }

    /// Where its runs must not share the device; whoever launches a graph of them takes a turn.
    pub fn turns(&self) -> Option<&Arc<Turns>> {
        self.engine.turns()
    }

    /// Has work that is given to a stream come after the last run.
    fn order(&self, stream: &Stream) -> Result<()> {
        match self.last_run {
            LastRun::Ended => Ok(()),
            LastRun::Marked(last) if last.is_some() && last == stream.id() => Ok(()),
            LastRun::Marked(_) => self.run.hold_back(stream),
            LastRun::Unmarked => self.device.synchronize(),
        }
    }

    /// Starts a run on a stream of the caller's, or on this context's own, which is waited for before the next. The device's
    /// context is current, shapes and addresses are told.
    fn enqueue_on(&mut self, stream: Option<&Stream>) -> Result<()> {
        let to = stream.unwrap_or(&self.stream);
        // What goes into a graph is ordered by whoever launches that.
        let captures = to.is_capturing();
        if !captures {
            self.order(to)?;
            self.last_run = LastRun::Unmarked;
        }
        let turns = self.turns().filter(|_| !captures).cloned();
        // SAFETY: the addresses are valid as the caller of enqueue or run says, the stream is alive.
        let enqueue = || gather(|| unsafe { self.context.enqueue_v3(to.native()) });
        let (done, said) = Turns::take(turns.as_ref(), to, enqueue)?;
        let marked = if captures || stream.is_none() { Ok(false) } else { self.run.record(to).map(|()| true) };
        if matches!(marked, Ok(true)) {
            self.last_run = LastRun::Marked(to.id());
        }
        if done {
            return Ok(());
        }
        // What TensorRT keeps after a refusal is not said, so it is told everything again before the next run.
        self.shapes_told = false;
        self.bound_told = false;
        self.told.fill(std::ptr::null_mut());
        match marked {
            // TensorRT says of a lost device only that it refuses.
            Err(loss) if loss.code() == Code::DeviceLost => Err(loss.with_detail(said.text())),
            _ => Err(failed(Code::TensorRt, "TensorRT refuses to run the plan".to_owned(), &said)),
        }
    }
}

impl backend::Context for Context {
    fn set_profile(&mut self, profile: Option<usize>) -> Result<()> {
        let _current = self.device.make_current()?;
        if let Some(number) = profile
            && number != self.held.number()
        {
            self.switch([number])?;
        }
        self.fixed_profile = profile;
        // The choice may be another one now.
        self.shapes_told = false;
        Ok(())
    }

    fn profile(&self) -> Option<usize> {
        Some(self.held.number()).filter(|_| !self.description().profiles.is_empty())
    }

    fn set_shape(&mut self, tensor: usize, shape: &Shape) -> Result<()> {
        if self.shapes[tensor] != Some(*shape) {
            self.shapes[tensor] = Some(*shape);
            self.shapes_told = false;
            self.forget_outputs();
        }
        Ok(())
    }

    fn shape(&mut self, tensor: usize) -> Result<Shape> {
        if let Some(shape) = self.shapes[tensor] {
            return Ok(shape);
        }
        let _current = self.device.make_current()?;
        self.tell_shapes()?;
        let info = &self.engine.description().tensors[tensor];
        let known = shape(self.context.tensor_shape(&info.name), &info.quoted())?;
        if known.is_dynamic() {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "the shape of {} is {known}: it depends on the data, which planrt does not support on a GPU",
                    info.quoted()
                ),
            ));
        }
        self.shapes[tensor] = Some(known);
        Ok(known)
    }

    unsafe fn bind(&mut self, tensor: usize, address: *mut c_void, bytes: usize) -> Result<()> {
        if locate(&self.device, address)?.kind == MemoryKind::Host {
            let name = self.description().tensors[tensor].quoted();
            return Err(Error::new(
                Code::InvalidArgument,
                format!("the memory bound to {name} is ordinary host memory, and TensorRT runs on device memory"),
            ));
        }
        self.bound[tensor] = Bound { address, bytes };
        self.bound_holds = false;
        self.bound_told = false;
        Ok(())
    }

    fn device_memory_size(&mut self) -> Result<usize> {
        let _current = self.device.make_current()?;
        self.tell_shapes()?;
        Ok(match self.lent {
            Some(_) => self.needed_memory(),
            None => self.engine.profile_device_memory_size(self.held.number()),
        })
    }

    unsafe fn lend_device_memory(&mut self, address: *mut c_void, size: usize) -> Result<()> {
        if self.lent.is_none() {
            return Err(Error::new(
                Code::InvalidArgument,
                "the context has device memory of its own; make it with planrt_context_new_without_memory",
            ));
        }
        self.lent = Some(Lent { address, size, told: false });
        Ok(())
    }

    unsafe fn set_aux_streams(&mut self, streams: &[&Stream]) -> Result<()> {
        for stream in streams {
            check_device(&self.device, stream)?;
        }
        let _current = self.device.make_current()?;
        let mut streams: Vec<_> = streams.iter().map(|stream| stream.native()).collect();
        // SAFETY: as the caller says.
        unsafe { self.context.set_aux_streams(&mut streams) }?;
        Ok(())
    }

    unsafe fn enqueue(&mut self, stream: Option<&Stream>) -> Result<()> {
        let stream = stream.ok_or_else(|| {
            Error::new(
                Code::InvalidArgument,
                "stream is null: TensorRT runs on a CUDA stream; make one with planrt_stream_new",
            )
        })?;
        check_device(&self.device, stream)?;
        let _current = self.device.make_current()?;
        self.tell_shapes()?;
        self.check_bound()?;
        self.tell_memory()?;
        if !self.bound_told {
            for tensor in 0..self.bound.len() {
                // SAFETY: as the callers of bind said.
                unsafe { self.tell_address(tensor, self.bound[tensor].address) }?;
            }
            self.bound_told = true;
        }
        self.enqueue_on(Some(stream))
    }

    unsafe fn time_layers(&mut self, stream: Option<&Stream>, runs: usize) -> Result<Vec<LayerTime>> {
        let _current = self.device.make_current()?;
        let enqueue = |context: &mut Self| {
            // SAFETY: as the caller says.
            unsafe { backend::Context::enqueue(context, stream) }?;
            stream.map_or(Ok(()), Stream::synchronize)
        };
        // What the first run with these shapes does beside is none of the layers' time.
        enqueue(self)?;
        let profiler = Profiler::new();
        self.context.set_profiler(Some(&profiler));
        let outcome = (0..runs).try_for_each(|_| enqueue(self));
        self.context.set_profiler(None);
        outcome?;
        let times = profiler.take().into_iter().map(|(layer, time)| (layer, None, time));
        Ok(LayerTime::mean(times, runs))
    }

    unsafe fn run(&mut self, inputs: &[HostTensor], outputs: &[HostTensor]) -> Result<()> {
        let _current = self.device.make_current()?;
        self.tell_shapes()?;
        self.tell_memory()?;
        self.bound_told = false;
        for tensor in 0..self.bound.len() {
            let bytes = self.shape(tensor)?.bytes(self.description().tensors[tensor].element_type)?;
            let address = self.staging.address(tensor, bytes)?;
            // SAFETY: the staging's memory is large enough and lives as long as the context.
            unsafe { self.tell_address(tensor, address) }?;
        }
        // SAFETY: the caller's views are valid during the call.
        let outcome = unsafe { self.upload(inputs).and_then(|()| self.enqueue_on(None)) }
            .and_then(|()| unsafe { self.download(outputs) });
        // Whatever failed, nothing may run on with the caller's memory.
        if outcome.is_ok() || self.stream.synchronize().is_ok() {
            self.last_run = LastRun::Ended;
        }
        outcome
    }

    fn cancellation(&self) -> Arc<Cancellation> {
        self.cancellation.clone()
    }
}

impl Context {
    /// # Safety
    /// The views are valid until the stream has passed the copies.
    unsafe fn upload(&mut self, inputs: &[HostTensor]) -> Result<()> {
        let tensors = &self.engine.description().tensors;
        // SAFETY: as the caller says.
        inputs.iter().try_for_each(|input| unsafe { self.staging.upload(input, &tensors[input.tensor], &self.stream) })
    }

    /// # Safety
    /// The views are valid.
    unsafe fn download(&mut self, outputs: &[HostTensor]) -> Result<()> {
        let mut sized = Vec::with_capacity(outputs.len());
        for output in outputs {
            sized.push((output, backend::Context::shape(self, output.tensor)?));
        }
        let tensors = &self.engine.description().tensors;
        // SAFETY: as the caller says.
        unsafe { self.staging.download(&sized, tensors, &self.stream, || self.cancellation.take()) }
    }
}

fn check_device(device: &Device, stream: &Stream) -> Result<()> {
    let (of_stream, of_engine) = (stream.device().info.ordinal, device.info.ordinal);
    if of_stream == of_engine {
        return Ok(());
    }
    Err(Error::new(
        Code::InvalidArgument,
        format!("the stream is on device {of_stream}, the engine on device {of_engine}"),
    ))
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.make_current() {
            // Work that was enqueued reads this context's memory until it ends. On which streams it is, is the
            // application's affair, and they may be gone by now.
            let _ = self.device.synchronize();
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.context) };
        }
    }
}
