//! Sessions: many threads ask at once, and what fits together runs as one batch.
//!
//! A request goes session → submit → dispatcher: `submit` checks it, `queue` orders and groups, `policy` says when a batch
//! may go, `slots` knows which instance is free, and `dispatcher` runs the batch and answers. A request's answer is in its
//! `ticket`; `callbacks` brings what is to be called to its thread, `copies` what is to be copied. `worker` has the threads.
//! No lock is held while an instance runs or a callback is called.

mod callbacks;
mod copies;
mod dispatcher;
mod faults;
mod histogram;
mod keys;
mod policy;
mod queue;
mod request;
mod session;
mod slots;
mod statistics;
mod submit;
#[cfg(test)]
mod tests;
mod ticket;
mod worker;

pub use callbacks::Callback;
pub use policy::{Delay, WhenFull};
pub use session::{Options, Request, Session};
pub use statistics::{BATCH_SIZES, Report, Times};
pub use submit::{Submission, Tensor};
