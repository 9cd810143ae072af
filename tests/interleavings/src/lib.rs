//! The scheduler's own sources, with loom's locks in the place of parking_lot's.

#![allow(dead_code)]

#[path = "../../../src/schedule/calls.rs"]
pub mod calls;
#[path = "../../../src/schedule/completion.rs"]
pub mod completion;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/schedule/queue.rs"]
pub mod queue;
pub mod sync;
