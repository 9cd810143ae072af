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
use std::ops::Range;

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
    pub fn there(extents: [usize; 3], spacing_mm: [f64; 3], resampling: &Resampling) -> Result<Self> {
        let target = target_spacing(spacing_mm, resampling);
        let to = target_extents(extents, spacing_mm, target, resampling.geometry);
        voxels(to)?;
        Self::between([extents, to], [spacing_mm, target], resampling, resampling.data)
    }

    /// The way of what the network gives from the model's grid to the scan's.
    pub fn back(model: [usize; 3], scan: [usize; 3], spacing_mm: [f64; 3], resampling: &Resampling) -> Result<Self> {
        let from = target_spacing(spacing_mm, resampling);
        Self::between([model, scan], [from, spacing_mm], resampling, resampling.result)
    }

    fn between(
        [from, to]: [[usize; 3]; 2],
        [old_mm, new_mm]: [[f64; 3]; 2],
        resampling: &Resampling,
        interpolation: Interpolation,
    ) -> Result<Self> {
        if from == to && resampling.geometry == ResamplingGeometry::Edges || old_mm == new_mm {
            return Ok(Self::nowhere(from));
        }
        let separate = resampling.separate_axis_above.and_then(|above| separate_axis(old_mm, new_mm, above));
        let mut kernels = [const { Kernel::Same }; 3];
        for axis in 0..3 {
            let interpolation = if separate == Some(axis) { Interpolation::Nearest } else { interpolation };
            let ratio = new_mm[axis] / old_mm[axis];
            kernels[axis] = Kernel::new(from[axis], to[axis], ratio, resampling.geometry, interpolation)?;
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

/// Where the model does not say, the scan's.
fn target_spacing(spacing_mm: [f64; 3], resampling: &Resampling) -> [f64; 3] {
    let wanted = resampling.spacing_mm;
    [0, 1, 2].map(|axis| if wanted[axis] == 0.0 { spacing_mm[axis] } else { wanted[axis] })
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
        let way = |extents, spacing| Way::there(extents, spacing, &resampling([1.0, 1.0, 0.0], Edges)).unwrap();
        // No extent becomes 0, and what the model leaves open stays.
        assert_eq!(way([1, 10, 7], [0.2, 1.0, 5.0]).to, [1, 10, 7]);
        assert!(way([9, 10, 7], [1.0, 1.0, 5.0]).is_nowhere());
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
