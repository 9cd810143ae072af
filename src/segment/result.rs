//! From planes of what the network gives, on the model's grid, to labels on the scan's.

use super::labels::LabelMap;
use super::lent::LentMut;
use super::scores::{Going, Scores, Wanted};
use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use crate::volume::Back;
use crate::volume::decide::{activate, decide};
use crate::volume::grid::{Box3, Layout};
use crate::volume::head::Head;
use crate::volume::recipe::{Activation, Decision, Rule};
use crate::volume::resample::PlaneResampler;
use crate::volume::work::{Pieces, Work, allocate};
use std::sync::Arc;

/// Rows that a thread takes at a time.
const ROWS: usize = 8;

/// Where a segmentation's outcome goes.
pub struct Outputs {
    /// None where only scores are asked for.
    pub labels: Option<LabelMap>,
    pub scores: Option<Scores>,
}

impl Outputs {
    /// Finds what is on a device: bytes of what is copied to the host for that.
    pub fn find<'a, D: Iterator<Item = &'a Arc<Device>> + Clone>(&mut self, devices: impl Fn() -> D) -> Result<u64> {
        let mut bytes = 0;
        for (memory, what) in self.memory() {
            memory.find(what, devices())?;
            bytes += memory.copy_bytes();
        }
        Ok(bytes)
    }

    /// Brings what is on a device to the host: what lies between elements stays as it is.
    pub fn fetch(&mut self) -> Result<()> {
        self.memory().try_for_each(|(memory, what)| memory.fetch(what))
    }

    /// And back.
    pub fn store(&mut self) -> Result<()> {
        self.memory().try_for_each(|(memory, _)| memory.store())
    }

    fn memory(&mut self) -> impl Iterator<Item = (&mut LentMut, &'static str)> {
        let labels = self.labels.as_mut().map(|labels| (labels.memory(), "the label map"));
        let scores = self.scores.as_mut().and_then(Scores::map_memory).map(|memory| (memory, "the score map"));
        labels.into_iter().chain(scores)
    }

    /// Everything is 0.
    pub fn clear(&mut self) {
        self.labels.iter_mut().for_each(LabelMap::clear);
        self.scores.iter_mut().for_each(Scores::clear);
    }

    /// Writes what a box of the scan's voxels has, dense in the scan's axes: labels, and values one channel after the other.
    pub fn put(&mut self, place: &Box3, decided: &[u16], values: &[f32]) -> Result<()> {
        let [_, height, width] = place.extents;
        if let Some(labels) = &mut self.labels {
            let layout = labels.layout().part(place);
            for (row, decided) in decided.chunks_exact(width).enumerate() {
                labels.set_row(&layout, row / height, row % height, decided);
            }
        }
        self.scores.as_mut().map_or(Ok(()), |scores| scores.put(place, values))
    }

    /// From now on a part of the scan is all of it.
    pub fn cut(&mut self, part: &Box3) {
        self.labels.iter_mut().for_each(|labels| labels.cut(part));
        self.scores.iter_mut().for_each(|scores| scores.cut(part));
    }
}

/// What labels are decided by.
#[derive(Clone, Copy)]
pub struct Deciding<'a> {
    pub decision: &'a Decision,
    /// Channels that planes have, which come from the networks.
    pub given: usize,
    /// What makes the decision's channels of them, if they are features.
    pub head: Option<&'a Head>,
}

impl Deciding<'_> {
    /// Those that the decision is about.
    pub fn channels(&self) -> usize {
        self.head.map_or(self.given, |head| head.channels)
    }

    /// What goes through the resampler.
    fn resampled(&self) -> usize {
        if self.decision.before_resampling { 1 } else { self.given }
    }
}

/// Takes planes in the order of axis 0, and writes labels as soon as they are known.
pub struct Writer<'a> {
    by: Deciding<'a>,
    outputs: Outputs,
    /// Where what was not cut off lies in the label map, in the model's axes.
    place: Option<Layout>,
    /// Of values, or of labels where they are decided before; none where both grids are one.
    resampler: Option<PlaneResampler>,
    /// Of the scan's planes, in the model's axes.
    plane: [usize; 2],
    /// Of the model grid's rows.
    model_width: usize,
    nan_allowed: bool,
    decided: Vec<u16>,
    /// What is resampled of labels.
    early: Vec<f32>,
    /// A plane of what is decided by, where it is asked for and is in no plane yet: `[y, channel, x]`.
    kept: Vec<f32>,
}

impl<'a> Writer<'a> {
    /// `extents` are the model grid's; `cropped` is whether some voxels may get no label of the network's.
    pub fn new(
        by: Deciding<'a>,
        back: &Back,
        extents: [usize; 3],
        mut outputs: Outputs,
        cropped: bool,
        nan_allowed: bool,
    ) -> Result<Self> {
        if cropped {
            outputs.clear();
        }
        let resampler = match back.is_same_grid() {
            true => None,
            false => Some(back.resampler(by.resampled())?),
        };
        let [_, height, width] = extents;
        let [_, rows, columns] = back.extents();
        let is_early = resampler.is_some() && by.decision.before_resampling;
        if let Some(scores) = &mut outputs.scores {
            scores.begin(back)?;
        }
        let is_kept = outputs.scores.is_some() && (resampler.is_some() || by.head.is_some());
        let kept = if is_kept { by.channels() * rows * columns } else { 0 };
        Ok(Self {
            by,
            place: outputs.labels.as_ref().map(|labels| back.place(labels.layout())),
            outputs,
            plane: [rows, columns],
            model_width: width,
            nan_allowed,
            decided: allocate("a plane of labels", (height * width).max(rows * columns))?,
            early: allocate("a plane of labels", if is_early { height * width } else { 0 })?,
            kept: allocate("a plane of the result", kept)?,
            resampler,
        })
    }

    /// Bytes that it takes for a model's grid of these extents, with so many threads.
    pub fn memory(by: Deciding, back: &Back, extents: [usize; 3], scores: Option<Going>, threads: usize) -> u64 {
        let channels = by.channels();
        let product = |factors: &[usize]| factors.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64));
        let (plane, of_scan) = (product(&extents[1..]), product(&back.extents()[1..]));
        let decided = plane.max(of_scan).saturating_mul(size_of::<u16>() as u64);
        let asked = scores.map_or(0, |going| going.memory(channels, of_scan));
        let kept = if scores.is_some() { of_scan.saturating_mul(product(&[4, channels])) } else { 0 };
        let longest = extents[2].max(back.extents()[2]);
        // Of a row, where they are made of features.
        let made = if by.head.is_some() { channels } else { 0 };
        if back.is_same_grid() {
            let kept = if by.head.is_some() { kept } else { 0 };
            let rows = if by.head.is_some() { product(&[4, threads.max(1), by.given + made, longest]) } else { 0 };
            return [asked, kept, rows].into_iter().fold(decided, u64::saturating_add);
        }
        let resampled = by.resampled();
        let early = if by.decision.before_resampling { plane.saturating_mul(4) } else { 0 };
        // Labels that are decided before have no rows of features when they are resampled.
        let row = if by.head.is_some() { by.given.max(resampled) } else { resampled };
        let rows = product(&[4, threads.max(1), row + made, longest]);
        [asked, early, kept, rows, back.resampler_bytes(resampled)].into_iter().fold(decided, u64::saturating_add)
    }

    /// Takes the next plane: `[channel, y, x]`.
    pub fn push(&mut self, z: usize, values: &mut [f32], work: &Work) -> Result<()> {
        if !self.nan_allowed && has_nan(values) {
            return Err(no_number_in_plane(z));
        }
        let by = self.by;
        let Some(mut resampler) = self.resampler.take() else { return self.same_grid(z, values, work) };
        if by.decision.before_resampling {
            let decided = &mut self.decided[..values.len() / by.given];
            let activated = by.decision.blend_probabilities;
            match by.head {
                None => label(by.decision, values, by.given, activated, decided, None, |_| ()),
                Some(_) => {
                    let [width, size] = [self.model_width, decided.len()];
                    let rows = Rows { by, z, width, activated, wanted: None, nan_allowed: self.nan_allowed };
                    rows.decide(|y, row| copy_row(values, size, width, y, row), decided, &mut [], work)?;
                }
            }
            self.early.iter_mut().zip(&*decided).for_each(|(value, label)| *value = f32::from(*label));
            resampler.push(&self.early, &work.on(self.early.len()))?;
        } else {
            if by.decision.resample_probabilities && !by.decision.blend_probabilities {
                activate(values, by.given, by.decision.activation);
            }
            resampler.push(values, &work.on(values.len()))?;
        }
        for z in resampler.ready() {
            self.resampled(&resampler, z, work)?;
        }
        self.resampler = Some(resampler);
        Ok(())
    }

    fn same_grid(&mut self, z: usize, values: &mut [f32], work: &Work) -> Result<()> {
        let Self { by, outputs: Outputs { labels, scores }, decided, kept, nan_allowed, .. } = self;
        let [height, width] = self.plane;
        let decided = &mut decided[..height * width];
        let wanted = scores.as_ref().map(|scores| scores.wanted(by.decision));
        let activated = by.decision.blend_probabilities;
        if by.head.is_some() {
            let rows = Rows { by: *by, z, width, activated, wanted, nan_allowed: *nan_allowed };
            let size = height * width;
            rows.decide(|y, row| copy_row(values, size, width, y, row), decided, kept, work)?;
            return self.end_rows(z);
        }
        label(by.decision, values, by.given, activated, decided, wanted, |values| {
            if let Some(scores) = scores {
                (0..height).for_each(|y| scores.set_row(z, y, &values[y * width..], height * width));
            }
        });
        if let (Some(labels), Some(place)) = (labels, &self.place) {
            decided.chunks_exact(width).enumerate().for_each(|(y, row)| labels.set_row(place, z, y, row));
        }
        self.end_plane(z)
    }

    /// A plane of the scan's, whose rows several threads resample and decide.
    fn resampled(&mut self, resampler: &PlaneResampler, z: usize, work: &Work) -> Result<()> {
        let Self { by, outputs, decided, kept, nan_allowed, .. } = self;
        let [height, width] = self.plane;
        let decided = &mut decided[..height * width];
        if by.decision.before_resampling {
            let labels = |row: &mut Vec<f32>, (first, decided): (usize, &mut [u16])| {
                for (i, decided) in decided.chunks_mut(width).enumerate() {
                    resampler.row(z, first * ROWS + i, row);
                    decided.iter_mut().zip(&*row).for_each(|(label, value)| *label = *value as u16);
                }
                Ok(())
            };
            let scratch = || allocate("a row of the result", width);
            let groups = decided.chunks_mut(ROWS * width).enumerate();
            work.on(height * width).each(&Pieces::new(height.div_ceil(ROWS)), groups, scratch, labels)?;
            return self.end_rows(z);
        }
        let wanted = outputs.scores.as_ref().map(|scores| scores.wanted(by.decision));
        let activated = by.decision.blend_probabilities || by.decision.resample_probabilities;
        let rows = Rows { by: *by, z, width, activated, wanted, nan_allowed: *nan_allowed };
        rows.decide(|y, row| resampler.row(z, y, row), decided, kept, work)?;
        self.end_rows(z)
    }

    /// Writes what was decided of a plane, and what it was decided by.
    fn end_rows(&mut self, z: usize) -> Result<()> {
        let Self { by, outputs: Outputs { labels, scores }, decided, kept, .. } = self;
        let [height, width] = self.plane;
        if let (Some(labels), Some(place)) = (labels, &self.place) {
            let rows = decided[..height * width].chunks_exact(width);
            rows.enumerate().for_each(|(y, row)| labels.set_row(place, z, y, row));
        }
        if let Some(scores) = scores {
            kept.chunks_exact(by.channels() * width).enumerate().for_each(|(y, row)| scores.set_row(z, y, row, width));
        }
        self.end_plane(z)
    }

    fn end_plane(&mut self, z: usize) -> Result<()> {
        self.outputs.scores.as_mut().map_or(Ok(()), |scores| scores.end_plane(z))
    }

    /// When all planes are there: what was written.
    pub fn finish(self) -> Outputs {
        self.outputs
    }
}

/// Keeps the largest part of each label, if that is asked for, and counts the voxels of each.
pub fn settle(decision: &Decision, labels: &mut LabelMap, work: &Work) -> Result<Vec<u64>> {
    if decision.largest_component {
        labels.keep_largest(work)?;
    }
    labels.count(decision.largest_label())
}

pub fn no_number_of_head() -> Error {
    let message =
        "what the model's last convolution makes of its features is no number (NaN): some of them are infinite";
    Error::new(Code::InvalidModel, message)
}

pub fn no_number_in_plane(z: usize) -> Error {
    let message = format!(
        "plane {z} of the model's grid has a value that is no number (NaN): infinite ones of several tiles met"
    );
    Error::new(Code::InvalidModel, message)
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

/// Rows of a plane that are decided by themselves.
struct Rows<'a> {
    by: Deciding<'a>,
    z: usize,
    width: usize,
    activated: bool,
    wanted: Option<Wanted>,
    nan_allowed: bool,
}

impl Rows<'_> {
    /// `read` gives a row of what planes have, `[channel, x]`; several threads take some each. What is wanted is kept as
    /// `[y, channel, x]`.
    fn decide(
        &self,
        read: impl Fn(usize, &mut [f32]) + Sync,
        decided: &mut [u16],
        kept: &mut [f32],
        work: &Work,
    ) -> Result<()> {
        let Self { by: Deciding { decision, given, head }, z, width, activated, wanted, nan_allowed } = *self;
        let channels = self.by.channels();
        let size = channels * width;
        let height = decided.len() / width;
        // Where no scores are wanted each row has none to be kept.
        let kept = kept.chunks_mut((ROWS * size).max(1)).map(Some).chain(std::iter::repeat_with(|| None));
        let groups = decided.chunks_mut(ROWS * width).zip(kept).enumerate();
        type Scratch = (Vec<f32>, Vec<f32>);
        let group = |(row, made): &mut Scratch,
                     (first, (decided, mut kept)): (usize, (&mut [u16], Option<&mut [f32]>))| {
            for (i, decided) in decided.chunks_mut(width).enumerate() {
                read(first * ROWS + i, row);
                let values = match head {
                    None => &mut *row,
                    Some(head) => {
                        head.apply(row, width, made);
                        if !nan_allowed && has_nan(made) {
                            return Err(no_number_of_head().within(format_args!("plane {z}")));
                        }
                        &mut *made
                    }
                };
                label(decision, values, channels, activated, decided, wanted, |values| {
                    if let Some(kept) = &mut kept {
                        kept[i * size..][..size].copy_from_slice(values);
                    }
                });
            }
            Ok(())
        };
        let made = if head.is_some() { size } else { 0 };
        let scratch = || Ok((allocate("a row of the result", given * width)?, allocate("a row of the result", made)?));
        work.on(height * given.max(channels) * width).each(&Pieces::new(height.div_ceil(ROWS)), groups, scratch, group)
    }
}

/// A row of a plane whose channels have so many voxels.
fn copy_row(plane: &[f32], size: usize, width: usize, y: usize, row: &mut [f32]) {
    for (row, channel) in row.chunks_exact_mut(width).zip(plane.chunks_exact(size)) {
        row.copy_from_slice(&channel[y * width..][..width]);
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
    use crate::segment::scores::{Plane, ScoreMap, ScoresAsked, Target};
    use crate::tensor::ElementType;
    use crate::volume::announce;
    use crate::volume::grid::Grid;
    use crate::volume::recipe::{Direction, Interpolation, Recipe};
    use crate::volume::work::tests::PLAIN;

    const CHANNELS: usize = 3;

    fn of(labels: LabelMap) -> Outputs {
        Outputs { labels: Some(labels), scores: None }
    }

    fn plainly(recipe: &Recipe) -> Deciding<'_> {
        Deciding { decision: &recipe.decision, given: CHANNELS, head: None }
    }

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
        let mut writer = Writer::new(plainly(recipe), &back, extents, of(map), false, false).unwrap();
        for (z, plane) in values.chunks(size).enumerate() {
            writer.push(z, &mut plane.to_vec(), &PLAIN).unwrap();
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
            resampler.push(plane, &PLAIN).unwrap();
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
            };
            let asked = ScoresAsked { probabilities, target: Target::Map(map) };
            let map = Scores::new(asked, CHANNELS, &recipe.decision, true).unwrap();
            let labels = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, layout).unwrap();
            let outputs = Outputs { labels: Some(labels), scores: Some(map) };
            let mut writer = Writer::new(plainly(&recipe), back, extents, outputs, false, false).unwrap();
            for (z, plane) in values.chunks(CHANNELS * extents[1] * extents[2]).enumerate() {
                writer.push(z, &mut plane.to_vec(), &PLAIN).unwrap();
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
    fn planes_of_scores_come_as_they_are_done() {
        use std::sync::{Arc, Mutex};
        for decision in [ARGMAX, REGIONS] {
            let mut recipe = recipe(decision, Interpolation::Linear);
            // The scan's axes are exchanged, and two of them turned round.
            recipe.orientation = Some([Direction::Right, Direction::Posterior, Direction::Inferior]);
            let (_, values, extents, back) = written(&recipe);
            let seen = Arc::new(Mutex::new((vec![f32::NAN; CHANNELS * 72], 0)));
            let put = seen.clone();
            let sink = move |plane: &Plane| {
                let mut seen = put.lock().unwrap();
                seen.1 += 1;
                let (place, layout) = (plane.place, plane.layout);
                assert_eq!((place.extents, layout.extents), ([4, 1, 6], [4, 1, 6]));
                for i in 0..CHANNELS * 24 {
                    let at = [i / 6 % 4, 0, i % 6];
                    let [z, y, x] = [0, 1, 2].map(|axis| place.start[axis] + at[axis]);
                    let from = (i / 24 * 24) as isize + layout.place(at);
                    seen.0[((i / 24 * 4 + z) * 3 + y) * 6 + x] = plane.values[from as usize];
                }
                Ok(())
            };
            let asked = ScoresAsked { probabilities: false, target: Target::Planes(Box::new(sink)) };
            let scores = Scores::new(asked, CHANNELS, &recipe.decision, true).unwrap();
            assert_eq!(scores.going().memory(CHANNELS, 24), 4 * 3 * 24);
            let mut labels = vec![9; 72];
            let map = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense([4, 3, 6])).unwrap();
            let outputs = Outputs { labels: Some(map), scores: Some(scores) };
            let mut writer = Writer::new(plainly(&recipe), &back, extents, outputs, false, false).unwrap();
            for (z, plane) in values.chunks(CHANNELS * extents[1] * extents[2]).enumerate() {
                writer.push(z, &mut plane.to_vec(), &PLAIN).unwrap();
            }
            drop(writer);
            // As they would lie in a map of the scan's.
            let mut scores = vec![0; 4 * CHANNELS * 72];
            let map = ScoreMap {
                memory: LentMut::of(&mut scores),
                element_type: ElementType::Float32,
                layout: Layout { extents: [4, 3, 6], first: 0, strides: [72, 24, 4] },
                channel_stride: None,
            };
            let asked = ScoresAsked { probabilities: false, target: Target::Map(map) };
            let outputs =
                Outputs { labels: None, scores: Some(Scores::new(asked, CHANNELS, &recipe.decision, true).unwrap()) };
            let mut writer = Writer::new(plainly(&recipe), &back, extents, outputs, false, false).unwrap();
            for (z, plane) in values.chunks(CHANNELS * extents[1] * extents[2]).enumerate() {
                writer.push(z, &mut plane.to_vec(), &PLAIN).unwrap();
            }
            drop(writer);
            let seen = seen.lock().unwrap();
            assert_eq!(seen.1, 3);
            let of_map = scores.chunks(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap()));
            assert!(seen.0.iter().zip(of_map).all(|(a, b)| a.to_bits() == b.to_bits()), "{decision}");
        }
    }

    /// A head that is applied to what was blended and resampled, and to what was not: labels and scores.
    #[test]
    fn features_become_channels_as_late_as_can_be() {
        const FEATURES: usize = 5;
        let head = crate::volume::head::tests::head(FEATURES, CHANNELS);
        let softmax = REGIONS.replace("sigmoid", "softmax");
        let early = format!(r#"{ARGMAX}, "before_resampling": true"#);
        for (decision, is_one_grid) in
            [ARGMAX, REGIONS, &softmax, &early].into_iter().flat_map(|decision| [(decision, false), (decision, true)])
        {
            let is_early = decision == early;
            let mut recipe = recipe(decision, if is_early { Interpolation::Nearest } else { Interpolation::Linear });
            if is_one_grid {
                recipe.resampling = None;
            }
            let (_, _, extents, back) = written(&recipe);
            let plane = extents[1] * extents[2];
            let features: Vec<f32> =
                (0..FEATURES * plane * extents[0]).map(|i| ((i * 7919) % 1013) as f32 / 200.0 - 2.5).collect();
            let mut channels = vec![0.0; CHANNELS * plane * extents[0]];
            let planes = features.chunks(FEATURES * plane).zip(channels.chunks_mut(CHANNELS * plane));
            planes.for_each(|(features, channels)| head.apply(features, plane, channels));
            let write = |by: Deciding, values: &[f32], with_scores: bool| {
                let (mut labels, mut scores) = (vec![9; 72], vec![0; 4 * CHANNELS * 72]);
                let map =
                    LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense([4, 3, 6])).unwrap();
                let dense = Layout { extents: [4, 3, 6], first: 0, strides: [72, 24, 4] };
                let memory = LentMut::of(&mut scores);
                let map_of_scores =
                    ScoreMap { memory, element_type: ElementType::Float32, layout: dense, channel_stride: None };
                let asked = ScoresAsked { probabilities: true, target: Target::Map(map_of_scores) };
                let asked = with_scores.then(|| Scores::new(asked, CHANNELS, &recipe.decision, !is_one_grid).unwrap());
                let outputs = Outputs { labels: Some(map), scores: asked };
                let mut writer = Writer::new(by, &back, extents, outputs, false, false).unwrap();
                for (z, plane) in values.chunks(by.given * plane).enumerate() {
                    writer.push(z, &mut plane.to_vec(), &PLAIN).unwrap();
                }
                drop(writer);
                let scores: Vec<f32> =
                    scores.chunks(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect();
                (labels, scores)
            };
            let late = Deciding { decision: &recipe.decision, given: FEATURES, head: Some(&head) };
            assert_eq!(late.channels(), CHANNELS);
            let with_scores = !is_early || is_one_grid;
            let (labels, scores) = write(late, &features, with_scores);
            let (wanted, wanted_scores) = write(plainly(&recipe), &channels, with_scores);
            assert_eq!(labels, wanted, "{decision} {is_one_grid}");
            assert_eq!(write(late, &features, false).0, wanted);
            let apart = scores.iter().zip(&wanted_scores).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5, "{decision} {is_one_grid}: {apart}");
            if is_one_grid || is_early {
                // There is nothing to be rounded in another way.
                assert!(scores.iter().zip(&wanted_scores).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }

    #[test]
    fn infinite_features_whose_sum_is_no_number_name_their_plane() {
        let head = crate::volume::head::tests::head(2, CHANNELS);
        let mut recipe = recipe(ARGMAX, Interpolation::Linear);
        recipe.resampling = None;
        let (_, _, extents, back) = written(&recipe);
        let by = Deciding { decision: &recipe.decision, given: 2, head: Some(&head) };
        let mut plane = vec![1.0; 2 * extents[1] * extents[2]];
        for allowed in [false, true] {
            let mut labels = vec![9; 72];
            let map = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense([4, 3, 6])).unwrap();
            let mut writer = Writer::new(by, &back, extents, of(map), false, allowed).unwrap();
            writer.push(0, &mut plane, &PLAIN).unwrap();
            // Weights of a channel have the same sign, or else they do not: one of the two makes a difference of infinite numbers.
            plane[0] = f32::INFINITY;
            plane[extents[1] * extents[2]] = f32::NEG_INFINITY;
            plane[1] = f32::INFINITY;
            plane[extents[1] * extents[2] + 1] = f32::INFINITY;
            let pushed = writer.push(1, &mut plane, &PLAIN);
            assert_eq!(pushed.is_ok(), allowed);
            if let Err(error) = pushed {
                assert!(error.code() == Code::InvalidModel && error.message().contains("plane 1"), "{error}");
            }
            plane.fill(1.0);
        }
    }

    #[test]
    fn what_is_no_number_names_its_plane() {
        let recipe = recipe(ARGMAX, Interpolation::Linear);
        let (_, _, extents, back) = written(&recipe);
        let mut labels = vec![9; 4 * 3 * 6];
        let map = LabelMap::new(LentMut::of(&mut labels), ElementType::Uint8, Layout::dense([4, 3, 6])).unwrap();
        let mut writer = Writer::new(plainly(&recipe), &back, extents, of(map), true, false).unwrap();
        let mut plane = vec![f32::INFINITY; CHANNELS * extents[1] * extents[2]];
        writer.push(0, &mut plane, &PLAIN).unwrap();
        plane[7] = f32::NAN;
        let error = writer.push(1, &mut plane, &PLAIN).unwrap_err();
        assert!(error.code() == Code::InvalidModel && error.message().contains("plane 1"), "{error}");
        drop(writer);
        assert!(labels.iter().all(|label| *label == 0));
    }
}
