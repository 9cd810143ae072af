//! What is done to the values of a channel.

use super::recipe::{Intensity, ZScore};
use super::work::{Pieces, Work, allocate};
use crate::error::Result;
use std::ops::Range;

/// Planes of one channel in their order, without gaps.
pub struct Planes<'a> {
    pub extents: [usize; 3],
    /// How many are best read at once.
    pub together: usize,
    pub read: &'a (dyn Fn(Range<usize>, &mut [f32]) + Sync),
}

impl Intensity {
    /// Whether it depends on the volume's own values.
    pub fn needs_survey(&self) -> bool {
        matches!(self, Self::ZScore(_) | Self::ZeroToOne)
    }
}

/// Number, mean and sum of squared differences from it in float64, and the ends.
#[derive(Clone, Copy, Debug, Default)]
struct Statistics {
    count: usize,
    mean: f64,
    squares: f64,
    ends: Option<(f32, f32)>,
}

impl Statistics {
    fn of(values: impl Iterator<Item = f32> + Clone) -> Self {
        let Some(first) = values.clone().next() else { return Self::default() };
        // Differences from the first value: those of a constant volume are 0 to the bit.
        let shift = f64::from(first);
        let (mut count, mut sum, mut squares, mut ends) = (0, 0.0, 0.0, (first, first));
        for value in values {
            let difference = f64::from(value) - shift;
            count += 1;
            sum += difference;
            squares += difference * difference;
            ends = (ends.0.min(value), ends.1.max(value));
        }
        let mean = sum / count as f64;
        Self { count, mean: shift + mean, squares: (squares - sum * mean).max(0.0), ends: Some(ends) }
    }

    fn with(self, other: Self) -> Self {
        let ends = match (self.ends, other.ends) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        if self.count == 0 || other.count == 0 {
            return Self { ends, ..if self.count == 0 { other } else { self } };
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        Self {
            count: self.count + other.count,
            mean: self.mean + apart * (b / (a + b)),
            squares: self.squares + other.squares + apart * apart * (a * b / (a + b)),
            ends,
        }
    }

    /// The population's.
    fn deviation(&self) -> f64 {
        (self.squares / self.count as f64).sqrt()
    }
}

/// What is done to each value: in float32, as the references do it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Nothing,
    Ct { low: f32, high: f32, mean: f32, divisor: f32 },
    Shifted { minus: f32, divisor: f32, which: Which },
    Range { minus: f32, divisor: Option<f32>, factor: f32, plus: f32, clip: Option<(f32, f32)> },
}

/// Which values count and are changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Which {
    All,
    Masked,
    Nonzero,
}

/// What smaller deviations and ranges count as, in nnU-Net.
const LEAST: f64 = 1e-8;

impl Change {
    /// What an intensity means for this channel; `mask` is of the planes' extents.
    pub fn of(
        intensity: &Intensity,
        planes: &Planes,
        mask: Option<&[bool]>,
        work: &Work,
        pieces: &Pieces,
    ) -> Result<Self> {
        Ok(match *intensity {
            Intensity::Unchanged => Self::Nothing,
            Intensity::Ct { low, high, mean, deviation } => {
                Self::Ct { low: low as f32, high: high as f32, mean: mean as f32, divisor: deviation.max(LEAST) as f32 }
            }
            Intensity::Rgb => Self::Shifted { minus: 0.0, divisor: 255.0, which: Which::All },
            Intensity::ZeroToOne => {
                let (least, most) = survey(planes, Which::All, mask, work, pieces)?.ends.unwrap_or_default();
                Self::Shifted { minus: least, divisor: (most - least).max(LEAST as f32), which: Which::All }
            }
            Intensity::ZScore(mode) => {
                let which = match mode {
                    ZScore::Whole | ZScore::MonaiWhole => Which::All,
                    ZScore::FilledMask => Which::Masked,
                    ZScore::MonaiNonzero => Which::Nonzero,
                };
                let statistics = survey(planes, which, mask, work, pieces)?;
                if statistics.count == 0 {
                    return Ok(Self::Nothing);
                }
                let divisor = match mode {
                    ZScore::Whole | ZScore::FilledMask => statistics.deviation().max(LEAST) as f32,
                    ZScore::MonaiWhole | ZScore::MonaiNonzero => match statistics.deviation() as f32 {
                        0.0 => 1.0,
                        deviation => deviation,
                    },
                };
                Self::Shifted { minus: statistics.mean as f32, divisor, which }
            }
            Intensity::Range { from, to, clip } => Self::Range {
                minus: from.0 as f32,
                // MONAI's way with a range of nothing: moved only.
                divisor: (from.1 != from.0).then_some((from.1 - from.0) as f32),
                factor: (to.1 - to.0) as f32,
                plus: to.0 as f32,
                clip: clip.then_some((to.0 as f32, to.1 as f32)),
            },
        })
    }

    /// `mask` is of the values' extents.
    pub fn apply(&self, values: &mut [f32], mask: Option<&[bool]>) {
        match *self {
            Self::Nothing => (),
            Self::Ct { low, high, mean, divisor } => {
                values.iter_mut().for_each(|value| *value = (clipped(*value, low, high) - mean) / divisor);
            }
            Self::Shifted { minus, divisor, which } => {
                let change = |value: f32| (value - minus) / divisor;
                match (which, mask) {
                    (Which::All, _) => values.iter_mut().for_each(|value| *value = change(*value)),
                    (Which::Nonzero, _) => {
                        values.iter_mut().for_each(|value| *value = if *value == 0.0 { *value } else { change(*value) })
                    }
                    (Which::Masked, mask) => values
                        .iter_mut()
                        .zip(mask.unwrap_or_default())
                        .for_each(|(value, inside)| *value = if *inside { change(*value) } else { *value }),
                }
            }
            Self::Range { minus, divisor, factor, plus, clip } => {
                let moved = |value: f32| match divisor {
                    Some(divisor) => (value - minus) / divisor * factor + plus,
                    None => value - minus + plus,
                };
                match clip {
                    None => values.iter_mut().for_each(|value| *value = moved(*value)),
                    Some((low, high)) => {
                        values.iter_mut().for_each(|value| *value = clipped(moved(*value), low, high));
                    }
                }
            }
        }
    }
}

/// NaN stays NaN, and there need be no such range.
pub fn clipped(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// Planes side by side, put together in their order: so the sums do not depend on threads.
fn survey(planes: &Planes, which: Which, mask: Option<&[bool]>, work: &Work, pieces: &Pieces) -> Result<Statistics> {
    let [nz, ny, nx] = planes.extents;
    let mut found: Vec<Statistics> = allocate("statistics of planes", nz)?;
    let slabs = found.chunks_mut(planes.together).enumerate();
    let scratch = || allocate("planes of the scan", planes.together * ny * nx);
    work.each(pieces, slabs, scratch, |values: &mut Vec<f32>, (slab, found)| {
        let first = slab * planes.together;
        (planes.read)(first..first + found.len(), values);
        for (i, (found, values)) in found.iter_mut().zip(values.chunks(ny * nx)).enumerate() {
            *found = match which {
                Which::All => Statistics::of(values.iter().copied()),
                Which::Nonzero => Statistics::of(values.iter().copied().filter(|value| *value != 0.0)),
                Which::Masked => {
                    let mask = mask.map_or(&[][..], |mask| &mask[(first + i) * ny * nx..][..ny * nx]);
                    Statistics::of(values.iter().zip(mask).filter(|(_, inside)| **inside).map(|(value, _)| *value))
                }
            };
        }
        Ok(())
    })?;
    Ok(found.into_iter().fold(Statistics::default(), Statistics::with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::work::tests::PLAIN;

    const MODES: [ZScore; 4] = [ZScore::Whole, ZScore::FilledMask, ZScore::MonaiWhole, ZScore::MonaiNonzero];

    fn changed(intensity: &Intensity, values: &[f32], mask: Option<&[bool]>) -> Vec<f32> {
        let read = |planes: Range<usize>, target: &mut [f32]| target.copy_from_slice(&values[planes]);
        let planes = Planes { extents: [values.len(), 1, 1], together: 1, read: &read };
        let change = Change::of(intensity, &planes, mask, &PLAIN, &Pieces::new(1)).unwrap();
        let mut values = values.to_vec();
        change.apply(&mut values, mask);
        values
    }

    #[test]
    fn constant_volumes_become_zeros() {
        // 0.1 is no float32: sums of it are inexact.
        for value in [0.1f32, -1000.0, 3e7] {
            let values = vec![value; 1001];
            let mask = vec![true; 1001];
            for mode in MODES {
                let result = changed(&Intensity::ZScore(mode), &values, Some(&mask));
                assert!(result.iter().all(|value| *value == 0.0), "{value} {mode:?}");
            }
            assert!(changed(&Intensity::ZeroToOne, &values, None).iter().all(|value| *value == 0.0));
        }
    }

    #[test]
    fn volumes_of_nothing_stay() {
        let values = vec![0.0; 9];
        for mode in MODES {
            assert_eq!(changed(&Intensity::ZScore(mode), &values, Some(&[false; 9])), values, "{mode:?}");
        }
        assert_eq!(changed(&Intensity::ZeroToOne, &values, None), values);
        // What is outside the mask stays, whatever it is.
        let half = [false, true, true, true, false];
        let result = changed(&Intensity::ZScore(ZScore::FilledMask), &[7.0, 1.0, 2.0, 3.0, 0.0], Some(&half));
        let one = 1.0 / (2.0f64 / 3.0).sqrt() as f32;
        assert_eq!(result, [7.0, -one, 0.0, one, 0.0]);
    }

    #[test]
    fn statistics_far_from_zero_are_exact() {
        // A float32 sum of the squares would have nothing left of the deviation.
        let values: Vec<f32> = (0..100_000).map(|i| 30_000.0 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let result = changed(&Intensity::ZScore(ZScore::Whole), &values, None);
        assert!(result.iter().zip(&values).all(|(result, value)| *result == value - 30_000.0));
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let ct = Intensity::Ct { low: -1.0, high: 1.0, mean: 0.0, deviation: 0.0 };
        let range = Intensity::Range { from: (0.0, 2.0), to: (0.0, 1.0), clip: true };
        for intensity in [ct, range, Intensity::Unchanged, Intensity::ZeroToOne, Intensity::Rgb] {
            let result = changed(&intensity, &[1.0, f32::NAN, 2.0], None);
            assert!(result[1].is_nan() && !result[0].is_nan() && !result[2].is_nan(), "{intensity:?} {result:?}");
        }
        // A range of nothing is only moved; MONAI's.
        let point = Intensity::Range { from: (5.0, 5.0), to: (1.0, 2.0), clip: false };
        assert_eq!(changed(&point, &[5.0, 7.0], None), [1.0, 3.0]);
    }
}
