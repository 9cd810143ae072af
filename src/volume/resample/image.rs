//! A channel onto the model's grid: plane by plane along the two inner axes, then columns of planes along axis 0.

use super::{Kernel, Way};
use crate::error::Result;
use crate::volume::intensity::{Planes, clipped};
use crate::volume::work::{Pieces, Work, allocate};

/// Columns that are taken together along axis 0: in 300 planes they fit into a processor's cache.
const COLUMNS: usize = 1024;

/// Least and most of some values.
type Ends = (f32, f32);

const NOTHING: Ends = (f32::INFINITY, f32::NEG_INFINITY);

/// The pieces that `resample` counts.
pub fn pieces(way: &Way, together: usize) -> usize {
    let columns = (way.to[1] * way.to[2]).div_ceil(COLUMNS);
    let planes = way.from[0].div_ceil(together);
    match (&way.kernels[0], way.clip) {
        (Kernel::Same, false) => planes,
        (Kernel::Same, true) => planes + way.to[0],
        (_, false) => planes + columns,
        (_, true) => planes + columns + way.to[0],
    }
}

/// Bytes that are needed beside the source and the target.
pub fn scratch_bytes(way: &Way, together: usize, threads: usize) -> u64 {
    let bytes = |counts: &[usize]| counts.iter().fold(1, |bytes: u64, n| bytes.saturating_mul(*n as u64));
    let ([nz, ny, nx], [_, my, mx]) = (way.from, way.to);
    let between = if let Kernel::Same = way.kernels[0] { 0 } else { bytes(&[4, nz, my, mx]) };
    let halfway = if is_direct(way) { 0 } else { bytes(&[4, halfway(way)]) };
    let lines = way.kernels.iter().map(Kernel::scratch_bytes).max().unwrap_or(0);
    let planes = bytes(&[4, together, ny, nx]);
    let each = planes.saturating_add(halfway).saturating_add(lines);
    each.saturating_mul(threads.max(1) as u64).saturating_add(between)
}

/// Whether planes stay as they are.
fn is_direct(way: &Way) -> bool {
    matches!((&way.kernels[1], &way.kernels[2]), (Kernel::Same, Kernel::Same))
}

/// Elements of a plane that is resampled along one axis.
fn halfway(way: &Way) -> usize {
    if way.rows_first() { way.to[1] * way.from[2] } else { way.from[1] * way.to[2] }
}

/// Reads the planes, each once, and fills `target`, which has the extents `way.to`.
pub fn resample(way: &Way, source: &Planes, target: &mut [f32], work: &Work, pieces: &Pieces) -> Result<()> {
    let mut ends: Vec<Vec<Ends>> = allocate("the ends of planes", way.from[0])?;
    if let Kernel::Same = way.kernels[0] {
        in_planes(way, source, target, &mut ends, work, pieces)?;
    } else {
        let plane = way.to[1] * way.to[2];
        let mut between: Vec<f32> = allocate("a channel that is being resampled", way.from[0] * plane)?;
        in_planes(way, source, &mut between, &mut ends, work, pieces)?;
        let planes: Vec<&[f32]> = between.chunks(plane).collect();
        let parts = columns(target, plane).into_iter().enumerate();
        work.each(
            pieces,
            parts,
            || Ok(Vec::new()),
            |scratch: &mut Vec<f64>, (part, mut target)| {
                let columns = part * COLUMNS..plane.min((part + 1) * COLUMNS);
                let source: Vec<&[f32]> = planes.iter().map(|plane| &plane[columns.clone()]).collect();
                way.kernels[0].rows(&source, &mut target, scratch)
            },
        )?;
    }
    if way.clip { clip(way, &ends, target, work, pieces) } else { Ok(()) }
}

/// The same columns of all planes, part by part.
fn columns(planes: &mut [f32], plane: usize) -> Vec<Vec<&mut [f32]>> {
    let mut parts: Vec<Vec<&mut [f32]>> = (0..plane.div_ceil(COLUMNS)).map(|_| Vec::new()).collect();
    for plane in planes.chunks_mut(plane) {
        parts.iter_mut().zip(plane.chunks_mut(COLUMNS)).for_each(|(part, columns)| part.push(columns));
    }
    parts
}

/// What a thread keeps for its planes.
struct Scratch {
    planes: Vec<f32>,
    halfway: Vec<f32>,
    lines: Vec<f64>,
}

/// Resamples each plane along axes 1 and 2, and notes its ends if they are needed.
fn in_planes(
    way: &Way,
    source: &Planes,
    target: &mut [f32],
    ends: &mut [Vec<Ends>],
    work: &Work,
    pieces: &Pieces,
) -> Result<()> {
    let ([_, ny, nx], [_, my, mx], [_, rows, along]) = (way.from, way.to, &way.kernels);
    let (direct, rows_first, halfway) = (is_direct(way), way.rows_first(), halfway(way));
    let scratch = || {
        Ok(Scratch {
            planes: allocate("planes of the scan", if direct { 0 } else { source.together * ny * nx })?,
            halfway: allocate("a plane that is being resampled", if direct { 0 } else { halfway })?,
            lines: Vec::new(),
        })
    };
    let note = |ends: &mut [Vec<Ends>], planes: &[f32]| {
        if way.clip {
            let planes = planes.chunks(ny * nx);
            ends.iter_mut().zip(planes).for_each(|(ends, plane)| *ends = ends_of(plane, nx, way.separate));
        }
    };
    let slabs = target.chunks_mut(source.together * my * mx).zip(ends.chunks_mut(source.together)).enumerate();
    work.each(pieces, slabs, scratch, |Scratch { planes, halfway, lines }, (slab, (target, ends))| {
        let first = slab * source.together;
        let range = first..first + ends.len();
        if direct {
            (source.read)(range, target);
            note(ends, target);
            return Ok(());
        }
        let planes = &mut planes[..ends.len() * ny * nx];
        (source.read)(range, planes);
        note(ends, planes);
        for (plane, target) in planes.chunks(ny * nx).zip(target.chunks_mut(my * mx)) {
            if rows_first {
                let source: Vec<&[f32]> = plane.chunks(nx).collect();
                rows.rows(&source, &mut halfway.chunks_mut(nx).collect::<Vec<_>>(), lines)?;
                along.along(halfway, nx, target, mx, lines)?;
            } else {
                along.along(plane, nx, halfway, mx, lines)?;
                let source: Vec<&[f32]> = halfway.chunks(mx).collect();
                rows.rows(&source, &mut target.chunks_mut(mx).collect::<Vec<_>>(), lines)?;
            }
        }
        Ok(())
    })
}

/// Of a plane's rows or columns where axis 1 or 2 is separate, else of the plane.
fn ends_of(plane: &[f32], row: usize, separate: Option<usize>) -> Vec<Ends> {
    let with = |ends: Ends, value: &f32| (ends.0.min(*value), ends.1.max(*value));
    match separate {
        Some(1) => plane.chunks(row).map(|row| row.iter().fold(NOTHING, with)).collect(),
        Some(2) => {
            let mut all = vec![NOTHING; row];
            for row in plane.chunks(row) {
                all.iter_mut().zip(row).for_each(|(ends, value)| *ends = with(*ends, value));
            }
            all
        }
        _ => vec![plane.iter().fold(NOTHING, with)],
    }
}

/// Keeps values within what the channel had, or the slice that they come from.
fn clip(way: &Way, ends: &[Vec<Ends>], target: &mut [f32], work: &Work, pieces: &Pieces) -> Result<()> {
    let [_, my, mx] = way.to;
    // Of the whole channel; or of each slice, by the new index.
    let mut slices: Vec<Ends> = match way.separate {
        Some(0) => ends.iter().flatten().copied().collect(),
        _ => ends.iter().fold(Vec::new(), |mut all, plane| {
            all.resize(plane.len(), NOTHING);
            all.iter_mut().zip(plane).for_each(|(all, ends)| *all = (all.0.min(ends.0), all.1.max(ends.1)));
            all
        }),
    };
    if let Some(Kernel::Nearest(samples)) = way.separate.map(|axis| &way.kernels[axis]) {
        slices = samples.iter().map(|sample| slices[*sample]).collect();
    }
    let planes = target.chunks_mut(my * mx).enumerate();
    work.each(
        pieces,
        planes,
        || Ok(()),
        |(), (z, plane)| {
            for (y, row) in plane.chunks_mut(mx).enumerate() {
                let (low, high) = match way.separate {
                    Some(2) => {
                        row.iter_mut().zip(&slices).for_each(|(value, ends)| *value = clipped(*value, ends.0, ends.1));
                        continue;
                    }
                    Some(1) => slices[y],
                    Some(_) => slices[z],
                    None => slices[0],
                };
                row.iter_mut().for_each(|value| *value = clipped(*value, low, high));
            }
            Ok(())
        },
    )
}
