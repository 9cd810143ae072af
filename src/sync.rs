//! The locks of the scheduler, in one place: `tests/interleavings` puts loom's in their stead and tries every
//! interleaving.

pub use parking_lot::{Condvar, Mutex, MutexGuard};
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, Ordering};

/// A number that no other thread has, as long as this one lives. (The standard library's would allocate on threads that it
/// did not start.)
pub fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}
