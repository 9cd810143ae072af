//! A channel onto the model's grid, on the device: the twin of `resample::resample`, one axis after the other.

use super::buffer::{Buffer, View};
use super::kernels::{Axis, Kernels, Lines, spline_elements};
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
            way: way.clone(),
        })
    }

    /// Fills `target` by `source`; both are dense. Returns when it is done.
    pub fn bring(&self, kernels: &Kernels, source: View<'_, f32>, target: View<'_, f32>, work: &Work) -> Result<()> {
        let Self { way, steps, kept, begins } = self;
        let ends = if way.clip { Some(kernels.ends(source, way)?) } else { None };
        if steps.is_empty() {
            kernels.copy(source, target)?;
        }
        let size = |extents: &[usize; 3]| extents.iter().product::<usize>();
        let mut from = source;
        for (i, (step, axis)) in steps.iter().enumerate() {
            work.check()?;
            let to = match i + 1 == steps.len() {
                true => target,
                false => kept[i % 2].part(0..size(&step.after))?,
            };
            kernels.resample_axis(axis, &step.lines(), from, to, begins.view())?;
            from = to;
        }
        if let Some(ends) = &ends {
            kernels.clip(target, way, ends)?;
        }
        // The ends are in use until then.
        kernels.stream().synchronize()
    }
}
