//! Labels of planes that are final, decided on a GPU, and on their way back from there.

use crate::cuda::{Event, Stream};
use crate::error::{Error, Result};
use crate::segment::labels::LabelMap;
use crate::segment::place::{no_number, within_tile};
use crate::segment::result::no_number_in_plane;
use crate::volume::Back;
use crate::volume::device::{Buffer, DeviceHead, DeviceRule, Download, Kernels, Label, Planes, Samples, Slab, View};
use crate::volume::grid::{Box3, Layout};
use crate::volume::head::Head;
use crate::volume::recipe::{Activation, Decision, Rule};
use crate::volume::resample::Way;
use crate::volume::tiles::Tiles;
use crate::volume::work::Work;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Labels are decided and copied in groups of planes of about so many bytes.
pub(super) const GROUP: usize = 4 << 20;

/// Those of some rows in smaller ones, since the last of them are waited for: so many of a group's.
const OF_ROWS: usize = 4;

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
    /// Labels of planes from that one on, and which rows of these.
    Labels { z: usize, rows: Range<usize>, labels: Download<u8> },
}

/// Decides labels of planes.
pub struct Labels {
    rule: DeviceRule,
    /// Done before, to values that are not activated yet.
    activation: Activation,
    activation_before_resampling: Activation,
    /// Whether planes are decided by nothing but their largest values.
    is_at_once: bool,
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
    /// The scan's plane that is decided next; of it and those behind it rows may be decided already.
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
        let is_at_once = decides_at_once(decision, head);
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
            is_at_once,
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

    /// Whether rows of planes are enough for it.
    pub fn takes_rows(&self) -> bool {
        self.is_at_once && self.activation_before_resampling == Activation::None
    }

    /// Takes planes of the model's grid; rows of them where those are enough.
    pub fn take(&mut self, kernels: &Kernels, planes: &Planes<'_>, pending: &mut VecDeque<Pending>) -> Result<()> {
        if self.is_at_once {
            return self.take_at_once(kernels, planes, pending);
        }
        let Some(resampler) = self.resampler.take() else {
            let stride = planes.stride;
            for (numbers, elements) in planes.segments() {
                let values = planes.ring.part(elements)?;
                let mut start = 0;
                while start < numbers.len() {
                    let some = (numbers.len() - start).min(self.capacity);
                    self.decide(kernels, values.part(start * stride..(start + some) * stride)?, stride, some)?;
                    self.give_filled(kernels, pending)?;
                    start += some;
                }
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
        let Some(target) = &resampler.target else { return Ok(()) };
        for z in planes.numbers.clone() {
            let values = planes.of_plane(z, size)?;
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
                    self.give_filled(kernels, pending)?;
                }
            }
        }
        self.give_filled(kernels, pending)
    }

    /// Where labels are of the largest values, which stay what they are.
    fn take_at_once(&mut self, kernels: &Kernels, planes: &Planes<'_>, pending: &mut VecDeque<Pending>) -> Result<()> {
        let ([depth, height, width], numbers) = (self.extents, &planes.numbers);
        let activation = self.activation_before_resampling;
        let (end, rows) = match &self.resampler {
            None => (numbers.end, planes.rows.clone()),
            Some(Resampler { way, samples, .. }) => {
                for (_, elements) in planes.segments() {
                    let (values, from) = (planes.ring.part(elements)?, way.from[1] * way.from[2]);
                    kernels.activate(values, planes.stride, from, self.channels, activation)?;
                }
                let is_missing = |z: &usize| way.planes(*z).0[1] >= numbers.end;
                let rows = samples.rows_of(planes.rows.start)..samples.rows_of(planes.rows.end);
                ((self.next..depth).find(is_missing).unwrap_or(depth), rows)
            }
        };
        let (mut next, voxels) = (self.next, rows.len() * width);
        let capacity = match rows.len() == height {
            true => self.capacity,
            false => (self.capacity * height / OF_ROWS).checked_div(rows.len()).unwrap_or(depth).max(1),
        };
        while next < end && voxels > 0 {
            let mut some = next..end.min(next + capacity);
            if self.resampler.is_none() {
                // Those that lie side by side.
                some.end = some.end.min(next + planes.places - next % planes.places);
            }
            let labels = 0..some.len() * voxels;
            match &self.buffers[self.now] {
                LabelBuffer::Narrow(buffer) => {
                    self.label_at_once(kernels, planes, &some, &rows, buffer.part(labels)?)?
                }
                LabelBuffer::Wide(buffer) => self.label_at_once(kernels, planes, &some, &rows, buffer.part(labels)?)?,
            }
            next = some.end;
            self.give(kernels, pending, some, rows.clone())?;
        }
        if rows.end < height {
            return Ok(());
        }
        self.next = next;
        if let (Some(Resampler { way, kept, .. }), Some(last)) = (&self.resampler, numbers.clone().last())
            && let Some(kept) = kept.first()
        {
            kernels.copy(planes.of_plane(last, self.channels * way.from[1] * way.from[2])?, kept.view())?;
        }
        Ok(())
    }

    /// Labels of rows of the scan's planes, of planes of the model's grid.
    fn label_at_once<L: Label>(
        &self,
        kernels: &Kernels,
        planes: &Planes<'_>,
        some: &Range<usize>,
        rows: &Range<usize>,
        labels: View<'_, L>,
    ) -> Result<()> {
        match &self.resampler {
            None => {
                let ([_, height, width], stride) = (self.extents, planes.stride);
                let values = planes.of_plane(some.start, some.len() * stride)?;
                let part = (height * width, rows.start * width);
                kernels.decide_part(values, stride, part, self.channels, &self.rule, labels)?;
            }
            Some(Resampler { samples, kept, .. }) => {
                let Some(kept) = kept.first() else { return Ok(()) };
                let slab = Slab { planes, before: kept.view() };
                kernels.resample_and_decide(samples, slab, (some.clone(), rows.clone()), &self.rule, labels)?;
            }
        }
        kernels.count(labels, self.counts.view())
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

    /// Sends the planes that are in the buffer on their way.
    fn give_filled(&mut self, kernels: &Kernels, pending: &mut VecDeque<Pending>) -> Result<()> {
        if self.filled > 0 {
            self.give(kernels, pending, self.next - self.filled..self.next, 0..self.extents[1])?;
            self.filled = 0;
        }
        Ok(())
    }

    /// Sends rows of planes that are decided on their way.
    fn give(
        &mut self,
        kernels: &Kernels,
        pending: &mut VecDeque<Pending>,
        planes: Range<usize>,
        rows: Range<usize>,
    ) -> Result<()> {
        let count = planes.len() * rows.len() * self.extents[2];
        let labels = match &self.buffers[self.now] {
            LabelBuffer::Narrow(buffer) => buffer.part(0..count)?.bytes(),
            LabelBuffer::Wide(buffer) => buffer.part(0..count)?.bytes(),
        };
        self.copies.stream().wait_for(kernels.stream())?;
        let labels = Download::start(&self.copies, labels)?;
        pending.push_back(Pending::Labels { z: planes.start, rows, labels });
        self.passed[self.now].record(self.copies.stream())?;
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
            Pending::Labels { z, rows, mut labels } => map.set_planes(&rows_of(&place, &rows), z, labels.wait()?),
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
    let row = place.extents[2] * map.element_type().size();
    // Of the same rows together.
    let mut of_rows: Vec<(Range<usize>, Vec<_>)> = Vec::new();
    for pending in pending {
        match pending {
            Pending::Checks { tiles: of_tiles, planes } => check_numbers(tiles, of_tiles, planes)?,
            Pending::Labels { z, rows, labels } => {
                let group = (z..z + labels.count() / (rows.len() * row), labels);
                match of_rows.last_mut() {
                    Some((last, groups)) if *last == rows => groups.push(group),
                    _ => of_rows.push((rows, vec![group])),
                }
            }
        }
    }
    of_rows.into_iter().try_for_each(|(rows, groups)| {
        map.set_groups(&rows_of(&place, &rows), groups, work, |labels| labels.wait().map(|labels| &*labels))
    })
}

/// These rows of a layout's planes.
fn rows_of(layout: &Layout, rows: &Range<usize>) -> Layout {
    let [depth, _, width] = layout.extents;
    layout.part(&Box3 { start: [0, rows.start, 0], extents: [depth, rows.len(), width] })
}

/// An error where a network gave, or blending made, what is no number.
pub fn check_numbers(tiles: &Tiles, mut of_tiles: Download<u32>, mut of_planes: Download<u32>) -> Result<()> {
    let first = |found: &mut Download<u32>| Ok::<_, Error>(found.wait()?.iter().position(|found| *found != 0));
    if let Some(tile) = first(&mut of_tiles)? {
        return Err(within_tile(tiles, tile, no_number()));
    }
    match first(&mut of_planes)? {
        Some(z) => Err(no_number_in_plane(z)),
        None => Ok(()),
    }
}
