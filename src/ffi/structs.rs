//! Structs that cross by value. Each begins with its size as its caller's header has it: a field is only ever added at
//! the end, and a reader of either age understands the other.

use super::argument::{Argument, Call};
use crate::error::{Code, Error, Result};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A struct that begins with `struct_size: usize` and for which all-zero bytes are a value.
///
/// # Safety
/// `repr(C)`, the first field is that size, and zero bytes are valid for every field, as is whatever else C
/// may put there.
pub(super) unsafe trait Extensible: Copy {
    /// The size that it had in the first release.
    const FIRST_SIZE: usize;
    const NAME: &'static str;
}

/// Larger than any struct of ours will be: a size that was never set is not to be believed.
const LARGEST: usize = 4096;

/// The most structs in an array: more tensors than any model has.
const MOST: usize = 4096;

fn check_size<T: Extensible>(size: usize) -> Result<()> {
    if size < T::FIRST_SIZE || size > LARGEST || !size.is_multiple_of(align_of::<T>()) {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{}.struct_size is {size}; set it to sizeof({0}), {} here", T::NAME, size_of::<T>()),
        ));
    }
    Ok(())
}

/// Reads a struct of the caller's, which may be older (shorter) or newer (longer) than ours.
///
/// # Safety
/// `from` is readable for the size in its first field.
unsafe fn read<T: Extensible>(from: *const T) -> Result<T> {
    // SAFETY: the size comes first.
    let size = unsafe { from.cast::<usize>().read() };
    check_size::<T>(size)?;
    let known = size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's word for the source; what is written to is as large as the smaller of the two.
    unsafe { from.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known) };
    // SAFETY: zero bytes are a value, and so is any prefix of the caller's over them.
    let value = unsafe { value.assume_init() };
    // SAFETY: readable to its size.
    let tail = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if tail.iter().any(|byte| *byte != 0) {
        return Err(Error::new(
            Code::Unsupported,
            format!("{} has fields set that this libplanrt ({}) does not know", T::NAME, env!("CARGO_PKG_VERSION")),
        ));
    }
    Ok(value)
}

/// A struct that is read.
pub(super) struct Struct<T>(pub(super) T);

impl<'call, T: Extensible> Argument<'call, *const T> for Struct<T> {
    unsafe fn convert(raw: *const T, name: &str, _: &'call Call) -> Result<Self> {
        super::not_null(raw, name)?;
        // SAFETY: as the caller says.
        unsafe { read(raw) }.map(Self)
    }
}

/// Structs that are read: their size, which all of them state, says how far apart they lie. Null is accepted where
/// there are none.
pub(super) struct Structs<T>(pub(super) Vec<T>);

impl<'call, T: Extensible> Argument<'call, (*const T, usize)> for Structs<T> {
    unsafe fn convert((from, count): (*const T, usize), name: &str, _: &'call Call) -> Result<Self> {
        if count == 0 {
            return Ok(Self(Vec::new()));
        }
        super::not_null(from, name)?;
        if count > MOST {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{name} has {count} elements; it has at most {MOST}"),
            ));
        }
        // SAFETY: there is a first element, and its size comes first.
        let stride = unsafe { from.cast::<usize>().read() };
        check_size::<T>(stride)?;
        let mut structs = Vec::new();
        structs.try_reserve_exact(count).map_err(|_| {
            Error::new(Code::OutOfMemory, format!("the host has no memory for the {count} elements of {name}"))
        })?;
        for i in 0..count {
            // SAFETY: the elements lie so far apart, and there are so many.
            let element = unsafe { from.byte_add(i * stride) };
            // SAFETY: its size comes first.
            let size = unsafe { element.cast::<usize>().read() };
            if size != stride {
                return Err(Error::new(
                    Code::InvalidArgument,
                    format!(
                        "{name}[{i}].struct_size is {size} and {name}[0].struct_size {stride}; all of them are the same"
                    ),
                ));
            }
            // SAFETY: as the caller says.
            structs.push(unsafe { read(element) }?);
        }
        Ok(Self(structs))
    }
}

/// A struct that is written, as far as its size goes.
pub(super) struct OutStruct<'call, T> {
    place: NonNull<T>,
    /// As the caller's header has it.
    size: usize,
    call: PhantomData<&'call Call>,
}

impl<'call, T: Extensible> Argument<'call, *mut T> for OutStruct<'call, T> {
    unsafe fn convert(raw: *mut T, name: &str, _: &'call Call) -> Result<Self> {
        super::not_null(raw, name)?;
        // SAFETY: the size comes first, and is set.
        let size = unsafe { raw.cast::<usize>().read() };
        check_size::<T>(size)?;
        let place = NonNull::new(raw).ok_or_else(|| Error::new(Code::InvalidArgument, format!("{name} is null")))?;
        Ok(Self { place, size, call: PhantomData })
    }
}

impl<T: Extensible> OutStruct<'_, T> {
    /// Its size stays as it is.
    pub(super) fn set(self, value: T) {
        let (from, to) = (std::ptr::from_ref(&value).cast::<u8>(), self.place.as_ptr().cast::<u8>());
        let (first, last) = (size_of::<usize>(), self.size.min(size_of::<T>()));
        // SAFETY: readable and writable to the smaller of both sizes; the value is ours and does not overlap.
        unsafe { from.add(first).copy_to_nonoverlapping(to.add(first), last - first) };
    }
}
