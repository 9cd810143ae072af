//! Stack: an application's thread may have little of it, and what we call takes what it takes.

use super::{entry, thread};
use crate::error::{Code, Error, Result};
use crate::panic::catch;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::resume_unwind;
use std::ptr;

/// Bytes for deep work. A model's loading takes 64 KiB, and some 20 more for each level of subgraphs, of which there are 31
/// at most.
const DEEP: usize = 1 << 20;

thread_local! {
    /// Where the calling thread's stack begins and ends.
    static BOUNDS: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Does work that may go deep: on the calling thread if it has the stack for it, else on one of ours, for which this one
/// waits.
pub fn with_room<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    if has_room() {
        return work();
    }
    let outcome = std::thread::scope(|scope| {
        let on_behalf = || entry::on_behalf(|| catch(work));
        let started = thread::spawn_scoped(scope, "planrt-deep".to_owned(), on_behalf);
        started.map(std::thread::ScopedJoinHandle::join).map_err(|error| {
            let message = "the calling thread has little stack left, and a thread with more could not be started";
            Error::new(Code::OutOfMemory, message).with_detail(error.to_string())
        })
    });
    match outcome? {
        Ok((Ok(result), deletions)) => {
            deletions.into_iter().for_each(entry::defer);
            result
        }
        // As if it had happened here: what the call was about is poisoned.
        Ok((Err(error), _)) => resume_unwind(Box::new(error)),
        Err(panic) => resume_unwind(panic),
    }
}

/// Whether the calling thread has the stack for deep work.
pub fn has_room() -> bool {
    left().is_some_and(|left| left >= DEEP)
}

/// An error if the calling thread has fewer bytes of stack left. For work of other libraries' that has to be done on it.
pub fn require(bytes: usize) -> Result<()> {
    match left() {
        Some(left) if left < bytes => Err(Error::new(
            Code::OutOfMemory,
            format!(
                "the calling thread has {} KiB of stack left; this call takes up to {}: give the thread more",
                left >> 10,
                bytes >> 10
            ),
        )),
        _ => Ok(()),
    }
}

/// Bytes that are left of the calling thread's stack; `None` where it runs on another one, as fibers do.
fn left() -> Option<usize> {
    let here = ptr::from_ref(&MaybeUninit::<u8>::uninit()).addr();
    let (begin, end) = BOUNDS.get().or_else(bounds)?;
    (begin..end).contains(&here).then(|| here - begin)
}

#[cold]
fn bounds() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::uninit();
    let (mut begin, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the first call fills the attributes where it succeeds; they are destroyed once.
    let known = unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let known = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut begin, &raw mut size) == 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        known
    };
    let bounds = known.then(|| (begin.addr(), begin.addr() + size));
    BOUNDS.set(bounds);
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on a thread with a stack of so many KiB.
    fn on_stack<R: Send + 'static>(kib: usize, work: impl FnOnce() -> R + Send + 'static) -> R {
        std::thread::Builder::new().stack_size(kib << 10).spawn(work).unwrap().join().unwrap()
    }

    #[test]
    fn what_is_left_is_known() {
        assert!(on_stack(4096, || (3 << 20..=4 << 20).contains(&left().unwrap())));
        assert!(on_stack(64, || left().unwrap() < 66 << 10));
        assert!(on_stack(4096, || require(1 << 20)).is_ok());
        let error = on_stack(64, || require(1 << 20)).unwrap_err();
        assert!(error.message().contains("takes up to 1024"), "{error}");
    }

    #[test]
    fn deep_work_has_the_stack_for_it() {
        fn deep(levels: usize) -> usize {
            let frame = std::hint::black_box([levels as u8; 4096]);
            if levels == 0 { 0 } else { 1 + deep(levels - 1) + usize::from(frame[0] != levels as u8) }
        }
        let name = || std::thread::current().name().map(str::to_owned);
        assert_eq!(on_stack(64, || with_room(|| Ok(deep(200)))).unwrap(), 200);
        assert_eq!(on_stack(64, move || with_room(move || Ok(name()))).unwrap().as_deref(), Some("planrt-deep"));
        assert_ne!(on_stack(4096, move || with_room(move || Ok(name()))).unwrap().as_deref(), Some("planrt-deep"));
    }

    #[test]
    fn a_panic_comes_back() {
        let error = on_stack(64, || catch(|| with_room::<()>(|| panic!("as the test asked")))).unwrap_err();
        assert!(error.message().contains("as the test asked") && error.message().contains("stack.rs"), "{error}");
    }
}
