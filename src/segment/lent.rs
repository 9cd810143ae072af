//! Memory that a caller lends to a job until it is answered: the host's, or a device's, of which the job works on a copy.

use crate::cuda::{Device, Stream, copy_async, locate_by_any};
use crate::error::{Code, Error, Result};
use crate::tensor::MemoryKind;
use crate::volume::work::allocate;
use std::sync::Arc;

/// Memory that is read.
pub struct Lent(Memory);

/// Memory that is written.
pub struct LentMut(Memory);

struct Memory {
    data: *mut u8,
    size: usize,
    is_on_device: bool,
    /// Of device memory, once it is fetched; or all there is, where nobody lent it.
    copy: Vec<u8>,
    /// The one that it is on.
    device: Option<Arc<Device>>,
}

// SAFETY: what is lent may be read by any thread until the job is answered, as `new` asks.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}
// SAFETY: what is lent may be written by any thread until the job is answered, as `new` asks.
unsafe impl Send for LentMut {}

impl Memory {
    /// Bytes that the copy takes.
    fn copy_bytes(&self) -> u64 {
        if self.is_on_device { self.size as u64 } else { 0 }
    }

    /// An error where memory that is said to be a device's is on none of these.
    fn find<'a>(&mut self, what: &str, devices: impl Iterator<Item = &'a Arc<Device>> + Clone) -> Result<()> {
        if !self.is_on_device {
            return Ok(());
        }
        if devices.clone().next().is_none() {
            let message = format!("{what} is in device memory, and the segmenter's sessions run on no GPU");
            return Err(Error::new(Code::Unsupported, message));
        }
        let location = locate_by_any(devices.clone(), self.data.cast())?;
        if location.kind != MemoryKind::Device {
            let message = format!("{what} is said to be in device memory; at that address there is none");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let Some(device) = devices.clone().find(|device| device.info.ordinal == location.device) else {
            let there: Vec<_> = devices.map(|device| device.info.ordinal.to_string()).collect();
            let message = format!(
                "{what} is on CUDA device {}, and the segmenter's sessions run on device {}",
                location.device,
                there.join(" and ")
            );
            return Err(Error::new(Code::InvalidArgument, message));
        };
        if location.left < self.size {
            let message =
                format!("{what} has {} bytes, of which the device's memory holds {}", self.size, location.left);
            return Err(Error::new(Code::BufferTooSmall, message));
        }
        self.device = Some(device.clone());
        Ok(())
    }

    fn fetch(&mut self, what: &str) -> Result<()> {
        let Some(device) = &self.device else { return Ok(()) };
        self.copy = allocate(what, self.size)?;
        let stream = Stream::new(device, 0)?;
        // SAFETY: both hold so many bytes; the copy has ended when this returns.
        unsafe { copy_async(self.copy.as_mut_ptr().cast(), self.data.cast(), self.size, &stream) }?;
        stream.synchronize()
    }

    fn store(&self) -> Result<()> {
        let Some(device) = &self.device else { return Ok(()) };
        let stream = Stream::new(device, 0)?;
        // SAFETY: as above.
        unsafe { copy_async(self.data.cast(), self.copy.as_ptr().cast(), self.copy.len(), &stream) }?;
        stream.synchronize()
    }
}

impl Lent {
    /// # Safety
    /// `data` is readable for `size` bytes, no more than an object can have, and nobody writes there until the job that it is
    /// given to is answered or refused. On a device it need not be readable, but nothing there writes to it.
    pub unsafe fn new(data: *const u8, size: usize, is_on_device: bool) -> Self {
        Self(Memory { data: data.cast_mut(), size, is_on_device, copy: Vec::new(), device: None })
    }

    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Where it begins.
    pub fn address(&self) -> usize {
        self.0.data.addr()
    }

    /// Bytes on the host that it takes besides.
    pub fn copy_bytes(&self) -> u64 {
        self.0.copy_bytes()
    }

    /// An error where it is said to be a device's, and is on none of these.
    pub fn find<'a>(&mut self, what: &str, devices: impl Iterator<Item = &'a Arc<Device>> + Clone) -> Result<()> {
        self.0.find(what, devices)
    }

    /// Brings what is on a device to the host.
    pub fn fetch(&mut self, what: &str) -> Result<()> {
        self.0.fetch(what)
    }

    /// Nothing where it is on a device, and not fetched.
    pub fn bytes(&self) -> &[u8] {
        match self.0.is_on_device {
            true => &self.0.copy,
            // SAFETY: as `new` asks.
            false => unsafe { std::slice::from_raw_parts(self.0.data, self.0.size) },
        }
    }
}

impl LentMut {
    /// # Safety
    /// `data` is writable for `size` bytes, no more than an object can have, and nobody else uses it until the job that it is
    /// given to is answered or refused. On a device it need not be writable.
    pub unsafe fn new(data: *mut u8, size: usize, is_on_device: bool) -> Self {
        Self(Memory { data, size, is_on_device, copy: Vec::new(), device: None })
    }

    /// Memory of planrt's own.
    pub fn owned(memory: Vec<u8>) -> Self {
        let size = memory.len();
        Self(Memory { data: std::ptr::null_mut(), size, is_on_device: false, copy: memory, device: None })
    }

    /// A test's own, which has to outlive it.
    #[cfg(test)]
    pub fn of(memory: &mut [u8]) -> Self {
        // SAFETY: as above.
        unsafe { Self::new(memory.as_mut_ptr(), memory.len(), false) }
    }

    pub fn size(&self) -> usize {
        self.0.size
    }

    /// See [`Lent::address`].
    pub fn address(&self) -> usize {
        self.0.data.addr()
    }

    /// See [`Lent::copy_bytes`].
    pub fn copy_bytes(&self) -> u64 {
        self.0.copy_bytes()
    }

    /// See [`Lent::find`].
    pub fn find<'a>(&mut self, what: &str, devices: impl Iterator<Item = &'a Arc<Device>> + Clone) -> Result<()> {
        self.0.find(what, devices)
    }

    /// See [`Lent::fetch`]: what lies between elements stays as it is.
    pub fn fetch(&mut self, what: &str) -> Result<()> {
        self.0.fetch(what)
    }

    /// Brings what was written back to the device that it is lent on.
    pub fn store(&self) -> Result<()> {
        self.0.store()
    }

    /// See [`Lent::bytes`].
    pub fn bytes(&mut self) -> &mut [u8] {
        match self.0.is_on_device || self.0.data.is_null() {
            true => &mut self.0.copy,
            // SAFETY: as `new` asks.
            false => unsafe { std::slice::from_raw_parts_mut(self.0.data, self.0.size) },
        }
    }
}
