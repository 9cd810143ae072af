//! The methods that build: a network of the parser's double, and what the builder's double makes of it.

use crate::dims;
use crate::double::{Double, doubles};
use std::sync::{Arc, Mutex};
use tensorrt_sys::{
    BuilderFlag, DataType, Generation, HardwareCompatibilityLevel, Logger, MemoryPoolType, OnnxParserFlag,
    OptProfileSelector, Parser, ParserError, ProfilingVerbosity, Progress, ProgressMonitor, TacticSource, WeightsRole,
};

const MODEL: &[u8] = b"bytes before it\0double-onnx
input x 0 -1,4
input shape 3 2
node conv_1
node conv_2
output y
";

pub fn builder_methods(double: &Double) {
    let logger = Logger::new();
    let mut builder = double.library.create_builder(logger).unwrap();
    double.start();
    let mut config = None;
    double.expect("IBuilder::createBuilderConfig()", (), || config = builder.create_config());
    let mut config = config.unwrap();
    let mut parser = parse(double, &builder, logger);
    network_methods(double, &mut parser);
    config_methods(double, &mut config);
    profile_methods(double, &builder, &mut config);
    let plan = builder.build_serialized_network(parser.network(), &mut config).unwrap();
    assert_eq!(double.take()[0], "IBuilder::buildSerializedNetwork(true, true)");
    let text = String::from_utf8_lossy(&plan).into_owned();
    assert!(text.contains("input x 0 -1,4 1,4 2,4 8,4") && text.contains("output y 0 -1,4"), "{text}");
    let cache = config.timing_cache().unwrap();
    assert_eq!(&*cache, format!("double-cache {}\nbuild", double.library.version().encode()).as_bytes());
    double.take();
    drop((cache, plan, builder));
    double.take();
    drop(parser);
    let lines = double.take();
    assert!(lines[0] == "IParser::~()" && lines[1..].contains(&"INetworkDefinition::~()".to_owned()), "{lines:?}");
    drop(config);
    let lines = double.take();
    assert_eq!(lines[..2], ["IBuilderConfig::~()", "ITimingCache::~()"]);
    assert!(lines.contains(&"IBuilder::~()".to_owned()), "{lines:?}");
}

/// A network of the model's, its parser having been called in every way.
fn parse(double: &Double, builder: &tensorrt_sys::Builder, logger: &'static Logger) -> Parser {
    let version = double.library.version();
    let network = builder.create_network(false).unwrap();
    let flags = if version.generation == Generation::V8 { 1 } else { 0 };
    assert_eq!(double.take(), [format!("IBuilder::createNetworkV2({flags})")]);
    let typed = builder.create_network(true);
    let flags = if version.generation == Generation::V10 { 2 } else { 0 };
    match version.generation {
        Generation::V8 => assert!(typed.is_none() && double.take().is_empty()),
        _ => assert_eq!(double.take(), [format!("IBuilder::createNetworkV2({flags})")]),
    }
    drop(typed);
    double.take();
    // SAFETY: the parser's double is of the same version.
    let mut parser = unsafe { double.parser.create_parser(network, logger) }.unwrap();
    double.take();
    double.expect_optional("IParser::setFlag(true)", (), || parser.set_flag(OnnxParserFlag::NativeInstanceNorm, true));
    double
        .expect_optional("IParser::clearFlag(true)", (), || parser.set_flag(OnnxParserFlag::NativeInstanceNorm, false));
    double.expect("IParser::supportsOperator(\"Mish\")", false, || parser.supports(c"Mish"));
    double.expect("IParser::supportsOperator(\"Conv\")", true, || parser.supports(c"Conv"));
    assert!(parser.parse(MODEL, Some(c"/a/model.onnx")));
    // After the parser's own line come its calls of the network.
    assert_eq!(double.take()[0], format!("IParser::parse({}, \"/a/model.onnx\")", MODEL.len()));
    double.expect("IParser::getNbErrors()", 0, || parser.errors().len());
    assert!(!parser.parse(b"double-onnx\nfails 7 bad Bad\n", None));
    let errors = parser.errors();
    let names = version.generation != Generation::V8;
    assert_eq!(
        errors,
        [ParserError {
            description: "No importer registered for op: Bad".to_owned(),
            node: Some(7),
            node_name: names.then(|| "bad".to_owned()),
            node_operator: names.then(|| "Bad".to_owned()),
        }]
    );
    let lines = double.take();
    assert_eq!(lines[..3], ["IParser::parse(28, null)", "IParser::getNbErrors()", "IParser::getError(0)"]);
    parser
}

fn network_methods(double: &Double, parser: &mut Parser) {
    let network = parser.network();
    let inputs: Vec<_> = network.inputs().collect();
    assert_eq!(
        double.take(),
        ["INetworkDefinition::getNbInputs()", "INetworkDefinition::getInput(0)", "INetworkDefinition::getInput(1)"]
    );
    double.expect("ITensor::getName()", Some(c"x"), || inputs[0].name());
    double.expect("ITensor::getDimensions()", Some(dims(&[-1, 4])), || inputs[0].dimensions());
    double.expect("ITensor::getType()", Ok(DataType::Int32), || inputs[1].data_type());
    double.expect("ITensor::isShapeTensor()", true, || inputs[1].is_shape_tensor());
    let outputs: Vec<_> = network.outputs().collect();
    assert_eq!(double.take(), ["INetworkDefinition::getNbOutputs()", "INetworkDefinition::getOutput(0)"]);
    double.expect("ITensor::getName()", Some(c"y"), || outputs[0].name());
    let mut layers: Vec<_> = network.layers().collect();
    assert_eq!(
        double.take(),
        ["INetworkDefinition::getNbLayers()", "INetworkDefinition::getLayer(0)", "INetworkDefinition::getLayer(1)"]
    );
    let layer = &mut layers[1];
    double.expect("ILayer::getName()", Some(c"conv_2"), || layer.name());
    double.expect_optional("ILayer::getMetadata()", Some(c"[ONNX Layer: conv_2]"), || layer.metadata());
    assert_eq!(layer.outputs().count(), 1);
    assert_eq!(double.take(), ["ILayer::getNbOutputs()", "ILayer::getOutput(0)"]);
    double.expect_optional("ILayer::setPrecision(0)", (), || layer.set_precision(DataType::Float));
    double.expect_optional("ILayer::setOutputType(0, 1)", (), || layer.set_output_type(0, DataType::Half));
}

fn config_methods(double: &Double, config: &mut tensorrt_sys::BuilderConfig) {
    let version = double.library.version();
    for &flag in BuilderFlag::ALL {
        // The double writes the name that the official header has for the number.
        let name = flag.row().declaration.strip_prefix("BuilderFlag::").unwrap();
        for (on, method) in [(true, "setFlag"), (false, "clearFlag")] {
            let set = config.set_flag(flag, on);
            match flag.number(version) {
                Ok(_) => assert_eq!(double.take(), [format!("IBuilderConfig::{method}(\"{name}\")")], "{version}"),
                Err(_) => assert!(set.is_err() && double.take().is_empty(), "{version}: {name}"),
            }
        }
    }
    let cudnn = TacticSource::Cudnn.number(version).map_or(0, |number| 1 << number);
    let jit = 1 << TacticSource::JitConvolutions.number(version).unwrap();
    let all = (jit << 1) - 1;
    let mut expect = |add: &[TacticSource], take: &[TacticSource], sources: i32| {
        assert!(config.change_tactic_sources(add, take).unwrap());
        let set = format!("IBuilderConfig::setTacticSources({sources})");
        assert_eq!(double.take(), ["IBuilderConfig::getTacticSources()".to_owned(), set], "{version}");
    };
    expect(&[], &[TacticSource::Cudnn, TacticSource::JitConvolutions], all & !cudnn & !jit);
    expect(&[TacticSource::JitConvolutions], &[], all & !cudnn);
    let added = config.change_tactic_sources(&[TacticSource::Cudnn], &[]);
    assert_eq!(added.is_ok(), cudnn != 0, "{version}");
    double.take();
    double.expect("IBuilderConfig::setMemoryPoolLimit(0, 5368709120)", (), || {
        config.set_memory_pool_limit(MemoryPoolType::Workspace, 5 << 30);
    });
    double.expect("IBuilderConfig::setProfilingVerbosity(2)", (), || {
        config.set_profiling_verbosity(ProfilingVerbosity::Detailed);
    });
    double.expect_optional("IBuilderConfig::setBuilderOptimizationLevel(4)", (), || config.set_optimization_level(4));
    double.expect_optional("IBuilderConfig::setHardwareCompatibilityLevel(1)", (), || {
        config.set_hardware_compatibility_level(HardwareCompatibilityLevel::AmperePlus)
    });
    assert!(!config.set_timing_cache(b"of another version"));
    assert_eq!(double.take(), ["IBuilderConfig::createTimingCache(18)"]);
    assert!(config.timing_cache().is_none());
    assert_eq!(double.take(), ["IBuilderConfig::getTimingCache()"]);
    assert!(config.set_timing_cache(b""));
    assert_eq!(double.take(), ["IBuilderConfig::createTimingCache(0)", "IBuilderConfig::setTimingCache(true, false)"]);
    let monitor = ProgressMonitor::new(Box::new(Heard::default()));
    double.expect_optional("IBuilderConfig::setProgressMonitor(\"IProgressMonitor\", 1, 0)", (), || {
        config.set_progress_monitor(monitor)
    });
}

fn profile_methods(double: &Double, builder: &tensorrt_sys::Builder, config: &mut tensorrt_sys::BuilderConfig) {
    use OptProfileSelector::{Max, Min, Opt};
    let mut profile = None;
    double.expect("IBuilder::createOptimizationProfile()", (), || profile = builder.create_optimization_profile());
    let mut profile = profile.unwrap();
    for (select, extents) in [(Min, [1, 4]), (Opt, [9, 4]), (Max, [8, 4])] {
        let line = format!("IOptimizationProfile::setDimensions(\"x\", {}, [{}, 4])", select as i32, extents[0]);
        double.expect(&line, true, || profile.set_dimensions(c"x", select, &dims(&extents)));
    }
    double.expect("IOptimizationProfile::isValid()", false, || profile.is_valid());
    double.expect("IOptimizationProfile::setDimensions(\"x\", 1, [2, 4])", true, || {
        profile.set_dimensions(c"x", Opt, &dims(&[2, 4]))
    });
    double.expect("IOptimizationProfile::isValid()", true, || profile.is_valid());
    let is_narrow = double.library.version().generation == Generation::V8;
    assert_eq!(profile.set_dimensions(c"x", Max, &dims(&[1 << 40, 4])), !is_narrow);
    assert!(profile.set_dimensions(c"x", Max, &dims(&[8, 4])));
    double.take();
    assert!(profile.set_shape_values(c"shape", Max, &[3, 5]));
    let line = double.take().remove(0);
    assert!(
        line == "IOptimizationProfile::setShapeValues(\"shape\", 2, 5, 2)"
            || line == "IOptimizationProfile::setShapeValuesV2(\"shape\", 2, 5, 2)",
        "{line}"
    );
    double
        .expect("IBuilderConfig::addOptimizationProfile(true)", Some(0), || config.add_optimization_profile(&profile));
}

/// What a progress monitor hears; ends the build where it is told to.
#[derive(Default)]
struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
    last: Option<&'static str>,
}

impl Progress for Heard {
    fn phase_start(&self, phase: &str, parent: Option<&str>, steps: i32) {
        self.lines.lock().unwrap().push(format!("{phase} in {parent:?}: {steps}"));
    }

    fn step_complete(&self, phase: &str, step: i32) -> bool {
        let line = format!("{phase} {step}");
        let goes_on = self.last != Some(line.as_str());
        self.lines.lock().unwrap().push(line);
        goes_on
    }

    fn phase_finish(&self, phase: &str) {
        assert!(self.last != Some("panic"), "a monitor that panics, on purpose");
        self.lines.lock().unwrap().push(format!("{phase} ends"));
    }
}

#[test]
fn a_build_is_heard_and_ended() {
    for double in doubles().filter(|double| double.library.version().generation != Generation::V8) {
        for (last, heard) in [(None, 10), (Some("Tactics 1"), 7), (Some("panic"), 8)] {
            let lines = Arc::new(Mutex::new(Vec::new()));
            let logger = Logger::new();
            let mut builder = double.library.create_builder(logger).unwrap();
            let network = builder.create_network(false).unwrap();
            let mut config = builder.create_config().unwrap();
            let monitor = ProgressMonitor::new(Box::new(Heard { lines: lines.clone(), last }));
            config.set_progress_monitor(monitor).unwrap();
            // SAFETY: the parser's double is of the same version.
            let mut parser = unsafe { double.parser.create_parser(network, logger) }.unwrap();
            assert!(parser.parse(MODEL, None));
            let plan = builder.build_serialized_network(parser.network(), &mut config);
            assert_eq!(plan.is_some(), last != Some("Tactics 1"));
            let lines = lines.lock().unwrap();
            assert_eq!(lines[..3], ["Building in None: 3", "Building 0", "Tactics in Some(\"Building\"): 3"]);
            assert_eq!(lines.len(), heard, "{lines:?}");
        }
    }
}

const CONVOLUTION: &[u8] = b"double-onnx\ninput x 0 -1,4\nconv conv_1 1.5,3\noutput y\n";
const OTHER: &[u8] = b"double-onnx\ninput x 0 -1,4\nconv conv_1 7,0.25\noutput y\n";

/// An engine gets other weights.
pub fn refit_methods(double: &Double) {
    let version = double.library.version();
    let logger = Logger::new();
    let mut builder = double.library.create_builder(logger).unwrap();
    let mut config = builder.create_config().unwrap();
    config.set_flag(BuilderFlag::Refit, true).unwrap();
    let parsed = |builder: &tensorrt_sys::Builder, model| {
        let network = builder.create_network(false).unwrap();
        // SAFETY: the parser's double is of the same version.
        let mut parser = unsafe { double.parser.create_parser(network, logger) }.unwrap();
        assert!(parser.parse(model, None));
        parser
    };
    let mut parser = parsed(&builder, CONVOLUTION);
    let plan = builder.build_serialized_network(parser.network(), &mut config).unwrap();
    let runtime = double.library.create_runtime(logger).unwrap();
    // SAFETY: the double's own plan.
    let engine = unsafe { runtime.deserialize_cuda_engine(&plan) }.unwrap();
    double.start();
    let mut refitter = double.library.create_refitter(&engine, logger).unwrap();
    let created = format!("::createInferRefitter_INTERNAL({})", version.encode());
    assert_eq!(double.take(), [created]);
    assert_eq!(refitter.all(), [(c"conv_1".to_owned(), Some(WeightsRole::Kernel))]);
    assert_eq!(double.take(), ["IRefitter::getAll(0)", "IRefitter::getAll(1)"]);
    assert!(refitter.missing().is_empty() && refitter.missing_weights().is_empty());
    let asked = ["getMissing(0)", "getMissing(0)", "getMissingWeights(0)", "getMissingWeights(0)"];
    assert_eq!(double.take(), asked.map(|method| format!("IRefitter::{method}")));
    if version.generation == Generation::V8 {
        let parser = parsed(&builder, OTHER);
        let weights = parser.layer_weights();
        assert_eq!((weights.len(), weights[0].count(), weights[0].role), (1, 2, WeightsRole::Kernel));
        double.take();
        assert_eq!(refitter.refit_layers(&weights), Ok(true));
        assert_eq!(double.take(), ["IRefitter::setWeights(\"conv_1\", 0, 2)", "IRefitter::refitCudaEngine()"]);
    } else {
        // Later versions' parser does what is done with these.
        assert_eq!(refitter.refit_layers(&parsed(&builder, OTHER).layer_weights()), Ok(true));
        // SAFETY: as above.
        let mut parser = unsafe { double.parser.create_refitter(refitter, logger) }.unwrap();
        double.take();
        assert!(parser.take(OTHER, Some(c"/a/model.onnx")) && parser.errors().is_empty());
        let lines = double.take();
        let line = format!("IParserRefitter::refitFromBytes({}, \"/a/model.onnx\")", OTHER.len());
        assert!(lines.contains(&line) && lines.contains(&"IParserRefitter::getNbErrors()".to_owned()), "{lines:?}");
        assert!(parser.refit());
        assert!(!parser.take(b"double-onnx\nconv conv_9 1\n", None));
        assert_eq!(parser.errors()[0].node_name.as_deref(), Some("conv_9"));
        double.take();
        drop(parser);
        assert_eq!(double.take()[..2], ["IParserRefitter::~()", "IRefitter::~()"]);
    }
    let plans = [engine.serialize().unwrap(), engine.serialize_whole().unwrap()];
    for plan in plans {
        assert!(String::from_utf8_lossy(&plan).contains("weights conv_1 2 7,0.25"));
    }
    double.take();
    double.stop();
}
