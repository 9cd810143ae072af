//! Quotients, remainders, powers and shifts, each computed as it is said.
//!
//! tract multiplies by the reciprocal of a divisor, which makes 48.999996 of 49·3 / 3 and no number of 0 / 1e-40; it takes a
//! remainder for a thing whose sides may be exchanged; squares whole numbers in float32; and shifts by what is left of a
//! distance when the type's width is taken off.

use crate::backend::cpu::broadcast::combine;
use std::collections::HashSet;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::Conv;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::identity::Identity;
use tract_onnx::tract_hir::tract_core::ops::math::{Div, Pow, Rem, ShiftLeft, ShiftRight};

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Arithmetic {
    Quotient,
    Remainder,
    /// Of whole numbers.
    Power,
    /// Of unsigned numbers.
    Left,
    Right,
}

impl Arithmetic {
    /// What takes the place of that node, if tract computes it in another way.
    pub fn instead_of(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<Self>> {
        let Some(op) = node.op_as::<TypedBinOp>().filter(|op| op.1.is_none()) else { return Ok(None) };
        let kinds = [graph.outlet_fact(node.inputs[0])?.datum_type, graph.outlet_fact(node.inputs[1])?.datum_type];
        let kind = kinds[0];
        if kinds[1] != kind || !is_known(kind) {
            return Ok(None);
        }
        Ok(match () {
            () if op.0.is::<Rem>() => Some(Self::Remainder),
            () if op.0.is::<Pow>() && kind.is_integer() => Some(Self::Power),
            () if op.0.is::<ShiftLeft>() && kind.is_unsigned() => Some(Self::Left),
            () if op.0.is::<ShiftRight>() && kind.is_unsigned() => Some(Self::Right),
            () if op.0.is::<Div>() && kind.is_float() && !by_reciprocal(graph, node)? => Some(Self::Quotient),
            () => None,
        })
    }
}

fn is_known(kind: DatumType) -> bool {
    use DatumType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(kind, F32 | F64 | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

/// Whether a product with the reciprocal is as good as a quotient: the reciprocal is exact, or what is divided is a sum of
/// products, of which nobody expects the last digit. tract makes such a factor part of them.
fn by_reciprocal(graph: &TypedModel, node: &TypedNode) -> TractResult<bool> {
    let Some(divisor) = &graph.outlet_fact(node.inputs[1])?.konst else { return Ok(false) };
    let divisor = divisor.cast_to::<f64>()?;
    let divisor = divisor.try_as_plain_ram()?;
    let usual = |divisor: &f64| (1e-30..1e30).contains(&divisor.abs());
    let exact = |divisor: &f64| divisor.to_bits().trailing_zeros() >= 52;
    let divisor = divisor.as_slice::<f64>()?;
    Ok(divisor.iter().all(usual) && (divisor.iter().all(exact) || is_of_products(graph, node.inputs[0])))
}

/// Whether nothing but what may be made part of a sum of products, or moved past it, lies between one and that tensor.
fn is_of_products(graph: &TypedModel, outlet: OutletId) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![outlet.node]);
    while let Some(id) = open.pop() {
        let node = graph.node(id);
        if node.op_is::<Conv>() || node.op_is::<EinSum>() {
            return true;
        }
        if seen.insert(id) && (node.op_is::<AxisOp>() || node.op_is::<Identity>()) {
            open.extend(node.inputs.iter().map(|input| input.node));
        }
    }
    false
}

/// Puts in the place of each element of `a`, which has the shape of the result, what comes of it and the one of `b` that it meets.
fn pairs<T: Datum + Copy>(a: &mut Tensor, b: &Tensor, of: impl Fn(T, T) -> T + Sync) -> TractResult<()> {
    let shape: TVec<usize> = a.shape().into();
    let values = b.try_as_plain_ram()?;
    combine(a.try_as_plain_ram_mut()?.as_slice_mut::<T>()?, &shape, (values.as_slice::<T>()?, b.shape()), of)
}

/// A power of whole numbers, which wraps around; a fraction is cut off.
fn power(base: i64, exponent: i64) -> i64 {
    match (u32::try_from(exponent), base) {
        (Ok(exponent), _) => base.wrapping_pow(exponent),
        (Err(_), 1) => 1,
        (Err(_), -1) if exponent % 2 != 0 => -1,
        (Err(_), -1) => 1,
        (Err(_), _) => 0,
    }
}

impl Op for Arithmetic {
    fn name(&self) -> StaticName {
        match self {
            Self::Quotient => "Quotient".into(),
            Self::Remainder => "Remainder".into(),
            Self::Power => "Power".into(),
            Self::Left => "Left".into(),
            Self::Right => "Right".into(),
        }
    }

    op_as_typed_op!();
}

impl EvalOp for Arithmetic {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        let shape = multi_broadcast(&[a.shape(), b.shape()])?;
        let mut a = match a.shape() == &*shape {
            true => a.into_tensor(),
            false => a.broadcast_to_shape(&shape)?,
        };
        macro_rules! of {
            ($($kind:ident: $type:ty),*; $($whole:ident: $whole_type:ty),*) => {
                match (self, a.datum_type()) {
                    $((Self::Quotient, DatumType::$kind) => pairs(&mut a, &b, |a: $type, b| a / b),
                    (Self::Remainder, DatumType::$kind) => pairs(&mut a, &b, |a: $type, b| a % b),)*
                    $((Self::Remainder, DatumType::$whole) => {
                        let zero = b.try_as_plain_ram()?.as_slice::<$whole_type>()?.contains(&0);
                        ensure!(!zero, "a whole number is divided by zero");
                        pairs(&mut a, &b, |a: $whole_type, b| a.wrapping_rem(b))
                    }
                    (Self::Power, DatumType::$whole) => {
                        pairs(&mut a, &b, |a: $whole_type, b| power(a as i64, b as i64) as $whole_type)
                    }
                    (Self::Left, DatumType::$whole) => pairs(&mut a, &b, |a: $whole_type, b| {
                        a.checked_shl(u32::try_from(b).unwrap_or(u32::MAX)).unwrap_or(0)
                    }),
                    (Self::Right, DatumType::$whole) => pairs(&mut a, &b, |a: $whole_type, b| {
                        a.checked_shr(u32::try_from(b).unwrap_or(u32::MAX)).unwrap_or(0)
                    }),)*
                    (_, kind) => bail!("{kind:?} is not computed with"),
                }
            };
        }
        of!(F32: f32, F64: f64; I8: i8, I16: i16, I32: i32, I64: i64, U8: u8, U16: u16, U32: u32, U64: u64)?;
        Ok(tvec![a.into_tvalue()])
    }
}

impl TypedOp for Arithmetic {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = multi_broadcast(&[&*inputs[0].shape, &*inputs[1].shape])?;
        Ok(tvec![inputs[0].datum_type.fact(shape)])
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_sides_meet_as_onnx_has_it() {
        let (shape, extents): ([usize; 3], [&[usize]; 5]) =
            ([2, 3, 4], [&[2, 3, 4], &[1, 3, 1], &[2, 1, 4], &[1, 1, 1], &[1, 1, 4]]);
        let tensor = |shape: &[usize], from: usize| {
            let values: Vec<i64> = (from..from + shape.iter().product::<usize>()).map(|i| i as i64).collect();
            Tensor::from_shape(shape, &values).unwrap()
        };
        for of_b in extents {
            // Either side may be the one that is repeated.
            for (of_a, of_b) in [(&shape[..], of_b), (of_b, &shape[..])] {
                let (a, b) = (tensor(of_a, 100), tensor(of_b, 7));
                let inputs = tvec![a.clone().into_tvalue(), b.clone().into_tvalue()];
                let found = Arithmetic::Remainder.eval(&EvalContext::out_of_plan(), inputs).unwrap().remove(0);
                let [a, b] = [a, b].map(|side| side.broadcast_to_shape(&shape).unwrap());
                let [a, b, found] = [&a, &b, &*found].map(|side| side.try_as_plain_ram().unwrap());
                let [a, b, found] = [&a, &b, &found].map(|side| side.as_slice::<i64>().unwrap());
                let expected: Vec<i64> = a.iter().zip(b).map(|(a, b)| a % b).collect();
                assert_eq!(found, expected, "{of_a:?} and {of_b:?}");
            }
        }
        let inputs = tvec![tensor(&[0, 2], 1).into_tvalue(), tensor(&[1, 2], 1).into_tvalue()];
        let empty = Arithmetic::Remainder.eval(&EvalContext::out_of_plan(), inputs).unwrap().remove(0);
        assert_eq!(empty.shape(), [0, 2]);
    }
}
