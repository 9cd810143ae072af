//! tract's own operators beside ours that took their names.

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// An operator, and the names of what it takes from the graph around its own.
pub type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// What tract's operator is called then. No ONNX operator has such a name.
fn kept(name: &str) -> String {
    format!("{name} (tract)")
}

/// Puts ours where tract's operator of that name is, and keeps that one.
pub fn displace(operators: &mut OnnxOpRegister, name: &'static str, ours: fn(&ParsingContext, &NodeProto) -> Built) {
    if let Some(tracts) = operators.0.remove(name) {
        operators.0.insert(kept(name), tracts);
        operators.insert(name, ours);
    }
}

/// tract's operator for a node whose name ours took.
pub fn tracts(context: &ParsingContext, node: &NodeProto) -> Built {
    match context.framework.op_register.0.get(&kept(&node.op_type)) {
        Some(build) => build(context, node),
        None => bail!("tract has no {}", node.op_type),
    }
}

/// An operator that is written out as others.
pub fn expansion(operator: &dyn InferenceOp) -> TractResult<Box<dyn Expansion>> {
    let expansion = operator.as_op().downcast_ref::<Box<dyn Expansion>>().cloned();
    expansion.with_context(|| format!("{} is no expansion", operator.name()))
}
