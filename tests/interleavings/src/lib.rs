//! The scheduler's own sources, with loom's locks in the place of parking_lot's.

#![allow(dead_code)]

#[path = "../../../src/schedule/callbacks.rs"]
pub mod callbacks;
#[path = "../../../src/schedule/request.rs"]
pub mod request;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/schedule/queue.rs"]
pub mod queue;
pub mod sync;
