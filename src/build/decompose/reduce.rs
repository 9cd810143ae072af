//! Reductions as TensorRT 8's parser reads them.
//!
//! From opset 18 on the axes of all of them are an input, as ReduceSum's are from 13 on. TensorRT 8.5 looks for the attribute that they
//! were before, and without it reduces over all axes, whatever the input says; it says nothing about it. So the attribute is written.

use super::graph::{Graph, Node};
use super::writer::axes_attribute;
use crate::build::protobuf::{Fields, Message};
use crate::error::Result;

/// The first opset in which the axes of all are an input.
pub(super) const AXES_ARE_AN_INPUT: u64 = 18;

const OPERATORS: [&str; 10] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

pub fn is_one(operator: &str) -> bool {
    OPERATORS.contains(&operator)
}

/// A node whose axes are an attribute, in place of one whose axes are an input.
pub fn with_attribute(
    message: &[u8],
    node: &Node,
    graph: &Graph,
    opset: u64,
) -> Result<std::result::Result<Option<Message>, String>> {
    let is_sum = node.is("ReduceSum");
    let is_one = OPERATORS.iter().any(|operator| node.is(operator)) && (is_sum || opset >= AXES_ARE_AN_INPUT);
    // A sum's axes are read where they are; that there are none, and nothing is to be reduced, is not.
    if !is_one || node.has_axes || (is_sum && !node.noop_with_empty_axes) {
        return Ok(Ok(None));
    }
    let axes = match node.inputs.get(1).filter(|name| !name.is_empty()) {
        Some(name) => match graph.tensors.get(name).numbers {
            Some(axes) => axes,
            None => {
                let why = "its axes are computed, or too many, and TensorRT 8 takes only such as the model brings";
                return Ok(Err(why.to_owned()));
            }
        },
        None => Vec::new(),
    };
    let is_noop = axes.is_empty() && node.noop_with_empty_axes;
    if is_sum && !is_noop {
        return Ok(Ok(None));
    }
    if is_noop && !leaves_one(&node.operator) {
        return Ok(Err("what it makes of each element, over no axes, ONNX says in two ways".to_owned()));
    }
    let (mut written, mut inputs) = (Message::default(), 0);
    for field in Fields(message) {
        match field? {
            (1, field) => {
                inputs += 1;
                if inputs == 1 {
                    written.copy(1, &field);
                }
            }
            (4, _) if is_noop => written.add_bytes(4, b"Identity"),
            (5, _) if is_noop => {}
            (number, field) => written.copy(number, &field),
        }
    }
    if !axes.is_empty() {
        written.add_message(5, axes_attribute(&axes));
    }
    Ok(Ok(Some(written)))
}

/// Whether TensorRT 8.5 would reduce over other axes than a node says.
pub fn is_misread(message: &[u8], node: &Node, graph: &Graph, opset: u64) -> Result<bool> {
    let has_axes = node.inputs.get(1).is_some_and(|name| !name.is_empty());
    Ok((has_axes || node.noop_with_empty_axes) && !matches!(with_attribute(message, node, graph, opset)?, Ok(None)))
}

/// Whether it is an element itself that a reduction of that element alone gives.
fn leaves_one(operator: &str) -> bool {
    matches!(operator, "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum")
}

#[cfg(test)]
mod tests {
    use super::super::graph::Node;
    use super::super::testing::*;
    use super::super::{FLOAT, Wanted, take_apart};
    use super::*;
    use crate::build::onnx::Model;
    use crate::build::protobuf::Field;
    use crate::error::Code;

    const EXTENTS: [u64; 4] = [2, 3, 4, 5];

    /// y = x - the operator of x over the axes that `more` has; with a number for an attribute.
    fn model(operator: &str, inputs: &[&str], is_noop: bool, more: Message) -> Vec<u8> {
        let mut reduction = node("it", operator, inputs, "reduced");
        if is_noop {
            let attribute = Message::default().text(1, "noop_with_empty_axes").number(3, 1).number(20, 2);
            reduction.add_message(5, attribute);
        }
        let graph = more
            .message(1, reduction)
            .message(1, node("difference", "Sub", &["x", "reduced"], "y"))
            .text(2, "graph")
            .message(11, value("x", FLOAT, &EXTENTS))
            .message(12, value("y", FLOAT, &EXTENTS));
        let opset = Message::default().number(2, 18);
        Message::default().number(1, 8).message(7, graph).message(8, opset).into_bytes()
    }

    fn rewrite(data: &[u8]) -> crate::error::Result<Vec<u8>> {
        let wanted = Wanted { operators: &[], axes_are_attributes: true };
        Ok(take_apart(data, &Model::read(data)?, &wanted)?.0)
    }

    /// The same graph as a model of opset 17, which has axes as attributes.
    #[cfg(feature = "cpu")]
    fn older(data: &[u8]) -> Vec<u8> {
        let mut written = Message::default();
        for field in Fields(data) {
            match field.unwrap() {
                (8, _) => written.add_message(8, Message::default().number(2, 17)),
                (number, field) => written.copy(number, &field),
            }
        }
        written.into_bytes()
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn reductions_are_over_the_same_axes() {
        let x: Vec<_> = (0..120).map(|i| 1.0 + ((i * 7919) % 101) as f32 / 64.0).collect();
        for operator in OPERATORS {
            for (axes, is_noop) in [(&[1, -1][..], false), (&[2], true), (&[], false), (&[], true)] {
                if !leaves_one(operator) && axes.is_empty() && is_noop {
                    continue;
                }
                let whole =
                    model(operator, &["x", "axes"], is_noop, Message::default().message(5, integers("axes", axes)));
                let found = run(&older(&rewrite(&whole).unwrap()), FLOAT, &EXTENTS, &x);
                let wanted = run(&whole, FLOAT, &EXTENTS, &x);
                for (found, wanted) in found.iter().zip(&wanted) {
                    let off = (found - wanted).abs() / wanted.abs().max(1.0);
                    assert!(off < 1e-5, "{operator} over {axes:?}, {is_noop}: {found}, not {wanted}");
                }
            }
        }
    }

    #[test]
    fn axes_become_an_attribute_once() {
        let read = |data: &[u8]| {
            let mut nodes = Vec::new();
            for field in Fields(data) {
                let (7, Field::Bytes(graph)) = field.unwrap() else { continue };
                for field in Fields(graph) {
                    let (1, Field::Bytes(node)) = field.unwrap() else { continue };
                    nodes.push(Node::read(node).unwrap());
                }
            }
            nodes
        };
        let whole = model("ReduceMax", &["x", "axes"], true, Message::default().message(5, integers("axes", &[1])));
        let once = rewrite(&whole).unwrap();
        let node = &read(&once)[0];
        assert!(node.inputs == ["x"] && node.has_axes && node.is("ReduceMax") && node.name == "it");
        assert_eq!(rewrite(&once).unwrap(), once);
        // A sum over axes is read as it is.
        for is_noop in [false, true] {
            let axes = Message::default().message(5, integers("axes", &[1]));
            let sum = model("ReduceSum", &["x", "axes"], is_noop, axes);
            assert_eq!(rewrite(&sum).unwrap(), sum);
        }
        let other = model("Softmax", &["x"], false, Message::default());
        assert!(Wanted { operators: &[], axes_are_attributes: true }.is_nothing(&Model::read(&other).unwrap()));
    }

    #[test]
    fn axes_that_are_computed_are_refused() {
        let computed = Message::default().message(1, node("shape", "Shape", &["x"], "axes"));
        let error = rewrite(&model("ReduceMean", &["x", "axes"], false, computed)).err().unwrap();
        assert!(error.code() == Code::Unsupported && error.message().contains("node 1 \"it\" (ReduceMean)"), "{error}");
    }
}
