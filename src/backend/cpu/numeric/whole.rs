//! Squares of whole numbers, which tract makes of a product with itself and then lacks, or lets end at the largest.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct WholeSquare;

impl Op for WholeSquare {
    fn name(&self) -> StaticName {
        "WholeSquare".into()
    }

    op_as_typed_op!();
}

impl EvalOp for WholeSquare {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        macro_rules! squared {
            ($tensor:expr, $($kind:ident: $type:ty),*) => {
                match $tensor.datum_type() {
                    $(DatumType::$kind => {
                        let mut plain = $tensor.try_as_plain_ram_mut()?;
                        plain.as_slice_mut::<$type>()?.iter_mut().for_each(|n| *n = n.wrapping_mul(*n));
                    })*
                    other => bail!("{other:?} is no whole number"),
                }
            };
        }
        let mut tensor = inputs.into_iter().next().context("it has no input")?.into_tensor();
        squared!(tensor, I8: i8, I16: i16, I32: i32, I64: i64, U8: u8, U16: u16, U32: u32, U64: u64);
        Ok(tvec![tensor.into_tvalue()])
    }
}

impl TypedOp for WholeSquare {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![inputs[0].datum_type.fact(inputs[0].shape.clone())])
    }

    as_op!();
}
