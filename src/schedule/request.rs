//! A request on its way: what has to be run for it, and the duty to answer it.

use super::callbacks::{Callback, CallbackQueue, DueCallback};
use super::keys::RegisteredKey;
use super::ticket::Ticket;
use crate::backend::job::{Delivery, Job};
use crate::error::{Code, Error, Result};
use crate::sync::Arc;

pub struct PendingRequest {
    pub job: Job,
    pub responder: Responder,
    pub key: Arc<RegisteredKey>,
    /// Whether outputs that come through memory of the library's are copied by a thread of the session's, before the request
    /// is answered, and not by the one that sees the answer.
    pub copied_by_session: bool,
}

/// Who has to answer a request. One that is dropped before it has done so answers with an error: whatever went wrong,
/// nobody waits for ever.
pub struct Responder {
    ticket: Arc<Ticket>,
    /// What to call then, and where it is called.
    callback: Option<(Callback, Arc<CallbackQueue>)>,
    /// Whether the request was taken in, and not answered yet.
    open: bool,
}

impl Responder {
    /// For a request that is not taken in yet: nobody waits for an answer.
    pub fn new(ticket: Arc<Ticket>, callback: Option<(Callback, Arc<CallbackQueue>)>) -> Self {
        Self { ticket, callback, open: false }
    }

    pub fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// From now on the request has to be answered.
    pub fn take_in(&mut self) {
        self.open = true;
    }

    /// Nobody waits for an answer any more: the one that submits the request is told otherwise.
    pub fn withdraw(mut self) {
        self.open = false;
    }

    pub fn answer(mut self, outcome: Result<()>, delivery: Option<Delivery>) {
        self.give(outcome, delivery);
    }

    fn give(&mut self, outcome: Result<()>, delivery: Option<Delivery>) {
        self.open = false;
        self.ticket.answer(outcome, delivery);
        if let Some((callback, queue)) = self.callback.take() {
            queue.push(DueCallback { callback, ticket: self.ticket.clone() });
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.open {
            self.give(Err(lost()), None);
        }
    }
}

fn lost() -> Error {
    Error::new(Code::Internal, "planrt failed while it had the request; please report this")
}

pub fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the request was cancelled")
}

pub fn late() -> Error {
    Error::new(Code::Deadline, "the request's time-out passed before it ran")
}

pub fn shut_down() -> Error {
    Error::new(Code::ShutDown, "the session was deleted before the request ran")
}
