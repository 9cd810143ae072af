//! Arguments: what comes over the boundary becomes values that safe code can use, each by one conversion. What the header
//! asks for of an argument is what its conversion relies on.

use super::handle::{Handle, Opaque, borrow};
use crate::error::{Code, Error, Result};
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// One call from the application. Nothing that its arguments lend outlives it.
pub(super) struct Call(());

impl Call {
    pub(super) fn begin() -> Self {
        Self(())
    }
}

/// What a C argument of the type `Raw` is converted to.
pub(super) trait Argument<'call, Raw>: Sized {
    /// # Safety
    /// `raw` is what the header asks for of the argument, for as long as the call lasts.
    unsafe fn convert(raw: Raw, name: &str, call: &'call Call) -> Result<Self>;
}

fn is_null(name: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("{name} is null"))
}

/// Null stands for `None`.
impl<'call, T, A: Argument<'call, *const T>> Argument<'call, *const T> for Option<A> {
    unsafe fn convert(raw: *const T, name: &str, call: &'call Call) -> Result<Self> {
        if raw.is_null() {
            return Ok(None);
        }
        // SAFETY: as the caller says.
        unsafe { A::convert(raw, name, call) }.map(Some)
    }
}

/// Null stands for `None`.
impl<'call, T, A: Argument<'call, *mut T>> Argument<'call, *mut T> for Option<A> {
    unsafe fn convert(raw: *mut T, name: &str, call: &'call Call) -> Result<Self> {
        if raw.is_null() {
            return Ok(None);
        }
        // SAFETY: as the caller says.
        unsafe { A::convert(raw, name, call) }.map(Some)
    }
}

/// A further handle of a call: what it holds.
pub(super) struct Ref<'call, T: Opaque>(&'call T::Value);

impl<T: Opaque> Deref for Ref<'_, T> {
    type Target = T::Value;
    fn deref(&self) -> &T::Value {
        self.0
    }
}

impl<'call, T: Opaque> Ref<'call, T> {
    pub(super) fn get(&self) -> &'call T::Value {
        self.0
    }
}

impl<'call, T: Opaque> Argument<'call, *const T> for Ref<'call, T> {
    unsafe fn convert(raw: *const T, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: a handle that is null or alive, as the caller says.
        unsafe { borrow(raw, name, call) }?.get(name).map(Self)
    }
}

impl<'call, T: Opaque> Argument<'call, *mut T> for Ref<'call, T> {
    unsafe fn convert(raw: *mut T, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        unsafe { Self::convert(raw.cast_const(), name, call) }
    }
}

/// The most handles that one call takes: more devices, or streams, than there are in a machine.
const MOST_HANDLES: usize = 1024;

/// An array of handles; null is accepted where it is empty.
impl<'call, T: Opaque> Argument<'call, (*const *const T, usize)> for Vec<Ref<'call, T>> {
    unsafe fn convert(raw: (*const *const T, usize), name: &str, call: &'call Call) -> Result<Self> {
        let (first, count) = raw;
        if count == 0 {
            return Ok(Self::new());
        }
        if first.is_null() {
            return Err(is_null(name));
        }
        if count > MOST_HANDLES {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{name} has {count} elements; it has at most {MOST_HANDLES}"),
            ));
        }
        let one = |i| {
            // SAFETY: the array is readable for `count` elements, as the caller says.
            let element = unsafe { first.add(i).read() };
            // SAFETY: each is a handle that is null or alive, as the caller says.
            unsafe { Ref::convert(element, &format!("{name}[{i}]"), call) }
        };
        (0..count).map(one).collect()
    }
}

impl<'call, T: Opaque> Argument<'call, (*const *mut T, usize)> for Vec<Ref<'call, T>> {
    unsafe fn convert((first, count): (*const *mut T, usize), name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says; pointers to const and to mut are read alike.
        unsafe { Self::convert((first.cast::<*const T>(), count), name, call) }
    }
}

/// Plain numbers; null is accepted where there are none.
pub(super) trait Number: Copy {}
impl Number for i32 {}
impl Number for i64 {}
impl Number for f32 {}

impl<'call, T: Number> Argument<'call, (*const T, usize)> for &'call [T] {
    unsafe fn convert((first, count): (*const T, usize), name: &str, _: &'call Call) -> Result<Self> {
        if count == 0 {
            return Ok(&[]);
        }
        if first.is_null() {
            return Err(is_null(name));
        }
        if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{name} has {count} elements: no memory is that large"),
            ));
        }
        // SAFETY: readable for `count` numbers, as the caller says, and no larger than an object can be.
        Ok(unsafe { std::slice::from_raw_parts(first, count) })
    }
}

/// Bytes that are read during the call only.
impl<'call> Argument<'call, (*const c_void, usize)> for &'call [u8] {
    unsafe fn convert((first, size): (*const c_void, usize), name: &str, _: &'call Call) -> Result<Self> {
        if first.is_null() {
            return Err(is_null(name));
        }
        if isize::try_from(size).is_err() {
            return Err(Error::new(Code::InvalidArgument, format!("{name} has {size} bytes: no memory is that large")));
        }
        // SAFETY: readable for `size` bytes, as the caller says, and no larger than an object can be.
        Ok(unsafe { std::slice::from_raw_parts(first.cast(), size) })
    }
}

/// An address that is not null. Whoever uses what is there says why that is sound.
impl<'call> Argument<'call, *mut c_void> for NonNull<c_void> {
    unsafe fn convert(raw: *mut c_void, name: &str, _: &'call Call) -> Result<Self> {
        Self::new(raw).ok_or_else(|| is_null(name))
    }
}

impl<'call> Argument<'call, *const c_void> for NonNull<c_void> {
    unsafe fn convert(raw: *const c_void, name: &str, _: &'call Call) -> Result<Self> {
        Self::new(raw.cast_mut()).ok_or_else(|| is_null(name))
    }
}

impl<'call> Argument<'call, *const c_char> for &'call CStr {
    unsafe fn convert(raw: *const c_char, name: &str, _: &'call Call) -> Result<Self> {
        if raw.is_null() {
            return Err(is_null(name));
        }
        // SAFETY: it ends with NUL, as the caller says.
        Ok(unsafe { CStr::from_ptr(raw) })
    }
}

/// UTF-8.
impl<'call> Argument<'call, *const c_char> for &'call str {
    unsafe fn convert(raw: *const c_char, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let text: &CStr = unsafe { Argument::convert(raw, name, call) }?;
        text.to_str().map_err(|_| Error::new(Code::InvalidArgument, format!("{name} is not UTF-8")))
    }
}

/// Any bytes, as the file system takes them.
impl<'call> Argument<'call, *const c_char> for &'call Path {
    unsafe fn convert(raw: *const c_char, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let text: &CStr = unsafe { Argument::convert(raw, name, call) }?;
        if text.is_empty() {
            return Err(Error::new(Code::InvalidArgument, format!("{name} is an empty path")));
        }
        Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
    }
}

/// The place for a result. It is written to once, when nothing can fail any more.
pub(super) struct Out<'call, T> {
    place: NonNull<T>,
    call: PhantomData<&'call Call>,
}

impl<'call, T> Argument<'call, *mut T> for Out<'call, T> {
    unsafe fn convert(raw: *mut T, name: &str, _: &'call Call) -> Result<Self> {
        let place = NonNull::new(raw).ok_or_else(|| is_null(name))?;
        Ok(Self { place, call: PhantomData })
    }
}

impl<T: Copy> Out<'_, T> {
    pub(super) fn set(self, value: T) {
        // SAFETY: writable, as whoever converted it says.
        unsafe { self.place.write(value) };
    }
}

impl<T: Opaque> Out<'_, *mut T> {
    /// Hands a handle out.
    pub(super) fn give(self, handle: Handle<T::Value>) {
        self.set(T::give(handle));
    }
}

impl Out<'_, *mut c_char> {
    /// Hands a string out, for `planrt_string_delete`.
    pub(super) fn give_text(self, text: String) {
        self.set(CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default().into_raw());
    }
}

/// The place for so many numbers.
pub(super) struct OutArray<'call, T, const N: usize>(Out<'call, T>);

impl<'call, T, const N: usize> Argument<'call, *mut T> for OutArray<'call, T, N> {
    unsafe fn convert(raw: *mut T, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        unsafe { Argument::convert(raw, name, call) }.map(Self)
    }
}

impl<T: Copy, const N: usize> OutArray<'_, T, N> {
    pub(super) fn set(self, values: [T; N]) {
        // SAFETY: writable for `N` values, as whoever converted it says; arrays need no more than their elements' alignment.
        unsafe { self.0.place.cast::<[T; N]>().write(values) };
    }
}
