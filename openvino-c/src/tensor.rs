//! Tensors.

use crate::error::{Error, Status};
use crate::functions::RawShape;
use crate::library::Library;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

/// `ov_element_type_e`, as it is since 2025.1.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ElementType {
    Boolean = 1,
    Bf16 = 2,
    F16 = 3,
    F32 = 4,
    F64 = 5,
    I8 = 7,
    I16 = 8,
    I32 = 9,
    I64 = 10,
    U8 = 16,
    U16 = 17,
    U32 = 18,
    U64 = 19,
}

impl ElementType {
    /// `None` for a number of a type that has no name here.
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        use ElementType::{Bf16, Boolean, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        [Boolean, Bf16, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64].into_iter().find(|t| *t as u32 == raw)
    }
}

/// An `ov_tensor_t`: a shape, a type, and memory of its own or of the caller's.
pub struct Tensor {
    raw: NonNull<c_void>,
    library: Library,
}

// SAFETY: an object that no thread owns.
unsafe impl Send for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { (self.library.functions().ov_tensor_free)(self.raw.as_ptr()) };
    }
}

impl Tensor {
    /// A tensor over the caller's memory, dense.
    ///
    /// # Safety
    /// `data` holds the elements of `shape` for as long as the tensor or a request that was given it may be used.
    pub unsafe fn over(
        library: &Library,
        element_type: ElementType,
        shape: &[i64],
        data: *mut c_void,
    ) -> Result<Self, Error> {
        let mut dims = shape.to_vec();
        let shape = RawShape { rank: dims.len() as i64, dims: dims.as_mut_ptr() };
        let mut raw = ptr::null_mut();
        let create = library.functions().ov_tensor_create_from_host_ptr;
        // SAFETY: the shape is copied; the memory by contract.
        let status = unsafe { create(element_type as u32, shape, data, &raw mut raw) };
        Ok(Self::adopt(crate::core::made(library, status, raw)?, library.clone()))
    }

    pub(crate) fn adopt(raw: NonNull<c_void>, library: Library) -> Self {
        Self { raw, library }
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.raw.as_ptr()
    }

    /// Its extents.
    pub fn shape(&self) -> Result<Vec<i64>, Error> {
        let functions = self.library.functions();
        let mut shape = RawShape { rank: 0, dims: ptr::null_mut() };
        // SAFETY: it fills the structure, which is freed once.
        unsafe {
            let status = (functions.ov_tensor_get_shape)(self.as_ptr(), &raw mut shape);
            // It has no shape without dimensions to give.
            if Status(status) == Status::INVALID_C_PARAM && self.element_count()? == 1 {
                return Ok(Vec::new());
            }
            self.library.check(status)?;
            let rank = usize::try_from(shape.rank).unwrap_or(0);
            let extents = if rank == 0 || shape.dims.is_null() {
                Vec::new()
            } else {
                std::slice::from_raw_parts(shape.dims, rank).to_vec()
            };
            (functions.ov_shape_free)(&raw mut shape);
            Ok(extents)
        }
    }

    /// How many elements it has.
    pub fn element_count(&self) -> Result<usize, Error> {
        let mut count = 0;
        // SAFETY: writes the number.
        let status = unsafe { (self.library.functions().ov_tensor_get_size)(self.as_ptr(), &raw mut count) };
        self.library.check(status)?;
        Ok(count)
    }

    /// The type of its elements; `None` for one that has no name here.
    pub fn element_type(&self) -> Result<Option<ElementType>, Error> {
        let mut raw = 0;
        // SAFETY: writes the number.
        let status = unsafe { (self.library.functions().ov_tensor_get_element_type)(self.as_ptr(), &raw mut raw) };
        self.library.check(status)?;
        Ok(ElementType::from_raw(raw))
    }

    /// Bytes of its elements.
    pub fn byte_size(&self) -> Result<usize, Error> {
        let mut size = 0;
        // SAFETY: writes the number.
        let status = unsafe { (self.library.functions().ov_tensor_get_byte_size)(self.as_ptr(), &raw mut size) };
        self.library.check(status)?;
        Ok(size)
    }

    /// Where its elements are.
    pub fn data(&self) -> Result<*mut c_void, Error> {
        let mut data = ptr::null_mut();
        // SAFETY: writes the pointer.
        let status = unsafe { (self.library.functions().ov_tensor_data)(self.as_ptr(), &raw mut data) };
        self.library.check(status)?;
        Ok(data)
    }
}
