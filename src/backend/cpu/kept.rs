//! tract's own operators beside ours that took their names.

use std::fmt::Debug;
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

/// What an expansion of tract's is written out as instead.
pub trait Rewrite: Clone + Debug + Send + Sync + 'static {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>>;
}

/// As a model has it: types and shapes are tract's.
#[derive(Clone, Debug)]
struct Rewritten<R> {
    tracts: Box<dyn Expansion>,
    by: R,
}

impl<R: Rewrite> Expansion for Rewritten<R> {
    fn name(&self) -> StaticName {
        self.tracts.name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Expansion::nboutputs(&*self.tracts)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.tracts.rules(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        self.by.wire(&*self.tracts, prefix, model, inputs)
    }
}

/// tract's operator for a node whose name ours took, which ours writes out.
pub fn rewritten(context: &ParsingContext, node: &NodeProto, by: impl Rewrite) -> Built {
    let (operator, outputs) = tracts(context, node)?;
    Ok((expand(Rewritten { tracts: expansion(&*operator)?, by }), outputs))
}
