//! A build's settings in the words of each TensorRT.

use super::onnx::Model;
use super::precision::{BEST, BFLOAT16, FLOAT16, INT8, TF32, TYPED};
use super::{InstanceNormalization, Options};
use crate::error::{Code, Error, Result};
use tensorrt_sys::{
    BuilderConfig, BuilderFlag, Generation, HardwareCompatibilityLevel, MemoryPoolType, OnnxParserFlag, Parser,
    ProfilingVerbosity, Version,
};

fn invalid(message: &str) -> Error {
    Error::new(Code::InvalidArgument, message)
}

fn is_quantized(model: &Model) -> bool {
    model.has("QuantizeLinear") || model.has("DequantizeLinear")
}

/// What contradicts itself, or the model, with any TensorRT.
pub fn check(options: &Options, model: &Model) -> Result<()> {
    if options.wants(TYPED) && options.wants(FLOAT16 | BFLOAT16 | INT8 | BEST) {
        return Err(invalid("a typed network takes its precisions from the model; ask for no other beside TF32"));
    }
    if options.wants(TYPED) && options.keeps_float32() {
        return Err(invalid("a typed network takes its precisions from the model: what is to be float32 is so there"));
    }
    if options.wants(INT8) && !is_quantized(model) {
        return Err(Error::new(
            Code::Unsupported,
            "int8 takes its scales from QuantizeLinear and DequantizeLinear nodes, and this model has none; quantize it \
             first, or leave int8 out",
        ));
    }
    if options.exclude_lean_runtime && !options.version_compatible {
        return Err(invalid("only a version-compatible plan has a lean runtime that can be left out"));
    }
    Ok(())
}

/// Whether layers may compute in less than float32 unless they are told not to.
pub fn is_reduced(options: &Options, version: Version) -> bool {
    has_flags(version) && options.wants(FLOAT16 | BFLOAT16 | INT8 | BEST)
}

/// Whether precisions are a matter of flags. Later they are in the model alone.
fn has_flags(version: Version) -> bool {
    matches!(version.generation, Generation::V8 | Generation::V10)
}

/// Whether the network's types are the model's.
pub fn typed(options: &Options, version: Version) -> Result<bool> {
    let always = !has_flags(version);
    if always && (options.wants(FLOAT16 | BFLOAT16) || options.keeps_float32()) {
        return Err(Error::new(
            Code::Unsupported,
            format!(
                "{version} takes precisions from the model alone: convert the ONNX model to the types that it is to compute \
                 in, and ask for none here"
            ),
        ));
    }
    if version.generation == Generation::V8 && options.wants(TYPED) {
        return Err(Error::new(Code::Unsupported, format!("{version} has no typed networks; TensorRT 10 and 11 do")));
    }
    Ok(always || options.wants(TYPED))
}

pub fn apply(
    config: &mut BuilderConfig,
    options: &Options,
    model: &Model,
    version: Version,
    compute_capability: Option<(i32, i32)>,
) -> Result<()> {
    let best = options.wants(BEST);
    config.set_flag(BuilderFlag::Tf32, best || options.wants(TF32))?;
    if has_flags(version) {
        let ampere = compute_capability.is_some_and(|capability| capability >= (8, 0));
        let wanted = [
            (BuilderFlag::Fp16, best || options.wants(FLOAT16)),
            (BuilderFlag::Int8, (best && is_quantized(model)) || options.wants(INT8)),
            (BuilderFlag::Bf16, (best && version.generation == Generation::V10 && ampere) || options.wants(BFLOAT16)),
            (BuilderFlag::ObeyPrecisionConstraints, options.keeps_float32()),
        ];
        for (flag, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
            config.set_flag(flag, true)?;
        }
    }
    let wanted = [
        (BuilderFlag::VersionCompatible, options.version_compatible),
        (BuilderFlag::ExcludeLeanRuntime, options.exclude_lean_runtime),
        (BuilderFlag::Refit, options.refittable),
        (BuilderFlag::StripPlan, options.strip_weights),
        (BuilderFlag::WeightStreaming, options.weight_streaming),
        (BuilderFlag::SparseWeights, options.sparse_weights),
    ];
    for (flag, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        config.set_flag(flag, true)?;
    }
    let is_early = match version.generation {
        Generation::V8 => true,
        Generation::V10 => version.minor < 9,
        Generation::V11 | Generation::Rtx => false,
    };
    if is_early && options.hardware_compatibility == HardwareCompatibilityLevel::SameComputeCapability {
        let message = format!(
            "{version} builds no plan for all GPUs of one compute capability; TensorRT 10 does from 10.9 on, TensorRT 11 and \
             TensorRT-RTX"
        );
        return Err(Error::new(Code::Unsupported, message));
    }
    if options.hardware_compatibility != HardwareCompatibilityLevel::None {
        config.set_hardware_compatibility_level(options.hardware_compatibility)?;
    }
    if let Some(level) = options.optimization_level {
        config.set_optimization_level(level)?;
    }
    let (added, taken) = (&options.tactics_added, &options.tactics_taken);
    let are_said = added.len() + taken.len() != 0;
    if are_said && !config.change_tactic_sources(added, taken)? {
        return Err(Error::new(Code::TensorRt, format!("{version} refuses the tactics {added:?} without {taken:?}")));
    }
    if let Some(bytes) = options.workspace_bytes {
        config.set_memory_pool_limit(MemoryPoolType::Workspace, bytes);
    }
    if options.detailed_layers {
        config.set_profiling_verbosity(ProfilingVerbosity::Detailed);
    }
    Ok(())
}

/// Whether this TensorRT has layers of its own for InstanceNormalization.
pub fn has_instance_normalization(version: Version) -> bool {
    version.generation != Generation::V8 || version.minor >= 6
}

pub fn instance_normalization(parser: &mut Parser, options: &Options, model: &Model) -> Result<()> {
    if !model.has("InstanceNormalization") {
        return Ok(());
    }
    let wanted = options.instance_normalization;
    let set = parser.set_flag(OnnxParserFlag::NativeInstanceNorm, wanted != InstanceNormalization::Plugin);
    match set {
        // 8.5 has the plugin only.
        Err(_) if wanted != InstanceNormalization::Native => Ok(()),
        set => Ok(set?),
    }
}
