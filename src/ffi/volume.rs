//! `planrt_volume`, `planrt_label_map` and `planrt_score_map`.

use super::argument::{Argument, Call};
use super::structs::{Extensible, Struct};
use super::tensor::{element_type, memory_kind, planrt_element_type, planrt_memory_kind};
use crate::engine::MemoryKind;
use crate::error::{Code, Error, Result};
use crate::segment::{LabelMap, Lent, LentMut, Plane, ScoreMap, ScoresAsked, Target, Volume};
use crate::volume::grid::{Box3, Grid, Layout};
use crate::volume::image::Description;
use std::ffi::c_void;
use std::fmt::Display;

/// A scan in the application's memory, and where its voxels lie. Fill it with zeros first, then set `struct_size` to
/// `sizeof(planrt_volume)`, `data`, `size_bytes`, `element_type`, `extents` and `spacing_mm`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_volume {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Memory of that kind, which need not be aligned. A device's is one that the sessions run on, and all work on it has ended.
    pub data: *const c_void,
    /// Bytes behind `data`: all voxels lie within.
    pub size_bytes: usize,
    /// Bytes from `data` to voxel (0, 0, 0) of channel 0: not 0 where a stride is negative.
    pub first_voxel_bytes: usize,
    /// `PLANRT_INT8`, `_UINT8`, `_INT16`, `_UINT16`, `_INT32`, `_FLOAT16` or `_FLOAT32`.
    pub element_type: planrt_element_type,
    /// `PLANRT_MEMORY_HOST`, `_PINNED` or `_DEVICE`, of which planrt has a copy on the host meanwhile; 0 for `PLANRT_MEMORY_HOST`.
    pub memory_kind: planrt_memory_kind,
    /// Of one grid, as CT and PET that were resampled to it; 0 for 1.
    pub channels: i32,
    /// Voxels along z, y and x.
    pub extents: [i64; 3],
    /// Bytes from one channel, one z, one y and one x to the next; all 0 where voxels lie without gaps, x fastest and channels
    /// slowest.
    pub strides_bytes: [i64; 4],
    /// Millimetres between the centres of neighbouring voxels along z, y and x.
    pub spacing_mm: [f64; 3],
    /// Where the centre of voxel (0, 0, 0) lies, in millimetres: toward the patient's left, posterior, superior, as in
    /// DICOM and ITK.
    pub origin_mm: [f64; 3],
    /// Three by three, row after row, as ITK has it: column 0, 1 and 2 are the directions in that space in which the index of
    /// axis x, y and z grows. All 0 where the axes are the space's.
    pub direction: [f64; 9],
    /// A value is what is in memory times this, plus the next; 0 for 1.
    pub rescale_slope: f64,
    pub rescale_intercept: f64,
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_volume {
    const FIRST_SIZE: usize = 240;
    const NAME: &'static str = "planrt_volume";
}
const _: () = assert!(size_of::<planrt_volume>() == planrt_volume::FIRST_SIZE);

/// Memory of the application's for labels, one for each voxel of the scan. Fill it with zeros first, then set `struct_size` to
/// `sizeof(planrt_label_map)`, `data`, `size_bytes` and `element_type`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_label_map {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Memory of that kind, which need not be aligned. A device's is one that the sessions run on, and nothing there uses it.
    pub data: *mut c_void,
    /// Bytes behind `data`: all voxels lie within.
    pub size_bytes: usize,
    /// Bytes from `data` to voxel (0, 0, 0): not 0 where a stride is negative.
    pub first_voxel_bytes: usize,
    /// `PLANRT_UINT8` or `PLANRT_UINT16`.
    pub element_type: planrt_element_type,
    /// `PLANRT_MEMORY_HOST`, `_PINNED` or `_DEVICE`, of which planrt has a copy on the host meanwhile; 0 for `PLANRT_MEMORY_HOST`.
    pub memory_kind: planrt_memory_kind,
    /// Bytes from one z, one y and one x to the next; all 0 where labels lie without gaps, x fastest.
    pub strides_bytes: [i64; 3],
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_label_map {
    const FIRST_SIZE: usize = 64;
    const NAME: &'static str = "planrt_label_map";
}
const _: () = assert!(size_of::<planrt_label_map>() == planrt_label_map::FIRST_SIZE);

/// Memory of the application's for what labels are decided by: a value for each channel of the model and each voxel of the scan.
/// Fill it with zeros first, then set `struct_size` to `sizeof(planrt_score_map)`, `data`, `size_bytes` and `element_type`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_score_map {
    /// Bytes of this struct, as the caller knows it.
    pub struct_size: usize,
    /// Memory of that kind, which need not be aligned. A device's is one that the sessions run on, and nothing there uses it.
    pub data: *mut c_void,
    /// Bytes behind `data`: all values lie within.
    pub size_bytes: usize,
    /// Bytes from `data` to voxel (0, 0, 0) of channel 0: not 0 where a stride is negative.
    pub first_voxel_bytes: usize,
    /// `PLANRT_FLOAT32` or `PLANRT_FLOAT16`.
    pub element_type: planrt_element_type,
    /// `PLANRT_MEMORY_HOST`, `_PINNED` or `_DEVICE`, of which planrt has a copy on the host meanwhile; 0 for `PLANRT_MEMORY_HOST`.
    pub memory_kind: planrt_memory_kind,
    /// Bytes from one channel, one z, one y and one x to the next; all 0 where values lie without gaps, x fastest and channels
    /// slowest.
    pub strides_bytes: [i64; 4],
    /// 0: what the network gives, blended and resampled, before any activation. 1: probabilities, by the activation that the
    /// recipe has, or by a softmax where it has none and takes the largest channel.
    pub probabilities: i32,
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_score_map {
    const FIRST_SIZE: usize = 80;
    const NAME: &'static str = "planrt_score_map";
}
const _: () = assert!(size_of::<planrt_score_map>() == planrt_score_map::FIRST_SIZE);

/// A plane of what labels are decided by: a value for each channel of the model and each voxel of the scan in that plane.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_score_plane {
    /// Bytes of this struct, as planrt knows it.
    pub struct_size: usize,
    /// The value of channel 0 at the plane's first voxel.
    pub values: *const f32,
    /// Channels of the model.
    pub channels: i32,
    /// 0.
    pub reserved: i32,
    /// The scan's voxel, by its z, y and x, that is the plane's first one.
    pub start: [i64; 3],
    /// Voxels along the scan's z, y and x: 1 along the axis that planes follow each other on.
    pub extents: [i64; 3],
    /// Bytes from one channel, one z, one y and one x to the next; negative where the model goes through the scan the other way round.
    pub strides_bytes: [i64; 4],
}

impl planrt_score_plane {
    pub(super) fn of(plane: &Plane) -> Self {
        let Plane { values, channels, place, layout } = plane;
        let bytes = |elements: isize| elements as i64 * size_of::<f32>() as i64;
        let [z, y, x] = layout.strides.map(bytes);
        let first = usize::try_from(layout.first).unwrap_or(0);
        Self {
            struct_size: size_of::<Self>(),
            values: values.get(first..).unwrap_or_default().as_ptr(),
            channels: i32::try_from(*channels).unwrap_or(i32::MAX),
            reserved: 0,
            start: place.start.map(|start| start as i64),
            extents: place.extents.map(|extent| extent as i64),
            strides_bytes: [bytes((values.len() / (*channels).max(1)) as isize), z, y, x],
        }
    }
}

/// A scan as it came over the boundary.
pub(super) struct Scan {
    data: *const u8,
    size: usize,
    is_on_device: bool,
    grid: Grid,
    scan: Description,
}

impl Scan {
    /// Where its voxels lie.
    pub(super) fn volume(&self, any_direction: bool) -> Volume {
        Volume { grid: self.grid.clone(), scan: self.scan, any_direction }
    }

    pub(super) fn extents(&self) -> [usize; 3] {
        self.grid.extents
    }

    /// Bytes of what has to be copied to the host.
    pub(super) fn copy_bytes(&self) -> u64 {
        if self.is_on_device { self.size as u64 } else { 0 }
    }

    /// # Safety
    /// The memory stays as it is until the job that it is given to is answered or refused.
    pub(super) unsafe fn lent(&self) -> Result<Lent> {
        let size = lendable(self.data, self.size, "the volume's data")?;
        // SAFETY: as the caller says.
        Ok(unsafe { Lent::new(self.data, size, self.is_on_device) })
    }
}

/// A label map as it came over the boundary.
pub(super) struct Labels(planrt_label_map);

impl Labels {
    /// # Safety
    /// The memory is left alone until the job that it is given to is answered or refused.
    pub(super) unsafe fn lent(&self, extents: [usize; 3]) -> Result<LabelMap> {
        let Self(map) = self;
        let element_type = element_type(map.element_type)?;
        let size = lendable(map.data.cast_const().cast(), map.size_bytes, "the label map's data")?;
        // SAFETY: as the caller says.
        let memory = unsafe { LentMut::new(map.data.cast(), size, is_on_device(map.memory_kind)?) };
        let strides = match map.strides_bytes {
            [0, 0, 0] => {
                let [_, z, y, x] = Description::dense(element_type, 1, extents)?.strides;
                [z, y, x]
            }
            strides => fitting(strides, "a stride of the label map")?,
        };
        let [first] = fitting([map.first_voxel_bytes], "the label map's first_voxel_bytes")?;
        LabelMap::new(memory, element_type, Layout { extents, first, strides })
    }
}

/// A map of scores as it came over the boundary.
pub(super) struct Map(planrt_score_map);

impl Map {
    /// # Safety
    /// The memory is left alone until the job that it is given to is answered or refused.
    pub(super) unsafe fn lent(&self, extents: [usize; 3]) -> Result<ScoresAsked> {
        let Self(map) = self;
        let element_type = element_type(map.element_type)?;
        let size = lendable(map.data.cast_const().cast(), map.size_bytes, "the score map's data")?;
        // SAFETY: as the caller says.
        let memory = unsafe { LentMut::new(map.data.cast(), size, is_on_device(map.memory_kind)?) };
        let (channel_stride, [z, y, x]) = match map.strides_bytes {
            [0, 0, 0, 0] => {
                let [_, z, y, x] = Description::dense(element_type, 1, extents)?.strides;
                (None, [z, y, x])
            }
            strides => {
                let [channel, z, y, x] = fitting(strides, "a stride of the score map")?;
                (Some(channel), [z, y, x])
            }
        };
        let [first] = fitting([map.first_voxel_bytes], "the score map's first_voxel_bytes")?;
        let layout = Layout { extents, first, strides: [z, y, x] };
        let probabilities = flag(map.probabilities, "probabilities")?;
        let map = ScoreMap { memory, element_type, layout, channel_stride };
        Ok(ScoresAsked { probabilities, target: Target::Map(map) })
    }
}

impl<'call> Argument<'call, *const planrt_score_map> for Map {
    unsafe fn convert(raw: *const planrt_score_map, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Struct(map) = unsafe { Argument::convert(raw, name, call) }?;
        Ok(Self(map))
    }
}

/// A part of a scan, where one is asked for.
pub(super) fn region(start: [i64; 3], extents: [i64; 3]) -> Result<Option<Box3>> {
    if extents == [0; 3] && start == [0; 3] {
        return Ok(None);
    }
    let wrong = || {
        let message = format!(
            "a region of {extents:?} voxels from {start:?} on; it begins at 0 or above, and each extent is above 0"
        );
        Error::new(Code::InvalidArgument, message)
    };
    let mut region = Box3 { start: [0; 3], extents: [0; 3] };
    for axis in 0..3 {
        region.start[axis] = usize::try_from(start[axis]).map_err(|_| wrong())?;
        region.extents[axis] = usize::try_from(extents[axis]).ok().filter(|extent| *extent > 0).ok_or_else(wrong)?;
    }
    Ok(Some(region))
}

/// 0 or 1.
pub(super) fn flag(given: i32, name: &str) -> Result<bool> {
    match given {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::new(Code::InvalidArgument, format!("{name} is {other}; it is 0 or 1"))),
    }
}

impl<'call> Argument<'call, *const planrt_volume> for Scan {
    unsafe fn convert(raw: *const planrt_volume, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Struct(volume) = unsafe { Argument::convert(raw, name, call) }?;
        let extents = volume.extents.map(|extent| usize::try_from(extent).unwrap_or(0));
        if extents.contains(&0) {
            let message = format!("a volume of {:?} voxels; each extent is above 0", volume.extents);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let channels = match volume.channels {
            0 => 1,
            channels => usize::try_from(channels)
                .map_err(|_| Error::new(Code::InvalidArgument, format!("a volume of {channels} channels")))?,
        };
        let dense = Description::dense(element_type(volume.element_type)?, channels, extents)?;
        let scan = Description {
            first: volume.first_voxel_bytes,
            strides: match volume.strides_bytes {
                [0, 0, 0, 0] => dense.strides,
                strides => fitting(strides, "a stride of the volume")?,
            },
            slope: if volume.rescale_slope == 0.0 { 1.0 } else { volume.rescale_slope },
            intercept: volume.rescale_intercept,
            ..dense
        };
        let direction = match volume.direction {
            all if all == [0.0; 9] => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [a, b, c, d, e, f, g, h, i] => [[a, b, c], [d, e, f], [g, h, i]],
        };
        let grid = Grid { extents, spacing_mm: volume.spacing_mm, origin_mm: volume.origin_mm, direction };
        let is_on_device = is_on_device(volume.memory_kind)?;
        Ok(Self { data: volume.data.cast(), size: volume.size_bytes, is_on_device, grid, scan })
    }
}

impl<'call> Argument<'call, *const planrt_label_map> for Labels {
    unsafe fn convert(raw: *const planrt_label_map, name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        let Struct(map) = unsafe { Argument::convert(raw, name, call) }?;
        Ok(Self(map))
    }
}

/// Whether memory of a kind is a device's; 0 is the host's.
fn is_on_device(kind: planrt_memory_kind) -> Result<bool> {
    Ok(kind != 0 && memory_kind(kind)? == MemoryKind::Device)
}

/// The size of memory that is not null.
fn lendable(data: *const u8, size: usize, what: &str) -> Result<usize> {
    super::not_null(data, what)?;
    match isize::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err(Error::new(Code::InvalidArgument, format!("{what} has {size} bytes: no memory is that large"))),
    }
}

/// Numbers of bytes as memory counts them.
fn fitting<T: Copy + Display + TryInto<isize>, const N: usize>(bytes: [T; N], what: &str) -> Result<[isize; N]> {
    let mut all = [0; N];
    for (place, bytes) in all.iter_mut().zip(bytes) {
        *place = bytes
            .try_into()
            .map_err(|_| Error::new(Code::InvalidArgument, format!("{what} is {bytes}: no memory is that large")))?;
    }
    Ok(all)
}
