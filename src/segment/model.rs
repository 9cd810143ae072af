//! One model of a segmenter: its folds, its recipe, and the way of a volume through them.

use super::device::{Brought, Gpu, Needs, OnDevice, Outline, Swept, Target};
use super::job::{Shared, Volume};
use super::labels::LabelMap;
use super::network::Network;
use super::place::{OnHost, Place, Written};
use super::result::{Deciding, Outputs, Writer, settle};
use super::scores::Going;
use super::stream::{self, Source, Stream};
use super::turn::Turn;
use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::process::memory as host;
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
use std::thread::Scope;
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
    /// Where volumes are put together, each on one of them; where there is none the processor does it.
    gpus: Vec<Gpu>,
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
#[derive(Clone, Debug)]
struct There {
    /// Of the host's, swept in one strip, in two, in four and so on.
    host: Vec<u64>,
    /// Of device memory, with no pass under way, and of each pass.
    device: Vec<(u64, u64)>,
    /// How much of it there is.
    free: u64,
    /// As many passes as are of use there.
    most: usize,
}

/// How a volume goes through a model.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Passes under way at most.
    pub passes: usize,
    /// How often the strips that it is swept in are halved.
    pub halvings: usize,
    /// Where a GPU is to put it together: what is done where that turns out to have no room for it.
    instead: Option<Instead>,
}

/// By the processor: passes, halvings and bytes; or how many bytes it takes at least, where the budget leaves less.
type Instead = std::result::Result<(usize, usize, u64), u64>;

/// Numbers of passes under way and of halvings, those first that take less time.
pub fn ways(passes: usize, halvings: usize) -> impl Iterator<Item = (usize, usize)> {
    // Fewer tiles at once cost less than tiles that are computed twice.
    (1..=passes).rev().map(|passes| (passes, 0)).chain((1..=halvings).map(|halvings| (1, halvings)))
}

impl Memory {
    /// Bytes of the host's with so many passes under way, where strips were halved so often.
    pub fn with(&self, passes: usize, halvings: usize) -> u64 {
        if let Some(There { host, .. }) = &self.there {
            return of_halvings(host, halvings);
        }
        self.here(passes, halvings)
    }

    /// The same where the processor puts it together.
    fn here(&self, passes: usize, halvings: usize) -> u64 {
        let (fixed, pass) = self.stream;
        let stream = fixed.saturating_add(pass.saturating_mul(passes as u64));
        let sweeping = of_halvings(&self.sweeping, halvings);
        self.data.saturating_add(sweeping.saturating_add(stream).max(self.keeping)).max(self.preparing)
    }

    /// How often strips can be halved.
    pub fn most_halvings(&self) -> usize {
        self.there.as_ref().map_or(self.sweeping.len(), |there| there.device.len()).saturating_sub(1)
    }

    /// The most passes that are of use, but `share` of them at most.
    pub fn passes(&self, share: usize) -> usize {
        self.most_passes().min(share).max(1)
    }

    pub fn most_passes(&self) -> usize {
        self.there.as_ref().map_or(self.most, |there| there.most)
    }

    /// `budget` is how many bytes of the host's it may take, if that is said.
    pub fn share(&self, share: usize, halvings: usize, budget: Option<u64>) -> Share {
        let instead = self.there.as_ref().map(|_| self.instead(budget));
        Share { passes: self.passes(share), halvings, instead }
    }

    fn instead(&self, budget: Option<u64>) -> Instead {
        let all = || {
            ways(self.most, self.sweeping.len().saturating_sub(1))
                .map(|(passes, halvings)| (passes, halvings, self.here(passes, halvings)))
        };
        let fitting = all().find(|(.., bytes)| budget.is_none_or(|budget| *bytes <= budget));
        fitting.ok_or_else(|| all().map(|(.., bytes)| bytes).min().unwrap_or(0))
    }

    /// Bytes on the GPU.
    pub fn on_device(&self, passes: usize, halvings: usize) -> u64 {
        let Some(There { device, .. }) = &self.there else { return 0 };
        let (fixed, pass) = of_halvings(device, halvings);
        fixed.saturating_add(pass.saturating_mul(passes as u64))
    }

    /// Whether the GPU has room for that.
    pub fn has_room(&self, passes: usize, halvings: usize) -> bool {
        self.there.as_ref().is_none_or(|there| self.on_device(passes, halvings) <= there.free)
    }
}

impl Share {
    /// By the processor, what was to go on a GPU.
    fn on_host(self) -> Result<Self> {
        match self.instead {
            None => Ok(self),
            Some(Ok((passes, halvings, bytes))) => {
                host::require("the segmentation", bytes)?;
                Ok(Self { passes, halvings, instead: None })
            }
            Some(Err(least)) => Err(Error::new(
                Code::OutOfMemory,
                format!(
                    "the GPU does not take the volume, as the log says, and to put it together on the host takes {least} bytes of memory at \
                     least, which is more than the budget leaves"
                ),
            )),
        }
    }
}

/// What goes with so many halvings, or else with the most.
fn of_halvings<T: Copy + Default>(all: &[T], halvings: usize) -> T {
    all.get(halvings).or(all.last()).copied().unwrap_or_default()
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
        let window: Arc<[f32]> = weights(window, given)?.into();
        let batches = networks.iter().map(|network| items_at_once(&network.session)).sum();
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        };
        let gpus = Gpu::all_of(&networks, &window);
        Ok(Self { recipe, networks, head, window, gpus, batches, threads })
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
    pub fn devices(&self) -> impl Iterator<Item = &Arc<Device>> + Clone {
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
    pub fn memory(&self, volume: &Volume, scores: Option<Going>, beside: usize) -> Result<Memory> {
        let Recipe { decision, channels, .. } = &self.recipe;
        if volume.scan.channels != *channels {
            let message = format!("the scan has {} channels; the model takes {channels}", volume.scan.channels);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let announced = announce(&self.recipe, &volume.grid, volume.any_direction, self.threads)?;
        let tiles = self.tiles(announced.extents)?;
        let network = &self.networks[0];
        let by = self.deciding();
        let rows = announced.back.extents()[1].min(MOST_STRIPS);
        let counts = std::iter::successors(Some(1), |count| Some(2 * count)).take_while(|count| *count <= rows);
        let swept_in: Vec<_> = counts.map(|count| strips(&tiles, &announced.back, count)).collect();
        let writer = |strip: &Strip| Writer::memory(by, &strip.back, strip.extents, scores, self.threads);
        let of_strip = |strip: &Strip| Sweep::memory(&strip.tiles, network.channels).saturating_add(writer(strip));
        let sweeping = swept_in.iter().map(|strips| strips.iter().map(of_strip).max().unwrap_or(0)).collect();
        let stream = stream::memory(network, 0);
        let pass = stream::memory(network, 1).saturating_sub(stream);
        let affordable = usize::try_from(PASSES_BYTES / pass.max(1)).unwrap_or(usize::MAX);
        let keeping = if decision.largest_component { LabelMap::keeping_bytes(volume.grid.extents) } else { 0 };
        let needs = |strip: &Strip, passes: usize| {
            let outline = Outline {
                recipe: &self.recipe,
                scan: &volume.scan,
                announced: &announced,
                tiles: &strip.tiles,
                back: &strip.back,
                network,
                head: self.head.as_deref(),
                writer: writer(strip),
                // A model's planes are its scores where several are averaged.
                has_scores: scores.is_some() || beside > 1,
            };
            outline.needs(passes)
        };
        Ok(Memory {
            data: announced.data_bytes,
            sweeping,
            preparing: announced.peak_bytes,
            keeping,
            stream: (stream, pass),
            most: affordable.min(2 * self.batches).max(1),
            there: self.there(&swept_in, needs, keeping, beside),
        })
    }

    /// What a volume takes on a GPU, of several on the one with the most room; none where there is none, or no room.
    fn there(
        &self,
        swept_in: &[Vec<Strip>],
        needs: impl Fn(&Strip, usize) -> Needs,
        keeping: u64,
        beside: usize,
    ) -> Option<There> {
        let room = |gpu| match Gpu::device(gpu).memory() {
            Ok((free, _)) => Some((gpu, free as u64 / beside.max(1) as u64)),
            Err(error) => {
                gpu.tell(error.message());
                None
            }
        };
        let (gpu, free) = self.gpus.iter().filter_map(room).max_by_key(|(_, free)| *free)?;
        // Each GPU has its share of the instances.
        let most = 2 * self.batches.div_ceil(self.gpus.len().max(1)).max(1);
        let mut there = There { host: Vec::new(), device: Vec::new(), free, most };
        for strips in swept_in {
            let most = |passes: usize| {
                let all = strips.iter().map(|strip| needs(strip, passes));
                all.fold(Needs { device: 0, host: 0 }, |most, needs| Needs {
                    device: most.device.max(needs.device),
                    host: most.host.max(needs.host),
                })
            };
            let (none, one) = (most(0), most(1));
            there.host.push(one.host.max(keeping));
            there.device.push((none.device, one.device.saturating_sub(none.device)));
        }
        let least = there.device.iter().map(|(fixed, pass)| fixed.saturating_add(*pass)).min().unwrap_or(0);
        if least > free {
            gpu.tell(&format!("it takes {least} bytes of device memory at least, and {free} are free"));
            return None;
        }
        Some(there)
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
        let cut = |share: &Share| {
            let halvings = share.halvings.min(MOST_STRIPS.ilog2() as usize);
            Ok::<_, Error>(strips(&self.tiles(surveyed.extents())?, &surveyed.back(), 1 << halvings))
        };
        let run = |share: &Share| Run { model: self, passes: share.passes, priority, deadline, job };
        let mut outputs = Some(outputs);
        // Who brings the volume to the GPU goes on while tiles are computed.
        let on_device = std::thread::scope(|scope| {
            let labels = outputs.as_ref().filter(|_| share.instead.is_some())?;
            let labels = label_type(labels);
            let strips = match cut(&share) {
                Ok(strips) => strips,
                Err(error) => return Some(Err(error)),
            };
            let begun = self.begin(scope, &surveyed, volume, labels, &strips, share.passes, &work)?;
            let outputs = outputs.take()?;
            let (brought, first, mut turn) = match begun {
                Ok(begun) => begun,
                Err(error) => return Some(Err(error)),
            };
            let (mut brought, mut first) = (Some(brought), Some(first));
            let mut left = strips.len();
            let mut tell = |done, count| {
                turn.left(self.voxels(&strips, count - done));
                tell(done, count)
            };
            Some(each_strip(&strips, outputs, &mut tell, |strip, outputs, is_first, tell| {
                left -= 1;
                // Who has the last strip frees the volume.
                let there = if left == 0 { brought.take() } else { brought.clone() };
                let on_device = match (first.take(), there) {
                    (Some(first), _) => first,
                    (None, Some(there)) => self.on_device(there, strip, labels, share.passes)?,
                    (None, None) => {
                        return Err(Error::new(Code::Internal, "the volume is gone; please report this"));
                    }
                };
                let target = match on_device.decides() {
                    true => Target::labels(outputs, is_first && recipe.crop_to_nonzero)?,
                    false => Target::Values(Box::new(writer(&strip.back, strip.extents, outputs, is_first)?)),
                };
                run(&share).all(&strip.tiles, on_device.into(target, nan_allowed, &work, &check), tell)
            }))
        });
        let written = match (on_device, outputs) {
            (Some(written), _) => written,
            (None, None) => Err(Error::new(Code::Internal, "there is nothing to write to; please report this")),
            (None, Some(outputs)) => {
                let share = share.on_host()?;
                let strips = cut(&share)?;
                let Prepared { data, .. } = surveyed.prepare(recipe, &work).map_err(in_words)?;
                drop(surveyed);
                each_strip(&strips, outputs, &mut tell, |strip, outputs, is_first, tell| {
                    let place = OnHost {
                        tiles: &strip.tiles,
                        volume: &data,
                        padding: recipe.tiling.padding,
                        channels: (recipe.channels, channels),
                        nan_allowed,
                        sweep: Sweep::new(strip.tiles.clone(), channels, self.window.clone())?,
                        writer: writer(&strip.back, strip.extents, outputs, is_first)?,
                        work: &work,
                        check: &check,
                    };
                    run(&share).all(&strip.tiles, place, tell)
                })
            }
        };
        written.map_err(in_words)
    }

    /// Brings a volume to the GPU that has least to run, or else to the next, and finds room there for its first strip; none where that
    /// cannot be done, which the log says.
    #[expect(clippy::too_many_arguments)]
    fn begin<'a: 'scope, 'scope>(
        &'a self,
        scope: &'scope Scope<'scope, '_>,
        surveyed: &'scope Surveyed<'_>,
        volume: &Volume,
        labels: Option<ElementType>,
        strips: &[Strip],
        passes: usize,
        work: &'scope Work<'_>,
    ) -> Option<Result<(Brought, OnDevice<'a>, Turn)>> {
        let first = strips.first()?;
        let begin = |gpu: &Gpu| {
            let brought = gpu.bring(scope, &self.recipe, &volume.scan, surveyed, work)?;
            let first = self.on_device(brought.clone(), first, labels, passes)?;
            Ok::<_, Error>((brought, first))
        };
        let count = strips.iter().map(|strip| strip.tiles.count()).sum();
        let mut left: Vec<&Gpu> = self.gpus.iter().collect();
        while !left.is_empty() {
            let turn = Turn::take(left.iter().map(|gpu| gpu.ordinal()), self.voxels(strips, count))?;
            let gpu = left.remove(left.iter().position(|gpu| gpu.ordinal() == turn.ordinal())?);
            match begin(gpu) {
                Err(error) if error.code() != Code::Cancelled => gpu.tell(error.message()),
                outcome => return Some(outcome.map(|(brought, first)| (brought, first, turn))),
            }
        }
        None
    }

    /// What so many tiles of strips take to run, in voxels.
    fn voxels(&self, strips: &[Strip], count: usize) -> u64 {
        let mirrorings = 1 << self.recipe.tiling.mirrored.iter().filter(|is| **is).count();
        let voxels = strips.first().map_or(0, |strip| strip.tiles.elements(1));
        [count, self.networks.len(), mirrorings, voxels]
            .into_iter()
            .fold(1, |product: u64, factor| product.saturating_mul(factor as u64))
    }

    /// Finds room for a strip of a volume that was brought to a GPU.
    fn on_device(
        &self,
        brought: Brought,
        strip: &Strip,
        labels: Option<ElementType>,
        passes: usize,
    ) -> Result<OnDevice<'_>> {
        let swept = Swept {
            recipe: &self.recipe,
            tiles: &strip.tiles,
            back: &strip.back,
            networks: &self.networks,
            head: self.head.as_deref(),
            labels: labels.map(|labels| labels == ElementType::Uint16),
        };
        brought.begin(swept, passes)
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
        "the recipe {what} probabilities, and the model's last convolution was folded out of it: that is the same only where what comes \
         before the activation is blended and resampled. Convert the model without --fold-head, or change the recipe"
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

/// That of the labels, where they are all that is asked for.
fn label_type(outputs: &Outputs) -> Option<ElementType> {
    outputs.labels.as_ref().filter(|_| outputs.scores.is_none()).map(LabelMap::element_type)
}

/// Sweeps strips one after the other. `tell` hears of the tiles of all of them.
fn each_strip(
    strips: &[Strip],
    outputs: Outputs,
    tell: &mut impl FnMut(usize, usize) -> Result<()>,
    mut sweep: impl FnMut(&Strip, Outputs, bool, &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<Written>,
) -> Result<Written> {
    let count = strips.iter().map(|strip| strip.tiles.count()).sum();
    let mut before = 0;
    let mut written = Written { outputs, counts: None };
    for (number, strip) in strips.iter().enumerate() {
        let mut tell_of_all = |done, _: usize| match (number, done) {
            // It is where the last strip ended.
            (1.., 0) => Ok(()),
            _ => tell(before + done, count),
        };
        let Written { outputs, counts } = sweep(strip, written.outputs, number == 0, &mut tell_of_all)?;
        let counts = match (number, written.counts, counts) {
            (0, _, counts) => counts,
            (_, Some(all), Some(more)) => Some(all.into_iter().zip(more).map(|(all, more)| all + more).collect()),
            _ => None,
        };
        written = Written { outputs, counts };
        before += strip.tiles.count();
    }
    if let (Some(counts), Some(labels)) = (&mut written.counts, &written.outputs.labels) {
        // What was cut off has label 0.
        let all = labels.layout().extents.iter().product::<usize>() as u64;
        let counted: u64 = counts.iter().sum();
        counts.iter_mut().take(1).for_each(|background| *background += all.saturating_sub(counted));
    }
    Ok(written)
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
        tell: &mut dyn FnMut(usize, usize) -> Result<()>,
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
