//! Interfaces that TensorRT calls and this crate implements: what their C++ objects have in common.

use std::ffi::{CStr, c_char};

/// A virtual table as the Itanium ABI lays it out; an object points to `methods`.
#[repr(C)]
pub(crate) struct VirtualTable<T> {
    offset_to_top: isize,
    type_info: usize,
    pub(crate) methods: T,
}

impl<T> VirtualTable<T> {
    pub(crate) const fn new(methods: T) -> Self {
        Self { offset_to_top: 0, type_info: 0, methods }
    }
}

/// `nvinfer1::InterfaceInfo`: returned in two registers.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct InterfaceInfo {
    kind: *const c_char,
    major: i32,
    minor: i32,
}

impl InterfaceInfo {
    /// The first version of an interface.
    pub(crate) fn new(kind: &'static CStr) -> Self {
        Self { kind: kind.as_ptr(), major: 1, minor: 0 }
    }
}

/// `getAPILanguage`, which versioned interfaces begin with.
pub(crate) extern "C" fn api_language<T>(_this: *const T) -> i32 {
    const CPP: i32 = 0;
    CPP
}

/// A destructor that does nothing: objects are Rust's to free, and TensorRT does not try to.
pub(crate) extern "C" fn keep<T>(_this: *mut T) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn layouts() {
        assert_eq!(offset_of!(VirtualTable<usize>, methods), 2 * size_of::<usize>());
        assert_eq!(size_of::<InterfaceInfo>(), 16);
    }
}
