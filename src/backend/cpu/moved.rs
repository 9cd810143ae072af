//! Axes in another order. tract copies a tensor that something else reads as well before it copies it in the other order.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;

/// Whether [`eval`] does what the node asks for.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    matches!((node.op_as::<AxisOp>(), inputs), (Some(AxisOp::Move(..)), [input]) if input.has_plain_ram_storage())
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let Some(AxisOp::Move(from, to)) = node.op_as::<AxisOp>() else { bail!("{} moves no axis", node.name) };
    Ok(tvec![inputs[0].moved_axis(*from, *to)?.into_tvalue()])
}
