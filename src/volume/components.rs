//! The largest connected part of each label, and how much of each label there is.

use super::grid::Layout;
use super::work::{Work, allocate};
use crate::error::{Code, Error, Result};

/// What label maps are made of.
pub trait Label: Copy + Eq + Default + Into<u16> {}
impl Label for u8 {}
impl Label for u16 {}

/// A piece of a row that has one label.
#[derive(Clone, Copy)]
struct Run {
    start: u32,
    /// Behind its last voxel.
    end: u32,
    label: u16,
    /// A run of the same component that came before it; itself where it is the first.
    parent: usize,
    /// Voxels of the component, at its first run.
    voxels: u64,
}

/// Voxels of a map for each run that there is room for: labels of which there are more runs are gone through voxel by voxel, with
/// as much memory.
const VOXELS_A_RUN: usize = size_of::<Run>() / size_of::<i32>();

/// The bytes that [`keep_largest`] takes at most.
pub fn bytes([nz, ny, nx]: [usize; 3]) -> u64 {
    let product = |extents: &[usize]| extents.iter().fold(1, |all: u64, extent| all.saturating_mul(*extent as u64));
    let (rows, voxels) =
        (product(&[nz, ny]).saturating_add(1), product(&[nz, ny, nx]).saturating_add(VOXELS_A_RUN as u64));
    let of_rows = rows.saturating_mul(size_of::<usize>() as u64);
    let of_labels = (usize::from(u16::MAX) + 1) * size_of::<Option<usize>>();
    of_rows.saturating_add(voxels.saturating_mul(size_of::<i32>() as u64)).saturating_add(of_labels as u64)
}

/// Sets to 0 what is not in the largest component of its label: voxels belong together where they touch by a face, an edge or a
/// corner (26 neighbours). Of components of one size the first one stays. `map` says where the voxels of `labels` are, in elements.
pub fn keep_largest<L: Label>(labels: &mut [L], map: &Layout, work: &Work) -> Result<()> {
    let [nz, ny, nx] = map.extents;
    check(labels.len(), map)?;
    if nx > u32::MAX as usize {
        return Err(Error::new(Code::Unsupported, format!("components of a map with {nx} voxels along an axis")));
    }
    let memory = |_| Error::new(Code::OutOfMemory, "no memory to find the components of the label map");
    let voxels = nz * ny * nx;
    let most = voxels.div_ceil(VOXELS_A_RUN);
    let mut runs: Vec<Run> = Vec::new();
    runs.try_reserve_exact(most).map_err(memory)?;
    // Where each row's runs begin.
    let mut rows: Vec<usize> = Vec::new();
    rows.try_reserve_exact(nz * ny + 1).map_err(memory)?;
    rows.push(0);
    for z in 0..nz {
        work.check()?;
        for y in 0..ny {
            let begin = runs.len();
            let place = map.place([z, y, 0]);
            let mut x = 0;
            while x < nx {
                let label = labels[at(place, map, x)];
                let start = x;
                x += 1;
                while x < nx && labels[at(place, map, x)] == label {
                    x += 1;
                }
                if label == L::default() {
                    continue;
                }
                if runs.len() == most {
                    drop((runs, rows));
                    return keep_largest_by_voxels(labels, map, work);
                }
                let parent = runs.len();
                let (start, end, voxels) = (start as u32, x as u32, (x - start) as u64);
                runs.push(Run { start, end, label: label.into(), parent, voxels });
            }
            // The neighbours that came before.
            let row = z * ny + y;
            let beside = [
                (y > 0).then(|| row - 1),
                (z > 0 && y > 0).then(|| row - ny - 1),
                (z > 0).then(|| row - ny),
                (z > 0 && y + 1 < ny).then(|| row - ny + 1),
            ];
            for other in beside.into_iter().flatten() {
                join_rows(&mut runs, (begin, rows[other], rows[other + 1]));
            }
            rows.push(runs.len());
        }
    }
    let largest = largest(&runs)?;
    for row in 0..nz * ny {
        let place = map.place([row / ny, row % ny, 0]);
        for index in rows[row]..rows[row + 1] {
            let run = runs[index];
            if largest[usize::from(run.label)] != Some(first(&mut runs, index)) {
                (run.start..run.end).for_each(|x| labels[at(place, map, x as usize)] = L::default());
            }
        }
    }
    Ok(())
}

/// The same where a voxel mostly has another label than the one beside it, as labels of noise are.
fn keep_largest_by_voxels<L: Label>(labels: &mut [L], map: &Layout, work: &Work) -> Result<()> {
    let [nz, ny, nx] = map.extents;
    let voxels = nz * ny * nx;
    if i32::try_from(voxels).is_err() {
        return Err(Error::new(
            Code::OutOfMemory,
            "the label map falls into too many pieces to find the largest of each label",
        ));
    }
    // For each voxel another one of its component; for the first one of all the number of them, below 0.
    let mut parents: Vec<i32> = allocate("the components of labels", voxels)?;
    let all = |z: usize| (0..ny).flat_map(move |y| (0..nx).map(move |x| (y, x, (z * ny + y) * nx + x)));
    let place = |z: usize, y: usize, x: usize| at(map.place([z, y, 0]), map, x);
    for z in 0..nz {
        work.check()?;
        for (y, x, voxel) in all(z) {
            parents[voxel] = -1;
            let label = labels[place(z, y, x)];
            if label == L::default() {
                continue;
            }
            // The neighbours that came before.
            for other_z in z.saturating_sub(1)..=z {
                for other_y in y.saturating_sub(1)..ny.min(if other_z < z { y + 2 } else { y + 1 }) {
                    let end = if (other_z, other_y) == (z, y) { x } else { nx.min(x + 2) };
                    for other_x in x.saturating_sub(1)..end {
                        if labels[place(other_z, other_y, other_x)] == label {
                            join_voxels(&mut parents, voxel, (other_z * ny + other_y) * nx + other_x);
                        }
                    }
                }
            }
        }
    }
    let mut largest: Vec<Option<usize>> = allocate("the components of labels", usize::from(u16::MAX) + 1)?;
    for z in 0..nz {
        for (y, x, voxel) in all(z) {
            let most = &mut largest[usize::from(labels[place(z, y, x)].into())];
            if parents[voxel] < 0 && most.is_none_or(|most| parents[voxel] < parents[most]) {
                *most = Some(voxel);
            }
        }
    }
    for z in 0..nz {
        work.check()?;
        for (y, x, voxel) in all(z) {
            let label = &mut labels[place(z, y, x)];
            if largest[usize::from((*label).into())] != Some(first_voxel(&mut parents, voxel)) {
                *label = L::default();
            }
        }
    }
    Ok(())
}

fn first_voxel(parents: &mut [i32], mut voxel: usize) -> usize {
    while parents[voxel] >= 0 {
        let parent = parents[voxel] as usize;
        // The way there is made shorter.
        if parents[parent] >= 0 {
            parents[voxel] = parents[parent];
        }
        voxel = parent;
    }
    voxel
}

fn join_voxels(parents: &mut [i32], a: usize, b: usize) {
    let (a, b) = (first_voxel(parents, a), first_voxel(parents, b));
    if a != b {
        // As for runs.
        let (before, after) = (a.min(b), a.max(b));
        parents[before] += parents[after];
        parents[after] = before as i32;
    }
}

/// Joins the runs from `begin` on with those of another row that they touch.
fn join_rows(runs: &mut [Run], (begin, mut other, end): (usize, usize, usize)) {
    let mut here = begin;
    while here < runs.len() && other < end {
        let (a, b) = (runs[here], runs[other]);
        touch(runs, here, other);
        // Where both end alike, the next one here may touch the corner of the one there, and the other way round.
        if a.end == b.end && here + 1 < runs.len() {
            touch(runs, here + 1, other);
        }
        if a.end < b.end { here += 1 } else { other += 1 }
    }
}

/// Joins two runs of rows that are neighbours if they belong together.
fn touch(runs: &mut [Run], a: usize, b: usize) {
    let (here, other) = (runs[a], runs[b]);
    if here.label == other.label && here.start <= other.end && other.start <= here.end {
        join(runs, a, b);
    }
}

/// The first run of a component; the way there is made shorter.
fn first(runs: &mut [Run], mut run: usize) -> usize {
    while runs[run].parent != run {
        runs[run].parent = runs[runs[run].parent].parent;
        run = runs[run].parent;
    }
    run
}

fn join(runs: &mut [Run], a: usize, b: usize) {
    let (a, b) = (first(runs, a), first(runs, b));
    if a != b {
        // The one that came first stays first: it decides between components of one size.
        let (before, after) = (a.min(b), a.max(b));
        runs[after].parent = before;
        runs[before].voxels += runs[after].voxels;
    }
}

/// The first run of the largest component of each label.
fn largest(runs: &[Run]) -> Result<Vec<Option<usize>>> {
    let mut largest: Vec<Option<usize>> = allocate("the components of labels", usize::from(u16::MAX) + 1)?;
    for (index, run) in runs.iter().enumerate() {
        if run.parent != index {
            continue;
        }
        let most = &mut largest[usize::from(run.label)];
        if most.is_none_or(|most| runs[most].voxels < run.voxels) {
            *most = Some(index);
        }
    }
    Ok(largest)
}

/// How many voxels each label has, up to the largest label that there is.
pub fn count<L: Label>(labels: &[L], map: &Layout, work: &Work) -> Result<Vec<u64>> {
    let [nz, ny, nx] = map.extents;
    check(labels.len(), map)?;
    let mut counts: Vec<u64> = allocate("the number of voxels of labels", usize::from(u16::MAX) + 1)?;
    for z in 0..nz {
        work.check()?;
        for y in 0..ny {
            let place = map.place([z, y, 0]);
            (0..nx).for_each(|x| counts[usize::from(labels[at(place, map, x)].into())] += 1);
        }
    }
    let last = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    counts.truncate(last);
    Ok(counts)
}

fn at(place: isize, map: &Layout, x: usize) -> usize {
    (place + x as isize * map.strides[2]) as usize
}

fn check(elements: usize, map: &Layout) -> Result<()> {
    match map.bounds() {
        Some((least, most)) if least >= 0 && (most as usize) < elements => Ok(()),
        _ => Err(Error::new(Code::BufferTooSmall, format!("the label map of {elements} voxels does not hold {map:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::grid::Axes;
    use crate::volume::work::tests::PLAIN;

    /// By painting from each voxel on.
    fn slowly(labels: &[u16], [nz, ny, nx]: [usize; 3]) -> Vec<u16> {
        let mut component = vec![0; labels.len()];
        let mut sizes = vec![0];
        for seed in 0..labels.len() {
            if labels[seed] == 0 || component[seed] != 0 {
                continue;
            }
            let name = sizes.len();
            sizes.push(0);
            let mut waiting = vec![seed];
            component[seed] = name;
            while let Some(voxel) = waiting.pop() {
                sizes[name] += 1;
                let (z, y, x) = (voxel / (ny * nx), voxel / nx % ny, voxel % nx);
                for z in z.saturating_sub(1)..nz.min(z + 2) {
                    for y in y.saturating_sub(1)..ny.min(y + 2) {
                        for x in x.saturating_sub(1)..nx.min(x + 2) {
                            let other = (z * ny + y) * nx + x;
                            if labels[other] == labels[seed] && component[other] == 0 {
                                component[other] = name;
                                waiting.push(other);
                            }
                        }
                    }
                }
            }
        }
        let best = |label: u16| {
            let mut best = 0;
            for (voxel, name) in component.iter().enumerate() {
                if labels[voxel] == label && sizes[*name] > sizes[best] {
                    best = *name;
                }
            }
            best
        };
        let of: Vec<usize> = (0..8).map(best).collect();
        (0..labels.len())
            .map(|i| if labels[i] != 0 && of[usize::from(labels[i])] == component[i] { labels[i] } else { 0 })
            .collect()
    }

    #[test]
    fn as_painting_finds_them() {
        let mut state = 7u32;
        let mut removed = 0;
        for extents in [[5, 6, 7], [1, 1, 30], [1, 12, 13], [9, 1, 8], [9, 8, 1], [12, 13, 14], [1, 1, 1]] {
            for (percent, kinds) in [(12, 1), (12, 3), (30, 3), (60, 7), (95, 2)] {
                let mut random = |most: u32| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16) % most
                };
                let voxels = extents.iter().product();
                let mut labels: Vec<u16> =
                    (0..voxels).map(|_| if random(100) < percent { 1 + random(kinds) as u16 } else { 0 }).collect();
                let wanted = slowly(&labels, extents);
                let mut bytes: Vec<u8> = labels.iter().map(|label| *label as u8).collect();
                let before = labels.iter().filter(|label| **label > 0).count();
                let mut by_voxels = labels.clone();
                keep_largest_by_voxels(&mut by_voxels, &Layout::dense(extents), &PLAIN).unwrap();
                assert_eq!(by_voxels, wanted, "{extents:?} {percent} {kinds}");
                keep_largest(&mut labels, &Layout::dense(extents), &PLAIN).unwrap();
                assert_eq!(labels, wanted, "{extents:?} {percent} {kinds}");
                removed += before - labels.iter().filter(|label| **label > 0).count();
                // In another order of axes the same, but which one it is of those of one size.
                let dense = Layout::dense(extents);
                let turned = dense.turned(&Axes { source: [2, 0, 1], flipped: [true, false, true] });
                keep_largest(&mut bytes, &turned, &PLAIN).unwrap();
                assert_eq!(count(&bytes, &dense, &PLAIN).unwrap(), count(&labels, &turned, &PLAIN).unwrap());
            }
        }
        assert!(removed > 500, "{removed}");
    }

    #[test]
    fn corners_touch_and_other_labels_part() {
        // Two voxels that touch by a corner; one of the other label between two that do not touch.
        let map = Layout::dense([2, 2, 5]);
        #[rustfmt::skip]
        let mut labels: Vec<u8> = vec![
            1, 0, 2, 9, 2,
            0, 0, 0, 0, 2,
            0, 0, 0, 0, 0,
            0, 1, 0, 0, 0,
        ];
        keep_largest(&mut labels, &map, &PLAIN).unwrap();
        #[rustfmt::skip]
        assert_eq!(labels, [
            1, 0, 0, 9, 2,
            0, 0, 0, 0, 2,
            0, 0, 0, 0, 0,
            0, 1, 0, 0, 0,
        ]);
        assert_eq!(count(&labels, &map, &PLAIN).unwrap(), [15, 2, 2, 0, 0, 0, 0, 0, 0, 1]);
        let flipped = map.turned(&Axes { source: [2, 0, 1], flipped: [true, false, true] });
        assert_eq!(count(&labels, &flipped, &PLAIN).unwrap()[2], 2);
        // Of two alike the first one stays.
        let mut two = [7u16, 0, 7];
        keep_largest(&mut two, &Layout::dense([1, 1, 3]), &PLAIN).unwrap();
        assert_eq!(two, [7, 0, 0]);
        assert_eq!(count(&[65535u16], &Layout::dense([1, 1, 1]), &PLAIN).unwrap().len(), 65536);
        assert!(count(&[0u8; 3], &Layout::dense([1, 1, 4]), &PLAIN).is_err());
        assert!(keep_largest(&mut [0u8; 3], &Layout { first: -1, ..Layout::dense([1, 1, 3]) }, &PLAIN).is_err());
    }
}
