//! Finding and loading an OpenVINO.

use crate::error::{Error, Status};
use crate::functions::{Functions, RawVersion};
use crate::version::Version;
use shared_object::NotLoaded;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

/// Why a library is not to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such file, at this path or where the dynamic loader looks for this name.
    NotFound {
        /// The path or name.
        name: PathBuf,
    },
    /// The dynamic loader refuses the file.
    NotLoadable {
        /// The path or name.
        name: PathBuf,
        /// What it says; often that a library is missing that this one needs.
        reason: String,
    },
    /// It is a library, but not OpenVINO's with the C interface, or not a whole one.
    NotOpenVino {
        /// The path or name.
        name: PathBuf,
        /// A function that every one has.
        missing: &'static CStr,
    },
    /// It is an OpenVINO whose interface this crate does not know.
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The build number that it reports.
        reported: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name } => write!(f, "{}: not found", name.display()),
            Self::NotLoadable { name, reason } => write!(f, "{}: cannot be loaded: {reason}", name.display()),
            Self::NotOpenVino { name, missing } => {
                let missing = missing.to_string_lossy();
                write!(f, "{}: is not OpenVINO's library with the C interface, it lacks {missing}", name.display())
            }
            Self::Unsupported { path, reported } => {
                let first = Version::FIRST;
                let (path, major, minor) = (path.display(), first.major, first.minor);
                write!(f, "{path}: is OpenVINO {reported}; {major}.{minor} and later are supported")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// An OpenVINO in this process. Clones are the same library.
///
/// It is never unloaded: OpenVINO leaves threads behind, which would run into unmapped code.
#[derive(Clone)]
pub struct Library(Arc<Loaded>);

struct Loaded {
    path: PathBuf,
    version: Version,
    functions: Functions,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenVINO {} at {}", self.version(), self.path().display())
    }
}

impl Library {
    /// Loads `libopenvino_c` by its path, or by a name for which the dynamic loader searches.
    ///
    /// # Safety
    /// Loading a library runs its code. If it has functions by the names of OpenVINO's, they are OpenVINO's.
    pub unsafe fn open(name: impl AsRef<OsStr>) -> Result<Self, OpenError> {
        let name = name.as_ref();
        // SAFETY: by contract.
        let library = unsafe { shared_object::open(name) }.map_err(|error| match error {
            NotLoaded::NotFound => OpenError::NotFound { name: name.into() },
            NotLoaded::Refused(reason) => OpenError::NotLoadable { name: name.into(), reason },
        })?;
        Self::new(name, library)
    }

    /// Takes one that something else has loaded into this process; `None` if there is none under this path or name.
    pub fn attach(name: impl AsRef<OsStr>) -> Result<Option<Self>, OpenError> {
        let name = name.as_ref();
        shared_object::attach(name).map(|library| Self::new(name, library)).transpose()
    }

    fn new(name: &OsStr, library: libloading::os::unix::Library) -> Result<Self, OpenError> {
        // SAFETY: in a library that has all of these names they are OpenVINO's functions.
        let functions = unsafe { Functions::load(&library) }
            .map_err(|missing| OpenError::NotOpenVino { name: name.into(), missing })?;
        // It is an OpenVINO: from here on it stays, as the type's documentation says.
        std::mem::forget(library);
        let version: unsafe extern "C" fn(*mut RawVersion) -> c_int = functions.ov_get_openvino_version;
        let path = shared_object::file_of(version as usize).unwrap_or_else(|| PathBuf::from(name));
        let reported = build_number(&functions).unwrap_or_default();
        match Version::parse(&reported).filter(|version| *version >= Version::FIRST) {
            Some(version) => Ok(Self(Arc::new(Loaded { path, version, functions }))),
            None => Err(OpenError::Unsupported { path, reported }),
        }
    }

    /// The file that was loaded, links resolved.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The version that it reports.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Where lines of OpenVINO's log go that would else be written to standard output: nowhere. False if this version cannot be
    /// told.
    pub fn silence(&self) -> bool {
        match self.0.functions.ov_util_set_log_callback {
            // SAFETY: null is a value that it takes.
            Some(set) => unsafe { set(None) },
            None => return false,
        }
        true
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.0.functions
    }

    /// The error that a status is.
    pub(crate) fn check(&self, status: c_int) -> Result<(), Error> {
        match Status(status) {
            Status::OK => Ok(()),
            // The interface itself does not take an argument, and says no more.
            Status::INVALID_C_PARAM => Err(Error { status: Status(status), message: String::new() }),
            status => {
                // SAFETY: no condition; it returns a copy that is the caller's, or null.
                let message = unsafe { self.take_text((self.functions().ov_get_last_err_msg)().cast_mut()) };
                Err(Error { status, message: message.unwrap_or_default() })
            }
        }
    }

    /// Takes a string that OpenVINO made for the caller.
    ///
    /// # Safety
    /// `text` is null, or such a string, and used no more.
    pub(crate) unsafe fn take_text(&self, text: *mut c_char) -> Option<String> {
        if text.is_null() {
            return None;
        }
        // SAFETY: by contract.
        unsafe {
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            (self.functions().ov_free)(text);
            Some(copy)
        }
    }
}

fn build_number(functions: &Functions) -> Option<String> {
    let mut version = RawVersion { build: ptr::null(), description: ptr::null() };
    // SAFETY: it fills the structure, which is freed once, with strings or null in it.
    unsafe {
        if (functions.ov_get_openvino_version)(&raw mut version) != 0 {
            return None;
        }
        let build = (!version.build.is_null()).then(|| CStr::from_ptr(version.build).to_string_lossy().into_owned());
        (functions.ov_version_free)(&raw mut version);
        build
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong() {
        // SAFETY: neither is there, the third is no library, the fourth is the C library.
        let open = |name: &str| unsafe { Library::open(name) }.unwrap_err();
        assert_eq!(open("libopenvino_c.so.9").to_string(), "libopenvino_c.so.9: not found");
        assert_eq!(open("/nowhere/libopenvino_c.so").to_string(), "/nowhere/libopenvino_c.so: not found");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(matches!(open(manifest), OpenError::NotLoadable { .. }));
        assert_eq!(
            open("libc.so.6").to_string(),
            "libc.so.6: is not OpenVINO's library with the C interface, it lacks ov_get_openvino_version"
        );
        assert!(Library::attach("libopenvino_c.so").unwrap().is_none());
        assert!(Library::attach("libc.so.6").is_err());
    }
}
