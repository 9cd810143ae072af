//! Threads, cancelling and progress of long computations, and memory whose size callers say.

use crate::error::{Code, Error, Result};
use crate::panic::catch;
use crate::process::{memory, thread};
use crate::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a long computation may use, and whom it asks and tells as it goes.
pub struct Work<'a> {
    /// At most so many threads at once, the calling one among them; 0 counts as 1.
    pub threads: usize,
    /// Asked before each piece; from any of the threads.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Told how much is done, from 0 to 1; from any of the threads.
    pub progress: &'a (dyn Fn(f64) + Sync),
}

/// Values that are worth a thread.
const LEAST: usize = 1 << 16;

/// Pieces that are done of those that there are.
pub struct Pieces {
    done: AtomicUsize,
    of: usize,
}

impl Pieces {
    pub fn new(of: usize) -> Self {
        Self { done: AtomicUsize::new(0), of }
    }
}

impl Work<'_> {
    pub fn check(&self) -> Result<()> {
        match (self.cancelled)() {
            true => Err(Error::new(Code::Cancelled, "cancelled")),
            false => Ok(()),
        }
    }

    /// The same for so many values at most: what takes no longer than a thread takes to begin is done by the calling one.
    pub fn on(&self, values: usize) -> Self {
        Self { threads: if values < LEAST { 1 } else { self.threads }, ..*self }
    }

    /// Does `work` for each item, the threads taking the next one whenever they are done with one; what `scratch` makes is a
    /// thread's own. The first error ends it.
    pub fn each<I: Send, S>(
        &self,
        pieces: &Pieces,
        items: impl Iterator<Item = I> + Send,
        scratch: impl Fn() -> Result<S> + Sync,
        work: impl Fn(&mut S, I) -> Result<()> + Sync,
    ) -> Result<()> {
        let items = Mutex::new(items);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let run = || -> Result<()> {
            let mut scratch = scratch()?;
            loop {
                self.check()?;
                if failure.lock().is_some() {
                    return Ok(());
                }
                let Some(item) = items.lock().next() else { return Ok(()) };
                work(&mut scratch, item)?;
                let done = pieces.done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)((done as f64 / pieces.of.max(1) as f64).min(1.0));
            }
        };
        let run = || {
            if let Err(error) = catch(run).unwrap_or_else(Err) {
                failure.lock().get_or_insert(error);
            }
        };
        std::thread::scope(|scope| {
            for index in 1..self.threads {
                // With fewer threads it takes longer.
                if thread::spawn_scoped(scope, format!("planrt-volume-{index}"), run).is_err() {
                    break;
                }
            }
            run();
        });
        let failure = failure.lock().take();
        failure.map_or(Ok(()), Err)
    }
}

/// So many elements; an error where there is no memory for them.
pub fn allocate<T: Clone + Default>(what: &str, count: usize) -> Result<Vec<T>> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    memory::require(what, bytes)?;
    let mut elements = Vec::new();
    elements
        .try_reserve_exact(count)
        .map_err(|_| Error::new(Code::OutOfMemory, format!("no memory for {what}: {} MiB", bytes >> 20)))?;
    elements.resize(count, T::default());
    Ok(elements)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two threads that nobody cancels.
    pub const PLAIN: Work = Work { threads: 2, cancelled: &|| false, progress: &|_| () };

    #[test]
    fn every_item_once() {
        let mut slots = vec![0; 1000];
        let told = Mutex::new(0.0f64);
        let progress = |done| {
            let mut told = told.lock();
            *told = told.max(done);
        };
        let work = Work { threads: 3, cancelled: &|| false, progress: &progress };
        let add = |(): &mut (), slot: &mut usize| {
            *slot += 1;
            Ok(())
        };
        work.each(&Pieces::new(1000), slots.iter_mut(), || Ok(()), add).unwrap();
        assert!(slots.iter().all(|slot| *slot == 1));
        assert_eq!(*told.lock(), 1.0);
    }

    #[test]
    fn errors_panics_and_cancelling_end_it() {
        let fail = |(): &mut (), item: usize| match item {
            7 => Err(Error::new(Code::Shape, "seven")),
            _ => Ok(()),
        };
        let error = PLAIN.each(&Pieces::new(9), 0.., || Ok(()), fail).unwrap_err();
        assert_eq!(error.message(), "seven");
        let panics = |(): &mut (), item: usize| if item == 7 { panic!("seven") } else { Ok(()) };
        let error = PLAIN.each(&Pieces::new(9), 0.., || Ok(()), panics).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        let count = AtomicUsize::new(0);
        let cancelled = || count.fetch_add(1, Ordering::Relaxed) > 20;
        let work = Work { threads: 2, cancelled: &cancelled, progress: &|_| () };
        let error = work.each(&Pieces::new(9), 0.., || Ok(()), |(): &mut (), _: usize| Ok(())).unwrap_err();
        assert_eq!(error.code(), Code::Cancelled);
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        assert_eq!(allocate::<f32>("a test", usize::MAX).unwrap_err().code(), Code::OutOfMemory);
        assert_eq!(allocate::<u8>("a test", 3).unwrap(), [0; 3]);
    }
}
