//! The label map that a job writes.

use super::lent::LentMut;
use super::shared::Elements;
use crate::error::{Code, Error, Result};
use crate::tensor::ElementType;
use crate::volume::components::{self, keep_largest};
use crate::volume::grid::{Box3, Layout};
use crate::volume::work::{Pieces, Work, allocate};
use std::ops::Range;

/// Labels in a caller's memory, one for each voxel of the scan.
pub struct LabelMap {
    memory: LentMut,
    element_type: ElementType,
    /// In bytes.
    layout: Layout,
}

impl LabelMap {
    /// An error where a voxel would lie outside the memory, or two share a byte. The layout counts bytes.
    pub fn new(memory: LentMut, element_type: ElementType, layout: Layout) -> Result<Self> {
        if !matches!(element_type, ElementType::Uint8 | ElementType::Uint16) {
            let message = format!("labels of {element_type}; they are uint8 or uint16");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let Layout { extents: [z, y, x], first, strides } = layout;
        let size = memory.size();
        let fits = |(least, most): (isize, isize)| {
            least >= 0 && most.unsigned_abs().checked_add(element_type.size()).is_some_and(|end| end <= size)
        };
        if !layout.bounds().is_some_and(fits) {
            let message = format!(
                "the label map's memory has {size} bytes, and {z}x{y}x{x} labels of {element_type} with strides {strides:?} from \
                 byte {first} on do not lie within"
            );
            return Err(Error::new(Code::BufferTooSmall, message));
        }
        if !are_apart(&[(z, strides[0]), (y, strides[1]), (x, strides[2])], element_type.size()) {
            let message = format!("labels of {element_type} overlap: {z}x{y}x{x} of them with strides {strides:?}");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        Ok(Self { memory, element_type, layout })
    }

    /// Where its elements are.
    pub fn elements(&self) -> Elements {
        let Layout { extents, first, strides } = self.layout;
        let axes: Vec<_> = extents.into_iter().zip(strides).collect();
        Elements::new(self.memory.address() as i128 + first as i128, self.element_type.size(), &axes)
    }

    /// An error if a label is larger than its elements can be.
    pub fn check(&self, largest: u16) -> Result<()> {
        match self.element_type {
            ElementType::Uint8 if largest > u8::MAX.into() => Err(Error::new(
                Code::InvalidArgument,
                format!("the labels go up to {largest}, and a label map of uint8 holds 0 to 255; give one of uint16"),
            )),
            _ => Ok(()),
        }
    }

    /// From now on a part of the scan is all of it.
    pub fn cut(&mut self, part: &Box3) {
        self.layout = self.layout.part(part);
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes labels side by side along the last axis of a layout, which is a part of its own, from there on.
    pub fn set_row(&mut self, layout: &Layout, z: usize, y: usize, labels: &[u16]) {
        let (mut at, stride) = (layout.place([z, y, 0]), layout.strides[2]);
        let memory = self.memory.bytes();
        for label in labels {
            match self.element_type {
                ElementType::Uint8 => memory[at as usize] = *label as u8,
                _ => memory[at as usize..][..2].copy_from_slice(&label.to_ne_bytes()),
            }
            at += stride;
        }
    }

    /// Its memory, to be found and fetched where it is on a device.
    pub fn memory(&mut self) -> &mut LentMut {
        &mut self.memory
    }

    /// The type of its elements.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Writes planes of a layout, which is a part of its own, from plane `z` on; `labels` are of its own type, side by side.
    pub fn set_planes(&mut self, layout: &Layout, z: usize, labels: &[u8]) {
        set_planes(self.memory.bytes(), self.element_type.size(), layout, z, labels);
    }

    /// The same of several groups of planes, which threads take one after the other: what becomes a group's labels, and when.
    pub fn set_groups<T: Send>(
        &mut self,
        layout: &Layout,
        groups: Vec<(Range<usize>, T)>,
        work: &Work,
        labels: fn(&mut T) -> Result<&[u8]>,
    ) -> Result<()> {
        let size = self.element_type.size();
        let memory = self.memory.bytes();
        let reach = |planes: &Range<usize>| {
            let [_, height, width] = layout.extents;
            let part = layout.part(&Box3 { start: [planes.start, 0, 0], extents: [planes.len(), height, width] });
            let (least, most) = part.bounds()?;
            Some(usize::try_from(least).ok()?..usize::try_from(most).ok()?.checked_add(size)?)
        };
        let mut parts: Vec<_> = groups.into_iter().map(|(planes, group)| (reach(&planes), planes, group)).collect();
        parts.sort_by_key(|(reach, ..)| reach.as_ref().map(|reach| reach.start));
        let end = |reach: &Option<Range<usize>>| reach.as_ref().map_or(usize::MAX, |reach| reach.end);
        let start = |reach: &Option<Range<usize>>| reach.as_ref().map_or(0, |reach| reach.start);
        if parts.windows(2).any(|pair| end(&pair[0].0) > start(&pair[1].0)) || parts.iter().any(|part| part.0.is_none())
        {
            // Planes lie between one another.
            return parts.into_iter().try_for_each(|(_, planes, mut group)| {
                set_planes(memory, size, layout, planes.start, labels(&mut group)?);
                Ok(())
            });
        }
        // Each group's own memory.
        let (mut left, mut passed) = (memory, 0);
        let mut items = Vec::with_capacity(parts.len());
        for (reach, planes, group) in parts {
            let Some(reach) = reach else { continue };
            let (own, rest) = left.split_at_mut(reach.end - passed);
            let own = &mut own[reach.start - passed..];
            (left, passed) = (rest, reach.end);
            let there = Layout { first: layout.first - reach.start as isize, ..*layout };
            items.push((own, there, planes.start, group));
        }
        let work = Work { threads: work.threads.min(items.len()).min(WRITING), progress: &|_| (), ..*work };
        work.each(
            &Pieces::new(1),
            items.into_iter(),
            || Ok(()),
            |(), (own, there, z, mut group)| {
                set_planes(own, size, &there, z, labels(&mut group)?);
                Ok(())
            },
        )
    }

    /// Reads a row of its own.
    pub fn row(&mut self, z: usize, y: usize, labels: &mut [u16]) {
        let (mut at, stride) = (self.layout.place([z, y, 0]), self.layout.strides[2]);
        let memory = self.memory.bytes();
        for label in labels {
            let place = at as usize;
            *label = match self.element_type {
                ElementType::Uint8 => memory[place].into(),
                _ => u16::from_ne_bytes([memory[place], memory[place + 1]]),
            };
            at += stride;
        }
    }

    /// Sets to 0 what is not in the largest connected part of its label.
    pub fn keep_largest(&mut self, work: &Work) -> Result<()> {
        if self.element_type == ElementType::Uint8 {
            let layout = self.layout;
            return keep_largest(self.memory.bytes(), &layout, work);
        }
        let layout = self.layout;
        let [depth, height, width] = layout.extents;
        let mut labels = allocate("labels of 16 bits", depth * height * width)?;
        for (i, row) in labels.chunks_exact_mut(width).enumerate() {
            self.row(i / height, i % height, row);
        }
        keep_largest(&mut labels, &Layout::dense(layout.extents), work)?;
        for (i, row) in labels.chunks_exact(width).enumerate() {
            self.set_row(&layout, i / height, i % height, row);
        }
        Ok(())
    }

    /// Bytes that [`keep_largest`](Self::keep_largest) takes at most.
    pub fn keeping_bytes(extents: [usize; 3]) -> u64 {
        let copy = extents.iter().fold(2, |product: u64, extent| product.saturating_mul(*extent as u64));
        copy.saturating_add(components::bytes(extents))
    }

    /// How many voxels each label has, up to that one.
    pub fn count(&mut self, largest: u16) -> Result<Vec<u64>> {
        let mut counts = vec![0; usize::from(largest) + 1];
        let [depth, height, width] = self.layout.extents;
        let mut labels = allocate("a row of labels", width)?;
        for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
            self.row(z, y, &mut labels);
            // Neighbours are mostly the same.
            for run in labels.chunk_by(|a, b| a == b) {
                if let Some(count) = counts.get_mut(usize::from(run[0])) {
                    *count += run.len() as u64;
                }
            }
        }
        Ok(counts)
    }

    /// Makes all labels 0.
    pub fn clear(&mut self) {
        const ZEROS: [u16; 256] = [0; 256];
        let layout = self.layout;
        let [depth, height, width] = layout.extents;
        for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
            for x in (0..width).step_by(ZEROS.len()) {
                let count = ZEROS.len().min(width - x);
                let part = layout.part(&Box3 { start: [z, y, x], extents: [1, 1, count] });
                self.set_row(&part, 0, 0, &ZEROS[..count]);
            }
        }
    }
}

/// Threads that keep a machine's memory busy.
const WRITING: usize = 8;

/// Writes planes of a layout of elements of so many bytes, from plane `z` on; `labels` are side by side.
fn set_planes(memory: &mut [u8], size: usize, layout: &Layout, z: usize, labels: &[u8]) {
    let [_, height, width] = layout.extents;
    let is_dense = layout.strides[2].unsigned_abs() == size && layout.strides[2] > 0;
    for (i, row) in labels.chunks_exact(width * size).enumerate() {
        let mut at = layout.place([z + i / height, i % height, 0]);
        if is_dense {
            memory[at as usize..][..row.len()].copy_from_slice(row);
            continue;
        }
        for label in row.chunks_exact(size) {
            memory[at as usize..][..size].copy_from_slice(label);
            at += layout.strides[2];
        }
    }
}

/// Whether no two elements of so many along each axis, so many bytes apart, share a byte: each axis steps over all that the smaller
/// steps reach.
pub fn are_apart(axes: &[(usize, isize)], size: usize) -> bool {
    let mut axes: Vec<_> = axes
        .iter()
        .filter(|(extent, _)| *extent > 1)
        .map(|(extent, stride)| (*extent, stride.unsigned_abs()))
        .collect();
    axes.sort_by_key(|(_, stride)| *stride);
    let mut reached = size;
    axes.into_iter().all(|(extent, stride)| {
        let apart = stride >= reached;
        reached = reached.saturating_add(stride.saturating_mul(extent - 1));
        apart
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(memory: &mut [u8], element_type: ElementType, first: isize, strides: [isize; 3]) -> Result<LabelMap> {
        LabelMap::new(LentMut::of(memory), element_type, Layout { extents: [2, 2, 3], first, strides })
    }

    fn set_plane(map: &mut LabelMap, z: usize, labels: &[u16]) {
        let layout = *map.layout();
        labels.chunks(3).enumerate().for_each(|(y, row)| map.set_row(&layout, z, y, row));
    }

    #[test]
    fn written_where_the_strides_say() {
        let mut memory = [9; 24];
        let mut labels = map(&mut memory, ElementType::Uint16, 22, [-12, -6, -2]).unwrap();
        set_plane(&mut labels, 1, &[1, 2, 3, 4, 5, 6]);
        set_plane(&mut labels, 0, &[300, 0, 0, 0, 0, 0]);
        let at = |i: usize| u16::from_ne_bytes([memory[2 * i], memory[2 * i + 1]]);
        assert_eq!((0..12).map(at).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 300]);
        let mut memory = [9; 16];
        let mut labels = map(&mut memory, ElementType::Uint8, 0, [8, 4, 1]).unwrap();
        set_plane(&mut labels, 1, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(memory, [9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 9, 4, 5, 6, 9]);
        map(&mut memory, ElementType::Uint8, 0, [8, 4, 1]).unwrap().clear();
        assert_eq!(memory, [0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 9]);
    }

    #[test]
    fn groups_of_planes_are_written_at_once() {
        let work = Work { threads: 3, cancelled: &|| false, progress: &|_| () };
        // Planes one after the other, backwards, and between one another.
        for (first, strides) in [(0, [6, 3, 1]), (29, [-6, -3, -1]), (24, [-6, 3, 1]), (0, [1, 15, 5])] {
            let (mut together, mut apart) = ([9; 31], [9; 31]);
            let layout = Layout { extents: [5, 2, 3], first, strides };
            let map = |memory: &mut [u8]| LabelMap::new(LentMut::of(memory), ElementType::Uint8, layout).unwrap();
            let groups: Vec<(Range<usize>, Vec<u8>)> = [0..2, 2..3, 3..5]
                .map(|planes: Range<usize>| {
                    (planes.clone(), (0..6 * planes.len()).map(|i| (10 * planes.start + i) as u8).collect())
                })
                .into();
            for (planes, labels) in &groups {
                map(&mut apart).set_planes(&layout, planes.start, labels);
            }
            map(&mut together).set_groups(&layout, groups, &work, |labels| Ok(labels)).unwrap();
            assert_eq!(together, apart);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let code = |bytes: usize, element_type, first, strides| {
            let mut memory = vec![0; bytes];
            map(&mut memory, element_type, first, strides).err().map(|error| error.code())
        };
        assert_eq!(code(12, ElementType::Uint8, 0, [6, 3, 1]), None);
        assert_eq!(code(11, ElementType::Uint8, 0, [6, 3, 1]), Some(Code::BufferTooSmall));
        assert_eq!(code(12, ElementType::Uint8, 1, [6, 3, 1]), Some(Code::BufferTooSmall));
        assert_eq!(code(12, ElementType::Uint8, 0, [6, 3, -1]), Some(Code::BufferTooSmall));
        assert_eq!(code(12, ElementType::Uint8, 0, [isize::MAX, isize::MAX, 1]), Some(Code::BufferTooSmall));
        assert_eq!(code(24, ElementType::Uint16, isize::MAX, [12, 6, 2]), Some(Code::BufferTooSmall));
        assert_eq!(code(99, ElementType::Float32, 0, [24, 12, 4]), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint8, 0, [6, 2, 1]), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint16, 0, [6, 3, 1]), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint8, 0, [0, 0, 0]), Some(Code::InvalidArgument));
    }

    #[test]
    fn the_largest_part_is_kept_and_counted() {
        let work = Work { threads: 1, cancelled: &|| false, progress: &|_| () };
        for (element_type, strides) in [(ElementType::Uint8, [-1, 2, 4]), (ElementType::Uint16, [12, 6, 2])] {
            let mut memory = [0; 24];
            let first = if strides[0] < 0 { 1 } else { 0 };
            let mut labels = map(&mut memory, element_type, first, strides).unwrap();
            set_plane(&mut labels, 0, &[1, 0, 2, 1, 0, 0]);
            set_plane(&mut labels, 1, &[0, 0, 1, 0, 0, 2]);
            assert_eq!(labels.count(3).unwrap(), [7, 3, 2, 0]);
            labels.keep_largest(&work).unwrap();
            assert_eq!(labels.count(3).unwrap(), [8, 2, 2, 0]);
            let mut row = [9; 3];
            labels.row(1, 0, &mut row);
            assert_eq!(row, [0; 3]);
        }
    }

    #[test]
    fn labels_have_to_fit_their_type() {
        let mut memory = [0; 24];
        assert!(map(&mut memory, ElementType::Uint8, 0, [6, 3, 1]).unwrap().check(255).is_ok());
        assert!(map(&mut memory, ElementType::Uint16, 0, [12, 6, 2]).unwrap().check(300).is_ok());
        let error = map(&mut memory, ElementType::Uint8, 0, [6, 3, 1]).unwrap().check(300).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
}
