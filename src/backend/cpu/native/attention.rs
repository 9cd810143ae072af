//! Attention with a mask: of bool, and of rows that see nothing, which are 0 and not what a softmax of nothing is.

use super::Built;
use crate::backend::cpu::kept::{displace, expansion, tracts};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast;
use tract_onnx::tract_hir::ops::math::add;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::logic::{Iff, comp_eq};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

#[derive(Clone, Debug)]
struct Masked {
    /// Without a mask of its own for what comes later.
    tracts: Box<dyn Expansion>,
    causal: bool,
    heads: Option<usize>,
}

impl Masked {
    /// What is added to the scores, of four axes.
    fn mask(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<OutletId> {
        let query = model.outlet_fact(inputs[0])?.clone();
        let mut mask = *inputs.get(3).context("it lacks its mask")?;
        let number = |value: f32| TractResult::Ok(tensor0(value).cast_to_dt(query.datum_type)?.into_owned());
        if model.outlet_fact(mask)?.datum_type == bool::datum_type() {
            let seen = model.add_const(format!("{prefix}.seen"), number(0.0)?)?;
            let hidden = model.add_const(format!("{prefix}.hidden"), number(f32::NEG_INFINITY)?)?;
            mask = wire_with_rank_broadcast(format!("{prefix}.mask"), model, Iff, &[mask, seen, hidden])?[0];
        }
        for axis in model.outlet_fact(mask)?.rank()..4 {
            mask = model.wire_node(format!("{prefix}.mask_axis{axis}"), AxisOp::Add(0), &[mask])?[0];
        }
        if self.causal {
            let length = |fact: &TypedFact| fact.shape[fact.rank() - 2].to_usize();
            let (rows, columns) = (length(&query)?, length(model.outlet_fact(inputs[1])?)?);
            let later = |(row, column): (usize, usize)| if column > row { f32::NEG_INFINITY } else { 0.0 };
            let later = tract_ndarray::Array2::from_shape_fn((rows, columns), later).into_tensor();
            let later = later.cast_to_dt(query.datum_type)?.into_owned();
            let later = model.add_const(format!("{prefix}.later"), later)?;
            mask = wire_with_rank_broadcast(format!("{prefix}.mask_causal"), model, add(), &[mask, later])?[0];
        }
        Ok(mask)
    }
}

impl Expansion for Masked {
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
        let mask = self.mask(prefix, model, inputs)?;
        let mut given: TVec<OutletId> = inputs.into();
        given[3] = mask;
        let mut outputs = self.tracts.wire(&format!("{prefix}.attention"), model, &given)?;
        let fact = model.outlet_fact(outputs[0])?.clone();
        let number = |value: f32| TractResult::Ok(tensor0(value).cast_to_dt(fact.datum_type)?.into_owned());
        let largest = Reduce::new(tvec![3], Reducer::Max);
        let largest = model.wire_node(format!("{prefix}.largest"), largest, &[mask])?[0];
        let hidden = model.add_const(format!("{prefix}.nothing"), number(f32::NEG_INFINITY)?)?;
        let equal = TypedBinOp(comp_eq(), None);
        let blind = wire_with_rank_broadcast(format!("{prefix}.blind"), model, equal, &[largest, hidden])?[0];
        let zero = model.add_const(format!("{prefix}.zero"), number(0.0)?)?;
        // Each head has rows of its own.
        let mut result = outputs[0];
        let split = match fact.rank() {
            3 => {
                let heads = self.heads.context("how many heads it has is not said")?;
                let all = fact.shape[2].clone();
                Some((tvec![all.clone()], tvec![heads.to_dim(), all / heads]))
            }
            _ => None,
        };
        if let Some((all, apart)) = &split {
            let reshape = AxisOp::Reshape(2, all.clone(), apart.clone());
            result = model.wire_node(format!("{prefix}.apart"), reshape, &[result])?[0];
            result = model.wire_node(format!("{prefix}.heads"), AxisOp::Move(2, 1), &[result])?[0];
        }
        result = wire_with_rank_broadcast(format!("{prefix}.sighted"), model, Iff, &[blind, zero, result])?[0];
        if let Some((all, apart)) = split {
            result = model.wire_node(format!("{prefix}.rows"), AxisOp::Move(1, 2), &[result])?[0];
            result = model.wire_node(format!("{prefix}.together"), AxisOp::Reshape(2, apart, all), &[result])?[0];
        }
        outputs[0] = result;
        Ok(outputs)
    }
}

fn attention(context: &ParsingContext, proto: &NodeProto) -> Built {
    if proto.input.get(3).is_none_or(String::is_empty) {
        return tracts(context, proto);
    }
    let causal = proto.get_attr_opt::<i64>("is_causal")?.unwrap_or(0) != 0;
    let heads = proto.get_attr_opt::<usize>("q_num_heads")?;
    let mut whole = proto.clone();
    whole.attribute.retain(|attribute| attribute.name != "is_causal");
    let (operator, outputs) = tracts(context, &whole)?;
    Ok((expand(Masked { tracts: expansion(&*operator)?, causal, heads }), outputs))
}

pub fn register(operators: &mut OnnxOpRegister) {
    displace(operators, "Attention", attention);
}
