//! The answer to a request: given once, seen by any number of threads.

use super::queue::Place;
use crate::backend::job::{Delivery, Progress};
use crate::cuda::Stream;
use crate::error::Result;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering};
use std::sync::OnceLock;
use std::time::Instant;

#[derive(Default)]
pub struct Ticket {
    state: Mutex<State>,
    /// For threads that wait for the answer.
    answered: Condvar,
    /// For threads that wait until all of the request's work is in a stream: only they are woken for that.
    enqueued: Condvar,
    cancelled: AtomicBool,
    /// Where the request waits, from when it is queued; whoever looks at it or sets it has the queue's lock.
    place: OnceLock<Place>,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    /// The stream that holds all of the request's work, from when it does.
    stream: Option<Arc<Stream>>,
    /// Whether another stream was ordered behind that work.
    followed: bool,
}

struct Answer {
    outcome: Result<()>,
    /// Outputs that came through memory of the library's, until somebody sees the answer: many threads' copies run side by
    /// side.
    delivery: Option<Delivery>,
}

impl Ticket {
    /// Answers the request; false if it was answered before, and then nothing changes.
    pub fn answer(&self, outcome: Result<()>, delivery: Option<Delivery>) -> bool {
        let mut state = self.state.lock();
        if state.answer.is_some() {
            return false;
        }
        state.answer = Some(Answer { outcome, delivery });
        state.stream = None;
        drop(state);
        self.answered.notify_all();
        self.enqueued.notify_all();
        true
    }

    /// The outcome, if it is there. The outputs are where the caller wants them then.
    pub fn poll(&self) -> Option<Result<()>> {
        self.state.lock().answer.as_mut().map(Answer::see)
    }

    /// Waits for the outcome, until then if a time is given.
    pub fn wait(&self, until: Option<Instant>) -> Option<Result<()>> {
        self.wait_for(&self.answered, until, |state| state.answer.as_mut().map(Answer::see))
    }

    /// Waits until all of the request's work is in a stream, and orders this one behind it; with the outcome, where the
    /// request is answered first. Of use where the device itself writes the outputs.
    pub fn order(&self, stream: &Stream, until: Option<Instant>) -> Option<Result<()>> {
        let found = self.wait_for(&self.enqueued, until, |state| {
            if let Some(answer) = &state.answer {
                return Some(answer.outcome.clone().map(|()| None));
            }
            let own = state.stream.clone()?;
            state.followed = true;
            Some(Ok(Some(own)))
        });
        // The instance may have gone on by now: then the stream waits for that, too.
        found.map(|found| found?.map_or(Ok(()), |own| stream.wait_for(&own)))
    }

    /// Waits until there is what is looked for.
    fn wait_for<R>(
        &self,
        changed: &Condvar,
        until: Option<Instant>,
        mut look: impl FnMut(&mut State) -> Option<R>,
    ) -> Option<R> {
        let mut state: MutexGuard<'_, State> = self.state.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            match until {
                None => changed.wait(&mut state),
                Some(until) => {
                    if changed.wait_until(&mut state, until).timed_out() {
                        return look(&mut state);
                    }
                }
            }
        }
    }

    /// Lets the result be dropped, if it is not there yet.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// The request is queued now.
    pub fn queued(&self, place: Place) {
        // Once.
        let _ = self.place.set(place);
    }

    pub fn place(&self) -> Option<Place> {
        self.place.get().copied()
    }

    /// The request's work was lost, and shall be done once more; false where that is too late, since another stream goes by
    /// its first attempt.
    pub fn restart(&self) -> bool {
        let mut state = self.state.lock();
        state.stream = None;
        !state.followed
    }
}

impl Progress for Ticket {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn enqueued(&self, stream: &Arc<Stream>) {
        self.state.lock().stream = Some(stream.clone());
        self.enqueued.notify_all();
    }
}

impl Answer {
    fn see(&mut self) -> Result<()> {
        // Under the lock: a second thread that asks must not see the answer before the outputs are there.
        if let Some(delivery) = self.delivery.take() {
            delivery.deliver();
        }
        self.outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};
    use std::time::Duration;

    #[test]
    fn answered_once() {
        let ticket = Ticket::default();
        assert!(ticket.poll().is_none());
        assert!(ticket.wait(Some(Instant::now() + Duration::from_millis(2))).is_none());
        assert!(ticket.answer(Ok(()), None));
        assert!(!ticket.answer(Err(Error::new(Code::Internal, "again")), None));
        assert!(ticket.wait(None).unwrap().is_ok() && ticket.poll().unwrap().is_ok());
    }

    #[test]
    fn who_waits_is_woken() {
        let ticket = Arc::new(Ticket::default());
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let ticket = ticket.clone();
                std::thread::spawn(move || ticket.wait(None).unwrap().unwrap_err().code())
            })
            .collect();
        ticket.answer(Err(Error::new(Code::Cancelled, "as the test asked")), None);
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == Code::Cancelled));
    }
}
