//! What all of TensorRT's objects have in common: two words, an owner and an end.

use crate::method::{Absent, Method, Optional, This};
use crate::version::Version;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

/// What an `IRuntime*`, `ICudaEngine*`, … points at.
#[repr(C)]
struct Handle {
    /// The complete and the deleting destructor, nothing else.
    destructors: *const [unsafe extern "C" fn(*mut Handle); 2],
    /// The `V…` object, on which the methods are called (`mImpl` in the headers).
    implementation: This,
}

/// An object of TensorRT's, deleted when this is dropped.
///
/// TensorRT wants a context deleted before its engine and an engine before its runtime, so each
/// object keeps the one that made it.
pub(crate) struct Object {
    handle: NonNull<Handle>,
    version: Version,
    /// Dropped after the handle: `drop` runs before the fields' own.
    _maker: Option<Arc<Object>>,
}

// SAFETY: TensorRT binds none of these objects to a thread. Which of an object's methods may run
// at the same time differs; the types around this one say so with `&mut self` or by not being Sync.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl Object {
    /// Takes over what a TensorRT of `version` returned; `None` where it returned nothing.
    ///
    /// # Safety
    /// `raw` is null, invalid but below 4096, or a pointer to an `I…` object that nobody else
    /// deletes; it was made by a library of `version`, through `maker` if there is one.
    pub(crate) unsafe fn adopt(raw: *mut c_void, version: Version, maker: Option<Arc<Object>>) -> Option<Self> {
        // The lean runtimes return 0x228 instead of null where there is no CUDA driver.
        const FIRST_PAGE: usize = 4096;
        if raw.addr() < FIRST_PAGE {
            return None;
        }
        Some(Self { handle: NonNull::new(raw.cast())?, version, _maker: maker })
    }

    /// The version of the library that made the object.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The pointer that C++ knows the object by.
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.handle.as_ptr().cast()
    }

    /// The `this` of the object's methods.
    #[inline]
    pub(crate) fn this(&self) -> This {
        // SAFETY: the handle is alive until drop.
        unsafe { (*self.handle.as_ptr()).implementation }
    }

    /// A method's function, to be called on [`this`](Self::this).
    ///
    /// # Safety
    /// The method is one of this object's interface.
    #[inline]
    pub(crate) unsafe fn method<F: Copy>(&self, method: &Method<F>) -> F {
        // SAFETY: by contract; `adopt` was told the right version.
        unsafe { method.of(self.this(), self.version) }
    }

    /// A method's function, to be called on [`this`](Self::this), if this version has it.
    ///
    /// # Safety
    /// The method is one of this object's interface.
    #[inline]
    pub(crate) unsafe fn optional<F: Copy>(&self, method: &Optional<F>) -> Result<F, Absent> {
        // SAFETY: by contract; `adopt` was told the right version.
        unsafe { method.of(self.this(), self.version) }
    }
}

/// An object that another one owns and deletes: a tensor or layer of a network, a profile of a builder.
pub(crate) struct Part {
    this: This,
    handle: *mut c_void,
    version: Version,
    _owner: Arc<Object>,
}

// SAFETY: as for `Object`.
unsafe impl Send for Part {}
// SAFETY: as for `Object`.
unsafe impl Sync for Part {}

impl Part {
    /// What a method returned; `None` where that is null.
    ///
    /// # Safety
    /// `raw` is null or a pointer to an `I…` object that lives as long as `owner`.
    pub(crate) unsafe fn borrow(raw: *mut c_void, owner: &Arc<Object>) -> Option<Self> {
        let handle = NonNull::new(raw.cast::<Handle>())?;
        // SAFETY: by contract it is an object with the two words of all of them.
        let this = unsafe { (*handle.as_ptr()).implementation };
        Some(Self { this, handle: raw, version: owner.version(), _owner: Arc::clone(owner) })
    }

    /// As [`Object::version`].
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// As [`Object::as_ptr`].
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.handle
    }

    /// As [`Object::this`].
    pub(crate) fn this(&self) -> This {
        self.this
    }

    /// As [`Object::method`].
    ///
    /// # Safety
    /// The method is one of this object's interface.
    pub(crate) unsafe fn method<F: Copy>(&self, method: &Method<F>) -> F {
        // SAFETY: by contract; `borrow` took the owner's version.
        unsafe { method.of(self.this, self.version) }
    }

    /// As [`Object::optional`].
    ///
    /// # Safety
    /// The method is one of this object's interface.
    pub(crate) unsafe fn optional<F: Copy>(&self, method: &Optional<F>) -> Result<F, Absent> {
        // SAFETY: by contract; `borrow` took the owner's version.
        unsafe { method.of(self.this, self.version) }
    }
}

/// Calls a method that every version has: `call!(object, METHOD, arguments…)`, a method of the interface that the type around the
/// object stands for. A function that passes on pointers of its caller's is unsafe itself and says what they must be.
macro_rules! call {
    ($object:expr, $method:ident $(, $argument:expr)* $(,)?) => {
        // SAFETY: the object is alive and of the version that it carries, and the method one of its interface. Arguments are
        // values, strings and memory that live through the call, or what the caller vouches for.
        unsafe { $object.method(&$crate::tables::$method)($object.this() $(, $argument)*) }
    };
}
pub(crate) use call;

/// [`call`] for a method that some versions lack.
macro_rules! call_optional {
    ($object:expr, $method:ident $(, $argument:expr)* $(,)?) => {
        // SAFETY: as for `call`.
        unsafe { $object.optional(&$crate::tables::$method).map(|function| function($object.this() $(, $argument)*)) }
    };
}
pub(crate) use call_optional;

impl Drop for Object {
    fn drop(&mut self) {
        let handle = self.handle.as_ptr();
        // SAFETY: the handle is alive, nobody else deletes it, and what it made was dropped before:
        // each object keeps its maker. Index 1 is the deleting destructor.
        unsafe { ((*(*handle).destructors)[1])(handle) }
    }
}

/// A string that TensorRT returned.
///
/// # Safety
/// `text` is null or a string of C that lives for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: by contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}
