//! From an ONNX model to a plan, with whichever TensorRT is found.

mod decompose;
mod network;
pub mod onnx;
mod profiles;
mod progress;
mod protobuf;
mod refit;
mod settings;

pub use progress::{Callback, Step};
pub use refit::{refit_file, refit_memory};

use crate::backend::tensorrt::{BuilderLibrary, failed, gather};
use crate::error::{Code, Error, Result};
use crate::file;
use crate::log::{Level, Log};
use crate::model::{self, Format};
use crate::process::stack;
use crate::quote::shown;
use crate::runtime::Runtime;
use crate::tensor::Shape;
use decompose::Decomposition;
use onnx::Model;
use progress::Watch;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensorrt_sys::{BuilderConfig, Generation, HardwareCompatibilityLevel, Parser, TacticSource, Version};

/// In what TensorRT may compute, as bits; none for float32.
pub mod precision {
    pub const TF32: u32 = 1;
    pub const FLOAT16: u32 = 1 << 1;
    pub const BFLOAT16: u32 = 1 << 2;
    pub const INT8: u32 = 1 << 3;
    /// All that the TensorRT and the model have.
    pub const BEST: u32 = 1 << 4;
    /// Exactly what the model's types say.
    pub const TYPED: u32 = 1 << 5;
    pub const ALL: u32 = (1 << 6) - 1;
}

/// What becomes of InstanceNormalization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum InstanceNormalization {
    /// TensorRT's own layers where it has them (8.6 and later), else decomposed: runs of its plugin cannot share a GPU.
    #[default]
    Default = 0,
    Native = 1,
    Plugin = 2,
    /// Means, products and a root, which every TensorRT computes itself.
    Decomposed = 3,
}

impl InstanceNormalization {
    /// What the default is under a TensorRT.
    fn under(self, version: Version) -> Self {
        match self {
            Self::Default if settings::has_instance_normalization(version) => Self::Native,
            Self::Default => Self::Decomposed,
            wanted => wanted,
        }
    }
}

/// The shapes that one input takes.
#[derive(Clone)]
pub struct Bounds {
    pub input: String,
    pub min: Shape,
    pub opt: Shape,
    pub max: Shape,
}

#[derive(Clone)]
pub struct Options {
    /// What each optimization profile says of the inputs.
    pub profiles: Vec<Vec<Bounds>>,
    pub precision: u32,
    /// Nodes and operators of the model that compute in float32 whatever the precision.
    pub float32_nodes: Vec<String>,
    pub float32_operators: Vec<String>,
    pub workspace_bytes: Option<usize>,
    pub timing_cache: Option<PathBuf>,
    pub optimization_level: Option<i32>,
    /// Sources of kernels that are used beside those that TensorRT uses of its own accord, and those that are not.
    pub tactics_added: Vec<TacticSource>,
    pub tactics_taken: Vec<TacticSource>,
    pub version_compatible: bool,
    pub exclude_lean_runtime: bool,
    pub hardware_compatibility: HardwareCompatibilityLevel,
    pub refittable: bool,
    pub strip_weights: bool,
    pub weight_streaming: bool,
    pub sparse_weights: bool,
    /// Whether the plan's layers can be looked at in full.
    pub detailed_layers: bool,
    pub instance_normalization: InstanceNormalization,
    /// Where a model from memory keeps weights in other files.
    pub weights_folder: Option<PathBuf>,
    pub progress: Option<Callback>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profiles: Vec::new(),
            precision: 0,
            float32_nodes: Vec::new(),
            float32_operators: Vec::new(),
            workspace_bytes: None,
            timing_cache: None,
            optimization_level: None,
            tactics_added: Vec::new(),
            tactics_taken: Vec::new(),
            version_compatible: false,
            exclude_lean_runtime: false,
            hardware_compatibility: HardwareCompatibilityLevel::None,
            refittable: false,
            strip_weights: false,
            weight_streaming: false,
            sparse_weights: false,
            detailed_layers: false,
            instance_normalization: InstanceNormalization::Default,
            weights_folder: None,
            progress: None,
        }
    }
}

impl Options {
    pub(crate) fn wants(&self, bit: u32) -> bool {
        self.precision & bit != 0
    }

    /// Where a model from memory would lie: the parser takes a model's file, and looks in its folder for others.
    fn model_path(&self) -> Option<PathBuf> {
        self.weights_folder.as_ref().map(|folder| folder.join("model.onnx"))
    }

    pub(crate) fn keeps_float32(&self) -> bool {
        !self.float32_nodes.is_empty() || !self.float32_operators.is_empty()
    }
}

/// Builds a plan from a model file. Weights in other files lie in its folder.
pub fn from_file(runtime: &Runtime, path: &Path, options: &Options) -> Result<Vec<u8>> {
    let data = model::map_file(path)?;
    build(runtime, &data, Some(path), options).map_err(|error| error.within(shown(path)))
}

/// Builds a plan from a model in memory.
pub fn from_memory(runtime: &Runtime, data: &[u8], options: &Options) -> Result<Vec<u8>> {
    build(runtime, data, options.model_path().as_deref(), options)
}

fn build(runtime: &Runtime, data: &[u8], path: Option<&Path>, options: &Options) -> Result<Vec<u8>> {
    if model::recognize(data)? == Format::Plan {
        return Err(Error::new(Code::InvalidModel, "this is a plan already; plans are built from ONNX models"));
    }
    profiles::check(&options.profiles)?;
    let model = read(data, path)?;
    settings::check(options, &model)?;
    let watch = Arc::new(Watch::new(options.progress.clone()));
    // TensorRT goes deep.
    stack::with_room(|| {
        let library = runtime.builder_library()?;
        let prepared = prepare(data, model, options, &library, runtime.log())?;
        let _current = library.device().map(|device| device.make_current()).transpose()?;
        let mut options = options.clone();
        let is_reduced = settings::is_reduced(&options, library.version());
        prepared.decomposition.keep_float32(&mut options, is_reduced);
        with_library(&library, runtime.log(), (&prepared.data, &prepared.model, path), &options, &watch)
    })
    .map_err(|error| if watch.is_cancelled() { cancelled() } else { error })
}

fn read(data: &[u8], path: Option<&Path>) -> Result<Model> {
    let model = Model::read(data)?;
    model.check_weights(path)?;
    Ok(model)
}

/// A model as the parser is given it, and what was read off it.
struct Prepared<'a> {
    data: Cow<'a, [u8]>,
    model: Model,
    decomposition: Decomposition,
    /// Whether its InstanceNormalization is a plugin.
    has_plugin: bool,
}

fn prepare<'a>(
    data: &'a [u8],
    model: Model,
    options: &Options,
    library: &BuilderLibrary,
    log: &Log,
) -> Result<Prepared<'a>> {
    let as_it_is = |model: Model, has_plugin| Prepared {
        data: Cow::Borrowed(data),
        model,
        decomposition: Decomposition::default(),
        has_plugin,
    };
    if !model.has("InstanceNormalization") {
        return Ok(as_it_is(model, false));
    }
    match options.instance_normalization.under(library.version()) {
        InstanceNormalization::Native => return Ok(as_it_is(model, false)),
        InstanceNormalization::Plugin => return Ok(as_it_is(model, true)),
        InstanceNormalization::Default | InstanceNormalization::Decomposed => {}
    }
    match decompose::instance_normalization(data, &model) {
        Ok((data, decomposition)) => {
            let model = Model::read(&data)?;
            Ok(Prepared { data: Cow::Owned(data), model, decomposition, has_plugin: false })
        }
        Err(error) if options.instance_normalization == InstanceNormalization::Decomposed => Err(error),
        // The parser takes the plugin then, or says that it lacks it.
        Err(error) => {
            log.write(Level::Warning, &format!("InstanceNormalization is not taken apart: {error}"));
            Ok(as_it_is(model, true))
        }
    }
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the build was cancelled; nothing was written")
}

fn with_library(
    library: &BuilderLibrary,
    log: &Arc<Log>,
    (data, model, path): (&[u8], &Model, Option<&Path>),
    options: &Options,
    watch: &Arc<Watch>,
) -> Result<Vec<u8>> {
    let version = library.version();
    let typed = settings::typed(options, version)?;
    let mut builder = library.new_builder()?;
    let mut config = builder
        .create_config()
        .ok_or_else(|| Error::new(Code::TensorRt, format!("{version} makes no configuration for a build")))?;
    let device = library.device().map(|device| device.info.compute_capability);
    settings::apply(&mut config, options, model, version, device)?;
    let network = builder
        .create_network(typed)
        .ok_or_else(|| Error::new(Code::TensorRt, format!("{version} makes no network")))?;
    let mut parser = library.new_parser(network)?;
    watch.step("parsing the model", || parse(&mut parser, data, model, path, options))?;
    if options.keeps_float32() {
        network::keep_float32(parser.network(), model, options)?;
    }
    profiles::add(&builder, &mut config, (parser.network(), model), &options.profiles, log)?;
    let cached = options.timing_cache.as_deref().map(|file| (file, take_timing_cache(&mut config, file, log)));
    // Before 10 there is nothing to hear from TensorRT, nor can it be stopped.
    let monitored = version.generation != Generation::V8;
    if monitored {
        config.set_progress_monitor(progress::monitor(watch))?;
    }
    let mut work = || {
        let (plan, said) = gather(|| builder.build_serialized_network(parser.network(), &mut config));
        plan.map(|plan| plan.to_vec()).ok_or_else(|| {
            // TensorRT-RTX 1.7.1 says of it only that a check of its compiler fails.
            let wants_gpu = device.is_none() && (options.refittable || options.strip_weights);
            let advice = if wants_gpu {
                ": there is no GPU, and without one it builds no plan whose weights may be replaced; build it on a GPU, or without \
                 PLANRT_BUILD_REFITTABLE and PLANRT_BUILD_STRIP_WEIGHTS (--refit, --stripWeights)"
            } else {
                ""
            };
            failed(Code::TensorRt, format!("{version} cannot build this model{advice}"), &said)
        })
    };
    let plan = if monitored { work()? } else { watch.step("building the plan", work)? };
    if watch.is_cancelled() {
        return Err(cancelled());
    }
    if let Some((file, before)) = cached {
        keep_timing_cache(&config, file, before, log);
    }
    Ok(plan)
}

fn parse(parser: &mut Parser, data: &[u8], model: &Model, path: Option<&Path>, options: &Options) -> Result<()> {
    settings::instance_normalization(parser, options, model)?;
    network::parse(parser, data, model, path)
}

/// Gives TensorRT the times in a file; what is in the file.
fn take_timing_cache(config: &mut BuilderConfig, file: &Path, log: &Log) -> Vec<u8> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            log.write(Level::Warning, &format!("the timing cache {} cannot be read: {error}", shown(file)));
            Vec::new()
        }
    };
    if bytes.is_empty() || !config.set_timing_cache(&bytes) {
        if !bytes.is_empty() {
            let why = "is of another TensorRT or GPU, or damaged; it begins anew";
            log.write(Level::Warning, &format!("the timing cache {} {why}", shown(file)));
        }
        config.set_timing_cache(&[]);
    }
    bytes
}

/// Writes the times that are known now. A plan is not given up for them.
fn keep_timing_cache(config: &BuilderConfig, file: &Path, before: Vec<u8>, log: &Log) {
    let Some(bytes) = config.timing_cache() else { return };
    if *bytes != *before
        && let Err(error) = file::write(file, &bytes)
    {
        log.write(Level::Warning, &format!("the timing cache is not kept: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_normalization_is_a_plugin_only_where_that_is_asked_for() {
        use InstanceNormalization::{Decomposed, Default, Native, Plugin};
        for (version, default) in [(8503, Decomposed), (8601, Native), (101_601, Native), (110_400, Native)] {
            let version = Version::decode(version).unwrap();
            assert_eq!(Default.under(version), default, "{version}");
            for wanted in [Native, Plugin, Decomposed] {
                assert_eq!(wanted.under(version), wanted);
            }
        }
    }
}
