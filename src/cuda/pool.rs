//! Page-locked blocks and events that are used again: making one costs more than what it is used for.

use super::{Device, Event, PinnedMemory, Stream};
use crate::error::Result;
use crate::sync::Mutex;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Blocks of page-locked memory, of which so many bytes are kept when nobody uses them.
pub struct Blocks {
    device: Arc<Device>,
    keep: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    memory: Vec<PinnedMemory>,
    bytes: usize,
}

impl Blocks {
    pub fn new(device: &Arc<Device>, keep: usize) -> Arc<Self> {
        Arc::new(Self { device: device.clone(), keep, free: Mutex::default() })
    }

    /// A block of at least so many bytes.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Block> {
        let fits = |memory: &PinnedMemory| (bytes..=bytes.saturating_mul(2)).contains(&memory.size());
        let mut free = self.free.lock();
        // The smallest that does, so that larger ones are left for those who need them; and of these the one used last.
        let fitting = free.memory.iter().enumerate().rev().filter(|(_, memory)| fits(memory));
        let best = fitting.min_by_key(|(_, memory)| memory.size()).map(|(i, _)| i);
        let found = best.map(|i| free.memory.swap_remove(i));
        free.bytes -= found.as_ref().map_or(0, PinnedMemory::size);
        drop(free);
        let memory = found.map_or_else(|| PinnedMemory::new(&self.device, bytes), Ok)?;
        Ok(Block { memory: ManuallyDrop::new(memory), pool: self.clone() })
    }
}

/// Goes back to its pool when it is dropped.
pub struct Block {
    memory: ManuallyDrop<PinnedMemory>,
    pool: Arc<Blocks>,
}

impl Block {
    pub fn address(&self) -> *mut c_void {
        self.memory.address()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: taken here and nowhere else.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        let mut given_up = Vec::new();
        let mut free = self.pool.free.lock();
        free.bytes += memory.size();
        free.memory.push(memory);
        // The ones that were not asked for longest go first.
        while free.bytes > self.pool.keep && !free.memory.is_empty() {
            let memory = free.memory.remove(0);
            free.bytes -= memory.size();
            given_up.push(memory);
        }
        drop(free);
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
