//! `IRuntime`: makes engines of plans.

use crate::engine::Engine;
use crate::method::Absent;
use crate::object::Object;
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

// SAFETY of every call below: the object is an IRuntime of the version that it carries, and alive.
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
        unsafe {
            let deserialize = self.0.optional(&tables::DESERIALIZE_CUDA_ENGINE_V2)?;
            Ok(self.engine(deserialize(self.0.this(), reader)))
        }
    }

    /// # Safety
    /// `raw` is what this runtime returned as a new engine.
    unsafe fn engine(&self, raw: *mut c_void) -> Option<Engine> {
        let object = unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) }?;
        Some(Engine(Arc::new(object)))
    }

    /// Loads another TensorRT's lean runtime from a file, for plans that it built
    /// version-compatible. `None` if TensorRT refuses.
    ///
    /// # Safety
    /// The file is a TensorRT lean runtime: loading it runs its code.
    pub unsafe fn load_runtime(&self, path: &CStr) -> Result<Option<Self>, Absent> {
        unsafe {
            let load = self.0.optional(&tables::LOAD_RUNTIME)?;
            let raw = load(self.0.this(), path.as_ptr());
            // TensorRT hands it out behind this version's own interface, as it does to C++ code.
            let object = Object::adopt(raw, self.version(), Some(self.0.clone()));
            Ok(object.map(|object| Self(Arc::new(object))))
        }
    }

    /// How many threads TensorRT may use in the runtime; false if it refuses the number.
    pub fn set_max_threads(&self, threads: i32) -> bool {
        unsafe { self.0.method(&tables::SET_MAX_THREADS)(self.0.this(), threads) }
    }

    /// How many threads TensorRT may use in the runtime.
    pub fn max_threads(&self) -> i32 {
        unsafe { self.0.method(&tables::MAX_THREADS)(self.0.this()) }
    }

    /// Whether plans may bring code that runs on the host; version-compatible plans do.
    pub fn set_engine_host_code_allowed(&self, allowed: bool) -> Result<(), Absent> {
        unsafe {
            let set = self.0.optional(&tables::SET_ENGINE_HOST_CODE_ALLOWED)?;
            set(self.0.this(), allowed);
        }
        Ok(())
    }

    /// Whether plans may bring code that runs on the host.
    pub fn engine_host_code_allowed(&self) -> Result<bool, Absent> {
        unsafe {
            let get = self.0.optional(&tables::ENGINE_HOST_CODE_ALLOWED)?;
            Ok(get(self.0.this()))
        }
    }

    /// The registry of this runtime's plugins.
    pub fn plugin_registry(&self) -> Result<PluginRegistry, Absent> {
        unsafe {
            let get = self.0.optional(&tables::RUNTIME_PLUGIN_REGISTRY)?;
            let registry = get(self.0.this());
            Ok(PluginRegistry::new(registry, self.version(), Some(self.0.clone())))
        }
    }

    /// The `ILogger*` the runtime was created with.
    pub fn logger(&self) -> *mut c_void {
        unsafe { self.0.method(&tables::RUNTIME_LOGGER)(self.0.this()) }
    }

    /// Lets an `IGpuAllocator*` allocate for engines made from now on; null for `cudaMalloc`.
    ///
    /// # Safety
    /// `allocator` is null or an `IGpuAllocator*` of this runtime's generation that outlives the
    /// runtime and all that it makes.
    pub unsafe fn set_gpu_allocator(&self, allocator: *mut c_void) {
        unsafe { self.0.method(&tables::SET_GPU_ALLOCATOR)(self.0.this(), allocator) }
    }

    /// Lets an `IErrorRecorder*` hear of errors; null for none.
    ///
    /// # Safety
    /// `recorder` is null or an `IErrorRecorder*` of this runtime's generation that lives until
    /// its reference count says otherwise.
    pub unsafe fn set_error_recorder(&self, recorder: *mut c_void) {
        unsafe { self.0.method(&tables::SET_ERROR_RECORDER)(self.0.this(), recorder) }
    }

    /// The `IErrorRecorder*` that was set, or null.
    pub fn error_recorder(&self) -> *mut c_void {
        unsafe { self.0.method(&tables::ERROR_RECORDER)(self.0.this()) }
    }

    /// How many bytes at a plan's start [`engine_validity`](Self::engine_validity) looks at.
    pub fn engine_header_size(&self) -> Result<i64, Absent> {
        unsafe {
            let get = self.0.optional(&tables::ENGINE_HEADER_SIZE)?;
            Ok(get(self.0.this()))
        }
    }

    /// Whether the plan that starts so would run here, and the bit mask of reasons why not
    /// (`EngineInvalidityDiagnostics`).
    pub fn engine_validity(&self, plan: &[u8]) -> Result<(EngineValidity, u64), Error> {
        let mut diagnostics = 0;
        let validity = unsafe {
            let get = self.0.optional(&tables::ENGINE_VALIDITY)?;
            let (start, size) = (plan.as_ptr().cast(), plan.len() as i64);
            get(self.0.this(), start, size, &mut diagnostics)
        };
        Ok((EngineValidity::try_from(validity)?, diagnostics))
    }
}
