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
    /// Whether there are always more requests: then what counts is how much goes through, and not how soon each is answered.
    pub is_stream: bool,
}

#[cfg(feature = "cpu")]
impl InstanceGroupOptions {
    /// How many instances an engine on the CPU has: one unless more are asked for, since a batch has all its threads anyway.
    pub fn host_contexts(&self) -> crate::error::Result<usize> {
        /// Each may have a thread of the session's.
        const MOST: usize = 1024;
        let count = self.contexts.max(1);
        match count > MOST {
            false => Ok(count),
            true => Err(crate::error::Error::new(
                crate::error::Code::InvalidArgument,
                format!("a session on the CPU has at most {MOST} contexts, not {count}"),
            )),
        }
    }
}

/// What a session runs one engine's batches with.
pub struct InstanceGroup {
    pub choices: Choices,
    pub instances: Vec<Box<dyn Instance>>,
    pub admission: Arc<dyn Admission>,
}

/// What was chosen for a group when it was made, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Bytes of device memory that its contexts with their inputs and outputs take, and copies of the engine.
    pub device_memory_bytes: usize,
    /// Engines that were loaded beside the one that was given, since a profile serves one context only.
    pub engine_copies: usize,
    /// For each instance.
    pub instances: Vec<InstanceChoices>,
}

#[derive(Clone, Debug)]
pub struct InstanceChoices {
    /// The sizes at which batches are computed, ascending, with the seconds that each takes where that is known; empty where
    /// every size is computed.
    pub batch_sizes: Vec<(usize, Option<f64>)>,
    /// The largest batch that requests are gathered to, where the application does not say.
    pub optimal: usize,
}
