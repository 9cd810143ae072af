//! Models for the tests, and what is read off them.

use super::INT64;
use crate::build::onnx::Model;
use crate::build::protobuf::{Field, Message};
use half::f16;

pub const FLOAT16: u64 = 10;

pub fn value(name: &str, element_type: u64, extents: &[u64]) -> Message {
    let mut shape = Message::default();
    for extent in extents {
        shape.add_message(1, Message::default().number(1, *extent));
    }
    let tensor = Message::default().number(1, element_type).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

pub fn weights(name: &str, element_type: u64, extents: &[u64], raw: &[u8]) -> Message {
    let mut tensor = Message::default();
    for extent in extents {
        tensor.copy(1, &Field::Number(*extent));
    }
    tensor.number(2, element_type).text(8, name).bytes(9, raw)
}

pub fn node(name: &str, operator: &str, inputs: &[&str], output: &str) -> Message {
    let mut node = Message::default();
    for input in inputs {
        node.add_bytes(1, input.as_bytes());
    }
    node.text(2, output).text(3, name).text(4, operator)
}

pub fn raw(numbers: &[f32], element_type: u64) -> Vec<u8> {
    match element_type {
        FLOAT16 => numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect(),
        _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    }
}

pub fn integers(name: &str, numbers: &[i64]) -> Message {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    weights(name, INT64, &[numbers.len() as u64], &raw)
}

pub fn names(data: &[u8]) -> Vec<String> {
    Model::read(data).unwrap().nodes.into_iter().map(|node| node.name).collect()
}

pub fn operators(data: &[u8]) -> Vec<String> {
    Model::read(data).unwrap().nodes.into_iter().map(|node| node.operator).collect()
}
