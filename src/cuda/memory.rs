//! Device memory, page-locked host memory, and copies between any two kinds of memory.

use super::sys::CUpointer_attribute as Attribute;
use super::{Device, Stream, check, sys};
use crate::error::{Code, Error, Result};
use crate::tensor::MemoryKind;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;

/// Memory on the device.
pub struct DeviceMemory {
    device: Arc<Device>,
    address: sys::CUdeviceptr,
    size: usize,
}

impl DeviceMemory {
    pub fn new(device: &Arc<Device>, size: usize) -> Result<Self> {
        let _current = device.make_current()?;
        let mut address = 0;
        // The driver refuses zero bytes; a buffer of none is still a buffer.
        // SAFETY: writes one address, freed in drop.
        check(unsafe { sys::cuMemAlloc_v2(&mut address, size.max(1)) }, || {
            let free = device.memory().map_or_else(|_| "unknown".to_owned(), |(free, _)| free.to_string());
            format!("allocating {size} bytes on CUDA device {} (bytes free there: {free})", device.info.ordinal)
        })?;
        device.allocated(address as usize, size, MemoryKind::Device);
        Ok(Self { device: device.clone(), address, size })
    }

    pub fn address(&self) -> *mut c_void {
        self.address as *mut c_void
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Fills it with zeros, in the stream's order.
    pub fn clear(&self, stream: &Stream) -> Result<()> {
        self.clear_part(0..self.size, stream)
    }

    /// Fills these of its bytes with zeros, in the stream's order.
    pub fn clear_part(&self, bytes: Range<usize>, stream: &Stream) -> Result<()> {
        let (start, size) = (bytes.start.min(self.size), bytes.end.min(self.size).saturating_sub(bytes.start));
        let _current = self.device.make_current()?;
        // SAFETY: the memory is this value's; the stream is alive.
        check(unsafe { sys::cuMemsetD8Async(self.address + start as sys::CUdeviceptr, 0, size, stream.raw()) }, || {
            format!("clearing {size} bytes on the device")
        })
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        self.device.freed(self.address as usize);
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: allocated in new. The driver waits for the device's work before it frees.
            unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Page-locked host memory: the device copies from and to it without the driver's own staging.
pub struct PinnedMemory {
    device: Arc<Device>,
    address: *mut c_void,
    size: usize,
}

// SAFETY: memory that belongs to this value; access is by raw pointer, under its users' rules.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    pub fn new(device: &Arc<Device>, size: usize) -> Result<Self> {
        let _current = device.make_current()?;
        let mut address = std::ptr::null_mut();
        // SAFETY: writes one address, freed in drop. Portable: page-locked for every device's context.
        check(unsafe { sys::cuMemHostAlloc(&mut address, size.max(1), sys::CU_MEMHOSTALLOC_PORTABLE) }, || {
            format!("allocating {size} bytes of page-locked host memory")
        })?;
        device.allocated(address.addr(), size, MemoryKind::Pinned);
        Ok(Self { device: device.clone(), address, size })
    }

    pub fn address(&self) -> *mut c_void {
        self.address
    }

    pub fn size(&self) -> usize {
        self.size
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        self.device.freed(self.address.addr());
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: allocated in new. The driver waits for copies under way.
            unsafe { sys::cuMemFreeHost(self.address) };
        }
    }
}

/// Copies bytes between any two places, host or device, in the stream's order.
///
/// # Safety
/// Both places are valid for `size` bytes until the stream has passed the copy.
pub unsafe fn copy_async(to: *mut c_void, from: *const c_void, size: usize, stream: &Stream) -> Result<()> {
    let _current = stream.device().make_current()?;
    // SAFETY: as the caller says; with unified addressing the driver tells host from device by the address.
    check(unsafe { sys::cuMemcpyAsync(to as sys::CUdeviceptr, from as sys::CUdeviceptr, size, stream.raw()) }, || {
        format!("copying {size} bytes")
    })
}

/// What lies at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// What the driver does not know is ordinary host memory.
    pub kind: MemoryKind,
    /// The ordinal of the device that it belongs to; of no meaning for ordinary memory.
    pub device: i32,
    /// Bytes from there to the end of its allocation; 0 where nobody knows.
    pub left: usize,
}

/// What lies at an address, as the first of some devices says that answers: one that is lost does not, and knows what is on another
/// no better than that one.
pub fn locate_by_any<'a>(
    devices: impl Iterator<Item = &'a Arc<Device>> + Clone,
    address: *const c_void,
) -> Result<Location> {
    if let Some(location) = devices.clone().find_map(|device| known(device, address)) {
        return Ok(location);
    }
    let mut failure = None;
    for device in devices {
        match locate(device, address) {
            Ok(location) => return Ok(location),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let nobody = || Error::new(Code::NoCuda, format!("no GPU is there to be asked what memory lies at {address:p}"));
    Err(failure.unwrap_or_else(nobody))
}

/// What was allocated by way of a device's value.
fn known(device: &Device, address: *const c_void) -> Option<Location> {
    let (kind, left) = device.allocation(address.addr())?;
    Some(Location { kind, device: device.info.ordinal, left })
}

/// What lies at an address. The driver is asked about memory that this device's values did not allocate, once.
pub fn locate(device: &Device, address: *const c_void) -> Result<Location> {
    if let Some(location) = known(device, address) {
        return Ok(location);
    }
    let _current = device.make_current()?;
    let (mut kind, mut ordinal, mut start, mut size) = (0u32, -1i32, 0 as sys::CUdeviceptr, 0usize);
    let mut attributes = [
        Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
        Attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
        Attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE,
    ];
    let mut places =
        [(&raw mut kind).cast(), (&raw mut ordinal).cast(), (&raw mut start).cast(), (&raw mut size).cast()];
    let (count, at) = (attributes.len() as u32, address as sys::CUdeviceptr);
    // The plural call: for memory that the driver does not know it answers 0, where the singular is an error.
    // SAFETY: as many places as attributes, each of its attribute's type: two numbers of four bytes, an address, a size.
    check(unsafe { sys::cuPointerGetAttributes(count, attributes.as_mut_ptr(), places.as_mut_ptr(), at) }, || {
        format!("asking what memory lies at {address:p}")
    })?;
    let kind = match kind {
        0 => MemoryKind::Host,
        kind if kind == sys::CUmemorytype_enum::CU_MEMORYTYPE_HOST as u32 => MemoryKind::Pinned,
        _ => MemoryKind::Device,
    };
    let left = at.checked_sub(start).and_then(|offset| size.checked_sub(offset as usize)).unwrap_or(0);
    Ok(Location { kind, device: ordinal, left })
}
