//! The label map that a job writes.

use super::lent::LentMut;
use crate::error::{Code, Error, Result};
use crate::tensor::ElementType;

/// Labels in a caller's memory, one for each voxel of the scan.
pub struct LabelMap {
    memory: LentMut,
    element_type: ElementType,
    extents: [usize; 3],
    /// The byte at which voxel (0, 0, 0) begins.
    first: usize,
    /// Bytes from one z, y and x to the next.
    strides: [isize; 3],
}

impl LabelMap {
    /// An error where a voxel would lie outside the memory, or two share a byte.
    pub fn new(
        mut memory: LentMut,
        element_type: ElementType,
        extents: [usize; 3],
        first: usize,
        strides: [isize; 3],
    ) -> Result<Self> {
        if !matches!(element_type, ElementType::Uint8 | ElementType::Uint16) {
            let message = format!("labels of {element_type}; they are uint8 or uint16");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let size = memory.bytes().len();
        let reach = || {
            let mut range =
                (isize::try_from(first).ok()?, isize::try_from(first.checked_add(element_type.size())?).ok()?);
            for (extent, stride) in extents.into_iter().zip(strides) {
                let reach = stride.checked_mul(isize::try_from(extent).ok()? - 1)?;
                range = (range.0.checked_add(reach.min(0))?, range.1.checked_add(reach.max(0))?);
            }
            Some(range)
        };
        if reach().is_none_or(|(least, end)| least < 0 || end.unsigned_abs() > size) {
            let message = format!(
                "the label map's memory has {size} bytes; {extents:?} voxels of {element_type}, {strides:?} bytes apart from byte \
                 {first} on, do not fit in it"
            );
            return Err(Error::new(Code::BufferTooSmall, message));
        }
        if !are_apart(extents, strides, element_type.size()) {
            let message = format!(
                "voxels of the label map overlap: {extents:?} voxels of {element_type}, {strides:?} bytes apart"
            );
            return Err(Error::new(Code::InvalidArgument, message));
        }
        Ok(Self { memory, element_type, extents, first, strides })
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

    pub fn extents(&self) -> [usize; 3] {
        self.extents
    }

    /// Writes the labels of plane `z`.
    pub fn set_plane(&mut self, z: usize, labels: &[u16]) {
        let (first, strides, width) = (self.first as isize, self.strides, self.extents[2]);
        let memory = self.memory.bytes();
        for (y, row) in labels.chunks_exact(width).enumerate() {
            let mut at = first + z as isize * strides[0] + y as isize * strides[1];
            for label in row {
                match self.element_type {
                    ElementType::Uint8 => memory[at as usize] = *label as u8,
                    _ => memory[at as usize..][..2].copy_from_slice(&label.to_ne_bytes()),
                }
                at += strides[2];
            }
        }
    }
}

/// Whether no two elements share a byte: each axis steps over all that the smaller steps reach.
fn are_apart(extents: [usize; 3], strides: [isize; 3], size: usize) -> bool {
    let mut axes: Vec<_> =
        extents.into_iter().zip(strides.map(isize::unsigned_abs)).filter(|(extent, _)| *extent > 1).collect();
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

    fn map(memory: &mut [u8], element_type: ElementType, first: usize, strides: [isize; 3]) -> Result<LabelMap> {
        LabelMap::new(LentMut::of(memory), element_type, [2, 2, 3], first, strides)
    }

    #[test]
    fn written_where_the_strides_say() {
        let mut memory = [9; 24];
        let mut labels = map(&mut memory, ElementType::Uint16, 22, [-12, -6, -2]).unwrap();
        labels.set_plane(1, &[1, 2, 3, 4, 5, 6]);
        labels.set_plane(0, &[300, 0, 0, 0, 0, 0]);
        let at = |i: usize| u16::from_ne_bytes([memory[2 * i], memory[2 * i + 1]]);
        assert_eq!((0..12).map(at).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 300]);
        let mut memory = [9; 16];
        let mut labels = map(&mut memory, ElementType::Uint8, 0, [8, 4, 1]).unwrap();
        labels.set_plane(1, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(memory, [9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 9, 4, 5, 6, 9]);
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
        assert_eq!(code(24, ElementType::Uint16, usize::MAX, [12, 6, 2]), Some(Code::BufferTooSmall));
        assert_eq!(code(99, ElementType::Float32, 0, [24, 12, 4]), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint8, 0, [6, 2, 1]), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint16, 0, [6, 3, 1]), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint8, 0, [0, 0, 0]), Some(Code::InvalidArgument));
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
