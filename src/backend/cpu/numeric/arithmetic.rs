//! Quotients, remainders, powers and shifts, each computed as it is said.
//!
//! tract multiplies by the reciprocal of a divisor, which makes 48.999996 of 49·3 / 3 and no number of 0 / 1e-40; it takes a
//! remainder for a thing whose sides may be exchanged; squares whole numbers in float32; and shifts by what is left of a
//! distance when the type's width is taken off.

use std::collections::HashSet;
use tract_linalg::multithread::par_chunks_mut;
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

/// Calls with each element of `a`, which has the shape of the result, and the element of `b` that belongs to it.
fn pairs<T: Datum + Copy>(a: &mut Tensor, b: &Tensor, each: impl Fn(&mut T, T) + Sync + Send) -> TractResult<()> {
    let shape: TVec<usize> = a.shape().into();
    let extents: TVec<usize> = b.shape().into();
    let b = b.try_as_plain_ram()?;
    let b = b.as_slice::<T>()?;
    let mut plain = a.try_as_plain_ram_mut()?;
    let a = plain.as_slice_mut::<T>()?;
    // The last axes along which there is one element of `b` for all, or one for each.
    let same = (0..shape.len()).rev().find(|axis| extents[*axis] != 1).map_or(0, |axis| axis + 1);
    let alike = (0..shape.len()).rev().find(|axis| extents[*axis] != shape[*axis]).map_or(0, |axis| axis + 1);
    let single = same <= alike;
    let outer = same.min(alike);
    let length = shape[outer..].iter().product::<usize>();
    if length == 0 || a.is_empty() {
        return Ok(());
    }
    let first = |mut block: usize| {
        let (mut place, mut stride) = (0, if single { 1 } else { length });
        for (extent, own) in shape[..outer].iter().zip(&extents).rev() {
            place += if *own == 1 { 0 } else { block % extent * stride };
            block /= extent;
            stride *= own;
        }
        place
    };
    let all = a.len();
    par_chunks_mut(a, length, all, |start, chunk| {
        for (block, values) in chunk.chunks_mut(length).enumerate() {
            let place = first(start + block);
            if single {
                let other = b[place];
                values.iter_mut().for_each(|value| each(value, other));
            } else {
                values.iter_mut().zip(&b[place..place + length]).for_each(|(value, other)| each(value, *other));
            }
        }
        Ok(())
    })
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
                    $((Self::Quotient, DatumType::$kind) => pairs(&mut a, &b, |a: &mut $type, b| *a /= b),
                    (Self::Remainder, DatumType::$kind) => pairs(&mut a, &b, |a: &mut $type, b| *a %= b),)*
                    $((Self::Remainder, DatumType::$whole) => {
                        let zero = b.try_as_plain_ram()?.as_slice::<$whole_type>()?.contains(&0);
                        ensure!(!zero, "a whole number is divided by zero");
                        pairs(&mut a, &b, |a: &mut $whole_type, b| *a = a.wrapping_rem(b))
                    }
                    (Self::Power, DatumType::$whole) => {
                        pairs(&mut a, &b, |a: &mut $whole_type, b| *a = power(*a as i64, b as i64) as $whole_type)
                    }
                    (Self::Left, DatumType::$whole) => pairs(&mut a, &b, |a: &mut $whole_type, b| {
                        *a = a.checked_shl(u32::try_from(b).unwrap_or(u32::MAX)).unwrap_or(0);
                    }),
                    (Self::Right, DatumType::$whole) => pairs(&mut a, &b, |a: &mut $whole_type, b| {
                        *a = a.checked_shr(u32::try_from(b).unwrap_or(u32::MAX)).unwrap_or(0);
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
