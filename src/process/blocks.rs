//! Large blocks of memory that are taken again in place of new ones.
//!
//! The system hands large blocks out page by page, each filled with zeros when it is first touched: a network that is run on
//! new memory spends up to a sixth of its time on that. So what a run gives back goes to the next tensor, or to the next run,
//! that wants exactly as much.
//!
//! While [`Blocks::within`] works, the thread's large allocations are counted, and what is held beside them never makes
//! more than the caller allows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// The C library asks the system anew for what is larger than this.
const LEAST: usize = 128 << 10;

/// How many blocks are held, and how many sizes told apart: what is beyond comes from the system and goes back to it.
const MOST: usize = 64;

thread_local! {
    /// The blocks that this thread works with. No type that is dropped: it is looked at while a thread ends.
    static CURRENT: Cell<*mut Blocks> = const { Cell::new(ptr::null_mut()) };
}

#[cfg(test)]
thread_local! {
    /// The most that the thread's last work had in use of large blocks at once.
    pub static USED: Cell<usize> = const { Cell::new(0) };
}

/// Blocks of memory that nobody uses.
pub struct Blocks {
    free: [Option<Free>; MOST],
    sizes: [Option<Size>; MOST],
    /// Bytes of the blocks here, of those that the thread has in use, and of both at most.
    held: usize,
    live: usize,
    bound: usize,
    /// The most that the thread had in use.
    #[cfg(test)]
    most: usize,
    /// The number of the work under way.
    work: u64,
}

#[derive(Clone, Copy)]
struct Free {
    address: *mut u8,
    layout: Layout,
    /// The last work that had it in use.
    work: u64,
}

/// How many blocks of a size the work has taken and not given back.
#[derive(Clone, Copy)]
struct Size {
    layout: Layout,
    taken: usize,
}

// SAFETY: the blocks are nobody else's.
unsafe impl Send for Blocks {}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            free: [None; MOST],
            sizes: [None; MOST],
            held: 0,
            live: 0,
            bound: 0,
            #[cfg(test)]
            most: 0,
            work: 0,
        }
    }
}

impl Blocks {
    /// Works with these blocks: what the work allocates and what is held here make no more than so many bytes, as far as the
    /// work itself allows. What it did not need is given back to the system.
    pub fn within<R>(&mut self, bound: u64, work: impl FnOnce() -> R) -> R {
        /// Also where the work panics.
        struct Restore(*mut Blocks);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        self.bound = usize::try_from(bound).unwrap_or(usize::MAX);
        self.live = 0;
        self.work += 1;
        self.sizes = [None; MOST];
        let result = {
            let _restore = Restore(CURRENT.replace(ptr::from_mut(self)));
            work()
        };
        #[cfg(test)]
        USED.set(std::mem::take(&mut self.most));
        let work = self.work;
        self.give_back(|free| free.work != work);
        result
    }

    fn give_back(&mut self, which: impl Fn(&Free) -> bool) {
        for place in &mut self.free {
            if let Some(free) = place.take_if(|free| which(free)) {
                self.held -= free.layout.size();
                // SAFETY: the system's, of that layout, and nobody's.
                unsafe { System.dealloc(free.address, free.layout) };
            }
        }
    }

    /// A block of that layout, or null if there is none; the allocation is counted.
    fn take(&mut self, layout: Layout) -> *mut u8 {
        let known = |size: &&mut Option<Size>| size.is_none_or(|size| size.layout == layout);
        // Those that are in use come before those that are not.
        if let Some(size) = self.sizes.iter_mut().find(known) {
            size.get_or_insert(Size { layout, taken: 0 }).taken += 1;
        }
        self.live = self.live.saturating_add(layout.size());
        #[cfg(test)]
        {
            self.most = self.most.max(self.live);
        }
        let fits = |place: &&mut Option<Free>| place.is_some_and(|free| free.layout == layout);
        if let Some(free) = self.free.iter_mut().find(fits).and_then(Option::take) {
            self.held -= layout.size();
            return free.address;
        }
        while self.held > 0 && self.live.saturating_add(self.held) > self.bound {
            let oldest = self.free.iter().flatten().map(|free| free.work).min();
            let Some(address) = self.free.iter().flatten().find(|f| Some(f.work) == oldest).map(|f| f.address) else {
                break;
            };
            self.give_back(|free| free.address == address);
        }
        ptr::null_mut()
    }

    /// Whether the block, which was allocated by the system with that layout, is held from now on.
    fn keep(&mut self, address: *mut u8, layout: Layout) -> bool {
        let Some(size) = self.sizes.iter_mut().flatten().find(|size| size.layout == layout && size.taken > 0) else {
            // Not of this work: it would hold one more each time.
            return false;
        };
        size.taken -= 1;
        self.live = self.live.saturating_sub(layout.size());
        let all = self.live.saturating_add(self.held).saturating_add(layout.size());
        let Some(place) = self.free.iter_mut().find(|place| place.is_none()).filter(|_| all <= self.bound) else {
            return false;
        };
        *place = Some(Free { address, layout, work: self.work });
        self.held += layout.size();
        true
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.give_back(|_| true);
    }
}

/// The thread's blocks, where it has some and the size is one that they hold.
fn current(layout: Layout) -> Option<*mut Blocks> {
    if layout.size() < LEAST {
        return None;
    }
    // It fails while the thread ends and its own memory is gone.
    CURRENT.try_with(Cell::get).ok().filter(|blocks| !blocks.is_null())
}

/// A block of that layout, with anything in it, or null if there is none.
pub(super) fn take(layout: Layout) -> *mut u8 {
    // SAFETY: `within` has the blocks borrowed until it has taken the pointer back, and this thread alone has it; nothing
    // that is done with them here allocates so much.
    current(layout).map_or(ptr::null_mut(), |blocks| unsafe { (*blocks).take(layout) })
}

/// Whether a block that was allocated by the system with that layout is held from now on.
pub(super) fn keep(address: *mut u8, layout: Layout) -> bool {
    // SAFETY: as above.
    current(layout).is_some_and(|blocks| unsafe { (*blocks).keep(address, layout) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 3 << 20;

    fn block() -> Vec<u8> {
        Vec::with_capacity(SIZE)
    }

    #[test]
    fn what_work_gives_back_is_taken_again_and_never_more_is_held_than_allowed() {
        let mut blocks = Blocks::default();
        let addresses = blocks.within(u64::MAX, || {
            let first = block();
            let address = first.as_ptr();
            drop(first);
            let again = block();
            assert_eq!(again.as_ptr(), address);
            let other = block();
            assert_ne!(other.as_ptr(), address);
            [address, other.as_ptr()]
        });
        assert_eq!(blocks.held, 2 * SIZE);
        // The next work has them, and what it does not need goes.
        let next = blocks.within(u64::MAX, || {
            let block = block();
            block.as_ptr()
        });
        assert_eq!(blocks.held, SIZE);
        assert!(addresses.contains(&next));
        // A block from without stays without, and one that goes out is not missed.
        let foreign = block();
        let kept = blocks.within(u64::MAX, || {
            drop(foreign);
            block()
        });
        assert_eq!(blocks.held, 0);
        drop(kept);
        // Two at most, of any size.
        blocks.within(2 * SIZE as u64, || {
            let (one, two) = (block(), block());
            drop((one, two));
            let _larger: Vec<u8> = Vec::with_capacity(SIZE + 1);
        });
        assert!(blocks.held <= 2 * SIZE);
        // Zeros are zeros.
        blocks.within(u64::MAX, || {
            block().resize(SIZE, 7);
            assert!(vec![0u8; SIZE].iter().all(|byte| *byte == 0));
        });
    }

    #[test]
    fn a_panic_ends_the_work() {
        let mut blocks = Blocks::default();
        let work = std::panic::AssertUnwindSafe(|| blocks.within(u64::MAX, || panic!("as expected")));
        assert!(std::panic::catch_unwind(work).is_err());
        assert!(CURRENT.get().is_null());
    }
}
