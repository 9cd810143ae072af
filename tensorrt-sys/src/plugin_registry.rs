//! `IPluginRegistry`: the plugins that a runtime finds.

use crate::method::{Absent, This};
use crate::object::Object;
use crate::tables;
use crate::version::Version;
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

/// A plugin registry. The runtime that it belongs to lives as long as it.
pub struct PluginRegistry {
    /// The registry itself: its methods are not behind an `mImpl`.
    this: This,
    version: Version,
    _owner: Option<Arc<Object>>,
}

/// A library of plugins in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLibraryHandle(NonNull<c_void>);

// SAFETY: TensorRT locks its registries.
unsafe impl Send for PluginRegistry {}
// SAFETY: as above.
unsafe impl Sync for PluginRegistry {}

impl PluginRegistry {
    /// # Safety
    /// `registry` is an `IPluginRegistry*` of a library of `version` that lives as long as `owner`
    /// or, if there is none, as long as the library.
    pub(crate) unsafe fn new(registry: *mut c_void, version: Version, owner: Option<Arc<Object>>) -> Self {
        Self { this: registry.cast(), version, _owner: owner }
    }

    /// Loads a library of plugins and registers them; `None` if TensorRT refuses.
    ///
    /// # Safety
    /// The file is a TensorRT plugin library: loading it runs its code.
    pub unsafe fn load_library(&self, path: &CStr) -> Result<Option<PluginLibraryHandle>, Absent> {
        // SAFETY: the registry is alive and of the version; the file is the caller's to vouch for.
        unsafe {
            let load = tables::LOAD_LIBRARY.of(self.this, self.version)?;
            let handle = load(self.this, path.as_ptr());
            Ok(NonNull::new(handle).map(PluginLibraryHandle))
        }
    }

    /// Removes a library's plugins and unloads it.
    ///
    /// # Safety
    /// The handle is of this registry and used once; nothing uses the plugins any more.
    pub unsafe fn deregister_library(&self, library: PluginLibraryHandle) -> Result<(), Absent> {
        // SAFETY: the registry is alive and of the version; the handle is the caller's to vouch for.
        unsafe {
            let deregister = tables::DEREGISTER_LIBRARY.of(self.this, self.version)?;
            deregister(self.this, library.0.as_ptr());
        }
        Ok(())
    }
}
