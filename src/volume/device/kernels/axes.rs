//! A channel onto another grid, one axis after the other, and back between the values that it had.

use super::{Kernels, ROWS, THREADS, pointers, same, small, wrong};
use crate::error::{Code, Error, Result};
use crate::volume::device::buffer::{Buffer, Element, View};
use crate::volume::resample::{Kernel as Resampling, Way};
use std::ops::Range;

/// Samples of the edge before and behind a spline's line.
const PADDING: usize = 12;

/// Samples of a spline's line that are worked on together.
const PIECE: usize = 16;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Between {
    pub(super) at: u32,
    pub(super) part: f32,
}

impl Between {
    /// The last sample that it needs.
    pub(super) fn last(&self) -> usize {
        self.at as usize + usize::from(self.part > 0.0)
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LinesThere([u32; 4]);

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Taps {
    first: u32,
    weights: [f64; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Ends {
    low: f32,
    high: f32,
}

impl Element for Taps {}
impl Element for Ends {}
impl Element for Between {}

/// `[outer, from, inner]`, of which `[outer, to, inner]` is made.
pub struct Lines {
    pub outer: usize,
    pub from: usize,
    pub to: usize,
    pub inner: usize,
}

/// An axis that is resampled, on the device.
pub enum Axis {
    Between { samples: Buffer<Between>, is_linear: bool },
    Spline(Buffer<Taps>),
}

/// Between what the slices of a channel lie, or all of it.
pub struct Bounds {
    least: Buffer<u32>,
    most: Buffer<u32>,
    ends: Buffer<Ends>,
}

impl Kernels {
    /// What the device needs to know of an axis that is resampled.
    pub fn axis(&self, axis: &Resampling, from: usize, to: usize) -> Result<Axis> {
        let Resampling::Cubic(spline) = axis else {
            let samples = self.upload(&between(axis, from, to)?)?;
            return Ok(Axis::Between { samples, is_linear: matches!(axis, Resampling::Linear(_)) });
        };
        let taps: Vec<_> = spline.taps().map(|(first, weights)| Taps { first: first as u32, weights }).collect();
        same("weights of an axis", taps.len(), to)?;
        if !taps.is_sorted_by_key(|taps| taps.first)
            || taps.iter().any(|taps| taps.first as usize + 4 > from + 2 * PADDING)
        {
            return Err(wrong("weights of an axis that are not in its order".to_owned()));
        }
        Ok(Axis::Spline(self.upload(&taps)?))
    }

    /// One axis of a channel: [`Resampling::rows`] and [`Resampling::along`]. Of a spline as many lines are worked on at once as have
    /// [`spline_elements`] of `begins`. The axis is in use until the stream has passed this.
    pub fn resample_axis(
        &self,
        axis: &Axis,
        lines: &Lines,
        source: View<'_, f32>,
        target: View<'_, f32>,
        begins: View<'_, f64>,
    ) -> Result<()> {
        let Lines { outer, from, to, inner } = *lines;
        same("values of lines", source.count(), outer * from * inner)?;
        same("values of lines", target.count(), outer * to * inner)?;
        small("voxels", to.saturating_mul(inner))?;
        let mut there =
            LinesThere([small("lines", outer)?, small("voxels", from)?, small("voxels", to)?, small("voxels", inner)?]);
        let (mut old, mut new) = (source.address(), target.address());
        let taps = match axis {
            Axis::Between { samples, is_linear } => {
                same("samples of an axis", samples.view().count(), to)?;
                let (mut table, mut is_linear) = (samples.view().address(), u32::from(*is_linear));
                let mut arguments = pointers![old, new, there, table, is_linear];
                return self.launch(
                    self.loaded.functions.resample_axis,
                    to * inner,
                    outer.min(ROWS),
                    1,
                    &mut arguments,
                );
            }
            Axis::Spline(taps) => taps,
        };
        same("weights of an axis", taps.view().count(), to)?;
        let all = outer * inner;
        let most = (begins.count() / spline_elements(1, from)).min(all);
        if most == 0 {
            return Err(wrong("no room for a spline's lines".to_owned()));
        }
        for start in (0..all).step_by(most) {
            let lines = most.min(all - start);
            let (mut table, mut place) = (taps.view().address(), begins.address());
            let (mut first, mut count) = (start as u64, small("lines", lines)?);
            let mut arguments = pointers![old, new, there, table, first, count, place];
            self.launch(self.loaded.functions.resample_spline, lines, 1, 1, &mut arguments)?;
        }
        Ok(())
    }

    /// Room for between what a channel's values lie that goes that way.
    pub fn bounds(&self, way: &Way) -> Result<Bounds> {
        let (from, to) = if way.separate.is_none() { (1, 1) } else { (way.from[0], way.to[0]) };
        Ok(Bounds { least: self.buffer(from)?, most: self.buffer(from)?, ends: self.buffer(to)? })
    }

    /// As of a channel of which nothing was seen yet.
    pub fn begin_ends(&self, bounds: &Bounds) -> Result<()> {
        let (least, most) = (bounds.least.view(), bounds.most.view());
        self.fill(least, &vec![u32::MAX; least.count()])?;
        self.fill(most, &vec![0; most.count()])
    }

    /// Looks at these planes of a channel, before it goes that way.
    pub fn see_ends(&self, source: View<'_, f32>, planes: Range<usize>, way: &Way, bounds: &Bounds) -> Result<()> {
        let [_, height, width] = way.from;
        let is_one = way.separate.is_none();
        let places = if is_one { 0..1 } else { planes.clone() };
        let (least, most) = (bounds.least.part(places.clone())?, bounds.most.part(places)?);
        same("values of planes", source.count(), planes.len() * height * width)?;
        let (mut from, mut to_least, mut to_most) = (source.address(), least.address(), most.address());
        let (mut depth, mut plane, mut one) =
            (small("planes", planes.len())?, small("voxels", height * width)?, u32::from(is_one));
        let mut arguments = pointers![from, depth, plane, one, to_least, to_most];
        // Each counts many before it tells.
        let voxels = (height * width).min(16 * THREADS as usize);
        self.launch(self.loaded.functions.ends, voxels, planes.len().min(ROWS), 1, &mut arguments)
    }

    /// Between what a channel's values lie of which all planes were seen: all of them, or those of each plane where axis 0 is treated
    /// separately.
    pub fn end_ends(&self, way: &Way, bounds: &Bounds) -> Result<()> {
        let (least, most, is_one) = (bounds.least.view(), bounds.most.view(), way.separate.is_none());
        let (mut lows, mut highs) = (vec![0; least.count()], vec![0; most.count()]);
        self.download(least, &mut lows)?;
        self.download(most, &mut highs)?;
        let number = |ordered: u32| f32::from_bits(if ordered >> 31 == 1 { ordered & 0x7fff_ffff } else { !ordered });
        let ends = |(low, high): (&u32, &u32)| match low > high {
            // There is no number at all.
            true => Ends { low: f32::INFINITY, high: f32::NEG_INFINITY },
            false => Ends { low: number(*low), high: number(*high) },
        };
        let mut ends: Vec<Ends> = lows.iter().zip(&highs).map(ends).collect();
        if let (false, Resampling::Nearest(samples)) = (is_one, &way.kernels[0]) {
            ends = samples.iter().map(|sample| ends[*sample]).collect();
        }
        self.fill(bounds.ends.view(), &ends)
    }

    /// Keeps the values of a channel that has gone that way between these.
    pub fn clip(&self, target: View<'_, f32>, way: &Way, bounds: &Bounds) -> Result<()> {
        let [planes, height, width] = way.to;
        same("a channel's values", target.count(), planes * height * width)?;
        let is_one = way.separate.is_none();
        same("ends", bounds.ends.view().count(), if is_one { 1 } else { planes })?;
        let (mut at, mut between) = (target.address(), bounds.ends.view().address());
        let (mut depth, mut plane, mut one) =
            (small("planes", planes)?, small("voxels", height * width)?, u32::from(is_one));
        let mut arguments = pointers![at, depth, plane, one, between];
        self.launch(self.loaded.functions.clip, height * width, planes.min(ROWS), 1, &mut arguments)
    }
}

/// What is kept of so many lines of a spline, of so many samples.
pub fn spline_elements(lines: usize, from: usize) -> usize {
    from.saturating_add(2 * PADDING).div_ceil(PIECE).saturating_mul(lines)
}

pub(super) fn between(kernel: &Resampling, from: usize, to: usize) -> Result<Vec<Between>> {
    let whole = |at: usize| Between { at: at as u32, part: 0.0 };
    let samples: Vec<_> = match kernel {
        Resampling::Same => (0..to).map(whole).collect(),
        Resampling::Nearest(samples) => samples.iter().copied().map(whole).collect(),
        Resampling::Linear(samples) => {
            samples.iter().map(|sample| Between { at: sample.at as u32, part: sample.part }).collect()
        }
        Resampling::Cubic(_) => {
            return Err(Error::new(
                Code::Unsupported,
                "what the network gives is resampled linearly or by the nearest voxel, not by cubic splines",
            ));
        }
    };
    same("samples of an axis", samples.len(), to)?;
    match samples.iter().map(Between::last).max() {
        Some(last) if last >= from => Err(wrong(format!("sample {last} of an axis of {from}"))),
        _ => Ok(samples),
    }
}
