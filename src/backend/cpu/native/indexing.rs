//! Elements by index.

use super::values::{Moved, axis, each, floats, index, made, place, strides, wholes};
use super::{Fact, Kernel, Places, node};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// tract's takes negative indexes for out of range.
#[derive(Debug)]
struct GatherNd {
    batch: usize,
}

impl GatherNd {
    /// The shape of the result, and how many elements each index stands for.
    fn result(&self, data: &[usize], indexes: &[usize]) -> TractResult<(TVec<usize>, usize)> {
        let depth = *indexes.last().context("its indexes have no axis")?;
        let last = self.batch + depth;
        ensure!(self.batch < indexes.len() && last <= data.len(), "indexes of shape {indexes:?} do not fit {data:?}");
        ensure!(data[..self.batch] == indexes[..self.batch], "the batches of {data:?} and {indexes:?} differ");
        let shape = indexes[..indexes.len() - 1].iter().chain(&data[last..]).copied();
        Ok((shape.collect(), data[last..].iter().product()))
    }
}

impl Kernel for GatherNd {
    fn name(&self) -> &'static str {
        "GatherND"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (data, indexes) = (inputs.need(0)?, inputs.need(1)?);
        Ok(vec![Fact::new(data.kind, self.result(&data.shape, &indexes.shape)?.0)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (data, indexes) = (inputs.need(0)?, inputs.need(1)?);
        let shape = data.shape();
        let (result, count) = self.result(shape, indexes.shape())?;
        let depth = indexes.shape()[indexes.rank() - 1];
        let strides = strides(shape);
        let rows: usize = indexes.shape()[..indexes.rank() - 1].iter().product();
        let in_batch = rows / shape[..self.batch].iter().product::<usize>().max(1);
        let batch_size: usize = shape[self.batch..].iter().product();
        let numbers = wholes(indexes)?;
        let moved = Moved::of(data)?;
        let mut output = Tensor::zero_dt(data.datum_type(), &result)?;
        let bytes = output.as_bytes_mut();
        for row in 0..rows {
            let mut from = row / in_batch.max(1) * batch_size;
            for (level, number) in numbers[row * depth..][..depth].iter().enumerate() {
                from += index(*number, shape[self.batch + level])? * strides[self.batch + level];
            }
            moved.copy(from, count, bytes, row * count);
        }
        Ok(vec![output])
    }
}

/// tract's fails at indexes that are out of range, which here are of no element.
#[derive(Debug)]
struct OneHot {
    axis: i64,
}

impl Kernel for OneHot {
    fn name(&self) -> &'static str {
        "OneHot"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (indexes, depth, values) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let depth = depth.numbers()?;
        ensure!(depth.len() == 1 && depth[0] >= 0 && depth[0] < 1 << 40, "its depth is {depth:?}");
        ensure!(*values.shape == [2], "it takes two values");
        let mut shape = indexes.shape.clone();
        shape.insert(axis(self.axis, shape.len() + 1)?, depth[0] as usize);
        Ok(vec![Fact::new(values.kind, shape)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (indexes, depth, values) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let depth = wholes(depth)?[0];
        let at = axis(self.axis, indexes.rank() + 1)?;
        let mut shape: TVec<usize> = indexes.shape().into();
        shape.insert(at, depth as usize);
        let inner: usize = indexes.shape()[at..].iter().product();
        let moved = Moved::of(values)?;
        let mut output = Tensor::zero_dt(values.datum_type(), &shape)?;
        let count = output.len();
        let bytes = output.as_bytes_mut();
        (0..count).for_each(|to| moved.copy(0, 1, bytes, to));
        for (place, number) in wholes(indexes)?.into_iter().enumerate() {
            let number = if number < 0 { number + depth } else { number };
            if (0..depth).contains(&number) {
                let (outer, inside) = (place / inner, place % inner);
                moved.copy(1, 1, bytes, (outer * depth as usize + number as usize) * inner + inside);
            }
        }
        Ok(vec![output])
    }
}

#[derive(Debug)]
struct ReverseSequence {
    batch: i64,
    time: i64,
}

impl Kernel for ReverseSequence {
    fn name(&self) -> &'static str {
        "ReverseSequence"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (input, lengths) = (inputs.need(0)?, inputs.need(1)?);
        let (batch, time) = (axis(self.batch, input.rank())?, axis(self.time, input.rank())?);
        ensure!(batch != time && lengths.shape[..] == [input.shape[batch]], "its lengths do not fit its batch");
        Ok(vec![Fact::new(input.kind, input.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let lengths = wholes(inputs.need(1)?)?;
        let (batch, time) = (axis(self.batch, input.rank())?, axis(self.time, input.rank())?);
        let extent = input.shape()[time] as i64;
        ensure!(lengths.iter().all(|length| (0..=extent).contains(length)), "a length is out of range");
        let moved = Moved::of(input)?;
        let mut output = Tensor::zero_dt(input.datum_type(), input.shape())?;
        let bytes = output.as_bytes_mut();
        let mut to = 0;
        each(input.shape(), |position| {
            let length = lengths[position[batch]] as usize;
            let mut from: TVec<usize> = position.into();
            if from[time] < length {
                from[time] = length - 1 - from[time];
            }
            moved.copy(place(&from, input.shape()), 1, bytes, to);
            to += 1;
            Ok(())
        })?;
        Ok(vec![output])
    }
}

/// Products of all elements up to each, along an axis.
#[derive(Debug)]
struct CumProd {
    exclusive: bool,
    reverse: bool,
}

impl Kernel for CumProd {
    fn name(&self) -> &'static str {
        "CumProd"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        ensure!(matches!(input.kind, DatumType::F32 | DatumType::F64), "it takes floating point, not {:?}", input.kind);
        Ok(vec![Fact::new(input.kind, input.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let number = wholes(inputs.need(1)?)?;
        ensure!(number.len() == 1, "it goes along one axis");
        let at = axis(number[0], input.rank())?;
        let (extent, inner) = (input.shape()[at], input.shape()[at + 1..].iter().product::<usize>());
        let mut values = floats(input)?;
        for line in 0..values.len() / extent.max(1) {
            let first = line / inner * inner * extent + line % inner;
            let mut product = 1.0;
            for step in 0..extent {
                let step = if self.reverse { extent - 1 - step } else { step };
                let value = &mut values[first + step * inner];
                let next = product * *value;
                *value = if self.exclusive { product } else { next };
                product = next;
            }
        }
        Ok(vec![made(input.datum_type(), input.shape(), &values)?])
    }
}

/// Writes what is new into a cache, from an index for each item of the batch on.
#[derive(Debug)]
struct TensorScatter {
    axis: i64,
    circular: bool,
}

impl Kernel for TensorScatter {
    fn name(&self) -> &'static str {
        "TensorScatter"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (cache, update) = (inputs.need(0)?, inputs.need(1)?);
        let at = axis(self.axis, cache.rank())?;
        let fits =
            |a: usize| if a == at { update.shape[a] <= cache.shape[a] } else { update.shape[a] == cache.shape[a] };
        ensure!(at > 0 && update.rank() == cache.rank() && (0..cache.rank()).all(fits), "the update does not fit");
        ensure!(update.kind == cache.kind, "the update is of another type");
        if let Some(starts) = inputs.get(2) {
            ensure!(starts.shape[..] == [cache.shape[0]], "there is not one index for each item of the batch");
        }
        Ok(vec![Fact::new(cache.kind, cache.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (cache, update) = (inputs.need(0)?, inputs.need(1)?);
        let at = axis(self.axis, cache.rank())?;
        let extent = cache.shape()[at];
        let starts = inputs.get(2).map(|starts| wholes(starts)).transpose()?;
        let moved = Moved::of(update)?;
        let mut output = cache.clone().into_tensor();
        let shape: TVec<usize> = cache.shape().into();
        let bytes = output.as_bytes_mut();
        let mut from = 0;
        each(update.shape(), |position| {
            let start = starts.as_ref().map_or(0, |starts| starts[position[0]]);
            let mut to: TVec<usize> = position.into();
            let along = usize::try_from(start)? + position[at];
            ensure!(self.circular || along < extent, "the update goes beyond the cache");
            to[at] = along % extent;
            moved.copy(from, 1, bytes, place(&to, &shape));
            from += 1;
            Ok(())
        })?;
        Ok(vec![output])
    }
}

/// tract's fails at negative indexes.
#[derive(Debug)]
struct ScatterNd {
    reduction: Option<Merge>,
}

#[derive(Clone, Copy, Debug)]
enum Merge {
    Add,
    Multiply,
    Largest,
    Smallest,
}

impl Merge {
    fn whole(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Add => a.wrapping_add(b),
            Self::Multiply => a.wrapping_mul(b),
            Self::Largest => a.max(b),
            Self::Smallest => a.min(b),
        }
    }

    /// NaN is passed on.
    fn float(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Multiply => a * b,
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            Self::Largest => a.max(b),
            Self::Smallest => a.min(b),
        }
    }
}

impl Kernel for ScatterNd {
    fn name(&self) -> &'static str {
        "ScatterND"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (data, indexes, updates) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let depth = *indexes.shape.last().context("its indexes have no axis")?;
        ensure!(depth <= data.rank(), "its indexes of {depth} numbers do not fit {:?}", data.shape);
        let wanted = indexes.shape[..indexes.rank() - 1].iter().chain(&data.shape[depth..]);
        ensure!(wanted.eq(&updates.shape), "its updates of shape {:?} do not fit its indexes", updates.shape);
        ensure!(data.kind == updates.kind, "its updates are of another type");
        let computed = data.kind.is_float() || data.kind.is_integer();
        ensure!(self.reduction.is_none() || computed, "{:?} cannot be reduced", data.kind);
        Ok(vec![Fact::new(data.kind, data.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (data, indexes, updates) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let shape = data.shape();
        let depth = *indexes.shape().last().context("its indexes have no axis")?;
        let count: usize = shape[depth..].iter().product();
        let strides = strides(shape);
        let numbers = wholes(indexes)?;
        let rows: usize = indexes.shape()[..indexes.rank() - 1].iter().product();
        let to = |row: usize| -> TractResult<usize> {
            let numbers = numbers[row * depth..][..depth].iter().enumerate();
            numbers.map(|(level, number)| Ok(index(*number, shape[level])? * strides[level])).sum()
        };
        let Some(merge) = self.reduction else {
            let moved = Moved::of(updates)?;
            let mut output = data.clone().into_tensor();
            let bytes = output.as_bytes_mut();
            for row in 0..rows {
                moved.copy(row * count, count, bytes, to(row)?);
            }
            return Ok(vec![output]);
        };
        macro_rules! merged {
            ($read:ident, $merge:ident) => {{
                let (mut values, updates) = ($read(data)?, $read(updates)?);
                for row in 0..rows {
                    let (from, to) = (row * count, to(row)?);
                    for (value, update) in values[to..to + count].iter_mut().zip(&updates[from..]) {
                        *value = merge.$merge(*value, *update);
                    }
                }
                made(data.datum_type(), shape, &values)?
            }};
        }
        Ok(vec![if data.datum_type().is_float() { merged!(floats, float) } else { merged!(wholes, whole) }])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("ScatterND", |_, proto| {
        let reduction = match proto.get_attr_opt::<&str>("reduction")? {
            None | Some("none") => None,
            Some("add") => Some(Merge::Add),
            Some("mul") => Some(Merge::Multiply),
            Some("max") => Some(Merge::Largest),
            Some("min") => Some(Merge::Smallest),
            Some(other) => bail!("its reduction is \"{other}\""),
        };
        Ok((node(ScatterNd { reduction }, proto), vec![]))
    });
    operators.insert("GatherND", |_, proto| {
        let batch = proto.get_attr_opt::<i64>("batch_dims")?.unwrap_or(0);
        Ok((node(GatherNd { batch: usize::try_from(batch)? }, proto), vec![]))
    });
    operators.insert("OneHot", |_, proto| {
        Ok((node(OneHot { axis: proto.get_attr_opt("axis")?.unwrap_or(-1) }, proto), vec![]))
    });
    operators.insert("ReverseSequence", |_, proto| {
        let axis = |name, default| TractResult::Ok(proto.get_attr_opt::<i64>(name)?.unwrap_or(default));
        Ok((node(ReverseSequence { batch: axis("batch_axis", 1)?, time: axis("time_axis", 0)? }, proto), vec![]))
    });
    operators.insert("CumProd", |_, proto| {
        let flag = |name| TractResult::Ok(proto.get_attr_opt::<i64>(name)?.unwrap_or(0) != 0);
        Ok((node(CumProd { exclusive: flag("exclusive")?, reverse: flag("reverse")? }, proto), vec![]))
    });
    operators.insert("TensorScatter", |_, proto| {
        let circular = proto.get_attr_opt::<&str>("mode")? == Some("circular");
        Ok((node(TensorScatter { axis: proto.get_attr_opt("axis")?.unwrap_or(-2), circular }, proto), vec![]))
    });
}
