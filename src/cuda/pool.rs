//! Page-locked blocks and events that are used again: making one costs more than what it is used for.

use super::{Device, Event, PinnedMemory, Stream};
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of page-locked memory that are kept when nobody has used more of it lately.
const KEPT: usize = 64 << 20;

/// So long what was in use at once counts as what will be in use again: page-locking 16 MiB takes some 5 ms, in which the
/// driver lets no other thread work.
const RECENT: Duration = Duration::from_secs(10);

/// The most bytes of page-locked memory: it is taken from all processes. What goes beyond is ordinary memory.
const LIMIT: usize = 2 << 30;

/// Memory on the host, for elements on their way between a caller's ordinary memory and the device.
pub struct Blocks {
    device: Arc<Device>,
    state: Mutex<State>,
}

struct State {
    /// What nobody uses, in the order in which it came back.
    free: Vec<PinnedMemory>,
    free_bytes: usize,
    used_bytes: usize,
    /// The most bytes in use at once since that moment, and in the period before.
    since: Instant,
    peak: usize,
    last_peak: usize,
}

impl State {
    fn note_use(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.since);
        if elapsed >= RECENT {
            self.last_peak = if elapsed < 2 * RECENT { self.peak } else { 0 };
            self.peak = 0;
            self.since = now;
        }
        self.peak = self.peak.max(self.used_bytes);
    }

    /// Takes out the smallest that does, so that larger ones are left for those who need them; of these the one used last.
    fn reuse(&mut self, bytes: usize) -> Option<PinnedMemory> {
        let fits = |memory: &PinnedMemory| (bytes..=bytes.saturating_mul(2)).contains(&memory.size());
        let fitting = self.free.iter().enumerate().rev().filter(|(_, memory)| fits(memory));
        let best = fitting.min_by_key(|(_, memory)| memory.size()).map(|(i, _)| i)?;
        let memory = self.free.remove(best);
        self.free_bytes -= memory.size();
        Some(memory)
    }

    /// Takes out those that were not asked for longest, until so many bytes are left in all.
    fn give_up(&mut self, most: usize) -> Vec<PinnedMemory> {
        let mut count = 0;
        while self.free_bytes.saturating_add(self.used_bytes) > most
            && let Some(memory) = self.free.get(count)
        {
            self.free_bytes -= memory.size();
            count += 1;
        }
        self.free.drain(..count).collect()
    }
}

impl Blocks {
    pub fn new(device: &Arc<Device>) -> Arc<Self> {
        let state =
            State { free: Vec::new(), free_bytes: 0, used_bytes: 0, since: Instant::now(), peak: 0, last_peak: 0 };
        Arc::new(Self { device: device.clone(), state: Mutex::new(state) })
    }

    /// A block of at least so many bytes.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Block> {
        let mut state = self.state.lock();
        let found = state.reuse(bytes);
        let size = found.as_ref().map_or(bytes, PinnedMemory::size);
        let is_too_much = found.is_none() && size > LIMIT.saturating_sub(state.used_bytes);
        let given_up = match (&found, is_too_much) {
            (None, false) => state.give_up(LIMIT - size),
            _ => Vec::new(),
        };
        if !is_too_much {
            state.used_bytes += size;
            state.note_use(Instant::now());
        }
        drop(state);
        drop(given_up);
        if is_too_much {
            return Block::ordinary(bytes);
        }
        let made = found.map_or_else(|| PinnedMemory::new(&self.device, bytes), Ok);
        match made {
            Ok(memory) => Ok(Block::pinned(memory, self)),
            Err(error) => {
                self.state.lock().used_bytes -= size;
                if error.code() == Code::OutOfMemory { Block::ordinary(bytes) } else { Err(error) }
            }
        }
    }

    fn put_back(&self, memory: PinnedMemory) {
        let mut state = self.state.lock();
        state.note_use(Instant::now());
        state.used_bytes -= memory.size();
        state.free_bytes += memory.size();
        state.free.push(memory);
        let most = state.peak.max(state.last_peak).max(KEPT);
        let given_up = state.give_up(most);
        // Not under the lock: letting go of memory takes the driver long.
        drop(state);
        drop(given_up);
    }
}

/// Goes back to its pool when it is dropped.
pub struct Block {
    address: *mut c_void,
    pinned: Option<(PinnedMemory, Arc<Blocks>)>,
    /// Memory that is not page-locked, where there is no more of that: the driver copies from and to it, too, but slower.
    _ordinary: Vec<u8>,
}

// SAFETY: memory that belongs to this value; access is by raw pointer, under its users' rules.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn pinned(memory: PinnedMemory, pool: &Arc<Blocks>) -> Self {
        Self { address: memory.address(), pinned: Some((memory, pool.clone())), _ordinary: Vec::new() }
    }

    fn ordinary(bytes: usize) -> Result<Self> {
        let mut ordinary: Vec<u8> = Vec::new();
        ordinary.try_reserve_exact(bytes).map_err(|_| {
            Error::new(
                Code::OutOfMemory,
                format!("no {bytes} bytes of host memory for a tensor on its way to the device or from there"),
            )
        })?;
        Ok(Self { address: ordinary.as_mut_ptr().cast(), pinned: None, _ordinary: ordinary })
    }

    pub fn address(&self) -> *mut c_void {
        self.address
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some((memory, pool)) = self.pinned.take() {
            pool.put_back(memory);
        }
    }
}

/// Events for marks on other's streams.
pub struct Marks {
    device: Arc<Device>,
    free: Mutex<Vec<Event>>,
}

impl Marks {
    pub fn new(device: &Arc<Device>) -> Arc<Self> {
        Arc::new(Self { device: device.clone(), free: Mutex::default() })
    }

    /// A mark behind what the stream holds now.
    pub fn mark(self: &Arc<Self>, stream: &Stream) -> Result<Mark> {
        let free = self.free.lock().pop();
        let event = free.map_or_else(|| Event::new(&self.device), Ok)?;
        event.record(stream)?;
        Ok(Mark { event: Some(event), pool: Some(self.clone()) })
    }
}

/// A place in some stream, until it is dropped.
pub struct Mark {
    event: Option<Event>,
    pool: Option<Arc<Marks>>,
}

impl Mark {
    /// The application's event, which it keeps.
    pub fn foreign(event: Event) -> Self {
        Self { event: Some(event), pool: None }
    }

    /// Lets what the stream is given later wait for the mark.
    pub fn hold_back(&self, stream: &Stream) -> Result<()> {
        self.event.as_ref().map_or(Ok(()), |event| event.hold_back(stream))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.free.lock().extend(self.event.take());
        }
    }
}
