//! Slices from and to anywhere.
//!
//! tract takes ends beyond the first element for the first element, counts backwards where a slice ends before it begins, and
//! cuts numbers to 32 bits. Here its operator is told where each slice begins and ends within the axis.

use crate::backend::cpu::kept::Built;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::StridedSlice;

#[derive(Clone, Debug)]
struct Sliced(StridedSlice);

/// What is taken along one axis.
struct Part {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
    count: usize,
}

impl Part {
    /// What ONNX takes of an axis of that extent.
    fn new(axis: usize, extent: i64, start: i64, end: i64, step: i64) -> TractResult<Self> {
        ensure!(step != 0, "it goes along an axis in steps of 0");
        let from_start = |number: i64| if number < 0 { number.saturating_add(extent) } else { number };
        let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
        let start = from_start(start).clamp(low, high);
        let end = from_start(end).clamp(low, high);
        let length = if step > 0 { end.saturating_sub(start) } else { start.saturating_sub(end) }.max(0);
        let count = length.unsigned_abs().div_ceil(step.unsigned_abs());
        Ok(Self { axis, start, end, step, count: usize::try_from(count)? })
    }
}

fn are_ones(steps: &Tensor) -> bool {
    let steps = steps.cast_to::<i64>().ok();
    let plain = steps.as_ref().and_then(|steps| steps.try_as_plain_ram().ok());
    plain.and_then(|steps| steps.as_slice::<i64>().ok()).is_some_and(|steps| steps.iter().all(|step| *step == 1))
}

impl Sliced {
    /// What is taken along each axis of that shape, if all is known; `values` are those of the inputs behind the first.
    fn parts(&self, shape: &[TDim], values: &[Arc<Tensor>]) -> TractResult<Option<TVec<Part>>> {
        let numbers = |input: usize| -> Option<Vec<i64>> {
            let value = values.get(input.checked_sub(1)?)?.cast_to::<i64>().ok()?;
            Some(value.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec())
        };
        let (Some(starts), Some(ends)) = (numbers(1), numbers(2)) else { return Ok(None) };
        let rank = shape.len() as i64;
        let all = || (0..starts.len() as i64).collect();
        let Some(axes) = self.0.optional_axes_input.map_or_else(|| Some(all()), numbers) else { return Ok(None) };
        let ones = || vec![1; starts.len()];
        let Some(steps) = self.0.optional_steps_input.map_or_else(|| Some(ones()), numbers) else { return Ok(None) };
        let count = starts.len();
        ensure!(
            [ends.len(), axes.len(), steps.len()] == [count; 3],
            "its starts, ends, axes and steps are not as many"
        );
        let mut parts: TVec<Part> = TVec::with_capacity(count);
        for (((axis, start), end), step) in axes.into_iter().zip(starts).zip(ends).zip(steps) {
            let counted = if axis < 0 { axis + rank } else { axis };
            ensure!((0..rank).contains(&counted), "there is no axis {axis} of {rank}");
            let axis = counted as usize;
            ensure!(parts.iter().all(|part| part.axis != axis), "it names axis {axis} twice");
            let Ok(extent) = shape[axis].to_i64() else { return Ok(None) };
            parts.push(Part::new(axis, extent, start, end, step)?);
        }
        Ok(Some(parts))
    }
}

impl Expansion for Sliced {
    fn name(&self) -> StaticName {
        "Slice".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let given =
            3 + usize::from(self.0.optional_axes_input.is_some()) + usize::from(self.0.optional_steps_input.is_some());
        check_input_arity(inputs, given)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].rank, &outputs[0].rank)?;
        for input in &inputs[1..] {
            solver.equals(&input.rank, 1)?;
            solver.equals(&input.shape[0], &inputs[1].shape[0])?;
        }
        solver.given(&inputs[0].shape, move |solver, shape| {
            solver.given_all(inputs[1..].iter().map(|input| &input.value), move |solver, values| {
                if let Some(parts) = self.parts(&shape, &values)? {
                    let mut shape = shape.clone();
                    parts.iter().for_each(|part| shape[part.axis] = part.count.to_dim());
                    return solver.equals(&outputs[0].shape, shape);
                }
                Ok(())
            })
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let shape: TVec<TDim> = model.outlet_fact(inputs[0])?.shape.iter().cloned().collect();
        let values: Option<Vec<_>> =
            inputs[1..].iter().map(|input| model.outlet_fact(*input).ok()?.konst.clone()).collect();
        let Some(parts) = values.and_then(|values| self.parts(&shape, &values).transpose()).transpose()? else {
            // tract would take the axis to stay as long as it is.
            let steps = self.0.optional_steps_input.map(|input| model.outlet_fact(inputs[input])).transpose()?;
            let one_by_one = steps.is_none_or(|fact| fact.konst.as_ref().is_some_and(|steps| are_ones(steps)));
            let known =
                inputs[1..3].iter().all(|input| model.outlet_fact(*input).is_ok_and(|fact| fact.konst.is_some()));
            ensure!(known || one_by_one, "where it begins or ends depends on the data, and it goes in steps");
            return model.wire_node(prefix, self.0.clone(), inputs);
        };
        let column = |of: &dyn Fn(&Part) -> i64| tensor1(&parts.iter().map(of).collect::<Vec<_>>());
        // Of an end before the first element tract has this notion; nothing is an empty part at the start.
        let end = |part: &Part| if part.end < 0 { i64::MIN } else { part.end };
        let columns = [
            column(&|part| if part.count == 0 { 0 } else { part.start }),
            column(&|part| if part.count == 0 { 0 } else { end(part) }),
            column(&|part| part.axis as i64),
            column(&|part| {
                if part.count == 0 { 1 } else { part.step.clamp(-i64::from(i32::MAX), i64::from(i32::MAX)) }
            }),
        ];
        let mut given: TVec<OutletId> = tvec![inputs[0]];
        for (name, column) in ["starts", "ends", "axes", "steps"].iter().zip(columns) {
            given.push(model.add_const(format!("{prefix}.{name}"), column)?);
        }
        let slice = StridedSlice { optional_axes_input: Some(3), optional_steps_input: Some(4), ..self.0.clone() };
        model.wire_node(prefix, slice, &given)
    }
}

fn slice(_: &ParsingContext, node: &NodeProto) -> Built {
    let is_given = |input: usize| node.input.get(input).is_some_and(|name| !name.is_empty());
    let optional_axes_input = is_given(3).then_some(3);
    let optional_steps_input = is_given(4).then_some(if is_given(3) { 4 } else { 3 });
    let slice =
        StridedSlice { begin_mask: 0, end_mask: 0, shrink_axis_mask: 0, optional_axes_input, optional_steps_input };
    Ok((expand(Sliced(slice)), vec![]))
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("Slice", slice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::tests::{Attributes, int64s, model, node, value};
    use crate::backend::cpu::{CpuEngine, CpuOptions};
    use prost::Message;
    use tract_onnx::pb::tensor_proto::DataType;

    #[test]
    fn steps_from_where_the_data_say_are_refused() {
        let nodes = vec![
            node("ReduceMax", &["x"], &["largest"]).int("keepdims", 0),
            node("Cast", &["largest"], &["whole"]).int("to", DataType::Int64 as i64),
            node("Reshape", &["whole", "one"], &["start"]),
            node("Slice", &["x", "start", "end", "axis", "step"], &["part"]),
            // It would be divided by what the axis has, and not by what is taken of it.
            node("ReduceMean", &["part"], &["y"]).int("keepdims", 0),
        ];
        let weights = [("one", 1), ("end", 8), ("axis", 1), ("step", 2)].map(|(name, number)| int64s(name, &[number]));
        let input = value("x", DataType::Float, &["2", "8"]);
        let model = model(nodes, vec![input], vec![value("y", DataType::Float, &[])], weights.to_vec());
        let error = CpuEngine::load(&model.encode_to_vec(), CpuOptions::default()).map(|_| ()).unwrap_err();
        assert!(error.detail().contains("depends on the data"), "{error}: {}", error.detail());
    }

    #[test]
    fn parts_are_those_of_onnx() {
        let numbers = [i64::MIN, -9, -5, -2, -1, 0, 1, 3, 5, 9, i64::MAX];
        for extent in [0, 1, 4] {
            for (start, end) in numbers.iter().flat_map(|start| numbers.iter().map(move |end| (*start, *end))) {
                for step in [1, 2, 7, i64::MAX, -1, -2, -7, i64::MIN] {
                    let part = Part::new(0, extent, start, end, step).unwrap();
                    // As the specification has it, position by position.
                    let counted = |n: i64| i128::from(if n < 0 { n.saturating_add(extent) } else { n });
                    let (extent, step) = (i128::from(extent), i128::from(step));
                    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
                    let mut at = counted(start).clamp(low, high.max(low));
                    let end = counted(end).clamp(low, high.max(low));
                    let mut taken = Vec::new();
                    while if step > 0 { at < end } else { at > end } {
                        taken.push(at);
                        at += step;
                    }
                    assert_eq!(part.count, taken.len(), "{start}..{end} by {step} of {extent}");
                    assert!(taken.first().is_none_or(|first| *first == i128::from(part.start)));
                }
            }
        }
    }
}
