//! The last 1×1×1 convolution of a network, kept out of it: what the network gives is its features, and what comes to a voxel's
//! channels is computed here, of features that are blended and resampled. Both are weighted means, so that the outcome is the same as of
//! channels that are, but for the last digits; and memory does not grow with the channels.

use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use std::sync::Arc;

/// Voxels whose features stay in the cache from one channel to the next.
const BLOCK: usize = 256;

/// It makes channels of features: `channel = bias + Σ weight · feature`.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub features: usize,
    pub channels: usize,
    /// `[channel, feature]`.
    weights: Vec<f32>,
    /// One a channel.
    biases: Vec<f32>,
}

impl Head {
    /// `bytes` are float32, little-endian: the weights, `[channel, feature]`, and then the channels' biases.
    pub fn read(features: usize, channels: usize, bytes: &[u8]) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(Code::InvalidModel, message));
        let weights = features.checked_mul(channels).filter(|count| *count > 0);
        let size = weights.and_then(|count| count.checked_add(channels)?.checked_mul(size_of::<f32>()));
        let (Some(count), Some(size)) = (weights, size) else {
            return invalid(format!("a head of {features} features and {channels} channels is none"));
        };
        if bytes.len() != size {
            return invalid(format!(
                "a head of {features} features and {channels} channels has {size} bytes, and there are {}",
                bytes.len()
            ));
        }
        let mut weights: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
        if !weights.iter().all(|weight| weight.is_finite()) {
            return invalid("the head has a weight that is infinite, or no number".to_owned());
        }
        let biases = weights.split_off(count);
        Ok(Self { features, channels, weights, biases })
    }

    /// `[channel, feature]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub fn biases(&self) -> &[f32] {
        &self.biases
    }

    /// The channels of voxels, one channel after the other, of features that are `step` values apart. Of each sum the bias is first, and
    /// the features follow in their order, each product rounded before it is added.
    pub fn apply(&self, features: &[f32], step: usize, values: &mut [f32]) {
        let count = values.len() / self.channels;
        for first in (0..count).step_by(BLOCK) {
            let block = first..(first + BLOCK).min(count);
            let channels =
                values.chunks_exact_mut(count).zip(self.weights.chunks_exact(self.features)).zip(&self.biases);
            for ((values, weights), bias) in channels {
                let values = &mut values[block.clone()];
                values.fill(*bias);
                for (features, weight) in features.chunks(step).zip(weights) {
                    values.iter_mut().zip(&features[block.clone()]).for_each(|(sum, value)| *sum += value * weight);
                }
            }
        }
    }
}

/// A convolution that was folded out of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    pub head: Arc<Head>,
    /// The model's output that is the features, and the one that the head makes of it.
    pub input: String,
    pub output: String,
}

impl Folded {
    /// The one of all folds of a model: none where no fold has any.
    pub fn of_all<'a>(mut folds: impl Iterator<Item = Option<&'a Self>>) -> Result<Option<Self>> {
        let first = folds.next().flatten();
        match folds.all(|other| other == first) {
            true => Ok(first.cloned()),
            false => Err(Error::new(
                Code::Unsupported,
                "the folds' last convolutions, which were folded out of them, are not the same, so that their features cannot be averaged: \
                 convert them without --fold-head",
            )),
        }
    }

    /// The output to run the model for, where that one is asked for.
    pub fn output(&self, asked: Option<&String>) -> Result<&String> {
        match asked {
            Some(asked) if *asked != self.output && *asked != self.input => {
                let message = format!(
                    "{} is asked for; the folder has the head of {} alone",
                    quoted(asked),
                    quoted(&self.output)
                );
                Err(Error::new(Code::NotFound, message))
            }
            _ => Ok(&self.input),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One whose weights are of both signs.
    pub fn head(features: usize, channels: usize) -> Head {
        let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
        let bytes: Vec<u8> = (0..channels * (features + 1)).flat_map(|i| value(i).to_le_bytes()).collect();
        Head::read(features, channels, &bytes).unwrap()
    }

    #[test]
    fn sums_are_as_in_float64() {
        for (features, channels, count, step) in
            [(1, 1, 1, 1), (3, 5, 7, 9), (32, 118, 2 * BLOCK + 17, 600), (40, 2, 5, 5)]
        {
            let head = head(features, channels);
            let given: Vec<f32> = (0..features * step).map(|i| ((i * 31) % 97) as f32 / 9.0 - 5.0).collect();
            let mut values = vec![f32::NAN; channels * count];
            head.apply(&given, step, &mut values);
            for channel in 0..channels {
                for voxel in 0..count {
                    let sum = |sum: f64, feature: usize| {
                        let weight = head.weights()[channel * features + feature];
                        sum + f64::from(weight) * f64::from(given[feature * step + voxel])
                    };
                    let wanted = (0..features).fold(f64::from(head.biases()[channel]), sum);
                    let found = f64::from(values[channel * count + voxel]);
                    assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let message =
            |features, channels, bytes: &[u8]| Head::read(features, channels, bytes).unwrap_err().message().to_owned();
        assert!(message(2, 3, &[0; 35]).contains("has 36 bytes, and there are 35"));
        assert!(message(0, 3, &[0; 12]).contains("is none"));
        assert!(message(usize::MAX, 2, &[]).contains("is none"));
        assert!(message(1, usize::MAX / 2, &[]).contains("is none"));
        assert!(message(1, 1, &[0, 0, 0xc0, 0x7f, 0, 0, 0, 0]).contains("no number"));
    }
}
