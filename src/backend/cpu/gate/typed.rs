//! What shows only when the extents and types of all tensors are known.

use crate::backend::cpu::model::datum_type;
use crate::engine::TensorInfo;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_hir::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_hir::tract_core::ops::math::{ShiftLeft, ShiftRight};
use tract_onnx::tract_hir::tract_core::ops::nn::grid_sample::{GridSample, InterpolationMode};
use tract_onnx::tract_hir::tract_core::ops::scan::Scan;

/// An error if tract would compute one of the nodes in another way than ONNX says, or fail at it.
pub fn check<'a>(graph: &TypedModel, outputs: impl Iterator<Item = &'a TensorInfo>) -> TractResult<()> {
    check_nodes(graph)?;
    for (outlet, output) in graph.output_outlets()?.iter().zip(outputs) {
        let (computed, declared) = (graph.outlet_fact(*outlet)?.datum_type, datum_type(output.element_type));
        // tract has a type of its own for shapes, which the model has as int64.
        if computed != declared && !(computed == TDim::datum_type() && declared == i64::datum_type()) {
            return Err(TractError::msg(format!(
                "output \"{}\" is declared as {} and computed as {computed:?}",
                output.name(),
                output.element_type
            )));
        }
    }
    Ok(())
}

fn check_nodes(graph: &TypedModel) -> TractResult<()> {
    for node in graph.nodes() {
        if let Some(why) = trouble(graph, node)? {
            return Err(TractError::msg(format!("node \"{}\": {why}", node.name)));
        }
        if let Some(scan) = node.op_as::<Scan>() {
            check_nodes(&scan.body)?;
        } else if let Some(branches) = node.op_as::<IfThenElse>() {
            check_nodes(&branches.then_body)?;
            check_nodes(&branches.else_body)?;
        }
    }
    Ok(())
}

fn trouble(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<String>> {
    let Some(input) = node.inputs.first() else { return Ok(None) };
    let input = graph.outlet_fact(*input)?;
    // Where shapes do not broadcast, tract goes on with an extent that no value could give a meaning to.
    let senseless = |extent: &TDim| extent.to_i64().is_err() && extent.symbols().is_empty();
    if node.outputs.iter().any(|output| output.fact.shape.iter().any(senseless)) {
        return Ok(Some("its inputs do not fit together".to_owned()));
    }
    if let Some(op) = node.op_as::<TypedBinOp>()
        && (op.0.is::<ShiftLeft>() || op.0.is::<ShiftRight>())
        && !input.datum_type.is_unsigned()
    {
        return Ok(Some("the CPU engine does not shift signed numbers".to_owned()));
    }
    // What lies between whole numbers is none, and ONNX does not say which is taken.
    if let Some(op) = node.op_as::<GridSample>()
        && op.mode != InterpolationMode::Nearest
        && !input.datum_type.is_float()
    {
        return Ok(Some(
            "the CPU engine interpolates floating point only; mode nearest takes whole numbers".to_owned(),
        ));
    }
    let Some(shape) = input.shape.as_concrete() else { return Ok(None) };
    let pool = node
        .op_as::<Conv>()
        .map(|op| &op.pool_spec)
        .or_else(|| node.op_as::<MaxPool>().map(|op| &op.pool_spec))
        .or_else(|| node.op_as::<SumPool>().map(|op| &op.pool_spec));
    if let Some(pool) = pool {
        return Ok(window(pool, shape));
    }
    Ok(node.op_as::<Pad>().and_then(|op| padding(op, input.datum_type, shape)))
}

/// A window that does not fit into what it goes over.
fn window(pool: &PoolSpec, shape: &[usize]) -> Option<String> {
    let axes = pool.kernel_shape.len();
    let extents = pool.data_format.shape(shape).ok()?;
    let extents = extents.hw_dims();
    let (dilations, none) = (pool.dilations(), vec![0; axes]);
    let (before, after) = match &pool.padding {
        PaddingSpec::Explicit(before, after) | PaddingSpec::ExplicitOnnxPool(before, after, _) => {
            (before.as_slice(), after.as_slice())
        }
        PaddingSpec::Valid => (none.as_slice(), none.as_slice()),
        _ => return None,
    };
    let wide = |axis: usize| -> Option<bool> {
        let window = pool.kernel_shape[axis].checked_sub(1)?.checked_mul(dilations[axis])?.checked_add(1)?;
        Some(window > extents.get(axis)?.checked_add(*before.get(axis)?)?.checked_add(*after.get(axis)?)?)
    };
    let axis = (0..axes).find(|axis| wide(*axis) != Some(false))?;
    Some(format!(
        "its window of {:?} does not fit into {extents:?} along axis {axis}, padding included",
        &pool.kernel_shape[..]
    ))
}

fn padding(op: &Pad, element_type: DatumType, shape: &[usize]) -> Option<String> {
    /// More than any tensor has; a negative number comes as one that is larger.
    const MOST: usize = 1 << 48;
    if op.pads.iter().any(|(before, after)| *before > MOST || *after > MOST) {
        return Some("the CPU engine does not take negative pads; cut with a Slice".to_owned());
    }
    let beyond = |(axis, (before, after)): (usize, &(usize, usize))| {
        shape.get(axis).is_none_or(|extent| (*before).max(*after) > extent.saturating_sub(1))
    };
    match op.mode {
        PadMode::Reflect if op.pads.iter().enumerate().any(|pads| pads.1 != &(0, 0) && beyond(pads)) => {
            Some(format!("pads by reflection more than the input {shape:?} has"))
        }
        _ if element_type == bool::datum_type() => Some("the CPU engine does not pad bool".to_owned()),
        _ => None,
    }
}
