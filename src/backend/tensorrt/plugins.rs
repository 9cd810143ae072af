//! Plugin libraries: the application's, and TensorRT's own.

use super::Options;
use super::diagnostics::Lines;
use crate::error::{Code, Error, Result};
use crate::quote::shown;
use crate::shared_library;
use once_cell::sync::OnceCell;
use std::fmt;
use std::path::{Path, PathBuf};
use tensorrt_sys::{Library, Logger, PluginLibrary};

pub struct Plugins {
    standard_allowed: bool,
    standard: OnceCell<PluginLibrary>,
    /// Kept loaded: TensorRT calls the creators in them.
    _application: Vec<PluginLibrary>,
}

/// A plugin that a plan asks for and no library that is loaded has.
pub struct Wanted {
    name: String,
    version: String,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plan needs the plugin {} (version {})", self.name, self.version)
    }
}

impl Wanted {
    fn error(&self, why: &str) -> Error {
        Error::new(Code::MissingPlugin, format!("{self}, {why}"))
    }

    /// Not in TensorRT's own library either.
    pub fn nowhere(&self) -> Error {
        self.error(
            "which is in no library that is loaded, libnvinfer_plugin included; name the library that has it with \
             planrt_runtime_options_add_plugin_library",
        )
    }
}

/// The plugin that TensorRT says it lacks.
///
/// 8.5: "getPluginCreator could not find plugin: InstanceNormalization_TRT version: 1"; later versions say
/// "Cannot find plugin: InstanceNormalization_TRT, version: 1, namespace:". Where the line is not among those that were
/// logged, the name is looked for in the plan.
pub fn missing(said: &Lines, plan: &[u8]) -> Option<Wanted> {
    let word = |text: &str| text.trim().split([' ', ',', ':']).next().unwrap_or_default().to_owned();
    let named = said.iter().find_map(|(_, line)| {
        let rest = line.split_once("find plugin: ")?.1;
        let version = rest.split_once("version: ").map_or_else(|| "unknown".to_owned(), |(_, version)| word(version));
        Some(Wanted { name: word(rest), version })
    });
    named.or_else(|| {
        let name = said.mention(&["IPluginCreator not found"]).then(|| standard_plugin_in(plan))?;
        Some(Wanted {
            name: name.unwrap_or_else(|| "of a name that TensorRT does not tell".to_owned()),
            version: "unknown".to_owned(),
        })
    })
}

/// The first name in a plan that ends as the names of TensorRT's own plugins do: "InstanceNormalization_TRT".
fn standard_plugin_in(plan: &[u8]) -> Option<String> {
    const ENDING: &[u8] = b"_TRT";
    let end = plan.windows(ENDING.len()).position(|bytes| bytes == ENDING)?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let start = plan[..end].iter().rposition(|byte| !is_name(byte)).map_or(0, |before| before + 1);
    String::from_utf8(plan[start..end + ENDING.len()].to_vec()).ok()
}

/// Those of TensorRT's own plugins of which no two may be at work on a device: blocks of their kernels wait for one another, and where
/// two such kernels share the device, each may hold the place of blocks that the other waits for, for ever.
const RUN_ALONE: [&str; 1] = ["InstanceNormalization_TRT"];

/// Such a plugin, if a plan asks for it. Its names are in it as they are.
pub fn that_runs_alone(plan: &[u8]) -> Option<&'static str> {
    RUN_ALONE.into_iter().find(|name| memchr::memmem::find(plan, name.as_bytes()).is_some())
}

/// What that means for the application, and the way out.
pub fn why_alone(plugin: &str) -> String {
    format!(
        "the plan has the plugin {plugin}, of which two that run on a GPU at once may wait for each other for ever: its runs take turns \
         on the GPU, those of other engines with it, too; built with PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED \
         (--instanceNormalization=decomposed) a plan does without it"
    )
}

impl Plugins {
    /// Loads the application's libraries, whose initializers register what is in them.
    pub fn load(options: &Options, library: &Library) -> Result<Self> {
        let application = options
            .plugin_libraries
            .iter()
            .map(|path| {
                open(path).map_err(|error| {
                    let message =
                        format!("the plugin library {} does not load beside {}", shown(path), library.version());
                    Error::new(Code::MissingPlugin, format!("{message}: {error}"))
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { standard_allowed: options.standard_plugins, standard: OnceCell::new(), _application: application })
    }

    /// Loads libnvinfer_plugin and registers what is in it, for the plugin that is wanted; gives its name.
    pub fn load_standard(&self, wanted: &Wanted, library: &Library, logger: &'static Logger) -> Result<String> {
        let name = standard_name(library);
        let place = format!("which is in {name} if it is one of TensorRT's own");
        if !self.standard_allowed {
            return Err(wanted
                .error(&format!("{place}; planrt_runtime_options_set_standard_plugins(false) forbids to load that")));
        }
        self.standard.get_or_try_init(|| {
            let plugins =
                open_standard(library).map_err(|why| wanted.error(&format!("{place}; that does not load: {why}")))?;
            match plugins.init_lib_nv_infer_plugins(logger, library.version().generation, c"") {
                Some(true) => Ok(plugins),
                _ => Err(wanted.error(&format!("{place}; that does not register what is in it"))),
            }
        })?;
        Ok(name)
    }
}

impl Plugins {
    /// As [`load_standard`](Self::load_standard), before it is known whether any plugin is wanted.
    pub fn register_standard(&self, library: &Library, logger: &'static Logger) -> std::result::Result<(), String> {
        if !self.standard_allowed {
            return Err("planrt_runtime_options_set_standard_plugins(false) forbids to load them".to_owned());
        }
        let register = || {
            let plugins = open_standard(library)?;
            let is_done = plugins.init_lib_nv_infer_plugins(logger, library.version().generation, c"");
            is_done.filter(|done| *done).map(|_| plugins).ok_or_else(|| "they do not register".to_owned())
        };
        self.standard.get_or_try_init(register).map(|_| ())
    }
}

fn open(name: &Path) -> std::result::Result<PluginLibrary, String> {
    shared_library::check(name)?;
    // SAFETY: NVIDIA's library by its name, or the application says that this file holds plugins; loading runs its
    // initializers.
    unsafe { PluginLibrary::open(name) }.map_err(|error| error.to_string())
}

fn standard_name(library: &Library) -> String {
    format!("libnvinfer_plugin.so.{}", library.version().major)
}

fn open_standard(library: &Library) -> std::result::Result<PluginLibrary, String> {
    open_beside(library, &standard_name(library), open)
}

/// Loads a library that is linked with TensorRT. Beside that first: an installation's libraries belong together.
pub fn open_beside<T>(
    library: &Library,
    name: &str,
    open: impl Fn(&Path) -> std::result::Result<T, String>,
) -> std::result::Result<T, String> {
    // It is linked with libnvinfer by its name, for which the loader takes the first that the process has.
    if let Ok(Some(first)) = Library::attach(format!("libnvinfer.so.{}", library.version().major))
        && first.path() != library.path()
    {
        return Err(format!(
            "it would register with {} ({}), which is in the process already, and not with {}; load that first, or run the two \
             in processes of their own",
            first.version(),
            shown(first.path()),
            shown(library.path())
        ));
    }
    let beside = library.path().with_file_name(name);
    let places = [Some(beside).filter(|path| path.is_file()), Some(PathBuf::from(name))];
    let mut why = String::new();
    for place in places.into_iter().flatten() {
        match open(&place) {
            Ok(opened) => return Ok(opened),
            Err(error) if why.is_empty() => why = error,
            Err(_) => {}
        }
    }
    Err(why)
}

/// Whether libnvinfer_plugin would load beside this TensorRT, and why not; for the doctor.
pub fn probe(library: &Library) -> std::result::Result<String, String> {
    open_standard(library).map(|_| standard_name(library))
}

#[cfg(test)]
mod tests {
    use super::super::diagnostics::{add, gather};
    use super::*;
    use tensorrt_sys::Severity;

    fn said(line: &str) -> Lines {
        gather(|| add(Severity::Info, line)).1
    }

    #[test]
    fn the_missing_plugin_is_named() {
        let wanted =
            missing(&said("3: getPluginCreator could not find plugin: InstanceNormalization_TRT version: 1"), b"")
                .unwrap();
        assert_eq!((wanted.name.as_str(), wanted.version.as_str()), ("InstanceNormalization_TRT", "1"));
        let wanted = missing(&said("Cannot find plugin: ROIAlign_TRT, version: 2, namespace:."), b"").unwrap();
        assert_eq!((wanted.name.as_str(), wanted.version.as_str()), ("ROIAlign_TRT", "2"));
        let creator = said("Cannot deserialize plugin since corresponding IPluginCreator not found in Plugin Registry");
        assert_eq!(missing(&creator, b"ptrt\0\x19Reorg_TRT\0").unwrap().name, "Reorg_TRT");
        assert!(missing(&creator, b"ptrt").is_some());
        assert!(missing(&said("Version tag does not match"), b"Reorg_TRT").is_none());
    }
}
