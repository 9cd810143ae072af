//! What has to hold however the threads of a session interleave.

use interleavings::callbacks::{Calls, Duty};
use interleavings::request::{Delivery, Ticket};
use interleavings::error::{Code, Error, Result};
use interleavings::queue::{Place, Queue, Waiting};
use interleavings::sync::{Condvar, Mutex};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::Instant;

/// Up to so many forced changes of thread in one run: more finds nothing in practice, and takes for ever.
const CHANGES: usize = 3;

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(CHANGES);
    builder.check(body);
}

struct Counted(Arc<AtomicUsize>);

impl Delivery for Counted {
    fn deliver(self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn cancelled() -> Result<()> {
    Err(Error::new(Code::Cancelled, "cancelled"))
}

#[test]
fn a_ticket_is_answered_once_and_delivered_before_it_is_seen() {
    model(|| {
        let delivered = Arc::new(AtomicUsize::new(0));
        let ticket = Arc::new(Ticket::new());
        let (worker, count) = (ticket.clone(), delivered.clone());
        let worker = thread::spawn(move || worker.answer(Ok(()), Some(Counted(count))));
        let canceller = ticket.clone();
        let canceller = thread::spawn(move || {
            canceller.cancel();
            canceller.answer(cancelled(), None)
        });
        let outcome = ticket.wait(None).expect("an answer");
        if outcome.is_ok() {
            assert_eq!(delivered.load(Ordering::Relaxed), 1);
        }
        let ran = worker.join().unwrap();
        assert!(ran != canceller.join().unwrap());
        assert_eq!(ran, outcome.is_ok());
        assert_eq!(ticket.poll().unwrap().is_ok(), ran);
        assert_eq!(delivered.load(Ordering::Relaxed), usize::from(ran));
    });
}

#[test]
fn all_who_wait_are_woken() {
    model(|| {
        let ticket = Arc::new(Ticket::<Counted>::new());
        let waiting = [ticket.clone(), ticket.clone()].map(|t| thread::spawn(move || t.wait(None).is_some()));
        assert!(ticket.answer(Ok(()), None));
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
    });
}

/// A session's queue as its threads use it.
struct Station {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    queue: Queue<Arc<Ticket<Counted>>>,
    closing: bool,
}

impl Station {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { queue: Queue::default(), closing: false }), work: Condvar::new() })
    }

    fn submit(&self, ticket: &Arc<Ticket<Counted>>) -> Option<Place> {
        let mut state = self.state.lock();
        if state.closing {
            return None;
        }
        let waiting = Waiting { items: 1, since: Instant::now(), deadline: None, request: ticket.clone() };
        let place = state.queue.push(1, 0, waiting);
        self.work.notify_one();
        Some(place)
    }

    fn work(&self) -> usize {
        let mut answered = 0;
        let mut state = self.state.lock();
        loop {
            let batch = state.queue.take(1, 2);
            if !batch.is_empty() {
                drop(state);
                for (_, waiting) in batch {
                    answered += usize::from(waiting.request.answer(Ok(()), None));
                }
                state = self.state.lock();
            } else if state.closing {
                return answered;
            } else {
                self.work.wait(&mut state);
            }
        }
    }

    fn cancel(&self, place: Place) -> bool {
        let taken = self.state.lock().queue.remove(place);
        taken.is_some_and(|waiting| waiting.request.answer(cancelled(), None))
    }

    fn close(&self) -> usize {
        let mut state = self.state.lock();
        state.closing = true;
        let refused = state.queue.take_all();
        drop(state);
        self.work.notify_all();
        refused.into_iter().filter(|waiting| waiting.request.answer(cancelled(), None)).count()
    }
}

#[test]
fn queued_cancelled_run_or_refused_each_is_answered_once() {
    model(|| {
        let station = Station::new();
        let tickets = [Arc::new(Ticket::new()), Arc::new(Ticket::new())];
        let worker = station.clone();
        let worker = thread::spawn(move || worker.work());
        let (other, ticket) = (station.clone(), tickets[1].clone());
        let submitter = thread::spawn(move || other.submit(&ticket).is_some());
        let place = station.submit(&tickets[0]).unwrap();
        let cancelled = station.cancel(place);
        let refused = station.close();
        let submitted = submitter.join().unwrap();
        let answered = worker.join().unwrap();
        assert_eq!(answered + refused + usize::from(cancelled), 1 + usize::from(submitted));
        assert!(tickets[0].poll().is_some());
        assert_eq!(tickets[1].poll().is_some(), submitted);
        assert!(station.state.lock().queue.len() == 0);
    });
}

#[test]
fn a_worker_sleeps_through_nothing() {
    model(|| {
        let station = Station::new();
        let worker = station.clone();
        let worker = thread::spawn(move || worker.work());
        let tickets = [Arc::new(Ticket::new()), Arc::new(Ticket::new())];
        tickets.iter().for_each(|ticket| _ = station.submit(ticket));
        assert!(tickets.iter().all(|ticket| ticket.wait(None).unwrap().is_ok()));
        station.close();
        assert_eq!(worker.join().unwrap(), 2);
    });
}

#[test]
fn every_callback_is_made_before_the_end_and_none_after() {
    model(|| {
        let calls = Arc::new(Calls::default());
        let made = Arc::new(AtomicUsize::new(0));
        let serving = calls.clone();
        let server = thread::spawn(move || while !matches!(serving.serve(true, true, None), Duty::Closed) {});
        for _ in 0..2 {
            let made = made.clone();
            calls.push(Box::new(move || _ = made.fetch_add(1, Ordering::Relaxed)));
        }
        calls.close();
        assert_eq!(made.load(Ordering::Relaxed), 2);
        server.join().unwrap();
    });
}

#[test]
fn a_callback_may_end_the_session() {
    model(|| {
        let calls = Arc::new(Calls::default());
        let made = Arc::new(AtomicUsize::new(0));
        let (ending, last) = (calls.clone(), made.clone());
        calls.push(Box::new(move || {
            let count = last.clone();
            ending.push(Box::new(move || _ = count.fetch_add(1, Ordering::Relaxed)));
            assert!(ending.is_calling());
            ending.close();
            assert_eq!(last.fetch_add(1, Ordering::Relaxed), 1);
        }));
        let serving = calls.clone();
        let server = thread::spawn(move || while !matches!(serving.serve(true, true, None), Duty::Closed) {});
        server.join().unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 2);
    });
}
