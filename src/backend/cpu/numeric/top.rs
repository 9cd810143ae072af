//! The largest or smallest elements along an axis, of which what is no number is the largest of all.
//!
//! tract puts it anywhere, by an order that is none, at which a sort may stop.

use std::cmp::Ordering;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Topk;

/// In place of tract's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Top(pub Topk);

/// The order of all elements. Those that are alike stay in theirs, as sorts do that are stable.
fn order<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    let is_none = |value: &T| value.partial_cmp(value).is_none();
    a.partial_cmp(b).unwrap_or_else(|| is_none(a).cmp(&is_none(b)))
}

impl Top {
    fn of<T: Datum + PartialOrd + Copy>(&self, input: &Tensor, count: usize) -> TractResult<TVec<TValue>> {
        let axis = self.0.axis;
        let mut shape: TVec<usize> = input.shape().into();
        let extent = *shape.get(axis).context("it goes along an axis that the input does not have")?;
        ensure!(count <= extent, "{count} elements are wanted of {extent}");
        shape[axis] = count;
        let inner: usize = shape[axis + 1..].iter().product();
        let mut values = Tensor::zero_dt(T::datum_type(), &shape)?;
        let mut places = Tensor::zero::<i64>(&shape)?;
        let input = input.try_as_plain_ram()?;
        let input = input.as_slice::<T>()?;
        let mut plain = values.try_as_plain_ram_mut()?;
        let to = plain.as_slice_mut::<T>()?;
        let mut plain = places.try_as_plain_ram_mut()?;
        let to_places = plain.as_slice_mut::<i64>()?;
        let lines = input.len().checked_div(extent).unwrap_or(0);
        let mut line = Vec::with_capacity(extent);
        for number in 0..lines {
            let (outer, inside) = (number / inner, number % inner);
            line.clear();
            line.extend((0..extent).map(|at| (at, input[(outer * extent + at) * inner + inside])));
            match self.0.largest {
                true => line.sort_by(|a, b| order(&b.1, &a.1)),
                false => line.sort_by(|a, b| order(&a.1, &b.1)),
            }
            for (rank, (place, value)) in line.iter().take(count).enumerate() {
                let at = (outer * count + rank) * inner + inside;
                (to[at], to_places[at]) = (*value, *place as i64);
            }
        }
        Ok(tvec![values.into_tvalue(), places.into_tvalue()])
    }
}

impl Op for Top {
    fn name(&self) -> StaticName {
        "Top".into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

impl EvalOp for Top {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (input, count) = args_2!(inputs);
        let count = count.cast_to::<i64>()?;
        let [count] = *count.try_as_plain_ram()?.as_slice::<i64>()? else { bail!("it takes one number") };
        let count = usize::try_from(count)?;
        dispatch_numbers!(Self::of(input.datum_type())(self, &input, count))
    }
}

impl TypedOp for Top {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(largest: bool, values: &[f32], count: i64) -> (Vec<f32>, Vec<i64>) {
        let op = Top(Topk { axis: 0, largest, fallback_k: 0.to_dim() });
        let inputs = tvec![tensor1(values).into_tvalue(), tensor1(&[count]).into_tvalue()];
        let found = op.eval(&EvalContext::out_of_plan(), inputs).unwrap();
        let [values, places] = [&*found[0], &*found[1]].map(|tensor| tensor.try_as_plain_ram().unwrap());
        (values.as_slice::<f32>().unwrap().to_vec(), places.as_slice::<i64>().unwrap().to_vec())
    }

    #[test]
    fn what_is_no_number_is_the_largest() {
        let values = [1.0, f32::NAN, f32::INFINITY, 1.0, f32::NAN, -2.0];
        assert_eq!(top(true, &values, 6).1, [1, 4, 2, 0, 3, 5]);
        assert_eq!(top(false, &values, 4), (vec![-2.0, 1.0, 1.0, f32::INFINITY], vec![5, 0, 3, 2]));
        // As many as sorts of the standard library look at with care.
        let many: Vec<f32> = (0..500).map(|i| if i % 7 == 3 { f32::NAN } else { (i * 37 % 101) as f32 }).collect();
        let (found, _) = top(false, &many, 400);
        assert!(found.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
