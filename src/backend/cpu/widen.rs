//! Models of 16-bit floating point run in float32.
//!
//! CPUs that calculate in float16 are rare: elsewhere tract does it in software, at hundreds of times the time of float32
//! (a U-Net for 32³ took over 90 seconds in place of 0.2), and its sums are off by percents. It has no bfloat16. Both
//! types are float32 with fewer digits, so what a model of either says is true in float32 too; inputs and outputs are
//! converted where they are copied.

use half::{bf16, f16};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto, ValueInfoProto, type_proto};

/// Turns all 16-bit floating point in the graph to float32.
pub fn widen(graph: &mut GraphProto) {
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

/// How elements of a 16-bit floating-point type are read.
fn narrow(data_type: i32) -> Option<fn(u16) -> f32> {
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
