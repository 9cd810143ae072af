//! Resize as ONNX's operator set 10 has it, and Upsample, as the sets before call it; and both computed row by row.
//!
//! tract lacks Upsample, and rounds to the nearest voxel where these sets round down, which it only says of later sets:
//! with a factor of 3 a third of the voxels came out wrong. Along the last axis it goes element by element through two loops,
//! at full size; here that axis comes first where the result grows.

use super::kept::Built;
use super::voxels::{dispatch, is_dispatched};
use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{bail, tract_ndarray};
use tract_onnx::tract_hir::tract_core::ops::nn::resize::{AxisPlan, Interpolator, NearestUpsample, Resize};

/// What tract's own Resize is called beside ours. No ONNX operator has such a name.
const TRACTS_RESIZE: &str = "Resize (tract)";

/// Puts both in the place of what tract has.
pub fn register(operators: &mut OnnxOpRegister) {
    if let Some(tracts) = operators.0.remove("Resize") {
        operators.0.insert(TRACTS_RESIZE.to_owned(), tracts);
        operators.insert("Resize", resize);
        operators.insert("Upsample", upsample);
    }
}

fn resize(context: &ParsingContext, node: &NodeProto) -> Built {
    let tracts = context.framework.op_register.0[TRACTS_RESIZE];
    if context.onnx_operator_set_version != 10 {
        return tracts(context, node);
    }
    let mut node = node.clone();
    node.attribute.push(AttributeProto {
        name: "nearest_mode".to_owned(),
        r#type: AttributeType::String as i32,
        s: b"floor".to_vec(),
        ..AttributeProto::default()
    });
    tracts(context, &node)
}

fn upsample(context: &ParsingContext, node: &NodeProto) -> Built {
    if node.input.len() != 2 {
        return Err(TractError::msg(
            "Upsample with its scales as an attribute (operator sets 7 and 8) is not supported",
        ));
    }
    resize(&ParsingContext { onnx_operator_set_version: 10, ..context.clone() }, node)
}

/// The bytes that a node works in beside its input and its output of these shapes, where it goes through one axis after the
/// other, each time from one tensor into the next.
pub fn scratch_bytes(node: &TypedNode, from: &[usize], to: &[usize]) -> u64 {
    let Some(op) = node.op_as::<Resize>().filter(|op| op.interpolator != Interpolator::Nearest) else { return 0 };
    let elements = |shape: &[usize]| shape.iter().map(|extent| *extent as u64).product::<u64>();
    let axes = (0..from.len()).filter(|axis| from[*axis] != to[*axis]);
    // tract copies its input, and takes the axes as they come.
    let (mut before, axes) = match op.interpolator {
        Interpolator::Cubic => (elements(from), axes.collect()),
        _ => (0, in_turn(axes, from, to)),
    };
    let (mut shape, mut most) = (TVec::from_slice(from), before);
    for axis in axes {
        shape[axis] = to[axis];
        let after = elements(&shape);
        most = most.max(before + after);
        before = after;
    }
    most.saturating_sub(elements(to)).saturating_mul(size_of::<f32>() as u64)
}

/// The order of axes in which what is left to do is the least.
fn in_turn(axes: impl Iterator<Item = usize>, from: &[usize], to: &[usize]) -> Vec<usize> {
    let (grow, shrink): (Vec<usize>, Vec<usize>) = axes.partition(|axis| to[*axis] > from[*axis]);
    shrink.into_iter().chain(grow.into_iter().rev()).collect()
}

/// Whether [`eval`] does what the node asks for: the nearest elements, or float32 and two elements for each at most along an
/// axis.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    let Some(input) = inputs.first() else { return false };
    let is_float = input.datum_type() == f32::datum_type();
    let fits = match (node.op_as::<NearestUpsample>(), node.op_as::<Resize>()) {
        (Some(op), _) => op.scales.len() == input.rank() && op.scales.iter().all(|scale| *scale > 0),
        (_, Some(op)) => match op.interpolator {
            Interpolator::Nearest => true,
            Interpolator::Linear => is_float,
            Interpolator::Cubic => false,
        },
        _ => false,
    };
    fits && is_dispatched(input.datum_type()) && input.has_plain_ram_storage() && input.len() > 0
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    if let Some(op) = node.op_as::<NearestUpsample>() {
        let of_axis = |(extent, scale): (&usize, &usize)| (0..extent * scale).map(|place| place / scale).collect();
        let places: Vec<_> = inputs[0].shape().iter().zip(&op.scales).map(of_axis).collect();
        let nearest = dispatch!(nearest(inputs[0].datum_type())(&inputs[0], &places))?;
        return Ok(tvec![nearest.into_tvalue()]);
    }
    let Some(op) = node.op_as::<Resize>() else { bail!("{} is not a Resize", node.name) };
    let given = |place: Option<usize>| place.and_then(|place| inputs.get(place)).map(|input| &**input);
    let (scales, sizes) = (given(op.optional_scales_input), given(op.optional_sizes_input));
    let mut shape: TVec<usize> = inputs[0].shape().into();
    let wanted = op.compute_output_shape(&shape, scales, sizes)?;
    let scales: TVec<f32> = match scales.filter(|scales| scales.len() == shape.len()) {
        Some(scales) => scales.try_as_plain_ram()?.as_slice::<f32>()?.into(),
        None => wanted.iter().zip(&shape).map(|(to, from)| *to as f32 / *from as f32).collect(),
    };
    if op.interpolator == Interpolator::Nearest {
        let of_axis = |axis: usize| {
            let plan = op.plan_axis(scales[axis], shape[axis], wanted[axis]);
            let both = plan.indices.as_chunks::<2>().0.iter().zip(plan.weights.as_chunks::<2>().0);
            both.map(|([a, b], [_, of_b])| if *of_b == 0.0 { *a } else { *b }).collect()
        };
        let changes = |axis: usize| shape[axis] != wanted[axis] || scales[axis] != 1.0;
        let places: Vec<_> = (0..shape.len())
            .map(|axis| if changes(axis) { of_axis(axis) } else { (0..shape[axis]).collect() })
            .collect();
        let nearest = dispatch!(nearest(inputs[0].datum_type())(&inputs[0], &places))?;
        return Ok(tvec![nearest.into_tvalue()]);
    }
    let changes = |axis: &usize| shape[*axis] != wanted[*axis] || scales[*axis] != 1.0;
    let axes = in_turn((0..shape.len()).filter(changes), &shape, &wanted);
    let plain = inputs[0].try_as_plain_ram()?;
    let mut data: Option<Vec<f32>> = None;
    for axis in axes {
        let from = match &data {
            Some(data) => data,
            None => plain.as_slice::<f32>()?,
        };
        let inner = shape[axis + 1..].iter().product();
        let plan = op.plan_axis(scales[axis], shape[axis], wanted[axis]);
        let mut to = vec![0.0; from.len() / shape[axis] * wanted[axis]];
        if !to.is_empty() {
            along(from, &mut to, shape[axis], inner, &plan)?;
        }
        shape[axis] = wanted[axis];
        data = Some(to);
    }
    match data {
        Some(data) => Ok(tvec![tract_ndarray::ArrayD::from_shape_vec(&*shape, data)?.into_tensor().into_tvalue()]),
        None => Ok(inputs.into_iter().take(1).collect()),
    }
}

/// Takes for each place along each axis the input's element that is given for it: row by row, a row that is the one before once
/// more from there. tract has whole numbers as float32 on the way.
fn nearest<T: Datum + Copy + tract_num_traits::Zero>(input: &Tensor, places: &[Vec<usize>]) -> TractResult<Tensor> {
    let shape: TVec<usize> = places.iter().map(Vec::len).collect();
    let mut output = Tensor::zero::<T>(&shape)?;
    let plain = input.try_as_plain_ram()?;
    let from = plain.as_slice::<T>()?;
    let Some((along, outer)) = places.split_last() else { return Ok(input.clone()) };
    let all = output.len();
    if all == 0 {
        return Ok(output);
    }
    let (length, width) = (input.shape()[outer.len()], along.len());
    let whole = length == width && along.iter().enumerate().all(|(place, from)| place == *from);
    let twice = 2 * length == width && along.iter().enumerate().all(|(place, from)| place / 2 == *from);
    let row_of = |mut number: usize| {
        let (mut row, mut stride) = (0, 1);
        for (places, extent) in outer.iter().zip(input.shape()).rev() {
            row += places[number % places.len()] * stride;
            number /= places.len();
            stride *= extent;
        }
        row
    };
    par_chunks_mut(output.try_as_plain_ram_mut()?.as_slice_mut::<T>()?, width, all, |first, rows| {
        let mut before = None;
        for number in 0..rows.len() / width {
            let row = row_of(first + number);
            let (done, to) = rows.split_at_mut(number * width);
            let (to, from) = (&mut to[..width], &from[row * length..][..length]);
            if before == Some(row) {
                to.copy_from_slice(&done[done.len() - width..]);
            } else if whole {
                to.copy_from_slice(from);
            } else if twice {
                to.as_chunks_mut::<2>().0.iter_mut().zip(from).for_each(|(to, from)| *to = [*from; 2]);
            } else {
                to.iter_mut().zip(along).for_each(|(to, place)| *to = from[*place]);
            }
            before = Some(row);
        }
        Ok(())
    })?;
    Ok(output)
}

/// Resamples one axis, within which lie so many elements.
fn along(from: &[f32], to: &mut [f32], extent: usize, inner: usize, plan: &AxisPlan) -> TractResult<()> {
    let both = plan.indices.as_chunks::<2>().0.iter().zip(plan.weights.as_chunks::<2>().0);
    let taps: Vec<_> = both.map(|([a, b], [of_a, of_b])| (*a, *b, *of_a, *of_b)).collect();
    let all = to.len();
    if inner == 1 {
        return par_chunks_mut(to, taps.len(), all, |first, rows| {
            for (to, from) in rows.chunks_exact_mut(taps.len()).zip(from.chunks_exact(extent).skip(first)) {
                for (to, (a, b, of_a, of_b)) in to.iter_mut().zip(&taps) {
                    // What weighs nothing is not looked at: it may be infinite.
                    *to = match (*of_a == 0.0, *of_b == 0.0) {
                        (true, _) => of_b * from[*b],
                        (_, true) => of_a * from[*a],
                        _ => of_a * from[*a] + of_b * from[*b],
                    };
                }
            }
            Ok(())
        });
    }
    par_chunks_mut(to, inner, all, |first, rows| {
        for (number, to) in (first..).zip(rows.chunks_exact_mut(inner)) {
            let (a, b, of_a, of_b) = taps[number % taps.len()];
            let from = &from[number / taps.len() * extent * inner..][..extent * inner];
            let (a, b) = (&from[a * inner..][..inner], &from[b * inner..][..inner]);
            match (of_a == 0.0, of_b == 0.0) {
                (true, _) => to.iter_mut().zip(b).for_each(|(to, b)| *to = of_b * b),
                (_, true) => to.iter_mut().zip(a).for_each(|(to, a)| *to = of_a * a),
                _ => to.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = of_a * a + of_b * b),
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_hir::internal::{EvalContext, EvalOp};
    use tract_onnx::tract_hir::tract_core::ops::nn::resize::{CoordTransformer, Nearest, resample_axis};

    #[test]
    fn the_nearest_elements_are_those_of_tract() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let input = Tensor::from_shape(&[2, 3, 4, 5], &values).unwrap();
        for scales in [[1, 2, 2, 2], [1, 1, 3, 1], [2, 1, 1, 3], [1, 1, 1, 1]] {
            let op = NearestUpsample { scales: scales.into() };
            let expected = op.eval(&EvalContext::out_of_plan(), tvec![input.clone().into_tvalue()]).unwrap().remove(0);
            let of_axis = |(extent, scale): (&usize, &usize)| (0..extent * scale).map(|place| place / scale).collect();
            let places: Vec<_> = input.shape().iter().zip(&scales).map(of_axis).collect();
            assert_eq!(nearest::<f32>(&input, &places).unwrap(), expected.into_tensor(), "{scales:?}");
        }
        // More digits than float32 has.
        let wide: Vec<i64> = (0..120).map(|i| i64::MAX - i).collect();
        let wide = Tensor::from_shape(&[2, 3, 4, 5], &wide).unwrap();
        let found = nearest::<i64>(&wide, &[vec![1], vec![0], vec![2], vec![3, 3]]).unwrap();
        assert_eq!(found.try_as_plain_ram().unwrap().as_slice::<i64>().unwrap(), [i64::MAX - 73; 2]);
        let places = [vec![1], vec![0, 2], vec![3, 3, 0], vec![4, 1, 1, 0, 2, 3]];
        let found = nearest::<f32>(&input, &places).unwrap();
        let plain = found.try_as_plain_ram().unwrap();
        let mut found = plain.as_slice::<f32>().unwrap().iter();
        for (b, c) in [(1, 0), (1, 2)] {
            for (y, x) in places[2].iter().flat_map(|y| places[3].iter().map(move |x| (y, x))) {
                assert_eq!(found.next(), Some(&(((b * 3 + c) * 4 + y) as f32 * 5.0 + *x as f32)));
            }
        }
    }

    #[test]
    fn rows_are_resampled_as_tract_does_it() {
        let (outer, inner) = (3, 5);
        for (from, to) in [(4, 8), (7, 3), (1, 4), (6, 1), (5, 13)] {
            for interpolator in [Interpolator::Linear, Interpolator::Nearest] {
                let op = Resize {
                    coord_transformer: CoordTransformer::HalfPixel,
                    interpolator,
                    nearest: Nearest::RoundPreferCeil,
                    optional_scales_input: None,
                    optional_sizes_input: None,
                };
                let plan = op.plan_axis(to as f32 / from as f32, from, to);
                for inner in [1, inner] {
                    let given: Vec<f32> = (0..outer * from * inner).map(|i| (i * 7919 % 101) as f32 - 50.0).collect();
                    let (mut ours, mut tracts) = (vec![9.0; outer * to * inner], vec![9.0; outer * to * inner]);
                    along(&given, &mut ours, from, inner, &plan).unwrap();
                    resample_axis(&given, &[outer, from, inner], 1, &plan, 0.0, &mut tracts);
                    assert_eq!(ours, tracts, "{from} to {to}, {inner} within");
                }
            }
        }
    }
}
