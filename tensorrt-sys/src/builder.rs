//! `IBuilder`, `IBuilderConfig`, `IOptimizationProfile`: from a network to a plan.

use crate::builder_flag::{BuilderFlag, TacticSource};
use crate::dims::{Dims, Dims32, RawDims};
use crate::host_memory::HostMemory;
use crate::method::Absent;
use crate::network::Network;
use crate::object::{Object, Part, call, call_optional};
use crate::progress::ProgressMonitor;
use crate::version::{Generation, Version};
use crate::{HardwareCompatibilityLevel, MemoryPoolType, OptProfileSelector, ProfilingVerbosity};
use std::ffi::CStr;
use std::sync::Arc;

/// Makes plans. Used by one thread at a time.
pub struct Builder(pub(crate) Arc<Object>);

impl Builder {
    /// The version of the library that made the builder.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// An empty network, `typed` if its layers compute in exactly the types that it names. All networks of TensorRT 11 and
    /// TensorRT-RTX are; up to 8.6 none is, and the result is `None`.
    pub fn create_network(&self, typed: bool) -> Option<Network> {
        const EXPLICIT_BATCH: u32 = 1;
        const STRONGLY_TYPED: u32 = 1 << 1;
        let flags = match (self.version().generation, typed) {
            (Generation::V8, true) => return None,
            (Generation::V8, false) => EXPLICIT_BATCH,
            (Generation::V10, true) => STRONGLY_TYPED,
            _ => 0,
        };
        let raw = call!(self.0, CREATE_NETWORK_V2, flags);
        // SAFETY: what the builder returned, which is the caller's.
        let object = unsafe { Object::adopt(raw, self.version(), Some(Arc::clone(&self.0))) }?;
        Some(Network::new(object))
    }

    /// The defaults of a build.
    pub fn create_config(&self) -> Option<BuilderConfig> {
        let raw = call!(self.0, CREATE_BUILDER_CONFIG);
        // SAFETY: as above.
        let object = unsafe { Object::adopt(raw, self.version(), Some(Arc::clone(&self.0))) }?;
        Some(BuilderConfig {
            object: Arc::new(object),
            timing_cache: None,
            monitor: None,
            builder: Arc::clone(&self.0),
        })
    }

    /// An empty optimization profile.
    pub fn create_optimization_profile(&self) -> Option<OptimizationProfile> {
        let raw = call!(self.0, CREATE_OPTIMIZATION_PROFILE);
        // SAFETY: a profile of the builder's, which it owns.
        unsafe { Part::borrow(raw, &self.0) }.map(OptimizationProfile)
    }

    /// Builds a plan; `None` if TensorRT cannot, and its log says why. Minutes may pass.
    pub fn build_serialized_network(
        &mut self,
        network: &mut Network,
        config: &mut BuilderConfig,
    ) -> Option<HostMemory> {
        let raw = call!(self.0, BUILD_SERIALIZED_NETWORK, network.as_ptr(), config.object.as_ptr());
        // SAFETY: what the builder returned, which is the caller's.
        unsafe { Object::adopt(raw, self.version(), Some(Arc::clone(&self.0))) }.map(HostMemory)
    }
}

/// How a network is to be built.
pub struct BuilderConfig {
    // Deleted before what it points to.
    object: Arc<Object>,
    timing_cache: Option<Object>,
    monitor: Option<Arc<ProgressMonitor>>,
    builder: Arc<Object>,
}

impl BuilderConfig {
    /// Sets or clears a flag.
    pub fn set_flag(&mut self, flag: BuilderFlag, on: bool) -> Result<(), Absent> {
        let number = flag.number(self.object.version())?;
        match on {
            true => call!(self.object, SET_FLAG, number),
            false => call!(self.object, CLEAR_FLAG, number),
        }
        Ok(())
    }

    /// Adds sources of kernels to those that are used, and takes others away; one that this version has not is absent where it
    /// is added, and is away already. False if TensorRT refuses.
    pub fn change_tactic_sources(&mut self, add: &[TacticSource], take: &[TacticSource]) -> Result<bool, Absent> {
        let version = self.object.version();
        let mut sources = call!(self.object, TACTIC_SOURCES);
        for source in add {
            sources |= 1 << source.number(version)?;
        }
        for number in take.iter().filter_map(|source| source.number(version).ok()) {
            sources &= !(1 << number);
        }
        Ok(call!(self.object, SET_TACTIC_SOURCES, sources))
    }

    /// How many bytes a pool may take at most.
    pub fn set_memory_pool_limit(&mut self, pool: MemoryPoolType, bytes: usize) {
        call!(self.object, SET_MEMORY_POOL_LIMIT, pool as i32, bytes)
    }

    /// Adds a profile; its index, or `None` if it is not valid.
    pub fn add_optimization_profile(&mut self, profile: &OptimizationProfile) -> Option<usize> {
        usize::try_from(call!(self.object, ADD_OPTIMIZATION_PROFILE, profile.0.as_ptr())).ok()
    }

    /// What the plan can tell about its layers.
    pub fn set_profiling_verbosity(&mut self, verbosity: ProfilingVerbosity) {
        call!(self.object, SET_PROFILING_VERBOSITY, verbosity as i32)
    }

    /// How hard to look for the fastest kernels, 0 to 5; 3 unless it is set.
    pub fn set_optimization_level(&mut self, level: i32) -> Result<(), Absent> {
        call_optional!(self.object, SET_BUILDER_OPTIMIZATION_LEVEL, level)
    }

    /// On which GPUs besides this kind the plan is to run.
    pub fn set_hardware_compatibility_level(&mut self, level: HardwareCompatibilityLevel) -> Result<(), Absent> {
        call_optional!(self.object, SET_HARDWARE_COMPATIBILITY_LEVEL, level as i32)
    }

    /// Takes times that an earlier build measured, from what [`timing_cache`](Self::timing_cache) gave, or begins an empty
    /// cache for no bytes. False if TensorRT refuses the bytes, as it does those of another version or device.
    pub fn set_timing_cache(&mut self, bytes: &[u8]) -> bool {
        let raw = call!(self.object, CREATE_TIMING_CACHE, bytes.as_ptr().cast(), bytes.len());
        // SAFETY: what the configuration returned, which is the caller's.
        let cache = unsafe { Object::adopt(raw, self.object.version(), Some(Arc::clone(&self.builder))) };
        let Some(cache) = cache else { return false };
        let is_taken = call!(self.object, SET_TIMING_CACHE, cache.as_ptr(), false);
        if is_taken {
            self.timing_cache = Some(cache);
        }
        is_taken
    }

    /// The times that were measured so far; `None` if there is no cache.
    pub fn timing_cache(&self) -> Option<HostMemory> {
        let raw = call!(self.object, TIMING_CACHE_OF_CONFIG);
        // SAFETY: a cache that the configuration holds on to.
        let cache = unsafe { Part::borrow(raw, &self.object) }?;
        let bytes = call!(cache, SERIALIZE_TIMING_CACHE);
        // SAFETY: what the cache returned, which is the caller's.
        unsafe { Object::adopt(bytes, cache.version(), Some(Arc::clone(&self.builder))) }.map(HostMemory)
    }

    /// Lets a monitor hear of the build and end it.
    pub fn set_progress_monitor(&mut self, monitor: Arc<ProgressMonitor>) -> Result<(), Absent> {
        call_optional!(self.object, SET_PROGRESS_MONITOR, monitor.as_ptr())?;
        self.monitor = Some(monitor);
        Ok(())
    }
}

/// The shapes that a plan takes, and those that it is fastest with.
pub struct OptimizationProfile(Part);

impl OptimizationProfile {
    /// Sets one bound of an input's shape; false if TensorRT refuses it or its layout cannot hold it.
    pub fn set_dimensions(&mut self, input: &CStr, select: OptProfileSelector, shape: &Dims) -> bool {
        let select = select as i32;
        if self.0.version().generation == Generation::V8 {
            let Some(narrow) = Dims32::new(shape) else { return false };
            return call_optional!(self.0, SET_DIMENSIONS_8, input.as_ptr(), select, narrow).unwrap_or(false);
        }
        let Some(raw) = RawDims::write(self.0.version().generation, shape) else { return false };
        call_optional!(self.0, SET_DIMENSIONS, input.as_ptr(), select, &raw).unwrap_or(false)
    }

    /// Sets one bound of the values of an input that is itself a shape; false if TensorRT refuses them or its layout cannot
    /// hold them.
    pub fn set_shape_values(&mut self, input: &CStr, select: OptProfileSelector, values: &[i64]) -> bool {
        let (name, select, count) = (input.as_ptr(), select as i32, values.len() as i32);
        if let Ok(is_taken) = call_optional!(self.0, SET_SHAPE_VALUES_V2, name, select, values.as_ptr(), count) {
            return is_taken;
        }
        let narrow: Result<Vec<i32>, _> = values.iter().map(|&value| i32::try_from(value)).collect();
        let Ok(narrow) = narrow else { return false };
        call_optional!(self.0, SET_SHAPE_VALUES, name, select, narrow.as_ptr(), count).unwrap_or(false)
    }

    /// Whether the bounds that were set agree with one another.
    pub fn is_valid(&self) -> bool {
        call!(self.0, IS_VALID)
    }
}
