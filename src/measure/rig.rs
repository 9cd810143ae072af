//! Memory for a model's inputs and outputs, and a context that runs on it again and again.

use super::inputs::Input;
use crate::backend::Engine;
use crate::backend::job::CallerMemory;
use crate::context::Context;
use crate::cuda::{Device, DeviceMemory, PinnedMemory, Stream, copy_async};
use crate::engine::{MemoryKind, Role};
use crate::error::Result;
use crate::schedule::Tensor;
use crate::tensor::Shape;
use std::ffi::c_void;
use std::sync::Arc;

enum Memory {
    /// Where the device computes, and the host's copy.
    Device(DeviceMemory, PinnedMemory),
    Pinned(PinnedMemory),
    Host(Vec<u8>),
}

struct Place {
    tensor: usize,
    shape: Shape,
    size: usize,
    memory: Memory,
}

impl Place {
    fn new(engine: &dyn Engine, tensor: usize, shape: Shape) -> Result<Self> {
        let info = &engine.description().tensors[tensor];
        let size = shape.bytes(info.element_type)?;
        let memory = match (engine.device(), info.memory_kind) {
            (None, _) => Memory::Host(vec![0; size.max(1)]),
            (Some(device), MemoryKind::Device) => {
                Memory::Device(DeviceMemory::new(device, size)?, PinnedMemory::new(device, size)?)
            }
            (Some(device), _) => Memory::Pinned(PinnedMemory::new(device, size)?),
        };
        Ok(Self { tensor, shape, size, memory })
    }

    /// Where the model reads or writes.
    fn address(&mut self) -> *mut c_void {
        match &mut self.memory {
            Memory::Device(memory, _) => memory.address(),
            Memory::Pinned(memory) => memory.address(),
            Memory::Host(bytes) => bytes.as_mut_ptr().cast(),
        }
    }

    /// The host's side, and its kind.
    fn on_host(&mut self) -> (*mut u8, MemoryKind) {
        match &mut self.memory {
            Memory::Device(_, memory) | Memory::Pinned(memory) => (memory.address().cast(), MemoryKind::Pinned),
            Memory::Host(bytes) => (bytes.as_mut_ptr(), MemoryKind::Host),
        }
    }

    fn fill(&mut self, bytes: &[u8]) {
        let (to, _) = self.on_host();
        // SAFETY: the host's side has room for `size` bytes, and nobody else uses it.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len().min(self.size)) };
    }

    /// As a request of a session's has it: the host's side, or the device's.
    fn of_request<'a>(&mut self, engine: &'a dyn Engine, on_device: bool) -> Tensor<'a> {
        let info = &engine.description().tensors[self.tensor];
        let (address, kind) = match &self.memory {
            Memory::Device(..) if on_device => (self.address().cast(), MemoryKind::Device),
            _ => self.on_host(),
        };
        // SAFETY: the memory is this value's, which outlives each run of a request.
        let memory = unsafe { CallerMemory::new(address, self.size, info.element_type, kind, self.shape) };
        Tensor { name: info.name(), memory }
    }
}

/// Memory for each input, with its elements in it, and for each output.
pub struct Places {
    inputs: Vec<Place>,
    outputs: Vec<Place>,
}

impl Places {
    fn new(engine: &dyn Engine, inputs: &[Input], outputs: &[Shape]) -> Result<Self> {
        let input = |input: &Input| {
            let mut place = Place::new(engine, input.tensor, input.shape)?;
            place.fill(&input.bytes);
            Ok(place)
        };
        let indexes = engine.description().indexes(Role::Output);
        Ok(Self {
            inputs: inputs.iter().map(input).collect::<Result<_>>()?,
            outputs: indexes
                .zip(outputs)
                .map(|(tensor, shape)| Place::new(engine, tensor, *shape))
                .collect::<Result<_>>()?,
        })
    }

    fn copy(places: &[Place], stream: &Stream, is_up: bool) -> Result<()> {
        for place in places {
            if let Memory::Device(device, pinned) = &place.memory {
                let (device, pinned) = (device.address(), pinned.address());
                let (to, from) = if is_up { (device, pinned) } else { (pinned, device) };
                // SAFETY: both are as large, and live until their owner has waited for the stream's work.
                unsafe { copy_async(to, from, place.size, stream) }?;
            }
        }
        Ok(())
    }
}

fn with_shapes(engine: &Arc<dyn Engine>, inputs: &[Input]) -> Result<(Context, Vec<Shape>)> {
    let context = Context::new(engine.clone())?;
    let description = engine.description();
    for input in inputs {
        context.set_shape(description.tensors[input.tensor].name(), &input.shape)?;
    }
    let outputs = description.indexes(Role::Output).map(|output| context.shape(description.tensors[output].name()));
    let outputs = outputs.collect::<Result<_>>()?;
    Ok((context, outputs))
}

/// A context with everything bound.
pub struct Rig {
    // Deleted before the memory: it waits for what uses it.
    pub context: Context,
    /// None on the CPU.
    pub stream: Option<Stream>,
    places: Places,
}

impl Rig {
    pub fn new(engine: &Arc<dyn Engine>, inputs: &[Input]) -> Result<Self> {
        let (context, outputs) = with_shapes(engine, inputs)?;
        let stream = engine.device().map(|device: &Arc<Device>| Stream::new(device, 0)).transpose()?;
        let places = Places::new(&**engine, inputs, &outputs)?;
        let mut rig = Self { context, stream, places };
        for place in rig.places.inputs.iter_mut().chain(&mut rig.places.outputs) {
            let (name, size) = (engine.description().tensors[place.tensor].name(), place.size);
            // SAFETY: the memory lives as long as the context, which goes first.
            unsafe { rig.context.bind(name, place.address(), size) }?;
        }
        rig.upload()?;
        rig.synchronize()?;
        Ok(rig)
    }

    /// Copies the inputs to the device, in the stream's order.
    pub fn upload(&self) -> Result<()> {
        self.stream.as_ref().map_or(Ok(()), |stream| Places::copy(&self.places.inputs, stream, true))
    }

    /// Copies the outputs to the host, in the stream's order.
    pub fn download(&self) -> Result<()> {
        self.stream.as_ref().map_or(Ok(()), |stream| Places::copy(&self.places.outputs, stream, false))
    }

    pub fn enqueue(&self) -> Result<()> {
        // SAFETY: what is bound lives as long as the context.
        unsafe { self.context.enqueue(self.stream.as_ref()) }
    }

    pub fn synchronize(&self) -> Result<()> {
        self.stream.as_ref().map_or(Ok(()), Stream::synchronize)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Copies under way use the memory that goes now. What failed was told where it did.
        let _ = self.synchronize();
    }
}

/// What requests of a session read and write.
pub struct Requester {
    engine: Arc<dyn Engine>,
    places: Places,
    on_device: bool,
}

impl Requester {
    /// For so many threads, which each have memory of their own: on the device or, for what is copied, on the host.
    pub fn several(engine: &Arc<dyn Engine>, inputs: &[Input], count: usize, on_device: bool) -> Result<Vec<Self>> {
        // The context goes before a session is made, which may want its profile.
        let (_, outputs) = with_shapes(engine, inputs)?;
        let one = |_| {
            let places = Places::new(&**engine, inputs, &outputs)?;
            if let Some(stream) = engine.device().map(|device| Stream::new(device, 0)).transpose()? {
                Places::copy(&places.inputs, &stream, true)?;
                stream.synchronize()?;
            }
            Ok(Self { engine: engine.clone(), places, on_device })
        };
        (0..count).map(one).collect()
    }

    pub fn tensors(&mut self) -> (Vec<Tensor<'_>>, Vec<Tensor<'_>>) {
        let Self { engine, places, on_device } = self;
        let all =
            |places: &mut [Place]| places.iter_mut().map(|place| place.of_request(&**engine, *on_device)).collect();
        (all(&mut places.inputs), all(&mut places.outputs))
    }
}
