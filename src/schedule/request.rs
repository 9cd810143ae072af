//! The answer to a request: given once, seen by any number of threads.

use crate::error::Result;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use std::time::Instant;

/// What is left to do with a result when its owner sees it: outputs that came through memory of the library's are copied
/// to the caller's by the thread that wants them, so that many threads' copies run side by side.
pub trait Delivery {
    fn deliver(self);
}

pub struct Ticket<D> {
    answer: Mutex<Option<Answer<D>>>,
    answered: Condvar,
    cancelled: AtomicBool,
}

struct Answer<D> {
    outcome: Result<()>,
    /// Until it is delivered.
    delivery: Option<D>,
}

impl<D: Delivery> Ticket<D> {
    pub fn new() -> Self {
        Self { answer: Mutex::new(None), answered: Condvar::new(), cancelled: AtomicBool::new(false) }
    }

    /// Answers the request; false if it was answered before, and then nothing changes.
    pub fn answer(&self, outcome: Result<()>, delivery: Option<D>) -> bool {
        let mut answer = self.answer.lock();
        if answer.is_some() {
            return false;
        }
        *answer = Some(Answer { outcome, delivery });
        drop(answer);
        self.answered.notify_all();
        true
    }

    /// The outcome, if it is there. The outputs are where the caller wants them then.
    pub fn poll(&self) -> Option<Result<()>> {
        self.answer.lock().as_mut().map(Answer::see)
    }

    /// Waits for the outcome, until then if a time is given.
    pub fn wait(&self, until: Option<Instant>) -> Option<Result<()>> {
        let mut answer = self.answer.lock();
        loop {
            if let Some(answer) = answer.as_mut() {
                return Some(answer.see());
            }
            match until {
                None => self.answered.wait(&mut answer),
                Some(until) => {
                    if self.answered.wait_until(&mut answer, until).timed_out() {
                        return answer.as_mut().map(Answer::see);
                    }
                }
            }
        }
    }

    /// Lets the result be dropped, if it is not there yet.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl<D: Delivery> Answer<D> {
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
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    struct Counted(Arc<AtomicUsize>);

    impl Delivery for Counted {
        fn deliver(self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn answered_once_and_delivered_once() {
        let delivered = Arc::new(AtomicUsize::new(0));
        let ticket = Ticket::new();
        assert!(ticket.poll().is_none());
        assert!(ticket.wait(Some(Instant::now() + Duration::from_millis(2))).is_none());
        assert!(ticket.answer(Ok(()), Some(Counted(delivered.clone()))));
        assert_eq!(delivered.load(Ordering::Relaxed), 0);
        assert!(!ticket.answer(Err(Error::new(Code::Internal, "again")), None));
        assert!(ticket.wait(None).unwrap().is_ok() && ticket.poll().unwrap().is_ok());
        assert_eq!(delivered.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_waits_is_woken() {
        let ticket = Arc::new(Ticket::<Counted>::new());
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
