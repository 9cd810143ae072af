//! The way into planrt: what a call changes of the calling thread, and gives back.

use super::{cancellation, floating_point, memory, thread};
use crate::error::{Code, Error, Result};
use crate::log;
use crate::panic::catch;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::marker::PhantomData;

/// The application's side of a thread that is in a call.
#[derive(Clone, Copy)]
struct Caller {
    floating_point: floating_point::Registers,
    cancellation: cancellation::State,
    errno: c_int,
}

/// A deletion that waits.
pub type Deletion = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The caller of the innermost call.
    static CALLER: Cell<Option<Caller>> = const { Cell::new(None) };
    /// Whether this thread works for a call of another one's, which carries its deletions out.
    static ON_BEHALF: Cell<bool> = const { Cell::new(false) };
    static DEFERRED: RefCell<Vec<Deletion>> = const { RefCell::new(Vec::new()) };
}

/// While it lives the calling thread is inside planrt: it computes in the default floating-point mode, and cannot be
/// cancelled. Then it is as it was, `errno` and the floating-point exceptions that it has seen too.
pub struct Entry {
    outer: Option<Caller>,
    /// Not to leave the thread.
    thread: PhantomData<*const ()>,
}

impl Entry {
    /// For a call that may wait, lock or log. Inside a log callback there is none: whoever logs may hold what it would
    /// wait for.
    pub fn new() -> Result<Self> {
        memory::require_least()?;
        match log::is_telling() {
            false => Ok(Self::always()),
            true => Err(Error::new(
                Code::InUse,
                "planrt was called from inside its log callback; note what the line says, and call when the callback has \
                 returned",
            )),
        }
    }

    /// For a call that does nothing of that kind.
    pub fn always() -> Self {
        let caller = Caller {
            floating_point: floating_point::read(),
            cancellation: cancellation::hold_off(),
            errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        };
        floating_point::set_default(&caller.floating_point);
        Self { outer: CALLER.replace(Some(caller)), thread: PhantomData }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Those of a log callback are carried out by the call that it came from.
        while !log::is_telling()
            && let Some(deletion) = DEFERRED.try_with(|deferred| deferred.borrow_mut().pop()).ok().flatten()
        {
            // There is nobody to tell.
            let _ = catch(deletion);
        }
        if let Some(caller) = CALLER.replace(self.outer) {
            floating_point::restore(&caller.floating_point);
            cancellation::restore(caller.cancellation);
            // SAFETY: the calling thread's own.
            unsafe { *libc::__errno_location() = caller.errno };
        }
    }
}

/// Calls a function of the application's. On a thread of its own it finds the floating-point mode that it has set there,
/// and may change it.
pub fn as_application<R>(call: impl FnOnce() -> R) -> R {
    let Some(caller) = CALLER.get() else { return call() };
    floating_point::restore(&caller.floating_point);
    let result = call();
    let theirs = floating_point::read();
    CALLER.set(Some(Caller { floating_point: theirs, ..caller }));
    floating_point::set_default(&theirs);
    result
}

/// Carries a deletion out that comes from inside a log callback: at the end of the call that the callback was called from,
/// or by a thread of ours where no call was.
pub fn defer(deletion: impl FnOnce() + Send + 'static) {
    let mut deletion = Some(Box::new(deletion) as Deletion);
    if CALLER.get().is_some() || ON_BEHALF.get() {
        // It fails while the thread ends and its own memory is gone.
        let _ = DEFERRED.try_with(|deferred| deferred.borrow_mut().extend(deletion.take()));
    }
    if let Some(deletion) = deletion {
        // Where no thread can be had, what was to be deleted stays.
        let _ = thread::spawn("planrt-delete".to_owned(), deletion);
    }
}

/// Works on a thread of ours for a call of another one's; the result, and the deletions that the call is to carry out.
pub fn on_behalf<R>(work: impl FnOnce() -> R) -> (R, Vec<Deletion>) {
    ON_BEHALF.set(true);
    let result = work();
    (result, DEFERRED.take())
}
