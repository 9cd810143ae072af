//! An engine whose model had its last convolution folded out of it: it gives features, and knows what makes channels of them.

use crate::backend::instance_group::{InstanceGroup, InstanceGroupOptions};
use crate::backend::{Context, Engine};
use crate::cuda::{Device, Turns};
use crate::engine::{Description, Statistic};
use crate::error::Result;
use crate::log::Log;
use crate::volume::head::Folded;
use serde_json::Value;
use std::ffi::CStr;
use std::sync::Arc;

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
