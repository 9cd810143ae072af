//! A segmenter: one model, or several that are averaged, and perhaps a small one that says where to look; and the jobs that are under
//! way.

use super::coarse;
use super::description;
use super::ensemble;
use super::job::{Budget, Job, Order, Shared, Treatment, Volume};
use super::joining::join;
use super::labels::LabelMap;
use super::lent::{Lent, LentMut};
use super::meter::Meter;
use super::model::{Memory, Model, Share, Terms, ways};
use super::network::Network;
use super::place::Written;
use super::result::Outputs;
use super::scores::{Going, Scores};
use super::shared::Elements;
use crate::backend::Engine;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::panic::catch;
use crate::process::stack::with_room;
use crate::process::{memory as host, thread};
use crate::schedule::{self, Delay, Session, WhenFull};
use crate::sync::Mutex;
use crate::tensor::ElementType;
use crate::volume::grid::{Box3, Layout, voxels};
use crate::volume::head::Folded;
use crate::volume::recipe::{Interpolation, Recipe, Window};
use crate::volume::work::allocate;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// In that time more tiles come than a batch takes, as long as there are any: so the first batches are full ones, too.
const TILE_DELAY: Duration = Duration::from_micros(100);

/// How a segmenter is made.
#[derive(Clone, Default)]
pub struct Options {
    /// Of the sessions that run the tiles.
    pub session: Option<schedule::Options>,
    /// What the recipe says otherwise.
    pub overlap: Option<f64>,
    pub mirrored: Option<[bool; 3]>,
    pub output: Option<String>,
    pub largest_component: Option<bool>,
    pub window: Option<Vec<f32>>,
    /// Threads for what is not the network; 0 for one a core.
    pub threads: usize,
    /// What a model's folder leaves open.
    pub description: description::Options,
    pub coarse: Option<Coarse>,
}

/// A segmenter that says where another is to look: where it has found something, and so many millimetres around.
#[derive(Clone)]
pub struct Coarse {
    chain: Arc<Chain>,
    margin_mm: f64,
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

/// What a volume takes at most, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// On the host, and the smallest budget of these.
    pub memory: u64,
    pub least_memory: u64,
    /// On the GPU, and the smallest budget of that.
    pub device_memory: u64,
    pub least_device_memory: u64,
}

/// Any thread may use it, several at once.
pub struct Segmenter {
    chain: Arc<Chain>,
    jobs: Mutex<Jobs>,
}

/// The models that a volume goes through.
struct Chain {
    /// Averaged where there are several.
    models: Vec<Arc<Model>>,
    coarse: Option<Coarse>,
}

#[derive(Default)]
struct Jobs {
    closed: bool,
    running: Vec<(Arc<Shared>, JoinHandle<()>)>,
}

impl Segmenter {
    /// One over an engine for each fold, with sessions of its own.
    pub fn new(engines: &[Arc<dyn Engine>], recipe: Recipe, options: &Options) -> Result<Self> {
        let mut session_options = options.session.clone().unwrap_or_else(|| {
            let mut session = schedule::Options::default();
            session.policy.when_full = WhenFull::Block;
            session.policy.delay = Delay::Fixed(TILE_DELAY);
            session
        });
        // Of tiles.
        session_options.instance_group.is_stream = true;
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
        let tiling = &mut recipe.tiling;
        tiling.overlap = options.overlap.unwrap_or(tiling.overlap);
        tiling.mirrored = options.mirrored.unwrap_or(tiling.mirrored);
        if let Some(window) = &options.window {
            tiling.window = Window::Weights(window.clone());
        }
        let decision = &mut recipe.decision;
        decision.largest_component = options.largest_component.unwrap_or(decision.largest_component);
        if decision.before_resampling
            && let Some(resampling) = &mut recipe.resampling
        {
            // There is nothing between two labels.
            resampling.result = Interpolation::Nearest;
        }
        let folds: Vec<_> = folds.collect();
        let folded = Folded::of_all(folds.iter().map(|(engine, _)| engine.folded()))?;
        let mut output = options.output.as_ref().or(recipe.output.as_ref());
        if let Some(folded) = &folded {
            output = Some(folded.output(output)?);
        }
        let network = |(engine, session)| {
            Network::new(engine, session, recipe.channels, recipe.tiling.patch, output.map(String::as_str))
        };
        let networks = folds.into_iter().map(network).collect::<Result<Vec<_>>>()?;
        let model = Model::new(recipe, networks, folded.map(|folded| folded.head), options.threads)?;
        Ok(Self::of(vec![Arc::new(model)], options.coarse.clone()))
    }

    /// One that averages the probabilities of several.
    pub fn ensemble(segmenters: &[&Self], options: &Options) -> Result<Self> {
        if segmenters.iter().any(|segmenter| segmenter.chain.coarse.is_some()) {
            let message = "a segmenter of the ensemble has a coarse one of its own: give that to the ensemble";
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let models: Vec<_> = segmenters.iter().flat_map(|segmenter| segmenter.chain.models.iter().cloned()).collect();
        ensemble::check(&models)?;
        Ok(Self::of(models, options.coarse.clone()))
    }

    fn of(models: Vec<Arc<Model>>, coarse: Option<Coarse>) -> Self {
        Self { chain: Arc::new(Chain { models, coarse }), jobs: Mutex::default() }
    }

    /// As another's coarse one, which keeps what it needs of it.
    pub fn as_coarse(&self, margin_mm: f64) -> Result<Coarse> {
        if !(margin_mm >= 0.0 && margin_mm.is_finite()) {
            let message = format!("a margin of {margin_mm} mm; it is 0 or above");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        Ok(Coarse { chain: self.chain.clone(), margin_mm })
    }

    /// The logs that tell what is done with it, by models that say where to look, too.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        let chains =
            std::iter::successors(Some(&self.chain), |chain| chain.coarse.as_ref().map(|coarse| &coarse.chain));
        chains.flat_map(|chain| &chain.models).flat_map(|model| model.logs().cloned()).collect()
    }

    /// What its model takes and gives.
    pub fn info(&self) -> Info {
        let model = self.chain.first();
        Info {
            channels: model.recipe.channels,
            score_channels: model.channels(),
            largest_label: model.recipe.decision.largest_label(),
            patch: model.recipe.tiling.patch,
        }
    }

    /// What a job takes for a volume within a budget; `copies` are bytes of what is on a device.
    pub fn estimate(
        &self,
        volume: &Volume,
        region: Option<&Box3>,
        scores: Option<Going>,
        copies: u64,
        budget: Budget,
    ) -> Result<Estimate> {
        let volume = region.map_or_else(|| Ok(volume.clone()), |region| volume.part(region))?;
        let plan = self.chain.plan(&volume, scores, copies, budget)?;
        let (least_memory, least_device_memory) = plan.least;
        let Plan { memory, device_memory, .. } = plan;
        Ok(Estimate { memory, least_memory, device_memory, least_device_memory })
    }

    /// Takes a volume in, and hands its job out before it can be answered. What cannot be done is refused before anything is
    /// computed.
    pub fn submit(&self, order: Box<Order>, hand_out: impl FnOnce(Job)) -> Result<()> {
        let deadline = order.treatment.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let accepted = with_room(|| self.look_over(order))?;
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
            let (chain, shared) = (self.chain.clone(), shared.clone());
            move || {
                if begun.recv().is_ok() {
                    let Accepted { taken, plan } = *accepted;
                    chain.work(taken, &plan, deadline, &shared);
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

    /// Holds an order against the models and the memory that there is.
    fn look_over(&self, order: Box<Order>) -> Result<Box<Accepted>> {
        let Order { mut memory, volume, labels, scores, region, treatment } = *order;
        let first = self.chain.first();
        labels.check(first.recipe.decision.largest_label())?;
        let scores = scores.map(|asked| self.chain.scores(asked)).transpose()?;
        // Before anything begins: all voxels lie within the memory, and a device's is one that the sessions run on.
        volume.scan.within(memory.size())?;
        memory.find("the volume", first.devices())?;
        apart(&volume.elements(memory.address()), &labels, scores.as_ref())?;
        let mut outputs = Outputs { labels: Some(labels), scores };
        let copies = memory.copy_bytes().saturating_add(outputs.find(|| first.devices())?);
        let part = region.as_ref().map_or_else(|| Ok(volume.clone()), |region| volume.part(region))?;
        let plan = self.chain.plan(&part, outputs.scores.as_ref().map(Scores::going), copies, treatment.budget)?;
        host::require("the segmentation", plan.memory)?;
        let taken = Box::new(Taken { memory, volume, region, outputs, treatment });
        Ok(Box::new(Accepted { taken, plan }))
    }

    /// Segments a volume by itself, and then so many times at once, at priorities of their own: an error where a mask is another one.
    ///
    /// `memory` is the volume's for each of them, `lend` lends a mask until its job is answered.
    pub fn check_company(
        &self,
        volume: &Volume,
        region: Option<Box3>,
        company: usize,
        memory: impl Fn() -> Result<Lent>,
        lend: impl Fn(&mut [u8]) -> LentMut,
        treatment: impl Fn() -> Treatment,
    ) -> Result<()> {
        let wide = self.info().largest_label > u8::MAX.into();
        let count = voxels(volume.grid.extents)?;
        let (element_type, bytes) =
            if wide { (ElementType::Uint16, count.saturating_mul(2)) } else { (ElementType::Uint8, count) };
        let mut masks: Vec<Vec<u8>> = Vec::new();
        for _ in 0..=company {
            masks.push(allocate("masks that are compared", bytes)?);
        }
        let run = |mask: &mut Vec<u8>, priority: i32| -> Result<Job> {
            let size = element_type.size() as isize;
            let dense = Layout::dense(volume.grid.extents);
            let layout = Layout { strides: dense.strides.map(|stride| stride * size), ..dense };
            let labels = LabelMap::new(lend(mask), element_type, layout)?;
            let treatment = Treatment { priority, ..treatment() };
            let order =
                Box::new(Order { memory: memory()?, volume: volume.clone(), labels, scores: None, region, treatment });
            let mut job = None;
            self.submit(order, |handed| job = Some(handed))?;
            job.ok_or_else(|| Error::new(Code::Internal, "a job was taken in and not handed out; please report this"))
        };
        // Whatever happens, all of them are over before their masks go.
        let mut under_way = Vec::new();
        let finish = |jobs: Vec<Result<Job>>| {
            let outcomes: Vec<_> =
                jobs.into_iter().map(|job| job.and_then(|job| job.wait(None).unwrap_or(Ok(())))).collect();
            outcomes.into_iter().collect::<Result<Vec<()>>>()
        };
        let Some((alone, others)) = masks.split_first_mut() else { return Ok(()) };
        finish(vec![run(alone, 0)])?;
        under_way.extend(others.iter_mut().enumerate().map(|(i, mask)| run(mask, (i % 3) as i32)));
        finish(under_way)?;
        for (number, mask) in others.iter().enumerate() {
            let Some(at) = alone.iter().zip(mask).position(|(a, b)| a != b) else { continue };
            let [_, height, width] = volume.grid.extents;
            let voxel = at / element_type.size();
            return Err(Error::new(
                Code::SelfTest,
                format!(
                    "mask {} of {company} at once differs from the one that was made alone, first at z {}, y {}, x {}",
                    number + 1,
                    voxel / (height * width),
                    voxel / width % height,
                    voxel % width
                ),
            ));
        }
        Ok(())
    }

    /// Ends it: jobs that run are ended early, and then nothing of it is at work any more, but for a job whose callback this is called
    /// from, or waits for it.
    pub fn close(&self) {
        let running = {
            let mut jobs = self.jobs.lock();
            jobs.closed = true;
            std::mem::take(&mut jobs.running)
        };
        running.iter().for_each(|(job, _)| job.end(Code::ShutDown));
        running.into_iter().for_each(|(_, thread)| join(thread));
    }
}

impl Drop for Segmenter {
    fn drop(&mut self) {
        self.close();
    }
}

/// An error where what is written shares memory with something else.
fn apart(volume: &Elements, labels: &LabelMap, scores: Option<&Scores>) -> Result<()> {
    let refused = |what: &str| {
        let message = format!("{what} share memory, while one of them is written: give each its own");
        Err(Error::new(Code::InvalidArgument, message))
    };
    let labels = labels.elements();
    if labels.shares_with(volume) {
        return refused("the label map and the volume");
    }
    match scores.and_then(Scores::elements) {
        Some(scores) if scores.shares_with(volume) => refused("the score map and the volume"),
        Some(scores) if scores.shares_with(&labels) => refused("the score map and the label map"),
        _ => Ok(()),
    }
}

/// An order that was held against the models and the memory.
struct Accepted {
    taken: Box<Taken>,
    plan: Plan,
}

/// A volume that was taken in.
struct Taken {
    memory: Lent,
    volume: Volume,
    region: Option<Box3>,
    outputs: Outputs,
    treatment: Treatment,
}

/// How a volume is worked on.
struct Plan {
    /// Of each model.
    shares: Vec<Share>,
    coarse: Option<Box<Plan>>,
    /// Bytes that it takes at most, and on the GPU.
    memory: u64,
    device_memory: u64,
    /// The smallest budgets of both.
    least: (u64, u64),
}

/// What a volume takes on its way through a chain.
struct Needs {
    models: Vec<Memory>,
    /// Beside the models', where they are averaged.
    averaging: u64,
    /// Those of the coarse one, and its labels.
    coarse: Option<(Box<Needs>, u64)>,
    /// Of what is on a device.
    copies: u64,
}

impl Needs {
    /// Bytes with so many passes of each model under way, where strips were halved so often.
    fn with(&self, share: usize, halvings: usize) -> u64 {
        let models = self.models.iter().map(|memory| memory.with(memory.passes(share), halvings));
        let own = models.fold(self.averaging, u64::saturating_add);
        let coarse =
            self.coarse.as_ref().map_or(0, |(needs, labels)| needs.with(share, halvings).saturating_add(*labels));
        own.max(coarse).saturating_add(self.copies)
    }

    /// The same of device memory.
    fn on_device(&self, share: usize, halvings: usize) -> u64 {
        let models = self.models.iter().map(|memory| memory.on_device(memory.passes(share), halvings));
        let own = models.fold(0, u64::saturating_add);
        own.max(self.coarse.as_ref().map_or(0, |(needs, _)| needs.on_device(share, halvings)))
    }

    /// Whether the GPU has room for that.
    fn has_room(&self, share: usize, halvings: usize) -> bool {
        self.models.iter().all(|memory| memory.has_room(memory.passes(share), halvings))
            && self.coarse.as_ref().is_none_or(|(needs, _)| needs.has_room(share, halvings))
    }

    fn most_passes(&self) -> usize {
        let own = self.models.iter().map(Memory::most_passes).max().unwrap_or(1);
        own.max(self.coarse.as_ref().map_or(1, |(needs, _)| needs.most_passes()))
    }

    fn most_halvings(&self) -> usize {
        let own = self.models.iter().map(Memory::most_halvings).max().unwrap_or(0);
        own.max(self.coarse.as_ref().map_or(0, |(needs, _)| needs.most_halvings()))
    }

    /// The smallest number of bytes that it can do with, on the host and of device memory.
    fn least(&self) -> (u64, u64) {
        let all = || 0..=self.most_halvings();
        let (host, device) =
            (all().map(|halvings| self.with(1, halvings)), all().map(|halvings| self.on_device(1, halvings)));
        (host.min().unwrap_or(0), device.min().unwrap_or(0))
    }

    /// `budget` is of the host's memory.
    fn plan(&self, share: usize, halvings: usize, budget: Option<u64>) -> Plan {
        let memory = self.with(share, halvings);
        // What the budget leaves beside that is for all models alike.
        let spare = budget.map(|budget| budget.saturating_sub(memory) / self.models.len().max(1) as u64);
        let share_of = |memory: &Memory| {
            let own = memory.with(memory.passes(share), halvings);
            memory.share(share, halvings, spare.map(|spare| own.saturating_add(spare)))
        };
        let coarse = |(needs, labels): &(Box<Self>, u64)| {
            let beside = labels.saturating_add(self.copies);
            Box::new(needs.plan(share, halvings, budget.map(|budget| budget.saturating_sub(beside))))
        };
        Plan {
            shares: self.models.iter().map(share_of).collect(),
            coarse: self.coarse.as_ref().map(coarse),
            memory,
            device_memory: self.on_device(share, halvings),
            least: self.least(),
        }
    }
}

impl Chain {
    /// The one whose decision counts.
    fn first(&self) -> &Model {
        // There is at least one, by how it is made.
        &self.models[0]
    }

    fn scores(&self, asked: super::ScoresAsked) -> Result<Scores> {
        let first = self.first();
        if self.models.len() > 1 && !asked.probabilities {
            let message = "an ensemble averages probabilities: there are no values before the activation";
            return Err(Error::new(Code::Unsupported, message));
        }
        Scores::new(asked, first.channels(), &first.recipe.decision, first.recipe.resampling.is_some())
    }

    fn needs(&self, volume: &Volume, scores: Option<Going>, copies: u64) -> Result<Needs> {
        let several = self.models.len() > 1;
        let models = self.models.iter().map(|model| match several {
            // A model's planes are its scores.
            true => model.memory(volume, None, self.models.len()),
            false => model.memory(volume, scores, 1),
        });
        let coarse = match &self.coarse {
            None => None,
            Some(Coarse { chain, .. }) => {
                let labels = (voxels(volume.grid.extents)? as u64).saturating_mul(chain.label_bytes());
                Some((Box::new(chain.needs(volume, None, 0)?), labels))
            }
        };
        Ok(Needs {
            models: models.collect::<Result<_>>()?,
            averaging: if several { ensemble::memory(&self.models, volume) } else { 0 },
            coarse,
            copies,
        })
    }

    fn label_bytes(&self) -> u64 {
        if self.first().recipe.decision.largest_label() > u8::MAX.into() { 2 } else { 1 }
    }

    fn plan(&self, volume: &Volume, scores: Option<Going>, copies: u64, budget: Budget) -> Result<Plan> {
        let needs = self.needs(volume, scores, copies)?;
        let Budget { memory, device_memory } = budget;
        let fits = |&(share, halvings): &(usize, usize)| {
            memory.is_none_or(|budget| needs.with(share, halvings) <= budget)
                && device_memory.is_none_or(|budget| needs.on_device(share, halvings) <= budget)
                && needs.has_room(share, halvings)
        };
        if let Some((share, halvings)) = ways(needs.most_passes(), needs.most_halvings()).find(fits) {
            return Ok(needs.plan(share, halvings, memory));
        }
        let (least, least_device) = needs.least();
        let (what, least, budget) = match memory {
            Some(budget) if budget < least => ("host memory", least, budget),
            _ => ("device memory", least_device, device_memory.unwrap_or(0)),
        };
        let message = format!(
            "the segmentation takes {least} bytes of {what} at least, and the budget is {budget}: give it as much, or segment a region of the \
             volume"
        );
        Err(Error::new(Code::OutOfMemory, message))
    }

    /// The whole work of a job's thread.
    fn work(&self, mut taken: Box<Taken>, plan: &Plan, deadline: Option<Instant>, job: &Shared) {
        job.begin();
        let callback = taken.treatment.callback.take();
        let outcome = catch(|| self.segment(taken, plan, deadline, job)).and_then(|outcome| outcome);
        let outcome = job.answer(outcome);
        if let Some(callback) = callback {
            // There is nobody to tell of a panic in it.
            let _ = catch(|| callback(&outcome));
        }
    }

    fn segment(&self, taken: Box<Taken>, plan: &Plan, deadline: Option<Instant>, job: &Shared) -> Result<()> {
        let Taken { mut memory, volume, mut outputs, region, treatment } = *taken;
        let Treatment { priority, nan_allowed, progress, .. } = treatment;
        let terms = Terms { job, priority, deadline, nan_allowed };
        let (whole, voxel_ml) = (volume.grid.extents, volume.grid.voxel_ml());
        memory.fetch("the volume")?;
        outputs.fetch()?;
        let mut part = volume;
        if let Some(region) = region {
            outputs.clear();
            part = part.part(&region)?;
            outputs.cut(&region);
        }
        let mut meter = Meter::new(job, progress);
        let (mut outputs, mut counts) = self.run(memory.bytes(), part, outputs, plan, terms, &mut meter)?;
        outputs.store()?;
        // What was not worked on is background.
        let worked_on: u64 = counts.iter().sum();
        if let Some(background) = counts.first_mut() {
            *background += (voxels(whole)? as u64).saturating_sub(worked_on);
        }
        job.set_volumes_ml(counts.into_iter().map(|count| count as f64 * voxel_ml).collect());
        Ok(())
    }

    /// Brings a volume through the coarse model and the others: what was written, and how many voxels each label has of those that
    /// were worked on.
    fn run(
        &self,
        bytes: &[u8],
        mut volume: Volume,
        mut outputs: Outputs,
        plan: &Plan,
        terms: Terms,
        meter: &mut Meter,
    ) -> Result<(Outputs, Vec<u64>)> {
        if let (Some(Coarse { chain, margin_mm }), Some(plan)) = (&self.coarse, &plan.coarse) {
            outputs.clear();
            let mut labels = chain.labels(&volume)?;
            let own = Outputs { labels: Some(labels), scores: None };
            let Some(found) = chain.run(bytes, volume.clone(), own, plan, terms, meter)?.0.labels else {
                return Err(Error::new(Code::Internal, "the coarse labels are gone; please report this"));
            };
            labels = found;
            let Some(part) = coarse::found(&mut labels, &volume.grid, *margin_mm)? else {
                return Ok((outputs, vec![0]));
            };
            volume = volume.part(&part)?;
            outputs.cut(&part);
        }
        let Written { mut outputs, counts } = match (&self.models[..], &plan.shares[..]) {
            ([model], [share]) => {
                let sweep = meter.begin(1);
                model.sweep(bytes, &volume, outputs, *share, terms, |done, count| {
                    meter.tell(sweep, done, count);
                    Ok(())
                })?
            }
            (models, shares) => Written {
                outputs: ensemble::sweep(models, bytes, &volume, outputs, shares, terms, meter)?,
                counts: None,
            },
        };
        let counts = match (&mut outputs.labels, counts) {
            (_, Some(counts)) => counts,
            (Some(labels), None) => self.first().settle(labels, terms)?,
            (None, None) => Vec::new(),
        };
        Ok((outputs, counts))
    }

    /// A label map of its own for a volume.
    fn labels(&self, volume: &Volume) -> Result<LabelMap> {
        let size = self.label_bytes() as usize;
        let extents = volume.grid.extents;
        let memory = allocate("coarse labels", voxels(extents)?.saturating_mul(size))?;
        let dense = Layout::dense(extents);
        let layout = Layout { strides: dense.strides.map(|stride| stride * size as isize), ..dense };
        let element_type = if size == 1 { ElementType::Uint8 } else { ElementType::Uint16 };
        LabelMap::new(LentMut::owned(memory), element_type, layout)
    }
}
