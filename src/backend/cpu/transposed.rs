//! ConvTranspose with its pads worked out, whichever way the model says them.
//!
//! tract leaves `output_shape` to the end of each axis and fails at some of `auto_pad`.

use super::kept::Built;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

/// Puts it in the place of what tract has.
pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("ConvTranspose", transposed);
}

fn transposed(_: &ParsingContext, node: &NodeProto) -> Built {
    let list = |name| node.get_attr_opt_vec::<usize>(name);
    let operator = Transposed {
        pads: list("pads")?,
        automatic: match node.get_attr_opt::<&str>("auto_pad")? {
            Some("SAME_UPPER") => Automatic::Upper,
            Some("SAME_LOWER") => Automatic::Lower,
            Some("VALID") => Automatic::Valid,
            _ => Automatic::None,
        },
        strides: list("strides")?,
        dilations: list("dilations")?,
        output_padding: list("output_padding")?,
        output_shape: list("output_shape")?.filter(|shape| !shape.is_empty()),
        group: node.get_attr_opt::<usize>("group")?.unwrap_or(1),
        bias: node.input.get(2).is_some_and(|name| !name.is_empty()),
    };
    ensure!(operator.group > 0, "its group is 0");
    Ok((expand(operator), vec![]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Automatic {
    None,
    Valid,
    Upper,
    Lower,
}

#[derive(Clone, Debug)]
struct Transposed {
    pads: Option<Vec<usize>>,
    automatic: Automatic,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
    group: usize,
    bias: bool,
}

/// One axis: what is cut from either end, what is added at the last, and what comes out.
struct Axis {
    before: usize,
    after: usize,
    added: usize,
    extent: usize,
}

impl Transposed {
    fn list(given: &Option<Vec<usize>>, axes: usize, default: usize) -> TractResult<Vec<usize>> {
        let list = given.clone().unwrap_or_else(|| vec![default; axes]);
        ensure!(list.len() == axes, "an attribute of it has {} numbers for {axes} axes", list.len());
        Ok(list)
    }

    fn axes(&self, input: &[usize], kernel: &[usize]) -> TractResult<Vec<Axis>> {
        let axes = kernel.len();
        ensure!(input.len() == axes, "its weights have {axes} axes, its input {}", input.len());
        let (strides, dilations) = (Self::list(&self.strides, axes, 1)?, Self::list(&self.dilations, axes, 1)?);
        let added = Self::list(&self.output_padding, axes, 0)?;
        let pads = Self::list(&self.pads, 2 * axes, 0)?;
        let wanted = match &self.output_shape {
            // Some writers put the batch and the channels before.
            Some(shape) if shape.len() == axes + 2 => Some(&shape[2..]),
            Some(shape) => Some(&shape[..]),
            None => None,
        };
        ensure!(wanted.is_none_or(|wanted| wanted.len() == axes), "its output_shape does not fit {axes} axes");
        ensure!(!kernel.contains(&0) && !input.contains(&0), "there is nothing in its input or in its weights");
        let one = |axis: usize| -> TractResult<Axis> {
            let window = (kernel[axis] - 1) * dilations[axis] + 1;
            let whole = strides[axis] * (input[axis] - 1) + added[axis] + window;
            let same = matches!(self.automatic, Automatic::Upper | Automatic::Lower);
            let wanted = wanted.map(|wanted| wanted[axis]);
            let (mut before, mut after, mut added) = (pads[axis], pads[axis + axes], added[axis]);
            if wanted.is_some() || same {
                let extent = wanted.unwrap_or(input[axis] * strides[axis]);
                let cut = whole.saturating_sub(extent);
                (before, after) = match self.automatic {
                    Automatic::Upper => (cut / 2, cut - cut / 2),
                    _ => (cut - cut / 2, cut / 2),
                };
                // What the model asks for beyond the last window.
                added += wanted.map_or(0, |wanted| wanted.saturating_sub(whole));
            } else if self.automatic == Automatic::Valid {
                (before, after) = (0, 0);
            }
            let whole = strides[axis] * (input[axis] - 1) + added + window;
            let extent = whole.checked_sub(before + after).filter(|extent| *extent > 0);
            Ok(Axis { before, after, added, extent: extent.context("its pads are larger than its output")? })
        };
        (0..axes).map(one).collect()
    }
}

impl Expansion for Transposed {
    fn name(&self) -> StaticName {
        "ConvTranspose".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.bias))?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].datum_type, &inputs[1].datum_type)?;
        solver.equals(&inputs[0].rank, &inputs[1].rank)?;
        solver.equals(&inputs[0].rank, &outputs[0].rank)?;
        solver.equals(&inputs[0].shape[1], &inputs[1].shape[0])?;
        if self.bias {
            solver.equals(&inputs[2].datum_type, &inputs[0].datum_type)?;
            solver.equals(&inputs[2].rank, 1)?;
        }
        solver.given_2(&inputs[0].shape, &inputs[1].shape, move |solver, input, weights| {
            let known = |shape: &TVec<TDim>| shape.iter().map(|n| n.to_usize().ok()).collect::<Option<TVec<usize>>>();
            let (Some(input), Some(weights)) = (known(&input), known(&weights)) else { return Ok(()) };
            ensure!(input.len() > 2, "its input has {} axes", input.len());
            let axes = self.axes(&input[2..], &weights[2..])?;
            let shape = [input[0], weights[1] * self.group].into_iter().chain(axes.iter().map(|axis| axis.extent));
            solver.equals(&outputs[0].shape, shape.map(|n| n.to_dim()).collect::<TVec<_>>())
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let shape = |outlet| -> TractResult<TVec<usize>> {
            Ok(model.outlet_fact(outlet)?.shape.as_concrete().context("its input's shape depends on the data")?.into())
        };
        let (input, weights) = (shape(inputs[0])?, shape(inputs[1])?);
        let axes = self.axes(&input[2..], &weights[2..])?;
        let collect = |one: fn(&Axis) -> usize| axes.iter().map(one).collect::<TVec<usize>>();
        let padding = PaddingSpec::Explicit(collect(|axis| axis.before), collect(|axis| axis.after));
        let pool = PoolSpec::new(
            DataFormat::NCHW,
            weights[2..].into(),
            padding,
            self.dilations.clone().map(Into::into),
            self.strides.clone().map(Into::into),
            weights[0],
            weights[1] * self.group,
        );
        // ONNX has the weights as group × input, output, window; tract as output, group × input, window.
        let mut kernel = AxisOp::wire_split_axis(model, format!("{prefix}.groups"), inputs[1], 0, self.group)?;
        kernel = model.wire_node(format!("{prefix}.order"), AxisOp::Move(1, 2), &kernel)?;
        kernel = AxisOp::wire_collapse_axis(model, format!("{prefix}.together"), kernel[0], 0)?;
        let bias = match self.bias {
            true => inputs[2],
            false => {
                let zero = Tensor::zero_scalar_dt(model.outlet_fact(inputs[0])?.datum_type)?;
                model.add_const(format!("{prefix}.bias"), zero)?
            }
        };
        let operator = Deconv::new(pool, KernelFormat::OIHW, collect(|axis| axis.added), self.group);
        model.wire_node(prefix, operator, &[inputs[0], kernel[0], bias])
    }
}
