//! `IRuntime`: makes engines of plans.

use crate::engine::Engine;
use crate::method::Absent;
use crate::object::{Object, call, call_optional};
use crate::plugin_registry::PluginRegistry;
use crate::version::Version;
use crate::{EngineValidity, Error, tables};
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

/// A TensorRT runtime. Clones are the same runtime; it lives as long as a clone of it or something
/// that it made.
///
/// Usable from several threads at once, except that a setter must not run while the runtime
/// deserializes.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Object>);

impl Runtime {
    /// The version of the library that made the runtime.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// The `IRuntime*`.
    pub fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Makes an engine of a plan; `None` if TensorRT refuses, and its log says why.
    ///
    /// # Safety
    /// The plan comes from someone trusted: TensorRT takes what it says at its word, and it may
    /// bring code for the GPU and, where that was allowed, for the host.
    pub unsafe fn deserialize_cuda_engine(&self, plan: &[u8]) -> Option<Engine> {
        let (this, start, size) = (self.0.this(), plan.as_ptr().cast(), plan.len());
        // Every generation has one of the two; see the tables.
        // SAFETY: methods of IRuntime, on one that is alive; the plan is the caller's to vouch for.
        unsafe {
            let engine = match self.0.optional(&tables::DESERIALIZE_CUDA_ENGINE) {
                Ok(deserialize) => deserialize(this, start, size),
                Err(_) => self.0.optional(&tables::DESERIALIZE_CUDA_ENGINE_8).ok()?(this, start, size, ptr::null_mut()),
            };
            self.engine(engine)
        }
    }

    /// Makes an engine of the plan that an `IStreamReaderV2*` reads.
    ///
    /// # Safety
    /// As for [`deserialize_cuda_engine`](Self::deserialize_cuda_engine), and `reader` is a live
    /// `IStreamReaderV2*` of this runtime's generation.
    pub unsafe fn deserialize_cuda_engine_v2(&self, reader: *mut c_void) -> Result<Option<Engine>, Absent> {
        let raw = call_optional!(self.0, DESERIALIZE_CUDA_ENGINE_V2, reader)?;
        // SAFETY: what this runtime returned as a new engine.
        Ok(unsafe { self.engine(raw) })
    }

    /// # Safety
    /// `raw` is what this runtime returned as a new engine.
    unsafe fn engine(&self, raw: *mut c_void) -> Option<Engine> {
        // SAFETY: by contract: new, of this version and nobody else's.
        let object = unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) }?;
        Some(Engine(Arc::new(object)))
    }

    /// Loads another TensorRT's lean runtime from a file, for plans that it built
    /// version-compatible. `None` if TensorRT refuses.
    ///
    /// # Safety
    /// The file is a TensorRT lean runtime: loading it runs its code.
    pub unsafe fn load_runtime(&self, path: &CStr) -> Result<Option<Self>, Absent> {
        let raw = call_optional!(self.0, LOAD_RUNTIME, path.as_ptr())?;
        // SAFETY: it is new and nobody else's; TensorRT hands it out behind this version's own interface, as it does to C++ code.
        let object = unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) };
        Ok(object.map(|object| Self(Arc::new(object))))
    }

    /// How many threads TensorRT may use in the runtime; false if it refuses the number.
    pub fn set_max_threads(&self, threads: i32) -> bool {
        call!(self.0, SET_MAX_THREADS, threads)
    }

    /// How many threads TensorRT may use in the runtime.
    pub fn max_threads(&self) -> i32 {
        call!(self.0, MAX_THREADS)
    }

    /// Whether plans may bring code that runs on the host; version-compatible plans do.
    pub fn set_engine_host_code_allowed(&self, allowed: bool) -> Result<(), Absent> {
        call_optional!(self.0, SET_ENGINE_HOST_CODE_ALLOWED, allowed)
    }

    /// Whether plans may bring code that runs on the host.
    pub fn engine_host_code_allowed(&self) -> Result<bool, Absent> {
        call_optional!(self.0, ENGINE_HOST_CODE_ALLOWED)
    }

    /// The registry of this runtime's plugins.
    pub fn plugin_registry(&self) -> Result<PluginRegistry, Absent> {
        let registry = call_optional!(self.0, RUNTIME_PLUGIN_REGISTRY)?;
        // SAFETY: a registry of this version that lives as long as the runtime, which it keeps.
        Ok(unsafe { PluginRegistry::new(registry, self.version(), Some(self.0.clone())) })
    }

    /// The `ILogger*` the runtime was created with.
    pub fn logger(&self) -> *mut c_void {
        call!(self.0, RUNTIME_LOGGER)
    }

    /// Lets an `IGpuAllocator*` allocate for engines made from now on; null for `cudaMalloc`.
    ///
    /// # Safety
    /// `allocator` is null or an `IGpuAllocator*` of this runtime's generation that outlives the
    /// runtime and all that it makes.
    pub unsafe fn set_gpu_allocator(&self, allocator: *mut c_void) {
        call!(self.0, SET_GPU_ALLOCATOR, allocator)
    }

    /// Lets an `IErrorRecorder*` hear of errors; null for none.
    ///
    /// # Safety
    /// `recorder` is null or an `IErrorRecorder*` of this runtime's generation that lives until
    /// its reference count says otherwise.
    pub unsafe fn set_error_recorder(&self, recorder: *mut c_void) {
        call!(self.0, SET_ERROR_RECORDER, recorder)
    }

    /// The `IErrorRecorder*` that was set, or null.
    pub fn error_recorder(&self) -> *mut c_void {
        call!(self.0, ERROR_RECORDER)
    }

    /// How many bytes at a plan's start [`engine_validity`](Self::engine_validity) looks at.
    pub fn engine_header_size(&self) -> Result<i64, Absent> {
        call_optional!(self.0, ENGINE_HEADER_SIZE)
    }

    /// Whether the plan that starts so would run here, and the bit mask of reasons why not
    /// (`EngineInvalidityDiagnostics`).
    pub fn engine_validity(&self, plan: &[u8]) -> Result<(EngineValidity, u64), Error> {
        let mut diagnostics = 0;
        let (start, size) = (plan.as_ptr().cast(), plan.len() as i64);
        let validity = call_optional!(self.0, ENGINE_VALIDITY, start, size, &mut diagnostics)?;
        Ok((EngineValidity::try_from(validity)?, diagnostics))
    }
}
