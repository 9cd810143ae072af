//! Sessions, on instances that do what a test says (doubles: they copy the input to the output, when they are let), and on
//! the CPU engine.

#![allow(unsafe_code)] // lends memory, and is careful with it

use super::faults::Fault;
use super::policy::Policy;
use super::*;
use crate::backend::admission::{Admission, Dependency};
use crate::backend::batch::{BatchKey, Capacity};
use crate::backend::instance::{Failure, Instance};
use crate::backend::instance_group::{InstanceGroup, InstanceGroupOptions};
use crate::backend::job::{CallerMemory, Job};
use crate::backend::{Context, Engine};
use crate::cuda::Device;
use crate::engine::{Backend, Description, MemoryKind, Role, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::sync::{Condvar, Mutex};
use crate::tensor::{ElementType, Shape};
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

// ---- The double ----

/// "x" in, "y" out, each (batch, n) float32.
struct DoubleEngine(Description);

fn double_engine() -> Arc<dyn Engine> {
    let tensor = |name: &str, role| TensorInfo {
        name: CString::new(name).unwrap(),
        role,
        element_type: ElementType::Float32,
        memory_kind: MemoryKind::Host,
        shape: Shape::new(&[-1, -1]).unwrap(),
    };
    Arc::new(DoubleEngine(Description {
        backend: Backend::Cpu,
        name: CString::from(c"double"),
        device_name: CString::from(c"none"),
        tensors: vec![tensor("x", Role::Input), tensor("y", Role::Output)],
        profiles: Vec::new(),
        device_memory_size: 0,
        fingerprint: 0,
    }))
}

impl Engine for DoubleEngine {
    fn description(&self) -> &Description {
        &self.0
    }
    fn metadata(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn layers_json(&self) -> Result<String> {
        unimplemented!()
    }
    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        unimplemented!()
    }
    fn instance_group(self: Arc<Self>, _: &InstanceGroupOptions) -> Result<InstanceGroup> {
        unimplemented!()
    }
}

struct DoubleAdmission;

/// Rows of this length are for the first instance only, as what lies on one device is for its instances.
const BOUND: i64 = 9;

impl Admission for DoubleAdmission {
    fn device(&self) -> Option<&Arc<Device>> {
        None
    }
    fn batch_key(&self, inputs: &[Shape]) -> Result<BatchKey> {
        let item = Shape::new(&[1, inputs[0][1]])?;
        Ok(BatchKey { inputs: vec![item], outputs: vec![item], batched: true, device: None })
    }
    fn capacity(&self, instance: usize, key: &BatchKey) -> Capacity {
        if instance > 0 && key.inputs[0][1] == BOUND {
            return Capacity::default();
        }
        Capacity { optimal: 4, max: 8, ..Capacity::default() }
    }
    fn admit(&self, _: &mut Job, _: Dependency<'_>) -> Result<()> {
        Ok(())
    }
}

/// What instances wait for and what they saw.
#[derive(Default)]
struct Stage {
    state: Mutex<StageState>,
    changed: Condvar,
}

#[derive(Default)]
struct StageState {
    /// Batches that may still run; `None` for all.
    permits: Option<usize>,
    /// The first value of each job of each batch that began.
    batches: Vec<Vec<f32>>,
    /// Instances that are to be lost.
    losing: usize,
    /// Whether instances panic when they run, and when they go.
    panicking: bool,
}

impl Stage {
    fn shut() -> Arc<Self> {
        let stage = Self::default();
        stage.state.lock().permits = Some(0);
        Arc::new(stage)
    }
    fn let_pass(&self, batches: usize) {
        if let Some(permits) = self.state.lock().permits.as_mut() {
            *permits += batches;
        }
        self.changed.notify_all();
    }
    fn open(&self) {
        self.state.lock().permits = None;
        self.changed.notify_all();
    }
    /// Waits until so many batches have begun.
    fn begun(&self, count: usize) {
        let mut state = self.state.lock();
        while state.batches.len() < count {
            let late = self.changed.wait_until(&mut state, Instant::now() + Duration::from_secs(20)).timed_out();
            assert!(!late, "{:?}", state.batches);
        }
    }
    fn seen(&self) -> Vec<Vec<f32>> {
        self.state.lock().batches.clone()
    }
}

struct DoubleInstance(Arc<Stage>);

impl Instance for DoubleInstance {
    fn run(&mut self, _: &BatchKey, jobs: &mut [&mut Job]) -> std::result::Result<(), Failure> {
        let mut state = self.0.state.lock();
        // SAFETY: the test's own memory, of one element and more.
        let first = |job: &Job| unsafe { job.inputs[0].caller.address().cast::<f32>().read() };
        state.batches.push(jobs.iter().map(|job| first(job)).collect());
        self.0.changed.notify_all();
        while state.permits == Some(0) {
            self.0.changed.wait(&mut state);
        }
        if let Some(permits) = state.permits.as_mut() {
            *permits -= 1;
        }
        assert!(!state.panicking, "as the test asked");
        if state.losing > 0 {
            state.losing -= 1;
            return Err(Failure { error: Error::new(Code::Cuda, "the device is gone"), lost: true });
        }
        drop(state);
        for job in jobs {
            if first(job) < 0.0 {
                job.failure = Some(Error::new(Code::Cuda, "this job's memory is bad"));
                continue;
            }
            if let Some(output) = &job.outputs[0] {
                let (from, to) = (job.inputs[0].caller.address(), output.caller.address());
                // SAFETY: the test's own memory, of the same shape both.
                unsafe { from.copy_to_nonoverlapping(to, output.caller.shape.bytes(ElementType::Float32).unwrap()) };
            }
        }
        Ok(())
    }
}

impl Drop for DoubleInstance {
    fn drop(&mut self) {
        assert!(!self.0.state.lock().panicking, "as the test asked");
    }
}

fn session_with(stage: &Arc<Stage>, instances: usize, policy: Policy) -> Session {
    let instances = (0..instances).map(|_| Box::new(DoubleInstance(stage.clone())) as _).collect();
    let options = Options { policy, ..Options::default() };
    Session::with_instances(double_engine(), Arc::new(DoubleAdmission), instances, &options)
}

impl Session {
    fn submitted(&self, submission: Submission<'_>) -> Result<Request> {
        let mut request = None;
        self.submit(submission, |handed_out| request = Some(handed_out))?;
        Ok(request.unwrap())
    }
}

fn session(stage: &Arc<Stage>) -> Session {
    session_with(stage, 1, Policy::default())
}

/// Memory of a request that outlives it: the tests let go of nothing before they end.
struct Memory {
    x: &'static mut [f32],
    y: &'static mut [f32],
}

impl Memory {
    fn new(value: f32, items: usize) -> Self {
        let leak = |value: f32| Vec::leak(vec![value; items * 3]);
        Self { x: leak(value), y: leak(-7.0) }
    }
    fn submission(&mut self) -> Submission<'static> {
        let items = (self.x.len() / 3) as i64;
        Submission {
            inputs: vec![lend("x", self.x, &[items, 3])],
            outputs: vec![lend("y", self.y, &[])],
            priority: 0,
            timeout: None,
            after: Dependency::Now,
            callback: None,
            copied_by_session: false,
        }
    }
}

fn lend(name: &'static str, data: &mut [f32], shape: &[i64]) -> Tensor<'static> {
    let (data, size) = (data.as_mut_ptr().cast(), size_of_val(data));
    let shape = Shape::new(shape).unwrap();
    // SAFETY: tests keep what they lend until its request is answered.
    Tensor { name, memory: unsafe { CallerMemory::new(data, size, ElementType::Float32, MemoryKind::Host, shape) } }
}

fn request(value: f32) -> Submission<'static> {
    Memory::new(value, 1).submission()
}

fn code(outcome: Option<Result<()>>) -> Option<Code> {
    outcome.expect("an answer").err().map(|error| error.code())
}

// ---- The tests ----

#[test]
fn what_waits_together_runs_together() {
    let stage = Stage::shut();
    let session = session(&stage);
    let first = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let mut memories: Vec<_> = (1..=5).map(|i| Memory::new(i as f32, 1)).collect();
    let requests: Vec<_> = memories.iter_mut().map(|m| session.submitted(m.submission()).unwrap()).collect();
    assert!(first.poll().is_none() && first.wait(Some(Duration::from_millis(1))).is_none());
    stage.open();
    for request in &requests {
        assert_eq!(code(request.wait(None)), None);
    }
    assert_eq!(stage.seen(), [vec![0.0], vec![1.0, 2.0, 3.0, 4.0], vec![5.0]]);
    assert!(memories.iter().all(|memory| memory.x == memory.y));
    let report = session.report();
    assert_eq!((report.submitted, report.succeeded, report.batches[1], report.batches[4]), (6, 6, 2, 1));
}

#[test]
fn priorities_own_batches_and_keys() {
    let stage = Stage::shut();
    let session = session(&stage);
    let mut all = vec![session.submitted(request(0.0)).unwrap()];
    stage.begun(1);
    all.push(session.submitted(request(1.0)).unwrap());
    all.push(session.submitted(Submission { priority: 5, ..request(2.0) }).unwrap());
    all.push(session.submitted(Memory::new(3.0, 4).submission()).unwrap());
    all.push(session.submitted(request(4.0)).unwrap());
    let (x, y) = (Vec::leak(vec![5.0; 2]), Vec::leak(vec![0.0; 2]));
    let inputs = vec![lend("x", x, &[1, 2])];
    all.push(session.submitted(Submission { inputs, outputs: vec![lend("y", y, &[])], ..request(0.0) }).unwrap());
    stage.open();
    all.iter().for_each(|request| assert_eq!(code(request.wait(None)), None));
    // The urgent one first, with whom it has company; one of four items is not split; another shape goes by itself.
    assert_eq!(stage.seen(), [vec![0.0], vec![2.0, 1.0], vec![3.0], vec![4.0], vec![5.0]]);
}

#[test]
fn a_deadline_that_passes_in_the_queue_costs_no_run() {
    let stage = Stage::shut();
    let session = session(&stage);
    let first = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let soon = Some(Duration::from_millis(5));
    let called = Arc::new(Mutex::new(None));
    let (seen, late) = (called.clone(), Submission { timeout: soon, ..request(1.0) });
    let callback = Box::new(move |outcome: &Result<()>| *seen.lock() = Some(outcome.clone())) as Callback;
    let told = session.submitted(Submission { timeout: soon, callback: Some(callback), ..request(2.0) }).unwrap();
    let late = session.submitted(late).unwrap();
    assert_eq!(code(late.wait(None)), Some(Code::Deadline));
    assert_eq!(code(told.wait(None)), Some(Code::Deadline));
    while called.lock().is_none() {
        thread::yield_now();
    }
    assert!(first.poll().is_none());
    stage.open();
    assert_eq!(code(first.wait(None)), None);
    drop(session);
    assert_eq!(stage.seen(), [[0.0]]);
    assert_eq!(code(called.lock().take()), Some(Code::Deadline));
}

#[test]
fn cancelled_at_once_in_the_queue_and_at_the_end_of_its_batch() {
    let stage = Stage::shut();
    let session = session(&stage);
    let running = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let waiting = session.submitted(request(1.0)).unwrap();
    waiting.cancel();
    assert_eq!(code(waiting.poll()), Some(Code::Cancelled));
    running.cancel();
    assert!(running.poll().is_none());
    stage.open();
    assert_eq!(code(running.wait(None)), Some(Code::Cancelled));
    running.cancel();
    let after = session.submitted(request(2.0)).unwrap();
    assert_eq!(code(after.wait(None)), None);
    after.cancel();
    assert_eq!(code(after.poll()), None);
    assert_eq!(stage.seen(), [[0.0], [2.0]]);
    assert_eq!((session.report().cancelled, session.report().succeeded), (2, 1));
}

#[test]
fn a_full_queue_refuses_or_blocks() {
    for when_full in [WhenFull::Refuse, WhenFull::Block] {
        let stage = Stage::shut();
        let session = session_with(&stage, 1, Policy { max_waiting: 2, when_full, ..Policy::default() });
        let _running = session.submitted(request(0.0)).unwrap();
        stage.begun(1);
        let _waiting = [session.submitted(request(1.0)).unwrap(), session.submitted(request(2.0)).unwrap()];
        let late = session.submitted(Submission { timeout: Some(Duration::from_millis(3)), ..request(3.0) });
        let expected = if when_full == WhenFull::Refuse { Code::QueueFull } else { Code::Deadline };
        assert_eq!(late.err().unwrap().code(), expected);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| session.run(request(4.0)));
            if when_full == WhenFull::Refuse {
                assert_eq!(blocked.join().unwrap().unwrap_err().code(), Code::QueueFull);
                stage.open();
            } else {
                thread::sleep(Duration::from_millis(5));
                assert!(!blocked.is_finished());
                stage.open();
                assert!(blocked.join().unwrap().is_ok());
            }
        });
    }
}

#[test]
fn who_waits_for_room_can_be_cancelled() {
    let stage = Stage::shut();
    let session = session_with(&stage, 1, Policy { max_waiting: 1, when_full: WhenFull::Block, ..Policy::default() });
    let running = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let waiting = session.submitted(request(1.0)).unwrap();
    for is_cancelled_first in [false, true] {
        let ((to, handed), (over, is_over)) = (channel(), channel());
        thread::scope(|scope| {
            let session = &session;
            scope.spawn(move || {
                let hand_out = |request: Request| {
                    let request = Arc::new(request);
                    if is_cancelled_first {
                        request.cancel();
                    }
                    to.send(request).unwrap();
                };
                over.send(session.submit_early(request(2.0), hand_out)).unwrap();
            });
            let handed = handed.recv().unwrap();
            thread::sleep(Duration::from_millis(5));
            handed.cancel();
            let outcome = is_over.recv_timeout(Duration::from_secs(20));
            if outcome.is_err() {
                stage.open();
            }
            assert_eq!(outcome.unwrap().unwrap_err().code(), Code::Cancelled);
            assert!(handed.poll().is_none() && running.poll().is_none() && waiting.poll().is_none());
        });
    }
    assert_eq!((session.report().waiting, session.report().refused), (1, 2));
    stage.open();
    assert_eq!((code(running.wait(None)), code(waiting.wait(None))), (None, None));
    assert_eq!(stage.seen(), [[0.0], [1.0]]);
}

#[test]
fn an_idle_session_runs_on_the_thread_that_asks() {
    let stage = Arc::new(Stage::default());
    let session = session(&stage);
    let mut memory = Memory::new(3.0, 2);
    session.run(memory.submission()).unwrap();
    assert_eq!(memory.x, memory.y);
    assert_eq!(session.run(request(-1.0)).unwrap_err().code(), Code::Cuda);
    assert_eq!((session.report().succeeded, session.report().failed), (1, 1));
}

#[test]
fn one_bad_job_fails_alone() {
    let stage = Stage::shut();
    let session = session(&stage);
    let _first = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let requests = [1.0, -1.0, 2.0].map(|value| session.submitted(request(value)).unwrap());
    stage.open();
    assert_eq!(requests.each_ref().map(|request| code(request.wait(None))), [None, Some(Code::Cuda), None]);
}

#[test]
fn a_fixed_delay_waits_for_company() {
    let stage = Arc::new(Stage::default());
    let delay = Delay::Fixed(Duration::from_millis(40));
    let session = session_with(&stage, 1, Policy { delay, ..Policy::default() });
    let start = Instant::now();
    let requests: Vec<_> = (0..3).map(|i| session.submitted(request(i as f32)).unwrap()).collect();
    requests.iter().for_each(|request| assert_eq!(code(request.wait(None)), None));
    assert!(start.elapsed() >= Duration::from_millis(40));
    assert_eq!(stage.seen(), [[0.0, 1.0, 2.0]]);
    let start = Instant::now();
    let requests: Vec<_> = (0..4).map(|i| session.submitted(request(i as f32)).unwrap()).collect();
    requests.iter().for_each(|request| assert_eq!(code(request.wait(None)), None));
    assert!(start.elapsed() < Duration::from_millis(40), "a full batch waited");
}

#[test]
fn a_lost_device_fails_its_requests_or_another_runs_them() {
    for retry in [false, true] {
        let stage = Stage::shut();
        let session = session_with(&stage, 2, Policy { retry, ..Policy::default() });
        stage.state.lock().losing = 1;
        let first = session.submitted(request(0.0)).unwrap();
        stage.begun(1);
        stage.let_pass(1);
        let expected = (!retry).then_some(Code::Cuda);
        if retry {
            stage.begun(2);
        }
        stage.open();
        assert_eq!(code(first.wait(None)), expected);
        assert!(session.run(request(1.0)).is_ok());
        // The last one goes too: what waits is answered, and what comes is refused.
        stage.state.lock().losing = 1;
        let last = session.run(request(2.0)).unwrap_err();
        assert_eq!(last.code(), Code::Cuda);
        let refused = session.submitted(request(3.0)).err().unwrap();
        assert!(refused.code() == Code::Cuda && refused.message().contains("every device"), "{refused}");
    }
}

#[test]
fn requests_that_wait_for_a_lost_device_are_answered() {
    let stage = Stage::shut();
    let session = session(&stage);
    stage.state.lock().losing = 1;
    let first = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let waiting = session.submitted(request(1.0)).unwrap();
    stage.open();
    assert_eq!(code(first.wait(None)), Some(Code::Cuda));
    assert_eq!(code(waiting.wait(None)), Some(Code::Cuda));
}

#[test]
fn what_only_a_lost_device_could_run_is_answered_where_the_rest_is_tried_again() {
    let stage = Stage::shut();
    let session = session_with(&stage, 2, Policy { retry: true, ..Policy::default() });
    stage.state.lock().losing = 1;
    let first = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    let (x, y) = (Vec::leak(vec![5.0; BOUND as usize]), Vec::leak(vec![0.0; BOUND as usize]));
    let inputs = vec![lend("x", x, &[1, BOUND])];
    let bound = session.submitted(Submission { inputs, outputs: vec![lend("y", y, &[])], ..request(0.0) }).unwrap();
    stage.open();
    assert_eq!(code(first.wait(None)), None);
    assert_eq!(code(bound.wait(Some(Duration::from_secs(20)))), Some(Code::Cuda));
}

fn counted(count: &Arc<AtomicUsize>) -> Option<Callback> {
    let count = count.clone();
    Some(Box::new(move |_: &Result<()>| _ = count.fetch_add(1, Ordering::Relaxed)))
}

#[test]
fn the_end_answers_everything_once_and_then_is_silent() {
    let stage = Stage::shut();
    let session = session(&stage);
    let calls = Arc::new(AtomicUsize::new(0));
    let running = session.submitted(Submission { callback: counted(&calls), ..request(0.0) }).unwrap();
    stage.begun(1);
    let waiting: Vec<_> =
        (0..3).map(|_| session.submitted(Submission { callback: counted(&calls), ..request(1.0) }).unwrap()).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            while waiting[2].poll().is_none() {
                thread::yield_now();
            }
            stage.open();
        });
        session.close();
    });
    assert_eq!(calls.load(Ordering::Relaxed), 4);
    assert_eq!(code(running.poll()), None);
    waiting.iter().for_each(|request| assert_eq!(code(request.poll()), Some(Code::ShutDown)));
    assert_eq!(session.submitted(request(0.0)).err().unwrap().code(), Code::ShutDown);
    assert_eq!(session.run(request(0.0)).unwrap_err().code(), Code::ShutDown);
}

#[test]
fn a_callback_submits_again_and_one_ends_the_session() {
    for pumped in [false, true] {
        let stage = Arc::new(Stage::default());
        let instances: Vec<Box<dyn Instance>> = vec![Box::new(DoubleInstance(stage.clone()))];
        let options = Options { pumped, ..Options::default() };
        let session =
            Arc::new(Session::with_instances(double_engine(), Arc::new(DoubleAdmission), instances, &options));
        let ended = Arc::new(AtomicUsize::new(0));
        let (again, end) = (session.clone(), ended.clone());
        let callback = Box::new(move |outcome: &Result<()>| {
            assert!(outcome.is_ok());
            let within = again.clone();
            let callback = Box::new(move |_: &Result<()>| {
                let more = within.submitted(Submission { callback: counted(&end), ..request(2.0) }).unwrap();
                assert_eq!(code(more.wait(None)), None);
                within.close();
                // What was due was made before the end.
                assert_eq!(end.fetch_add(1, Ordering::Relaxed), 1);
            });
            again.submitted(Submission { callback: Some(callback), ..request(1.0) }).unwrap();
        });
        session.submitted(Submission { callback: Some(callback), ..request(0.0) }).unwrap();
        while ended.load(Ordering::Relaxed) < 2 {
            match pumped {
                true => _ = session.pump(Some(Duration::from_millis(5))).unwrap(),
                false => thread::yield_now(),
            }
        }
        assert_eq!(stage.seen(), [[0.0], [1.0], [2.0]]);
        assert_eq!(session.pump(None).is_ok(), pumped);
    }
}

#[test]
fn a_slow_callback_holds_up_nothing_but_callbacks() {
    let stage = Arc::new(Stage::default());
    let session = session(&stage);
    let gate = Arc::new(Mutex::new(()));
    let (closed, held) = (gate.lock(), gate.clone());
    let slow = Box::new(move |_: &Result<()>| drop(held.lock())) as Callback;
    session.submitted(Submission { callback: Some(slow), ..request(0.0) }).unwrap();
    for i in 0..50 {
        assert!(session.run(request(i as f32)).is_ok());
        assert_eq!(code(session.submitted(request(i as f32)).unwrap().wait(None)), None);
    }
    drop(closed);
}

/// Whatever breaks, nobody waits for ever: not who asks, nor who ends the session.
#[test]
fn a_panic_leaves_nobody_waiting() {
    for fault in [Fault::Choosing, Fault::Ending, Fault::Answering] {
        for inline in [false, true] {
            let stage = Stage::shut();
            let session = session_with(&stage, 2, Policy::default());
            let calls = Arc::new(AtomicUsize::new(0));
            let running = session.submitted(Submission { callback: counted(&calls), ..request(0.0) }).unwrap();
            stage.begun(1);
            session.faults().arm(fault);
            let asked = match inline {
                true => thread::scope(|scope| {
                    let asking = scope.spawn(|| session.run(request(1.0)));
                    thread::sleep(Duration::from_millis(2));
                    stage.open();
                    asking.join().unwrap()
                }),
                false => {
                    let asked = session.submitted(request(1.0));
                    stage.open();
                    asked.and_then(|request| request.wait(None).unwrap())
                }
            };
            let first = running.wait(Some(Duration::from_secs(20))).expect("an answer");
            let failed = [asked, first].into_iter().filter_map(Result::err).collect::<Vec<_>>();
            assert!(failed.iter().all(|error| error.code() == Code::Internal), "{failed:?}");
            assert!(fault != Fault::Choosing || failed.len() == 1, "{failed:?}");
            session.close();
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            assert!(session.run(request(2.0)).is_err());
        }
    }
}

#[test]
fn an_instance_that_panics_also_when_it_goes_is_lost() {
    let stage = Stage::shut();
    let session = session_with(&stage, 2, Policy::default());
    let first = session.submitted(request(0.0)).unwrap();
    stage.begun(1);
    stage.state.lock().panicking = true;
    stage.let_pass(1);
    assert_eq!(code(first.wait(Some(Duration::from_secs(20)))), Some(Code::Internal));
    stage.state.lock().panicking = false;
    stage.open();
    assert!(session.run(request(1.0)).is_ok());
}

#[test]
fn a_callback_that_panics_holds_up_no_other() {
    let session = session(&Arc::new(Stage::default()));
    let calls = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let callback =
            Some(Box::new(|outcome: &Result<()>| assert!(outcome.is_err(), "as the test asked")) as Callback);
        session.submitted(Submission { callback, ..request(0.0) }).unwrap();
        session.submitted(Submission { callback: counted(&calls), ..request(1.0) }).unwrap();
    }
    session.close();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn a_request_is_handed_out_before_its_callback() {
    let session = session(&Arc::new(Stage::default()));
    for i in 0..200 {
        let handed_out = Arc::new(AtomicUsize::new(0));
        let (seen, sought) = (Arc::new(AtomicUsize::new(0)), handed_out.clone());
        let told = seen.clone();
        let callback =
            Box::new(move |_: &Result<()>| told.store(1 + sought.load(Ordering::Acquire), Ordering::Release));
        let submission = Submission { callback: Some(callback as Callback), ..request(i as f32) };
        session.submit(submission, |_| handed_out.store(1, Ordering::Release)).unwrap();
        while seen.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        assert_eq!(seen.load(Ordering::Acquire), 2);
    }
}

#[test]
fn ended_by_several_threads_and_a_callback_at_once() {
    for _ in 0..50 {
        let stage = Arc::new(Stage::default());
        let session = Arc::new(session_with(&stage, 2, Policy::default()));
        let (calls, mut taken) = (Arc::new(AtomicUsize::new(0)), 0);
        for i in 0..4 {
            let (within, calls) = (session.clone(), calls.clone());
            let callback = Box::new(move |_: &Result<()>| {
                if i == 1 {
                    within.close();
                }
                calls.fetch_add(1, Ordering::Relaxed);
            });
            let asked = session.submitted(Submission { callback: Some(callback as Callback), ..request(i as f32) });
            taken += usize::from(asked.is_ok());
        }
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    session.close();
                    assert_eq!(session.run(request(0.0)).unwrap_err().code(), Code::ShutDown);
                });
            }
        });
        assert_eq!(calls.load(Ordering::Relaxed), taken);
    }
}

#[test]
fn impossible_requests_are_refused_with_a_reason() {
    let stage = Arc::new(Stage::default());
    let session = session(&stage);
    let mut memory = Memory::new(1.0, 2);
    let mut refused = |change: &dyn Fn(&mut Submission<'static>), expected: Code, word: &str| {
        let mut submission = memory.submission();
        change(&mut submission);
        let error = session.submitted(submission).err().unwrap();
        assert!(error.code() == expected && error.message().contains(word), "{error:?}");
    };
    refused(&|s| s.inputs.clear(), Code::InvalidArgument, "missing");
    refused(&|s| s.inputs[0].name = "z", Code::NotFound, "\"x\"");
    refused(&|s| s.inputs[0].name = "y", Code::InvalidArgument, "output");
    refused(&|s| s.inputs[0].memory.element_type = ElementType::Int8, Code::InvalidArgument, "int8");
    refused(&|s| s.inputs[0].memory.size = 3, Code::BufferTooSmall, "24 bytes");
    refused(&|s| s.outputs[0].memory.size = 3, Code::BufferTooSmall, "24 bytes");
    refused(&|s| s.inputs[0].memory.shape = Shape::new(&[0, 3]).unwrap(), Code::Shape, "at least 1");
    refused(&|s| s.inputs[0].memory.shape = Shape::new(&[3]).unwrap(), Code::Shape, "dimensions");
    refused(&|s| s.inputs[0].memory.shape = Shape::new(&[i64::MAX, 1]).unwrap(), Code::Shape, "");
    let mut large = Memory::new(1.0, 9);
    let error = session.submitted(large.submission()).err().unwrap();
    assert!(error.code() == Code::Shape && error.message().contains("at once, 8"), "{error}");
    assert!(session.run(memory.submission()).is_ok());
}

#[test]
fn many_threads_at_random() {
    let stage = Arc::new(Stage::default());
    let policy = Policy { max_waiting: 16, when_full: WhenFull::Block, ..Policy::default() };
    let session = session_with(&stage, 3, policy);
    let calls = Arc::new(AtomicUsize::new(0));
    let with_callback = AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in 0..8u64 {
            let (session, calls, with_callback) = (&session, &calls, &with_callback);
            scope.spawn(move || {
                let mut random = seed;
                let mut dice = |sides: u64| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (random >> 33) % sides
                };
                for i in 0..500 {
                    let mut memory = Memory::new(i as f32, 1 + dice(4) as usize);
                    let mut submission = memory.submission();
                    submission.priority = dice(3) as i32;
                    submission.timeout = (dice(4) == 0).then(|| Duration::from_micros(dice(300)));
                    if dice(3) == 0 {
                        submission.callback = counted(calls);
                    }
                    let called = submission.callback.is_some();
                    let Ok(request) = session.submitted(submission) else { continue };
                    with_callback.fetch_add(usize::from(called), Ordering::Relaxed);
                    if dice(4) == 0 {
                        request.cancel();
                    }
                    if request.wait(None).unwrap().is_ok() {
                        assert_eq!(memory.x, memory.y);
                    }
                }
            });
        }
    });
    session.close();
    assert_eq!(calls.load(Ordering::Relaxed), with_callback.load(Ordering::Relaxed));
    let report = session.report();
    let answered = report.succeeded + report.cancelled + report.late + report.failed;
    assert_eq!((answered, report.failed, report.waiting, report.running), (report.submitted, 0, 0, 0));
}

#[cfg(feature = "cpu")]
mod on_the_cpu {
    use super::*;
    use crate::backend::cpu::tests::{small_network, sum_network};

    const VOXELS: usize = 4 * 5 * 6;

    fn run(session: &Session, image: &mut [f32], prob: &mut [f32]) -> Result<()> {
        let items = (image.len() / VOXELS) as i64;
        session.run(Submission {
            inputs: vec![lend("image", image, &[items, 1, 4, 5, 6])],
            outputs: vec![lend("prob", prob, &[])],
            ..request(0.0)
        })
    }

    #[test]
    fn the_same_bits_whatever_the_company() {
        for threads in [1, 2] {
            let engine = small_network(threads);
            let session = Session::new(&[engine], &Options::default()).unwrap();
            thread::scope(|scope| {
                for seed in 0..6 {
                    let session = &session;
                    scope.spawn(move || {
                        let items = 1 + seed % 3;
                        let mut image: Vec<f32> =
                            (0..items * VOXELS).map(|i| ((i * 31 + seed * 17) % 101) as f32 / 101.0 - 0.4).collect();
                        let (mut alone, mut prob) = (vec![0.0; 2 * image.len()], vec![0.0; 2 * image.len()]);
                        for (image, alone) in image.chunks_mut(VOXELS).zip(alone.chunks_mut(2 * VOXELS)) {
                            run(session, image, alone).unwrap();
                        }
                        for _ in 0..20 {
                            run(session, &mut image, &mut prob).unwrap();
                            assert!(prob.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()));
                        }
                    });
                }
            });
            assert_eq!(session.report().failed, 0);
        }
    }

    #[test]
    fn shapes_that_a_context_refuses_a_session_refuses() {
        let session = Session::new(&[sum_network()], &Options::default()).unwrap();
        let (mut a, mut b, mut on, mut sum) = (vec![1.0; 8], vec![2.0; 8], [1u8; 2], vec![0.0; 8]);
        let mut run = |a_shape: &[i64], b_shape: &[i64]| {
            let (data, two) = (on.as_mut_ptr(), Shape::new(&[2]).unwrap());
            // SAFETY: the test keeps it.
            let memory = unsafe { CallerMemory::new(data, 2, ElementType::Bool, MemoryKind::Host, two) };
            let on = Tensor { name: "on", memory };
            let inputs = vec![lend("a", &mut a, a_shape), lend("b", &mut b, b_shape), on];
            session.run(Submission { inputs, outputs: vec![lend("sum", &mut sum, &[])], ..request(0.0) })
        };
        // Twice, since what was met before is known.
        for _ in 0..2 {
            assert!(run(&[2, 4], &[2, 4]).is_ok());
            let error = run(&[2, 4], &[2, 1]).unwrap_err();
            assert!(error.code() == Code::Shape && error.message().contains("\"X\""), "{error}");
            assert_eq!(run(&[2, 4], &[1, 4]).unwrap_err().code(), Code::Shape);
        }
        assert_eq!(sum, [3.0; 8]);
    }

    #[test]
    fn the_scheduler_costs_little() {
        let engine = small_network(1);
        let session = Session::new(&[engine], &Options::default()).unwrap();
        let (mut image, mut prob) = (vec![0.5; VOXELS], vec![0.0; 2 * VOXELS]);
        for _ in 0..300 {
            run(&session, &mut image, &mut prob).unwrap();
        }
        let report = session.report();
        // Loosely: the machine may be busy. The program of tests/c measures it.
        assert!(report.queue.p50 < Duration::from_micros(50), "{:?}", report.queue);
    }
}
