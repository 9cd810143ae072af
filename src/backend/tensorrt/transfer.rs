//! Copies between a caller's host memory and the device, through page-locked memory.
//!
//! Large tensors go in pieces, so that the processor's copy of one piece and the bus's copy of another overlap; this is
//! what makes a run from ordinary memory cost less than copying all, then sending all.

use crate::cuda::{Device, DeviceMemory, Event, PinnedMemory, Stream, copy_async, locate};
use crate::engine::{MemoryKind, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::tensor::{HostTensor, Shape, copy_elements};
use std::ffi::c_void;
use std::sync::Arc;

/// Elements of one piece: 1 MiB of float32, some 40 µs on a PCIe 5 bus, far above what starting a copy costs.
const PIECE: usize = 256 * 1024;

/// The device memory and the page-locked memory of one context's runs from host memory; it grows as shapes do.
pub struct Staging {
    device: Arc<Device>,
    places: Vec<Place>,
    /// Marks behind the pieces on their way back.
    marks: Vec<Event>,
}

#[derive(Default)]
struct Place {
    device: Option<DeviceMemory>,
    pinned: Option<PinnedMemory>,
}

impl Staging {
    pub fn new(device: &Arc<Device>, tensors: usize) -> Self {
        let places = (0..tensors).map(|_| Place::default()).collect();
        Self { device: device.clone(), places, marks: Vec::new() }
    }

    /// Memory for a tensor on the device.
    pub fn address(&mut self, tensor: usize, bytes: usize) -> Result<*mut c_void> {
        let place = &mut self.places[tensor].device;
        match place {
            Some(memory) if memory.size() >= bytes => Ok(memory.address()),
            _ => {
                // The old memory goes first: both together may not fit.
                *place = None;
                Ok(place.insert(DeviceMemory::new(&self.device, bytes)?).address())
            }
        }
    }

    fn pinned(&mut self, tensor: usize, bytes: usize) -> Result<*mut c_void> {
        let place = &mut self.places[tensor].pinned;
        match place {
            Some(memory) if memory.size() >= bytes => Ok(memory.address()),
            _ => {
                *place = None;
                Ok(place.insert(PinnedMemory::new(&self.device, bytes)?).address())
            }
        }
    }

    /// Whether the device may copy from and to this memory itself.
    fn is_direct(&self, view: &HostTensor, info: &TensorInfo) -> Result<bool> {
        match locate(&self.device, view.data.cast())?.kind {
            MemoryKind::Host => Ok(false),
            MemoryKind::Pinned => Ok(view.element_type == info.element_type),
            MemoryKind::Device => Err(Error::new(
                Code::InvalidArgument,
                format!(
                    "the data of {} is device memory, and a run goes from host memory to host memory; bind it and enqueue instead",
                    info.quoted()
                ),
            )),
        }
    }

    /// Starts the copy of an input to its device memory.
    ///
    /// # Safety
    /// The view holds its shape's elements, and stays valid until the stream has passed the copy; device memory for it
    /// was made by [`address`](Self::address).
    pub unsafe fn upload(&mut self, input: &HostTensor, info: &TensorInfo, stream: &Stream) -> Result<()> {
        let count = input.shape.elements()?;
        let bytes = input.shape.bytes(info.element_type)?;
        let to = self.address(input.tensor, bytes)?;
        if self.is_direct(input, info)? {
            // SAFETY: as the caller says.
            return unsafe { copy_async(to, input.data.cast(), bytes, stream) };
        }
        let through = self.pinned(input.tensor, bytes)?;
        for (start, length) in pieces(count) {
            let (from, at) = (start * input.element_type.size(), start * info.element_type.size());
            // SAFETY: both lie within their memory, which has room for `count` elements. The last run's copies out of the
            // page-locked memory have ended: a run waits for its stream.
            unsafe {
                let through = through.byte_add(at);
                copy_elements(input.data.add(from), input.element_type, through.cast(), info.element_type, length);
                copy_async(to.byte_add(at), through, length * info.element_type.size(), stream)?;
            }
        }
        Ok(())
    }

    /// Copies outputs from their device memory and returns when they are there and the stream is done. `proceed` is asked
    /// when the run has ended and before the first ordinary memory is written.
    ///
    /// # Safety
    /// The views have room for their shapes' elements.
    pub unsafe fn download(
        &mut self,
        outputs: &[(&HostTensor, Shape)],
        tensors: &[TensorInfo],
        stream: &Stream,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<()> {
        let mut arriving = Vec::new();
        for (output, shape) in outputs {
            let info = &tensors[output.tensor];
            let bytes = shape.bytes(info.element_type)?;
            let from = self.address(output.tensor, bytes)?;
            if self.is_direct(output, info)? {
                // SAFETY: as the caller says.
                unsafe { copy_async(output.data.cast(), from, bytes, stream) }?;
                continue;
            }
            let through = self.pinned(output.tensor, bytes)?;
            arriving.extend(pieces(shape.elements()?).map(|(start, length)| Piece {
                output,
                info,
                start,
                length,
                from,
                through,
            }));
        }
        // Every copy across the bus is started, with a mark behind each but the last; then the pieces are taken out of the
        // page-locked memory as they arrive. Waiting for the stream costs less than a mark.
        let last = arriving.len().saturating_sub(1);
        while self.marks.len() < last {
            self.marks.push(Event::new(&self.device)?);
        }
        for (number, piece) in arriving.iter().enumerate() {
            // SAFETY: both memories have room for all of the tensor's elements.
            unsafe { piece.start_copy(stream) }?;
            if number < last {
                self.marks[number].record(stream)?;
            }
        }
        for (number, piece) in arriving.iter().enumerate() {
            match number < last {
                true => self.marks[number].synchronize()?,
                false => stream.synchronize()?,
            }
            if number == 0 {
                proceed()?;
            }
            // SAFETY: the piece has arrived, and the view has room for it.
            unsafe { piece.hand_over() };
        }
        if arriving.is_empty() {
            stream.synchronize()?;
        }
        // What was asked for too late to matter shall not end the next run.
        let _ = proceed();
        Ok(())
    }
}

/// A part of an output on its way from the device through page-locked memory to the caller's.
struct Piece<'a> {
    output: &'a HostTensor,
    info: &'a TensorInfo,
    /// In elements.
    start: usize,
    length: usize,
    /// Where the whole tensor is on the device, and in page-locked memory.
    from: *mut c_void,
    through: *mut c_void,
}

impl Piece<'_> {
    unsafe fn start_copy(&self, stream: &Stream) -> Result<()> {
        let (at, bytes) = (self.start * self.info.element_type.size(), self.length * self.info.element_type.size());
        // SAFETY: as the caller says.
        unsafe { copy_async(self.through.byte_add(at), self.from.byte_add(at), bytes, stream) }
    }

    unsafe fn hand_over(&self) {
        let (from_type, to_type) = (self.info.element_type, self.output.element_type);
        // SAFETY: as the caller says.
        unsafe {
            let from = self.through.byte_add(self.start * from_type.size()).cast();
            copy_elements(from, from_type, self.output.data.add(self.start * to_type.size()), to_type, self.length);
        }
    }
}

/// (start, length) of the pieces that `count` elements go in.
fn pieces(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(PIECE).map(move |start| (start, PIECE.min(count - start)))
}
