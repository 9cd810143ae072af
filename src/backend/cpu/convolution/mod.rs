//! Convolutions and transposed convolutions of up to three axes, computed directly: no matrix of patches is made, padding
//! is part of the copy that the loop reads from, and strides cost nothing.
//!
//! tract's way, a product with gathered columns, reaches a third to two thirds of a core's peak on the layers of 3D
//! segmentation networks and leaves padding and the scatter of transposed convolutions to nodes of their own.
//!
//! [`Convolution`] is told the geometry and the weights once; [`Convolution::run`] is its interface. `kernel` has the
//! innermost loop, `operator` puts convolutions in the place of tract's.
//!
//! An output plane is computed from those input planes that its taps reach. They are kept in a ring, padded and with rows
//! and columns of a stride's phases side by side, so that neighbouring outputs read neighbouring elements whatever the
//! stride. A transposed convolution is, for each phase of its output, a convolution with some of the taps.
//! Each output is one sum in one order, so its bits do not depend on how many threads there are.

mod kernel;
mod operator;

use super::finish::Finish;
use kernel::{Kernel, LARGEST, Tile};
pub use operator::{DirectConvolution, replace};
use rayon::prelude::*;
use std::collections::TryReserveError;
use std::mem::MaybeUninit;
use std::ops::Range;
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
    /// One, or one for each phase of a transposed convolution's output.
    parts: Vec<Part>,
    /// The least offset of any tap from where an output begins to read, and how many elements the taps span.
    first: [isize; 3],
    span: Triple,
    /// One for each output channel.
    bias: Vec<f32>,
}

/// The outputs that are computed with the same taps.
#[derive(Clone, Debug)]
struct Part {
    /// The first of them, and how many there are along each axis.
    start: Triple,
    count: Triple,
    /// What an output reads, from where it begins.
    taps: Vec<[isize; 3]>,
    /// For each block of output channels, input channel and tap one weight for each of the block's channels.
    weights: Vec<f32>,
}

impl Convolution {
    /// `None` where this processor has no kernel for it. `weights` are (output channels, input channels, kernel), also for
    /// a transposed convolution; `bias` is empty or has one for each output channel.
    pub fn new(geometry: Geometry, weights: &[f32], bias: &[f32]) -> Option<Self> {
        Self::with_kernel(geometry, weights, bias, Kernel::all().next()?)
    }

    fn with_kernel(geometry: Geometry, weights: &[f32], bias: &[f32], kernel: Kernel) -> Option<Self> {
        let mut bias = bias.to_vec();
        bias.resize(geometry.output_channels.next_multiple_of(kernel.channels), 0.0);
        let mut parts = Vec::new();
        for phase in phases(&geometry) {
            let along = [0, 1, 2].map(|axis| Along::new(&geometry, axis, phase[axis]));
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
            let weights = pack(&geometry, weights, &places, kernel.channels);
            let start = [0, 1, 2].map(|axis| along[axis].start);
            parts.push(Part { start, count: [0, 1, 2].map(|axis| along[axis].count), taps, weights });
        }
        parts.retain(|part| part.count.iter().all(|count| *count > 0));
        let step = if geometry.transposed { [1; 3] } else { geometry.stride };
        let mut first = [0; 3];
        let mut span = [1; 3];
        for axis in 0..3 {
            let offsets = || parts.iter().flat_map(|part| &part.taps).map(|tap| tap[axis]);
            first[axis] = offsets().min().unwrap_or(0);
            span[axis] = (offsets().max().unwrap_or(0) - first[axis]) as usize + 1;
        }
        Some(Self { geometry, kernel, step, parts, first, span, bias })
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
        let channels = match volume {
            0 => vec![&[][..]; *input_channels],
            _ => inputs.iter().flat_map(|input| input.chunks_exact(volume)).collect(),
        };
        let input = Input { channels };
        let output = Output { address: output.as_mut_ptr(), residual, finish };
        let input = &input;
        match current_tract_executor() {
            Executor::MultiThread(pool) => {
                let tasks = self.tasks(pool.current_num_threads());
                pool.install(|| {
                    tasks.into_par_iter().with_max_len(1).try_for_each(|task| self.work(input, output, task))
                })
            }
            _ => self.tasks(1).into_iter().try_for_each(|task| self.work(input, output, task)),
        }
    }

    /// Output planes (of each part) and blocks of output channels, for some threads: planes first, since tasks beside each
    /// other copy what both read, and channels where there are few planes.
    fn tasks(&self, threads: usize) -> Vec<Task> {
        let planes = self.parts.iter().map(|part| part.count[0]).max().unwrap_or(0);
        let blocks = self.geometry.output_channels.div_ceil(self.kernel.channels);
        let wanted = if threads == 1 { 1 } else { threads * 4 };
        let by_planes = planes.div_ceil(self.span[0].max(2)).clamp(1, wanted);
        let by_blocks = wanted.div_ceil(by_planes).min(blocks).max(1);
        let cut = |count: usize, parts: usize, i: usize| count * i / parts..count * (i + 1) / parts;
        let tasks = (0..by_planes).flat_map(|i| (0..by_blocks).map(move |j| (i, j)));
        tasks.map(|(i, j)| Task { planes: cut(planes, by_planes, i), blocks: cut(blocks, by_blocks, j) }).collect()
    }

    fn work(&self, input: &Input<'_>, output: Output<'_>, task: Task) -> Result<(), TryReserveError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let mut ring = Ring::new(self)?;
        let mut runs = Vec::new();
        for plane in task.planes {
            ring.advance(self, input, plane);
            for part in self.parts.iter().filter(|part| plane < part.count[0]) {
                let taps: Vec<usize> = part.taps.iter().map(|tap| ring.offset(self, plane, tap)).collect();
                let voxels = (part.count[1] - 1) * ring.columns + part.count[2];
                // A tile's voxels are read once and stay in the cache for all channels.
                for voxel in (0..voxels).step_by(self.kernel.voxels) {
                    self.find_runs(
                        part,
                        plane,
                        voxel..(voxel + self.kernel.voxels).min(voxels),
                        ring.columns,
                        &mut runs,
                    );
                    for block in task.blocks.clone() {
                        let length = self.geometry.input_channels * part.taps.len() * self.kernel.channels;
                        let tile = Tile {
                            input: ring.data[voxel..].as_ptr(),
                            channel_stride: ring.channel,
                            channels: self.geometry.input_channels,
                            taps: &taps,
                            weights: part.weights[block * length..][..length].as_ptr(),
                        };
                        let mut sums = [0.0; LARGEST];
                        // SAFETY: the ring has a tile's voxels behind the last that any tap of any channel reaches.
                        unsafe { self.kernel.run(&tile, &mut sums) };
                        // SAFETY: no other task has the same planes of the same channels.
                        unsafe { self.store(&sums, output, block, &runs) };
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a tile's voxels go: they are counted along rows of so many columns, of which some are padding.
    fn find_runs(&self, part: &Part, plane: usize, tile: Range<usize>, columns: usize, runs: &mut Vec<Run>) {
        let [_, rows, width] = self.geometry.output;
        let spread = self.spread();
        runs.clear();
        let mut voxel = tile.start;
        while voxel < tile.end {
            let (row, column) = (voxel / columns, voxel % columns);
            let next = ((row + 1) * columns).min(tile.end);
            let count = part.count[2].saturating_sub(column).min(next - voxel);
            let row = (part.start[0] + plane * spread[0]) * rows + part.start[1] + row * spread[1];
            let to = row * width + part.start[2] + column * spread[2];
            runs.push(Run { from: voxel - tile.start, to, count });
            voxel = next;
        }
    }

    /// From one output of a part to the next, along each axis of the output.
    fn spread(&self) -> Triple {
        if self.geometry.transposed { self.geometry.stride } else { [1; 3] }
    }

    /// Puts a tile into its place.
    ///
    /// # Safety
    /// The address is the output's, and nobody else uses these planes of these channels.
    unsafe fn store(&self, sums: &[f32; LARGEST], output: Output<'_>, block: usize, runs: &[Run]) {
        let volume: usize = self.geometry.output.iter().product();
        let step = self.spread()[2];
        let first = block * self.kernel.channels;
        for channel in first..(first + self.kernel.channels).min(self.geometry.output_channels) {
            let sums = &sums[(channel - first) * self.kernel.voxels..][..self.kernel.voxels];
            let bias = self.bias[channel];
            for run in runs.iter().filter(|run| run.count > 0) {
                let sums = sums[run.from..][..run.count].iter().map(|sum| sum + bias);
                let start = channel * volume + run.to;
                // SAFETY: within the channel, by the part's counts; as the caller says nobody else's.
                unsafe {
                    let to = output.address.add(start);
                    if step == 1 {
                        let residual = output.residual.map(|residual| &residual[start..][..run.count]);
                        let to = std::slice::from_raw_parts_mut(to.cast::<MaybeUninit<f32>>(), run.count);
                        output.finish.each(sums, residual, |i, value| _ = to[i].write(value));
                    } else {
                        let mut spread = [0.0; LARGEST];
                        let residual = output.residual.map(|residual| {
                            let from = residual[start..].iter().step_by(step);
                            spread.iter_mut().zip(from).take(run.count).for_each(|(to, from)| *to = *from);
                            &spread[..run.count]
                        });
                        output.finish.each(sums, residual, |i, value| to.add(i * step).write(value));
                    }
                }
            }
        }
    }

    /// The same with each output multiplied by its channel's factor, or by the only one.
    pub fn scaled(mut self, factors: &[f32]) -> Self {
        let factor = |channel: usize| match factors {
            [all] => *all,
            each => each.get(channel).copied().unwrap_or(0.0),
        };
        let channels = self.kernel.channels;
        for part in &mut self.parts {
            let block = (self.geometry.input_channels * part.taps.len() * channels).max(1);
            for (place, weight) in part.weights.iter_mut().enumerate() {
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

/// Voxels of a tile that lie beside each other in a row of the output.
struct Run {
    from: usize,
    /// In a channel of the output.
    to: usize,
    count: usize,
}

/// The input of a run, channel by channel.
struct Input<'a> {
    channels: Vec<&'a [f32]>,
}

/// The output of a run, which its tasks share out among themselves.
#[derive(Clone, Copy)]
struct Output<'a> {
    address: *mut f32,
    residual: Option<&'a [f32]>,
    finish: Finish,
}

// SAFETY: tasks write to different planes or channels, and the run that lends the memory waits for all of them.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

struct Task {
    planes: Range<usize>,
    blocks: Range<usize>,
}

/// The phases of the output: those of a transposed convolution's strides.
fn phases(geometry: &Geometry) -> Vec<Triple> {
    let [z, y, x] = if geometry.transposed { geometry.stride } else { [1; 3] };
    (0..z).flat_map(|z| (0..y).flat_map(move |y| (0..x).map(move |x| [z, y, x]))).collect()
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

/// The input planes that an output plane is computed from: padded, and each row and column of a stride's phase beside the
/// next of that phase.
struct Ring {
    data: Vec<f32>,
    /// From one channel to the next, and from one plane of a channel, and from one phase of a plane.
    channel: usize,
    plane: usize,
    phase: usize,
    /// In a row of one phase.
    columns: usize,
    /// The next plane to be copied, counted from the first that any output reaches.
    next: usize,
}

impl Ring {
    fn new(convolution: &Convolution) -> Result<Self, TryReserveError> {
        let Convolution { geometry, kernel, step, span, .. } = convolution;
        let counts = |axis: usize| convolution.parts.iter().map(|part| part.count[axis]).max().unwrap_or(1);
        let extent = |axis: usize| ((counts(axis) - 1) * step[axis] + span[axis]).div_ceil(step[axis]);
        let (rows, columns) = (extent(1), extent(2));
        let phase = rows * columns;
        let plane = phase * step[1] * step[2];
        let channel = plane * span[0];
        let size = channel * geometry.input_channels + kernel.voxels;
        let mut data = Vec::new();
        data.try_reserve_exact(size)?;
        data.resize(size, 0.0);
        Ok(Self { data, channel, plane, phase, columns, next: 0 })
    }

    /// Copies what an output plane reads and is not there yet.
    fn advance(&mut self, convolution: &Convolution, input: &Input<'_>, plane: usize) {
        let begin = plane * convolution.step[0];
        let end = begin + convolution.span[0];
        for place in self.next.max(begin)..end {
            self.copy(convolution, input, place);
        }
        self.next = end;
    }

    fn copy(&mut self, convolution: &Convolution, input: &Input<'_>, place: usize) {
        let Convolution { geometry, step, first, span, .. } = convolution;
        let [planes, rows, columns] = geometry.input;
        let within = |place: usize, axis: usize, extent: usize| {
            usize::try_from(place as isize + first[axis]).ok().filter(|at| *at < extent)
        };
        let from = within(place, 0, planes);
        for (channel, input) in input.channels.iter().enumerate() {
            let start = channel * self.channel + place % span[0] * self.plane;
            let to = &mut self.data[start..][..self.plane];
            let Some(z) = from else {
                to.fill(0.0);
                continue;
            };
            let from = &input[z * rows * columns..][..rows * columns];
            for (number, phase) in to.chunks_exact_mut(self.phase).enumerate() {
                let (of_rows, of_columns) = (number / step[2], number % step[2]);
                for (y, row) in phase.chunks_exact_mut(self.columns).enumerate() {
                    match within(y * step[1] + of_rows, 1, rows) {
                        Some(y) => copy_row(row, &from[y * columns..][..columns], step[2], of_columns, first[2]),
                        None => row.fill(0.0),
                    }
                }
            }
        }
    }

    /// Where a tap of an output plane reads, in bytes from the first channel's first element on.
    fn offset(&self, convolution: &Convolution, plane: usize, tap: &[isize; 3]) -> usize {
        let Convolution { step, first, span, .. } = convolution;
        let [z, y, x] = [0, 1, 2].map(|axis| (tap[axis] - first[axis]) as usize);
        let slot = (plane * step[0] + z) % span[0];
        let phase = y % step[1] * step[2] + x % step[2];
        let at = slot * self.plane + phase * self.phase + y / step[1] * self.columns + x / step[2];
        at * size_of::<f32>()
    }
}

/// Every `step`th element of a row, from that number on; zeros where the row has none.
fn copy_row(to: &mut [f32], from: &[f32], step: usize, number: usize, first: isize) {
    let start = number as isize + first;
    let skipped = if start < 0 { (-start).cast_unsigned().div_ceil(step).min(to.len()) } else { 0 };
    let (padding, rest) = to.split_at_mut(skipped);
    padding.fill(0.0);
    let start = (start + (skipped * step) as isize).max(0).cast_unsigned().min(from.len());
    let from = &from[start..];
    let count = from.len().div_ceil(step).min(rest.len());
    let (copied, padding) = rest.split_at_mut(count);
    match step {
        1 => copied.copy_from_slice(&from[..count]),
        step => copied.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
    }
    padding.fill(0.0);
}

#[cfg(test)]
mod tests;
