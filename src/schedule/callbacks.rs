//! Callbacks: they wait here for the thread that makes them, the session's own or one that the application lends.

use super::ticket::Ticket;
use crate::error::Result;
use crate::panic::catch;
use crate::sync::{Arc, Condvar, Mutex, this_thread};
use std::collections::VecDeque;
use std::time::Instant;

/// What a request's owner wants called with the outcome.
pub type Callback = Box<dyn FnOnce(&Result<()>) + Send>;

/// A callback whose request is answered.
pub struct DueCallback {
    pub callback: Callback,
    pub ticket: Arc<Ticket>,
}

impl DueCallback {
    fn make(self) {
        // A panic in it is its own affair: the others follow. To look at the outcome brings the outputs to the caller.
        let _ = catch(|| self.ticket.poll().map(|outcome| (self.callback)(&outcome)));
    }
}

#[derive(Default)]
pub struct CallbackQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: VecDeque<DueCallback>,
    /// The thread that is in a callback: one at a time.
    caller: Option<usize>,
    /// The deadline that someone has to look after.
    alarm: Option<Instant>,
    closed: bool,
}

/// What a thread that serves has come to.
pub enum Served {
    /// It has made a callback.
    Callback,
    /// The alarm went off.
    Alarm,
    /// The time that was given is over, or it is inside a callback already.
    Nothing,
    Closed,
}

impl CallbackQueue {
    pub fn push(&self, due: DueCallback) {
        self.state.lock().due.push_back(due);
        self.changed.notify_all();
    }

    /// Has the thread that serves wake then at the latest.
    pub fn set_alarm(&self, at: Instant) {
        let mut state = self.state.lock();
        if state.alarm.is_none_or(|alarm| at < alarm) {
            state.alarm = Some(at);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits until there is something to do, and does it if it is a callback and those are this thread's to make.
    pub fn serve(&self, callbacks: bool, alarms: bool, until: Option<Instant>) -> Served {
        let mut state = self.state.lock();
        loop {
            if callbacks && state.caller == Some(this_thread()) {
                return Served::Nothing;
            }
            if callbacks
                && state.caller.is_none()
                && let Some(due) = state.due.pop_front()
            {
                state.caller = Some(this_thread());
                drop(state);
                let _calling = Calling(self);
                due.make();
                return Served::Callback;
            }
            if state.closed && (!callbacks || state.due.is_empty()) {
                return Served::Closed;
            }
            let now = Instant::now();
            if alarms && state.alarm.is_some_and(|alarm| alarm <= now) {
                state.alarm = None;
                return Served::Alarm;
            }
            if until.is_some_and(|until| until <= now) {
                return Served::Nothing;
            }
            let alarm = state.alarm.filter(|_| alarms);
            match [until, alarm].into_iter().flatten().min() {
                Some(next) => _ = self.changed.wait_until(&mut state, next),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Makes the callbacks that are left and returns when none is under way, other than one that this thread is in: a
    /// callback may end the session. None is pushed from now on.
    pub fn close(&self) {
        let me = this_thread();
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        loop {
            let mine = state.caller == Some(me);
            if !mine && state.caller.is_some() {
                self.changed.wait(&mut state);
                continue;
            }
            let Some(due) = state.due.pop_front() else { return };
            state.caller = Some(me);
            drop(state);
            let calling = (!mine).then(|| Calling(self));
            due.make();
            drop(calling);
            state = self.state.lock();
        }
    }

    /// Whether this thread is in one of the callbacks.
    pub fn is_calling(&self) -> bool {
        self.state.lock().caller == Some(this_thread())
    }
}

/// While it lives its thread is in a callback.
struct Calling<'a>(&'a CallbackQueue);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.state.lock().caller = None;
        self.0.changed.notify_all();
    }
}
