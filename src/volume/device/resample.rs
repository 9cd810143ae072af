//! A channel onto the model's grid, on the device: the twin of `resample::resample`, one axis after the other.

use super::buffer::{Buffer, View};
use super::kernels::{Kernels, Lines, spline_elements};
use crate::error::Result;
use crate::volume::resample::{Kernel, Way};
use crate::volume::work::Work;

/// Lines of a spline that are worked on together at most.
const SPLINES: usize = 1 << 18;

/// Whether a way's values can be kept within what there was there: of all of a channel, or plane by plane.
pub fn can(way: &Way) -> bool {
    !way.clip || matches!(way.separate, None | Some(0))
}

/// Bytes of device memory that it takes beside the source and the target, in three pieces at most.
pub fn bytes(way: &Way) -> [u64; 3] {
    let product = |factors: &[usize]| factors.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64));
    let mut steps: Vec<u64> = steps(way).map(|step| product(&step.after).saturating_mul(4)).collect();
    // The last one makes the target.
    steps.pop();
    let largest = steps.iter().copied().max().unwrap_or(0);
    let kept = |number: usize| if steps.len() >= number { largest } else { 0 };
    [kept(1), kept(2), (begins(way) as u64).saturating_mul(size_of::<f64>() as u64)]
}

/// An axis that changes.
struct Step {
    axis: usize,
    before: [usize; 3],
    after: [usize; 3],
}

impl Step {
    /// Lines along the axis are `[outer, axis, inner]`.
    fn lines(&self) -> Lines {
        let count = |extents: &[usize]| extents.iter().fold(1, |product: usize, n| product.saturating_mul(*n));
        Lines {
            outer: count(&self.before[..self.axis]),
            from: self.before[self.axis],
            to: self.after[self.axis],
            inner: count(&self.before[self.axis + 1..]),
        }
    }
}

/// The axes that change, in their order.
fn steps(way: &Way) -> impl Iterator<Item = Step> {
    let inner = if way.rows_first() { [1, 2] } else { [2, 1] };
    let mut extents = way.from;
    let changing = [inner[0], inner[1], 0].into_iter().filter(|axis| !matches!(way.kernels[*axis], Kernel::Same));
    changing.map(move |axis| {
        let before = extents;
        extents[axis] = way.to[axis];
        Step { axis, before, after: extents }
    })
}

/// Elements that are kept of splines' lines.
fn begins(way: &Way) -> usize {
    let cubic = steps(way).filter(|step| matches!(way.kernels[step.axis], Kernel::Cubic(_)));
    let of_step = |step: Step| {
        let lines = step.lines();
        spline_elements(lines.outer.saturating_mul(lines.inner).min(SPLINES), lines.from)
    };
    cubic.map(of_step).max().unwrap_or(0)
}

/// Fills `target` by `source`; both are dense.
pub fn resample(kernels: &Kernels, way: &Way, source: View<'_, f32>, target: View<'_, f32>, work: &Work) -> Result<()> {
    let ends = if way.clip { Some(kernels.ends(source, way)?) } else { None };
    let steps: Vec<_> = steps(way).collect();
    if steps.is_empty() {
        kernels.copy(source, target)?;
    }
    let axes =
        steps.iter().map(|Step { axis, before, after }| kernels.axis(&way.kernels[*axis], before[*axis], after[*axis]));
    let axes = axes.collect::<Result<Vec<_>>>()?;
    let begins = match begins(way) {
        0 => None,
        elements => Some(kernels.buffer(elements)?),
    };
    let size = |extents: &[usize; 3]| extents.iter().product::<usize>();
    let largest = steps.iter().rev().skip(1).map(|step| size(&step.after)).max().unwrap_or(0);
    let mut kept: [Option<Buffer<f32>>; 2] = [None, None];
    for (i, (step, axis)) in steps.iter().zip(&axes).enumerate() {
        work.check()?;
        let is_last = i + 1 == steps.len();
        if !is_last && kept[i % 2].is_none() {
            kept[i % 2] = Some(kernels.buffer(largest)?);
        }
        let from = match kept[(i + 1) % 2].as_ref().filter(|_| i > 0) {
            Some(before) => before.part(0..size(&step.before))?,
            None => source,
        };
        let to = match kept[i % 2].as_ref().filter(|_| !is_last) {
            Some(buffer) => buffer.part(0..size(&step.after))?,
            None => target,
        };
        kernels.resample_axis(axis, &step.lines(), from, to, begins.as_ref().map(Buffer::view))?;
    }
    if let Some(ends) = &ends {
        kernels.clip(target, way, ends)?;
    }
    // All that was made here is in use until then.
    kernels.stream().synchronize()
}
