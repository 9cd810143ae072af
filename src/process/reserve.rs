//! What Rust's collections allocate cannot be refused: where the system has no memory left they end the process. So the
//! library's small allocations come from a reserve then, and the call that they are for ends with an error as soon as it
//! can be asked.
//!
//! Large ones are estimated beforehand and refused (`memory`), or made where they can fail.

use super::blocks;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, Ordering};

/// Part of the library's zeroed data: address space, but no memory before it is used.
const SIZE: usize = 16 << 20;

/// What is larger than this is not small.
const LARGEST: usize = 1 << 20;

#[repr(align(4096))]
struct Block(UnsafeCell<[u8; SIZE]>);

// SAFETY: only places that `Reserve::take` has given out are used, each by the one who took it.
unsafe impl Sync for Block {}

static BLOCK: Block = Block(UnsafeCell::new([0; SIZE]));

static RESERVE: Reserve = Reserve { busy: AtomicBool::new(false), state: UnsafeCell::new(State { end: 0, taken: 0 }) };

thread_local! {
    /// Whether an allocation of this thread came from the reserve.
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

struct Reserve {
    /// A lock that needs no memory itself.
    busy: AtomicBool,
    state: UnsafeCell<State>,
}

struct State {
    /// All behind this is free.
    end: usize,
    /// How many allocations are in use: with the last of them all is free.
    taken: usize,
}

// SAFETY: the state is used by the one who holds the lock.
unsafe impl Sync for Reserve {}

impl Reserve {
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        while self.busy.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
        // SAFETY: the lock is held.
        let result = work(unsafe { &mut *self.state.get() });
        self.busy.store(false, Ordering::Release);
        result
    }

    /// In the child of a fork: whoever held the lock is not there. Whatever it was at, at worst a place stays taken.
    fn unlock_in_child(&self) {
        self.busy.store(false, Ordering::Release);
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST || layout.align() > 4096 {
            return std::ptr::null_mut();
        }
        let at = self.with(|state| {
            let start = state.end.next_multiple_of(layout.align());
            let end = start + layout.size();
            (end <= SIZE).then(|| {
                state.end = end;
                state.taken += 1;
                start
            })
        });
        // It fails while the thread ends and its own memory is gone.
        let _ = SHORT.try_with(|short| short.set(true));
        at.map_or(std::ptr::null_mut(), |at| BLOCK.0.get().cast::<u8>().wrapping_add(at))
    }

    /// Whether it was the reserve's.
    fn give_back(&self, address: *mut u8, layout: Layout) -> bool {
        let Some(at) = Self::place(address) else { return false };
        self.with(|state| {
            state.taken -= 1;
            if state.taken == 0 {
                state.end = 0;
            } else if state.end == at + layout.size() {
                state.end = at;
            }
        });
        true
    }

    fn place(address: *mut u8) -> Option<usize> {
        address.addr().checked_sub(BLOCK.0.get().addr()).filter(|at| *at < SIZE)
    }
}

/// The system's allocator, behind it the reserve, and before it what runs have used before (`blocks`).
struct Allocator;

// SAFETY: the system's allocator where it has memory; else places of the reserve, of the layout that is asked for and
// nobody else's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let address = blocks::take(layout);
        if !address.is_null() {
            return address;
        }
        // SAFETY: as the caller says.
        let address = unsafe { System.alloc(layout) };
        if address.is_null() { RESERVE.take(layout) } else { address }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let address = blocks::take(layout);
        if !address.is_null() {
            // SAFETY: just taken, of that size.
            unsafe { address.write_bytes(0, layout.size()) };
            return address;
        }
        // SAFETY: as the caller says.
        let address = unsafe { System.alloc_zeroed(layout) };
        if !address.is_null() {
            return address;
        }
        let address = RESERVE.take(layout);
        if !address.is_null() {
            // SAFETY: just taken, of that size.
            unsafe { address.write_bytes(0, layout.size()) };
        }
        address
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        if !RESERVE.give_back(address, layout) && !blocks::keep(address, layout) {
            // SAFETY: as the caller says.
            unsafe { System.dealloc(address, layout) };
        }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Reserve::place(address).is_none() {
            // SAFETY: as the caller says.
            let moved = unsafe { System.realloc(address, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: a size that the caller vouches for, with an alignment that there was before; both places are as large as
        // what is copied, and do not overlap.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(address, size.min(layout.size()));
                self.dealloc(address, layout);
            }
            moved
        }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// To be called in the child of a fork, by the one thread that it has.
pub fn forked() {
    RESERVE.unlock_in_child();
}

/// Whether an allocation of this thread had to come from the reserve since [`forget`].
pub fn was_used() -> bool {
    SHORT.try_with(Cell::get).unwrap_or(false)
}

/// What comes now is looked at for itself.
pub fn forget() {
    let _ = SHORT.try_with(|short| short.set(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ones_come_from_the_reserve_and_go_back() {
        let layout = |size| Layout::from_size_align(size, 64).unwrap();
        assert!(RESERVE.take(layout(LARGEST + 1)).is_null());
        let first = RESERVE.take(layout(100));
        let second = RESERVE.take(layout(LARGEST));
        assert!(!first.is_null() && first.addr().is_multiple_of(64) && second.addr() >= first.addr() + 100);
        assert!(was_used());
        forget();
        assert!(!was_used());
        // SAFETY: from the reserve, and grown out of it or within it.
        let third = unsafe {
            first.write_bytes(7, 100);
            ALLOCATOR.realloc(first, layout(100), 200)
        };
        // SAFETY: 200 bytes, of which the first hundred were copied.
        assert!(unsafe { std::slice::from_raw_parts(third, 100) }.iter().all(|byte| *byte == 7));
        // SAFETY: as they were taken.
        unsafe {
            ALLOCATOR.dealloc(third, layout(200));
            ALLOCATOR.dealloc(second, layout(LARGEST));
        }
        RESERVE.with(|state| assert_eq!((state.taken, state.end), (0, 0)));
        assert!(!RESERVE.give_back(std::ptr::from_ref(&layout).cast_mut().cast(), layout(1)));
    }

    #[test]
    fn a_child_does_not_wait_for_a_thread_that_it_does_not_have() {
        let _ = crate::process::fork::Process::current();
        // SAFETY: the child takes one place, and ends; without it, by the alarm.
        let child = RESERVE.with(|_| unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::alarm(10);
                let place = RESERVE.take(Layout::new::<u64>());
                libc::_exit(i32::from(place.is_null()));
            }
            child
        });
        let mut status = -1;
        // SAFETY: writes one int.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
}
