//! Where tiles lie, and what is in them.

use super::recipe::{Padding, Placement, Tiling};
use crate::error::{Code, Error, Result};
use std::ops::Range;

/// The tiles of a volume on the model's grid, numbered with axis 0 outermost.
#[derive(Clone, Debug)]
pub struct Tiles {
    pub extents: [usize; 3],
    /// Voxels that the network gives for a tile.
    pub patch: [usize; 3],
    /// How many voxels around them it takes on either side, along each axis: 0 but for networks that give a tile's middle.
    pub margin: [usize; 3],
    /// The volume's rows along axis 1 that are swept, and which of the starts there reach them.
    rows: Range<usize>,
    reach: Range<usize>,
    starts: [Starts; 3],
}

impl Tiles {
    /// `margin` is what the network takes around what it gives: the tiling's patch has it on either side.
    pub fn new(extents: [usize; 3], tiling: &Tiling, margin: [usize; 3]) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(Code::InvalidArgument, message));
        let Tiling { patch, overlap, placement, .. } = tiling;
        let patch: [usize; 3] = std::array::from_fn(|axis| patch[axis].saturating_sub(margin[axis].saturating_mul(2)));
        if !(0.0..1.0).contains(overlap) {
            return invalid(format!("tiles overlap by {overlap}; take 0 to below 1"));
        }
        if patch.contains(&0) || extents.contains(&0) {
            return invalid(format!("tiles of {patch:?} voxels in a volume of {extents:?}: no extent may be 0"));
        }
        let axis = |axis: usize| Starts::new(extents[axis], patch[axis], *overlap, *placement);
        let starts = [axis(0), axis(1), axis(2)];
        Ok(Self { extents, patch, margin, rows: 0..extents[1], reach: 0..starts[1].count(), starts })
    }

    /// Those that some of the rows along axis 1 need: what they come to is the same for these rows, and what is outside is left.
    pub fn strip(&self, rows: Range<usize>) -> Self {
        // The first start for which that does not hold; they ascend.
        let first_not = |holds: &dyn Fn(isize) -> bool| {
            let (mut low, mut high) = (self.reach.start, self.reach.end);
            while low < high {
                let middle = low + (high - low) / 2;
                match holds(self.starts[1].at(middle)) {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            low
        };
        let first = first_not(&|start| start + self.patch[1] as isize <= rows.start as isize);
        let reach = first..first_not(&|start| start < rows.end as isize);
        Self { rows, reach, ..self.clone() }
    }

    /// Of what is swept.
    pub fn swept(&self) -> [usize; 3] {
        [self.extents[0], self.rows.len(), self.extents[2]]
    }

    pub fn count(&self) -> usize {
        self.starts[0].count() * self.row()
    }

    /// How many tiles start on the same plane.
    pub fn row(&self) -> usize {
        self.reach.len() * self.starts[2].count()
    }

    /// Where a tile's first voxel lies in the volume.
    pub fn start(&self, tile: usize) -> [isize; 3] {
        let (row, column) = (tile / self.row(), tile % self.row());
        let [z, y, x] = &self.starts;
        [z.at(row), y.at(self.reach.start + column / x.count()), x.at(column % x.count())]
    }

    /// How many of the volume's planes lie before all tiles from that one on.
    pub fn final_planes(&self, next: usize) -> usize {
        match next < self.count() {
            true => usize::try_from(self.start(next)[0]).unwrap_or(0),
            false => self.extents[0],
        }
    }

    /// How many rows of what is swept no tile has from that one on of those that start on the same plane.
    pub fn final_rows(&self, next: usize) -> usize {
        self.covered(1, self.start(next)[1]).0.start
    }

    /// The voxels along an axis of what is swept that a tile has, and the first of them counted in the tile.
    pub fn covered(&self, axis: usize, start: isize) -> (Range<usize>, usize) {
        let first = usize::try_from(start).unwrap_or(0);
        let skipped = start.min(0).unsigned_abs();
        let last = (self.patch[axis] - skipped + first).min(self.extents[axis]);
        if axis != 1 {
            return (first..last, skipped);
        }
        let (from, to) = (first.max(self.rows.start), last.min(self.rows.end));
        (from - self.rows.start..to - self.rows.start, skipped + from - first)
    }

    /// Voxels that the network takes for a tile, and where the first of them lies in the volume.
    pub fn taken(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.patch[axis] + 2 * self.margin[axis])
    }

    pub fn taken_from(&self, start: [isize; 3]) -> [isize; 3] {
        std::array::from_fn(|axis| start[axis] - self.margin[axis] as isize)
    }

    /// Elements of what the network takes for a tile, in so many channels.
    pub fn elements(&self, channels: usize) -> usize {
        channels * self.taken().iter().product::<usize>()
    }

    /// Elements of what the network gives for a tile, in so many channels.
    pub fn given(&self, channels: usize) -> usize {
        channels * self.patch.iter().product::<usize>()
    }

    /// Copies what the network takes for a tile out of a dense volume of `[channel, z, y, x]`, mirrored along some axes.
    pub fn gather(&self, volume: &[f32], start: [isize; 3], mirrored: [bool; 3], padding: Padding, tile: &mut [f32]) {
        let (first, taken) = (self.taken_from(start), self.taken());
        let sources: [Vec<Option<usize>>; 3] = std::array::from_fn(|axis| {
            let source = |i: usize| source(first[axis] + i as isize, self.extents[axis], padding);
            let along = (0..taken[axis]).map(source);
            if mirrored[axis] { along.rev().collect() } else { along.collect() }
        });
        let constant = match padding {
            Padding::Constant(value) => value,
            Padding::Edge | Padding::Reflect => 0.0,
        };
        // Where a row's voxels lie side by side in the volume.
        let run = sources[2][0].filter(|first| {
            sources[2].iter().enumerate().all(|(i, source)| source.is_some_and(|source| source == first + i))
        });
        let [depth, height, width] = self.extents;
        let mut rows = tile.chunks_exact_mut(taken[2]);
        for channel in volume.chunks_exact(depth * height * width) {
            for z in &sources[0] {
                for y in &sources[1] {
                    let Some(row) = rows.next() else { return };
                    let (Some(z), Some(y)) = (z, y) else {
                        row.fill(constant);
                        continue;
                    };
                    let from = &channel[(z * height + y) * width..][..width];
                    match run {
                        Some(first) => row.copy_from_slice(&from[first..first + row.len()]),
                        None => {
                            for (value, source) in row.iter_mut().zip(&sources[2]) {
                                *value = source.map_or(constant, |x| from[x]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where tiles start along one axis, ascending. They are not listed: along an axis there may be more than fit in memory.
#[derive(Clone, Copy, Debug)]
enum Starts {
    /// There, and nowhere else.
    One(isize),
    /// So many, so far apart.
    Even(usize, f64),
    /// So many, by a step as far as there is room.
    ShiftedBack(usize, usize, usize),
}

impl Starts {
    fn new(extent: usize, patch: usize, overlap: f64, placement: Placement) -> Self {
        if extent <= patch {
            // Below 0: the volume lies in the patch's middle. The odd voxel of what is filled up is above.
            return Self::One(-(((patch - extent) / 2) as isize));
        }
        let room = extent - patch;
        match placement {
            Placement::Even => {
                // nnU-Net has the step, of which an overlap's digits are the rest: 1 - 0.9 is a little below 0.1.
                let step = ((1.0 - overlap) * 1e12).round() / 1e12;
                let count = (room as f64 / (patch as f64 * step).max(1.0)).ceil();
                Self::Even(count as usize + 1, room as f64 / count)
            }
            Placement::ShiftedBack => {
                let step = ((patch as f64 * (1.0 - overlap)) as usize).max(1);
                Self::ShiftedBack(room.div_ceil(step) + 1, step, room)
            }
        }
    }

    fn count(&self) -> usize {
        match *self {
            Self::One(_) => 1,
            Self::Even(count, _) | Self::ShiftedBack(count, _, _) => count,
        }
    }

    fn at(&self, number: usize) -> isize {
        match *self {
            Self::One(start) => start,
            Self::Even(_, between) => (between * number as f64).round_ties_even() as isize,
            Self::ShiftedBack(_, step, room) => (number * step).min(room) as isize,
        }
    }
}

/// The voxel that is taken for the one at `at`, if any is.
fn source(at: isize, extent: usize, padding: Padding) -> Option<usize> {
    match (usize::try_from(at).ok().filter(|at| *at < extent), padding) {
        (Some(at), _) => Some(at),
        (None, Padding::Constant(_)) => None,
        (None, Padding::Edge) => Some(if at < 0 { 0 } else { extent - 1 }),
        (None, Padding::Reflect) => {
            let period = (2 * (extent - 1)).max(1) as isize;
            let at = at.rem_euclid(period) as usize;
            Some(at.min(period as usize - at).min(extent - 1))
        }
    }
}

/// The bits of the one value that each channel of a tile has, if each has only one.
pub fn constants(tile: &[f32], channels: usize) -> Option<Vec<u32>> {
    let one = |channel: &[f32]| {
        let first = channel.first()?.to_bits();
        channel.iter().all(|value| value.to_bits() == first).then_some(first)
    };
    tile.chunks_exact(tile.len() / channels.max(1)).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::recipe::Window;

    fn tiling(patch: [usize; 3], overlap: f64, placement: Placement) -> Tiling {
        Tiling {
            patch,
            overlap,
            placement,
            padding: Padding::Constant(0.0),
            window: Window::Constant,
            mirrored: [false; 3],
        }
    }

    fn starts(extent: usize, patch: usize, overlap: f64, placement: Placement) -> Vec<isize> {
        let starts = Starts::new(extent, patch, overlap, placement);
        (0..starts.count()).map(|number| starts.at(number)).collect()
    }

    #[test]
    fn tiles_without_number_take_no_memory() {
        for placement in [Placement::Even, Placement::ShiftedBack] {
            let tiles = Tiles::new([1 << 40, 1, 1 << 20], &tiling([8, 8, 8], 0.5, placement), [0; 3]).unwrap();
            assert_eq!(tiles.count(), ((1 << 38) - 1) * ((1 << 18) - 1));
            assert_eq!(tiles.start(tiles.count() - 1), [(1 << 40) - 8, -3, (1 << 20) - 8]);
        }
    }

    #[test]
    fn spread_evenly_as_nnunet_does() {
        let even = |extent, patch, overlap| starts(extent, patch, overlap, Placement::Even);
        // What compute_steps_for_sliding_window of nnunetv2 2.8.1 gives.
        assert_eq!(even(110, 64, 0.5), [0, 23, 46]);
        assert_eq!(even(64, 64, 0.5), [0]);
        assert_eq!(even(65, 64, 0.5), [0, 1]);
        assert_eq!(even(127, 64, 0.5), [0, 32, 63]); // 31.5 goes to the even one
        assert_eq!(even(125, 64, 0.5), [0, 30, 61]); // as does 30.5
        assert_eq!(even(150, 100, 0.9), [0, 10, 20, 30, 40, 50]);
        assert_eq!(even(5, 1, 0.5), [0, 1, 2, 3, 4]);
        assert_eq!(even(63, 64, 0.5), [0]);
        assert_eq!(even(61, 64, 0.5), [-1]);
    }

    #[test]
    fn shifted_back_as_monai_does() {
        let back = |extent, patch, overlap| starts(extent, patch, overlap, Placement::ShiftedBack);
        // What dense_patch_slices of monai 1.6.1 gives; int(96 * (1 - 0.8)) is 19.
        assert_eq!(back(200, 96, 0.25), [0, 72, 104]);
        assert_eq!(back(168, 96, 0.25), [0, 72]);
        assert_eq!(back(169, 96, 0.25), [0, 72, 73]);
        assert_eq!(back(134, 96, 0.8), [0, 19, 38]);
        assert_eq!(back(96, 96, 0.8), [0]);
        assert_eq!(back(3, 1, 0.25), [0, 1, 2]);
        assert_eq!(back(10, 96, 0.25), [-43]);
    }

    #[test]
    fn tiles_reach_every_voxel_and_none_beyond() {
        for placement in [Placement::Even, Placement::ShiftedBack] {
            for patch in [1, 2, 7, 8] {
                for extent in [1, patch - 1, patch, patch + 1, 2 * patch - 1, 3 * patch + 2] {
                    let extent = extent.max(1);
                    let tiles = Tiles::new([extent, 1, 1], &tiling([patch, 1, 1], 0.3, placement), [0; 3]).unwrap();
                    let mut reached = vec![false; extent];
                    for tile in 0..tiles.count() {
                        let (covered, skipped) = tiles.covered(0, tiles.start(tile)[0]);
                        assert!(skipped + covered.len() <= patch);
                        assert!(extent < patch || covered.len() == patch);
                        reached[covered].fill(true);
                    }
                    assert!(reached.iter().all(|reached| *reached), "{placement:?} {patch} {extent}");
                }
            }
        }
    }

    #[test]
    fn axis_0_is_outermost() {
        let tiles = Tiles::new([4, 6, 4], &tiling([2, 4, 4], 0.0, Placement::ShiftedBack), [0; 3]).unwrap();
        let all: Vec<_> = (0..tiles.count()).map(|tile| tiles.start(tile)).collect();
        assert_eq!(all, [[0, 0, 0], [0, 2, 0], [2, 0, 0], [2, 2, 0]]);
    }

    #[test]
    fn a_small_volume_is_filled_up_on_both_sides() {
        let rows = |extent: usize, patch: usize, padding, mirrored| {
            let tiles = Tiles::new([1, 1, extent], &tiling([1, 1, patch], 0.5, Placement::Even), [0; 3]).unwrap();
            let volume: Vec<_> = (1..=extent).map(|x| x as f32).collect();
            let mut tile = vec![f32::NAN; patch];
            tiles.gather(&volume, tiles.start(0), [false, false, mirrored], padding, &mut tile);
            tile
        };
        assert_eq!(rows(2, 5, Padding::Constant(9.0), false), [9.0, 1.0, 2.0, 9.0, 9.0]);
        assert_eq!(rows(2, 5, Padding::Constant(9.0), true), [9.0, 9.0, 2.0, 1.0, 9.0]);
        assert_eq!(rows(2, 5, Padding::Edge, false), [1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(rows(3, 6, Padding::Reflect, false), [2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(rows(1, 4, Padding::Reflect, false), [1.0; 4]);
        assert_eq!(rows(4, 4, Padding::Edge, true), [4.0, 3.0, 2.0, 1.0]);
    }

    #[test]
    fn channels_and_rows_stay_apart() {
        let tiles = Tiles::new([2, 3, 2], &tiling([1, 4, 2], 0.5, Placement::Even), [0; 3]).unwrap();
        let volume: Vec<_> = (0..24).map(|i| i as f32).collect();
        let mut tile = vec![f32::NAN; 16];
        assert_eq!(tiles.start(1), [1, 0, 0]);
        tiles.gather(&volume, tiles.start(1), [false; 3], Padding::Constant(-1.0), &mut tile);
        let wanted = [6, 7, 8, 9, 10, 11, -1, -1, 18, 19, 20, 21, 22, 23, -1, -1];
        assert_eq!(tile, wanted.map(|i| i as f32));
    }

    #[test]
    fn a_margin_is_taken_around_what_is_given() {
        let rows = |extent: usize, padding, mirrored| {
            let tiling = tiling([1, 1, 6], 0.0, Placement::Even);
            let tiles = Tiles::new([1, 1, extent], &tiling, [0, 0, 2]).unwrap();
            assert_eq!(tiles.patch, [1, 1, 2]);
            let volume: Vec<_> = (1..=extent).map(|x| x as f32).collect();
            let row = |tile| {
                let mut row = vec![f32::NAN; 6];
                tiles.gather(&volume, tiles.start(tile), [false, false, mirrored], padding, &mut row);
                row
            };
            (0..tiles.count()).map(row).collect::<Vec<_>>()
        };
        let zero = Padding::Constant(0.0);
        assert_eq!(rows(4, zero, false), [[0.0, 0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]]);
        assert_eq!(rows(2, zero, true), [[0.0, 0.0, 2.0, 1.0, 0.0, 0.0]]);
        assert_eq!(rows(1, Padding::Edge, false), [[1.0; 6]]);
        assert_eq!(rows(3, Padding::Reflect, false)[0], [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
        assert!(Tiles::new([4; 3], &tiling([4; 3], 0.5, Placement::Even), [2, 0, 0]).is_err());
        assert!(Tiles::new([4; 3], &tiling([4; 3], 0.5, Placement::Even), [usize::MAX, 0, 0]).is_err());
    }

    #[test]
    fn a_strip_has_the_tiles_that_reach_its_rows() {
        let tiles = Tiles::new([1, 12, 1], &tiling([1, 4, 1], 0.5, Placement::ShiftedBack), [0; 3]).unwrap();
        let strip = tiles.strip(5..7);
        // They start at 2, 4 and 6.
        assert_eq!((strip.swept(), strip.count()), ([1, 2, 1], 3));
        let covered: Vec<_> = (0..3).map(|tile| strip.covered(1, strip.start(tile)[1])).collect();
        assert_eq!(covered, [(0..1, 3), (0..2, 1), (1..2, 0)]);
        let small = Tiles::new([1, 2, 1], &tiling([1, 5, 1], 0.5, Placement::Even), [0; 3]).unwrap().strip(1..2);
        assert_eq!(small.covered(1, small.start(0)[1]), (0..1, 2));
    }

    #[test]
    fn one_value_is_recognized() {
        assert_eq!(constants(&[1.0, 1.0, 2.0, 2.0], 2), Some(vec![1.0f32.to_bits(), 2.0f32.to_bits()]));
        assert_eq!(constants(&[1.0, 1.0, 2.0, 2.0], 1), None);
        assert_eq!(constants(&[0.0, -0.0], 1), None);
    }

    #[test]
    fn impossible_tilings_are_refused() {
        let refused =
            |extents, tiling: Tiling| Tiles::new(extents, &tiling, [0; 3]).unwrap_err().code() == Code::InvalidArgument;
        assert!(refused([4; 3], tiling([4; 3], 1.0, Placement::Even)));
        assert!(refused([4; 3], tiling([4; 3], f64::NAN, Placement::Even)));
        assert!(refused([4; 3], tiling([4, 0, 4], 0.5, Placement::Even)));
        assert!(refused([0, 4, 4], tiling([4; 3], 0.5, Placement::Even)));
    }
}
