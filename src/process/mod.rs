//! planrt as a guest in somebody else's process: what a call changes of the calling thread and gives back ([`Entry`]),
//! threads of ours, what a fork leaves behind, and what memory there is.

#[cfg_attr(not(feature = "cpu"), allow(dead_code, reason = "only the CPU engine runs within it"))]
pub mod blocks;
mod cancellation;
mod entry;
mod floating_point;
pub mod fork;
pub mod memory;
#[cfg_attr(not(feature = "cpu"), allow(dead_code, reason = "only the CPU engine asks"))]
pub mod reserve;
pub mod stack;
pub mod thread;

pub use entry::{Entry, as_application, defer};
