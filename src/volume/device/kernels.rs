//! The kernels of kernels.cu, launched with checked arguments.

use super::buffer::{Buffer, Element, Room, View};
use super::sweep::Planes;
use crate::cuda::{Blocks, Device, Kernel, Module, Stream, copy_async};
use crate::error::{Code, Error, Result};
use crate::tensor::ElementType;
use crate::volume::head::Head;
use crate::volume::image::Span;
use crate::volume::intensity::{Change, Which};
use crate::volume::recipe::{Activation, Padding, Rule};
use crate::volume::resample::{Kernel as Resampling, Way};
use crate::volume::tiles::Tiles;
use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::sync::Arc;

const PTX: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("kernels.ptx"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("PTX is text without zeros"),
};

/// Threads of a block.
const THREADS: u32 = 256;

/// Samples of the edge before and behind a spline's line.
const PADDING: usize = 12;

/// Samples of a spline's line that are worked on together.
const PIECE: usize = 16;

/// Threads that count labels.
const COUNTING: usize = 1 << 15;

/// The largest grid along its second and third axis.
const ROWS: usize = 65535;

/// Names the kernels, and finds them.
macro_rules! functions {
    ($($name:ident),*) => {
        struct Functions { $($name: Kernel),* }

        impl Functions {
            fn find(module: &Module) -> Result<Self> {
                let name = |name: &'static str| CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default();
                Ok(Self { $($name: module.kernel(name(concat!("planrt_", stringify!($name), "\0")))?),* })
            }
        }
    };
}

functions!(
    gather,
    constants,
    add_mirrored,
    divide,
    find_nan,
    blend,
    weigh,
    sigmoid,
    softmax,
    argmax_uint8,
    argmax_uint16,
    regions_uint8,
    regions_uint16,
    resample,
    resampled_argmax_uint8,
    resampled_argmax_uint16,
    read,
    narrow,
    widen,
    change,
    resample_axis,
    resample_spline,
    ends,
    clip,
    count_uint8,
    count_uint16,
    head_argmax_uint8,
    head_argmax_uint16,
    head_regions_uint8,
    head_regions_uint16
);

/// The kernels on one device, and the stream on which they work one after the other.
pub struct Kernels {
    loaded: Arc<Loaded>,
    stream: Arc<Stream>,
    /// Where buffers are made, as long as there is room; and whose stream this is.
    room: Option<(Room, Arc<Self>)>,
}

struct Loaded {
    functions: Functions,
    module: Module,
    /// For what comes back.
    blocks: Arc<Blocks>,
}

/// What kernels.cu has by these names.
#[repr(C)]
#[derive(Clone, Copy)]
struct Extents([u32; 3]);

#[repr(C)]
#[derive(Clone, Copy)]
struct Tiling {
    volume: Extents,
    patch: Extents,
    padding: u32,
    constant: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Start([i32; 3]);

#[repr(C)]
#[derive(Clone, Copy)]
struct Blending {
    patch: Extents,
    ring: Extents,
    covered: Extents,
    in_tile: Extents,
    in_volume: Extents,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    channel: u32,
    label: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Plane([u32; 2]);

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Between {
    at: u32,
    part: f32,
}

impl Between {
    /// The last sample that it needs.
    fn last(&self) -> usize {
        self.at as usize + usize::from(self.part > 0.0)
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Layout {
    first: i64,
    strides: [i64; 3],
    slope: f64,
    intercept: f64,
    element: u32,
    is_rescaled: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Changing {
    kind: u32,
    which: u32,
    divides: u32,
    clips: u32,
    low: f32,
    high: f32,
    minus: f32,
    divisor: f32,
    factor: f32,
    plus: f32,
}

impl From<Change> for Changing {
    fn from(change: Change) -> Self {
        match change {
            Change::Nothing => Self::default(),
            Change::Ct { low, high, mean, divisor } => {
                Self { kind: 1, low, high, minus: mean, divisor, ..Self::default() }
            }
            Change::Shifted { minus, divisor, which } => {
                let which = match which {
                    Which::All => 0,
                    Which::Masked => 1,
                    Which::Nonzero => 2,
                };
                Self { kind: 2, which, minus, divisor, ..Self::default() }
            }
            Change::Range { minus, divisor, factor, plus, clip } => {
                let (low, high) = clip.unwrap_or_default();
                let (divides, clips) = (u32::from(divisor.is_some()), u32::from(clip.is_some()));
                let divisor = divisor.unwrap_or(1.0);
                Self { kind: 3, divides, clips, low, high, minus, divisor, factor, plus, ..Self::default() }
            }
        }
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
impl Element for Taps {}
impl Element for Ends {}
impl Element for Start {}
impl Element for Region {}
impl Element for Between {}

/// A type of labels.
pub trait Label: Element {
    #[doc(hidden)]
    const IS_WIDE: bool;
}

impl Label for u8 {
    const IS_WIDE: bool = false;
}

impl Label for u16 {
    const IS_WIDE: bool = true;
}

/// Pointers to values, as kernels take them.
macro_rules! pointers {
    ($($value:expr),* $(,)?) => { [$((&raw mut $value).cast::<c_void>()),*] };
}

/// Channels that the kernels make together.
const TOGETHER: usize = 8;

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
pub struct DeviceRule(RuleMemory);

enum RuleMemory {
    Argmax(Buffer<u16>),
    Regions { threshold: f32, order: Buffer<Region>, count: u32, channels: usize },
}

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

/// Where a volume's tiles begin, and room for whether each has one value only: for all of them from the beginning, since the driver
/// waits for whatever runs before it frees memory.
pub struct Constants {
    starts: Buffer<Start>,
    values: Buffer<u32>,
    differs: Buffer<u32>,
}

impl Constants {
    /// Bytes that it takes for tiles of a volume of so many channels.
    pub fn bytes(tiles: &Tiles, channels: usize) -> u64 {
        let tile = (2 * size_of::<u32>() as u64).saturating_mul(channels as u64);
        tile.saturating_add(size_of::<Start>() as u64).saturating_mul(tiles.count() as u64)
    }
}

/// Between what the slices of a channel lie, or all of it.
pub struct Bounds {
    least: Buffer<u32>,
    most: Buffer<u32>,
    ends: Buffer<Ends>,
}

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
    /// Loads them, which takes the driver a moment.
    pub fn new(device: &Arc<Device>, stream: Arc<Stream>) -> Result<Self> {
        let module = Module::load(device, PTX)?;
        Ok(Self {
            loaded: Arc::new(Loaded { functions: Functions::find(&module)?, module, blocks: Blocks::new(device) }),
            stream,
            room: None,
        })
    }

    /// The same kernels, working on a stream of their own.
    pub fn on(&self, stream: Arc<Stream>) -> Self {
        Self { loaded: self.loaded.clone(), stream, room: None }
    }

    /// The same kernels on the same stream, which make buffers in a room of so many bytes. That is freed with them and the last of
    /// these.
    pub fn with_room(self: &Arc<Self>, bytes: u64) -> Result<Self> {
        let room = Room::new(self.device(), bytes)?;
        Ok(Self { loaded: self.loaded.clone(), stream: self.stream.clone(), room: Some((room, self.clone())) })
    }

    /// Where all work is done, in order.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub fn device(&self) -> &Arc<Device> {
        self.stream.device()
    }

    pub(super) fn blocks(&self) -> &Arc<Blocks> {
        &self.loaded.blocks
    }

    pub fn buffer<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::new(self.device(), self.room.as_ref().map(|(room, _)| room), len)
    }

    /// Values in a buffer of their own. Returns when they are there.
    pub fn upload<T: Element>(&self, values: &[T]) -> Result<Buffer<T>> {
        let buffer = self.buffer(values.len())?;
        self.fill(buffer.view(), values)?;
        Ok(buffer)
    }

    /// Fills memory with values. Returns when they are there.
    fn fill<T: Element>(&self, to: View<'_, T>, values: &[T]) -> Result<()> {
        same("values to copy", values.len(), to.count())?;
        if !values.is_empty() {
            // SAFETY: both have so many bytes; the copy has ended when this returns.
            unsafe { copy_async(to.address(), values.as_ptr().cast(), size_of_val(values), &self.stream)? };
        }
        self.stream.synchronize()
    }

    /// Waits for all work before, and copies values to the host.
    pub fn download<T: Element>(&self, from: View<'_, T>, to: &mut [T]) -> Result<()> {
        same("values to copy", from.count(), to.len())?;
        if !to.is_empty() {
            // SAFETY: as above.
            unsafe { copy_async(to.as_mut_ptr().cast(), from.address(), size_of_val(to), &self.stream) }?;
        }
        self.stream.synchronize()
    }

    /// Copies values on the device.
    pub fn copy<T: Element>(&self, from: View<'_, T>, to: View<'_, T>) -> Result<()> {
        same("values to copy", from.count(), to.count())?;
        // SAFETY: both have so many bytes, and are freed when the device's work has ended.
        unsafe { copy_async(to.address(), from.address(), from.count() * size_of::<T>(), &self.stream) }
    }

    /// Reads a channel of a scan, whose [`Span`] is in memory, and changes its values: [`image::View::read`](crate::volume::image::View)
    /// and [`Change::apply`]. `target` is dense.
    pub fn read(
        &self,
        span: &Span<'_>,
        memory: View<'_, u8>,
        channel: usize,
        change: Change,
        mask: Option<View<'_, u8>>,
        target: View<'_, f32>,
    ) -> Result<()> {
        let planes = 0..span.layout.extents[0];
        self.read_planes(span, (memory, 0), channel, planes, change, mask, target)
    }

    /// The same of some planes, which are among those bytes of the span that there are from byte `start` on.
    #[expect(clippy::too_many_arguments)]
    pub fn read_planes(
        &self,
        span: &Span<'_>,
        (memory, start): (View<'_, u8>, usize),
        channel: usize,
        planes: Range<usize>,
        change: Change,
        mask: Option<View<'_, u8>>,
        target: View<'_, f32>,
    ) -> Result<()> {
        let part = span.planes(channel, &planes);
        let [depth, height, width] = part.extents;
        let size = span.element_type.size();
        let end = start.saturating_add(memory.count());
        let is_within = |(least, most): (isize, isize)| {
            least >= start as isize && most.unsigned_abs().checked_add(size).is_some_and(|last| last <= end)
        };
        if !part.bounds().is_some_and(is_within) {
            return Err(wrong(format!("planes {planes:?} that are not in bytes {start} to {end} of a scan")));
        }
        same("a channel's values", target.count(), depth * height * width)?;
        if let Some(mask) = mask {
            same("a mask's voxels", mask.count(), target.count())?;
        }
        let mut layout = Layout {
            first: (part.first - start as isize) as i64,
            strides: part.strides.map(|stride| stride as i64),
            slope: span.rescale.unwrap_or_default().0,
            intercept: span.rescale.unwrap_or_default().1,
            element: match span.element_type {
                ElementType::Int8 => 0,
                ElementType::Uint8 => 1,
                ElementType::Int16 => 2,
                ElementType::Uint16 => 3,
                ElementType::Int32 => 4,
                ElementType::Float16 => 5,
                _ => 6,
            },
            is_rescaled: u32::from(span.rescale.is_some()),
        };
        small("voxels", depth)?;
        let mut whole = Extents([depth, height, width].map(|extent| extent as u32));
        let mut changing = Changing::from(change);
        let (mut from, mut to) = (memory.address(), target.address());
        let mut inside = mask.map_or(std::ptr::null_mut(), |mask| mask.address());
        let mut arguments = pointers![from, layout, whole, changing, inside, to];
        self.launch(self.loaded.functions.read, height * width, depth.min(ROWS), 1, &mut arguments)
    }

    /// [`Change::apply`] to all values of one channel, without a mask.
    pub fn change(&self, values: View<'_, f32>, change: Change) -> Result<()> {
        let mut at = values.address();
        for length in portions(values.count()) {
            let (mut count, mut changing) = (small("values", length)?, Changing::from(change));
            let mut arguments = pointers![at, count, changing];
            self.launch(self.loaded.functions.change, length, 1, 1, &mut arguments)?;
            at = at.wrapping_byte_add(length * size_of::<f32>());
        }
        Ok(())
    }

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

    /// Values as the network's own elements of 16 bits: float16, or bfloat16.
    pub fn narrow(&self, from: View<'_, f32>, to: View<'_, u16>, is_brain: bool) -> Result<()> {
        same("values to convert", to.count(), from.count())?;
        let (mut count, mut is_brain) = (small("values", from.count())?, u32::from(is_brain));
        let (mut source, mut target) = (from.address(), to.address());
        let mut arguments = pointers![source, target, count, is_brain];
        self.launch(self.loaded.functions.narrow, from.count(), 1, 1, &mut arguments)
    }

    /// And back.
    pub fn widen(&self, from: View<'_, u16>, to: View<'_, f32>, is_brain: bool) -> Result<()> {
        same("values to convert", to.count(), from.count())?;
        let (mut count, mut is_brain) = (small("values", from.count())?, u32::from(is_brain));
        let (mut source, mut target) = (from.address(), to.address());
        let mut arguments = pointers![source, target, count, is_brain];
        self.launch(self.loaded.functions.widen, from.count(), 1, 1, &mut arguments)
    }

    /// [`Tiles::gather`].
    pub fn gather(
        &self,
        tiles: &Tiles,
        volume: View<'_, f32>,
        start: [isize; 3],
        mirrored: [bool; 3],
        padding: Padding,
        tile: View<'_, f32>,
    ) -> Result<()> {
        let channels = channels_of(tiles, volume)?;
        same("a tile's values", tile.count(), tiles.elements(channels))?;
        let mut tiling = tiling(tiles, tiles.taken(), padding)?;
        let mut start = small_start(tiles.taken_from(start))?;
        let [mut z, mut y, mut x] = mirrored.map(u32::from);
        let (mut from, mut to) = (volume.address(), tile.address());
        let mut arguments = pointers![from, to, tiling, start, z, y, x];
        let [depth, height, width] = tiles.taken();
        self.launch(self.loaded.functions.gather, height * threads_of(width), channels, depth.min(ROWS), &mut arguments)
    }

    /// What [`constants`](Self::constants) needs for tiles of a volume of so many channels.
    pub fn room_for_constants(&self, tiles: &Tiles, channels: usize) -> Result<Constants> {
        let start = |tile| small_start(tiles.taken_from(tiles.start(tile)));
        let starts = (0..tiles.count()).map(start).collect::<Result<Vec<_>>>()?;
        let places = tiles.count().saturating_mul(channels);
        let room =
            Constants { starts: self.upload(&starts)?, values: self.buffer(places)?, differs: self.buffer(places)? };
        room.differs.clear(0..places, &self.stream)?;
        Ok(room)
    }

    /// [`constants`](crate::volume::tiles::constants) of these tiles, once each.
    pub fn constants(
        &self,
        tiles: &Tiles,
        numbers: Range<usize>,
        volume: View<'_, f32>,
        padding: Padding,
        room: &Constants,
    ) -> Result<Vec<Option<Vec<u32>>>> {
        let channels = channels_of(tiles, volume)?;
        let places = numbers.start * channels..numbers.end * channels;
        let starts = room.starts.part(numbers.clone())?;
        let (values, differs) = (room.values.part(places.clone())?, room.differs.part(places.clone())?);
        let mut tiling = tiling(tiles, tiles.taken(), padding)?;
        let (mut count, mut number) = (small("tiles", numbers.len())?, small("channels", channels)?);
        let (mut from, mut at) = (volume.address(), starts.address());
        let (mut value, mut differ) = (values.address(), differs.address());
        let mut arguments = pointers![from, tiling, at, count, number, value, differ];
        // A few blocks for each: nearly all tiles differ at once, and the others are soon read.
        let voxels = tiles.elements(1).min(16 * THREADS as usize);
        self.launch(self.loaded.functions.constants, voxels, channels, numbers.len().min(ROWS), &mut arguments)?;
        let (mut of_tiles, mut do_differ) = (vec![0; places.len()], vec![0; places.len()]);
        self.download(values, &mut of_tiles)?;
        self.download(differs, &mut do_differ)?;
        let is_one = |differs: &[u32]| differs.iter().all(|differs| *differs == 0);
        let both = of_tiles.chunks(channels).zip(do_differ.chunks(channels));
        Ok(both.map(|(values, differs)| is_one(differs).then(|| values.to_vec())).collect())
    }

    /// [`add_mirrored`](crate::volume::sweep::add_mirrored).
    pub fn add_mirrored(
        &self,
        tile: View<'_, f32>,
        patch: [usize; 3],
        mirrored: [bool; 3],
        first: bool,
        sum: View<'_, f32>,
    ) -> Result<()> {
        same("a sum's values", sum.count(), tile.count())?;
        let voxels: usize = patch.iter().product();
        let channels = tile.count() / voxels.max(1);
        same("a tile's values", tile.count(), channels * voxels)?;
        let mut extents = extents(patch)?;
        let [mut z, mut y, mut x] = mirrored.map(u32::from);
        let (mut from, mut to, mut is_first) = (tile.address(), sum.address(), u32::from(first));
        let mut arguments = pointers![from, to, extents, z, y, x, is_first];
        self.launch(self.loaded.functions.add_mirrored, voxels, channels, 1, &mut arguments)
    }

    /// Divides all values by one.
    pub fn divide(&self, values: View<'_, f32>, mut divisor: f32) -> Result<()> {
        let mut at = values.address();
        for length in portions(values.count()) {
            let mut count = small("values", length)?;
            let mut arguments = pointers![at, count, divisor];
            self.launch(self.loaded.functions.divide, length, 1, 1, &mut arguments)?;
            at = at.wrapping_byte_add(length * size_of::<f32>());
        }
        Ok(())
    }

    /// Sets a place that is 0 to 1 if any of the values is no number.
    pub fn find_nan(&self, values: View<'_, f32>, found: View<'_, u32>) -> Result<()> {
        same("places for what is found", found.count(), 1)?;
        let (mut at, mut place) = (values.address(), found.address());
        for length in portions(values.count()) {
            let mut count = small("values", length)?;
            let mut arguments = pointers![at, count, place];
            self.launch(self.loaded.functions.find_nan, length, 1, 1, &mut arguments)?;
            at = at.wrapping_byte_add(length * size_of::<f32>());
        }
        Ok(())
    }

    /// Adds a tile to a ring of so many planes, as `Sweep::add` does. Where a value of it is no number a place becomes 1.
    pub fn blend(
        &self,
        tiles: &Tiles,
        channels: usize,
        start: [isize; 3],
        (tile, window): (View<'_, f32>, View<'_, f32>),
        (ring, planes): (View<'_, f32>, usize),
        found: Option<View<'_, u32>>,
    ) -> Result<()> {
        if let Some(found) = found {
            same("places for what is found", found.count(), 1)?;
        }
        let [_, height, width] = tiles.swept();
        same("a tile's values", tile.count(), tiles.given(channels))?;
        same("a window's weights", window.count(), tiles.given(1))?;
        same("a ring's values", ring.count(), planes * (channels + 1) * height * width)?;
        let [z, y, x] = [0, 1, 2].map(|axis| tiles.covered(axis, start[axis]));
        let (covered, first) = ([z.0.len(), y.0.len(), x.0.len()], [z.0.start, y.0.start, x.0.start]);
        let plane = extents([1, height, width])?;
        let mut blending = Blending {
            patch: extents(tiles.patch)?,
            // All planes together may have more voxels than that.
            ring: Extents([small("planes", planes)?, plane.0[1], plane.0[2]]),
            covered: extents(covered)?,
            in_tile: Extents([z.1, y.1, x.1].map(|skipped| skipped as u32)),
            in_volume: Extents(first.map(|first| first as u32)),
        };
        let mut number = small("channels", channels)?;
        let (mut tile, mut window, mut ring) = (tile.address(), window.address(), ring.address());
        let mut place = found.map_or(std::ptr::null_mut(), |found| found.address());
        let mut arguments = pointers![tile, window, ring, blending, number, place];
        let [depth, height, width] = covered;
        self.launch(self.loaded.functions.blend, height * threads_of(width), depth.min(ROWS), 1, &mut arguments)
    }

    /// Divides the sums of rows of a ring's planes by their weights. Where a value of a plane is no number, its place in `found` becomes
    /// 1.
    pub fn weigh(
        &self,
        planes: View<'_, f32>,
        [height, width]: [usize; 2],
        rows: Range<usize>,
        channels: usize,
        found: View<'_, u32>,
    ) -> Result<()> {
        let voxels = height * width;
        let count = planes.count() / ((channels + 1) * voxels);
        same("places for what is found", found.count(), count)?;
        same("values of planes", planes.count(), count * (channels + 1) * voxels)?;
        if rows.start > rows.end || rows.end > height {
            return Err(wrong(format!("rows {rows:?} of {height}")));
        }
        let mut at = planes.address().wrapping_byte_add(rows.start * width * size_of::<f32>());
        let (mut plane, mut part) = (small("voxels", voxels)?, small("voxels", rows.len() * width)?);
        let (mut number, mut places) = (small("channels", channels)?, found.address());
        let mut arguments = pointers![at, plane, part, number, places];
        self.launch(self.loaded.functions.weigh, rows.len() * width, count, 1, &mut arguments)
    }

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

    fn launch(
        &self,
        kernel: Kernel,
        voxels: usize,
        rows: usize,
        layers: usize,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        if voxels == 0 || rows == 0 || layers == 0 {
            return Ok(());
        }
        if voxels > SMALL || rows > ROWS || layers > ROWS {
            let message = format!("{voxels} voxels of {rows} channels or planes are more than a kernel takes at once");
            return Err(Error::new(Code::Unsupported, message));
        }
        let grid = [(voxels as u32).div_ceil(THREADS), rows as u32, layers as u32];
        // SAFETY: the arguments are those of the kernel, as its callers above give them, and of sizes that they have held against
        // each other; buffers are freed when the device's work has ended.
        unsafe { self.loaded.module.launch(kernel, grid, THREADS, arguments, &self.stream) }
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        // The module goes when nothing of it runs. Whose stream it is waits for that.
        if self.room.is_none() {
            let _ = self.stream.synchronize();
        }
    }
}

/// Threads for a row of voxels, which are mostly taken by fours where there are whole fours; else each thread takes several.
fn threads_of(width: usize) -> usize {
    if width.is_multiple_of(4) { width / 4 } else { width }
}

/// What is kept of so many lines of a spline, of so many samples.
pub(super) fn spline_elements(lines: usize, from: usize) -> usize {
    from.saturating_add(2 * PADDING).div_ceil(PIECE).saturating_mul(lines)
}

/// Kernels count voxels to here: a step further is still a number of 32 bits.
const SMALL: usize = i32::MAX as usize;

fn small(what: &str, count: usize) -> Result<u32> {
    match u32::try_from(count) {
        Ok(small) if count <= SMALL => Ok(small),
        _ => Err(Error::new(Code::Unsupported, format!("{count} {what} are more than a kernel takes at once"))),
    }
}

fn wrong(message: String) -> Error {
    Error::new(Code::Internal, format!("{message}; please report this"))
}

fn same(what: &str, are: usize, should: usize) -> Result<()> {
    if are == should { Ok(()) } else { Err(wrong(format!("{are} {what} on the device; they should be {should}"))) }
}

/// Extents of which the product is small, too.
fn extents(extents: [usize; 3]) -> Result<Extents> {
    small("voxels", extents.iter().fold(1, |product: usize, extent| product.saturating_mul(*extent)))?;
    Ok(Extents(extents.map(|extent| extent as u32)))
}

fn small_start(start: [isize; 3]) -> Result<Start> {
    let [Ok(z), Ok(y), Ok(x)] = start.map(i32::try_from) else {
        return Err(Error::new(
            Code::Unsupported,
            format!("a tile from {start:?} on is further than a kernel reaches"),
        ));
    };
    Ok(Start([z, y, x]))
}

fn tiling(tiles: &Tiles, patch: [usize; 3], padding: Padding) -> Result<Tiling> {
    // A volume may have more voxels than that in all.
    for extent in tiles.extents.into_iter().chain(patch) {
        small("voxels", 2 * extent)?;
    }
    let (padding, constant) = match padding {
        Padding::Constant(value) => (0, value),
        Padding::Edge => (1, 0.0),
        Padding::Reflect => (2, 0.0),
    };
    Ok(Tiling { volume: Extents(tiles.extents.map(|extent| extent as u32)), patch: extents(patch)?, padding, constant })
}

fn channels_of(tiles: &Tiles, volume: View<'_, f32>) -> Result<usize> {
    let voxels: usize = tiles.extents.iter().product();
    let channels = volume.count() / voxels;
    same("a volume's values", volume.count(), channels * voxels)?;
    Ok(channels)
}

/// How many planes there are.
fn planes_of(planes: View<'_, f32>, stride: usize, voxels: usize, channels: usize) -> Result<usize> {
    let used = voxels.saturating_mul(channels);
    if stride == 0 || used > stride {
        return Err(wrong(format!("planes of {channels} channels of {voxels} voxels, {stride} apart")));
    }
    same("values of planes", planes.count() % stride, 0)?;
    Ok(planes.count() / stride)
}

/// How many of so many values kernels take one after the other.
fn portions(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(SMALL).map(move |start| SMALL.min(count - start))
}

fn between(kernel: &Resampling, from: usize, to: usize) -> Result<Vec<Between>> {
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

/// Planes of a buffer of `[plane, …]`.
pub(super) fn planes(planes: Range<usize>, size: usize) -> Range<usize> {
    planes.start * size..planes.end * size
}
