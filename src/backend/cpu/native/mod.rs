//! Operators computed here whole, where tract has none or another meaning.
//!
//! They are written for being right: sums and functions in float64, one element after the other. What networks spend their
//! time in is left to tract and to `convolution`.

mod attention;
mod boxes;
mod fold;
mod indexing;
mod loss;
mod normalization;
mod padding;
mod pointwise;
mod pooling;
mod product;
mod quantization;
mod recurrent;
mod reduction;
mod signal;
mod slicing;
mod values;

pub use recurrent::activation;

use super::kept::Built;
use crate::process::memory;
use std::fmt::Debug;
use std::sync::Arc;
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
pub use values::strides;

/// What is known of a tensor before a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub kind: DatumType,
    pub shape: TVec<usize>,
    /// Its elements, where they are constant.
    pub value: Option<Arc<Tensor>>,
}

impl Fact {
    pub fn new(kind: DatumType, shape: impl IntoIterator<Item = usize>) -> Self {
        Self { kind, shape: shape.into_iter().collect(), value: None }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Its elements as whole numbers.
    pub fn numbers(&self) -> TractResult<Vec<i64>> {
        values::wholes(self.value.as_ref().context("a parameter of it is not constant")?)
    }

    fn of(fact: &TypedFact) -> TractResult<Self> {
        let shape = fact.shape.as_concrete().context("a shape that it takes depends on the data")?;
        Ok(Self { kind: plain(fact.datum_type), shape: shape.into(), value: fact.konst.clone() })
    }
}

/// tract has a type of its own for shapes, which the model has as int64.
fn plain(kind: DatumType) -> DatumType {
    if kind == TDim::datum_type() { i64::datum_type() } else { kind }
}

/// What stands in the places of a node's inputs, of which some may be left out.
pub struct Places<T>(Vec<Option<T>>);

impl<T> Places<T> {
    fn new(given: &[bool], items: impl IntoIterator<Item = T>) -> Self {
        let mut items = items.into_iter();
        Self(given.iter().map(|given| if *given { items.next() } else { None }).collect())
    }

    pub fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place)?.as_ref()
    }

    pub fn need(&self, place: usize) -> TractResult<&T> {
        self.get(place).with_context(|| format!("its input {place} is missing"))
    }
}

/// How one operator is computed.
pub trait Kernel: Debug + Send + Sync {
    fn name(&self) -> &'static str;

    /// The inputs whose elements decide about shapes or types.
    fn parameters(&self) -> &'static [usize] {
        &[]
    }

    /// All outputs that the operator can have.
    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>>;

    /// An operator of tract's that does the same to the first input, and faster.
    fn tracts(&self, _inputs: &Places<Fact>) -> TractResult<Option<Box<dyn TypedOp>>> {
        Ok(None)
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>>;
}

/// A kernel in a node: which inputs and outputs it has.
#[derive(Clone, Debug)]
struct Shell {
    kernel: Arc<dyn Kernel>,
    inputs: Vec<bool>,
    outputs: Vec<bool>,
}

impl Shell {
    fn facts(&self, inputs: impl IntoIterator<Item = Fact>) -> TractResult<TVec<Fact>> {
        let facts = self.kernel.facts(&Places::new(&self.inputs, inputs))?;
        Ok(self.wanted(facts))
    }

    /// The outputs for inputs of which some extents depend on the data: each extent of an output has to be a number, or one
    /// of those. Which, shows when others are put in their places, twice.
    fn open_facts(&self, inputs: &[TypedFact]) -> TractResult<TVec<TypedFact>> {
        const PROBES: [usize; 2] = [10_007, 20_011];
        let mut open: Vec<TDim> = Vec::new();
        for extent in inputs.iter().flat_map(|fact| fact.shape.iter()) {
            if extent.to_i64().is_err() && !open.contains(extent) {
                open.push(extent.clone());
            }
        }
        let probe = |first: usize| {
            let put = |extent: &TDim| match open.iter().position(|other| other == extent) {
                Some(place) => Ok(first + 10 * place),
                None => Ok(extent.to_usize()?),
            };
            let fact = |fact: &TypedFact| {
                let shape = fact.shape.iter().map(put).collect::<TractResult<TVec<_>>>()?;
                Ok(Fact { kind: plain(fact.datum_type), shape, value: fact.konst.clone() })
            };
            self.facts(inputs.iter().map(fact).collect::<TractResult<Vec<_>>>()?)
        };
        let [low, high] = [probe(PROBES[0])?, probe(PROBES[1])?];
        let one = |(low, high): (&Fact, &Fact)| {
            ensure!(low.rank() == high.rank(), "the rank of what it gives depends on the data");
            let extents = low.shape.iter().zip(&high.shape).map(|(low, high)| {
                if low == high {
                    return Ok(low.to_dim());
                }
                let same = |place: &usize| (PROBES[0] + 10 * place, PROBES[1] + 10 * place) == (*low, *high);
                let place = (0..open.len()).find(same).context("a shape that it gives depends on the data")?;
                Ok(open[place].clone())
            });
            Ok(low.kind.fact(extents.collect::<TractResult<TVec<_>>>()?))
        };
        low.iter().zip(&high).map(one).collect()
    }

    /// An error that [`guard`](super::guard) knows if tensors of so many elements, and what is worked out beside them, are
    /// more than there is memory for: what a kernel allocates cannot fail.
    fn require_memory<'a>(&self, shapes: impl IntoIterator<Item = &'a [usize]>) -> TractResult<()> {
        const PER_ELEMENT: usize = 40;
        let elements = |shape: &[usize]| shape.iter().try_fold(PER_ELEMENT, |all, extent| all.checked_mul(*extent));
        let bytes = shapes.into_iter().try_fold(0usize, |all, shape| all.checked_add(elements(shape)?));
        let fits = bytes.is_some_and(|bytes| memory::require(self.kernel.name(), bytes as u64).is_ok());
        match Vec::<u8>::new().try_reserve(usize::MAX) {
            Err(short) if !fits => Err(short.into()),
            _ => Ok(()),
        }
    }

    fn wanted<T>(&self, all: Vec<T>) -> TVec<T> {
        all.into_iter().zip(&self.outputs).filter(|(_, wanted)| **wanted).map(|(one, _)| one).collect()
    }
}

/// The operator of that kernel, for a node.
pub(super) fn node(kernel: impl Kernel + 'static, node: &NodeProto) -> Box<dyn InferenceOp> {
    let given = |names: &[String]| names.iter().map(|name| !name.is_empty()).collect();
    expand(Shell { kernel: Arc::new(kernel), inputs: given(&node.input), outputs: given(&node.output) })
}

impl Expansion for Shell {
    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs.iter().filter(|wanted| **wanted).count())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.inputs.iter().filter(|given| **given).count())?;
        let places: Vec<usize> = (0..self.inputs.len()).filter(|place| self.inputs[*place]).collect();
        let parameters: Vec<usize> =
            (0..places.len()).filter(|index| self.kernel.parameters().contains(&places[*index])).collect();
        solver.given_all(inputs.iter().map(|input| &input.datum_type), move |solver, types| {
            let parameters = parameters.clone();
            solver.given_all(inputs.iter().map(|input| &input.shape), move |solver, shapes| {
                let (types, again) = (types.clone(), parameters.clone());
                solver.given_all(parameters.iter().map(|index| &inputs[*index].value), move |solver, values| {
                    let mut facts = Vec::with_capacity(types.len());
                    for (kind, shape) in types.iter().zip(&shapes) {
                        let fact = kind.fact(ShapeFact::from_dims(shape.iter().cloned()));
                        facts.push(Fact::of(&fact)?);
                    }
                    for (index, value) in again.iter().zip(values) {
                        facts[*index].value = Some(value);
                    }
                    for (output, fact) in outputs.iter().zip(self.facts(facts)?) {
                        solver.equals(&output.datum_type, fact.kind)?;
                        solver.equals(&output.shape, fact.shape.iter().map(|n| n.to_dim()).collect::<TVec<_>>())?;
                    }
                    Ok(())
                })
            })
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut wires: TVec<OutletId> = inputs.into();
        let mut facts = Vec::with_capacity(wires.len());
        for (index, wire) in wires.iter_mut().enumerate() {
            facts.push(model.outlet_fact(*wire)?.clone());
            if model.outlet_fact(*wire)?.datum_type == TDim::datum_type() {
                *wire = model.wire_node(format!("{prefix}.number{index}"), cast(i64::datum_type()), &[*wire])?[0];
            }
        }
        if facts.iter().any(|fact| fact.shape.as_concrete().is_none()) {
            let outputs = self.open_facts(&facts)?;
            return model.wire_node(prefix, Native { shell: self.clone(), outputs }, &wires);
        }
        let facts = facts.iter().map(Fact::of).collect::<TractResult<Vec<_>>>()?;
        if let Some(operator) = self.kernel.tracts(&Places::new(&self.inputs, facts.iter().cloned()))? {
            return model.wire_node(prefix, operator, &wires[..1]);
        }
        let outputs = self.facts(facts)?;
        self.require_memory(outputs.iter().map(|fact| &fact.shape[..]))?;
        let outputs = outputs.iter().map(|fact| fact.kind.fact(&*fact.shape)).collect();
        model.wire_node(prefix, Native { shell: self.clone(), outputs }, &wires)
    }
}

/// A kernel in a graph that has its types.
#[derive(Clone, Debug)]
struct Native {
    shell: Shell,
    outputs: TVec<TypedFact>,
}

impl PartialEq for Native {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shell.kernel, &other.shell.kernel) && self.outputs == other.outputs
    }
}

impl Eq for Native {}

impl Op for Native {
    fn name(&self) -> StaticName {
        self.shell.kernel.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Native {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let outputs = self.outputs.iter().filter_map(|fact| fact.shape.as_concrete());
        let shapes = inputs.iter().map(|input| input.shape()).chain(outputs);
        self.shell.require_memory(shapes)?;
        let results = self.shell.kernel.eval(&Places::new(&self.shell.inputs, inputs))?;
        Ok(self.shell.wanted(results).into_iter().map(IntoTValue::into_tvalue).collect())
    }
}

impl TypedOp for Native {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.outputs.clone())
    }

    as_op!();
}

/// Whether a node is computed by one of them.
pub fn is(node: &TypedNode) -> bool {
    node.op_is::<Native>()
}

/// Puts them into the places of what tract has.
pub fn register(operators: &mut OnnxOpRegister) {
    attention::register(operators);
    boxes::register(operators);
    fold::register(operators);
    indexing::register(operators);
    loss::register(operators);
    normalization::register(operators);
    padding::register(operators);
    pointwise::register(operators);
    pooling::register(operators);
    product::register(operators);
    quantization::register(operators);
    recurrent::register(operators);
    reduction::register(operators);
    signal::register(operators);
    slicing::register(operators);
}
