//! The most bytes that a run of a plan has in use at once, known before it runs.
//!
//! The plan is gone through as a run goes through it: what a node makes is there until the last node that reads it has run,
//! and some nodes write over what they read, if nobody else reads it. To that comes what operators work in for themselves.

use super::attention::Attention;
use super::convolution::DirectConvolution;
use super::normalization::Normalization;
use super::{broadcast, native, resize};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::tract_core::ops::binary::{OptBinByScalar, OptBinChain, OptBinUnicast};
use tract_onnx::tract_hir::tract_core::ops::change_axes::{AxisOp, IntoShape};
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_hir::tract_core::ops::nn::Softmax;
use tract_onnx::tract_hir::tract_core::ops::scan::OptScan;

/// What is there of some value, or of several.
struct Buffer {
    bytes: u64,
    /// How many values are kept that are in it.
    kept: usize,
}

/// The bytes of a run by so many threads, its inputs and outputs among them. What depends on the data is left out.
pub fn of(plan: &TypedSimplePlan, threads: usize) -> TractResult<u64> {
    let graph = plan.model();
    let order = plan.order_without_consts();
    let never = order.len();
    let mut last = vec![never; graph.nodes().len()];
    for (step, id) in order.iter().enumerate() {
        graph.node(*id).inputs.iter().for_each(|input| last[input.node] = step);
    }
    graph.output_outlets()?.iter().for_each(|output| last[output.node] = never);
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut values: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes().len()];
    let (mut live, mut most) = (0, 0);
    for (step, id) in order.iter().enumerate() {
        let node = graph.node(*id);
        // Constants have none.
        let inputs: Vec<Option<usize>> =
            node.inputs.iter().map(|input| values[input.node].get(input.slot).copied()).collect();
        let mut gone: Vec<usize> = node.inputs.iter().map(|input| input.node).filter(|id| last[*id] == step).collect();
        gone.sort_unstable();
        gone.dedup();
        gone.iter().flat_map(|id| &values[*id]).for_each(|buffer| buffers[*buffer].kept -= 1);
        let sizes: Vec<u64> = node.outputs.iter().map(|output| bytes(&output.fact)).collect();
        let over = written_over(graph, node)?.and_then(|place| inputs.get(place).copied().flatten()).filter(|buffer| {
            let readers = inputs.iter().filter(|input| **input == Some(*buffer)).count();
            readers == 1 && buffers[*buffer].kept == 0 && sizes.first() == Some(&buffers[*buffer].bytes)
        });
        let mut made = Vec::new();
        for (place, size) in sizes.iter().enumerate() {
            match over.filter(|_| place == 0) {
                Some(buffer) => made.push(buffer),
                None => {
                    made.push(buffers.len());
                    buffers.push(Buffer { bytes: *size, kept: 0 });
                    live += *size;
                }
            }
        }
        most = most.max(live + scratch(graph, node, threads)?);
        made.iter().for_each(|buffer| buffers[*buffer].kept += 1);
        let mut read: Vec<usize> = inputs.into_iter().flatten().collect();
        read.extend(gone.iter().flat_map(|id| &values[*id]));
        read.sort_unstable();
        read.dedup();
        for buffer in read {
            if buffers[buffer].kept == 0 {
                live -= std::mem::take(&mut buffers[buffer].bytes);
            }
        }
        values[*id] = made;
    }
    Ok(most)
}

/// Each element of a packed tensor is one of its matrices.
fn bytes(fact: &TypedFact) -> u64 {
    let matrix: TDim = fact.exotic_fact().iter().flat_map(|fact| fact.buffer_sizes()).sum();
    let of_one = matrix.to_i64().unwrap_or(0) + fact.datum_type.size_of() as i64;
    (fact.shape.volume() * of_one).to_i64().map_or(0, |size| size.max(0) as u64)
}

/// The input that the first output is written over, if nobody else reads it.
fn written_over(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<usize>> {
    if let Some(op) = node.op_as::<AxisOp>() {
        return Ok((!matches!(op, AxisOp::Move(..))).then_some(0));
    }
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        return Ok(op.0.output_type(graph.outlet_fact(node.inputs[0])?.datum_type).is_none().then_some(0));
    }
    let first = node.op_is::<Normalization>()
        || node.op_is::<Softmax>()
        || node.op_is::<IntoShape>()
        || node.op_is::<OptBinByScalar>()
        || node.op_is::<OptBinUnicast>()
        || node.op_is::<OptBinChain>();
    if first {
        return Ok(Some(0));
    }
    let facts = graph.node_input_facts(node.id)?;
    Ok(broadcast::whole_of(node, &facts))
}

/// What an operator works in beside its inputs and outputs.
fn scratch(graph: &TypedModel, node: &TypedNode, threads: usize) -> TractResult<u64> {
    if let Some(op) = node.op_as::<DirectConvolution>() {
        return Ok(op.convolution.scratch_bytes(threads));
    }
    if let Some(op) = node.op_as::<Attention>() {
        return Ok(op.scratch_bytes(threads));
    }
    if let Some(op) = node.op_as::<OptScan>() {
        return of(&op.plan, threads);
    }
    if native::is(node) {
        let inputs = graph.node_input_facts(node.id)?;
        let facts = inputs.into_iter().chain(node.outputs.iter().map(|output| &output.fact));
        // In float64, and once more while it is made.
        let elements = facts.filter_map(|fact| fact.shape.volume().to_i64().ok());
        return Ok(elements.map(|count| (count as u64).saturating_mul(16)).sum());
    }
    let (Some(input), Some(output)) = (node.inputs.first(), node.outputs.first()) else { return Ok(0) };
    Ok(match (graph.outlet_fact(*input)?.shape.as_concrete(), output.fact.shape.as_concrete()) {
        (Some(from), Some(to)) => resize::scratch_bytes(node, from, to),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::context::read;
    use super::super::tests::{Attributes, image, int64s, model, node, options, value, view, weight};
    use super::super::{CpuEngine, Origin};
    use crate::backend::Cancellation;
    use crate::process::blocks::USED;
    use crate::tensor::{ElementType, Shape};
    use prost::Message;
    use tract_onnx::pb::attribute_proto::AttributeType;
    use tract_onnx::pb::tensor_proto::DataType::Float;
    use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

    /// What was told of a network's run on one thread, what it had in use, and its input, which may have been there as well.
    fn told_and_used(nodes: Vec<NodeProto>, weights: Vec<TensorProto>, extents: [i64; 5]) -> (f64, f64, f64) {
        let shape = Shape::new(&extents).unwrap();
        let ends = |name| vec![value(name, Float, &[""; 5])];
        let proto = model(nodes, ends("x"), ends("y"), weights);
        let engine = CpuEngine::new(&proto.encode_to_vec(), Origin::default(), options(1, 1)).unwrap();
        let plan = engine.plans.get(&engine.model, &[shape], Vec::new()).unwrap();
        let used = || {
            let mut input = image(&extents);
            let view = view(0, &mut input, ElementType::Float32, &extents);
            // SAFETY: the view holds the elements of its shape.
            let value = unsafe { read(&view, ElementType::Float32, 0, &shape) }.unwrap();
            plan.run(&engine.model, [value].into_iter().collect(), &Cancellation::default()).unwrap();
            USED.get() as f64
        };
        let first = used();
        assert_eq!(used(), first);
        (plan.peak as f64, first, image(&extents).len() as f64)
    }

    #[test]
    fn a_run_has_in_use_what_was_told() {
        let ramp = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
        let weighed = |name: &str, dims: &[i64]| weight(name, dims, ramp);
        let numbers = |name: &str, count: i64| weight(name, &[count], |i| 1.0 + i as f32);
        let unet = vec![
            node("Conv", &["x", "w0"], &["a"]).ints("pads", &[1; 6]),
            node("InstanceNormalization", &["a", "scale", "bias"], &["b"]),
            node("LeakyRelu", &["b"], &["c"]),
            node("Conv", &["c", "w1"], &["d"]).ints("pads", &[1; 6]).ints("strides", &[2; 3]),
            node("Relu", &["d"], &["e"]),
            node("ConvTranspose", &["e", "w2"], &["f"]).ints("strides", &[2; 3]),
            node("Concat", &["f", "c"], &["g"]).int("axis", 1),
            node("Conv", &["g", "w3"], &["h"]).ints("pads", &[1; 6]),
            node("Softmax", &["h"], &["y"]).int("axis", 1),
        ];
        let of_unet = vec![
            weighed("w0", &[16, 4, 3, 3, 3]),
            numbers("scale", 16),
            numbers("bias", 16),
            weighed("w1", &[32, 16, 3, 3, 3]),
            weighed("w2", &[32, 16, 2, 2, 2]),
            weighed("w3", &[4, 32, 3, 3, 3]),
        ];
        // Attention over windows, with what is added to it.
        let attention = vec![
            node("Reshape", &["x", "flat"], &["a"]),
            node("Transpose", &["a"], &["b"]).ints("perm", &[0, 2, 1]),
            node("MatMul", &["b", "w"], &["c"]),
            node("Transpose", &["c"], &["d"]).ints("perm", &[0, 2, 1]),
            node("MatMul", &["c", "d"], &["e"]),
            node("Add", &["e", "one"], &["f"]),
            node("Softmax", &["f"], &["g"]).int("axis", 2),
            node("MatMul", &["g", "c"], &["h"]),
            node("Erf", &["h"], &["i"]),
            node("Add", &["i", "b"], &["j"]),
            node("Transpose", &["j"], &["k"]).ints("perm", &[0, 2, 1]),
            node("Reshape", &["k", "whole"], &["y"]),
        ];
        let of_attention = vec![
            int64s("flat", &[8, 32, 512]),
            int64s("whole", &[1, 4, 32, 32, 32]),
            weighed("w", &[32, 32]),
            weighed("one", &[1, 1, 512]),
        ];
        // Layers that are not fused.
        let layers = vec![
            node("Resize", &["x", "", "twice"], &["a"]),
            node("Sigmoid", &["a"], &["b"]),
            node("Mul", &["a", "b"], &["c"]),
            node("MaxPool", &["c"], &["d"]).ints("kernel_shape", &[2; 3]).ints("strides", &[2; 3]),
            node("Conv", &["d", "w"], &["e"]).ints("pads", &[1; 6]).int("group", 4),
            node("Sub", &["e", "x"], &["f"]),
            node("Exp", &["f"], &["y"]),
        ];
        let of_layers =
            vec![weight("twice", &[5], |axis| if axis < 2 { 1.0 } else { 2.0 }), weighed("w", &[4, 1, 3, 3, 3])];
        // Axis by axis from a large tensor to a small one.
        let mut resize = node("Resize", &["a", "", "half"], &["y"]);
        resize.attribute.push(AttributeProto {
            name: "mode".to_owned(),
            r#type: AttributeType::String as i32,
            s: b"linear".to_vec(),
            ..AttributeProto::default()
        });
        let shrinking = vec![node("Concat", &["x"; 8], &["a"]).int("axis", 1), resize];
        let of_shrinking = vec![weight("half", &[5], |axis| if axis < 2 { 1.0 } else { 0.5 })];
        for (name, nodes, weights) in [
            ("a U-Net", unet, of_unet),
            ("attention", attention, of_attention),
            ("layers", layers, of_layers),
            ("shrinking", shrinking, of_shrinking),
        ] {
            let (told, used, input) = told_and_used(nodes, weights, [1, 4, 32, 32, 32]);
            assert!(used <= told, "{name}: {told} were told and {used} used");
            assert!(told <= (used + input) * 1.1 + 1e6, "{name}: {told} were told and {used} used");
        }
    }
}
