//! Pools of threads. What they are to do is handed to them behind a reference, so that handing over is compiled once.

use rayon_core::{ThreadBuilder, ThreadPoolBuildError};
use std::io;

#[derive(Debug)]
pub struct ThreadPool(rayon_core::ThreadPool);

impl ThreadPool {
    pub fn current_num_threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Does `work` on one of the pool's threads, and waits for it. A panic in it goes on here.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (mut work, mut result) = (Some(work), None);
        self.hand_over(&mut || result = work.take().map(|work| work()));
        match result {
            Some(result) => result,
            None => unreachable!("rayon-core calls what it is given"),
        }
    }

    fn hand_over(&self, work: &mut (dyn FnMut() + Send)) {
        self.0.install(work);
    }
}

#[derive(Default)]
pub struct ThreadPoolBuilder(rayon_core::ThreadPoolBuilder);

impl ThreadPoolBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn num_threads(self, count: usize) -> Self {
        Self(self.0.num_threads(count))
    }

    pub fn thread_name(self, name: impl FnMut(usize) -> String + 'static) -> Self {
        Self(self.0.thread_name(name))
    }

    /// The threads are started by the caller.
    pub fn spawn_handler<F: FnMut(ThreadBuilder) -> io::Result<()>>(self, spawn: F) -> SpawningPoolBuilder<F> {
        SpawningPoolBuilder { builder: self.0, spawn }
    }

    pub fn build(self) -> Result<ThreadPool, ThreadPoolBuildError> {
        self.0.build().map(ThreadPool)
    }
}

pub struct SpawningPoolBuilder<F> {
    builder: rayon_core::ThreadPoolBuilder,
    spawn: F,
}

impl<F: FnMut(ThreadBuilder) -> io::Result<()>> SpawningPoolBuilder<F> {
    pub fn build(self) -> Result<ThreadPool, ThreadPoolBuildError> {
        self.builder.spawn_handler(self.spawn).build().map(ThreadPool)
    }
}
