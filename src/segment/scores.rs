//! What labels are decided by, for those who ask: a value for each channel and voxel of the scan, in a caller's memory or plane by
//! plane to a function of its own.

use super::labels::are_apart;
use super::lent::LentMut;
use super::shared::Elements;
use crate::error::{Code, Error, Result};
use crate::tensor::ElementType;
use crate::volume::Back;
use crate::volume::grid::{Box3, Layout};
use crate::volume::recipe::{Activation, Decision, Rule};
use crate::volume::work::allocate;
use half::f16;

/// What a caller asks for.
pub struct ScoresAsked {
    /// Whether probabilities are asked for, and not what the network gives before the activation.
    pub probabilities: bool,
    pub target: Target,
}

/// Where it goes.
pub enum Target {
    Map(ScoreMap),
    Planes(PlaneSink),
}

/// A map of values as its owner describes it.
pub struct ScoreMap {
    pub memory: LentMut,
    /// Float32 or float16.
    pub element_type: ElementType,
    /// Of a channel, in bytes.
    pub layout: Layout,
    /// Bytes from one channel to the next; where it is absent channels lie one after the other.
    pub channel_stride: Option<isize>,
}

/// Takes planes as they are done; an error ends the segmentation.
pub type PlaneSink = Box<dyn FnMut(&Plane) -> Result<()> + Send>;

/// Values of one plane of the scan's.
#[derive(Debug)]
pub struct Plane<'a> {
    /// One channel after the other.
    pub values: &'a [f32],
    pub channels: usize,
    /// Which of the scan's voxels they are; along one axis it is one.
    pub place: Box3,
    /// Where they lie in a channel: the first element is that of the box's first voxel.
    pub layout: Layout,
}

/// What is written of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Logits,
    Probabilities(Activation),
}

/// How they get to who asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    ToMap,
    ByPlanes,
}

impl Going {
    /// Bytes that this takes beside the caller's memory, where planes of the scan have so many voxels.
    pub fn memory(self, channels: usize, plane: u64) -> u64 {
        match self {
            Self::ToMap => 0,
            Self::ByPlanes => plane.saturating_mul(channels as u64).saturating_mul(size_of::<f32>() as u64),
        }
    }
}

/// What was asked for, held against the recipe and the network.
pub struct Scores {
    probabilities: bool,
    channels: usize,
    goes: Goes,
}

enum Goes {
    To {
        memory: LentMut,
        element_type: ElementType,
        layout: Layout,
        channel_stride: isize,
        /// Where what was not cut off lies, in the model's axes.
        place: Layout,
    },
    By {
        sink: PlaneSink,
        /// The plane that is being written, and where planes belong.
        plane: Vec<f32>,
        back: Option<Back>,
        /// Where the part of the scan that is worked on begins.
        start: [usize; 3],
    },
}

impl Scores {
    /// `is_resampled` is whether what the network gives may have another grid than the scan.
    pub fn new(asked: ScoresAsked, channels: usize, decision: &Decision, is_resampled: bool) -> Result<Self> {
        let ScoresAsked { probabilities, target } = asked;
        let unsupported = |message: &str| Err(Error::new(Code::Unsupported, message));
        if is_resampled && decision.before_resampling {
            return unsupported("the recipe decides on the model's grid: there are no values on the scan's");
        }
        let are_probabilities = decision.blend_probabilities || (is_resampled && decision.resample_probabilities);
        if are_probabilities && decision.activation != Activation::None && !probabilities {
            return unsupported(
                "the recipe blends or resamples probabilities: what was there before them is not on the scan's grid",
            );
        }
        let goes = match target {
            Target::Map(map) => to(map, channels)?,
            Target::Planes(sink) => Goes::By { sink, plane: Vec::new(), back: None, start: [0; 3] },
        };
        Ok(Self { probabilities, channels, goes })
    }

    pub fn going(&self) -> Going {
        match self.goes {
            Goes::To { .. } => Going::ToMap,
            Goes::By { .. } => Going::ByPlanes,
        }
    }

    /// A caller's memory that it goes to, if it does, to be found and fetched where that is on a device.
    pub fn map_memory(&mut self) -> Option<&mut LentMut> {
        match &mut self.goes {
            Goes::To { memory, .. } => Some(memory),
            Goes::By { .. } => None,
        }
    }

    /// Where its elements are, if they are in a caller's memory.
    pub fn elements(&self) -> Option<Elements> {
        let Goes::To { memory, element_type, layout, channel_stride, .. } = &self.goes else { return None };
        let Layout { extents, first, strides } = *layout;
        let axes: Vec<_> = extents.into_iter().zip(strides).chain([(self.channels, *channel_stride)]).collect();
        Some(Elements::new(memory.address() as i128 + first as i128, element_type.size(), &axes))
    }

    /// From now on a part of the scan is all of it.
    pub fn cut(&mut self, part: &Box3) {
        match &mut self.goes {
            Goes::To { layout, .. } => *layout = layout.part(part),
            Goes::By { start, .. } => start.iter_mut().zip(part.start).for_each(|(start, more)| *start += more),
        }
    }

    /// Rows that come lie as this says.
    pub fn begin(&mut self, way: &Back) -> Result<()> {
        match &mut self.goes {
            Goes::To { layout, place, .. } => *place = way.place(layout),
            Goes::By { plane, back, .. } => {
                let [_, height, width] = way.extents();
                *plane = allocate("a plane of probabilities or logits", self.channels * height * width)?;
                *back = Some(way.clone());
            }
        }
        Ok(())
    }

    /// What is written, where the recipe's own activation is not done yet.
    pub fn wanted(&self, decision: &Decision) -> Wanted {
        match (&decision.rule, decision.activation) {
            _ if !self.probabilities => Wanted::Logits,
            (Rule::Argmax { .. }, Activation::None) => Wanted::Probabilities(Activation::Softmax),
            (_, activation) => Wanted::Probabilities(activation),
        }
    }

    /// Writes values of a row along the model's last axis; channel after channel they are `step` apart.
    pub fn set_row(&mut self, z: usize, y: usize, values: &[f32], step: usize) {
        match &mut self.goes {
            Goes::To { memory, element_type, channel_stride, place, .. } => {
                let row = Row { element_type: *element_type, first: place.place([z, y, 0]), stride: place.strides[2] };
                let width = place.extents[2];
                for (channel, values) in values.chunks(step).enumerate().take(self.channels) {
                    row.write(memory.bytes(), channel as isize * *channel_stride, values[..width].iter().copied());
                }
            }
            Goes::By { plane, back, .. } => {
                let Some(back) = back else { return };
                let [_, height, width] = back.extents();
                let rows = plane.chunks_exact_mut(height * width);
                for (plane, values) in rows.zip(values.chunks(step)) {
                    plane[y * width..][..width].copy_from_slice(&values[..width]);
                }
            }
        }
    }

    /// All rows of a plane are written.
    pub fn end_plane(&mut self, z: usize) -> Result<()> {
        let Goes::By { sink, plane, back: Some(back), start } = &mut self.goes else { return Ok(()) };
        let (mut place, layout) = back.plane(z);
        place.start.iter_mut().zip(*start).for_each(|(place, start)| *place += start);
        sink(&Plane { values: plane, channels: self.channels, place, layout })
    }

    /// Writes the values of a box of the scan's voxels, dense in the scan's axes, one channel after the other.
    pub fn put(&mut self, place: &Box3, values: &[f32]) -> Result<()> {
        let [depth, height, width] = place.extents;
        match &mut self.goes {
            Goes::To { memory, element_type, layout, channel_stride, .. } => {
                let part = layout.part(place);
                for (number, values) in values.chunks_exact(width).enumerate() {
                    let (channel, z, y) = (number / (depth * height), number / height % depth, number % height);
                    let row =
                        Row { element_type: *element_type, first: part.place([z, y, 0]), stride: part.strides[2] };
                    row.write(memory.bytes(), channel as isize * *channel_stride, values.iter().copied());
                }
                Ok(())
            }
            Goes::By { sink, start, .. } => {
                let mut place = *place;
                place.start.iter_mut().zip(&*start).for_each(|(place, start)| *place += start);
                sink(&Plane { values, channels: self.channels, place, layout: Layout::dense(place.extents) })
            }
        }
    }

    /// Makes all values 0. Planes that do not come stand for zeros.
    pub fn clear(&mut self) {
        let Goes::To { memory, element_type, layout, channel_stride, .. } = &mut self.goes else { return };
        let [depth, height, width] = layout.extents;
        for z in 0..depth {
            for y in 0..height {
                let row =
                    Row { element_type: *element_type, first: layout.place([z, y, 0]), stride: layout.strides[2] };
                for channel in 0..self.channels {
                    let zeros = std::iter::repeat_n(0.0, width);
                    row.write(memory.bytes(), channel as isize * *channel_stride, zeros);
                }
            }
        }
    }
}

/// Where a row of values lies, in bytes.
struct Row {
    element_type: ElementType,
    first: isize,
    stride: isize,
}

impl Row {
    fn write(&self, memory: &mut [u8], offset: isize, values: impl Iterator<Item = f32>) {
        let mut at = self.first + offset;
        for value in values {
            let place = at as usize;
            match self.element_type {
                ElementType::Float16 => {
                    memory[place..place + 2].copy_from_slice(&f16::from_f32(value).to_ne_bytes());
                }
                _ => memory[place..place + 4].copy_from_slice(&value.to_ne_bytes()),
            }
            at += self.stride;
        }
    }
}

/// A caller's memory, if all values lie within.
fn to(map: ScoreMap, channels: usize) -> Result<Goes> {
    let ScoreMap { memory, element_type, layout, channel_stride } = map;
    let size = memory.size();
    if !matches!(element_type, ElementType::Float32 | ElementType::Float16) {
        let message = format!("probabilities or logits of {element_type}; they are float32 or float16");
        return Err(Error::new(Code::InvalidArgument, message));
    }
    let Layout { extents: [z, y, x], first, strides } = layout;
    let does_not_fit = || {
        let message = format!(
            "the memory for probabilities or logits has {size} bytes, and {channels} channels of {z}x{y}x{x} {element_type} from \
             byte {first} on do not lie within"
        );
        Error::new(Code::BufferTooSmall, message)
    };
    let channel_stride = match channel_stride {
        Some(stride) => stride,
        None => strides[0]
            .unsigned_abs()
            .checked_mul(z)
            .and_then(|stride| isize::try_from(stride).ok())
            .ok_or_else(does_not_fit)?,
    };
    let bounds = || {
        let (least, most) = layout.bounds()?;
        let reach = channel_stride.checked_mul(isize::try_from(channels).ok()? - 1)?;
        let least = usize::try_from(least.checked_add(reach.min(0))?).ok()?;
        let most = usize::try_from(most.checked_add(reach.max(0))?).ok()?;
        Some((least, most.checked_add(element_type.size())?))
    };
    if bounds().is_none_or(|(_, end)| end > size) {
        return Err(does_not_fit());
    }
    let axes = [(channels, channel_stride), (z, strides[0]), (y, strides[1]), (x, strides[2])];
    if !are_apart(&axes, element_type.size()) {
        let message = "values of the memory for probabilities or logits overlap by their strides";
        return Err(Error::new(Code::InvalidArgument, message));
    }
    Ok(Goes::To { memory, element_type, layout, channel_stride, place: layout })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::recipe_json;

    fn scores(
        memory: &mut [u8],
        element_type: ElementType,
        channel_stride: Option<isize>,
        decision: &str,
    ) -> Result<Scores> {
        let json = format!(r#"{{"planrt_recipe": 1, "tiling": {{"patch": [1, 1, 1]}}, "decision": {{{decision}}}}}"#);
        let recipe = recipe_json::parse(&json, "a test's").unwrap();
        let layout =
            Layout { extents: [1, 2, 3], first: 0, strides: [6, 3, 1].map(|n| n * element_type.size() as isize) };
        let map = ScoreMap { memory: LentMut::of(memory), element_type, layout, channel_stride };
        Scores::new(ScoresAsked { probabilities: false, target: Target::Map(map) }, 2, &recipe.decision, true)
    }

    const ARGMAX: &str = r#""labels": [0, 1]"#;

    #[test]
    fn written_channel_after_channel() {
        let mut memory = [9; 48];
        let mut scores = scores(&mut memory, ElementType::Float32, None, ARGMAX).unwrap();
        scores.clear();
        scores.set_row(0, 1, &[1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 9.0], 4);
        let values: Vec<_> = memory.chunks(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect();
        assert_eq!(values, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let code = |bytes: usize, element_type, stride, decision: &str| {
            scores(&mut vec![0; bytes], element_type, stride, decision).err().map(|error| error.code())
        };
        assert_eq!(code(24, ElementType::Float16, None, ARGMAX), None);
        assert_eq!(code(23, ElementType::Float16, None, ARGMAX), Some(Code::BufferTooSmall));
        assert_eq!(code(99, ElementType::Float16, Some(-12), ARGMAX), Some(Code::BufferTooSmall));
        assert_eq!(code(99, ElementType::Float16, Some(isize::MAX), ARGMAX), Some(Code::BufferTooSmall));
        assert_eq!(code(99, ElementType::Float16, Some(10), ARGMAX), Some(Code::InvalidArgument));
        assert_eq!(code(99, ElementType::Uint8, None, ARGMAX), Some(Code::InvalidArgument));
        let early = format!(r#"{ARGMAX}, "before_resampling": true"#);
        assert_eq!(code(48, ElementType::Float32, None, &early), Some(Code::Unsupported));
        let blended = format!(r#"{ARGMAX}, "activation": "softmax", "blend_probabilities": true"#);
        assert_eq!(code(48, ElementType::Float32, None, &blended), Some(Code::Unsupported));
    }
}
