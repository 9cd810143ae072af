//! The heart of a session: requests wait in the queue, go to instances in batches, and are answered. It knows nothing of
//! the session's handle, nor of how requests are checked.
//!
//! Whatever fails on the way, panics of our own too, an instance is given back or counts as lost, and each request is
//! answered: by what holds them when it is dropped ([`Execution`], [`Responder`](super::request::Responder)).

use super::callbacks::CallbackQueue;
use super::copies::CopyQueue;
use super::faults::{Fault, Faults};
use super::keys::RegisteredKey;
use super::policy::{Policy, Situation, Verdict, WhenFull};
use super::queue::{Head, Place, Queue, Waiting};
use super::request::{PendingRequest, cancelled, late, shut_down};
use super::slots::{Slot, Slots};
use super::statistics::Statistics;
use super::ticket::Ticket;
use crate::backend::instance::{Failure, Instance};
use crate::backend::job::{Job, Progress};
use crate::error::{Code, Error, Result};
use crate::nvtx;
use crate::panic::catch;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub struct Dispatcher {
    policy: Policy,
    state: Mutex<State>,
    /// For workers: something may be run.
    work: Condvar,
    /// For threads that wait for room in the queue.
    space: Condvar,
    /// For the end: nothing runs and nobody answers.
    idle: Condvar,
    pub callbacks: Arc<CallbackQueue>,
    pub copies: CopyQueue,
    /// The instance group that looks after requests which any device may run.
    default_group: AtomicUsize,
    pub faults: Faults,
}

struct State {
    queue: Queue<PendingRequest>,
    slots: Slots,
    phase: Phase,
    /// Threads that answer requests; the session does not end before they have.
    answering: usize,
    /// The moment that a worker waits for, at which a batch goes that is not full.
    watched: Option<Instant>,
    /// When the last batch ended.
    freed: Instant,
    statistics: Statistics,
}

enum Phase {
    Open,
    /// A panic left nobody knows what: no request is taken in any more.
    Broken(Error),
    Closing,
}

/// What a session has to do and has done.
pub struct Load {
    pub waiting: usize,
    pub running: usize,
    /// Instances that are not lost.
    pub instances: usize,
    pub statistics: Statistics,
}

/// What may be done next.
enum Choice {
    Go(Go),
    /// Nothing before then, unless something changes.
    Wait(Instant),
    Nothing,
}

/// A batch that may go.
struct Go {
    slot: usize,
    key: Arc<RegisteredKey>,
    items: usize,
}

impl State {
    /// Whether nobody waits for a moment as early as this.
    fn is_unwatched(&self, until: Instant) -> bool {
        self.watched.is_none_or(|watched| until < watched)
    }

    /// Why no request with that key is taken in.
    fn refusal(&self, key: &RegisteredKey) -> Option<Error> {
        match &self.phase {
            Phase::Open => self.slots.none_left_for(key),
            Phase::Broken(error) => Some(error.clone()),
            Phase::Closing => Some(shut_down()),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }
}

impl Dispatcher {
    pub fn new(policy: Policy, slots: Vec<Slot>) -> Self {
        let state = State {
            queue: Queue::default(),
            slots: Slots::new(slots),
            phase: Phase::Open,
            answering: 0,
            watched: None,
            freed: Instant::now(),
            statistics: Statistics::default(),
        };
        Self {
            policy,
            state: Mutex::new(state),
            work: Condvar::new(),
            space: Condvar::new(),
            idle: Condvar::new(),
            callbacks: Arc::default(),
            copies: CopyQueue::default(),
            default_group: AtomicUsize::new(0),
            faults: Faults::default(),
        }
    }

    pub fn default_group(&self) -> usize {
        self.default_group.load(Ordering::Relaxed)
    }

    pub fn load(&self) -> Load {
        let state = self.state.lock();
        Load {
            waiting: state.queue.len(),
            running: state.slots.running(),
            instances: state.slots.alive(),
            statistics: state.statistics.clone(),
        }
    }

    /// For each instance whether it is lost.
    pub fn lost_instances(&self) -> Vec<bool> {
        self.state.lock().slots.which_are_lost()
    }

    /// Queues a request, and tells of it before anybody can answer it. Where `run_inline` is said, the batch that the
    /// request completes is returned, to be run by this thread.
    pub fn enqueue(
        &self,
        mut waiting: Waiting<PendingRequest>,
        priority: i32,
        run_inline: bool,
        accepted: impl FnOnce(),
    ) -> Result<Option<Execution<'_>>> {
        let (deadline, number) = (waiting.deadline, waiting.request.key.number);
        let ticket = waiting.request.responder.ticket().clone();
        // Before the lock, to be dropped after it, whatever happens.
        let mut execution = None;
        let mut state = self.wait_for_space(deadline, &ticket)?;
        if let Some(error) = state.refusal(&waiting.request.key) {
            return Err(error);
        }
        waiting.request.responder.take_in();
        let place = state.queue.push(number, priority, waiting);
        ticket.queued(place);
        let started = catch(|| self.start_batch(&mut state, place, run_inline, &mut execution));
        if let Err(error) = started {
            if let Some(waiting) = state.queue.remove(place) {
                waiting.request.responder.withdraw();
            }
            drop(state);
            self.break_down(&error);
            return Err(error);
        }
        accepted();
        state.statistics.submitted += 1;
        drop(state);
        if let Some(deadline) = deadline
            && execution.is_none()
        {
            self.callbacks.set_alarm(deadline);
        }
        Ok(execution)
    }

    fn wait_for_space(&self, deadline: Option<Instant>, ticket: &Ticket) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        // A request that was handed out before it is queued may have been cancelled.
        while state.is_open() && (ticket.is_cancelled() || state.queue.len() >= self.policy.max_waiting) {
            let error = match (self.policy.when_full, deadline) {
                _ if ticket.is_cancelled() => cancelled(),
                (WhenFull::Refuse, _) => {
                    let message = format!("the queue is full: {} requests wait", self.policy.max_waiting);
                    Error::new(Code::QueueFull, message)
                }
                (WhenFull::Block, None) => {
                    self.space.wait(&mut state);
                    continue;
                }
                (WhenFull::Block, Some(deadline)) => {
                    if !self.space.wait_until(&mut state, deadline).timed_out() {
                        continue;
                    }
                    late()
                }
            };
            state.statistics.refused += 1;
            return Err(error);
        }
        Ok(state)
    }

    /// Has the batch that a request which was just queued is in run, if that may go now: by this thread, or by a worker; and
    /// by a worker what else may go.
    fn start_batch<'a>(
        &'a self,
        state: &mut State,
        place: Place,
        run_inline: bool,
        execution: &mut Option<Execution<'a>>,
    ) {
        let now = Instant::now();
        let choice = self.choose(state, now);
        match choice {
            Choice::Go(go) if run_inline && goes_with(state, &go, place, now) => {
                self.assign(state, go, execution);
                self.wake_worker(state, now);
            }
            choice => self.wake_worker_for(state, &choice),
        }
    }

    /// What one of the session's threads does, until the session ends.
    pub fn work(&self) {
        loop {
            match catch(|| self.next_batch()) {
                Ok(Some(execution)) => execution.run(),
                Ok(None) => return,
                Err(error) => return self.break_down(&error),
            }
        }
    }

    /// Waits for a batch that may go.
    fn next_batch(&self) -> Option<Execution<'_>> {
        // Before the lock, to be dropped after it, whatever happens.
        let mut execution = None;
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let refused = state.queue.take_late(now);
            if !refused.is_empty() {
                self.refuse(state, refused, &late());
                state = self.state.lock();
                continue;
            }
            match self.choose(&state, now) {
                Choice::Go(go) => {
                    self.assign(&mut state, go, &mut execution);
                    // What is left may go as well, by another thread.
                    self.wake_worker(&state, now);
                    drop(state);
                    self.space.notify_all();
                    return execution;
                }
                _ if !state.is_open() => return None,
                Choice::Wait(until) if state.is_unwatched(until) => {
                    state.watched = Some(until);
                    self.work.wait_until(&mut state, until);
                    if state.watched == Some(until) {
                        state.watched = None;
                    }
                }
                _ => self.work.wait(&mut state),
            }
        }
    }

    /// Wakes a worker if there is something for it to do.
    fn wake_worker(&self, state: &State, now: Instant) {
        self.wake_worker_for(state, &self.choose(state, now));
    }

    fn wake_worker_for(&self, state: &State, choice: &Choice) {
        match choice {
            Choice::Go(_) => self.work.notify_one(),
            Choice::Wait(until) if state.is_unwatched(*until) => self.work.notify_one(),
            _ => {}
        }
    }

    /// The batch that goes next: the most urgent that may go.
    fn choose(&self, state: &State, now: Instant) -> Choice {
        self.faults.meet(Fault::Choosing);
        let mut wait: Option<Instant> = None;
        if !state.slots.any_free() {
            return Choice::Nothing;
        }
        for head in state.queue.heads() {
            let key = &head.first.request.key;
            let Some(slot) = state.slots.free_for(key, head.first.items) else { continue };
            match self.judge(state, key, slot, &head, now) {
                Verdict::Go(items) => return Choice::Go(Go { slot, key: key.clone(), items }),
                Verdict::Wait(until) => wait = Some(wait.map_or(until, |wait| wait.min(until))),
            }
        }
        wait.map_or(Choice::Nothing, Choice::Wait)
    }

    fn judge(
        &self,
        state: &State,
        key: &RegisteredKey,
        slot: usize,
        head: &Head<'_, PendingRequest>,
        now: Instant,
    ) -> Verdict {
        let capacity = &key.capacities[slot];
        let running = state.slots.running_of(key.number);
        let share = head.items.saturating_add(running).div_ceil(state.slots.count_for(key).max(1));
        let verdict = self.policy.judge(&Situation {
            waiting: head.items,
            max_batch: self.policy.max_batch(capacity),
            since: head.first.since,
            busy: running > 0,
            share: capacity.padded(share),
            freed: state.freed,
            now,
        });
        match verdict {
            // Where the application names sizes it knows better.
            Verdict::Go(items) if self.policy.preferred.is_empty() => Verdict::Go(capacity.take(items)),
            Verdict::Go(items) => Verdict::Go(items),
            wait @ Verdict::Wait(_) => wait,
        }
    }

    /// Takes the first requests with a key for a free instance.
    fn assign<'a>(&'a self, state: &mut State, go: Go, execution: &mut Option<Execution<'a>>) {
        let Go { slot, key, items } = go;
        // One that was chosen is free.
        let Some(instance) = state.slots.take(slot, key.number) else { return };
        let number = key.number;
        let execution = execution.insert(Execution {
            dispatcher: self,
            slot: Some(slot),
            instance: Some(instance),
            key,
            batch: Vec::new(),
            items: 0,
            answering: None,
        });
        execution.batch = state.queue.take(number, items);
        execution.items = execution.batch.iter().map(|(_, waiting)| waiting.items).sum();
        state.slots.set_items(slot, execution.items);
    }

    /// Answers a request whose job has ended.
    fn answer(&self, request: PendingRequest, outcome: Result<()>) {
        let PendingRequest { job, responder, copied_by_session, .. } = request;
        let delivery = match &outcome {
            Ok(()) => job.into_delivery(),
            Err(_) => {
                drop(job);
                None
            }
        };
        match delivery {
            Some(delivery) if copied_by_session => self.copies.push(delivery, responder),
            delivery => responder.answer(outcome, delivery),
        }
    }

    /// Answers requests that were taken out of the queue without having run.
    fn refuse(&self, mut state: MutexGuard<'_, State>, requests: Vec<Waiting<PendingRequest>>, error: &Error) {
        requests.iter().for_each(|_| state.statistics.answer(Some(error.code())));
        let _answering = self.answering(state);
        self.space.notify_all();
        requests.into_iter().for_each(|waiting| self.answer(waiting.request, Err(error.clone())));
    }

    /// Counts the calling thread as one that answers requests; lets go of the lock.
    fn answering(&self, mut state: MutexGuard<'_, State>) -> Answering<'_> {
        state.answering += 1;
        drop(state);
        Answering(self)
    }

    /// Answers requests that no instance is left for.
    fn refuse_orphans(&self) {
        loop {
            let mut state = self.state.lock();
            let orphaned =
                |head: Head<'_, PendingRequest>| Some((head.key, state.slots.none_left_for(&head.first.request.key)?));
            let Some((key, error)) = state.queue.heads().find_map(orphaned) else { return };
            let requests = state.queue.take(key, usize::MAX);
            self.refuse(state, requests.into_iter().map(|(_, waiting)| waiting).collect(), &error);
        }
    }

    /// Answers those whose deadline has passed while they waited, and has the alarm set for the next.
    pub fn refuse_late(&self) {
        let mut state = self.state.lock();
        let refused = state.queue.take_late(Instant::now());
        let next = state.queue.next_deadline();
        self.refuse(state, refused, &late());
        if let Some(next) = next {
            self.callbacks.set_alarm(next);
        }
    }

    /// Lets go of a request's result. One that still waits is answered; one that waits for room in the queue is refused.
    pub fn cancel(&self, ticket: &Ticket) {
        ticket.cancel();
        let mut state = self.state.lock();
        // Under the lock: it is queued under it.
        match ticket.place() {
            None => self.space.notify_all(),
            Some(place) => {
                if let Some(waiting) = state.queue.remove(place) {
                    self.refuse(state, vec![waiting], &cancelled());
                }
            }
        }
    }

    /// After a panic where nothing was in hand: nobody knows what it left behind, so the session takes nothing in any more,
    /// and what waits is answered.
    pub fn break_down(&self, error: &Error) {
        let mut state = self.state.lock();
        if state.is_open() {
            state.phase = Phase::Broken(error.clone());
        }
        let refused = state.queue.take_all();
        self.refuse(state, refused, error);
        self.work.notify_all();
    }

    /// Begins the end: what waits is refused, and nothing is taken in any more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Closing;
        let refused = state.queue.take_all();
        self.refuse(state, refused, &shut_down());
        self.work.notify_all();
    }

    /// Waits until nothing runs and nobody answers, after [`close`](Self::close), and hands the instances out.
    pub fn wait_until_idle(&self) -> Vec<Box<dyn Instance>> {
        let mut state = self.state.lock();
        while state.slots.any_running() || state.answering > 0 {
            self.idle.wait(&mut state);
        }
        state.slots.take_all()
    }
}

/// Whether a request that was just queued is in the batch that may go. The first of its line goes however large it is, and
/// the last one too where the whole line goes.
fn goes_with(state: &State, go: &Go, place: Place, now: Instant) -> bool {
    let late = state.queue.next_deadline().is_some_and(|deadline| deadline <= now);
    let goes = |head: Head<'_, PendingRequest>| head.is_at(place) || head.key == place.key && head.items <= go.items;
    !late && go.key.number == place.key && state.queue.heads().any(goes)
}

/// While it lives its thread answers requests.
struct Answering<'a>(&'a Dispatcher);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.answering -= 1;
        if !state.is_open() {
            self.0.idle.notify_all();
        }
    }
}

/// A batch, and the instance that it was given. Dropped before it has ended, by a panic on the way say, the instance counts
/// as lost and the requests are answered.
pub struct Execution<'a> {
    dispatcher: &'a Dispatcher,
    /// Until the instance is given back.
    slot: Option<usize>,
    instance: Option<Box<dyn Instance>>,
    key: Arc<RegisteredKey>,
    batch: Vec<(Place, Waiting<PendingRequest>)>,
    items: usize,
    /// From when the instance is given back. After the batch, which is answered when it goes.
    answering: Option<Answering<'a>>,
}

impl Execution<'_> {
    /// Runs the batch and answers its requests.
    pub fn run(mut self) {
        // What a panic leaves undone is done when `self` goes, which it does within.
        let _ = catch(move || {
            let start = Instant::now();
            let outcome = self.run_jobs();
            let end = Instant::now();
            self.dispatcher.faults.meet(Fault::Ending);
            self.conclude(&outcome, start, end);
            self.dispatcher.faults.meet(Fault::Answering);
            self.answer();
            if matches!(&outcome, Err(failure) if failure.lost) {
                self.dispatcher.refuse_orphans();
            }
        });
    }

    fn run_jobs(&mut self) -> std::result::Result<(), Failure> {
        let Some(instance) = &mut self.instance else { return Ok(()) };
        let mut jobs: Vec<&mut Job> = self.batch.iter_mut().map(|(_, waiting)| &mut waiting.request.job).collect();
        if jobs.iter().all(|job| job.progress.is_cancelled()) {
            return Ok(());
        }
        let _range = nvtx::Range::new(|| format!("planrt: batch of {}", self.items));
        let outcome = catch(|| instance.run(&self.key.key, &mut jobs));
        outcome.unwrap_or_else(|error| Err(Failure { error, lost: true }))
    }

    /// Gives the instance back, and notes how each request ends; those that are to be tried again wait once more.
    fn conclude(&mut self, outcome: &std::result::Result<(), Failure>, start: Instant, end: Instant) {
        let dispatcher = self.dispatcher;
        let lost = matches!(outcome, Err(failure) if failure.lost);
        if lost {
            // What it may still be doing with the requests' memory is waited for before they are answered.
            let instance = self.instance.take();
            let _ = catch(move || drop(instance));
        }
        let mut state = dispatcher.state.lock();
        state.freed = end;
        if let Some(slot) = self.slot.take() {
            match outcome {
                Err(failure) if lost => dispatcher.lose(&mut state, slot, &failure.error),
                _ => state.slots.give_back(slot, self.instance.take()),
            }
        }
        let again =
            lost && dispatcher.policy.retry && state.is_open() && state.slots.none_left_for(&self.key).is_none();
        let mut ended = Vec::with_capacity(self.batch.len());
        for (place, mut waiting) in self.batch.drain(..) {
            let PendingRequest { job, responder, .. } = &mut waiting.request;
            if job.progress.is_cancelled() {
                job.failure = Some(cancelled());
            } else if again && responder.ticket().restart() {
                job.failure = None;
                state.queue.put(place, waiting);
                continue;
            } else if let Err(failure) = outcome {
                job.failure = Some(failure.error.clone());
            }
            ended.push((place, waiting));
        }
        self.batch = ended;
        if !self.batch.is_empty() {
            let submitted = self.batch.iter().map(|(_, waiting)| waiting.since);
            state.statistics.batch(self.items, submitted, start, end);
            for (_, waiting) in &self.batch {
                state.statistics.answer(waiting.request.job.failure.as_ref().map(Error::code));
            }
        }
        dispatcher.wake_worker(&state, end);
        self.answering = Some(dispatcher.answering(state));
    }

    fn answer(&mut self) {
        for (_, mut waiting) in self.batch.drain(..) {
            let outcome = waiting.request.job.failure.take().map_or(Ok(()), Err);
            self.dispatcher.answer(waiting.request, outcome);
        }
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let error = Error::new(Code::Internal, "planrt failed while it ran a batch; please report this");
        let (dispatcher, instance) = (self.dispatcher, self.instance.take());
        let _ = catch(move || drop(instance));
        let mut state = dispatcher.state.lock();
        dispatcher.lose(&mut state, slot, &error);
        let batch = std::mem::take(&mut self.batch);
        dispatcher.refuse(state, batch.into_iter().map(|(_, waiting)| waiting).collect(), &error);
        dispatcher.refuse_orphans();
    }
}

impl Dispatcher {
    fn lose(&self, state: &mut State, slot: usize, error: &Error) {
        state.slots.lose(slot, error.clone());
        if let Some(group) = state.slots.best_group() {
            self.default_group.store(group, Ordering::Relaxed);
        }
    }
}
