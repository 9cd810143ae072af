//! What has to hold however the threads of a session interleave: the dispatcher's own code, over an instance that does
//! nothing.

use interleavings::backend::batch::{BatchKey, Capacity};
use interleavings::backend::instance::{Failure, Instance};
use interleavings::backend::job::{Delivery, Job, Progress};
use interleavings::cuda::Stream;
use interleavings::error::{Code, Error, Result};
use interleavings::schedule::callbacks::{Callback, Served};
use interleavings::schedule::dispatcher::Dispatcher;
use interleavings::schedule::keys::RegisteredKey;
use interleavings::schedule::policy::{Delay, Policy, WhenFull};
use interleavings::schedule::queue::Waiting;
use interleavings::schedule::request::{PendingRequest, Responder};
use interleavings::schedule::slots::Slot;
use interleavings::schedule::ticket::Ticket;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;
use std::time::Instant;

/// Up to so many forced changes of thread in one run: more finds nothing in practice, and takes for ever.
fn model(changes: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(changes);
    builder.max_branches = 10_000;
    builder.check(body);
}

/// Runs batches by counting their jobs; the first so many batches lose it.
struct Counting {
    jobs: Arc<AtomicUsize>,
    losing: usize,
}

impl Instance for Counting {
    fn run(&mut self, _: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure> {
        self.jobs.fetch_add(jobs.len(), Ordering::Relaxed);
        let stream = Arc::new(Stream);
        jobs.iter().for_each(|job| job.progress.enqueued(&stream));
        match self.losing {
            0 => Ok(()),
            _ => Err(Failure { error: Error::new(Code::Cuda, "lost"), lost: true }),
        }
    }
}

/// A dispatcher with its requests, as a session has it.
struct Station {
    dispatcher: Dispatcher,
    key: Arc<RegisteredKey>,
    /// Jobs that ran.
    ran: Arc<AtomicUsize>,
    copies: Arc<AtomicUsize>,
}

struct Asked {
    ticket: Arc<Ticket>,
}

impl Station {
    fn new(losing: &[usize], policy: Policy) -> Arc<Self> {
        let ran = Arc::new(AtomicUsize::new(0));
        let slot = |losing: &usize| Slot::new(0, Box::new(Counting { jobs: ran.clone(), losing: *losing }));
        let slots: Vec<_> = losing.iter().map(slot).collect();
        let capacity = Capacity { optimal: 2, max: 2, ..Capacity::default() };
        let key = BatchKey { inputs: Vec::new(), outputs: Vec::new(), batched: true, device: None };
        let key = Arc::new(RegisteredKey { number: 1, key, capacities: vec![capacity; slots.len()] });
        // Time does not pass here.
        let policy = Policy { delay: Delay::Fixed(std::time::Duration::ZERO), ..policy };
        Arc::new(Self { dispatcher: Dispatcher::new(policy, slots), key, ran, copies: Arc::new(AtomicUsize::new(0)) })
    }

    fn with(losing: &[usize]) -> Arc<Self> {
        Self::new(losing, Policy::default())
    }

    fn ask(&self, callback: Option<Callback>, copied_by_session: bool, run_inline: bool) -> Result<Asked> {
        self.ask_by(Arc::new(Ticket::default()), callback, copied_by_session, run_inline)
    }

    fn ask_by(
        &self,
        ticket: Arc<Ticket>,
        callback: Option<Callback>,
        copied_by_session: bool,
        run_inline: bool,
    ) -> Result<Asked> {
        let callback = callback.map(|callback| (callback, self.dispatcher.callbacks.clone()));
        let job = Job { copies: Some(self.copies.clone()), failure: None, progress: ticket.clone() };
        let responder = Responder::new(ticket.clone(), callback);
        let request = PendingRequest { job, responder, key: self.key.clone(), copied_by_session };
        let waiting = Waiting { items: 1, since: Instant::now(), deadline: None, request };
        let mut asked = None;
        let execution =
            self.dispatcher.enqueue(waiting, 0, run_inline, || asked = Some(Asked { ticket }))?;
        if let Some(execution) = execution {
            execution.run();
        }
        Ok(asked.expect("a request that was taken in is handed out"))
    }

    fn submit(&self) -> Result<Asked> {
        self.ask(None, false, false)
    }
}

fn code(outcome: Option<Result<()>>) -> Option<Code> {
    outcome.expect("an answer").err().map(|error| error.code())
}

fn worker(station: &Arc<Station>) -> thread::JoinHandle<()> {
    let station = station.clone();
    thread::spawn(move || station.dispatcher.work())
}

/// The end, as a session comes to it.
fn end(station: &Station, workers: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    station.dispatcher.close();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    drop(station.dispatcher.wait_until_idle());
}

#[test]
fn a_ticket_is_answered_once_and_delivered_before_it_is_seen() {
    model(6, || {
        let delivered = Arc::new(AtomicUsize::new(0));
        let ticket = Arc::new(Ticket::default());
        let (worker, count) = (ticket.clone(), delivered.clone());
        let worker = thread::spawn(move || worker.answer(Ok(()), Some(Delivery(count))));
        let canceller = ticket.clone();
        let canceller = thread::spawn(move || {
            canceller.cancel();
            canceller.answer(Err(Error::new(Code::Cancelled, "cancelled")), None)
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
fn all_who_wait_are_woken_for_the_answer_or_the_stream() {
    model(6, || {
        let ticket = Arc::new(Ticket::default());
        let waiting = ticket.clone();
        let waiting = thread::spawn(move || waiting.wait(None).is_some());
        let ordering = ticket.clone();
        let ordering = thread::spawn(move || ordering.order(&Stream, None).unwrap().is_ok());
        ticket.enqueued(&Arc::new(Stream));
        // One whose work another stream goes by is not run twice.
        let followed = !ticket.restart();
        assert!(ticket.answer(Ok(()), None));
        assert!(waiting.join().unwrap() && ordering.join().unwrap());
        assert!(!followed || !ticket.restart());
    });
}

#[test]
fn queued_cancelled_run_or_refused_each_is_answered_once() {
    model(5, || {
        let station = Station::with(&[0]);
        let worker = worker(&station);
        let other = station.clone();
        let submitter = thread::spawn(move || other.submit().ok().map(|asked| asked.ticket));
        let asked = station.submit().unwrap();
        station.dispatcher.cancel(&asked.ticket);
        end(&station, [worker]);
        assert!(matches!(code(asked.ticket.poll()), Some(Code::Cancelled | Code::ShutDown) | None));
        if let Some(ticket) = submitter.join().unwrap() {
            assert!(matches!(code(ticket.poll()), Some(Code::ShutDown) | None));
        }
        let load = station.dispatcher.load();
        assert_eq!((load.waiting, load.running), (0, 0));
    });
}

#[test]
fn who_waits_for_room_sees_that_it_is_cancelled() {
    model(4, || {
        // Without a worker: there is never room.
        let station = Station::new(&[0], Policy { max_waiting: 1, when_full: WhenFull::Block, ..Policy::default() });
        let first = station.submit().unwrap();
        let (ticket, other) = (Arc::new(Ticket::default()), station.clone());
        let blocked = ticket.clone();
        let blocked = thread::spawn(move || other.ask_by(blocked, None, false, false).err().map(|error| error.code()));
        station.dispatcher.cancel(&ticket);
        assert_eq!(blocked.join().unwrap(), Some(Code::Cancelled));
        end(&station, []);
        assert_eq!(code(first.ticket.poll()), Some(Code::ShutDown));
    });
}

#[test]
fn a_worker_sleeps_through_nothing() {
    model(5, || {
        let station = Station::with(&[0]);
        let worker = worker(&station);
        let asked = [station.submit().unwrap(), station.submit().unwrap()];
        assert!(asked.iter().all(|asked| asked.ticket.wait(None).unwrap().is_ok()));
        assert_eq!(station.ran.load(Ordering::Relaxed), 2);
        end(&station, [worker]);
    });
}

#[test]
fn the_thread_that_asks_runs_its_batch_or_a_worker_does() {
    model(5, || {
        let station = Station::with(&[0]);
        let worker = worker(&station);
        let other = station.clone();
        let asking = thread::spawn(move || code(other.ask(None, false, true).unwrap().ticket.wait(None)));
        let asked = station.ask(None, false, true).unwrap();
        assert_eq!(code(asked.ticket.wait(None)), None);
        assert_eq!(asking.join().unwrap(), None);
        end(&station, [worker]);
        assert_eq!(station.ran.load(Ordering::Relaxed), 2);
        assert_eq!(station.copies.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn what_a_lost_instance_had_is_answered_or_run_by_another() {
    for retry in [false, true] {
        model(5, move || {
            let station = Station::new(&[1, 0], Policy { retry, ..Policy::default() });
            let worker = worker(&station);
            let first = station.submit().unwrap();
            let second = station.submit().unwrap();
            for asked in [&first, &second] {
                let outcome = code(asked.ticket.wait(None));
                assert!(outcome.is_none() || !retry && outcome == Some(Code::Cuda));
            }
            end(&station, [worker]);
            assert_eq!(station.dispatcher.load().instances, 1);
        });
    }
}

#[test]
fn where_every_instance_is_lost_nobody_waits() {
    model(5, || {
        let station = Station::with(&[1]);
        let worker = worker(&station);
        let asked = [station.submit(), station.submit()];
        for asked in asked {
            assert_eq!(asked.map(|asked| code(asked.ticket.wait(None))).unwrap_or(Some(Code::Cuda)), Some(Code::Cuda));
        }
        end(&station, [worker]);
    });
}

/// What the session's thread for callbacks does.
fn attendant(station: &Arc<Station>) -> thread::JoinHandle<()> {
    let station = station.clone();
    thread::spawn(move || while !matches!(station.dispatcher.callbacks.serve(true, true, None), Served::Closed) {})
}

#[test]
fn copies_come_before_callbacks_and_callbacks_before_the_end() {
    model(4, || {
        let station = Station::with(&[0]);
        let made = Arc::new(AtomicUsize::new(0));
        let attendant = attendant(&station);
        let copying = station.clone();
        let copying = thread::spawn(move || copying.dispatcher.copies.work());
        let (count, copies) = (made.clone(), station.copies.clone());
        let callback = Box::new(move |_: &Result<()>| {
            assert_eq!(copies.load(Ordering::Relaxed), 1);
            count.fetch_add(1, Ordering::Relaxed);
        });
        // Runs here: there is no other request.
        let asked = station.ask(Some(callback), true, true).unwrap();
        end(&station, []);
        station.dispatcher.copies.close();
        copying.join().unwrap();
        station.dispatcher.callbacks.close();
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert_eq!(code(asked.ticket.poll()), None);
        attendant.join().unwrap();
    });
}

#[test]
fn a_callback_may_end_the_session() {
    model(5, || {
        let station = Station::with(&[0]);
        let made = Arc::new(AtomicUsize::new(0));
        let (ending, count) = (station.clone(), made.clone());
        let callback = Box::new(move |_: &Result<()>| {
            let last = count.clone();
            let more = Box::new(move |_: &Result<()>| _ = last.fetch_add(1, Ordering::Relaxed));
            ending.ask(Some(more), false, true).unwrap();
            assert!(ending.dispatcher.callbacks.is_calling());
            end(&ending, []);
            ending.dispatcher.callbacks.close();
            assert_eq!(count.fetch_add(1, Ordering::Relaxed), 1);
        });
        let attendant = attendant(&station);
        station.ask(Some(callback), false, true).unwrap();
        attendant.join().unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 2);
    });
}
