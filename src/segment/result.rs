//! From planes of what the network gives, on the model's grid, to labels on the scan's.

use super::labels::LabelMap;
use super::scores::{Scores, Wanted};
use crate::error::{Code, Error, Result};
use crate::volume::Back;
use crate::volume::decide::{activate, decide};
use crate::volume::grid::Layout;
use crate::volume::recipe::{Activation, Decision, Rule};
use crate::volume::resample::PlaneResampler;
use crate::volume::work::{Work, allocate};

/// Takes planes in the order of axis 0, and writes labels as soon as they are known.
pub struct Writer<'a> {
    decision: &'a Decision,
    channels: usize,
    labels: LabelMap,
    scores: Option<Scores>,
    /// Where what was not cut off lies in the label map and among the scores, in the model's axes.
    place: Layout,
    scores_place: Layout,
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
        (mut labels, mut scores): (LabelMap, Option<Scores>),
        cropped: bool,
        nan_allowed: bool,
    ) -> Result<Self> {
        if cropped {
            labels.clear();
            scores.iter_mut().for_each(Scores::clear);
        }
        let resampled = resampled_channels(decision, channels);
        let resampler = if back.is_same_grid() { None } else { Some(back.resampler(resampled)?) };
        let [_, height, width] = extents;
        let is_labels = resampler.is_some() && decision.before_resampling;
        let place = back.place(labels.layout());
        Ok(Self {
            decision,
            channels,
            scores_place: scores.as_ref().map_or(place, |scores| back.place(scores.layout())),
            place,
            labels,
            scores,
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
        let Self { channels, labels, scores, place, scores_place, resampler, decided, plane, row, .. } = self;
        let channels = *channels;
        let wanted = scores.as_ref().map(|scores| scores.wanted(decision));
        let [_, height, width] = place.extents;
        let Some(resampler) = resampler else {
            let decided = &mut decided[..height * width];
            let blended = decision.blend_probabilities;
            label(decision, values, channels, blended, decided, wanted, |values| {
                if let Some(scores) = scores {
                    (0..height).for_each(|y| scores.set_row(scores_place, z, y, &values[y * width..], height * width));
                }
            });
            decided.chunks_exact(width).enumerate().for_each(|(y, row)| labels.set_row(place, z, y, row));
            return Ok(());
        };
        if decision.before_resampling {
            let decided = &mut decided[..values.len() / channels];
            label(decision, values, channels, decision.blend_probabilities, decided, None, |_| ());
            plane.iter_mut().zip(&*decided).for_each(|(value, label)| *value = f32::from(*label));
            resampler.push(plane)?;
        } else {
            if decision.resample_probabilities && !decision.blend_probabilities {
                activate(values, channels, decision.activation);
            }
            resampler.push(values)?;
        }
        let activated = decision.blend_probabilities || decision.resample_probabilities;
        for z in resampler.ready() {
            for y in 0..height {
                resampler.row(z, y, row);
                let decided = &mut decided[..width];
                if decision.before_resampling {
                    decided.iter_mut().zip(&*row).for_each(|(label, value)| *label = *value as u16);
                } else {
                    label(decision, row, channels, activated, decided, wanted, |values| {
                        if let Some(scores) = scores {
                            scores.set_row(scores_place, z, y, values, width);
                        }
                    });
                }
                labels.set_row(place, z, y, decided);
            }
        }
        Ok(())
    }

    /// When all planes are there: how many voxels each label has.
    pub fn finish(mut self, work: &Work) -> Result<Vec<u64>> {
        if self.decision.largest_component {
            self.labels.keep_largest(work)?;
        }
        Ok(self.labels.count(self.decision.largest_label()))
    }
}

/// Labels of values, `[channel, voxel]`, whose activation is done already or not; `write` gets what is wanted of them.
fn label(
    decision: &Decision,
    values: &mut [f32],
    channels: usize,
    activated: bool,
    labels: &mut [u16],
    wanted: Option<Wanted>,
    write: impl FnOnce(&[f32]),
) {
    let mut write = Some(write);
    let mut pending = if activated { Activation::None } else { decision.activation };
    if wanted == Some(Wanted::Logits)
        && let Some(write) = write.take()
    {
        write(values);
    }
    // The largest value stays the largest: nothing needs to be done to it.
    if matches!(decision.rule, Rule::Regions { .. }) {
        activate(values, channels, pending);
        pending = Activation::None;
    }
    decide(values, &decision.rule, labels);
    if let (Some(Wanted::Probabilities(wanted)), Some(write)) = (wanted, write) {
        // Those that a recipe without an activation gives are made here.
        activate(values, channels, if decision.activation == Activation::None { wanted } else { pending });
        write(values);
    }
}

/// What goes through the resampler.
fn resampled_channels(decision: &Decision, channels: usize) -> usize {
    if decision.before_resampling { 1 } else { channels }
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
    use crate::segment::scores::ScoreMap;
    use crate::tensor::ElementType;
    use crate::volume::announce;
    use crate::volume::grid::Grid;
    use crate::volume::recipe::{Interpolation, Recipe};

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
        let mut writer = Writer::new(&recipe.decision, CHANNELS, &back, extents, (map, None), false, false).unwrap();
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

    /// The scores of a recipe for values on one grid, and on two.
    fn asked_for(decision: &str, probabilities: bool) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let recipe = recipe(decision, Interpolation::Linear);
        let (_, values, extents, back) = written(&recipe);
        let write = |layout: Layout, back: &Back, extents: [usize; 3]| {
            let [depth, height, width] = layout.extents;
            let mut labels = vec![9; depth * height * width];
            let mut scores = vec![9; 4 * CHANNELS * labels.len()];
            let bytes = Layout { strides: layout.strides.map(|stride| 4 * stride), ..layout };
            let map = ScoreMap {
                memory: LentMut::of(&mut scores),
                element_type: ElementType::Float32,
                layout: bytes,
                channel_stride: None,
                probabilities,
            };
            let map = Scores::new(map, CHANNELS, &recipe.decision, true).unwrap();
            let labels = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, layout).unwrap();
            let outputs = (labels, Some(map));
            let mut writer = Writer::new(&recipe.decision, CHANNELS, back, extents, outputs, false, false).unwrap();
            for (z, plane) in values.chunks(CHANNELS * extents[1] * extents[2]).enumerate() {
                writer.push(z, &mut plane.to_vec()).unwrap();
            }
            drop(writer);
            scores.chunks(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect::<Vec<_>>()
        };
        let json = r#"{"planrt_recipe": 1, "tiling": {"patch": [1, 1, 1]}, "decision": {"labels": [0]}}"#;
        let grid = Grid {
            extents,
            spacing_mm: [1.0; 3],
            origin_mm: [0.0; 3],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        let same = announce(&recipe_json::parse(json, "a test's").unwrap(), &grid, false, 1).unwrap().back;
        let one = write(Layout::dense(extents), &same, extents);
        let two = write(Layout::dense([4, 3, 6]), &back, extents);
        (values, one, two)
    }

    #[test]
    fn scores_are_what_was_asked_for() {
        let rows = |values: &[f32], back: &[f32]| {
            // The volume's channels lie one after the other, planes' do not; the scan's first axes are exchanged.
            let at = |channel: usize, z: usize, y: usize, x: usize| back[((channel * 4 + z) * 3 + y) * 6 + x];
            values
                .chunks(CHANNELS * 6)
                .enumerate()
                .all(|(i, row)| (0..CHANNELS * 6).all(|j| row[j].to_bits() == at(j / 6, i % 4, i / 4, j % 6).to_bits()))
        };
        let [extents, planes] = [[3, 8, 5], [3, 40, 1]];
        let recipe = recipe(ARGMAX, Interpolation::Linear);
        let back = written(&recipe).3;
        let on_one = |values: &[f32], one: &[f32]| {
            values.chunks(CHANNELS * planes[1]).enumerate().all(|(z, plane)| {
                (0..CHANNELS * 40).all(|j| plane[j].to_bits() == one[(j / 40 * 3 + z) * 40 + j % 40].to_bits())
            })
        };
        for decision in [ARGMAX, REGIONS] {
            let (values, one, two) = asked_for(decision, false);
            assert!(on_one(&values, &one) && rows(&resample(&back, CHANNELS, &values, extents), &two), "{decision}");
            let (mut values, one, two) = asked_for(decision, true);
            let activation = if decision == ARGMAX { Activation::Softmax } else { Activation::Sigmoid };
            let mut resampled = resample(&back, CHANNELS, &values, extents);
            resampled.chunks_mut(CHANNELS * 6).for_each(|row| activate(row, CHANNELS, activation));
            values.chunks_mut(CHANNELS * 40).for_each(|plane| activate(plane, CHANNELS, activation));
            assert!(on_one(&values, &one) && rows(&resampled, &two), "{decision}");
        }
    }

    #[test]
    fn what_is_no_number_names_its_plane() {
        let recipe = recipe(ARGMAX, Interpolation::Linear);
        let (_, _, extents, back) = written(&recipe);
        let mut labels = vec![9; 4 * 3 * 6];
        let map = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense([4, 3, 6])).unwrap();
        let mut writer = Writer::new(&recipe.decision, CHANNELS, &back, extents, (map, None), true, false).unwrap();
        let mut plane = vec![f32::INFINITY; CHANNELS * extents[1] * extents[2]];
        writer.push(0, &mut plane).unwrap();
        plane[7] = f32::NAN;
        let error = writer.push(1, &mut plane).unwrap_err();
        assert!(error.code() == Code::InvalidModel && error.message().contains("plane 1"), "{error}");
        drop(writer);
        assert!(labels.iter().all(|label| *label == 0));
    }
}
