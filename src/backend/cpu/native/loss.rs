//! The losses that models trained with them may still have.

use super::values::{floats, made, wholes};
use super::{Fact, Kernel, Places, node};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

/// Minus the logarithm of the likelihood of each place's class, weighted by class: of logarithms, or of scores.
#[derive(Debug)]
struct Likelihood {
    reduction: Reduction,
    ignored: Option<i64>,
    /// Whether a softmax over the classes comes first.
    scores: bool,
}

impl Likelihood {
    fn of(proto: &NodeProto, scores: bool) -> TractResult<Self> {
        let reduction = match proto.get_attr_opt::<&str>("reduction")? {
            None | Some("mean") => Reduction::Mean,
            Some("sum") => Reduction::Sum,
            Some("none") => Reduction::None,
            Some(other) => bail!("its reduction is {other:?}"),
        };
        Ok(Self { reduction, ignored: proto.get_attr_opt("ignore_index")?, scores })
    }
}

impl Kernel for Likelihood {
    fn name(&self) -> &'static str {
        if self.scores { "SoftmaxCrossEntropyLoss" } else { "NegativeLogLikelihoodLoss" }
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (scores, labels) = (inputs.need(0)?, inputs.need(1)?);
        ensure!(scores.kind.is_float() && labels.kind.is_integer(), "it takes floating point and whole numbers");
        let places: TVec<usize> = scores.shape[..1].iter().chain(&scores.shape[2..]).copied().collect();
        ensure!(scores.rank() > 1 && labels.shape == places, "labels {:?} do not fit {:?}", labels.shape, scores.shape);
        if let Some(weights) = inputs.get(2) {
            ensure!(weights.shape[..] == [scores.shape[1]], "there is not one weight for each class");
        }
        let shape = if self.reduction == Reduction::None { places } else { tvec![] };
        Ok(vec![Fact::new(scores.kind, shape), Fact::new(scores.kind, scores.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (scores, labels) = (inputs.need(0)?, inputs.need(1)?);
        let kind = scores.datum_type();
        let classes = scores.shape()[1];
        let inner: usize = scores.shape()[2..].iter().product();
        let mut logarithms = floats(scores)?;
        if self.scores {
            for item in 0..scores.shape()[0] {
                for at in 0..inner {
                    let first = item * classes * inner + at;
                    let all = || (0..classes).map(|class| first + class * inner);
                    let largest = all().map(|i| logarithms[i]).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = all().map(|i| (logarithms[i] - largest).exp()).sum();
                    all().for_each(|i| logarithms[i] -= largest + sum.ln());
                }
            }
        }
        let weights = inputs.get(2).map(|weights| floats(weights)).transpose()?;
        let mut losses = Vec::with_capacity(labels.len());
        let (mut sum, mut total) = (0.0, 0.0);
        for (place, label) in wholes(labels)?.into_iter().enumerate() {
            if self.ignored == Some(label) {
                losses.push(0.0);
                continue;
            }
            ensure!((0..classes as i64).contains(&label), "label {label} is of none of {classes} classes");
            let label = label as usize;
            let weight = weights.as_ref().map_or(1.0, |weights| weights[label]);
            let loss = -weight * logarithms[(place / inner * classes + label) * inner + place % inner];
            losses.push(loss);
            sum += loss;
            total += weight;
        }
        let loss = match self.reduction {
            Reduction::None => made(kind, labels.shape(), &losses)?,
            Reduction::Sum => made(kind, &[], &[sum])?,
            Reduction::Mean => made(kind, &[], &[sum / total])?,
        };
        Ok(vec![loss, made(kind, scores.shape(), &logarithms)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("NegativeLogLikelihoodLoss", |_, proto| Ok((node(Likelihood::of(proto, false)?, proto), vec![])));
    operators.insert("SoftmaxCrossEntropyLoss", |_, proto| Ok((node(Likelihood::of(proto, true)?, proto), vec![])));
}
