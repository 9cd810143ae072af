//! A graph of a model: its nodes, what they read and compute, and what is known of that.

use super::tensors::{Known, Tensors, read_tensor, read_value_info};
use crate::build::protobuf::{Field, Fields, text};
use crate::error::Result;
use std::collections::{HashMap, HashSet};

#[derive(Default)]
pub struct Node {
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub name: String,
    pub operator: String,
    pub domain: String,
    pub epsilon: Option<f32>,
    /// Of a Swish.
    pub alpha: Option<f32>,
    /// Of a GroupNormalization.
    pub num_groups: Option<u64>,
    /// Of a Gelu.
    pub approximate: String,
    /// Of a Cast.
    pub to: Option<u64>,
    /// Of a Concat and a LayerNormalization.
    pub axis: Option<u64>,
    /// Of a ConvTranspose.
    pub group: Option<u64>,
    /// Of a reduction.
    pub noop_with_empty_axes: bool,
    pub has_axes: bool,
    /// Of a Constant.
    pub value: Option<Known>,
    /// Whether it has attributes that make a Shape's output a part of the shape.
    pub is_part: bool,
    /// Whether it has graphs within, which may read any tensor.
    pub has_graph: bool,
}

impl Node {
    pub fn read(message: &[u8]) -> Result<Self> {
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
            if let (1, Field::Bytes(bytes)) = field? {
                name = bytes;
            }
        }
        for field in Fields(message) {
            match field? {
                (2, Field::Fixed(bytes)) if name == b"epsilon" => {
                    self.epsilon = bytes.try_into().ok().map(f32::from_le_bytes);
                }
                (2, Field::Fixed(bytes)) if name == b"alpha" => {
                    self.alpha = bytes.try_into().ok().map(f32::from_le_bytes)
                }
                (3, Field::Number(number)) if name == b"num_groups" => self.num_groups = Some(number),
                (4, Field::Bytes(bytes)) if name == b"approximate" => self.approximate = text(bytes),
                (3, Field::Number(number)) if name == b"to" => self.to = Some(number),
                (3, Field::Number(number)) if name == b"axis" => self.axis = Some(number),
                (3, Field::Number(number)) if name == b"group" => self.group = Some(number),
                (3, Field::Number(number)) if name == b"noop_with_empty_axes" => {
                    self.noop_with_empty_axes = number != 0
                }
                (8, _) if name == b"axes" => self.has_axes = true,
                (3, Field::Number(number)) if name == b"start" => self.is_part |= number != 0,
                (3, Field::Number(_)) if name == b"end" => self.is_part = true,
                (5, Field::Bytes(tensor)) if name == b"value" => self.value = Some(read_tensor(tensor)?.1),
                (6 | 11, _) => self.has_graph = true,
                _ => {}
            }
        }
        Ok(())
    }

    pub fn is(&self, operator: &str) -> bool {
        self.operator == operator && matches!(self.domain.as_str(), "" | "ai.onnx")
    }
}

/// Operators that have graphs within.
pub const WITH_GRAPHS: [&str; 3] = ["If", "Loop", "Scan"];

/// The graphs that a node has within.
pub fn graphs_within(node: &[u8]) -> Result<Vec<&[u8]>> {
    let mut graphs = Vec::new();
    for field in Fields(node) {
        let (5, Field::Bytes(attribute)) = field? else { continue };
        for field in Fields(attribute) {
            if let (6 | 11, Field::Bytes(graph)) = field? {
                graphs.push(graph);
            }
        }
    }
    Ok(graphs)
}

/// A graph's nodes, and what is known of its tensors.
#[derive(Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub tensors: Tensors,
    /// Which node computes a tensor, and which read it.
    pub computed_by: HashMap<String, usize>,
    pub read_by: HashMap<String, Vec<usize>>,
    pub outputs: HashSet<String>,
}

impl Graph {
    pub fn read(graph: &[u8]) -> Result<Self> {
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
}
