//! A channel onto the model's grid, on the device: the twin of `resample::resample`, one axis after the other.

use super::buffer::{Buffer, View};
use super::kernels::{Kernels, Lines, PADDING};
use crate::error::Result;
use crate::volume::resample::{Kernel, Way};
use crate::volume::work::Work;

/// Lines of a spline that are worked on together.
const SPLINES: usize = 1 << 14;

/// Whether a way's values can be kept within what there was there: of all of a channel, or plane by plane.
pub fn can(way: &Way) -> bool {
    !way.clip || matches!(way.separate, None | Some(0))
}

/// Bytes of device memory that it takes beside the source and the target, in three pieces at most.
pub fn bytes(way: &Way) -> [u64; 3] {
    let product = |factors: &[usize]| factors.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64));
    let mut steps: Vec<u64> = steps(way).map(|(_, extents)| product(&extents).saturating_mul(4)).collect();
    // The last one makes the target.
    steps.pop();
    let largest = steps.iter().copied().max().unwrap_or(0);
    let kept = |number: usize| if steps.len() >= number { largest } else { 0 };
    let spline = way.kernels.iter().enumerate().filter_map(|(axis, kernel)| match kernel {
        Kernel::Cubic(_) => Some(product(&[8, SPLINES, way.from[axis] + 2 * PADDING])),
        _ => None,
    });
    [kept(1), kept(2), spline.max().unwrap_or(0)]
}

/// The axes that change, in their order, and the extents after each.
fn steps(way: &Way) -> impl Iterator<Item = (usize, [usize; 3])> {
    let inner = if way.rows_first() { [1, 2] } else { [2, 1] };
    let mut extents = way.from;
    let changing = [inner[0], inner[1], 0].into_iter().filter(|axis| !matches!(way.kernels[*axis], Kernel::Same));
    changing.map(move |axis| {
        extents[axis] = way.to[axis];
        (axis, extents)
    })
}

/// Fills `target` by `source`; both are dense.
pub fn resample(kernels: &Kernels, way: &Way, source: View<'_, f32>, target: View<'_, f32>, work: &Work) -> Result<()> {
    let ends = if way.clip { Some(kernels.ends(source, way)?) } else { None };
    let steps: Vec<_> = steps(way).collect();
    let mut kept: [Option<Buffer<f32>>; 2] = [None, None];
    let mut extents = way.from;
    if steps.is_empty() {
        kernels.copy(source, target)?;
    }
    for (i, (axis, after)) in steps.iter().enumerate() {
        work.check()?;
        let count = after.iter().product();
        let largest = steps[..steps.len() - 1].iter().map(|(_, extents)| extents.iter().product()).max().unwrap_or(0);
        let is_last = i + 1 == steps.len();
        if !is_last && kept[i % 2].is_none() {
            kept[i % 2] = Some(kernels.buffer(largest)?);
        }
        let from = match kept[(i + 1) % 2].as_ref().filter(|_| i > 0) {
            Some(before) => before.part(0..extents.iter().product())?,
            None => source,
        };
        let to = match kept[i % 2].as_ref().filter(|_| !is_last) {
            Some(buffer) => buffer.part(0..count)?,
            None => target,
        };
        let lines = Lines {
            outer: extents[..*axis].iter().product(),
            from: extents[*axis],
            to: after[*axis],
            inner: extents[axis + 1..].iter().product(),
        };
        kernels.resample_axis(&way.kernels[*axis], &lines, from, to, SPLINES)?;
        extents = *after;
    }
    if let Some(ends) = ends {
        kernels.clip(target, way, ends)?;
    }
    Ok(())
}
