//! Pad, which may cut as well, along any axes, in all its modes.

use super::values::{Moved, axis, each, strides, wholes};
use super::{Fact, Kernel, Places, node};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Pad as TractsPad, PadMode};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

#[derive(Debug)]
struct Pad {
    mode: Mode,
    /// As older operator sets have them.
    pads: Option<Vec<i64>>,
    value: f32,
}

impl Pad {
    /// How much is added before and after each axis of so many.
    fn pads(&self, given: Option<Vec<i64>>, axes: Option<Vec<i64>>, rank: usize) -> TractResult<Vec<(i64, i64)>> {
        const MOST: i64 = 1 << 40;
        let given = self.pads.clone().or(given).context("it has no pads")?;
        ensure!(given.iter().all(|pad| pad.abs() < MOST), "its pads are {given:?}");
        let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
        ensure!(given.len() == 2 * axes.len(), "there are {} pads for {} axes", given.len(), axes.len());
        let mut pads = vec![(0, 0); rank];
        for (index, number) in axes.iter().enumerate() {
            pads[axis(*number, rank)?] = (given[index], given[index + axes.len()]);
        }
        Ok(pads)
    }

    fn known(&self, inputs: &Places<Fact>) -> TractResult<Vec<(i64, i64)>> {
        let numbers = |place| inputs.get(place).map(Fact::numbers).transpose();
        self.pads(numbers(1)?, numbers(3)?, inputs.need(0)?.rank())
    }

    /// The element of an axis, of which only a part is left, that stands at a place before, in or behind it.
    fn source(&self, at: i64, extent: i64) -> Option<i64> {
        match self.mode {
            _ if (0..extent).contains(&at) => Some(at),
            Mode::Constant => None,
            Mode::Edge => Some(at.clamp(0, extent - 1)),
            Mode::Wrap => Some(at.rem_euclid(extent)),
            Mode::Reflect if extent == 1 => Some(0),
            Mode::Reflect => {
                let at = at.rem_euclid(2 * (extent - 1));
                Some(at.min(2 * (extent - 1) - at))
            }
        }
    }
}

impl Kernel for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1, 3]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        let mut shape = TVec::new();
        for (extent, (before, after)) in input.shape.iter().zip(self.known(inputs)?) {
            let (extent, kept) = (*extent as i64, *extent as i64 + before.min(0) + after.min(0));
            ensure!(kept >= 0, "pads of {before} and {after} cut more than {extent}");
            ensure!(kept > 0 || self.mode == Mode::Constant || before.max(after) <= 0, "there is nothing to pad with");
            shape.push((extent + before + after) as usize);
        }
        if let Some(value) = inputs.get(2) {
            ensure!(value.shape.iter().product::<usize>() == 1, "it pads with {} values", value.shape.len());
            ensure!(value.kind == input.kind, "it pads {:?} with {:?}", input.kind, value.kind);
        }
        Ok(vec![Fact::new(input.kind, shape)])
    }

    fn tracts(&self, inputs: &Places<Fact>) -> TractResult<Option<Box<dyn TypedOp>>> {
        let input = inputs.need(0)?;
        let mode = match self.mode {
            Mode::Constant => match inputs.get(2).map(|value| value.value.clone()) {
                None => PadMode::Constant(rctensor0(self.value)),
                Some(Some(value)) => {
                    PadMode::Constant(value.cast_to_dt(input.kind)?.into_owned().into_shape(&[])?.into())
                }
                Some(None) => return Ok(None),
            },
            Mode::Edge => PadMode::Edge,
            Mode::Reflect => PadMode::Reflect,
            Mode::Wrap => return Ok(None),
        };
        let pads = self.known(inputs)?;
        let reaches = |(extent, (before, after)): (&usize, &(i64, i64))| {
            let most = if self.mode == Mode::Reflect { *extent as i64 - 1 } else { i64::MAX };
            (0..=most).contains(before) && (0..=most).contains(after)
        };
        let plain =
            input.kind == f32::datum_type() && !input.shape.contains(&0) && input.shape.iter().zip(&pads).all(reaches);
        let pads = pads.into_iter().map(|(before, after)| (before as usize, after as usize)).collect();
        Ok(plain.then(|| Box::new(TractsPad::new(pads, mode)) as _))
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let numbers = |place| inputs.get(place).map(|value| wholes(value)).transpose();
        let pads = self.pads(numbers(1)?, numbers(3)?, input.rank())?;
        let shape: TVec<usize> =
            input.shape().iter().zip(&pads).map(|(n, (before, after))| (*n as i64 + before + after) as usize).collect();
        let value = match inputs.get(2) {
            Some(value) => value.clone().into_tensor(),
            None => tensor0(self.value).cast_to_dt(input.datum_type())?.into_owned(),
        };
        let (moved, filling) = (Moved::of(input)?, Moved::of(&value)?);
        let strides = strides(input.shape());
        let mut output = Tensor::zero_dt(input.datum_type(), &shape)?;
        let bytes = output.as_bytes_mut();
        let mut to = 0;
        each(&shape, |position| {
            let mut from = Some(0);
            for (axis, at) in position.iter().enumerate() {
                let (before, after) = pads[axis];
                let kept = input.shape()[axis] as i64 + before.min(0) + after.min(0);
                let source = self.source(*at as i64 - before.max(0), kept);
                let along = source.map(|source| (source - before.min(0)) as usize * strides[axis]);
                from = from.and_then(|from| Some(from + along?));
            }
            match from {
                Some(from) => moved.copy(from, 1, bytes, to),
                None => filling.copy(0, 1, bytes, to),
            }
            to += 1;
            Ok(())
        })?;
        Ok(vec![output])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("Pad", |_, proto| {
        let mode = match proto.get_attr_opt::<&str>("mode")? {
            None | Some("constant") => Mode::Constant,
            Some("edge") => Mode::Edge,
            Some("reflect") => Mode::Reflect,
            Some("wrap") => Mode::Wrap,
            Some(other) => bail!("its mode is {other:?}"),
        };
        let value = proto.get_attr_opt::<f32>("value")?.unwrap_or(0.0);
        let pads = proto.get_attr_opt_vec::<i64>("pads")?;
        Ok((node(Pad { mode, pads, value }, proto), vec![]))
    });
}
