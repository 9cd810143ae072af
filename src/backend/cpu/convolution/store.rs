//! Where the sums of a tile go.

use super::kernel::Kernel;
use super::{Convolution, LARGEST, Part, Sums};
use crate::backend::cpu::finish::Finish;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

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
        for (number, block) in blocks.clone().enumerate() {
            let first = block * channels;
            for channel in first..(first + channels).min(geometry.output_channels) {
                let bias = bias[channel];
                let of_phase =
                    |phase: usize| &sums[phase * blocks.len() + number].0[(channel - first) * voxels..][..*voxels];
                for run in runs {
                    let start = channel * volume + run.to;
                    // SAFETY: within the channel, by the part's counts; as the caller says nobody else's.
                    unsafe {
                        match &part.phases[..] {
                            [_] => {
                                let sums = of_phase(0)[run.from..][..run.count].iter().map(|sum| sum + bias);
                                self.put(start, run.count, sums);
                            }
                            [_, second] => {
                                // One of each phase in turn; the second may have one less in a row.
                                let mut turns = [0.0; LARGEST / 4];
                                let (pairs, _) = turns.as_chunks_mut::<2>();
                                let of = |phase: usize| of_phase(phase)[run.from..][..run.count].iter();
                                for (pair, (a, b)) in pairs.iter_mut().zip(of(0).zip(of(1))) {
                                    *pair = [a + bias, b + bias];
                                }
                                let count = run.count + run.count.min(second.columns - run.column);
                                self.put(start, count, turns[..count].iter().copied());
                            }
                            phases => {
                                for (number, phase) in phases.iter().enumerate() {
                                    let count = run.count.min(phase.columns.saturating_sub(run.column));
                                    let sums = &of_phase(number)[run.from..][..count];
                                    for (place, sum) in sums.iter().enumerate() {
                                        let at = start + number + place * phases.len();
                                        self.put(at, 1, std::iter::once(sum + bias));
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Finishes so many values and writes them from that place on.
    ///
    /// # Safety
    /// The output has them there, and nobody else uses them.
    #[inline(always)]
    unsafe fn put(self, start: usize, count: usize, values: impl Iterator<Item = f32>) {
        let residual = self.residual.map(|residual| &residual[start..][..count]);
        // SAFETY: as the caller says.
        let to = unsafe { std::slice::from_raw_parts_mut(self.address.add(start).cast::<MaybeUninit<f32>>(), count) };
        self.finish.each(values, residual, |i, value| _ = to[i].write(value));
    }
}
