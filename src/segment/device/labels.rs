//! Labels of planes that are final, decided on a GPU, and on their way back from there.

use crate::cuda::{Event, Stream};
use crate::error::{Error, Result};
use crate::segment::labels::LabelMap;
use crate::segment::place::{no_number, within_tile};
use crate::segment::result::no_number_in_plane;
use crate::volume::Back;
use crate::volume::device::{Buffer, DeviceHead, DeviceRule, Download, Kernels, Label, Planes, Samples, Slab, View};
use crate::volume::head::Head;
use crate::volume::recipe::{Activation, Decision, Rule};
use crate::volume::resample::Way;
use crate::volume::tiles::Tiles;
use crate::volume::work::Work;
use std::collections::VecDeque;
use std::sync::Arc;

/// Labels are decided and copied in groups of planes of about so many bytes.
pub(super) const GROUP: usize = 4 << 20;

/// The most planes of the scan that are decided by one tile.
pub fn planes_at_once(tiles: &Tiles, back: &Back) -> usize {
    let planes = tiles.patch[0].min(tiles.extents[0]);
    if back.is_same_grid() {
        return planes;
    }
    (planes + 1).saturating_mul(back.extents()[0]).div_ceil(tiles.extents[0]) + 2
}

/// Whether labels are all that comes back; else values do, and the host decides.
pub fn decides_there(decision: &Decision, head: Option<&Head>, has_scores: bool, back: &Back) -> bool {
    // All channels of a voxel would have to be there at once.
    let needs_all = matches!(decision.rule, Rule::Regions { .. }) && decision.activation == Activation::Softmax;
    if has_scores || head.is_some() && needs_all {
        return false;
    }
    back.is_same_grid() || !decision.before_resampling
}

/// What is on its way back.
pub enum Pending {
    /// Whether what networks gave for tiles, and planes, are numbers.
    Checks { tiles: Download<u32>, planes: Download<u32> },
    /// Labels of planes from that one on.
    Labels { z: usize, labels: Download<u8> },
}

/// Decides labels of planes.
pub struct Labels {
    rule: DeviceRule,
    /// Done before, to values that are not activated yet.
    activation: Activation,
    activation_before_resampling: Activation,
    /// What makes channels of features, and a place for whether one of them is no number.
    pub head: Option<(DeviceHead, Buffer<u32>)>,
    /// Those that planes have.
    channels: usize,
    /// Of the scan's grid, in the model's axes, without what was cut off.
    extents: [usize; 3],
    /// By turns: labels are on their way back from one while the other is filled.
    buffers: [LabelBuffer; 2],
    now: usize,
    /// On their stream labels come back; for each buffer the end of that.
    pub copies: Kernels,
    passed: [Event; 2],
    /// Planes that a buffer holds, and that are in the one that is filled.
    capacity: usize,
    filled: usize,
    /// The scan's plane that is decided next.
    next: usize,
    pub counts: Buffer<u64>,
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
pub fn planes_kept(decision: &Decision, head: Option<&Head>) -> (usize, usize) {
    if decides_at_once(decision, head) { (1, 0) } else { (2, 1) }
}

impl Labels {
    pub fn new(
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
    pub fn take(&mut self, kernels: &Kernels, planes: &Planes<'_>, pending: &mut VecDeque<Pending>) -> Result<()> {
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

/// Writes what comes back.
pub fn write(map: &mut LabelMap, tiles: &Tiles, back: &Back, pending: impl IntoIterator<Item = Pending>) -> Result<()> {
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
pub fn write_all(
    map: &mut LabelMap,
    tiles: &Tiles,
    back: &Back,
    pending: VecDeque<Pending>,
    work: &Work,
) -> Result<()> {
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
