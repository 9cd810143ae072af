//! An engine whose model had its last convolution folded out of it: it gives features, and knows what makes channels of them.

use super::Folder;
use super::passport::FILE;
use crate::backend::instance_group::{InstanceGroup, InstanceGroupOptions};
use crate::backend::{Context, Engine};
use crate::cuda::{Device, Turns};
use crate::engine::{Description, Statistic};
use crate::error::{Code, Error, Result};
use crate::json;
use crate::log::Log;
use crate::process::stack::with_room;
use crate::quote::shown;
use crate::volume::head::Folded;
use serde_json::Value;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What makes channels of the features that a model file gives, where a folder around it says that its head was folded out. An error
/// where features are not allowed: the file by itself would be taken for the whole model.
pub fn head_of_file(file: &Path, allowed: bool) -> Result<Option<Folded>> {
    let Some(root) = with_room(|| Ok(folder_with_head(file)))? else { return Ok(None) };
    match allowed {
        true => Folder::open(&root)?.folded(),
        false => Err(Error::new(
            Code::Unsupported,
            format!(
                "the model gives features, of which the head in {} makes its channels: load that folder with planrt_segmenter_load, which \
                 does that, or allow features where the application computes the head itself \
                 (planrt_engine_options_set_features_allowed)",
                shown(&root)
            ),
        )),
    }
}

/// The folder whose passport has a head and names the file among its models. The passport is not held against its hash: one that was
/// changed, or is of a later version, says it, too.
fn folder_with_head(file: &Path) -> Option<PathBuf> {
    // A file that is not there says so when it is loaded.
    let real = file.canonicalize().ok()?;
    let has_it = |root: &&Path| {
        let path = root.join(FILE);
        let Some(passport) = path.is_file().then(|| json::read(&path).ok()).flatten() else { return false };
        let plans = passport["plans"].as_array().into_iter().flatten().map(|plan| &plan["file"]);
        let mut models = plans.chain([&passport["onnx"]]).filter_map(Value::as_str);
        passport["head"].is_object()
            && models.any(|model| root.join(model).canonicalize().is_ok_and(|model| model == real))
    };
    real.ancestors().skip(1).find(has_it).map(Path::to_owned)
}

pub struct Features {
    pub engine: Arc<dyn Engine>,
    pub folded: Folded,
}

impl Engine for Features {
    fn description(&self) -> &Description {
        self.engine.description()
    }

    fn folded(&self) -> Option<&Folded> {
        Some(&self.folded)
    }

    fn device(&self) -> Option<&Arc<Device>> {
        self.engine.device()
    }

    fn turns(&self) -> Option<&Arc<Turns>> {
        self.engine.turns()
    }

    fn log(&self) -> Option<&Arc<Log>> {
        self.engine.log()
    }

    fn layers_json(&self) -> Result<String> {
        self.engine.layers_json()
    }

    fn metadata(&self) -> Value {
        self.engine.metadata()
    }

    fn dimension_name(&self, tensor: usize, axis: usize) -> Option<&CStr> {
        self.engine.dimension_name(tensor, axis)
    }

    fn statistic(&self, statistic: Statistic) -> Result<i64> {
        self.engine.statistic(statistic)
    }

    fn profile_device_memory_size(&self, profile: usize) -> usize {
        self.engine.profile_device_memory_size(profile)
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        self.engine.clone().new_context()
    }

    fn new_context_without_memory(self: Arc<Self>) -> Result<Box<dyn Context>> {
        self.engine.clone().new_context_without_memory()
    }

    fn instance_group(self: Arc<Self>, options: &InstanceGroupOptions) -> Result<InstanceGroup> {
        self.engine.clone().instance_group(options)
    }
}
