//! A model as an older TensorRT takes it: operators that its parser lacks, or has only a plugin for, are taken apart into others, and
//! reductions are written as it reads them.

mod activation;
mod channels;
mod graph;
mod groups;
mod instance;
mod layer;
mod misread;
mod reduce;
mod tensors;
#[cfg(test)]
mod testing;
mod writer;

use super::Options;
use super::onnx::Model;
use super::protobuf::{Field, Fields, Message, text};
use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use graph::{Graph, Node};
pub use instance::suits_plugin;
pub use misread::check as check_misread;
use std::collections::HashSet;
use tensors::Known;
use writer::Writer;

/// Numbers of onnx.proto's `TensorProto.DataType`.
const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// What became of one node.
struct Part {
    operator: &'static str,
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
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Names the parts where the nodes that they were taken from are named; and the statistics, where layers may compute in
    /// less than float32.
    pub fn keep_float32(&self, options: &mut Options, is_reduced: bool) {
        let operators: HashSet<_> = self.0.iter().map(|part| part.operator).collect();
        let is_taken = |operator: &String| operators.contains(operator.as_str());
        let all: Vec<_> = options.float32_operators.extract_if(.., |operator| is_taken(operator)).collect();
        for part in &self.0 {
            let is_named = options.float32_nodes.iter().any(|name| part.of.contains(name))
                || all.iter().any(|operator| operator == part.operator);
            options.float32_nodes.retain(|name| !part.of.contains(name));
            if is_named || is_reduced {
                options.float32_nodes.extend_from_slice(&part.statistics);
            }
            if is_named {
                options.float32_nodes.extend_from_slice(&part.others);
            }
        }
    }
}

/// The version of ONNX's own operators that a model asks for.
fn opset(data: &[u8]) -> Result<u64> {
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
    Ok(opset)
}

/// Of these operators, those that a model has, and which can be taken apart.
pub fn known<'a>(model: &'a Model) -> impl Iterator<Item = &'static str> + use<'a> {
    OPERATORS.iter().map(|(operator, _)| *operator).filter(|operator| model.has(operator))
}

/// What writes the nodes that take the place of one.
type Write = for<'a> fn(&mut Writer<'_>, &'a Place<'a>) -> std::result::Result<(), String>;

/// Operators beside InstanceNormalization that some parsers lack.
const OPERATORS: [(&str, Write); 6] = [
    ("Gelu", activation::gelu),
    ("GroupNormalization", groups::write),
    ("LayerNormalization", layer::layer),
    ("Mish", activation::mish),
    ("RMSNormalization", layer::root_mean_square),
    ("Swish", activation::swish),
];

/// The node whose place is taken, and what is known of its input.
struct Place<'a> {
    node: &'a Node,
    graph: &'a Graph,
    x: &'a str,
    known: Known,
    y: &'a str,
}

/// What is to become of a model.
pub struct Wanted<'a> {
    /// What is taken apart.
    pub operators: &'a [&'static str],
    /// Whether the parser looks for a reduction's axes in an attribute, whatever the opset.
    pub axes_are_attributes: bool,
}

impl Wanted<'_> {
    /// Whether the model is read as it is.
    pub fn is_nothing(&self, model: &Model) -> bool {
        let is_reduced = || model.nodes.iter().any(|node| reduce::is_one(&node.operator));
        self.operators.is_empty() && !(self.axes_are_attributes && is_reduced())
    }
}

/// A model on its way to another.
struct Rewriter<'a> {
    model: &'a Model,
    wanted: &'a Wanted<'a>,
    opset: u64,
    parts: Vec<Part>,
}

/// The model with the nodes of its graph that are one of these operators taken apart; and what became of each.
pub fn take_apart(data: &[u8], model: &Model, wanted: &Wanted<'_>) -> Result<(Vec<u8>, Decomposition)> {
    let opset = opset(data)?;
    // Before 7 operands were not extended to one another's shape.
    const FIRST: u64 = 7;
    if opset < FIRST && !wanted.operators.is_empty() {
        let what = wanted.operators.join(", ");
        let message = format!("{what} of opset {opset} is not taken apart; export the model with {FIRST} or later");
        return Err(Error::new(Code::Unsupported, message));
    }
    let mut rewriter = Rewriter { model, wanted, opset, parts: Vec::new() };
    let mut written = Message::default();
    for field in Fields(data) {
        match field? {
            (7, Field::Bytes(graph)) => written.add_message(7, rewriter.graph(graph)?),
            (number, field) => written.copy(number, &field),
        }
    }
    Ok((written.into_bytes(), Decomposition(rewriter.parts)))
}

impl Rewriter<'_> {
    fn graph(&mut self, graph: &[u8]) -> Result<Message> {
        let read = Graph::read(graph)?;
        let is_reduced = self.wanted.axes_are_attributes;
        let mut written = Message::default();
        let (mut index, mut left_out) = (0, HashSet::new());
        for field in Fields(graph) {
            let (number, field) = field?;
            let (1, Field::Bytes(message)) = (number, &field) else {
                written.copy(number, &field);
                continue;
            };
            let refused = |what: &str, why: String| {
                Error::new(Code::Unsupported, format!("{} is not {what}: {why}", self.model.describe(index)))
            };
            let node = &read.nodes[index];
            if let Some(operator) = self.wanted.operators.iter().find(|operator| node.is(operator)) {
                let axes_are_inputs = self.opset >= reduce::AXES_ARE_AN_INPUT && !is_reduced;
                let part = Part { operator, of: Vec::new(), statistics: Vec::new(), others: Vec::new() };
                let (prefix, name) = (String::new(), String::new());
                let writer = Writer { graph: &mut written, prefix, name, opset: self.opset, axes_are_inputs, part };
                let part = write_parts(writer, index, &read, &mut left_out);
                self.parts.push(part.map_err(|why| refused("taken apart", why))?);
            } else if left_out.contains(&index) {
            } else if is_reduced
                && let Some(reduced) =
                    reduce::with_attribute(message, node, &read, self.opset)?.map_err(|why| refused("built", why))?
            {
                written.add_message(1, reduced);
            } else {
                written.copy(number, &field);
            }
            index += 1;
        }
        Ok(written)
    }
}

/// Writes what takes the place of a node; another one that is left out for that is added to `left_out`.
fn write_parts(
    mut writer: Writer<'_>,
    index: usize,
    read: &Graph,
    left_out: &mut HashSet<usize>,
) -> std::result::Result<Part, String> {
    let node = &read.nodes[index];
    let Some((x, y)) = node.inputs.first().zip(node.outputs.first()) else {
        return Err("it has no input, or no output".to_owned());
    };
    if node.outputs.iter().skip(1).any(|output| !output.is_empty()) {
        return Err("it has more than one output".to_owned());
    }
    let name = if node.name.is_empty() { y } else { &node.name };
    (writer.prefix, writer.name) = (format!("{y}/{index}/"), name.clone());
    writer.part.of.push(name.clone());
    let place = Place { node, graph: read, x, known: read.tensors.get(x), y };
    match OPERATORS.iter().find(|(known, _)| *known == writer.part.operator) {
        Some((_, write)) => write(&mut writer, &place)?,
        None => instance::write(&mut writer, &place, left_out)?,
    }
    Ok(writer.part)
}

impl Place<'_> {
    fn input(&self, index: usize) -> Option<&str> {
        self.node.inputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn unknown(&self, what: &str) -> String {
        format!("{what} {} is not said; infer the model's shapes first, with onnx.shape_inference", quoted(self.x))
    }

    fn rank(&self) -> std::result::Result<usize, String> {
        self.known.rank.ok_or_else(|| self.unknown("how many dimensions there are in"))
    }

    /// The type of the elements, which those of the scale have, too, where there is one.
    fn element_type(&self, scale: Option<&str>) -> std::result::Result<u64, String> {
        let of_scale = scale.and_then(|scale| self.graph.tensors.get(scale).element_type);
        of_scale.or(self.known.element_type).ok_or_else(|| self.unknown("of which type the elements are in"))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    const EXTENTS: [u64; 5] = [2, 6, 2, 3, 4];

    enum Attribute {
        Integer(&'static str, i64),
        Float(&'static str, f32),
        Text(&'static str, &'static str),
    }
    use Attribute::{Float, Integer, Text};

    impl Attribute {
        fn message(&self) -> Message {
            let mut message = Message::default();
            let kind = match *self {
                Float(_, number) => {
                    message.copy(2, &Field::Fixed(&number.to_le_bytes()));
                    1
                }
                Integer(_, number) => {
                    message = message.number(3, number.cast_unsigned());
                    2
                }
                Text(_, value) => {
                    message = message.text(4, value);
                    3
                }
            };
            let (Float(name, _) | Integer(name, _) | Text(name, _)) = self;
            writer::attribute(name, kind, message)
        }
    }

    /// x → the operator → y, with weights of these extents.
    fn model(
        opset: u64,
        operator: &str,
        element_type: u64,
        weights_of: &[&[u64]],
        attributes: &[Attribute],
    ) -> Vec<u8> {
        let names: Vec<_> = (0..weights_of.len()).map(|i| format!("weights_{i}")).collect();
        let inputs: Vec<_> = ["x"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let node = attributes.iter().fold(node("it", operator, &inputs, "y"), |all, one| all.message(5, one.message()));
        let mut graph = Message::default().message(1, node).text(2, "graph");
        for (i, (name, extents)) in names.iter().zip(weights_of).enumerate() {
            let numbers: Vec<_> = (0..extents.iter().product()).map(|n| 0.5 * n as f32 - 1.25 + i as f32).collect();
            graph.add_message(5, weights(name, element_type, extents, &raw(&numbers, element_type)));
        }
        let graph =
            graph.message(11, value("x", element_type, &EXTENTS)).message(12, value("y", element_type, &EXTENTS));
        let opset = Message::default().number(2, opset);
        Message::default().number(1, 8).message(7, graph).message(8, opset).into_bytes()
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn the_parts_of_each_operator_compute_what_it_does() {
        type Case = (u64, &'static str, &'static [&'static [u64]], &'static [Attribute]);
        let cases: [Case; 13] = [
            (18, "GroupNormalization", &[&[3], &[3]], &[Integer("num_groups", 3), Float("epsilon", 0.1)]),
            (21, "GroupNormalization", &[&[6], &[6]], &[Integer("num_groups", 3)]),
            (21, "GroupNormalization", &[&[6], &[6]], &[Integer("num_groups", 1)]),
            (17, "LayerNormalization", &[&[4], &[4]], &[]),
            (17, "LayerNormalization", &[&[3, 4], &[3, 4]], &[Integer("axis", -2), Float("epsilon", 0.1)]),
            (18, "LayerNormalization", &[&[2, 3, 4]], &[Integer("axis", 2)]),
            (23, "RMSNormalization", &[&[4]], &[]),
            (23, "RMSNormalization", &[&[2, 3, 4]], &[Integer("axis", 2), Float("epsilon", 0.1)]),
            (18, "Mish", &[], &[]),
            (20, "Gelu", &[], &[]),
            (20, "Gelu", &[], &[Text("approximate", "tanh")]),
            (24, "Swish", &[], &[]),
            (24, "Swish", &[], &[Float("alpha", 1.5)]),
        ];
        for (i, (opset, operator, weights_of, attributes)) in cases.into_iter().enumerate() {
            let is_normalization = operator.ends_with("Normalization");
            let near = if is_normalization { 1000.0 } else { -6.0 };
            let x: Vec<_> = (0..288).map(|i| near + ((i * 7919) % 1009) as f32 / 64.0).collect();
            for (element_type, allowed) in [(FLOAT, 2e-4), (FLOAT16, 2e-2)] {
                let whole = model(opset, operator, element_type, weights_of, attributes);
                let (parts, _) = take_apart(&whole, &Model::read(&whole).unwrap(), &only(&[operator])).unwrap();
                assert!(!operators(&parts).contains(&operator.to_owned()));
                let [found, wanted] = [&parts, &whole].map(|data| run(data, element_type, &EXTENTS, &x));
                for (n, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                    let off = (found - wanted).abs();
                    assert!(off <= allowed, "{i}: {operator}, type {element_type}: y[{n}] is {found}, not {wanted}");
                }
            }
        }
        for (operator, _) in OPERATORS {
            assert!(cases.iter().any(|(_, tried, ..)| *tried == operator), "{operator}");
        }
    }

    #[test]
    fn what_cannot_be_taken_apart_is_told() {
        let refused = |data: &[u8], operator| {
            let error = take_apart(data, &Model::read(data).unwrap(), &only(&[operator])).err().unwrap();
            assert!(error.code() == Code::Unsupported && error.message().contains("node 0 \"it\""), "{error}");
            error.message().to_owned()
        };
        let groups = |attributes: &[Attribute]| model(21, "GroupNormalization", FLOAT, &[&[6], &[6]], attributes);
        assert!(
            refused(&groups(&[Integer("num_groups", 4)]), "GroupNormalization").contains("6 channels, in 4 groups")
        );
        assert!(refused(&groups(&[]), "GroupNormalization").contains("in 0 groups"));
        let layer = model(17, "LayerNormalization", FLOAT, &[&[4]], &[Integer("axis", 5)]);
        assert!(refused(&layer, "LayerNormalization").contains("axis"));
        let layer = model(17, "LayerNormalization", FLOAT, &[&[4]], &[Integer("axis", i64::MIN)]);
        assert!(refused(&layer, "LayerNormalization").contains("axis"));
        let gelu = model(20, "Gelu", FLOAT, &[], &[Text("approximate", "guess")]);
        assert!(refused(&gelu, "Gelu").contains("\"guess\""));
    }

    #[test]
    fn operators_are_known_by_their_names() {
        let data = model(18, "Mish", FLOAT, &[], &[]);
        assert_eq!(known(&Model::read(&data).unwrap()).collect::<Vec<_>>(), ["Mish"]);
        let data = model(18, "Relu", FLOAT, &[], &[]);
        assert_eq!(known(&Model::read(&data).unwrap()).count(), 0);
    }
}
