//! What the network gives, from the model's grid to the scan's: plane by plane, so that neither volume is ever there whole.

use super::{Kernel, Way};
use crate::error::{Code, Error, Result};
use crate::volume::work::{Pieces, Work, allocate};
use std::ops::Range;

/// Rows that a thread takes at a time.
const ROWS: usize = 64;

/// Takes the model grid's planes in their order, and gives rows of the scan's planes as soon as the planes that they need are
/// there. It keeps two planes, as long as the scan's along x.
pub struct PlaneResampler {
    way: Way,
    channels: usize,
    /// Planes that were taken.
    taken: usize,
    /// `[channel, y, x]` with the model's y and the scan's x: plane `p` is in `kept[p % 2]`.
    kept: [Vec<f32>; 2],
    /// The scan's planes that can be given.
    ready: Range<usize>,
}

impl PlaneResampler {
    pub fn new(way: &Way, channels: usize) -> Result<Self> {
        if way.kernels.iter().any(|kernel| matches!(kernel, Kernel::Cubic(_))) {
            return Err(Error::new(
                Code::Unsupported,
                "what the network gives is resampled linearly or by the nearest voxel, not by cubic splines",
            ));
        }
        let plane = channels
            .checked_mul(way.from[1])
            .and_then(|rows| rows.checked_mul(way.to[2]))
            .ok_or_else(|| Error::new(Code::OutOfMemory, "planes of the result do not fit in memory"))?;
        let kept = || allocate("planes of the result", plane);
        let second = if Self::keeps_two(way) { kept()? } else { Vec::new() };
        Ok(Self { way: way.clone(), channels, taken: 0, kept: [kept()?, second], ready: 0..0 })
    }

    /// What it keeps, in bytes.
    pub fn bytes(way: &Way, channels: usize) -> u64 {
        let count = if Self::keeps_two(way) { 2 } else { 1 };
        [channels, way.from[1], way.to[2]].iter().fold(4 * count, |bytes: u64, n| bytes.saturating_mul(*n as u64))
    }

    fn keeps_two(way: &Way) -> bool {
        matches!(way.kernels[0], Kernel::Linear(_))
    }

    /// Where one of the model's planes is kept.
    fn slot(&self, plane: usize) -> usize {
        if Self::keeps_two(&self.way) { plane % 2 } else { 0 }
    }

    /// The model's plane that is to be pushed next.
    pub fn next(&self) -> usize {
        self.taken
    }

    /// Takes the next plane: `[channel, y, x]` of the model's grid. What was ready has to be asked for before.
    pub fn push(&mut self, plane: &[f32], work: &Work) -> Result<()> {
        let Way { from: [nz, ny, nx], to: [_, _, mx], .. } = self.way;
        if self.taken == nz || plane.len() != self.channels * ny * nx {
            return Err(Error::new(
                Code::Internal,
                format!(
                    "plane {} of {} values; {nz} of {} are taken",
                    self.taken,
                    plane.len(),
                    self.channels * ny * nx
                ),
            ));
        }
        let slot = self.slot(self.taken);
        let kernel = &self.way.kernels[2];
        let rows = plane.chunks(ROWS * nx).zip(self.kept[slot].chunks_mut(ROWS * mx));
        work.each(
            &Pieces::new((self.channels * ny).div_ceil(ROWS)),
            rows,
            || Ok(()),
            |(), (from, to)| kernel.along(from, nx, to, mx, &mut Vec::new()),
        )?;
        self.taken += 1;
        let start = self.ready.end;
        let needs = |new: &usize| self.way.planes(*new).0[1] < self.taken;
        self.ready = start..(start..self.way.to[0]).take_while(needs).last().map_or(start, |last| last + 1);
        Ok(())
    }

    /// The scan's planes that can be given now, after the last push and before the next.
    pub fn ready(&self) -> Range<usize> {
        self.ready.clone()
    }

    /// A row of one of them, in all channels: `[channel, x]`.
    pub fn row(&self, plane: usize, y: usize, row: &mut [f32]) {
        debug_assert!(self.ready.contains(&plane));
        let Way { from: [_, ny, _], to: [_, _, mx], kernels, .. } = &self.way;
        let (planes, part) = self.way.planes(plane);
        let [first, second] = planes.map(|plane| &self.kept[self.slot(plane)]);
        let (above, below, share) = match &kernels[1] {
            Kernel::Linear(samples) => (samples[y].at, samples[y].next(), samples[y].part),
            Kernel::Nearest(samples) => (samples[y], samples[y], 0.0),
            _ => (y, y, 0.0),
        };
        for (channel, row) in row.chunks_mut(*mx).enumerate().take(self.channels) {
            let of = |plane: &'_ Vec<f32>, y: usize| {
                let start = (channel * ny + y) * mx;
                start..(start + mx).min(plane.len())
            };
            let (a, b) = (&first[of(first, above)], &first[of(first, below)]);
            match (part > 0.0, share > 0.0) {
                (false, false) => row.copy_from_slice(a),
                (false, true) => between(row, a, b, share),
                (true, false) => between(row, a, &second[of(second, above)], part),
                (true, true) => {
                    let (c, d) = (&second[of(second, above)], &second[of(second, below)]);
                    for ((((value, a), b), c), d) in row.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        let (near, far) = (a + (b - a) * share, c + (d - c) * share);
                        *value = near + (far - near) * part;
                    }
                }
            }
        }
    }
}

fn between(row: &mut [f32], a: &[f32], b: &[f32], part: f32) {
    for ((value, a), b) in row.iter_mut().zip(a).zip(b) {
        *value = a + (b - a) * part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::recipe::{Interpolation, Resampling, ResamplingGeometry};
    use crate::volume::resample::Frame;
    use crate::volume::work::tests::PLAIN;

    fn way(from: [usize; 3], to: [usize; 3], geometry: ResamplingGeometry, result: Interpolation) -> Way {
        let spacing_mm = [1.0; 3];
        let resampling = Resampling { spacing_mm, geometry, data: result, result, separate_axis_above: None };
        let ratio = |axis: usize| match geometry {
            ResamplingGeometry::Edges => from[axis] as f64 / to[axis] as f64,
            ResamplingGeometry::Centres => 0.5,
        };
        Way::back(from, to, &Frame::perpendicular([ratio(0), ratio(1), ratio(2)]), &resampling).unwrap()
    }

    /// All planes, each asked for as soon as it is ready, and how many were ready after each push.
    fn all(way: &Way, model: &[f32]) -> (Vec<f32>, Vec<usize>) {
        let mut resampler = PlaneResampler::new(way, 1).unwrap();
        let [_, my, mx] = way.to;
        let (mut result, mut ready, mut row) = (Vec::new(), Vec::new(), vec![0.0; mx]);
        for plane in model.chunks(way.from[1] * way.from[2]) {
            resampler.push(plane, &PLAIN).unwrap();
            ready.push(resampler.ready().len());
            for plane in resampler.ready() {
                for y in 0..my {
                    resampler.row(plane, y, &mut row);
                    result.extend_from_slice(&row);
                }
            }
        }
        (result, ready)
    }

    #[test]
    fn labels_take_the_nearest_voxel_and_invent_none() {
        let from = [4, 5, 6];
        let model: Vec<f32> = (0..120).map(|label| label as f32 * 500.0).collect();
        for to in [[4, 5, 6], [9, 3, 11], [2, 10, 5], [1, 1, 1], [12, 15, 18]] {
            let (result, _) = all(&way(from, to, ResamplingGeometry::Edges, Interpolation::Nearest), &model);
            for (i, value) in result.iter().enumerate() {
                let place = [i / (to[1] * to[2]), i / to[2] % to[1], i % to[2]];
                let of = |axis: usize| (2 * place[axis] + 1) * from[axis] / (2 * to[axis]);
                assert_eq!(*value, model[(of(0) * 5 + of(1)) * 6 + of(2)], "{to:?} {place:?}");
            }
        }
        // At half a voxel the next one, as far as there is one.
        let (result, _) =
            all(&way([1, 1, 3], [1, 1, 6], ResamplingGeometry::Centres, Interpolation::Nearest), &[1.0, 2.0, 3.0]);
        assert_eq!(result, [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    fn planes_are_given_as_soon_as_can_be() {
        let model = vec![1.0; 4 * 4];
        let ready = |to: usize, interpolation| {
            all(&way([4, 2, 2], [to, 3, 3], ResamplingGeometry::Edges, interpolation), &model).1
        };
        // Positions -¼, ¼, ¾, 1¼, 1¾, …; what is beyond the first and the last plane is theirs.
        assert_eq!(ready(8, Interpolation::Linear), [1, 2, 2, 3]);
        assert_eq!(ready(8, Interpolation::Nearest), [2, 2, 2, 2]);
        assert_eq!(ready(2, Interpolation::Linear), [0, 1, 0, 1]);
        assert_eq!(ready(4, Interpolation::Linear), [1, 1, 1, 1]);
    }

    #[test]
    fn splines_and_planes_of_other_sizes_are_refused() {
        let cubic = way([4, 2, 2], [8, 2, 2], ResamplingGeometry::Edges, Interpolation::Cubic);
        assert!(PlaneResampler::new(&cubic, 1).is_err());
        let linear = way([4, 2, 2], [8, 3, 3], ResamplingGeometry::Edges, Interpolation::Linear);
        assert!(PlaneResampler::new(&linear, 2).unwrap().push(&[0.0; 4], &PLAIN).is_err());
        assert_eq!(PlaneResampler::bytes(&linear, 2), 2 * 2 * 2 * 3 * 4);
        assert_eq!(PlaneResampler::new(&linear, usize::MAX).err().unwrap().code(), Code::OutOfMemory);
        assert_eq!(PlaneResampler::new(&linear, usize::MAX / 6).err().unwrap().code(), Code::OutOfMemory);
    }
}
