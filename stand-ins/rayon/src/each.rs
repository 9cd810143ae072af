//! Loops over places, shared out among threads.

use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something for each of a number of places; each place is asked for once.
pub struct Each<F> {
    count: usize,
    item: F,
}

impl<T, F: Fn(usize) -> T + Sync> Each<F> {
    /// Each place is a piece of its own already.
    pub fn with_max_len(self, _: usize) -> Self {
        self
    }

    pub fn enumerate(self) -> Each<impl Fn(usize) -> (usize, T) + Sync> {
        Each { count: self.count, item: move |place: usize| (place, (self.item)(place)) }
    }

    pub fn map<U>(self, change: impl Fn(T) -> U + Sync) -> Each<impl Fn(usize) -> U + Sync> {
        Each { count: self.count, item: move |place: usize| change((self.item)(place)) }
    }

    pub fn for_each(self, work: impl Fn(T) + Sync) {
        spread(self.count, &|place| {
            work((self.item)(place));
            true
        });
    }

    /// One of the errors, if there are any; nothing is begun after one.
    #[inline(never)] // tract has each loop in two places
    pub fn try_for_each<E: Send>(self, work: impl Fn(T) -> Result<(), E> + Sync) -> Result<(), E> {
        let failed = Mutex::new(None);
        spread(self.count, &|place| match work((self.item)(place)) {
            Ok(()) => true,
            Err(error) => {
                *open(&failed) = Some(error);
                false
            }
        });
        inside(failed).map_or(Ok(()), Err)
    }

    /// In order.
    pub fn collect<C: FromEach<T>>(self) -> C {
        C::from_each(self)
    }
}

/// What the items of a loop are put together to.
pub trait FromEach<T> {
    fn from_each(each: Each<impl Fn(usize) -> T + Sync>) -> Self;
}

impl<T: Send, E: Send> FromEach<Result<T, E>> for Result<Vec<T>, E> {
    fn from_each(each: Each<impl Fn(usize) -> Result<T, E> + Sync>) -> Self {
        let results: Vec<_> = (0..each.count).map(|_| Mutex::new(None)).collect();
        each.enumerate().try_for_each(|(place, result)| {
            *open(&results[place]) = Some(result?);
            Ok(())
        })?;
        Ok(results.into_iter().filter_map(inside).collect())
    }
}

pub trait IntoParallelIterator {
    type Item;

    fn into_par_iter(self) -> Each<impl Fn(usize) -> Self::Item + Sync>;
}

impl IntoParallelIterator for Range<usize> {
    type Item = usize;

    fn into_par_iter(self) -> Each<impl Fn(usize) -> usize + Sync> {
        Each { count: self.len(), item: move |place: usize| self.start + place }
    }
}

impl<T: Send> IntoParallelIterator for Vec<T> {
    type Item = T;

    fn into_par_iter(self) -> Each<impl Fn(usize) -> T + Sync> {
        let items: Vec<_> = self.into_iter().map(|item| Mutex::new(Some(item))).collect();
        let count = items.len();
        let item = move |place: usize| match open(&items[place]).take() {
            Some(item) => item,
            None => unreachable!("each place is asked for once"),
        };
        Each { count, item }
    }
}

pub trait ParallelSliceMut<T: Send> {
    /// Pieces of so many elements; the last may have fewer.
    fn par_chunks_mut<'a>(&'a mut self, length: usize) -> Each<impl Fn(usize) -> &'a mut [T] + Sync>
    where
        T: 'a;
}

impl<T: Send> ParallelSliceMut<T> for [T] {
    fn par_chunks_mut<'a>(&'a mut self, length: usize) -> Each<impl Fn(usize) -> &'a mut [T] + Sync>
    where
        T: 'a,
    {
        assert!(length > 0, "pieces of nothing");
        let (all, count) = (self.len(), self.len().div_ceil(length));
        let first = Shared(self.as_mut_ptr());
        let item = move |place: usize| {
            let from = place * length;
            // SAFETY: within the slice, and apart from all other pieces: each place is asked for once.
            unsafe { slice::from_raw_parts_mut(first.at(from), length.min(all - from)) }
        };
        Each { count, item }
    }
}

/// Where memory begins whose parts are handed to threads one by one.
struct Shared<T>(*mut T);

// SAFETY: what is done with it is up to who asks for a place in it; the values may go to another thread.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(&self, place: usize) -> *mut T {
        self.0.wrapping_add(place)
    }
}

fn open<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inside<T>(slot: Mutex<T>) -> T {
    slot.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `work` once for each place, until it says that it is enough, on the threads of the pool that this one belongs to. All
/// calls have ended then.
fn spread(count: usize, work: &(dyn Fn(usize) -> bool + Sync)) {
    let enough = AtomicBool::new(false);
    halves(0..count, &|place| {
        if !enough.load(Ordering::Relaxed) && !work(place) {
            enough.store(true, Ordering::Relaxed);
        }
    });
}

/// A thread that has nothing to do takes the latter half of what another one has left.
fn halves(places: Range<usize>, work: &(dyn Fn(usize) + Sync)) {
    match places.len() {
        0 => {}
        1 => work(places.start),
        count => {
            let middle = places.start + count / 2;
            rayon_core::join(|| halves(places.start..middle, work), || halves(middle..places.end, work));
        }
    }
}
