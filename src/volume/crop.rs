//! nnU-Net's box of what is not zero, and the mask of it with holes filled.

use super::grid::Box3;
use super::image::View;
use super::work::{Pieces, Work, allocate};
use crate::error::{Code, Error, Result};

/// The tight box of the voxels where any channel is not zero; the whole volume where none is. Filling the holes of that mask, as
/// nnU-Net does before it looks for the box, does not change the box: a hole has mask on all sides.
pub fn nonzero_box(view: &View, work: &Work) -> Result<Box3> {
    let [nz, ny, nx] = view.extents();
    let together = view.planes_together();
    // First and last y and x of each plane that has any.
    let mut found: Vec<Option<[usize; 4]>> = allocate("the planes' boxes", nz)?;
    let slabs = found.chunks_mut(together).enumerate();
    let scratch = || allocate("planes of the scan", together * ny * nx);
    work.each(&Pieces::new(nz.div_ceil(together)), slabs, scratch, |planes: &mut Vec<f32>, (slab, found)| {
        let first = slab * together;
        for channel in 0..view.channels() {
            view.read(channel, first..first + found.len(), planes);
            for (found, plane) in found.iter_mut().zip(planes.chunks(ny * nx)) {
                for (y, row) in plane.chunks(nx).enumerate() {
                    let Some(left) = row.iter().position(|value| *value != 0.0) else { continue };
                    let right = row.iter().rposition(|value| *value != 0.0).unwrap_or(left);
                    *found = Some(match *found {
                        None => [y, y, left, right],
                        Some([top, bottom, l, r]) => [top.min(y), bottom.max(y), l.min(left), r.max(right)],
                    });
                }
            }
        }
        Ok(())
    })?;
    let mut all: Option<[usize; 6]> = None;
    for (z, [top, bottom, left, right]) in found.iter().enumerate().filter_map(|(z, plane)| Some((z, (*plane)?))) {
        all = Some(match all {
            None => [z, z, top, bottom, left, right],
            Some([near, _, t, b, l, r]) => [near, z, t.min(top), b.max(bottom), l.min(left), r.max(right)],
        });
    }
    let [near, far, top, bottom, left, right] = all.unwrap_or([0, nz - 1, 0, ny - 1, 0, nx - 1]);
    Ok(Box3 { start: [near, top, left], extents: [far - near + 1, bottom - top + 1, right - left + 1] })
}

const EMPTY: u8 = 0;
const NONZERO: u8 = 1;
const OUTSIDE: u8 = 2;

/// Whether each voxel is in the mask of what is not zero in any channel, its holes (what cannot be reached from the volume's faces
/// over common faces of voxels) filled.
pub fn filled_mask(view: &View, work: &Work) -> Result<Vec<bool>> {
    let [nz, ny, nx] = view.extents();
    let together = view.planes_together();
    let mut mask: Vec<u8> = allocate("the mask of what is not zero", nz * ny * nx)?;
    let slabs = mask.chunks_mut(together * ny * nx).enumerate();
    let scratch = || allocate("planes of the scan", together * ny * nx);
    work.each(&Pieces::new(nz.div_ceil(together)), slabs, scratch, |planes: &mut Vec<f32>, (slab, mask)| {
        let first = slab * together;
        for channel in 0..view.channels() {
            view.read(channel, first..first + mask.len() / (ny * nx), planes);
            mask.iter_mut().zip(planes.iter()).for_each(|(mask, value)| *mask |= u8::from(*value != 0.0));
        }
        Ok(())
    })?;
    flood(&mut mask, [nz, ny, nx], work)?;
    Ok(mask.into_iter().map(|voxel| voxel != OUTSIDE).collect())
}

/// Marks what is empty and reached from the faces, run by run along x.
fn flood(mask: &mut [u8], [nz, ny, nx]: [usize; 3], work: &Work) -> Result<()> {
    let mut waiting: Vec<usize> = Vec::new();
    let push = |waiting: &mut Vec<usize>, voxel| match waiting.try_reserve(1) {
        Ok(()) => {
            waiting.push(voxel);
            Ok(())
        }
        Err(_) => Err(Error::new(Code::OutOfMemory, "no memory to fill the holes of the mask")),
    };
    for row in 0..nz * ny {
        if row % ny == 0 {
            work.check()?;
        }
        let (z, y) = (row / ny, row % ny);
        let face = z == 0 || y == 0 || z == nz - 1 || y == ny - 1;
        // Rows that are inside touch a face at their ends only.
        let step = if face { 1 } else { (nx - 1).max(1) };
        for start in (row * nx..(row + 1) * nx).step_by(step) {
            if mask[start] == EMPTY {
                push(&mut waiting, start)?;
            }
            while let Some(seed) = waiting.pop() {
                if mask[seed] != EMPTY {
                    continue;
                }
                let row = seed / nx;
                let (begin, end) = (row * nx, (row + 1) * nx);
                let left = mask[begin..seed].iter().rposition(|voxel| *voxel != EMPTY).map_or(begin, |i| begin + i + 1);
                let right = mask[seed..end].iter().position(|voxel| *voxel != EMPTY).map_or(end, |i| seed + i);
                mask[left..right].fill(OUTSIDE);
                let (z, y) = (row / ny, row % ny);
                let beside = [
                    (y > 0).then(|| row - 1),
                    (y + 1 < ny).then(|| row + 1),
                    (z > 0).then(|| row - ny),
                    (z + 1 < nz).then(|| row + ny),
                ];
                for other in beside.into_iter().flatten() {
                    let (left, right) = (left - begin + other * nx, right - begin + other * nx);
                    // The first voxel of each run there.
                    let mut before = NONZERO;
                    for (i, voxel) in mask[left..right].iter().enumerate() {
                        if *voxel == EMPTY && before != EMPTY {
                            push(&mut waiting, left + i)?;
                        }
                        before = *voxel;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ElementType;
    use crate::volume::image::Description;
    use crate::volume::work::tests::PLAIN;

    fn view<'a>(memory: &'a [u8], extents: [usize; 3], channels: usize) -> View<'a> {
        View::new(memory, &Description::dense(ElementType::Uint8, channels, extents).unwrap()).unwrap()
    }

    #[test]
    fn the_box_of_any_channel() {
        let mut memory = vec![0u8; 2 * 5 * 6 * 7];
        let whole = Box3 { start: [0; 3], extents: [5, 6, 7] };
        assert_eq!(nonzero_box(&view(&memory, [5, 6, 7], 2), &PLAIN).unwrap(), whole);
        memory[(2 * 6 + 3) * 7 + 4] = 1;
        let one = nonzero_box(&view(&memory, [5, 6, 7], 2), &PLAIN).unwrap();
        assert_eq!(one, Box3 { start: [2, 3, 4], extents: [1, 1, 1] });
        // In the other channel.
        memory[5 * 6 * 7 + (4 * 6 + 1) * 7 + 6] = 9;
        let two = nonzero_box(&view(&memory, [5, 6, 7], 2), &PLAIN).unwrap();
        assert_eq!(two, Box3 { start: [2, 1, 4], extents: [3, 3, 3] });
    }

    /// By asking each voxel's neighbours until nothing changes.
    fn slowly(memory: &[u8], extents: [usize; 3]) -> Vec<bool> {
        let [nz, ny, nx] = extents.map(|extent| extent as isize);
        let mut outside = vec![false; memory.len()];
        let index = |z: isize, y: isize, x: isize| ((z * ny + y) * nx + x) as usize;
        loop {
            let mut changed = false;
            for z in 0..nz {
                for y in 0..ny {
                    for x in 0..nx {
                        let beside = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)];
                        let reached = beside.iter().any(|(dz, dy, dx)| {
                            let (z, y, x) = (z + dz, y + dy, x + dx);
                            let inside = (0..nz).contains(&z) && (0..ny).contains(&y) && (0..nx).contains(&x);
                            !inside || outside[index(z, y, x)]
                        });
                        let here = index(z, y, x);
                        if reached && memory[here] == 0 && !outside[here] {
                            outside[here] = true;
                            changed = true;
                        }
                    }
                }
            }
            if !changed {
                return outside.into_iter().map(|outside| !outside).collect();
            }
        }
    }

    #[test]
    fn holes_are_filled() {
        let mut state = 1u32;
        let mut filled = 0;
        for extents in
            [[5, 6, 7], [1, 4, 9], [9, 1, 4], [4, 9, 1], [12, 11, 13], [3, 3, 3], [1, 1, 1], [2, 2, 2], [6, 6, 2]]
        {
            for percent in [30, 60, 75, 90] {
                let count = extents.iter().product();
                let mut random = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    u8::from((state >> 16) % 100 < percent)
                };
                let memory: Vec<u8> = (0..count).map(|_| random()).collect();
                let mask = filled_mask(&view(&memory, extents, 1), &PLAIN).unwrap();
                assert_eq!(mask, slowly(&memory, extents), "{extents:?} {percent}");
                filled += mask.iter().zip(&memory).filter(|(mask, value)| **mask && **value == 0).count();
            }
        }
        assert!(filled > 50, "{filled}");
    }
}
