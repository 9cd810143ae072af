//! Outputs that a thread of the session's copies to the caller's memory, before their request is answered: whoever asks
//! for the answer, an application's user interface say, never copies.

use super::request::Responder;
use crate::backend::job::Delivery;
use crate::panic::catch;
use crate::sync::{Condvar, Mutex};
use std::collections::VecDeque;

#[derive(Default)]
pub struct CopyQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Delivery, Responder)>,
    closed: bool,
}

impl CopyQueue {
    pub fn push(&self, delivery: Delivery, responder: Responder) {
        self.state.lock().waiting.push_back((delivery, responder));
        self.changed.notify_one();
    }

    /// What the thread does: copies, and answers, until the queue is closed and empty.
    pub fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((delivery, responder)) = state.waiting.pop_front() {
                drop(state);
                let copied = catch(|| delivery.deliver());
                responder.answer(copied, None);
                state = self.state.lock();
            } else if state.closed {
                return;
            } else {
                self.changed.wait(&mut state);
            }
        }
    }

    /// Nothing is pushed from now on.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}
