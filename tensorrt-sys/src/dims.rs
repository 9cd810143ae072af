//! Shapes, and the two layouts in which they cross the interface.

use crate::Generation;
use std::fmt;

/// A tensor's shape (or its strides): up to eight extents, −1 where one is open.
#[derive(Clone, Copy, Default)]
pub struct Dims {
    rank: usize,
    extents: [i64; Self::MAX_RANK],
}

impl Dims {
    /// The highest rank TensorRT knows.
    pub const MAX_RANK: usize = 8;

    /// A shape with these extents; `None` if there are more than [`MAX_RANK`](Self::MAX_RANK).
    pub fn new(extents: &[i64]) -> Option<Self> {
        let mut dims = Self { rank: extents.len(), ..Self::default() };
        dims.extents.get_mut(..extents.len())?.copy_from_slice(extents);
        Some(dims)
    }

    /// The extents.
    pub fn as_slice(&self) -> &[i64] {
        &self.extents[..self.rank]
    }
}

impl std::ops::Deref for Dims {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        self.as_slice()
    }
}

impl PartialEq for Dims {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Dims {}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// `nvinfer1::Dims` of TensorRT 8.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Dims32 {
    rank: i32,
    extents: [i32; Dims::MAX_RANK],
}

impl Dims32 {
    /// `None` if an extent does not fit.
    pub(crate) fn new(dims: &Dims) -> Option<Self> {
        let mut extents = [0; Dims::MAX_RANK];
        for (narrow, &wide) in extents.iter_mut().zip(dims.as_slice()) {
            *narrow = i32::try_from(wide).ok()?;
        }
        Some(Self { rank: dims.rank as i32, extents })
    }
}

/// `nvinfer1::Dims` since TensorRT 10.
#[repr(C)]
#[derive(Clone, Copy)]
struct Dims64 {
    rank: i32,
    extents: [i64; Dims::MAX_RANK],
}

/// `nvinfer1::Dims` as a generation lays it out; only [`read`](Self::read) and
/// [`write`](Self::write) know which.
///
/// One type serves as the result of both layouts' methods: both are larger than two registers, so
/// the caller passes a hidden pointer to room for the result, and TensorRT 8 fills the first half
/// of that room.
#[repr(C)]
#[derive(Clone, Copy)]
pub union RawDims {
    narrow: Dims32,
    wide: Dims64,
}

impl RawDims {
    /// `dims` as `generation` lays it out; `None` if an extent does not fit (32 bits up to 8).
    pub(crate) fn write(generation: Generation, dims: &Dims) -> Option<Self> {
        Some(match generation {
            Generation::V8 => Self { narrow: Dims32::new(dims)? },
            _ => Self { wide: Dims64 { rank: dims.rank as i32, extents: dims.extents } },
        })
    }

    /// The shape; `None` for the rank of −1 with which TensorRT says that there is none.
    ///
    /// # Safety
    /// `generation` is the one whose method filled this, or for which it was written.
    pub(crate) unsafe fn read(&self, generation: Generation) -> Option<Dims> {
        let (rank, extents) = match generation {
            // SAFETY: by contract the narrow layout was written.
            Generation::V8 => unsafe { (self.narrow.rank, self.narrow.extents.map(i64::from)) },
            // SAFETY: by contract the wide layout was written.
            _ => unsafe { (self.wide.rank, self.wide.extents) },
        };
        Dims::new(extents.get(..usize::try_from(rank).ok()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_tensorrts() {
        assert_eq!(size_of::<Dims32>(), 36);
        assert_eq!(size_of::<Dims64>(), 72);
        assert_eq!(std::mem::offset_of!(Dims64, extents), 8);
    }

    #[test]
    fn survives_both_layouts() {
        for extents in [&[][..], &[-1, 4], &[1, 2, 3, 4, 5, 6, 7, 8]] {
            let dims = Dims::new(extents).unwrap();
            for generation in Generation::ALL {
                let raw = RawDims::write(generation, &dims).unwrap();
                // SAFETY: written for the same generation.
                assert_eq!(unsafe { raw.read(generation) }, Some(dims));
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(Dims::new(&[1; 9]), None);
        let wide = Dims::new(&[1 << 31]).unwrap();
        assert!(RawDims::write(Generation::V8, &wide).is_none());
        assert!(RawDims::write(Generation::V10, &wide).is_some());
        for rank in [-1, 9] {
            let raw = RawDims { wide: Dims64 { rank, extents: [0; 8] } };
            // SAFETY: the wide layout was written.
            assert_eq!(unsafe { raw.read(Generation::V11) }, None);
        }
    }
}
