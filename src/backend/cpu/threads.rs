//! The threads of one engine, and how a batch is spread over them.

use crate::error::{Code, Error, Result};
use crate::process;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tract_linalg::multithread::{Executor, multithread_tract_scope};

/// A fixed number of threads that work for one engine and end with it.
///
/// Contexts share them. With a count of 1 there are none: a run works on the thread that called.
pub struct Threads {
    count: usize,
    pool: Option<Arc<ThreadPool>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts `count` threads, or one for each core if it is 0.
    pub fn start(count: usize) -> Result<Self> {
        let count = match count {
            0 => thread::available_parallelism().map_or(1, Into::into),
            n => n,
        };
        let mut threads = Self { count, pool: None, handles: Vec::new() };
        if count > 1 {
            let handles = &mut threads.handles;
            let pool = ThreadPoolBuilder::new()
                .num_threads(count)
                // rayon does not wait for its threads to end when a pool is dropped: they are ours, so that we can.
                .spawn_handler(|worker| {
                    let name = format!("planrt-cpu-{}", worker.index());
                    handles.push(process::thread::spawn(name, || worker.run())?);
                    Ok(())
                })
                .build()
                .map_err(|e| {
                    Error::new(Code::OutOfMemory, format!("{count} threads for the CPU engine could not be started"))
                        .with_detail(e.to_string())
                })?;
            threads.pool = Some(Arc::new(pool));
        }
        Ok(threads)
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Does `work` for each item and returns the results in order, or one of the errors; all work has ended then.
    ///
    /// As many items as there are threads run side by side, each on one thread: that scales best, as tract divides
    /// only part of its work. What is left over runs item after item, each on all threads.
    pub fn map<I: Send, O: Send>(&self, mut items: Vec<I>, work: impl Fn(I) -> Result<O> + Sync) -> Result<Vec<O>> {
        // tract keeps scratch memory borrowed, per thread, while a pool works for it, and a pool's thread that waits
        // takes up other work. So a pool's thread must never have tract use the pool: inside the pool work is single.
        let single = |item| multithread_tract_scope(Executor::SingleThread, || work(item));
        let Some(pool) = &self.pool else {
            return items.into_iter().map(single).collect();
        };
        let rest = items.split_off(items.len() - items.len() % self.count);
        let mut results: Vec<O> = match items.len() {
            0 => Vec::new(),
            _ => pool.install(|| items.into_par_iter().with_max_len(1).map(single).collect::<Result<_>>())?,
        };
        for item in rest {
            results.push(multithread_tract_scope(Executor::MultiThread(pool.clone()), || work(item))?);
        }
        Ok(results)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.pool = None;
        for handle in self.handles.drain(..) {
            // A panic in one of them has been reported where its work was waited for.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    //! Of what `stand-ins/rayon` has in place of rayon.

    use rayon::ThreadPoolBuilder;
    use rayon::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn in_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(work)
    }

    #[test]
    fn each_place_is_worked_on_once() {
        for count in [0, 1, 2, 7, 100] {
            let calls: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            in_threads(|| {
                (0..count).into_par_iter().for_each(|place| {
                    calls[place].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1), "{count}: {calls:?}");
        }
    }

    #[test]
    fn pieces_are_in_order_and_the_last_is_what_is_left() {
        let mut values = [0; 10];
        in_threads(|| {
            values.par_chunks_mut(4).enumerate().for_each(|(place, piece)| piece.fill(10 * place + piece.len()));
        });
        assert_eq!(values, [4, 4, 4, 4, 14, 14, 14, 14, 22, 22]);
    }

    #[test]
    fn results_are_in_order_and_an_error_ends_the_loop() {
        let of = |limit: usize| {
            in_threads(|| {
                let items: Vec<_> = (0..50).collect();
                let each = items.into_par_iter().with_max_len(1);
                each.map(|item| if item < limit { Ok(2 * item) } else { Err(item) }).collect::<Result<Vec<_>, _>>()
            })
        };
        assert_eq!(of(50), Ok((0..50).map(|item| 2 * item).collect()));
        assert!((20..50).contains(&of(20).unwrap_err()));
        let begun = AtomicUsize::new(0);
        // On this thread alone, so that nothing is under way beside the error.
        let alone = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let result = alone.install(|| {
            (0..50).into_par_iter().try_for_each(|place| {
                begun.fetch_add(1, Ordering::Relaxed);
                if place == 3 { Err(place) } else { Ok(()) }
            })
        });
        assert_eq!((result, begun.into_inner()), (Err(3), 4));
    }

    #[test]
    fn a_panic_goes_on_where_the_loop_was_begun() {
        let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let run = |bad: usize| pool.install(|| (0..9).into_par_iter().for_each(|place| assert_ne!(place, bad)));
        assert!(catch_unwind(AssertUnwindSafe(|| run(4))).is_err());
        run(9);
    }
}
