//! An axis of one element that is repeated, and one of which every so many elements are taken, kept from tract's rewriting.
//!
//! tract moves both through the graph; where a matrix product sums over the repeated axis, it took the first of the weights
//! for all of them, and where a softmax sums over the axis of which a part is taken, it summed over that part. The strides of
//! a convolution it takes for such a part as well, where the kernel has one element along them. A product with 0 it takes for
//! 0 where it is none, of infinity or of what is no number.

use std::collections::HashSet;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{MultiBroadcastTo, StridedSlice, Tile};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::Conv;
use tract_onnx::tract_hir::tract_core::ops::identity::Identity;
use tract_onnx::tract_hir::tract_core::ops::math::{Div, Mul, Sub};

/// What it is given, and nothing moves through it.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Fence;

impl Fence {
    /// Puts one in front of a convolution whose strides tract takes out of it.
    pub fn before(graph: &mut TypedModel, id: usize) -> TractResult<()> {
        let node = graph.node(id);
        let Some(op) = node.op_as::<Conv>() else { return Ok(()) };
        let pool = &op.pool_spec;
        let apart = |axis: usize| {
            pool.stride(axis) > 1
                && (pool.kernel_shape[axis] == 1 || pool.dilation(axis).is_multiple_of(pool.stride(axis)))
        };
        if !(0..pool.rank()).any(apart) || graph.node(node.inputs[0].node).op_is::<Self>() {
            return Ok(());
        }
        let mut patch = TypedModelPatch::default();
        let mut inputs = patch.taps(graph, &node.inputs)?;
        inputs[0] = patch.wire_node(format!("{}.fence", node.name), Self, &inputs[..1])?[0];
        let output = patch.wire_node(&node.name, op.clone(), &inputs)?[0];
        patch.shunt_outside(graph, OutletId::new(id, 0), output)?;
        patch.apply(graph)
    }
}

/// Puts a fence in front of what is subtracted, or divided by, where that comes of a convolution: tract makes such a node
/// part of the convolution and leaves its weights as they are for a difference, and inverts them for a quotient.
pub fn fence_subtrahend(graph: &mut TypedModel, id: usize) -> TractResult<()> {
    let node = graph.node(id);
    let Some(op) = node.op_as::<TypedBinOp>().filter(|op| op.0.is::<Sub>() || op.0.is::<Div>()) else {
        return Ok(());
    };
    if !is_of_convolution(graph, node.inputs[1]) {
        return Ok(());
    }
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(graph, &node.inputs)?;
    inputs[1] = patch.wire_node(format!("{}.fence", node.name), Fence, &inputs[1..])?[0];
    let output = patch.wire_node(&node.name, op.clone(), &inputs)?[0];
    patch.shunt_outside(graph, OutletId::new(id, 0), output)?;
    patch.apply(graph)
}

/// Whether nothing but what may be made part of a convolution, or moved past it, lies between one and that tensor.
fn is_of_convolution(graph: &TypedModel, outlet: OutletId) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![outlet.node]);
    while let Some(id) = open.pop() {
        let node = graph.node(id);
        if node.op_is::<Conv>() {
            return true;
        }
        if seen.insert(id) && (node.op_is::<TypedBinOp>() || node.op_is::<AxisOp>() || node.op_is::<Identity>()) {
            open.extend(node.inputs.iter().map(|input| input.node));
        }
    }
    false
}

impl Op for Fence {
    fn name(&self) -> StaticName {
        "Fence".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Fence {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for Fence {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![inputs[0].without_value()])
    }

    as_op!();
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeated {
    Broadcast(MultiBroadcastTo),
    Tile(Tile),
    Strided(StridedSlice),
    Product(TypedBinOp),
}

impl Repeated {
    pub fn of(node: &TypedNode) -> Option<Self> {
        let broadcast = node.op_as::<MultiBroadcastTo>().cloned().map(Self::Broadcast);
        broadcast.or_else(|| node.op_as::<Tile>().cloned().map(Self::Tile))
    }

    /// A product with 0, which is not 0 for all that it may be of.
    pub fn with_zero(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<Self>> {
        let Some(op) = node.op_as::<TypedBinOp>().filter(|op| op.0.is::<Mul>()) else { return Ok(None) };
        for input in &node.inputs {
            let fact = graph.outlet_fact(*input)?;
            if let Some(value) = fact.konst.as_ref().and_then(|value| value.as_uniform())
                && value.cast_to_scalar::<f64>()? == 0.0
            {
                return Ok(Some(Self::Product(op.clone())));
            }
        }
        Ok(None)
    }

    /// A slice by steps other than 1.
    pub fn strided(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<Self>> {
        let Some(op) = node.op_as::<StridedSlice>() else { return Ok(None) };
        let Some(steps) = op.optional_steps_input else { return Ok(None) };
        let ones = match &graph.outlet_fact(node.inputs[steps])?.konst {
            Some(steps) => steps.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.iter().all(|step| *step == 1),
            None => false,
        };
        Ok((!ones).then(|| Self::Strided(op.clone())))
    }
}

impl Op for Repeated {
    fn name(&self) -> StaticName {
        "Repeated".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Repeated {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        match self {
            Self::Broadcast(op) => op.eval(context, inputs),
            Self::Tile(op) => op.eval(context, inputs),
            Self::Strided(op) => op.eval(context, inputs),
            Self::Product(op) => op.eval(context, inputs),
        }
    }
}

impl TypedOp for Repeated {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        match self {
            Self::Broadcast(op) => op.output_facts(inputs),
            Self::Tile(op) => op.output_facts(inputs),
            Self::Strided(op) => op.output_facts(inputs),
            Self::Product(op) => op.output_facts(inputs),
        }
    }

    as_op!();
}
