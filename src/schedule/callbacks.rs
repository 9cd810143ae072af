//! Callbacks: they wait here for the thread that calls them, the session's own or one that the application lends.

use crate::error::Result;
use crate::sync::{Condvar, Mutex, this_thread};
use std::collections::VecDeque;
use std::time::Instant;

/// What a request's owner wants called with the outcome.
pub type Callback = Box<dyn FnOnce(&Result<()>) + Send>;

/// One call that is due: makes the outputs visible and calls back.
pub type Call = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub struct Calls {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: VecDeque<Call>,
    /// The thread that is in a callback: one at a time.
    caller: Option<usize>,
    /// The deadline that someone has to look after.
    alarm: Option<Instant>,
    closed: bool,
}

/// What a thread that serves has to do.
pub enum Duty {
    Called,
    /// The alarm went off.
    Alarm,
    /// The time that was given is over, or a callback of the caller's own called for more.
    Nothing,
    Closed,
}

impl Calls {
    pub fn push(&self, call: Call) {
        self.state.lock().due.push_back(call);
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

    /// Waits until there is something to do, and does it if it is a call and `calls` says that those are this thread's
    /// to make.
    pub fn serve(&self, calls: bool, alarms: bool, until: Option<Instant>) -> Duty {
        let mut state = self.state.lock();
        loop {
            if calls && state.caller == Some(this_thread()) {
                return Duty::Nothing;
            }
            if calls
                && state.caller.is_none()
                && let Some(call) = state.due.pop_front()
            {
                state.caller = Some(this_thread());
                drop(state);
                let _calling = Calling(self);
                call();
                return Duty::Called;
            }
            if state.closed && (!calls || state.due.is_empty()) {
                return Duty::Closed;
            }
            let now = Instant::now();
            if alarms && state.alarm.is_some_and(|alarm| alarm <= now) {
                state.alarm = None;
                return Duty::Alarm;
            }
            if until.is_some_and(|until| until <= now) {
                return Duty::Nothing;
            }
            let alarm = state.alarm.filter(|_| alarms);
            match [until, alarm].into_iter().flatten().min() {
                Some(next) => _ = self.changed.wait_until(&mut state, next),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Makes the calls that are left and returns when none is under way, other than one that this thread is in: a
    /// callback may end the session. No call is pushed from now on.
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
            let Some(call) = state.due.pop_front() else { return };
            state.caller = Some(me);
            drop(state);
            let calling = (!mine).then(|| Calling(self));
            call();
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
struct Calling<'a>(&'a Calls);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.state.lock().caller = None;
        self.0.changed.notify_all();
    }
}
