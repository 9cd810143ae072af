//! Sequences of tensors, as scripted exports write torch.stack, torch.cat, torch.split and lists: where it is known what is in
//! them, the tensors are named in their place. What is left is refused, since tract has no sequences.

use crate::backend::cpu::node::Constants;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

#[derive(Clone)]
enum Sequence {
    Items(Vec<String>),
    /// A tensor cut along an axis into pieces of one size, however many that comes to.
    Pieces {
        tensor: String,
        axis: i64,
        size: i64,
        kept: bool,
    },
}

pub fn write_out(graph: &mut GraphProto) {
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(write_out);
        }
    }
    if !graph.node.iter().any(|node| makes(node) || node.op_type == "SplitToSequence") {
        return;
    }
    let mut work = Writing { known: HashMap::new(), numbers: numbers(graph), nodes: Vec::new(), tensors: Vec::new() };
    for node in std::mem::take(&mut graph.node) {
        if work.take(&node).is_none() {
            work.nodes.push(node);
        }
    }
    graph.node = work.nodes;
    graph.initializer.append(&mut work.tensors);
    leave_out(graph, &work.known);
}

/// Whether a node has a sequence for its output, made of tensors as they are.
fn makes(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "SequenceConstruct" | "SequenceEmpty" | "SequenceInsert" | "SequenceErase")
}

/// The whole numbers that nodes on sequences read, and whether each is a scalar.
fn numbers(graph: &GraphProto) -> HashMap<String, (bool, Vec<i64>)> {
    let constants = Constants::of(graph);
    let read = graph.node.iter().filter(|node| node.op_type.contains("Sequence")).flat_map(|node| &node.input);
    let known = |name: &String| {
        let scalar = constants.tensor(name)?.dims.is_empty();
        Some((name.clone(), (scalar, constants.integers(name)?)))
    };
    read.filter_map(known).collect()
}

struct Writing {
    known: HashMap<String, Sequence>,
    numbers: HashMap<String, (bool, Vec<i64>)>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
}

impl Writing {
    /// Puts what stands for a node in its place; `None` if the node stays.
    fn take(&mut self, node: &NodeProto) -> Option<()> {
        let output = node.output.first()?;
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map(|a| a.i);
        let input = |index: usize| node.input.get(index).filter(|name| !name.is_empty());
        let of = |index: usize| self.known.get(node.input.get(index)?);
        match node.op_type.as_str() {
            "SequenceConstruct" | "SequenceEmpty" | "SequenceInsert" | "SequenceErase" => {
                let items = match (node.op_type.as_str(), of(0)) {
                    ("SequenceConstruct", _) => node.input.clone(),
                    ("SequenceEmpty", _) => Vec::new(),
                    (kind, Some(Sequence::Items(items))) => {
                        let (mut items, insert) = (items.clone(), kind == "SequenceInsert");
                        let (place, count) = (input(if insert { 2 } else { 1 }), items.len());
                        let default = if insert { count } else { count.checked_sub(1)? };
                        let place = match place {
                            Some(name) => counted(self.one(name)?, count).filter(|place| *place <= default)?,
                            None => default,
                        };
                        match insert {
                            true => items.insert(place, input(1)?.clone()),
                            false => drop(items.remove(place)),
                        }
                        items
                    }
                    _ => return None,
                };
                self.known.insert(output.clone(), Sequence::Items(items));
                // It stays for those that are not understood; `leave_out` looks whether there are any.
                None
            }
            "Identity" => {
                let sequence = of(0)?.clone();
                self.known.insert(output.clone(), sequence);
                None
            }
            "SequenceLength" => {
                let Sequence::Items(items) = of(0)? else { return None };
                let length = tensor(output.clone(), Vec::new(), vec![items.len() as i64]);
                self.push("Constant", &[], output, vec![holding(length)]);
                Some(())
            }
            "SequenceAt" => {
                let (sequence, place) = (of(0)?.clone(), self.one(input(1)?)?);
                match sequence {
                    Sequence::Items(items) => {
                        let item = items.get(counted(place, items.len())?)?.clone();
                        self.push("Identity", &[item], output, Vec::new());
                    }
                    Sequence::Pieces { tensor: whole, axis, kept: false, .. } => {
                        let index = self.constant(output, "index", Vec::new(), vec![place]);
                        self.push("Gather", &[whole, index], output, vec![int("axis", axis)]);
                    }
                    Sequence::Pieces { tensor: whole, axis, size, .. } => {
                        let start = place.checked_mul(size).filter(|_| place >= 0 || size == 1)?;
                        let end = if start == -1 { i64::MAX } else { start.checked_add(size)? };
                        let [start, end, axis] = [("start", start), ("end", end), ("axis", axis)]
                            .map(|(kind, number)| self.constant(output, kind, vec![1], vec![number]));
                        self.push("Slice", &[whole, start, end, axis], output, Vec::new());
                    }
                }
                Some(())
            }
            "ConcatFromSequence" => {
                let (axis, new) = (attribute("axis")?, attribute("new_axis").unwrap_or(0) != 0);
                match of(0)?.clone() {
                    Sequence::Items(items) if !items.is_empty() => {
                        let parts = match new {
                            true => self.with_an_axis(output, items, axis),
                            false => items,
                        };
                        self.push("Concat", &parts, output, vec![int("axis", axis)]);
                    }
                    Sequence::Pieces { tensor: whole, axis: cut, kept, .. } if cut == axis && kept != new => {
                        self.push("Identity", &[whole], output, Vec::new());
                    }
                    _ => return None,
                }
                Some(())
            }
            "SplitToSequence" => {
                let (whole, axis) = (input(0)?.clone(), attribute("axis").unwrap_or(0));
                match input(1).map(|name| self.numbers.get(name)) {
                    Some(None) => return None,
                    Some(Some((false, sizes))) if !sizes.is_empty() => {
                        let items: Vec<_> = (0..sizes.len()).map(|index| format!("{output}/{index}")).collect();
                        let sizes = self.constant(output, "sizes", vec![items.len() as i64], sizes.clone());
                        self.nodes.push(NodeProto {
                            op_type: "Split".to_owned(),
                            input: vec![whole, sizes],
                            output: items.clone(),
                            attribute: vec![int("axis", axis)],
                            ..NodeProto::default()
                        });
                        self.known.insert(output.clone(), Sequence::Items(items));
                    }
                    given => {
                        let size = given.flatten().map_or(Some(1), |(_, sizes)| sizes.first().copied());
                        let size = size.filter(|size| *size > 0)?;
                        let kept = given.is_some() || attribute("keepdims").unwrap_or(1) != 0;
                        self.known.insert(output.clone(), Sequence::Pieces { tensor: whole, axis, size, kept });
                    }
                }
                None
            }
            _ => None,
        }
    }

    /// Those tensors with an axis more.
    fn with_an_axis(&mut self, output: &str, items: Vec<String>, axis: i64) -> Vec<String> {
        let axes = self.constant(output, "new axis", vec![1], vec![axis]);
        let mut parts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let part = format!("{output}/part {index}");
            self.push("Unsqueeze", &[item, axes.clone()], &part, Vec::new());
            parts.push(part);
        }
        parts
    }

    fn one(&self, name: &str) -> Option<i64> {
        match self.numbers.get(name)?.1[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    fn constant(&mut self, output: &str, kind: &str, dims: Vec<i64>, numbers: Vec<i64>) -> String {
        let name = format!("{output}/{kind}");
        self.tensors.push(tensor(name.clone(), dims, numbers));
        name
    }

    fn push(&mut self, kind: &str, inputs: &[String], output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            name: output.to_owned(),
            op_type: kind.to_owned(),
            input: inputs.to_vec(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }
}

/// A place in a sequence of that many, counted from the start.
fn counted(place: i64, count: usize) -> Option<usize> {
    usize::try_from(if place < 0 { place.checked_add(count as i64)? } else { place }).ok()
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

fn holding(tensor: TensorProto) -> AttributeProto {
    let (name, r#type) = ("value".to_owned(), AttributeType::Tensor as i32);
    AttributeProto { name, r#type, t: Some(tensor), ..AttributeProto::default() }
}

fn tensor(name: String, dims: Vec<i64>, int64_data: Vec<i64>) -> TensorProto {
    TensorProto { name, dims, data_type: DataType::Int64 as i32, int64_data, ..TensorProto::default() }
}

/// Leaves out the nodes that make sequences which are not read any more.
fn leave_out(graph: &mut GraphProto, known: &HashMap<String, Sequence>) {
    let mut read: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        let output = node.output.first().map_or("", String::as_str);
        if known.contains_key(output) && !read.contains(output) {
            continue;
        }
        read_by(&node, &mut read);
        nodes.push(node);
    }
    nodes.reverse();
    graph.node = nodes;
}

/// Everything that a node and the graphs in it read.
fn read_by(node: &NodeProto, read: &mut HashSet<String>) {
    read.extend(node.input.iter().cloned());
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        read.extend(graph.output.iter().map(|output| output.name.clone()));
        graph.node.iter().for_each(|node| read_by(node, read));
    }
}
