//! Whole numbers that are made of shapes and by Cast, with the 64 bits that they have.
//!
//! tract has a type for extents that are not known, and makes all of these of it: there a number that is no extent loses what
//! is beyond 32 bits, also where it is of the model's data. Extents are known here nearly always.

use crate::backend::cpu::kept::{Built, displace, expansion, tracts};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;

pub fn register(operators: &mut OnnxOpRegister) {
    ["Cast", "CastLike", "Shape", "Size"].into_iter().for_each(|name| displace(operators, name, numbers));
}

fn numbers(context: &ParsingContext, node: &NodeProto) -> Built {
    let (operator, outputs) = tracts(context, node)?;
    if node.op_type == "Cast" && node.get_attr_opt::<i64>("to")? != Some(DataType::Int64 as i64) {
        return Ok((operator, outputs));
    }
    let tracts = expansion(&*operator)?;
    let operator = match node.op_type.as_str() {
        "Shape" => {
            let (start, end) = (node.get_attr_opt("start")?.unwrap_or(0), node.get_attr_opt("end")?);
            expand(Extents { part: Part::Some { start, end: end.unwrap_or(i64::MAX) }, tracts })
        }
        "Size" => expand(Extents { part: Part::Product, tracts }),
        _ => expand(Whole { tracts }),
    };
    Ok((operator, outputs))
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// Their product.
    Product,
    /// Those from one place to another, which count from the end where they are negative.
    Some { start: i64, end: i64 },
}

/// Shape and Size.
#[derive(Clone, Debug)]
struct Extents {
    part: Part,
    tracts: Box<dyn Expansion>,
}

impl Extents {
    /// What they are; `None` where they depend on the data.
    fn of(&self, shape: &[TDim]) -> TractResult<Option<Tensor>> {
        let Ok(extents) = shape.iter().map(TDim::to_i64).collect::<std::result::Result<Vec<_>, _>>() else {
            return Ok(None);
        };
        Ok(Some(match self.part {
            Part::Product => {
                let all = extents.iter().try_fold(1i64, |all, extent| all.checked_mul(*extent));
                tensor0(all.context("it has more elements than there are numbers")?)
            }
            Part::Some { start, end } => {
                let rank = extents.len() as i64;
                let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
                tensor1(extents.get(clamp(start)..clamp(end)).unwrap_or_default())
            }
        }))
    }
}

impl Expansion for Extents {
    fn name(&self) -> StaticName {
        self.tracts.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.given(&inputs[0].shape, move |solver, shape| match self.of(&shape)? {
            Some(extents) => solver.equals(&outputs[0].value, extents.into_arc_tensor()),
            None => self.tracts.rules(solver, inputs, outputs),
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        match self.of(&model.outlet_fact(inputs[0])?.shape.to_tvec())? {
            Some(extents) => Ok(tvec![model.add_const(prefix, extents)?]),
            None => self.tracts.wire(prefix, model, inputs),
        }
    }
}

/// A Cast to int64, or to what another tensor has.
#[derive(Clone, Debug)]
struct Whole {
    tracts: Box<dyn Expansion>,
}

impl Whole {
    /// What comes of that type, where it is to be int64 or as `like`.
    fn result(from: DatumType, like: Option<DatumType>) -> DatumType {
        match like.unwrap_or(TDim::datum_type()) {
            extent if extent == TDim::datum_type() && from != TDim::datum_type() => i64::datum_type(),
            other => other,
        }
    }
}

impl Expansion for Whole {
    fn name(&self) -> StaticName {
        self.tracts.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)?;
        solver.given_all(inputs.iter().map(|input| &input.datum_type), move |solver, kinds| {
            solver.equals(&outputs[0].datum_type, Self::result(kinds[0], kinds.get(1).copied()))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let kinds = inputs.iter().map(|input| Ok(model.outlet_fact(*input)?.datum_type));
        let kinds = kinds.collect::<TractResult<Vec<_>>>()?;
        model.wire_node(prefix, cast(Self::result(kinds[0], kinds.get(1).copied())), &inputs[..1])
    }
}
