//! A caller's scan, read as float32 whatever its elements are and however they lie.

use super::grid::{Axes, Box3, Layout, voxels};
use crate::error::{Code, Error, Result};
use crate::tensor::ElementType;
use half::f16;
use std::ops::Range;

/// What scans are made of.
pub const ELEMENT_TYPES: [ElementType; 7] = [
    ElementType::Int8,
    ElementType::Uint8,
    ElementType::Int16,
    ElementType::Uint16,
    ElementType::Int32,
    ElementType::Float16,
    ElementType::Float32,
];

/// Channels of a volume in memory that is lent. Each value counts as `value · slope + intercept`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    memory: &'a [u8],
    element_type: ElementType,
    channels: usize,
    channel_stride: isize,
    /// In bytes; all elements of all channels lie within `memory`.
    layout: Layout,
    rescale: Option<(f64, f64)>,
}

/// How a scan lies in memory: its axes are `[z, y, x]`, and strides may be negative or 0.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    pub element_type: ElementType,
    pub channels: usize,
    pub extents: [usize; 3],
    /// The byte at which voxel (0, 0, 0) of channel 0 begins: not 0 where a stride is negative.
    pub first: usize,
    /// Bytes from one channel, one z, one y and one x to the next.
    pub strides: [isize; 4],
    pub slope: f64,
    pub intercept: f64,
}

/// A scan's elements as they lie in memory that they reach from end to end.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    pub memory: &'a [u8],
    pub element_type: ElementType,
    /// In bytes, as the layout, whose first element is that of channel 0.
    pub channel_stride: isize,
    pub layout: Layout,
    pub rescale: Option<(f64, f64)>,
}

impl Span<'_> {
    /// Planes of a channel.
    pub fn planes(&self, channel: usize, planes: &Range<usize>) -> Layout {
        let [_, height, width] = self.layout.extents;
        let part = Box3 { start: [planes.start, 0, 0], extents: [planes.len(), height, width] };
        let part = self.layout.part(&part);
        Layout { first: part.first + channel as isize * self.channel_stride, ..part }
    }

    /// Whether each element lies at a multiple of its size from the memory's start.
    pub fn is_aligned(&self) -> bool {
        let size = self.element_type.size() as isize;
        let Layout { first, strides: [z, y, x], .. } = self.layout;
        [first, z, y, x, self.channel_stride].iter().all(|bytes| bytes % size == 0)
    }
}

impl Description {
    /// Channel after channel without gaps, values as they are.
    pub fn dense(element_type: ElementType, channels: usize, extents: [usize; 3]) -> Result<Self> {
        let size = element_type.size();
        let plane = voxels(extents)?;
        let bytes = |elements: usize| elements.checked_mul(size).and_then(|bytes| isize::try_from(bytes).ok());
        let stride = |elements| {
            bytes(elements).ok_or_else(|| Error::new(Code::Shape, format!("{extents:?} voxels do not fit in memory")))
        };
        let [_, y, x] = extents;
        let strides = [stride(plane)?, stride(y * x)?, stride(x)?, stride(1)?];
        Ok(Self { element_type, channels, extents, first: 0, strides, slope: 1.0, intercept: 0.0 })
    }

    /// Where channel 0 lies in memory of so many bytes; an error where an element would lie outside.
    pub fn within(&self, size_of_memory: usize) -> Result<Layout> {
        let Description {
            element_type, channels, extents, strides: [channel_stride, z, y, x], slope, intercept, ..
        } = *self;
        if !ELEMENT_TYPES.contains(&element_type) {
            let names = ELEMENT_TYPES.map(|known| known.to_string()).join(", ");
            return Err(Error::new(Code::Unsupported, format!("a scan of {element_type}; it can be of {names}")));
        }
        if channels == 0 {
            return Err(Error::new(Code::Shape, "a scan without channels"));
        }
        voxels(extents)?;
        if !(slope.is_finite() && slope != 0.0 && intercept.is_finite()) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("values cannot be rescaled by slope {slope} and intercept {intercept}: 1 and 0 leave them"),
            ));
        }
        let size = element_type.size();
        let bounds = || {
            let layout = Layout { extents, first: isize::try_from(self.first).ok()?, strides: [z, y, x] };
            let (least, most) = layout.bounds()?;
            let reach = channel_stride.checked_mul(isize::try_from(channels - 1).ok()?)?;
            let (least, most) = (least.checked_add(reach.min(0))?, most.checked_add(reach.max(0))?);
            Some((layout, usize::try_from(least).ok()?, usize::try_from(most).ok()?.checked_add(size)?))
        };
        match bounds() {
            Some((layout, _, end)) if end <= size_of_memory => Ok(layout),
            bounds => {
                let [ez, ey, ex] = extents;
                let reach = match bounds {
                    Some((_, _, end)) => format!("reach byte {end}"),
                    None => "reach before it or beyond all memory".to_owned(),
                };
                Err(Error::new(
                    Code::BufferTooSmall,
                    format!(
                        "the scan's memory has {} bytes, and {channels} channels of {ez}x{ey}x{ex} {element_type} with strides \
                         {:?} from byte {} on {reach}",
                        size_of_memory, self.strides, self.first
                    ),
                ))
            }
        }
    }
}

impl<'a> View<'a> {
    /// An error where an element would lie outside the memory.
    pub fn new(memory: &'a [u8], scan: &Description) -> Result<Self> {
        let layout = scan.within(memory.len())?;
        let Description { element_type, channels, strides: [channel_stride, ..], slope, intercept, .. } = *scan;
        let rescale = (slope != 1.0 || intercept != 0.0).then_some((slope, intercept));
        Ok(Self { memory, element_type, channels, channel_stride, layout, rescale })
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    pub fn extents(&self) -> [usize; 3] {
        self.layout.extents
    }

    /// The same scan with its axes taken otherwise.
    pub fn turned(&self, axes: &Axes) -> Self {
        Self { layout: self.layout.turned(axes), ..*self }
    }

    /// A box of it; none of what is outside.
    pub fn part(&self, part: &Box3) -> Result<Self> {
        let whole = self.layout.extents;
        let fits = |axis: usize| part.start[axis].checked_add(part.extents[axis]).is_some_and(|end| end <= whole[axis]);
        if voxels(part.extents).is_err() || !(0..3).all(fits) {
            return Err(Error::new(
                Code::Shape,
                format!("no box of {:?} voxels from {:?} on lies within {whole:?} voxels", part.extents, part.start),
            ));
        }
        Ok(Self { layout: self.layout.part(part), ..*self })
    }

    /// What of the memory its elements reach, and how they lie there.
    pub fn span(&self) -> Option<Span<'a>> {
        let (least, most) = self.layout.bounds()?;
        let reach = self.channel_stride.checked_mul(isize::try_from(self.channels.checked_sub(1)?).ok()?)?;
        let start = least.checked_add(reach.min(0))?;
        let end = usize::try_from(most.checked_add(reach.max(0))?).ok()?.checked_add(self.element_type.size())?;
        let memory = self.memory.get(usize::try_from(start).ok()?..end)?;
        let layout = Layout { first: self.layout.first - start, ..self.layout };
        let (element_type, channel_stride, rescale) = (self.element_type, self.channel_stride, self.rescale);
        Some(Span { memory, element_type, channel_stride, layout, rescale })
    }

    /// See `Layout::planes_together`.
    pub fn planes_together(&self) -> usize {
        self.layout.planes_together()
    }

    /// Reads planes of a channel, without gaps.
    pub fn read(&self, channel: usize, planes: Range<usize>, target: &mut [f32]) {
        macro_rules! read {
            ($element:ty, $to:ident) => {
                match self.rescale {
                    None => self.fill(channel, planes, target, |bytes| <$element>::from_ne_bytes(bytes).$to() as f32),
                    Some((slope, intercept)) => self.fill(channel, planes, target, |bytes| {
                        (f64::from(<$element>::from_ne_bytes(bytes)) * slope + intercept) as f32
                    }),
                }
            };
        }
        match self.element_type {
            ElementType::Int8 => read!(i8, clone),
            ElementType::Uint8 => read!(u8, clone),
            ElementType::Int16 => read!(i16, clone),
            ElementType::Uint16 => read!(u16, clone),
            ElementType::Int32 => read!(i32, clone),
            ElementType::Float16 => read!(f16, to_f32),
            // `new` lets no others in.
            _ => read!(f32, clone),
        }
    }

    fn fill<const SIZE: usize>(
        &self,
        channel: usize,
        planes: Range<usize>,
        target: &mut [f32],
        convert: impl Fn([u8; SIZE]) -> f32,
    ) {
        let [_, ny, nx] = self.layout.extents;
        let from = self.layout.first + channel as isize * self.channel_stride;
        let from = from + planes.start as isize * self.layout.strides[0];
        // Loops from the widest stride to the narrowest; where two are equal x is innermost.
        let extents = [planes.len(), ny, nx];
        let to = [ny * nx, nx, 1];
        let mut order = [0, 1, 2];
        // An axis of one voxel has a stride that nobody walks: outermost.
        order.sort_by_key(|axis| (extents[*axis] > 1, std::cmp::Reverse(self.layout.strides[*axis].unsigned_abs())));
        let [a, b, c] = order;
        let strides = order.map(|axis| self.layout.strides[axis]);
        for i in 0..extents[a] {
            for j in 0..extents[b] {
                let first = from + i as isize * strides[0] + j as isize * strides[1];
                let start = i * to[a] + j * to[b];
                let count = extents[c];
                let values = target[start..].iter_mut().step_by(to[c]).take(count);
                if strides[2].unsigned_abs() == SIZE {
                    let back = strides[2] < 0;
                    let first = if back { first - (count as isize - 1) * SIZE as isize } else { first } as usize;
                    let (elements, _) = self.memory[first..first + count * SIZE].as_chunks::<SIZE>();
                    match (back, to[c]) {
                        (false, 1) => {
                            let row = &mut target[start..start + count];
                            row.iter_mut().zip(elements).for_each(|(value, bytes)| *value = convert(*bytes));
                        }
                        (false, _) => values.zip(elements).for_each(|(value, bytes)| *value = convert(*bytes)),
                        (true, _) => {
                            values.zip(elements.iter().rev()).for_each(|(value, bytes)| *value = convert(*bytes))
                        }
                    }
                } else {
                    for (k, value) in values.enumerate() {
                        let first = (first + k as isize * strides[2]) as usize;
                        let mut bytes = [0; SIZE];
                        bytes.copy_from_slice(&self.memory[first..first + SIZE]);
                        *value = convert(bytes);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::grid::Axes;

    fn bytes(values: &[i32], element_type: ElementType) -> Vec<u8> {
        let one = |value: &i32| match element_type {
            ElementType::Int8 => (*value as i8).to_ne_bytes().to_vec(),
            ElementType::Uint8 => (*value as u8).to_ne_bytes().to_vec(),
            ElementType::Int16 => (*value as i16).to_ne_bytes().to_vec(),
            ElementType::Uint16 => (*value as u16).to_ne_bytes().to_vec(),
            ElementType::Int32 => value.to_ne_bytes().to_vec(),
            ElementType::Float16 => f16::from_f32(*value as f32).to_ne_bytes().to_vec(),
            ElementType::Float32 => (*value as f32).to_ne_bytes().to_vec(),
            _ => unreachable!(),
        };
        values.iter().flat_map(one).collect()
    }

    #[test]
    fn every_element_type_with_and_without_rescaling() {
        for element_type in ELEMENT_TYPES {
            let values: Vec<i32> = (0..120).collect();
            let memory = bytes(&values, element_type);
            let plain = Description::dense(element_type, 2, [3, 4, 5]).unwrap();
            let mut read = vec![0.0; 40];
            View::new(&memory, &plain).unwrap().read(1, 1..3, &mut read);
            assert_eq!(read, (80..120).map(|v| v as f32).collect::<Vec<_>>(), "{element_type}");
            let scan = Description { slope: 0.1, intercept: -1024.0, ..plain };
            View::new(&memory, &scan).unwrap().read(1, 1..3, &mut read);
            assert_eq!(read, (80..120).map(|v| (f64::from(v) * 0.1 - 1024.0) as f32).collect::<Vec<_>>());
        }
        // The ends of their ranges, and what float32 cannot hold.
        let read = |values: &[i32], element_type| {
            let memory = bytes(values, element_type);
            let mut read = vec![0.0; values.len()];
            let scan = Description::dense(element_type, 1, [1, 1, values.len()]).unwrap();
            View::new(&memory, &scan).unwrap().read(0, 0..1, &mut read);
            read
        };
        assert_eq!(read(&[-128, 127], ElementType::Int8), [-128.0, 127.0]);
        assert_eq!(read(&[255], ElementType::Uint8), [255.0]);
        assert_eq!(read(&[-32768, 32767], ElementType::Int16), [-32768.0, 32767.0]);
        assert_eq!(read(&[65535], ElementType::Uint16), [65535.0]);
        assert_eq!(read(&[i32::MIN, 16_777_217], ElementType::Int32), [-2_147_483_648.0, 16_777_216.0]);
    }

    #[test]
    fn all_orders_and_directions_of_axes() {
        // As large that planes are read together, and oddly aligned.
        let extents = [17, 3, 20];
        let values: Vec<i32> = (0..17 * 3 * 20).collect();
        let memory: Vec<u8> = [0xa5].into_iter().chain(bytes(&values, ElementType::Int16)).collect();
        let scan = Description { first: 1, ..Description::dense(ElementType::Int16, 1, extents).unwrap() };
        let view = View::new(&memory, &scan).unwrap();
        for source in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for flips in 0..8 {
                let flipped = [flips & 1 != 0, flips & 2 != 0, flips & 4 != 0];
                let turned = view.turned(&Axes { source, flipped });
                let [nz, ny, nx] = turned.extents();
                let mut read = vec![0.0; nz * ny * nx];
                let together = turned.planes_together();
                for start in (0..nz).step_by(together) {
                    let planes = start..nz.min(start + together);
                    turned.read(0, planes.clone(), &mut read[start * ny * nx..planes.end * ny * nx]);
                }
                for (i, value) in read.iter().enumerate() {
                    let place = [i / (ny * nx), i / nx % ny, i % nx];
                    let mut theirs = [0; 3];
                    for axis in 0..3 {
                        let last = turned.extents()[axis] - 1;
                        theirs[source[axis]] = if flipped[axis] { last - place[axis] } else { place[axis] };
                    }
                    assert_eq!(*value, ((theirs[0] * 3 + theirs[1]) * 20 + theirs[2]) as f32, "{source:?} {flipped:?}");
                }
            }
        }
    }

    #[test]
    fn strides_of_zero_gaps_and_interleaved_channels() {
        let memory = bytes(&(0..24).collect::<Vec<_>>(), ElementType::Int32);
        // RGB, as pictures have it: two rows of four voxels.
        let rgb =
            Description { strides: [4, 0, 48, 12], ..Description::dense(ElementType::Int32, 3, [1, 2, 4]).unwrap() };
        let mut read = vec![0.0; 8];
        View::new(&memory, &rgb).unwrap().read(2, 0..1, &mut read);
        assert_eq!(read, [2.0, 5.0, 8.0, 11.0, 14.0, 17.0, 20.0, 23.0]);
        let part = Box3 { start: [0, 1, 1], extents: [1, 1, 2] };
        View::new(&memory, &rgb).unwrap().part(&part).unwrap().read(0, 0..1, &mut read[..2]);
        assert_eq!(read[..2], [15.0, 18.0]);
        assert!(View::new(&memory, &rgb).unwrap().part(&Box3 { start: [0, 1, 1], extents: [1, 2, 1] }).is_err());
        let same = Description { strides: [0; 4], first: 92, ..rgb };
        View::new(&memory, &same).unwrap().read(1, 0..1, &mut read);
        assert_eq!(read, [23.0; 8]);
    }

    #[test]
    fn what_does_not_fit_the_memory_is_refused() {
        let memory = [0; 240];
        let dense = Description::dense(ElementType::Int16, 2, [3, 4, 5]).unwrap();
        View::new(&memory, &dense).unwrap();
        let code = |scan: Description, size: usize| View::new(&memory[..size], &scan).unwrap_err().code();
        assert_eq!(code(dense, 239), Code::BufferTooSmall);
        assert_eq!(code(Description { first: 1, ..dense }, 240), Code::BufferTooSmall);
        assert_eq!(code(Description { strides: [120, 40, 10, -2], ..dense }, 240), Code::BufferTooSmall);
        View::new(&memory, &Description { strides: [120, 40, 10, -2], first: 8, ..dense }).unwrap();
        assert_eq!(
            code(Description { strides: [isize::MAX, 40, 10, 2], channels: 3, ..dense }, 240),
            Code::BufferTooSmall
        );
        assert_eq!(code(Description { strides: [isize::MIN, 40, 10, 2], ..dense }, 240), Code::BufferTooSmall);
        assert_eq!(code(Description { extents: [3, 0, 5], ..dense }, 240), Code::Shape);
        assert_eq!(code(Description { extents: [usize::MAX, 1, 1], ..dense }, 240), Code::Shape);
        assert_eq!(code(Description { channels: 0, ..dense }, 240), Code::Shape);
        assert_eq!(code(Description { slope: 0.0, ..dense }, 240), Code::InvalidArgument);
        assert_eq!(code(Description { intercept: f64::NAN, ..dense }, 240), Code::InvalidArgument);
        assert_eq!(code(Description { element_type: ElementType::Int64, ..dense }, 240), Code::Unsupported);
    }
}
