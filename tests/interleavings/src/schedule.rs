//! The files of `src/schedule` that know nothing of engines and handles.

#[path = "../../../src/schedule/callbacks.rs"]
pub mod callbacks;
#[path = "../../../src/schedule/copies.rs"]
pub mod copies;
#[path = "../../../src/schedule/dispatcher.rs"]
pub mod dispatcher;
#[path = "../../../src/schedule/faults.rs"]
mod faults;
#[path = "../../../src/schedule/histogram.rs"]
mod histogram;
#[path = "../../../src/schedule/keys.rs"]
pub mod keys;
#[path = "../../../src/schedule/policy.rs"]
pub mod policy;
#[path = "../../../src/schedule/queue.rs"]
pub mod queue;
#[path = "../../../src/schedule/request.rs"]
pub mod request;
#[path = "../../../src/schedule/slots.rs"]
pub mod slots;
#[path = "../../../src/schedule/statistics.rs"]
mod statistics;
#[path = "../../../src/schedule/ticket.rs"]
pub mod ticket;
