//! Models of 16-bit floating point run in float32.
//!
//! CPUs that calculate in float16 are rare: elsewhere tract does it in software, at hundreds of times the time of float32
//! (a U-Net for 32³ took over 90 seconds in place of 0.2), and its sums are off by percents. It has no bfloat16. Both
//! types are float32 with fewer digits, so what a model of either says is true in float32 too; inputs and outputs are
//! converted where they are copied.

use super::numeric::{ROUND, ROUND_TO};
use half::{bf16, f16};
use std::collections::HashMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// Turns all 16-bit floating point in the graph to float32. What is cast to 16 bits is rounded to what they hold.
pub fn widen(graph: &mut GraphProto) {
    round_casts(graph);
    graph.initializer.iter_mut().for_each(widen_tensor);
    graph.input.iter_mut().chain(&mut graph.output).for_each(widen_value);
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            // What Cast and those that make tensors of their own call the type of their output.
            if matches!(attribute.name.as_str(), "to" | "dtype") && narrow(attribute.i as i32).is_some() {
                attribute.i = DataType::Float as i64;
            }
            attribute.t.iter_mut().chain(&mut attribute.tensors).for_each(widen_tensor);
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(widen);
        }
    }
}

/// Puts a rounding in the place of each cast to a 16-bit type.
fn round_casts(graph: &mut GraphProto) {
    // The type of each tensor, as far as it takes to know what a CastLike casts to.
    let mut types: HashMap<String, i32> = HashMap::new();
    types.extend(graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.data_type)));
    for value in &graph.input {
        if let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
            types.insert(value.name.clone(), tensor.elem_type);
        }
    }
    for node in &mut graph.node {
        let of = |index: usize| node.input.get(index).and_then(|name| types.get(name)).copied();
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        let to = match node.op_type.as_str() {
            "Cast" => attribute("to").map(|to| to.i as i32),
            "CastLike" => of(1),
            "Constant" => attribute("value").and_then(|value| value.t.as_ref()).map(|tensor| tensor.data_type),
            "Where" | "DequantizeLinear" => of(1),
            "QuantizeLinear" | "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" | "Equal" | "Greater" | "Less"
            | "GreaterOrEqual" | "LessOrEqual" | "IsNaN" | "IsInf" | "OneHot" | "ConstantOfShape" | "EyeLike" => None,
            _ => of(0),
        };
        if let (Some(to), Some(output)) = (to, node.output.first()) {
            types.insert(output.clone(), to);
        }
        if matches!(node.op_type.as_str(), "Cast" | "CastLike") {
            match to.map(DataType::try_from) {
                Some(Ok(DataType::Float16)) => round(node, "float16"),
                Some(Ok(DataType::Bfloat16)) => round(node, "bfloat16"),
                _ => {}
            }
        }
    }
}

fn round(node: &mut NodeProto, to: &str) {
    node.op_type = ROUND.to_owned();
    node.input.truncate(1);
    node.attribute = vec![AttributeProto {
        name: ROUND_TO.to_owned(),
        r#type: AttributeType::String as i32,
        s: to.as_bytes().to_vec(),
        ..AttributeProto::default()
    }];
}

/// How elements of a 16-bit floating-point type are read.
pub fn narrow(data_type: i32) -> Option<fn(u16) -> f32> {
    match DataType::try_from(data_type) {
        Ok(DataType::Float16) => Some(|bits| f16::from_bits(bits).to_f32()),
        Ok(DataType::Bfloat16) => Some(|bits| bf16::from_bits(bits).to_f32()),
        _ => None,
    }
}

fn widen_tensor(tensor: &mut TensorProto) {
    let Some(read) = narrow(tensor.data_type) else { return };
    tensor.data_type = DataType::Float as i32;
    let (pairs, half_an_element) = tensor.raw_data.as_chunks();
    let mut raw: Vec<u8> = pairs.iter().flat_map(|pair| read(u16::from_le_bytes(*pair)).to_le_bytes()).collect();
    // Damage stays what it is: of a length that fits no shape.
    raw.extend(half_an_element);
    tensor.raw_data = raw;
    tensor.float_data = tensor.int32_data.drain(..).map(|bits| read(bits as u16)).collect();
}

fn widen_value(value: &mut ValueInfoProto) {
    if let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut())
        && narrow(tensor.elem_type).is_some()
    {
        tensor.elem_type = DataType::Float as i32;
    }
}
