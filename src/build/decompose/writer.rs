//! Writes the nodes that take one node's place.

use super::{FLOAT, INT64, Part};
use crate::build::protobuf::{Field, Message};

/// The nodes that take one node's place.
pub struct Writer<'a> {
    pub graph: &'a mut Message,
    /// What new tensors' names begin with.
    pub prefix: String,
    pub name: String,
    pub opset: u64,
    /// Whether a reduction's axes are an input.
    pub axes_are_inputs: bool,
    pub part: Part,
}

/// An attribute's message; `kind` is a number of onnx.proto's `AttributeType`.
pub fn attribute(name: &str, kind: u64, value: Message) -> Message {
    let mut message = value.text(1, name);
    message.copy(20, &Field::Number(kind));
    message
}

/// The axes of a reduction, as they are given up to opset 17.
pub fn axes_attribute(axes: &[i64]) -> Message {
    const INTEGERS: u64 = 7;
    let list = axes.iter().fold(Message::default(), |list, axis| list.number(8, axis.cast_unsigned()));
    attribute("axes", INTEGERS, list)
}

impl Writer<'_> {
    pub fn node(
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

    pub fn constant(&mut self, what: &str, element_type: u64, extents: &[u64], raw: &[u8]) -> String {
        let mut tensor = Message::default();
        for extent in extents {
            tensor.copy(1, &Field::Number(*extent));
        }
        let tensor = tensor.number(2, element_type).bytes(9, raw);
        const TENSOR: u64 = 4;
        let value = attribute("value", TENSOR, Message::default().message(5, tensor));
        self.node("Constant", what, &[], vec![value], None)
    }

    pub fn integers(&mut self, what: &str, numbers: &[i64]) -> String {
        let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(what, INT64, &[numbers.len() as u64], &raw)
    }

    /// The mean over axes, which stay with an extent of one.
    pub fn mean_over(&mut self, axes: &[i64], what: &str, of: &str) -> String {
        if self.axes_are_inputs {
            let axes = self.integers(&format!("{what}_axis"), axes);
            return self.statistic("ReduceMean", what, &[of, &axes], vec![]);
        }
        self.statistic("ReduceMean", what, &[of], vec![axes_attribute(axes)])
    }

    pub fn reshape(&mut self, what: &str, of: &str, extents: &[i64]) -> String {
        let extents = self.integers(&format!("{what}_extents"), extents);
        self.node("Reshape", what, &[of, &extents], vec![], None)
    }

    pub fn statistic(&mut self, operator: &str, what: &str, inputs: &[&str], attributes: Vec<Message>) -> String {
        self.part.statistics.push(format!("{}/{what}", self.name));
        self.node(operator, what, inputs, attributes, None)
    }

    pub fn other(&mut self, operator: &str, what: &str, inputs: &[&str], output: Option<&str>) -> String {
        self.part.others.push(format!("{}/{what}", self.name));
        self.node(operator, what, inputs, vec![], output)
    }

    pub fn cast(&mut self, what: &str, of: &str, to: u64, output: Option<&str>) -> String {
        const INTEGER: u64 = 2;
        let to = attribute("to", INTEGER, Message::default().number(3, to));
        self.node("Cast", what, &[of], vec![to], output)
    }

    /// A tensor as float32, if it is not.
    pub fn as_float(&mut self, what: &str, name: &str, element_type: u64) -> String {
        match element_type {
            FLOAT => name.to_owned(),
            _ => self.cast(&format!("{what}_float32"), name, FLOAT, None),
        }
    }

    /// The root of a variance, of which `epsilon` keeps it from zero.
    pub fn deviation(&mut self, variance: &str, epsilon: f32) -> String {
        let epsilon = self.constant("epsilon", FLOAT, &[], &epsilon.to_le_bytes());
        let shifted = self.statistic("Add", "shifted", &[variance, &epsilon], vec![]);
        self.statistic("Sqrt", "deviation", &[&shifted], vec![])
    }

    /// The last node in float32, whose result is `y` in the model's type.
    pub fn last(&mut self, operator: &str, what: &str, inputs: &[&str], element_type: u64, y: &str) {
        if element_type == FLOAT {
            self.other(operator, what, inputs, Some(y));
        } else {
            let result = self.other(operator, what, inputs, None);
            self.cast("result", &result, element_type, Some(y));
        }
    }
}
