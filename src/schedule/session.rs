//! A session: engines, instances and the dispatcher of one model's requests.

use super::callbacks::Served;
use super::dispatcher::{Dispatcher, Execution};
use super::keys::RegisteredKey;
use super::policy::Policy;
use super::queue::Waiting;
use super::request::{PendingRequest, Responder};
use super::slots::Slot;
use super::statistics::Report;
use super::submit::{EngineGroup, Submission, Submitter};
use super::ticket::Ticket;
use super::worker::Threads;
use crate::backend::Engine;
use crate::backend::batch::BatchKey;
use crate::backend::instance_group::InstanceGroupOptions;
use crate::cuda::{Device, Stream};
use crate::engine::check_same_model;
use crate::error::{Code, Error, Result};
use crate::nvtx;
use crate::process::stack::{has_room, with_room};
use crate::sync::Arc;
use crate::tensor::Shape;
use serde_json::{Value, json};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How a session is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub policy: Policy,
    pub instance_group: InstanceGroupOptions,
    /// Whether callbacks wait for a thread that the application lends, instead of one of the session's.
    pub pumped: bool,
}

/// Any thread may use it, several at once.
pub struct Session {
    dispatcher: Arc<Dispatcher>,
    submitter: Submitter,
    threads: Threads,
}

/// A request that was submitted. Any thread may use it, several at once.
pub struct Request {
    ticket: Arc<Ticket>,
    dispatcher: Weak<Dispatcher>,
    deadline: Option<Instant>,
    /// Whether the host writes outputs of its, behind which no stream can be ordered.
    host_outputs: bool,
    engine: Arc<dyn Engine>,
    /// What it has in common with others, and how many items it is.
    key: Arc<RegisteredKey>,
    items: usize,
}

impl Session {
    /// A session over engines of one model, loaded on several devices.
    pub fn new(engines: &[Arc<dyn Engine>], options: &Options) -> Result<Self> {
        options.policy.check()?;
        // The loader's search takes more stack than some threads have.
        with_room(|| {
            nvtx::look();
            Ok(())
        })?;
        let first =
            engines.first().ok_or_else(|| Error::new(Code::InvalidArgument, "a session needs at least one engine"))?;
        let group_options = InstanceGroupOptions {
            largest: options.policy.largest,
            preferred: options.policy.preferred.clone(),
            ..options.instance_group.clone()
        };
        for engine in &engines[1..] {
            check_same_model(first.description(), engine.description())?;
        }
        let (mut groups, mut slots) = (Vec::new(), Vec::new());
        for engine in engines {
            let group = with_room(|| engine.clone().instance_group(&group_options))?;
            let instances = group.instances.len();
            slots.extend(group.instances.into_iter().map(|instance| Slot::new(groups.len(), instance)));
            let (admission, choices) = (group.admission, group.choices);
            groups.push(EngineGroup { engine: engine.clone(), admission, instances, choices });
        }
        Self::start(groups, slots, options)
    }

    fn start(groups: Vec<EngineGroup>, slots: Vec<Slot>, options: &Options) -> Result<Self> {
        let instances = slots.len();
        let session = Self {
            dispatcher: Arc::new(Dispatcher::new(options.policy.clone(), slots)),
            submitter: Submitter::new(groups, options.policy.retry),
            threads: Threads::new(options.pumped),
        };
        session.threads.start(&session.dispatcher, instances)?;
        Ok(session)
    }

    /// The engine that runs the requests, or one of them.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.submitter.groups[0].engine
    }

    /// The CUDA devices that it runs on; none where it runs on the processor.
    pub fn devices(&self) -> impl Iterator<Item = &std::sync::Arc<Device>> + Clone {
        self.submitter.groups.iter().filter_map(|group| group.admission.device())
    }

    /// The largest batch that requests are gathered to, of each instance.
    pub fn optimal_batches(&self) -> impl Iterator<Item = usize> {
        self.submitter.groups.iter().flat_map(|group| &group.choices.instances).map(|instance| instance.optimal)
    }

    /// Puts a request into the queue, and hands it out before it can be answered.
    pub fn submit(&self, submission: Submission<'_>, hand_out: impl FnOnce(Request)) -> Result<()> {
        self.enqueue(submission, false, false, hand_out).map(|_| ())
    }

    /// The same, but that the request is handed out before it waits for room in the queue, where it can be cancelled: this returns an
    /// error then. Whatever the error, the request that was handed out is never answered, and not to be waited for.
    pub fn submit_early(&self, submission: Submission<'_>, hand_out: impl FnOnce(Request)) -> Result<()> {
        self.enqueue(submission, false, true, hand_out).map(|_| ())
    }

    /// Runs a request and returns with its outcome. A batch that it completes runs on the calling thread, which spares
    /// changes of threads.
    pub fn run(&self, submission: Submission<'_>) -> Result<()> {
        let run_inline = submission.callback.is_none() && has_room();
        let mut request = None;
        if let Some(execution) = self.enqueue(submission, run_inline, false, |handed| request = Some(handed))? {
            execution.run();
        }
        request.and_then(|request| request.wait(None)).unwrap_or(Ok(()))
    }

    /// Checks a submission and queues it.
    fn enqueue(
        &self,
        submission: Submission<'_>,
        run_inline: bool,
        early: bool,
        hand_out: impl FnOnce(Request),
    ) -> Result<Option<Execution<'_>>> {
        let Submission { inputs, outputs, priority, timeout, after, callback, copied_by_session } = submission;
        let since = Instant::now();
        let deadline = timeout.and_then(|timeout| since.checked_add(timeout));
        let ticket = Arc::new(Ticket::default());
        let default_group = self.dispatcher.default_group();
        let (job, key) = self.submitter.admit(inputs, outputs, after, ticket.clone(), default_group)?;
        if copied_by_session {
            self.threads.start_copies(&self.dispatcher)?;
        }
        let (items, host_outputs) = (job.items, job.has_host_outputs());
        let callback = callback.map(|callback| (callback, self.dispatcher.callbacks.clone()));
        let responder = Responder::new(ticket.clone(), callback);
        let request = PendingRequest { job, responder, key: key.clone(), copied_by_session };
        let waiting = Waiting { items, since, deadline, request };
        let dispatcher = Arc::downgrade(&self.dispatcher);
        let engine = self.submitter.groups[0].engine.clone();
        let handed = Request { ticket, dispatcher, deadline, host_outputs, engine, key, items };
        if early {
            hand_out(handed);
            return self.dispatcher.enqueue(waiting, priority, run_inline, || ());
        }
        self.dispatcher.enqueue(waiting, priority, run_inline, || hand_out(handed))
    }

    /// Makes callbacks that are due on the calling thread: waits so long for the first one, and returns how many there were.
    pub fn pump(&self, timeout: Option<Duration>) -> Result<usize> {
        if !self.threads.are_pumped() {
            return Err(Error::new(
                Code::InvalidArgument,
                "the session makes its callbacks itself; planrt_session_options_set_pumped leaves them to this call",
            ));
        }
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut count = 0;
        loop {
            let until = if count == 0 { until } else { Some(Instant::now()) };
            match self.dispatcher.callbacks.serve(true, false, until) {
                Served::Callback => count += 1,
                _ => return Ok(count),
            }
        }
    }

    pub fn report(&self) -> Report {
        let load = self.dispatcher.load();
        load.statistics.report(load.waiting, load.running, load.instances)
    }

    pub fn prometheus(&self) -> String {
        let load = self.dispatcher.load();
        let name = self.submitter.description().name.to_string_lossy();
        load.statistics.prometheus(&name, load.waiting, load.running, load.instances)
    }

    /// What was chosen for each device when the session was made, and what of it is lost.
    pub fn describe(&self) -> Value {
        let mut lost = self.dispatcher.lost_instances().into_iter();
        let group = |group: &EngineGroup| group.describe(lost.by_ref().take(group.instances));
        json!({ "devices": self.submitter.groups.iter().map(group).collect::<Vec<_>>() })
    }

    /// Ends the session: what waits is refused, what runs is finished, callbacks that are due are made, and then nothing
    /// of the session is at work any more. From inside a callback the others are made by this call, and the one that
    /// called is the last to end.
    pub fn close(&self) {
        self.threads.close(&self.dispatcher);
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

    /// The shape that one of its outputs has, or will have: it follows from the inputs' shapes.
    pub fn output_shape(&self, name: &str) -> Result<Shape> {
        let description = self.engine.description();
        let tensor = description.find_output(name)?;
        let BatchKey { inputs, outputs, .. } = &self.key.key;
        match tensor.checked_sub(inputs.len()).and_then(|output| outputs.get(output)) {
            Some(shape) => Ok(self.key.key.whole(shape, self.items)),
            None => {
                let message = format!("{} is no output", description.tensors[tensor].quoted());
                Err(Error::new(Code::InvalidArgument, message))
            }
        }
    }

    /// Waits for the outcome, so long if a time is given.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        self.wait_by(timeout, |until| self.ticket.wait(until))
    }

    /// Orders a stream behind the outputs, once the request's batch has been given to the device.
    pub fn order(&self, stream: &Stream) -> Result<()> {
        if self.host_outputs {
            return Err(Error::new(
                Code::Unsupported,
                "outputs of the request are written by the host: no stream can be ordered behind them; wait for the \
                 request, or let them be written to device memory",
            ));
        }
        self.wait_by(None, |until| self.ticket.order(stream, until)).unwrap_or(Ok(()))
    }

    /// Waits by some way until then, and sees to it that the request's own time is kept.
    fn wait_by<R>(&self, timeout: Option<Duration>, wait: impl Fn(Option<Instant>) -> Option<R>) -> Option<R> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if let Some(deadline) = self.deadline
            && until.is_none_or(|until| deadline < until)
        {
            if let Some(found) = wait(Some(deadline)) {
                return Some(found);
            }
            // The session's own thread looks after deadlines, but it may be in a callback.
            if let Some(dispatcher) = self.dispatcher.upgrade() {
                dispatcher.refuse_late();
            }
        }
        wait(until)
    }

    /// Lets go of the result. A request that waits is answered at once; one that runs, when its batch ends.
    pub fn cancel(&self) {
        match self.dispatcher.upgrade() {
            Some(dispatcher) => dispatcher.cancel(&self.ticket),
            None => self.ticket.cancel(),
        }
    }
}

#[cfg(test)]
impl Session {
    /// A session over instances of a test's own.
    pub(super) fn with_instances(
        engine: Arc<dyn Engine>,
        admission: Arc<dyn crate::backend::admission::Admission>,
        instances: Vec<Box<dyn crate::backend::instance::Instance>>,
        options: &Options,
    ) -> Self {
        use crate::backend::instance_group::Choices;
        let count = instances.len();
        let slots = instances.into_iter().map(|instance| Slot::new(0, instance)).collect();
        let choices = Choices::default();
        Self::start(vec![EngineGroup { engine, admission, instances: count, choices }], slots, options).unwrap()
    }

    pub(super) fn faults(&self) -> &super::faults::Faults {
        &self.dispatcher.faults
    }
}
