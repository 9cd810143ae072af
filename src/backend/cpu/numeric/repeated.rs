//! An axis of one element that is repeated, and one of which every so many elements are taken, kept from tract's rewriting.
//!
//! tract moves both through the graph; where a matrix product sums over the repeated axis, it took the first of the weights
//! for all of them, and where a softmax sums over the axis of which a part is taken, it summed over that part. A product with
//! 0 it takes for 0 where it is none, of infinity or of what is no number.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{MultiBroadcastTo, StridedSlice, Tile};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::math::Mul;

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
