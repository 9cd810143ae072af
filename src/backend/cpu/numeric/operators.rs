//! Operators of ONNX that take the places of tract's from the start.

use super::numbers;
use crate::backend::cpu::kept::{Built, Rewrite, displace, rewritten, tracts};
use half::{bf16, f16};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::binary::wire_cast;
use tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast;
use tract_onnx::tract_hir::ops::math::{add, div, pow, rem, sqrt, square, sub};
use tract_onnx::tract_hir::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::tract_core::ops::nn::leaky_relu;

/// What a Cast to a 16-bit type is called in a model that runs in float32. No ONNX operator has such a name.
pub(in crate::backend::cpu) const ROUND: &str = "Cast (rounds)";
/// The attribute that says to what.
pub(in crate::backend::cpu) const ROUND_TO: &str = "to";

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("Softplus", |_, _| Ok((expand(Softplus), vec![])));
    operators.insert("MeanVarianceNormalization", mean_variance);
    operators.insert(ROUND, round);
    displace(operators, "Mod", modulo);
    displace(operators, "Pow", power);
    displace(operators, "PRelu", prelu);
    numbers::register(operators);
}

/// With the sign of the dividend (`fmod`) tract's own will do.
fn modulo(context: &ParsingContext, node: &NodeProto) -> Built {
    if node.get_attr_opt::<i64>("fmod")? == Some(1) {
        return tracts(context, node);
    }
    rewritten(context, node, Modulo)
}

fn power(context: &ParsingContext, node: &NodeProto) -> Built {
    rewritten(context, node, Power)
}

fn prelu(context: &ParsingContext, node: &NodeProto) -> Built {
    rewritten(context, node, Sloped)
}

fn round(_: &ParsingContext, node: &NodeProto) -> Built {
    Ok((expand(Round { half: node.get_attr::<String>(ROUND_TO)? == "float16" }), vec![]))
}

fn mean_variance(_: &ParsingContext, node: &NodeProto) -> Built {
    Ok((expand(MeanVariance { axes: node.get_attr_opt_vec("axes")?.unwrap_or_else(|| vec![0, 2, 3]) }), vec![]))
}

/// Rules of an operator that gives what it takes: shape and type.
pub fn alike<'r, 'p: 'r>(
    solver: &mut Solver<'r>,
    inputs: &'p [TensorProxy],
    outputs: &'p [TensorProxy],
) -> InferenceResult {
    check_input_arity(inputs, 1)?;
    check_output_arity(outputs, 1)?;
    solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
    solver.equals(&inputs[0].shape, &outputs[0].shape)
}

/// ln(1 + exp(x)), also where exp(x) is beyond what float32 holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Softplus;

impl Expansion for Softplus {
    fn name(&self) -> StaticName {
        "Softplus".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        alike(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, ElementWiseOp(Box::new(self.clone()), None), inputs)
    }
}

impl ElementWiseMiniOp for Softplus {
    fn name(&self) -> String {
        "Softplus".to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let one = |value: &mut f32| *value = value.max(0.0) + (-value.abs()).exp().ln_1p();
        tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.iter_mut().for_each(one);
        Ok(())
    }
}

/// To the nearest value that a 16-bit type has, which is infinite beyond its range.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Round {
    /// float16, or else bfloat16.
    half: bool,
}

impl Expansion for Round {
    fn name(&self) -> StaticName {
        "Round".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let wide = model.wire_node(format!("{prefix}.cast"), cast(f32::datum_type()), inputs)?;
        model.wire_node(prefix, ElementWiseOp(Box::new(self.clone()), None), &wide)
    }
}

impl ElementWiseMiniOp for Round {
    fn name(&self) -> String {
        "Round".to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let one = |value: &mut f32| {
            *value = if self.half { f16::from_f32(*value).to_f32() } else { bf16::from_f32(*value).to_f32() };
        };
        tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.iter_mut().for_each(one);
        Ok(())
    }
}

/// A remainder with the sign of the divisor, which in whole numbers that shapes are computed with tract gives the sign of
/// the dividend.
#[derive(Clone, Debug)]
struct Modulo;

impl Rewrite for Modulo {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let types = [model.outlet_fact(inputs[0])?.datum_type, model.outlet_fact(inputs[1])?.datum_type];
        if !types.contains(&TDim::datum_type()) {
            return tracts.wire(prefix, model, inputs);
        }
        let inputs = wire_cast(format!("{prefix}.cast"), model, inputs, TDim::datum_type())?;
        let divisor = inputs[1];
        let rest = wire_with_rank_broadcast(format!("{prefix}.rest"), model, rem(), &inputs)?;
        let sum = wire_with_rank_broadcast(format!("{prefix}.sum"), model, add(), &[rest[0], divisor])?;
        wire_with_rank_broadcast(prefix, model, rem(), &[sum[0], divisor])
    }
}

/// A power of a whole number by one of any other type. tract takes the wider of both types, of which there may be none.
#[derive(Clone, Debug)]
struct Power;

impl Rewrite for Power {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let kind = model.outlet_fact(inputs[0])?.datum_type;
        let kinds = [kind, model.outlet_fact(inputs[1])?.datum_type];
        if kinds.contains(&TDim::datum_type()) || !kinds.iter().all(DatumType::is_integer) {
            return tracts.wire(prefix, model, inputs);
        }
        // What is cut off of a power of 64 bits is what a narrower one does not hold.
        let inputs = wire_cast(format!("{prefix}.cast"), model, inputs, i64::datum_type())?;
        let power = wire_with_rank_broadcast(format!("{prefix}.power"), model, pow(), &inputs)?;
        model.wire_node(prefix, cast(kind), &power)
    }
}

/// PRelu, which with one slope for all is a leaky ReLU: one operator, and part of a convolution before it, in the place of three.
#[derive(Clone, Debug)]
struct Sloped;

impl Rewrite for Sloped {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (input, slope) = (model.outlet_fact(inputs[0])?, model.outlet_fact(inputs[1])?);
        match &slope.konst {
            Some(slope)
                if slope.len() == 1
                    && slope.rank() <= input.rank()
                    && slope.datum_type() == f32::datum_type()
                    && input.datum_type == f32::datum_type()
                    && slope.has_plain_ram_storage() =>
            {
                let alpha = slope.try_as_plain_ram()?.as_slice::<f32>()?[0];
                model.wire_node(prefix, leaky_relu(alpha), &inputs[..1])
            }
            _ => tracts.wire(prefix, model, inputs),
        }
    }
}

/// (x − mean) / (deviation + 1e-9). tract's takes the variance for the difference of two large numbers.
#[derive(Clone, Debug)]
struct MeanVariance {
    axes: Vec<i64>,
}

impl Expansion for MeanVariance {
    fn name(&self) -> StaticName {
        "MeanVariance".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        alike(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let dt = model.outlet_fact(inputs[0])?.datum_type;
        let mean = |name: &str, model: &mut TypedModel, of: &[OutletId]| {
            Reduce::new(Some(self.axes.clone()), true, Reducer::Mean).wire(&format!("{prefix}.{name}"), model, of)
        };
        let average = mean("mean", model, &inputs[..1])?;
        let centered = wire_with_rank_broadcast(format!("{prefix}.centered"), model, sub(), &[inputs[0], average[0]])?;
        let squares = model.wire_node(format!("{prefix}.squares"), square(), &centered)?;
        let variance = mean("variance", model, &squares)?;
        let deviation = model.wire_node(format!("{prefix}.deviation"), sqrt(), &variance)?;
        let least = tensor0(1e-9f32).cast_to_dt(dt)?.into_owned();
        let least = model.add_const(format!("{prefix}.least"), least)?;
        let deviation = wire_with_rank_broadcast(format!("{prefix}.sum"), model, add(), &[deviation[0], least])?;
        wire_with_rank_broadcast(prefix, model, div(), &[centered[0], deviation[0]])
    }
}
