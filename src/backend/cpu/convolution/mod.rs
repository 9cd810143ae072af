//! Convolutions and transposed convolutions of up to three axes, computed directly: no matrix of patches is made, padding
//! is part of the copy that the loop reads from, and strides cost nothing.
//!
//! tract's way, a product with gathered columns, reaches a third to two thirds of a core's peak on the layers of 3D
//! segmentation networks and leaves padding and the scatter of transposed convolutions to nodes of their own.
//!
//! [`Convolution`] is told the geometry and the weights once; [`Convolution::run`] is its interface. `kernel` has the
//! innermost loop, `ring` and `gather` what it reads from, `store` where its results go, `ahead` asks for memory before it is
//! needed; `operator` puts convolutions in the place of tract's.
//!
//! An output plane is computed from those input planes that its taps reach. They are kept in a ring, padded and with rows
//! and columns of a stride's phases side by side, so that neighbouring outputs read neighbouring elements whatever the
//! stride. Where planes are so small that a tile would be padding for the most part, its voxels are gathered from the ring.
//! Windows of one element are read where the input lies. A transposed convolution is, for each phase of its output, a
//! convolution with some of the taps.
//!
//! Each output is one sum in one order, so its bits do not depend on how many threads there are, nor on the tile it is in.

mod ahead;
#[cfg(all(test, target_arch = "x86_64"))]
mod benchmark;
mod gather;
mod kernel;
mod operator;
mod ring;
mod store;
#[cfg(test)]
mod tests;

use super::finish::Finish;
use crate::sync::Mutex;
use gather::Gathered;
use kernel::{Kernel, LARGEST, Tile};
pub use operator::{DirectConvolution, replace};
use rayon::prelude::*;
use ring::Ring;
use std::collections::TryReserveError;
use std::ops::Range;
use store::{Output, Run};
use tract_linalg::multithread::{Executor, current_tract_executor};

/// Planes, rows, columns.
type Triple = [usize; 3];

/// What a convolution computes, for one item: inputs and outputs are (channels, planes, rows, columns), dense.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub input_channels: usize,
    pub output_channels: usize,
    pub input: Triple,
    pub output: Triple,
    pub kernel: Triple,
    pub stride: Triple,
    pub dilation: Triple,
    /// Before the first element of each axis; what is padded behind the last follows from the output's extents.
    pub padding: Triple,
    pub transposed: bool,
}

/// A convolution with its weights, ready to run.
#[derive(Clone, Debug)]
pub struct Convolution {
    geometry: Geometry,
    kernel: Kernel,
    /// From one output to the next, along each axis of the input.
    step: Triple,
    /// One, or one for each phase of a transposed convolution's planes and rows.
    parts: Vec<Part>,
    /// The least offset of any tap from where an output begins to read, and how many elements the taps span.
    first: [isize; 3],
    span: Triple,
    /// One for each output channel.
    bias: Vec<f32>,
    reading: Reading,
}

/// Where tiles are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The ring, whose rows follow each other with the padding between them.
    Rows,
    /// The ring, but voxels alone, brought together for each tile, of so many planes at once.
    Gathered(usize),
    /// The input as it is.
    Input,
}

/// Outputs that begin to read at the same places.
#[derive(Clone, Debug)]
struct Part {
    /// The first of them, and how many there are along each axis: of columns as many as in the largest phase.
    start: [usize; 2],
    count: Triple,
    /// One, or one for each phase of a transposed convolution's columns: what is computed of them is interleaved.
    phases: Vec<Phase>,
}

/// The outputs that are computed with the same taps.
#[derive(Clone, Debug)]
struct Phase {
    columns: usize,
    /// What an output reads, from where it begins.
    taps: Vec<[isize; 3]>,
    /// For each block of output channels, input channel and tap one weight for each of the block's channels.
    weights: Vec<f32>,
}

impl Convolution {
    /// `None` where this processor has no kernel for it. `weights` are (output channels, input channels, kernel), also for
    /// a transposed convolution; `bias` is empty or has one for each output channel.
    pub fn new(geometry: Geometry, weights: &[f32], bias: &[f32]) -> Option<Self> {
        Some(Self::with_kernel(geometry, weights, bias, Kernel::all().next()?))
    }

    fn with_kernel(geometry: Geometry, weights: &[f32], bias: &[f32], kernel: Kernel) -> Self {
        let mut bias = bias.to_vec();
        bias.resize(geometry.output_channels.next_multiple_of(kernel.channels), 0.0);
        let [planes, rows, columns] = if geometry.transposed { geometry.stride } else { [1; 3] };
        let mut parts = Vec::new();
        for (z, y) in (0..planes).flat_map(|z| (0..rows).map(move |y| (z, y))) {
            let phases = (0..columns).map(|x| {
                let along = [(0, z), (1, y), (2, x)].map(|(axis, phase)| Along::new(&geometry, axis, phase));
                let (taps, places) = taps_of(&geometry, &along);
                let weights = pack(&geometry, weights, &places, kernel.channels);
                Phase { columns: along[2].count, taps, weights }
            });
            // The last phases have the fewest columns.
            let phases: Vec<_> = phases.take_while(|phase| phase.columns > 0).collect();
            let [along_z, along_y] = [(0, z), (1, y)].map(|(axis, phase)| Along::new(&geometry, axis, phase));
            let widest = phases.first().map_or(0, |phase| phase.columns);
            let count = [along_z.count, along_y.count, widest];
            parts.push(Part { start: [along_z.start, along_y.start], count, phases });
        }
        parts.retain(|part| part.count.iter().all(|count| *count > 0));
        let step = if geometry.transposed { [1; 3] } else { geometry.stride };
        let mut first = [0; 3];
        let mut span = [1; 3];
        for axis in 0..3 {
            let taps = || parts.iter().flat_map(|part| &part.phases).flat_map(|phase| &phase.taps);
            let offsets = || taps().map(|tap| tap[axis]);
            first[axis] = offsets().min().unwrap_or(0);
            span[axis] = (offsets().max().unwrap_or(0) - first[axis]) as usize + 1;
        }
        let mut this = Self { geometry, kernel, step, parts, first, span, bias, reading: Reading::Rows };
        this.reading = this.best_reading();
        this
    }

    fn best_reading(&self) -> Reading {
        let Self { geometry, kernel, parts, .. } = self;
        let [part] = &parts[..] else { return self.rows_or_gathered() };
        let volume: usize = geometry.input.iter().product();
        let pointwise = self.step == [1; 3] && self.first == [0; 3] && self.span == [1; 3];
        let all = geometry.input == geometry.output && part.count == geometry.output;
        if pointwise && all && part.phases.len() == 1 && volume >= kernel.voxels && geometry.input_channels > 0 {
            return Reading::Input;
        }
        self.rows_or_gathered()
    }

    /// What takes less: to compute the padding between rows, and what is left of each plane's last tile, or to gather.
    fn rows_or_gathered(&self) -> Reading {
        let Self { geometry, kernel, parts, .. } = self;
        let planes = parts.iter().map(|part| part.count[0]).max().unwrap_or(0);
        let plane = parts.iter().map(|part| part.count[1] * part.count[2]).max().unwrap_or(1).max(1);
        let together = (GATHERED_TILES * kernel.voxels).div_ceil(plane).clamp(1, planes.max(1));
        let vectors = |voxels: usize| voxels.div_ceil(kernel.vector());
        let columns = Ring::columns(self);
        let (mut by_rows, mut gathered) = (0, 0);
        for part in parts {
            let [planes, rows, width] = part.count;
            by_rows += planes * vectors((rows - 1) * columns + width);
            let whole = planes / together * vectors(together * rows * width);
            gathered += whole + vectors(planes % together * rows * width);
        }
        // A vector that is gathered takes as long as some output channels that are computed of it.
        let channels = geometry.output_channels.next_multiple_of(kernel.channels);
        match gathered * (channels + GATHERING) < by_rows * channels {
            true => Reading::Gathered(together),
            false => Reading::Rows,
        }
    }

    /// Planes that are computed at once.
    fn together(&self) -> usize {
        if let Reading::Gathered(planes) = self.reading { planes } else { 1 }
    }

    /// Writes the output of one item, with the threads of tract's executor. The input's channels may lie in several
    /// places, some of them in each.
    pub fn run(
        &self,
        inputs: &[&[f32]],
        residual: Option<&[f32]>,
        finish: Finish,
        output: &mut [f32],
    ) -> Result<(), TryReserveError> {
        let Geometry { input_channels, output_channels, input: from, output: to, .. } = &self.geometry;
        let volume: usize = from.iter().product();
        // The tasks below write and read by address: what they rely on.
        assert!(inputs.iter().all(|input| input.len().checked_rem(volume).unwrap_or(input.len()) == 0));
        assert_eq!(inputs.iter().map(|input| input.len()).sum::<usize>(), input_channels * volume);
        assert_eq!(output.len(), output_channels * to.iter().product::<usize>());
        assert!(residual.is_none_or(|residual| residual.len() == output.len()));
        if self.parts.is_empty() {
            return Ok(());
        }
        let channels = match volume {
            0 => vec![&[][..]; *input_channels],
            _ => inputs.iter().flat_map(|input| input.chunks_exact(volume)).collect(),
        };
        let input = Input { channels };
        let output = Output::new(output, residual, finish);
        let input = &input;
        match current_tract_executor() {
            Executor::MultiThread(pool) => {
                let threads = pool.current_num_threads();
                let tasks = self.tasks(threads);
                // Made here, where memory is at hand that was used before.
                let scratch = (0..threads.min(tasks.len())).map(|_| Scratch::new(self));
                let scratch = Mutex::new(scratch.collect::<Result<Vec<_>, _>>()?);
                pool.install(|| {
                    tasks.into_par_iter().with_max_len(1).try_for_each(|task| {
                        let taken = scratch.lock().pop();
                        let mut own = taken.map_or_else(|| Scratch::new(self), Ok)?;
                        self.work(input, output, task, &mut own);
                        scratch.lock().push(own);
                        Ok(())
                    })
                })
            }
            _ => {
                let mut scratch = Scratch::new(self)?;
                self.tasks(1).into_iter().for_each(|task| self.work(input, output, task, &mut scratch));
                Ok(())
            }
        }
    }

    /// The bytes that a run by so many threads needs beside its inputs and its output.
    pub fn scratch_bytes(&self, threads: usize) -> u64 {
        let most = self.tasks(threads).len().min(threads) as u64;
        (Scratch::bytes(self) as u64).saturating_mul(most)
    }

    /// Output planes (of each part) and blocks of output channels, for some threads: planes first, since tasks beside each
    /// other copy what both read, and channels where there are few planes.
    fn tasks(&self, threads: usize) -> Vec<Task> {
        let planes = self.parts.iter().map(|part| part.count[0]).max().unwrap_or(0);
        let blocks = self.blocks();
        let wanted = match (threads, self.reading) {
            (1, _) => 1,
            // Tasks of the same planes gather the same.
            (threads, Reading::Gathered(_)) => threads * 2,
            (threads, _) => threads * 4,
        };
        let least = match self.reading {
            Reading::Input => 1,
            _ => self.span[0].max(2).max(self.together()),
        };
        let by_planes = planes.div_ceil(least).clamp(1, wanted);
        let by_blocks = wanted.div_ceil(by_planes).min(blocks).max(1);
        let cut = |count: usize, parts: usize, i: usize| count * i / parts..count * (i + 1) / parts;
        let tasks = (0..by_planes).flat_map(|i| (0..by_blocks).map(move |j| (i, j)));
        tasks.map(|(i, j)| Task { planes: cut(planes, by_planes, i), blocks: cut(blocks, by_blocks, j) }).collect()
    }

    /// Blocks of output channels.
    fn blocks(&self) -> usize {
        self.geometry.output_channels.div_ceil(self.kernel.channels)
    }

    fn work(&self, input: &Input<'_>, output: Output<'_>, task: Task, scratch: &mut Scratch) {
        if self.reading == Reading::Input {
            return self.work_on_input(input, output, &task, scratch);
        }
        scratch.ring.restart();
        for first in task.planes.clone().step_by(self.together()) {
            let planes = first..(first + self.together()).min(task.planes.end);
            scratch.ring.advance(self, input, &planes);
            for part in &self.parts {
                let planes = planes.start..planes.end.min(part.count[0]);
                if planes.is_empty() {
                    continue;
                }
                match self.reading {
                    Reading::Gathered(_) => self.work_gathered(part, &planes, output, &task.blocks, scratch),
                    _ => self.work_on_rows(part, first, output, &task.blocks, scratch),
                }
            }
        }
    }

    fn work_on_rows(
        &self,
        part: &Part,
        plane: usize,
        output: Output<'_>,
        blocks: &Range<usize>,
        scratch: &mut Scratch,
    ) {
        let Scratch { ring, sums, taps, runs, .. } = scratch;
        taps.resize(part.phases.len(), Vec::new());
        for (phase, taps) in part.phases.iter().zip(&mut *taps) {
            taps.clear();
            taps.extend(phase.taps.iter().map(|tap| ring.offset(self, plane, tap) * size_of::<f32>()));
        }
        let voxels = (part.count[1] - 1) * ring.columns + part.count[2];
        for voxel in (0..voxels).step_by(self.kernel.voxels) {
            let voxels = voxel..(voxel + self.kernel.voxels).min(voxels);
            store::find_runs(self, part, plane, &voxels, [part.count[1], ring.columns], runs);
            for blocks in self.groups(part, blocks) {
                output.fetch(self, part, &blocks, runs);
                for (number, (phase, taps)) in part.phases.iter().zip(&*taps).enumerate() {
                    for channels in self.portions(taps.len(), PORTION) {
                        let tile = Tile {
                            input: ring.data[voxel + channels.start * ring.channel..].as_ptr(),
                            channel_stride: ring.channel,
                            channels: channels.len(),
                            taps,
                            weights: std::ptr::null(),
                            goes_on: channels.start > 0,
                        };
                        let sums = sums_of(sums, &blocks, number);
                        // SAFETY: the ring has a tile's voxels behind the last that any tap of any channel reaches.
                        unsafe { self.sum(phase, &tile, channels.start, voxels.len(), &blocks, sums) };
                    }
                }
                // SAFETY: no other task has the same planes of the same channels.
                unsafe { output.store(self, part, sums, &blocks, runs) };
            }
        }
    }

    /// Blocks whose sums are stored before the next are computed: as few as it pays to store at once, or all where the input
    /// channels come in portions.
    fn groups(&self, part: &Part, blocks: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let taps = part.phases.iter().map(|phase| phase.taps.len()).max().unwrap_or(0);
        let summed = taps * self.geometry.input_channels;
        let step = match summed <= PORTION {
            true => self.kernel.stored.div_ceil((summed * part.phases.len()).max(1)),
            false => blocks.len(),
        };
        let end = blocks.end;
        blocks.clone().step_by(step.max(1)).map(move |start| start..start.saturating_add(step.max(1)).min(end))
    }

    fn work_gathered(
        &self,
        part: &Part,
        planes: &Range<usize>,
        output: Output<'_>,
        blocks: &Range<usize>,
        scratch: &mut Scratch,
    ) {
        let Scratch { ring, gathered, sums, runs, .. } = scratch;
        let voxels = planes.len() * part.count[1] * part.count[2];
        for voxel in (0..voxels).step_by(self.kernel.voxels) {
            let voxels = voxel..(voxel + self.kernel.voxels).min(voxels);
            gathered.find(part, ring, &voxels);
            store::find_runs(self, part, planes.start, &voxels, [part.count[1], part.count[2]], runs);
            output.fetch(self, part, blocks, runs);
            for (number, phase) in part.phases.iter().enumerate() {
                gathered.reach(self, ring, phase, planes);
                for channels in self.portions(phase.taps.len(), GATHERED_PORTION) {
                    let tile = gathered.tile(self, ring, &channels);
                    // SAFETY: a tile's voxels are there for each tap of each of the channels.
                    unsafe {
                        self.sum(phase, &tile, channels.start, voxels.len(), blocks, sums_of(sums, blocks, number))
                    };
                }
            }
            // SAFETY: no other task has the same planes of the same channels.
            unsafe { output.store(self, part, sums, blocks, runs) };
        }
    }

    /// Windows of one element: the channels of a voxel are its taps.
    fn work_on_input(&self, input: &Input<'_>, output: Output<'_>, task: &Task, scratch: &mut Scratch) {
        let [part] = &self.parts[..] else { return };
        let [phase] = &part.phases[..] else { return };
        let Some(first) = input.channels.first() else { return };
        let Scratch { sums, taps, runs, .. } = scratch;
        taps.resize(1, Vec::new());
        taps[0].clear();
        // Of other tensors, too: only the processor adds them up.
        taps[0]
            .extend(input.channels.iter().map(|channel| channel.as_ptr().addr().wrapping_sub(first.as_ptr().addr())));
        let [_, rows, columns] = self.geometry.output;
        let end = task.planes.end * rows * columns;
        for voxel in (task.planes.start * rows * columns..end).step_by(self.kernel.voxels) {
            let voxels = voxel..(voxel + self.kernel.voxels).min(end);
            // The last tile of all is read from as far before it as it would reach beyond the channel.
            let begin = voxel.min(first.len() - self.kernel.voxels);
            runs.clear();
            runs.push(Run { from: voxel - begin, to: voxel, column: 0, count: voxels.len() });
            output.fetch(self, part, &task.blocks, runs);
            for channels in self.portions(1, PORTION) {
                let tile = Tile {
                    input: first[begin..].as_ptr(),
                    channel_stride: 0,
                    channels: 1,
                    taps: &taps[0][channels.clone()],
                    weights: std::ptr::null(),
                    goes_on: channels.start > 0,
                };
                let voxels = voxels.end - begin;
                // SAFETY: each channel has as many voxels as the first, and so many from there on.
                unsafe { self.sum(phase, &tile, channels.start, voxels, &task.blocks, sums_of(sums, &task.blocks, 0)) };
            }
            // SAFETY: no other task has the same planes of the same channels.
            unsafe { output.store(self, part, sums, &task.blocks, runs) };
        }
    }

    /// The input channels, so many together that what a tile reads of them stays in the nearest cache for all blocks.
    fn portions(&self, taps: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
        let (all, portion) = (self.geometry.input_channels, (most / taps.max(1)).max(1));
        // One, if empty, without channels: it makes the sums 0.
        (0..all.max(1)).step_by(portion).map(move |start| start..(start + portion).min(all))
    }

    /// A tile's sums over some input channels, for each block.
    ///
    /// # Safety
    /// The tile reads what is there; it has no weights yet.
    unsafe fn sum(
        &self,
        phase: &Phase,
        tile: &Tile<'_>,
        first_channel: usize,
        voxels: usize,
        blocks: &Range<usize>,
        sums: &mut [Sums],
    ) {
        let a_channel = phase.taps.len() * self.kernel.channels;
        let length = self.geometry.input_channels * a_channel;
        for (block, sums) in blocks.clone().zip(sums) {
            let weights = phase.weights[block * length..][..length][first_channel * a_channel..].as_ptr();
            // SAFETY: as the caller says; the weights of a block are those of all channels and taps.
            unsafe { self.kernel.run(&Tile { weights, ..*tile }, voxels, &mut sums.0) };
        }
    }

    /// The same with each output multiplied by its channel's factor, or by the only one.
    pub fn scaled(mut self, factors: &[f32]) -> Self {
        let factor = |channel: usize| match factors {
            [all] => *all,
            each => each.get(channel).copied().unwrap_or(0.0),
        };
        let channels = self.kernel.channels;
        for phase in self.parts.iter_mut().flat_map(|part| &mut part.phases) {
            let block = (self.geometry.input_channels * phase.taps.len() * channels).max(1);
            for (place, weight) in phase.weights.iter_mut().enumerate() {
                *weight *= factor(place / block * channels + place % channels);
            }
        }
        self.bias.iter_mut().enumerate().for_each(|(channel, bias)| *bias *= factor(channel));
        self
    }

    /// The same with its channel's number, or the only one, added to each output.
    pub fn shifted(mut self, numbers: &[f32]) -> Self {
        let number = |channel: usize| match numbers {
            [all] => *all,
            each => each.get(channel).copied().unwrap_or(0.0),
        };
        self.bias.iter_mut().enumerate().for_each(|(channel, bias)| *bias += number(channel));
        self
    }
}

/// What taps times channels are summed at once: their weights, and what a tile reads of them, stay in the nearest cache while
/// all blocks are computed.
const PORTION: usize = 864;
const GATHERED_PORTION: usize = 432;

/// Tiles that are gathered of planes together, at least: what the last of them lacks is little then.
const GATHERED_TILES: usize = 3;

/// A vector is gathered in the time in which so many output channels of it are computed.
const GATHERING: usize = 8;

/// A tile's sums.
#[repr(align(64))]
#[derive(Clone)]
struct Sums([f32; LARGEST]);

/// Those of a phase.
fn sums_of<'a>(sums: &'a mut [Sums], blocks: &Range<usize>, phase: usize) -> &'a mut [Sums] {
    &mut sums[phase * blocks.len()..][..blocks.len()]
}

/// What a task works in.
struct Scratch {
    ring: Ring,
    gathered: Gathered,
    /// For each phase and block.
    sums: Vec<Sums>,
    taps: Vec<Vec<usize>>,
    runs: Vec<Run>,
}

impl Scratch {
    fn new(convolution: &Convolution) -> Result<Self, TryReserveError> {
        let mut sums = Vec::new();
        sums.try_reserve_exact(Self::sums(convolution))?;
        sums.resize(Self::sums(convolution), Sums([0.0; LARGEST]));
        let (taps, runs) = (Vec::new(), Vec::new());
        Ok(Self { ring: Ring::new(convolution)?, gathered: Gathered::new(convolution)?, sums, taps, runs })
    }

    fn sums(convolution: &Convolution) -> usize {
        convolution.blocks() * convolution.parts.iter().map(|part| part.phases.len()).max().unwrap_or(0)
    }

    fn bytes(convolution: &Convolution) -> usize {
        Self::sums(convolution) * size_of::<Sums>() + Ring::bytes(convolution) + Gathered::bytes(convolution)
    }
}

/// The input of a run, channel by channel.
struct Input<'a> {
    channels: Vec<&'a [f32]>,
}

struct Task {
    planes: Range<usize>,
    blocks: Range<usize>,
}

/// One axis of a part.
struct Along {
    start: usize,
    count: usize,
    /// Which of the kernel, and what it reads, from where an output begins.
    taps: Vec<(usize, isize)>,
}

impl Along {
    fn new(geometry: &Geometry, axis: usize, phase: usize) -> Self {
        let Geometry { kernel, stride, dilation, padding, output, transposed, .. } = geometry;
        let (stride, dilation, padding) = (stride[axis], dilation[axis], padding[axis]);
        if !transposed {
            let taps = (0..kernel[axis]).map(|k| (k, (k * dilation) as isize - padding as isize)).collect();
            return Self { start: 0, count: output[axis], taps };
        }
        // Input i adds to output i·stride + k·dilation − padding: output q·stride + phase is reached from input
        // q + (phase + padding − k·dilation) / stride, where that is whole.
        let taps = (0..kernel[axis]).filter_map(|k| {
            let distance = (phase + padding) as isize - (k * dilation) as isize;
            (distance.rem_euclid(stride as isize) == 0).then_some((k, distance.div_euclid(stride as isize)))
        });
        Self { start: phase, count: output[axis].saturating_sub(phase).div_ceil(stride), taps: taps.collect() }
    }
}

/// What an output of these axes reads, from where it begins, and where in the kernel that is weighed.
fn taps_of(geometry: &Geometry, along: &[Along; 3]) -> (Vec<[isize; 3]>, Vec<usize>) {
    let mut taps = Vec::new();
    let mut places = Vec::new();
    for (kz, z) in &along[0].taps {
        for (ky, y) in &along[1].taps {
            for (kx, x) in &along[2].taps {
                taps.push([*z, *y, *x]);
                places.push((kz * geometry.kernel[1] + ky) * geometry.kernel[2] + kx);
            }
        }
    }
    (taps, places)
}

/// The weights of some taps, in the order in which a kernel reads them; channels that fill the last block up weigh nothing.
fn pack(geometry: &Geometry, weights: &[f32], taps: &[usize], block: usize) -> Vec<f32> {
    let Geometry { input_channels, output_channels, kernel, .. } = geometry;
    let volume: usize = kernel.iter().product();
    let mut packed = Vec::with_capacity(output_channels.next_multiple_of(block) * input_channels * taps.len());
    for first in (0..*output_channels).step_by(block) {
        for input in 0..*input_channels {
            for tap in taps {
                packed.extend((first..first + block).map(|output| match output < *output_channels {
                    true => weights[(output * input_channels + input) * volume + tap],
                    false => 0.0,
                }));
            }
        }
    }
    packed
}
