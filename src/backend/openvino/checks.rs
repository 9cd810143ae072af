//! What of ONNX OpenVINO is known to compute otherwise, without a word: refused.

use crate::backend::cpu::gate::NEWEST;
use crate::backend::cpu::node::title;
use crate::error::{Code, Error, Result};
use tract_onnx::pb::{GraphProto, NodeProto};

/// An error for a model that would come out wrong.
pub fn check(graph: &GraphProto, opset: i64) -> Result<()> {
    if opset > NEWEST {
        return Err(Error::new(
            Code::Unsupported,
            format!("the model is of operator set {opset}; those up to {NEWEST} are known here"),
        ));
    }
    check_graph(graph)
}

fn check_graph(graph: &GraphProto) -> Result<()> {
    for node in &graph.node {
        check_window(node)?;
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).try_for_each(check_graph)?;
        }
    }
    Ok(())
}

/// Kernels, strides and dilations that are none, which OpenVINO takes.
fn check_window(node: &NodeProto) -> Result<()> {
    for attribute in &node.attribute {
        if matches!(attribute.name.as_str(), "kernel_shape" | "strides" | "dilations")
            && let Some(number) = attribute.ints.iter().find(|number| **number < 1)
        {
            return Err(Error::new(
                Code::InvalidModel,
                format!("{}: {number} in {} is no extent", title(node), attribute.name),
            ));
        }
    }
    Ok(())
}
