//! Elements in device memory.

use crate::cuda::{Device, DeviceMemory, Stream};
use crate::error::{Code, Error, Result};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

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
    memory: DeviceMemory,
    len: usize,
    of: PhantomData<T>,
}

/// Some of a buffer's elements.
#[derive(Clone, Copy)]
pub struct View<'a, T: Element> {
    address: *mut c_void,
    len: usize,
    of: PhantomData<&'a Buffer<T>>,
}

impl<T: Element> Buffer<T> {
    /// What is in it is not known.
    pub fn new(device: &Arc<Device>, len: usize) -> Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| {
            Error::new(Code::OutOfMemory, format!("{len} elements do not fit in the memory of a device"))
        })?;
        Ok(Self { memory: DeviceMemory::new(device, bytes)?, len, of: PhantomData })
    }

    /// Fills some of it with zeros, in the stream's order.
    pub fn clear(&self, elements: Range<usize>, stream: &Stream) -> Result<()> {
        self.memory.clear_part(elements.start * size_of::<T>()..elements.end * size_of::<T>(), stream)
    }

    pub fn view(&self) -> View<'_, T> {
        View { address: self.memory.address(), len: self.len, of: PhantomData }
    }

    /// An error if it has no such elements.
    pub fn part(&self, elements: Range<usize>) -> Result<View<'_, T>> {
        self.view().part(elements)
    }
}

/// A part of a buffer that several share: the driver takes as long for a small one as for a large one.
pub struct Piece<T: Element> {
    of: Arc<Buffer<T>>,
    start: usize,
    len: usize,
}

impl<T: Element> Piece<T> {
    /// So many, of so many elements each.
    pub fn several(device: &Arc<Device>, count: usize, len: usize) -> Result<Vec<Self>> {
        // Each begins where the device likes to read.
        let apart = len.checked_next_multiple_of(128).unwrap_or(usize::MAX);
        let of = Arc::new(Buffer::new(device, apart.saturating_mul(count))?);
        Ok((0..count).map(|i| Self { of: of.clone(), start: i * apart, len }).collect())
    }

    pub fn view(&self) -> View<'_, T> {
        let address = self.of.memory.address().wrapping_byte_add(self.start * size_of::<T>());
        View { address, len: self.len, of: PhantomData }
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
