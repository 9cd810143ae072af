//! Elements in device memory.

use super::kernels::Kernels;
use crate::cuda::{Device, DeviceMemory, Stream};
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// A buffer in a room begins at a multiple of so many bytes.
const ALIGNED: usize = 512;

/// Types whose elements may be copied bit by bit to a device, whatever the bits.
pub trait Element: Copy + Default + Send + Sync {}

impl Element for f32 {}
impl Element for u8 {}
impl Element for u16 {}
impl Element for u32 {}
impl Element for u64 {}
impl Element for f64 {}

/// So many elements on the device. The driver waits for the device's work before it frees them.
pub struct Buffer<T: Element> {
    /// Its own, or a room that others are in, too: that is freed with the last of them.
    memory: Arc<DeviceMemory>,
    /// Bytes of that before it.
    start: usize,
    len: usize,
    of: PhantomData<T>,
}

/// Memory for buffers that are made later. The driver takes as long for a small piece as for a large one, and the longer the more
/// it has to do besides.
pub struct Room {
    memory: Arc<DeviceMemory>,
    taken: Mutex<usize>,
}

/// Bytes that a buffer takes of a room.
pub fn in_room(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(ALIGNED as u64).unwrap_or(u64::MAX)
}

impl Room {
    pub fn new(device: &Arc<Device>, bytes: u64) -> Result<Self> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(Self { memory: Arc::new(DeviceMemory::new(device, bytes)?), taken: Mutex::new(0) })
    }

    /// A buffer in it, if so much is left.
    fn buffer<T: Element>(&self, len: usize) -> Option<Buffer<T>> {
        let mut taken = self.taken.lock();
        let (start, bytes) = (*taken, len.checked_mul(size_of::<T>())?);
        let end = start.checked_add(bytes)?.checked_next_multiple_of(ALIGNED)?;
        if end > self.memory.size() {
            return None;
        }
        *taken = end;
        Some(Buffer { memory: self.memory.clone(), start, len, of: PhantomData })
    }
}

/// Some of a buffer's elements.
#[derive(Clone, Copy)]
pub struct View<'a, T: Element> {
    address: *mut c_void,
    len: usize,
    of: PhantomData<&'a Buffer<T>>,
}

impl<T: Element> Buffer<T> {
    /// In a room, if there is one and it has room, or else with memory of its own. What is in it is not known.
    pub fn new(device: &Arc<Device>, room: Option<&Room>, len: usize) -> Result<Self> {
        if let Some(buffer) = room.and_then(|room| room.buffer(len)) {
            return Ok(buffer);
        }
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| {
            Error::new(Code::OutOfMemory, format!("{len} elements do not fit in the memory of a device"))
        })?;
        Ok(Self { memory: Arc::new(DeviceMemory::new(device, bytes)?), start: 0, len, of: PhantomData })
    }

    /// Fills some of it with zeros, in the stream's order.
    pub fn clear(&self, elements: Range<usize>, stream: &Stream) -> Result<()> {
        let (start, end) = (elements.start.min(self.len), elements.end.min(self.len));
        self.memory.clear_part(self.start + start * size_of::<T>()..self.start + end * size_of::<T>(), stream)
    }

    pub fn view(&self) -> View<'_, T> {
        let address = self.memory.address().wrapping_byte_add(self.start);
        View { address, len: self.len, of: PhantomData }
    }

    /// An error if it has no such elements.
    pub fn part(&self, elements: Range<usize>) -> Result<View<'_, T>> {
        self.view().part(elements)
    }
}

/// A part of a buffer that several share.
pub struct Piece<T: Element> {
    of: Arc<Buffer<T>>,
    start: usize,
    len: usize,
}

impl<T: Element> Piece<T> {
    /// So many, of so many elements each.
    pub fn several(kernels: &Kernels, count: usize, len: usize) -> Result<Vec<Self>> {
        // Each begins where the device likes to read.
        let apart = len.checked_next_multiple_of(128).unwrap_or(usize::MAX);
        let of = Arc::new(kernels.buffer(apart.saturating_mul(count))?);
        Ok((0..count).map(|i| Self { of: of.clone(), start: i * apart, len }).collect())
    }

    pub fn view(&self) -> View<'_, T> {
        let all = self.of.view();
        View { address: all.address.wrapping_byte_add(self.start * size_of::<T>()), len: self.len, of: PhantomData }
    }
}

impl<'a, T: Element> View<'a, T> {
    pub fn address(&self) -> *mut c_void {
        self.address
    }

    pub fn count(&self) -> usize {
        self.len
    }

    pub fn bytes(self) -> View<'a, u8> {
        View { address: self.address, len: self.len * size_of::<T>(), of: PhantomData }
    }

    /// An error if it has no such elements.
    pub fn part(self, elements: Range<usize>) -> Result<Self> {
        if elements.start > elements.end || elements.end > self.len {
            let message = format!("elements {elements:?} of {} on the device; please report this", self.len);
            return Err(Error::new(Code::Internal, message));
        }
        let address = self.address.wrapping_byte_add(elements.start * size_of::<T>());
        Ok(Self { address, len: elements.len(), of: PhantomData })
    }
}
