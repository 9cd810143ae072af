//! The part of the input that output planes are computed from.

use super::gather::COPIED;
use super::{Convolution, Input, Reading, Triple, ahead};
use std::collections::TryReserveError;
use std::ops::Range;

/// So many elements before they are copied memory is asked for them: a page.
const AHEAD: usize = 1024;

/// The input planes that output planes are computed from: padded, and each row and column of a stride's phase beside the
/// next of that phase.
pub struct Ring {
    pub data: Vec<f32>,
    /// From one channel to the next, and from one plane of a channel, and from one phase of a plane.
    pub channel: usize,
    plane: usize,
    phase: usize,
    /// In a row of one phase.
    pub columns: usize,
    /// How many planes are there, and the next to be copied, counted from the first that any output reaches.
    planes: usize,
    next: usize,
}

impl Ring {
    pub fn new(convolution: &Convolution) -> Result<Self, TryReserveError> {
        let [planes, rows, columns] = [Self::planes(convolution), extent(convolution, 1), extent(convolution, 2)];
        let [_, of_rows, of_columns] = phases(convolution);
        let phase = rows * columns;
        let plane = phase * of_rows * of_columns;
        let size = Self::bytes(convolution) / size_of::<f32>();
        let mut data = Vec::new();
        data.try_reserve_exact(size)?;
        data.resize(size, 0.0);
        Ok(Self { data, channel: plane * planes, plane, phase, columns, planes, next: 0 })
    }

    pub fn bytes(convolution: &Convolution) -> usize {
        if convolution.reading == Reading::Input {
            return 0;
        }
        let [_, of_rows, of_columns] = phases(convolution);
        let plane = extent(convolution, 1) * extent(convolution, 2) * of_rows * of_columns;
        let channels = convolution.geometry.input_channels * Self::planes(convolution) * plane;
        // Tiles, and what is copied of rows, reach over the end.
        (channels + convolution.kernel.voxels.max(COPIED)) * size_of::<f32>()
    }

    /// In a row of one phase.
    pub fn columns(convolution: &Convolution) -> usize {
        extent(convolution, 2)
    }

    fn planes(convolution: &Convolution) -> usize {
        convolution.span[0] + (convolution.together() - 1) * convolution.step[0]
    }

    /// Nothing of it is of use to a task's first planes.
    pub fn restart(&mut self) {
        self.next = 0;
    }

    /// Copies what these output planes read and is not there yet.
    pub fn advance(&mut self, convolution: &Convolution, input: &Input<'_>, planes: &Range<usize>) {
        let begin = planes.start * convolution.step[0];
        let end = (planes.end - 1) * convolution.step[0] + convolution.span[0];
        for place in self.next.max(begin)..end {
            self.copy(convolution, input, place);
        }
        self.next = end;
    }

    fn copy(&mut self, convolution: &Convolution, input: &Input<'_>, place: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            fn wide(ring: &mut Ring, convolution: &Convolution, input: &Input<'_>, place: usize) {
                ring.copy_plainly(convolution, input, place);
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has the instructions.
                return unsafe { wide(self, convolution, input, place) };
            }
        }
        self.copy_plainly(convolution, input, place);
    }

    /// Written for a compiler that knows of wide registers.
    #[inline(always)]
    fn copy_plainly(&mut self, convolution: &Convolution, input: &Input<'_>, place: usize) {
        let Convolution { geometry, step, first, .. } = convolution;
        let [planes, rows, columns] = geometry.input;
        let within = |place: usize, axis: usize, extent: usize| {
            usize::try_from(place as isize + first[axis]).ok().filter(|at| *at < extent)
        };
        let from = within(place, 0, planes);
        let [_, of_rows, of_columns] = phases(convolution);
        let order = (0..self.phase / self.columns).flat_map(|y| (0..of_rows).map(move |of_rows| (y, of_rows)));
        let row_of = |phase: usize| Row::new([self.columns, columns], step[2], phase as isize + first[2]);
        let both = [row_of(0), row_of(1)];
        for (channel, input) in input.channels.iter().enumerate() {
            let start = channel * self.channel + place % self.planes * self.plane;
            let plane = &mut self.data[start..][..self.plane];
            let Some(z) = from else {
                plane.fill(0.0);
                continue;
            };
            let from = &input[z * rows * columns..][..rows * columns];
            // In the input's order: memory is the slowest part of it.
            for (y, of_rows) in order.clone() {
                let to = &mut plane[of_rows * of_columns * self.phase + y * self.columns..];
                let row = within(y * step[1] + of_rows, 1, rows).map(|y| &from[y * columns..][..columns]);
                if let Some(row) = row {
                    ahead::to_read(row.as_ptr().wrapping_add(AHEAD), columns);
                }
                match (row, step[2], of_columns) {
                    (Some(row), 2, 2) => {
                        let (to, other) = to.split_at_mut(self.phase);
                        Row::copy_both(&both, [&mut to[..self.columns], &mut other[..self.columns]], row);
                    }
                    (Some(row), ..) => {
                        for (phase, to) in to.chunks_mut(self.phase).take(of_columns).enumerate() {
                            row_of(phase).copy(&mut to[..self.columns], row);
                        }
                    }
                    (None, ..) => {
                        for to in to.chunks_mut(self.phase).take(of_columns) {
                            to[..self.columns].fill(0.0);
                        }
                    }
                }
            }
        }
    }

    /// Where a tap of an output plane reads, from the first channel's first element on.
    pub fn offset(&self, convolution: &Convolution, plane: usize, tap: &[isize; 3]) -> usize {
        let Convolution { step, first, .. } = convolution;
        let [z, y, x] = [0, 1, 2].map(|axis| (tap[axis] - first[axis]) as usize);
        let slot = (plane * step[0] + z) % self.planes;
        let phase = y % step[1] * phases(convolution)[2] + x % step[2];
        slot * self.plane + phase * self.phase + y / step[1] * self.columns + x / step[2]
    }
}

/// Of the input's rows and columns those phases that any tap reaches.
fn phases(convolution: &Convolution) -> Triple {
    [0, 1, 2].map(|axis| convolution.step[axis].min(convolution.span[axis]))
}

/// Rows or columns of one phase.
fn extent(convolution: &Convolution, axis: usize) -> usize {
    let count = convolution.parts.iter().map(|part| part.count[axis]).max().unwrap_or(1);
    ((count - 1) * convolution.step[axis] + convolution.span[axis]).div_ceil(convolution.step[axis])
}

/// Every `step`th element of a row, and zeros where the row has none.
pub struct Row {
    step: usize,
    /// Zeros before the first.
    before: usize,
    /// The first, and how many there are.
    start: usize,
    count: usize,
}

impl Row {
    /// From the element with that number on, for rows of so many elements: as they are copied, and as they are.
    pub fn new([to, from]: [usize; 2], step: usize, first: isize) -> Self {
        let before = if first < 0 { first.unsigned_abs().div_ceil(step).min(to) } else { 0 };
        let start = (first + (before * step) as isize).max(0).cast_unsigned().min(from);
        Self { step, before, start, count: (from - start).div_ceil(step).min(to - before) }
    }

    /// What lies before and behind what is copied becomes zeros.
    #[inline(always)]
    fn copied<'a>(&self, to: &'a mut [f32]) -> &'a mut [f32] {
        let (before, rest) = to.split_at_mut(self.before);
        let (copied, behind) = rest.split_at_mut(self.count);
        before.iter_mut().for_each(|to| *to = 0.0);
        behind.iter_mut().for_each(|to| *to = 0.0);
        copied
    }

    #[inline(always)]
    pub fn copy(&self, to: &mut [f32], from: &[f32]) {
        let copied = self.copied(to);
        let from = &from[self.start..];
        match self.step {
            1 => copied.copy_from_slice(&from[..self.count]),
            2 => {
                let (pairs, last) = from.as_chunks::<2>();
                copied.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
                if let (true, [last]) = (self.count > pairs.len(), last) {
                    copied[pairs.len()] = *last;
                }
            }
            step => copied.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
        }
    }

    /// The same for both phases of rows whose step is two: each element is read once.
    #[inline(always)]
    pub fn copy_both(rows: &[Self; 2], to: [&mut [f32]; 2], from: &[f32]) {
        let ([a, b], [to_a, to_b]) = (rows, to);
        let ([a, b], [to_a, to_b]) = if a.start < b.start { ([a, b], [to_a, to_b]) } else { ([b, a], [to_b, to_a]) };
        if a.start + 1 != b.start {
            a.copy(to_a, from);
            return b.copy(to_b, from);
        }
        let (to_a, to_b) = (a.copied(to_a), b.copied(to_b));
        let from = &from[a.start..];
        let both = to_a.len().min(to_b.len());
        let (to, rest) = (to_a[..both].as_chunks_mut::<8>().0, to_b[..both].as_chunks_mut::<8>().0);
        let done = to.len() * 8;
        for (from, (to_a, to_b)) in from.as_chunks::<16>().0.iter().zip(to.iter_mut().zip(rest)) {
            (*to_a, *to_b) = (std::array::from_fn(|i| from[2 * i]), std::array::from_fn(|i| from[2 * i + 1]));
        }
        to_a.iter_mut().enumerate().skip(done).for_each(|(i, to)| *to = from[2 * i]);
        to_b.iter_mut().enumerate().skip(done).for_each(|(i, to)| *to = from[2 * i + 1]);
    }
}
