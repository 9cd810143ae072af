//! Batch normalization with the mean and the variance of what it is given, as in training; and normalizations of float64,
//! which tract computes in float32.

use super::values::{axis, floats, made};
use super::{Fact, Kernel, Places, node};
use crate::backend::cpu::kept::{Built, Rewrite, displace, expansion, rewritten, tracts};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
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

/// What lies behind each other has one mean and one deviation.
#[derive(Clone, Copy, Debug)]
enum Over {
    /// All from an axis on; without a mean it is the root of the mean of squares that is divided by.
    Axis { axis: i64, centered: bool },
    /// The channels of a group.
    Group(usize),
}

#[derive(Debug)]
struct Wide {
    over: Over,
    epsilon: f64,
}

impl Wide {
    /// How many elements lie in one part of that shape, and the first axis of it.
    fn part(&self, shape: &[usize]) -> TractResult<(usize, usize)> {
        Ok(match self.over {
            Over::Axis { axis: number, .. } => {
                let at = axis(number, shape.len())?;
                (shape[at..].iter().product(), at)
            }
            Over::Group(groups) => {
                ensure!(
                    shape.len() > 1 && groups > 0 && shape[1].is_multiple_of(groups),
                    "its channels are not of {groups} groups"
                );
                (shape[1] / groups * shape[2..].iter().product::<usize>(), 1)
            }
        })
    }

    /// The factor, or the number, of an element.
    fn affine(&self, shape: &[usize], values: &Tensor) -> TractResult<Vec<f64>> {
        let Over::Group(groups) = self.over else {
            let to = values.broadcast_to_shape(shape).context("its factors do not fit its input")?;
            return floats(&to);
        };
        let given = floats(values)?;
        let (channels, inner) = (shape[1], shape[2..].iter().product::<usize>().max(1));
        let each = match given.len() {
            count if count == channels => 1,
            count if count == groups => channels / groups,
            count => bail!("it has {count} factors for {channels} channels in {groups} groups"),
        };
        let count = shape.iter().product();
        Ok((0..count).map(|place| given[place / inner % channels / each]).collect())
    }
}

impl Kernel for Wide {
    fn name(&self) -> &'static str {
        "Normalization"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        let (_, at) = self.part(&input.shape)?;
        let parts = input.shape.iter().enumerate().map(|(axis, extent)| if axis < at { *extent } else { 1 });
        let parts = Fact::new(f32::datum_type(), parts);
        Ok(vec![Fact::new(input.kind, input.shape.iter().copied()), parts.clone(), parts])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let (length, at) = self.part(input.shape())?;
        let factors = self.affine(input.shape(), inputs.need(1)?)?;
        let added = inputs.get(2).map(|added| self.affine(input.shape(), added)).transpose()?;
        let mut values = floats(input)?;
        let centered = !matches!(self.over, Over::Axis { centered: false, .. });
        let (mut means, mut inverses) = (Vec::new(), Vec::new());
        for (number, part) in values.chunks_mut(length.max(1)).enumerate() {
            let mean = if centered { part.iter().sum::<f64>() / length as f64 } else { 0.0 };
            let variance = part.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / length as f64;
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            for (place, value) in (number * length..).zip(part) {
                *value = (*value - mean) * inverse * factors[place] + added.as_ref().map_or(0.0, |added| added[place]);
            }
            means.push(mean);
            inverses.push(inverse);
        }
        let shape: TVec<usize> =
            input.shape().iter().enumerate().map(|(axis, n)| if axis < at { *n } else { 1 }).collect();
        let parts = |values: &[f64]| match self.over {
            Over::Axis { .. } => made(f32::datum_type(), &shape, values),
            Over::Group(_) => Ok(Tensor::default()),
        };
        Ok(vec![made(input.datum_type(), input.shape(), &values)?, parts(&means)?, parts(&inverses)?])
    }
}

/// tract's operator for all but float64.
#[derive(Clone, Debug)]
struct ByWidth {
    ours: Box<dyn Expansion>,
}

impl Rewrite for ByWidth {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        match model.outlet_fact(inputs[0])?.datum_type == f64::datum_type() {
            true => self.ours.wire(prefix, model, inputs),
            false => tracts.wire(prefix, model, inputs),
        }
    }
}

fn by_width(context: &ParsingContext, proto: &NodeProto) -> Built {
    let along = |centered| TractResult::Ok(Over::Axis { axis: proto.get_attr_opt("axis")?.unwrap_or(-1), centered });
    let over = match proto.op_type.as_str() {
        "GroupNormalization" => Over::Group(proto.get_attr("num_groups")?),
        "RMSNormalization" => along(false)?,
        _ => along(true)?,
    };
    let epsilon = f64::from(proto.get_attr_opt::<f32>("epsilon")?.unwrap_or(1e-5));
    let ours = node(Wide { over, epsilon }, proto);
    rewritten(context, proto, ByWidth { ours: expansion(&*ours)? })
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
    for name in ["GroupNormalization", "LayerNormalization", "RMSNormalization"] {
        displace(operators, name, by_width);
    }
}
