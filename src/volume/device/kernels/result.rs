//! The result on another grid: planes, or nothing of them but their labels.

use super::axes::{Between, between};
use super::decisions::{DeviceRule, RuleMemory};
use super::{Kernels, Label, planes_of, pointers, same, small, wrong};
use crate::error::{Error, Result};
use crate::volume::device::buffer::{Buffer, Element, View};
use crate::volume::device::sweep::Planes;
use crate::volume::resample::{Kernel as Resampling, Way};
use std::ffi::c_void;
use std::ops::Range;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Plane([u32; 2]);

/// Of a plane of the scan's: two of the model's, and by what part the second.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Slice {
    first: u32,
    second: u32,
    part: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SlabThere {
    ring: *mut c_void,
    before: *mut c_void,
    stride: u64,
    places: u32,
    first: u32,
}

impl Element for Slice {}

/// How planes of a result are resampled along their rows and columns, on the device.
pub struct Samples {
    from: [usize; 2],
    to: [usize; 2],
    rows: Buffer<Between>,
    columns: Buffer<Between>,
    is_linear: bool,
    /// For each of the scan's planes.
    slices: Buffer<Slice>,
    /// For each of the scan's rows how many of the model's it needs.
    needed: Vec<usize>,
}

impl Samples {
    /// How many of the scan's rows are made of so many of the model's.
    pub fn rows_of(&self, rows: usize) -> usize {
        self.needed.iter().position(|needed| *needed > rows).unwrap_or(self.needed.len())
    }
}

/// Planes of the model's grid, `[channel, y, x]`, and the one before them.
#[derive(Clone, Copy)]
pub struct Slab<'a> {
    pub planes: &'a Planes<'a>,
    pub before: View<'a, f32>,
}

impl Kernels {
    /// Of a result's way what the device needs for its planes. An error for cubic splines.
    pub fn samples_of(&self, way: &Way) -> Result<Samples> {
        let ([_, from @ ..], [depth, to @ ..], [_, rows, columns]) = (way.from, way.to, &way.kernels);
        let slice = |z| {
            let ([first, second], part) = way.planes(z);
            Ok(Slice { first: small("planes", first)?, second: small("planes", second)?, part })
        };
        let rows = between(rows, from[0], to[0])?;
        Ok(Samples {
            slices: self.upload(&(0..depth).map(slice).collect::<Result<Vec<_>>>()?)?,
            from,
            to,
            needed: rows.iter().map(|sample| sample.last() + 1).collect(),
            rows: self.upload(&rows)?,
            columns: self.upload(&between(columns, from[1], to[1])?)?,
            is_linear: matches!(columns, Resampling::Linear(_)),
        })
    }

    /// A plane of the scan's grid, `[channel, y, x]`, of two of the model's, by `part` of the second:
    /// [`PlaneResampler::row`](crate::volume::resample::PlaneResampler::row).
    pub fn resample(
        &self,
        samples: &Samples,
        [first, second]: [View<'_, f32>; 2],
        mut part: f32,
        target: View<'_, f32>,
    ) -> Result<()> {
        let (from, to) = (samples.from[0] * samples.from[1], samples.to[0] * samples.to[1]);
        let channels = target.count() / to.max(1);
        same("a resampled plane's values", target.count(), channels * to)?;
        same("a plane's values", first.count(), channels * from)?;
        same("a plane's values", second.count(), channels * from)?;
        let plane = |[y, x]: [usize; 2]| Ok::<_, Error>(Plane([small("voxels", y)?, small("voxels", x)?]));
        let (mut old, mut new) = (plane(samples.from)?, plane(samples.to)?);
        let (mut first, mut second, mut target) = (first.address(), second.address(), target.address());
        let (mut rows, mut columns) = (samples.rows.view().address(), samples.columns.view().address());
        let mut is_linear = u32::from(samples.is_linear);
        let mut arguments = pointers![first, second, part, old, new, rows, columns, is_linear, target];
        self.launch(self.loaded.functions.resample, to, channels, 1, &mut arguments)
    }

    /// Of those planes and rows of the scan's grid, whose planes of the model's are in the slab, the labels of the largest values.
    pub fn resample_and_decide<L: Label>(
        &self,
        samples: &Samples,
        slab: Slab<'_>,
        (planes, lines): (Range<usize>, Range<usize>),
        rule: &DeviceRule,
        labels: View<'_, L>,
    ) -> Result<()> {
        let RuleMemory::Argmax(of_channels) = &rule.0 else {
            return Err(wrong("regions that are to be decided while planes are resampled".to_owned()));
        };
        let channels = of_channels.view().count();
        let (from, to) = (samples.from[0] * samples.from[1], lines.len() * samples.to[1]);
        let Planes { numbers, ring, places, stride, .. } = slab.planes;
        same("planes", planes_of(*ring, *stride, from, channels)?, *places)?;
        same("a plane's values", slab.before.count(), channels * from)?;
        same("labels", labels.count(), planes.len() * to)?;
        let slices = samples.slices.part(planes.clone())?;
        let kernel = match L::IS_WIDE {
            true => self.loaded.functions.resampled_argmax_uint16,
            false => self.loaded.functions.resampled_argmax_uint8,
        };
        let mut there = SlabThere {
            ring: ring.address(),
            before: slab.before.address(),
            stride: *stride as u64,
            places: small("planes", *places)?,
            first: small("planes", numbers.start)?,
        };
        let plane = |[y, x]: [usize; 2]| Ok::<_, Error>(Plane([small("voxels", y)?, small("voxels", x)?]));
        let new = [lines.len(), samples.to[1]];
        let (mut old, mut new, mut slices) = (plane(samples.from)?, plane(new)?, slices.address());
        let (mut rows, mut columns) = (samples.rows.part(lines)?.address(), samples.columns.view().address());
        let (mut is_linear, mut number) = (u32::from(samples.is_linear), small("channels", channels)?);
        let (mut table, mut target) = (of_channels.view().address(), labels.address());
        let mut arguments = pointers![there, slices, old, new, rows, columns, is_linear, number, table, target];
        self.launch(kernel, to, planes.len(), 1, &mut arguments)
    }
}
