//! What is known of the tensors of a graph, as far as a model says it and it follows from operator to operator.

use super::graph::Node;
use super::{FLOAT, INT64};
use crate::build::protobuf::{Field, Fields, text};
use crate::error::Result;
use std::collections::HashMap;

/// More are no shape.
const MOST_NUMBERS: usize = 16;
/// More channels are not normalized in groups: constants are written for them. Nor is it looked whether more elements are equal.
pub(super) const MOST_CHANNELS: u64 = 1 << 16;

/// What is known of a tensor.
#[derive(Clone, Default)]
pub struct Known {
    pub rank: Option<usize>,
    pub element_type: Option<u64>,
    /// Its first and its second extent.
    pub first: Option<u64>,
    pub channels: Option<u64>,
    /// How many elements it has, if it is a list that the model brings, or a shape.
    pub length: Option<usize>,
    /// Its elements, if it is a short list of integers that the model brings.
    pub numbers: Option<Vec<i64>>,
    /// The tensor whose shape it is.
    pub shape_of: Option<String>,
    /// What all its elements are, if the model brings them.
    pub fill: Option<f32>,
}

impl Known {
    /// Of another tensor, whose elements are others.
    fn of_shape(&self) -> Self {
        let Self { rank, element_type, first, channels, .. } = *self;
        Self { rank, element_type, first, channels, ..Self::default() }
    }
}

/// The numbers of a packed field, one after the other.
fn read_packed(packed: &[u8]) -> Vec<u64> {
    let (mut numbers, mut rest) = (Vec::new(), packed);
    while let Some(size) = rest.iter().position(|byte| byte & 0x80 == 0) {
        let (number, behind) = rest.split_at(size + 1);
        numbers.push(number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)));
        rest = behind;
    }
    numbers
}

/// A TensorProto's name, and what it says of itself.
pub fn read_tensor(message: &[u8]) -> Result<(String, Known)> {
    let (mut name, mut extents, mut element_type) = (String::new(), Vec::new(), None);
    let (mut listed, mut of_floats, mut raw) = (Vec::new(), Vec::new(), &[][..]);
    for field in Fields(message) {
        match field? {
            (1, Field::Number(extent)) => extents.push(extent),
            (1, Field::Bytes(packed)) => extents.extend(read_packed(packed)),
            (2, Field::Number(number)) => element_type = Some(number),
            (4, Field::Fixed(bytes)) => of_floats.extend(bytes.try_into().ok().map(f32::from_le_bytes)),
            (4, Field::Bytes(packed)) => {
                of_floats.extend(packed.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            (7, Field::Number(number)) => listed.push(number.cast_signed()),
            (7, Field::Bytes(packed)) => listed.extend(read_packed(packed).into_iter().map(u64::cast_signed)),
            (8, Field::Bytes(bytes)) => name = text(bytes),
            (9, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let length = match extents[..] {
        [length] => usize::try_from(length).ok(),
        _ => None,
    };
    if listed.is_empty() && raw.len() <= size_of::<i64>() * MOST_NUMBERS {
        listed.extend(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)));
    }
    let is_short = element_type == Some(INT64) && length == Some(listed.len()) && listed.len() <= MOST_NUMBERS;
    let numbers = is_short.then_some(listed);
    if of_floats.is_empty() && element_type == Some(FLOAT) && raw.len() <= size_of::<f32>() * MOST_CHANNELS as usize {
        of_floats.extend(raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    let fill = of_floats.first().copied().filter(|first| of_floats.iter().all(|number| number == first));
    let (first, channels) = (extents.first().copied(), extents.get(1).copied());
    Ok((
        name,
        Known { rank: Some(extents.len()), element_type, first, channels, length, numbers, shape_of: None, fill },
    ))
}

/// A Dimension's number, if it has one.
fn read_extent(message: &[u8]) -> Result<Option<u64>> {
    let mut extent = None;
    for field in Fields(message) {
        if let (1, Field::Number(number)) = field? {
            // Some write -1 where others write nothing.
            extent = Some(number).filter(|number| number.cast_signed() > 0);
        }
    }
    Ok(extent)
}

/// A ValueInfoProto's name, and what it says of the tensor.
pub fn read_value_info(message: &[u8]) -> Result<(String, Known)> {
    let (mut name, mut known) = (String::new(), Known::default());
    for field in Fields(message) {
        match field? {
            (1, Field::Bytes(bytes)) => name = text(bytes),
            (2, Field::Bytes(of_type)) => {
                for field in Fields(of_type) {
                    let (1, Field::Bytes(tensor)) = field? else { continue };
                    for field in Fields(tensor) {
                        match field? {
                            (1, Field::Number(number)) => known.element_type = Some(number),
                            (2, Field::Bytes(shape)) => {
                                let mut extents = Vec::new();
                                for field in Fields(shape) {
                                    if let (1, Field::Bytes(extent)) = field? {
                                        extents.push(read_extent(extent)?);
                                    }
                                }
                                known.rank = Some(extents.len());
                                known.channels = extents.get(1).copied().flatten();
                            }
                            _ => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok((name, known))
}

/// Operators whose operands are extended to one another's shape.
const BROADCAST: [&str; 5] = ["Add", "Div", "Mul", "Pow", "Sub"];

/// Operators whose first output has as many dimensions as their first input.
const KEEP_RANK: [&str; 37] = [
    "Abs",
    "AveragePool",
    "BatchNormalization",
    "Ceil",
    "Celu",
    "Clip",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "LpPool",
    "MaxPool",
    "Mish",
    "Neg",
    "PRelu",
    "RMSNormalization",
    "Relu",
    "Resize",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Swish",
    "Tanh",
];

/// What is known of every tensor, as far as it follows from operator to operator.
#[derive(Default)]
pub struct Tensors(HashMap<String, Known>);

impl Tensors {
    pub fn get(&self, name: &str) -> Known {
        self.0.get(name).cloned().unwrap_or_default()
    }

    pub fn add(&mut self, name: String, known: Known) {
        let entry = self.0.entry(name).or_default();
        entry.rank = entry.rank.or(known.rank);
        entry.element_type = entry.element_type.or(known.element_type);
        entry.first = entry.first.or(known.first);
        entry.channels = entry.channels.or(known.channels);
        entry.length = entry.length.or(known.length);
        entry.numbers = entry.numbers.take().or(known.numbers);
        entry.shape_of = entry.shape_of.take().or(known.shape_of);
        entry.fill = entry.fill.or(known.fill);
    }

    pub fn follow(&mut self, node: &Node) {
        let input = |i: usize| node.inputs.get(i).map(|name| self.get(name)).unwrap_or_default();
        let first = input(0);
        let known = match node.operator.as_str() {
            _ if !matches!(node.domain.as_str(), "" | "ai.onnx") => return,
            "Constant" => node.value.clone().unwrap_or_default(),
            "Shape" => Known {
                rank: Some(1),
                element_type: Some(INT64),
                length: first.rank.filter(|_| !node.is_part),
                shape_of: node.inputs.first().filter(|_| !node.is_part).cloned(),
                ..Known::default()
            },
            "Conv" | "ConvTranspose" => Known {
                rank: first.rank.or(input(1).rank),
                channels: self.channels_of_convolution(node),
                ..first.of_shape()
            },
            "Reshape" => match input(1) {
                Known { shape_of: Some(like), .. } => {
                    let Known { rank, channels, .. } = self.get(&like);
                    Known { rank, channels, first: None, ..first.of_shape() }
                }
                Known { length, numbers, .. } => {
                    let extent = numbers.and_then(|numbers| numbers.get(1).copied());
                    let channels = match extent {
                        Some(0) => first.channels,
                        extent => extent.and_then(|extent| u64::try_from(extent).ok()),
                    };
                    Known { rank: length, channels, first: None, ..first.of_shape() }
                }
            },
            "QuantizeLinear" | "DequantizeLinear" => Known { element_type: None, ..first.of_shape() },
            "Cast" => Known { element_type: node.to, ..first.of_shape() },
            "Concat" => Known { channels: self.channels_of_concat(node, first.rank), first: None, ..first.of_shape() },
            "Transpose" | "Split" | "Pad" | "Slice" => Known { channels: None, first: None, ..first.of_shape() },
            operator if KEEP_RANK.contains(&operator) => first.of_shape(),
            operator if BROADCAST.contains(&operator) => {
                // An operand of which nothing is known may have more than the others.
                let operands: Vec<_> = node.inputs.iter().map(|name| self.get(name)).collect();
                let ranks: Option<Vec<_>> = operands.iter().map(|known| known.rank).collect();
                let rank = ranks.and_then(|ranks| ranks.into_iter().max());
                let full = operands.iter().filter(|known| rank.is_some() && known.rank == rank);
                // A single channel may be extended to as many as another has.
                let channels = full.filter_map(|known| known.channels).max().filter(|channels| *channels > 1);
                Known { rank, channels, element_type: first.element_type.or(input(1).element_type), ..Known::default() }
            }
            _ => return,
        };
        // Others than the first are of another kind: masks, indexes, means.
        let count = if node.operator == "Split" { node.outputs.len() } else { 1 };
        for output in node.outputs.iter().take(count) {
            self.add(output.clone(), known.clone());
        }
    }

    fn channels_of_convolution(&self, node: &Node) -> Option<u64> {
        let weights = self.get(node.inputs.get(1)?);
        match node.operator.as_str() {
            "Conv" => weights.first,
            _ => weights.channels?.checked_mul(node.group.unwrap_or(1)),
        }
    }

    fn channels_of_concat(&self, node: &Node, rank: Option<usize>) -> Option<u64> {
        let mut channels = node.inputs.iter().map(|name| self.get(name).channels);
        // From the end on they are counted below zero.
        let axis = node.axis?.cast_signed();
        let axis = if axis < 0 { axis.checked_add_unsigned(rank? as u64)? } else { axis };
        match axis {
            1 => channels.try_fold(0, |sum: u64, channels| sum.checked_add(channels?)),
            _ => channels.next()?,
        }
    }
}
