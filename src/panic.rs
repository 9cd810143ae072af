//! Panics: caught at the boundary, told as an error, never printed into the application's terminal.

use crate::error::{Code, Error, Result};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

thread_local! {
    /// How many guarded calls this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic on this thread happened.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a call; `Err` where it panicked.
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R> {
    keep_quiet();
    DEPTH.set(DEPTH.get() + 1);
    // The handles that the call was about are poisoned by the caller, so nobody sees what was left half done.
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    outcome.map_err(|payload| {
        let what = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = PLACE.try_with(RefCell::take).unwrap_or_default();
        Error::new(Code::Internal, format!("planrt failed at {place}: {what}; please report this"))
    })
}

/// The default hook prints to stderr. Ours notes the place where a guarded call, or a thread of ours, panicked, and leaves
/// every other panic to the hook before it: in a Rust application the hook is shared with it.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = DEPTH.get() > 0 || thread::current().name().is_some_and(|name| name.starts_with("planrt"));
            if !ours {
                return before(info);
            }
            let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
            // A thread that ends may panic when its own memory is gone already.
            let _ = PLACE.try_with(|noted| *noted.borrow_mut() = place);
        }));
    });
}
