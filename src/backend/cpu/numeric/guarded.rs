//! tract's operators with NaN carried through, and average pools over wide windows in float64.
//!
//! tract's kernels clamp what they approximate, which makes a number of NaN, and lets a sigmoid end at 4.5e-7: of -1e5 that is
//! -0.04 where a SiLU multiplies by it.

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
    fn low(&self) -> Option<fn(f64) -> f64> {
        let kind: &dyn ElementWiseMiniOp = &*self.0.0;
        if kind.is::<Sigmoid>() {
            Some(|x| x.exp() / (1.0 + x.exp()))
        } else if kind.is::<Silu>() {
            Some(|x| x * (x.exp() / (1.0 + x.exp())))
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
        let results = match self.low() {
            Some(low) => {
                let plain = inputs[0].try_as_plain_ram()?;
                let values = plain.as_slice::<f32>()?;
                let exactly = |value: f32| if value.is_nan() { value } else { low(f64::from(value)) as f32 };
                let places = places(values, |value| value.is_nan() | (value < LOW));
                places.into_iter().map(|place| (place, exactly(values[place]))).collect()
            }
            None => places_of_nan(&inputs[0])?.into_iter().map(|place| (place, f32::NAN)).collect::<Vec<_>>(),
        };
        let mut outputs = self.0.eval(context, inputs)?;
        if !results.is_empty() {
            let mut output = outputs.remove(0).into_tensor();
            let mut plain = output.try_as_plain_ram_mut()?;
            let values = plain.as_slice_mut::<f32>()?;
            results.into_iter().for_each(|(place, result)| values[place] = result);
            outputs.insert(0, output.into_tvalue());
        }
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

fn places_of_nan(tensor: &Tensor) -> TractResult<Vec<usize>> {
    Ok(places(tensor.try_as_plain_ram()?.as_slice::<f32>()?, f32::is_nan))
}

/// Where the values of that kind are.
fn places(values: &[f32], is: impl Fn(f32) -> bool) -> Vec<usize> {
    // Almost always there is none, and this looks at several values at once.
    let doubtful = |block: &[f32]| block.iter().fold(false, |any, value| any | is(*value));
    let mut places = Vec::new();
    for (block, values) in values.chunks(1024).enumerate() {
        if doubtful(values) {
            places.extend((0..values.len()).filter(|i| is(values[*i])).map(|i| 1024 * block + i));
        }
    }
    places
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
        let places = places_of_nan(&inputs[0])?;
        if places.is_empty() {
            return self.0.eval(context, inputs);
        }
        let mut marks = Tensor::zero::<f32>(inputs[0].shape())?;
        let mut plain = marks.try_as_plain_ram_mut()?;
        let values = plain.as_slice_mut::<f32>()?;
        places.into_iter().for_each(|place| values[place] = 1.0);
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
