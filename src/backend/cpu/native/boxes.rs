//! Suppression of boxes where none is wanted: tract takes a limit of 0 for no limit.

use crate::backend::cpu::kept::{Built, Rewrite, displace, rewritten};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// As a model has it.
#[derive(Clone, Debug)]
struct Suppression;

impl Rewrite for Suppression {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let outputs = tracts.wire(prefix, model, inputs)?;
        let node = model.node_mut(outputs[0].node);
        node.op = Box::new(Limited { inner: node.op.clone() });
        Ok(outputs)
    }
}

/// tract's operator, of which the third input is the limit.
#[derive(Clone, Debug)]
struct Limited {
    inner: Box<dyn TypedOp>,
}

impl PartialEq for Limited {
    fn eq(&self, other: &Self) -> bool {
        self.inner.dyn_eq(&*other.inner)
    }
}

impl Eq for Limited {}

impl Op for Limited {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

impl EvalOp for Limited {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let limit = inputs.get(2).context("it lacks its limit")?.cast_to::<i64>()?;
        match *limit.try_as_plain_ram()?.as_slice::<i64>()? {
            [limit] if limit < 1 => Ok(tvec![Tensor::zero::<i64>(&[0, 3])?.into_tvalue()]),
            [_] => self.inner.eval(context, inputs),
            _ => bail!("its limit is not one number"),
        }
    }
}

impl TypedOp for Limited {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner.output_facts(inputs)
    }

    as_op!();
}

fn suppression(context: &ParsingContext, node: &NodeProto) -> Built {
    rewritten(context, node, Suppression)
}

pub fn register(operators: &mut OnnxOpRegister) {
    displace(operators, "NonMaxSuppression", suppression);
}
