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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::lent::LentMut;
    use crate::segment::recipe_json;
    use crate::tensor::ElementType;
    use crate::volume::announce;
    use crate::volume::grid::Grid;
    use crate::volume::recipe::{Interpolation, Recipe, Rule};

    const CHANNELS: usize = 3;

    fn recipe(decision: &str, result: Interpolation) -> Recipe {
        let json = format!(
            r#"{{"planrt_recipe": 1, "tiling": {{"patch": [1, 1, 1]}}, "transpose": [1, 0, 2], "decision": {{{decision}}},
                 "resampling": {{"spacing_mm": [1.5, 1, 1.25], "geometry": "edges"}}}}"#
        );
        let mut recipe = recipe_json::parse(&json, "a test's").unwrap();
        recipe.resampling.as_mut().unwrap().result = result;
        recipe
    }

    /// Labels that are written for planes of the model's grid, and the values on the scan's grid (in the model's axes) by which
    /// they are decided if nothing is done before resampling.
    fn written(recipe: &Recipe) -> (Vec<u8>, Vec<f32>, [usize; 3], Back) {
        let grid = Grid {
            extents: [4, 3, 6],
            spacing_mm: [2.0, 1.5, 1.0],
            origin_mm: [0.0; 3],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        let announced = announce(recipe, &grid, false, 1).unwrap();
        let extents = announced.extents;
        let size = CHANNELS * extents[1] * extents[2];
        let values: Vec<f32> = (0..size * extents[0]).map(|i| ((i * 7919) % 101) as f32 / 20.0 - 2.5).collect();
        let mut labels = vec![9; 4 * 3 * 6];
        let map = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense(grid.extents)).unwrap();
        let back = announced.back;
        let mut writer = Writer::new(&recipe.decision, CHANNELS, &back, extents, map, false, false).unwrap();
        for (z, plane) in values.chunks(size).enumerate() {
            writer.push(z, &mut plane.to_vec()).unwrap();
        }
        drop(writer);
        (labels, values, extents, back)
    }

    /// Planes on the scan's grid, row after row: `[z, y, channel, x]`.
    fn resample(back: &Back, channels: usize, values: &[f32], extents: [usize; 3]) -> Vec<f32> {
        let mut resampler = back.resampler(channels).unwrap();
        let mut row = vec![0.0; channels * back.extents()[2]];
        let mut all = Vec::new();
        for plane in values.chunks(channels * extents[1] * extents[2]) {
            resampler.push(plane).unwrap();
            for z in resampler.ready() {
                for y in 0..back.extents()[1] {
                    resampler.row(z, y, &mut row);
                    all.extend_from_slice(&row);
                }
            }
        }
        all
    }

    /// The rows' labels in the scan's axes, of which the first two are exchanged.
    fn in_scan_axes(rows: Vec<u16>) -> Vec<u8> {
        let mut labels = vec![0; 4 * 3 * 6];
        for (i, label) in rows.into_iter().enumerate() {
            let (y, z, x) = (i / 24, i / 6 % 4, i % 6);
            labels[(z * 3 + y) * 6 + x] = u8::try_from(label).unwrap();
        }
        labels
    }

    fn decided(values: &[f32], row: usize, rule: &Rule) -> Vec<u16> {
        let mut labels = vec![0; values.len() / CHANNELS];
        values
            .chunks(CHANNELS * row)
            .zip(labels.chunks_mut(row))
            .for_each(|(values, labels)| decide(values, rule, labels));
        labels
    }

    const ARGMAX: &str = r#""labels": [0, 4, 2]"#;
    const REGIONS: &str =
        r#""activation": "sigmoid", "regions": [{"channel": 0, "label": 1}, {"channel": 2, "label": 3}]"#;

    #[test]
    fn values_are_resampled_and_then_decided() {
        let recipe = recipe(ARGMAX, Interpolation::Linear);
        let (labels, values, extents, back) = written(&recipe);
        assert_eq!(extents, [3, 8, 5]);
        let rows = resample(&back, CHANNELS, &values, extents);
        assert_eq!(labels, in_scan_axes(decided(&rows, 6, &recipe.decision.rule)));
    }

    #[test]
    fn nnunet_resamples_before_the_activation_and_monai_after() {
        let nnunet = recipe(REGIONS, Interpolation::Linear);
        let (labels, values, extents, back) = written(&nnunet);
        let mut rows = resample(&back, CHANNELS, &values, extents);
        rows.chunks_mut(CHANNELS * 6).for_each(|row| activate(row, CHANNELS, Activation::Sigmoid));
        assert_eq!(labels, in_scan_axes(decided(&rows, 6, &nnunet.decision.rule)));

        let monai = recipe(&format!(r#"{REGIONS}, "resample_probabilities": true"#), Interpolation::Linear);
        let (other, mut values, extents, back) = written(&monai);
        activate(&mut values, CHANNELS, Activation::Sigmoid);
        let rows = resample(&back, CHANNELS, &values, extents);
        assert_eq!(other, in_scan_axes(decided(&rows, 6, &monai.decision.rule)));
        assert_ne!(labels, other);
    }

    #[test]
    fn probabilities_that_were_blended_are_not_made_again() {
        let blended = recipe(&format!(r#"{REGIONS}, "blend_probabilities": true"#), Interpolation::Linear);
        let (labels, values, extents, back) = written(&blended);
        let rows = resample(&back, CHANNELS, &values, extents);
        assert_eq!(labels, in_scan_axes(decided(&rows, 6, &blended.decision.rule)));
    }

    #[test]
    fn labels_that_are_decided_before_are_resampled() {
        let early = recipe(&format!(r#"{ARGMAX}, "before_resampling": true"#), Interpolation::Nearest);
        let (labels, values, extents, back) = written(&early);
        let plane = extents[1] * extents[2];
        let of_model: Vec<f32> = values
            .chunks(CHANNELS * plane)
            .flat_map(|values| decided(values, plane, &early.decision.rule))
            .map(f32::from)
            .collect();
        let rows = resample(&back, 1, &of_model, extents).into_iter().map(|label| label as u16).collect();
        assert_eq!(labels, in_scan_axes(rows));
    }

    #[test]
    fn what_is_no_number_names_its_plane() {
        let recipe = recipe(ARGMAX, Interpolation::Linear);
        let (_, _, extents, back) = written(&recipe);
        let mut labels = vec![9; 4 * 3 * 6];
        let map = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense([4, 3, 6])).unwrap();
        let mut writer = Writer::new(&recipe.decision, CHANNELS, &back, extents, map, true, false).unwrap();
        let mut plane = vec![f32::INFINITY; CHANNELS * extents[1] * extents[2]];
        writer.push(0, &mut plane).unwrap();
        plane[7] = f32::NAN;
        let error = writer.push(1, &mut plane).unwrap_err();
        assert!(error.code() == Code::InvalidModel && error.message().contains("plane 1"), "{error}");
        drop(writer);
        assert!(labels.iter().all(|label| *label == 0));
    }
}
