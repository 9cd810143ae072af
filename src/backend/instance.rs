//! What runs batches.

use super::batch::BatchKey;
use super::job::Job;
use crate::error::Error;

/// One batch at a time on its way through an engine. Instances are independent: while one runs, the next batch is gathered
/// in another.
pub trait Instance: Send {
    /// Gathers the jobs' inputs, runs, scatters the outputs, and returns when that has ended. Outputs of jobs that were
    /// cancelled meanwhile may be dropped. On a device it tells each job's [`Progress`](super::job::Progress) as soon as all
    /// is in the stream.
    fn run(&mut self, key: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure>;
}

/// Why a batch failed.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    /// Whether the instance can do nothing any more: its device is lost.
    pub lost: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, lost: false }
    }
}
