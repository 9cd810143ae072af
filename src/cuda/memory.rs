//! Device memory, page-locked host memory, and copies between any two kinds of memory.

use super::sys::CUpointer_attribute as Attribute;
use super::{Device, Stream, check, sys};
use crate::engine::MemoryKind;
use crate::error::Result;
use std::ffi::c_void;
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
        let _current = self.device.make_current()?;
        // SAFETY: the memory is this value's; the stream is alive.
        check(unsafe { sys::cuMemsetD8Async(self.address, 0, self.size, stream.raw()) }, || {
            format!("clearing {} bytes on the device", self.size)
        })
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
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

/// Asks the driver about the memory at an address. The plural call: for memory that the driver does not know it answers 0,
/// where the singular is an error.
///
/// # Safety
/// Each place takes a value of its attribute's type.
unsafe fn ask<const N: usize>(
    device: &Device,
    address: sys::CUdeviceptr,
    mut attributes: [Attribute; N],
    mut places: [*mut c_void; N],
) -> Result<()> {
    let _current = device.make_current()?;
    let (attributes, places) = (attributes.as_mut_ptr(), places.as_mut_ptr());
    // SAFETY: as many attributes as places; the rest as the caller says.
    check(unsafe { sys::cuPointerGetAttributes(N as u32, attributes, places, address) }, || {
        format!("asking what memory lies at {address:#x}")
    })
}

/// What kind of memory lies at an address, as far as the driver knows: what it does not know is ordinary host memory.
pub fn memory_kind(device: &Device, address: *const c_void) -> Result<MemoryKind> {
    let mut kind = 0u32;
    let (address, places) = (address as sys::CUdeviceptr, [(&raw mut kind).cast()]);
    // SAFETY: a kind is one unsigned int.
    unsafe { ask(device, address, [Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE], places) }?;
    Ok(match kind {
        0 => MemoryKind::Host,
        kind if kind == sys::CUmemorytype_enum::CU_MEMORYTYPE_HOST as u32 => MemoryKind::Pinned,
        _ => MemoryKind::Device,
    })
}

/// The ordinal of the device that this memory is on; `None` where the driver knows no device memory at that address.
pub fn device_of(device: &Device, address: *const c_void) -> Option<i32> {
    let (mut kind, mut ordinal) = (0u32, -1i32);
    let attributes = [Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL];
    let places = [(&raw mut kind).cast(), (&raw mut ordinal).cast()];
    // SAFETY: both are numbers of four bytes.
    unsafe { ask(device, address as sys::CUdeviceptr, attributes, places) }.ok()?;
    (kind == sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE as u32).then_some(ordinal)
}

/// Whether the driver knows all of this memory as part of one allocation: kernels may touch it without a doubt.
pub fn is_one_allocation(device: &Device, address: *const c_void, size: usize) -> bool {
    let (mut start, mut whole) = (0 as sys::CUdeviceptr, 0usize);
    let attributes = [Attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, Attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE];
    let (address, places) = (address as sys::CUdeviceptr, [(&raw mut start).cast(), (&raw mut whole).cast()]);
    // SAFETY: an address and a size.
    let asked = unsafe { ask(device, address, attributes, places) };
    let offset = address.checked_sub(start);
    let fits = offset.and_then(|offset| whole.checked_sub(offset as usize)).is_some_and(|left| left >= size);
    asked.is_ok() && fits
}
