//! Tiles of a volume: cut out of it, and blended in the ring of planes.

use super::{Extents, Kernels, ROWS, THREADS, pointers, portions, same, small, wrong};
use crate::error::{Code, Error, Result};
use crate::volume::device::buffer::{Buffer, Element, View};
use crate::volume::recipe::Padding;
use crate::volume::tiles::Tiles;
use std::ops::Range;

/// What kernels.cu has by these names.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tiling {
    volume: Extents,
    patch: Extents,
    padding: u32,
    constant: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Start([i32; 3]);

#[repr(C)]
#[derive(Clone, Copy)]
struct Blending {
    patch: Extents,
    ring: Extents,
    covered: Extents,
    in_tile: Extents,
    in_volume: Extents,
}

impl Element for Start {}

/// Where a volume's tiles begin, and room for whether each has one value only: for all of them from the beginning, since the driver
/// waits for whatever runs before it frees memory.
pub struct Constants {
    starts: Buffer<Start>,
    values: Buffer<u32>,
    differs: Buffer<u32>,
}

impl Constants {
    /// Bytes that it takes for tiles of a volume of so many channels.
    pub fn bytes(tiles: &Tiles, channels: usize) -> u64 {
        let tile = (2 * size_of::<u32>() as u64).saturating_mul(channels as u64);
        tile.saturating_add(size_of::<Start>() as u64).saturating_mul(tiles.count() as u64)
    }
}

impl Kernels {
    /// Values as the network's own elements of 16 bits: float16, or bfloat16.
    pub fn narrow(&self, from: View<'_, f32>, to: View<'_, u16>, is_brain: bool) -> Result<()> {
        same("values to convert", to.count(), from.count())?;
        let (mut count, mut is_brain) = (small("values", from.count())?, u32::from(is_brain));
        let (mut source, mut target) = (from.address(), to.address());
        let mut arguments = pointers![source, target, count, is_brain];
        self.launch(self.loaded.functions.narrow, from.count(), 1, 1, &mut arguments)
    }

    /// And back.
    pub fn widen(&self, from: View<'_, u16>, to: View<'_, f32>, is_brain: bool) -> Result<()> {
        same("values to convert", to.count(), from.count())?;
        let (mut count, mut is_brain) = (small("values", from.count())?, u32::from(is_brain));
        let (mut source, mut target) = (from.address(), to.address());
        let mut arguments = pointers![source, target, count, is_brain];
        self.launch(self.loaded.functions.widen, from.count(), 1, 1, &mut arguments)
    }

    /// [`Tiles::gather`].
    pub fn gather(
        &self,
        tiles: &Tiles,
        volume: View<'_, f32>,
        start: [isize; 3],
        mirrored: [bool; 3],
        padding: Padding,
        tile: View<'_, f32>,
    ) -> Result<()> {
        let channels = channels_of(tiles, volume)?;
        same("a tile's values", tile.count(), tiles.elements(channels))?;
        let mut tiling = tiling(tiles, tiles.taken(), padding)?;
        let mut start = small_start(tiles.taken_from(start))?;
        let [mut z, mut y, mut x] = mirrored.map(u32::from);
        let (mut from, mut to) = (volume.address(), tile.address());
        let mut arguments = pointers![from, to, tiling, start, z, y, x];
        let [depth, height, width] = tiles.taken();
        self.launch(self.loaded.functions.gather, height * threads_of(width), channels, depth.min(ROWS), &mut arguments)
    }

    /// What [`constants`](Self::constants) needs for tiles of a volume of so many channels.
    pub fn room_for_constants(&self, tiles: &Tiles, channels: usize) -> Result<Constants> {
        let start = |tile| small_start(tiles.taken_from(tiles.start(tile)));
        let starts = (0..tiles.count()).map(start).collect::<Result<Vec<_>>>()?;
        let places = tiles.count().saturating_mul(channels);
        let room =
            Constants { starts: self.upload(&starts)?, values: self.buffer(places)?, differs: self.buffer(places)? };
        room.differs.clear(0..places, &self.stream)?;
        Ok(room)
    }

    /// [`constants`](crate::volume::tiles::constants) of these tiles, once each.
    pub fn constants(
        &self,
        tiles: &Tiles,
        numbers: Range<usize>,
        volume: View<'_, f32>,
        padding: Padding,
        room: &Constants,
    ) -> Result<Vec<Option<Vec<u32>>>> {
        let channels = channels_of(tiles, volume)?;
        let places = numbers.start * channels..numbers.end * channels;
        let starts = room.starts.part(numbers.clone())?;
        let (values, differs) = (room.values.part(places.clone())?, room.differs.part(places.clone())?);
        let mut tiling = tiling(tiles, tiles.taken(), padding)?;
        let (mut count, mut number) = (small("tiles", numbers.len())?, small("channels", channels)?);
        let (mut from, mut at) = (volume.address(), starts.address());
        let (mut value, mut differ) = (values.address(), differs.address());
        let mut arguments = pointers![from, tiling, at, count, number, value, differ];
        // A few blocks for each: nearly all tiles differ at once, and the others are soon read.
        let voxels = tiles.elements(1).min(16 * THREADS as usize);
        self.launch(self.loaded.functions.constants, voxels, channels, numbers.len().min(ROWS), &mut arguments)?;
        let (mut of_tiles, mut do_differ) = (vec![0; places.len()], vec![0; places.len()]);
        self.download(values, &mut of_tiles)?;
        self.download(differs, &mut do_differ)?;
        let is_one = |differs: &[u32]| differs.iter().all(|differs| *differs == 0);
        let both = of_tiles.chunks(channels).zip(do_differ.chunks(channels));
        Ok(both.map(|(values, differs)| is_one(differs).then(|| values.to_vec())).collect())
    }

    /// [`add_mirrored`](crate::volume::sweep::add_mirrored).
    pub fn add_mirrored(
        &self,
        tile: View<'_, f32>,
        patch: [usize; 3],
        mirrored: [bool; 3],
        first: bool,
        sum: View<'_, f32>,
    ) -> Result<()> {
        same("a sum's values", sum.count(), tile.count())?;
        let voxels: usize = patch.iter().product();
        let channels = tile.count() / voxels.max(1);
        same("a tile's values", tile.count(), channels * voxels)?;
        let mut extents = extents(patch)?;
        let [mut z, mut y, mut x] = mirrored.map(u32::from);
        let (mut from, mut to, mut is_first) = (tile.address(), sum.address(), u32::from(first));
        let mut arguments = pointers![from, to, extents, z, y, x, is_first];
        self.launch(self.loaded.functions.add_mirrored, voxels, channels, 1, &mut arguments)
    }

    /// Divides all values by one.
    pub fn divide(&self, values: View<'_, f32>, mut divisor: f32) -> Result<()> {
        let mut at = values.address();
        for length in portions(values.count()) {
            let mut count = small("values", length)?;
            let mut arguments = pointers![at, count, divisor];
            self.launch(self.loaded.functions.divide, length, 1, 1, &mut arguments)?;
            at = at.wrapping_byte_add(length * size_of::<f32>());
        }
        Ok(())
    }

    /// Sets a place that is 0 to 1 if any of the values is no number.
    pub fn find_nan(&self, values: View<'_, f32>, found: View<'_, u32>) -> Result<()> {
        same("places for what is found", found.count(), 1)?;
        let (mut at, mut place) = (values.address(), found.address());
        for length in portions(values.count()) {
            let mut count = small("values", length)?;
            let mut arguments = pointers![at, count, place];
            self.launch(self.loaded.functions.find_nan, length, 1, 1, &mut arguments)?;
            at = at.wrapping_byte_add(length * size_of::<f32>());
        }
        Ok(())
    }

    /// Adds a tile to a ring of so many planes, as `Sweep::add` does. Where a value of it is no number a place becomes 1.
    pub fn blend(
        &self,
        tiles: &Tiles,
        channels: usize,
        start: [isize; 3],
        (tile, window): (View<'_, f32>, View<'_, f32>),
        (ring, planes): (View<'_, f32>, usize),
        found: Option<View<'_, u32>>,
    ) -> Result<()> {
        if let Some(found) = found {
            same("places for what is found", found.count(), 1)?;
        }
        let [_, height, width] = tiles.swept();
        same("a tile's values", tile.count(), tiles.given(channels))?;
        same("a window's weights", window.count(), tiles.given(1))?;
        same("a ring's values", ring.count(), planes * (channels + 1) * height * width)?;
        let [z, y, x] = [0, 1, 2].map(|axis| tiles.covered(axis, start[axis]));
        let (covered, first) = ([z.0.len(), y.0.len(), x.0.len()], [z.0.start, y.0.start, x.0.start]);
        let plane = extents([1, height, width])?;
        let mut blending = Blending {
            patch: extents(tiles.patch)?,
            // All planes together may have more voxels than that.
            ring: Extents([small("planes", planes)?, plane.0[1], plane.0[2]]),
            covered: extents(covered)?,
            in_tile: Extents([z.1, y.1, x.1].map(|skipped| skipped as u32)),
            in_volume: Extents(first.map(|first| first as u32)),
        };
        let mut number = small("channels", channels)?;
        let (mut tile, mut window, mut ring) = (tile.address(), window.address(), ring.address());
        let mut place = found.map_or(std::ptr::null_mut(), |found| found.address());
        let mut arguments = pointers![tile, window, ring, blending, number, place];
        let [depth, height, width] = covered;
        self.launch(self.loaded.functions.blend, height * threads_of(width), depth.min(ROWS), 1, &mut arguments)
    }

    /// Divides the sums of rows of a ring's planes by their weights. Where a value of a plane is no number, its place in `found` becomes
    /// 1.
    pub fn weigh(
        &self,
        planes: View<'_, f32>,
        [height, width]: [usize; 2],
        rows: Range<usize>,
        channels: usize,
        found: View<'_, u32>,
    ) -> Result<()> {
        let voxels = height * width;
        let count = planes.count() / ((channels + 1) * voxels);
        same("places for what is found", found.count(), count)?;
        same("values of planes", planes.count(), count * (channels + 1) * voxels)?;
        if rows.start > rows.end || rows.end > height {
            return Err(wrong(format!("rows {rows:?} of {height}")));
        }
        let mut at = planes.address().wrapping_byte_add(rows.start * width * size_of::<f32>());
        let (mut plane, mut part) = (small("voxels", voxels)?, small("voxels", rows.len() * width)?);
        let (mut number, mut places) = (small("channels", channels)?, found.address());
        let mut arguments = pointers![at, plane, part, number, places];
        self.launch(self.loaded.functions.weigh, rows.len() * width, count, 1, &mut arguments)
    }
}

/// Threads for a row of voxels, which are mostly taken by fours where there are whole fours; else each thread takes several.
fn threads_of(width: usize) -> usize {
    if width.is_multiple_of(4) { width / 4 } else { width }
}

/// Extents of which the product is small, too.
fn extents(extents: [usize; 3]) -> Result<Extents> {
    small("voxels", extents.iter().fold(1, |product: usize, extent| product.saturating_mul(*extent)))?;
    Ok(Extents(extents.map(|extent| extent as u32)))
}

fn small_start(start: [isize; 3]) -> Result<Start> {
    let [Ok(z), Ok(y), Ok(x)] = start.map(i32::try_from) else {
        return Err(Error::new(
            Code::Unsupported,
            format!("a tile from {start:?} on is further than a kernel reaches"),
        ));
    };
    Ok(Start([z, y, x]))
}

fn tiling(tiles: &Tiles, patch: [usize; 3], padding: Padding) -> Result<Tiling> {
    // A volume may have more voxels than that in all.
    for extent in tiles.extents.into_iter().chain(patch) {
        small("voxels", 2 * extent)?;
    }
    let (padding, constant) = match padding {
        Padding::Constant(value) => (0, value),
        Padding::Edge => (1, 0.0),
        Padding::Reflect => (2, 0.0),
    };
    Ok(Tiling { volume: Extents(tiles.extents.map(|extent| extent as u32)), patch: extents(patch)?, padding, constant })
}

fn channels_of(tiles: &Tiles, volume: View<'_, f32>) -> Result<usize> {
    let voxels: usize = tiles.extents.iter().product();
    let channels = volume.count() / voxels;
    same("a volume's values", volume.count(), channels * voxels)?;
    Ok(channels)
}
