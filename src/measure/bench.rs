//! Throughput and latency, measured as trtexec does: each stream has a context, and is given the next run while the last one is
//! under way; or through a session, as so many threads of an application see it.

use super::Findings;
use super::inputs::{Given, Input, complete};
use super::rig::{Requester, Rig};
use super::times::Times;
use crate::backend::Engine;
use crate::backend::admission::Dependency;
use crate::cuda::{Event, Graph, Turns};
use crate::error::{Code, Error, Result};
use crate::panic::catch;
use crate::process::thread::spawn_scoped;
use crate::quote::printable;
use crate::schedule::{self, Session, Submission, WhenFull};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone)]
pub struct Settings {
    /// Contexts that run side by side.
    pub streams: usize,
    /// Threads that ask a session, instead; 0 for none.
    pub concurrency: usize,
    /// The session's largest batch; 0 for its own choice.
    pub largest_batch: usize,
    pub cuda_graph: bool,
    /// Whether inputs come from the host each time and outputs go there.
    pub transfers: bool,
    /// Each stream or thread runs as often at least.
    pub least_runs: usize,
    pub warm_up: Duration,
    pub duration: Duration,
    pub percentiles: Vec<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams: 1,
            concurrency: 0,
            largest_batch: 0,
            cuda_graph: false,
            transfers: true,
            least_runs: 10,
            warm_up: Duration::from_millis(200),
            duration: Duration::from_secs(3),
            percentiles: vec![90.0, 95.0, 99.0],
        }
    }
}

/// The times of one run.
#[derive(Clone, Copy, Default)]
struct Sample {
    latency: Duration,
    /// The host's part, and the device's; on a CPU, and in a session, nobody knows them.
    on_device: Option<[Duration; 4]>,
}

/// What the four are called in JSON and in text.
const PARTS: [(&str, &str); 4] = [
    ("enqueue_time", "Enqueue Time"),
    ("h2d_latency", "H2D Latency"),
    ("gpu_compute_time", "GPU Compute Time"),
    ("d2h_latency", "D2H Latency"),
];
const ENQUEUE: usize = 0;
const COMPUTE: usize = 2;

/// One thread's work.
trait Worker: Send {
    /// Begins a run; the times of one that has ended.
    fn run(&mut self) -> Result<Option<Sample>>;

    /// The times of the run that is under way, once it has ended.
    fn finish(&mut self) -> Result<Option<Sample>> {
        Ok(None)
    }
}

pub fn bench(engine: &Arc<dyn Engine>, given: &[Given<'_>], settings: &Settings) -> Result<Findings> {
    let is_on_gpu = engine.device().is_some();
    if settings.cuda_graph && (!is_on_gpu || settings.concurrency > 0) {
        let why = if is_on_gpu { "a session has them of its own accord" } else { "this model runs on the CPU" };
        return Err(Error::new(Code::InvalidArgument, format!("CUDA graphs cannot be asked for here: {why}")));
    }
    let inputs = complete(engine.description(), given)?;
    let mut session = None;
    let (samples, wall) = if settings.concurrency > 0 {
        let requesters = Requester::several(engine, &inputs, settings.concurrency, !settings.transfers)?;
        let mut options = schedule::Options::default();
        options.policy.largest = settings.largest_batch;
        options.policy.when_full = WhenFull::Block;
        let made = session.insert(Session::new(std::slice::from_ref(engine), &options)?);
        let workers = requesters.into_iter().map(|requester| Asking { session: made, requester }).collect();
        measure(workers, settings)?
    } else if is_on_gpu {
        let workers = (0..settings.streams).map(|_| OnGpu::new(engine, &inputs, settings));
        measure(workers.collect::<Result<Vec<_>>>()?, settings)?
    } else {
        let workers = (0..settings.streams).map(|_| Rig::new(engine, &inputs).map(OnCpu));
        measure(workers.collect::<Result<Vec<_>>>()?, settings)?
    };
    Ok(report(&**engine, &inputs, settings, session.as_ref(), &samples, wall))
}

/// A context on the CPU.
struct OnCpu(Rig);

impl Worker for OnCpu {
    fn run(&mut self) -> Result<Option<Sample>> {
        let begun = Instant::now();
        self.0.enqueue()?;
        Ok(Some(Sample { latency: begun.elapsed(), on_device: None }))
    }
}

/// A thread that asks a session.
struct Asking<'a> {
    session: &'a Session,
    requester: Requester,
}

impl Worker for Asking<'_> {
    fn run(&mut self) -> Result<Option<Sample>> {
        let begun = Instant::now();
        let (inputs, outputs) = self.requester.tensors();
        self.session.run(Submission {
            inputs,
            outputs,
            priority: 0,
            timeout: None,
            after: Dependency::Now,
            callback: None,
            copied_by_session: false,
        })?;
        Ok(Some(Sample { latency: begun.elapsed(), on_device: None }))
    }
}

/// A context and its stream, with two runs under way.
struct OnGpu {
    rig: Rig,
    graph: Option<Graph>,
    turns: Option<Arc<Turns>>,
    transfers: bool,
    /// Before the copies to the device, behind them, behind the run, and behind the copies to the host.
    marks: [[Event; 4]; 2],
    /// The run under way: its marks, and how long the host took to give it.
    under_way: Option<(usize, Duration)>,
    next: usize,
}

impl OnGpu {
    fn new(engine: &Arc<dyn Engine>, inputs: &[Input], settings: &Settings) -> Result<Self> {
        let rig = Rig::new(engine, inputs)?;
        let no_device = || Error::new(Code::Internal, "a plan without a device");
        let (stream, device) = rig.stream.as_ref().zip(engine.device()).ok_or_else(no_device)?;
        let graph = match settings.cuda_graph {
            false => None,
            true if !Graph::are_available() => {
                return Err(Error::new(Code::Unsupported, "this CUDA driver has no graphs; they came with CUDA 11.4"));
            }
            true => {
                // What TensorRT does with shapes that are new is no part of a graph.
                rig.enqueue()?;
                rig.synchronize()?;
                Some(Graph::capture(stream, || rig.enqueue())?.0)
            }
        };
        let event = || Event::with_time(device);
        let marks = || -> Result<_> { Ok([event()?, event()?, event()?, event()?]) };
        let marks = [marks()?, marks()?];
        Ok(Self {
            rig,
            graph,
            turns: engine.turns().cloned(),
            transfers: settings.transfers,
            marks,
            under_way: None,
            next: 0,
        })
    }

    /// Waits for the run under way.
    fn collect(&mut self) -> Result<Option<Sample>> {
        let Some((number, enqueue)) = self.under_way.take() else { return Ok(None) };
        let [begin, copied, computed, end] = &self.marks[number];
        end.synchronize()?;
        let [upload, compute, download] = [copied.since(begin)?, computed.since(copied)?, end.since(computed)?];
        let latency = upload + compute + download;
        Ok(Some(Sample { latency, on_device: Some([enqueue, upload, compute, download]) }))
    }
}

impl Worker for OnGpu {
    fn run(&mut self) -> Result<Option<Sample>> {
        let number = self.next;
        self.next = 1 - number;
        let Self { rig, graph, turns, marks, .. } = self;
        let Some(stream) = &rig.stream else { return Ok(None) };
        let [begin, copied, computed, end] = &marks[number];
        begin.record(stream)?;
        if self.transfers {
            rig.upload()?;
        }
        copied.record(stream)?;
        let begun = Instant::now();
        match graph {
            // SAFETY: the rig's memory outlives the stream's work.
            Some(graph) => Turns::take(turns.as_ref(), stream, || unsafe { graph.launch(stream) })??,
            None => rig.enqueue()?,
        }
        let enqueue = begun.elapsed();
        computed.record(stream)?;
        if self.transfers {
            rig.download()?;
        }
        end.record(stream)?;
        let sample = self.collect()?;
        self.under_way = Some((number, enqueue));
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Option<Sample>> {
        self.collect()
    }
}

/// The samples of all workers, side by side, and how long they took.
fn measure<W: Worker>(workers: Vec<W>, settings: &Settings) -> Result<(Vec<Sample>, Duration)> {
    let all_warm = Barrier::new(workers.len());
    let work = |mut worker: W| {
        let warm = catch(|| warm_up(&mut worker, settings.warm_up)).and_then(|warm| warm);
        // Also where that failed: the others wait.
        all_warm.wait();
        warm?;
        let (begun, mut samples) = (Instant::now(), Vec::new());
        for run in 0.. {
            if run >= settings.least_runs && begun.elapsed() >= settings.duration {
                break;
            }
            samples.extend(worker.run()?);
        }
        samples.extend(worker.finish()?);
        Ok((samples, begun.elapsed()))
    };
    let work = &work;
    let outcomes = thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut workers = workers.into_iter();
        // The barrier waits for all, so none works where one cannot be started: it is tried with nothing to do first.
        for _ in 0..workers.len() {
            let (give, take) = std::sync::mpsc::channel::<W>();
            let started = spawn_scoped(scope, "planrt-bench".to_owned(), move || take.recv().ok().map(work));
            let thread = started.map_err(|error| {
                Error::new(Code::OutOfMemory, "a thread for the measurement could not be started")
                    .with_detail(error.to_string())
            })?;
            threads.push((thread, give));
        }
        for (_, give) in &threads {
            if let Some(worker) = workers.next() {
                let _ = give.send(worker);
            }
        }
        let ended = |(thread, _): (thread::ScopedJoinHandle<'_, Option<Result<_>>>, _)| {
            let lost = || Error::new(Code::Internal, "a thread of the measurement ended early");
            thread.join().ok().flatten().ok_or_else(lost)?
        };
        threads.into_iter().map(ended).collect::<Result<Vec<(Vec<Sample>, Duration)>>>()
    })?;
    let wall = outcomes.iter().map(|(_, wall)| *wall).max().unwrap_or_default();
    Ok((outcomes.into_iter().flat_map(|(samples, _)| samples).collect(), wall))
}

/// At least one run, which may make plans and take memory.
fn warm_up(worker: &mut impl Worker, duration: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        worker.run()?;
        if begun.elapsed() >= duration {
            return worker.finish().map(|_| ());
        }
    }
}

fn report(
    engine: &dyn Engine,
    inputs: &[Input],
    settings: &Settings,
    session: Option<&Session>,
    samples: &[Sample],
    wall: Duration,
) -> Findings {
    let description = engine.description();
    let percentiles = &settings.percentiles;
    let seconds = wall.as_secs_f64();
    let throughput = if seconds > 0.0 { samples.len() as f64 / seconds } else { 0.0 };
    let latency = Times::new(samples.iter().map(|sample| sample.latency));
    let parts = PARTS.iter().enumerate().filter_map(|(i, (key, name))| {
        let times: Option<Vec<_>> = samples.iter().map(|sample| sample.on_device.map(|parts| parts[i])).collect();
        times.filter(|times| !times.is_empty()).map(|times| (i, *key, *name, Times::new(times)))
    });
    let parts: Vec<_> = parts.collect();

    let device = description.device_name.to_string_lossy();
    let shape = |input: &Input| {
        let extents: Vec<_> = input.shape.iter().map(ToString::to_string).collect();
        (description.tensors[input.tensor].name(), extents.join("x"))
    };
    let named: Vec<_> = inputs.iter().map(shape).map(|(name, shape)| format!("{name}:{shape}")).collect();
    let how = match session {
        Some(_) => format!("a session, {} threads that ask", settings.concurrency),
        None => {
            let (several, graphs) = (settings.streams > 1, settings.cuda_graph);
            let (s, graphs) = (if several { "s" } else { "" }, if graphs { ", CUDA graphs" } else { "" });
            format!("{} stream{s}{graphs}", settings.streams)
        }
    };
    let mut text = format!("{} on {device}: {how}\n\n", named.join(","));
    text += &format!("Throughput: {throughput:.3} qps\nLatency: {}\n", latency.text(percentiles));
    for (_, _, name, times) in &parts {
        text += &format!("{name}: {}\n", times.text(percentiles));
    }
    text += &format!("Total Host Walltime: {seconds:.5} s\n");
    if let Some((.., times)) = parts.iter().find(|(i, ..)| *i == COMPUTE) {
        text += &format!("Total GPU Compute Time: {:.5} s\n", times.sum() / 1e3);
    }

    let mut json = Map::new();
    json.insert("device".to_owned(), json!(device));
    json.insert(
        "inputs".to_owned(),
        inputs
            .iter()
            .map(|input| (description.tensors[input.tensor].name().to_owned(), json!(input.shape.to_vec())))
            .collect::<Map<_, _>>()
            .into(),
    );
    json.insert("transfers".to_owned(), json!(settings.transfers && engine.device().is_some()));
    match session {
        Some(session) => {
            let report = session.report();
            let batches: u64 = report.batches.iter().sum();
            let mean = if batches > 0 { report.items as f64 / batches as f64 } else { 0.0 };
            text += &format!("Batches: {mean:.2} items each, on the mean\n");
            json.insert("concurrency".to_owned(), json!(settings.concurrency));
            json.insert("mean_batch_items".to_owned(), json!(mean));
            json.insert("session".to_owned(), session.describe());
        }
        None => {
            json.insert("streams".to_owned(), json!(settings.streams));
            json.insert("cuda_graph".to_owned(), json!(settings.cuda_graph));
        }
    }
    json.insert("runs".to_owned(), json!(samples.len()));
    json.insert("seconds".to_owned(), json!(seconds));
    json.insert("throughput_qps".to_owned(), json!(throughput));
    json.insert("latency".to_owned(), latency.json(percentiles));
    for (_, key, _, times) in &parts {
        json.insert((*key).to_owned(), times.json(percentiles));
    }
    let sum = |part| parts.iter().find(|(i, ..)| *i == part).map_or(0.0, |(.., times)| times.sum());
    let is_enqueue_bound = sum(ENQUEUE) > sum(COMPUTE) && !settings.cuda_graph;
    if !parts.is_empty() {
        json.insert("enqueue_bound".to_owned(), json!(is_enqueue_bound));
    }
    if is_enqueue_bound {
        text += "The host takes longer to give a run than the GPU to compute it: CUDA graphs may help, or larger batches.\n";
    }
    Findings { json: Value::Object(json), text: printable(&text).into_owned() }
}
