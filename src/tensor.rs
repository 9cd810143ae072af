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
    /// Of callers' memory and of models on the CPU only, as the two after it.
    Int16 = 9,
    Uint16 = 10,
    Float64 = 11,
}

impl ElementType {
    pub const ALL: [Self; 11] = [
        Self::Float32,
        Self::Float16,
        Self::BFloat16,
        Self::Int8,
        Self::Uint8,
        Self::Int32,
        Self::Int64,
        Self::Bool,
        Self::Int16,
        Self::Uint16,
        Self::Float64,
    ];

    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as i32 == code)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
            Self::Float16 | Self::BFloat16 | Self::Int16 | Self::Uint16 => 2,
            Self::Float32 | Self::Int32 => 4,
            Self::Int64 | Self::Float64 => 8,
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
            Self::Int16 => c"int16",
            Self::Uint16 => c"uint16",
            Self::Float64 => c"float64",
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

// SAFETY: who lends the memory says that it may be used until the call returns; on which thread makes no difference to it.
unsafe impl Send for HostTensor {}
// SAFETY: as above.
unsafe impl Sync for HostTensor {}

/// Whether [`copy_elements`] can turn one element type into the other: equal ones, float32 and the 16-bit floating-point
/// types, and what only callers have into any of these and back.
pub fn converts(from: ElementType, to: ElementType) -> bool {
    use ElementType::{BFloat16, Float16, Float32, Float64, Int16, Uint16};
    let pair = |a, b| match a {
        Float32 => matches!(b, Float16 | BFloat16),
        Int16 | Uint16 | Float64 => matches!(b, Float32 | Float16 | BFloat16),
        _ => false,
    };
    from == to || pair(from, to) || pair(to, from)
}

/// Copies `count` elements and converts them: to the nearest value, ties to even. What is beyond the range of a
/// floating-point type becomes infinite, what is beyond that of an integer its nearest end, and a NaN the integer 0.
///
/// # Safety
/// `from` is readable for `count` elements of `from_type`, `to` writable for `count` of `to_type`, and they do not
/// overlap. Neither needs to be aligned. [`converts`] holds for the pair.
pub unsafe fn copy_elements(from: *const u8, from_type: ElementType, to: *mut u8, to_type: ElementType, count: usize) {
    use ElementType::{BFloat16, Float16, Float32, Float64, Int16, Uint16};
    // SAFETY: by contract.
    unsafe {
        match (from_type, to_type) {
            (Float32, Float16) => convert(from, to, count, f16::from_f32),
            (Float32, BFloat16) => convert(from, to, count, bf16::from_f32),
            (Float16, Float32) => convert(from, to, count, f16::to_f32),
            (BFloat16, Float32) => convert(from, to, count, bf16::to_f32),
            (Int16, Float32) => convert(from, to, count, |x: i16| f32::from(x)),
            (Int16, Float16) => convert(from, to, count, |x: i16| f16::from_f32(x.into())),
            (Int16, BFloat16) => convert(from, to, count, |x: i16| bf16::from_f32(x.into())),
            (Float32, Int16) => convert(from, to, count, to_i16),
            (Float16, Int16) => convert(from, to, count, |x: f16| to_i16(x.to_f32())),
            (BFloat16, Int16) => convert(from, to, count, |x: bf16| to_i16(x.to_f32())),
            (Uint16, Float32) => convert(from, to, count, |x: u16| f32::from(x)),
            (Uint16, Float16) => convert(from, to, count, |x: u16| f16::from_f32(x.into())),
            (Uint16, BFloat16) => convert(from, to, count, |x: u16| bf16::from_f32(x.into())),
            (Float32, Uint16) => convert(from, to, count, to_u16),
            (Float16, Uint16) => convert(from, to, count, |x: f16| to_u16(x.to_f32())),
            (BFloat16, Uint16) => convert(from, to, count, |x: bf16| to_u16(x.to_f32())),
            (Float64, Float32) => convert(from, to, count, |x: f64| x as f32),
            (Float64, Float16) => convert(from, to, count, f16::from_f64),
            (Float64, BFloat16) => convert(from, to, count, bf16::from_f64),
            (Float32, Float64) => convert(from, to, count, |x: f32| f64::from(x)),
            (Float16, Float64) => convert(from, to, count, f16::to_f64),
            (BFloat16, Float64) => convert(from, to, count, bf16::to_f64),
            _ => {
                debug_assert_eq!(from_type, to_type);
                std::ptr::copy_nonoverlapping(from, to, count * from_type.size());
            }
        }
    }
}

/// The nearest integer of at most 16 bits: between `least` and `most`, 0 for NaN.
///
/// `f32::round_ties_even` would be a call for each element on processors before SSE4.1, which are what is compiled for. Of a
/// number this large the processor keeps whole units only, and rounds as it does by default; a run has that mode.
fn to_integer(x: f32, least: f32, most: f32) -> i32 {
    const WHOLE: f32 = 12_582_912.0; // 1.5 * 2^23
    let x = if x.is_nan() { 0.0 } else { x.max(least).min(most) };
    ((x + WHOLE) - WHOLE) as i32
}

fn to_i16(x: f32) -> i16 {
    to_integer(x, i16::MIN.into(), i16::MAX.into()) as i16
}

fn to_u16(x: f32) -> u16 {
    to_integer(x, 0.0, u16::MAX.into()) as u16
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One element's bytes, converted; from and to odd addresses.
    fn convert_one(bytes: &[u8], from: ElementType, to: ElementType) -> Vec<u8> {
        // Many, so that vectors of them are tried too.
        const COUNT: usize = 37;
        let source: Vec<u8> = [0].into_iter().chain(bytes.repeat(COUNT)).collect();
        let mut target = vec![0xa5; 1 + COUNT * to.size() + 1];
        // SAFETY: both hold so many elements behind their first byte.
        unsafe { copy_elements(source[1..].as_ptr(), from, target[1..].as_mut_ptr(), to, COUNT) };
        assert_eq!((target[0], *target.last().unwrap()), (0xa5, 0xa5));
        let first = target[1..=to.size()].to_vec();
        assert!(target[1..=COUNT * to.size()].chunks(to.size()).all(|element| element == first), "{from} to {to}");
        first
    }

    fn bytes_of(value: f64, element_type: ElementType) -> Vec<u8> {
        match element_type {
            ElementType::Float32 => (value as f32).to_ne_bytes().to_vec(),
            ElementType::Float16 => f16::from_f64(value).to_ne_bytes().to_vec(),
            ElementType::BFloat16 => bf16::from_f64(value).to_ne_bytes().to_vec(),
            ElementType::Int16 => (value as i16).to_ne_bytes().to_vec(),
            ElementType::Uint16 => (value as u16).to_ne_bytes().to_vec(),
            ElementType::Float64 => value.to_ne_bytes().to_vec(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn every_pair_that_converts_does() {
        use ElementType::{BFloat16, Float16, Float32, Float64, Int16, Uint16};
        let theirs = [Float32, Float16, BFloat16, Int16, Uint16, Float64];
        let mut pairs = 0;
        for from in ElementType::ALL {
            for to in ElementType::ALL {
                assert_eq!(converts(from, to), converts(to, from));
                if from == to || !converts(from, to) {
                    continue;
                }
                assert!(theirs.contains(&from) && theirs.contains(&to), "{from} to {to}");
                pairs += 1;
                for value in [0.0, 1.0, 2.0, 97.0, 128.0] {
                    assert_eq!(
                        convert_one(&bytes_of(value, from), from, to),
                        bytes_of(value, to),
                        "{value}, {from} to {to}"
                    );
                }
            }
        }
        assert_eq!(pairs, 2 * (2 + 3 * 3));
        assert!(!converts(Float16, BFloat16) && !converts(Int16, Float64) && !converts(Int16, ElementType::Int32));
    }

    #[test]
    fn floats_become_the_nearest_integer() {
        let int16 = |x: f32| {
            i16::from_ne_bytes(
                convert_one(&x.to_ne_bytes(), ElementType::Float32, ElementType::Int16).try_into().unwrap(),
            )
        };
        let uint16 = |x: f32| {
            u16::from_ne_bytes(
                convert_one(&x.to_ne_bytes(), ElementType::Float32, ElementType::Uint16).try_into().unwrap(),
            )
        };
        for (x, wanted) in [
            (0.5, 0),
            (1.5, 2),
            (2.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (-1024.4, -1024),
            (-1024.6, -1025),
            (32767.4, 32767),
            (32767.5, 32767),
            (1e30, 32767),
            (f32::INFINITY, 32767),
            (-32768.5, -32768),
            (-1e30, -32768),
            (f32::NEG_INFINITY, -32768),
            (f32::NAN, 0),
            (f32::MIN_POSITIVE, 0),
        ] {
            assert_eq!(int16(x), wanted, "{x}");
        }
        for (x, wanted) in [
            (0.5, 0),
            (1.5, 2),
            (-0.4, 0),
            (-7.0, 0),
            (65535.4, 65535),
            (65536.0, 65535),
            (f32::INFINITY, 65535),
            (f32::NAN, 0),
        ] {
            assert_eq!(uint16(x), wanted, "{x}");
        }
        // All of them, there and back.
        for x in i16::MIN..=i16::MAX {
            assert_eq!(to_i16(f32::from(x)), x);
            assert_eq!(to_u16(f32::from(x as u16)), x as u16);
            assert_eq!(to_i16(f32::from(x) + 0.25), x);
        }
    }

    #[test]
    fn doubles_are_rounded_once() {
        // Between two float32 values and nearer to the upper; a second rounding would not matter here, a cut would.
        let x = 1.0 + f64::from(f32::EPSILON) * 0.75;
        let converted = convert_one(&x.to_ne_bytes(), ElementType::Float64, ElementType::Float32);
        assert_eq!(f32::from_ne_bytes(converted.try_into().unwrap()), 1.0 + f32::EPSILON);
        let converted = convert_one(&1e300f64.to_ne_bytes(), ElementType::Float64, ElementType::Float32);
        assert_eq!(f32::from_ne_bytes(converted.try_into().unwrap()), f32::INFINITY);
        let converted = convert_one(&0.1f32.to_ne_bytes(), ElementType::Float32, ElementType::Float64);
        assert_eq!(f64::from_ne_bytes(converted.try_into().unwrap()), f64::from(0.1f32));
    }
}
