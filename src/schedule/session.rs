//! A session: the handle's side of the scheduler. What a request asks for is checked here, by the thread that asks.

use super::callbacks::{Callback, Calls, Duty};
use super::policy::{Policy, WhenFull};
use super::queue::{Place, Waiting};
use super::request::{Delivery, Ticket};
use super::statistics::{Report, Statistics};
use super::worker::{Assignment, Slot, State};
use crate::backend::Engine;
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::instance_group::InstanceGroupOptions;
use crate::backend::job::{CallerMemory, Job, RequestTensor};
use crate::cuda;
use crate::engine::{Description, MemoryKind, Role, given_twice, missing_input, too_small};
use crate::error::{Code, Error, Result};
use crate::nvtx;
use crate::process;
use crate::sync::{Arc, Condvar, Mutex};
use crate::tensor::Shape;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a session is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub policy: Policy,
    pub instance_group: InstanceGroupOptions,
    /// Whether callbacks wait for a thread that the application lends, instead of one of the session's.
    pub pumped: bool,
}

/// Memory of a request's, under the tensor's name.
pub struct Tensor<'a> {
    pub name: &'a str,
    pub memory: CallerMemory,
}

/// What a request asks for.
pub struct Submission<'a> {
    pub inputs: Vec<Tensor<'a>>,
    pub outputs: Vec<Tensor<'a>>,
    pub priority: i32,
    /// From now on.
    pub deadline: Option<Duration>,
    pub after: Dependency<'a>,
    pub callback: Option<Callback>,
}

/// A kind of requests as the session knows it.
pub(super) struct RegisteredKey {
    pub number: u64,
    pub key: BatchKey,
    /// What each instance takes of it.
    pub capacities: Vec<Capacity>,
}

/// A request on its way.
pub(super) struct Entry {
    pub ticket: Arc<Ticket<Job>>,
    pub job: Job,
    pub callback: Option<Callback>,
    pub known: Arc<RegisteredKey>,
}

/// One engine's part in a session.
struct Group {
    engine: Arc<dyn Engine>,
    admission: Arc<dyn Admission>,
    instances: usize,
}

pub(super) struct Shared {
    pub policy: Policy,
    pumped: bool,
    groups: Vec<Group>,
    /// The number of the group that looks after requests which are for any device: one that has lost no instance, if there is one.
    pub default_group: AtomicUsize,
    /// The kinds of the last requests, newest last.
    keys: Mutex<Vec<Arc<RegisteredKey>>>,
    pub state: Mutex<State>,
    /// For workers: something may be run.
    pub work: Condvar,
    /// For threads that wait for room in the queue.
    pub space: Condvar,
    /// For the end: nothing runs.
    pub rest: Condvar,
    pub calls: Calls,
    pub statistics: Mutex<Statistics>,
}

/// Kinds that are remembered: a new one costs the inference of its shapes.
const REGISTERED_KEYS: usize = 64;

/// Any thread may use it, several at once.
pub struct Session {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    attendant: Mutex<Option<JoinHandle<()>>>,
}

/// A request that was submitted. Any thread may use it, several at once.
pub struct Request {
    ticket: Arc<Ticket<Job>>,
    session: Weak<Shared>,
    place: Place,
    deadline: Option<Instant>,
}

impl Delivery for Job {
    fn deliver(self) {
        Self::deliver(self);
    }
}

impl Session {
    /// A session over engines that say the same of their inputs and outputs: one model, loaded on several devices.
    pub fn new(engines: &[Arc<dyn Engine>], options: &Options) -> Result<Self> {
        options.policy.check()?;
        nvtx::look();
        let first =
            engines.first().ok_or_else(|| Error::new(Code::InvalidArgument, "a session needs at least one engine"))?;
        let size = InstanceGroupOptions {
            largest: options.policy.largest,
            preferred: options.policy.preferred.clone(),
            ..options.instance_group.clone()
        };
        let (mut groups, mut slots) = (Vec::new(), Vec::new());
        for engine in engines {
            check_same_model(first.description(), engine.description())?;
            let group = engine.clone().instance_group(&size)?;
            let instances = group.instances.len();
            slots.extend(group.instances.into_iter().map(|instance| Slot::new(groups.len(), instance)));
            groups.push(Group { engine: engine.clone(), admission: group.admission, instances });
        }
        Self::start(groups, slots, options)
    }

    fn start(groups: Vec<Group>, slots: Vec<Slot>, options: &Options) -> Result<Self> {
        let instances = slots.len();
        let shared = Arc::new(Shared {
            policy: options.policy.clone(),
            pumped: options.pumped,
            groups,
            default_group: AtomicUsize::new(0),
            keys: Mutex::default(),
            state: Mutex::new(State::new(slots)),
            work: Condvar::new(),
            space: Condvar::new(),
            rest: Condvar::new(),
            calls: Calls::default(),
            statistics: Mutex::default(),
        });
        let session = Self { shared, workers: Mutex::default(), attendant: Mutex::default() };
        for number in 0..instances {
            let shared = session.shared.clone();
            session.workers.lock().push(spawn(format!("planrt-worker-{number}"), move || shared.work())?);
        }
        let shared = session.shared.clone();
        *session.attendant.lock() = Some(spawn("planrt-calls".to_owned(), move || shared.attend())?);
        Ok(session)
    }

    /// Puts a request into the queue.
    pub fn submit(&self, submission: Submission<'_>) -> Result<Request> {
        let (waiting, priority) = self.shared.take_in(submission)?;
        Ok(self.shared.enqueue(waiting, priority, false)?.0)
    }

    /// Runs a request and returns with its outcome. A batch that it completes runs on the calling thread, which spares
    /// changes of threads.
    pub fn run(&self, submission: Submission<'_>) -> Result<()> {
        let leads = submission.callback.is_none();
        let (waiting, priority) = self.shared.take_in(submission)?;
        let (request, assignment) = self.shared.enqueue(waiting, priority, leads)?;
        if let Some(assignment) = assignment {
            self.shared.drive(assignment);
        }
        request.wait(None).unwrap_or(Ok(()))
    }

    /// Makes callbacks that are due on the calling thread: waits until then for the first one, and returns how many there
    /// were.
    pub fn pump(&self, timeout: Option<Duration>) -> Result<usize> {
        if !self.shared.pumped {
            return Err(Error::new(
                Code::InvalidArgument,
                "the session makes its callbacks itself; planrt_session_options_set_pumped leaves them to this call",
            ));
        }
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut count = 0;
        loop {
            let until = if count == 0 { until } else { Some(Instant::now()) };
            match self.shared.calls.serve(true, false, until) {
                Duty::Called => count += 1,
                _ => return Ok(count),
            }
        }
    }

    pub fn report(&self) -> Report {
        let (waiting, running, instances) = self.shared.load();
        self.shared.statistics.lock().report(waiting, running, instances)
    }

    pub fn prometheus(&self) -> String {
        let (waiting, running, instances) = self.shared.load();
        let name = self.shared.description().name.to_string_lossy();
        self.shared.statistics.lock().prometheus(&name, waiting, running, instances)
    }

    /// Ends the session: what waits is refused, what runs is finished, callbacks that are due are made, and then nothing
    /// of the session is at work any more. From inside a callback the others are made by this call, and the one that
    /// called is the last to end.
    pub fn close(&self) {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        state.closing = true;
        state.answering += 1;
        let refused = state.queue.take_all();
        drop(state);
        shared.work.notify_all();
        shared.space.notify_all();
        shared.refuse(refused.into_iter().map(|waiting| (waiting, shut_down())).collect());
        for worker in std::mem::take(&mut *self.workers.lock()) {
            // Workers catch what happens in an instance; there is nothing that a panic here could say.
            let _ = worker.join();
        }
        let mut state = shared.state.lock();
        while state.batches().next().is_some() || state.answering > 0 {
            shared.rest.wait(&mut state);
        }
        let instances: Vec<_> = state.slots.iter_mut().filter_map(|slot| slot.instance.take()).collect();
        drop(state);
        drop(instances);
        let inside = shared.calls.is_calling();
        shared.calls.close();
        if let Some(attendant) = self.attendant.lock().take()
            && (shared.pumped || !inside)
        {
            let _ = attendant.join();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

impl Request {
    /// The outcome, if it is there.
    pub fn poll(&self) -> Option<Result<()>> {
        self.ticket.poll()
    }

    /// Waits for the outcome, so long if a time is given.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if let Some(deadline) = self.deadline
            && until.is_none_or(|until| deadline < until)
        {
            if let Some(outcome) = self.ticket.wait(Some(deadline)) {
                return Some(outcome);
            }
            // The session's own thread looks after deadlines, but it may be in a callback.
            if let Some(shared) = self.session.upgrade() {
                shared.refuse_late();
            }
        }
        self.ticket.wait(until)
    }

    /// Lets go of the result. A request that waits is answered at once; one that runs, when its batch ends.
    pub fn cancel(&self) {
        self.ticket.cancel();
        let Some(shared) = self.session.upgrade() else { return };
        let mut state = shared.state.lock();
        if let Some(waiting) = state.queue.remove(self.place) {
            state.answering += 1;
            drop(state);
            shared.refuse(vec![(waiting, cancelled())]);
        }
    }
}

impl Shared {
    fn description(&self) -> &Description {
        self.groups[0].engine.description()
    }

    fn load(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        let running = state.batches().map(|(_, items)| items).sum();
        (state.queue.len(), running, state.alive())
    }

    /// Checks a submission and makes it ready to be queued.
    fn take_in(&self, submission: Submission<'_>) -> Result<(Waiting<Entry>, i32)> {
        let now = Instant::now();
        let deadline = submission.deadline.map(|deadline| now + deadline);
        let (mut job, shapes) = self.gather_inputs(submission.inputs)?;
        let device = self.device_of(&job, &submission.outputs)?;
        let known = self.known(&shapes, device)?;
        if known.key.batched {
            job.items = shapes[0][0] as usize;
            if let Some(other) = shapes.iter().find(|shape| shape[0] != shapes[0][0]) {
                let message = format!("the inputs' batches differ: {} and {other}", shapes[0]);
                return Err(Error::new(Code::Shape, message));
            }
        }
        let most = known.capacities.iter().map(|capacity| capacity.max).max().unwrap_or(0);
        if job.items > most {
            return Err(Error::new(
                Code::Shape,
                format!("a batch of {} is more than the session's contexts take at once, {most}", job.items),
            ));
        }
        self.add_outputs(&mut job, submission.outputs, &known.key)?;
        let here = self.groups.iter().find(|group| device.is_some() && ordinal(group) == device);
        let anywhere = self.policy.retry && device.is_none() && matches!(submission.after, Dependency::Now);
        here.unwrap_or(self.default_group()).admission.admit(&mut job, submission.after).or_else(|error| {
            // A device may be lost and no instance have noticed yet.
            let others = self.groups.iter().filter(|_| anywhere && error.code() == Code::Cuda);
            others
                .map(|group| group.admission.admit(&mut job, Dependency::Now))
                .find(Result::is_ok)
                .unwrap_or(Err(error))
        })?;
        let items = job.items;
        let entry = Entry { ticket: Arc::new(Ticket::new()), job, callback: submission.callback, known };
        Ok((Waiting { items, since: now, deadline, request: entry }, submission.priority))
    }

    /// The inputs in the model's order, and their shapes.
    fn gather_inputs(&self, given: Vec<Tensor<'_>>) -> Result<(Job, Vec<Shape>)> {
        let description = self.description();
        let count = description.indexes(Role::Input).count();
        let mut inputs: Vec<Option<RequestTensor>> = (0..count).map(|_| None).collect();
        for Tensor { name, memory } in given {
            let index = description.find_for(name, Role::Input, memory.element_type, memory.address().is_null())?;
            let info = &description.tensors[index];
            self.check_shape(index, &memory.shape)?;
            let needed = memory.shape.bytes(memory.element_type)?;
            if memory.size < needed {
                return Err(too_small(info, &memory.shape, memory.element_type, needed, memory.size));
            }
            let tensor = RequestTensor::new(memory, info.element_type);
            if inputs[index].replace(tensor).is_some() {
                return Err(given_twice(name));
            }
        }
        if let Some(missing) = inputs.iter().position(Option::is_none) {
            return Err(missing_input(&description.tensors[missing]));
        }
        let inputs: Vec<RequestTensor> = inputs.into_iter().flatten().collect();
        let shapes = inputs.iter().map(|tensor| tensor.caller.shape).collect();
        Ok((Job { items: 1, inputs, outputs: Vec::new(), ready: None, failure: None }, shapes))
    }

    /// Some engine has to take the shape.
    fn check_shape(&self, tensor: usize, shape: &Shape) -> Result<()> {
        let mut outcome = Ok(());
        for group in &self.groups {
            match group.engine.description().check_shape(tensor, shape) {
                Ok(()) => return Ok(()),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    fn add_outputs(&self, job: &mut Job, given: Vec<Tensor<'_>>, key: &BatchKey) -> Result<()> {
        let description = self.description();
        let first = job.inputs.len();
        job.outputs = key.outputs.iter().map(|_| None).collect();
        for Tensor { name, mut memory } in given {
            let index = description.find_for(name, Role::Output, memory.element_type, memory.address().is_null())?;
            let info = &description.tensors[index];
            memory.shape = key.whole(&key.outputs[index - first], job.items);
            let needed = memory.shape.bytes(memory.element_type)?;
            if memory.size < needed {
                return Err(too_small(info, &memory.shape, memory.element_type, needed, memory.size));
            }
            let tensor = RequestTensor::new(memory, info.element_type);
            if job.outputs[index - first].replace(tensor).is_some() {
                return Err(given_twice(name));
            }
        }
        Ok(())
    }

    fn default_group(&self) -> &Group {
        &self.groups[self.default_group.load(Ordering::Relaxed)]
    }

    /// The device that all of a request's device memory is on.
    fn device_of(&self, job: &Job, outputs: &[Tensor<'_>]) -> Result<Option<i32>> {
        let Some(device) = self.default_group().admission.device() else { return Ok(None) };
        let mut found = None;
        let given = job.inputs.iter().map(|tensor| &tensor.caller).chain(outputs.iter().map(|tensor| &tensor.memory));
        for memory in given.filter(|memory| memory.kind == MemoryKind::Device) {
            let invalid = |message: String| Err(Error::new(Code::InvalidArgument, message));
            let Some(ordinal) = cuda::device_of(device, memory.address()) else {
                return invalid(format!("{:p} is said to be device memory, and is none (any more)", memory.address()));
            };
            if !self.groups.iter().any(|group| self::ordinal(group) == Some(ordinal)) {
                return invalid(format!(
                    "{:p} is memory of device {ordinal}, which the session does not use",
                    memory.address()
                ));
            }
            if *found.get_or_insert(ordinal) != ordinal {
                return invalid("a request's device memory is on more than one device".to_owned());
            }
        }
        Ok(found)
    }

    /// The kind of requests with these inputs' shapes.
    fn known(&self, shapes: &[Shape], device: Option<i32>) -> Result<Arc<RegisteredKey>> {
        let find = |keys: &[Arc<RegisteredKey>]| keys.iter().find(|known| known.key.admits(shapes, device)).cloned();
        if let Some(known) = find(&self.keys.lock()) {
            return Ok(known);
        }
        let mut key = self.default_group().admission.batch_key(shapes)?;
        key.device = device;
        let capacities = self.groups.iter().flat_map(|group| {
            let here = device.is_none() || ordinal(group) == device;
            let capacity = |instance| if here { group.admission.capacity(instance, &key) } else { Capacity::default() };
            (0..group.instances).map(capacity).collect::<Vec<_>>()
        });
        let capacities = capacities.collect();
        let mut keys = self.keys.lock();
        // Another thread may have been quicker.
        if let Some(known) = find(&keys) {
            return Ok(known);
        }
        if keys.len() == REGISTERED_KEYS {
            keys.remove(0);
        }
        let mut state = self.state.lock();
        state.keys += 1;
        let known = Arc::new(RegisteredKey { number: state.keys, key, capacities });
        keys.push(known.clone());
        Ok(known)
    }

    /// Queues a request. If its thread leads, it is given the batch that the request completes, to run it.
    fn enqueue(
        self: &Arc<Self>,
        waiting: Waiting<Entry>,
        priority: i32,
        leads: bool,
    ) -> Result<(Request, Option<Assignment>)> {
        let (ticket, deadline) = (waiting.request.ticket.clone(), waiting.deadline);
        let mut state = self.state.lock();
        while state.queue.len() >= self.policy.capacity && !state.closing {
            if self.policy.when_full == WhenFull::Refuse {
                drop(state);
                self.statistics.lock().refused += 1;
                return Err(Error::new(
                    Code::QueueFull,
                    format!("the queue is full: {} requests wait", self.policy.capacity),
                ));
            }
            match deadline {
                None => self.space.wait(&mut state),
                Some(deadline) => {
                    if self.space.wait_until(&mut state, deadline).timed_out() {
                        drop(state);
                        self.statistics.lock().refused += 1;
                        return Err(late());
                    }
                }
            }
        }
        if state.closing {
            return Err(shut_down());
        }
        if let Some(error) = state.no_instance_for(&waiting.request.known) {
            return Err(error);
        }
        let place = state.queue.push(waiting.request.known.number, priority, waiting);
        let now = Instant::now();
        let assignment = match leads {
            true => self.lead(&mut state, place, now),
            false => {
                self.wake_worker(&state, now);
                None
            }
        };
        drop(state);
        self.statistics.lock().submitted += 1;
        if let Some(deadline) = deadline
            && assignment.is_none()
        {
            self.calls.set_alarm(deadline);
        }
        Ok((Request { ticket, session: Arc::downgrade(self), place, deadline }, assignment))
    }

    /// Answers requests that were taken out of the queue without having run, for a thread that is counted as answering.
    pub fn refuse(&self, requests: Vec<(Waiting<Entry>, Error)>) {
        if !requests.is_empty() {
            self.space.notify_all();
            let mut statistics = self.statistics.lock();
            requests.iter().for_each(|(_, error)| statistics.answer(Some(error.code())));
        }
        for (waiting, error) in requests {
            self.hand_over(waiting.request, Err(error));
        }
        self.answered();
    }

    /// The calling thread has answered what it took out.
    pub fn answered(&self) {
        let mut state = self.state.lock();
        state.answering -= 1;
        if state.closing {
            self.rest.notify_all();
        }
    }

    /// Gives the outcome to those who wait for it.
    pub fn hand_over(&self, entry: Entry, outcome: Result<()>) {
        let Entry { ticket, mut job, callback, .. } = entry;
        job.ready = None;
        let delivery = outcome.is_ok().then_some(job);
        ticket.answer(outcome, delivery);
        if let Some(callback) = callback {
            self.calls.push(Box::new(move || {
                if let Some(outcome) = ticket.poll() {
                    callback(&outcome);
                }
            }));
        }
    }

    /// Answers those whose deadline has passed while they waited, and has the alarm set for the next.
    pub fn refuse_late(&self) {
        let mut state = self.state.lock();
        let refused = state.queue.take_late(Instant::now());
        let next = state.queue.next_deadline();
        state.answering += 1;
        drop(state);
        self.refuse(refused.into_iter().map(|waiting| (waiting, late())).collect());
        if let Some(next) = next {
            self.calls.set_alarm(next);
        }
    }

    /// The session's own thread for callbacks and deadlines.
    fn attend(&self) {
        loop {
            match self.calls.serve(!self.pumped, true, None) {
                Duty::Closed => return,
                Duty::Alarm => self.refuse_late(),
                Duty::Called | Duty::Nothing => {}
            }
        }
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    process::thread::spawn(name, work).map_err(|error| {
        Error::new(Code::OutOfMemory, "a thread for the session could not be started").with_detail(error.to_string())
    })
}

fn ordinal(group: &Group) -> Option<i32> {
    group.admission.device().map(|device| device.info.ordinal)
}

fn shut_down() -> Error {
    Error::new(Code::ShutDown, "the session was deleted before the request ran")
}

pub(super) fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the request was cancelled")
}

pub(super) fn late() -> Error {
    Error::new(Code::Deadline, "the request's deadline passed before it ran")
}

fn check_same_model(first: &Description, other: &Description) -> Result<()> {
    let alike = first.tensors.len() == other.tensors.len()
        && first
            .tensors
            .iter()
            .zip(&other.tensors)
            .all(|(a, b)| (&a.name, a.role, a.element_type, a.shape) == (&b.name, b.role, b.element_type, b.shape));
    match alike {
        true => Ok(()),
        false => Err(Error::new(
            Code::InvalidArgument,
            "the engines of a session are one model on several devices; these differ in their inputs or outputs",
        )),
    }
}

#[cfg(test)]
impl Session {
    /// A session over instances of a test's own.
    pub(super) fn with_instances(
        engine: Arc<dyn Engine>,
        admission: Arc<dyn Admission>,
        instances: Vec<Box<dyn crate::backend::instance::Instance>>,
        options: &Options,
    ) -> Self {
        let count = instances.len();
        let slots = instances.into_iter().map(|instance| Slot::new(0, instance)).collect();
        Self::start(vec![Group { engine, admission, instances: count }], slots, options).unwrap()
    }
}
