//! Libraries of plugins: `libnvinfer_plugin`, and those that applications bring.

use crate::library::OpenError;
use crate::logger::Logger;
use crate::version::Generation;
use std::ffi::{CStr, OsStr, c_char, c_void};

type InitLibNvInferPlugins = unsafe extern "C" fn(*mut c_void, *const c_char) -> bool;

/// A library whose plugins register themselves with a TensorRT when it is loaded.
///
/// It is never unloaded: TensorRT keeps pointers into it.
#[derive(Clone, Debug)]
pub struct PluginLibrary {
    init: Option<InitLibNvInferPlugins>,
}

impl PluginLibrary {
    /// Loads a library of plugins by its path, or by a name for which the dynamic loader searches.
    ///
    /// # Safety
    /// Loading a library runs its code. It was built for a TensorRT that is in the process.
    pub unsafe fn open(name: impl AsRef<OsStr>) -> Result<Self, OpenError> {
        let name = name.as_ref();
        // SAFETY: by contract.
        let library = unsafe { shared_object::open(name) }.map_err(|error| OpenError::new(name, error))?;
        // SAFETY: in a library that has this symbol it has this signature.
        let init = unsafe { shared_object::symbol(&library, c"initLibNvInferPlugins") };
        std::mem::forget(library);
        Ok(Self { init })
    }

    /// Registers the plugins of `libnvinfer_plugin` in a namespace, usually the empty one. `None`
    /// if the library has no such function, false if it fails.
    ///
    /// `generation` is that of the TensorRT it was built for.
    pub fn init_lib_nv_infer_plugins(
        &self,
        logger: &'static Logger,
        generation: Generation,
        namespace: &CStr,
    ) -> Option<bool> {
        let init = self.init?;
        // SAFETY: the logger has this generation's form and lives forever.
        Some(unsafe { init(logger.as_ptr(generation), namespace.as_ptr()) })
    }
}

/// Whether cuDNN 8 is in the process, where plugins of TensorRT 8 bring it, and not only a library of its name.
pub fn has_cudnn() -> bool {
    let Some(library) = shared_object::attach(OsStr::new("libcudnn.so.8")) else { return false };
    // SAFETY: in cuDNN this function has this type; it is not called.
    let version = unsafe { shared_object::symbol::<unsafe extern "C" fn() -> usize>(&library, c"cudnnGetVersion") };
    version.is_some()
}
