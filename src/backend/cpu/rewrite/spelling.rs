//! What older operator sets say in another way, and tract wants said in the newer one.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

pub fn renew(graph: &mut GraphProto) {
    let mut tensors = Vec::new();
    for node in &mut graph.node {
        let place = |name: &str| node.attribute.iter().position(|attribute| attribute.name == name);
        match node.op_type.as_str() {
            // Operator sets 7 and 8 have the factors as an attribute, later ones as an input.
            "Upsample" if node.input.len() == 1 => {
                let Some(place) = place("scales") else { continue };
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
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(renew);
        }
    }
    graph.initializer.append(&mut tensors);
}
