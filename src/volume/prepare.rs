//! From a scan to what the network's tiles are cut from, and where what comes back belongs.

use super::crop::{filled_mask, nonzero_box};
use super::grid::{Axes, Box3, Grid, Layout, voxels};
use super::image::View;
use super::intensity::{Change, Planes};
use super::recipe::{Intensity, Interpolation, Recipe, ZScore};
use super::resample::{self, Frame, PlaneResampler, Way};
use super::work::{Pieces, Work, allocate};
use crate::error::{Code, Error, Result};
use std::ops::Range;

/// A scan as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    pub grid: &'a Grid,
    pub view: View<'a>,
    /// Whether the grid's direction need not be orthonormal.
    pub any_direction: bool,
}

/// A scan on the model's grid.
#[derive(Debug)]
pub struct Prepared {
    /// `[channel, z, y, x]` on the model's grid.
    pub data: Vec<f32>,
    /// Of that grid.
    pub extents: [usize; 3],
    pub back: Back,
}

/// The way from the model's grid to the scan's.
#[derive(Clone, Debug)]
pub struct Back {
    way: Way,
    axes: Axes,
    /// Of the scan's grid in the model's axes.
    scan: [usize; 3],
    kept: Box3,
}

impl Back {
    /// Of the scan's grid in the model's axes, without what was cut off: what the result is resampled to.
    pub fn extents(&self) -> [usize; 3] {
        self.kept.extents
    }

    /// The way of some of its rows along axis 1, and the rows of the model's grid that they need.
    pub fn strip(&self, rows: Range<usize>) -> (Self, Range<usize>) {
        let mut strip = self.clone();
        strip.kept.start[1] += rows.start;
        strip.kept.extents[1] = rows.len();
        let (way, of_model) = self.way.strip(rows);
        strip.way = way;
        (strip, of_model)
    }

    /// Whether that is the model's grid.
    pub fn is_same_grid(&self) -> bool {
        self.way.is_nowhere()
    }

    /// The model's grid and that one.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Resamples what the network gives, of so many channels.
    pub fn resampler(&self, channels: usize) -> Result<PlaneResampler> {
        PlaneResampler::new(&self.way, channels)
    }

    /// Host memory that the resampler keeps.
    pub fn resampler_bytes(&self, channels: usize) -> u64 {
        PlaneResampler::bytes(&self.way, channels)
    }

    /// Where the voxels of `extents` lie in a map of the scan's grid, as the caller has it in memory: so the result is written
    /// into its place. What was cut off is left as it is.
    pub fn place(&self, map: &Layout) -> Layout {
        map.turned(&self.axes).part(&self.kept)
    }

    /// Plane `z` of the model's axes among the scan's voxels, and how its values, dense along the model's last axis, lie from there on
    /// in the scan's axes.
    pub fn plane(&self, z: usize) -> (Box3, Layout) {
        let Box3 { start: first, extents: [_, height, width] } = self.kept;
        let mut place = Box3 { start: [0; 3], extents: [1; 3] };
        let mut layout = Layout { extents: [1; 3], first: 0, strides: [0; 3] };
        for (axis, (from, extent, stride)) in
            [(first[0] + z, 1, 0), (first[1], height, width), (first[2], width, 1)].into_iter().enumerate()
        {
            let of_scan = self.axes.source[axis];
            (place.extents[of_scan], layout.extents[of_scan]) = (extent, extent);
            if self.axes.flipped[axis] {
                place.start[of_scan] = self.scan[axis] - from - extent;
                layout.first += (stride * (extent - 1)) as isize;
                layout.strides[of_scan] = -(stride as isize);
            } else {
                place.start[of_scan] = from;
                layout.strides[of_scan] = stride as isize;
            }
        }
        (place, layout)
    }
}

/// What preparing a scan will take at most, known without looking at its values.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Of the model's grid if nothing is cut off.
    pub extents: [usize; 3],
    /// The way there, and the way back, if nothing is cut off.
    pub there: Way,
    pub back: Back,
    /// Bytes of `Prepared::data`.
    pub data_bytes: u64,
    /// Bytes while it is being prepared, those of the data among them, with so many threads; for a scan whose memory has no gaps.
    pub peak_bytes: u64,
}

/// An error for a recipe or a grid that cannot be used, before any memory is touched.
pub fn announce(recipe: &Recipe, grid: &Grid, any_direction: bool, threads: usize) -> Result<Announced> {
    grid.check(any_direction)?;
    check(recipe)?;
    let axes = axes(recipe, grid)?;
    let whole = Box3 { start: [0; 3], extents: axes.of(grid.extents) };
    let (there, back) = ways(recipe, whole.extents, &frame(grid, &axes))?;
    let bytes = |counts: &[usize]| counts.iter().fold(1, |bytes: u64, n| bytes.saturating_mul(*n as u64));
    let data_bytes = bytes(&there.to).saturating_mul(bytes(&[4, recipe.channels]));
    let mask = if needs_mask(recipe) { bytes(&whole.extents) } else { 0 };
    let together = Layout::dense(grid.extents).turned(&axes).planes_together();
    let scratch = resample::scratch_bytes(&there, together, threads);
    let peak_bytes = data_bytes.saturating_add(mask).saturating_add(scratch);
    Ok(Announced {
        extents: there.to,
        there,
        back: Back { way: back, axes, scan: whole.extents, kept: whole },
        data_bytes,
        peak_bytes,
    })
}

/// Turns, crops, normalizes and resamples a scan as the recipe says. Values are read from the caller's memory where they are
/// needed: beside the result there is one channel halfway through being resampled, and a mask where the recipe asks for one.
pub fn prepare(recipe: &Recipe, scan: &Scan, work: &Work) -> Result<Prepared> {
    survey(recipe, scan, work)?.prepare(recipe, work)
}

/// A scan that is looked at, but for its values: what of it is kept, and how that lies.
pub struct Surveyed<'a> {
    /// In the model's axes, without what is cut off.
    pub view: View<'a>,
    /// Which of its voxels are inside of what is not zero, where the recipe asks.
    pub mask: Option<Vec<bool>>,
    there: Way,
    back: Way,
    axes: Axes,
    /// Of the scan, in the model's axes.
    scan: [usize; 3],
    kept: Box3,
}

pub fn survey<'a>(recipe: &Recipe, scan: &Scan<'a>, work: &Work) -> Result<Surveyed<'a>> {
    let Scan { grid, view, any_direction } = *scan;
    grid.check(any_direction)?;
    check(recipe)?;
    if view.extents() != grid.extents {
        let message =
            format!("the scan's memory has {:?} voxels along z, y and x, its grid {:?}", view.extents(), grid.extents);
        return Err(Error::new(Code::Shape, message));
    }
    if view.channels() != recipe.channels {
        let message = format!("a scan of {} channels for a model that takes {}", view.channels(), recipe.channels);
        return Err(Error::new(Code::Shape, message));
    }
    let axes = axes(recipe, grid)?;
    let turned = view.turned(&axes);
    let kept = match recipe.crop_to_nonzero {
        true => nonzero_box(&turned, &quietly(work))?,
        false => Box3 { start: [0; 3], extents: turned.extents() },
    };
    let view = turned.part(&kept)?;
    let (there, back) = ways(recipe, kept.extents, &frame(grid, &axes))?;
    let mask = if needs_mask(recipe) { Some(filled_mask(&view, &quietly(work))?) } else { None };
    Ok(Surveyed { view, mask, there, back, axes, scan: turned.extents(), kept })
}

impl Surveyed<'_> {
    /// Of the model's grid.
    pub fn extents(&self) -> [usize; 3] {
        self.there.to
    }

    /// The scan's way there.
    pub fn there(&self) -> &Way {
        &self.there
    }

    pub fn back(&self) -> Back {
        Back { way: self.back.clone(), axes: self.axes, scan: self.scan, kept: self.kept }
    }

    /// What is done to each channel's values before they are resampled.
    pub fn changes(&self, recipe: &Recipe, work: &Work) -> Result<Vec<Change>> {
        let (extents, together) = (self.view.extents(), self.view.planes_together());
        let pieces = Pieces::new(recipe.channels * extents[0].div_ceil(together));
        let change = |(channel, intensity)| {
            let read = |planes: Range<usize>, values: &mut [f32]| self.view.read(channel, planes, values);
            let planes = Planes { extents, together, read: &read };
            Change::of(intensity, &planes, self.mask.as_deref(), &quietly(work), &pieces)
        };
        recipe.intensities.iter().enumerate().map(change).collect()
    }

    pub fn prepare(&self, recipe: &Recipe, work: &Work) -> Result<Prepared> {
        let Self { view, mask, there, kept, .. } = self;
        let mask = mask.as_deref();
        let voxels = voxels(there.to)?;
        let size = voxels.checked_mul(recipe.channels);
        let size = size.ok_or_else(|| Error::new(Code::OutOfMemory, "the channels do not fit in memory"))?;
        let mut data: Vec<f32> = allocate("the scan on the model's grid", size)?;
        let together = view.planes_together();
        let surveys = recipe.intensities.iter().filter(|intensity| intensity.needs_survey()).count();
        let pieces = match recipe.normalize_after_resampling {
            true => (surveys + recipe.channels) * there.to[0],
            false => surveys * kept.extents[0].div_ceil(together),
        };
        let pieces = Pieces::new(pieces + recipe.channels * resample::pieces(there, together));
        for (channel, (intensity, target)) in recipe.intensities.iter().zip(data.chunks_mut(voxels)).enumerate() {
            let raw = |planes: Range<usize>, values: &mut [f32]| view.read(channel, planes, values);
            let source = Planes { extents: kept.extents, together, read: &raw };
            if recipe.normalize_after_resampling {
                resample::resample(there, &source, target, work, &pieces)?;
                let plane = there.to[1] * there.to[2];
                let done = &*target;
                let resampled = |planes: Range<usize>, values: &mut [f32]| {
                    values.copy_from_slice(&done[planes.start * plane..planes.end * plane]);
                };
                let change = Change::of(
                    intensity,
                    &Planes { extents: there.to, together: 1, read: &resampled },
                    None,
                    work,
                    &pieces,
                )?;
                work.each(
                    &pieces,
                    target.chunks_mut(plane),
                    || Ok(()),
                    |(), plane| {
                        change.apply(plane, None);
                        Ok(())
                    },
                )?;
            } else {
                let change = Change::of(intensity, &source, mask, work, &pieces)?;
                let plane = kept.extents[1] * kept.extents[2];
                let normalized = |planes: Range<usize>, values: &mut [f32]| {
                    let mask = mask.map(|mask| &mask[planes.start * plane..planes.end * plane]);
                    view.read(channel, planes, values);
                    change.apply(values, mask);
                };
                let source = Planes { extents: kept.extents, together, read: &normalized };
                resample::resample(there, &source, target, work, &pieces)?;
            }
        }
        (work.progress)(1.0);
        Ok(Prepared { data, extents: there.to, back: self.back() })
    }
}

/// The first looks at a scan are not counted as progress.
fn quietly<'a>(work: &Work<'a>) -> Work<'a> {
    Work { progress: &|_| (), ..*work }
}

fn axes(recipe: &Recipe, grid: &Grid) -> Result<Axes> {
    let axes = recipe.orientation.map_or(Ok(Axes::SAME), |wanted| grid.axes_toward(wanted))?;
    axes.transposed(recipe.transpose)
}

/// Of a grid's axes, taken as the model has them.
fn frame(grid: &Grid, axes: &Axes) -> Frame {
    let directions = std::array::from_fn(|axis| {
        // The direction's columns are those of x, y and z.
        let column = 2 - axes.source[axis];
        let sign = if axes.flipped[axis] { -1.0 } else { 1.0 };
        grid.direction.map(|row| sign * row[column])
    });
    Frame { spacing_mm: axes.of(grid.spacing_mm), directions }
}

fn ways(recipe: &Recipe, scan: [usize; 3], frame: &Frame) -> Result<(Way, Way)> {
    let Some(resampling) = &recipe.resampling else { return Ok((Way::nowhere(scan), Way::nowhere(scan))) };
    let there = Way::there(scan, frame, resampling)?;
    let back = Way::back(there.to, scan, frame, resampling)?;
    Ok((there, back))
}

fn needs_mask(recipe: &Recipe) -> bool {
    recipe.intensities.contains(&Intensity::ZScore(ZScore::FilledMask))
}

fn check(recipe: &Recipe) -> Result<()> {
    let wrong = |what: String| Err(Error::new(Code::InvalidArgument, what));
    if recipe.channels == 0 || recipe.intensities.len() != recipe.channels {
        return wrong(format!(
            "{} ways of normalizing for {} channels: the recipe needs one for each",
            recipe.intensities.len(),
            recipe.channels
        ));
    }
    if let Some(resampling) = &recipe.resampling {
        let unusable = |mm: &&f64| !(mm.is_finite() && **mm >= 0.0);
        if let Some(spacing) = resampling.spacing_mm.iter().find(unusable) {
            return wrong(format!("the model's spacing of {spacing} mm is none; 0 leaves the scan's"));
        }
        if resampling.result == Interpolation::Cubic {
            return Err(Error::new(
                Code::Unsupported,
                "what the network gives is resampled linearly or by the nearest voxel, not by cubic splines",
            ));
        }
    }
    if needs_mask(recipe) && recipe.normalize_after_resampling {
        return Err(Error::new(
            Code::Unsupported,
            "normalizing within the mask of what is not zero comes before resampling, not after it",
        ));
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::tensor::ElementType;
    use crate::volume::image::Description;
    use crate::volume::recipe::{
        Activation, Decision, Direction, Padding, Placement, Resampling, ResamplingGeometry, Rule, Tiling, Window,
    };
    use crate::volume::work::tests::PLAIN;
    use Direction::{Anterior, Inferior, Left, Posterior, Right, Superior};

    pub fn recipe(channels: usize) -> Recipe {
        Recipe {
            channels,
            output: None,
            orientation: None,
            transpose: [0, 1, 2],
            crop_to_nonzero: false,
            resampling: None,
            intensities: vec![Intensity::Unchanged; channels],
            normalize_after_resampling: false,
            tiling: Tiling {
                patch: [1; 3],
                overlap: 0.5,
                placement: Placement::Even,
                padding: Padding::Constant(0.0),
                window: Window::Constant,
                mirrored: [false; 3],
            },
            decision: Decision {
                activation: Activation::None,
                blend_probabilities: false,
                rule: Rule::Argmax { labels: vec![0, 1] },
                before_resampling: false,
                resample_probabilities: false,
                largest_component: false,
            },
        }
    }

    fn grid(extents: [usize; 3], direction: [[f64; 3]; 3]) -> Grid {
        Grid { extents, spacing_mm: [3.0, 2.0, 1.0], origin_mm: [0.0; 3], direction }
    }

    /// A letter F in three thicknesses: no turn of it looks like another. As RAS has it.
    fn letter() -> ([usize; 3], Vec<u8>) {
        let extents = [4, 7, 5];
        let mut voxels = vec![0; 4 * 7 * 5];
        for (z, thick) in [(1, 1), (2, 2)] {
            for y in 1..6 {
                voxels[(z * 7 + y) * 5 + 1] = thick;
            }
            (1..4).for_each(|x| voxels[(z * 7 + 5) * 5 + x] = thick);
            (1..3).for_each(|x| voxels[(z * 7 + 3) * 5 + x] = 3 + thick);
        }
        (extents, voxels)
    }

    #[test]
    fn a_letter_in_all_orientations_there_and_back() {
        let (extents, voxels) = letter();
        let lines = [[Right, Left], [Anterior, Posterior], [Superior, Inferior]];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for signs in 0..8 {
                // The scan's x grows toward lines[order[0]], and so on.
                let turned = |place: usize| (signs >> place) & 1 == 1;
                let mut direction = [[0.0; 3]; 3];
                // Right and anterior are LPS's negative axes.
                let toward = [-1.0, -1.0, 1.0];
                for place in 0..3 {
                    direction[order[place]][place] = toward[order[place]] * if turned(place) { -1.0 } else { 1.0 };
                }
                let scan_extents: [usize; 3] = [2, 1, 0].map(|place| extents[2 - order[place]]);
                let mut scan = vec![0; voxels.len()];
                let mut place_in_letter = vec![0; voxels.len()];
                for (i, place_of) in place_in_letter.iter_mut().enumerate() {
                    let [_, ny, nx] = scan_extents;
                    let here = [i % nx, i / nx % ny, i / (nx * ny)];
                    let mut there = [0; 3];
                    for place in 0..3 {
                        let last = scan_extents[2 - place] - 1;
                        there[order[place]] = if turned(place) { last - here[place] } else { here[place] };
                    }
                    *place_of = (there[2] * 7 + there[1]) * 5 + there[0];
                    scan[i] = voxels[*place_of];
                }
                let grid = grid(scan_extents, direction);
                let view = View::new(&scan, &Description::dense(ElementType::Uint8, 1, scan_extents).unwrap()).unwrap();
                let scan = Scan { grid: &grid, view, any_direction: false };
                let ras = Recipe { orientation: Some([Right, Anterior, Superior]), ..recipe(1) };
                let prepared = prepare(&ras, &scan, &PLAIN).unwrap();
                assert_eq!(prepared.extents, extents);
                assert!(prepared.data.iter().zip(&voxels).all(|(a, b)| *a == f32::from(*b)), "{:?}", lines[order[0]]);
                // Transposed and cropped as well.
                let other = Recipe { transpose: [2, 0, 1], crop_to_nonzero: true, ..ras };
                let prepared = prepare(&other, &scan, &PLAIN).unwrap();
                assert_eq!(prepared.extents, [3, 2, 5]);
                let place = prepared.back.place(&Layout::dense(scan_extents));
                for (i, value) in prepared.data.iter().enumerate() {
                    let [x, z, y] = [i / 10, i / 5 % 2, i % 5];
                    let there = ((z + 1) * 7 + y + 1) * 5 + x + 1;
                    assert_eq!(*value, f32::from(voxels[there]));
                    let back = place.place([x, z, y]) as usize;
                    assert_eq!(place_in_letter[back], there);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let grid = grid([2, 3, 4], direction);
        let memory = [0; 24];
        let view = View::new(&memory, &Description::dense(ElementType::Uint8, 1, [2, 3, 4]).unwrap()).unwrap();
        let scan = Scan { grid: &grid, view, any_direction: false };
        let message = |recipe: &Recipe, scan: &Scan| prepare(recipe, scan, &PLAIN).unwrap_err().message().to_owned();
        assert!(message(&recipe(2), &scan).contains("1 channels for a model that takes 2"));
        let other = Grid { extents: [2, 4, 3], ..grid.clone() };
        assert!(message(&recipe(1), &Scan { grid: &other, ..scan }).contains("its grid [2, 4, 3]"));
        assert!(message(&Recipe { intensities: vec![], ..recipe(1) }, &scan).contains("one for each"));
        assert!(message(&Recipe { transpose: [0, 0, 1], ..recipe(1) }, &scan).contains("no order of three axes"));
        let resampling = |spacing_mm, result| Resampling {
            spacing_mm,
            geometry: ResamplingGeometry::Edges,
            data: Interpolation::Cubic,
            result,
            separate_axis_above: None,
        };
        let with = |resampling| Recipe { resampling: Some(resampling), ..recipe(1) };
        let wrong = with(resampling([1.0, -1.0, 1.0], Interpolation::Linear));
        assert!(message(&wrong, &scan).contains("-1 mm"));
        assert!(message(&with(resampling([1.0; 3], Interpolation::Cubic)), &scan).contains("not by cubic splines"));
        let huge = with(resampling([1e-300; 3], Interpolation::Linear));
        assert!(message(&huge, &scan).contains("memory"), "{}", message(&huge, &scan));
        let cancelled = Work { cancelled: &|| true, ..PLAIN };
        assert_eq!(prepare(&recipe(1), &scan, &cancelled).unwrap_err().code(), Code::Cancelled);
        assert_eq!(announce(&recipe(1), &grid, false, 1).unwrap().data_bytes, 96);
    }
}
