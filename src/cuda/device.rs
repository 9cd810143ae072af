//! The driver and its devices.

use super::sys::Functions;
use super::{check, library, sys};
use crate::error::{Code, Error, Result};
use crate::process::fork::Process;
use crate::tensor::MemoryKind;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Loads and initializes the driver. A failure is not remembered: a driver may be installed while we run.
fn driver() -> Result<&'static Functions> {
    // The driver does not survive a fork, and what it says of that is "not initialized".
    static STARTED: OnceLock<Process> = OnceLock::new();
    if STARTED.get().is_some_and(|process| !process.is_current()) {
        return Err(Error::new(
            Code::Forked,
            "this process was forked from one that had used CUDA, which its children cannot use; fork before the first use \
             of the GPU, or start the child as a new program (Python's multiprocessing calls that \"spawn\")",
        ));
    }
    let functions = library::load()?;
    // SAFETY: may be called any number of times, from any thread.
    check(unsafe { sys::cuInit(0) }, || "the CUDA driver is installed but does not start".to_owned())
        .map_err(|error| Error::new(Code::NoCuda, error.message()).with_cuda_code(error.cuda_code()))?;
    let _ = STARTED.set(Process::current());
    Ok(functions)
}

/// What this driver does without, for people: a driver that is newer has it.
pub fn driver_gaps() -> Result<Vec<String>> {
    let functions = driver()?;
    let gap = |missing: Vec<&str>, what: &str| {
        (!missing.is_empty()).then(|| format!("{what}: it lacks {}", missing.join(", ")))
    };
    let graphs = gap(functions.missing_for_graphs(), "work runs without CUDA graphs, which a driver of CUDA 11.4 has");
    let slots = gap(functions.missing_for_slots(), "copies are no part of CUDA graphs, as with a driver of CUDA 11.6");
    Ok([graphs, slots].into_iter().flatten().collect())
}

/// The newest CUDA that the driver speaks, as (major, minor).
pub fn driver_version() -> Result<(i32, i32)> {
    driver()?;
    let mut version = 0;
    // SAFETY: writes one int.
    check(unsafe { sys::cuDriverGetVersion(&mut version) }, || "asking the driver for its version".to_owned())?;
    Ok((version / 1000, version % 1000 / 10))
}

/// What the driver says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    pub ordinal: i32,
    pub name: String,
    /// (major, minor): (9, 0) for an H100.
    pub compute_capability: (i32, i32),
    /// Bytes.
    pub total_memory: usize,
}

/// Every device that the driver shows this process, in its order.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    driver()?;
    let mut count = 0;
    // SAFETY: writes one int.
    check(unsafe { sys::cuDeviceGetCount(&mut count) }, || "counting the CUDA devices".to_owned())?;
    (0..count).map(|ordinal| Ok(describe(ordinal)?.1)).collect()
}

fn describe(ordinal: i32) -> Result<(sys::CUdevice, DeviceInfo)> {
    use sys::CUdevice_attribute as Attribute;
    let asking = || format!("asking for the properties of CUDA device {ordinal}");
    let (mut device, mut total_memory, mut name) = (0, 0, [0; 256]);
    // SAFETY: each call writes into the place it is given, the name into at most its 256 bytes, ended by NUL.
    let name = unsafe {
        check(sys::cuDeviceGet(&mut device, ordinal), asking)?;
        check(sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device), asking)?;
        check(sys::cuDeviceTotalMem_v2(&mut total_memory, device), asking)?;
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    };
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: writes one int.
        check(unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) }, asking).map(|()| value)
    };
    let info = DeviceInfo {
        ordinal,
        name,
        compute_capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        total_memory,
    };
    Ok((device, info))
}

/// A device with its primary context held: the one that the CUDA runtime, and so TensorRT, uses.
pub struct Device {
    pub info: DeviceInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// Bytes and kind of what was allocated by way of this value, by address: the driver need not be asked about it.
    allocations: RwLock<BTreeMap<usize, (usize, MemoryKind)>>,
}

// SAFETY: a primary context may be current on any number of threads at once.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    pub fn open(ordinal: i32) -> Result<Arc<Self>> {
        let all = devices()?;
        if !all.iter().any(|d| d.ordinal == ordinal) {
            return Err(Error::new(
                Code::NoCuda,
                format!("no CUDA device {ordinal}: this process sees {} (CUDA_VISIBLE_DEVICES limits them)", all.len()),
            ));
        }
        let (device, info) = describe(ordinal)?;
        let mut context = std::ptr::null_mut();
        // SAFETY: the device is valid; released in drop.
        check(unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) }, || {
            format!("taking the primary context of CUDA device {ordinal}, {}", info.name)
        })?;
        Ok(Arc::new(Self { info, device, context, allocations: RwLock::default() }))
    }

    /// Makes this device's context current on the calling thread until the guard goes. What the application had current
    /// is current again afterwards.
    pub fn make_current(&self) -> Result<Current> {
        let mut before = std::ptr::null_mut();
        // SAFETY: the context is held by self. The guard only pops, which is right whatever has become of the context.
        unsafe {
            // Asking costs nanoseconds; a push where nothing changes would cost more at every call.
            let known = sys::cuCtxGetCurrent(&mut before) == sys::Status::SUCCESS;
            if known && before == self.context {
                return Ok(Current { pushed: false, thread: PhantomData });
            }
            check(sys::cuCtxPushCurrent_v2(self.context), || {
                format!("making CUDA device {} current", self.info.ordinal)
            })?;
        }
        Ok(Current { pushed: true, thread: PhantomData })
    }

    pub(super) fn allocated(&self, address: usize, size: usize, kind: MemoryKind) {
        self.allocations.write().unwrap_or_else(PoisonError::into_inner).insert(address, (size, kind));
    }

    pub(super) fn freed(&self, address: usize) {
        self.allocations.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    /// The kind of memory at an address, and how many bytes follow there, if it was allocated by way of this value.
    pub(super) fn allocation(&self, address: usize) -> Option<(MemoryKind, usize)> {
        let allocations = self.allocations.read().unwrap_or_else(PoisonError::into_inner);
        let (start, (size, kind)) = allocations.range(..=address).next_back()?;
        size.checked_sub(address - start).filter(|left| *left > 0).map(|left| (*kind, left))
    }

    /// Waits until everything that the device was given has ended.
    pub fn synchronize(&self) -> Result<()> {
        let _current = self.make_current()?;
        // SAFETY: the context is alive and current.
        check(unsafe { sys::cuCtxSynchronize() }, || format!("waiting for CUDA device {}", self.info.ordinal))
    }

    /// (free, total) bytes of device memory.
    pub fn memory(&self) -> Result<(usize, usize)> {
        let _current = self.make_current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two sizes.
        check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }, || {
            "asking for the free device memory".to_owned()
        })?;
        Ok((free, total))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once in open. At process exit the driver may be gone already: the error says nothing then.
        unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// While it lives its device's context is current on this thread.
pub struct Current {
    pushed: bool,
    /// Not to leave the thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Current {
    fn drop(&mut self) {
        if self.pushed {
            let mut popped = std::ptr::null_mut();
            // SAFETY: pops what make_current pushed on this thread; guards nest, since they are scoped.
            unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
        }
    }
}
