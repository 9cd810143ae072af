//! A scan on its way to the device, a slab of planes at a time: threads copy slabs into page-locked blocks, from which the device
//! takes and reads them side by side with that. Who needs the first planes does not wait for the last ones, unless they are on
//! another grid.

use super::buffer::{Buffer, View};
use super::kernels::Kernels;
use super::resample::DeviceWay;
use crate::cuda::{Block, Event, Stream, copy_async};
use crate::error::{Code, Error, Result};
use crate::sync::{Condvar, Mutex};
use crate::volume::image::Span;
use crate::volume::intensity::Change;
use crate::volume::work::{Pieces, Work};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a slab, if a plane has no more.
const SLAB: usize = 4 << 20;

/// Slabs that there are at least, if there are as many planes.
const SLABS: usize = 16;

/// Planes of more bytes do not come that way.
const LARGEST_PLANE: usize = 64 << 20;

/// Elements of any type begin at a multiple of this.
const ALIGNED: usize = 256;

/// Threads that the way to the device keeps busy.
const THREADS: usize = 8;

/// A scan whose planes lie apart in memory.
pub struct Slabs<'a> {
    span: Span<'a>,
    /// Planes of a slab, and the bytes that they reach over.
    together: usize,
    bytes: usize,
}

impl<'a> Slabs<'a> {
    /// None where planes lie between one another, or are very large.
    pub fn of(span: Span<'a>) -> Option<Self> {
        let [depth, ..] = span.layout.extents;
        let plane = reach(&span, 0, &(0..1))?.len();
        let apart = span.layout.strides[0].unsigned_abs();
        if plane > LARGEST_PLANE || depth > 1 && apart < plane {
            return None;
        }
        let most = SLAB.min(span.memory.len() / SLABS);
        let together = match most.saturating_sub(plane).checked_div(apart) {
            Some(more) => (1 + more).min(depth),
            None => depth.min(1),
        };
        Some(Self { bytes: reach(&span, 0, &(0..together))?.len(), span, together })
    }

    fn slab(&self, number: usize) -> Range<usize> {
        let start = number * self.together;
        start..(start + self.together).min(self.span.layout.extents[0])
    }

    /// Bytes on the device of those of so many channels that are on their way.
    pub fn staging(&self, channels: usize) -> usize {
        let size = self.bytes.next_multiple_of(ALIGNED);
        size.saturating_mul(THREADS.min(self.count() * channels))
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.span.layout.extents[0].div_ceil(self.together)
    }
}

/// Where in a span's memory planes of a channel lie.
fn reach(span: &Span<'_>, channel: usize, planes: &Range<usize>) -> Option<Range<usize>> {
    let (least, most) = span.planes(channel, planes).bounds()?;
    let range = usize::try_from(least).ok()?..usize::try_from(most).ok()?.checked_add(span.element_type.size())?;
    (range.end <= span.memory.len()).then_some(range)
}

/// Bytes of slabs under way, on the host and on the device each, at most, of a scan that reaches over so many, and a plane of it.
pub fn slab_bytes(scan: u64, plane: u64) -> u64 {
    let slab = plane.min(LARGEST_PLANE as u64).max((SLAB as u64).min(scan / SLABS as u64));
    slab.next_multiple_of(ALIGNED as u64).saturating_mul(THREADS as u64)
}

/// How far a scan has come, and what it needs on its way.
pub struct Coming {
    state: Mutex<State>,
    changed: Condvar,
    /// On their stream it comes.
    kernels: Kernels,
    /// On theirs it goes on from its source.
    onward: Kernels,
    /// Planes that come together: those of a slab, or all.
    together: usize,
    /// A piece for each thread.
    staging: Buffer<u8>,
    size: usize,
    mask: Option<Buffer<u8>>,
    source: Option<Source>,
}

/// Planes of a channel that go on from its source together: so many groups of them.
const GROUPS: usize = 6;

/// Slabs of a channel that have come.
struct Arrivals {
    has_come: Vec<bool>,
    /// Those before these have come.
    next: usize,
    /// Planes that went on.
    gone: usize,
}

impl Arrivals {
    fn new(slabs: &Slabs<'_>) -> Self {
        Self { has_come: vec![false; slabs.count()], next: 0, gone: 0 }
    }

    /// A slab has come: what planes go on now.
    fn take(&mut self, slabs: &Slabs<'_>, slab: usize) -> Range<usize> {
        if let Some(has_come) = self.has_come.get_mut(slab) {
            *has_come = true;
        }
        while self.has_come.get(self.next) == Some(&true) {
            self.next += 1;
        }
        let [depth, ..] = slabs.span.layout.extents;
        let there = (self.next * slabs.together).min(depth);
        let is_enough = there == depth || there - self.gone >= depth.div_ceil(GROUPS);
        let end = if is_enough { there } else { self.gone };
        std::mem::replace(&mut self.gone, end)..end
    }
}

/// Room for a channel on the scan's grid, and its way from there.
pub struct Source {
    pub values: Buffer<f32>,
    pub way: DeviceWay,
}

/// What is done to a channel that came by way of a source.
pub type After<'a> = dyn Fn(&Kernels, usize, View<'_, f32>) -> Result<()> + Sync + 'a;

struct State {
    /// Of planes that come together how many channels are still to come.
    left: Vec<usize>,
    /// Those before these are given to the stream.
    next: usize,
    /// Whether no more come, and why.
    has_ended: bool,
    failure: Option<Error>,
}

/// A thread's memory.
struct Slot {
    number: usize,
    block: Block,
    passed: Event,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Where that fails the device reads nothing any more.
        let _ = self.passed.synchronize();
    }
}

impl Coming {
    /// Room for what comes in these slabs, of so many channels, all at once if they have a source. `making` finds it.
    pub fn new(
        kernels: &Kernels,
        making: &Kernels,
        slabs: &Slabs<'_>,
        channels: usize,
        mask: Option<Buffer<u8>>,
        source: Option<Source>,
    ) -> Result<Self> {
        let size = slabs.bytes.next_multiple_of(ALIGNED);
        let (count, together) = if source.is_some() { (1, usize::MAX) } else { (slabs.count(), slabs.together) };
        Ok(Self {
            state: Mutex::new(State { left: vec![channels; count], next: 0, has_ended: false, failure: None }),
            changed: Condvar::default(),
            kernels: kernels.on(Arc::new(Stream::new(kernels.device(), 0)?)),
            onward: kernels.on(Arc::new(Stream::new(kernels.device(), 0)?)),
            together,
            staging: making.buffer(slabs.staging(channels))?,
            size,
            mask,
            source,
        })
    }

    /// Has what a stream is given later wait for the planes before that one, as soon as they are on their way.
    pub fn wait(&self, planes: usize, stream: &Stream) -> Result<()> {
        let mut state = self.state.lock();
        let slabs = planes.div_ceil(self.together).min(state.left.len());
        while state.next < slabs {
            if state.has_ended {
                let gone = || Error::new(Code::Internal, "the scan did not come to the GPU; please report this");
                return Err(state.failure.take().unwrap_or_else(gone));
            }
            self.changed.wait(&mut state);
        }
        drop(state);
        match self.source {
            None => stream.wait_for(self.kernels.stream()),
            Some(_) => stream.wait_for(self.onward.stream()),
        }
    }

    /// Brings channels to a volume, each of them changed; one after the other by way of the source, if there is one, and then done
    /// with as `after` says. Where that fails whoever waits is told.
    pub fn bring(&self, slabs: &Slabs<'_>, changes: &[Change], volume: &Buffer<f32>, after: &After<'_>, work: &Work) {
        let _told = Told(self);
        let channels = changes.len();
        let voxels = volume.view().count() / channels.max(1);
        let target = |channel: usize| volume.part(channel * voxels..(channel + 1) * voxels);
        let outcome = match &self.source {
            None => {
                let all = (0..slabs.count()).flat_map(|slab| (0..channels).map(move |channel| (slab, channel)));
                let tell = |slab| {
                    self.has_come(slab);
                    Ok(())
                };
                self.bring_slabs(slabs, all, changes, &target, &tell, work)
            }
            Some(Source { values, way }) => (0..channels).try_for_each(|channel| {
                let all = (0..slabs.count()).map(|slab| (slab, channel));
                let arrivals = Mutex::new(Arrivals::new(slabs));
                let go_on = |slab| {
                    let planes = arrivals.lock().take(slabs, slab);
                    if planes.is_empty() {
                        return Ok(());
                    }
                    self.onward.stream().wait_for(self.kernels.stream())?;
                    way.bring_planes(&self.onward, values.view(), planes, target(channel)?)
                };
                way.begin(&self.onward)?;
                self.bring_slabs(slabs, all, changes, &|_| Ok(values.view()), &go_on, work)?;
                let target = target(channel)?;
                way.finish(&self.onward, values.view(), target)?;
                after(&self.onward, channel, target)?;
                self.has_come(0);
                Ok(())
            }),
        };
        if let Err(error) = outcome {
            self.state.lock().failure = Some(error);
        }
    }

    /// A channel of these planes is given to the stream.
    fn has_come(&self, planes: usize) {
        let mut state = self.state.lock();
        if let Some(left) = state.left.get_mut(planes) {
            *left -= 1;
        }
        while state.left.get(state.next) == Some(&0) {
            state.next += 1;
        }
        self.changed.notify_all();
    }

    /// Brings slabs of channels to where the channel goes, and tells of each.
    fn bring_slabs<'v>(
        &self,
        slabs: &Slabs<'_>,
        all: impl Iterator<Item = (usize, usize)> + Send,
        changes: &[Change],
        target: &(dyn Fn(usize) -> Result<View<'v, f32>> + Sync),
        tell: &(dyn Fn(usize) -> Result<()> + Sync),
        work: &Work,
    ) -> Result<()> {
        let (kernels, span) = (&self.kernels, &slabs.span);
        let [_, height, width] = span.layout.extents;
        let slots = AtomicUsize::new(0);
        let slot = || {
            let (number, block) = (slots.fetch_add(1, Ordering::Relaxed), kernels.blocks().take(slabs.bytes)?);
            Ok(Slot { number, block, passed: Event::new(kernels.device())? })
        };
        let threads = work.on(span.memory.len()).threads.clamp(1, THREADS);
        let threads = threads.min(self.staging.view().count() / self.size.max(1));
        let work = Work { threads, progress: &|_| (), ..*work };
        work.each(&Pieces::new(1), all, slot, |slot, (slab, channel)| {
            let planes = slabs.slab(slab);
            let lost = || Error::new(Code::Internal, "planes of a scan are not where they were; please report this");
            let bytes = reach(span, channel, &planes).ok_or_else(lost)?;
            let from = &span.memory[bytes.clone()];
            let staging = self.staging.part(slot.number * self.size..slot.number * self.size + from.len())?;
            slot.passed.synchronize()?;
            // SAFETY: the block has room for the slab, and nothing uses it any more; the copy ends before it is let go of or filled
            // again.
            unsafe {
                std::ptr::copy_nonoverlapping(from.as_ptr(), slot.block.address().cast(), from.len());
                copy_async(staging.address(), slot.block.address(), from.len(), kernels.stream())?;
            }
            let voxels = planes.start * height * width..planes.end * height * width;
            let target = target(channel)?.part(voxels.clone())?;
            let mask = self.mask.as_ref().map(|mask| mask.part(voxels)).transpose()?;
            kernels.read_planes(span, (staging, bytes.start), channel, planes, changes[channel], mask, target)?;
            slot.passed.record(kernels.stream())?;
            tell(slab)
        })
    }
}

/// Tells whoever waits that no more comes, also where a thread panics.
struct Told<'a>(&'a Coming);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.state.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        // What is on its way uses the memory.
        let _ = self.kernels.stream().synchronize();
        let _ = self.onward.stream().synchronize();
    }
}
