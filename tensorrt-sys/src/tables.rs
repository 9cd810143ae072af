//! The virtual tables, as data: hold this page beside `vtables.tsv` and `vlayer.tsv`, which has `ILayer`, the weights of the kinds of
//! layers, and `IParserRefitter` in the same form.
//!
//! Each method has its declaration as `vtables.tsv` writes it, its Rust name and signature, and
//! its index in TensorRT 8, TensorRT 10, TensorRT 11 and TensorRT-RTX, in this order. A method of
//! every supported version is a [`Method`] with four plain indexes. One that some version lacks is
//! an [`Optional`]: `at(index)` in every release of the generation, `since(index, minor, patch)`
//! from that release on, `NONE` in none.
//!
//! `vtables.tsv` shows two releases of a generation; the releases between them in which a method
//! came are those of the official headers' history (<https://github.com/NVIDIA/TensorRT>). The
//! tests hold every entry against `vtables.tsv`.

use crate::dims::{Dims32, RawDims};
use crate::interface::InterfaceInfo;
use crate::method::{Method, Optional, Row, Slot, This};
use crate::refitter::RawWeights;
use crate::{Event, Stream};
use std::ffi::{c_char, c_void};

/// A pointer to an `I…` object of which TensorRT hands over the ownership.
pub(crate) type Owned = *mut c_void;
/// A pointer to an object that someone else owns.
pub(crate) type Borrowed = *mut c_void;
/// A string of C.
pub(crate) type Text = *const c_char;

/// Every method that this crate knows.
pub fn methods() -> impl Iterator<Item = &'static Row> {
    let run = [RUNTIME, HOST_MEMORY, ENGINE, CONTEXT, INSPECTOR, PLUGIN_REGISTRY, LOGGER, PROFILER];
    let build = [
        BUILDER,
        BUILDER_CONFIG,
        NETWORK,
        TENSOR,
        LAYER,
        PROFILE,
        TIMING_CACHE,
        PARSER,
        PARSER_ERROR,
        PROGRESS_MONITOR,
    ];
    let refit = [REFITTER, LAYER_WEIGHTS, SERIALIZATION_CONFIG, PARSER_REFITTER];
    run.into_iter().chain(build).chain(refit).flatten()
}

/// In the virtual table of every release of the generation.
pub(crate) const fn at(index: u16) -> Option<Slot> {
    since(index, 0, 0)
}

/// In the virtual table since a minor and patch release.
pub(crate) const fn since(index: u16, minor: u16, patch: u16) -> Option<Slot> {
    Some(Slot { index, since: (minor, patch) })
}

pub(crate) const NONE: Option<Slot> = None;

/// Defines a static for each method and a list of them all.
macro_rules! methods {
    ($list:ident: $(
        $declaration:literal
        $name:ident: $kind:ident<fn($($argument:ty),*) $(-> $result:ty)?> = $slots:expr;
    )*) => {
        $(
            pub(crate) static $name: $kind<unsafe extern "C" fn($($argument),*) $(-> $result)?> =
                $kind::new($declaration, $slots);
        )*
        static $list: &[Row] = &[$($name.row()),*];
    };
}

methods! { RUNTIME:
    // 8's third argument is a leftover, which its own headers always pass as null.
    "ICudaEngine *VRuntime::deserializeCudaEngine(const void *, std::size_t, IPluginFactory *)"
    DESERIALIZE_CUDA_ENGINE_8: Optional<fn(This, *const c_void, usize, *mut c_void) -> Owned> = [at(2), NONE, NONE, NONE];
    "ICudaEngine *VRuntime::deserializeCudaEngine(const void *, std::size_t)"
    DESERIALIZE_CUDA_ENGINE: Optional<fn(This, *const c_void, usize) -> Owned> = [NONE, at(3), at(3), at(3)];
    "ICudaEngine *VRuntime::deserializeCudaEngineV2(IStreamReaderV2 &)"
    DESERIALIZE_CUDA_ENGINE_V2: Optional<fn(This, Borrowed) -> Owned> = [NONE, since(23, 7, 0), at(22), at(22)];
    "void VRuntime::setGpuAllocator(IGpuAllocator *)"
    SET_GPU_ALLOCATOR: Method<fn(This, Borrowed)> = [6, 8, 7, 7];
    "void VRuntime::setErrorRecorder(IErrorRecorder *)"
    SET_ERROR_RECORDER: Method<fn(This, Borrowed)> = [7, 9, 8, 8];
    "IErrorRecorder *VRuntime::getErrorRecorder() const"
    ERROR_RECORDER: Method<fn(This) -> Borrowed> = [8, 10, 9, 9];
    "ILogger *VRuntime::getLogger() const"
    RUNTIME_LOGGER: Method<fn(This) -> Borrowed> = [9, 11, 10, 10];
    "bool VRuntime::setMaxThreads(int32_t)"
    SET_MAX_THREADS: Method<fn(This, i32) -> bool> = [10, 12, 11, 11];
    "int32_t VRuntime::getMaxThreads() const"
    MAX_THREADS: Method<fn(This) -> i32> = [11, 13, 12, 12];
    "IPluginRegistry &VRuntime::getPluginRegistry()"
    RUNTIME_PLUGIN_REGISTRY: Optional<fn(This) -> Borrowed> = [since(17, 6, 0), at(18), at(17), at(17)];
    "IRuntime *VRuntime::loadRuntime(const char *)"
    LOAD_RUNTIME: Optional<fn(This, Text) -> Owned> = [since(19, 6, 0), at(20), at(19), at(19)];
    "void VRuntime::setEngineHostCodeAllowed(bool)"
    SET_ENGINE_HOST_CODE_ALLOWED: Optional<fn(This, bool)> = [since(20, 6, 0), at(21), at(20), at(20)];
    "bool VRuntime::getEngineHostCodeAllowed() const"
    ENGINE_HOST_CODE_ALLOWED: Optional<fn(This) -> bool> = [since(21, 6, 0), at(22), at(21), at(21)];
    "int64_t VRuntime::getEngineHeaderSize() const"
    ENGINE_HEADER_SIZE: Optional<fn(This) -> i64> = [NONE, NONE, NONE, at(23)];
    "EngineValidity VRuntime::getEngineValidity(const void *, int64_t, uint64_t *) const"
    ENGINE_VALIDITY: Optional<fn(This, *const c_void, i64, *mut u64) -> i32> = [NONE, NONE, NONE, at(24)];
}

methods! { HOST_MEMORY:
    "void *VHostMemory::data() const"
    HOST_MEMORY_DATA: Method<fn(This) -> *mut c_void> = [2, 2, 2, 2];
    "std::size_t VHostMemory::size() const"
    HOST_MEMORY_SIZE: Method<fn(This) -> usize> = [3, 3, 3, 3];
}

methods! { ENGINE:
    "int32_t VCudaEngine::getMaxBatchSize() const"
    MAX_BATCH_SIZE: Optional<fn(This) -> i32> = [at(8), NONE, NONE, NONE];
    "int32_t VCudaEngine::getNbLayers() const"
    NB_LAYERS: Method<fn(This) -> i32> = [9, 3, 3, 3];
    "IHostMemory *VCudaEngine::serialize() const"
    SERIALIZE: Method<fn(This) -> Owned> = [10, 4, 4, 4];
    "IExecutionContext *VCudaEngine::createExecutionContext()"
    CREATE_EXECUTION_CONTEXT_8: Optional<fn(This) -> Owned> = [at(11), NONE, NONE, NONE];
    "IExecutionContext *VCudaEngine::createExecutionContext(ExecutionContextAllocationStrategy)"
    CREATE_EXECUTION_CONTEXT: Optional<fn(This, i32) -> Owned> = [NONE, at(5), at(5), at(5)];
    "IExecutionContext *VCudaEngine::createExecutionContextWithoutDeviceMemory()"
    CREATE_EXECUTION_CONTEXT_WITHOUT_DEVICE_MEMORY: Optional<fn(This) -> Owned> = [at(13), at(6), NONE, NONE];
    "size_t VCudaEngine::getDeviceMemorySize() const"
    DEVICE_MEMORY_SIZE: Optional<fn(This) -> usize> = [at(14), at(7), NONE, NONE];
    "ISerializationConfig *VCudaEngine::createSerializationConfig()"
    CREATE_SERIALIZATION_CONFIG: Optional<fn(This) -> Owned> = [NONE, at(39), at(35), at(35)];
    "IHostMemory *VCudaEngine::serializeWithConfig(ISerializationConfig &) const"
    SERIALIZE_WITH_CONFIG: Optional<fn(This, Borrowed) -> Owned> = [NONE, at(40), at(36), at(36)];
    "bool VCudaEngine::isRefittable() const"
    IS_REFITTABLE: Method<fn(This) -> bool> = [15, 8, 6, 6];
    "const char *VCudaEngine::getName() const"
    ENGINE_NAME: Method<fn(This) -> Text> = [21, 9, 7, 7];
    "int32_t VCudaEngine::getNbOptimizationProfiles() const"
    NB_OPTIMIZATION_PROFILES: Method<fn(This) -> i32> = [22, 10, 8, 8];
    "const int32_t *VCudaEngine::getProfileTensorValues(const char *, int32_t, OptProfileSelector) const"
    PROFILE_TENSOR_VALUES: Optional<fn(This, Text, i32, i32) -> *const i32> = [NONE, at(11), NONE, NONE];
    "EngineCapability VCudaEngine::getEngineCapability() const"
    ENGINE_CAPABILITY: Method<fn(This) -> i32> = [27, 12, 9, 9];
    "bool VCudaEngine::hasImplicitBatchDimension() const"
    HAS_IMPLICIT_BATCH_DIMENSION: Optional<fn(This) -> bool> = [at(30), at(15), NONE, NONE];
    "ProfilingVerbosity VCudaEngine::getProfilingVerbosity() const"
    PROFILING_VERBOSITY: Method<fn(This) -> i32> = [32, 17, 13, 13];
    "IEngineInspector *VCudaEngine::createEngineInspector() const"
    CREATE_ENGINE_INSPECTOR: Method<fn(This) -> Owned> = [33, 18, 14, 14];
    "Dims VCudaEngine::getTensorShape(const char *) const"
    ENGINE_TENSOR_SHAPE: Method<fn(This, Text) -> RawDims> = [34, 19, 15, 15];
    "DataType VCudaEngine::getTensorDataType(const char *) const"
    TENSOR_DATA_TYPE: Method<fn(This, Text) -> i32> = [35, 20, 16, 16];
    "TensorLocation VCudaEngine::getTensorLocation(const char *) const"
    TENSOR_LOCATION: Method<fn(This, Text) -> i32> = [36, 21, 17, 17];
    "bool VCudaEngine::isShapeInferenceIO(const char *) const"
    IS_SHAPE_INFERENCE_IO: Method<fn(This, Text) -> bool> = [37, 22, 18, 18];
    "TensorIOMode VCudaEngine::getTensorIOMode(const char *) const"
    TENSOR_IO_MODE: Method<fn(This, Text) -> i32> = [38, 23, 19, 19];
    "int32_t VCudaEngine::getTensorBytesPerComponent(const char *) const"
    TENSOR_BYTES_PER_COMPONENT: Method<fn(This, Text) -> i32> = [39, 24, 20, 20];
    "int32_t VCudaEngine::getTensorComponentsPerElement(const char *) const"
    TENSOR_COMPONENTS_PER_ELEMENT: Method<fn(This, Text) -> i32> = [40, 25, 21, 21];
    "TensorFormat VCudaEngine::getTensorFormat(const char *) const"
    TENSOR_FORMAT: Method<fn(This, Text) -> i32> = [41, 26, 22, 22];
    "const char *VCudaEngine::getTensorFormatDesc(const char *) const"
    TENSOR_FORMAT_DESC: Method<fn(This, Text) -> Text> = [42, 27, 23, 23];
    "int32_t VCudaEngine::getTensorVectorizedDim(const char *) const"
    TENSOR_VECTORIZED_DIM: Method<fn(This, Text) -> i32> = [43, 28, 24, 24];
    "Dims VCudaEngine::getProfileShape(const char *, int32_t, OptProfileSelector) const"
    PROFILE_SHAPE: Method<fn(This, Text, i32, i32) -> RawDims> = [44, 29, 25, 25];
    "int32_t VCudaEngine::getNbIOTensors() const"
    NB_IO_TENSORS: Method<fn(This) -> i32> = [45, 30, 26, 26];
    "const char *VCudaEngine::getIOTensorName(int32_t) const"
    IO_TENSOR_NAME: Method<fn(This, i32) -> Text> = [46, 31, 27, 27];
    "HardwareCompatibilityLevel VCudaEngine::getHardwareCompatibilityLevel() const"
    HARDWARE_COMPATIBILITY_LEVEL: Optional<fn(This) -> i32> = [since(47, 6, 0), at(32), at(28), at(28)];
    "int32_t VCudaEngine::getNbAuxStreams() const"
    NB_AUX_STREAMS: Optional<fn(This) -> i32> = [since(49, 6, 0), at(33), at(29), at(29)];
    "int32_t VCudaEngine::getTensorBytesPerComponentV2(const char *, int32_t) const"
    TENSOR_BYTES_PER_COMPONENT_V2: Optional<fn(This, Text, i32) -> i32> = [since(50, 6, 1), at(34), at(30), at(30)];
    "int32_t VCudaEngine::getTensorComponentsPerElementV2(const char *, int32_t) const"
    TENSOR_COMPONENTS_PER_ELEMENT_V2: Optional<fn(This, Text, i32) -> i32> = [since(51, 6, 1), at(35), at(31), at(31)];
    "TensorFormat VCudaEngine::getTensorFormatV2(const char *, int32_t) const"
    TENSOR_FORMAT_V2: Optional<fn(This, Text, i32) -> i32> = [since(52, 6, 1), at(36), at(32), at(32)];
    "const char *VCudaEngine::getTensorFormatDescV2(const char *, int32_t) const"
    TENSOR_FORMAT_DESC_V2: Optional<fn(This, Text, i32) -> Text> = [since(53, 6, 1), at(37), at(33), at(33)];
    "int32_t VCudaEngine::getTensorVectorizedDimV2(const char *, int32_t) const"
    TENSOR_VECTORIZED_DIM_V2: Optional<fn(This, Text, i32) -> i32> = [since(54, 6, 1), at(38), at(34), at(34)];
    "size_t VCudaEngine::getDeviceMemorySizeForProfile(int32_t) const"
    DEVICE_MEMORY_SIZE_FOR_PROFILE: Optional<fn(This, i32) -> usize> = [NONE, at(41), NONE, NONE];
    "int64_t VCudaEngine::getStreamableWeightsSize() const"
    STREAMABLE_WEIGHTS_SIZE: Optional<fn(This) -> i64> = [NONE, at(46), at(38), at(38)];
    "bool VCudaEngine::setWeightStreamingBudgetV2(int64_t)"
    SET_WEIGHT_STREAMING_BUDGET_V2: Optional<fn(This, i64) -> bool> = [NONE, since(48, 1, 0), at(40), at(40)];
    "int64_t VCudaEngine::getWeightStreamingBudgetV2() const"
    WEIGHT_STREAMING_BUDGET_V2: Optional<fn(This) -> i64> = [NONE, since(49, 1, 0), at(41), at(41)];
    "int64_t VCudaEngine::getWeightStreamingAutomaticBudget() const"
    WEIGHT_STREAMING_AUTOMATIC_BUDGET: Optional<fn(This) -> i64> = [NONE, since(50, 1, 0), at(42), at(42)];
    "int64_t VCudaEngine::getWeightStreamingScratchMemorySize() const"
    WEIGHT_STREAMING_SCRATCH_MEMORY_SIZE: Optional<fn(This) -> i64> = [NONE, since(51, 1, 0), at(43), at(43)];
    "int64_t VCudaEngine::getDeviceMemorySizeV2() const"
    DEVICE_MEMORY_SIZE_V2: Optional<fn(This) -> i64> = [NONE, since(52, 1, 0), at(44), at(44)];
    "int64_t VCudaEngine::getDeviceMemorySizeForProfileV2(int32_t) const"
    DEVICE_MEMORY_SIZE_FOR_PROFILE_V2: Optional<fn(This, i32) -> i64> = [NONE, since(53, 1, 0), at(45), at(45)];
    "const int64_t *VCudaEngine::getProfileTensorValuesV2(const char *, int32_t, OptProfileSelector) const"
    PROFILE_TENSOR_VALUES_V2: Optional<fn(This, Text, i32, i32) -> *const i64> = [NONE, since(54, 11, 0), at(46), at(46)];
    "int64_t VCudaEngine::getEngineStat(EngineStat) const"
    ENGINE_STAT: Optional<fn(This, i32) -> i64> = [NONE, since(57, 14, 0), at(49), at(49)];
}

methods! { CONTEXT:
    "void VExecutionContext::setProfiler(IProfiler *)"
    SET_PROFILER: Method<fn(This, Borrowed)> = [6, 5, 5, 5];
    "const ICudaEngine &VExecutionContext::getEngine() const"
    CONTEXT_ENGINE: Method<fn(This) -> Borrowed> = [8, 7, 7, 7];
    "void VExecutionContext::setName(const char *)"
    SET_CONTEXT_NAME: Method<fn(This, Text)> = [9, 8, 8, 8];
    "const char *VExecutionContext::getName() const"
    CONTEXT_NAME: Method<fn(This) -> Text> = [10, 9, 9, 9];
    "void VExecutionContext::setDeviceMemory(void *)"
    SET_DEVICE_MEMORY: Method<fn(This, *mut c_void)> = [11, 10, 10, 10];
    "int32_t VExecutionContext::getOptimizationProfile() const"
    OPTIMIZATION_PROFILE: Method<fn(This) -> i32> = [14, 11, 11, 11];
    "bool VExecutionContext::allInputDimensionsSpecified() const"
    ALL_INPUT_DIMENSIONS_SPECIFIED: Method<fn(This) -> bool> = [19, 12, 12, 12];
    "bool VExecutionContext::allInputShapesSpecified() const"
    ALL_INPUT_SHAPES_SPECIFIED: Optional<fn(This) -> bool> = [at(20), at(13), NONE, NONE];
    "bool VExecutionContext::setOptimizationProfileAsync(int32_t, cudaStream_t)"
    SET_OPTIMIZATION_PROFILE_ASYNC: Method<fn(This, i32, Stream) -> bool> = [25, 17, 16, 16];
    "void VExecutionContext::setEnqueueEmitsProfile(bool)"
    SET_ENQUEUE_EMITS_PROFILE: Method<fn(This, bool)> = [26, 18, 17, 17];
    "bool VExecutionContext::reportToProfiler() const"
    REPORT_TO_PROFILER: Method<fn(This) -> bool> = [28, 20, 19, 19];
    "bool VExecutionContext::setInputShape(const char *, const Dims &)"
    SET_INPUT_SHAPE: Method<fn(This, Text, *const RawDims) -> bool> = [29, 21, 20, 20];
    "Dims VExecutionContext::getTensorShape(const char *) const"
    CONTEXT_TENSOR_SHAPE: Method<fn(This, Text) -> RawDims> = [30, 22, 21, 21];
    "Dims VExecutionContext::getTensorStrides(const char *) const"
    TENSOR_STRIDES: Method<fn(This, Text) -> RawDims> = [31, 23, 22, 22];
    "bool VExecutionContext::setTensorAddress(const char *, void *)"
    SET_TENSOR_ADDRESS: Method<fn(This, Text, *mut c_void) -> bool> = [32, 24, 23, 23];
    "const void *VExecutionContext::getTensorAddress(const char *) const"
    TENSOR_ADDRESS: Method<fn(This, Text) -> *const c_void> = [33, 25, 24, 24];
    "bool VExecutionContext::setInputTensorAddress(const char *, const void *)"
    SET_INPUT_TENSOR_ADDRESS: Method<fn(This, Text, *const c_void) -> bool> = [34, 26, 25, 25];
    "int32_t VExecutionContext::inferShapes(int32_t, const char **)"
    INFER_SHAPES: Method<fn(This, i32, *mut Text) -> i32> = [35, 28, 27, 27];
    "bool VExecutionContext::setInputConsumedEvent(cudaEvent_t)"
    SET_INPUT_CONSUMED_EVENT: Method<fn(This, Event) -> bool> = [36, 29, 28, 28];
    "bool VExecutionContext::setOutputAllocator(const char *, IOutputAllocator *)"
    SET_OUTPUT_ALLOCATOR: Method<fn(This, Text, Borrowed) -> bool> = [39, 32, 31, 31];
    "int64_t VExecutionContext::getMaxOutputSize(const char *) const"
    MAX_OUTPUT_SIZE: Method<fn(This, Text) -> i64> = [41, 34, 33, 33];
    "bool VExecutionContext::enqueueV3(cudaStream_t)"
    ENQUEUE_V3: Method<fn(This, Stream) -> bool> = [44, 37, 36, 36];
    "void VExecutionContext::setAuxStreams(cudaStream_t *, int32_t)"
    SET_AUX_STREAMS: Optional<fn(This, *mut Stream, i32)> = [since(50, 6, 0), at(42), at(41), at(41)];
    "size_t VExecutionContext::updateDeviceMemorySizeForShapes()"
    UPDATE_DEVICE_MEMORY_SIZE_FOR_SHAPES: Optional<fn(This) -> usize> = [NONE, at(48), at(47), at(47)];
    "void VExecutionContext::setDeviceMemoryV2(void *, int64_t)"
    SET_DEVICE_MEMORY_V2: Optional<fn(This, *mut c_void, i64)> = [NONE, since(49, 1, 0), at(48), at(48)];
}

methods! { INSPECTOR:
    "bool VEngineInspector::setExecutionContext(const IExecutionContext *)"
    SET_EXECUTION_CONTEXT: Method<fn(This, Borrowed) -> bool> = [2, 3, 3, 3];
    "const char *VEngineInspector::getLayerInformation(int32_t, LayerInformationFormat) const"
    LAYER_INFORMATION: Method<fn(This, i32, i32) -> Text> = [4, 5, 5, 5];
    "const char *VEngineInspector::getEngineInformation(LayerInformationFormat) const"
    ENGINE_INFORMATION: Method<fn(This, i32) -> Text> = [5, 6, 6, 6];
}

methods! { PLUGIN_REGISTRY:
    // The early-access release 8.6.0 has them elsewhere.
    "IPluginRegistry::PluginLibraryHandle IPluginRegistry::loadLibrary(const AsciiChar *)"
    LOAD_LIBRARY: Optional<fn(This, Text) -> *mut c_void> = [since(10, 6, 1), at(10), at(6), at(6)];
    "void IPluginRegistry::deregisterLibrary(IPluginRegistry::PluginLibraryHandle)"
    DEREGISTER_LIBRARY: Optional<fn(This, *mut c_void)> = [since(11, 6, 1), at(11), at(7), at(7)];
}

// ILogger is called by TensorRT and implemented in `logger`; its layout there follows these.
methods! { LOGGER:
    "APILanguage IVersionedInterface::getAPILanguage() const"
    API_LANGUAGE: Optional<fn(This) -> i32> = [NONE, NONE, at(0), at(0)];
    "InterfaceInfo ILogger::getInterfaceInfo() const"
    INTERFACE_INFO: Optional<fn(This) -> InterfaceInfo> = [NONE, NONE, at(1), at(1)];
    "void ILogger::log(ILogger::Severity, const AsciiChar *)"
    LOG: Method<fn(This, i32, Text)> = [0, 0, 4, 4];
}

// IProfiler is called by TensorRT and implemented in `profiler`; its layout there follows these.
methods! { PROFILER:
    "InterfaceInfo IProfiler::getInterfaceInfo() const"
    PROFILER_INTERFACE_INFO: Optional<fn(This) -> InterfaceInfo> = [NONE, NONE, at(1), at(1)];
    "void IProfiler::reportLayerTime(const char *, float)"
    REPORT_LAYER_TIME: Method<fn(This, Text, f32)> = [0, 0, 4, 4];
}

methods! { BUILDER:
    "IBuilderConfig *VBuilder::createBuilderConfig()"
    CREATE_BUILDER_CONFIG: Method<fn(This) -> Owned> = [9, 7, 5, 5];
    "INetworkDefinition *VBuilder::createNetworkV2(NetworkDefinitionCreationFlags)"
    CREATE_NETWORK_V2: Method<fn(This, u32) -> Owned> = [11, 8, 6, 6];
    "IOptimizationProfile *VBuilder::createOptimizationProfile()"
    CREATE_OPTIMIZATION_PROFILE: Method<fn(This) -> Borrowed> = [12, 9, 7, 7];
    "IHostMemory *VBuilder::buildSerializedNetwork(INetworkDefinition &, IBuilderConfig &)"
    BUILD_SERIALIZED_NETWORK: Method<fn(This, Borrowed, Borrowed) -> Owned> = [17, 14, 11, 11];
}

methods! { BUILDER_CONFIG:
    "void VBuilderConfig::clearFlag(BuilderFlag)"
    CLEAR_FLAG: Method<fn(This, i32)> = [14, 10, 8, 8];
    "void VBuilderConfig::setFlag(BuilderFlag)"
    SET_FLAG: Method<fn(This, i32)> = [15, 11, 9, 9];
    "int32_t VBuilderConfig::addOptimizationProfile(const IOptimizationProfile *)"
    ADD_OPTIMIZATION_PROFILE: Method<fn(This, Borrowed) -> i32> = [29, 25, 23, 23];
    "void VBuilderConfig::setProfilingVerbosity(ProfilingVerbosity)"
    SET_PROFILING_VERBOSITY: Method<fn(This, i32)> = [31, 27, 25, 25];
    "bool VBuilderConfig::setTacticSources(TacticSources)"
    SET_TACTIC_SOURCES: Method<fn(This, u32) -> bool> = [42, 38, 27, 27];
    "TacticSources VBuilderConfig::getTacticSources() const"
    TACTIC_SOURCES: Method<fn(This) -> u32> = [43, 39, 28, 28];
    "ITimingCache *VBuilderConfig::createTimingCache(const void *, std::size_t) const"
    CREATE_TIMING_CACHE: Method<fn(This, *const c_void, usize) -> Owned> = [44, 40, 29, 29];
    "bool VBuilderConfig::setTimingCache(const ITimingCache &, bool)"
    SET_TIMING_CACHE: Method<fn(This, Borrowed, bool) -> bool> = [45, 41, 30, 30];
    "const ITimingCache *VBuilderConfig::getTimingCache() const"
    TIMING_CACHE_OF_CONFIG: Method<fn(This) -> Borrowed> = [46, 42, 31, 31];
    "void VBuilderConfig::setMemoryPoolLimit(MemoryPoolType, std::size_t)"
    SET_MEMORY_POOL_LIMIT: Method<fn(This, i32, usize)> = [47, 43, 32, 32];
    "void VBuilderConfig::setBuilderOptimizationLevel(int32_t)"
    SET_BUILDER_OPTIMIZATION_LEVEL: Optional<fn(This, i32)> = [since(51, 6, 0), at(47), at(36), at(36)];
    "void VBuilderConfig::setHardwareCompatibilityLevel(HardwareCompatibilityLevel)"
    SET_HARDWARE_COMPATIBILITY_LEVEL: Optional<fn(This, i32)> = [since(53, 6, 0), at(49), at(38), at(38)];
    "void VBuilderConfig::setProgressMonitor(IProgressMonitor *)"
    SET_PROGRESS_MONITOR: Optional<fn(This, Borrowed)> = [NONE, at(56), at(45), at(45)];
}

methods! { NETWORK:
    "int32_t VNetworkDefinition::getNbLayers() const"
    NB_NETWORK_LAYERS: Method<fn(This) -> i32> = [17, 12, 12, 12];
    "ILayer *VNetworkDefinition::getLayer(int32_t) const"
    NETWORK_LAYER: Method<fn(This, i32) -> Borrowed> = [18, 13, 13, 13];
    "int32_t VNetworkDefinition::getNbInputs() const"
    NB_NETWORK_INPUTS: Method<fn(This) -> i32> = [19, 14, 14, 14];
    "ITensor *VNetworkDefinition::getInput(int32_t) const"
    NETWORK_INPUT: Method<fn(This, i32) -> Borrowed> = [20, 15, 15, 15];
    "int32_t VNetworkDefinition::getNbOutputs() const"
    NB_NETWORK_OUTPUTS: Method<fn(This) -> i32> = [21, 16, 16, 16];
    "ITensor *VNetworkDefinition::getOutput(int32_t) const"
    NETWORK_OUTPUT: Method<fn(This, i32) -> Borrowed> = [22, 17, 17, 17];
}

methods! { TENSOR:
    "const char *VTensor::getName() const"
    TENSOR_NAME: Method<fn(This) -> Text> = [3, 3, 3, 3];
    "Dims VTensor::getDimensions() const"
    TENSOR_DIMENSIONS: Method<fn(This) -> RawDims> = [5, 5, 5, 5];
    "DataType VTensor::getType() const"
    TENSOR_TYPE: Method<fn(This) -> i32> = [7, 7, 6, 6];
    "bool VTensor::isShapeTensor() const"
    IS_SHAPE_TENSOR: Method<fn(This) -> bool> = [21, 21, 15, 11];
}

methods! { LAYER:
    "LayerType VLayer::getType() const"
    LAYER_TYPE: Method<fn(This) -> i32> = [2, 2, 2, 2];
    "const char *VLayer::getName() const"
    LAYER_NAME: Method<fn(This) -> Text> = [4, 4, 4, 4];
    "int32_t VLayer::getNbOutputs() const"
    NB_LAYER_OUTPUTS: Method<fn(This) -> i32> = [7, 7, 7, 7];
    "ITensor *VLayer::getOutput(int32_t) const"
    LAYER_OUTPUT: Method<fn(This, i32) -> Borrowed> = [8, 8, 8, 8];
    "void VLayer::setPrecision(DataType)"
    SET_PRECISION: Optional<fn(This, i32)> = [at(10), at(10), NONE, NONE];
    "void VLayer::setOutputType(int32_t, DataType)"
    SET_OUTPUT_TYPE: Optional<fn(This, i32, i32)> = [at(14), at(14), NONE, NONE];
    "const char *VLayer::getMetadata() const"
    LAYER_METADATA: Optional<fn(This) -> Text> = [since(19, 6, 0), at(19), at(12), at(12)];
}

// Each on the object of the layer's own kind, which lies behind that of `VLayer`.
methods! { LAYER_WEIGHTS:
    "Weights VConvolutionLayer::getKernelWeights() const"
    CONVOLUTION_KERNEL: Method<fn(This) -> RawWeights> = [13, 7, 7, 7];
    "Weights VConvolutionLayer::getBiasWeights() const"
    CONVOLUTION_BIAS: Method<fn(This) -> RawWeights> = [15, 9, 9, 9];
    "Weights VFullyConnectedLayer::getKernelWeights() const"
    FULLY_CONNECTED_KERNEL: Optional<fn(This) -> RawWeights> = [at(5), NONE, NONE, NONE];
    "Weights VFullyConnectedLayer::getBiasWeights() const"
    FULLY_CONNECTED_BIAS: Optional<fn(This) -> RawWeights> = [at(7), NONE, NONE, NONE];
    "Weights VDeconvolutionLayer::getKernelWeights() const"
    DECONVOLUTION_KERNEL: Method<fn(This) -> RawWeights> = [13, 7, 7, 7];
    "Weights VDeconvolutionLayer::getBiasWeights() const"
    DECONVOLUTION_BIAS: Method<fn(This) -> RawWeights> = [15, 9, 9, 9];
    "Weights VScaleLayer::getShift() const"
    SCALE_SHIFT: Method<fn(This) -> RawWeights> = [5, 5, 5, 5];
    "Weights VScaleLayer::getScale() const"
    SCALE_SCALE: Method<fn(This) -> RawWeights> = [7, 7, 7, 7];
    "Weights VConstantLayer::getWeights() const"
    CONSTANT_WEIGHTS: Method<fn(This) -> RawWeights> = [3, 3, 3, 3];
}

methods! { PROFILE:
    // 8 takes the shape by value.
    "bool VOptimizationProfile::setDimensions(const char *, OptProfileSelector, Dims)"
    SET_DIMENSIONS_8: Optional<fn(This, Text, i32, Dims32) -> bool> = [at(2), NONE, NONE, NONE];
    "bool VOptimizationProfile::setDimensions(const char *, OptProfileSelector, const Dims &)"
    SET_DIMENSIONS: Optional<fn(This, Text, i32, *const RawDims) -> bool> = [NONE, at(2), at(2), at(2)];
    "bool VOptimizationProfile::setShapeValues(const char *, OptProfileSelector, const int32_t *, int32_t)"
    SET_SHAPE_VALUES: Optional<fn(This, Text, i32, *const i32, i32) -> bool> = [at(4), at(4), NONE, NONE];
    "bool VOptimizationProfile::setShapeValuesV2(const char *, OptProfileSelector, const int64_t *, int32_t)"
    SET_SHAPE_VALUES_V2: Optional<fn(This, Text, i32, *const i64, i32) -> bool> = [NONE, since(10, 11, 0), at(8), at(8)];
    "bool VOptimizationProfile::isValid() const"
    IS_VALID: Method<fn(This) -> bool> = [9, 9, 7, 7];
}

methods! { TIMING_CACHE:
    "IHostMemory *VTimingCache::serialize() const"
    SERIALIZE_TIMING_CACHE: Method<fn(This) -> Owned> = [2, 2, 2, 2];
}

// IParser and IParserError are called on the object itself.
methods! { PARSER:
    "bool IParser::parse(const void *, size_t, const char *)"
    PARSE: Method<fn(This, *const c_void, usize, Text) -> bool> = [0, 0, 0, 0];
    "bool IParser::supportsOperator(const char *) const"
    SUPPORTS_OPERATOR: Method<fn(This, Text) -> bool> = [4, 4, 2, 2];
    "int IParser::getNbErrors() const"
    NB_ERRORS: Method<fn(This) -> i32> = [6, 5, 3, 3];
    "const IParserError *IParser::getError(int) const"
    PARSER_ERROR_AT: Method<fn(This, i32) -> Borrowed> = [7, 6, 4, 4];
    "IParser::~ (deleting destructor)"
    DELETE_PARSER: Method<fn(This)> = [10, 9, 7, 7];
    "void IParser::clearFlag(OnnxParserFlag)"
    CLEAR_PARSER_FLAG: Optional<fn(This, i32)> = [since(14, 6, 0), at(13), at(11), at(11)];
    "void IParser::setFlag(OnnxParserFlag)"
    SET_PARSER_FLAG: Optional<fn(This, i32)> = [since(15, 6, 0), at(14), at(12), at(12)];
}

methods! { PARSER_ERROR:
    "const char *IParserError::desc() const"
    ERROR_DESCRIPTION: Method<fn(This) -> Text> = [1, 1, 1, 1];
    "int IParserError::node() const"
    ERROR_NODE: Method<fn(This) -> i32> = [5, 5, 5, 5];
    "const char *IParserError::nodeName() const"
    ERROR_NODE_NAME: Optional<fn(This) -> Text> = [NONE, at(6), at(6), at(6)];
    "const char *IParserError::nodeOperator() const"
    ERROR_NODE_OPERATOR: Optional<fn(This) -> Text> = [NONE, at(7), at(7), at(7)];
}

methods! { REFITTER:
    "bool VRefitter::setWeights(const char *, WeightsRole, const Weights)"
    SET_WEIGHTS: Method<fn(This, Text, i32, RawWeights) -> bool> = [2, 3, 3, 3];
    "bool VRefitter::refitCudaEngine()"
    REFIT_CUDA_ENGINE: Method<fn(This) -> bool> = [3, 4, 4, 4];
    "int32_t VRefitter::getMissing(int32_t, const char **, WeightsRole *)"
    MISSING: Method<fn(This, i32, *mut Text, *mut i32) -> i32> = [4, 5, 5, 5];
    "int32_t VRefitter::getAll(int32_t, const char **, WeightsRole *)"
    ALL: Method<fn(This, i32, *mut Text, *mut i32) -> i32> = [5, 6, 6, 6];
    "int32_t VRefitter::getMissingWeights(int32_t, const char **)"
    MISSING_WEIGHTS: Method<fn(This, i32, *mut Text) -> i32> = [13, 14, 10, 10];
}

methods! { SERIALIZATION_CONFIG:
    "bool VSerializationConfig::clearFlag(SerializationFlag)"
    CLEAR_SERIALIZATION_FLAG: Optional<fn(This, i32) -> bool> = [NONE, at(4), at(4), at(4)];
}

// IParserRefitter is called on the object itself.
methods! { PARSER_REFITTER:
    "bool IParserRefitter::refitFromBytes(const void *, size_t, const char *)"
    REFIT_FROM_BYTES: Optional<fn(This, *const c_void, usize, Text) -> bool> = [NONE, at(0), at(0), at(0)];
    "int32_t IParserRefitter::getNbErrors() const"
    REFIT_NB_ERRORS: Optional<fn(This) -> i32> = [NONE, at(2), at(2), at(2)];
    "const IParserError *IParserRefitter::getError(int32_t) const"
    REFIT_ERROR_AT: Optional<fn(This, i32) -> Borrowed> = [NONE, at(3), at(3), at(3)];
    "IParserRefitter::~ (deleting destructor)"
    DELETE_PARSER_REFITTER: Optional<fn(This)> = [NONE, at(6), at(6), at(6)];
}

// IProgressMonitor is called by TensorRT and implemented in `progress`; its layout there follows these.
methods! { PROGRESS_MONITOR:
    "InterfaceInfo IProgressMonitor::getInterfaceInfo() const"
    MONITOR_INTERFACE_INFO: Optional<fn(This) -> InterfaceInfo> = [NONE, at(1), at(1), at(1)];
    "void IProgressMonitor::phaseStart(const char *, const char *, int32_t)"
    PHASE_START: Optional<fn(This, Text, Text, i32)> = [NONE, at(4), at(4), at(4)];
    "bool IProgressMonitor::stepComplete(const char *, int32_t)"
    STEP_COMPLETE: Optional<fn(This, Text, i32) -> bool> = [NONE, at(5), at(5), at(5)];
    "void IProgressMonitor::phaseFinish(const char *)"
    PHASE_FINISH: Optional<fn(This, Text)> = [NONE, at(6), at(6), at(6)];
}
