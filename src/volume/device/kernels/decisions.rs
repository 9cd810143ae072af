//! Labels of planes: by the largest value or by regions, of channels that are there or that a head makes of features.

use super::{Kernels, Label, planes_of, pointers, same, small, wrong};
use crate::error::Result;
use crate::volume::device::buffer::{Buffer, Element, View};
use crate::volume::head::Head;
use crate::volume::recipe::{Activation, Rule};
use std::ffi::c_void;

/// Threads that count labels.
const COUNTING: usize = 1 << 15;

/// Channels that the kernels make together.
const TOGETHER: usize = 8;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Region {
    channel: u32,
    label: u32,
}

impl Element for Region {}

/// A head, on the device.
pub struct DeviceHead {
    /// `[group, feature, channel]` of groups of channels, the last one filled up.
    weights: Buffer<f32>,
    biases: Buffer<f32>,
    features: usize,
    channels: usize,
}

impl DeviceHead {
    /// Bytes that one takes.
    pub fn bytes(head: &Head) -> u64 {
        let channels = head.channels.next_multiple_of(TOGETHER) as u64;
        channels.saturating_mul(head.features as u64 + 1).saturating_mul(size_of::<f32>() as u64)
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct HeadThere {
    weights: *mut c_void,
    biases: *mut c_void,
    features: u32,
    channels: u32,
}

/// A rule, on the device.
pub struct DeviceRule(pub(super) RuleMemory);

pub(super) enum RuleMemory {
    Argmax(Buffer<u16>),
    Regions { threshold: f32, order: Buffer<Region>, count: u32, channels: usize },
}

impl Kernels {
    /// [`activate`](crate::volume::decide::activate) for planes of `[channel, voxel]`, `stride` values apart.
    pub fn activate(
        &self,
        planes: View<'_, f32>,
        stride: usize,
        voxels: usize,
        channels: usize,
        activation: Activation,
    ) -> Result<()> {
        let kernel = match activation {
            Activation::None => return Ok(()),
            Activation::Sigmoid => self.loaded.functions.sigmoid,
            Activation::Softmax => self.loaded.functions.softmax,
        };
        let rows = planes_of(planes, stride, voxels, channels)?;
        let (mut at, mut apart) = (planes.address(), stride as u64);
        let (mut count, mut number) = (small("voxels", voxels)?, small("channels", channels)?);
        let mut arguments = pointers![at, apart, count, number];
        self.launch(kernel, voxels, rows, 1, &mut arguments)
    }

    /// A rule for decisions on the device.
    pub fn rule(&self, rule: &Rule) -> Result<DeviceRule> {
        Ok(DeviceRule(match rule {
            Rule::Argmax { labels } => RuleMemory::Argmax(self.upload(labels)?),
            Rule::Regions { threshold, order } => {
                let regions = order
                    .iter()
                    .map(|(channel, label)| {
                        Ok(Region { channel: small("channels", *channel)?, label: u32::from(*label) })
                    })
                    .collect::<Result<Vec<_>>>()?;
                RuleMemory::Regions {
                    threshold: *threshold,
                    order: self.upload(&regions)?,
                    count: small("regions", regions.len())?,
                    channels: order.iter().map(|(channel, _)| channel + 1).max().unwrap_or(0),
                }
            }
        }))
    }

    /// [`decide`](crate::volume::decide::decide) for planes of `[channel, voxel]`, `stride` values apart: their labels, side by side.
    pub fn decide<L: Label>(
        &self,
        planes: View<'_, f32>,
        stride: usize,
        channels: usize,
        rule: &DeviceRule,
        labels: View<'_, L>,
    ) -> Result<()> {
        let rows = planes.count() / stride.max(1);
        let voxels = labels.count() / rows.max(1);
        let RuleMemory::Regions { threshold, order, count: regions, channels: needed } = &rule.0 else {
            return self.decide_part(planes, stride, (voxels, 0), channels, rule, labels);
        };
        if channels < *needed || channels == 0 {
            return Err(wrong(format!("a rule about {needed} channels of {channels}")));
        }
        same("labels", labels.count(), rows * voxels)?;
        same("planes", planes_of(planes, stride, voxels, channels)?, rows)?;
        let (mut at, mut apart, mut count) = (planes.address(), stride as u64, small("voxels", voxels)?);
        let mut to = labels.address();
        let kernel =
            if L::IS_WIDE { self.loaded.functions.regions_uint16 } else { self.loaded.functions.regions_uint8 };
        let (mut table, mut regions, mut threshold) = (order.view().address(), *regions, *threshold);
        let mut arguments = pointers![at, apart, count, table, regions, threshold, to];
        self.launch(kernel, voxels, rows, 1, &mut arguments)
    }

    /// The same by the largest value, of as many voxels of each plane as there are labels, from voxel `first` on.
    pub fn decide_part<L: Label>(
        &self,
        planes: View<'_, f32>,
        stride: usize,
        (plane, first): (usize, usize),
        channels: usize,
        rule: &DeviceRule,
        labels: View<'_, L>,
    ) -> Result<()> {
        let RuleMemory::Argmax(of_channels) = &rule.0 else {
            return Err(wrong("regions that are to be decided by the largest value".to_owned()));
        };
        same("labels of channels", of_channels.view().count(), channels)?;
        let rows = planes_of(planes, stride, plane, channels)?;
        let voxels = labels.count() / rows.max(1);
        same("labels", labels.count(), rows * voxels)?;
        if channels == 0 || first.saturating_add(voxels) > plane {
            return Err(wrong(format!(
                "{voxels} voxels from {first} on of a plane of {plane}, of {channels} channels"
            )));
        }
        let mut at = planes.address().wrapping_byte_add(first * size_of::<f32>());
        let (mut apart, mut of_plane) = (stride as u64, small("voxels", plane)?);
        let (mut count, mut number) = (small("voxels", voxels)?, small("channels", channels)?);
        let (mut table, mut to) = (of_channels.view().address(), labels.address());
        let kernel = if L::IS_WIDE { self.loaded.functions.argmax_uint16 } else { self.loaded.functions.argmax_uint8 };
        let mut arguments = pointers![at, apart, of_plane, count, number, table, to];
        self.launch(kernel, voxels, rows, 1, &mut arguments)
    }

    /// A head for decisions on the device.
    pub fn head(&self, head: &Head) -> Result<DeviceHead> {
        let Head { features, channels, .. } = *head;
        let filled = channels.next_multiple_of(TOGETHER);
        let mut weights = vec![0.0; filled * features];
        for (channel, of_channel) in head.weights().chunks_exact(features).enumerate() {
            let group = &mut weights[channel / TOGETHER * TOGETHER * features..][..TOGETHER * features];
            let places = group.iter_mut().skip(channel % TOGETHER).step_by(TOGETHER);
            places.zip(of_channel).for_each(|(place, weight)| *place = *weight);
        }
        let mut biases = head.biases().to_vec();
        biases.resize(filled, 0.0);
        Ok(DeviceHead { weights: self.upload(&weights)?, biases: self.upload(&biases)?, features, channels })
    }

    /// [`Kernels::decide`] by channels that a head makes of planes of `[feature, voxel]`: [`Head::apply`](crate::volume::head::Head),
    /// and for regions an activation. Where a channel is no number, a place that is 0 becomes 1.
    pub fn decide_by_head<L: Label>(
        &self,
        planes: View<'_, f32>,
        stride: usize,
        (head, activation): (&DeviceHead, Activation),
        rule: &DeviceRule,
        found: View<'_, u32>,
        labels: View<'_, L>,
    ) -> Result<()> {
        same("places for what is found", found.count(), 1)?;
        let DeviceHead { weights, biases, features, channels } = head;
        let rows = planes.count() / stride.max(1);
        let voxels = labels.count() / rows.max(1);
        same("labels", labels.count(), rows * voxels)?;
        same("planes", planes_of(planes, stride, voxels, *features)?, rows)?;
        let (mut at, mut apart, mut count) = (planes.address(), stride as u64, small("voxels", voxels)?);
        let mut there = HeadThere {
            weights: weights.view().address(),
            biases: biases.view().address(),
            features: small("features", *features)?,
            channels: small("channels", *channels)?,
        };
        let (mut place, mut to) = (found.address(), labels.address());
        let functions = &self.loaded.functions;
        match &rule.0 {
            RuleMemory::Argmax(of_channels) => {
                same("labels of channels", of_channels.view().count(), *channels)?;
                let kernel = if L::IS_WIDE { functions.head_argmax_uint16 } else { functions.head_argmax_uint8 };
                let mut table = of_channels.view().address();
                let mut arguments = pointers![at, apart, count, there, table, place, to];
                self.launch(kernel, voxels, rows, 1, &mut arguments)
            }
            RuleMemory::Regions { threshold, order, count: regions, channels: needed } => {
                if needed > channels {
                    return Err(wrong(format!("a rule about {needed} channels of {channels}")));
                }
                let kernel = if L::IS_WIDE { functions.head_regions_uint16 } else { functions.head_regions_uint8 };
                let mut is_sigmoid = match activation {
                    Activation::None => 0u32,
                    Activation::Sigmoid => 1,
                    Activation::Softmax => return Err(wrong("regions of what goes through softmax".to_owned())),
                };
                let (mut table, mut regions, mut threshold) = (order.view().address(), *regions, *threshold);
                let mut arguments =
                    pointers![at, apart, count, there, is_sigmoid, table, regions, threshold, place, to];
                self.launch(kernel, voxels, rows, 1, &mut arguments)
            }
        }
    }

    /// Adds to `counts`, which has a place for each label there can be, how many voxels have it.
    pub fn count<L: Label>(&self, labels: View<'_, L>, counts: View<'_, u64>) -> Result<()> {
        let kernel = if L::IS_WIDE { self.loaded.functions.count_uint16 } else { self.loaded.functions.count_uint8 };
        let (mut count, mut from, mut to) = (small("labels", labels.count())?, labels.address(), counts.address());
        let mut arguments = pointers![from, count, to];
        // Not a thread for each: one counts many before it adds.
        self.launch(kernel, labels.count().min(COUNTING), 1, 1, &mut arguments)
    }
}
