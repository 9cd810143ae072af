//! Structs that cross by value. Each begins with its size as its caller's header has it: a field is only ever added at
//! the end, and a reader of either age understands the other.

use crate::error::{Code, Error, Result};
use std::mem::MaybeUninit;

/// A struct that begins with `struct_size: usize` and for which all-zero bytes are a value.
///
/// # Safety
/// `repr(C)`, the first field is that size, and zero bytes are valid for every field.
pub(super) unsafe trait Extensible: Copy {
    /// The size that it had in the first release.
    const FIRST_SIZE: usize;
    const NAME: &'static str;
}

/// Larger than any struct of ours will be: a size that was never set is not to be believed.
const LARGEST: usize = 4096;

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
pub(super) unsafe fn read<T: Extensible>(from: *const T) -> Result<T> {
    let size = unsafe { from.cast::<usize>().read() };
    check_size::<T>(size)?;
    let known = size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's word for the source; zero bytes are a value, and so is any prefix of the caller's over them.
    let (value, tail) = unsafe {
        from.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known);
        (value.assume_init(), std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known))
    };
    if tail.iter().any(|byte| *byte != 0) {
        return Err(Error::new(
            Code::Unsupported,
            format!("{} has fields set that this libplanrt ({}) does not know", T::NAME, env!("CARGO_PKG_VERSION")),
        ));
    }
    Ok(value)
}

/// Reads an array of them; their size, which all of them state, says how far apart they lie.
///
/// # Safety
/// As for [`read`], for `count` of them; null is accepted where `count` is 0.
pub(super) unsafe fn read_array<T: Extensible>(from: *const T, count: usize, name: &str) -> Result<Vec<T>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let from = super::not_null(from, name)?;
    let stride = unsafe { from.cast::<usize>().read() };
    check_size::<T>(stride)?;
    (0..count)
        .map(|i| {
            // SAFETY: as the caller says.
            let (element, size) = unsafe {
                let element = from.byte_add(i * stride);
                (element, element.cast::<usize>().read())
            };
            if size != stride {
                return Err(Error::new(
                    Code::InvalidArgument,
                    format!(
                        "{name}[{i}].struct_size is {size} and {name}[0].struct_size {stride}; all of them are the same"
                    ),
                ));
            }
            unsafe { read(element) }
        })
        .collect()
}

/// Writes a struct into the caller's, as far as its size goes. Nothing is written on an error.
///
/// # Safety
/// `to` is writable for the size in its first field.
pub(super) unsafe fn write<T: Extensible>(to: *mut T, value: T) -> Result<()> {
    let size = unsafe { to.cast::<usize>().read() };
    check_size::<T>(size)?;
    unsafe {
        std::ptr::from_ref(&value).cast::<u8>().copy_to_nonoverlapping(to.cast(), size.min(size_of::<T>()));
        to.cast::<usize>().write(size);
    }
    Ok(())
}
