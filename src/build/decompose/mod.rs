//! Operators taken apart into others that a TensorRT computes itself.

mod channels;
mod graph;
mod instance;
mod tensors;
#[cfg(test)]
mod testing;
mod writer;

use super::Options;
use super::onnx::Model;
use super::protobuf::{Field, Fields, Message, text};
use crate::error::{Code, Error, Result};
use graph::Graph;
use instance::INSTANCE_NORMALIZATION;
use std::collections::HashSet;

/// Numbers of onnx.proto's `TensorProto.DataType`.
const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// What became of one node.
struct Part {
    operator: &'static str,
    /// The names in the model of the nodes that it took the place of.
    of: Vec<String>,
    /// The names of those that compute the mean and the deviation, which are float32 whatever the rest is.
    statistics: Vec<String>,
    /// The names of the others.
    others: Vec<String>,
}

/// What became of a model.
#[derive(Default)]
pub struct Decomposition(Vec<Part>);

impl Decomposition {
    /// Names the parts where the nodes that they were taken from are named; and the statistics, where layers may compute in
    /// less than float32.
    pub fn keep_float32(&self, options: &mut Options, is_reduced: bool) {
        let operators: HashSet<_> = self.0.iter().map(|part| part.operator).collect();
        let is_taken = |operator: &String| operators.contains(operator.as_str());
        let all: Vec<_> = options.float32_operators.extract_if(.., |operator| is_taken(operator)).collect();
        for part in &self.0 {
            let is_named = options.float32_nodes.iter().any(|name| part.of.contains(name))
                || all.iter().any(|operator| operator == part.operator);
            options.float32_nodes.retain(|name| !part.of.contains(name));
            if is_named || is_reduced {
                options.float32_nodes.extend_from_slice(&part.statistics);
            }
            if is_named {
                options.float32_nodes.extend_from_slice(&part.others);
            }
        }
    }
}

/// The version of ONNX's own operators that a model asks for.
fn opset(data: &[u8]) -> Result<u64> {
    let mut opset = 0;
    for field in Fields(data) {
        if let (8, Field::Bytes(set)) = field? {
            let (mut domain, mut version) = (String::new(), 0);
            for field in Fields(set) {
                match field? {
                    (1, Field::Bytes(bytes)) => domain = text(bytes),
                    (2, Field::Number(number)) => version = number,
                    _ => {}
                }
            }
            if matches!(domain.as_str(), "" | "ai.onnx") {
                opset = version;
            }
        }
    }
    Ok(opset)
}

/// The model with the nodes of its graph that are InstanceNormalization taken apart; and what became of each.
pub fn instance_normalization(data: &[u8], model: &Model) -> Result<(Vec<u8>, Decomposition)> {
    let opset = opset(data)?;
    // Before 7 operands were not extended to one another's shape.
    const FIRST: u64 = 7;
    if opset < FIRST {
        let message = format!(
            "{INSTANCE_NORMALIZATION} of opset {opset} is not taken apart; export the model with {FIRST} or later"
        );
        return Err(Error::new(Code::Unsupported, message));
    }
    let mut written = Message::default();
    let mut parts = Vec::new();
    for field in Fields(data) {
        match field? {
            (7, Field::Bytes(graph)) => written.add_message(7, write_graph(graph, model, opset, &mut parts)?),
            (number, field) => written.copy(number, &field),
        }
    }
    Ok((written.into_bytes(), Decomposition(parts)))
}

fn write_graph(graph: &[u8], model: &Model, opset: u64, parts: &mut Vec<Part>) -> Result<Message> {
    let read = Graph::read(graph)?;
    let mut written = Message::default();
    let (mut index, mut left_out) = (0, HashSet::new());
    for field in Fields(graph) {
        let (number, field) = field?;
        let (1, Field::Bytes(_)) = (number, &field) else {
            written.copy(number, &field);
            continue;
        };
        match read.nodes[index].is(INSTANCE_NORMALIZATION) {
            true => parts.push(instance::write(&mut written, (index, model), opset, &read, &mut left_out)?),
            false if left_out.contains(&index) => {}
            false => written.copy(number, &field),
        }
        index += 1;
    }
    Ok(written)
}
