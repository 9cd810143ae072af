//! The batch keys of a session's requests: found again by shapes, since a new one costs the inference of its shapes.

use crate::backend::batch::{BatchKey, Capacity};
use crate::error::Result;
use crate::sync::{Arc, Mutex};
use crate::tensor::Shape;

/// A batch key as a session knows it.
pub struct RegisteredKey {
    pub number: u64,
    pub key: BatchKey,
    /// What each instance takes of it.
    pub capacities: Vec<Capacity>,
}

/// So many keys are remembered.
const REMEMBERED: usize = 64;

#[derive(Default)]
pub struct KeyRegistry {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest last.
    keys: Vec<Arc<RegisteredKey>>,
    /// How many there were.
    count: u64,
}

impl State {
    fn find(&self, shapes: &[Shape], device: Option<i32>) -> Option<Arc<RegisteredKey>> {
        self.keys.iter().find(|known| known.key.admits(shapes, device)).cloned()
    }
}

impl KeyRegistry {
    /// The key of requests with these inputs' shapes, whose memory is on that device; a new one is made where there is none.
    pub fn get(
        &self,
        shapes: &[Shape],
        device: Option<i32>,
        make: impl FnOnce() -> Result<(BatchKey, Vec<Capacity>)>,
    ) -> Result<Arc<RegisteredKey>> {
        if let Some(known) = self.state.lock().find(shapes, device) {
            return Ok(known);
        }
        let (key, capacities) = make()?;
        let mut state = self.state.lock();
        // Another thread may have been quicker.
        if let Some(known) = state.find(shapes, device) {
            return Ok(known);
        }
        if state.keys.len() == REMEMBERED {
            state.keys.remove(0);
        }
        state.count += 1;
        let known = Arc::new(RegisteredKey { number: state.count, key, capacities });
        state.keys.push(known.clone());
        Ok(known)
    }
}
