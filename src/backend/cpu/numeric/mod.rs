//! What tract computes with too few digits, or without heed of what is no number, computed as ONNX has it.
//!
//! Sums of many values are taken in float64 (`reduction`); NaN goes through (`extreme`, `guarded`). These operators take the
//! place of tract's in a graph that has its types and is not optimized yet, so that none of them has been melted into
//! another.

mod arithmetic;
mod extreme;
mod guarded;
mod numbers;
mod operators;
mod reduction;
mod repeated;
mod same;
mod top;
mod whole;

use arithmetic::Arithmetic;
use extreme::Extreme;
use guarded::Guarded;
pub(super) use guarded::{GuardedMaxPool, WidePool};
pub use operators::register;
pub(super) use operators::{ROUND, ROUND_TO, alike};
use reduction::{Reduction, Sum};
use repeated::{Fence, Repeated, fence_subtrahend};
use top::Top;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::TypedOp;
use tract_onnx::tract_hir::tract_core::ops::array::Topk;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::{MaxPool, SumPool};
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_hir::tract_core::ops::math::{Ln, Max, Min, Mul, Square};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};
use tract_onnx::tract_hir::tract_core::ops::scan::Scan;
use whole::WholeSquare;

/// A window of more elements than this is summed in float64.
const WIDE: usize = 64;

/// Puts these operators in the places of tract's, in the graphs within the graph as well.
pub fn replace(graph: &mut TypedModel) -> TractResult<()> {
    for node in &mut graph.nodes {
        if let Some(scan) = node.op_as_mut::<Scan>() {
            replace(&mut scan.body)?;
        } else if let Some(branches) = node.op_as_mut::<IfThenElse>() {
            replace(&mut branches.then_body)?;
            replace(&mut branches.else_body)?;
        }
    }
    for id in graph.eval_order()? {
        let node = graph.node(id);
        let Some(operator) = same::spelled_out(graph, node)? else { continue };
        TypedModelPatch::replace_single_op(graph, node, &node.inputs, operator)?.apply(graph)?;
    }
    graph.compact()?;
    for id in graph.eval_order()? {
        empty(graph, id)?;
    }
    for id in graph.eval_order()? {
        let node = graph.node(id);
        let Some((operator, inputs)) = better(graph, node)? else { continue };
        TypedModelPatch::replace_single_op(graph, node, &inputs, operator)?.apply(graph)?;
    }
    for id in graph.eval_order()? {
        Fence::before(graph, id)?;
        fence_subtrahend(graph, id)?;
    }
    graph.compact()
}

/// A constant in the place of what pairs elements where there are none: tract reads the first one of a constant side.
fn empty(graph: &mut TypedModel, id: usize) -> TractResult<()> {
    let node = graph.node(id);
    let outlet = OutletId::new(id, 0);
    let fact = graph.outlet_fact(outlet)?;
    let Some(shape) = fact.shape.as_concrete().filter(|shape| shape.contains(&0) && node.op_is::<TypedBinOp>()) else {
        return Ok(());
    };
    let nothing = Tensor::zero_dt(fact.datum_type, shape)?;
    let mut patch = TypedModelPatch::default();
    let nothing = patch.add_const(format!("{} (nothing)", node.name), nothing)?;
    patch.shunt_outside(graph, outlet, nothing)?;
    patch.apply(graph)
}

/// What takes the place of a node, and what it reads.
type Better = (Box<dyn TypedOp>, Vec<OutletId>);

fn better(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<Better>> {
    let Some(&input) = node.inputs.first() else { return Ok(None) };
    let element_type = graph.outlet_fact(input)?.datum_type;
    if let Some(op) = node.op_as::<Reduce>()
        && let Some((sum, input)) = sum(graph, op, input)?
    {
        return Ok(Some((Box::new(Reduction { axes: op.axes.clone(), sum }), vec![input])));
    }
    if let Some(operator) = Repeated::strided(graph, node)? {
        return Ok(Some((Box::new(operator), node.inputs.clone())));
    }
    if let Some(op) = node.op_as::<Topk>() {
        return Ok(Some((Box::new(Top(op.clone())), node.inputs.clone())));
    }
    if (element_type.is_integer() && !element_type.is_quantized())
        && node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Mul>() && op.1.is_none())
        && node.inputs.iter().all(|other| *other == input)
    {
        return Ok(Some((Box::new(WholeSquare), vec![input])));
    }
    if let Some(operator) = Arithmetic::instead_of(graph, node)? {
        return Ok(Some((Box::new(operator), node.inputs.clone())));
    }
    if element_type.is_float()
        && let Some(operator) = Repeated::with_zero(graph, node)?
    {
        return Ok(Some((Box::new(operator), node.inputs.clone())));
    }
    if element_type == f64::datum_type()
        && let Some(op) = node.op_as::<TypedBinOp>()
        && op.1.is_none()
        && (op.0.is::<Max>() || op.0.is::<Min>())
    {
        return Ok(Some((Box::new(Extreme { largest: op.0.is::<Max>() }), node.inputs.clone())));
    }
    if element_type != f32::datum_type() {
        return Ok(None);
    }
    if let Some(operator) = Repeated::of(node) {
        return Ok(Some((Box::new(operator), node.inputs.clone())));
    }
    let source = graph.node(input.node);
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        if op.0.is::<Ln>() {
            // The logarithm of an exponential, or of a sum of some, where it may be beyond what float32 holds.
            if let Some(softmax) = source.op_as::<Softmax>()
                && softmax.kind == SoftmaxKind::Softmax
                && softmax.quant_output_dt.is_none()
            {
                let operator = Softmax { kind: SoftmaxKind::LogSoftmax, ..softmax.clone() };
                return Ok(Some((Box::new(operator), source.inputs.clone())));
            }
            if let Some(Reduction { axes, sum: Sum::Plain }) = source.op_as::<Reduction>()
                && let exponential = graph.node(source.inputs[0].node)
                && exponential.op_as::<Guarded>().is_some_and(Guarded::is_exponential)
            {
                let operator = Reduction { axes: axes.clone(), sum: Sum::LogOfExponentials };
                return Ok(Some((Box::new(operator), exponential.inputs.clone())));
            }
        }
        if let Some(operator) = Guarded::around(op) {
            return Ok(Some((Box::new(operator), node.inputs.clone())));
        }
    }
    if let Some(op) = node.op_as::<TypedBinOp>()
        && op.1.is_none()
        && (op.0.is::<Max>() || op.0.is::<Min>())
    {
        return Ok(Some((Box::new(Extreme { largest: op.0.is::<Max>() }), node.inputs.clone())));
    }
    if let Some(op) = node.op_as::<SumPool>()
        && op.pool_spec.kernel_shape.iter().product::<usize>() > WIDE
    {
        return Ok(Some((Box::new(WidePool(op.clone())), node.inputs.clone())));
    }
    if let Some(op) = node.op_as::<MaxPool>()
        && op.with_index_outputs.is_none()
    {
        return Ok(Some((Box::new(GuardedMaxPool(op.clone())), node.inputs.clone())));
    }
    Ok(None)
}

/// How a reduction of tract's is computed here, and of what; `None` if tract computes it right.
fn sum(graph: &TypedModel, op: &Reduce, input: OutletId) -> TractResult<Option<(Sum, OutletId)>> {
    use DatumType::{F32, F64, I8, I16, I32, I64, U8, U16};
    let element_type = graph.outlet_fact(input)?.datum_type;
    let source = graph.node(input.node);
    Ok(match (op.reducer, element_type) {
        (Reducer::Sum, F32) if source.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Square>()) => {
            Some((Sum::OfSquares, source.inputs[0]))
        }
        // tract's sums of whole numbers are of 32 bits.
        (Reducer::Sum, F32 | I64 | I32 | I16 | I8 | U8 | U16) => Some((Sum::Plain, input)),
        (Reducer::MeanOfSquares, F32) => Some((Sum::MeanOfSquares, input)),
        (Reducer::Prod, F32) => Some((Sum::Product, input)),
        // Of float64 tract's lose NaN, and take the lowest number for nothing but negative infinity.
        (Reducer::Max, F32 | F64) => Some((Sum::Largest, input)),
        (Reducer::Min, F32 | F64) => Some((Sum::Smallest, input)),
        _ => None,
    })
}

/// The largest element along an axis of a tensor of float32 or float64: of a constant tract takes the lowest number for nothing
/// but negative infinity.
pub fn largest(axis: usize) -> Box<dyn TypedOp> {
    Box::new(Reduction { axes: tvec![axis], sum: Sum::Largest })
}

/// The slope of a leaky ReLU.
pub fn leaky_slope(node: &TypedNode) -> Option<f32> {
    node.op_as::<Guarded>().and_then(Guarded::leaky_slope)
}

/// Whether a node gives the larger of two values.
pub fn is_largest(node: &TypedNode) -> bool {
    node.op_as::<Extreme>().is_some_and(|op| op.largest)
}
