//! Nodes of an ONNX graph as they are written, and the constants that they read.

use crate::quote::quoted;
use std::borrow::Cow;
use std::collections::HashMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The tensors of a graph that do not depend on its inputs: weights, and what Constant nodes hold.
pub struct Constants<'a>(HashMap<&'a str, Cow<'a, TensorProto>>);

impl<'a> Constants<'a> {
    pub fn of(graph: &'a GraphProto) -> Self {
        let mut constants: HashMap<_, _> = HashMap::new();
        for tensor in &graph.initializer {
            constants.insert(tensor.name.as_str(), Cow::Borrowed(tensor));
        }
        for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
            if let (Some(name), Some(attribute)) = (node.output.first(), node.attribute.first())
                && let Some(tensor) = constant(attribute)
            {
                constants.insert(name, tensor);
            }
        }
        Self(constants)
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// The elements of a tensor of int64 or int32.
    pub fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let tensor = self.tensor(name)?;
        match DataType::try_from(tensor.data_type) {
            Ok(DataType::Int64) if tensor.raw_data.is_empty() => Some(tensor.int64_data.clone()),
            Ok(DataType::Int64) => Some(tensor.raw_data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            Ok(DataType::Int32) if tensor.raw_data.is_empty() => {
                Some(tensor.int32_data.iter().map(|n| i64::from(*n)).collect())
            }
            Ok(DataType::Int32) => {
                Some(tensor.raw_data.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect())
            }
            _ => None,
        }
    }

    /// The one element of a tensor of bool.
    pub fn truth(&self, name: &str) -> Option<bool> {
        let tensor = self.tensor(name)?;
        match (DataType::try_from(tensor.data_type), &tensor.raw_data[..], &tensor.int32_data[..]) {
            (Ok(DataType::Bool), [byte], []) => Some(*byte != 0),
            (Ok(DataType::Bool), [], [number]) => Some(*number != 0),
            _ => None,
        }
    }

    /// The elements of a tensor of float32.
    pub fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.tensor(name)?;
        match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float) if tensor.raw_data.is_empty() => Some(tensor.float_data.clone()),
            Ok(DataType::Float) => Some(tensor.raw_data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            _ => None,
        }
    }
}

/// What a Constant node's attribute holds.
fn constant(attribute: &AttributeProto) -> Option<Cow<'_, TensorProto>> {
    let made = |data_type, dims: Vec<i64>, int64_data, float_data| {
        let data_type = data_type as i32;
        Cow::Owned(TensorProto { data_type, dims, int64_data, float_data, ..TensorProto::default() })
    };
    let length = |n: usize| vec![n as i64];
    match attribute.name.as_str() {
        "value" => attribute.t.as_ref().map(Cow::Borrowed),
        "value_int" => Some(made(DataType::Int64, Vec::new(), vec![attribute.i], Vec::new())),
        "value_float" => Some(made(DataType::Float, Vec::new(), Vec::new(), vec![attribute.f])),
        "value_ints" => Some(made(DataType::Int64, length(attribute.ints.len()), attribute.ints.clone(), Vec::new())),
        "value_floats" => {
            Some(made(DataType::Float, length(attribute.floats.len()), Vec::new(), attribute.floats.clone()))
        }
        _ => None,
    }
}

/// A node with what is around it.
pub struct Node<'a> {
    proto: &'a NodeProto,
    constants: &'a Constants<'a>,
    pub opset: i64,
}

/// The starts, ends, axes (`None` for all) and steps (empty for ones) of a Slice.
type Slices = (Vec<i64>, Vec<i64>, Option<Vec<i64>>, Vec<i64>);

impl<'a> Node<'a> {
    pub fn new(proto: &'a NodeProto, constants: &'a Constants<'a>, opset: i64) -> Self {
        Self { proto, constants, opset }
    }

    pub fn kind(&self) -> &'a str {
        &self.proto.op_type
    }

    pub fn is(&self, kind: &str) -> bool {
        self.proto.op_type == kind
    }

    /// Whether its operator is one of ONNX's own.
    pub fn is_standard(&self) -> bool {
        is_standard(&self.proto.domain)
    }

    /// How it is called in messages.
    pub fn title(&self) -> String {
        title(self.proto)
    }

    pub fn inputs(&self) -> &'a [String] {
        &self.proto.input
    }

    /// Whether there is an input of that number.
    pub fn has_input(&self, index: usize) -> bool {
        self.proto.input.get(index).is_some_and(|name| !name.is_empty())
    }

    /// Whether there is an output of that number.
    pub fn has_output(&self, index: usize) -> bool {
        self.proto.output.get(index).is_some_and(|name| !name.is_empty())
    }

    pub fn output(&self, index: usize) -> &'a str {
        self.proto.output.get(index).map_or("", String::as_str)
    }

    pub fn output_count(&self) -> usize {
        self.proto.output.len()
    }

    pub fn has_graph(&self) -> bool {
        self.proto.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty())
    }

    pub fn attributes(&self) -> &'a [AttributeProto] {
        &self.proto.attribute
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).filter(|a| a.r#type == AttributeType::Int as i32).map(|a| a.i)
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name).filter(|a| a.r#type == AttributeType::Float as i32).map(|a| a.f)
    }

    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// The text of an attribute, or an empty one.
    pub fn string(&self, name: &str) -> &'a str {
        self.attribute(name).and_then(|a| std::str::from_utf8(&a.s).ok()).unwrap_or_default()
    }

    pub fn strings(&self, name: &str) -> Option<Vec<String>> {
        self.attribute(name).map(|a| a.strings.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    /// The attribute "axis", or this default.
    pub fn axis(&self, default: i64) -> i64 {
        self.int("axis").unwrap_or(default)
    }

    /// The constant tensor that an input is.
    pub fn tensor(&self, index: usize) -> Option<&'a TensorProto> {
        self.constants.tensor(self.proto.input.get(index)?)
    }

    /// The whole numbers that an input is, if it is constant.
    pub fn numbers(&self, index: usize) -> Option<Vec<i64>> {
        self.constants.integers(self.proto.input.get(index)?)
    }

    /// The axes, which newer operator sets give as an input: `Some(None)` if there are none, `None` if they are not known.
    pub fn axes(&self, input: usize) -> Option<Option<Vec<i64>>> {
        if let Some(axes) = self.ints("axes") {
            return Some(Some(axes.to_vec()));
        }
        match self.has_input(input) {
            true => self.numbers(input).map(Some),
            false => Some(None),
        }
    }

    /// What a Slice takes, if that is known.
    pub fn slices(&self) -> Option<Slices> {
        if let (Some(starts), Some(ends)) = (self.ints("starts"), self.ints("ends")) {
            return Some((starts.to_vec(), ends.to_vec(), self.ints("axes").map(<[i64]>::to_vec), Vec::new()));
        }
        let axes = if self.has_input(3) { Some(self.numbers(3)?) } else { None };
        let steps = if self.has_input(4) { self.numbers(4)? } else { Vec::new() };
        Some((self.numbers(1)?, self.numbers(2)?, axes, steps))
    }

    /// The whole number that a ConstantOfShape repeats.
    pub fn fill(&self) -> Option<i64> {
        let tensor = self.attribute("value")?.t.as_ref()?;
        match DataType::try_from(tensor.data_type) {
            Ok(DataType::Int64) if tensor.raw_data.is_empty() => tensor.int64_data.first().copied(),
            Ok(DataType::Int64) => tensor.raw_data.as_chunks().0.first().map(|bytes| i64::from_le_bytes(*bytes)),
            _ => None,
        }
    }
}

pub fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// How a node is called in messages: its name, or its output where it has none.
pub fn title(node: &NodeProto) -> String {
    let operator = match is_standard(&node.domain) {
        true => cut(&node.op_type),
        false => format!("{}.{}", cut(&node.domain), cut(&node.op_type)),
    };
    match (node.name.as_str(), node.output.first()) {
        ("", Some(output)) => format!("the node of {} ({operator})", quoted(output)),
        (name, _) => format!("node {} ({operator})", quoted(name)),
    }
}

/// The name of an operator or an attribute as messages have it, without quotation marks.
pub fn cut(name: &str) -> String {
    const LONGEST: usize = 80;
    let mut text: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}
