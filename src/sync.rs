//! Locks, in one place. They are the standard library's, which are nothing but words in memory: a library with a table of
//! those who wait, such as parking_lot, leaves a child of a fork with the entries of threads that it does not have.
//!
//! `tests/interleavings` puts loom's in their stead and tries every interleaving of the scheduler.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicUsize;
use std::sync::{PoisonError, TryLockError};
use std::time::Instant;

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, Ordering};

/// A panic leaves it as it is: whoever caught the panic knows what else is to be given up.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

/// Empty only while its thread waits on a condition.
pub struct MutexGuard<'a, T: ?Sized>(Option<std::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(error)) => Some(MutexGuard(Some(error.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(guard) => guard,
            None => unreachable!("a thread that waits looks at nothing"),
        }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(guard) => guard,
            None => unreachable!("a thread that waits looks at nothing"),
        }
    }
}

/// What is waited for changes under the mutex that a thread waits with. So a thread that notifies sees whoever waited before the
/// change, and where nobody did it is spared the system call that the standard library's would make.
#[derive(Default)]
pub struct Condvar {
    inner: std::sync::Condvar,
    waiting: AtomicUsize,
}

/// How a wait with an end ended.
pub struct WaitResult {
    timed_out: bool,
}

impl WaitResult {
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Condvar {
    pub const fn new() -> Self {
        Self { inner: std::sync::Condvar::new(), waiting: AtomicUsize::new(0) }
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        guard.0 = guard.0.take().map(|inner| self.inner.wait(inner).unwrap_or_else(PoisonError::into_inner));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> WaitResult {
        let time = until.saturating_duration_since(Instant::now());
        let mut timed_out = time.is_zero();
        if let Some(inner) = guard.0.take_if(|_| !timed_out) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let (inner, result) = self.inner.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            guard.0 = Some(inner);
            timed_out = result.timed_out();
        }
        WaitResult { timed_out }
    }

    pub fn notify_one(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.inner.notify_one();
        }
    }

    pub fn notify_all(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.inner.notify_all();
        }
    }
}

/// A number that no other thread has, as long as this one lives. (The standard library's would allocate on threads that it
/// did not start.)
pub fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}
