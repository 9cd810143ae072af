//! Element types, kinds of memory, shapes and views of host memory.

use crate::error::{Code, Error, Result};
use half::{bf16, f16};
use std::ffi::CStr;
use std::fmt;
use std::ops::Deref;

/// The most dimensions a tensor has: TensorRT's limit.
pub const MAX_RANK: usize = 8;

/// Where memory lies, as the C interface numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum MemoryKind {
    Host = 1,
    Pinned = 2,
    Device = 3,
}

impl MemoryKind {
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::Host, Self::Pinned, Self::Device].into_iter().find(|k| *k as i32 == code)
    }
}

/// The type of one element, as the C interface numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ElementType {
    Float32 = 1,
    Float16 = 2,
    BFloat16 = 3,
    Int8 = 4,
    Uint8 = 5,
    Int32 = 6,
    Int64 = 7,
    Bool = 8,
}

impl ElementType {
    pub const ALL: [Self; 8] =
        [Self::Float32, Self::Float16, Self::BFloat16, Self::Int8, Self::Uint8, Self::Int32, Self::Int64, Self::Bool];

    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as i32 == code)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
            Self::Float16 | Self::BFloat16 => 2,
            Self::Float32 | Self::Int32 => 4,
            Self::Int64 => 8,
        }
    }

    /// A C string because the C interface lends it out.
    pub fn name(self) -> &'static CStr {
        match self {
            Self::Float32 => c"float32",
            Self::Float16 => c"float16",
            Self::BFloat16 => c"bfloat16",
            Self::Int8 => c"int8",
            Self::Uint8 => c"uint8",
            Self::Int32 => c"int32",
            Self::Int64 => c"int64",
            Self::Bool => c"bool",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_string_lossy())
    }
}

/// The extents of a tensor in elements, outermost first; -1 where the model leaves one open.
#[derive(Clone, Copy)]
pub struct Shape {
    rank: usize,
    extents: [i64; MAX_RANK],
}

impl Shape {
    pub fn new(extents: &[i64]) -> Result<Self> {
        if extents.len() > MAX_RANK {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("a shape has at most {MAX_RANK} dimensions, not {}", extents.len()),
            ));
        }
        let mut shape = Self { rank: extents.len(), extents: [0; MAX_RANK] };
        shape.extents[..extents.len()].copy_from_slice(extents);
        Ok(shape)
    }

    /// The same but for the first extent: a batch of another size.
    pub fn with_first(mut self, extent: i64) -> Self {
        if self.rank > 0 {
            self.extents[0] = extent;
        }
        self
    }

    /// Changes one extent; nothing where there is no such axis.
    pub fn set(&mut self, axis: usize, extent: i64) {
        if let Some(place) = self.extents[..self.rank].get_mut(axis) {
            *place = extent;
        }
    }

    pub fn is_dynamic(&self) -> bool {
        self.iter().any(|extent| *extent < 0)
    }

    /// The number of elements; an error where an extent is open or the product does not fit.
    pub fn elements(&self) -> Result<usize> {
        self.iter()
            .try_fold(1usize, |product, extent| product.checked_mul(usize::try_from(*extent).ok()?))
            .ok_or_else(|| Error::new(Code::Shape, format!("shape {self} has no number of elements")))
    }

    /// The bytes of a dense tensor of this shape.
    pub fn bytes(&self, element_type: ElementType) -> Result<usize> {
        self.elements()?
            .checked_mul(element_type.size())
            .ok_or_else(|| Error::new(Code::Shape, format!("shape {self} does not fit in memory")))
    }
}

impl Deref for Shape {
    type Target = [i64];
    fn deref(&self) -> &[i64] {
        &self.extents[..self.rank]
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Shape {}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, extent) in self.iter().enumerate() {
            write!(f, "{}{extent}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Host memory that a caller lends for the time of one call.
#[derive(Clone, Copy, Debug)]
pub struct HostTensor {
    /// Index of the tensor in the engine's list.
    pub tensor: usize,
    pub data: *mut u8,
    /// Bytes behind `data`.
    pub size: usize,
    pub element_type: ElementType,
    /// For inputs the shape of `data`; unused for outputs.
    pub shape: Shape,
}

/// Whether [`copy_elements`] can turn one element type into the other.
pub fn converts(from: ElementType, to: ElementType) -> bool {
    use ElementType::{BFloat16, Float16, Float32};
    from == to || matches!((from, to), (Float32, Float16 | BFloat16) | (Float16 | BFloat16, Float32))
}

/// Copies `count` elements, converting between float32 and the 16-bit floating-point types (round to nearest even).
///
/// # Safety
/// `from` is readable for `count` elements of `from_type`, `to` writable for `count` of `to_type`, and they do not
/// overlap. Neither needs to be aligned. [`converts`] holds for the pair.
pub unsafe fn copy_elements(from: *const u8, from_type: ElementType, to: *mut u8, to_type: ElementType, count: usize) {
    use ElementType::{BFloat16, Float16, Float32};
    // SAFETY: by contract.
    unsafe {
        match (from_type, to_type) {
            (Float32, Float16) => convert(from, to, count, f16::from_f32),
            (Float32, BFloat16) => convert(from, to, count, bf16::from_f32),
            (Float16, Float32) => convert(from, to, count, f16::to_f32),
            (BFloat16, Float32) => convert(from, to, count, bf16::to_f32),
            _ => {
                debug_assert_eq!(from_type, to_type);
                std::ptr::copy_nonoverlapping(from, to, count * from_type.size());
            }
        }
    }
}

/// # Safety
/// As for [`copy_elements`], with elements of `A` and `B`, any bits of which are a value.
unsafe fn convert<A: Copy, B: Copy>(from: *const u8, to: *mut u8, count: usize, one: impl Fn(A) -> B) {
    let (from, to) = (from.cast::<A>(), to.cast::<B>());
    for i in 0..count {
        // SAFETY: by contract; `i` is below `count`.
        unsafe { to.add(i).write_unaligned(one(from.add(i).read_unaligned())) };
    }
}
