//! [`Convolution`] as an operator of tract's, and how it takes the places of tract's own.

use super::{Convolution, Geometry, Triple};
use crate::backend::cpu::finish::Finish;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::deconv::Deconv;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

/// A convolution over up to three axes of one item, the last ones. Its input's channels are those of all its inputs, one after
/// the other; what is added to the result comes last.
#[derive(Clone, Debug)]
pub struct DirectConvolution {
    pub convolution: Arc<Convolution>,
    pub axes: usize,
    pub finish: Finish,
}

// One operator is another where it is the same one: comparing weights would cost more than it could save.
impl PartialEq for DirectConvolution {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.convolution, &other.convolution) && (self.axes, self.finish) == (other.axes, other.finish)
    }
}

impl Eq for DirectConvolution {}

impl Hash for DirectConvolution {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.convolution.geometry.hash(state);
        self.finish.hash(state);
    }
}

impl DirectConvolution {
    /// Which axis of a tensor of that shape the channels are.
    pub fn channels(&self, rank: usize) -> usize {
        rank - 1 - self.axes
    }

    /// The shape of the output, of inputs of that shape.
    fn output<D: Clone + From<usize>>(&self, mut shape: TVec<D>) -> TVec<D> {
        let Geometry { output_channels, output, .. } = &self.convolution.geometry;
        let channels = self.channels(shape.len());
        shape[channels] = (*output_channels).into();
        for (extent, to) in shape[channels + 1..].iter_mut().zip(&output[3 - self.axes..]) {
            *extent = (*to).into();
        }
        shape
    }
}

impl Op for DirectConvolution {
    fn name(&self) -> StaticName {
        "DirectConvolution".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DirectConvolution {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shape = self.output::<usize>(inputs[0].shape().into());
        // SAFETY: each element is written below, or the tensor dropped without having been read.
        let mut output = unsafe { Tensor::uninitialized::<f32>(&shape)? };
        let inputs = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let mut inputs = inputs.iter().map(|input| input.as_slice()).collect::<TractResult<TVec<_>>>()?;
        let residual = if self.finish.residual { inputs.pop() } else { None };
        self.convolution.run(&inputs, residual, self.finish, output.try_as_plain_ram_mut()?.as_slice_mut()?)?;
        Ok(tvec![output.into_tvalue()])
    }
}

impl TypedOp for DirectConvolution {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![f32::fact(self.output(inputs[0].shape.to_tvec()))])
    }

    as_op!();
}

/// Puts [`Convolution`]s in the places of those that they can take, in a graph that is decluttered.
pub fn replace(graph: &mut TypedModel) -> TractResult<()> {
    for id in graph.eval_order()? {
        let node = graph.node(id);
        let convolution = match direct(graph, node)? {
            None => pointwise(graph, node)?,
            some => some,
        };
        let Some((convolution, axes)) = convolution else { continue };
        let weights = node.inputs[1];
        let read_once = graph.outlet_successors(weights).len() == 1 && !graph.output_outlets()?.contains(&weights);
        let operator = DirectConvolution { convolution: Arc::new(convolution), axes, finish: Finish::default() };
        let mut patch = TypedModelPatch::default();
        let input = patch.tap_model(graph, node.inputs[0])?;
        let output = patch.wire_node(&node.name, operator, &[input])?;
        patch.shunt_outside(graph, id.into(), output[0])?;
        patch.apply(graph)?;
        if read_once {
            forget(graph, weights)?;
        }
    }
    graph.compact()
}

/// Lets go of weights that only a node reads which has no place in the graph any more: a convolution has them in its own
/// order, and those of all layers in both would be twice as much.
fn forget(graph: &mut TypedModel, weights: OutletId) -> TractResult<()> {
    let node = graph.node_mut(weights.node);
    if node.op_is::<Const>() {
        let nothing = Const::new(rctensor0(0f32))?;
        node.outputs[0].fact = TypedFact::try_from(nothing.val())?;
        node.op = Box::new(nothing);
    }
    Ok(())
}

/// What a node computes as a [`Convolution`], over how many axes, if it is one of one item in float32 with constant weights.
fn direct(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<(Convolution, usize)>> {
    let (pool, format, transposed) = if let Some(op) = node.op_as::<Conv>() {
        if op.q_params.is_some() || op.group != 1 {
            return Ok(None);
        }
        (&op.pool_spec, op.kernel_fmt, None)
    } else if let Some(op) = node.op_as::<Deconv>() {
        if op.group != 1 {
            return Ok(None);
        }
        (&op.pool_spec, op.kernel_format, Some(&op.adjustments))
    } else {
        return Ok(None);
    };
    let [input, weights, bias] = node.inputs[..] else { return Ok(None) };
    let (input, output) = (graph.outlet_fact(input)?, &node.outputs[0].fact);
    let (Some(from), Some(to)) = (input.shape.as_concrete(), output.shape.as_concrete()) else { return Ok(None) };
    let of_one_item = match pool.data_format {
        DataFormat::NCHW => from[0] == 1,
        DataFormat::CHW => true,
        _ => false,
    };
    let axes = pool.rank();
    if !of_one_item || !(1..=3).contains(&axes) || input.datum_type != f32::datum_type() {
        return Ok(None);
    }
    let (Some(weights), Some(bias)) = (&graph.outlet_fact(weights)?.konst, &graph.outlet_fact(bias)?.konst) else {
        return Ok(None);
    };
    let (Some(weights), Some(bias)) = (plain_weights(format, weights), plain_bias(bias, pool.output_channels)) else {
        return Ok(None);
    };
    let (from, to) = (&from[from.len() - axes..], &to[to.len() - axes..]);
    let geometry = Geometry {
        input_channels: pool.input_channels,
        output_channels: pool.output_channels,
        input: last_three(from, 1),
        output: last_three(to, 1),
        kernel: last_three(&pool.kernel_shape, 1),
        stride: last_three(&pool.strides(), 1),
        dilation: last_three(&pool.dilations(), 1),
        padding: last_three(&padding(pool, from, transposed)?, 0),
        transposed: transposed.is_some(),
    };
    Ok(Convolution::new(geometry, &weights, &bias).map(|convolution| (convolution, axes)))
}

/// A convolution with windows of one element, which tract has made a product of matrices, without its bias.
fn pointwise(graph: &TypedModel, node: &TypedNode) -> TractResult<Option<(Convolution, usize)>> {
    let Some(op) = node.op_as::<EinSum>() else { return Ok(None) };
    let [input, weights] = node.inputs[..] else { return Ok(None) };
    if op.q_params.is_some() || op.operating_dt != f32::datum_type() {
        return Ok(None);
    }
    let (input, output) = (graph.outlet_fact(input)?, &node.outputs[0].fact);
    let (Some(from), Some(to)) = (input.shape.as_concrete(), output.shape.as_concrete()) else { return Ok(None) };
    let Some(weights) = &graph.outlet_fact(weights)?.konst else { return Ok(None) };
    let rank = from.len();
    if rank != to.len() || !(4..=5).contains(&rank) || (rank == 5 && from[0] != 1) || weights.rank() != 2 {
        return Ok(None);
    }
    let channels = rank - 4;
    // The channels are summed with the weights' second axis, and those of the output are its first; all else stays.
    let at = |axis: &Axis| (axis.inputs[0].to_vec(), axis.inputs[1].to_vec(), axis.outputs[0].to_vec());
    let expected = |axis: &Axis| match at(axis) {
        (input, weights, output) if weights.is_empty() => {
            matches!((&input[..], &output[..]), ([a], [b]) if a == b && *a != channels)
        }
        (input, weights, output) if weights == [0] => input.is_empty() && output == [channels],
        (input, weights, output) => weights == [1] && input == [channels] && output.is_empty(),
    };
    let plain = weights.datum_type() == f32::datum_type() && weights.has_plain_ram_storage();
    if !plain || input.datum_type != f32::datum_type() || !op.axes.iter_all_axes().all(expected) {
        return Ok(None);
    }
    let geometry = Geometry {
        input_channels: from[channels],
        output_channels: to[channels],
        input: last_three(from, 1),
        output: last_three(to, 1),
        kernel: [1; 3],
        stride: [1; 3],
        dilation: [1; 3],
        padding: [0; 3],
        transposed: false,
    };
    let convolution = Convolution::new(geometry, weights.try_as_plain_ram()?.as_slice()?, &[]);
    Ok(convolution.map(|convolution| (convolution, 3)))
}

/// The last three, or others before them where there are fewer.
fn last_three(extents: &[usize], others: usize) -> Triple {
    let mut triple = [others; 3];
    let count = extents.len().min(3);
    triple[3 - count..].copy_from_slice(&extents[extents.len() - count..]);
    triple
}

fn padding(pool: &PoolSpec, input: &[usize], adjustments: Option<&TVec<usize>>) -> TractResult<Vec<usize>> {
    Ok(match adjustments {
        None => pool.computed_padding(input).into_iter().map(|axis| axis.pad_before).collect(),
        Some(adjustments) => {
            let (dilations, strides) = (pool.dilations(), pool.strides());
            let axes = pool.padding.compute_for_deconv(input, &pool.kernel_shape, &dilations, &strides, adjustments)?;
            axes.into_iter().map(|axis| axis.pad_before).collect()
        }
    })
}

/// The weights as (output channels, input channels, kernel); `None` where they are stored in another way.
fn plain_weights(format: KernelFormat, weights: &Arc<Tensor>) -> Option<Cow<'_, [f32]>> {
    if weights.datum_type() != f32::datum_type() || !weights.has_plain_ram_storage() {
        return None;
    }
    if matches!(format, KernelFormat::OIHW) {
        return Some(Cow::Borrowed(weights.try_as_plain_ram().ok()?.as_slice().ok()?));
    }
    let ordered = format.kernel_as_group_o_i_hw(weights, 1).ok()?;
    Some(Cow::Owned(ordered.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec()))
}

fn plain_bias(bias: &Arc<Tensor>, channels: usize) -> Option<Vec<f32>> {
    if bias.datum_type() != f32::datum_type() || !bias.has_plain_ram_storage() {
        return None;
    }
    let bias = bias.try_as_plain_ram().ok()?;
    match bias.as_slice::<f32>().ok()? {
        [uniform] => Some(vec![*uniform; channels]),
        each if each.len() == channels => Some(each.to_vec()),
        _ => None,
    }
}
