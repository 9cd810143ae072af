//! TensorRT, whichever of its versions is found at run time.

mod builder;
mod context;
mod diagnostics;
mod engine;
mod find;
mod library;
mod plan;
mod plugins;
mod profiles;
mod session;
mod transfer;

pub use builder::BuilderLibrary;
#[cfg(test)]
pub use diagnostics::add;
pub use diagnostics::{Lines, failed, gather, listen, withhold};
pub use engine::Engine;
pub use find::{Found, every_library};
pub use library::Library;
pub use plan::Plan;
pub use plugins::probe as probe_plugins;

use super::instance_group::{InstanceGroup, InstanceGroupOptions};
use crate::backend;
use crate::cuda::{Device, Turns};
use crate::engine::{Description, Statistic};
use crate::error::{Code, Error, Result};
use crate::log::Log;
use context::Context;
use std::path::PathBuf;
use std::sync::Arc;
use tensorrt_sys::{Absent, ExecutionContextAllocationStrategy};

/// What TensorRT is looked for and what is loaded beside it.
#[derive(Clone)]
pub struct Options {
    /// The library's file, or the folder that it is in.
    pub path: Option<PathBuf>,
    /// Libraries with the application's own plugins.
    pub plugin_libraries: Vec<PathBuf>,
    /// Whether libnvinfer_plugin may be loaded when a plan asks for it.
    pub standard_plugins: bool,
    /// Whether plans may bring code that runs on the host.
    pub engine_host_code_allowed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { path: None, plugin_libraries: Vec::new(), standard_plugins: true, engine_host_code_allowed: false }
    }
}

/// How one plan is loaded.
#[derive(Clone, Default)]
pub struct PlanOptions {
    /// The lean runtime that is to run it.
    pub lean_runtime: Option<PathBuf>,
    pub weight_budget: Option<WeightBudget>,
}

/// How much device memory the weights of a plan that streams them may take.
#[derive(Clone, Copy, Debug)]
pub enum WeightBudget {
    /// What TensorRT recommends for the memory that is free.
    Automatic,
    /// Bytes.
    Fixed(i64),
}

impl backend::Engine for Engine {
    fn description(&self) -> &Description {
        self.description()
    }

    fn device(&self) -> Option<&Arc<Device>> {
        Some(self.library().device())
    }

    fn turns(&self) -> Option<&Arc<Turns>> {
        self.turns()
    }

    fn log(&self) -> Option<&Arc<Log>> {
        Some(self.library().log())
    }

    fn layers_json(&self) -> Result<String> {
        self.layers_json()
    }

    fn metadata(&self) -> serde_json::Value {
        self.metadata()
    }

    fn statistic(&self, statistic: Statistic) -> Result<i64> {
        self.statistic(statistic)
    }

    fn profile_device_memory_size(&self, profile: usize) -> usize {
        self.profile_device_memory_size(profile)
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn backend::Context>> {
        any_context(self, ExecutionContextAllocationStrategy::Static)
    }

    fn new_context_without_memory(self: Arc<Self>) -> Result<Box<dyn backend::Context>> {
        any_context(self, ExecutionContextAllocationStrategy::UserManaged)
    }

    fn instance_group(self: Arc<Self>, options: &InstanceGroupOptions) -> Result<InstanceGroup> {
        session::instance_group(&self, options)
    }
}

fn any_context(engine: Arc<Engine>, strategy: ExecutionContextAllocationStrategy) -> Result<Box<dyn backend::Context>> {
    let profiles = 0..engine.description().profiles.len().max(1);
    Ok(Box::new(Context::new(engine, strategy, profiles)?))
}

/// What this TensorRT lacks, and which have it.
impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        Self::new(Code::Unsupported, absent.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensorrt_sys::{Version, methods};

    #[test]
    fn what_a_version_lacks_is_an_error_that_names_who_has_it() {
        let row = *methods().find(|row| row.declaration.contains("getEngineStat")).unwrap();
        let error = Error::from(Absent { row, version: Version::decode(8503).unwrap() });
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.message().contains("TensorRT 8.5.3") && error.message().contains("10.14.0"), "{error}");
    }
}
