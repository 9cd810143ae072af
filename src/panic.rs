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
        // One that was caught on another thread is passed on.
        let payload = match payload.downcast::<Error>() {
            Ok(error) => return *error,
            Err(payload) => payload,
        };
        let what = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = PLACE.try_with(RefCell::take).unwrap_or_default();
        // What was thrown may itself panic when it is dropped, and nothing may leave here.
        DEPTH.set(DEPTH.get() + 1);
        if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        DEPTH.set(DEPTH.get() - 1);
        Error::new(Code::Internal, format!("planrt failed at {place}: {what}; please report this"))
    })
}

/// The default hook prints to stderr. Ours notes the place where a guarded call panicked, which all work of ours is, and
/// leaves every other panic to the hook before it: in a Rust application the hook is shared with it.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    // While a thread panics the hook cannot be changed: a Rust application may call from a destructor.
    if ONCE.is_completed() || thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return before(info);
            }
            let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
            // A thread that ends may panic when its own memory is gone already.
            let _ = PLACE.try_with(|noted| *noted.borrow_mut() = place);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn what_was_thrown_may_panic_too() {
        let error = catch(|| panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(catch(|| 7).is_ok());
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn caught_within_caught() {
        let outer = catch(|| {
            let inner = catch(|| panic!("inner")).unwrap_err();
            assert!(inner.message().contains("inner") && inner.message().contains("panic.rs"), "{inner}");
            panic!("outer")
        });
        assert!(outer.unwrap_err().message().contains("outer"));
        assert_eq!(DEPTH.get(), 0);
    }
}
