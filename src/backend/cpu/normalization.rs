//! Instance normalization: the mean and the deviation of each channel in float64, and the channel written anew while it is in
//! the cache, with what comes behind.
//!
//! tract's is six nodes, each of which reads and writes the whole tensor.

use super::finish::Finish;
use super::kept::{Built, Rewrite, displace, rewritten};
use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

pub fn register(operators: &mut OnnxOpRegister) {
    displace(operators, "InstanceNormalization", of_instances);
}

fn of_instances(context: &ParsingContext, node: &NodeProto) -> Built {
    let epsilon: f32 = node.get_attr_opt("epsilon")?.unwrap_or(1e-5);
    rewritten(context, node, OfInstances { epsilon: epsilon.to_bits() })
}

/// As a model has it; what is not float32 is tract's.
#[derive(Clone, Debug)]
struct OfInstances {
    epsilon: u32,
}

impl Rewrite for OfInstances {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        if fact.datum_type != f32::datum_type() || fact.rank() < 2 {
            return tracts.wire(prefix, model, inputs);
        }
        model.wire_node(prefix, Normalization { epsilon: self.epsilon, finish: Finish::default() }, inputs)
    }
}

/// Each channel of each item of the first input, less its mean, by its deviation, times the channel's factor in the second
/// input, plus its number in the third. What is added to that comes last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Normalization {
    /// The bits of what is added to the variance.
    pub epsilon: u32,
    pub finish: Finish,
}

impl Op for Normalization {
    fn name(&self) -> StaticName {
        "InstanceNormalization".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Normalization {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut tensor = inputs.remove(0).into_tensor();
        let others = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let others = others.iter().map(|input| input.as_slice::<f32>()).collect::<TractResult<TVec<_>>>()?;
        let residual = if self.finish.residual { others.last().copied() } else { None };
        let channels = tensor.shape()[1];
        let volume: usize = tensor.shape()[2..].iter().product();
        ensure!(others[0].len() == channels && others[1].len() == channels, "it has not one factor for each channel");
        let epsilon = f64::from(f32::from_bits(self.epsilon));
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let values = plain.as_slice_mut::<f32>()?;
        let all = values.len();
        if all > 0 {
            par_chunks_mut(values, volume, all, |first, values| {
                for (row, values) in (first..).zip(values.chunks_exact_mut(volume)) {
                    let channel = row % channels;
                    let residual = residual.map(|residual| &residual[row * volume..][..volume]);
                    let affine = (f64::from(others[0][channel]), f64::from(others[1][channel]));
                    normalize(values, residual, epsilon, affine, self.finish);
                }
                Ok(())
            })?;
        }
        Ok(tvec![tensor.into_tvalue()])
    }
}

impl TypedOp for Normalization {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![inputs[0].without_value()])
    }

    as_op!();
}

/// One channel.
fn normalize(values: &mut [f32], residual: Option<&[f32]>, epsilon: f64, affine: (f64, f64), finish: Finish) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(values: &mut [f32], residual: Option<&[f32]>, epsilon: f64, affine: (f64, f64), finish: Finish) {
            plain(values, residual, epsilon, affine, finish);
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions.
            return unsafe { wide(values, residual, epsilon, affine, finish) };
        }
    }
    plain(values, residual, epsilon, affine, finish);
}

/// Written for a compiler that knows of wide registers: it gives the same bits with them and without.
#[inline(always)]
fn plain(values: &mut [f32], residual: Option<&[f32]>, epsilon: f64, affine: (f64, f64), finish: Finish) {
    let count = values.len() as f64;
    let mean = sum(values, |value| value) / count;
    // Beyond what float32 holds it is infinite, as in the model's own type: all values are the same then.
    let variance = f64::from((sum(values, |value| (value - mean) * (value - mean)) / count) as f32);
    let factor = affine.0 / (variance + epsilon).sqrt();
    let one = |value: &f32| ((f64::from(*value) - mean) * factor + affine.1) as f32;
    // In blocks, since what is read is written to.
    const BLOCK: usize = 64;
    let mut start = 0;
    for block in values.chunks_mut(BLOCK) {
        let mut results = [0f32; BLOCK];
        results.iter_mut().zip(&*block).for_each(|(result, value)| *result = one(value));
        let results = &results[..block.len()];
        let residual = residual.map(|residual| &residual[start..][..block.len()]);
        start += block.len();
        finish.write(block, results, residual, |result| result, |result| result);
    }
}

/// In sums side by side, which are added at the end: the processor adds several at once.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0f64; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += of(f64::from(*value));
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += of(f64::from(*value));
    }
    lanes.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::finish::Activation;

    #[test]
    fn a_channel_far_from_zero_is_exact() {
        for count in [1, 7, 64, 1000, 12_345] {
            let value = |i: usize| 10_000.0 + ((i * 7919) % 1000) as f32 / 500.0;
            let given: Vec<f32> = (0..count).map(value).collect();
            let residual: Vec<f32> = (0..count).map(|i| i as f32 / count as f32).collect();
            let (mut computed, mut narrow) = (given.clone(), given.clone());
            let finish = Finish { residual: true, activation: Activation::Leaky(0.1f32.to_bits()) };
            normalize(&mut computed, Some(&residual), 1e-5, (2.0, -0.5), finish);
            plain(&mut narrow, Some(&residual), 1e-5, (2.0, -0.5), finish);
            assert_eq!(computed, narrow);
            let mean = given.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64;
            let variance = given.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count as f64;
            for ((given, more), computed) in given.iter().zip(&residual).zip(&computed) {
                let exact = (f64::from(*given) - mean) / (variance + 1e-5).sqrt() * 2.0 - 0.5 + f64::from(*more);
                let exact = if exact < 0.0 { 0.1 * exact } else { exact };
                assert!((exact - f64::from(*computed)).abs() < 1e-6, "{computed} and not {exact}");
            }
        }
        let mut large = vec![1e30, -1e30];
        normalize(&mut large, None, 1e-5, (2.0, 0.25), Finish::default());
        assert_eq!(large, [0.25, 0.25]);
        let mut one_is_none = vec![1.0, f32::NAN, 2.0];
        normalize(&mut one_is_none, None, 1e-5, (1.0, 0.0), Finish::default());
        assert!(one_is_none.iter().all(|value| value.is_nan()));
    }
}
