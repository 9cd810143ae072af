//! A segmenter: the networks of a model, one a fold, and the recipe of what is done around them.

use super::description;
use super::job::{Job, Order, Progress, Shared, Volume};
use super::labels::LabelMap;
use super::network::Network;
use super::result::Writer;
use super::scores::{ScoreMap, Scores};
use super::stream::{Source, Stream};
use crate::backend::Engine;
use crate::error::{Code, Error, Result};
use crate::panic::catch;
use crate::process::{memory as host, thread};
use crate::schedule::{self, Session, WhenFull};
use crate::sync::Mutex;
use crate::volume::image::View;
use crate::volume::recipe::{Interpolation, Recipe};
use crate::volume::sweep::Sweep;
use crate::volume::tiles::Tiles;
use crate::volume::window::weights;
use crate::volume::work::Work;
use crate::volume::{Prepared, Scan, announce, prepare};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

/// How a segmenter is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the sessions that run the tiles.
    pub session: Option<schedule::Options>,
    /// What the recipe says otherwise.
    pub overlap: Option<f64>,
    pub mirrored: Option<[bool; 3]>,
    /// Threads for what is not the network; 0 for one a core.
    pub threads: usize,
    /// What a model's folder leaves open.
    pub description: description::Options,
}

/// What a segmenter's model takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Of a volume.
    pub channels: usize,
    /// Of a score map.
    pub score_channels: usize,
    pub largest_label: u16,
    /// Voxels of a tile, on the model's grid and its axes.
    pub patch: [usize; 3],
}

/// Any thread may use it, several at once.
pub struct Segmenter {
    core: Arc<Core>,
    jobs: Mutex<Jobs>,
}

/// What jobs need.
struct Core {
    recipe: Recipe,
    networks: Vec<Network>,
    window: Arc<[f32]>,
    /// How many passes fill the sessions' batches.
    batches: usize,
    /// Threads for what is not the network.
    threads: usize,
}

#[derive(Default)]
struct Jobs {
    closed: bool,
    running: Vec<(Arc<Shared>, JoinHandle<()>)>,
}

/// What passes under way take at most where nobody says how much: as many as fill a GPU's batches of large tiles with many
/// channels would take more than the rest.
const PASSES_BYTES: u64 = 1 << 30;

impl Segmenter {
    /// One over an engine for each fold, with sessions of its own.
    pub fn new(engines: &[Arc<dyn Engine>], recipe: Recipe, options: &Options) -> Result<Self> {
        let session_options = options.session.clone().unwrap_or_else(|| {
            let mut session = schedule::Options::default();
            session.policy.when_full = WhenFull::Block;
            session
        });
        let session = |engine| Ok(Arc::new(Session::new(std::slice::from_ref(engine), &session_options)?));
        Self::over(engines.iter().map(|engine| (engine, move || session(engine))), recipe, options)
    }

    /// One over the application's own sessions, one for each fold.
    pub fn over_sessions(sessions: &[Arc<Session>], recipe: Recipe, options: &Options) -> Result<Self> {
        Self::over(sessions.iter().map(|session| (session.engine(), || Ok(session.clone()))), recipe, options)
    }

    fn over<'a>(
        folds: impl Iterator<Item = (&'a Arc<dyn Engine>, impl FnOnce() -> Result<Arc<Session>>)>,
        mut recipe: Recipe,
        options: &Options,
    ) -> Result<Self> {
        recipe.tiling.overlap = options.overlap.unwrap_or(recipe.tiling.overlap);
        recipe.tiling.mirrored = options.mirrored.unwrap_or(recipe.tiling.mirrored);
        if recipe.decision.before_resampling
            && let Some(resampling) = &mut recipe.resampling
        {
            // There is nothing between two labels.
            resampling.result = Interpolation::Nearest;
        }
        let patch = recipe.tiling.patch;
        // Refuses what no volume could be tiled by.
        Tiles::new(patch, &recipe.tiling)?;
        let window = weights(&recipe.tiling.window, patch)?.into();
        let (mut networks, mut batches) = (Vec::<Network>::new(), 0);
        for (engine, session) in folds {
            let network = Network::new(engine, session, recipe.channels, patch)?;
            batches += items_at_once(&network.session);
            if networks.first().is_some_and(|first| first.channels != network.channels) {
                let message = format!(
                    "the folds give {} and {} channels; they are one model",
                    networks[0].channels, network.channels
                );
                return Err(Error::new(Code::InvalidArgument, message));
            }
            networks.push(network);
        }
        let Some(first) = networks.first() else {
            return Err(Error::new(Code::InvalidArgument, "a segmenter needs at least one engine"));
        };
        recipe.decision.check(first.channels)?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        };
        let core = Core { recipe, networks, window, batches, threads };
        Ok(Self { core: Arc::new(core), jobs: Mutex::default() })
    }

    /// What its model takes and gives.
    pub fn info(&self) -> Info {
        let Recipe { channels, tiling, decision, .. } = &self.core.recipe;
        Info {
            channels: *channels,
            score_channels: self.core.networks[0].channels,
            largest_label: decision.largest_label(),
            patch: tiling.patch,
        }
    }

    /// The most bytes of host memory that a job takes for a volume within a budget, and the smallest budget.
    pub fn estimate(&self, volume: &Volume, budget: Option<u64>) -> Result<(u64, u64)> {
        let plan = self.core.plan(volume, budget)?;
        Ok((plan.memory, plan.least_memory))
    }

    /// Takes a volume in, and hands its job out before it can be answered. What cannot be done is refused before anything is
    /// computed.
    pub fn submit(&self, mut order: Order, hand_out: impl FnOnce(Job)) -> Result<()> {
        let deadline = order.treatment.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        order.labels.check(self.core.recipe.decision.largest_label())?;
        let plan = self.core.plan(&order.volume, order.treatment.memory_budget)?;
        let scores = order.scores.take().map(|map| self.core.scores(map)).transpose()?;
        // Before anything begins: all voxels lie within the memory.
        View::new(order.memory.bytes(), &order.volume.scan)?;
        host::require("the segmentation", plan.memory)?;
        let shared = Arc::new(Shared::default());
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Err(Error::new(Code::ShutDown, "the segmenter is being deleted"));
        }
        // What has ended is let go.
        jobs.running.retain(|(_, thread)| !thread.is_finished());
        // The thread begins when the job is handed out.
        let (begin, begun) = mpsc::channel();
        let work = {
            let (core, shared) = (self.core.clone(), shared.clone());
            move || {
                if begun.recv().is_ok() {
                    core.work(order, scores, &plan, deadline, &shared);
                }
            }
        };
        let thread = thread::spawn("planrt-segment".to_owned(), work).map_err(|error| {
            Error::new(Code::OutOfMemory, "a thread for the segmentation could not be started")
                .with_detail(error.to_string())
        })?;
        hand_out(Job(shared.clone()));
        jobs.running.push((shared, thread));
        // It waits for this.
        let _ = begin.send(());
        Ok(())
    }

    /// Ends it: jobs that run are ended early, and then nothing of it is at work any more. From inside a callback of a job's the
    /// others are.
    pub fn close(&self) {
        let running = {
            let mut jobs = self.jobs.lock();
            jobs.closed = true;
            std::mem::take(&mut jobs.running)
        };
        running.iter().for_each(|(job, _)| job.end(Code::ShutDown));
        let me = std::thread::current().id();
        for (_, thread) in running.into_iter().filter(|(_, thread)| thread.thread().id() != me) {
            // A panic in one of them has been answered.
            let _ = thread.join();
        }
    }
}

impl Drop for Segmenter {
    fn drop(&mut self) {
        self.close();
    }
}

/// How a volume is worked on.
struct Plan {
    /// Passes under way at most.
    limit: usize,
    /// Bytes that it takes at most, and with one pass at a time.
    memory: u64,
    least_memory: u64,
}

impl Core {
    fn plan(&self, volume: &Volume, budget: Option<u64>) -> Result<Plan> {
        let Recipe { tiling, decision, channels, .. } = &self.recipe;
        if volume.scan.channels != *channels {
            let message = format!("the scan has {} channels; the model takes {channels}", volume.scan.channels);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let announced = announce(&self.recipe, &volume.grid, volume.any_direction, self.threads)?;
        let tiles = Tiles::new(announced.extents, tiling)?;
        let network = &self.networks[0];
        let fixed = announced
            .data_bytes
            .saturating_add(Sweep::memory(&tiles, network.channels))
            .saturating_add(Writer::memory(decision, network.channels, &announced.back, announced.extents));
        let kept = if decision.largest_component { LabelMap::keeping_bytes(volume.grid.extents) } else { 0 };
        let with =
            |limit: usize| fixed.saturating_add(Stream::memory(network, limit).max(kept)).max(announced.peak_bytes);
        let fits = |limit: &usize| match budget {
            Some(budget) => with(*limit) <= budget,
            None => Stream::memory(network, *limit) <= PASSES_BYTES,
        };
        let limit = (1..=2 * self.batches).rev().find(fits).unwrap_or(1);
        match budget.filter(|budget| with(limit) > *budget) {
            None => Ok(Plan { limit, memory: with(limit), least_memory: with(1) }),
            Some(budget) => Err(Error::new(
                Code::OutOfMemory,
                format!(
                    "the segmentation takes {} bytes of host memory at least, and the budget is {budget}: give it as much, or cut \
                     the volume",
                    with(1)
                ),
            )),
        }
    }

    /// The whole work of a job's thread.
    fn work(&self, mut order: Order, scores: Option<Scores>, plan: &Plan, deadline: Option<Instant>, job: &Shared) {
        job.begin();
        let callback = order.treatment.callback.take();
        let outcome = catch(|| self.segment(order, scores, plan, deadline, job)).and_then(|outcome| outcome);
        job.answer(outcome.clone());
        if let Some(callback) = callback {
            // There is nobody to tell of a panic in it.
            let _ = catch(|| callback(&outcome));
        }
    }

    fn segment(
        &self,
        order: Order,
        scores: Option<Scores>,
        plan: &Plan,
        deadline: Option<Instant>,
        job: &Shared,
    ) -> Result<()> {
        let Order { memory, volume, labels, treatment, .. } = order;
        let recipe = &self.recipe;
        let work = Work { threads: self.threads, cancelled: &|| job.check(deadline).is_err(), progress: &|_| () };
        let in_words = |error: Error| match error.code() {
            Code::Cancelled => job.check(deadline).err().unwrap_or(error),
            _ => error,
        };
        let scan = Scan {
            grid: &volume.grid,
            view: View::new(memory.bytes(), &volume.scan)?,
            any_direction: volume.any_direction,
        };
        let Prepared { data, extents, back } = prepare(recipe, &scan, &work).map_err(in_words)?;
        let tiles = Tiles::new(extents, &recipe.tiling)?;
        let count = tiles.count();
        let mut progress = treatment.progress;
        tell(&mut progress, job, 0, count);
        let channels = self.networks[0].channels;
        let mut sweep = Sweep::new(tiles.clone(), channels, self.window.clone())?;
        let cropped = recipe.crop_to_nonzero;
        let mut writer =
            Writer::new(&recipe.decision, channels, &back, extents, (labels, scores), cropped, treatment.nan_allowed)?;
        let source = Source {
            recipe,
            networks: &self.networks,
            tiles: &tiles,
            volume: &data,
            priority: treatment.priority,
            deadline,
            nan_allowed: treatment.nan_allowed,
            limit: plan.limit,
        };
        let mut done = 0;
        Stream::new(source, job).run(|tile| {
            sweep.blend(tile, |z, values| {
                job.check(deadline)?;
                writer.push(z, values)
            })?;
            done += 1;
            tell(&mut progress, job, done, count);
            Ok(())
        })?;
        let counts = writer.finish(&work).map_err(in_words)?;
        let voxel_ml = volume.grid.voxel_ml();
        job.set_volumes_ml(counts.into_iter().map(|count| count as f64 * voxel_ml).collect());
        Ok(())
    }

    fn scores(&self, map: ScoreMap) -> Result<Scores> {
        Scores::new(map, self.networks[0].channels, &self.recipe.decision, self.recipe.resampling.is_some())
    }
}

/// Tells of tiles that are done, and has the job end where its owner says so.
fn tell(progress: &mut Option<Progress>, job: &Shared, done: usize, count: usize) {
    job.set_progress(done, count);
    if let Some(progress) = progress
        && !progress(done, count)
    {
        job.end(Code::Cancelled);
    }
}

/// How many items all instances of a session take at once.
fn items_at_once(session: &Session) -> usize {
    session.optimal_batches().map(|batch| batch.clamp(1, 1024)).sum::<usize>().max(1)
}
