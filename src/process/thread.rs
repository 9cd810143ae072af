//! Threads of ours.

use super::floating_point;
use crate::panic::catch;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Bytes of a thread's stack. Said here, since else an environment variable says it.
const STACK: usize = 2 << 20;

/// Signals that a thread raises by what it does itself: held back, they would end the process without a word.
const FAULTS: [libc::c_int; 7] =
    [libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

/// Starts a thread. Signals of the application's go to its own threads, not to this one nor to those that libraries start
/// from it; it computes in the default floating-point mode; a panic ends it without a word.
pub fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let _held = Held::signals();
    // Who waits for the work learns that it ended.
    builder(name).spawn(|| _ = catch(|| as_ours(work)))
}

/// Starts one that ends before the scope does.
pub fn spawn_scoped<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    work: impl FnOnce() -> R + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, R>> {
    let _held = Held::signals();
    builder(name).spawn_scoped(scope, || as_ours(work))
}

fn builder(name: String) -> Builder {
    Builder::new().name(name).stack_size(STACK)
}

fn as_ours<R>(work: impl FnOnce() -> R) -> R {
    floating_point::set_default(&floating_point::read());
    work()
}

/// While it lives the calling thread takes no signals but faults, and threads that it starts never do.
pub struct Held(libc::sigset_t);

impl Held {
    pub fn signals() -> Self {
        let (mut held, mut before) = (MaybeUninit::uninit(), MaybeUninit::zeroed());
        // SAFETY: the first call fills one set, the last one the other; a set of zeros is the empty one.
        unsafe {
            libc::sigfillset(held.as_mut_ptr());
            FAULTS.iter().for_each(|signal| _ = libc::sigdelset(held.as_mut_ptr(), *signal));
            libc::pthread_sigmask(libc::SIG_SETMASK, held.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the set that was found.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signals that the calling thread holds back.
    fn held() -> Vec<libc::c_int> {
        let mut set = MaybeUninit::zeroed();
        // SAFETY: fills the set.
        let set: libc::sigset_t = unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), set.as_mut_ptr());
            set.assume_init()
        };
        // SAFETY: looks at the set.
        (1..32).filter(|signal| unsafe { libc::sigismember(&raw const set, *signal) } == 1).collect()
    }

    #[test]
    fn threads_take_no_signals_but_faults() {
        let before = held();
        let (send, receive) = std::sync::mpsc::channel();
        spawn("planrt-test".to_owned(), move || send.send(held()).unwrap()).unwrap().join().unwrap();
        assert_eq!(held(), before);
        let held = receive.recv().unwrap();
        assert!(FAULTS.iter().all(|fault| !held.contains(fault)));
        // SIGKILL and SIGSTOP cannot be held back.
        assert_eq!(held.len(), 31 - FAULTS.len() - 2);
    }

    #[test]
    fn a_panic_ends_its_thread_only() {
        spawn("planrt-test".to_owned(), || panic!("as the test asked")).unwrap().join().unwrap();
    }
}
