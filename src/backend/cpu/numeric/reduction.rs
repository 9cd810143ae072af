//! Sums over axes in float64, and what is made of sums; whole numbers in 64 bits.
//!
//! A mean over a volume of 160³ in float32 is off by tens of standard deviations where the mean is large.

use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Sum {
    Plain,
    OfSquares,
    MeanOfSquares,
    /// ln(Σ exp(x)), which holds where exp(x) would not.
    LogOfExponentials,
    Product,
    Largest,
    Smallest,
}

/// A reduction over axes, which stay with an extent of 1. NaN goes through all of them.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Reduction {
    pub axes: TVec<usize>,
    pub sum: Sum,
}

/// Values are added in this many sums, side by side: the processor adds several at once.
const LANES: usize = 16;

impl Sum {
    /// What all values together give, of rows that lie one after the other in memory.
    fn of<'a>(self, rows: impl Iterator<Item = &'a [f32]> + Clone) -> f32 {
        let lanes = |start: f64, add: fn(f64, f32) -> f64, join: fn(f64, f64) -> f64| {
            let mut lanes = [start; LANES];
            for row in rows.clone() {
                let (blocks, rest) = row.as_chunks::<LANES>();
                for block in blocks {
                    for (lane, value) in lanes.iter_mut().zip(block) {
                        *lane = add(*lane, *value);
                    }
                }
                for (lane, value) in lanes.iter_mut().zip(rest) {
                    *lane = add(*lane, *value);
                }
            }
            lanes.into_iter().fold(start, join)
        };
        let squares = || lanes(0.0, |sum, value| sum + f64::from(value) * f64::from(value), |a, b| a + b);
        match self {
            Self::Plain => lanes(0.0, |sum, value| sum + f64::from(value), |a, b| a + b) as f32,
            Self::OfSquares => squares() as f32,
            Self::MeanOfSquares => (squares() / rows.map(<[f32]>::len).sum::<usize>() as f64) as f32,
            Self::Product => lanes(1.0, |product, value| product * f64::from(value), |a, b| a * b) as f32,
            Self::Largest => largest(rows),
            Self::Smallest => smallest(rows),
            Self::LogOfExponentials => {
                let largest = largest(rows.clone());
                if !largest.is_finite() {
                    return largest;
                }
                let largest = f64::from(largest);
                let sum: f64 = rows.flatten().map(|value| (f64::from(*value) - largest).exp()).sum();
                (largest + sum.ln()) as f32
            }
        }
    }
}

fn largest<'a>(rows: impl Iterator<Item = &'a [f32]>) -> f32 {
    rows.flatten().fold(f32::NEG_INFINITY, |a, b| if a >= *b || a.is_nan() { a } else { *b })
}

fn smallest<'a>(rows: impl Iterator<Item = &'a [f32]>) -> f32 {
    rows.flatten().fold(f32::INFINITY, |a, b| if a <= *b || a.is_nan() { a } else { *b })
}

impl Op for Reduction {
    fn name(&self) -> StaticName {
        "Reduction".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?} over axes {:?}", self.sum, self.axes)])
    }

    op_as_typed_op!();
}

impl EvalOp for Reduction {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let mut shape: TVec<usize> = input.shape().into();
        for axis in &self.axes {
            shape[*axis] = 1;
        }
        match input.datum_type() {
            DatumType::F32 => {}
            DatumType::F64 => return extremes(&input, &self.axes, &shape, self.sum == Sum::Largest),
            _ => return whole_numbers(&input, &self.axes, &shape),
        }
        let rows = Rows::of(input.shape(), &self.axes);
        let mut output = Tensor::zero::<f32>(&shape)?;
        let values = input.try_as_plain_ram()?;
        let values = values.as_slice::<f32>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let results = plain.as_slice_mut::<f32>()?;
        if values.is_empty() {
            results.fill(self.sum.of(std::iter::empty()));
            return Ok(tvec![output.into_tvalue()]);
        }
        par_chunks_mut(results, 1, values.len(), |first, results| {
            let mut column = Vec::new();
            for (index, result) in results.iter_mut().enumerate() {
                let base = rows.base(first + index);
                *result = if rows.length > 1 || rows.starts.len() < 2 {
                    self.sum.of(rows.starts.iter().map(|start| &values[base + start..][..rows.length]))
                } else {
                    column.clear();
                    column.extend(rows.starts.iter().map(|start| values[base + start]));
                    self.sum.of(std::iter::once(column.as_slice()))
                };
            }
            Ok(())
        })?;
        Ok(tvec![output.into_tvalue()])
    }
}

impl TypedOp for Reduction {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.clone();
        for axis in &self.axes {
            shape.set(*axis, 1.to_dim());
        }
        Ok(tvec![inputs[0].datum_type.fact(shape)])
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], _: &[&TypedFact]) -> TractResult<AxesMapping> {
        let mut letters = 'a'..;
        let mut axes = Vec::new();
        for axis in 0..inputs[0].rank() {
            let mut next = || Axis::new(letters.next().unwrap_or('?'), 1, 1);
            match self.axes.contains(&axis) {
                true => axes.extend([next().input(0, axis), next().output(0, axis)]),
                false => axes.push(next().input(0, axis).output(0, axis)),
            }
        }
        AxesMapping::new(1, 1, axes)
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let mut axes = TVec::new();
        for axis in &self.axes {
            let Some(axis) = change.transform_axis(*axis) else { return Ok(None) };
            axes.push(axis);
        }
        axes.sort();
        let operator = Box::new(Self { axes, ..self.clone() });
        Ok(Some(AxisChangeConsequence::new(model, node, Some(operator), change)))
    }

    as_op!();
}

/// Where the values of each result lie.
struct Rows {
    /// Offsets of the rows that are summed, from a result's first value.
    starts: Vec<usize>,
    /// Values of a row, one after the other.
    length: usize,
    /// Extent and stride of each axis that is kept.
    kept: Vec<(usize, usize)>,
}

impl Rows {
    fn of(shape: &[usize], axes: &[usize]) -> Self {
        let mut stride = 1;
        let mut length = 1;
        let mut starts = vec![0];
        let mut kept = Vec::new();
        let mut together = true;
        for (axis, extent) in shape.iter().enumerate().rev() {
            match axes.contains(&axis) {
                true if together => length *= extent,
                true => {
                    starts = (0..*extent).flat_map(|i| starts.iter().map(move |start| i * stride + start)).collect();
                }
                false => {
                    together = false;
                    kept.push((*extent, stride));
                }
            }
            stride *= extent;
        }
        kept.reverse();
        Self { starts, length, kept }
    }

    fn base(&self, mut result: usize) -> usize {
        let mut base = 0;
        for (extent, stride) in self.kept.iter().rev() {
            base += result % extent * stride;
            result /= extent;
        }
        base
    }
}

/// Sums of whole numbers, which wrap around in their own type as ONNX Runtime's do.
fn whole_numbers(input: &Tensor, axes: &[usize], shape: &[usize]) -> TractResult<TVec<TValue>> {
    let wide = input.cast_to::<i64>()?;
    let wide = wide.try_as_plain_ram()?;
    let values = wide.as_slice::<i64>()?;
    let rows = Rows::of(input.shape(), axes);
    let mut output = Tensor::zero::<i64>(shape)?;
    for (index, result) in output.try_as_plain_ram_mut()?.as_slice_mut::<i64>()?.iter_mut().enumerate() {
        let base = rows.base(index);
        let row = |start: &usize| values[base + start..][..rows.length].iter().fold(0i64, |a, b| a.wrapping_add(*b));
        *result = rows.starts.iter().map(row).fold(0i64, i64::wrapping_add);
    }
    Ok(tvec![output.cast_to_dt(input.datum_type())?.into_owned().into_tvalue()])
}

/// The largest or the smallest of float64.
fn extremes(input: &Tensor, axes: &[usize], shape: &[usize], largest: bool) -> TractResult<TVec<TValue>> {
    let plain = input.try_as_plain_ram()?;
    let values = plain.as_slice::<f64>()?;
    let rows = Rows::of(input.shape(), axes);
    let mut output = Tensor::zero::<f64>(shape)?;
    for (index, result) in output.try_as_plain_ram_mut()?.as_slice_mut::<f64>()?.iter_mut().enumerate() {
        let base = rows.base(index);
        let all = rows.starts.iter().flat_map(|start| &values[base + start..][..rows.length]);
        *result = match largest {
            true => all.fold(f64::NEG_INFINITY, |a, b| if a >= *b || a.is_nan() { a } else { *b }),
            false => all.fold(f64::INFINITY, |a, b| if a <= *b || a.is_nan() { a } else { *b }),
        };
    }
    Ok(tvec![output.into_tvalue()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_float64_are_those_of_float32() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let values = [-inf, 1.0, nan, -inf, 3.0, 2.0, inf, -2.0, 5.0, inf, 0.5, 7.0];
        for sum in [Sum::Largest, Sum::Smallest] {
            for axes in [&[0][..], &[1], &[2], &[0, 2], &[0, 1, 2]] {
                let wide = Tensor::from_shape(&[2, 3, 2], &values).unwrap();
                let narrow = wide.cast_to::<f32>().unwrap().into_owned();
                let [wide, narrow] = [wide, narrow].map(|input| {
                    let op = Reduction { axes: axes.into(), sum };
                    let found = op.eval(&EvalContext::out_of_plan(), tvec![input.into_tvalue()]).unwrap().remove(0);
                    let found = found.cast_to::<f32>().unwrap();
                    found.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
                });
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&wide), bits(&narrow), "{sum:?} over {axes:?}");
            }
        }
    }
}
