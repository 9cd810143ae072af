//! TensorRT, whichever of its versions is found at run time.

mod context;
mod engine;
mod find;
mod lane;
mod lines;
mod loggers;
mod plan;
mod plugins;
mod profiles;
mod runtime;
mod transfer;

pub use find::{Found, every_library};
pub use lines::withhold;
pub use plan::Plan;
pub use plugins::probe as probe_plugins;
pub use runtime::Runtime;

use std::path::PathBuf;

/// What TensorRT is looked for and what is loaded beside it.
#[derive(Clone)]
pub struct Options {
    /// The library's file, or the folder that it is in.
    pub path: Option<PathBuf>,
    /// Libraries with the application's own plugins.
    pub plugin_libraries: Vec<PathBuf>,
    /// Whether libnvinfer_plugin may be loaded when a plan asks for it.
    pub standard_plugins: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { path: None, plugin_libraries: Vec::new(), standard_plugins: true }
    }
}
