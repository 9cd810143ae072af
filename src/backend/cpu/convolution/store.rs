//! Where the sums of a tile go.

use super::kernel::Kernel;
use super::{Convolution, LARGEST, Part, Sums, ahead};
use crate::backend::cpu::finish::Finish;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of an output that needs no memory asked for ahead.
const CACHED: usize = 1 << 18;

/// Voxels of a tile that lie beside each other in a row of the output.
pub struct Run {
    pub from: usize,
    /// In a channel of the output, and among the columns of the phase: where the first phase's go.
    pub to: usize,
    pub column: usize,
    pub count: usize,
}

/// Where a tile's voxels go: they are counted along rows of so many columns, some of which may be padding, from the
/// beginning of a plane on.
pub fn find_runs(
    convolution: &Convolution,
    part: &Part,
    plane: usize,
    tile: &Range<usize>,
    [rows, columns]: [usize; 2],
    runs: &mut Vec<Run>,
) {
    let [_, height, width] = convolution.geometry.output;
    let spread = if convolution.geometry.transposed { convolution.geometry.stride } else { [1; 3] };
    runs.clear();
    let mut voxel = tile.start;
    while voxel < tile.end {
        let (row, column) = (voxel / columns, voxel % columns);
        let next = ((row + 1) * columns).min(tile.end);
        let count = part.count[2].saturating_sub(column).min(next - voxel);
        let (plane, row) = (plane + row / rows, row % rows);
        let row = (part.start[0] + plane * spread[0]) * height + part.start[1] + row * spread[1];
        let (from, to) = (voxel - tile.start, row * width + column * spread[2]);
        voxel = next;
        match runs.last_mut() {
            _ if count == 0 => {}
            // Rows that follow each other in both are one.
            Some(last) if part.phases.len() == 1 && last.from + last.count == from && last.to + last.count == to => {
                last.count += count;
            }
            _ => runs.push(Run { from, to, column, count }),
        }
    }
}

/// The output of a run, which its tasks share out among themselves.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    address: *mut f32,
    residual: Option<&'a [f32]>,
    finish: Finish,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write to different planes or channels, and the run that lends the memory waits for all of them.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub fn new(output: &'a mut [f32], residual: Option<&'a [f32]>, finish: Finish) -> Self {
        Self { address: output.as_mut_ptr(), residual, finish, lent: PhantomData }
    }

    /// Finishes the sums of a tile, for each phase and block, and puts them into their places.
    ///
    /// # Safety
    /// The output is the convolution's, the runs are of the part, and nobody else uses these planes of these channels.
    pub unsafe fn store(
        self,
        convolution: &Convolution,
        part: &Part,
        sums: &[Sums],
        blocks: &Range<usize>,
        runs: &[Run],
    ) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            unsafe fn wide(
                output: Output<'_>,
                convolution: &Convolution,
                part: &Part,
                sums: &[Sums],
                blocks: &Range<usize>,
                runs: &[Run],
            ) {
                // SAFETY: as the caller says.
                unsafe { output.plain(convolution, part, sums, blocks, runs) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: as the caller says; the processor has the instructions.
                return unsafe { wide(self, convolution, part, sums, blocks, runs) };
            }
        }
        // SAFETY: as the caller says.
        unsafe { self.plain(convolution, part, sums, blocks, runs) };
    }

    /// Written for a compiler that knows of wide registers: it gives the same bits with them and without.
    ///
    /// # Safety
    /// As for `store`.
    #[inline(always)]
    unsafe fn plain(self, convolution: &Convolution, part: &Part, sums: &[Sums], blocks: &Range<usize>, runs: &[Run]) {
        let Convolution { geometry, kernel: Kernel { channels, voxels, .. }, bias, .. } = convolution;
        let volume: usize = geometry.output.iter().product();
        let numbers = blocks.clone().enumerate().flat_map(|(number, block)| {
            let first = block * channels;
            (first..(first + channels).min(geometry.output_channels)).map(move |channel| (number, channel))
        });
        // A channel, where its outputs begin, and of each phase its sums.
        let each = numbers.map(|(number, channel)| {
            let of_phase =
                move |phase: usize| &sums[phase * blocks.len() + number].0[channel % channels * voxels..][..*voxels];
            (bias[channel], channel * volume, of_phase)
        });
        // SAFETY: within the channel, by the part's counts; as the caller says nobody else's.
        unsafe {
            match &part.phases[..] {
                [_] => {
                    for (bias, start, of_phase) in each {
                        let sums = of_phase(0);
                        for run in runs {
                            self.put(start + run.to, &sums[run.from..][..run.count], bias);
                        }
                    }
                }
                [_, second] => {
                    // One of each phase in turn; the second may have one less in a row.
                    let end = runs.last().map_or(0, |run| run.from + run.count);
                    let mut turns = [0.0; LARGEST / 4];
                    for (bias, start, of_phase) in each {
                        let (pairs, _) = turns.as_chunks_mut::<2>();
                        for (pair, (a, b)) in pairs.iter_mut().zip(of_phase(0)[..end].iter().zip(&of_phase(1)[..end])) {
                            *pair = [*a, *b];
                        }
                        for run in runs {
                            let count = run.count + run.count.min(second.columns - run.column);
                            self.put(start + run.to, &turns[2 * run.from..][..count], bias);
                        }
                    }
                }
                phases => {
                    for (bias, start, of_phase) in each {
                        for (run, (number, phase)) in
                            runs.iter().flat_map(|run| phases.iter().enumerate().map(move |phase| (run, phase)))
                        {
                            let count = run.count.min(phase.columns.saturating_sub(run.column));
                            for (place, sum) in of_phase(number)[run.from..][..count].chunks_exact(1).enumerate() {
                                self.put(start + run.to + number + place * phases.len(), sum, bias);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Asks for the memory of a tile that will be stored, where the output is larger than what caches have.
    pub fn fetch(self, convolution: &Convolution, part: &Part, blocks: &Range<usize>, runs: &[Run]) {
        let Convolution { geometry, kernel: Kernel { channels, .. }, .. } = convolution;
        let volume: usize = geometry.output.iter().product();
        if volume * geometry.output_channels <= CACHED {
            return;
        }
        for channel in blocks.start * channels..(blocks.end * channels).min(geometry.output_channels) {
            for run in runs {
                let address = self.address.wrapping_add(channel * volume + run.to);
                ahead::to_write(address, run.count * part.phases.len());
            }
        }
    }

    /// Finishes some sums and writes them from that place on.
    ///
    /// # Safety
    /// The output has them there, and nobody else uses them.
    #[inline(always)]
    unsafe fn put(self, start: usize, sums: &[f32], bias: f32) {
        let residual = self.residual.map(|residual| &residual[start..][..sums.len()]);
        // SAFETY: as the caller says.
        let to =
            unsafe { std::slice::from_raw_parts_mut(self.address.add(start).cast::<MaybeUninit<f32>>(), sums.len()) };
        self.finish.write(to, sums, residual, |sum| sum + bias, MaybeUninit::new);
    }
}
