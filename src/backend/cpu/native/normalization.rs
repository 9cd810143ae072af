//! Batch normalization with the mean and the variance of what it is given, as in training.

use super::values::{floats, made};
use super::{Fact, Kernel, Places, node};
use crate::backend::cpu::kept::{displace, tracts};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Debug)]
struct OfBatch {
    epsilon: f64,
    momentum: f64,
}

impl Kernel for OfBatch {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        ensure!(input.rank() > 1 && input.kind.is_float(), "it takes a batch of channels of floating point");
        for place in 1..5 {
            let fact = inputs.need(place)?;
            ensure!(fact.shape[..] == [input.shape[1]], "input {place} has not one element for each channel");
        }
        let running = |place| TractResult::Ok(Fact::new(inputs.need(place)?.kind, [input.shape[1]]));
        Ok(vec![Fact::new(input.kind, input.shape.iter().copied()), running(3)?, running(4)?])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let (items, channels) = (input.shape()[0], input.shape()[1]);
        let inner: usize = input.shape()[2..].iter().product();
        let (scale, bias) = (floats(inputs.need(1)?)?, floats(inputs.need(2)?)?);
        let (mut means, mut variances) = (floats(inputs.need(3)?)?, floats(inputs.need(4)?)?);
        let mut values = floats(input)?;
        let count = (items * inner) as f64;
        for channel in 0..channels {
            let all = || (0..items).flat_map(|item| (0..inner).map(move |at| (item * channels + channel) * inner + at));
            let mean = all().map(|i| values[i]).sum::<f64>() / count;
            let variance = all().map(|i| (values[i] - mean).powi(2)).sum::<f64>() / count;
            let factor = scale[channel] / (variance + self.epsilon).sqrt();
            all().for_each(|i| values[i] = (values[i] - mean) * factor + bias[channel]);
            means[channel] = means[channel] * self.momentum + mean * (1.0 - self.momentum);
            variances[channel] = variances[channel] * self.momentum + variance * (1.0 - self.momentum);
        }
        let running = |place: usize, values: &[f64]| made(inputs.need(place)?.datum_type(), &[channels], values);
        Ok(vec![made(input.datum_type(), input.shape(), &values)?, running(3, &means)?, running(4, &variances)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    displace(operators, "BatchNormalization", |context, proto| {
        if proto.get_attr_opt::<i64>("training_mode")? != Some(1) {
            return tracts(context, proto);
        }
        let number = |name, default| TractResult::Ok(f64::from(proto.get_attr_opt::<f32>(name)?.unwrap_or(default)));
        let kernel = OfBatch { epsilon: number("epsilon", 1e-5)?, momentum: number("momentum", 0.9)? };
        Ok((node(kernel, proto), vec![]))
    });
}
