//! What is said in a way that tract does not take, or takes for something else, said in another.

use crate::backend::cpu::node::Constants;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

pub fn renew(graph: &mut GraphProto, opset: i64) {
    let mut tensors = axes_of_sums(graph);
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|graph| renew(graph, opset));
        }
        match node.op_type.as_str() {
            "Compress" if node.input.len() == 2 => nodes.extend(compress(node, opset, &mut tensors)),
            "Einsum" => nodes.extend(einsum(node, opset, &mut tensors)),
            _ => {
                respell(&mut node, opset, &mut tensors);
                nodes.push(node);
            }
        }
    }
    graph.node = nodes;
    graph.initializer.append(&mut tensors);
}

/// The axis of a sum that is in a list of its own, as the number that tract wants.
fn axes_of_sums(graph: &mut GraphProto) -> Vec<TensorProto> {
    let constants = Constants::of(graph);
    let mut made = Vec::new();
    let mut changes = Vec::new();
    for (place, node) in graph.node.iter().enumerate() {
        if !matches!(node.op_type.as_str(), "CumProd" | "CumSum") {
            continue;
        }
        let Some(name) = node.input.get(1) else { continue };
        let (Some(tensor), Some(axis)) = (constants.tensor(name), constants.integers(name)) else { continue };
        if tensor.dims.is_empty() || axis.len() != 1 {
            continue;
        }
        let name = format!("{}/axis", node.output.first().map_or("", String::as_str));
        made.push(numbers(name.clone(), Vec::new(), axis));
        changes.push((place, name));
    }
    for (place, name) in changes {
        graph.node[place].input[1] = name;
    }
    made
}

/// What older operator sets say in another way.
fn respell(node: &mut NodeProto, opset: i64, tensors: &mut Vec<TensorProto>) {
    let place = |name: &str| node.attribute.iter().position(|attribute| attribute.name == name);
    match node.op_type.as_str() {
        // Before operator set 11 the bounds that are not said are the ends of float32, so that nothing infinite goes through.
        "Clip" if (6..11).contains(&opset) => {
            for (name, bound) in [("min", f32::MIN), ("max", f32::MAX)] {
                if !node.attribute.iter().any(|attribute| attribute.name == name) {
                    node.attribute.push(float(name, bound));
                }
            }
        }
        // Operator sets 7 and 8 have the factors as an attribute, later ones as an input.
        "Upsample" if node.input.len() == 1 => {
            let Some(place) = place("scales") else { return };
            let scales = node.attribute.remove(place).floats;
            let name = format!("{}/scales", node.output.first().map_or("", String::as_str));
            node.input.push(name.clone());
            tensors.push(TensorProto {
                name,
                dims: vec![scales.len() as i64],
                data_type: DataType::Float as i32,
                float_data: scales,
                ..TensorProto::default()
            });
        }
        // Before operator set 10 a Slice has as attributes what later ones have as inputs.
        "Slice" if node.input.len() == 1 => {
            let given = ["starts", "ends", "axes"].map(|name| Some((name, node.attribute[place(name)?].ints.clone())));
            let [Some(starts), Some(ends), axes] = given else { return };
            let axes = axes.unwrap_or_else(|| ("axes", (0..starts.1.len() as i64).collect()));
            node.attribute.clear();
            for (name, values) in [starts, ends, axes] {
                let name = format!("{}/{name}", node.output.first().map_or("", String::as_str));
                node.input.push(name.clone());
                tensors.push(numbers(name, vec![values.len() as i64], values));
            }
        }
        // Before operator set 7 the second operand was broadcast where a flag allowed it; with no axis said its axes are
        // the last ones, as they are since.
        "Add" | "And" | "Div" | "Equal" | "Greater" | "Less" | "Mul" | "Or" | "Pow" | "Sub" | "Xor" => {
            if let Some(flag) = place("broadcast")
                && place("axis").is_none()
            {
                node.attribute.remove(flag);
            }
        }
        _ => {}
    }
}

/// Compress, of which tract does not know the shape: the indexes of what is taken, gathered.
fn compress(node: NodeProto, opset: i64, tensors: &mut Vec<TensorProto>) -> Vec<NodeProto> {
    let output = node.output.first().map_or("", String::as_str);
    let [data, condition] = &node.input[..] else { return vec![node] };
    let inner = |kind: &str| format!("{output}/{kind}");
    let mut nodes = Vec::new();
    let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map(|attribute| attribute.i);
    let mut number = |kind: &str, number: i64| {
        tensors.push(numbers(inner(kind), vec![1], vec![number]));
        inner(kind)
    };
    let data = match axis {
        Some(_) => data.clone(),
        None => {
            let whole = number("all", -1);
            nodes.push(made("Reshape", &node.name, vec![data.clone(), whole], inner("flat")));
            inner("flat")
        }
    };
    nodes.push(made("NonZero", &node.name, vec![condition.clone()], inner("found")));
    let mut squeeze = made("Squeeze", &node.name, vec![inner("found")], inner("indexes"));
    match opset < 13 {
        true => squeeze.attribute.push(ints("axes", vec![0])),
        false => squeeze.input.push(number("row", 0)),
    }
    nodes.push(squeeze);
    let mut gather = made("Gather", &node.name, vec![data, inner("indexes")], output.to_owned());
    gather.attribute.push(int("axis", axis.unwrap_or(0)));
    nodes.push(gather);
    nodes
}

/// An Einsum of which the result is one number: tract takes an empty result for none said. One letter is kept, and summed
/// over afterwards.
fn einsum(mut node: NodeProto, opset: i64, tensors: &mut Vec<TensorProto>) -> Vec<NodeProto> {
    let Some(attribute) = node.attribute.iter_mut().find(|attribute| attribute.name == "equation") else {
        return vec![node];
    };
    let equation: String = String::from_utf8_lossy(&attribute.s).chars().filter(|c| !c.is_whitespace()).collect();
    let letter = equation.chars().find(char::is_ascii_alphabetic);
    let (Some(output), Some(letter), true) = (node.output.first(), letter, equation.ends_with("->")) else {
        return vec![node];
    };
    attribute.s = format!("{equation}{letter}").into_bytes();
    let (output, inner) = (output.clone(), format!("{output}/line"));
    node.output = vec![inner.clone()];
    let mut sum = made("ReduceSum", &node.name, vec![inner], output.clone());
    sum.attribute.push(int("keepdims", 0));
    if opset < 13 {
        sum.attribute.push(ints("axes", vec![0]));
    } else {
        let axes = format!("{output}/axes");
        tensors.push(numbers(axes.clone(), vec![1], vec![0]));
        sum.input.push(axes);
    }
    vec![node, sum]
}

fn made(kind: &str, name: &str, input: Vec<String>, output: String) -> NodeProto {
    let name = name.to_owned();
    NodeProto { op_type: kind.to_owned(), name, input, output: vec![output], ..NodeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

fn numbers(name: String, dims: Vec<i64>, int64_data: Vec<i64>) -> TensorProto {
    TensorProto { name, dims, data_type: DataType::Int64 as i32, int64_data, ..TensorProto::default() }
}
