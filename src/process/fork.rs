//! A fork copies one thread and all memory: in the child our threads are missing, and what they held locked stays so.
//! So what was made before a fork is not touched after it.

use super::reserve;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// A number that is another one in the child of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    pub fn current() -> Self {
        static WATCH: Once = Once::new();
        unsafe extern "C" fn forked() {
            FORKS.fetch_add(1, Ordering::Relaxed);
            reserve::forked();
        }
        // SAFETY: the handler changes two numbers, which is all right in a child; the library is never unloaded.
        WATCH.call_once(|| _ = unsafe { libc::pthread_atfork(None, None, Some(forked)) });
        Self(FORKS.load(Ordering::Relaxed))
    }

    pub fn is_current(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

/// What a process has once. The child of a fork starts with a new one: a thread that is not there may hold the old one's
/// locks.
pub struct PerProcess<T> {
    current: AtomicPtr<(Process, T)>,
    owns: PhantomData<T>,
}

impl<T: Default + Send + Sync + 'static> PerProcess<T> {
    pub const fn new() -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    pub fn get(&self) -> &'static T {
        let process = Process::current();
        let found = self.current.load(Ordering::Acquire);
        // SAFETY: null, or a box that was leaked here.
        if let Some((of, value)) = unsafe { found.as_ref() }
            && *of == process
        {
            return value;
        }
        let new = Box::into_raw(Box::new((process, T::default())));
        // SAFETY: the one or the other was leaked: here, or by another thread of this process that was quicker.
        let (_, value) = unsafe {
            match self.current.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => &*new,
                Err(other) => {
                    drop(Box::from_raw(new));
                    &*other
                }
            }
        };
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    static VALUE: PerProcess<Mutex<u32>> = PerProcess::new();

    #[test]
    fn a_process_has_one_and_its_child_another() {
        let process = Process::current();
        let held = VALUE.get().lock();
        // SAFETY: the child does nothing but ask, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fresh = !process.is_current() && VALUE.get().try_lock().is_some();
            // SAFETY: ends the child without anything of the test's.
            unsafe { libc::_exit(i32::from(!fresh)) };
        }
        let mut status = -1;
        // SAFETY: writes one int.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert!(process.is_current());
        drop(held);
        assert!(VALUE.get().try_lock().is_some());
    }
}
