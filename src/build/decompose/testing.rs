//! Models for the tests, and what is read off them.

use super::{INT64, Wanted};
use crate::build::onnx::Model;
use crate::build::protobuf::{Field, Message};
use half::f16;

/// That these are taken apart, and no more.
pub fn only<'a>(operators: &'a [&'static str]) -> Wanted<'a> {
    Wanted { operators, axes_are_attributes: false }
}

pub(super) const FLOAT16: u64 = 10;

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

/// What the CPU engine computes of a model of x and y.
#[cfg(feature = "cpu")]
pub fn run(data: &[u8], element_type: u64, extents: &[u64], x: &[f32]) -> Vec<f32> {
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
    y
}
