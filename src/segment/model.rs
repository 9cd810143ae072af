//! One model of a segmenter: its folds, its recipe, and the way of a volume through them.

use super::job::{Shared, Volume};
use super::labels::LabelMap;
use super::network::Network;
use super::result::{Outputs, Writer, settle};
use super::scores::Scores;
use super::stream::{Source, Stream};
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::schedule::Session;
use crate::volume::image::View;
use crate::volume::recipe::{Recipe, Tiling};
use crate::volume::sweep::Sweep;
use crate::volume::tiles::Tiles;
use crate::volume::window::weights;
use crate::volume::work::Work;
use crate::volume::{Prepared, Scan, announce, prepare};
use std::sync::Arc;
use std::time::Instant;

/// What passes under way take at most where nobody says how much: as many as fill a GPU's batches of large tiles with many
/// channels would take more than the rest.
const PASSES_BYTES: u64 = 1 << 30;

pub struct Model {
    pub recipe: Recipe,
    networks: Vec<Network>,
    window: Arc<[f32]>,
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
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    fixed: u64,
    preparing: u64,
    keeping: u64,
    /// Of a stream with no pass under way, and of each pass.
    stream: (u64, u64),
    /// As many passes as are of use.
    most: usize,
}

impl Memory {
    /// Bytes with so many passes under way.
    pub fn with(&self, passes: usize) -> u64 {
        let (fixed, pass) = self.stream;
        let stream = fixed.saturating_add(pass.saturating_mul(passes as u64));
        self.fixed.saturating_add(stream.max(self.keeping)).max(self.preparing)
    }

    /// The most passes that are of use, but `share` of them at most.
    pub fn passes(&self, share: usize) -> usize {
        self.most.min(share).max(1)
    }

    pub fn most_passes(&self) -> usize {
        self.most
    }
}

impl Model {
    /// The window is made here, since it is of what the networks give.
    pub fn new(recipe: Recipe, networks: Vec<Network>, threads: usize) -> Result<Self> {
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
        recipe.decision.check(first.channels)?;
        let Tiling { patch, window, .. } = &recipe.tiling;
        // Refuses what no volume could be tiled by.
        let given = Tiles::new(*patch, &recipe.tiling, first.margin)?.patch;
        let window = weights(window, given)?.into();
        let batches = networks.iter().map(|network| items_at_once(&network.session)).sum();
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        };
        Ok(Self { recipe, networks, window, batches, threads })
    }

    /// Channels that the networks give.
    pub fn channels(&self) -> usize {
        self.networks[0].channels
    }

    /// Those that tell what its engines do.
    pub fn logs(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.networks.iter().filter_map(|network| network.session.engine().log())
    }

    fn tiles(&self, extents: [usize; 3]) -> Result<Tiles> {
        Tiles::new(extents, &self.recipe.tiling, self.networks[0].margin)
    }

    pub fn work<'a>(&self, cancelled: &'a (dyn Fn() -> bool + Sync)) -> Work<'a> {
        Work { threads: self.threads, cancelled, progress: &|_| () }
    }

    /// What a volume takes, known without looking at its voxels; an error for one that cannot be segmented.
    pub fn memory(&self, volume: &Volume, scores: Option<&Scores>) -> Result<Memory> {
        let Recipe { decision, channels, .. } = &self.recipe;
        if volume.scan.channels != *channels {
            let message = format!("the scan has {} channels; the model takes {channels}", volume.scan.channels);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let announced = announce(&self.recipe, &volume.grid, volume.any_direction, self.threads)?;
        let tiles = self.tiles(announced.extents)?;
        let network = &self.networks[0];
        let writer =
            Writer::memory(decision, network.channels, &announced.back, announced.extents, scores, self.threads);
        let stream = Stream::memory(network, 0);
        let pass = Stream::memory(network, 1).saturating_sub(stream);
        let affordable = usize::try_from(PASSES_BYTES / pass.max(1)).unwrap_or(usize::MAX);
        Ok(Memory {
            fixed: announced.data_bytes.saturating_add(Sweep::memory(&tiles, network.channels)).saturating_add(writer),
            preparing: announced.peak_bytes,
            keeping: if decision.largest_component { LabelMap::keeping_bytes(volume.grid.extents) } else { 0 },
            stream: (stream, pass),
            most: affordable.min(2 * self.batches).max(1),
        })
    }

    /// Brings a volume through the networks, and what they give to where it goes. `bytes` is the memory that the volume's
    /// description is about; `tell` hears of tiles that are done.
    pub fn sweep(
        &self,
        bytes: &[u8],
        volume: &Volume,
        outputs: Outputs,
        passes: usize,
        terms: Terms,
        mut tell: impl FnMut(usize, usize) -> Result<()>,
    ) -> Result<Outputs> {
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
        let Prepared { data, extents, back } = prepare(recipe, &scan, &work).map_err(in_words)?;
        let tiles = self.tiles(extents)?;
        let count = tiles.count();
        tell(0, count)?;
        let channels = self.channels();
        let mut sweep = Sweep::new(tiles.clone(), channels, self.window.clone())?;
        let cropped = recipe.crop_to_nonzero;
        let mut writer = Writer::new(&recipe.decision, channels, &back, extents, outputs, cropped, nan_allowed)?;
        let source = Source {
            recipe,
            networks: &self.networks,
            tiles: &tiles,
            volume: &data,
            priority,
            deadline,
            nan_allowed,
            limit: passes,
        };
        let mut done = 0;
        Stream::new(source, job).run(|tile| {
            sweep.blend(tile, |z, values| {
                job.check(deadline)?;
                writer.push(z, values, &work).map_err(in_words)
            })?;
            done += 1;
            tell(done, count)
        })?;
        Ok(writer.finish())
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

/// How many items all instances of a session take at once.
fn items_at_once(session: &Session) -> usize {
    session.optimal_batches().map(|batch| batch.clamp(1, 1024)).sum::<usize>().max(1)
}
