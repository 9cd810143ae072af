//! The functions that a model defines, written out where they are called.

use super::rename;
use crate::backend::cpu::node::{is_standard, title};
use crate::error::{Code, Error, Result};
use crate::process::memory;
use crate::quote::quoted;
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, NodeProto};

/// How deep functions may call functions, and how many nodes they may come to: some definitions have no end.
const DEEPEST: usize = 32;
const MOST: usize = 100_000;

type Functions<'a> = HashMap<(&'a str, &'a str), &'a FunctionProto>;

pub fn write_out(graph: &mut GraphProto, functions: &[FunctionProto], opset: i64) -> Result<()> {
    if functions.is_empty() {
        return Ok(());
    }
    let mut known = Functions::new();
    for function in functions {
        if known.insert((domain(function.domain()), function.name()), function).is_some() {
            return Err(Error::new(
                Code::Unsupported,
                format!(
                    "the model defines the function {} more than once (overloads), which the CPU engine does not take; \
                     write the functions out (onnx.inliner.inline_local_functions)",
                    quoted(function.name())
                ),
            ));
        }
    }
    let mut work = Writing { functions: known, opset, written: 0, bytes: 0 };
    work.graph(graph, 0)
}

/// Both names of ONNX's own domain are one.
fn domain(name: &str) -> &str {
    if is_standard(name) { "" } else { name }
}

struct Writing<'a> {
    functions: Functions<'a>,
    opset: i64,
    written: usize,
    bytes: usize,
}

impl Writing<'_> {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<()> {
        graph.node = self.nodes(std::mem::take(&mut graph.node), depth)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>> {
        let mut written = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let key = (domain(&node.domain), node.op_type.as_str());
            let Some(function) = self.functions.get(&key).copied() else {
                for attribute in &mut node.attribute {
                    for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                        self.graph(graph, depth)?;
                    }
                }
                written.push(node);
                continue;
            };
            let refuse = |why: String| Err(Error::new(Code::Unsupported, format!("{}: {why}", title(&node))));
            if depth >= DEEPEST {
                return refuse(format!("functions call functions more than {DEEPEST} times"));
            }
            let own = function.opset_import.iter().find(|import| is_standard(&import.domain));
            if let Some(own) = own.filter(|own| own.version != self.opset) {
                return refuse(format!(
                    "the function is of operator set {}, the model of {}; convert the model to one",
                    own.version, self.opset
                ));
            }
            self.written += function.node.len();
            self.bytes = self.bytes.saturating_add(function.encoded_len());
            memory::require("the model with its functions written out", (self.bytes as u64).saturating_mul(4))?;
            if self.written > MOST {
                return refuse(format!("the model's functions come to more than {MOST} nodes"));
            }
            let body = match body(function, &node, self.written) {
                Ok(body) => body,
                // The messages that the model is decoded into have no place for defaults.
                Err(name) => {
                    return refuse(format!(
                        "its attribute {} is left to the function's default, which the CPU engine does not read; write the \
                         functions out (onnx.inliner.inline_local_functions)",
                        quoted(&name)
                    ));
                }
            };
            written.extend(self.nodes(body, depth + 1)?);
        }
        Ok(written)
    }
}

/// A function's nodes with what a call gives them, or the attribute that it does not give.
fn body(function: &FunctionProto, call: &NodeProto, number: usize) -> std::result::Result<Vec<NodeProto>, String> {
    let mut names: HashMap<&str, String> = HashMap::new();
    for (place, name) in function.input.iter().enumerate() {
        names.insert(name, call.input.get(place).cloned().unwrap_or_default());
    }
    let mut nodes = function.node.clone();
    let mut passed = Vec::new();
    for (place, name) in function.output.iter().enumerate() {
        let Some(outer) = call.output.get(place).filter(|outer| !outer.is_empty()) else { continue };
        // An output that is an input as well, or another output.
        match names.get(name.as_str()) {
            Some(inner) => passed.push((inner.clone(), outer.clone())),
            None => {
                names.insert(name, outer.clone());
            }
        }
    }
    let prefix = call.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    rename(&mut nodes, &|name| names.get(name).cloned().unwrap_or_else(|| format!("{prefix}/{number}/{name}")));
    let given = |name: &str| match call.attribute.iter().find(|attribute| attribute.name == name) {
        Some(attribute) => Ok(Some(attribute)),
        None if function.attribute.iter().any(|declared| declared == name) => Ok(None),
        None => Err(name.to_owned()),
    };
    for node in &mut nodes {
        node.name = match (call.name.as_str(), node.name.as_str()) {
            ("", _) => String::new(),
            (call, "") => format!("{call}/{}", node.op_type),
            (call, own) => format!("{call}/{own}"),
        };
        fill(node, &given)?;
    }
    nodes.extend(passed.into_iter().map(|(from, to)| NodeProto {
        op_type: "Identity".to_owned(),
        input: vec![from],
        output: vec![to],
        ..NodeProto::default()
    }));
    Ok(nodes)
}

/// What a call gives for an attribute of the function: nothing, where that is allowed.
type Given<'a> = std::result::Result<Option<&'a AttributeProto>, String>;

/// Puts attributes of a call in the places that refer to them. One that is not given is left out.
fn fill<'a>(node: &mut NodeProto, given: &impl Fn(&str) -> Given<'a>) -> std::result::Result<(), String> {
    let mut attributes = Vec::with_capacity(node.attribute.len());
    for attribute in std::mem::take(&mut node.attribute) {
        if attribute.ref_attr_name.is_empty() {
            attributes.push(attribute);
        } else if let Some(given) = given(&attribute.ref_attr_name)? {
            attributes.push(AttributeProto { name: attribute.name, ..given.clone() });
        }
    }
    node.attribute = attributes;
    for attribute in &mut node.attribute {
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            graph.node.iter_mut().try_for_each(|node| fill(node, given))?;
        }
    }
    Ok(())
}
