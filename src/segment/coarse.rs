//! The box that is worth a large model: around what a small one has found.

use super::labels::LabelMap;
use crate::error::Result;
use crate::volume::grid::{Box3, Grid};
use crate::volume::work::allocate;

/// The box of all voxels that have a label, and so many millimetres around it, as far as there is a scan; none where no voxel has one.
pub fn found(labels: &mut LabelMap, grid: &Grid, margin_mm: f64) -> Result<Option<Box3>> {
    let [depth, height, width] = grid.extents;
    let (mut least, mut most) = ([usize::MAX; 3], [0; 3]);
    let mut row = allocate("a row of coarse labels", width)?;
    for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
        labels.row(z, y, &mut row);
        let is_label = |label: &u16| *label != 0;
        let (Some(first), Some(last)) = (row.iter().position(is_label), row.iter().rposition(is_label)) else {
            continue;
        };
        for (axis, (low, high)) in [(z, z), (y, y), (first, last)].into_iter().enumerate() {
            least[axis] = least[axis].min(low);
            most[axis] = most[axis].max(high);
        }
    }
    if least[0] == usize::MAX {
        return Ok(None);
    }
    let mut part = Box3 { start: [0; 3], extents: [0; 3] };
    for axis in 0..3 {
        let more = (margin_mm / grid.spacing_mm[axis]).ceil() as usize;
        part.start[axis] = least[axis].saturating_sub(more);
        part.extents[axis] = most[axis].saturating_add(more).min(grid.extents[axis] - 1) + 1 - part.start[axis];
    }
    Ok(Some(part))
}

#[cfg(test)]
mod tests {
    use super::super::lent::LentMut;
    use super::*;
    use crate::tensor::ElementType;
    use crate::volume::grid::Layout;

    #[test]
    fn a_box_around_all_labels() {
        let grid = Grid {
            extents: [5, 6, 7],
            spacing_mm: [2.0, 1.0, 0.5],
            origin_mm: [0.0; 3],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        let found = |voxels: &[[usize; 3]], margin_mm: f64| {
            let mut memory = vec![0; 210];
            voxels.iter().for_each(|[z, y, x]| memory[(z * 6 + y) * 7 + x] = 3);
            let map = LabelMap::new(LentMut::of(&mut memory), ElementType::Uint8, Layout::dense(grid.extents));
            super::found(&mut map.unwrap(), &grid, margin_mm).unwrap().map(|part| (part.start, part.extents))
        };
        assert_eq!(found(&[], 5.0), None);
        assert_eq!(found(&[[2, 3, 4]], 0.0), Some(([2, 3, 4], [1, 1, 1])));
        assert_eq!(found(&[[2, 3, 4], [1, 5, 4]], 0.0), Some(([1, 3, 4], [2, 3, 1])));
        // What is more than a voxel is two.
        assert_eq!(found(&[[2, 3, 3]], 1.1), Some(([1, 1, 0], [3, 5, 7])));
        assert_eq!(found(&[[0, 0, 0]], 1e9), Some(([0, 0, 0], [5, 6, 7])));
    }
}
