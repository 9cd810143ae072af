//! A channel onto the model's grid, on the device: the twin of `resample::resample`, one axis after the other.

use super::buffer::{Buffer, View};
use super::kernels::{Axis, Bounds, Kernels, Lines, planes, spline_elements};
use crate::error::Result;
use crate::volume::resample::{Kernel, Way};
use std::ops::Range;

/// Lines of a spline that are worked on together at most.
const SPLINES: usize = 1 << 18;

/// Whether a way's values can be kept within what there was there: of all of a channel, or plane by plane.
pub fn can(way: &Way) -> bool {
    !way.clip || matches!(way.separate, None | Some(0))
}

/// Bytes of device memory that it takes beside the source and the target, in three pieces at most.
pub fn bytes(way: &Way) -> [u64; 3] {
    let [first, second] = kept(way).map(|elements| (elements as u64).saturating_mul(size_of::<f32>() as u64));
    [first, second, (begins(way) as u64).saturating_mul(size_of::<f64>() as u64)]
}

/// An axis that changes.
struct Step {
    axis: usize,
    before: [usize; 3],
    after: [usize; 3],
}

impl Step {
    /// Of these planes; of all of them if it is the planes that change. Lines along the axis are `[outer, axis, inner]`.
    fn lines(&self, planes: usize) -> Lines {
        let count = |extents: &[usize]| extents.iter().fold(1, |product: usize, n| product.saturating_mul(*n));
        let outer = if self.axis == 0 { 1 } else { planes.saturating_mul(count(&self.before[1..self.axis])) };
        Lines {
            outer,
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
        let lines = step.lines(step.before[0]);
        spline_elements(lines.outer.saturating_mul(lines.inner).min(SPLINES), lines.from)
    };
    cubic.map(of_step).max().unwrap_or(0)
}

/// Elements of what the steps but the last one make, by turns of two places.
fn kept(way: &Way) -> [usize; 2] {
    let mut kept = [0; 2];
    let sizes: Vec<usize> =
        steps(way).map(|step| step.after.iter().fold(1, |size: usize, n| size.saturating_mul(*n))).collect();
    for (i, size) in sizes.iter().rev().skip(1).rev().enumerate() {
        kept[i % 2] = kept[i % 2].max(*size);
    }
    kept
}

/// A way on the device, with room for what is made on it.
pub struct DeviceWay {
    way: Way,
    steps: Vec<(Step, Axis)>,
    kept: [Buffer<f32>; 2],
    begins: Buffer<f64>,
    bounds: Option<Bounds>,
}

impl DeviceWay {
    pub fn new(kernels: &Kernels, way: &Way) -> Result<Self> {
        let with_axis = |step: Step| {
            let axis = kernels.axis(&way.kernels[step.axis], step.before[step.axis], step.after[step.axis])?;
            Ok((step, axis))
        };
        let [first, second] = kept(way);
        Ok(Self {
            steps: steps(way).map(with_axis).collect::<Result<_>>()?,
            kept: [kernels.buffer(first)?, kernels.buffer(second)?],
            begins: kernels.buffer(begins(way))?,
            bounds: if way.clip { Some(kernels.bounds(way)?) } else { None },
            way: way.clone(),
        })
    }

    /// Begins with a channel.
    pub fn begin(&self, kernels: &Kernels) -> Result<()> {
        self.bounds.as_ref().map_or(Ok(()), |bounds| kernels.begin_ends(bounds))
    }

    /// Goes as far as these planes of the source are enough. `source` and `target` are all of the channel, and dense.
    pub fn bring_planes(
        &self,
        kernels: &Kernels,
        source: View<'_, f32>,
        numbers: Range<usize>,
        target: View<'_, f32>,
    ) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let size = |extents: [usize; 3]| extents[1] * extents[2];
        let source = source.part(planes(numbers.clone(), size(self.way.from)))?;
        if let Some(bounds) = &self.bounds {
            kernels.see_ends(source, numbers.clone(), &self.way, bounds)?;
        }
        let mut from = source;
        for (i, (step, axis)) in self.steps.iter().enumerate().filter(|(_, (step, _))| step.axis != 0) {
            let to = self.after(i, target)?.part(planes(numbers.clone(), size(step.after)))?;
            kernels.resample_axis(axis, &step.lines(numbers.len()), from, to, self.begins.view())?;
            from = to;
        }
        Ok(())
    }

    /// Fills `target`, when all planes were brought. Returns when it is done.
    pub fn finish(&self, kernels: &Kernels, source: View<'_, f32>, target: View<'_, f32>) -> Result<()> {
        match self.steps.split_last() {
            None => kernels.copy(source, target)?,
            Some(((step, axis), before)) if step.axis == 0 => {
                let from = if before.is_empty() { source } else { self.after(before.len() - 1, target)? };
                kernels.resample_axis(axis, &step.lines(step.before[0]), from, target, self.begins.view())?;
            }
            Some(_) => {}
        }
        if let Some(bounds) = &self.bounds {
            kernels.end_ends(&self.way, bounds)?;
            kernels.clip(target, &self.way, bounds)?;
        }
        kernels.stream().synchronize()
    }

    /// Where the channel is after a step.
    fn after<'a>(&'a self, step: usize, target: View<'a, f32>) -> Result<View<'a, f32>> {
        match step + 1 == self.steps.len() {
            true => Ok(target),
            false => self.kept[step % 2].part(0..self.steps[step].0.after.iter().product()),
        }
    }
}
