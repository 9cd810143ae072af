//! Models: as they were read, and compiled.

use crate::core::made;
use crate::error::Error;
use crate::functions::{RawDimension, RawPartialShape};
use crate::library::Library;
use crate::request::InferRequest;
use crate::tensor::ElementType;
use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// One extent, as far as it is known; a fixed one has equal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// The least that it may be.
    pub min: i64,
    /// The most; -1 for no limit.
    pub max: i64,
}

/// What is known of an input or output.
#[derive(Clone, Debug)]
pub struct Port {
    /// One of its names; none where it has none.
    pub name: Option<String>,
    /// `None` for a type that has no name here.
    pub element_type: Option<ElementType>,
    /// `None` if not even the rank is known.
    pub shape: Option<Vec<Dimension>>,
}

impl Port {
    /// Describes a port and frees it.
    fn take(library: &Library, raw: NonNull<c_void>) -> Result<Self, Error> {
        let functions = library.functions();
        let raw = raw.as_ptr();
        let describe = || {
            let (mut name, mut element_type) = (ptr::null_mut(), 0);
            let mut shape = RawPartialShape { rank: RawDimension { min: 0, max: 0 }, dims: ptr::null_mut() };
            // SAFETY: they fill what they are given: a string that is the caller's, a number, and a structure that is
            // freed once, with as many dimensions as its rank where that is known.
            unsafe {
                // Without a name it fails.
                let named = (functions.ov_port_get_any_name)(raw, &raw mut name) == 0;
                let name = library.take_text(name).filter(|_| named);
                library.check((functions.ov_port_get_element_type)(raw, &raw mut element_type))?;
                library.check((functions.ov_port_get_partial_shape)(raw, &raw mut shape))?;
                let rank = usize::try_from(shape.rank.min).ok().filter(|_| shape.rank.min == shape.rank.max);
                let extents = rank.map(|rank| match shape.dims.is_null() {
                    true => Vec::new(),
                    false => {
                        let dims = std::slice::from_raw_parts(shape.dims, rank);
                        dims.iter().map(|dim| Dimension { min: dim.min, max: dim.max }).collect()
                    }
                });
                (functions.ov_partial_shape_free)(&raw mut shape);
                Ok(Self { name, element_type: ElementType::from_raw(element_type), shape: extents })
            }
        };
        let port = describe();
        // SAFETY: freed once.
        unsafe { (functions.ov_output_const_port_free)(raw) };
        port
    }

    /// The extents, if all are fixed.
    pub fn fixed_shape(&self) -> Option<Vec<i64>> {
        self.shape.as_ref()?.iter().map(|extent| (extent.min == extent.max).then_some(extent.min)).collect()
    }
}

/// An `ov_model_t`.
pub struct Model {
    raw: NonNull<c_void>,
    library: Library,
}

// SAFETY: an object that no thread owns.
unsafe impl Send for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { (self.library.functions().ov_model_free)(self.raw.as_ptr()) };
    }
}

impl Model {
    pub(crate) fn adopt(raw: NonNull<c_void>, library: Library) -> Self {
        Self { raw, library }
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.raw.as_ptr()
    }

    /// What it says of its inputs, in its order.
    pub fn inputs(&self) -> Result<Vec<Port>, Error> {
        let functions = self.library.functions();
        let mut count = 0;
        // SAFETY: writes the number.
        self.library.check(unsafe { (functions.ov_model_inputs_size)(self.as_ptr(), &raw mut count) })?;
        let port = |index| {
            let mut raw = ptr::null_mut();
            // SAFETY: writes the pointer.
            let status = unsafe { (functions.ov_model_const_input_by_index)(self.as_ptr(), index, &raw mut raw) };
            Port::take(&self.library, made(&self.library, status, raw)?)
        };
        (0..count).map(port).collect()
    }

    /// What it says of its outputs, in its order.
    pub fn outputs(&self) -> Result<Vec<Port>, Error> {
        let functions = self.library.functions();
        let mut count = 0;
        // SAFETY: writes the number.
        self.library.check(unsafe { (functions.ov_model_outputs_size)(self.as_ptr(), &raw mut count) })?;
        let port = |index| {
            let mut raw = ptr::null_mut();
            // SAFETY: writes the pointer.
            let status = unsafe { (functions.ov_model_const_output_by_index)(self.as_ptr(), index, &raw mut raw) };
            Port::take(&self.library, made(&self.library, status, raw)?)
        };
        (0..count).map(port).collect()
    }

    /// Gives inputs these shapes, by their places; -1 leaves an extent open. Scalars stay what they are.
    pub fn reshape(&mut self, shapes: &[(usize, &[i64])]) -> Result<(), Error> {
        // OpenVINO would take a shape without dimensions for one of which nothing is known.
        let (ports, shapes): (Vec<usize>, Vec<&[i64]>) =
            shapes.iter().copied().filter(|(_, shape)| !shape.is_empty()).unzip();
        if ports.is_empty() {
            return Ok(());
        }
        let open = |extent: &i64| match *extent {
            ..0 => RawDimension { min: 0, max: -1 },
            extent => RawDimension { min: extent, max: extent },
        };
        let mut extents: Vec<Vec<_>> = shapes.iter().map(|shape| shape.iter().map(open).collect()).collect();
        let partial: Vec<_> = extents
            .iter_mut()
            .map(|extents| {
                let rank = extents.len() as i64;
                RawPartialShape { rank: RawDimension { min: rank, max: rank }, dims: extents.as_mut_ptr() }
            })
            .collect();
        let reshape = self.library.functions().ov_model_reshape_by_port_indexes;
        // SAFETY: the shapes are copied.
        self.library.check(unsafe { reshape(self.as_ptr(), ports.as_ptr(), partial.as_ptr(), ports.len()) })
    }
}

/// An `ov_compiled_model_t`. Clones are the same one.
#[derive(Clone)]
pub struct CompiledModel(Arc<Inner>);

struct Inner {
    raw: NonNull<c_void>,
    library: Library,
}

// SAFETY: a compiled model may be used by any thread, several at once.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { (self.library.functions().ov_compiled_model_free)(self.raw.as_ptr()) };
    }
}

impl CompiledModel {
    pub(crate) fn adopt(raw: NonNull<c_void>, library: Library) -> Self {
        Self(Arc::new(Inner { raw, library }))
    }

    /// What is known of its outputs, in their order.
    pub fn outputs(&self) -> Result<Vec<Port>, Error> {
        let Inner { raw: model, library } = &*self.0;
        let functions = library.functions();
        let mut count = 0;
        // SAFETY: writes the number.
        library.check(unsafe { (functions.ov_compiled_model_outputs_size)(model.as_ptr(), &raw mut count) })?;
        let port = |index| {
            let mut raw = ptr::null_mut();
            // SAFETY: writes the pointer.
            let status = unsafe { (functions.ov_compiled_model_output_by_index)(model.as_ptr(), index, &raw mut raw) };
            Port::take(library, made(library, status, raw)?)
        };
        (0..count).map(port).collect()
    }

    /// One of its properties.
    pub fn property(&self, key: &CStr) -> Result<String, Error> {
        let Inner { raw: model, library } = &*self.0;
        let mut text = ptr::null_mut();
        // SAFETY: strings; what it writes is the caller's.
        unsafe {
            let get = library.functions().ov_compiled_model_get_property;
            library.check(get(model.as_ptr(), key.as_ptr(), &raw mut text))?;
            Ok(library.take_text(text).unwrap_or_default())
        }
    }

    /// A request of its own. Requests of one model run side by side.
    pub fn create_infer_request(&self) -> Result<InferRequest, Error> {
        let Inner { raw: model, library } = &*self.0;
        let mut raw = ptr::null_mut();
        // SAFETY: writes the pointer.
        let status =
            unsafe { (library.functions().ov_compiled_model_create_infer_request)(model.as_ptr(), &raw mut raw) };
        Ok(InferRequest::adopt(made(library, status, raw)?, library.clone(), self.clone()))
    }
}
