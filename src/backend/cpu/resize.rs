//! Resize as ONNX's operator set 10 has it, and Upsample, as the sets before call it.
//!
//! tract lacks Upsample, and rounds to the nearest voxel where these sets round down, which it only says of later sets:
//! with a factor of 3 a third of the voxels came out wrong.

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::InferenceOp;

/// What tract's own Resize is called beside ours. No ONNX operator has such a name.
const TRACTS_RESIZE: &str = "Resize (tract)";

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Puts both in the place of what tract has.
pub fn register(operators: &mut OnnxOpRegister) {
    if let Some(tracts) = operators.0.remove("Resize") {
        operators.0.insert(TRACTS_RESIZE.to_owned(), tracts);
        operators.insert("Resize", resize);
        operators.insert("Upsample", upsample);
    }
}

fn resize(context: &ParsingContext, node: &NodeProto) -> Built {
    let tracts = context.framework.op_register.0[TRACTS_RESIZE];
    if context.onnx_operator_set_version != 10 {
        return tracts(context, node);
    }
    let mut node = node.clone();
    node.attribute.push(AttributeProto {
        name: "nearest_mode".to_owned(),
        r#type: AttributeType::String as i32,
        s: b"floor".to_vec(),
        ..AttributeProto::default()
    });
    tracts(context, &node)
}

fn upsample(context: &ParsingContext, node: &NodeProto) -> Built {
    if node.input.len() != 2 {
        return Err(TractError::msg(
            "Upsample with its scales as an attribute (operator sets 7 and 8) is not supported",
        ));
    }
    resize(&ParsingContext { onnx_operator_set_version: 10, ..context.clone() }, node)
}
