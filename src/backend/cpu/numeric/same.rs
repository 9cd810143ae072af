//! `SAME` as pads: tract's are wrong where a window is smaller than the way to the next one.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::TypedOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};

/// The same operator with the pads said, if it is one that leaves them to be worked out.
pub fn spelled_out(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<Box<dyn TypedOp>>> {
    let shape = |pool: &PoolSpec| -> TractResult<Option<(TVec<usize>, TVec<usize>)>> {
        let Some(input) = node.inputs.first() else { return Ok(None) };
        let Some(shape) = graph.outlet_fact(*input)?.shape.as_concrete() else { return Ok(None) };
        let upper = match pool.padding {
            PaddingSpec::SameUpper => true,
            PaddingSpec::SameLower => false,
            _ => return Ok(None),
        };
        let shape = pool.data_format.shape(shape)?;
        let missing = |axis: usize| {
            let (extent, stride) = (shape.hw_dims()[axis], pool.stride(axis));
            let window = (pool.kernel_shape[axis] - 1) * pool.dilation(axis) + 1;
            let reached = extent.div_ceil(stride).saturating_sub(1) * stride + window;
            let missing = reached.saturating_sub(extent);
            let less = missing / 2;
            if upper { (less, missing - less) } else { (missing - less, less) }
        };
        Ok(Some((0..pool.kernel_shape.len()).map(missing).unzip()))
    };
    if let Some(op) = node.op_as::<Conv>()
        && let Some((before, after)) = shape(&op.pool_spec)?
    {
        let mut op = op.clone();
        op.pool_spec.padding = PaddingSpec::Explicit(before, after);
        return Ok(Some(Box::new(op)));
    }
    if let Some(op) = node.op_as::<MaxPool>()
        && let Some((before, after)) = shape(&op.pool_spec)?
    {
        let mut op = op.clone();
        op.pool_spec.padding = PaddingSpec::ExplicitOnnxPool(before, after, false);
        return Ok(Some(Box::new(op)));
    }
    if let Some(op) = node.op_as::<SumPool>()
        && let Some((before, after)) = shape(&op.pool_spec)?
    {
        let mut op = op.clone();
        op.pool_spec.padding = PaddingSpec::ExplicitOnnxPool(before, after, false);
        return Ok(Some(Box::new(op)));
    }
    Ok(None)
}
