//! `ICudaEngine`: a deserialized plan and what it says of itself.

use crate::context::Context;
use crate::dims::Dims;
use crate::host_memory::HostMemory;
use crate::inspector::Inspector;
use crate::method::{Absent, Optional, This};
use crate::object::{Object, call, call_optional, text};
use crate::tables::{self, Text};
use crate::version::Version;
use crate::{
    DataType, EngineCapability, EngineStat, Error, ExecutionContextAllocationStrategy, HardwareCompatibilityLevel,
    OptProfileSelector, ProfilingVerbosity, TensorFormat, TensorIoMode, TensorLocation, Unknown,
};
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// A TensorRT engine. Clones are the same engine; it lives as long as a clone of it or something
/// that it made, and its runtime lives as long as it.
///
/// Usable from several threads at once, except that the weight streaming budget must not be set
/// while a context of the engine exists.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Object>);

/// A method that takes a tensor's name and an optimization profile.
type OfTensorAndProfile<T> = Optional<unsafe extern "C" fn(This, Text, i32) -> T>;

impl Engine {
    /// The version of the library that made the engine.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// The `ICudaEngine*`.
    pub fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// The name it was built under; may be empty.
    pub fn name(&self) -> Option<&CStr> {
        let said = call!(self.0, ENGINE_NAME);
        // SAFETY: a string of the object, which lives as long as it.
        unsafe { text(said) }
    }

    /// How many layers it has after fusion.
    pub fn nb_layers(&self) -> i32 {
        call!(self.0, NB_LAYERS)
    }

    /// Makes a plan of the engine; `None` if TensorRT refuses.
    pub fn serialize(&self) -> Option<HostMemory> {
        let raw = call!(self.0, SERIALIZE);
        // SAFETY: it is new, of this version and nobody else's.
        unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) }.map(HostMemory)
    }

    /// Makes a plan of the engine with all of its weights, also if its own plan lacked them; `None` if TensorRT refuses.
    pub fn serialize_whole(&self) -> Option<HostMemory> {
        const EXCLUDE_WEIGHTS: i32 = 0;
        // Where there is no such configuration there is no plan without its weights.
        let Ok(config) = call_optional!(self.0, CREATE_SERIALIZATION_CONFIG) else { return self.serialize() };
        // SAFETY: it is new, of this version and nobody else's.
        let config = unsafe { Object::adopt(config, self.version(), Some(self.0.clone())) }?;
        call_optional!(config, CLEAR_SERIALIZATION_FLAG, EXCLUDE_WEIGHTS).ok().filter(|is_cleared| *is_cleared)?;
        let raw = call_optional!(self.0, SERIALIZE_WITH_CONFIG, config.as_ptr()).ok()?;
        // SAFETY: as above.
        unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) }.map(HostMemory)
    }

    // ---- Tensors

    /// How many inputs and outputs it has.
    pub fn nb_io_tensors(&self) -> i32 {
        call!(self.0, NB_IO_TENSORS)
    }

    /// The name of an input or output.
    pub fn io_tensor_name(&self, index: i32) -> Option<&CStr> {
        let said = call!(self.0, IO_TENSOR_NAME, index);
        // SAFETY: a string of the object, which lives as long as it.
        unsafe { text(said) }
    }

    /// The shape, −1 where it is open; `None` if there is no such tensor.
    pub fn tensor_shape(&self, tensor: &CStr) -> Option<Dims> {
        let shape = call!(self.0, ENGINE_TENSOR_SHAPE, tensor.as_ptr());
        // SAFETY: the dimensions are of the generation that returned them.
        unsafe { shape.read(self.version().generation) }
    }

    /// The type of the elements. (Of a tensor that is not there TensorRT says `Float`.)
    pub fn tensor_data_type(&self, tensor: &CStr) -> Result<DataType, Unknown> {
        call!(self.0, TENSOR_DATA_TYPE, tensor.as_ptr()).try_into()
    }

    /// Whether it is an input or an output.
    pub fn tensor_io_mode(&self, tensor: &CStr) -> Result<TensorIoMode, Unknown> {
        call!(self.0, TENSOR_IO_MODE, tensor.as_ptr()).try_into()
    }

    /// Where its memory must be.
    pub fn tensor_location(&self, tensor: &CStr) -> Result<TensorLocation, Unknown> {
        call!(self.0, TENSOR_LOCATION, tensor.as_ptr()).try_into()
    }

    /// Whether its values, not only its shape, take part in inferring shapes.
    pub fn is_shape_inference_io(&self, tensor: &CStr) -> bool {
        call!(self.0, IS_SHAPE_INFERENCE_IO, tensor.as_ptr())
    }

    /// Bytes a component of a vectorized tensor; −1 if it is not vectorized.
    pub fn tensor_bytes_per_component(&self, tensor: &CStr) -> i32 {
        call!(self.0, TENSOR_BYTES_PER_COMPONENT, tensor.as_ptr())
    }

    /// Components a vector of a vectorized tensor; −1 if it is not vectorized.
    pub fn tensor_components_per_element(&self, tensor: &CStr) -> i32 {
        call!(self.0, TENSOR_COMPONENTS_PER_ELEMENT, tensor.as_ptr())
    }

    /// How the elements lie in memory.
    pub fn tensor_format(&self, tensor: &CStr) -> Result<TensorFormat, Unknown> {
        call!(self.0, TENSOR_FORMAT, tensor.as_ptr()).try_into()
    }

    /// How the elements lie in memory, in words.
    pub fn tensor_format_desc(&self, tensor: &CStr) -> Option<&CStr> {
        let said = call!(self.0, TENSOR_FORMAT_DESC, tensor.as_ptr());
        // SAFETY: a string of the object, which lives as long as it.
        unsafe { text(said) }
    }

    /// The dimension that is vectorized; −1 if none is.
    pub fn tensor_vectorized_dim(&self, tensor: &CStr) -> i32 {
        call!(self.0, TENSOR_VECTORIZED_DIM, tensor.as_ptr())
    }

    /// [`tensor_bytes_per_component`](Self::tensor_bytes_per_component) in one profile.
    pub fn tensor_bytes_per_component_v2(&self, tensor: &CStr, profile: i32) -> Result<i32, Absent> {
        // SAFETY: a method of ICudaEngine.
        unsafe { self.of_tensor_and_profile(&tables::TENSOR_BYTES_PER_COMPONENT_V2, tensor, profile) }
    }

    /// [`tensor_components_per_element`](Self::tensor_components_per_element) in one profile.
    pub fn tensor_components_per_element_v2(&self, tensor: &CStr, profile: i32) -> Result<i32, Absent> {
        // SAFETY: a method of ICudaEngine.
        unsafe { self.of_tensor_and_profile(&tables::TENSOR_COMPONENTS_PER_ELEMENT_V2, tensor, profile) }
    }

    /// [`tensor_format`](Self::tensor_format) in one profile.
    pub fn tensor_format_v2(&self, tensor: &CStr, profile: i32) -> Result<TensorFormat, Error> {
        // SAFETY: a method of ICudaEngine.
        let format = unsafe { self.of_tensor_and_profile(&tables::TENSOR_FORMAT_V2, tensor, profile) }?;
        Ok(format.try_into()?)
    }

    /// [`tensor_format_desc`](Self::tensor_format_desc) in one profile.
    pub fn tensor_format_desc_v2(&self, tensor: &CStr, profile: i32) -> Result<Option<&CStr>, Absent> {
        // SAFETY: a method of ICudaEngine.
        let desc = unsafe { self.of_tensor_and_profile(&tables::TENSOR_FORMAT_DESC_V2, tensor, profile) }?;
        // SAFETY: a string of the object, which lives as long as it.
        Ok(unsafe { text(desc) })
    }

    /// [`tensor_vectorized_dim`](Self::tensor_vectorized_dim) in one profile.
    pub fn tensor_vectorized_dim_v2(&self, tensor: &CStr, profile: i32) -> Result<i32, Absent> {
        // SAFETY: a method of ICudaEngine.
        unsafe { self.of_tensor_and_profile(&tables::TENSOR_VECTORIZED_DIM_V2, tensor, profile) }
    }

    /// # Safety
    /// The method is one of `ICudaEngine`.
    unsafe fn of_tensor_and_profile<T>(
        &self,
        method: &OfTensorAndProfile<T>,
        tensor: &CStr,
        profile: i32,
    ) -> Result<T, Absent> {
        // SAFETY: by contract, and the object is alive and of the version that it carries.
        unsafe { Ok(self.0.optional(method)?(self.0.this(), tensor.as_ptr(), profile)) }
    }

    // ---- Optimization profiles

    /// How many optimization profiles it was built with, at least 1.
    pub fn nb_optimization_profiles(&self) -> i32 {
        call!(self.0, NB_OPTIMIZATION_PROFILES)
    }

    /// A bound of an input's shape in a profile; `None` if there is no such input or profile.
    pub fn profile_shape(&self, tensor: &CStr, profile: i32, select: OptProfileSelector) -> Option<Dims> {
        let shape = call!(self.0, PROFILE_SHAPE, tensor.as_ptr(), profile, select as i32);
        // SAFETY: the dimensions are of the generation that returned them.
        unsafe { shape.read(self.version().generation) }
    }

    /// A bound of the values of an input that takes part in inferring shapes, 32 bits each: as
    /// many as the tensor has elements. Null if there is no such input or profile.
    pub fn profile_tensor_values(
        &self,
        tensor: &CStr,
        profile: i32,
        select: OptProfileSelector,
    ) -> Result<*const i32, Absent> {
        call_optional!(self.0, PROFILE_TENSOR_VALUES, tensor.as_ptr(), profile, select as i32)
    }

    /// [`profile_tensor_values`](Self::profile_tensor_values) with 64 bits each.
    pub fn profile_tensor_values_v2(
        &self,
        tensor: &CStr,
        profile: i32,
        select: OptProfileSelector,
    ) -> Result<*const i64, Absent> {
        call_optional!(self.0, PROFILE_TENSOR_VALUES_V2, tensor.as_ptr(), profile, select as i32)
    }

    // ---- Memory

    /// Bytes of device memory that a context needs.
    pub fn device_memory_size(&self) -> Result<usize, Absent> {
        call_optional!(self.0, DEVICE_MEMORY_SIZE)
    }

    /// Bytes of device memory that a context needs with the current weight streaming budget.
    pub fn device_memory_size_v2(&self) -> Result<i64, Absent> {
        call_optional!(self.0, DEVICE_MEMORY_SIZE_V2)
    }

    /// Bytes of device memory that a context needs for a profile.
    pub fn device_memory_size_for_profile(&self, profile: i32) -> Result<usize, Absent> {
        call_optional!(self.0, DEVICE_MEMORY_SIZE_FOR_PROFILE, profile)
    }

    /// Bytes of device memory that a context needs for a profile with the current weight streaming
    /// budget.
    pub fn device_memory_size_for_profile_v2(&self, profile: i32) -> Result<i64, Absent> {
        call_optional!(self.0, DEVICE_MEMORY_SIZE_FOR_PROFILE_V2, profile)
    }

    /// Bytes of the weights that can be streamed.
    pub fn streamable_weights_size(&self) -> Result<i64, Absent> {
        call_optional!(self.0, STREAMABLE_WEIGHTS_SIZE)
    }

    /// How many bytes of weights may stay on the device; false if TensorRT refuses. There must be
    /// no context of the engine.
    pub fn set_weight_streaming_budget_v2(&self, bytes: i64) -> Result<bool, Absent> {
        call_optional!(self.0, SET_WEIGHT_STREAMING_BUDGET_V2, bytes)
    }

    /// How many bytes of weights may stay on the device.
    pub fn weight_streaming_budget_v2(&self) -> Result<i64, Absent> {
        call_optional!(self.0, WEIGHT_STREAMING_BUDGET_V2)
    }

    /// The budget that TensorRT would choose with the device memory that is free now.
    pub fn weight_streaming_automatic_budget(&self) -> Result<i64, Absent> {
        call_optional!(self.0, WEIGHT_STREAMING_AUTOMATIC_BUDGET)
    }

    /// Bytes of device memory that streaming itself takes with the current budget.
    pub fn weight_streaming_scratch_memory_size(&self) -> Result<i64, Absent> {
        call_optional!(self.0, WEIGHT_STREAMING_SCRATCH_MEMORY_SIZE)
    }

    // ---- What it was built for

    /// On which other GPUs it runs.
    pub fn hardware_compatibility_level(&self) -> Result<HardwareCompatibilityLevel, Error> {
        let level = call_optional!(self.0, HARDWARE_COMPATIBILITY_LEVEL)?;
        Ok(level.try_into()?)
    }

    /// How many streams besides its own it wants.
    pub fn nb_aux_streams(&self) -> Result<i32, Absent> {
        call_optional!(self.0, NB_AUX_STREAMS)
    }

    /// For which runtime it was built.
    pub fn engine_capability(&self) -> Result<EngineCapability, Unknown> {
        call!(self.0, ENGINE_CAPABILITY).try_into()
    }

    /// Whether its weights can be replaced.
    pub fn is_refittable(&self) -> bool {
        call!(self.0, IS_REFITTABLE)
    }

    /// What it can tell of its layers.
    pub fn profiling_verbosity(&self) -> Result<ProfilingVerbosity, Unknown> {
        call!(self.0, PROFILING_VERBOSITY).try_into()
    }

    /// Whether it was built with a batch dimension that its shapes do not show.
    pub fn has_implicit_batch_dimension(&self) -> Result<bool, Absent> {
        call_optional!(self.0, HAS_IMPLICIT_BATCH_DIMENSION)
    }

    /// The largest batch, where the batch dimension is implicit; else 1.
    pub fn max_batch_size(&self) -> Result<i32, Absent> {
        call_optional!(self.0, MAX_BATCH_SIZE)
    }

    /// A number that it knows about itself; −1 if TensorRT cannot say.
    pub fn engine_stat(&self, stat: EngineStat) -> Result<i64, Absent> {
        call_optional!(self.0, ENGINE_STAT, stat as i32)
    }

    // ---- What it makes

    /// Makes an execution context; `None` if TensorRT refuses, and its log says why.
    ///
    /// TensorRT 8 has a method for `Static` and one for `UserManaged`, and no `OnProfileChange`.
    pub fn create_execution_context(
        &self,
        strategy: ExecutionContextAllocationStrategy,
    ) -> Result<Option<Context>, Absent> {
        use ExecutionContextAllocationStrategy::{OnProfileChange, Static, UserManaged};
        let this = self.0.this();
        // SAFETY: methods of ICudaEngine, on one that is alive; what they return is a new context of it.
        unsafe {
            match (self.0.optional(&tables::CREATE_EXECUTION_CONTEXT), strategy) {
                (Ok(create), strategy) => Ok(self.context(create(this, strategy as i32))),
                (Err(_), Static) => {
                    let create = self.0.optional(&tables::CREATE_EXECUTION_CONTEXT_8)?;
                    Ok(self.context(create(this)))
                }
                (Err(_), UserManaged) => self.create_execution_context_without_device_memory(),
                (Err(absent), OnProfileChange) => Err(absent),
            }
        }
    }

    /// Makes an execution context whose device memory the application provides, by the method that
    /// came before the strategies; `None` if TensorRT refuses, and its log says why.
    pub fn create_execution_context_without_device_memory(&self) -> Result<Option<Context>, Absent> {
        let raw = call_optional!(self.0, CREATE_EXECUTION_CONTEXT_WITHOUT_DEVICE_MEMORY)?;
        // SAFETY: what this engine returned as a new context.
        Ok(unsafe { self.context(raw) })
    }

    /// # Safety
    /// `raw` is what this engine returned as a new context.
    unsafe fn context(&self, raw: *mut c_void) -> Option<Context> {
        // SAFETY: by contract: new, of this version and nobody else's.
        let object = unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) }?;
        Some(Context::new(object))
    }

    /// Makes an inspector; `None` if TensorRT refuses.
    pub fn create_engine_inspector(&self) -> Option<Inspector> {
        let raw = call!(self.0, CREATE_ENGINE_INSPECTOR);
        // SAFETY: it is new, of this version and nobody else's.
        unsafe { Object::adopt(raw, self.version(), Some(self.0.clone())) }.map(Inspector::new)
    }
}
