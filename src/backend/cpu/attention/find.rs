//! Finds attention in a graph: a softmax over the last axis, before it a product of two matrices, after it another.

use super::{Added, Attention, Change, Matrices};
use crate::backend::cpu::native::strides;
use crate::process::memory;
use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::change_axes::perm_to_ops;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math::{Add, Mul};
use tract_onnx::tract_hir::tract_core::ops::nn::{Softmax, SoftmaxKind};

/// Puts [`Attention`] in the place of what computes it, in a graph that is decluttered.
pub fn replace(graph: &mut TypedModel) -> TractResult<()> {
    let mut known = Constants::default();
    for id in graph.eval_order()? {
        let Some(found) = Found::around(graph, id, &mut known)? else { continue };
        let node = graph.node(found.last);
        let mut patch = TypedModelPatch::default();
        let mut taps = tvec![];
        for (number, input) in found.inputs.into_iter().enumerate() {
            taps.push(match input {
                Input::Outlet(outlet) => patch.tap_model(graph, outlet)?,
                Input::Constant(tensor) => patch.add_const(format!("{}.constant{number}", node.name), tensor)?,
            });
        }
        let mut output = patch.wire_node(&node.name, found.operator, &taps)?;
        for (number, axes) in perm_to_ops(&found.order).into_iter().enumerate() {
            output = patch.wire_node(format!("{}.axes{number}", node.name), axes, &output)?;
        }
        patch.shunt_outside(graph, OutletId::new(found.last, 0), output[0])?;
        patch.apply(graph)?;
    }
    graph.compact()
}

enum Input {
    Outlet(OutletId),
    Constant(Arc<Tensor>),
}

struct Found {
    operator: Attention,
    inputs: Vec<Input>,
    /// The node whose place it takes, and which axis of the operator's each of its axes is.
    last: usize,
    order: Vec<usize>,
}

impl Found {
    /// The attention with that softmax.
    fn around(graph: &TypedModel, id: usize, known: &mut Constants) -> TractResult<Option<Self>> {
        let softmax = graph.node(id);
        let Some(op) = softmax.op_as::<Softmax>() else { return Ok(None) };
        let Some(shape) = shape(graph, id.into())? else { return Ok(None) };
        let rank = shape.len();
        if op.kind != SoftmaxKind::Softmax || op.quant_output_dt.is_some() || rank < 2 || op.axes[..] != [rank - 1] {
            return Ok(None);
        }
        let Some(mut scores) = Scores::of(graph, softmax.inputs[0], id, DEEPEST)? else { return Ok(None) };
        let Some(results) = Results::of(graph, id, DEEPEST)? else { return Ok(None) };
        let (rows, key_count) = (shape[rank - 2], shape[rank - 1]);
        let mut inputs: Vec<_> = scores.inputs.into_iter().chain([results.input]).map(Input::Outlet).collect();
        let mut added = scores.added.into_iter();
        for change in &mut scores.changes {
            if let Change::Add(places) = change
                && let Some(outlet) = added.next()
            {
                let is_constant = graph.outlet_fact(outlet)?.konst.is_some();
                let distinct = match known.get(graph, outlet)? {
                    Some(tensor) => distinct(&tensor, places, rows, key_count)?,
                    None => None,
                };
                inputs.push(match distinct {
                    Some((tensor, starts)) if is_constant || tensor.len() <= LARGE => {
                        places.starts = starts;
                        Input::Constant(tensor)
                    }
                    _ => Input::Outlet(outlet),
                });
            }
        }
        let operator = Attention {
            queries: scores.queries,
            keys: scores.keys,
            values: results.values,
            changes: scores.changes,
            outer: results.outer,
            rows,
            inner: scores.inner,
            key_count,
            width: results.width,
        };
        Ok(Some(Self { operator, inputs, last: results.last, order: results.order }))
    }
}

/// What nodes give that are computed from constants alone, as the masks of shifted windows are: tract leaves those to each run
/// that are large.
#[derive(Default)]
struct Constants(HashMap<usize, Option<TVec<TValue>>>);

/// Nodes that are looked at one behind the other, for constants and between the products: a graph may have thousands.
const DEEPEST: usize = 32;

/// Elements that are not kept where a run computes them.
const LARGE: usize = 16 << 20;

impl Constants {
    fn get(&mut self, graph: &TypedModel, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
        if let Some(tensor) = &graph.outlet_fact(outlet)?.konst {
            return Ok(Some(tensor.clone()));
        }
        let tensor = self.of(graph, outlet, DEEPEST)?;
        // What lies between may be large.
        self.0.retain(|id, _| *id == outlet.node);
        Ok(tensor)
    }

    fn of(&mut self, graph: &TypedModel, outlet: OutletId, depth: usize) -> TractResult<Option<Arc<Tensor>>> {
        if let Some(tensor) = &graph.outlet_fact(outlet)?.konst {
            return Ok(Some(tensor.clone()));
        }
        if !self.0.contains_key(&outlet.node) {
            let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
            let outputs = self.compute(graph, graph.node(outlet.node), depth)?;
            self.0.insert(outlet.node, outputs);
        }
        let outputs = self.0.get(&outlet.node).and_then(Option::as_ref);
        Ok(outputs.and_then(|outputs| outputs.get(outlet.slot)).map(|value| value.clone().into_arc_tensor()))
    }

    fn compute(&mut self, graph: &TypedModel, node: &TypedNode, depth: usize) -> TractResult<Option<TVec<TValue>>> {
        if node.inputs.is_empty() {
            return Ok(None);
        }
        let mut inputs = tvec![];
        for input in &node.inputs {
            let Some(tensor) = self.of(graph, *input, depth)? else { return Ok(None) };
            inputs.push(tensor.into_tvalue());
        }
        let sizes = node.outputs.iter().map(|output| output.fact.mem_size().to_i64().unwrap_or(i64::MAX) as u64);
        if memory::require("a constant", sizes.fold(0, u64::saturating_add)).is_err() {
            return Ok(None);
        }
        // What fails at a run is told then.
        Ok(node.op.eval_out_of_plan(inputs).ok().flatten())
    }
}

/// Of a tensor that is added to scores each of its matrices once, and where they are then. Of the windows that a volume is cut
/// into almost all have the same mask.
fn distinct(
    tensor: &Tensor,
    places: &Added,
    rows: usize,
    columns: usize,
) -> TractResult<Option<(Arc<Tensor>, Vec<usize>)>> {
    if places.columns != 1 || places.rows != columns || !tensor.has_plain_ram_storage() {
        return Ok(None);
    }
    let plain = tensor.try_as_plain_ram()?;
    let (values, size) = (plain.as_slice::<f32>()?, rows * columns);
    let (mut of_matrix, mut of_start) = (HashMap::new(), HashMap::new());
    let mut kept = Vec::new();
    let mut place = |start: usize| {
        *of_start.entry(start).or_insert_with(|| {
            let matrix = &values[start..][..size];
            let bits: Vec<u32> = matrix.iter().map(|value| value.to_bits()).collect();
            *of_matrix.entry(bits).or_insert_with(|| {
                kept.extend_from_slice(matrix);
                kept.len() - size
            })
        })
    };
    let starts = places.starts.iter().map(|start| place(*start)).collect();
    Ok(Some((Tensor::from_shape(&[kept.len() / size, rows, columns], &kept)?.into_arc_tensor(), starts)))
}

/// The extents of a float32 tensor.
fn shape(graph: &TypedModel, outlet: OutletId) -> TractResult<Option<TVec<usize>>> {
    let fact = graph.outlet_fact(outlet)?;
    let concrete = fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type() && fact.is_plain());
    Ok(concrete.map(Into::into))
}

/// Whether nothing but that node reads an outlet.
fn is_read_by(graph: &TypedModel, outlet: OutletId, node: usize) -> TractResult<bool> {
    let readers = graph.outlet_successors(outlet);
    Ok(matches!(readers, [reader] if reader.node == node) && !graph.output_outlets()?.contains(&outlet))
}

/// Whether it leaves the elements of a tensor of that rank where they are, and its last two axes alone.
fn is_outer(op: &AxisOp, rank: usize) -> bool {
    match op {
        AxisOp::Add(at) => at + 2 <= rank,
        AxisOp::Rm(at) => at + 3 <= rank,
        AxisOp::Reshape(at, from, _) => at + from.len() + 2 <= rank,
        AxisOp::Move(..) => false,
    }
}

/// A product of two matrices of float32, whichever comes first.
fn product(node: &TypedNode) -> Option<&EinSum> {
    let op = node.op_as::<EinSum>()?;
    let one = |places: &TVec<TVec<usize>>| places.iter().all(|places| places.len() <= 1);
    let plain = op.q_params.is_none() && op.operating_dt == f32::datum_type() && node.inputs.len() == 2;
    (plain && op.axes.iter_all_axes().all(|axis| one(&axis.inputs) && one(&axis.outputs))).then_some(op)
}

/// What is in front of a softmax.
struct Scores {
    inputs: [OutletId; 2],
    queries: Matrices,
    keys: Matrices,
    inner: usize,
    changes: Vec<Change>,
    added: Vec<OutletId>,
}

impl Scores {
    fn of(graph: &TypedModel, outlet: OutletId, reader: usize, depth: usize) -> TractResult<Option<Self>> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        let node = graph.node(outlet.node);
        let Some(of) = shape(graph, outlet)? else { return Ok(None) };
        let rank = of.len();
        if rank < 2 || !is_read_by(graph, outlet, reader)? {
            return Ok(None);
        }
        if product(node).is_some() {
            return Self::product(graph, node, &of);
        }
        if let Some(op) = node.op_as::<AxisOp>() {
            let before = graph.outlet_fact(node.inputs[0])?.rank();
            return if is_outer(op, before) { Self::of(graph, node.inputs[0], node.id, depth) } else { Ok(None) };
        }
        let Some(op) = node.op_as::<TypedBinOp>().filter(|op| op.1.is_none()) else { return Ok(None) };
        for (first, second) in [(0, 1), (1, 0)] {
            let (inner, other) = (node.inputs[first], node.inputs[second]);
            if shape(graph, inner)?.as_ref() != Some(&of) {
                continue;
            }
            let Some(other_shape) = shape(graph, other)? else { continue };
            let change = if op.0.is::<Mul>() {
                let number = graph.outlet_fact(other)?.konst.as_ref().filter(|konst| konst.len() == 1);
                let Some(number) = number.filter(|konst| konst.has_plain_ram_storage()) else { continue };
                Change::Scale(number.try_as_plain_ram()?.as_slice::<f32>()?[0].to_bits())
            } else if op.0.is::<Add>() && other_shape.len() == rank {
                let strides = iter::zip(strides(&other_shape), &other_shape);
                let strides: Vec<_> = strides.map(|(stride, extent)| if *extent == 1 { 0 } else { stride }).collect();
                let outer: Vec<_> = of.iter().copied().zip(strides.iter().copied()).take(rank - 2).collect();
                let count: usize = of[..rank - 2].iter().product();
                let (rows, columns) = (strides[rank - 2], strides[rank - 1]);
                let matrices = Matrices { outer, rows, columns };
                Change::Add(Added { starts: (0..count).map(|number| matrices.start(number)).collect(), rows, columns })
            } else {
                continue;
            };
            let Some(mut scores) = Self::of(graph, inner, node.id, depth)? else { continue };
            if matches!(change, Change::Add(_)) {
                scores.added.push(other);
            }
            scores.changes.push(change);
            return Ok(Some(scores));
        }
        Ok(None)
    }

    /// Queries and keys: one axis is summed over, one of the last two axes is the first's alone and the other the second's.
    fn product(graph: &TypedModel, node: &TypedNode, of: &[usize]) -> TractResult<Option<Self>> {
        let Some(op) = product(node) else { return Ok(None) };
        let rank = of.len();
        let (Some(a), Some(b)) = (shape(graph, node.inputs[0])?, shape(graph, node.inputs[1])?) else {
            return Ok(None);
        };
        let (shapes, strides) = ([&a, &b], [strides(&a), strides(&b)]);
        // For each axis of the scores how far it is along it in each input.
        let mut steps = vec![[None; 2]; rank];
        let mut summed = Vec::new();
        for axis in op.axes.iter_all_axes() {
            let places = [0, 1].map(|input: usize| axis.inputs[input].first().copied());
            let step = |input: usize| places[input].map(|at| strides[input][at]);
            let extents = [0, 1].map(|input: usize| places[input].map(|at| shapes[input][at]));
            match axis.outputs[0][..] {
                // An axis of one element, which tract leaves out of the scores.
                [] if extents.iter().flatten().all(|extent| *extent == 1) => {}
                [at] if extents.iter().flatten().all(|extent| *extent == of[at]) => steps[at] = [step(0), step(1)],
                [] if extents[0] == extents[1] => summed.push((step(0), step(1), extents[0])),
                _ => return Ok(None),
            }
        }
        let [(Some(of_a), Some(of_b), Some(inner))] = summed[..] else { return Ok(None) };
        let first = match (steps[rank - 2], steps[rank - 1]) {
            ([Some(_), None], [None, Some(_)]) => 0,
            ([None, Some(_)], [Some(_), None]) => 1,
            _ => return Ok(None),
        };
        let second = 1 - first;
        let outer = |input: usize| (0..rank - 2).map(|axis| (of[axis], steps[axis][input].unwrap_or(0))).collect();
        let (Some(row), Some(key)) = (steps[rank - 2][first], steps[rank - 1][second]) else { return Ok(None) };
        let inners = [of_a, of_b];
        Ok(Some(Self {
            inputs: [node.inputs[first], node.inputs[second]],
            queries: Matrices { outer: outer(first), rows: row, columns: inners[first] },
            keys: Matrices { outer: outer(second), rows: inners[second], columns: key },
            inner,
            changes: Vec::new(),
            added: Vec::new(),
        }))
    }
}

/// What is behind a softmax.
struct Results {
    input: OutletId,
    values: Matrices,
    outer: Vec<usize>,
    width: usize,
    last: usize,
    order: Vec<usize>,
}

impl Results {
    fn of(graph: &TypedModel, id: usize, depth: usize) -> TractResult<Option<Self>> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        let outlet = OutletId::new(id, 0);
        let [next] = graph.outlet_successors(outlet) else { return Ok(None) };
        let next = *next;
        if !is_read_by(graph, outlet, next.node)? {
            return Ok(None);
        }
        let node = graph.node(next.node);
        let Some(of) = shape(graph, outlet)? else { return Ok(None) };
        if let Some(op) = node.op_as::<AxisOp>() {
            return if is_outer(op, of.len()) { Self::of(graph, node.id, depth) } else { Ok(None) };
        }
        let Some(op) = product(node) else { return Ok(None) };
        let other = 1 - next.slot;
        let Some(value_shape) = shape(graph, node.inputs[other])? else { return Ok(None) };
        let (rank, strides) = (of.len(), strides(&value_shape));
        let mut steps = vec![0; rank - 2];
        let (mut key, mut row, mut column, mut width) = (None, None, None, 0);
        // Which axis of the product an axis of the scores becomes, and which are of one element that none of them had.
        let (mut kept, mut others) = (Vec::new(), Vec::new());
        for axis in op.axes.iter_all_axes() {
            let score = axis.inputs[next.slot].first().copied();
            let value = axis.inputs[other].first().copied();
            let to = axis.outputs[0].first().copied();
            let extents = [score.map(|at| of[at]), value.map(|at| value_shape[at])];
            if let [Some(a), Some(b)] = extents
                && a != b
            {
                return Ok(None);
            }
            match (score, value, to) {
                (Some(at), Some(value), None) if at == rank - 1 && key.is_none() => key = Some(strides[value]),
                (Some(at), None, Some(to)) if at == rank - 2 => row = Some(to),
                (Some(at), value, Some(to)) if at < rank - 2 => {
                    steps[at] = value.map_or(0, |value| strides[value]);
                    kept.push((at, to));
                }
                (Some(at), _, None) if at < rank - 2 && of[at] == 1 => {}
                (None, Some(value), Some(to)) if column.is_none() && value_shape[value] > 1 => {
                    column = Some((strides[value], to));
                    width = value_shape[value];
                }
                (None, Some(value), None) if value_shape[value] == 1 => {}
                (None, value, Some(to)) if value.is_none_or(|value| value_shape[value] == 1) => others.push(to),
                _ => return Ok(None),
            }
        }
        let (Some(rows), Some(row), Some((columns, column))) = (key, row, column) else { return Ok(None) };
        kept.sort_unstable();
        let outer: Vec<_> = kept.iter().map(|(at, _)| of[*at]).chain(others.iter().map(|_| 1)).collect();
        let to = kept.iter().map(|(_, to)| *to).chain(others).chain([row, column]);
        let mut order = vec![usize::MAX; outer.len() + 2];
        for (axis, to) in to.enumerate() {
            match order.get_mut(to) {
                Some(place) => *place = axis,
                None => return Ok(None),
            }
        }
        if order.contains(&usize::MAX) {
            return Ok(None);
        }
        Ok(Some(Self {
            input: node.inputs[other],
            values: Matrices { outer: iter::zip(of[..rank - 2].iter().copied(), steps).collect(), rows, columns },
            outer,
            width,
            last: node.id,
            order,
        }))
    }
}
