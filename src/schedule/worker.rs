//! How a batch gets from the queue to an instance and its requests to their answers: by a thread for each instance, or by the
//! thread whose request completes the batch.

use super::policy::{Situation, Verdict};
use super::queue::{Head, Place, Queue, Waiting};
use super::request::Ticket;
use super::session::{Entry, RegisteredKey, Shared, cancelled, late};
use crate::backend::instance::{Failure, Instance};
use crate::backend::job::Job;
use crate::error::{Error, Result};
use crate::nvtx;
use crate::panic::catch;
use crate::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(super) struct State {
    pub queue: Queue<Entry>,
    pub slots: Vec<Slot>,
    /// Threads that answer requests; the session does not end before they have.
    pub answering: usize,
    /// The moment that a worker waits for, at which a batch goes that is not full.
    watched: Option<Instant>,
    pub closing: bool,
    /// How many kinds of requests there were.
    pub keys: u64,
    /// When the last batch ended.
    freed: Instant,
    /// Why the last instance that is lost was lost.
    loss: Option<Error>,
}

pub(super) struct Slot {
    pub group: usize,
    /// `None` while a batch runs in it, and when it is lost.
    pub instance: Option<Box<dyn Instance>>,
    /// The kind and the items of the batch that runs in it.
    pub batch: Option<(u64, usize)>,
    pub lost: bool,
}

impl Slot {
    pub fn new(group: usize, instance: Box<dyn Instance>) -> Self {
        Self { group, instance: Some(instance), batch: None, lost: false }
    }
}

/// A batch, and the instance that it was given.
pub(super) struct Assignment {
    slot: usize,
    instance: Box<dyn Instance>,
    known: Arc<RegisteredKey>,
    batch: Vec<(Place, Waiting<Entry>)>,
    items: usize,
}

impl State {
    pub fn new(slots: Vec<Slot>) -> Self {
        Self {
            queue: Queue::default(),
            slots,
            answering: 0,
            watched: None,
            closing: false,
            keys: 0,
            freed: Instant::now(),
            loss: None,
        }
    }

    /// How many instances are not lost.
    pub fn alive(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.lost).count()
    }

    /// Whether nobody waits for a moment as early as this.
    fn is_unwatched(&self, until: Instant) -> bool {
        self.watched.is_none_or(|watched| until < watched)
    }

    /// The batches that run: the kind and the items of each.
    pub fn batches(&self) -> impl Iterator<Item = (u64, usize)> {
        self.slots.iter().filter_map(|slot| slot.batch)
    }

    /// The instances that take requests of a kind and are not lost.
    fn instances_for(&self, known: &RegisteredKey) -> impl Iterator<Item = &Slot> {
        let instances = self.slots.iter().zip(&known.capacities);
        instances.filter(|(slot, capacity)| !slot.lost && capacity.max > 0).map(|(slot, _)| slot)
    }

    /// The error for a kind of requests that no instance is left for.
    pub fn no_instance_for(&self, known: &RegisteredKey) -> Option<Error> {
        let loss = self.loss.as_ref()?;
        let left = self.instances_for(known).next().is_some();
        (!left).then(|| loss.clone().within("every device of the session that could run this is lost"))
    }

    /// A free instance that takes so many items of a kind, on the device with the least to do.
    fn free_instance(&self, known: &RegisteredKey, items: usize) -> Option<usize> {
        let free = |i: &usize| self.slots[*i].instance.is_some() && known.capacities[*i].max >= items;
        let busy = |group| self.slots.iter().filter(|slot| slot.group == group && slot.instance.is_none()).count();
        (0..self.slots.len()).filter(free).min_by_key(|i| busy(self.slots[*i].group))
    }

    /// Takes the first requests of a kind, up to so many items, for a free instance.
    fn assign(&mut self, slot: usize, known: Arc<RegisteredKey>, items: usize) -> Option<Assignment> {
        let instance = self.slots[slot].instance.take()?;
        let batch = self.queue.take(known.number, items);
        let items = batch.iter().map(|(_, waiting)| waiting.items).sum();
        self.slots[slot].batch = Some((known.number, items));
        Some(Assignment { slot, instance, known, batch, items })
    }
}

impl Shared {
    /// What one of the session's threads does.
    pub fn work(self: &Arc<Self>) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let refused = state.queue.take_late(now);
            if !refused.is_empty() {
                state.answering += 1;
                drop(state);
                self.refuse(refused.into_iter().map(|waiting| (waiting, late())).collect());
                state = self.state.lock();
                continue;
            }
            match self.choose(&state, now) {
                Choice::Go { slot, known, items } => {
                    // An instance that was chosen is free.
                    let Some(assignment) = state.assign(slot, known, items) else { continue };
                    // What is left may go as well, by another thread.
                    self.wake_worker(&state, now);
                    drop(state);
                    self.space.notify_all();
                    self.drive(assignment);
                    state = self.state.lock();
                }
                _ if state.closing => return,
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
    pub fn wake_worker(&self, state: &State, now: Instant) {
        self.wake_worker_for(state, &self.choose(state, now));
    }

    fn wake_worker_for(&self, state: &State, choice: &Choice) {
        match choice {
            Choice::Go { .. } => _ = self.work.notify_one(),
            Choice::Wait(until) if state.is_unwatched(*until) => _ = self.work.notify_one(),
            _ => {}
        }
    }

    /// The batch that a request which was just queued is in, if that may go now; and a worker for what else may go.
    pub fn lead(&self, state: &mut State, place: Place, now: Instant) -> Option<Assignment> {
        let choice = self.choose(state, now);
        let assignment = self.assign_to_leader(state, place, now, &choice);
        match assignment {
            Some(_) => self.wake_worker(state, now),
            None => self.wake_worker_for(state, &choice),
        }
        assignment
    }

    fn assign_to_leader(&self, state: &mut State, place: Place, now: Instant, choice: &Choice) -> Option<Assignment> {
        let Choice::Go { slot, known, items } = choice else { return None };
        let late = state.queue.next_deadline().is_some_and(|deadline| deadline <= now);
        // The first of its line goes however large it is, and the last one too where the whole line goes.
        let goes = |head: Head<'_, _>| head.is_at(place) || head.kind == place.kind && head.items <= *items;
        let goes = known.number == place.kind && state.queue.heads().any(goes);
        (!late && goes).then(|| state.assign(*slot, known.clone(), *items)).flatten()
    }

    fn choose(&self, state: &State, now: Instant) -> Choice {
        let mut wait: Option<Instant> = None;
        if state.slots.iter().all(|slot| slot.instance.is_none()) {
            return Choice::Nothing;
        }
        for head in state.queue.heads() {
            let known = &head.first.request.known;
            let Some(slot) = state.free_instance(known, head.first.items) else { continue };
            match self.judge(state, known, slot, head.items, head.first.since, now) {
                Verdict::Go(items) => return Choice::Go { slot, known: known.clone(), items },
                Verdict::Wait(until) => wait = Some(wait.map_or(until, |wait| wait.min(until))),
            }
        }
        wait.map_or(Choice::Nothing, Choice::Wait)
    }

    fn judge(
        &self,
        state: &State,
        known: &RegisteredKey,
        slot: usize,
        waiting: usize,
        since: Instant,
        now: Instant,
    ) -> Verdict {
        let capacity = &known.capacities[slot];
        let of_kind = state.batches().filter(|(kind, _)| *kind == known.number);
        let running: usize = of_kind.map(|(_, items)| items).sum();
        let share = (waiting + running).div_ceil(state.instances_for(known).count().max(1));
        let verdict = self.policy.judge(&Situation {
            waiting,
            max_batch: self.policy.max_batch(capacity),
            since,
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

    /// Runs a batch and answers its requests.
    pub fn drive(self: &Arc<Self>, assignment: Assignment) {
        let Assignment { slot, instance, known, batch, items } = assignment;
        let mut instance = Some(instance);
        let start = Instant::now();
        let mut since = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        let mut jobs: Vec<Job> = Vec::with_capacity(batch.len());
        let mut rest = Vec::with_capacity(batch.len());
        for (place, waiting) in batch {
            let Waiting { items, since: submitted, deadline, request: Entry { ticket, job, callback, .. } } = waiting;
            since.push(submitted);
            places.push((place, items, deadline));
            jobs.push(job);
            rest.push((ticket, callback));
        }
        let unwanted = |i: usize| rest[i].0.is_cancelled();
        let outcome = match instance.as_mut().filter(|_| !(0..jobs.len()).all(unwanted)) {
            None => Ok(()),
            Some(instance) => {
                let _range = nvtx::Range::new(|| format!("planrt: batch of {items}"));
                let outcome = catch(|| instance.run(&known.key, &mut jobs, &unwanted));
                outcome.unwrap_or_else(|error| Err(Failure { error, lost: true }))
            }
        };
        let end = Instant::now();
        let lost = matches!(&outcome, Err(failure) if failure.lost);
        let entries = jobs.into_iter().zip(rest).map(|(job, (ticket, callback))| Entry {
            ticket,
            job,
            callback,
            known: known.clone(),
        });

        if lost {
            // What it may still be doing with the requests' memory is waited for before they are answered.
            instance = None;
        }

        let mut state = self.state.lock();
        state.freed = end;
        state.slots[slot].batch = None;
        state.slots[slot].instance = instance;
        let mut again = false;
        let mut orphans = Vec::new();
        if let Err(failure) = &outcome
            && lost
        {
            state.slots[slot].lost = true;
            state.loss = Some(failure.error.clone());
            self.move_default_group(&state);
            orphans = self.take_orphans(&mut state);
            again = self.policy.retry && !state.closing && state.no_instance_for(&known).is_none();
        }
        state.answering += 1;
        if again {
            for (mut entry, ((place, items, deadline), since)) in entries.zip(places.into_iter().zip(since)) {
                entry.job.failure = None;
                let waiting = Waiting { items, since, deadline, request: entry };
                state.queue.put(place, waiting);
            }
            self.wake_worker(&state, end);
            drop(state);
            self.refuse(orphans);
            self.rest.notify_all();
            return;
        }
        self.wake_worker(&state, end);
        drop(state);

        let answers: Vec<_> = entries
            .map(|mut entry| {
                let outcome = outcome_of(&entry.ticket, &outcome, entry.job.failure.take());
                (entry, outcome)
            })
            .collect();
        {
            let mut statistics = self.statistics.lock();
            statistics.batch(items, since.into_iter(), start, end);
            for (_, outcome) in &answers {
                statistics.answer(outcome.as_ref().err().map(Error::code));
            }
        }
        for (entry, outcome) in answers {
            self.hand_over(entry, outcome);
        }
        self.refuse(orphans);
    }

    /// Lets a group that has lost nothing look after requests for any device, if there is one.
    fn move_default_group(&self, state: &State) {
        let whole = |group: &usize| !state.slots.iter().any(|slot| slot.group == *group && slot.lost);
        let groups = || state.slots.iter().filter(|slot| !slot.lost).map(|slot| slot.group);
        if let Some(group) = groups().find(whole).or_else(|| groups().next()) {
            self.default_group.store(group, Ordering::Relaxed);
        }
    }

    /// Takes the requests out that no instance is left for.
    fn take_orphans(&self, state: &mut State) -> Vec<(Waiting<Entry>, Error)> {
        let mut orphans = Vec::new();
        let mut kinds = Vec::new();
        for head in state.queue.heads() {
            kinds.extend(state.no_instance_for(&head.first.request.known).map(|error| (head.kind, error)));
        }
        for (kind, error) in kinds {
            let taken = state.queue.take(kind, usize::MAX);
            orphans.extend(taken.into_iter().map(|(_, waiting)| (waiting, error.clone())));
        }
        orphans
    }
}

enum Choice {
    Go { slot: usize, known: Arc<RegisteredKey>, items: usize },
    Wait(Instant),
    Nothing,
}

fn outcome_of(ticket: &Ticket<Job>, batch: &std::result::Result<(), Failure>, own: Option<Error>) -> Result<()> {
    if ticket.is_cancelled() {
        return Err(cancelled());
    }
    match (batch, own) {
        (Err(failure), _) => Err(failure.error.clone()),
        (Ok(()), Some(error)) => Err(error),
        (Ok(()), None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::batch::{BatchKey, Capacity};

    #[test]
    fn only_lanes_that_take_a_kind_share_its_requests() {
        let slot = |group| Slot { group, instance: None, batch: None, lost: false };
        let mut state = State::new(vec![slot(0), slot(0), slot(1), slot(1)]);
        let key = BatchKey { inputs: Vec::new(), outputs: Vec::new(), batched: true, device: Some(0) };
        let taken = || Capacity { optimal: 4, max: 8, ..Capacity::default() };
        let capacities = vec![taken(), taken(), Capacity::default(), Capacity::default()];
        let known = RegisteredKey { number: 1, key, capacities };
        assert_eq!(state.instances_for(&known).count(), 2);
        state.slots[0].lost = true;
        assert_eq!(state.instances_for(&known).count(), 1);
    }
}
