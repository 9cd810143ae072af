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
    kernels: Arc<Kernels>,
    tiles: Tiles,
    channels: usize,
    window: Buffer<f32>,
    /// As `Sweep`'s.
    ring: Buffer<f32>,
    planes: usize,
    /// For each plane of the volume whether a value of it is no number, once it is final.
    found: Buffer<u32>,
    next: usize,
    given: usize,
}

/// Planes that lie side by side on the device: `[plane, channel, y, x]`, with a channel more, which is not theirs.
pub struct Planes<'a> {
    pub numbers: Range<usize>,
    pub values: View<'a, f32>,
    /// Values from one plane to the next.
    pub stride: usize,
}

impl DeviceSweep {
    /// `window` has one weight for each voxel of the patch.
    pub fn new(kernels: &Arc<Kernels>, tiles: Tiles, channels: usize, window: &[f32]) -> Result<Self> {
        let elements = usize::try_from(Sweep::memory(&tiles, channels) / size_of::<f32>() as u64).unwrap_or(usize::MAX);
        let ring = kernels.buffer(elements)?;
        ring.clear(0..elements, kernels.stream())?;
        let planes = tiles.patch[0].min(tiles.extents[0]);
        let window = kernels.upload(window)?;
        let found = kernels.buffer(tiles.extents[0])?;
        found.clear(0..tiles.extents[0], kernels.stream())?;
        Ok(Self { kernels: kernels.clone(), tiles, channels, window, ring, planes, found, next: 0, given: 0 })
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
    /// number the place becomes 1. `give` is called
    /// with planes that are final, in their order, and what it does with them is done in the same order.
    pub fn blend(
        &mut self,
        tile: View<'_, f32>,
        found: Option<View<'_, u32>>,
        mut give: impl FnMut(Planes<'_>) -> Result<()>,
    ) -> Result<()> {
        let (start, ring) = (self.tiles.start(self.next), (self.ring.view(), self.planes));
        self.kernels.blend(&self.tiles, self.channels, start, (tile, self.window.view()), ring, found)?;
        self.next += 1;
        let end = self.tiles.final_planes(self.next);
        let [_, height, width] = self.tiles.swept();
        let size = height * width;
        let stride = (self.channels + 1) * size;
        while self.given < end {
            // To the end of the ring, where it begins anew.
            let slot = self.given % self.planes;
            let count = (end - self.given).min(self.planes - slot);
            let elements = planes(slot..slot + count, stride);
            let values = self.ring.part(elements.clone())?;
            let numbers = self.given..self.given + count;
            self.kernels.weigh(values, size, self.channels, self.found.part(numbers.clone())?)?;
            give(Planes { numbers, values, stride })?;
            self.ring.clear(elements, self.kernels.stream())?;
            self.given += count;
        }
        Ok(())
    }
}
