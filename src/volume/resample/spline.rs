//! Cubic B-splines as scipy's `zoom` has them with mode `nearest`: the edge repeated twelve times, mirrored there, and first the
//! coefficients found, by a recursion there and one back, of which the spline goes through the samples.

use crate::error::Result;
use crate::volume::work::allocate;

/// Samples of the edge before and behind a line.
const PADDING: usize = 12;

/// Of the recursion, √3 − 2; and what it multiplies by.
const POLE: f64 = -0.267_949_192_431_122_7;
const GAIN: f64 = 6.0;

/// After so many samples the pole's power is below what float64 keeps.
const REACH: usize = 32;

/// Neighbours in memory that are computed together: as many rows fit into a processor's cache, and enough for its vectors.
const WIDTH: usize = 64;
const LINES: usize = 16;

#[derive(Clone, Debug)]
pub struct Spline {
    /// Samples of a line with its padding.
    length: usize,
    taps: Vec<Taps>,
}

/// Four neighbouring coefficients and their weights.
#[derive(Clone, Copy, Debug, Default)]
struct Taps {
    first: usize,
    weights: [f64; 4],
}

impl Spline {
    pub fn new(from: usize, to: usize, position: impl Fn(usize) -> f64) -> Result<Self> {
        let mut taps: Vec<Taps> = allocate("the weights of an axis", to)?;
        for (i, taps) in taps.iter_mut().enumerate() {
            // Never farther out than half a sample.
            let x = position(i).clamp(-0.5, from as f64 - 0.5);
            let t = x - x.floor();
            let s = 1.0 - t;
            let weights = [
                s * s * s / 6.0,
                (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
                (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0,
                t * t * t / 6.0,
            ];
            *taps = Taps {
                first: (x.floor() + PADDING as f64 - 1.0) as usize,
                weights: weights.map(|weight| weight * GAIN),
            };
        }
        Ok(Self { length: from + 2 * PADDING, taps })
    }

    /// For each new sample the first of four coefficients, and their weights.
    pub fn taps(&self) -> impl Iterator<Item = (usize, [f64; 4])> {
        self.taps.iter().map(|taps| (taps.first, taps.weights))
    }

    pub fn scratch_bytes(&self) -> u64 {
        (self.length as u64).saturating_mul((WIDTH * size_of::<f64>()) as u64)
    }

    /// See `Kernel::rows`.
    pub fn rows(&self, source: &[&[f32]], target: &mut [&mut [f32]], scratch: &mut Vec<f64>) -> Result<()> {
        let columns = source.first().map_or(0, |row| row.len());
        for start in (0..columns).step_by(WIDTH) {
            let width = WIDTH.min(columns - start);
            let lines = self.lines(scratch, width)?;
            for (line, row) in lines.chunks_mut(width).skip(PADDING).zip(source) {
                line.iter_mut().zip(&row[start..start + width]).for_each(|(to, from)| *to = f64::from(*from));
            }
            self.coefficients(lines, width);
            for (taps, row) in self.taps.iter().zip(target.iter_mut()) {
                taps.apply(lines, width, |i, value| row[start + i] = value);
            }
        }
        Ok(())
    }

    /// See `Kernel::along`.
    pub fn along(
        &self,
        source: &[f32],
        from: usize,
        target: &mut [f32],
        to: usize,
        scratch: &mut Vec<f64>,
    ) -> Result<()> {
        for (source, target) in source.chunks(LINES * from).zip(target.chunks_mut(LINES * to)) {
            let width = source.len() / from;
            let lines = self.lines(scratch, width)?;
            for (i, row) in source.chunks(from).enumerate() {
                let places = lines[PADDING * width + i..].iter_mut().step_by(width);
                places.zip(row).for_each(|(place, value)| *place = f64::from(*value));
            }
            self.coefficients(lines, width);
            for (j, taps) in self.taps.iter().enumerate() {
                taps.apply(lines, width, |i, value| target[i * to + j] = value);
            }
        }
        Ok(())
    }

    fn lines<'a>(&self, scratch: &'a mut Vec<f64>, width: usize) -> Result<&'a mut [f64]> {
        let size = self.length * width;
        if scratch.len() < size {
            *scratch = allocate("lines of a scan that is being resampled", size)?;
        }
        Ok(&mut scratch[..size])
    }

    /// Makes coefficients (divided by the gain) of samples that stand between the paddings.
    fn coefficients(&self, lines: &mut [f64], width: usize) {
        let (length, end) = (self.length, self.length - PADDING);
        for i in 0..PADDING {
            lines.copy_within(PADDING * width..(PADDING + 1) * width, i * width);
            lines.copy_within((end - 1) * width..end * width, (end + i) * width);
        }
        // As if the line came out of its mirror image.
        let (first, rest) = lines.split_at_mut(width);
        let mut power = POLE;
        for row in rest.chunks(width).take(REACH) {
            first.iter_mut().zip(row).for_each(|(first, value)| *first += power * value);
            power *= POLE;
        }
        for i in 1..length {
            let (before, here) = lines[(i - 1) * width..(i + 1) * width].split_at_mut(width);
            here.iter_mut().zip(before).for_each(|(here, before)| *here += POLE * *before);
        }
        let (before, last) = lines[(length - 2) * width..].split_at_mut(width);
        last.iter_mut()
            .zip(before)
            .for_each(|(last, before)| *last = POLE / (POLE * POLE - 1.0) * (POLE * *before + *last));
        for i in (0..length - 1).rev() {
            let (here, after) = lines[i * width..(i + 2) * width].split_at_mut(width);
            here.iter_mut().zip(after).for_each(|(here, after)| *here = POLE * (*after - *here));
        }
    }
}

impl Taps {
    fn apply(&self, lines: &[f64], width: usize, mut put: impl FnMut(usize, f32)) {
        let lines = &lines[self.first * width..(self.first + 4) * width];
        let (a, lines) = lines.split_at(width);
        let (b, lines) = lines.split_at(width);
        let (c, d) = lines.split_at(width);
        let [wa, wb, wc, wd] = self.weights;
        for (i, (((a, b), c), d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
            put(i, (wa * a + wb * b + wc * c + wd * d) as f32);
        }
    }
}
