//! The C interface: one file a handle, and one macro, [`export!`], that every function goes through. No logic lives
//! here. `header.py` makes `include/planrt.h` of it, a section a file; the comments are what a C programmer reads.
//!
//! The macro converts what comes over the boundary, argument by argument (`argument`, `structs`, `handle`), and the body is
//! safe code. What is left to say about memory that the application vouches for is said where it is used.

// Each function says what it requires, in words for the header.
#![allow(clippy::missing_safety_doc)]

mod argument;
mod buffer;
mod build;
mod context;
mod device;
mod doctor;
mod engine;
mod error;
mod handle;
mod log;
mod measure;
mod request;
mod runtime;
mod scan;
mod segmenter;
mod session;
mod stream;
mod structs;
mod tensor;
mod text;
mod version;
mod volume;

use crate::error::{Code, Error, Result};

/// An argument that must not be null.
fn not_null<T>(pointer: *const T, name: &str) -> Result<()> {
    match pointer.is_null() {
        true => Err(Error::new(Code::InvalidArgument, format!("{name} is null"))),
        false => Ok(()),
    }
}

/// A place for `?` to return to.
fn attempt<R>(call: impl FnOnce() -> Result<R>) -> Result<R> {
    call()
}

/// The one road into the library. Names the handles that the call is about, then its other arguments, each with what it
/// is converted to (an array with its count: `sizes[size_count]: &[i32]`), and gives the body what is in them. A null
/// or poisoned handle is an error, a panic becomes one and poisons the handles.
///
/// `export!(engine; name: &str, index_out: Out<_> => body)` returns `*mut planrt_error`, for a body of type
/// `Result<()>`. Inside a log callback it fails.
///
/// `export!(engine; else value => body)` is for functions that cannot fail: a bad handle gives `value`. They neither
/// wait for anything nor log.
macro_rules! export {
    ($($handle:ident),*; else $value:expr => $body:expr) => {{
        let _entry = $crate::process::Entry::always();
        $crate::ffi::export!(@guarded $($handle),*; => Ok($body)).unwrap_or_else(|_| $value)
    }};
    ($($handle:ident),*; $($argument:ident $([$count:ident])?: $kind:ty),* => $body:expr) => {
        $crate::ffi::error::into_raw($crate::process::Entry::new().and_then(|_entry| {
            $crate::ffi::export!(@guarded $($handle),*; $($argument $([$count])?: $kind),* => $body)
        }))
    };
    (@guarded $($handle:ident),*; $($argument:ident $([$count:ident])?: $kind:ty),* => $body:expr) => {
        $crate::ffi::attempt(|| {
            let call = $crate::ffi::argument::Call::begin();
            let _ = &call;
            $(
                // SAFETY: the header asks for a handle that is null or alive.
                let $handle = unsafe { $crate::ffi::handle::borrow($handle, stringify!($handle), &call) }?;
            )*
            let poisons = [$($handle.poison()),*];
            let outcome = $crate::panic::catch(|| {
                $(let $handle = $handle.get(stringify!($handle))?;)*
                $(
                    // SAFETY: the header says what the argument has to be.
                    let $argument = unsafe {
                        <$kind as $crate::ffi::argument::Argument<_>>::convert(
                            ($argument $(, $count)?),
                            stringify!($argument),
                            &call,
                        )
                    }?;
                )*
                $body
            });
            outcome.unwrap_or_else(|error| {
                let poisons: &[$crate::ffi::handle::Poison] = &poisons;
                poisons.iter().for_each($crate::ffi::handle::Poison::take_effect);
                Err(error)
            })
        })
    };
}

/// Frees a handle; null is fine.
macro_rules! delete {
    ($handle:ident) => {
        // SAFETY: the header asks for null, or a handle that is alive, deleted once and not used any more.
        unsafe { $crate::ffi::handle::free($handle) }
    };
}

use {delete, export};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::error::{planrt_error_delete, planrt_error_get_code, planrt_error_get_message};
    use crate::ffi::handle::{Handle, opaque};
    use std::ffi::CStr;

    #[allow(non_camel_case_types)]
    struct counter_for_tests(Handle<u32>);
    opaque!(counter_for_tests, u32);

    fn read(counter: *const counter_for_tests, result: &mut u32, panics: bool) -> (i32, String) {
        let error = export!(counter; => {
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
