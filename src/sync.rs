//! The locks of the scheduler, in one place: `tests/interleavings` puts loom's in their stead and tries every
//! interleaving.

pub use parking_lot::{Condvar, Mutex};
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, Ordering};
