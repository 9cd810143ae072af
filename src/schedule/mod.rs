//! Sessions: many threads ask at once, and what fits together runs as one batch.
//!
//! A request goes queue → batch → lane → answer. `queue` orders and groups, `policy` says when a batch may go, `worker`
//! takes it to a lane of the backend, `completion` answers each request exactly once, `calls` brings callbacks to their
//! thread. `session` holds them together. No lock is held while a lane runs or a callback is called.

mod calls;
mod completion;
mod histogram;
mod policy;
mod queue;
mod session;
mod statistics;
#[cfg(test)]
mod tests;
mod worker;

pub use calls::Callback;
pub use policy::{Delay, WhenFull};
pub use session::{Options, Request, Session, Submission, Tensor};
pub use statistics::{BATCH_SIZES, Report, Times};
