//! tract's operators with NaN carried through, and average pools over wide windows in float64.
//!
//! tract's kernels clamp what they approximate, which makes a number of NaN, and lets a sigmoid end at 4.5e-7: of -1e5 that is
//! -0.04 where a SiLU multiplies by it.

use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::{MaxPool, SumPool};
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::tract_core::ops::math::{Erf, Exp, Tanh};
use tract_onnx::tract_hir::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_hir::tract_core::ops::nn::silu::Silu;
use tract_onnx::tract_hir::tract_core::ops::nn::{HardSwish, LeakyRelu, Sigmoid};

/// Below this tract's sigmoid has no right digit left.
const LOW: f32 = -10.0;

/// An operator on float32 elements that gives NaN for NaN, and what it should for what is far below 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded(ElementWiseOp);

impl Guarded {
    /// For an operator whose kernels lose NaN.
    pub fn around(op: &ElementWiseOp) -> Option<Self> {
        let kind: &dyn ElementWiseMiniOp = &*op.0;
        let loses = kind.is::<Sigmoid>()
            || kind.is::<Tanh>()
            || kind.is::<HardSwish>()
            || kind.is::<LeakyRelu>()
            || kind.is::<Silu>()
            || kind.is::<GeluApproximate>()
            || kind.is::<Erf>()
            || kind.is::<Exp>();
        (loses && op.1.is_none()).then(|| Self(op.clone()))
    }

    pub fn leaky_slope(&self) -> Option<f32> {
        self.0.0.downcast_ref::<LeakyRelu>().map(|op| op.alpha)
    }

    /// What it is far below 0, where tract's is no longer right.
    fn low(&self) -> Option<fn(f32) -> f32> {
        let kind: &dyn ElementWiseMiniOp = &*self.0.0;
        if kind.is::<Sigmoid>() {
            Some(low_sigmoid)
        } else if kind.is::<Silu>() {
            Some(|x| x * low_sigmoid(x))
        } else if kind.downcast_ref::<GeluApproximate>().is_some_and(|op| !op.fast_impl) {
            // 1 + tanh(x) is 0 there.
            Some(|x| x * 0.0)
        } else {
            None
        }
    }

    pub fn is_exponential(&self) -> bool {
        self.0.0.is::<Exp>()
    }
}

impl Op for Guarded {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl EvalOp for Guarded {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let low = self.low();
        let is_doubtful = move |value: f32| value.is_nan() | (low.is_some() & (value < LOW));
        if !any(inputs[0].try_as_plain_ram()?.as_slice::<f32>()?, is_doubtful) {
            return self.0.eval(context, inputs);
        }
        let input = inputs[0].clone();
        let mut outputs = self.0.eval(context, inputs)?;
        let mut output = outputs.remove(0).into_tensor();
        let plain = input.try_as_plain_ram()?;
        let from = plain.as_slice::<f32>()?;
        // A scan's background is far below 0: all threads go through it.
        let exactly = |value: f32, result: &mut f32| match low {
            _ if value.is_nan() => *result = value,
            Some(low) if value < LOW => *result = low(value),
            _ => {}
        };
        let mut plain = output.try_as_plain_ram_mut()?;
        par_chunks_mut(plain.as_slice_mut::<f32>()?, 1, from.len(), |first, results| {
            results.iter_mut().zip(&from[first..]).for_each(|(result, value)| exactly(*value, result));
            Ok(())
        })?;
        outputs.insert(0, output.into_tvalue());
        Ok(outputs)
    }
}

impl TypedOp for Guarded {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        self.0.axes_mapping(inputs, outputs)
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        Ok(Some(AxisChangeConsequence::new(model, node, None, change)))
    }

    as_op!();
}

/// Below [`LOW`], where 1 + e^x has all digits.
fn low_sigmoid(x: f32) -> f32 {
    let power = x.exp();
    power / (1.0 + power)
}

/// Whether a value is of that kind. Almost always none is, and this looks at several at once.
fn any(values: &[f32], is: impl Fn(f32) -> bool) -> bool {
    values.chunks(1024).any(|values| values.iter().fold(false, |any, value| any | is(*value)))
}

/// A max-pool whose windows with NaN are NaN.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct GuardedMaxPool(pub MaxPool);

impl Op for GuardedMaxPool {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl EvalOp for GuardedMaxPool {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plain = inputs[0].try_as_plain_ram()?;
        let values = plain.as_slice::<f32>()?;
        if !any(values, f32::is_nan) {
            return self.0.eval(context, inputs);
        }
        let mut marks = Tensor::zero::<f32>(inputs[0].shape())?;
        let mut plain = marks.try_as_plain_ram_mut()?;
        let of_nan = plain.as_slice_mut::<f32>()?.iter_mut().zip(values);
        of_nan.for_each(|(mark, value)| *mark = f32::from(u8::from(value.is_nan())));
        let marks = self.0.eval(context, tvec![marks.into_tvalue()])?.remove(0);
        let mut output = self.0.eval(context, inputs)?.remove(0).into_tensor();
        let marks = marks.try_as_plain_ram()?;
        let marks = marks.as_slice::<f32>()?;
        for (value, mark) in output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.iter_mut().zip(marks) {
            if *mark > 0.0 {
                *value = f32::NAN;
            }
        }
        Ok(tvec![output.into_tvalue()])
    }
}

impl TypedOp for GuardedMaxPool {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}

/// An average pool whose sums are of float64.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct WidePool(pub SumPool);

impl Op for WidePool {
    fn name(&self) -> StaticName {
        "WidePool".into()
    }

    op_as_typed_op!();
}

impl EvalOp for WidePool {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let wide = inputs[0].cast_to::<f64>()?.into_owned();
        let pooled = self.0.eval(context, tvec![wide.into_tvalue()])?.remove(0);
        Ok(tvec![pooled.cast_to::<f32>()?.into_owned().into_tvalue()])
    }
}

impl TypedOp for WidePool {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tract_linalg::multithread::{Executor, multithread_tract_scope};
    use tract_onnx::tract_hir::tract_core::ops::nn::sigmoid;

    #[test]
    fn sigmoids_far_below_0_and_of_nan_are_what_they_should_be() {
        let guarded = Guarded::around(&sigmoid()).unwrap();
        // More than threads are taken for.
        let mut values: Vec<f32> = (0..40 * 1024 + 77).map(|i| (i * 7919 % 1009) as f32 / 4.0 - 200.0).collect();
        values[1024..2048].fill(0.5);
        (values[3], values[5 * 1024]) = (f32::NAN, f32::NEG_INFINITY);
        let input = Tensor::from_shape(&[values.len()], &values).unwrap().into_tvalue();
        let eval = || guarded.eval(&EvalContext::out_of_plan(), tvec![input.clone()]).unwrap().remove(0);
        let one = eval();
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
        let several = multithread_tract_scope(Executor::MultiThread(pool), eval);
        let bits = |tensor: &TValue| -> Vec<u32> {
            let plain = tensor.try_as_plain_ram().unwrap();
            plain.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&one), bits(&several));
        for (bits, value) in bits(&one).into_iter().zip(&values) {
            let (found, expected) = (f64::from(f32::from_bits(bits)), 1.0 / (1.0 + (-f64::from(*value)).exp()));
            let allowed = expected.max(f64::from(f32::MIN_POSITIVE)) * 1e-3;
            assert!(found.is_nan() && value.is_nan() || (found - expected).abs() <= allowed, "{found} of {value}");
        }
    }
}
