//! Sessions: many threads ask at once, and what fits together runs as one batch.
//!
//! A request goes queue → batch → instance → answer. `queue` orders and groups, `policy` says when a batch may go, `worker`
//! takes it to an instance of the backend, `request` answers each request exactly once, `callbacks` brings callbacks to their
//! thread. `session` holds them together. No lock is held while an instance runs or a callback is called.

mod callbacks;
mod histogram;
mod policy;
mod queue;
mod request;
mod session;
mod statistics;
#[cfg(test)]
mod tests;
mod worker;

pub use callbacks::Callback;
pub use policy::{Delay, WhenFull};
pub use session::{Options, Request, Session, Submission, Tensor};
pub use statistics::{BATCH_SIZES, Report, Times};
