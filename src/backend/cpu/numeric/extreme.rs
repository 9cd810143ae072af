//! The larger or the smaller of two values, or NaN if one of them is.
//!
//! tract's takes the other value then, and a network that had failed looks as if it had not.

use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Extreme {
    pub largest: bool,
}

impl Extreme {
    fn of(&self, a: f32, b: f32) -> f32 {
        let first = if self.largest { a >= b } else { a <= b };
        if first || a.is_nan() { a } else { b }
    }

    fn wide(&self, a: &Tensor, b: &Tensor) -> TractResult<TVec<TValue>> {
        let shape = tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast(&[a.shape(), b.shape()])?;
        let mut output = a.broadcast_to_shape(&shape)?;
        let others = b.broadcast_to_shape(&shape)?;
        let others = others.try_as_plain_ram()?;
        let others = others.as_slice::<f64>()?;
        for (value, other) in output.try_as_plain_ram_mut()?.as_slice_mut::<f64>()?.iter_mut().zip(others) {
            let first = if self.largest { *value >= *other } else { *value <= *other };
            *value = if first || value.is_nan() { *value } else { *other };
        }
        Ok(tvec![output.into_tvalue()])
    }

    /// With one value for all.
    fn with(&self, data: &mut [f32], bound: f32) -> TractResult<()> {
        let all = data.len();
        par_chunks_mut(data, 1, all, |_, data| {
            // A comparison with NaN is false, so NaN stays.
            match self.largest {
                _ if bound.is_nan() => data.fill(bound),
                true => data.iter_mut().for_each(|value| *value = if *value < bound { bound } else { *value }),
                false => data.iter_mut().for_each(|value| *value = if *value > bound { bound } else { *value }),
            }
            Ok(())
        })
    }
}

impl Op for Extreme {
    fn name(&self) -> StaticName {
        if self.largest { "Largest".into() } else { "Smallest".into() }
    }

    op_as_typed_op!();
}

impl EvalOp for Extreme {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        if a.datum_type() == f64::datum_type() {
            return self.wide(&a, &b);
        }
        let single = |tensor: &TValue| tensor.len() == 1;
        if a.rank() == b.rank() && (single(&a) || single(&b)) {
            let (values, bound) = if single(&b) { (a, b) } else { (b, a) };
            let bound = bound.try_as_plain_ram()?.as_slice::<f32>()?[0];
            let mut values = values.into_tensor();
            self.with(values.try_as_plain_ram_mut()?.as_slice_mut()?, bound)?;
            return Ok(tvec![values.into_tvalue()]);
        }
        if a.shape() == b.shape() {
            let mut values = a.into_tensor();
            let others = b.try_as_plain_ram()?;
            let others = others.as_slice::<f32>()?;
            for (value, other) in values.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.iter_mut().zip(others) {
                *value = self.of(*value, *other);
            }
            return Ok(tvec![values.into_tvalue()]);
        }
        let shape = tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast(&[a.shape(), b.shape()])?;
        let mut output = a.broadcast_to_shape(&shape)?;
        let others = b.broadcast_to_shape(&shape)?;
        let others = others.try_as_plain_ram()?;
        let others = others.as_slice::<f32>()?;
        for (value, other) in output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.iter_mut().zip(others) {
            *value = self.of(*value, *other);
        }
        Ok(tvec![output.into_tvalue()])
    }
}

impl TypedOp for Extreme {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape =
            tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast(&[&*inputs[0].shape, &*inputs[1].shape])?;
        Ok(tvec![inputs[0].datum_type.fact(shape)])
    }

    as_op!();
}
