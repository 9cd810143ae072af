//! The instances that run one engine's batches side by side.

use super::admission::Admission;
use super::instance::Instance;
use std::sync::Arc;

/// How large an instance group shall be.
#[derive(Clone, Debug, Default)]
pub struct InstanceGroupOptions {
    /// Batches that run side by side; 0 for as many as are of use and fit.
    pub contexts: usize,
    /// Bytes of device memory that contexts, their inputs and outputs may take; 0 for what is free.
    pub memory_budget: usize,
    /// The most items in a batch; 0 for as many as are of use.
    pub largest: usize,
    /// Batch sizes that the application prefers.
    pub preferred: Vec<usize>,
}

/// What a session runs one engine's batches with.
pub struct InstanceGroup {
    pub instances: Vec<Box<dyn Instance>>,
    pub admission: Arc<dyn Admission>,
}
