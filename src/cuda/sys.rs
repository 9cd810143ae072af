//! The driver's functions, looked up in its library before any of them is called.
//!
//! The types are cudarc's, which are generated from NVIDIA's headers, and each signature below is held against cudarc's when
//! this is compiled. Its own loading is not used: it panics where the library or a function is missing, takes whichever of
//! many names it finds first, and its results are a Rust enum, which a newer driver's code would not be one of.

use super::library::DRIVER;
use cudarc::driver::sys as cudarc;
use libloading::os::unix::Library;
use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};

pub use cudarc::{
    CU_MEMHOSTALLOC_PORTABLE, CUDA_KERNEL_NODE_PARAMS, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent,
    CUevent_flags_enum, CUfunction, CUgraph, CUgraphExec, CUgraphNode, CUmemorytype_enum, CUmodule,
    CUpointer_attribute, CUstream, CUstream_flags_enum, CUstreamCaptureMode, CUstreamCaptureStatus,
};

/// What a function of the driver returns: a `CUresult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub c_int);

impl Status {
    pub const SUCCESS: Self = Self(0);
    pub const OUT_OF_MEMORY: Self = Self(2);
    pub const NO_DEVICE: Self = Self(100);
    pub const INVALID_DEVICE: Self = Self(101);
    pub const NOT_READY: Self = Self(600);
    /// What a function that the driver does not have returns.
    pub const NOT_SUPPORTED: Self = Self(801);

    /// Whether the device's context is of no use any more: NVIDIA's documentation says of these results that the process has
    /// to be started anew, or that the hardware has failed.
    pub fn is_loss(self) -> bool {
        const DEVICE_UNAVAILABLE: c_int = 46;
        const ECC_UNCORRECTABLE: c_int = 214;
        const NVLINK_UNCORRECTABLE: c_int = 220;
        const ILLEGAL_ADDRESS: c_int = 700;
        const LAUNCH_TIMEOUT: c_int = 702;
        const CONTEXT_IS_DESTROYED: c_int = 709;
        const ASSERT: c_int = 710;
        const HARDWARE_STACK_ERROR: c_int = 714;
        const LAUNCH_FAILED: c_int = 719;
        const CONTAINED: c_int = 721;
        matches!(
            self.0,
            DEVICE_UNAVAILABLE
                | ECC_UNCORRECTABLE
                | NVLINK_UNCORRECTABLE
                | ILLEGAL_ADDRESS
                | LAUNCH_TIMEOUT
                | CONTEXT_IS_DESTROYED
                | ASSERT
                | CONTAINED
        ) || (HARDWARE_STACK_ERROR..=LAUNCH_FAILED).contains(&self.0)
    }
}

/// Holds a signature against cudarc's, in which a result that is an argument is an enum, too.
macro_rules! signature {
    ($name:ident, [result $(, $others:ident)*], [$first:ty $(, $rest:ty)*]) => {
        const _: unsafe fn(cudarc::CUresult $(, $rest)*) -> cudarc::CUresult = cudarc::$name;
    };
    ($name:ident, [$($argument:ident),*], [$($type:ty),*]) => {
        const _: unsafe fn($($type),*) -> cudarc::CUresult = cudarc::$name;
    };
}

/// Functions by name, in groups that a driver has or has not. A driver that lacks one of the first group is of no use.
macro_rules! functions {
    ($($(#[$about:meta])* $group:ident { $(fn $name:ident($($argument:ident: $type:ty),*);)* })*) => {
        /// Where the functions are; `None` for those that this driver lacks.
        #[allow(non_snake_case)]
        pub struct Functions {
            $($($name: Option<unsafe extern "C" fn($($type),*) -> Status>,)*)*
        }

        impl Functions {
            pub fn find(library: &Library) -> Self {
                // SAFETY: in the driver's library the functions of these names have these types.
                unsafe {
                    Self { $($($name: library.get(concat!(stringify!($name), "\0")).ok().map(|found| *found),)*)* }
                }
            }

            $($(#[$about])*
            /// The names of those that are missing.
            pub fn $group(&self) -> Vec<&'static str> {
                let mut missing = Vec::new();
                $(if self.$name.is_none() { missing.push(stringify!($name)); })*
                missing
            })*
        }

        $($(
            /// # Safety
            /// As NVIDIA's documentation of the driver's interface says.
            #[allow(non_snake_case, clippy::too_many_arguments)]
            pub unsafe fn $name($($argument: $type),*) -> Status {
                match DRIVER.get().and_then(|functions| functions.$name) {
                    // SAFETY: as the caller says.
                    Some(function) => unsafe { function($($argument),*) },
                    None => Status::NOT_SUPPORTED,
                }
            }

            signature!($name, [$($argument),*], [$($type),*]);
        )*)*
    };
}

functions! {
    /// What planrt does not run without: a driver of CUDA 11.0 has them.
    missing {
        fn cuInit(flags: c_uint);
        fn cuGetErrorName(result: Status, name: *mut *const c_char);
        fn cuGetErrorString(result: Status, text: *mut *const c_char);
        fn cuDriverGetVersion(version: *mut c_int);
        fn cuDeviceGetCount(count: *mut c_int);
        fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
        fn cuDeviceGetName(name: *mut c_char, length: c_int, device: CUdevice);
        fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
        fn cuDeviceGetAttribute(value: *mut c_int, attribute: CUdevice_attribute, device: CUdevice);
        fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
        fn cuDevicePrimaryCtxRelease_v2(device: CUdevice);
        fn cuCtxGetCurrent(context: *mut CUcontext);
        fn cuCtxPushCurrent_v2(context: CUcontext);
        fn cuCtxPopCurrent_v2(context: *mut CUcontext);
        fn cuCtxSynchronize();
        fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
        fn cuMemAlloc_v2(address: *mut CUdeviceptr, size: usize);
        fn cuMemFree_v2(address: CUdeviceptr);
        fn cuMemHostAlloc(address: *mut *mut c_void, size: usize, flags: c_uint);
        fn cuMemFreeHost(address: *mut c_void);
        fn cuPointerGetAttributes(count: c_uint, attributes: *mut CUpointer_attribute, values: *mut *mut c_void, address: CUdeviceptr);
        fn cuMemcpyAsync(to: CUdeviceptr, from: CUdeviceptr, size: usize, stream: CUstream);
        fn cuMemsetD8Async(address: CUdeviceptr, value: c_uchar, size: usize, stream: CUstream);
        fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void);
        fn cuModuleUnload(module: CUmodule);
        fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char);
        fn cuLaunchKernel(
            function: CUfunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint,
            block_z: c_uint, shared: c_uint, stream: CUstream, parameters: *mut *mut c_void, extra: *mut *mut c_void
        );
        fn cuStreamCreateWithPriority(stream: *mut CUstream, flags: c_uint, priority: c_int);
        fn cuStreamDestroy_v2(stream: CUstream);
        fn cuStreamSynchronize(stream: CUstream);
        fn cuStreamQuery(stream: CUstream);
        fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint);
        fn cuEventCreate(event: *mut CUevent, flags: c_uint);
        fn cuEventRecord(event: CUevent, stream: CUstream);
        fn cuEventSynchronize(event: CUevent);
        fn cuEventElapsedTime(milliseconds: *mut f32, begin: CUevent, end: CUevent);
        fn cuEventDestroy_v2(event: CUevent);
    }

    /// CUDA graphs, as a driver of CUDA 11.4 has them: without them work is given to its stream anew each time.
    missing_for_graphs {
        fn cuStreamBeginCapture_v2(stream: CUstream, mode: CUstreamCaptureMode);
        fn cuStreamIsCapturing(stream: CUstream, status: *mut CUstreamCaptureStatus);
        fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph);
        fn cuGraphInstantiateWithFlags(exec: *mut CUgraphExec, graph: CUgraph, flags: c_ulonglong);
        fn cuGraphLaunch(exec: CUgraphExec, stream: CUstream);
        fn cuGraphExecDestroy(exec: CUgraphExec);
        fn cuGraphDestroy(graph: CUgraph);
    }

    /// Kernels of a graph that change from launch to launch, as a driver of CUDA 11.6 has them: without them copies are
    /// launched beside the graph.
    missing_for_slots {
        fn cuStreamGetCaptureInfo_v2(
            stream: CUstream, status: *mut CUstreamCaptureStatus, id: *mut u64, graph: *mut CUgraph,
            dependencies: *mut *const CUgraphNode, count: *mut usize
        );
        fn cuGraphExecKernelNodeSetParams(exec: CUgraphExec, node: CUgraphNode, parameters: *const CUDA_KERNEL_NODE_PARAMS);
        fn cuGraphNodeSetEnabled(exec: CUgraphExec, node: CUgraphNode, enabled: c_uint);
    }
}
