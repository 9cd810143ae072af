//! Reductions of float64, of whole numbers and of nothing. Those of float32 are `numeric`'s.

use super::values::{axis, floats, made, place, truths, wholes};
use super::{Built, Fact, Kernel, Places, node, values::each};
use crate::backend::cpu::kept::{Rewrite, displace, expansion, rewritten};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

#[derive(Debug)]
struct Reduce {
    kind: Kind,
    /// As older operator sets have them.
    axes: Option<Vec<i64>>,
    keep: bool,
    noop: bool,
}

impl Reduce {
    /// Which axes are reduced; `None` where the input is the output.
    fn axes(&self, given: Option<Vec<i64>>, rank: usize) -> TractResult<Option<Vec<bool>>> {
        let axes = self.axes.clone().or(given).unwrap_or_default();
        if axes.is_empty() {
            return Ok((!self.noop).then(|| vec![true; rank]));
        }
        let mut reduced = vec![false; rank];
        for number in axes {
            reduced[axis(number, rank)?] = true;
        }
        Ok(Some(reduced))
    }

    fn float(&self, values: &[f64]) -> f64 {
        let largest = || values.iter().fold(f64::NEG_INFINITY, |a, b| if a >= *b || a.is_nan() { a } else { *b });
        match self.kind {
            Kind::L1 => values.iter().map(|value| value.abs()).sum(),
            Kind::L2 => values.iter().map(|value| value * value).sum::<f64>().sqrt(),
            Kind::LogSum => values.iter().sum::<f64>().ln(),
            Kind::LogSumExp => match largest() {
                infinite if !infinite.is_finite() => infinite,
                largest => largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln(),
            },
            Kind::Max => largest(),
            Kind::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Kind::Min => values.iter().fold(f64::INFINITY, |a, b| if a <= *b || a.is_nan() { a } else { *b }),
            Kind::Prod => values.iter().product(),
            Kind::Sum => values.iter().sum(),
            Kind::SumSquare => values.iter().map(|value| value * value).sum(),
        }
    }

    /// Whole numbers wrap around in their type.
    fn whole(&self, values: &[i64], least: i64, most: i64) -> TractResult<i64> {
        let sum = |each: fn(i64) -> i64| values.iter().fold(0i64, |sum, value| sum.wrapping_add(each(*value)));
        Ok(match self.kind {
            Kind::L1 => sum(i64::wrapping_abs),
            Kind::Max => values.iter().copied().max().unwrap_or(least),
            Kind::Mean => {
                let total: i128 = values.iter().map(|value| i128::from(*value)).sum();
                total.checked_div(values.len() as i128).context("the mean of nothing is no whole number")? as i64
            }
            Kind::Min => values.iter().copied().min().unwrap_or(most),
            Kind::Prod => values.iter().fold(1i64, |product, value| product.wrapping_mul(*value)),
            Kind::Sum => sum(|value| value),
            Kind::SumSquare => sum(|value| value.wrapping_mul(value)),
            Kind::L2 | Kind::LogSum | Kind::LogSumExp => bail!("a root or a logarithm is no whole number"),
        })
    }
}

/// The least and the largest number of a type.
fn range(kind: DatumType) -> (i64, i64) {
    match kind {
        DatumType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DatumType::U8 => (0, u8::MAX.into()),
        DatumType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DatumType::U16 => (0, u16::MAX.into()),
        DatumType::I32 => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

/// The bits of a number that a type holds.
pub(super) fn wrapped(values: &[i64], kind: DatumType, shape: &[usize]) -> TractResult<Tensor> {
    let cut: Vec<i64> = match kind {
        DatumType::I8 => values.iter().map(|value| i64::from(*value as i8)).collect(),
        DatumType::U8 => values.iter().map(|value| i64::from(*value as u8)).collect(),
        DatumType::I16 => values.iter().map(|value| i64::from(*value as i16)).collect(),
        DatumType::U16 => values.iter().map(|value| i64::from(*value as u16)).collect(),
        DatumType::I32 => values.iter().map(|value| i64::from(*value as i32)).collect(),
        _ => values.to_vec(),
    };
    made(kind, shape, &cut)
}

impl Kernel for Reduce {
    fn name(&self) -> &'static str {
        "Reduce"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        let given = inputs.get(1).map(Fact::numbers).transpose()?;
        let known = match input.kind {
            DatumType::Bool => matches!(self.kind, Kind::Max | Kind::Min),
            kind if kind.is_float() => true,
            DatumType::I8 | DatumType::U8 | DatumType::I16 | DatumType::U16 | DatumType::I32 | DatumType::I64 => {
                !matches!(self.kind, Kind::L2 | Kind::LogSum | Kind::LogSumExp)
            }
            _ => false,
        };
        ensure!(known, "the CPU engine does not compute {:?} of {:?}", self.kind, input.kind);
        let Some(reduced) = self.axes(given, input.rank())? else {
            return Ok(vec![Fact::new(input.kind, input.shape.iter().copied())]);
        };
        let shape = input.shape.iter().zip(reduced);
        let shape = shape.filter(|(_, reduced)| !reduced || self.keep).map(|(n, reduced)| if reduced { 1 } else { *n });
        Ok(vec![Fact::new(input.kind, shape)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let given = inputs.get(1).map(|axes| wholes(axes)).transpose()?;
        let kind = input.datum_type();
        // What is not reduced is reduced one by one, along no axis: L1 of one number is not the number.
        let reduced = self.axes(given, input.rank())?.unwrap_or_else(|| vec![false; input.rank()]);
        let shape: TVec<usize> =
            input.shape().iter().zip(&reduced).map(|(n, reduced)| if *reduced { 1 } else { *n }).collect();
        let inner: TVec<usize> =
            input.shape().iter().zip(&reduced).map(|(n, reduced)| if *reduced { *n } else { 1 }).collect();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        each(&shape, |kept| {
            let mut row = Vec::new();
            each(&inner, |within| {
                let position: TVec<usize> = kept.iter().zip(within).map(|(a, b)| a + b).collect();
                row.push(place(&position, input.shape()));
                Ok(())
            })?;
            rows.push(row);
            Ok(())
        })?;
        let result: TVec<usize> =
            shape.iter().zip(&reduced).filter(|(_, reduced)| !**reduced || self.keep).map(|(n, _)| *n).collect();
        let output = if kind == bool::datum_type() {
            let values = truths(input)?;
            let any = self.kind == Kind::Max;
            let one = |row: &Vec<usize>| match any {
                true => row.iter().any(|at| values[*at]),
                false => row.iter().all(|at| values[*at]),
            };
            made(kind, &result, &rows.iter().map(one).collect::<Vec<bool>>())?
        } else if kind.is_float() {
            let values = floats(input)?;
            let one = |row: &Vec<usize>| self.float(&row.iter().map(|at| values[*at]).collect::<Vec<_>>());
            made(kind, &result, &rows.iter().map(one).collect::<Vec<f64>>())?
        } else {
            let values = wholes(input)?;
            let (least, most) = range(kind);
            let one = |row: &Vec<usize>| self.whole(&row.iter().map(|at| values[*at]).collect::<Vec<_>>(), least, most);
            wrapped(&rows.iter().map(one).collect::<TractResult<Vec<_>>>()?, kind, &result)?
        };
        Ok(vec![output])
    }
}

/// tract's reduction, which `numeric` mends, for float32 and for what shapes are computed with; ours for the rest.
#[derive(Clone, Debug)]
struct ByType {
    ours: Box<dyn Expansion>,
}

impl Rewrite for ByType {
    fn wire(
        &self,
        tracts: &dyn Expansion,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        let plain = matches!(fact.datum_type, DatumType::F32 | DatumType::TDim);
        match plain && fact.shape.volume() != 0.to_dim() {
            true => tracts.wire(prefix, model, inputs),
            false => self.ours.wire(prefix, model, inputs),
        }
    }
}

/// Whose places ours take.
const REDUCTIONS: &[(&str, Kind)] = &[
    ("ReduceL1", Kind::L1),
    ("ReduceL2", Kind::L2),
    ("ReduceLogSum", Kind::LogSum),
    ("ReduceLogSumExp", Kind::LogSumExp),
    ("ReduceMax", Kind::Max),
    ("ReduceMean", Kind::Mean),
    ("ReduceMin", Kind::Min),
    ("ReduceProd", Kind::Prod),
    ("ReduceSum", Kind::Sum),
    ("ReduceSumSquare", Kind::SumSquare),
];

pub fn register(operators: &mut OnnxOpRegister) {
    REDUCTIONS.iter().for_each(|(name, _)| displace(operators, name, reduce));
}

fn reduce(context: &ParsingContext, proto: &NodeProto) -> Built {
    let Some((_, kind)) = REDUCTIONS.iter().find(|(name, _)| *name == proto.op_type) else { bail!("no reduction") };
    let flag = |name, default| TractResult::Ok(proto.get_attr_opt::<i64>(name)?.unwrap_or(default) != 0);
    let ours = Reduce {
        kind: *kind,
        axes: proto.get_attr_opt_vec("axes")?,
        keep: flag("keepdims", 1)?,
        noop: flag("noop_with_empty_axes", 0)?,
    };
    rewritten(context, proto, ByType { ours: expansion(&*node(ours, proto))? })
}
