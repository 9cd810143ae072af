//! Handles: what the application holds of us.

use super::argument::Call;
use crate::error::{Code, Error, Result};
use crate::log::{Log, User, is_telling};
use crate::process::fork::Process;
use crate::process::{Entry, defer};
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every handle is made of. Any thread may hold one, so what is in it has to bear that.
///
/// A panic in a call poisons the handle that the call was about: its state may be half changed, so later calls refuse
/// it. In a child of the process that made it a handle is not touched: threads that it needs are not there, and locks
/// may be held for ever.
pub(crate) struct Handle<T: Send + Sync> {
    value: T,
    /// Shared with the calls under way: one of them may outlive the handle.
    poisoned: Arc<AtomicBool>,
    process: Process,
    /// The logs that tell what is done with it. After the value: what goes may have something to say.
    logs: Mutex<Vec<User>>,
}

impl<T: Send + Sync> Handle<T> {
    pub(super) fn new(value: T) -> Self {
        Self::logging(value, [])
    }

    /// One whose use may cause lines of these logs.
    pub(super) fn logging<'a>(value: T, logs: impl IntoIterator<Item = &'a Arc<Log>>) -> Self {
        let logs = logs.into_iter().map(User::new).collect();
        Self { value, poisoned: Arc::default(), process: Process::current(), logs: Mutex::new(logs) }
    }

    /// The value, unless a panic left it in an unknown state, or a fork did.
    pub(super) fn get(&self, name: &str) -> Result<&T> {
        if !self.process.is_current() {
            return Err(Error::new(
                Code::Forked,
                format!(
                    "{name} was made before this process was forked, and works in the parent only; make a runtime, load and \
                     go on from there in the child"
                ),
            ));
        }
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(
                Code::Poisoned,
                format!("{name} cannot be used any more: an earlier call on it failed inside planrt; delete it"),
            ));
        }
        Ok(&self.value)
    }

    pub(super) fn poison(&self) -> Poison {
        Poison(self.poisoned.clone())
    }
}

/// What makes a handle useless.
pub(super) struct Poison(Arc<AtomicBool>);

impl Poison {
    pub(super) fn take_effect(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A type of handle: opaque to C, which owns it by a pointer from [`give`](Self::give) until [`free`].
pub(super) trait Opaque: Sized + Send + Sync + 'static {
    type Value: Send + Sync;

    fn from_handle(handle: Handle<Self::Value>) -> Self;
    fn handle(&self) -> &Handle<Self::Value>;

    /// Makes it the application's.
    fn give(handle: Handle<Self::Value>) -> *mut Self {
        Box::into_raw(Box::new(Self::from_handle(handle)))
    }
}

/// Makes a struct around a `Handle` a type of handle.
macro_rules! opaque {
    ($handle:ident, $value:ty) => {
        impl $crate::ffi::handle::Opaque for $handle {
            type Value = $value;

            fn from_handle(handle: $crate::ffi::handle::Handle<$value>) -> Self {
                Self(handle)
            }
            fn handle(&self) -> &$crate::ffi::handle::Handle<$value> {
                &self.0
            }
        }
    };
}
pub(super) use opaque;

/// The handle behind a pointer of the application's, which must not be null.
///
/// # Safety
/// `pointer` is null, or a handle that is alive.
pub(super) unsafe fn borrow<'call, T: Opaque>(
    pointer: *const T,
    name: &str,
    _: &'call Call,
) -> Result<&'call Handle<T::Value>> {
    // SAFETY: as the caller says.
    let owner = unsafe { pointer.as_ref() };
    Ok(owner.ok_or_else(|| Error::new(Code::InvalidArgument, format!("{name} is null")))?.handle())
}

/// Frees a handle; null is fine. A panic on the way is swallowed: there is nobody left to tell.
///
/// Inside a log callback its logs end here, if it was the last that they had; the rest is put off, since whoever logs
/// may hold what it needs, and be in a call with this very handle. In the child of a fork nothing is freed.
///
/// # Safety
/// `pointer` is null, or a handle that is alive and that nobody uses from here on but calls that this one
/// comes from.
pub(super) unsafe fn free<T: Opaque>(pointer: *mut T) {
    // SAFETY: as the caller says.
    let Some(handle) = (unsafe { pointer.as_ref() }).map(Opaque::handle) else { return };
    let entry = Entry::always();
    if !handle.process.is_current() {
        return;
    }
    let owner = Owner(pointer);
    if is_telling() {
        let logs = std::mem::take(&mut *handle.logs.lock());
        drop(logs);
        // This call is not the one that it waits for.
        drop(entry);
        defer(move || drop(owner));
    } else {
        let _ = crate::panic::catch(move || drop(owner));
    }
}

/// A handle that is to be freed, once nobody looks into it.
struct Owner<T: Opaque>(*mut T);

// SAFETY: what is in a handle may be used, and dropped, by any thread.
unsafe impl<T: Opaque> Send for Owner<T> {}

impl<T: Opaque> Drop for Owner<T> {
    fn drop(&mut self) {
        // SAFETY: a handle that is alive came from `give`; `free`'s caller says that it is not used any more.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
