//! One axis: which of the old samples make each new one.

use super::spline::Spline;
use crate::error::{Code, Error, Result};
use crate::volume::recipe::Interpolation;
use crate::volume::work::allocate;
use std::ops::Range;

#[derive(Clone, Debug)]
pub enum Kernel {
    Same,
    /// The old sample of each new one.
    Nearest(Vec<usize>),
    Linear(Vec<Between>),
    Cubic(Spline),
}

/// Of sample `at`, and by `part` of the next one. Where `part` is 0 there need be no next one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Between {
    pub at: usize,
    pub part: f32,
}

impl Between {
    /// The other sample.
    pub fn next(&self) -> usize {
        self.at + usize::from(self.part > 0.0)
    }
}

/// Where the new samples lie among the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// The outer edges of both are the same.
    Edges,
    /// The first ones are the same.
    FirstVoxels,
    /// As many samples, counted with the outer ones as wholes, lie on either side of one place. These are MONAI's middles, half a
    /// sample of the coarser ones away from what others call so.
    Middles,
}

impl Alignment {
    /// Of new sample `i`, counted in old ones.
    pub fn position(self, i: usize, from: usize, to: usize, ratio: f64) -> f64 {
        match self {
            Self::Edges => (i as f64 + 0.5) * from as f64 / to as f64 - 0.5,
            Self::FirstVoxels => i as f64 * ratio,
            Self::Middles => (i as f64 - to as f64 / 2.0) * ratio + from as f64 / 2.0,
        }
    }
}

impl Kernel {
    /// From `from` samples to `to`, the new ones `ratio` times as far apart.
    pub fn new(from: usize, to: usize, ratio: f64, alignment: Alignment, interpolation: Interpolation) -> Result<Self> {
        let same = from == to && (alignment == Alignment::Edges || ratio == 1.0);
        if same {
            return Ok(Self::Same);
        }
        if [from, to].iter().any(|extent| *extent > u32::MAX as usize) {
            return Err(Error::new(Code::Unsupported, format!("an axis of {} voxels is not resampled", from.max(to))));
        }
        let position = |i: usize| alignment.position(i, from, to, ratio);
        let last = (from - 1) as f64;
        Ok(match interpolation {
            Interpolation::Nearest => {
                let mut samples: Vec<usize> = allocate("the samples of an axis", to)?;
                for (i, sample) in samples.iter_mut().enumerate() {
                    *sample = match alignment {
                        // In whole numbers: what is at .5 is not left to rounding.
                        Alignment::Edges => ((2 * i as u64 + 1) * from as u64 / (2 * to as u64)) as usize,
                        Alignment::FirstVoxels | Alignment::Middles => {
                            (position(i) + 0.5).floor().clamp(0.0, last) as usize
                        }
                    };
                }
                Self::Nearest(samples)
            }
            Interpolation::Linear => {
                let mut samples: Vec<Between> = allocate("the samples of an axis", to)?;
                for (i, sample) in samples.iter_mut().enumerate() {
                    let x = position(i).clamp(0.0, last);
                    *sample = Between { at: x.floor() as usize, part: (x - x.floor()) as f32 };
                    // A part that rounds to the whole is the next sample.
                    if sample.part >= 1.0 {
                        *sample = Between { at: sample.at + 1, part: 0.0 };
                    }
                }
                Self::Linear(samples)
            }
            Interpolation::Cubic => Self::Cubic(Spline::new(from, to, |i| match alignment {
                Alignment::Edges => position(i),
                Alignment::FirstVoxels | Alignment::Middles => position(i).clamp(0.0, last),
            })?),
        })
    }

    /// What one thread needs beside its rows.
    pub fn scratch_bytes(&self) -> u64 {
        if let Self::Cubic(spline) = self { spline.scratch_bytes() } else { 0 }
    }

    /// Of `source.len()` rows `target.len()` new ones; all rows are of one length.
    pub fn rows(&self, source: &[&[f32]], target: &mut [&mut [f32]], scratch: &mut Vec<f64>) -> Result<()> {
        match self {
            Self::Same => target.iter_mut().zip(source).for_each(|(target, source)| target.copy_from_slice(source)),
            Self::Nearest(samples) => {
                target.iter_mut().zip(samples).for_each(|(target, at)| target.copy_from_slice(source[*at]));
            }
            Self::Linear(samples) => {
                for (target, sample) in target.iter_mut().zip(samples) {
                    let (a, b) = (source[sample.at], source[sample.next()]);
                    for ((target, a), b) in target.iter_mut().zip(a).zip(b) {
                        *target = a + (b - a) * sample.part;
                    }
                }
            }
            Self::Cubic(spline) => return spline.rows(source, target, scratch),
        }
        Ok(())
    }

    /// For some of the new samples alone, and the old ones that they need; a spline needs all.
    pub fn part(&self, new: Range<usize>, from: usize) -> (Self, Range<usize>) {
        match self {
            Self::Same => (Self::Same, new),
            Self::Nearest(samples) => {
                let samples = &samples[new];
                let first = samples.first().copied().unwrap_or(0);
                let old = first..samples.last().map_or(0, |last| last + 1);
                (Self::Nearest(samples.iter().map(|at| at - first).collect()), old)
            }
            Self::Linear(samples) => {
                let samples = &samples[new];
                let first = samples.first().map_or(0, |sample| sample.at);
                let old = first..samples.last().map_or(0, |last| last.next() + 1);
                let part = samples.iter().map(|sample| Between { at: sample.at - first, ..*sample });
                (Self::Linear(part.collect()), old)
            }
            Self::Cubic(spline) => (Self::Cubic(spline.clone()), 0..from),
        }
    }

    /// Of each row of `from` samples one of `to`; rows follow each other without gaps.
    pub fn along(
        &self,
        source: &[f32],
        from: usize,
        target: &mut [f32],
        to: usize,
        scratch: &mut Vec<f64>,
    ) -> Result<()> {
        match self {
            Self::Same => target.copy_from_slice(source),
            Self::Nearest(samples) => {
                for (source, target) in source.chunks(from).zip(target.chunks_mut(to)) {
                    target.iter_mut().zip(samples).for_each(|(target, at)| *target = source[*at]);
                }
            }
            Self::Linear(samples) => {
                for (source, target) in source.chunks(from).zip(target.chunks_mut(to)) {
                    for (target, sample) in target.iter_mut().zip(samples) {
                        let (a, b) = (source[sample.at], source[sample.next()]);
                        *target = a + (b - a) * sample.part;
                    }
                }
            }
            Self::Cubic(spline) => return spline.along(source, from, target, to, scratch),
        }
        Ok(())
    }
}
