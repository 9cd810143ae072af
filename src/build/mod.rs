//! From an ONNX model to a plan, with whichever TensorRT is found.

mod decompose;
mod network;
pub mod onnx;
mod profiles;
mod progress;
pub mod protobuf;
mod refit;
mod settings;

pub use progress::{Callback, Step};
pub use refit::{refit_file, refit_memory};

use crate::backend::tensorrt::{BuilderLibrary, Plan, failed, gather};
use crate::error::{Code, Error, Result};
use crate::file;
use crate::log::{Level, Log};
use crate::model::{self, Format};
use crate::process::stack;
use crate::quote::shown;
use crate::runtime::Runtime;
use crate::tensor::Shape;
use decompose::{Decomposition, Wanted};
use onnx::Model;
use progress::Watch;
use std::borrow::Cow;
use std::ffi::{CStr, CString};
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
    /// TensorRT's own layers where it has them (8.6 and later), else its plugin where cuDNN is there, else decomposed.
    #[default]
    Default = 0,
    Native = 1,
    Plugin = 2,
    /// Means, products and a root, which every TensorRT computes itself.
    Decomposed = 3,
}

impl InstanceNormalization {
    /// What the default is under a TensorRT, `has_plugin` saying whether its plugin can be had for the model.
    fn under(self, version: Version, has_plugin: bool) -> Self {
        match self {
            Self::Default if settings::has_instance_normalization(version) => Self::Native,
            Self::Default if has_plugin => Self::Plugin,
            Self::Default => Self::Decomposed,
            wanted => wanted,
        }
    }
}

const INSTANCE_NORMALIZATION: &str = "InstanceNormalization";

const PLUGIN_BY_DEFAULT: &str = "InstanceNormalization is TensorRT's plugin here: the plan needs cuDNN where it runs, its runs take \
                                 turns on a GPU, and its weights cannot be replaced; PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED \
                                 (--instanceNormalization=decomposed) makes a plan that needs nothing, and takes up to twice as long";

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
    check_timing_cache(options)?;
    let model = read(data, path)?;
    settings::check(options, &model)?;
    let watch = Arc::new(Watch::new(options.progress.clone()));
    // TensorRT goes deep.
    stack::with_room(|| {
        let library = runtime.builder_library()?;
        let _current = library.device().map(|device| device.make_current()).transpose()?;
        let prepared = prepare(data, model, options, &library, options.refittable, runtime.log())?;
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

impl Prepared<'_> {
    fn take_apart(&mut self, operators: &[&'static str], version: Version) -> Result<()> {
        let axes_are_attributes = version.generation == Generation::V8;
        let wanted = Wanted { operators, axes_are_attributes };
        if wanted.is_nothing(&self.model) {
            return Ok(());
        }
        let (data, decomposition) = decompose::take_apart(&self.data, &self.model, &wanted)?;
        self.model = Model::read(&data)?;
        self.data = Cow::Owned(data);
        self.decomposition.extend(decomposition);
        Ok(())
    }
}

fn prepare<'a>(
    data: &'a [u8],
    model: Model,
    options: &Options,
    library: &BuilderLibrary,
    is_refitted: bool,
    log: &Log,
) -> Result<Prepared<'a>> {
    let mut prepared =
        Prepared { data: Cow::Borrowed(data), model, decomposition: Decomposition::default(), has_plugin: false };
    if library.version().generation == Generation::V8 && library.version().minor < 6 {
        decompose::check_misread(data, &prepared.model)?;
    }
    let lacking = lacking(&prepared.model, library)?;
    prepared.take_apart(&lacking, library.version())?;
    if !prepared.model.has(INSTANCE_NORMALIZATION) {
        return Ok(prepared);
    }
    // The plugin's weights cannot be replaced.
    let has_plugin = !is_refitted
        && !options.tactics_taken.contains(&TacticSource::Cudnn)
        && library.has_cudnn()
        && decompose::suits_plugin(&prepared.data)?;
    let is_default = options.instance_normalization == InstanceNormalization::Default;
    match options.instance_normalization.under(library.version(), has_plugin) {
        InstanceNormalization::Native => return Ok(prepared),
        InstanceNormalization::Plugin => {
            if is_default {
                log.write(Level::Warning, PLUGIN_BY_DEFAULT);
            }
            prepared.has_plugin = true;
            return Ok(prepared);
        }
        InstanceNormalization::Default | InstanceNormalization::Decomposed => {}
    }
    match prepared.take_apart(&[INSTANCE_NORMALIZATION], library.version()) {
        // The parser takes the plugin then, or says that it lacks it.
        Err(error) if is_default => {
            log.write(Level::Warning, &error.to_string());
            prepared.has_plugin = true;
        }
        taken => taken?,
    }
    Ok(prepared)
}

/// The operators of a model that TensorRT's parser lacks, and that can be taken apart.
fn lacking(model: &Model, library: &BuilderLibrary) -> Result<Vec<&'static str>> {
    let known: Vec<_> = decompose::known(model).collect();
    if known.is_empty() {
        return Ok(known);
    }
    let builder = library.new_builder()?;
    let parser = library.new_parser(library.new_network(&builder, false)?)?;
    let has = |operator: &str| CString::new(operator).is_ok_and(|name| parser.supports(&name));
    Ok(known.into_iter().filter(|operator| !has(operator)).collect())
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
    let mut parser = library.new_parser(library.new_network(&builder, typed)?)?;
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
    let layers = match monitored {
        true => Vec::new(),
        false => parser.network().layers().map(|layer| owned(layer.name())).collect(),
    };
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
    let plan = if monitored { work()? } else { watch.timed("building the plan", layers, work)? };
    if watch.is_cancelled() {
        return Err(cancelled());
    }
    if let Some((file, before)) = cached {
        keep_timing_cache(&config, file, before, log);
    }
    Ok(plan)
}

fn owned(name: Option<&CStr>) -> String {
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn parse(parser: &mut Parser, data: &[u8], model: &Model, path: Option<&Path>, options: &Options) -> Result<()> {
    settings::instance_normalization(parser, options, model)?;
    network::parse(parser, data, model, path)
}

/// What is no timing cache is written over by one. Of a model or a plan that would be the end.
fn check_timing_cache(options: &Options) -> Result<()> {
    let Some(file) = &options.timing_cache else { return Ok(()) };
    let Ok(data) = model::map_file(file) else { return Ok(()) };
    let what = match model::recognize(&data) {
        Ok(Format::Onnx) => "an ONNX model",
        // TensorRT's timing caches begin as its plans do, but are of no version.
        Ok(Format::Plan) if Plan::parse(&data).is_ok_and(|plan| plan.origin.version.is_some()) => "a plan",
        _ => return Ok(()),
    };
    let message =
        format!("{} is {what} and no timing cache, which would take its place; name another file", shown(file));
    Err(Error::new(Code::InvalidArgument, message))
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
    fn instance_normalization_is_a_plugin_only_where_that_can_be_had() {
        use InstanceNormalization::{Decomposed, Default, Native, Plugin};
        for (version, has_plugin, default) in [
            (8503, true, Plugin),
            (8503, false, Decomposed),
            (8601, true, Native),
            (101_601, false, Native),
            (110_400, true, Native),
        ] {
            let version = Version::decode(version).unwrap();
            assert_eq!(Default.under(version, has_plugin), default, "{version}");
            for wanted in [Native, Plugin, Decomposed] {
                assert_eq!(wanted.under(version, has_plugin), wanted);
            }
        }
    }
}
