//! tract's operators with NaN carried through, and average pools over wide windows in float64.
//!
//! tract's kernels clamp what they approximate, which makes a number of NaN.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::{MaxPool, SumPool};
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::tract_core::ops::math::{Erf, Exp, Tanh};
use tract_onnx::tract_hir::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_hir::tract_core::ops::nn::silu::Silu;
use tract_onnx::tract_hir::tract_core::ops::nn::{HardSwish, LeakyRelu, Sigmoid};

/// An operator on float32 elements that gives NaN for NaN.
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
        let places = places_of_nan(&inputs[0])?;
        let mut outputs = self.0.eval(context, inputs)?;
        if !places.is_empty() {
            let mut output = outputs.remove(0).into_tensor();
            let mut plain = output.try_as_plain_ram_mut()?;
            let values = plain.as_slice_mut::<f32>()?;
            places.into_iter().for_each(|place| values[place] = f32::NAN);
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
    let plain = tensor.try_as_plain_ram()?;
    let values = plain.as_slice::<f32>()?;
    // Almost always there is none, and this looks at several values at once.
    let doubtful = |block: &[f32]| block.iter().fold(false, |any, value| any | value.is_nan());
    let mut places = Vec::new();
    for (block, values) in values.chunks(1024).enumerate() {
        if doubtful(values) {
            places.extend((0..values.len()).filter(|i| values[*i].is_nan()).map(|i| 1024 * block + i));
        }
    }
    Ok(places)
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
