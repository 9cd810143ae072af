//! What stands between a model and tract: operators and attributes that are not known to come out right are refused, by
//! node, operator and attribute.

mod checks;
mod table;
mod typed;

use super::node::{Constants, Node, cut, is_standard, title};
use super::told::{is_far, parameters};
use crate::error::{Code, Error, Result};
use std::collections::BTreeSet;
pub(in crate::backend) use table::NEWEST;
use table::{Allowed, OPERATORS, Operator, Refusal};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};
pub use typed::check as check_typed;

/// More nodes than any network has that people train. tract's time grows with the square of their number: it is seconds for
/// a few thousand.
const MOST_NODES: usize = 20_000;
/// More inputs and outputs than a model has that keeps all its layers' states outside of it.
const MOST_TENSORS: usize = 4096;

/// An error if there is so much that loading would have no end.
pub fn check_size(graph: &GraphProto) -> Result<()> {
    let refuse = |message| Err(Error::new(Code::Unsupported, message));
    let nodes = count(graph);
    if nodes > MOST_NODES {
        return refuse(format!(
            "the model has {nodes} nodes; the CPU engine takes at most {MOST_NODES} (onnxsim or onnxslim may fold some)"
        ));
    }
    // Old writers list weights as inputs too.
    let tensors = graph.input.len().saturating_sub(graph.initializer.len()) + graph.output.len();
    match tensors > MOST_TENSORS {
        true => {
            refuse(format!("the model has {tensors} inputs and outputs; the CPU engine takes at most {MOST_TENSORS}"))
        }
        false => Ok(()),
    }
}

fn count(graph: &GraphProto) -> usize {
    let within = graph.node.iter().flat_map(|node| &node.attribute).flat_map(|a| a.g.iter().chain(&a.graphs));
    graph.node.len() + within.map(count).sum::<usize>()
}

/// An error if the model uses what the CPU engine does not compute, or not for certain.
pub fn check(graph: &GraphProto, opset: i64) -> Result<()> {
    if opset > NEWEST {
        return Err(Error::new(
            Code::Unsupported,
            format!("the model is of operator set {opset}; the CPU engine knows those up to {NEWEST}"),
        ));
    }
    let mut lacking = BTreeSet::new();
    check_graph(graph, opset, &mut lacking)?;
    if lacking.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = lacking.into_iter().collect();
    let (noun, it) = if names.len() == 1 { ("operator", "it") } else { ("operators", "them") };
    Err(Error::new(
        Code::Unsupported,
        format!("the model uses the {noun} {}; the CPU engine (tract) lacks {it}", names.join(", ")),
    ))
}

/// Both names of ONNX's own domain are one.
fn standard_name(domain: &str) -> &str {
    if is_standard(domain) { "" } else { domain }
}

fn check_graph(graph: &GraphProto, opset: i64, lacking: &mut BTreeSet<String>) -> Result<()> {
    let constants = Constants::of(graph);
    for proto in &graph.node {
        let unsupported = |why: &str| Err(Error::new(Code::Unsupported, format!("{}: {why}", title(proto))));
        let operator = OPERATORS.iter().find(|operator| operator.name == proto.op_type);
        let Some(operator) = operator.filter(|_| is_standard(&proto.domain)) else {
            lacking.insert(match standard_name(&proto.domain) {
                "" => cut(&proto.op_type),
                domain => format!("{}.{}", cut(domain), cut(&proto.op_type)),
            });
            continue;
        };
        let node = Node::new(proto, &constants, opset);
        if let Err(Refusal { why, hint }) = check_node(operator, proto, &node) {
            let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
            return unsupported(&format!("the CPU engine does not compute it with {why}{hint}"));
        }
        for attribute in &proto.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                check_graph(graph, opset, lacking)?;
            }
        }
    }
    Ok(())
}

fn check_node(operator: &Operator, proto: &NodeProto, node: &Node) -> std::result::Result<(), Refusal> {
    let refuse = |why| Err(Refusal { why, hint: "" });
    for attribute in node.attributes() {
        // Of the first operator set, about memory only.
        if attribute.name == "consumed_inputs" {
            continue;
        }
        let allowed = operator.attributes.iter().find(|(name, _)| *name == attribute.name);
        if !allowed.is_some_and(|(_, allowed)| admits(allowed, attribute)) {
            return refuse(format!("attribute {}{}", cut(&attribute.name), value(attribute)));
        }
    }
    let used = (0..node.output_count()).rev().find(|index| node.has_output(*index)).map_or(0, |index| index + 1);
    if used > operator.outputs {
        return refuse(format!("{used} outputs"));
    }
    for input in parameters(proto) {
        // What these fill with, count from or cut at may be any number.
        let any = matches!((operator.name, input), ("Pad" | "OneHot", 2) | ("Range" | "Slice", _));
        if let Some(far) = node.numbers(*input).into_iter().flatten().find(|number| !any && is_far(*number)) {
            return refuse(format!("{far} in input {input}, which is no extent"));
        }
    }
    operator.check.map_or(Ok(()), |check| check(node))
}

fn admits(allowed: &Allowed, attribute: &AttributeProto) -> bool {
    let is = |kind: AttributeType| attribute.r#type == kind as i32;
    // Attributes that a function's caller would give are not here.
    attribute.ref_attr_name.is_empty()
        && match allowed {
            Allowed::Any => true,
            Allowed::Int(values) => is(AttributeType::Int) && values.contains(&attribute.i),
            Allowed::Float(value) => is(AttributeType::Float) && attribute.f == *value,
            Allowed::Text(values) => {
                is(AttributeType::String) && values.iter().any(|value| value.as_bytes() == attribute.s)
            }
        }
}

/// An attribute's value, where it is short.
fn value(attribute: &AttributeProto) -> String {
    match AttributeType::try_from(attribute.r#type) {
        Ok(AttributeType::Int) => format!(" = {}", attribute.i),
        Ok(AttributeType::Float) => format!(" = {}", attribute.f),
        Ok(AttributeType::String) => format!(" = {}", cut(&String::from_utf8_lossy(&attribute.s))),
        Ok(AttributeType::Ints) if attribute.ints.len() < 12 => format!(" = {:?}", attribute.ints),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_stands_once_in_order() {
        assert!(OPERATORS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
