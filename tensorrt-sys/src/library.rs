//! Finding and loading a TensorRT.

use crate::builder::Builder;
use crate::engine::Engine;
use crate::logger::Logger;
use crate::object::Object;
use crate::plugin_registry::PluginRegistry;
use crate::refitter::Refitter;
use crate::runtime::Runtime;
use crate::version::{Generation, Version};
use shared_object::NotLoaded;
use std::ffi::{OsStr, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which of TensorRT's libraries it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// `libnvinfer`: builds and runs plans.
    Full,
    /// `libnvinfer_lean`: runs version-compatible plans.
    Lean,
    /// `libnvinfer_dispatch`: loads a lean runtime to run version-compatible plans.
    Dispatch,
    /// `libtensorrt_rtx`: TensorRT-RTX.
    Rtx,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Lean => "lean",
            Self::Dispatch => "dispatch",
            Self::Rtx => "RTX",
        })
    }
}

/// Every name under which a supported TensorRT may be installed: versioned names first, since an
/// unversioned one belongs to development files and says nothing of what it points to.
pub const CANDIDATES: [&str; 14] = [
    "libnvinfer.so.11",
    "libnvinfer.so.10",
    "libnvinfer.so.8",
    "libnvinfer_lean.so.11",
    "libnvinfer_lean.so.10",
    "libnvinfer_lean.so.8",
    "libnvinfer_dispatch.so.11",
    "libnvinfer_dispatch.so.10",
    "libnvinfer_dispatch.so.8",
    "libtensorrt_rtx.so.1",
    "libnvinfer.so",
    "libnvinfer_lean.so",
    "libnvinfer_dispatch.so",
    "libtensorrt_rtx.so",
];

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
    /// It is a library, but no TensorRT.
    NotTensorRt {
        /// The path or name.
        name: PathBuf,
        /// The symbol that every TensorRT has.
        missing: &'static str,
    },
    /// It is a TensorRT for which this crate has no table.
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What its `getInferLibVersion()` returns.
        reported: i32,
    },
}

impl OpenError {
    pub(crate) fn new(name: &OsStr, error: NotLoaded) -> Self {
        match error {
            NotLoaded::NotFound => Self::NotFound { name: name.into() },
            NotLoaded::Refused(reason) => Self::NotLoadable { name: name.into(), reason },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name } => write!(f, "{}: not found", name.display()),
            Self::NotLoadable { name, reason } => {
                write!(f, "{}: cannot be loaded: {reason}", name.display())
            }
            Self::NotTensorRt { name, missing } => {
                write!(f, "{}: is no TensorRT, it lacks {missing}", name.display())
            }
            Self::Unsupported { path, reported } => {
                write!(f, "{}: reports version {reported}; supported are {}", path.display(), Version::SUPPORTED)
            }
        }
    }
}

impl std::error::Error for OpenError {}

type GetInferLibVersion = unsafe extern "C" fn() -> i32;
type CreateInferRuntime = unsafe extern "C" fn(*mut c_void, i32) -> *mut c_void;
type CreateInferRefitter = unsafe extern "C" fn(*mut c_void, *mut c_void, i32) -> *mut c_void;
type GetPluginRegistry = unsafe extern "C" fn() -> *mut c_void;

/// A TensorRT in this process. Clones are the same library.
///
/// It is never unloaded: TensorRT leaves threads and process-wide state behind, which would run
/// into unmapped code.
#[derive(Clone, Debug)]
pub struct Library {
    path: PathBuf,
    version: Version,
    flavor: Flavor,
    create_infer_runtime: CreateInferRuntime,
    /// Of the same form.
    create_infer_builder: Option<CreateInferRuntime>,
    create_infer_refitter: Option<CreateInferRefitter>,
    get_plugin_registry: Option<GetPluginRegistry>,
}

impl Library {
    /// Loads a TensorRT by its path, or by a name for which the dynamic loader searches.
    ///
    /// Its symbols stay its own, so that several can be in one process.
    ///
    /// # Safety
    /// Loading a library runs its code; see [`CANDIDATES`] for names that are TensorRT's.
    pub unsafe fn open(name: impl AsRef<OsStr>) -> Result<Self, OpenError> {
        let name = name.as_ref();
        // SAFETY: by contract.
        let library = unsafe { shared_object::open(name) }.map_err(|error| OpenError::new(name, error))?;
        Self::new(name, library)
    }

    /// Takes a TensorRT that something else has loaded into this process; `None` if there is none
    /// under this path or name.
    pub fn attach(name: impl AsRef<OsStr>) -> Result<Option<Self>, OpenError> {
        let name = name.as_ref();
        shared_object::attach(name).map(|library| Self::new(name, library)).transpose()
    }

    fn new(name: &OsStr, library: libloading::os::unix::Library) -> Result<Self, OpenError> {
        let lacks = |missing| OpenError::NotTensorRt { name: name.into(), missing };
        // SAFETY: in a library that has these symbols they are TensorRT's, with these signatures,
        // which have not changed since 8.
        let (get_version, create, registry, builder, refitter) = unsafe {
            (
                shared_object::symbol::<GetInferLibVersion>(&library, c"getInferLibVersion")
                    .ok_or_else(|| lacks("getInferLibVersion"))?,
                shared_object::symbol(&library, c"createInferRuntime_INTERNAL")
                    .ok_or_else(|| lacks("createInferRuntime_INTERNAL"))?,
                shared_object::symbol(&library, c"getPluginRegistry"),
                shared_object::symbol::<CreateInferRuntime>(&library, c"createInferBuilder_INTERNAL"),
                shared_object::symbol(&library, c"createInferRefitter_INTERNAL"),
            )
        };
        // It is a TensorRT: from here on it stays, as the type's documentation says.
        std::mem::forget(library);
        let path = shared_object::file_of(get_version as usize).unwrap_or_else(|| PathBuf::from(name));
        // SAFETY: no argument, no condition.
        let reported = unsafe { get_version() };
        let Some(version) = Version::decode(reported) else {
            return Err(OpenError::Unsupported { path, reported });
        };
        Ok(Self {
            flavor: flavor(&path, version, builder.is_some()),
            path,
            version,
            create_infer_runtime: create,
            create_infer_builder: builder,
            create_infer_refitter: refitter,
            get_plugin_registry: registry,
        })
    }

    /// The file that was loaded, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version that it reports.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Which of TensorRT's libraries it is.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Creates a runtime; `None` if TensorRT refuses, which it does where there is no CUDA driver.
    pub fn create_runtime(&self, logger: &'static Logger) -> Option<Runtime> {
        let logger = logger.as_ptr(self.version.generation);
        // SAFETY: the logger has this generation's form and lives forever; the version is the
        // library's own, and what it returns is the caller's.
        let object = unsafe {
            let raw = (self.create_infer_runtime)(logger, self.version.encode());
            Object::adopt(raw, self.version, None)
        };
        object.map(|object| Runtime(Arc::new(object)))
    }

    /// Whether there is a builder in it. The lean and the dispatch runtime have none.
    pub fn builds(&self) -> bool {
        self.create_infer_builder.is_some()
    }

    /// Creates a builder; `None` if the library has none, or TensorRT refuses, which it does where there is no CUDA driver.
    /// (TensorRT-RTX builds without one.)
    pub fn create_builder(&self, logger: &'static Logger) -> Option<Builder> {
        let logger = logger.as_ptr(self.version.generation);
        // SAFETY: as for a runtime.
        let object = unsafe {
            let raw = self.create_infer_builder?(logger, self.version.encode());
            Object::adopt(raw, self.version, None)
        };
        object.map(|object| Builder(Arc::new(object)))
    }

    /// What puts other weights into an engine of this library; `None` if TensorRT refuses, as it does where the plan was not
    /// built to be refitted.
    pub fn create_refitter(&self, engine: &Engine, logger: &'static Logger) -> Option<Refitter> {
        let logger = logger.as_ptr(self.version.generation);
        // SAFETY: as for a runtime; the engine is one of this library's version, alive, and kept by the refitter.
        let object = unsafe {
            let raw = self.create_infer_refitter?(engine.as_ptr(), logger, self.version.encode());
            Object::adopt(raw, self.version, None)
        };
        object.map(|object| Refitter::new(object, engine.clone()))
    }

    /// The registry of the plugins that all of the library's runtimes find; `None` if the library
    /// has none.
    pub fn plugin_registry(&self) -> Option<PluginRegistry> {
        // SAFETY: no argument; the registry lives as long as the library, which is never unloaded.
        unsafe {
            let registry = self.get_plugin_registry?();
            (!registry.is_null()).then(|| PluginRegistry::new(registry, self.version, None))
        }
    }
}

/// Which library it is: only the full one and RTX build; the lean and the dispatch runtime differ in
/// nothing that can be asked but their name.
fn flavor(path: &Path, version: Version, builds: bool) -> Flavor {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match version.generation {
        Generation::Rtx => Flavor::Rtx,
        _ if builds => Flavor::Full,
        _ if name.contains("dispatch") => Flavor::Dispatch,
        _ => Flavor::Lean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong() {
        // SAFETY: neither is there, the third is no library, the fourth is the C library.
        let open = |name: &str| unsafe { Library::open(name) }.unwrap_err();
        assert_eq!(open("libnvinfer_of_nowhere.so.8").to_string(), "libnvinfer_of_nowhere.so.8: not found");
        assert_eq!(open("/nowhere/libnvinfer.so.8").to_string(), "/nowhere/libnvinfer.so.8: not found");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(matches!(open(manifest), OpenError::NotLoadable { .. }));
        assert_eq!(open("libc.so.6").to_string(), "libc.so.6: is no TensorRT, it lacks getInferLibVersion");
        assert!(Library::attach("libnvinfer.so.8").unwrap().is_none());
        assert!(Library::attach("libc.so.6").is_err());
    }

    #[test]
    fn flavors_are_told_apart() {
        let ten = Version::decode(101_601).unwrap();
        let rtx = Version::decode(10_701).unwrap();
        for (name, version, builds, expected) in [
            ("/opt/libnvinfer.so.10.16.1", ten, true, Flavor::Full),
            ("/opt/libnvinfer_lean.so.10.16.1", ten, false, Flavor::Lean),
            ("/opt/libnvinfer_dispatch.so.10", ten, false, Flavor::Dispatch),
            ("/opt/dispatch-box/renamed.so", ten, true, Flavor::Full),
            ("/opt/libtensorrt_rtx.so.1.7.1", rtx, true, Flavor::Rtx),
        ] {
            assert_eq!(flavor(Path::new(name), version, builds), expected, "{name}");
        }
    }
}
