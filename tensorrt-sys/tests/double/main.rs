//! Calls every method through the tables and looks where it arrived: in a test double of TensorRT,
//! compiled from the official headers (see `double.cpp` and `build.sh`).

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

mod building;
mod cost;
mod double;

use double::{Double, doubles};
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tensorrt_sys::{
    DataType, Dims, EngineCapability, EngineStat, EngineValidity, ExecutionContextAllocationStrategy, Flavor,
    Generation, HardwareCompatibilityLevel, LayerInformationFormat, Library, Logger, OptProfileSelector, PluginLibrary,
    Profiler, ProfilingVerbosity, Severity, ShapeInference, TensorFormat, TensorIoMode, TensorLocation,
};

const PLAN: &[u8] = b"bytes before it\0double-plan
name toy
layers 7
profiles 2
memory 1024
input x 0 -1,4 1,4 2,4 8,4
output y 0 -1,4
";

/// An address that is only passed on.
fn address(value: usize) -> *mut c_void {
    ptr::without_provenance_mut(value)
}

fn dims(extents: &[i64]) -> Dims {
    Dims::new(extents).unwrap()
}

#[test]
fn every_method_arrives() {
    for double in doubles() {
        let logger = Logger::new();
        let runtime = double.library.create_runtime(logger).unwrap();
        double.start();
        runtime_methods(double, &runtime, logger);
        engine_methods(double, &runtime);
        context_methods(double, &runtime);
        drop(runtime);
        double.stop();
        building::builder_methods(double);
        building::refit_methods(double);
        double.finish();
    }
}

fn runtime_methods(double: &Double, runtime: &tensorrt_sys::Runtime, logger: &'static Logger) {
    let generation = double.library.version().generation;
    double.expect("IRuntime::setMaxThreads(3)", true, || runtime.set_max_threads(3));
    double.expect("IRuntime::setMaxThreads(-3)", false, || runtime.set_max_threads(-3));
    double.expect("IRuntime::getMaxThreads()", -3, || runtime.max_threads());
    double.expect("IRuntime::getLogger()", logger.as_ptr(generation), || runtime.logger());
    // SAFETY: the double passes the addresses on and never looks behind them.
    unsafe {
        double.expect("IRuntime::setGpuAllocator(0x1230)", (), || {
            runtime.set_gpu_allocator(address(0x1230));
        });
        double.expect("IRuntime::setErrorRecorder(0x1240)", (), || {
            runtime.set_error_recorder(address(0x1240));
        });
        double.expect("IRuntime::getErrorRecorder()", address(0x1240), || runtime.error_recorder());
        double.expect_optional("IRuntime::deserializeCudaEngineV2(0x1250)", true, || {
            runtime.deserialize_cuda_engine_v2(address(0x1250)).map(|engine| engine.is_none())
        });
    }
    double
        .expect_optional("IRuntime::setEngineHostCodeAllowed(true)", (), || runtime.set_engine_host_code_allowed(true));
    double.expect_optional("IRuntime::getEngineHostCodeAllowed()", true, || runtime.engine_host_code_allowed());
    double.expect_optional("IRuntime::getEngineHeaderSize()", 64, || runtime.engine_header_size());
    double.expect_optional("IRuntime::getEngineValidity(true, 5)", (EngineValidity::Invalid, 5), || {
        runtime.engine_validity(b"bytes")
    });
    double.expect_optional("IRuntime::getPluginRegistry()", (), || runtime.plugin_registry().map(drop));
    let registry = double.library.plugin_registry().unwrap();
    let mut handle = None;
    // SAFETY: the double loads nothing.
    unsafe {
        double.expect_optional("IPluginRegistry::loadLibrary(\"plugins.so\")", (), || {
            registry.load_library(c"plugins.so").map(|loaded| handle = loaded)
        });
        if let Some(handle) = handle {
            double.expect_optional("IPluginRegistry::deregisterLibrary(true)", (), || {
                registry.deregister_library(handle)
            });
        }
        let mut lean = None;
        double.expect_optional("IRuntime::loadRuntime(\"lean.so\")", (), || {
            runtime.load_runtime(c"lean.so").map(|loaded| lean = loaded)
        });
        if let Some(lean) = lean {
            double.expect("IRuntime::~()", (), || drop(lean));
        }
        double.expect(&deserialize_line(double, 7), true, || runtime.deserialize_cuda_engine(b"garbage").is_none());
    }
}

/// What the double records of a deserialization: 8's method has one argument more.
fn deserialize_line(double: &Double, size: usize) -> String {
    match double.library.version().generation {
        Generation::V8 => format!("IRuntime::deserializeCudaEngine(true, {size}, 0x0)"),
        _ => format!("IRuntime::deserializeCudaEngine(true, {size})"),
    }
}

fn engine_methods(double: &Double, runtime: &tensorrt_sys::Runtime) {
    // SAFETY: the plan is the double's.
    let engine = unsafe { runtime.deserialize_cuda_engine(PLAN) }.unwrap();
    double.expect(&deserialize_line(double, PLAN.len()), (), || ());
    double.expect("ICudaEngine::getName()", Some(c"toy"), || engine.name());
    double.expect("ICudaEngine::getNbLayers()", 7, || engine.nb_layers());
    double.expect("ICudaEngine::getNbIOTensors()", 2, || engine.nb_io_tensors());
    double.expect("ICudaEngine::getIOTensorName(1)", Some(c"y"), || engine.io_tensor_name(1));
    double.expect("ICudaEngine::getIOTensorName(2)", None::<&CStr>, || engine.io_tensor_name(2));
    let open = Some(dims(&[-1, 4]));
    double.expect("ICudaEngine::getTensorShape(\"x\")", open, || engine.tensor_shape(c"x"));
    double.expect("ICudaEngine::getTensorShape(\"z\")", None, || engine.tensor_shape(c"z"));
    double.expect("ICudaEngine::getTensorDataType(\"x\")", Ok(DataType::Float), || engine.tensor_data_type(c"x"));
    double.expect("ICudaEngine::getTensorIOMode(\"y\")", Ok(TensorIoMode::Output), || engine.tensor_io_mode(c"y"));
    double.expect("ICudaEngine::getTensorLocation(\"x\")", Ok(TensorLocation::Device), || engine.tensor_location(c"x"));
    double.expect("ICudaEngine::isShapeInferenceIO(\"x\")", false, || engine.is_shape_inference_io(c"x"));
    formats(double, &engine);
    profiles(double, &engine);
    memory(double, &engine);
    double.expect_optional(
        "ICudaEngine::getHardwareCompatibilityLevel()",
        HardwareCompatibilityLevel::AmperePlus,
        || engine.hardware_compatibility_level(),
    );
    double.expect_optional("ICudaEngine::getNbAuxStreams()", 2, || engine.nb_aux_streams());
    double.expect("ICudaEngine::getEngineCapability()", Ok(EngineCapability::DlaStandalone), || {
        engine.engine_capability()
    });
    double.expect("ICudaEngine::isRefittable()", true, || engine.is_refittable());
    double.expect("ICudaEngine::getProfilingVerbosity()", Ok(ProfilingVerbosity::Detailed), || {
        engine.profiling_verbosity()
    });
    double.expect_optional("ICudaEngine::hasImplicitBatchDimension()", false, || engine.has_implicit_batch_dimension());
    double.expect_optional("ICudaEngine::getMaxBatchSize()", 1, || engine.max_batch_size());
    double.expect_optional("ICudaEngine::getEngineStat(1)", 61, || engine.engine_stat(EngineStat::StrippedWeightsSize));
    let mut plan = None;
    double.expect("ICudaEngine::serialize()", (), || plan = engine.serialize());
    let plan = plan.unwrap();
    assert_eq!(plan.as_slice(), PLAN);
    assert_eq!(double.take(), ["IHostMemory::data()", "IHostMemory::size()"]);
    double.expect("IHostMemory::~()", (), || drop(plan));
    inspector(double, &engine);
    double.expect("ICudaEngine::~()", (), || drop(engine));
}

fn formats(double: &Double, engine: &tensorrt_sys::Engine) {
    double.expect("ICudaEngine::getTensorBytesPerComponent(\"x\")", -1, || engine.tensor_bytes_per_component(c"x"));
    double
        .expect("ICudaEngine::getTensorComponentsPerElement(\"x\")", -1, || engine.tensor_components_per_element(c"x"));
    double.expect("ICudaEngine::getTensorFormat(\"x\")", Ok(TensorFormat::Linear), || engine.tensor_format(c"x"));
    double.expect("ICudaEngine::getTensorFormatDesc(\"x\")", Some(c"row-major linear"), || {
        engine.tensor_format_desc(c"x")
    });
    double.expect("ICudaEngine::getTensorVectorizedDim(\"x\")", -1, || engine.tensor_vectorized_dim(c"x"));
    double.expect_optional("ICudaEngine::getTensorBytesPerComponentV2(\"x\", 1)", 21, || {
        engine.tensor_bytes_per_component_v2(c"x", 1)
    });
    double.expect_optional("ICudaEngine::getTensorComponentsPerElementV2(\"x\", 1)", 31, || {
        engine.tensor_components_per_element_v2(c"x", 1)
    });
    double.expect_optional("ICudaEngine::getTensorFormatV2(\"x\", 1)", TensorFormat::Chw32, || {
        engine.tensor_format_v2(c"x", 1)
    });
    double.expect_optional("ICudaEngine::getTensorFormatDescV2(\"x\", 1)", Some(c"thirty-two wide"), || {
        engine.tensor_format_desc_v2(c"x", 1)
    });
    double.expect_optional("ICudaEngine::getTensorVectorizedDimV2(\"x\", 1)", 41, || {
        engine.tensor_vectorized_dim_v2(c"x", 1)
    });
}

fn profiles(double: &Double, engine: &tensorrt_sys::Engine) {
    use OptProfileSelector::{Max, Min, Opt};
    double.expect("ICudaEngine::getNbOptimizationProfiles()", 2, || engine.nb_optimization_profiles());
    for (select, extents) in [(Min, [1, 4]), (Opt, [2, 4]), (Max, [8, 4])] {
        let line = format!("ICudaEngine::getProfileShape(\"x\", 1, {})", select as i32);
        double.expect(&line, Some(dims(&extents)), || engine.profile_shape(c"x", 1, select));
    }
    double.expect("ICudaEngine::getProfileShape(\"y\", 0, 0)", None, || engine.profile_shape(c"y", 0, Min));
    // SAFETY: the double returns two numbers.
    unsafe {
        double.expect_optional("ICudaEngine::getProfileTensorValues(\"x\", 1, 2)", [3, 5], || {
            let values = engine.profile_tensor_values(c"x", 1, Max);
            values.map(|values| *values.cast::<[i32; 2]>())
        });
        double.expect_optional("ICudaEngine::getProfileTensorValuesV2(\"x\", 1, 2)", [7, 9], || {
            let values = engine.profile_tensor_values_v2(c"x", 1, Max);
            values.map(|values| *values.cast::<[i64; 2]>())
        });
    }
}

fn memory(double: &Double, engine: &tensorrt_sys::Engine) {
    const FIVE_GIB: i64 = 5 << 30;
    double.expect_optional("ICudaEngine::getDeviceMemorySize()", 1024, || engine.device_memory_size());
    double.expect_optional("ICudaEngine::getDeviceMemorySizeForProfile(1)", 1024, || {
        engine.device_memory_size_for_profile(1)
    });
    double.expect_optional("ICudaEngine::getDeviceMemorySizeV2()", 1024, || engine.device_memory_size_v2());
    double.expect_optional("ICudaEngine::getDeviceMemorySizeForProfileV2(1)", 1024, || {
        engine.device_memory_size_for_profile_v2(1)
    });
    double.expect_optional("ICudaEngine::getStreamableWeightsSize()", 1 << 40, || engine.streamable_weights_size());
    double.expect_optional("ICudaEngine::setWeightStreamingBudgetV2(5368709120)", true, || {
        engine.set_weight_streaming_budget_v2(FIVE_GIB)
    });
    double
        .expect_optional("ICudaEngine::getWeightStreamingBudgetV2()", FIVE_GIB, || engine.weight_streaming_budget_v2());
    double.expect_optional("ICudaEngine::getWeightStreamingAutomaticBudget()", 51, || {
        engine.weight_streaming_automatic_budget()
    });
    double.expect_optional("ICudaEngine::getWeightStreamingScratchMemorySize()", 52, || {
        engine.weight_streaming_scratch_memory_size()
    });
}

fn inspector(double: &Double, engine: &tensorrt_sys::Engine) {
    use LayerInformationFormat::{Json, Oneline};
    let mut inspector = None;
    double.expect("ICudaEngine::createEngineInspector()", (), || {
        inspector = engine.create_engine_inspector();
    });
    let mut inspector = inspector.unwrap();
    double.expect("IEngineInspector::getEngineInformation(1)", Some("{\"Layers\": []}".to_owned()), || {
        inspector.engine_information(Json)
    });
    double.expect("IEngineInspector::getLayerInformation(3, 0)", Some("{\"Name\": \"a layer\"}".to_owned()), || {
        inspector.layer_information(3, Oneline)
    });
    let context = engine.create_execution_context(ExecutionContextAllocationStrategy::Static).unwrap().unwrap();
    double.take();
    // SAFETY: the context outlives the inspector's use of it.
    unsafe {
        let line = format!("IEngineInspector::setExecutionContext({:?})", context.as_ptr());
        double.expect(&line, true, || inspector.set_execution_context(Some(&context)));
        double.expect("IEngineInspector::setExecutionContext(0x0)", true, || inspector.set_execution_context(None));
    }
    double.expect("IEngineInspector::~()", (), || drop(inspector));
    double.expect("IExecutionContext::~()", (), || drop(context));
}

fn context_methods(double: &Double, runtime: &tensorrt_sys::Runtime) {
    // SAFETY: the plan is the double's.
    let engine = unsafe { runtime.deserialize_cuda_engine(PLAN) }.unwrap();
    double.take();
    let mut context = strategies(double, &engine);
    double.expect("IExecutionContext::getEngine()", engine.as_ptr(), || context.engine_ptr());
    double.expect("IExecutionContext::setName(\"first\")", (), || {
        context.set_name(c"first");
    });
    double.expect("IExecutionContext::getName()", Some(c"first"), || context.name());
    shapes(double, &mut context);
    addresses(double, &mut context);
    // SAFETY: the double passes the addresses on and never looks behind them.
    unsafe {
        double.expect("IExecutionContext::setDeviceMemory(0x7000)", (), || {
            context.set_device_memory(address(0x7000));
        });
        double.expect_optional("IExecutionContext::setDeviceMemoryV2(0x8000, 5368709120)", (), || {
            context.set_device_memory_v2(address(0x8000), 5 << 30)
        });
        double.expect("IExecutionContext::setInputConsumedEvent(0x7100)", true, || {
            context.set_input_consumed_event(address(0x7100))
        });
        double.expect_optional("IExecutionContext::setAuxStreams(2, 0x7200, 0x7300)", (), || {
            context.set_aux_streams(&mut [address(0x7200), address(0x7300)])
        });
        let profiler = Profiler::new();
        double.expect("IExecutionContext::setProfiler(true)", (), || context.set_profiler(Some(&profiler)));
        double.expect("IExecutionContext::enqueueV3(0x7500)", true, || context.enqueue_v3(address(0x7500)));
        assert_eq!(profiler.take()[0], ("layer 0".to_owned(), Duration::from_micros(250)));
        match double.library.version().generation {
            Generation::V8 => context.set_profiler(None),
            _ => double.expect("IExecutionContext::setProfiler(false)", (), || context.set_profiler(None)),
        }
    }
    double.expect("IExecutionContext::setEnqueueEmitsProfile(true)", (), || {
        context.set_enqueue_emits_profile(true);
    });
    double.expect("IExecutionContext::reportToProfiler()", true, || context.report_to_profiler());
    drop(engine);
    assert!(double.take().is_empty(), "the context keeps its engine");
    drop(context);
    assert_eq!(double.take(), ["IExecutionContext::~()", "ICudaEngine::~()"]);
}

/// Makes a context in each way, and returns one whose memory the application provides.
fn strategies(double: &Double, engine: &tensorrt_sys::Engine) -> tensorrt_sys::Context {
    use ExecutionContextAllocationStrategy::{OnProfileChange, Static, UserManaged};
    const WITHOUT_MEMORY: &str = "ICudaEngine::createExecutionContextWithoutDeviceMemory()";
    let arrives = match double.library.version().generation {
        Generation::V8 => [
            (Static, Some("ICudaEngine::createExecutionContext()")),
            (OnProfileChange, None),
            (UserManaged, Some(WITHOUT_MEMORY)),
        ],
        _ => [
            (Static, Some("ICudaEngine::createExecutionContext(0)")),
            (OnProfileChange, Some("ICudaEngine::createExecutionContext(1)")),
            (UserManaged, Some("ICudaEngine::createExecutionContext(2)")),
        ],
    };
    let mut last = None;
    for (strategy, line) in arrives {
        let context = engine.create_execution_context(strategy);
        assert_eq!(double.take().first().map(String::as_str), line);
        assert_eq!(context.is_ok(), line.is_some());
        // The one before is deleted here.
        last = context.ok().flatten();
        double.take();
    }
    let mut another = None;
    double.expect_optional(WITHOUT_MEMORY, (), || {
        engine.create_execution_context_without_device_memory().map(|context| another = context)
    });
    drop(another);
    double.take();
    last.unwrap()
}

fn shapes(double: &Double, context: &mut tensorrt_sys::Context) {
    let narrow = double.library.version().generation == Generation::V8;
    double.expect("IExecutionContext::getTensorShape(\"y\")", Some(dims(&[-1, 4])), || context.tensor_shape(c"y"));
    // SAFETY: there is no input on the host.
    unsafe {
        double.expect(
            "IExecutionContext::inferShapes(16, true)",
            ShapeInference::Unspecified(vec!["x".to_owned()]),
            || context.infer_shapes(),
        );
        double.expect("IExecutionContext::setOptimizationProfileAsync(1, 0x6000)", true, || {
            context.set_optimization_profile_async(1, address(0x6000))
        });
    }
    double.expect("IExecutionContext::getOptimizationProfile()", 1, || context.optimization_profile());
    double
        .expect("IExecutionContext::allInputDimensionsSpecified()", false, || context.all_input_dimensions_specified());
    double
        .expect_optional("IExecutionContext::allInputShapesSpecified()", true, || context.all_input_shapes_specified());
    double.expect("IExecutionContext::setInputShape(\"x\", [9, 4])", false, || {
        context.set_input_shape(c"x", &dims(&[9, 4]))
    });
    let wide = dims(&[1 << 40, 4]);
    assert!(!context.set_input_shape(c"x", &wide));
    let arrived = ["IExecutionContext::setInputShape(\"x\", [1099511627776, 4])"];
    assert_eq!(double.take(), if narrow { &[][..] } else { &arrived[..] });
    double.expect("IExecutionContext::setInputShape(\"x\", [3, 4])", true, || {
        context.set_input_shape(c"x", &dims(&[3, 4]))
    });
    double.expect("IExecutionContext::getTensorShape(\"y\")", Some(dims(&[3, 4])), || context.tensor_shape(c"y"));
    double.expect("IExecutionContext::getTensorShape(\"z\")", None, || context.tensor_shape(c"z"));
    double.expect("IExecutionContext::getTensorStrides(\"y\")", Some(dims(&[4, 1])), || context.tensor_strides(c"y"));
    // SAFETY: as above.
    unsafe {
        double.expect("IExecutionContext::inferShapes(16, true)", ShapeInference::Complete, || context.infer_shapes());
    }
    double.expect_optional("IExecutionContext::updateDeviceMemorySizeForShapes()", 1024, || {
        context.update_device_memory_size_for_shapes()
    });
}

fn addresses(double: &Double, context: &mut tensorrt_sys::Context) {
    double.expect("IExecutionContext::getMaxOutputSize(\"y\")", 128, || context.max_output_size(c"y"));
    // SAFETY: the double passes the addresses on and never looks behind them.
    unsafe {
        double.expect("IExecutionContext::setInputTensorAddress(\"x\", 0x6100)", true, || {
            context.set_input_tensor_address(c"x", address(0x6100))
        });
        double.expect("IExecutionContext::setTensorAddress(\"y\", 0x6200)", true, || {
            context.set_tensor_address(c"y", address(0x6200))
        });
        double.expect("IExecutionContext::setOutputAllocator(\"y\", 0x6300)", true, || {
            context.set_output_allocator(c"y", address(0x6300))
        });
    }
    double.expect("IExecutionContext::getTensorAddress(\"y\")", address(0x6200).cast_const(), || {
        context.tensor_address(c"y")
    });
}

#[test]
fn the_logger_is_what_tensorrt_expects() {
    for double in doubles() {
        let version = double.library.version();
        let logger = Logger::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = heard.clone();
        logger.set_sink(Some(Arc::new(move |severity, line: &str| {
            sink.lock().unwrap().push((severity, line.to_owned()));
        })));
        double.start();
        let runtime = double.library.create_runtime(logger).unwrap();
        // SAFETY: the double checks what it is given.
        assert!(unsafe { runtime.deserialize_cuda_engine(b"garbage") }.is_none());
        let lines = double.take();
        let created = format!("::createInferRuntime_INTERNAL({})", version.encode());
        let mut expected = vec![created.as_str()];
        if matches!(version.generation, Generation::V11 | Generation::Rtx) {
            expected.push("ILogger::getInterfaceInfo(\"ILogger\", 1, 0)");
            expected.push("ILogger::getAPILanguage(0)");
        }
        assert_eq!(lines[..expected.len()], expected);
        assert_eq!(
            *heard.lock().unwrap(),
            [
                (Severity::Info, "this is a test double".to_owned()),
                (Severity::Error, "this is no plan of the double's".to_owned()),
            ]
        );
    }
}

#[test]
fn objects_keep_what_made_them() {
    for double in doubles() {
        let alive = double.alive();
        let runtime = double.library.create_runtime(Logger::new()).unwrap();
        // SAFETY: the plan is the double's.
        let engine = unsafe { runtime.deserialize_cuda_engine(PLAN) }.unwrap();
        let strategy = ExecutionContextAllocationStrategy::Static;
        let context = engine.create_execution_context(strategy).unwrap().unwrap();
        let inspector = engine.create_engine_inspector().unwrap();
        assert_eq!(double.alive(), alive + 4);
        double.start();
        drop((runtime, engine, inspector));
        assert_eq!(double.take(), ["IEngineInspector::~()"]);
        // On another thread: TensorRT's objects belong to none.
        std::thread::spawn(move || drop(context)).join().unwrap();
        assert_eq!(double.take(), ["IExecutionContext::~()", "ICudaEngine::~()", "IRuntime::~()"]);
        assert_eq!(double.alive(), alive);
    }
}

#[test]
fn refusals_are_none_or_false() {
    let plan = [PLAN, b"refuses enqueueV3\nrefuses createExecutionContext\n"].concat();
    for double in doubles() {
        let runtime = double.library.create_runtime(Logger::new()).unwrap();
        // SAFETY: the plans are the double's; nothing is enqueued.
        unsafe {
            let engine = runtime.deserialize_cuda_engine(&plan).unwrap();
            let strategy = ExecutionContextAllocationStrategy::Static;
            assert!(engine.create_execution_context(strategy).unwrap().is_none());
            let engine = runtime.deserialize_cuda_engine(PLAN).unwrap();
            let mut context = engine.create_execution_context(strategy).unwrap().unwrap();
            assert!(!context.enqueue_v3(ptr::null_mut()));
            assert!(!context.set_tensor_address(c"z", address(0x1000)));
        }
    }
}

#[test]
fn the_double_runs_a_plan_on_the_host() {
    let plan = [PLAN, b"copies\n"].concat();
    for double in doubles() {
        let runtime = double.library.create_runtime(Logger::new()).unwrap();
        // SAFETY: the plan is the double's, which copies from one array to the other.
        unsafe {
            let engine = runtime.deserialize_cuda_engine(&plan).unwrap();
            let strategy = ExecutionContextAllocationStrategy::Static;
            let mut context = engine.create_execution_context(strategy).unwrap().unwrap();
            let x: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
            let mut y = [0_f32; 8];
            assert!(context.set_input_shape(c"x", &dims(&[2, 4])));
            assert!(context.set_input_tensor_address(c"x", x.as_ptr().cast()));
            assert!(context.set_tensor_address(c"y", y.as_mut_ptr().cast()));
            assert!(context.enqueue_v3(ptr::null_mut()));
            assert_eq!(x, y);
        }
    }
}

#[test]
fn a_library_tells_what_it_is() {
    for double in doubles() {
        let library = &double.library;
        assert_eq!(library.path(), double.path.canonicalize().unwrap());
        let directory = double.path.parent().unwrap().file_name().unwrap();
        let version = library.version();
        assert_eq!(directory.to_str().unwrap(), format!("{}.{}.{}", version.major, version.minor, version.patch));
        assert_eq!(
            library.flavor(),
            match version.generation {
                Generation::Rtx => Flavor::Rtx,
                _ => Flavor::Full,
            }
        );
        let attached = Library::attach(&double.path).unwrap().unwrap();
        assert_eq!(attached.path(), library.path());
        assert_eq!(attached.version(), version);
    }
}

#[test]
fn plugins_are_registered_with_a_logger() {
    for double in doubles() {
        // SAFETY: the double registers nothing.
        let plugins = unsafe { PluginLibrary::open(&double.path) }.unwrap();
        let generation = double.library.version().generation;
        let logger = Logger::new();
        double.start();
        double.expect("::initLibNvInferPlugins(\"medical\")", Some(true), || {
            plugins.init_lib_nv_infer_plugins(logger, generation, c"medical")
        });
    }
}
