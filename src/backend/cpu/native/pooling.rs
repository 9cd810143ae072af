//! Pools by a norm, and max-pools undone.

use super::values::{each, floats, made, place, wholes};
use super::{Fact, Kernel, Places, node};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// (Σ |x|^p)^(1/p) of each window.
#[derive(Debug)]
struct LpPool {
    p: f64,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<usize>,
    /// SAME_UPPER and SAME_LOWER.
    same: Option<bool>,
    ceil: bool,
}

impl LpPool {
    fn of(proto: &NodeProto) -> TractResult<Self> {
        let kernel = proto.get_attr_vec::<usize>("kernel_shape")?;
        let axes = kernel.len();
        let list =
            |name, default: Vec<usize>| TractResult::Ok(proto.get_attr_opt_vec::<usize>(name)?.unwrap_or(default));
        let same = match proto.get_attr_opt::<&str>("auto_pad")? {
            Some("SAME_UPPER") => Some(true),
            Some("SAME_LOWER") => Some(false),
            _ => None,
        };
        let p = proto.get_attr_opt::<i64>("p")?.unwrap_or(2);
        ensure!(p > 0, "its p is {p}");
        let ceil = proto.get_attr_opt::<i64>("ceil_mode")?.unwrap_or(0) != 0;
        Ok(Self {
            p: p as f64,
            strides: list("strides", vec![1; axes])?,
            dilations: list("dilations", vec![1; axes])?,
            pads: list("pads", vec![0; 2 * axes])?,
            kernel,
            same,
            ceil,
        })
    }

    /// For each axis how many windows there are, and how far before the input the first begins.
    fn windows(&self, extents: &[usize]) -> TractResult<Vec<(usize, usize)>> {
        let axes = self.kernel.len();
        let lists = [&self.strides, &self.dilations].into_iter().all(|list| list.len() == axes && !list.contains(&0));
        ensure!(extents.len() == axes && lists && self.pads.len() == 2 * axes, "its window does not fit {extents:?}");
        let one = |axis: usize| {
            let (extent, stride) = (extents[axis], self.strides[axis]);
            let window = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            if let Some(upper) = self.same {
                let count = extent.div_ceil(stride);
                let missing = ((count.saturating_sub(1)) * stride + window).saturating_sub(extent);
                return Ok((count, if upper { missing / 2 } else { missing.div_ceil(2) }));
            }
            let (before, after) = (self.pads[axis], self.pads[axis + axes]);
            let room = (extent + before + after).checked_sub(window).context("its window is larger than its input")?;
            let mut count = room / stride + 1;
            // A last window that is not full begins within the input or what is before it.
            if self.ceil && room % stride > 0 && count * stride < extent + before {
                count += 1;
            }
            Ok((count, before))
        };
        (0..axes).map(one).collect()
    }
}

impl Kernel for LpPool {
    fn name(&self) -> &'static str {
        "LpPool"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        ensure!(input.rank() > 2 && input.kind.is_float() && !self.kernel.contains(&0), "it does not fit its input");
        let windows = self.windows(&input.shape[2..])?;
        let shape = input.shape[..2].iter().copied().chain(windows.into_iter().map(|(count, _)| count));
        Ok(vec![Fact::new(input.kind, shape)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let extents = &input.shape()[2..];
        let windows = self.windows(extents)?;
        let shape: TVec<usize> = input.shape()[..2].iter().copied().chain(windows.iter().map(|(n, _)| *n)).collect();
        let values = floats(input)?;
        let volume: usize = extents.iter().product();
        let mut results = Vec::new();
        each(&shape, |position| {
            let plane = (position[0] * input.shape()[1] + position[1]) * volume;
            let mut sum = 0.0;
            each(&self.kernel, |tap| {
                let mut at = TVec::new();
                for axis in 0..extents.len() {
                    let along = position[axis + 2] * self.strides[axis] + tap[axis] * self.dilations[axis];
                    match along.checked_sub(windows[axis].1).filter(|along| *along < extents[axis]) {
                        Some(along) => at.push(along),
                        None => return Ok(()),
                    }
                }
                sum += values[plane + place(&at, extents)].abs().powf(self.p);
                Ok(())
            })?;
            results.push(sum.powf(1.0 / self.p));
            Ok(())
        })?;
        Ok(vec![made(input.datum_type(), &shape, &results)?])
    }
}

#[derive(Debug)]
struct GlobalLpPool {
    p: f64,
}

impl Kernel for GlobalLpPool {
    fn name(&self) -> &'static str {
        "GlobalLpPool"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        ensure!(input.rank() > 2 && input.kind.is_float(), "it does not fit its input");
        let ones = input.shape[2..].iter().map(|_| 1);
        Ok(vec![Fact::new(input.kind, input.shape[..2].iter().copied().chain(ones))])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let ones = input.shape()[2..].iter().map(|_| 1);
        let shape: TVec<usize> = input.shape()[..2].iter().copied().chain(ones).collect();
        let volume: usize = input.shape()[2..].iter().product();
        let values = floats(input)?;
        let one = |plane: usize| -> f64 {
            let powers = values[plane * volume..][..volume].iter().map(|value| value.abs().powf(self.p));
            powers.sum::<f64>().powf(1.0 / self.p)
        };
        let results: Vec<f64> = (0..shape.iter().product()).map(one).collect();
        Ok(vec![made(input.datum_type(), &shape, &results)?])
    }
}

/// Puts each value back to where a max-pool found it.
#[derive(Debug)]
struct MaxUnpool {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
}

impl MaxUnpool {
    fn shape(&self, input: &[usize]) -> TractResult<TVec<usize>> {
        let axes = self.kernel.len();
        ensure!(
            input.len() == axes + 2 && self.strides.len() == axes && self.pads.len() == 2 * axes,
            "it does not fit"
        );
        let mut shape: TVec<usize> = input[..2].into();
        for axis in 0..axes {
            let whole = input[axis + 2].saturating_sub(1) * self.strides[axis] + self.kernel[axis];
            let pads = self.pads[axis] + self.pads[axis + axes];
            shape.push(whole.checked_sub(pads).context("its pads are larger than its input")?);
        }
        Ok(shape)
    }
}

impl Kernel for MaxUnpool {
    fn name(&self) -> &'static str {
        "MaxUnpool"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (input, indexes) = (inputs.need(0)?, inputs.need(1)?);
        ensure!(input.shape == indexes.shape, "there is not one index for each value");
        Ok(vec![Fact::new(input.kind, self.shape(&input.shape)?)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (input, indexes) = (inputs.need(0)?, inputs.need(1)?);
        let shape = self.shape(input.shape())?;
        let mut values = vec![0.0; shape.iter().product()];
        for (value, index) in floats(input)?.into_iter().zip(wholes(indexes)?) {
            let place = usize::try_from(index).ok().and_then(|index| values.get_mut(index));
            *place.with_context(|| format!("index {index} is out of range"))? = value;
        }
        Ok(vec![made(input.datum_type(), &shape, &values)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("LpPool", |_, proto| Ok((node(LpPool::of(proto)?, proto), vec![])));
    operators.insert("GlobalLpPool", |_, proto| {
        let p = proto.get_attr_opt::<i64>("p")?.unwrap_or(2);
        ensure!(p > 0, "its p is {p}");
        Ok((node(GlobalLpPool { p: p as f64 }, proto), vec![]))
    });
    operators.insert("MaxUnpool", |_, proto| {
        let kernel = proto.get_attr_vec::<usize>("kernel_shape")?;
        let axes = kernel.len();
        let strides = proto.get_attr_opt_vec::<usize>("strides")?.unwrap_or_else(|| vec![1; axes]);
        let pads = proto.get_attr_opt_vec::<usize>("pads")?.unwrap_or_else(|| vec![0; 2 * axes]);
        Ok((node(MaxUnpool { kernel, strides, pads }, proto), vec![]))
    });
}
