//! Layers with what stands around them: a convolution reads what a concatenation would have put together, and what comes
//! behind it, a factor or a number for each channel, something added, an activation, is done where its sums are written.
//! The same behind a normalization. So no tensor is read and written once more for it.

use super::convolution::DirectConvolution;
use super::finish::{Activation, Finish};
use super::normalization::Normalization;
use super::numeric;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::math::{Add, Mul};

/// To be called when convolutions are in their places.
pub fn fuse(graph: &mut TypedModel) -> TractResult<()> {
    for id in graph.eval_order()? {
        let Some(layer) = Layer::at(graph, id)? else { continue };
        let mut patch = TypedModelPatch::default();
        let taps = layer.inputs.iter().chain(&layer.residual);
        let taps = taps.map(|outlet| patch.tap_model(graph, *outlet)).collect::<TractResult<TVec<_>>>()?;
        let output = patch.wire_node(&graph.node(id).name, layer.operator, &taps)?;
        patch.shunt_outside(graph, layer.output, output[0])?;
        patch.apply(graph)?;
    }
    graph.compact()
}

/// What takes the place of a layer and of the nodes around it.
struct Layer {
    operator: Box<dyn TypedOp>,
    inputs: Vec<OutletId>,
    residual: Option<OutletId>,
    output: OutletId,
}

impl Layer {
    /// `None` where there is nothing around it.
    fn at(graph: &TypedModel, id: usize) -> TractResult<Option<Self>> {
        let node = graph.node(id);
        let (mut inputs, mut output) = (node.inputs.clone(), OutletId::new(id, 0));
        let mut finish = Finish::default();
        let mut residual = None;
        let before = node.op_as::<DirectConvolution>();
        let mut convolution = before.map(|op| op.convolution.clone());
        if convolution.is_none() && !node.op_is::<Normalization>() {
            return Ok(None);
        }
        let fact = graph.outlet_fact(output)?;
        let channels = before.map_or(1, |op| op.channels(fact.rank()));
        if convolution.is_some() {
            inputs = apart(graph, inputs, channels)?;
        }
        while finish.activation == Activation::None
            && let Some(next) = only_successor(graph, output)?
        {
            let node = graph.node(next.node);
            if let Some(activation) = activation(graph, node)? {
                finish.activation = activation;
            } else if let Some(op) = node.op_as::<TypedBinOp>()
                && op.1.is_none()
                && let [a, b] = node.inputs[..]
            {
                let other = if next.slot == 0 { b } else { a };
                let numbers = if convolution.is_some() { numbers(graph, other, fact, channels)? } else { None };
                if let (Some(before), Some(numbers), None) = (&convolution, &numbers, residual)
                    && op.0.is::<Mul>()
                {
                    convolution = Some(Arc::new((**before).clone().scaled(numbers)));
                } else if let (Some(before), Some(numbers), None) = (&convolution, &numbers, residual)
                    && op.0.is::<Add>()
                {
                    convolution = Some(Arc::new((**before).clone().shifted(numbers)));
                } else if residual.is_none() && op.0.is::<Add>() && graph.outlet_fact(other)?.shape == fact.shape {
                    residual = Some(other);
                    finish.residual = true;
                } else {
                    break;
                }
            } else {
                break;
            }
            output = OutletId::new(next.node, 0);
        }
        if output.node == id && inputs == node.inputs {
            return Ok(None);
        }
        let operator: Box<dyn TypedOp> = match (convolution.zip(before), node.op_as::<Normalization>()) {
            (Some((convolution, before)), _) => Box::new(DirectConvolution { convolution, finish, ..before.clone() }),
            (None, Some(op)) => Box::new(Normalization { finish, ..op.clone() }),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self { operator, inputs, residual, output }))
    }
}

/// What alone reads an outlet; `None` also where it is an output of the model.
fn only_successor(graph: &TypedModel, outlet: OutletId) -> TractResult<Option<InletId>> {
    match graph.outlet_successors(outlet) {
        [next] if !graph.output_outlets()?.contains(&outlet) && graph.node(next.node).outputs.len() == 1 => {
            Ok(Some(*next))
        }
        _ => Ok(None),
    }
}

/// The inputs, with what nothing but this layer reads of a concatenation's channels in its place.
fn apart(graph: &TypedModel, inputs: Vec<OutletId>, channels: usize) -> TractResult<Vec<OutletId>> {
    let mut result = Vec::new();
    for outlet in inputs {
        let node = graph.node(outlet.node);
        match node.op_as::<TypedConcat>() {
            Some(op) if op.axis == channels && only_successor(graph, outlet)?.is_some() => {
                result.extend(apart(graph, node.inputs.clone(), channels)?);
            }
            _ => result.push(outlet),
        }
    }
    Ok(result)
}

/// A constant that is one number, or one for each channel.
fn numbers(graph: &TypedModel, outlet: OutletId, of: &TypedFact, channels: usize) -> TractResult<Option<Vec<f32>>> {
    let Some(tensor) = &graph.outlet_fact(outlet)?.konst else { return Ok(None) };
    let rank = of.rank();
    if tensor.datum_type() != f32::datum_type() || tensor.rank() != rank || !tensor.has_plain_ram_storage() {
        return Ok(None);
    }
    let for_each = |axis: usize, extent: usize| extent == 1 || axis == channels && of.shape[axis] == extent.to_dim();
    if !tensor.shape().iter().enumerate().all(|(axis, extent)| for_each(axis, *extent)) {
        return Ok(None);
    }
    Ok(Some(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

fn activation(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<Activation>> {
    if let Some(slope) = numeric::leaky_slope(node) {
        return Ok(Some(Activation::Leaky(slope.to_bits())));
    }
    if !numeric::is_largest(node) {
        return Ok(None);
    }
    for input in &node.inputs {
        if let Some(bound) = &graph.outlet_fact(*input)?.konst
            && bound.len() == 1
            && bound.datum_type() == f32::datum_type()
            && bound.has_plain_ram_storage()
            && bound.try_as_plain_ram()?.as_slice::<f32>()? == [0.0]
        {
            return Ok(Some(Activation::Relu));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Attributes, model, node, value, weight};
    use super::super::{CpuEngine, CpuOptions};
    use super::*;
    use crate::backend::Cancellation;
    use crate::model::Origin;
    use crate::tensor::Shape;
    use prost::Message;
    use tract_onnx::pb::tensor_proto::DataType::Float;

    /// What a network of the kinds that are fused gives at its end, and the operators of its plan. Where what lies between is
    /// asked for too, nothing can be fused.
    fn run(threads: usize, outputs: &[&str]) -> (Vec<f32>, Vec<String>) {
        let ramp = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
        let conv = |input: &str, weights: &str, output: &str| node("Conv", &[input, weights], &[output]);
        let padded = |input, weights, output| conv(input, weights, output).ints("pads", &[1; 6]);
        let nodes = vec![
            padded("x", "w3", "a"),
            node("PRelu", &["a", "slope"], &["b"]),
            padded("b", "w4", "c"),
            node("Concat", &["b", "c", "x"], &["d"]).int("axis", 1),
            padded("d", "w11", "e"),
            node("InstanceNormalization", &["e", "scale", "bias"], &["f"]),
            node("Add", &["b", "f"], &["g"]),
            node("LeakyRelu", &["g"], &["h"]),
            padded("h", "w4", "i"),
            node("Mul", &["i", "each"], &["j"]),
            node("Add", &["each", "j"], &["k"]),
            node("Add", &["k", "h"], &["l"]),
            node("Relu", &["l"], &["m"]),
            conv("m", "w1", "n"),
            node("Add", &["n", "one"], &["y"]),
        ];
        let weights = vec![
            weight("w3", &[4, 3, 3, 3, 3], ramp),
            weight("w4", &[4, 4, 3, 3, 3], ramp),
            weight("w11", &[4, 11, 3, 3, 3], ramp),
            weight("w1", &[2, 4, 1, 1, 1], ramp),
            weight("scale", &[4], |i| i as f32),
            weight("bias", &[4], |i| 0.5 - i as f32),
            weight("each", &[1, 4, 1, 1, 1], |i| i as f32 / 4.0 - 0.4),
            weight("one", &[1], |_| 0.75),
            weight("slope", &[1, 1, 1], |_| 0.3),
        ];
        let outputs = outputs.iter().map(|name| value(name, Float, &["1", "", "5", "6", "7"])).collect();
        let model = model(nodes, vec![value("x", Float, &["1", "3", "5", "6", "7"])], outputs, weights);
        computed(&model.encode_to_vec(), threads, &[1, 3, 5, 6, 7])
    }

    /// What a model gives last for one input of that shape, and the operators of its plan.
    fn computed(model: &[u8], threads: usize, shape: &[usize]) -> (Vec<f32>, Vec<String>) {
        let ramp = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
        let engine = CpuEngine::new(model, Origin::default(), CpuOptions { threads, shape_cache: 1 }).unwrap();
        let extents: Vec<i64> = shape.iter().map(|extent| *extent as i64).collect();
        let plan = engine.plans.get(&engine.model, &[Shape::new(&extents).unwrap()], Vec::new()).unwrap();
        let input: Vec<f32> = (0..shape.iter().product()).map(ramp).collect();
        let inputs = vec![tvec![Tensor::from_shape(shape, &input).unwrap().into_tvalue()]];
        let results =
            engine.threads.map(inputs, |inputs| plan.run(&engine.model, inputs, &Cancellation::default())).unwrap();
        let last = results[0].last().unwrap().try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
        (last, plan.operators())
    }

    #[test]
    fn fewer_axes_are_three_of_which_some_have_one_element() {
        let ramp = |i: usize| ((i * 6113) % 503) as f32 / 503.0 - 0.5;
        let with_axes = |axes: usize| {
            // Channels, then what the last axes of three have.
            let shape = |channels: &[i64], last: [i64; 3]| [channels, &last[3 - axes..]].concat();
            let names = |shape: &[i64]| shape.iter().map(i64::to_string).collect::<Vec<_>>();
            let declared = |name: &str, shape: Vec<i64>| {
                let names = names(&shape);
                value(name, Float, &names.iter().map(String::as_str).collect::<Vec<_>>())
            };
            let pads = [[0, 1, 2], [0, 2, 1]].map(|pads| pads[3 - axes..].to_vec()).concat();
            let strides = [1, 2, 2][3 - axes..].to_vec();
            let nodes = vec![
                node("Conv", &["x", "w"], &["a"]).ints("pads", &pads).ints("strides", &strides),
                node("LeakyRelu", &["a"], &["b"]),
                node("Concat", &["b", "a"], &["c"]).int("axis", 1),
                node("ConvTranspose", &["c", "v"], &["d"]).ints("strides", &strides),
                node("Mul", &["d", "each"], &["y"]),
            ];
            let rows = if axes == 1 { 1 } else { 9 };
            let window = if axes == 1 { 1 } else { 3 };
            let weights = vec![
                weight("w", &shape(&[5, 3], [1, window, 3]), ramp),
                weight("v", &shape(&[10, 4], [1, 1, 2]), ramp),
                weight("each", &shape(&[1, 4], [1, 1, 1]), ramp),
            ];
            let input = shape(&[1, 3], [1, rows, 21]);
            let output = vec![value("y", Float, &vec![""; 2 + axes])];
            let model = model(nodes, vec![declared("x", input.clone())], output, weights);
            let extents: Vec<usize> = input.iter().map(|extent| *extent as usize).collect();
            computed(&model.encode_to_vec(), 2, &extents)
        };
        let (of_three, operators) = with_axes(3);
        let (of_two, operators_of_two) = with_axes(2);
        assert_eq!(of_two, of_three);
        assert_eq!(operators_of_two, operators);
        let (of_one, operators_of_one) = with_axes(1);
        assert!(!of_one.is_empty());
        assert_eq!(operators_of_one, operators);
    }

    #[test]
    fn what_is_fused_is_what_the_nodes_give() {
        let (apart, _) = run(1, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "y"]);
        let (fused, operators) = run(1, &["y"]);
        for (fused, apart) in fused.iter().zip(&apart) {
            assert!((fused - apart).abs() < 1e-5 * apart.abs().max(1.0), "{fused} and not {apart}");
        }
        assert_eq!(run(3, &["y"]).0, fused);
        if operators.iter().any(|operator| operator == "DirectConvolution") {
            let others = ["Source", "Const", "DirectConvolution", "InstanceNormalization"];
            assert!(operators.iter().all(|operator| others.contains(&operator.as_str())), "{operators:?}");
        }
    }
}
