//! What memory a volume takes on a GPU, and beside it on the host.

use super::labels::{GROUP, decides_there, planes_at_once, planes_kept};
use crate::segment::network::Network;
use crate::tensor::ElementType;
use crate::volume::device::{Constants, DeviceHead, can_resample, in_room, resampling_bytes, slab_bytes, upload_bytes};
use crate::volume::head::Head;
use crate::volume::image::Description;
use crate::volume::recipe::{Intensity, Recipe, ZScore};
use crate::volume::resample::Way;
use crate::volume::sweep::Sweep;
use crate::volume::tiles::Tiles;
use crate::volume::{Announced, Back};

/// What the driver rounds large pieces of memory up to.
const GRAIN: u64 = 2 << 20;

/// Rules, samples of axes and the like.
const SMALL: u64 = 1 << 20;

/// What a volume takes there.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Bytes of device memory.
    pub device: u64,
    /// Bytes on the host.
    pub host: u64,
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

impl Outline<'_> {
    /// What the sweep of a volume, or of a strip of it, takes at most, with so many passes under way.
    pub fn needs(&self, limit: usize) -> Needs {
        let Outline { recipe, scan, announced, tiles, back, network, head, writer, has_scores } = *self;
        let round = |bytes: u64| bytes.div_ceil(GRAIN).saturating_mul(GRAIN);
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
        let decides = decides_there(&recipe.decision, head, has_scores, back);
        let sweeping = Sweeping { recipe, tiles, back, network, head, decides };
        let [of_planes, of_tiles] = sweeping.bytes(limit, round);
        let later = of_planes.saturating_add(on_its_way);
        // Rules, places of tiles and the like.
        let small = 2 * GRAIN + head.map_or(0, |head| round(DeviceHead::bytes(head)));
        let many_tiles = round(sweeping.of_each_tile().saturating_sub(GRAIN));
        let device = [data, raw.max(later), of_tiles, small, many_tiles].into_iter().fold(0, u64::saturating_add);

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
                let [depth, height, width] = back.extents();
                let planes = planes_at_once(tiles, back).min(depth);
                product(&[2, planes.max(1), height, width]).saturating_add(GROUP as u64)
            }
            false => {
                let [_, height, width] = tiles.swept();
                writer.saturating_add(product(&[2, 4, network.channels, height, width]))
            }
        };
        let host = if slabs > 0 { before.saturating_add(during) } else { before.max(during) };
        Needs { device, host }
    }
}

/// What is swept, and how: all that its memory depends on.
pub struct Sweeping<'a> {
    pub recipe: &'a Recipe,
    pub tiles: &'a Tiles,
    pub back: &'a Back,
    pub network: &'a Network,
    pub head: Option<&'a Head>,
    /// Whether labels are decided there.
    pub decides: bool,
}

impl Sweeping<'_> {
    /// Bytes of device memory that planes take, and the tiles of so many passes under way; each piece rounded.
    fn bytes(&self, limit: usize, round: impl Fn(u64) -> u64) -> [u64; 2] {
        let Self { recipe, tiles, back, network, head, decides } = *self;
        let (input, output) = network.elements();
        let types = network.element_types();
        let tile = |elements: usize, element_type: ElementType| {
            let narrow = if element_type == ElementType::Float32 { 0 } else { round(product(&[2, elements])) };
            round(product(&[4, elements])).saturating_add(narrow)
        };
        let of_tiles = (tile(input, types.0).saturating_add(tile(output, types.1)))
            .saturating_mul(limit as u64)
            .saturating_add(2 * tile(output, types.1));
        let ring = round(Sweep::memory(tiles, network.channels));
        let [_, model_height, model_width] = tiles.swept();
        let [_, height, width] = back.extents();
        // Of labels of 16 bits; they may have 8.
        let plane = product(&[2, height, width]);
        let labels = if decides { 2 * round(plane.max(GROUP as u64)) } else { 0 };
        let resampled = match decides && !back.is_same_grid() {
            true => {
                let (kept, targets) = planes_kept(&recipe.decision, head);
                (targets as u64 * round(product(&[4, network.channels, height, width])))
                    .saturating_add(kept as u64 * round(product(&[4, network.channels, model_height, model_width])))
            }
            false => 0,
        };
        [[ring, labels, resampled].into_iter().fold(0, u64::saturating_add), of_tiles]
    }

    /// Of each tile: its place, whether it has one value, and whether what the network gave are numbers.
    fn of_each_tile(&self) -> u64 {
        Constants::bytes(self.tiles, self.recipe.channels).saturating_add(product(&[4, self.tiles.count()]))
    }

    /// Bytes of a room for all of it.
    pub fn room(&self, limit: usize) -> u64 {
        let [of_planes, of_tiles] = self.bytes(limit, in_room);
        let head = self.head.map_or(0, DeviceHead::bytes);
        [of_planes, of_tiles, self.of_each_tile(), head, SMALL].into_iter().fold(0, u64::saturating_add)
    }
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64))
}

/// Whether a scan's elements go to the device as they are.
pub fn goes_raw(scan: &Description, there: &Way) -> bool {
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

/// Bytes of a room for a scan that comes in slabs, and for its way to another grid.
pub fn coming_room(voxels: u64, staging: u64, mask: u64, there: &Way) -> u64 {
    let way = match there.is_nowhere() {
        true => [0; 4],
        false => {
            let [first, second, begins] = resampling_bytes(there);
            [product(&there.from).saturating_mul(4), first, second, begins]
        }
    };
    let all = [voxels.saturating_mul(4), staging, mask].into_iter().chain(way);
    all.map(in_room).fold(SMALL, u64::saturating_add)
}
