//! OpenVINO's core: reads and compiles models.

use crate::error::{Error, Status};
use crate::functions::{Raw, RawDeviceVersions, RawProperty};
use crate::library::Library;
use crate::model::{CompiledModel, Model};
use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// An `ov_core_t`. Clones are the same one.
#[derive(Clone)]
pub struct Core(Arc<Inner>);

struct Inner {
    raw: NonNull<c_void>,
    library: Library,
}

// SAFETY: OpenVINO's core may be used by any thread, several at once.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { (self.library.functions().ov_core_free)(self.raw.as_ptr()) };
    }
}

/// An object that a call has made.
pub(crate) fn made(library: &Library, status: i32, raw: Raw) -> Result<NonNull<c_void>, Error> {
    library.check(status)?;
    NonNull::new(raw).ok_or_else(|| Error { status: Status::OK, message: "OpenVINO returned nothing".to_owned() })
}

impl Core {
    /// A core with the plugins that belong to the library. None is loaded yet.
    pub fn new(library: &Library) -> Result<Self, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: writes the pointer.
        let status = unsafe { (library.functions().ov_core_create)(&raw mut raw) };
        Ok(Self(Arc::new(Inner { raw: made(library, status, raw)?, library: library.clone() })))
    }

    /// The library that it is of.
    pub fn library(&self) -> &Library {
        &self.0.library
    }

    /// The build number of a device's plugin, which is loaded for that.
    pub fn plugin_build(&self, device: &CStr) -> Result<String, Error> {
        let functions = self.0.library.functions();
        let mut list = RawDeviceVersions { versions: ptr::null_mut(), size: 0 };
        // SAFETY: it fills the list, which is freed once.
        unsafe {
            let get = functions.ov_core_get_versions_by_device_name;
            self.0.library.check(get(self.0.raw.as_ptr(), device.as_ptr(), &raw mut list))?;
            let build = (list.size > 0 && !list.versions.is_null())
                .then(|| (*list.versions).version.build)
                .filter(|build| !build.is_null())
                .map(|build| CStr::from_ptr(build).to_string_lossy().into_owned());
            (functions.ov_core_versions_free)(&raw mut list);
            Ok(build.unwrap_or_default())
        }
    }

    /// A device's property.
    pub fn property(&self, device: &CStr, key: &CStr) -> Result<String, Error> {
        let mut text = ptr::null_mut();
        let library = &self.0.library;
        // SAFETY: strings; what it writes is the caller's.
        unsafe {
            let get = library.functions().ov_core_get_property;
            library.check(get(self.0.raw.as_ptr(), device.as_ptr(), key.as_ptr(), &raw mut text))?;
            Ok(library.take_text(text).unwrap_or_default())
        }
    }

    /// Reads a model that is all in these bytes.
    pub fn read_model(&self, data: &[u8]) -> Result<Model, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: the bytes are copied; there are no weights beside them.
        let status = unsafe {
            let read = self.0.library.functions().ov_core_read_model_from_memory_buffer;
            read(self.0.raw.as_ptr(), data.as_ptr().cast(), data.len(), ptr::null_mut(), &raw mut raw)
        };
        Ok(Model::adopt(made(&self.0.library, status, raw)?, self.0.library.clone()))
    }

    /// Makes a model ready to run on a device. The model may be changed or dropped afterwards.
    pub fn compile_model(
        &self,
        model: &Model,
        device: &CStr,
        properties: &[(&CStr, &CStr)],
    ) -> Result<CompiledModel, Error> {
        let library = &self.0.library;
        let functions = library.functions();
        let mut raw = ptr::null_mut();
        let (core, model) = (self.0.raw.as_ptr(), model.as_ptr());
        // SAFETY: strings, which live as long as the call; objects that are alive.
        let status = unsafe {
            match functions.ov_core_compile_model_props {
                Some(compile) => {
                    let properties: Vec<_> = properties
                        .iter()
                        .map(|(key, value)| RawProperty { key: key.as_ptr(), value: value.as_ptr().cast() })
                        .collect();
                    compile(core, model, device.as_ptr(), properties.len(), properties.as_ptr(), &raw mut raw)
                }
                None => {
                    // The count is of all arguments: keys and values.
                    let given = properties.iter().flat_map(|(key, value)| [key.as_ptr(), value.as_ptr()]);
                    let mut f = [c"".as_ptr(); MOST_ARGUMENTS];
                    let count = given.clone().count();
                    if count > MOST_ARGUMENTS {
                        let message = format!("{} properties are more than can be passed", properties.len());
                        return Err(Error { status: Status::INVALID_C_PARAM, message });
                    }
                    f.iter_mut().zip(given).for_each(|(slot, argument)| *slot = argument);
                    let compile = functions.ov_core_compile_model;
                    compile(
                        core,
                        model,
                        device.as_ptr(),
                        count,
                        &raw mut raw,
                        f[0],
                        f[1],
                        f[2],
                        f[3],
                        f[4],
                        f[5],
                        f[6],
                        f[7],
                        f[8],
                        f[9],
                        f[10],
                        f[11],
                        f[12],
                        f[13],
                        f[14],
                        f[15],
                    )
                }
            }
        };
        Ok(CompiledModel::adopt(made(library, status, raw)?, library.clone()))
    }
}

/// So many arguments behind the named ones are passed to a function that takes any number.
const MOST_ARGUMENTS: usize = 16;
