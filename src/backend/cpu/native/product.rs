//! Matrix products of whole numbers, which tract has for few types and not of vectors.

use super::values::{each, place, wholes};
use super::{Built, Fact, Kernel, Places, node};
use crate::backend::cpu::kept::{displace, expansion, tracts};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;

/// MatMul of whole numbers, which wraps around in their type, and MatMulInteger with one zero point for all.
#[derive(Debug)]
struct Product {
    /// Of int32, after zero points were subtracted.
    shifted: bool,
}

/// The extents of a product: those before the matrices, and of the matrices themselves.
struct Extents {
    outer: TVec<usize>,
    rows: usize,
    inner: usize,
    columns: usize,
}

impl Extents {
    fn of(a: &[usize], b: &[usize]) -> TractResult<Self> {
        ensure!(!a.is_empty() && !b.is_empty(), "a number is no matrix");
        let (outer, rows) = if a.len() == 1 { (&[][..], 1) } else { (&a[..a.len() - 2], a[a.len() - 2]) };
        let (others, columns) = if b.len() == 1 { (&[][..], 1) } else { (&b[..b.len() - 2], b[b.len() - 1]) };
        let inner = a[a.len() - 1];
        ensure!(inner == b[b.len().saturating_sub(2)], "matrices of {a:?} and {b:?} do not fit together");
        Ok(Self { outer: multi_broadcast(&[outer, others])?, rows, inner, columns })
    }

    fn result(&self, a: &[usize], b: &[usize]) -> TVec<usize> {
        let mut shape = self.outer.clone();
        shape.extend((a.len() > 1).then_some(self.rows));
        shape.extend((b.len() > 1).then_some(self.columns));
        shape
    }
}

impl Kernel for Product {
    fn name(&self) -> &'static str {
        "Product"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (a, b) = (inputs.need(0)?, inputs.need(1)?);
        ensure!(
            a.kind.is_integer() && b.kind.is_integer(),
            "it takes whole numbers, not {:?} and {:?}",
            a.kind,
            b.kind
        );
        for zero in [2, 3].into_iter().filter_map(|place| inputs.get(place)) {
            ensure!(zero.shape.iter().product::<usize>() == 1, "of vectors it has one zero point for all");
        }
        let shape = Extents::of(&a.shape, &b.shape)?.result(&a.shape, &b.shape);
        Ok(vec![Fact::new(if self.shifted { i32::datum_type() } else { a.kind }, shape)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (a, b) = (inputs.need(0)?, inputs.need(1)?);
        let extents = Extents::of(a.shape(), b.shape())?;
        let shape = extents.result(a.shape(), b.shape());
        let kind = if self.shifted { i32::datum_type() } else { a.datum_type() };
        let values = |tensor: &TValue, zero: usize| -> TractResult<Vec<i64>> {
            let zero = match inputs.get(zero) {
                Some(zero) => *wholes(zero)?.first().context("its zero point is empty")?,
                None => 0,
            };
            Ok(wholes(tensor)?.into_iter().map(|value| value.wrapping_sub(zero)).collect())
        };
        let (left, right) = (values(a, 2)?, values(b, 3)?);
        let Extents { outer, rows, inner, columns } = extents;
        let leading = |shape: &[usize]| shape[..shape.len().saturating_sub(2)].to_vec();
        let (before, others) = (leading(a.shape()), leading(b.shape()));
        let mut results = Vec::with_capacity(shape.iter().product());
        each(&outer, |position| {
            let left = &left[place(position, &before) * rows * inner..][..rows * inner];
            let right = &right[place(position, &others) * inner * columns..][..inner * columns];
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let terms = (0..inner).map(|i| left[row * inner + i].wrapping_mul(right[i * columns + column]));
                results.push(terms.fold(0i64, i64::wrapping_add));
            }
            Ok(())
        })?;
        Ok(vec![super::reduction::wrapped(&results, kind, &shape)?])
    }
}

/// tract's product for what it takes, ours for the rest.
#[derive(Clone, Debug)]
struct ByType {
    tracts: Box<dyn Expansion>,
    ours: Box<dyn Expansion>,
    shifted: bool,
}

impl ByType {
    /// Whether tract's will do, for inputs of those ranks and types.
    fn is_tracts(&self, ranks: &[i64], kind: DatumType) -> bool {
        match self.shifted {
            true => ranks.iter().take(2).all(|rank| *rank > 1),
            false => kind.is_float() || kind == TDim::datum_type(),
        }
    }
}

impl Expansion for ByType {
    fn name(&self) -> StaticName {
        self.tracts.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        ensure!(inputs.len() >= 2, "it takes two matrices");
        solver.given(&inputs[0].datum_type, move |solver, kind| {
            solver.given_all(inputs[..2].iter().map(|input| &input.rank), move |solver, ranks| {
                match self.is_tracts(&ranks, kind) {
                    true => self.tracts.rules(solver, inputs, outputs),
                    false => self.ours.rules(solver, inputs, outputs),
                }
            })
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let facts = inputs.iter().map(|input| model.outlet_fact(*input));
        let facts = facts.collect::<TractResult<Vec<_>>>()?;
        let ranks: Vec<_> = facts.iter().map(|fact| fact.rank() as i64).collect();
        match self.is_tracts(&ranks, facts[0].datum_type) {
            true => self.tracts.wire(prefix, model, inputs),
            false => self.ours.wire(prefix, model, inputs),
        }
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    ["MatMul", "MatMulInteger"].into_iter().for_each(|name| displace(operators, name, product));
}

fn product(context: &ParsingContext, proto: &NodeProto) -> Built {
    let (operator, outputs) = tracts(context, proto)?;
    let shifted = proto.op_type == "MatMulInteger";
    let (tracts, ours) = (expansion(&*operator)?, expansion(&*node(Product { shifted }, proto))?);
    Ok((expand(ByType { tracts, ours, shifted }), outputs))
}
