//! InstanceNormalization taken apart into operators that every TensorRT computes itself: means, products and a root.
//!
//! The mean over all axes behind the channels is taken first, then the mean of the squared distances from it: the sum of squares
//! alone would lose what is small beside the mean. All of it is float32, whatever the model's type: the squares of a CT's
//! numbers are more than float16 holds.
//!
//! A mean is taken axis by axis: a sum of millions, one after the other, would lose digits, and TensorRT's takes no longer so.
//! What follows the last mean is pointwise and of one shape: TensorRT makes one layer of it, together with the activation
//! behind. For each such layer, shape and layout in memory 8.5 compiles and times some thirty kernels, a third of a second
//! each, which is most of what a build takes. For the same reason GroupNorm as PyTorch exports it, a reshape to [batch, groups,
//! rest] and back around InstanceNormalization, is computed in the shape that it comes in.

use super::Options;
use super::onnx::Model;
use super::protobuf::{Field, Fields, Message, text};
use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use std::collections::{HashMap, HashSet};

const OPERATOR: &str = "InstanceNormalization";
/// Numbers of onnx.proto's `TensorProto.DataType`.
const FLOAT: u64 = 1;
const INT64: u64 = 7;
/// More are no shape.
const MOST_NUMBERS: usize = 16;
/// More channels are not normalized in groups: constants are written for them.
const MOST_CHANNELS: u64 = 1 << 16;

/// What became of one node.
struct Part {
    /// The names in the model of the nodes that it took the place of.
    of: Vec<String>,
    /// The names of those that compute the mean and the deviation, which are float32 whatever the rest is.
    statistics: Vec<String>,
    /// The names of the others.
    others: Vec<String>,
}

/// What became of a model.
#[derive(Default)]
pub struct Decomposition(Vec<Part>);

impl Decomposition {
    /// Names the parts where the nodes that they were taken from are named; and the statistics, where layers may compute in
    /// less than float32.
    pub fn keep_float32(&self, options: &mut Options, is_reduced: bool) {
        if self.0.is_empty() {
            return;
        }
        let all = options.float32_operators.iter().any(|operator| operator == OPERATOR);
        options.float32_operators.retain(|operator| operator != OPERATOR);
        for part in &self.0 {
            let is_named = options.float32_nodes.iter().any(|name| part.of.contains(name));
            options.float32_nodes.retain(|name| !part.of.contains(name));
            if all || is_named || is_reduced {
                options.float32_nodes.extend_from_slice(&part.statistics);
            }
            if all || is_named {
                options.float32_nodes.extend_from_slice(&part.others);
            }
        }
    }
}

/// What is known of a tensor.
#[derive(Clone, Default)]
struct Known {
    rank: Option<usize>,
    element_type: Option<u64>,
    /// Its first and its second extent.
    first: Option<u64>,
    channels: Option<u64>,
    /// How many elements it has, if it is a list that the model brings, or a shape.
    length: Option<usize>,
    /// Its elements, if it is a short list of integers that the model brings.
    numbers: Option<Vec<i64>>,
    /// The tensor whose shape it is.
    shape_of: Option<String>,
    /// What all its elements are, if the model brings them.
    fill: Option<f32>,
}

impl Known {
    /// Of another tensor, whose elements are others.
    fn of_shape(&self) -> Self {
        let Self { rank, element_type, first, channels, .. } = *self;
        Self { rank, element_type, first, channels, ..Self::default() }
    }
}

#[derive(Default)]
struct Node {
    inputs: Vec<String>,
    outputs: Vec<String>,
    name: String,
    operator: String,
    domain: String,
    epsilon: Option<f32>,
    /// Of a Cast.
    to: Option<u64>,
    /// Of a Concat.
    axis: Option<u64>,
    /// Of a ConvTranspose.
    group: Option<u64>,
    /// Of a Constant.
    value: Option<Known>,
    /// Whether it has attributes that make a Shape's output a part of the shape.
    is_part: bool,
    /// Whether it has graphs within, which may read any tensor.
    has_graph: bool,
}

impl Node {
    fn read(message: &[u8]) -> Result<Self> {
        let mut node = Self::default();
        for field in Fields(message) {
            match field? {
                (1, Field::Bytes(name)) => node.inputs.push(text(name)),
                (2, Field::Bytes(name)) => node.outputs.push(text(name)),
                (3, Field::Bytes(name)) => node.name = text(name),
                (4, Field::Bytes(operator)) => node.operator = text(operator),
                (5, Field::Bytes(attribute)) => node.read_attribute(attribute)?,
                (7, Field::Bytes(domain)) => node.domain = text(domain),
                _ => {}
            }
        }
        Ok(node)
    }

    fn read_attribute(&mut self, message: &[u8]) -> Result<()> {
        let mut name = &[][..];
        for field in Fields(message) {
            match field? {
                (1, Field::Bytes(bytes)) => name = bytes,
                (2, Field::Fixed(bytes)) if name == b"epsilon" => {
                    self.epsilon = bytes.try_into().ok().map(f32::from_le_bytes);
                }
                (3, Field::Number(number)) if name == b"to" => self.to = Some(number),
                (3, Field::Number(number)) if name == b"axis" => self.axis = Some(number),
                (3, Field::Number(number)) if name == b"group" => self.group = Some(number),
                (3, Field::Number(number)) if name == b"start" => self.is_part |= number != 0,
                (3, Field::Number(_)) if name == b"end" => self.is_part = true,
                (5, Field::Bytes(tensor)) if name == b"value" => self.value = Some(read_tensor(tensor)?.1),
                (6 | 11, _) => self.has_graph = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn is(&self, operator: &str) -> bool {
        self.operator == operator && matches!(self.domain.as_str(), "" | "ai.onnx")
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
fn read_tensor(message: &[u8]) -> Result<(String, Known)> {
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
fn read_value_info(message: &[u8]) -> Result<(String, Known)> {
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
const KEEP_RANK: [&str; 35] = [
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
    "Relu",
    "Resize",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Tanh",
];

/// What is known of every tensor, as far as it follows from operator to operator.
#[derive(Default)]
struct Tensors(HashMap<String, Known>);

impl Tensors {
    fn get(&self, name: &str) -> Known {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn add(&mut self, name: String, known: Known) {
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

    fn follow(&mut self, node: &Node) {
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

/// The nodes that take one node's place.
struct Writer<'a> {
    graph: &'a mut Message,
    /// What new tensors' names begin with.
    prefix: String,
    name: String,
    opset: u64,
    part: Part,
}

impl Writer<'_> {
    fn attribute(name: &str, kind: u64, value: Message) -> Message {
        let mut message = value.text(1, name);
        message.copy(20, &Field::Number(kind));
        message
    }

    fn node(
        &mut self,
        operator: &str,
        what: &str,
        inputs: &[&str],
        attributes: Vec<Message>,
        output: Option<&str>,
    ) -> String {
        let output = output.map_or_else(|| format!("{}{what}", self.prefix), str::to_owned);
        let mut node = Message::default();
        for input in inputs {
            node.add_bytes(1, input.as_bytes());
        }
        node.add_bytes(2, output.as_bytes());
        node.add_bytes(3, format!("{}/{what}", self.name).as_bytes());
        node.add_bytes(4, operator.as_bytes());
        for attribute in attributes {
            node.add_message(5, attribute);
        }
        self.graph.add_message(1, node);
        output
    }

    fn constant(&mut self, what: &str, element_type: u64, extents: &[u64], raw: &[u8]) -> String {
        let mut tensor = Message::default();
        for extent in extents {
            tensor.copy(1, &Field::Number(*extent));
        }
        let tensor = tensor.number(2, element_type).bytes(9, raw);
        const TENSOR: u64 = 4;
        let value = Self::attribute("value", TENSOR, Message::default().message(5, tensor));
        self.node("Constant", what, &[], vec![value], None)
    }

    fn integers(&mut self, what: &str, numbers: &[i64]) -> String {
        let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(what, INT64, &[numbers.len() as u64], &raw)
    }

    /// The mean over an axis, which stays with an extent of one.
    fn mean_over(&mut self, axis: usize, what: &str, of: &str) -> String {
        const INTEGERS: u64 = 7;
        const AXES_ARE_AN_INPUT: u64 = 18;
        if self.opset >= AXES_ARE_AN_INPUT {
            let axes = self.integers(&format!("{what}_axis"), &[axis as i64]);
            return self.statistic("ReduceMean", what, &[of, &axes], vec![]);
        }
        let list = Message::default().number(8, axis as u64);
        self.statistic("ReduceMean", what, &[of], vec![Self::attribute("axes", INTEGERS, list)])
    }

    /// The mean over all axes behind the channels, which stay with an extent of one; of each channel's group, where they are in
    /// groups.
    fn mean_of_channels(&mut self, what: &str, of: &str, rank: usize, groups: Option<Groups>) -> String {
        // A group's channels and their first axis are one axis after a reshape.
        const FIRST: usize = 2;
        let last = if groups.is_some() && rank > 3 { FIRST + 1 } else { FIRST };
        let mut mean = of.to_owned();
        for axis in (last..rank).rev() {
            let is_all = axis == FIRST && groups.is_none();
            let name = if is_all { what.to_owned() } else { format!("{what}_{axis}") };
            mean = self.mean_over(axis, &name, &mean);
        }
        let Some(Groups { count, .. }) = groups else { return mean };
        let mean = self.reshape(&format!("{what}_groups"), &mean, &[0, count as i64, -1]);
        let mean = self.mean_over(2, what, &mean);
        self.spread(what, &mean, rank, groups)
    }

    fn reshape(&mut self, what: &str, of: &str, extents: &[i64]) -> String {
        let extents = self.integers(&format!("{what}_extents"), extents);
        self.node("Reshape", what, &[of, &extents], vec![], None)
    }

    /// What has a number for each channel as [batch or 1, channels, 1, …]; or for each group, of which each channel gets it.
    fn spread(&mut self, what: &str, of: &str, rank: usize, groups: Option<Groups>) -> String {
        let mut extents = vec![1; rank];
        let Some(groups) = groups else {
            extents[1] = -1;
            return self.reshape(what, of, &extents);
        };
        let ones: Vec<u8> = (0..groups.size()).flat_map(|_| 1f32.to_le_bytes()).collect();
        let ones = self.constant(&format!("{what}_ones"), FLOAT, &[1, 1, groups.size()], &ones);
        let each = self.statistic("Mul", &format!("{what}_each"), &[of, &ones], vec![]);
        (extents[0], extents[1]) = (-1, groups.channels as i64);
        self.reshape(&format!("{what}_channels"), &each, &extents)
    }

    fn statistic(&mut self, operator: &str, what: &str, inputs: &[&str], attributes: Vec<Message>) -> String {
        self.part.statistics.push(format!("{}/{what}", self.name));
        self.node(operator, what, inputs, attributes, None)
    }

    fn other(&mut self, operator: &str, what: &str, inputs: &[&str], output: Option<&str>) -> String {
        self.part.others.push(format!("{}/{what}", self.name));
        self.node(operator, what, inputs, vec![], output)
    }

    fn cast(&mut self, what: &str, of: &str, to: u64, output: Option<&str>) -> String {
        const INTEGER: u64 = 2;
        let to = Self::attribute("to", INTEGER, Message::default().number(3, to));
        self.node("Cast", what, &[of], vec![to], output)
    }
}

/// Channels that are normalized together.
#[derive(Clone, Copy)]
struct Groups {
    count: u64,
    channels: u64,
}

impl Groups {
    fn size(self) -> u64 {
        self.channels / self.count
    }
}

/// What a node computes on: its input, or what its input is a view of.
struct Place<'a> {
    x: &'a str,
    scale: &'a str,
    bias: &'a str,
    epsilon: f32,
    rank: usize,
    element_type: u64,
    groups: Option<Groups>,
    /// Whether what is normalized is neither scaled nor shifted: GroupNorm does that behind its InstanceNormalization.
    is_plain: bool,
    y: &'a str,
}

fn write(writer: &mut Writer<'_>, place: &Place<'_>) {
    let Place { x, scale, bias, epsilon, rank, element_type, groups, is_plain, y } = *place;
    let is_float = element_type == FLOAT;
    let as_float = |writer: &mut Writer<'_>, what: &str, name: &str| match is_float {
        true => name.to_owned(),
        false => writer.cast(&format!("{what}_float32"), name, FLOAT, None),
    };
    let x = as_float(writer, "x", x);
    let mean = writer.mean_of_channels("mean", &x, rank, groups);
    let distance = writer.other("Sub", "distance", &[&x, &mean], None);
    let squared = writer.statistic("Mul", "squared", &[&distance, &distance], vec![]);
    // What is behind the last mean has one shape, so that TensorRT makes one layer of it.
    let variance = writer.mean_of_channels("variance", &squared, rank, groups);
    let epsilon = writer.constant("epsilon", FLOAT, &[], &epsilon.to_le_bytes());
    let shifted = writer.statistic("Add", "shifted", &[&variance, &epsilon], vec![]);
    let deviation = writer.statistic("Sqrt", "deviation", &[&shifted], vec![]);
    let (operator, what, operands) = if is_plain {
        ("Div", "scaled", [distance, deviation])
    } else {
        // Of what the model brings the parser makes weights, and no layers.
        let [scale, bias] = [("scale", scale), ("bias", bias)].map(|(what, name)| {
            let mut name = as_float(writer, what, name);
            if groups.is_some() {
                name = writer.reshape(&format!("{what}_groups"), &name, &[1, -1, 1]);
            }
            writer.spread(what, &name, rank, groups)
        });
        let factor = writer.other("Div", "factor", &[&scale, &deviation], None);
        let scaled = writer.other("Mul", "scaled", &[&distance, &factor], None);
        ("Add", "sum", [scaled, bias])
    };
    let operands = operands.each_ref().map(String::as_str);
    match is_float {
        true => writer.other(operator, what, &operands, Some(y)),
        false => {
            let result = writer.other(operator, what, &operands, None);
            writer.cast("result", &result, element_type, Some(y))
        }
    };
}

/// The model with the nodes of its graph that are InstanceNormalization taken apart; and what became of each.
pub fn instance_normalization(data: &[u8], model: &Model) -> Result<(Vec<u8>, Decomposition)> {
    let mut opset = 0;
    for field in Fields(data) {
        if let (8, Field::Bytes(set)) = field? {
            let (mut domain, mut version) = (String::new(), 0);
            for field in Fields(set) {
                match field? {
                    (1, Field::Bytes(bytes)) => domain = text(bytes),
                    (2, Field::Number(number)) => version = number,
                    _ => {}
                }
            }
            if matches!(domain.as_str(), "" | "ai.onnx") {
                opset = version;
            }
        }
    }
    // Before 7 operands were not extended to one another's shape.
    const FIRST: u64 = 7;
    if opset < FIRST {
        let message = format!("{OPERATOR} of opset {opset} is not taken apart; export the model with {FIRST} or later");
        return Err(Error::new(Code::Unsupported, message));
    }
    let mut written = Message::default();
    let mut parts = Vec::new();
    for field in Fields(data) {
        match field? {
            (7, Field::Bytes(graph)) => written.add_message(7, write_graph(graph, model, opset, &mut parts)?),
            (number, field) => written.copy(number, &field),
        }
    }
    Ok((written.into_bytes(), Decomposition(parts)))
}

/// A graph's nodes, and what is known of its tensors.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    tensors: Tensors,
    /// Which node computes a tensor, and which read it.
    computed_by: HashMap<String, usize>,
    read_by: HashMap<String, Vec<usize>>,
    outputs: HashSet<String>,
}

/// An InstanceNormalization between two reshapes that normalizes groups of channels.
struct Grouped {
    /// What is reshaped to groups.
    x: String,
    rank: usize,
    groups: Groups,
    /// The node that reshapes what was normalized to the shape of `x`, if it is the only one that reads it.
    back: Option<usize>,
}

impl Graph {
    fn read(graph: &[u8]) -> Result<Self> {
        let mut read = Self::default();
        for field in Fields(graph) {
            match field? {
                (1, Field::Bytes(message)) => read.nodes.push(Node::read(message)?),
                (5, Field::Bytes(tensor)) => {
                    let (name, known) = read_tensor(tensor)?;
                    read.tensors.add(name, known);
                }
                (number @ 11..=13, Field::Bytes(info)) => {
                    let (name, known) = read_value_info(info)?;
                    if number == 12 {
                        read.outputs.insert(name.clone());
                    }
                    read.tensors.add(name, known);
                }
                _ => {}
            }
        }
        for (index, node) in read.nodes.iter().enumerate() {
            read.tensors.follow(node);
            for output in &node.outputs {
                read.computed_by.insert(output.clone(), index);
            }
            for input in &node.inputs {
                read.read_by.entry(input.clone()).or_default().push(index);
            }
        }
        Ok(read)
    }

    /// Whether a node normalizes groups of channels of a tensor that is reshaped to [batch, groups, rest] for it.
    fn grouped(&self, node: &Node) -> Option<Grouped> {
        let to_groups = &self.nodes[*self.computed_by.get(node.inputs.first()?)?];
        let [x, extents] = &to_groups.inputs[..] else { return None };
        let known = self.tensors.get(x);
        let (rank, channels) = (known.rank?, known.channels?);
        let count = match self.tensors.get(extents).numbers?[..] {
            [0, count, -1] => u64::try_from(count).ok()?,
            _ => return None,
        };
        if !to_groups.is("Reshape") || rank < 3 || count == 0 || channels % count != 0 || channels > MOST_CHANNELS {
            return None;
        }
        // Others than reshapes would see another shape, and so would those that copy extents of it beside the batch.
        let y = node.outputs.first()?;
        let readers = self.read_by.get(y)?;
        let is_reshaped = |index: &usize| {
            let node = &self.nodes[*index];
            let shape = node.inputs.get(1).map(|shape| self.tensors.get(shape)).unwrap_or_default();
            let is_known = shape.shape_of.is_some()
                || shape.numbers.is_some_and(|extents| extents.iter().skip(1).all(|extent| *extent != 0));
            node.is("Reshape") && node.inputs.first() == Some(y) && is_known
        };
        let is_seen = self.outputs.contains(y) || self.nodes.iter().any(|node| node.has_graph);
        if is_seen || !readers.iter().all(is_reshaped) {
            return None;
        }
        let back = match readers[..] {
            [reader] => self.nodes[reader].inputs.get(1).and_then(|shape| self.tensors.get(shape).shape_of),
            _ => None,
        };
        let back = back.filter(|like| like == x).and_then(|_| readers.first().copied());
        Some(Grouped { x: x.clone(), rank, groups: Groups { count, channels }, back })
    }
}

fn write_graph(graph: &[u8], model: &Model, opset: u64, parts: &mut Vec<Part>) -> Result<Message> {
    let read = Graph::read(graph)?;
    let mut written = Message::default();
    let (mut index, mut left_out) = (0, HashSet::new());
    for field in Fields(graph) {
        let (number, field) = field?;
        let (1, Field::Bytes(_)) = (number, &field) else {
            written.copy(number, &field);
            continue;
        };
        match read.nodes[index].is(OPERATOR) {
            true => parts.push(write_parts(&mut written, (index, model), opset, &read, &mut left_out)?),
            false if left_out.contains(&index) => {}
            false => written.copy(number, &field),
        }
        index += 1;
    }
    Ok(written)
}

fn write_parts(
    graph: &mut Message,
    (index, model): (usize, &Model),
    opset: u64,
    read: &Graph,
    left_out: &mut HashSet<usize>,
) -> Result<Part> {
    let node = &read.nodes[index];
    let refused =
        |why: &str| Error::new(Code::Unsupported, format!("{} is not taken apart: {why}", model.describe(index)));
    let [x, scale, bias] = &node.inputs[..] else { return Err(refused("it has not three inputs")) };
    let Some(output) = node.outputs.first() else { return Err(refused("it has no output")) };
    let known = read.tensors.get(x);
    let what = quoted(x);
    let infer = "infer the model's shapes first, with onnx.shape_inference";
    let rank = known.rank.ok_or_else(|| refused(&format!("how many dimensions {what} has is not said; {infer}")))?;
    let element_type = read.tensors.get(scale).element_type.or(known.element_type);
    let element_type = element_type
        .ok_or_else(|| refused(&format!("of which type the elements of {what} are is not said; {infer}")))?;
    if rank < 3 {
        return Err(refused(&format!("{what} has {rank} dimensions, and none behind its channels")));
    }
    let name = if node.name.is_empty() { output } else { &node.name };
    let mut part = Part { of: vec![name.to_owned()], statistics: Vec::new(), others: Vec::new() };
    let epsilon = node.epsilon.unwrap_or(1e-5);
    let mut place = Place { x, scale, bias, epsilon, rank, element_type, groups: None, is_plain: false, y: output };
    let grouped = read.grouped(node);
    if let Some(Grouped { x, rank, groups, back }) = &grouped {
        let is_plain = read.tensors.get(scale).fill == Some(1.0) && read.tensors.get(bias).fill == Some(0.0);
        place = Place { x, rank: *rank, groups: Some(*groups), is_plain, ..place };
        let back = back.and_then(|back| Some((back, &read.nodes[back], read.nodes[back].outputs.first()?)));
        if let Some((back, node, y)) = back {
            left_out.insert(back);
            part.of.push(node.name.clone());
            place.y = y;
        }
    }
    let mut writer = Writer { graph, prefix: format!("{output}/{index}/"), name: name.to_owned(), opset, part };
    write(&mut writer, &place);
    Ok(writer.part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    const FLOAT16: u64 = 10;

    fn value(name: &str, element_type: u64, extents: &[u64]) -> Message {
        let mut shape = Message::default();
        for extent in extents {
            shape.add_message(1, Message::default().number(1, *extent));
        }
        let tensor = Message::default().number(1, element_type).message(2, shape);
        Message::default().text(1, name).message(2, Message::default().message(1, tensor))
    }

    fn weights(name: &str, element_type: u64, extents: &[u64], raw: &[u8]) -> Message {
        let mut tensor = Message::default();
        for extent in extents {
            tensor.copy(1, &Field::Number(*extent));
        }
        tensor.number(2, element_type).text(8, name).bytes(9, raw)
    }

    fn node(name: &str, operator: &str, inputs: &[&str], output: &str) -> Message {
        let mut node = Message::default();
        for input in inputs {
            node.add_bytes(1, input.as_bytes());
        }
        node.text(2, output).text(3, name).text(4, operator)
    }

    fn raw(numbers: &[f32], element_type: u64) -> Vec<u8> {
        match element_type {
            FLOAT16 => numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect(),
            _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }

    const SCALE: [f32; 3] = [1.5, -0.25, 2.0];
    const BIAS: [f32; 3] = [0.5, 3.0, -1.0];
    type Affine = ([f32; 3], [f32; 3]);
    const EXTENTS: [u64; 5] = [2, 3, 4, 5, 6];

    /// x (2, 3, 4, 5, 6) → InstanceNormalization → y, of an epsilon that shows.
    fn model(opset: u64, element_type: u64, mut graph: Message, x: &str) -> Vec<u8> {
        let epsilon = Message::default().text(1, "epsilon");
        let mut epsilon = epsilon;
        epsilon.copy(2, &Field::Fixed(&0.01f32.to_le_bytes()));
        epsilon.copy(20, &Field::Number(1));
        graph.add_message(1, node("norm", OPERATOR, &[x, "scale", "bias"], "y").message(5, epsilon));
        let opset = Message::default().number(2, opset);
        Message::default()
            .number(1, 8)
            .message(
                7,
                graph
                    .text(2, "graph")
                    .message(5, weights("scale", element_type, &[3], &raw(&SCALE, element_type)))
                    .message(5, weights("bias", element_type, &[3], &raw(&BIAS, element_type)))
                    .message(11, value("x", element_type, &EXTENTS))
                    .message(12, value("y", element_type, &EXTENTS)),
            )
            .message(8, opset)
            .into_bytes()
    }

    fn decompose(data: &[u8]) -> Result<(Vec<u8>, Decomposition)> {
        instance_normalization(data, &Model::read(data)?)
    }

    fn operators(data: &[u8]) -> Vec<String> {
        Model::read(data).unwrap().nodes.into_iter().map(|node| node.operator).collect()
    }

    /// What the CPU engine computes, and what it should be, in float64.
    #[cfg(feature = "cpu")]
    fn computed(
        data: &[u8],
        element_type: u64,
        extents: &[u64],
        x: &[f32],
        (scale, bias): Affine,
    ) -> (Vec<f32>, Vec<f64>) {
        use crate::backend::cpu::{CpuEngine, CpuOptions};
        use crate::context::{Context, NamedTensor};
        use crate::tensor::{ElementType, Shape};
        let engine = CpuEngine::load(data, CpuOptions::default()).unwrap();
        let mut read = raw(x, element_type);
        let mut y = vec![0.0f32; x.len()];
        let shape = Shape::new(&extents.iter().map(|extent| *extent as i64).collect::<Vec<_>>()).unwrap();
        let of_x = if element_type == FLOAT16 { ElementType::Float16 } else { ElementType::Float32 };
        let tensor = |name, data, size, element_type| NamedTensor { name, data, size, element_type, shape };
        let inputs = [tensor("x", read.as_mut_ptr(), read.len(), of_x)];
        let outputs = [tensor("y", y.as_mut_ptr().cast(), 4 * y.len(), ElementType::Float32)];
        // SAFETY: both live through the call, and have these sizes.
        #[allow(unsafe_code, reason = "a test lends memory of its own")]
        unsafe { Context::new(engine).unwrap().run(&inputs, &outputs) }.unwrap();

        let per_channel = x.len() / 6;
        let wanted = x.chunks(per_channel).enumerate().flat_map(|(i, plane)| {
            let mean = plane.iter().map(|x| f64::from(*x)).sum::<f64>() / plane.len() as f64;
            let variance = plane.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / plane.len() as f64;
            let factor = f64::from(scale[i % 3]) / (variance + f64::from(0.01f32)).sqrt();
            plane.iter().map(move |x| (f64::from(*x) - mean) * factor + f64::from(bias[i % 3])).collect::<Vec<_>>()
        });
        (y, wanted.collect())
    }

    /// Numbers that float16 has too, a thousand away from zero.
    #[cfg(feature = "cpu")]
    fn numbers() -> Vec<f32> {
        (0..720).map(|i| 1030.0 + ((i * 7919) % 1009) as f32).map(|x| f16::from_f32(x).to_f32()).collect()
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn the_parts_compute_what_the_whole_did() {
        let x = numbers();
        for (opset, element_type, allowed) in
            [(7, FLOAT, 1e-4), (13, FLOAT, 1e-4), (18, FLOAT, 1e-4), (17, FLOAT16, 4e-3)]
        {
            let whole = model(opset, element_type, Message::default(), "x");
            let (parts, _) = decompose(&whole).unwrap();
            let (y, wanted) = computed(&parts, element_type, &EXTENTS, &x, (SCALE, BIAS));
            for (i, (y, wanted)) in y.iter().zip(&wanted).enumerate() {
                let off = (f64::from(*y) - wanted).abs();
                assert!(off < allowed, "opset {opset}, type {element_type}: y[{i}] is {y} and not {wanted}");
            }
        }
    }

    /// x → reshape to three groups → InstanceNormalization → reshape back → y.
    struct InGroups<'a> {
        opset: u64,
        element_type: u64,
        extents: &'a [u64],
        /// Whether a convolution comes first, of which only its weights say how many channels there are.
        is_convolved: bool,
        to: &'a [i64],
        affine: Affine,
        /// The shape that `back` gives, or none for that of x.
        back: Option<&'a [i64]>,
    }

    impl Default for InGroups<'_> {
        fn default() -> Self {
            let (opset, element_type) = (17, FLOAT);
            let (extents, affine) = (&[2, 6, 2, 5, 6], (SCALE, BIAS));
            Self { opset, element_type, extents, is_convolved: false, to: &[0, 3, -1], affine, back: None }
        }
    }

    fn integers(name: &str, numbers: &[i64]) -> Message {
        let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        weights(name, INT64, &[numbers.len() as u64], &raw)
    }

    impl InGroups<'_> {
        fn model(&self, more: Message) -> Vec<u8> {
            let Self { opset, element_type, extents, is_convolved, to, affine, back } = *self;
            let mut epsilon = Message::default().text(1, "epsilon");
            epsilon.copy(2, &Field::Fixed(&0.01f32.to_le_bytes()));
            epsilon.copy(20, &Field::Number(1));
            let mut graph = more.text(2, "graph").message(5, integers("to", to));
            let mut x = "x";
            if is_convolved {
                // A tensor of one weight for each channel: with as many groups as channels.
                let mut group = Message::default().text(1, "group").number(3, extents[1]);
                group.copy(20, &Field::Number(2));
                let kernel: Vec<u64> = [extents[1], 1].into_iter().chain(extents[2..].iter().map(|_| 1)).collect();
                graph.add_message(1, node("conv", "Conv", &["x", "kernel"], "convolved").message(5, group));
                let ones = vec![1.0; extents[1] as usize];
                graph.add_message(5, weights("kernel", element_type, &kernel, &raw(&ones, element_type)));
                x = "convolved";
            }
            graph.add_message(1, node("to groups", "Reshape", &[x, "to"], "in groups"));
            let norm = node("norm", OPERATOR, &["in groups", "scale", "bias"], "normalized");
            graph.add_message(1, norm.message(5, epsilon));
            match back {
                Some(shape) => graph.add_message(5, integers("shape", shape)),
                None => graph.add_message(1, node("shape of x", "Shape", &[x], "shape")),
            }
            graph.add_message(1, node("back", "Reshape", &["normalized", "shape"], "y"));
            let graph = graph
                .message(5, weights("scale", element_type, &[3], &raw(&affine.0, element_type)))
                .message(5, weights("bias", element_type, &[3], &raw(&affine.1, element_type)))
                .message(11, value("x", element_type, extents))
                .message(12, value("y", element_type, extents));
            let opset = Message::default().number(2, opset);
            Message::default().number(1, 8).message(7, graph).message(8, opset).into_bytes()
        }
    }

    fn names(data: &[u8]) -> Vec<String> {
        Model::read(data).unwrap().nodes.into_iter().map(|node| node.name).collect()
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn groups_are_normalized_in_the_shape_that_they_come_in() {
        const PLAIN: Affine = ([1.0; 3], [0.0; 3]);
        let x = numbers();
        let extents: [&[u64]; 4] = [&[2, 6, 2, 5, 6], &[2, 6, 10, 6], &[2, 6, 60], &[2, 3, 4, 5, 6]];
        for (opset, element_type, allowed) in [(13, FLOAT, 1e-4), (18, FLOAT, 1e-4), (17, FLOAT16, 4e-3)] {
            for extents in extents {
                let signed: Vec<i64> = extents.iter().map(|extent| *extent as i64).collect();
                for (back, affine) in [(None, (SCALE, BIAS)), (Some(&signed[..]), (SCALE, BIAS)), (None, PLAIN)] {
                    let whole = InGroups { opset, element_type, extents, affine, back, ..InGroups::default() };
                    let (parts, _) = decompose(&whole.model(Message::default())).unwrap();
                    let found = names(&parts);
                    assert!(found.contains(&"norm/mean_channels".to_owned()), "{found:?}");
                    assert_eq!(found.contains(&"back".to_owned()), back.is_some(), "{found:?}");
                    let is_scaled = found.contains(&"norm/factor".to_owned());
                    assert_eq!(is_scaled, affine != PLAIN || element_type != FLOAT, "{found:?}");
                    let (y, wanted) = computed(&parts, element_type, extents, &x, affine);
                    for (i, (y, wanted)) in y.iter().zip(&wanted).enumerate() {
                        let off = (f64::from(*y) - wanted).abs();
                        assert!(
                            off < allowed,
                            "{extents:?} of opset {opset}, type {element_type}: y[{i}] is {y}, not {wanted}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn groups_are_found_where_the_model_says_how_many_channels_there_are() {
        let is_found = |model: &InGroups<'_>, more: Message| {
            let (parts, _) = decompose(&model.model(more)).unwrap();
            names(&parts).contains(&"norm/mean_channels".to_owned())
        };
        assert!(is_found(&InGroups::default(), Message::default()));
        assert!(is_found(&InGroups { is_convolved: true, ..InGroups::default() }, Message::default()));
        // Seven channels are no three groups of channels, though seven times sixty numbers are three groups.
        assert!(!is_found(&InGroups { extents: &[2, 7, 2, 5, 6], ..InGroups::default() }, Message::default()));
        // Reshapes that are others, or that copy an extent of the groups.
        assert!(!is_found(&InGroups { to: &[2, 3, 4, -1], ..InGroups::default() }, Message::default()));
        assert!(!is_found(&InGroups { to: &[0, 0, -1], ..InGroups::default() }, Message::default()));
        assert!(!is_found(&InGroups { back: Some(&[0, 0, 20, -1, 6]), ..InGroups::default() }, Message::default()));
        // Whoever else reads what is normalized sees groups.
        for seen in [
            Message::default().message(1, node("reader", "Relu", &["normalized"], "seen")),
            Message::default().message(12, value("normalized", FLOAT, &[2, 3, 120])),
        ] {
            assert!(!is_found(&InGroups::default(), seen));
        }
        let branch = Message::default().text(1, "then_branch").message(6, Message::default());
        let may_read = node("if", "If", &["x"], "chosen").message(5, branch);
        assert!(!is_found(&InGroups::default(), Message::default().message(1, may_read)));
    }

    #[test]
    fn means_are_taken_axis_by_axis() {
        for opset in [13, 18] {
            let (parts, _) = decompose(&model(opset, FLOAT, Message::default(), "x")).unwrap();
            let means = Model::read(&parts).unwrap().nodes.into_iter().filter(|node| node.operator == "ReduceMean");
            let found: Vec<_> = means.map(|node| node.name).collect();
            let wanted = ["mean_4", "mean_3", "mean", "variance_4", "variance_3", "variance"];
            assert_eq!(found, wanted.map(|what| format!("norm/{what}")));
        }
    }

    #[test]
    fn nothing_else_changes() {
        let graph = Message::default().message(1, node("a", "Relu", &["x"], "a"));
        let whole = model(13, FLOAT, graph, "a");
        let (parts, _) = decompose(&whole).unwrap();
        let found = operators(&parts);
        assert!(found[0] == "Relu" && !found.contains(&OPERATOR.to_owned()), "{found:?}");
        // A model without is copied byte by byte.
        assert_eq!(decompose(&parts).unwrap().0, parts);
    }

    #[test]
    fn ranks_are_found_or_asked_for() {
        let unknown = || Message::default().message(1, node("a", "Mystery", &["x"], "a"));
        let error = decompose(&model(13, FLOAT, unknown(), "a")).err().unwrap();
        assert!(error.code() == Code::Unsupported && error.message().contains("node 1 \"norm\""), "{error}");
        assert!(error.message().contains("shape_inference"), "{error}");
        // The shape that it is given, what is noted of it, and the weights of a convolution tell.
        let shape: Vec<u8> = [0i64, 3, -1].iter().flat_map(|number| number.to_le_bytes()).collect();
        let known = [
            unknown()
                .message(1, node("b", "Reshape", &["a", "shape"], "b"))
                .message(5, weights("shape", INT64, &[3], &shape)),
            unknown().message(1, node("b", "Relu", &["a"], "b")).message(13, value("b", FLOAT, &EXTENTS)),
            unknown()
                .message(1, node("b", "Conv", &["a", "w"], "b"))
                .message(5, weights("w", FLOAT, &[3, 3, 1, 1, 1], &raw(&[0.0; 9], FLOAT))),
        ];
        for graph in known {
            assert!(operators(&decompose(&model(13, FLOAT, graph, "b")).unwrap().0).contains(&"ReduceMean".to_owned()));
        }
        // A sum has as many dimensions as the operand of which nothing is known, or more.
        for operands in [["a", "w"], ["w", "a"]] {
            let graph = unknown().message(1, node("b", "Add", &operands, "b"));
            let graph = graph.message(5, weights("w", FLOAT, &[3, 1, 1, 1], &raw(&[0.0; 3], FLOAT)));
            let error = decompose(&model(13, FLOAT, graph, "b")).err().unwrap();
            assert!(error.message().contains("how many dimensions"), "{error}");
        }
        let error = decompose(&model(6, FLOAT, Message::default(), "x")).err().unwrap();
        assert!(error.message().contains("opset 6"), "{error}");
    }

    #[test]
    fn parts_stay_in_float32_as_the_whole_would() {
        let (parts, decomposition) = decompose(&model(13, FLOAT, Message::default(), "x")).unwrap();
        let found = names(&parts);
        let kept = |change: &dyn Fn(&mut Options), is_reduced| {
            let mut options = Options::default();
            change(&mut options);
            decomposition.keep_float32(&mut options, is_reduced);
            assert!(
                options.float32_operators.is_empty() && options.float32_nodes.iter().all(|name| found.contains(name))
            );
            options.float32_nodes
        };
        assert!(kept(&|_| {}, false).is_empty());
        let statistics = kept(&|_| {}, true);
        assert!(statistics.contains(&"norm/variance".to_owned()) && !statistics.contains(&"norm/scaled".to_owned()));
        for change in [
            &(|options: &mut Options| options.float32_nodes.push("norm".to_owned())) as &dyn Fn(&mut Options),
            &|options| options.float32_operators.push(OPERATOR.to_owned()),
        ] {
            assert!(kept(change, true).contains(&"norm/scaled".to_owned()));
        }
        // Under the name of the reshape, too, whose place they take.
        let (parts, decomposition) = decompose(&InGroups::default().model(Message::default())).unwrap();
        let mut options = Options::default();
        options.float32_nodes.push("back".to_owned());
        decomposition.keep_float32(&mut options, false);
        assert!(options.float32_nodes.contains(&"norm/scaled".to_owned()));
        assert!(options.float32_nodes.iter().all(|name| names(&parts).contains(name)));
    }
}
