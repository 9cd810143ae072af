//! From the scan's spacing to the model's, and back: along one axis after the other.

mod image;
mod kernel;
mod planes;
mod spline;

pub use image::{pieces, resample, scratch_bytes};
pub use kernel::Kernel;
pub use planes::PlaneResampler;

use super::grid::voxels;
use super::recipe::{Interpolation, Resampling, ResamplingGeometry};
use crate::error::Result;
use kernel::Alignment;
use std::ops::Range;

/// What MONAI does not resample for: so many millimetres of the spacing, or voxels of a grid.
const UNCHANGED: f64 = 1e-3;

/// How a volume comes onto another grid.
#[derive(Clone, Debug)]
pub struct Way {
    pub from: [usize; 3],
    pub to: [usize; 3],
    pub kernels: [Kernel; 3],
    /// The axis that is treated separately: over its planes values are clipped one by one.
    pub separate: Option<usize>,
    /// Whether values are kept within what there was.
    pub clip: bool,
}

impl Way {
    pub fn nowhere(extents: [usize; 3]) -> Self {
        Self { from: extents, to: extents, kernels: [const { Kernel::Same }; 3], separate: None, clip: false }
    }

    /// The scan's way to the model's grid.
    pub fn there(extents: [usize; 3], frame: &Frame, resampling: &Resampling) -> Result<Self> {
        let target = target_spacing(frame.spacing_mm, resampling);
        let to = target_extents(extents, frame.spacing_mm, target, resampling.geometry);
        voxels(to)?;
        let alignment = frame.alignment(extents, target, resampling.geometry);
        Self::between([extents, to], [frame.spacing_mm, target], resampling, resampling.data, alignment)
    }

    /// The way of what the network gives from the model's grid to the scan's.
    pub fn back(model: [usize; 3], scan: [usize; 3], frame: &Frame, resampling: &Resampling) -> Result<Self> {
        let from = target_spacing(frame.spacing_mm, resampling);
        let alignment = frame.alignment(scan, from, resampling.geometry);
        Self::between([model, scan], [from, frame.spacing_mm], resampling, resampling.result, alignment)
    }

    fn between(
        [from, to]: [[usize; 3]; 2],
        [old_mm, new_mm]: [[f64; 3]; 2],
        resampling: &Resampling,
        interpolation: Interpolation,
        alignment: Alignment,
    ) -> Result<Self> {
        let is_unchanged = |axis: usize| {
            let ratio = new_mm[axis] / old_mm[axis];
            let moved = alignment.position(0, from[axis], to[axis], ratio).abs();
            from[axis] == to[axis] && (alignment == Alignment::Edges || (ratio - 1.0).abs().max(moved) <= UNCHANGED)
        };
        if (0..3).all(is_unchanged) {
            return Ok(Self::nowhere(from));
        }
        let separate = resampling.separate_axis_above.and_then(|above| separate_axis(old_mm, new_mm, above));
        let mut kernels = [const { Kernel::Same }; 3];
        for axis in 0..3 {
            let interpolation = if separate == Some(axis) { Interpolation::Nearest } else { interpolation };
            let ratio = new_mm[axis] / old_mm[axis];
            kernels[axis] = Kernel::new(from[axis], to[axis], ratio, alignment, interpolation)?;
        }
        Ok(Self { from, to, kernels, separate, clip: interpolation == Interpolation::Cubic })
    }

    /// Of which two of the old planes a new one is made, and by what part of the second; the planes of a spline are more.
    pub fn planes(&self, new: usize) -> ([usize; 2], f32) {
        match &self.kernels[0] {
            Kernel::Nearest(samples) => ([samples[new]; 2], 0.0),
            Kernel::Linear(samples) => ([samples[new].at, samples[new].next()], samples[new].part),
            Kernel::Same | Kernel::Cubic(_) => ([new; 2], 0.0),
        }
    }

    /// Whether planes are resampled along axis 1 first: along that which makes less of it.
    pub fn rows_first(&self) -> bool {
        self.to[1] <= self.from[1]
    }

    /// To some of the new rows along axis 1 alone, from the old ones that they need.
    pub fn strip(&self, rows: Range<usize>) -> (Self, Range<usize>) {
        let mut strip = self.clone();
        strip.to[1] = rows.len();
        let (kernel, old) = self.kernels[1].part(rows, self.from[1]);
        strip.kernels[1] = kernel;
        strip.from[1] = old.len();
        (strip, old)
    }

    pub fn is_nowhere(&self) -> bool {
        self.kernels.iter().all(|kernel| matches!(kernel, Kernel::Same))
    }
}

/// The spacing of a scan's axes, and how they stand to each other.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub spacing_mm: [f64; 3],
    /// The direction of each axis.
    pub directions: [[f64; 3]; 3],
}

impl Frame {
    #[cfg(test)]
    pub fn perpendicular(spacing_mm: [f64; 3]) -> Self {
        Self { spacing_mm, directions: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] }
    }

    /// Where the new grid lies on the old one. MONAI puts the first voxels together where the axes are perpendicular to a part in 10⁸, or
    /// lean the right way, and else the grids' middles. Digits of a file's float32 decide it where axes are oblique.
    fn alignment(&self, extents: [usize; 3], target_mm: [f64; 3], geometry: ResamplingGeometry) -> Alignment {
        if geometry == ResamplingGeometry::Edges {
            return Alignment::Edges;
        }
        let axis = |axis: usize| self.directions[axis].map(|cosine| cosine * self.spacing_mm[axis]);
        let product = |a: usize, b: usize| axis(a).iter().zip(axis(b)).map(|(a, b)| a * b).sum::<f64>();
        // The Cholesky factor of these products, but for its last number.
        let first = product(0, 0).sqrt();
        let (x, y) = (product(0, 1) / first, product(0, 2) / first);
        let z = (product(1, 2) - x * y) / (product(1, 1) - x * x).sqrt();
        // How far the corners of the old grid lie before its first voxel, in voxels of the new one.
        let before = |lean: f64, along: usize, of: usize| lean.min(0.0) * (extents[along] - 1) as f64 / target_mm[of];
        let farthest = (before(x, 1, 0) + before(y, 2, 0)).min(before(z, 2, 1));
        if farthest < -1e-8 { Alignment::Middles } else { Alignment::FirstVoxels }
    }
}

/// Where the model does not say, the scan's; and also, as MONAI has it, where that is as good as the model's.
fn target_spacing(spacing_mm: [f64; 3], resampling: &Resampling) -> [f64; 3] {
    let Resampling { spacing_mm: wanted, geometry, .. } = resampling;
    [0, 1, 2].map(|axis| {
        let is_near = *geometry == ResamplingGeometry::Centres && (wanted[axis] - spacing_mm[axis]).abs() <= UNCHANGED;
        if wanted[axis] == 0.0 || is_near { spacing_mm[axis] } else { wanted[axis] }
    })
}

fn target_extents(extents: [usize; 3], from_mm: [f64; 3], to_mm: [f64; 3], geometry: ResamplingGeometry) -> [usize; 3] {
    [0, 1, 2].map(|axis| {
        let extent = extents[axis] as f64;
        let new = match geometry {
            // In nnU-Net's order of operations: what is at .5 is decided by it.
            ResamplingGeometry::Edges => from_mm[axis] / to_mm[axis] * extent,
            ResamplingGeometry::Centres => (extent - 1.0) * from_mm[axis] / to_mm[axis] + 1.0,
        };
        // A scan thinner than half a voxel of the model's is one of them.
        new.round_ties_even().max(1.0) as usize
    })
}

/// The axis of the largest spacing where that is more than `above` times the smallest: of the present spacing, else of the new one.
/// None where two axes share it.
fn separate_axis(present_mm: [f64; 3], new_mm: [f64; 3], above: f64) -> Option<usize> {
    let most = |spacing: [f64; 3]| spacing.into_iter().fold(f64::MIN, f64::max);
    let least = |spacing: [f64; 3]| spacing.into_iter().fold(f64::MAX, f64::min);
    let spacing = [present_mm, new_mm].into_iter().find(|spacing| most(*spacing) / least(*spacing) > above)?;
    let mut axes = (0..3).filter(|axis| spacing[*axis] == most(spacing));
    axes.next().filter(|_| axes.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampling(spacing_mm: [f64; 3], geometry: ResamplingGeometry) -> Resampling {
        Resampling {
            spacing_mm,
            geometry,
            data: Interpolation::Cubic,
            result: Interpolation::Linear,
            separate_axis_above: Some(3.0),
        }
    }

    #[test]
    fn new_extents() {
        use ResamplingGeometry::{Centres, Edges};
        let extents = |geometry| target_extents([5, 512, 300], [2.5, 0.8, 1.0], [1.0, 1.5, 0.0], geometry);
        // 12.5 becomes 12, the even one.
        assert_eq!(extents(Edges)[..2], [12, 273]);
        assert_eq!(extents(Centres)[..2], [11, 274]);
        let way = |extents, spacing| {
            Way::there(extents, &Frame::perpendicular(spacing), &resampling([1.0, 1.0, 0.0], Edges)).unwrap()
        };
        // No extent becomes 0, and what the model leaves open stays.
        assert_eq!(way([1, 10, 7], [0.2, 1.0, 5.0]).to, [1, 10, 7]);
        assert!(way([9, 10, 7], [1.0, 1.0, 5.0]).is_nowhere());
    }

    #[test]
    fn what_is_as_good_as_the_models_spacing_stays_as_monai_has_it() {
        use ResamplingGeometry::{Centres, Edges};
        let way = |spacing, target, geometry| {
            Way::there([99, 99, 99], &Frame::perpendicular(spacing), &resampling(target, geometry)).unwrap()
        };
        assert!(way([1.5009, 1.0, 2.0], [1.5, 1.0, 2.0], Centres).is_nowhere());
        assert!(way([5.004, 1.0, 1.0], [5.0, 1.0, 1.0], Centres).is_nowhere(), "a thousandth of the spacing");
        assert!(!way([1.502, 1.0, 2.0], [1.5, 1.0, 2.0], Centres).is_nowhere());
        // One axis by itself, where others are resampled.
        let way = way([1.5009, 1.0, 2.0], [1.5, 1.0, 1.0], Centres);
        assert!(matches!(way.kernels[0], Kernel::Same) && !way.is_nowhere());
        let edges = Way::there([999, 1, 1], &Frame::perpendicular([1.0009, 1.0, 1.0]), &resampling([1.0; 3], Edges));
        assert_eq!(edges.unwrap().to, [1000, 1, 1]);
    }

    #[test]
    fn oblique_grids_share_their_middle_as_monai_has_it() {
        let to = [2.0, 1.5, 1.0];
        let of = |directions, extents, geometry| {
            Frame { spacing_mm: [1.0, 2.0, 3.0], directions }.alignment(extents, to, geometry)
        };
        let leaning = |lean: f64| [[1.0, 0.0, 0.0], [lean, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let (extents, centres) = ([9, 101, 9], ResamplingGeometry::Centres);
        // 100 voxels of 2 mm along axis 1 lie as many times the lean before the first one along axis 0, of 2 mm.
        for (lean, expected) in [
            (0.0, Alignment::FirstVoxels),
            (0.9e-10, Alignment::FirstVoxels),
            (-0.9e-10, Alignment::FirstVoxels),
            (-1.1e-10, Alignment::Middles),
            (1e-3, Alignment::FirstVoxels),
            (-1e-3, Alignment::Middles),
        ] {
            assert_eq!(of(leaning(lean), extents, centres), expected, "{lean}");
        }
        assert_eq!(of(leaning(-1e-3), [9, 1, 9], centres), Alignment::FirstVoxels, "one plane leans nowhere");
        assert_eq!(of(leaning(-1e-3), extents, ResamplingGeometry::Edges), Alignment::Edges);
        // There and back come to the same place.
        let (there, back) = ((10, 6, 1.7), (6, 10, 1.0 / 1.7));
        let position = |(from, to, ratio), i| Alignment::Middles.position(i, from, to, ratio);
        assert!((position(there, 3) - 5.0).abs() < 1e-12 && (position(back, 5) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn which_axis_is_separate() {
        let axis = |present, new| separate_axis(present, new, 3.0);
        assert_eq!(axis([3.0, 1.0, 1.0], [1.0; 3]), None, "exactly 3");
        assert_eq!(axis([3.1, 1.0, 1.0], [1.0; 3]), Some(0));
        assert_eq!(axis([1.0, 1.0, 5.0], [5.0, 1.0, 1.0]), Some(2));
        assert_eq!(axis([1.0; 3], [1.0, 4.0, 1.0]), Some(1));
        assert_eq!(axis([5.0, 5.0, 1.0], [1.0; 3]), None, "two share it");
        // The first that is anisotropic decides, even where it has two such axes.
        assert_eq!(axis([5.0, 5.0, 1.0], [5.0, 1.0, 1.0]), None);
    }
}
