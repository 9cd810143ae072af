//! From planes of what the network gives, on the model's grid, to labels on the scan's.

use super::labels::LabelMap;
use crate::error::{Code, Error, Result};
use crate::volume::Back;
use crate::volume::decide::{activate, decide};
use crate::volume::grid::Layout;
use crate::volume::recipe::{Activation, Decision};
use crate::volume::resample::PlaneResampler;
use crate::volume::work::allocate;

/// Takes planes in the order of axis 0, and writes labels as soon as they are known.
pub struct Writer<'a> {
    decision: &'a Decision,
    channels: usize,
    labels: LabelMap,
    /// Where what was not cut off lies in the label map, in the model's axes.
    place: Layout,
    /// Of values, or of labels where they are decided before; none where both grids are one.
    resampler: Option<PlaneResampler>,
    nan_allowed: bool,
    decided: Vec<u16>,
    /// What is resampled of labels, and a row of what was.
    plane: Vec<f32>,
    row: Vec<f32>,
}

impl<'a> Writer<'a> {
    /// `extents` are the model grid's; `cropped` is whether some voxels may get no label of the network's.
    pub fn new(
        decision: &'a Decision,
        channels: usize,
        back: &Back,
        extents: [usize; 3],
        mut labels: LabelMap,
        cropped: bool,
        nan_allowed: bool,
    ) -> Result<Self> {
        if cropped {
            labels.clear();
        }
        let resampled = resampled_channels(decision, channels);
        let resampler = if back.is_same_grid() { None } else { Some(back.resampler(resampled)?) };
        let [_, height, width] = extents;
        let is_labels = resampler.is_some() && decision.before_resampling;
        Ok(Self {
            decision,
            channels,
            place: back.place(labels.layout()),
            labels,
            nan_allowed,
            decided: allocate("a plane of labels", (height * width).max(back.extents()[2]))?,
            plane: allocate("a plane of labels", if is_labels { height * width } else { 0 })?,
            row: allocate("a row of the result", if resampler.is_some() { resampled * back.extents()[2] } else { 0 })?,
            resampler,
        })
    }

    /// Bytes that it takes for a model's grid of these extents.
    pub fn memory(decision: &Decision, channels: usize, back: &Back, extents: [usize; 3]) -> u64 {
        let product = |factors: &[usize]| factors.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64));
        let plane = product(&extents[1..]);
        let decided = plane.max(back.extents()[2] as u64).saturating_mul(size_of::<u16>() as u64);
        if back.is_same_grid() {
            return decided;
        }
        let resampled = resampled_channels(decision, channels);
        let of_labels = if decision.before_resampling { plane.saturating_mul(4) } else { 0 };
        [of_labels, product(&[4, resampled, back.extents()[2]]), back.resampler_bytes(resampled)]
            .into_iter()
            .fold(decided, u64::saturating_add)
    }

    /// Takes the next plane: `[channel, y, x]`.
    pub fn push(&mut self, z: usize, values: &mut [f32]) -> Result<()> {
        let decision = self.decision;
        if !self.nan_allowed && has_nan(values) {
            let message = format!(
                "plane {z} of the model's grid has a value that is no number (NaN): infinite ones of several tiles met"
            );
            return Err(Error::new(Code::InvalidModel, message));
        }
        let early = decision.before_resampling || decision.resample_probabilities || self.resampler.is_none();
        if early {
            activate_once(values, self.channels, decision);
        }
        let Some(resampler) = &mut self.resampler else {
            let width = self.place.extents[2];
            let decided = &mut self.decided[..values.len() / self.channels];
            decide(values, &decision.rule, decided);
            for (y, row) in decided.chunks_exact(width).enumerate() {
                self.labels.set_row(&self.place, z, y, row);
            }
            return Ok(());
        };
        if decision.before_resampling {
            let decided = &mut self.decided[..values.len() / self.channels];
            decide(values, &decision.rule, decided);
            self.plane.iter_mut().zip(&*decided).for_each(|(value, label)| *value = f32::from(*label));
            resampler.push(&self.plane)?;
        } else {
            resampler.push(values)?;
        }
        let [_, height, width] = self.place.extents;
        for z in resampler.ready() {
            for y in 0..height {
                resampler.row(z, y, &mut self.row);
                let decided = &mut self.decided[..width];
                if decision.before_resampling {
                    decided.iter_mut().zip(&self.row).for_each(|(label, value)| *label = *value as u16);
                } else {
                    if !early {
                        activate_once(&mut self.row, self.channels, decision);
                    }
                    decide(&self.row, &decision.rule, decided);
                }
                self.labels.set_row(&self.place, z, y, decided);
            }
        }
        Ok(())
    }
}

/// What goes through the resampler.
fn resampled_channels(decision: &Decision, channels: usize) -> usize {
    if decision.before_resampling { 1 } else { channels }
}

/// Tiles whose probabilities are blended come with the activation done.
fn activate_once(values: &mut [f32], channels: usize, decision: &Decision) {
    if !decision.blend_probabilities && decision.activation != Activation::None {
        activate(values, channels, decision.activation);
    }
}

pub fn has_nan(values: &[f32]) -> bool {
    // Whole blocks, so that vectors of values are looked at.
    values.chunks(4096).any(|block| block.iter().fold(false, |found, value| found | value.is_nan()))
}
