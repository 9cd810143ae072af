//! What labels are decided by, for those who ask: a value for each channel and voxel of the scan, in a caller's memory.

use super::labels::are_apart;
use super::lent::LentMut;
use crate::error::{Code, Error, Result};
use crate::tensor::ElementType;
use crate::volume::grid::Layout;
use crate::volume::recipe::{Activation, Decision, Rule};
use half::f16;

/// A map of values as its owner describes it.
pub struct ScoreMap {
    pub memory: LentMut,
    /// Float32 or float16.
    pub element_type: ElementType,
    /// Of a channel, in bytes.
    pub layout: Layout,
    /// Bytes from one channel to the next; where it is absent channels lie one after the other.
    pub channel_stride: Option<isize>,
    /// Whether probabilities are asked for, and not what the network gives before the activation.
    pub probabilities: bool,
}

/// What is written of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Logits,
    Probabilities(Activation),
}

/// One that was held against the recipe and the network.
pub struct Scores {
    map: ScoreMap,
    channels: usize,
    channel_stride: isize,
}

impl Scores {
    /// `is_resampled` is whether what the network gives may have another grid than the scan.
    pub fn new(mut map: ScoreMap, channels: usize, decision: &Decision, is_resampled: bool) -> Result<Self> {
        let unsupported = |message: &str| Err(Error::new(Code::Unsupported, message));
        if is_resampled && decision.before_resampling {
            return unsupported("the recipe decides on the model's grid: there are no values on the scan's");
        }
        let are_probabilities = decision.blend_probabilities || (is_resampled && decision.resample_probabilities);
        if are_probabilities && decision.activation != Activation::None && !map.probabilities {
            return unsupported(
                "the recipe blends or resamples probabilities: what was there before them is not on the scan's grid",
            );
        }
        let size = map.memory.bytes().len();
        let ScoreMap { element_type, layout, channel_stride, .. } = map;
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
        Ok(Self { map, channels, channel_stride })
    }

    pub fn layout(&self) -> &Layout {
        &self.map.layout
    }

    /// What is written, where the recipe's own activation is not done yet.
    pub fn wanted(&self, decision: &Decision) -> Wanted {
        match (&decision.rule, decision.activation) {
            _ if !self.map.probabilities => Wanted::Logits,
            (Rule::Argmax { .. }, Activation::None) => Wanted::Probabilities(Activation::Softmax),
            (_, activation) => Wanted::Probabilities(activation),
        }
    }

    /// Writes values side by side along the last axis of a layout, which is a part of its own; channel after channel they are
    /// `step` apart.
    pub fn set_row(&mut self, layout: &Layout, z: usize, y: usize, values: &[f32], step: usize) {
        let width = layout.extents[2];
        let memory = self.map.memory.bytes();
        for (channel, values) in values.chunks(step).enumerate().take(self.channels) {
            let mut at = layout.place([z, y, 0]) + channel as isize * self.channel_stride;
            for value in &values[..width] {
                let place = at as usize;
                match self.map.element_type {
                    ElementType::Float16 => {
                        memory[place..place + 2].copy_from_slice(&f16::from_f32(*value).to_ne_bytes());
                    }
                    _ => memory[place..place + 4].copy_from_slice(&value.to_ne_bytes()),
                }
                at += layout.strides[2];
            }
        }
    }

    /// Makes all values 0.
    pub fn clear(&mut self) {
        let layout = self.map.layout;
        let [depth, height, width] = layout.extents;
        let zeros = vec![0.0; self.channels * width];
        for z in 0..depth {
            (0..height).for_each(|y| self.set_row(&layout, z, y, &zeros, width));
        }
    }
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
        let map = ScoreMap { memory: LentMut::of(memory), element_type, layout, channel_stride, probabilities: false };
        Scores::new(map, 2, &recipe.decision, true)
    }

    const ARGMAX: &str = r#""labels": [0, 1]"#;

    #[test]
    fn written_channel_after_channel() {
        let mut memory = [9; 48];
        let mut scores = scores(&mut memory, ElementType::Float32, None, ARGMAX).unwrap();
        scores.clear();
        let layout = *scores.layout();
        scores.set_row(&layout, 0, 1, &[1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 9.0], 4);
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
