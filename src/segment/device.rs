//! A volume on the GPU that the sessions run on: it goes there once, tiles are cut out and blended there, and labels come back.

use super::labels::LabelMap;
use super::network::{LentTile, Network, Tile};
use super::place::{Place, Written, no_number, within_tile};
use super::result::{Outputs, Writer, no_number_in_plane, no_number_of_head};
use crate::backend::admission::Dependency;
use crate::cuda::{Device, Event, Stream};
use crate::error::{Code, Error, Result};
use crate::log::{Level, Log};
use crate::process::thread;
use crate::tensor::{ElementType, MemoryKind};
use crate::volume::device::{
    Buffer, Coming, Constants, DeviceHead, DeviceRule, DeviceSweep, DeviceWay, Download, Kernels, Label, Piece, Planes,
    Samples, Slab, Slabs, Source, View, can_resample, resampling_bytes, slab_bytes, upload, upload_bytes,
};
use crate::volume::head::Head;
use crate::volume::image::Description;
use crate::volume::intensity::{self, Change};
use crate::volume::recipe::{Activation, Decision, Intensity, Recipe, Rule, ZScore};
use crate::volume::resample::Way;
use crate::volume::sweep::Sweep;
use crate::volume::tiles::Tiles;
use crate::volume::work::{Pieces, Work, allocate};
use crate::volume::{Announced, Back, Prepared, Surveyed};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::Scope;

/// Kernels go before what the network computes, which waits for them.
const FIRST: i32 = -5;

/// Labels are decided and copied in groups of planes of about so many bytes.
const GROUP: usize = 4 << 20;

/// What the driver rounds large pieces of memory up to.
const GRAIN: u64 = 2 << 20;

/// A GPU that volumes are put together on.
pub struct Gpu {
    kernels: Kernels,
    log: Option<Arc<Log>>,
}

/// What a volume takes there.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Bytes of device memory.
    pub device: u64,
    /// Bytes on the host.
    pub host: u64,
}

impl Gpu {
    /// Those that all networks run on, and that take the kernels. Why there is none is in the log.
    pub fn all_of(networks: &[Network]) -> Vec<Self> {
        let Some((first, others)) = networks.split_first() else { return Vec::new() };
        let log = first.session.engine().log().cloned();
        let tell = |level, message: String| log.iter().for_each(|log| log.write(level, &message));
        let on_host =
            |why| tell(Level::Info, format!("volumes are put together by the processor, and not on the GPU: {why}"));
        let runs_there = |network: &Network, ordinal| network.session.devices().any(|it| it.info.ordinal == ordinal);
        let mut devices: Vec<&Arc<Device>> = Vec::new();
        for device in first.session.devices() {
            let ordinal = device.info.ordinal;
            if others.iter().all(|other| runs_there(other, ordinal))
                && devices.iter().all(|known| known.info.ordinal != ordinal)
            {
                devices.push(device);
            }
        }
        if devices.is_empty() {
            if networks.iter().any(|network| network.session.devices().next().is_some()) {
                on_host("there is none that all sessions run on");
            }
            return Vec::new();
        }
        let types = |network: &Network| network.element_types();
        if networks.windows(2).any(|pair| types(&pair[0]) != types(&pair[1])) {
            on_host("the folds take and give elements of different types");
            return Vec::new();
        }
        let gpu = |device: &Arc<Device>| {
            let kernels = Stream::new(device, FIRST).and_then(|stream| Kernels::new(device, Arc::new(stream)));
            let told = |error: &Error| {
                let why = error.message();
                let message = format!("volumes are not put together on CUDA device {}: {why}", device.info.ordinal);
                tell(Level::Warning, message);
            };
            kernels.inspect_err(told).ok().map(|kernels| Self { kernels, log: log.clone() })
        };
        devices.into_iter().filter_map(gpu).collect()
    }

    pub fn device(&self) -> &Arc<Device> {
        self.kernels.device()
    }

    pub fn ordinal(&self) -> i32 {
        self.device().info.ordinal
    }

    /// Says why a volume is put together on another device or on the host nevertheless.
    pub fn tell(&self, why: &str) {
        let message = format!("a volume is not put together on CUDA device {}: {why}", self.ordinal());
        self.log.iter().for_each(|log| log.write(Level::Warning, &message));
    }

    /// What the sweep of a volume, or of a strip of it, takes at most, with so many passes under way.
    pub fn needs(&self, volume: &Outline, limit: usize) -> Needs {
        let Outline { recipe, scan, announced, tiles, back, network, head, writer, has_scores } = *volume;
        let round = |bytes: u64| bytes.div_ceil(GRAIN).saturating_mul(GRAIN);
        let product = |factors: &[usize]| factors.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64));
        let data = round(announced.data_bytes);
        let there = &announced.there;
        let goes_raw = goes_raw(scan, there);
        let is_masked = recipe.intensities.contains(&Intensity::ZScore(ZScore::FilledMask));
        let mask = if is_masked { product(&there.from) } else { 0 };
        let resampling = match there.is_nowhere() {
            true => 0,
            false => resampling_bytes(there)
                .map(round)
                .into_iter()
                .fold(round(product(&there.from).saturating_mul(4)), u64::saturating_add),
        };
        let raw = [round(reach(scan)), round(mask), resampling].into_iter().fold(0, u64::saturating_add);
        let raw = if goes_raw { raw } else { 0 };
        // Where it comes in slabs all else is there meanwhile.
        let slabs = if goes_raw { slab_bytes(reach(scan), plane_bytes(scan)) } else { 0 };
        let on_its_way = match slabs > 0 {
            true => [round(slabs), round(mask), resampling].into_iter().fold(0, u64::saturating_add),
            false => 0,
        };
        let (input, output) = network.elements();
        let types = network.element_types();
        let tile = |elements: usize, element_type: ElementType| {
            let narrow = if element_type == ElementType::Float32 { 0 } else { round(product(&[2, elements])) };
            round(product(&[4, elements])).saturating_add(narrow)
        };
        let tiles_bytes = (tile(input, types.0).saturating_add(tile(output, types.1)))
            .saturating_mul(limit as u64)
            .saturating_add(2 * tile(output, types.1));
        let channels = network.channels;
        let window = round(product(&[4, tiles.given(1)]));
        let ring = round(Sweep::memory(tiles, channels));
        let [_, model_height, model_width] = tiles.swept();
        let [depth, height, width] = back.extents();
        // Of labels of 16 bits; they may have 8.
        let plane = height.saturating_mul(width).saturating_mul(2);
        let decides = decides_there(&recipe.decision, head, has_scores, back);
        let labels = if decides { 2 * round((plane.max(GROUP)) as u64) } else { 0 };
        let resampled = match decides && !back.is_same_grid() {
            true => {
                let (kept, targets) = planes_kept(&recipe.decision, head);
                (targets as u64 * round(product(&[4, channels, height, width])))
                    .saturating_add(kept as u64 * round(product(&[4, channels, model_height, model_width])))
            }
            false => 0,
        };
        let later = [window, ring, labels, resampled, on_its_way].into_iter().fold(0, u64::saturating_add);
        // Rules, places of tiles and the like.
        let small = 2 * GRAIN + head.map_or(0, |head| round(DeviceHead::bytes(head)));
        // Of each tile: its place, whether it has one value, and whether what the network gave are numbers.
        let of_tiles = Constants::bytes(tiles, recipe.channels).saturating_add(product(&[4, tiles.count()]));
        let many_tiles = round(of_tiles.saturating_sub(GRAIN));
        let device = [data, raw.max(later), tiles_bytes, small, many_tiles].into_iter().fold(0, u64::saturating_add);

        let before = match goes_raw {
            // A channel's sums over what was resampled are taken here.
            true => {
                let channel = if there.is_nowhere() { 0 } else { announced.data_bytes / recipe.channels.max(1) as u64 };
                let scratch = announced.peak_bytes.saturating_sub(announced.data_bytes);
                [mask, channel, upload_bytes(reach(scan), usize::MAX).max(slabs)]
                    .into_iter()
                    .fold(scratch, u64::saturating_add)
            }
            false => announced.peak_bytes,
        };
        let during = match decides {
            true => {
                let planes = planes_at_once(tiles, back).min(depth);
                product(&[planes.max(1), plane]).saturating_add(GROUP as u64)
            }
            false => writer.saturating_add(product(&[2, 4, channels, model_height, model_width])),
        };
        let host = if slabs > 0 { before.saturating_add(during) } else { before.max(during) };
        Needs { device, host }
    }

    /// Brings a scan there. A thread of the scope's may still be bringing it when this returns.
    pub fn bring<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        recipe: &'scope Recipe,
        scan: &Description,
        surveyed: &'scope Surveyed<'_>,
        work: &'scope Work<'_>,
    ) -> Result<Brought> {
        let stream = Arc::new(Stream::new(self.device(), FIRST)?);
        let kernels = Arc::new(self.kernels.on(stream));
        let there = surveyed.there();
        let goes_raw = goes_raw(scan, there);
        let slabs = surveyed.view.span().filter(|_| goes_raw).and_then(Slabs::of);
        if let Some(slabs) = slabs {
            let mask = mask_of(&kernels, surveyed)?;
            let changes = changes_of(recipe, surveyed, work)?;
            let voxels: usize = surveyed.extents().iter().product();
            let volume = Arc::new(kernels.buffer(recipe.channels * voxels)?);
            let source = source(&kernels, there)?;
            let coming = Arc::new(Coming::new(&kernels, &slabs, recipe.channels, mask, source)?);
            let (brings, to) = (coming.clone(), volume.clone());
            let brings = move || {
                let after = |kernels: &Kernels, channel: usize, target: View<'_, f32>| {
                    change_after(kernels, recipe, channel, there, target, work)
                };
                brings.bring(&slabs, &changes, &to, &after, work);
            };
            thread::spawn_scoped(scope, "planrt-bring".to_owned(), brings).map_err(|error| {
                Error::new(Code::OutOfMemory, "a thread that brings the scan to the GPU could not be started")
                    .with_detail(error.to_string())
            })?;
            return Ok(Brought { kernels, volume, coming: Some(coming) });
        }
        let volume = match goes_raw {
            true => bring(&kernels, recipe, surveyed, work)?,
            false => {
                let Prepared { data, .. } = surveyed.prepare(recipe, work)?;
                kernels.upload(&data)?
            }
        };
        work.check()?;
        Ok(Brought { kernels, volume: Arc::new(volume), coming: None })
    }
}

impl Brought {
    /// Finds room for all that is needed to sweep it.
    pub fn begin<'a>(self, swept: Swept<'_, 'a>, limit: usize) -> Result<OnDevice<'a>> {
        let Self { kernels, volume, coming } = self;
        let Swept { recipe, tiles, back, networks, head, window, labels } = swept;
        let (tiles, back, network) = (tiles.clone(), back.clone(), &networks[0]);
        let sweep = DeviceSweep::new(&kernels, tiles.clone(), network.channels, window)?;
        let room = kernels.room_for_constants(&tiles, recipe.channels)?;
        let found = kernels.buffer(tiles.count())?;
        found.clear(0..tiles.count(), kernels.stream())?;
        let types = network.element_types();
        let (input, output) = network.elements();
        let count = limit.min(tiles.count());
        // A sum more, and the result of tiles of one value.
        let spare = (
            DeviceTile::several(&kernels, count, input, types.0)?,
            DeviceTile::several(&kernels, count + 2, output, types.1)?,
        );
        let decided = match labels.filter(|_| decides_there(&recipe.decision, head, false, &back)) {
            Some(are_wide) => Some(Labels::new(&kernels, &recipe.decision, (network.channels, head), &back, are_wide)?),
            None => None,
        };
        let channels = network.channels;
        Ok(OnDevice {
            kernels,
            recipe,
            is_one_fold: networks.len() == 1,
            tiles,
            back,
            channels,
            elements: network.elements(),
            types,
            volume,
            coming,
            constants: Vec::new(),
            room,
            sweep,
            found,
            spare,
            output: decided,
        })
    }
}

/// What is known of a volume before it is looked at.
#[derive(Clone, Copy)]
pub struct Outline<'a> {
    pub recipe: &'a Recipe,
    pub scan: &'a Description,
    pub announced: &'a Announced,
    /// What is swept of it, and where that goes.
    pub tiles: &'a Tiles,
    pub back: &'a Back,
    pub network: &'a Network,
    /// What makes channels of what it gives, if that is features.
    pub head: Option<&'a Head>,
    /// Bytes of a [`Writer`].
    pub writer: u64,
    pub has_scores: bool,
}

/// A volume that is there: `[channel, z, y, x]` on the model's grid.
#[derive(Clone)]
pub struct Brought {
    kernels: Arc<Kernels>,
    volume: Arc<Buffer<f32>>,
    /// Where it is still on its way.
    coming: Option<Arc<Coming>>,
}

/// What is swept of it, and how.
pub struct Swept<'s, 'a> {
    pub recipe: &'a Recipe,
    pub tiles: &'s Tiles,
    pub back: &'s Back,
    /// At least one.
    pub networks: &'s [Network],
    pub head: Option<&'s Head>,
    pub window: &'s [f32],
    /// Whether labels have 16 bits, where they are all that is asked for.
    pub labels: Option<bool>,
}

/// Whether a scan's elements go to the device as they are.
fn goes_raw(scan: &Description, there: &Way) -> bool {
    let dense = scan.extents.iter().fold(scan.channels as u64, |product, n| product.saturating_mul(*n as u64));
    let size = scan.element_type.size();
    let aligned = scan.strides.iter().all(|stride| stride % size as isize == 0);
    can_resample(there) && aligned && reach(scan) <= dense.saturating_mul(2 * size as u64)
}

/// Bytes between a scan's first element in memory and the end of its last.
fn reach(scan: &Description) -> u64 {
    let [z, y, x] = scan.extents;
    let axes = [scan.channels, z, y, x].into_iter().zip(scan.strides);
    axes.fold(scan.element_type.size() as u64, |reach, (extent, stride)| {
        reach.saturating_add((stride.unsigned_abs() as u64).saturating_mul(extent.saturating_sub(1) as u64))
    })
}

/// The same of the largest of its planes along any axis, if they do not lie between one another.
fn plane_bytes(scan: &Description) -> u64 {
    let plane = |axis: usize| {
        let mut plane = Description { channels: 1, ..*scan };
        plane.extents[axis] = 1;
        let bytes = reach(&plane);
        (scan.extents[axis] == 1 || scan.strides[axis + 1].unsigned_abs() as u64 >= bytes).then_some(bytes)
    };
    (0..3).filter_map(plane).max().unwrap_or(0)
}

/// The most planes of the scan that are decided by one tile.
fn planes_at_once(tiles: &Tiles, back: &Back) -> usize {
    let planes = tiles.patch[0].min(tiles.extents[0]);
    if back.is_same_grid() {
        return planes;
    }
    (planes + 1).saturating_mul(back.extents()[0]).div_ceil(tiles.extents[0]) + 2
}

/// Whether labels are all that comes back; else values do, and the host decides.
fn decides_there(decision: &Decision, head: Option<&Head>, has_scores: bool, back: &Back) -> bool {
    // All channels of a voxel would have to be there at once.
    let needs_all = matches!(decision.rule, Rule::Regions { .. }) && decision.activation == Activation::Softmax;
    if has_scores || head.is_some() && needs_all {
        return false;
    }
    back.is_same_grid() || !decision.before_resampling
}

/// Which voxels are inside of what is not zero, where the recipe asks.
fn mask_of(kernels: &Kernels, surveyed: &Surveyed<'_>) -> Result<Option<Buffer<u8>>> {
    let Some(mask) = &surveyed.mask else { return Ok(None) };
    let mut bytes: Vec<u8> = allocate("a mask", mask.len())?;
    bytes.iter_mut().zip(mask).for_each(|(byte, inside)| *byte = u8::from(*inside));
    kernels.upload(&bytes).map(Some)
}

/// What is done to channels as they are read.
fn changes_of(recipe: &Recipe, surveyed: &Surveyed<'_>, work: &Work) -> Result<Vec<Change>> {
    match changes_after(recipe, surveyed.there()) {
        true => Ok(vec![Change::Nothing; recipe.channels]),
        false => surveyed.changes(recipe, work),
    }
}

/// Whether channels are changed when they were resampled.
fn changes_after(recipe: &Recipe, there: &Way) -> bool {
    recipe.normalize_after_resampling && !there.is_nowhere()
}

/// Room for a channel on the scan's grid, where that is not the model's.
fn source(kernels: &Kernels, there: &Way) -> Result<Option<Source>> {
    match there.is_nowhere() {
        true => Ok(None),
        false => Ok(Some(Source {
            values: kernels.buffer(there.from.iter().product())?,
            way: DeviceWay::new(kernels, there)?,
        })),
    }
}

/// The volume on the model's grid, made there of the scan as it comes.
fn bring(kernels: &Kernels, recipe: &Recipe, surveyed: &Surveyed<'_>, work: &Work) -> Result<Buffer<f32>> {
    let span = surveyed
        .view
        .span()
        .ok_or_else(|| Error::new(Code::Internal, "a scan's elements are not where they were; please report this"))?;
    let memory = upload(kernels, span.memory, work)?;
    work.check()?;
    let mask = mask_of(kernels, surveyed)?;
    let there = surveyed.there();
    let changes = changes_of(recipe, surveyed, work)?;
    let voxels: usize = surveyed.extents().iter().product();
    let volume = kernels.buffer(recipe.channels * voxels)?;
    let source = source(kernels, there)?;
    for (channel, change) in changes.into_iter().enumerate() {
        let target = volume.part(channel * voxels..(channel + 1) * voxels)?;
        let dense = source.as_ref().map_or(target, |source| source.values.view());
        kernels.read(&span, memory.view(), channel, change, mask.as_ref().map(Buffer::view), dense)?;
        if let Some(Source { way, .. }) = &source {
            way.bring(kernels, dense, target, work)?;
            change_after(kernels, recipe, channel, there, target, work)?;
        }
    }
    Ok(volume)
}

/// Changes a channel that was resampled, where the recipe wants it then. Sums over it are the host's, in its order.
fn change_after(
    kernels: &Kernels,
    recipe: &Recipe,
    channel: usize,
    there: &Way,
    values: View<'_, f32>,
    work: &Work,
) -> Result<()> {
    if !changes_after(recipe, there) {
        return Ok(());
    }
    let (intensity, extents) = (&recipe.intensities[channel], there.to);
    let mut data: Vec<f32> = Vec::new();
    if intensity.needs_survey() {
        data = allocate("a channel on the model's grid", values.count())?;
        kernels.download(values, &mut data)?;
    }
    let plane = extents[1] * extents[2];
    let read = |planes: Range<usize>, values: &mut [f32]| {
        values.copy_from_slice(&data[planes.start * plane..planes.end * plane]);
    };
    let planes = intensity::Planes { extents, together: 1, read: &read };
    let change = Change::of(intensity, &planes, None, work, &Pieces::new(extents[0]))?;
    kernels.change(values, change)
}

/// A tile in device memory.
pub struct DeviceTile {
    values: Piece<f32>,
    /// The same for a network whose elements are of 16 bits, and their type.
    narrow: Option<(Piece<u16>, ElementType)>,
}

impl DeviceTile {
    fn several(kernels: &Kernels, count: usize, elements: usize, element_type: ElementType) -> Result<Vec<Self>> {
        let values = Piece::several(kernels.device(), count, elements)?;
        let mut narrow = match element_type {
            ElementType::Float32 => Vec::new(),
            _ => Piece::several(kernels.device(), count, elements)?,
        };
        let tile = |values| Self { values, narrow: narrow.pop().map(|narrow| (narrow, element_type)) };
        Ok(values.into_iter().map(tile).collect())
    }

    fn one(kernels: &Kernels, elements: usize, element_type: ElementType) -> Result<Self> {
        let made = Self::several(kernels, 1, elements, element_type)?.pop();
        made.ok_or_else(|| Error::new(Code::Internal, "a tile was not made; please report this"))
    }

    /// Makes what the network takes of its values.
    fn narrow(&self, kernels: &Kernels) -> Result<()> {
        match &self.narrow {
            None => Ok(()),
            Some((narrow, element_type)) => {
                kernels.narrow(self.values.view(), narrow.view(), *element_type == ElementType::BFloat16)
            }
        }
    }

    /// Makes its values of what the network gave.
    fn widen(&self, kernels: &Kernels) -> Result<()> {
        match &self.narrow {
            None => Ok(()),
            Some((narrow, element_type)) => {
                kernels.widen(narrow.view(), self.values.view(), *element_type == ElementType::BFloat16)
            }
        }
    }
}

impl Tile for DeviceTile {
    fn lend(&mut self) -> LentTile {
        let elements = self.values.view().count();
        let (data, element_type) = match &self.narrow {
            None => (self.values.view().address(), ElementType::Float32),
            Some((narrow, element_type)) => (narrow.view().address(), *element_type),
        };
        LentTile { data: data.cast(), elements, element_type, kind: MemoryKind::Device }
    }
}

/// A volume that is on the device, and room for what is made of it.
pub struct OnDevice<'a> {
    kernels: Arc<Kernels>,
    recipe: &'a Recipe,
    tiles: Tiles,
    back: Back,
    /// Whether there is one network.
    is_one_fold: bool,
    /// Channels that the network gives.
    channels: usize,
    /// Of a tile that they take, and of one that they give, and the types of both.
    elements: (usize, usize),
    types: (ElementType, ElementType),
    /// `[channel, z, y, x]` on the model's grid.
    volume: Arc<Buffer<f32>>,
    /// How far that has come.
    coming: Option<Arc<Coming>>,
    /// Of each tile that is ready the bits of its one value, if it has only one.
    constants: Vec<Option<Vec<u32>>>,
    room: Constants,
    sweep: DeviceSweep,
    /// Of each tile 1 where the network gave what is no number.
    found: Buffer<u32>,
    /// Inputs and outputs.
    spare: (Vec<DeviceTile>, Vec<DeviceTile>),
    /// Where labels are decided there.
    output: Option<Labels>,
}

impl<'a> Target<'a> {
    /// Where some voxels may get no label of the network's they are 0.
    pub fn labels(outputs: Outputs, cropped: bool) -> Result<Self> {
        let Some(mut map) = outputs.labels else {
            return Err(Error::new(Code::Internal, "there is no label map; please report this"));
        };
        if cropped {
            map.clear();
        }
        Ok(Self::Labels(map))
    }
}

impl<'a> OnDevice<'a> {
    /// Has labels written to a map, from those that are decided there or else by a writer on the host.
    pub fn into(
        self,
        target: Target<'a>,
        nan_allowed: bool,
        work: &'a Work<'a>,
        check: &'a dyn Fn() -> Result<()>,
    ) -> DevicePlace<'a> {
        DevicePlace { on: self, target, nan_allowed, work, check, pending: VecDeque::new() }
    }

    /// Whether labels are decided there.
    pub fn decides(&self) -> bool {
        self.output.is_some()
    }
}

/// What becomes of planes that are final.
pub enum Target<'a> {
    /// Labels come back.
    Labels(LabelMap),
    /// Values do.
    Values(Box<Writer<'a>>),
}

/// [`Place`] on a GPU. What comes back is written a little at a time, while networks run.
pub struct DevicePlace<'a> {
    /// Dropped first: copies end before their memory goes.
    pending: VecDeque<Pending>,
    on: OnDevice<'a>,
    target: Target<'a>,
    nan_allowed: bool,
    work: &'a Work<'a>,
    check: &'a dyn Fn() -> Result<()>,
}

/// What is on its way back.
enum Pending {
    /// Whether what networks gave for tiles, and planes, are numbers.
    Checks { tiles: Download<u32>, planes: Download<u32> },
    /// Labels of planes from that one on.
    Labels { z: usize, labels: Download<u8> },
}

/// Decides labels of planes.
struct Labels {
    rule: DeviceRule,
    /// Done before, to values that are not activated yet.
    activation: Activation,
    activation_before_resampling: Activation,
    /// What makes channels of features, and a place for whether one of them is no number.
    head: Option<(DeviceHead, Buffer<u32>)>,
    /// Those that planes have.
    channels: usize,
    /// Of the scan's grid, in the model's axes, without what was cut off.
    extents: [usize; 3],
    /// By turns: labels are on their way back from one while the other is filled.
    buffers: [LabelBuffer; 2],
    now: usize,
    /// On their stream labels come back; for each buffer the end of that.
    copies: Kernels,
    passed: [Event; 2],
    /// Planes that a buffer holds, and that are in the one that is filled.
    capacity: usize,
    filled: usize,
    /// The scan's plane that is decided next.
    next: usize,
    counts: Buffer<u64>,
    resampler: Option<Resampler>,
}

enum LabelBuffer {
    Narrow(Buffer<u8>),
    Wide(Buffer<u16>),
}

/// [`PlaneResampler`](crate::volume::resample::PlaneResampler) there.
struct Resampler {
    way: Way,
    samples: Samples,
    /// Plane `p` of the model's grid in place `p % 2`; or the last one that was taken, where that is enough.
    kept: Vec<Buffer<f32>>,
    /// A plane of the scan's grid, where planes are made one after the other.
    target: Option<Buffer<f32>>,
}

/// Whether labels are decided while planes are resampled, all that can be at once.
fn decides_at_once(decision: &Decision, head: Option<&Head>) -> bool {
    matches!(decision.rule, Rule::Argmax { .. }) && head.is_none()
}

/// Values of planes that are kept for resampling: so many planes of the model's grid, and so many of the scan's.
fn planes_kept(decision: &Decision, head: Option<&Head>) -> (usize, usize) {
    if decides_at_once(decision, head) { (1, 0) } else { (2, 1) }
}

impl Labels {
    fn new(
        kernels: &Kernels,
        decision: &Decision,
        (channels, head): (usize, Option<&Head>),
        back: &Back,
        is_wide: bool,
    ) -> Result<Self> {
        let extents @ [depth, height, width] = back.extents();
        let size = if is_wide { 2 } else { 1 };
        let capacity = (GROUP / (height * width * size)).clamp(1, depth);
        let elements = capacity * height * width;
        let buffer = || match is_wide {
            true => Ok::<_, Error>(LabelBuffer::Wide(kernels.buffer(elements)?)),
            false => Ok(LabelBuffer::Narrow(kernels.buffer(elements)?)),
        };
        let labels = usize::from(decision.largest_label()) + 1;
        let counts = kernels.buffer(labels)?;
        counts.clear(0..labels, kernels.stream())?;
        let resampler = match back.is_same_grid() {
            true => None,
            false => {
                let way = back.way().clone();
                let plane = channels * way.from[1] * way.from[2];
                let (kept, targets) = planes_kept(decision, head);
                Some(Resampler {
                    samples: kernels.samples_of(&way)?,
                    kept: (0..kept).map(|_| kernels.buffer(plane)).collect::<Result<_>>()?,
                    target: (0..targets).map(|_| kernels.buffer(channels * height * width)).next().transpose()?,
                    way,
                })
            }
        };
        let pending = if decision.blend_probabilities { Activation::None } else { decision.activation };
        let before = decision.resample_probabilities && resampler.is_some();
        // The largest value stays the largest: nothing needs to be done to it.
        let after = !before && matches!(decision.rule, Rule::Regions { .. });
        let or_none = |is: bool| if is { pending } else { Activation::None };
        let head = match head {
            None => None,
            Some(head) => {
                let found = kernels.buffer(1)?;
                found.clear(0..1, kernels.stream())?;
                Some((kernels.head(head)?, found))
            }
        };
        Ok(Self {
            rule: kernels.rule(&decision.rule)?,
            activation: or_none(after),
            activation_before_resampling: or_none(before),
            head,
            channels,
            extents,
            buffers: [buffer()?, buffer()?],
            now: 0,
            copies: kernels.on(Arc::new(Stream::new(kernels.device(), 0)?)),
            passed: [Event::new(kernels.device())?, Event::new(kernels.device())?],
            capacity,
            filled: 0,
            next: 0,
            counts,
            resampler,
        })
    }

    /// Takes planes of the model's grid.
    fn take(&mut self, kernels: &Kernels, planes: &Planes<'_>, pending: &mut VecDeque<Pending>) -> Result<()> {
        let (stride, count) = (planes.stride, planes.numbers.len());
        let Some(resampler) = self.resampler.take() else {
            let mut start = 0;
            while start < count {
                let some = (count - start).min(self.capacity);
                self.decide(kernels, planes.values.part(start * stride..(start + some) * stride)?, stride, some)?;
                self.give(kernels, pending)?;
                start += some;
            }
            return Ok(());
        };
        let outcome = self.resample(kernels, &resampler, planes, pending);
        self.resampler = Some(resampler);
        outcome
    }

    fn resample(
        &mut self,
        kernels: &Kernels,
        resampler: &Resampler,
        planes: &Planes<'_>,
        pending: &mut VecDeque<Pending>,
    ) -> Result<()> {
        let [_, height, width] = resampler.way.from;
        let size = self.channels * height * width;
        let Some(target) = &resampler.target else { return self.resample_at_once(kernels, resampler, planes, pending) };
        for (i, z) in planes.numbers.clone().enumerate() {
            let values = planes.values.part(i * planes.stride..i * planes.stride + size)?;
            kernels.activate(values, size, height * width, self.channels, self.activation_before_resampling)?;
            kernels.copy(values, resampler.kept[z % 2].view())?;
            while self.next < self.extents[0] {
                let (needed, part) = resampler.way.planes(self.next);
                if needed[1] > z {
                    break;
                }
                let from = needed.map(|plane| resampler.kept[plane % 2].view());
                let target = target.view();
                kernels.resample(&resampler.samples, from, part, target)?;
                self.decide(kernels, target, target.count(), 1)?;
                if self.filled == self.capacity {
                    self.give(kernels, pending)?;
                }
            }
        }
        self.give(kernels, pending)
    }

    /// The same where labels are of the largest values, which stay what they are.
    fn resample_at_once(
        &mut self,
        kernels: &Kernels,
        resampler: &Resampler,
        planes: &Planes<'_>,
        pending: &mut VecDeque<Pending>,
    ) -> Result<()> {
        let Resampler { way, samples, kept, .. } = resampler;
        let [depth, plane] = [self.extents[0], self.extents[1] * self.extents[2]];
        let size = self.channels * way.from[1] * way.from[2];
        let (numbers, stride) = (&planes.numbers, planes.stride);
        let (Some(kept), Some(last)) = (kept.first(), numbers.len().checked_sub(1)) else { return Ok(()) };
        let from = way.from[1] * way.from[2];
        kernels.activate(planes.values, stride, from, self.channels, self.activation_before_resampling)?;
        let slab = Slab { numbers, planes: planes.values, stride, before: kept.view() };
        let end = (self.next..depth).find(|z| way.planes(*z).0[1] >= numbers.end).unwrap_or(depth);
        while self.next < end {
            let some = self.next..end.min(self.next + self.capacity);
            let labels = 0..some.len() * plane;
            match &self.buffers[self.now] {
                LabelBuffer::Narrow(buffer) => {
                    let labels = buffer.part(labels)?;
                    kernels.resample_and_decide(samples, slab, some.clone(), &self.rule, labels)?;
                    kernels.count(labels, self.counts.view())?;
                }
                LabelBuffer::Wide(buffer) => {
                    let labels = buffer.part(labels)?;
                    kernels.resample_and_decide(samples, slab, some.clone(), &self.rule, labels)?;
                    kernels.count(labels, self.counts.view())?;
                }
            }
            (self.next, self.filled) = (some.end, some.len());
            self.give(kernels, pending)?;
        }
        kernels.copy(planes.values.part(last * stride..last * stride + size)?, kept.view())
    }

    /// Decides the next planes of the scan, of which so many are there.
    fn decide(&mut self, kernels: &Kernels, planes: View<'_, f32>, stride: usize, count: usize) -> Result<()> {
        let size = self.extents[1] * self.extents[2];
        if self.head.is_none() {
            kernels.activate(planes, stride, size, self.channels, self.activation)?;
        }
        let labels = self.filled * size..(self.filled + count) * size;
        match &self.buffers[self.now] {
            LabelBuffer::Narrow(buffer) => self.label(kernels, planes, stride, buffer.part(labels)?)?,
            LabelBuffer::Wide(buffer) => self.label(kernels, planes, stride, buffer.part(labels)?)?,
        }
        self.filled += count;
        self.next += count;
        Ok(())
    }

    fn label<L: Label>(&self, kernels: &Kernels, planes: View<'_, f32>, stride: usize, to: View<'_, L>) -> Result<()> {
        match &self.head {
            None => kernels.decide(planes, stride, self.channels, &self.rule, to)?,
            Some((head, found)) => {
                kernels.decide_by_head(planes, stride, (head, self.activation), &self.rule, found.view(), to)?;
            }
        }
        kernels.count(to, self.counts.view())
    }

    /// Sends what is decided on its way.
    fn give(&mut self, kernels: &Kernels, pending: &mut VecDeque<Pending>) -> Result<()> {
        let size = self.extents[1] * self.extents[2];
        let labels = match &self.buffers[self.now] {
            _ if self.filled == 0 => return Ok(()),
            LabelBuffer::Narrow(buffer) => buffer.part(0..self.filled * size)?.bytes(),
            LabelBuffer::Wide(buffer) => buffer.part(0..self.filled * size)?.bytes(),
        };
        self.copies.stream().wait_for(kernels.stream())?;
        let labels = Download::start(&self.copies, labels)?;
        pending.push_back(Pending::Labels { z: self.next - self.filled, labels });
        self.passed[self.now].record(self.copies.stream())?;
        self.filled = 0;
        self.now = 1 - self.now;
        self.passed[self.now].hold_back(kernels.stream())
    }
}

impl DevicePlace<'_> {
    /// Writes so much of what comes back: pieces, of which each is a group of planes.
    fn write(&mut self, most: usize) -> Result<()> {
        let Target::Labels(map) = &mut self.target else { return Ok(()) };
        let most = most.min(self.pending.len());
        write(map, &self.on.tiles, &self.on.back, self.pending.drain(..most))
    }
}

/// Writes what comes back.
fn write(map: &mut LabelMap, tiles: &Tiles, back: &Back, pending: impl IntoIterator<Item = Pending>) -> Result<()> {
    let place = back.place(map.layout());
    for pending in pending {
        match pending {
            Pending::Checks { tiles: of_tiles, planes } => check_numbers(tiles, of_tiles, planes)?,
            Pending::Labels { z, mut labels } => map.set_planes(&place, z, labels.wait()?),
        }
    }
    Ok(())
}

/// Writes all that comes back, by several threads.
fn write_all(map: &mut LabelMap, tiles: &Tiles, back: &Back, pending: VecDeque<Pending>, work: &Work) -> Result<()> {
    let place = back.place(map.layout());
    let plane = place.extents[1] * place.extents[2] * map.element_type().size();
    let mut groups = Vec::with_capacity(pending.len());
    for pending in pending {
        match pending {
            Pending::Checks { tiles: of_tiles, planes } => check_numbers(tiles, of_tiles, planes)?,
            Pending::Labels { z, labels } => groups.push((z..z + labels.count() / plane, labels)),
        }
    }
    map.set_groups(&place, groups, work, |labels| labels.wait().map(|labels| &*labels))
}

impl DevicePlace<'_> {
    /// Whether what is blended is what the network gave, so that both are looked at together.
    fn is_looked_at_when_blended(&self) -> bool {
        let Recipe { tiling, decision, .. } = self.on.recipe;
        let is_activated = decision.blend_probabilities && decision.activation != Activation::None;
        self.on.is_one_fold && tiling.mirrored == [false; 3] && !is_activated
    }
}

/// An error where a network gave, or blending made, what is no number.
fn check_numbers(tiles: &Tiles, mut of_tiles: Download<u32>, mut of_planes: Download<u32>) -> Result<()> {
    let first = |found: &mut Download<u32>| Ok::<_, Error>(found.wait()?.iter().position(|found| *found != 0));
    if let Some(tile) = first(&mut of_tiles)? {
        return Err(within_tile(tiles, tile, no_number()));
    }
    match first(&mut of_planes)? {
        Some(z) => Err(no_number_in_plane(z)),
        None => Ok(()),
    }
}

impl Place for DevicePlace<'_> {
    type Tile = DeviceTile;

    fn input(&mut self) -> Result<DeviceTile> {
        self.on.input()
    }

    fn output(&mut self) -> Result<DeviceTile> {
        self.on.output()
    }

    fn ready(&mut self, tile: usize) -> Result<()> {
        let OnDevice { kernels, tiles, volume, recipe, constants, room, coming, .. } = &mut self.on;
        while constants.len() <= tile {
            // All tiles that start on the same plane.
            let numbers = constants.len()..(constants.len() + tiles.row()).min(tiles.count());
            if let Some(coming) = coming {
                let [first, ..] = tiles.taken_from(tiles.start(numbers.start));
                let end = usize::try_from(first.saturating_add_unsigned(tiles.taken()[0])).unwrap_or(0);
                coming.wait(end.min(tiles.extents[0]), kernels.stream())?;
            }
            constants.extend(kernels.constants(tiles, numbers, volume.view(), recipe.tiling.padding, room)?);
        }
        Ok(())
    }

    fn gather(&mut self, tile: usize, mirrored: [bool; 3], input: &mut DeviceTile) -> Result<()> {
        let OnDevice { kernels, tiles, volume, recipe, .. } = &self.on;
        let values = input.values.view();
        kernels.gather(tiles, volume.view(), tiles.start(tile), mirrored, recipe.tiling.padding, values)?;
        input.narrow(kernels)
    }

    fn constant(&self, tile: usize, _input: &DeviceTile) -> Option<Vec<u32>> {
        self.known(tile)
    }

    fn known(&self, tile: usize) -> Option<Vec<u32>> {
        self.on.constants.get(tile).cloned().flatten()
    }

    fn dependency(&self) -> Dependency<'_> {
        Dependency::Stream(self.on.kernels.stream())
    }

    fn take(&mut self, tile: usize, output: &mut DeviceTile) -> Result<()> {
        let OnDevice { kernels, found, .. } = &self.on;
        output.widen(kernels)?;
        match self.nan_allowed || self.is_looked_at_when_blended() {
            true => Ok(()),
            false => kernels.find_nan(output.values.view(), found.part(tile..tile + 1)?),
        }
    }

    fn activate(&mut self, output: &mut DeviceTile, activation: Activation) -> Result<()> {
        let (values, channels) = (output.values.view(), self.on.channels);
        self.on.kernels.activate(values, values.count(), self.on.tiles.given(1), channels, activation)
    }

    fn add(&mut self, output: &DeviceTile, mirrored: [bool; 3], is_first: bool, sum: &mut DeviceTile) -> Result<()> {
        let OnDevice { kernels, tiles, .. } = &self.on;
        kernels.add_mirrored(output.values.view(), tiles.patch, mirrored, is_first, sum.values.view())
    }

    fn divide(&mut self, sum: &mut DeviceTile, by: f32) -> Result<()> {
        self.on.kernels.divide(sum.values.view(), by)
    }

    fn copy(&mut self, from: &DeviceTile, to: &mut DeviceTile) -> Result<()> {
        self.on.kernels.copy(from.values.view(), to.values.view())
    }

    fn blend(&mut self, tile: &DeviceTile) -> Result<()> {
        let gives = self.on.sweep.gives_next();
        // What came back before is written before more does.
        self.write(if gives { usize::MAX } else { 1 })?;
        let is_looked_at = !self.nan_allowed && self.is_looked_at_when_blended();
        let Self { pending, on, target, nan_allowed, work, check } = self;
        let OnDevice { kernels, tiles, channels, sweep, found, output, .. } = on;
        let next = sweep.next();
        let place = if is_looked_at { Some(found.part(next..next + 1)?) } else { None };
        sweep.blend(tile.values.view(), place, |planes| {
            check()?;
            match (&mut *target, &mut *output) {
                (Target::Values(writer), _) => {
                    push((kernels, tiles, *channels, found), &planes, writer, *nan_allowed, work)
                }
                (Target::Labels(_), Some(labels)) => labels.take(kernels, &planes, pending),
                (Target::Labels(_), None) => {
                    Err(Error::new(Code::Internal, "labels are not decided on the device; please report this"))
                }
            }
        })?;
        if gives && !*nan_allowed && matches!(target, Target::Labels(_)) {
            let tiles = Download::start(kernels, found.view())?;
            pending.push_front(Pending::Checks { tiles, planes: Download::start(kernels, sweep.found())? });
        }
        Ok(())
    }

    fn finish(self) -> Result<Written> {
        let Self { pending, on, target, nan_allowed, work, .. } = self;
        let OnDevice { kernels, recipe, tiles, back, volume, coming, room, sweep, spare, output, .. } = on;
        let (mut map, labels) = match (target, output) {
            (Target::Labels(map), Some(labels)) => (map, labels),
            (Target::Values(writer), _) => return Ok(Written { outputs: writer.finish(), counts: None }),
            _ => return Err(Error::new(Code::Internal, "nothing was decided; please report this")),
        };
        let mut counts = vec![0; labels.counts.view().count()];
        // When these are there nothing more is computed.
        kernels.download(labels.counts.view(), &mut counts)?;
        let mut is_found = [0];
        if let (Some((_, found)), false) = (&labels.head, nan_allowed) {
            kernels.download(found.view(), &mut is_found)?;
        }
        let unused = move || {
            // Else the driver would, and whatever else there is to do would wait with it.
            let _ = labels.copies.stream().synchronize();
            drop((volume, coming, room, sweep, spare, labels));
        };
        std::thread::scope(|scope| {
            // The driver takes milliseconds to free memory.
            let freeing = thread::spawn_scoped(scope, "planrt-free".to_owned(), unused);
            let written = write_all(&mut map, &tiles, &back, pending, work);
            drop(freeing);
            written
        })?;
        if is_found != [0] {
            return Err(no_number_of_head());
        }
        let is_counted = !recipe.decision.largest_component;
        let outputs = Outputs { labels: Some(map), scores: None };
        Ok(Written { outputs, counts: is_counted.then_some(counts) })
    }
}

impl OnDevice<'_> {
    fn input(&mut self) -> Result<DeviceTile> {
        match self.spare.0.pop() {
            Some(tile) => Ok(tile),
            None => DeviceTile::one(&self.kernels, self.elements.0, self.types.0),
        }
    }

    fn output(&mut self) -> Result<DeviceTile> {
        match self.spare.1.pop() {
            Some(tile) => Ok(tile),
            None => DeviceTile::one(&self.kernels, self.elements.1, self.types.1),
        }
    }
}

/// Has the host take planes: a copy is under way while the one before is worked on.
fn push(
    (kernels, tiles, channels, found): (&Kernels, &Tiles, usize, &Buffer<u32>),
    planes: &Planes<'_>,
    writer: &mut Writer<'_>,
    nan_allowed: bool,
    work: &Work,
) -> Result<()> {
    if !nan_allowed {
        let mut of_tiles = vec![0; tiles.count()];
        kernels.download(found.view(), &mut of_tiles)?;
        if let Some(tile) = of_tiles.iter().position(|found| *found != 0) {
            return Err(within_tile(tiles, tile, no_number()));
        }
    }
    let [_, height, width] = tiles.swept();
    let size = channels * height * width;
    let start = |i: usize| Download::start(kernels, planes.values.part(i * planes.stride..i * planes.stride + size)?);
    let count = planes.numbers.len();
    let mut next = if count > 0 { Some(start(0)?) } else { None };
    for (i, z) in planes.numbers.clone().enumerate() {
        let Some(mut plane) = next.take() else { break };
        if i + 1 < count {
            next = Some(start(i + 1)?);
        }
        writer.push(z, plane.wait()?, work)?;
    }
    Ok(())
}
