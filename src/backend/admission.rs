//! How requests are made ready for a batch.

use super::batch::{BatchKey, Capacity};
use super::job::Job;
use crate::cuda::{Device, Event, Stream};
use crate::error::Result;
use crate::tensor::Shape;
use std::sync::Arc;

/// When a request's device memory is ready to be used.
pub enum Dependency<'a> {
    Now,
    /// When the stream has passed what it holds now.
    Stream(&'a Stream),
    /// When the event that the application has recorded is passed.
    Event(Event),
}

/// What the thread that submits a request does with it. Any thread.
pub trait Admission: Send + Sync {
    /// The CUDA device of the instances.
    fn device(&self) -> Option<&Arc<Device>>;

    /// The batch key of requests with these inputs' shapes, of which the leading extent is a batch if the model has one.
    fn batch_key(&self, inputs: &[Shape]) -> Result<BatchKey>;

    /// What the group's instance of that number takes of requests with this key.
    fn capacity(&self, instance: usize, key: &BatchKey) -> Capacity;

    /// Makes a job ready to be run by any thread: checks memory, notes what to wait for, copies from host memory what
    /// is better copied by many threads.
    fn admit(&self, job: &mut Job, after: Dependency<'_>) -> Result<()>;
}
