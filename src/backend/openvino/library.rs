//! One OpenVINO, ready to take models.

use super::find::{self, Found};
use crate::error::{Code, Error, Result};
use crate::process::thread::Held;
use crate::quote::shown;
use crate::runtime::OpenVinoOptions;
use crate::shared_library;
use openvino_c::{Core, Version};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The device that models run on.
pub const CPU: &std::ffi::CStr = c"CPU";

/// Engines keep it. Any thread may use it.
pub struct Library {
    found: Found,
    pub core: Core,
}

impl Library {
    /// Finds and loads OpenVINO, and holds its parts against one another.
    pub fn load(options: &OpenVinoOptions) -> Result<Arc<Self>> {
        let _held = Held::signals();
        let found = find::find(options.path.as_deref())?;
        found.library.silence();
        check_parts(&found)?;
        let fails = |what: &str, error: openvino_c::Error| {
            Error::new(Code::NoOpenVino, format!("{found}: {what}")).with_detail(error.to_string())
        };
        let core = Core::new(&found.library).map_err(|error| fails("it does not start", error))?;
        let build = core.plugin_build(CPU).map_err(|error| fails("its plugin for the CPU does not load", error))?;
        let version = found.library.version();
        if Version::parse(&build) != Some(version) {
            return Err(Error::new(
                Code::NoOpenVino,
                format!("{found}: its plugin for the CPU is of another version, {build}"),
            ));
        }
        Ok(Arc::new(Self { found, core }))
    }

    pub fn version(&self) -> Version {
        self.found.library.version()
    }

    pub fn path(&self) -> &Path {
        self.found.library.path()
    }

    /// Which library this is and where it was found, for people.
    pub fn origin(&self) -> String {
        self.found.to_string()
    }
}

/// Looks at the files that OpenVINO loads later: one that is damaged, or of another version, could end the process. Those that
/// are not where they are expected OpenVINO finds, or says so itself; but without its reader of ONNX it would try others,
/// which print.
fn check_parts(found: &Found) -> Result<()> {
    let refuse = |why: String| Err(Error::new(Code::NoOpenVino, format!("{found}: {why}")));
    let library = found.library.path();
    let Some(core) = core_of(library) else {
        return refuse("it does not say which libopenvino it belongs to".to_owned());
    };
    let Some(folder) = library.parent() else { return Ok(()) };
    let suffix = core.strip_prefix(CORE).unwrap_or_default();
    let reader = folder.join(format!("libopenvino_onnx_frontend.so{suffix}"));
    if !reader.exists() {
        return refuse(format!("it has no reader of ONNX models, {}", shown(&reader)));
    }
    let plugin = "libopenvino_intel_cpu_plugin.so";
    let version = found.library.version();
    let other = folder.join(format!("openvino-{version}"));
    let plugins = [folder.join(plugin), other.join(plugin), folder.join("libopenvino_arm_cpu_plugin.so")];
    let Some(plugin) = plugins.iter().find(|path| path.exists()) else {
        return refuse(format!("it has no plugin for the CPU, {}", shown(&plugins[0])));
    };
    for file in [&reader, plugin] {
        if let Err(why) = shared_library::check(file) {
            return refuse(why);
        }
        match core_of(file) {
            Some(needed) if needed == core => {}
            Some(needed) => {
                return refuse(format!("{} is of another version: it belongs to {needed}, not to {core}", shown(file)));
            }
            None => return refuse(format!("{} is damaged, or is no part of OpenVINO", shown(file))),
        }
    }
    Ok(())
}

const CORE: &str = "libopenvino.so";

/// The libopenvino that a file was linked with.
fn core_of(file: &Path) -> Option<String> {
    let file: PathBuf = file.to_owned();
    shared_library::needed(&file).into_iter().find(|needed| needed.starts_with(CORE))
}
