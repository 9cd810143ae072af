//! Page-locked blocks and events that are used again: making one costs more than what it is used for.

use super::{Device, Event, PinnedMemory, Stream};
use crate::error::Result;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;

/// Blocks of page-locked memory, up to a number of bytes altogether.
pub struct Blocks {
    device: Arc<Device>,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<PinnedMemory>,
    /// Bytes of the free blocks and of those in use.
    bytes: usize,
}

impl Blocks {
    pub fn new(device: &Arc<Device>, limit: usize) -> Arc<Self> {
        Arc::new(Self { device: device.clone(), limit, state: Mutex::default() })
    }

    /// A block of at least so many bytes; `None` where all that the limit allows is in use.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Option<Block>> {
        let mut state = self.state.lock();
        let fits = |memory: &PinnedMemory| (bytes..=bytes.saturating_mul(2)).contains(&memory.size());
        if let Some(i) = state.free.iter().rposition(fits) {
            return Ok(Some(Block { memory: Some(state.free.swap_remove(i)), pool: self.clone() }));
        }
        // Blocks of another size make room.
        let mut given_up = Vec::new();
        while state.bytes + bytes > self.limit
            && let Some(memory) = state.free.pop()
        {
            state.bytes -= memory.size();
            given_up.push(memory);
        }
        if state.bytes + bytes > self.limit {
            return Ok(None);
        }
        state.bytes += bytes;
        drop(state);
        drop(given_up);
        match PinnedMemory::new(&self.device, bytes) {
            Ok(memory) => Ok(Some(Block { memory: Some(memory), pool: self.clone() })),
            Err(error) => {
                self.state.lock().bytes -= bytes;
                Err(error)
            }
        }
    }
}

/// Goes back to its pool when it is dropped.
pub struct Block {
    memory: Option<PinnedMemory>,
    pool: Arc<Blocks>,
}

impl Block {
    pub fn address(&self) -> *mut c_void {
        self.memory.as_ref().map_or(std::ptr::null_mut(), PinnedMemory::address)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.state.lock().free.extend(self.memory.take());
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
        let event = match self.free.lock().pop() {
            Some(event) => event,
            None => Event::new(&self.device)?,
        };
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
