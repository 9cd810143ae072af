//! From what the network gives for a plane to its labels.

use super::recipe::{Activation, Decision, Rule};
use crate::error::{Code, Error, Result};

/// Voxels that are worked on at a time: their values stay in the cache from one channel to the next.
const BLOCK: usize = 2048;

impl Decision {
    /// Holds it against the number of channels that the network gives.
    pub fn check(&self, channels: usize) -> Result<()> {
        let invalid = |message: String| Err(Error::new(Code::InvalidArgument, message));
        match &self.rule {
            Rule::Argmax { labels } if labels.len() != channels => {
                invalid(format!("the recipe has labels for {} channels; the network gives {channels}", labels.len()))
            }
            Rule::Argmax { .. } => Ok(()),
            Rule::Regions { threshold, .. } if threshold.is_nan() => {
                invalid("the regions' threshold is no number".to_owned())
            }
            Rule::Regions { order, .. } => match order.iter().find(|(channel, _)| *channel >= channels) {
                Some((channel, label)) => invalid(format!(
                    "the recipe paints label {label} by channel {channel}; the network gives {channels}, numbered from 0"
                )),
                None => Ok(()),
            },
        }
    }

    /// The largest label that there can be.
    pub fn largest_label(&self) -> u16 {
        match &self.rule {
            Rule::Argmax { labels } => labels.iter().copied().max().unwrap_or(0),
            Rule::Regions { order, .. } => order.iter().map(|(_, label)| *label).max().unwrap_or(0),
        }
    }
}

/// Makes probabilities of what the network gives for voxels: `[channel, voxel]`.
pub fn activate(values: &mut [f32], channels: usize, activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values.iter_mut().for_each(|value| *value = 1.0 / (1.0 + (-*value).exp())),
        Activation::Softmax => {
            let count = values.len() / channels.max(1);
            let (mut largest, mut sums) = ([0f32; BLOCK], [0f32; BLOCK]);
            for first in (0..count).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(count);
                let (largest, sums) = (&mut largest[..block.len()], &mut sums[..block.len()]);
                largest.fill(f32::NEG_INFINITY);
                sums.fill(0.0);
                for channel in values.chunks_exact(count) {
                    largest.iter_mut().zip(&channel[block.clone()]).for_each(|(most, value)| *most = most.max(*value));
                }
                for channel in values.chunks_exact_mut(count) {
                    let voxels = channel[block.clone()].iter_mut().zip(&*largest).zip(sums.iter_mut());
                    for ((value, largest), sum) in voxels {
                        *value = (*value - largest).exp();
                        *sum += *value;
                    }
                }
                for channel in values.chunks_exact_mut(count) {
                    channel[block.clone()].iter_mut().zip(&*sums).for_each(|(value, sum)| *value /= sum);
                }
            }
        }
    }
}

/// The labels of voxels, by values that the rule is about: `[channel, voxel]`.
pub fn decide(values: &[f32], rule: &Rule, labels: &mut [u16]) {
    let count = labels.len();
    match rule {
        Rule::Argmax { labels: of_channels } => {
            // The channel is as wide as its value, so that both are chosen by the same vector of comparisons.
            let (mut best, mut chosen) = ([0f32; BLOCK], [0u32; BLOCK]);
            for first in (0..count).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(count);
                let (best, chosen) = (&mut best[..block.len()], &mut chosen[..block.len()]);
                for (channel, values) in (0u32..).zip(values.chunks_exact(count).take(of_channels.len())) {
                    let values = &values[block.clone()];
                    if channel == 0 {
                        best.copy_from_slice(values);
                        chosen.fill(0);
                        continue;
                    }
                    for ((value, best), chosen) in values.iter().zip(best.iter_mut()).zip(chosen.iter_mut()) {
                        // As everywhere, the first channel that is no number counts as the largest.
                        let is_better = (*value > *best) | (value.is_nan() & !best.is_nan());
                        *best = if is_better { *value } else { *best };
                        *chosen = if is_better { channel } else { *chosen };
                    }
                }
                let of_block = labels[block].iter_mut().zip(&*chosen);
                of_block.for_each(|(label, channel)| *label = of_channels.get(*channel as usize).copied().unwrap_or(0));
            }
        }
        Rule::Regions { threshold, order } => {
            labels.fill(0);
            for (channel, label) in order {
                let Some(values) = values.chunks_exact(count).nth(*channel) else { continue };
                for (value, chosen) in values.iter().zip(labels.iter_mut()) {
                    *chosen = if *value > *threshold { *label } else { *chosen };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argmax(values: &[f32], labels: &[u16]) -> Vec<u16> {
        let mut decided = vec![7; values.len() / labels.len()];
        decide(values, &Rule::Argmax { labels: labels.to_vec() }, &mut decided);
        decided
    }

    #[test]
    fn the_first_of_the_largest_wins() {
        let values = [1.0, 2.0, 0.0, -1.0, 2.0, 2.0, 0.0, -2.0, 1.0, 3.0, -0.0, -1.5];
        assert_eq!(argmax(&values, &[0, 5, 9]), [5, 9, 0, 0]);
        assert_eq!(argmax(&[f32::NEG_INFINITY, f32::NAN, 1.0, f32::NEG_INFINITY, 5.0, f32::NAN], &[1, 2]), [1, 1, 2]);
        assert_eq!(argmax(&[4.0, 4.0], &[3]), [3, 3]);
    }

    #[test]
    fn as_a_plain_loop_does_over_many_voxels_and_channels() {
        let (channels, count) = (300, 2 * BLOCK + 17);
        let values: Vec<f32> = (0..channels * count).map(|i| ((i * 7919) % 509) as f32).collect();
        let labels: Vec<u16> = (0..channels as u16).collect();
        let wanted = (0..count).map(|voxel| {
            (1..channels).fold(0, |best, channel| {
                if values[channel * count + voxel] > values[best * count + voxel] { channel } else { best }
            }) as u16
        });
        assert_eq!(argmax(&values, &labels), wanted.collect::<Vec<_>>());
    }

    #[test]
    fn regions_are_painted_one_over_the_other() {
        let values = [0.6, 0.6, 0.5, 0.4, 0.4, 0.7, 0.9, f32::NAN];
        let mut labels = [9; 4];
        decide(&values, &Rule::Regions { threshold: 0.5, order: vec![(1, 2), (0, 1)] }, &mut labels);
        assert_eq!(labels, [1, 1, 2, 0]);
        decide(&values, &Rule::Regions { threshold: 0.5, order: vec![(0, 1), (1, 2)] }, &mut labels);
        assert_eq!(labels, [1, 2, 2, 0]);
    }

    #[test]
    fn probabilities() {
        let mut values = vec![0.0, 800.0, 3f32.ln(), -800.0, 2f32.ln(), 0.0, 0.0, 0.0];
        activate(&mut values, 2, Activation::Sigmoid);
        assert!(values.iter().zip([0.5, 1.0, 0.75, 0.0, 2.0 / 3.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
        let count = BLOCK + 3;
        let logits: Vec<f32> = (0..3 * count).map(|i| ((i * 31) % 2000) as f32 - 1000.0).collect();
        let mut values = logits.clone();
        activate(&mut values, 3, Activation::Softmax);
        for voxel in 0..count {
            let of = |values: &[f32]| [0, 1, 2].map(|channel| f64::from(values[channel * count + voxel]));
            let most = of(&logits).into_iter().fold(f64::MIN, f64::max);
            let sum: f64 = of(&logits).iter().map(|value| (value - most).exp()).sum();
            let wanted = of(&logits).map(|value| (value - most).exp() / sum);
            assert!(of(&values).iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{voxel}");
        }
    }

    #[test]
    fn what_does_not_fit_the_network_is_refused() {
        let decision = |rule| Decision {
            activation: Activation::None,
            blend_probabilities: false,
            resample_probabilities: false,
            rule,
            before_resampling: false,
            largest_component: false,
        };
        let argmax = decision(Rule::Argmax { labels: vec![0, 300] });
        assert_eq!(argmax.largest_label(), 300);
        assert!(argmax.check(2).is_ok());
        assert_eq!(argmax.check(3).unwrap_err().code(), Code::InvalidArgument);
        let regions = decision(Rule::Regions { threshold: 0.5, order: vec![(2, 1), (0, 3)] });
        assert_eq!(regions.largest_label(), 3);
        assert!(regions.check(3).is_ok());
        assert_eq!(regions.check(2).unwrap_err().code(), Code::InvalidArgument);
    }
}
