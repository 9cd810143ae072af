//! InstanceNormalization taken apart into operators that every TensorRT computes itself: means, products and a root.
//!
//! The mean over all axes behind the channels is taken first, then the mean of the squared distances from it: the sum of squares
//! alone would lose what is small beside the mean. All of it is float32, whatever the model's type: the squares of a CT's
//! numbers are more than float16 holds.

use super::Options;
use super::onnx::Model;
use super::protobuf::{Field, Fields, Message, text};
use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use std::collections::HashMap;

const OPERATOR: &str = "InstanceNormalization";
/// Numbers of onnx.proto's `TensorProto.DataType`.
const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// What became of one node.
struct Part {
    /// The node's name in the model.
    of: String,
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
            let is_named = options.float32_nodes.contains(&part.of);
            options.float32_nodes.retain(|name| *name != part.of);
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
#[derive(Clone, Copy, Default)]
struct Known {
    rank: Option<usize>,
    element_type: Option<u64>,
    /// How many elements it has, if it is a list that the model brings.
    length: Option<usize>,
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
    /// Of a Constant.
    value: Option<Known>,
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
                (5, Field::Bytes(tensor)) if name == b"value" => self.value = Some(read_tensor(tensor)?.1),
                _ => {}
            }
        }
        Ok(())
    }

    fn is(&self, operator: &str) -> bool {
        self.operator == operator && matches!(self.domain.as_str(), "" | "ai.onnx")
    }
}

/// A TensorProto's name, and what it says of itself.
fn read_tensor(message: &[u8]) -> Result<(String, Known)> {
    let (mut name, mut extents, mut element_type) = (String::new(), Vec::new(), None);
    for field in Fields(message) {
        match field? {
            (1, Field::Number(extent)) => extents.push(extent),
            (1, Field::Bytes(packed)) => {
                // The field's bytes are numbers one after the other: each is read as the key that it would be.
                let mut rest = packed;
                while let Some(size) = rest.iter().position(|byte| byte & 0x80 == 0) {
                    let (number, behind) = rest.split_at(size + 1);
                    extents.push(number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)));
                    rest = behind;
                }
            }
            (2, Field::Number(number)) => element_type = Some(number),
            (8, Field::Bytes(bytes)) => name = text(bytes),
            _ => {}
        }
    }
    let length = match extents[..] {
        [length] => usize::try_from(length).ok(),
        _ => None,
    };
    Ok((name, Known { rank: Some(extents.len()), element_type, length }))
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
                                let extents = Fields(shape).filter(|field| matches!(field, Ok((1, _))));
                                known.rank = Some(extents.count());
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
const KEEP_RANK: [&str; 38] = [
    "Abs",
    "AveragePool",
    "BatchNormalization",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
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
    "Pad",
    "Relu",
    "Resize",
    "Selu",
    "Sigmoid",
    "Slice",
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
        self.0.get(name).copied().unwrap_or_default()
    }

    fn add(&mut self, name: String, known: Known) {
        let entry = self.0.entry(name).or_default();
        entry.rank = entry.rank.or(known.rank);
        entry.element_type = entry.element_type.or(known.element_type);
        entry.length = entry.length.or(known.length);
    }

    fn follow(&mut self, node: &Node) {
        let input = |i: usize| node.inputs.get(i).map(|name| self.get(name)).unwrap_or_default();
        let first = input(0);
        let known = match node.operator.as_str() {
            _ if !matches!(node.domain.as_str(), "" | "ai.onnx") => return,
            "Constant" => node.value.unwrap_or_default(),
            "Conv" | "ConvTranspose" => Known { rank: first.rank.or(input(1).rank), length: None, ..first },
            "Reshape" => Known { rank: input(1).length, length: None, ..first },
            "QuantizeLinear" | "DequantizeLinear" => Known { rank: first.rank, ..Known::default() },
            "Cast" => Known { element_type: node.to, length: None, ..first },
            "Transpose" | "Split" => Known { length: None, ..first },
            operator if KEEP_RANK.contains(&operator) => Known { length: None, ..first },
            operator if BROADCAST.contains(&operator) => {
                // An operand of which nothing is known may have more than the others.
                let ranks: Option<Vec<_>> = node.inputs.iter().map(|name| self.get(name).rank).collect();
                let rank = ranks.and_then(|ranks| ranks.into_iter().max());
                Known { rank, element_type: first.element_type.or(input(1).element_type), length: None }
            }
            _ => return,
        };
        // Others than the first are of another kind: masks, indexes, means.
        let count = if node.operator == "Split" { node.outputs.len() } else { 1 };
        for output in node.outputs.iter().take(count) {
            self.add(output.clone(), known);
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

    fn constant(&mut self, what: &str, element_type: u64, length: Option<usize>, raw: &[u8]) -> String {
        let mut tensor = Message::default();
        if let Some(length) = length {
            tensor.copy(1, &Field::Number(length as u64));
        }
        let tensor = tensor.number(2, element_type).bytes(9, raw);
        const TENSOR: u64 = 4;
        let value = Self::attribute("value", TENSOR, Message::default().message(5, tensor));
        self.node("Constant", what, &[], vec![value], None)
    }

    fn integers(&mut self, what: &str, numbers: &[i64]) -> String {
        let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(what, INT64, Some(numbers.len()), &raw)
    }

    /// The mean over all axes behind the channels, which stay with an extent of one.
    fn mean(&mut self, what: &str, of: &str, rank: usize) -> String {
        const INTEGERS: u64 = 7;
        const AXES_ARE_AN_INPUT: u64 = 18;
        let axes: Vec<i64> = (2..rank as i64).collect();
        if self.opset >= AXES_ARE_AN_INPUT {
            let axes = self.integers(&format!("{what}_axes"), &axes);
            return self.statistic("ReduceMean", what, &[of, &axes], vec![]);
        }
        let mut list = Message::default();
        for axis in axes {
            list.copy(8, &Field::Number(axis as u64));
        }
        self.statistic("ReduceMean", what, &[of], vec![Self::attribute("axes", INTEGERS, list)])
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

fn write(writer: &mut Writer<'_>, node: &Node, rank: usize, element_type: u64) -> Option<()> {
    let [x, scale, bias] = &node.inputs[..] else { return None };
    let y = node.outputs.first()?;
    let is_float = element_type == FLOAT;
    let [x, scale, bias] = [("x", x), ("scale", scale), ("bias", bias)].map(|(what, name)| match is_float {
        true => name.clone(),
        false => writer.cast(&format!("{what}_float32"), name, FLOAT, None),
    });
    let mean = writer.mean("mean", &x, rank);
    let distance = writer.other("Sub", "distance", &[&x, &mean], None);
    let squared = writer.statistic("Mul", "squared", &[&distance, &distance], vec![]);
    let variance = writer.mean("variance", &squared, rank);
    let epsilon = writer.constant("epsilon", FLOAT, None, &node.epsilon.unwrap_or(1e-5).to_le_bytes());
    let shifted = writer.statistic("Add", "shifted", &[&variance, &epsilon], vec![]);
    let deviation = writer.statistic("Sqrt", "deviation", &[&shifted], vec![]);
    let mut extents = vec![1; rank];
    extents[1] = -1;
    let extents = writer.integers("extents", &extents);
    // Of what the model brings the parser makes weights, and no layers.
    let scale = writer.node("Reshape", "scale", &[&scale, &extents], vec![], None);
    let bias = writer.node("Reshape", "bias", &[&bias, &extents], vec![], None);
    let factor = writer.other("Div", "factor", &[&scale, &deviation], None);
    let scaled = writer.other("Mul", "scaled", &[&distance, &factor], None);
    match is_float {
        true => writer.other("Add", "sum", &[&scaled, &bias], Some(y)),
        false => {
            let sum = writer.other("Add", "sum", &[&scaled, &bias], None);
            writer.cast("result", &sum, element_type, Some(y))
        }
    };
    Some(())
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

fn write_graph(graph: &[u8], model: &Model, opset: u64, parts: &mut Vec<Part>) -> Result<Message> {
    let mut tensors = Tensors::default();
    for field in Fields(graph) {
        match field? {
            (5, Field::Bytes(tensor)) => {
                let (name, known) = read_tensor(tensor)?;
                tensors.add(name, known);
            }
            (11..=13, Field::Bytes(info)) => {
                let (name, known) = read_value_info(info)?;
                tensors.add(name, known);
            }
            _ => {}
        }
    }
    let mut written = Message::default();
    let mut index = 0;
    for field in Fields(graph) {
        let (number, field) = field?;
        let (1, Field::Bytes(message)) = (number, &field) else {
            written.copy(number, &field);
            continue;
        };
        let node = Node::read(message)?;
        tensors.follow(&node);
        match node.is(OPERATOR) {
            true => parts.push(write_parts(&mut written, &node, (index, model), opset, &tensors)?),
            false => written.copy(number, &field),
        }
        index += 1;
    }
    Ok(written)
}

fn write_parts(
    graph: &mut Message,
    node: &Node,
    (index, model): (usize, &Model),
    opset: u64,
    tensors: &Tensors,
) -> Result<Part> {
    let refused =
        |why: String| Error::new(Code::Unsupported, format!("{} is not taken apart: {why}", model.describe(index)));
    let known = |i: usize| node.inputs.get(i).map(|name| tensors.get(name)).unwrap_or_default();
    let what = quoted(node.inputs.first().map_or("", String::as_str)).to_string();
    let infer = "infer the model's shapes first, with onnx.shape_inference";
    let rank = known(0).rank.ok_or_else(|| refused(format!("how many dimensions {what} has is not said; {infer}")))?;
    let element_type = known(1).element_type.or(known(0).element_type);
    let element_type = element_type
        .ok_or_else(|| refused(format!("of which type the elements of {what} are is not said; {infer}")))?;
    if rank < 3 {
        return Err(refused(format!("{what} has {rank} dimensions, and none behind its channels")));
    }
    let output = node.outputs.first().map_or("", String::as_str);
    let name = if node.name.is_empty() { output } else { &node.name };
    let part = Part { of: name.to_owned(), statistics: Vec::new(), others: Vec::new() };
    let mut writer = Writer { graph, prefix: format!("{output}/{index}/"), name: name.to_owned(), opset, part };
    write(&mut writer, node, rank, element_type)
        .ok_or_else(|| refused("it has not three inputs and an output".to_owned()))?;
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
    fn computed(data: &[u8], element_type: u64, x: &[f32]) -> (Vec<f32>, Vec<f64>) {
        use crate::backend::cpu::{CpuEngine, CpuOptions};
        use crate::context::{Context, NamedTensor};
        use crate::tensor::{ElementType, Shape};
        let engine = CpuEngine::load(data, CpuOptions::default()).unwrap();
        let mut read = raw(x, element_type);
        let mut y = vec![0.0f32; x.len()];
        let shape = Shape::new(&EXTENTS.map(|extent| extent as i64)).unwrap();
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
            let factor = f64::from(SCALE[i % 3]) / (variance + f64::from(0.01f32)).sqrt();
            plane.iter().map(move |x| (f64::from(*x) - mean) * factor + f64::from(BIAS[i % 3])).collect::<Vec<_>>()
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
            let (y, wanted) = computed(&parts, element_type, &x);
            for (i, (y, wanted)) in y.iter().zip(&wanted).enumerate() {
                let off = (f64::from(*y) - wanted).abs();
                assert!(off < allowed, "opset {opset}, type {element_type}: y[{i}] is {y} and not {wanted}");
            }
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
        let names: Vec<_> = Model::read(&parts).unwrap().nodes.into_iter().map(|node| node.name).collect();
        let kept = |change: &dyn Fn(&mut Options), is_reduced| {
            let mut options = Options::default();
            change(&mut options);
            decomposition.keep_float32(&mut options, is_reduced);
            assert!(
                options.float32_operators.is_empty() && options.float32_nodes.iter().all(|name| names.contains(name))
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
    }
}
