//! Work of several streams that must not share the device: on the device, each piece waits for the last one.

use super::{Device, Event, Stream};
use crate::error::Result;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The turns of one device, for everything in the process that takes them.
pub struct Turns {
    /// Behind the piece of work that was given last. The lock is held while the next one is given.
    last: Mutex<Event>,
}

impl Turns {
    /// Those of a device, by whichever of its values.
    pub fn of(device: &Arc<Device>) -> Result<Arc<Self>> {
        static ALL: Mutex<Option<HashMap<i32, Weak<Turns>>>> = Mutex::new(None);
        let mut all = ALL.lock();
        let place = all.get_or_insert_default().entry(device.info.ordinal).or_default();
        if let Some(turns) = place.upgrade() {
            return Ok(turns);
        }
        let turns = Arc::new(Self { last: Mutex::new(Event::new(device)?) });
        *place = Arc::downgrade(&turns);
        Ok(turns)
    }

    /// Does what gives work to the stream; where there are turns, the device begins that work when what took the last turn has
    /// ended, whichever stream that is on. The host does not wait. No stream of theirs is capturing.
    pub fn take<T>(turns: Option<&Arc<Self>>, stream: &Stream, work: impl FnOnce() -> T) -> Result<T> {
        let Some(turns) = turns else { return Ok(work()) };
        let last = turns.last.lock();
        last.hold_back(stream)?;
        let outcome = work();
        // Also where that failed: some of it may have been given.
        last.record(stream)?;
        Ok(outcome)
    }
}
