//! What of ONNX OpenVINO is known to compute otherwise, without a word: refused.

use crate::backend::cpu::gate::NEWEST;
use crate::backend::cpu::node::title;
use crate::error::{Code, Error, Result};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// An error for a model that would come out wrong.
pub fn check(graph: &GraphProto, opset: i64) -> Result<()> {
    if opset > NEWEST {
        return Err(Error::new(
            Code::Unsupported,
            format!("the model is of operator set {opset}; those up to {NEWEST} are known here"),
        ));
    }
    if graph.node.len() > MOST_NODES {
        return Err(Error::new(
            Code::Unsupported,
            format!(
                "the model has {} nodes; OpenVINO is given up to {MOST_NODES}, since it takes more than twice the time for twice \
                 as many",
                graph.node.len()
            ),
        ));
    }
    check_graph(graph)
}

const MOST_NODES: usize = 10_000;

/// What a node may not be: (operator, whether it is, what is wrong). Each was seen to come out otherwise than ONNX says.
type Wrong = (&'static str, fn(&NodeProto, &GraphProto) -> bool, &'static str);

const WRONG: &[Wrong] = &[
    (
        "Attention",
        |node, _| number(node, "is_causal") == Some(1) && node.input.len() > 3,
        "a mask or a past beside is_causal",
    ),
    (
        "Attention",
        |node, _| node.attribute.iter().any(|one| !ATTENTION.contains(&one.name.as_str())),
        "a window, or what is as new",
    ),
    ("Bernoulli", |_, _| true, "numbers of chance"),
    ("BitShift", |_, _| true, "signed numbers, which it does not tell apart"),
    ("DFT", |node, _| node.attribute.iter().any(|one| one.name == "axis") || has_input(node, 2), "an axis"),
    ("DynamicQuantizeLinear", |_, _| true, "numbers half way between two"),
    ("LSTM", |node, _| has_input(node, 7), "peepholes"),
    (
        "QuantizeLinear",
        |node, graph| constant(graph, node, 2).is_none() && has_input(node, 2),
        "a type that is not known",
    ),
    ("QuantizeLinear", |node, graph| constant(graph, node, 2).is_some_and(is_16_bit), "16 bits"),
    ("RandomNormal", |_, _| true, "numbers of chance"),
    ("RandomNormalLike", |_, _| true, "numbers of chance"),
    ("RandomUniform", |_, _| true, "numbers of chance"),
    ("RandomUniformLike", |_, _| true, "numbers of chance"),
    ("Resize", |node, _| number(node, "antialias") == Some(1), "antialias = 1"),
    ("Resize", |node, _| number(node, "exclude_outside") == Some(1), "exclude_outside = 1"),
    (
        "Resize",
        |node, graph| {
            text(node, "coordinate_transformation_mode") == Some(b"align_corners")
                && has_input(node, 2)
                && !constant(graph, node, 2).is_some_and(are_whole)
        },
        "aligned corners and scales that are no whole numbers: give sizes",
    ),
    ("RoiAlign", |node, _| text(node, "mode") == Some(b"max"), "mode = max"),
    ("SpaceToDepth", |node, _| text(node, "mode") == Some(b"CRD"), "mode = CRD"),
    ("Tile", |node, graph| constant(graph, node, 1).is_none(), "repeats that are not known beforehand"),
    ("TopK", |_, _| true, "equal values, of which it takes others first"),
];

/// What an input of a node is, if that is constant.
fn constant<'a>(graph: &'a GraphProto, node: &NodeProto, index: usize) -> Option<&'a TensorProto> {
    let name = node.input.get(index).filter(|name| !name.is_empty())?;
    let made = || {
        let node = graph.node.iter().find(|node| node.op_type == "Constant" && node.output.first() == Some(name))?;
        node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()
    };
    graph.initializer.iter().find(|tensor| tensor.name == *name).or_else(made)
}

fn is_16_bit(tensor: &TensorProto) -> bool {
    [DataType::Int16 as i32, DataType::Uint16 as i32].contains(&tensor.data_type)
}

/// Whether all of its elements, float32, are whole numbers.
fn are_whole(tensor: &TensorProto) -> bool {
    let raw = tensor.raw_data.chunks_exact(4).filter_map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?)));
    tensor.float_data.iter().copied().chain(raw).all(|number| number.fract() == 0.0)
}

/// The attributes of Attention in operator set 23.
const ATTENTION: [&str; 7] =
    ["is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap", "softmax_precision"];

fn has_input(node: &NodeProto, index: usize) -> bool {
    node.input.get(index).is_some_and(|name| !name.is_empty())
}

fn number(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}

fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.s.as_slice())
}

fn check_graph(graph: &GraphProto) -> Result<()> {
    for node in &graph.node {
        check_window(node)?;
        let wrong = WRONG.iter().find(|(operator, is, _)| node.op_type == *operator && is(node, graph));
        if let Some((_, _, what)) = wrong {
            let message = format!("{}: OpenVINO does not compute it as ONNX says with {what}", title(node));
            return Err(Error::new(Code::Unsupported, message));
        }
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).try_for_each(check_graph)?;
        }
    }
    Ok(())
}

/// Kernels, strides and dilations that are none, which OpenVINO takes.
fn check_window(node: &NodeProto) -> Result<()> {
    for attribute in &node.attribute {
        if matches!(attribute.name.as_str(), "kernel_shape" | "strides" | "dilations")
            && let Some(number) = attribute.ints.iter().find(|number| **number < 1)
        {
            return Err(Error::new(
                Code::InvalidModel,
                format!("{}: {number} in {} is no extent", title(node), attribute.name),
            ));
        }
    }
    Ok(())
}
