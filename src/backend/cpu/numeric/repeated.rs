//! An axis of one element that is repeated, kept from tract's rewriting.
//!
//! tract moves such repetitions through the graph; where a matrix product sums over the repeated axis, it took the first of
//! the weights for all of them.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{MultiBroadcastTo, Tile};

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Repeated {
    Broadcast(MultiBroadcastTo),
    Tile(Tile),
}

impl Repeated {
    pub fn of(node: &TypedNode) -> Option<Self> {
        let broadcast = node.op_as::<MultiBroadcastTo>().cloned().map(Self::Broadcast);
        broadcast.or_else(|| node.op_as::<Tile>().cloned().map(Self::Tile))
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
        }
    }
}

impl TypedOp for Repeated {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        match self {
            Self::Broadcast(op) => op.output_facts(inputs),
            Self::Tile(op) => op.output_facts(inputs),
        }
    }

    as_op!();
}
