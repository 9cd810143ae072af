//! `IExecutionContext`: shapes, addresses, enqueue.

use crate::dims::{Dims, RawDims};
use crate::method::Absent;
use crate::object::{Object, call, call_optional, text};
use crate::profiler::Profiler;
use crate::version::{Generation, Version};
use crate::{Event, Stream};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::sync::Arc;

/// An execution context. Its engine lives as long as it.
///
/// Used by one thread at a time, and not deleted before the work that it enqueued is done.
pub struct Context {
    object: Object,
    profiler: Option<Arc<Profiler>>,
    not_sync: PhantomData<Cell<()>>,
}

/// How far a context's shapes are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeInference {
    /// All of them.
    Complete,
    /// Not all, because these inputs lack a shape or values.
    Unspecified(Vec<String>),
    /// The shapes or values of the inputs contradict the network; TensorRT's log says how.
    Failed,
}

impl Context {
    pub(crate) fn new(object: Object) -> Self {
        Self { object, profiler: None, not_sync: PhantomData }
    }

    /// The version of the library that made the context.
    pub fn version(&self) -> Version {
        self.object.version()
    }

    /// The `IExecutionContext*`.
    pub fn as_ptr(&self) -> *mut c_void {
        self.object.as_ptr()
    }

    /// The `ICudaEngine*` of the engine that made the context.
    pub fn engine_ptr(&self) -> *mut c_void {
        call!(self.object, CONTEXT_ENGINE)
    }

    /// Names the context, for profilers and the log.
    pub fn set_name(&mut self, name: &CStr) {
        call!(self.object, SET_CONTEXT_NAME, name.as_ptr())
    }

    /// The name that was set; may be empty.
    pub fn name(&self) -> Option<&CStr> {
        let said = call!(self.object, CONTEXT_NAME);
        // SAFETY: a string of the object, which lives as long as it.
        unsafe { text(said) }
    }

    // ---- Running

    /// Enqueues the inference on a stream; false if TensorRT refuses, and its log says why.
    ///
    /// # Safety
    /// `stream` is a stream of the engine's device. Every input and output has an address, or an
    /// output allocator, with room for its shape; so has the context, if its device memory is the
    /// application's. All of it stays until the stream has passed the inference.
    #[inline]
    pub unsafe fn enqueue_v3(&mut self, stream: Stream) -> bool {
        call!(self.object, ENQUEUE_V3, stream)
    }

    /// Sets the event that is recorded once the inputs have been read; null for none.
    ///
    /// # Safety
    /// `event` is null or an event of the engine's device that outlives the inferences it is
    /// recorded for.
    pub unsafe fn set_input_consumed_event(&mut self, event: Event) -> bool {
        call!(self.object, SET_INPUT_CONSUMED_EVENT, event)
    }

    /// Gives the context the streams it may use besides the one it is enqueued on, instead of
    /// TensorRT's own.
    ///
    /// # Safety
    /// They are streams of the engine's device and outlive the context.
    pub unsafe fn set_aux_streams(&mut self, streams: &mut [Stream]) -> Result<(), Absent> {
        call_optional!(self.object, SET_AUX_STREAMS, streams.as_mut_ptr(), streams.len() as i32)
    }

    // ---- Profiles and shapes

    /// Selects an optimization profile; false if TensorRT refuses.
    ///
    /// # Safety
    /// `stream` is a stream of the engine's device.
    pub unsafe fn set_optimization_profile_async(&mut self, profile: i32, stream: Stream) -> bool {
        call!(self.object, SET_OPTIMIZATION_PROFILE_ASYNC, profile, stream)
    }

    /// The selected optimization profile; −1 if none is.
    pub fn optimization_profile(&self) -> i32 {
        call!(self.object, OPTIMIZATION_PROFILE)
    }

    /// Sets an input's shape; false if TensorRT refuses it or its layout cannot hold it.
    pub fn set_input_shape(&mut self, tensor: &CStr, shape: &Dims) -> bool {
        let Some(raw) = RawDims::write(self.version().generation, shape) else {
            return false;
        };
        call!(self.object, SET_INPUT_SHAPE, tensor.as_ptr(), &raw)
    }

    /// A tensor's shape with the inputs' shapes as they are set, −1 where it is still open; `None`
    /// if there is no such tensor.
    pub fn tensor_shape(&self, tensor: &CStr) -> Option<Dims> {
        let shape = call!(self.object, CONTEXT_TENSOR_SHAPE, tensor.as_ptr());
        // SAFETY: the dimensions are of the generation that returned them.
        unsafe { shape.read(self.version().generation) }
    }

    /// A tensor's strides in elements, or in vectors where it is vectorized.
    pub fn tensor_strides(&self, tensor: &CStr) -> Option<Dims> {
        let shape = call!(self.object, TENSOR_STRIDES, tensor.as_ptr());
        // SAFETY: the dimensions are of the generation that returned them.
        unsafe { shape.read(self.version().generation) }
    }

    /// Infers the shapes of the outputs.
    ///
    /// # Safety
    /// The addresses of inputs on the host are valid: TensorRT reads their values.
    pub unsafe fn infer_shapes(&mut self) -> ShapeInference {
        // More names than this are counted by TensorRT, not returned; the first ones will do.
        let mut names = [std::ptr::null::<c_char>(); 16];
        let count = call!(self.object, INFER_SHAPES, names.len() as i32, names.as_mut_ptr());
        match usize::try_from(count) {
            Ok(0) => ShapeInference::Complete,
            Ok(count) => ShapeInference::Unspecified(
                names[..count.min(names.len())]
                    .iter()
                    // SAFETY: TensorRT set so many, to strings of the engine.
                    .filter_map(|&name| unsafe { text(name) })
                    .map(|name| name.to_string_lossy().into_owned())
                    .collect(),
            ),
            Err(_) => ShapeInference::Failed,
        }
    }

    /// Whether every input's shape is known.
    pub fn all_input_dimensions_specified(&self) -> bool {
        call!(self.object, ALL_INPUT_DIMENSIONS_SPECIFIED)
    }

    /// Whether the values of every input that takes part in inferring shapes are known.
    pub fn all_input_shapes_specified(&self) -> Result<bool, Absent> {
        call_optional!(self.object, ALL_INPUT_SHAPES_SPECIFIED)
    }

    // ---- Addresses

    /// Sets the address of an input or output; false if TensorRT refuses.
    ///
    /// # Safety
    /// See [`enqueue_v3`](Self::enqueue_v3) for what must be there, and until when.
    pub unsafe fn set_tensor_address(&mut self, tensor: &CStr, address: *mut c_void) -> bool {
        call!(self.object, SET_TENSOR_ADDRESS, tensor.as_ptr(), address)
    }

    /// Sets the address of an input that is only read; false if TensorRT refuses.
    ///
    /// # Safety
    /// See [`enqueue_v3`](Self::enqueue_v3) for what must be there, and until when.
    pub unsafe fn set_input_tensor_address(&mut self, tensor: &CStr, address: *const c_void) -> bool {
        call!(self.object, SET_INPUT_TENSOR_ADDRESS, tensor.as_ptr(), address)
    }

    /// The address that was set, or null.
    pub fn tensor_address(&self, tensor: &CStr) -> *const c_void {
        call!(self.object, TENSOR_ADDRESS, tensor.as_ptr())
    }

    /// Lets an `IOutputAllocator*` provide an output's memory once its size is known; null for
    /// none. False if TensorRT refuses.
    ///
    /// # Safety
    /// `allocator` is null or an `IOutputAllocator*` of this context's generation that outlives
    /// its use by the context.
    pub unsafe fn set_output_allocator(&mut self, tensor: &CStr, allocator: *mut c_void) -> bool {
        call!(self.object, SET_OUTPUT_ALLOCATOR, tensor.as_ptr(), allocator)
    }

    /// An upper bound of an output's size in bytes with the inputs' shapes as they are set;
    /// negative if TensorRT cannot say.
    pub fn max_output_size(&self, tensor: &CStr) -> i64 {
        call!(self.object, MAX_OUTPUT_SIZE, tensor.as_ptr())
    }

    // ---- Device memory of its own

    /// Gives a context made with `UserManaged` its device memory.
    ///
    /// # Safety
    /// `memory` is device memory, aligned to 256 bytes, of the size that the engine or
    /// [`update_device_memory_size_for_shapes`](Self::update_device_memory_size_for_shapes) asks
    /// for, and used by nothing else while the context runs.
    pub unsafe fn set_device_memory(&mut self, memory: *mut c_void) {
        call!(self.object, SET_DEVICE_MEMORY, memory)
    }

    /// [`set_device_memory`](Self::set_device_memory) with the size in bytes, which TensorRT
    /// checks.
    ///
    /// # Safety
    /// As for [`set_device_memory`](Self::set_device_memory).
    pub unsafe fn set_device_memory_v2(&mut self, memory: *mut c_void, size: i64) -> Result<(), Absent> {
        call_optional!(self.object, SET_DEVICE_MEMORY_V2, memory, size)
    }

    /// Bytes of device memory that the context needs for the shapes as they are set; 0 if they are
    /// not all known.
    pub fn update_device_memory_size_for_shapes(&mut self) -> Result<usize, Absent> {
        call_optional!(self.object, UPDATE_DEVICE_MEMORY_SIZE_FOR_SHAPES)
    }

    // ---- Profiling

    /// Lets a profiler hear of the layers' times, from one after each run; `None` for none. TensorRT 8 refuses to have none: there
    /// the one before goes on hearing, and lives as long as the context.
    pub fn set_profiler(&mut self, profiler: Option<&Arc<Profiler>>) {
        let generation = self.version().generation;
        if profiler.is_none() && generation == Generation::V8 {
            return;
        }
        call!(self.object, SET_PROFILER, profiler.map_or(std::ptr::null_mut(), |profiler| profiler.as_ptr(generation)));
        // The one before lives until TensorRT does not know it any more.
        self.profiler = profiler.cloned();
    }

    /// Whether each enqueue reports to the profiler by itself.
    pub fn set_enqueue_emits_profile(&mut self, emits: bool) {
        call!(self.object, SET_ENQUEUE_EMITS_PROFILE, emits)
    }

    /// Reports the last inference to the profiler; false if there is nothing to report.
    pub fn report_to_profiler(&mut self) -> bool {
        call!(self.object, REPORT_TO_PROFILER)
    }
}
