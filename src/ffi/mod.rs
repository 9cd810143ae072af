//! The C interface: one file a handle, and one macro, [`export!`], that every function goes through. No logic lives
//! here. `header.py` makes `include/planrt.h` of it, a section a file; the comments are what a C programmer reads.

// Each function says what it requires, in words for the header.
#![allow(clippy::missing_safety_doc)]

mod buffer;
mod context;
mod doctor;
mod engine;
mod error;
mod log;
mod request;
mod runtime;
mod session;
mod stream;
mod structs;
mod tensor;
mod text;
mod version;

use crate::error::{Code, Error, Result};
use crate::log::{Log, User, is_telling};
use crate::process::fork::Process;
use crate::process::{Entry, defer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every handle is made of. A panic in a call poisons the handle that the call was about: its state may be half
/// changed, so later calls refuse it. In a child of the process that made it a handle is not touched: threads that it needs
/// are not there, and locks may be held for ever.
pub(crate) struct Handle<T> {
    value: T,
    poisoned: AtomicBool,
    process: Process,
    /// The logs that tell what is done with it. After the value: what goes may have something to say.
    logs: Vec<User>,
}

impl<T> Handle<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::logging(value, [])
    }

    /// One whose use may cause lines of these logs.
    fn logging<'a>(value: T, logs: impl IntoIterator<Item = &'a Arc<Log>>) -> Self {
        let logs = logs.into_iter().map(User::new).collect();
        Self { value, poisoned: AtomicBool::new(false), process: Process::current(), logs }
    }

    /// The value, unless a panic left it in an unknown state, or a fork did.
    fn get(&self, name: &str) -> Result<&T> {
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

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// An argument that must not be null.
fn not_null<T>(pointer: *const T, name: &str) -> Result<*const T> {
    if pointer.is_null() {
        return Err(Error::new(Code::InvalidArgument, format!("{name} is null")));
    }
    Ok(pointer)
}

/// The place for a result, which must not be null.
fn out<T>(pointer: *mut T, name: &str) -> Result<*mut T> {
    not_null(pointer, name).map(<*const T>::cast_mut)
}

/// A place for `?` to return to.
fn attempt<R>(call: impl FnOnce() -> Result<R>) -> Result<R> {
    call()
}

/// Frees a handle. A panic on the way is swallowed: there is nobody left to tell.
///
/// Inside a log callback its logs end here, if it was the last that they had; the rest is put off, since whoever logs may
/// hold what it needs. In the child of a fork nothing is freed.
fn free<H: Send + 'static, T>(mut owner: Box<H>, handle: impl FnOnce(&mut H) -> &mut Handle<T>) {
    let entry = Entry::always();
    let handle = handle(&mut owner);
    if !handle.process.is_current() {
        std::mem::forget(owner);
    } else if is_telling() {
        handle.logs.clear();
        // This call is not the one that it waits for.
        drop(entry);
        defer(move || drop(owner));
    } else {
        let _ = crate::panic::catch(move || drop(owner));
    }
}

/// The one road into the library. Names the handles that the call is about and gives the body references to what is in
/// them; a null or poisoned handle is an error, a panic becomes one and poisons the handles.
///
/// `export!(engine, stream => body)` returns `*mut planrt_error`, for a body of type `Result<()>`. Inside a log callback it
/// fails.
/// `export!(engine; else value => body)` is for functions that cannot fail: a bad handle gives `value`. They neither wait
/// for anything nor log.
macro_rules! export {
    ($($handle:ident),* => $body:expr) => {
        $crate::ffi::error::into_raw(
            $crate::process::Entry::new().and_then(|_entry| $crate::ffi::export!(@guarded $($handle),* => $body)),
        )
    };
    ($($handle:ident),*; else $value:expr => $body:expr) => {{
        let _entry = $crate::process::Entry::always();
        $crate::ffi::export!(@guarded $($handle),* => Ok($body)).unwrap_or_else(|_| $value)
    }};
    (@guarded $($handle:ident),* => $body:expr) => {
        // SAFETY: the C interface asks for handles that are null or alive.
        $crate::ffi::attempt(|| unsafe {
            $(let $handle = &(*$crate::ffi::not_null($handle, stringify!($handle))?).0;)*
            $crate::panic::catch(|| {
                $(let $handle = $handle.get(stringify!($handle))?;)*
                $body
            })
            .unwrap_or_else(|error| {
                $($handle.poison();)*
                Err(error)
            })
        })
    };
}

/// Frees a handle; null is fine.
macro_rules! delete {
    ($handle:ident) => {
        if !$handle.is_null() {
            // SAFETY: the C interface asks for a handle that came from here and is deleted once.
            $crate::ffi::free(unsafe { Box::from_raw($handle) }, |owner| &mut owner.0);
        }
    };
}

pub(crate) use {delete, export};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::error::{planrt_error_delete, planrt_error_get_code, planrt_error_get_message};
    use std::ffi::CStr;

    #[allow(non_camel_case_types)]
    struct counter_for_tests(Handle<u32>);

    fn read(counter: *const counter_for_tests, result: &mut u32, panics: bool) -> (i32, String) {
        let error = export!(counter => {
            assert!(!panics, "as the test asked");
            *result = *counter;
            Ok(())
        });
        // SAFETY: an error of ours, or null, which these accept.
        unsafe {
            let code = planrt_error_get_code(error);
            let message = CStr::from_ptr(planrt_error_get_message(error)).to_str().unwrap().to_owned();
            planrt_error_delete(error);
            (code, message)
        }
    }

    #[test]
    fn a_panic_becomes_an_error_and_poisons_the_handle() {
        let counter = counter_for_tests(Handle::new(7));
        let mut result = 0;
        assert_eq!(read(&counter, &mut result, false).0, 0);
        assert_eq!(result, 7);
        let (code, message) = read(&counter, &mut result, true);
        assert_eq!(code, Code::Internal as i32);
        assert!(message.contains("as the test asked") && message.contains("ffi/mod.rs"), "{message}");
        let (code, message) = read(&counter, &mut result, false);
        assert_eq!(code, Code::Poisoned as i32);
        assert!(message.contains("counter"), "{message}");
    }

    #[test]
    fn null_is_named() {
        let (code, message) = read(std::ptr::null(), &mut 0, false);
        assert_eq!(code, Code::InvalidArgument as i32);
        assert_eq!(message, "counter is null");
    }
}
