//! One model of a segmenter: its folds, its recipe, and the way of a volume through them.

use super::device::{Gpu, OnDevice, Outline, Scanned, Target};
use super::job::{Shared, Volume};
use super::labels::LabelMap;
use super::network::Network;
use super::place::{OnHost, Place, Written};
use super::result::{Deciding, Outputs, Writer, settle};
use super::scores::Scores;
use super::stream::{self, Source, Stream};
use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::schedule::Session;
use crate::tensor::ElementType;
use crate::volume::head::Head;
use crate::volume::image::View;
use crate::volume::recipe::{Activation, Recipe, Tiling};
use crate::volume::sweep::Sweep;
use crate::volume::tiles::Tiles;
use crate::volume::window::weights;
use crate::volume::work::Work;
use crate::volume::{Back, Prepared, Scan, Surveyed, announce, survey};
use std::sync::Arc;
use std::time::Instant;

/// What passes under way take at most where nobody says how much: as many as fill a GPU's batches of large tiles with many
/// channels would take more than the rest.
const PASSES_BYTES: u64 = 1 << 30;

pub struct Model {
    pub recipe: Recipe,
    networks: Vec<Network>,
    /// What makes channels of what they give, if that is features.
    head: Option<Arc<Head>>,
    window: Arc<[f32]>,
    /// Where volumes are put together, if it is not the processor.
    gpu: Option<Gpu>,
    /// How many passes fill the sessions' batches.
    batches: usize,
    /// Threads for what is not the network.
    threads: usize,
}

/// How a job is run.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub job: &'a Shared,
    pub priority: i32,
    pub deadline: Option<Instant>,
    pub nan_allowed: bool,
}

/// The memory that a volume takes on its way through a model.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Of the scan on the model's grid.
    data: u64,
    /// Of what is made of tiles, swept in one strip, in two, in four and so on.
    sweeping: Vec<u64>,
    preparing: u64,
    keeping: u64,
    /// Of a stream with no pass under way, and of each pass.
    stream: (u64, u64),
    /// As many passes as are of use.
    most: usize,
    there: Option<There>,
}

/// The same where it is put together on a GPU.
#[derive(Clone, Copy, Debug)]
struct There {
    host: u64,
    /// Of device memory with no pass under way, and of each pass.
    device: (u64, u64),
}

/// How a volume goes through a model.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Passes under way at most.
    pub passes: usize,
    /// How often the strips that it is swept in are halved; on a GPU it is swept in one.
    pub halvings: usize,
    pub is_on_device: bool,
}

impl Memory {
    /// Bytes of the host's with so many passes under way, where strips were halved so often.
    pub fn with(&self, passes: usize, halvings: usize) -> u64 {
        if let Some(There { host, .. }) = self.there {
            return host;
        }
        let (fixed, pass) = self.stream;
        let stream = fixed.saturating_add(pass.saturating_mul(passes as u64));
        let sweeping = self.sweeping.get(halvings).or(self.sweeping.last()).copied().unwrap_or(0);
        self.data.saturating_add(sweeping.saturating_add(stream).max(self.keeping)).max(self.preparing)
    }

    /// How often strips can be halved.
    pub fn most_halvings(&self) -> usize {
        self.sweeping.len().saturating_sub(1)
    }

    /// The most passes that are of use, but `share` of them at most.
    pub fn passes(&self, share: usize) -> usize {
        self.most.min(share).max(1)
    }

    pub fn most_passes(&self) -> usize {
        self.most
    }

    pub fn share(&self, share: usize, halvings: usize) -> Share {
        Share { passes: self.passes(share), halvings, is_on_device: self.there.is_some() }
    }

    /// Bytes on the GPU.
    pub fn on_device(&self, passes: usize) -> u64 {
        self.there
            .map_or(0, |There { device: (fixed, pass), .. }| fixed.saturating_add(pass.saturating_mul(passes as u64)))
    }
}

impl Model {
    /// The window is made here, since it is of what the networks give.
    pub fn new(recipe: Recipe, networks: Vec<Network>, head: Option<Arc<Head>>, threads: usize) -> Result<Self> {
        let Some(first) = networks.first() else {
            return Err(Error::new(Code::InvalidArgument, "a segmenter needs at least one engine"));
        };
        if let Some(other) = networks.iter().find(|other| other.channels != first.channels) {
            let message =
                format!("the folds give {} and {} channels; they are one model", first.channels, other.channels);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        if networks.iter().any(|other| other.margin != first.margin) {
            let message = "the folds give maps of different extents; they are one model";
            return Err(Error::new(Code::InvalidArgument, message));
        }
        if let Some(head) = &head {
            fits(head, &recipe, first.channels)?;
        }
        recipe.decision.check(head.as_ref().map_or(first.channels, |head| head.channels))?;
        let Tiling { patch, window, .. } = &recipe.tiling;
        // Refuses what no volume could be tiled by.
        let given = Tiles::new(*patch, &recipe.tiling, first.margin)?.patch;
        let window = weights(window, given)?.into();
        let batches = networks.iter().map(|network| items_at_once(&network.session)).sum();
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        };
        let gpu = Gpu::of(&networks);
        Ok(Self { recipe, networks, head, window, gpu, batches, threads })
    }

    /// Channels that labels are decided by.
    pub fn channels(&self) -> usize {
        self.deciding().channels()
    }

    fn deciding(&self) -> Deciding<'_> {
        Deciding { decision: &self.recipe.decision, given: self.networks[0].channels, head: self.head.as_deref() }
    }

    /// Those that tell what its engines do.
    pub fn logs(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.networks.iter().filter_map(|network| network.session.engine().log())
    }

    /// The CUDA devices that they run on.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.networks[0].session.devices()
    }

    fn tiles(&self, extents: [usize; 3]) -> Result<Tiles> {
        Tiles::new(extents, &self.recipe.tiling, self.networks[0].margin)
    }

    pub fn work<'a>(&self, cancelled: &'a (dyn Fn() -> bool + Sync)) -> Work<'a> {
        Work { threads: self.threads, cancelled, progress: &|_| () }
    }

    /// What a volume takes, known without looking at its voxels; an error for one that cannot be segmented. `beside` is how many
    /// models there are at once, which share a GPU.
    pub fn memory(&self, volume: &Volume, scores: Option<&Scores>, beside: usize) -> Result<Memory> {
        let Recipe { decision, channels, .. } = &self.recipe;
        if volume.scan.channels != *channels {
            let message = format!("the scan has {} channels; the model takes {channels}", volume.scan.channels);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let announced = announce(&self.recipe, &volume.grid, volume.any_direction, self.threads)?;
        let tiles = self.tiles(announced.extents)?;
        let network = &self.networks[0];
        let by = self.deciding();
        let writer = Writer::memory(by, &announced.back, announced.extents, scores, self.threads);
        let of_strip = |Strip { tiles, back, extents }: Strip| {
            let writer = Writer::memory(by, &back, extents, scores, self.threads);
            Sweep::memory(&tiles, network.channels).saturating_add(writer)
        };
        let of_strips =
            |count: usize| strips(&tiles, &announced.back, count).into_iter().map(of_strip).max().unwrap_or(0);
        let rows = announced.back.extents()[1].min(MOST_STRIPS);
        let counts = std::iter::successors(Some(1), |count| Some(2 * count)).take_while(|count| *count <= rows);
        let stream = stream::memory(network, 0);
        let pass = stream::memory(network, 1).saturating_sub(stream);
        let affordable = usize::try_from(PASSES_BYTES / pass.max(1)).unwrap_or(usize::MAX);
        let keeping = if decision.largest_component { LabelMap::keeping_bytes(volume.grid.extents) } else { 0 };
        let outline = Outline {
            recipe: &self.recipe,
            scan: &volume.scan,
            announced: &announced,
            tiles: &tiles,
            network,
            head: self.head.as_deref(),
            writer,
            // A model's planes are its scores where several are averaged.
            has_scores: scores.is_some() || beside > 1,
        };
        if let Some((there, most)) = self.there(&outline, keeping, beside) {
            let there = Some(there);
            return Ok(Memory { data: 0, sweeping: vec![0], preparing: 0, keeping, stream: (0, 0), most, there });
        }
        Ok(Memory {
            data: announced.data_bytes,
            sweeping: counts.map(of_strips).collect(),
            preparing: announced.peak_bytes,
            keeping,
            stream: (stream, pass),
            most: affordable.min(2 * self.batches).max(1),
            there: None,
        })
    }

    /// What a volume takes on the GPU, and how many passes it has room for; none where there is none, or no room.
    fn there(&self, outline: &Outline, keeping: u64, beside: usize) -> Option<(There, usize)> {
        let gpu = self.gpu.as_ref()?;
        let free = match gpu.device().memory() {
            Ok((free, _)) => free as u64 / beside.max(1) as u64,
            Err(error) => {
                gpu.tell(error.message());
                return None;
            }
        };
        let needs = |passes: usize| gpu.needs(outline, passes);
        let Some(most) = (1..=2 * self.batches).rev().find(|passes| needs(*passes).device <= free) else {
            gpu.tell(&format!("it takes {} bytes of device memory at least, and {free} are free", needs(1).device));
            return None;
        };
        let (none, one) = (needs(0), needs(1));
        let host = one.host.max(keeping);
        Some((There { host, device: (none.device, one.device.saturating_sub(none.device)) }, most))
    }

    /// Brings a volume through the networks, and what they give to where it goes. `bytes` is the memory that the volume's
    /// description is about; `tell` hears of tiles that are done.
    pub fn sweep(
        &self,
        bytes: &[u8],
        volume: &Volume,
        outputs: Outputs,
        share: Share,
        terms: Terms,
        mut tell: impl FnMut(usize, usize) -> Result<()>,
    ) -> Result<Written> {
        let Terms { job, priority, deadline, nan_allowed } = terms;
        let recipe = &self.recipe;
        let cancelled = || job.check(deadline).is_err();
        let work = self.work(&cancelled);
        let in_words = |error: Error| match error.code() {
            Code::Cancelled => job.check(deadline).err().unwrap_or(error),
            _ => error,
        };
        let scan =
            Scan { grid: &volume.grid, view: View::new(bytes, &volume.scan)?, any_direction: volume.any_direction };
        let surveyed = survey(recipe, &scan, &work).map_err(in_words)?;
        let check = || job.check(deadline);
        let channels = self.networks[0].channels;
        let writer = |back: &Back, extents, outputs, is_first: bool| {
            let is_cleared = is_first && recipe.crop_to_nonzero;
            Writer::new(self.deciding(), back, extents, outputs, is_cleared, nan_allowed)
        };
        let run = Run { model: self, passes: share.passes, priority, deadline, job };
        let on_device =
            if share.is_on_device { self.begin(&surveyed, volume, &outputs, share.passes, &work) } else { None };
        let written = match on_device {
            Some(on_device) => {
                let on_device = on_device.map_err(in_words)?;
                drop(surveyed);
                let (tiles, back) = (on_device.tiles().clone(), on_device.back().clone());
                let target = match on_device.decides() {
                    true => Target::labels(outputs, recipe.crop_to_nonzero)?,
                    false => Target::Values(Box::new(writer(&back, tiles.extents, outputs, true)?)),
                };
                run.all(&tiles, on_device.into(target, nan_allowed, &work, &check), &mut tell)
            }
            None => {
                let Prepared { data, extents, back } = surveyed.prepare(recipe, &work).map_err(in_words)?;
                drop(surveyed);
                let halvings = share.halvings.min(MOST_STRIPS.ilog2() as usize);
                let strips = strips(&self.tiles(extents)?, &back, 1 << halvings);
                let count = strips.iter().map(|strip| strip.tiles.count()).sum();
                let mut before = 0;
                let mut written = Written { outputs, counts: None };
                for Strip { tiles, back, extents } in strips {
                    let place = OnHost {
                        tiles: &tiles,
                        volume: &data,
                        padding: recipe.tiling.padding,
                        channels: (recipe.channels, channels),
                        nan_allowed,
                        sweep: Sweep::new(tiles.clone(), channels, self.window.clone())?,
                        writer: writer(&back, extents, written.outputs, before == 0)?,
                        work: &work,
                        check: &check,
                    };
                    let mut tell = |done, _: usize| match (before, done) {
                        // It is where the last strip ended.
                        (1.., 0) => Ok(()),
                        _ => tell(before + done, count),
                    };
                    written = run.all(&tiles, place, &mut tell).map_err(in_words)?;
                    before += tiles.count();
                }
                Ok(written)
            }
        };
        written.map_err(in_words)
    }

    /// Brings a volume to the GPU; none where that cannot be done, which the log says.
    fn begin<'a>(
        &'a self,
        surveyed: &Surveyed<'a>,
        volume: &'a Volume,
        outputs: &Outputs,
        passes: usize,
        work: &Work,
    ) -> Option<Result<OnDevice<'a>>> {
        let gpu = self.gpu.as_ref()?;
        let begin = || {
            let labels = outputs.labels.as_ref().filter(|_| outputs.scores.is_none());
            let scanned = Scanned {
                recipe: &self.recipe,
                surveyed,
                tiles: self.tiles(surveyed.extents())?,
                scan: &volume.scan,
                networks: &self.networks,
                head: self.head.as_deref(),
                window: &self.window,
                labels: labels.map(|labels| labels.element_type() == ElementType::Uint16),
            };
            gpu.begin(scanned, passes, work)
        };
        match begin() {
            Err(error) if error.code() != Code::Cancelled => {
                gpu.tell(error.message());
                None
            }
            outcome => Some(outcome),
        }
    }

    /// What is done to labels when all of them are there; how many voxels each has.
    pub fn settle(&self, labels: &mut LabelMap, terms: Terms) -> Result<Vec<u64>> {
        let Terms { job, deadline, .. } = terms;
        let cancelled = || job.check(deadline).is_err();
        settle(&self.recipe.decision, labels, &self.work(&cancelled)).map_err(|error| match error.code() {
            Code::Cancelled => job.check(deadline).err().unwrap_or(error),
            _ => error,
        })
    }
}

/// An error where a head does not go with the networks, or the recipe does with channels what cannot be done with features.
fn fits(head: &Head, recipe: &Recipe, given: usize) -> Result<()> {
    let Head { features, .. } = *head;
    if features != given {
        let message = format!("the folder's head takes {features} features; the network gives {given}");
        return Err(Error::new(Code::InvalidModel, message));
    }
    let decision = &recipe.decision;
    let what = match decision.activation {
        Activation::None => return Ok(()),
        _ if decision.blend_probabilities => "blends",
        _ if decision.resample_probabilities && recipe.resampling.is_some() => "resamples",
        _ => return Ok(()),
    };
    let message = format!(
        "the recipe {what} probabilities, and the model's last convolution was folded out of it: that is the same only where what comes          before the activation is blended and resampled. Convert the model without --fold-head, or change the recipe"
    );
    Err(Error::new(Code::Unsupported, message))
}

/// More would be swept again and again for little.
const MOST_STRIPS: usize = 64;

/// Some rows of a volume along axis 1, swept by themselves.
struct Strip {
    tiles: Tiles,
    back: Back,
    /// Of the model's grid.
    extents: [usize; 3],
}

/// A volume in so many strips of the scan's rows: each voxel gets what it gets in one, since all tiles that have it are there, in the
/// same order; those across a seam are computed for both strips.
fn strips(tiles: &Tiles, back: &Back, count: usize) -> Vec<Strip> {
    let rows = back.extents()[1];
    let count = count.clamp(1, rows.max(1));
    let strip = |number: usize| {
        let (back, of_model) = back.strip(rows * number / count..rows * (number + 1) / count);
        let tiles = tiles.strip(of_model);
        Strip { extents: tiles.swept(), tiles, back }
    };
    (0..count).map(strip).collect()
}

/// A volume's tiles on their way.
struct Run<'a> {
    model: &'a Model,
    passes: usize,
    priority: i32,
    deadline: Option<Instant>,
    job: &'a Shared,
}

impl Run<'_> {
    /// Runs all tiles.
    fn all<P: Place>(
        &self,
        tiles: &Tiles,
        place: P,
        tell: &mut impl FnMut(usize, usize) -> Result<()>,
    ) -> Result<Written> {
        let count = tiles.count();
        tell(0, count)?;
        let source = Source {
            recipe: &self.model.recipe,
            networks: &self.model.networks,
            tiles,
            priority: self.priority,
            deadline: self.deadline,
            limit: self.passes,
        };
        let mut done = 0;
        let tiles_done = || {
            done += 1;
            tell(done, count)
        };
        Stream::new(source, place, self.job).run(tiles_done)?.finish()
    }
}

/// How many items all instances of a session take at once.
fn items_at_once(session: &Session) -> usize {
    session.optimal_batches().map(|batch| batch.clamp(1, 1024)).sum::<usize>().max(1)
}
