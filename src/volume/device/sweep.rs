//! The sweep along axis 0 over memory of a device.

use super::buffer::{Buffer, View};
use super::kernels::{Kernels, planes};
use crate::error::Result;
use crate::volume::sweep::Sweep;
use crate::volume::tiles::Tiles;
use std::ops::Range;
use std::sync::Arc;

/// [`Sweep`] with its ring on a device; what it gives is the same, bit for bit.
pub struct DeviceSweep {
    tiles: Tiles,
    channels: usize,
    window: Arc<Buffer<f32>>,
    /// As `Sweep`'s.
    ring: Buffer<f32>,
    planes: usize,
    /// For each plane of the volume whether a value of it is no number, once it is final.
    found: Buffer<u32>,
    next: usize,
    given: usize,
    /// Rows of the planes behind those, where the last planes are given out by rows.
    rows_given: usize,
}

/// Planes that are final, in the ring: `[plane, channel, y, x]`, with a channel more, which is not theirs.
pub struct Planes<'a> {
    pub numbers: Range<usize>,
    /// The rows of them that are final; all but where the last planes are given out by rows.
    pub rows: Range<usize>,
    /// Plane `z` is in place `z` modulo their number.
    pub ring: View<'a, f32>,
    pub places: usize,
    /// Values from one place to the next.
    pub stride: usize,
}

impl<'a> Planes<'a> {
    /// Those that lie side by side: to the ring's end, where it begins anew.
    pub fn segments(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (places, stride, Range { start, end }) = (self.places, self.stride, self.numbers.clone());
        let mut next = start;
        std::iter::from_fn(move || {
            let slot = next % places;
            let numbers = next..end.min(next + places - slot);
            next = numbers.end;
            (!numbers.is_empty()).then(|| (numbers.clone(), planes(slot..slot + numbers.len(), stride)))
        })
    }

    /// Some of a plane's values, from its first on.
    pub fn of_plane(&self, z: usize, count: usize) -> Result<View<'a, f32>> {
        let start = z % self.places * self.stride;
        self.ring.part(start..start + count)
    }
}

impl DeviceSweep {
    /// `window` has one weight for each voxel of the patch.
    pub fn new(kernels: &Kernels, tiles: Tiles, channels: usize, window: &Arc<Buffer<f32>>) -> Result<Self> {
        let elements = usize::try_from(Sweep::memory(&tiles, channels) / size_of::<f32>() as u64).unwrap_or(usize::MAX);
        let ring = kernels.buffer(elements)?;
        ring.clear(0..elements, kernels.stream())?;
        let planes = tiles.patch[0].min(tiles.extents[0]);
        let window = window.clone();
        let found = kernels.buffer(tiles.extents[0])?;
        found.clear(0..tiles.extents[0], kernels.stream())?;
        Ok(Self { tiles, channels, window, ring, planes, found, next: 0, given: 0, rows_given: 0 })
    }

    /// For each plane of the volume 1 where a value of it is no number, and it is final.
    pub fn found(&self) -> View<'_, u32> {
        self.found.view()
    }

    /// The tile that is blended next.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Whether planes are final when the next tile is blended.
    pub fn gives_next(&self) -> bool {
        self.tiles.final_planes(self.next + 1) > self.given
    }

    /// Blends what the network gives for the next tile, `[channel, z, y, x]`, in the order of the kernels' stream; where a value is no
    /// number the place becomes 1. `give` is called with planes that are final, in their order, and what it does with them is done in
    /// the same order; with rows of the last planes as soon as those are final if `by_rows` says so, so that little is left to be done
    /// after the last tile.
    pub fn blend(
        &mut self,
        kernels: &Kernels,
        tile: View<'_, f32>,
        found: Option<View<'_, u32>>,
        by_rows: bool,
        mut give: impl FnMut(Planes<'_>) -> Result<()>,
    ) -> Result<()> {
        let (start, ring) = (self.tiles.start(self.next), (self.ring.view(), self.planes));
        kernels.blend(&self.tiles, self.channels, start, (tile, self.window.view()), ring, found)?;
        self.next += 1;
        let (count, planes, height) = (self.tiles.count(), self.tiles.final_planes(self.next), self.tiles.swept()[1]);
        // Of those that start on the last plane.
        let is_of_last = self.next < count && self.next + self.tiles.row() > count;
        if !(by_rows && is_of_last) {
            return self.give_out(kernels, planes, height, &mut give);
        }
        let (first, rows) = (self.given, self.tiles.final_rows(self.next));
        if rows > self.rows_given {
            self.give_out(kernels, self.tiles.extents[0], rows, &mut give)?;
            (self.given, self.rows_given) = (first, rows);
        }
        Ok(())
    }

    /// Gives out what is left of planes before that one, up to that row of each.
    fn give_out(
        &mut self,
        kernels: &Kernels,
        end: usize,
        rows: usize,
        give: &mut impl FnMut(Planes<'_>) -> Result<()>,
    ) -> Result<()> {
        let [_, height, width] = self.tiles.swept();
        let stride = (self.channels + 1) * height * width;
        let (numbers, rows) = (self.given..end, self.rows_given..rows);
        if numbers.is_empty() {
            return Ok(());
        }
        let (ring, places, needs_no_more) =
            (self.ring.view(), self.planes, self.next + self.tiles.row() > self.tiles.count());
        let planes = Planes { numbers, rows: rows.clone(), ring, places, stride };
        let segments: Vec<_> = planes.segments().collect();
        for (numbers, elements) in &segments {
            let found = self.found.part(numbers.clone())?;
            kernels.weigh(ring.part(elements.clone())?, [height, width], rows.clone(), self.channels, found)?;
        }
        give(planes)?;
        self.given = end;
        // After the last of them nothing is blended there any more.
        let mut cleared = segments.into_iter().filter(|_| !needs_no_more);
        cleared.try_for_each(|(_, elements)| self.ring.clear(elements, kernels.stream()))
    }
}
