//! The network: what the parser makes of a model, and the layers that stay in float32.

use super::Options;
use super::onnx::Model;
use crate::backend::tensorrt::{failed, gather};
use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use std::collections::HashSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tensorrt_sys::{DataType, Layer, Network, Parser, ParserError};

/// How many of the parser's errors are told.
const TOLD: usize = 8;

pub fn parse(parser: &mut Parser, data: &[u8], model: &Model, path: Option<&Path>) -> Result<()> {
    let version = parser.network().version();
    let path = path.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    let (is_done, said) = gather(|| parser.parse(data, path.as_deref()));
    if is_done {
        return Ok(());
    }
    let errors = parser.errors();
    let about_node = errors.iter().any(|error| error.node.is_some());
    let code = if about_node { Code::Unsupported } else { Code::InvalidModel };
    Err(failed(code, format!("the ONNX parser of {version} does not take it: {}", tell_errors(&errors, model)), &said))
}

/// The first of the parser's errors, with their nodes.
pub fn tell_errors(errors: &[ParserError], model: &Model) -> String {
    let told: Vec<_> = errors.iter().take(TOLD).map(|error| tell(error, model)).collect();
    told.join("; ")
}

fn tell(error: &ParserError, model: &Model) -> String {
    let mut what = error.description.trim();
    if what.contains("Plugin not found") {
        what = "TensorRT has no such operator, and no plugin of its name is loaded";
    }
    match (error.node, &error.node_name, &error.node_operator) {
        (Some(index), Some(name), Some(operator)) => format!("node {index} {} ({operator}): {what}", quoted(name)),
        (Some(index), ..) => format!("{}: {what}", model.describe(index)),
        _ => what.to_owned(),
    }
}

/// Sets the layers of the nodes and operators that are named to float32.
pub fn keep_float32(network: &Network, model: &Model, options: &Options) -> Result<()> {
    let mut wanted: HashSet<&str> = options.float32_nodes.iter().map(String::as_str).collect();
    let mut unnamed = HashSet::new();
    for operator in &options.float32_operators {
        if !model.has(operator) {
            let mut there: Vec<_> = model.nodes.iter().map(|node| node.operator.as_str()).collect();
            there.sort_unstable();
            there.dedup();
            let message =
                format!("no node is a {operator}, which is to stay in float32; there are {}", there.join(", "));
            return Err(Error::new(Code::NotFound, message));
        }
        for node in model.nodes.iter().filter(|node| node.operator == *operator) {
            match node.name.is_empty() {
                // Without a name its layer is known by the tensor that it computes.
                true => _ = unnamed.insert(node.output.as_str()),
                false => _ = wanted.insert(&node.name),
            }
        }
    }
    let mut found = HashSet::new();
    for mut layer in network.layers() {
        let is_wanted = match layer_node(&layer, &wanted) {
            Some(node) => {
                found.insert(node);
                true
            }
            None => computes(&layer, &unnamed),
        };
        if !is_wanted {
            continue;
        }
        let outputs: Vec<_> = layer.outputs().map(|(i, tensor)| (i, tensor.data_type())).collect();
        if outputs.iter().any(|(_, of)| matches!(of, Ok(DataType::Float | DataType::Half | DataType::Bf16))) {
            layer.set_precision(DataType::Float)?;
        }
        for (i, of) in outputs {
            if matches!(of, Ok(DataType::Float | DataType::Half | DataType::Bf16)) {
                layer.set_output_type(i, DataType::Float)?;
            }
        }
    }
    match options.float32_nodes.iter().find(|name| !found.contains(name.as_str())) {
        Some(name) => Err(Error::new(
            Code::NotFound,
            format!("no layer comes from a node {}, which is to stay in float32", quoted(name)),
        )),
        None => Ok(()),
    }
}

/// The node among those wanted that a layer was made for.
fn layer_node<'a>(layer: &Layer, wanted: &HashSet<&'a str>) -> Option<&'a str> {
    let name = layer.name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(node) = wanted.get(name.as_str()) {
        return Some(node);
    }
    let noted = layer.metadata().ok().flatten()?.to_string_lossy().into_owned();
    let node = noted.split_once("[ONNX Layer: ")?.1.split_once(']')?.0;
    wanted.get(node).copied()
}

fn computes(layer: &Layer, tensors: &HashSet<&str>) -> bool {
    !tensors.is_empty()
        && layer
            .outputs()
            .any(|(_, tensor)| tensor.name().is_some_and(|name| tensors.contains(name.to_string_lossy().as_ref())))
}
