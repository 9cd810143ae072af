//! New weights for a plan, from a model of the graph that it was built from.

use super::network::tell_errors;
use super::progress::Watch;
use super::{Options, Prepared, cancelled, prepare};
use crate::backend::tensorrt::{BuilderLibrary, Lines, Plan, PlanOptions, failed, gather};
use crate::error::{Code, Error, Result};
use crate::model::{self, Format};
use crate::process::stack;
use crate::quote::{quoted_bytes, shown};
use crate::runtime::Runtime;
use std::collections::HashSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tensorrt_sys::{Engine, Generation, LayerWeights, Refitter, WeightsRole};

/// A plan with the weights of a model file. Weights in other files lie in its folder.
pub fn refit_file(runtime: &Runtime, plan: &Path, onnx: &Path, options: &Options) -> Result<Vec<u8>> {
    let old = model::map_file(plan)?;
    check_plan(&old).map_err(|error| error.within(shown(plan)))?;
    let data = model::map_file(onnx)?;
    refit(runtime, &old, &data, Some(onnx), options).map_err(|error| error.within(shown(plan)))
}

/// A plan with the weights of a model, both in memory.
pub fn refit_memory(runtime: &Runtime, plan: &[u8], onnx: &[u8], options: &Options) -> Result<Vec<u8>> {
    check_plan(plan)?;
    refit(runtime, plan, onnx, options.model_path().as_deref(), options)
}

fn check_plan(plan: &[u8]) -> Result<()> {
    match model::recognize(plan)? {
        Format::Plan => Ok(()),
        Format::Onnx => {
            Err(Error::new(Code::InvalidModel, "this is an ONNX model; it is a plan that gets new weights"))
        }
    }
}

fn refit(runtime: &Runtime, plan: &[u8], data: &[u8], path: Option<&Path>, options: &Options) -> Result<Vec<u8>> {
    if model::recognize(data)? == Format::Plan {
        return Err(Error::new(Code::InvalidModel, "a plan gets its weights from an ONNX model, and not from a plan"));
    }
    let model = super::read(data, path)?;
    let watch = Watch::new(options.progress.clone());
    // TensorRT goes deep.
    stack::with_room(|| {
        let plan = Plan::parse(plan)?;
        let library = runtime.builder_library()?;
        let tensorrt = runtime.tensorrt()?;
        let _current = tensorrt.device().make_current()?;
        let prepared = prepare(data, model, options, &library, true, runtime.log())?;
        check_normalization(&library, &prepared)?;
        let engine = watch.step("loading the plan", || tensorrt.load_plan(&plan, &PlanOptions::default()))?;
        if !engine.is_refittable() {
            let message = "the plan's weights are not to be replaced: build it refittable (PLANRT_BUILD_REFITTABLE, \
                           planrt build --refit)";
            return Err(Error::new(Code::Unsupported, message));
        }
        let refitter = library.new_refitter(&engine)?;
        match library.version().generation {
            Generation::V8 => by_layers(&library, refitter, &prepared, path, options, &watch)?,
            _ => by_names(&library, refitter, &prepared, path, &watch)?,
        }
        let plan = watch.step("writing the plan", || serialize(&engine))?;
        if watch.is_cancelled() { Err(cancelled()) } else { Ok(plan) }
    })
    .map_err(|error| if watch.is_cancelled() { cancelled() } else { error })
}

/// The plugin has its scales and biases from when the plan was built, and TensorRT does not tell of them.
fn check_normalization(library: &BuilderLibrary, prepared: &Prepared<'_>) -> Result<()> {
    if !prepared.has_plugin {
        return Ok(());
    }
    let version = library.version();
    Err(Error::new(
        Code::Unsupported,
        format!(
            "InstanceNormalization is a plugin under {version}, whose weights cannot be replaced: have it decomposed when the \
             plan is built, and when it is refitted (PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED, \
             --instanceNormalization=decomposed)"
        ),
    ))
}

/// From 10 TensorRT's parser gives the engine the weights by their names in the model.
fn by_names(
    library: &BuilderLibrary,
    refitter: Refitter,
    Prepared { data, model, .. }: &Prepared<'_>,
    path: Option<&Path>,
    watch: &Watch,
) -> Result<()> {
    let mut parser = library.new_parser_refitter(refitter)?;
    let path = path.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    watch.step("reading the weights", || {
        let (is_done, said) = gather(|| parser.take(data, path.as_deref()));
        match is_done {
            true => Ok(()),
            false => {
                let told = tell_errors(&parser.errors(), model);
                let message = format!("the model's weights are not those of the plan: {told}");
                Err(failed(Code::IncompatibleModel, message, &said))
            }
        }
    })?;
    check_missing(parser.refitter())?;
    watch.step("refitting the plan", || {
        let (is_done, said) = gather(|| parser.refit());
        refitted(is_done, &said)
    })
}

/// TensorRT 8 is told the weights layer by layer, as its parser makes them of the model.
fn by_layers(
    library: &BuilderLibrary,
    mut refitter: Refitter,
    Prepared { data, model, .. }: &Prepared<'_>,
    path: Option<&Path>,
    options: &Options,
    watch: &Watch,
) -> Result<()> {
    let builder = library.new_builder()?;
    let mut parser = library.new_parser(library.new_network(&builder, false)?)?;
    watch.step("reading the weights", || super::parse(&mut parser, data, model, path, options))?;
    let weights = parser.layer_weights();
    let wanted: HashSet<_> = refitter.all().into_iter().filter_map(|(layer, role)| Some((layer, role?))).collect();
    let is_wanted = |of: &LayerWeights<'_>| wanted.contains(&(of.layer.clone(), of.role));
    if let Some(more) = weights.iter().find(|of| of.role == WeightsRole::Kernel && !is_wanted(of)) {
        return Err(other_graph(&format!("it has no layer {}", quoted_bytes(more.layer.as_bytes()))));
    }
    let weights: Vec<_> = weights.into_iter().filter(is_wanted).collect();
    let given: HashSet<_> = weights.iter().map(|of| (of.layer.clone(), of.role)).collect();
    if let Some((layer, role)) = wanted.iter().find(|of| !given.contains(of)) {
        return Err(other_graph(&format!("its layer {} lacks its {role:?}", quoted_bytes(layer.as_bytes()))));
    }
    watch.step("refitting the plan", || {
        let (is_done, said) = gather(|| refitter.refit_layers(&weights));
        match is_done {
            Ok(true) => Ok(()),
            Ok(false) => check_missing(&refitter).and_then(|()| refitted(false, &said)),
            Err(i) => {
                let LayerWeights { layer, role, .. } = &weights[i];
                let layer = quoted_bytes(layer.as_bytes());
                let what = format!("its layer {layer} does not take the {} numbers of {role:?}", weights[i].count());
                Err(failed(Code::IncompatibleModel, graph_message(&what), &said))
            }
        }
    })
}

fn graph_message(what: &str) -> String {
    format!("the plan was built from a model of another graph, or with other options: {what}")
}

fn other_graph(what: &str) -> Error {
    Error::new(Code::IncompatibleModel, graph_message(what))
}

/// Whether everything was given that the engine needs.
fn check_missing(refitter: &Refitter) -> Result<()> {
    let name = refitter.missing_weights().into_iter().next();
    let name = name.or_else(|| refitter.missing().into_iter().next().map(|(layer, _)| layer));
    match name {
        Some(name) => Err(other_graph(&format!("the model has no weights {}", quoted_bytes(name.as_bytes())))),
        None => Ok(()),
    }
}

fn refitted(is_done: bool, said: &Lines) -> Result<()> {
    match is_done {
        true => Ok(()),
        false => Err(failed(Code::TensorRt, "TensorRT does not refit the plan".to_owned(), said)),
    }
}

fn serialize(engine: &Engine) -> Result<Vec<u8>> {
    let (plan, said) = gather(|| engine.serialize_whole());
    let plan = plan.map(|plan| plan.to_vec());
    plan.ok_or_else(|| failed(Code::TensorRt, "TensorRT does not serialize the refitted engine".to_owned(), &said))
}
