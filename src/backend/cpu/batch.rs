//! Whether the items of a batch are independent of one another, worked out from the graph.
//!
//! ONNX has no word for a batch. Here a leading extent that the model leaves open is followed from every input through
//! every operator to every output: where each step gives to an item only what is that item's, items can be run one by
//! one. Whatever is not understood counts as mixing items, so that the model runs as a whole, which is always right.

use super::node::{Constants, Node};
use std::collections::HashMap;
use tract_onnx::pb::GraphProto;

/// What is known of a tensor.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// The same in whatever batch, with its extents as far as they are known.
    Fixed(Option<Vec<Option<i64>>>),
    /// Whole numbers that shapes are computed with: a scalar or a list.
    Numbers { scalar: bool, numbers: Vec<Number> },
    /// As many equal parts along `axis` as there are items, each of one item alone. `single` if each part has one
    /// element along the axis, for certain.
    Items { axis: usize, rank: usize, single: bool },
    /// Anything else.
    Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Known(i64),
    /// The same in whatever batch.
    Free,
    /// The number of items, times something that is the same in whatever batch.
    Batch(Option<i64>),
    Mixed,
}

use Number::{Batch, Free, Known};
use Value::{Fixed, Items, Mixed, Numbers};

/// Whether items are independent in a graph whose inputs, of these ranks, all have the batch first. If not, why.
pub fn check(graph: &GraphProto, inputs: &[(&str, usize)], opset: i64) -> Result<(), String> {
    let constants = Constants::of(graph);
    let mut walk = Walk { values: HashMap::new(), constants: &constants, opset };
    for tensor in &graph.initializer {
        walk.values.insert(&tensor.name, walk.constant(&tensor.name));
    }
    for (name, rank) in inputs {
        if *rank == 0 {
            return Err(format!("input \"{name}\" has no axis"));
        }
        walk.values.insert(name, Items { axis: 0, rank: *rank, single: true });
    }
    let mut mixes = HashMap::new();
    for proto in &graph.node {
        let node = Node::new(proto, &constants, opset);
        let mut results = walk.results(&node);
        results.resize(proto.output.len(), Mixed);
        for (name, value) in proto.output.iter().zip(results) {
            if value == Mixed {
                // The first node on the way is the one to tell of.
                let before = proto.input.iter().find_map(|input| mixes.get(input.as_str()).cloned());
                mixes.insert(name.as_str(), before.unwrap_or_else(|| node.title()));
            }
            walk.values.insert(name, value);
        }
    }
    for output in &graph.output {
        let name = output.name.as_str();
        match walk.values.get(name) {
            // Whether a part is one element long is seen when shapes are known.
            Some(Items { axis: 0, .. }) => {}
            Some(Mixed) | None => {
                let node = mixes.get(name).map_or_else(|| "a node".to_owned(), String::clone);
                return Err(format!("{node} may mix the items of a batch"));
            }
            Some(_) => return Err(format!("output \"{name}\" does not come item by item")),
        }
    }
    Ok(())
}

struct Walk<'a> {
    values: HashMap<&'a str, Value>,
    constants: &'a Constants<'a>,
    opset: i64,
}

/// Operators that work element by element on one input.
const UNARY: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
];

/// Operators that work element by element on inputs that are broadcast to one another.
const BROADCAST: &[&str] = &[
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
];

/// Operators that have the batch first in what they work on, and weights beside it; the output has the same rank.
const BATCH_FIRST: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LpPool",
    "LRN",
    "MaxPool",
    "QLinearConv",
    "SpaceToDepth",
];

impl Walk<'_> {
    fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or(&Mixed)
    }

    fn constant(&self, name: &str) -> Value {
        let Some(tensor) = self.constants.tensor(name) else { return Mixed };
        match self.constants.integers(name) {
            Some(numbers) if tensor.dims.len() < 2 && numbers.len() <= 64 => {
                Numbers { scalar: tensor.dims.is_empty(), numbers: numbers.into_iter().map(Known).collect() }
            }
            _ => Fixed(Some(tensor.dims.iter().map(|extent| Some(*extent)).collect())),
        }
    }

    /// The outputs of a node, as far as they are understood.
    fn results(&self, node: &Node) -> Vec<Value> {
        let inputs: Vec<&Value> =
            node.inputs().iter().map(|name| if name.is_empty() { &Mixed } else { self.value(name) }).collect();
        if node.is("Constant") {
            return vec![self.constant(node.output(0))];
        }
        if node.has_graph() || !node.is_standard() {
            return Vec::new();
        }
        if node.is("Shape") {
            return vec![shape(inputs.first(), node)];
        }
        if let Some(result) = numbers(node, &inputs) {
            return vec![result];
        }
        let given = || node.inputs().iter().zip(&inputs).filter(|(name, _)| !name.is_empty()).map(|(_, value)| *value);
        if given().count() > 0 && given().all(|value| extents(value).is_some()) {
            return vec![fixed(node, &inputs); node.output_count()];
        }
        match node.kind() {
            "Split" if matches!(inputs[0], Items { .. }) => {
                vec![along(node.axis(0), inputs[0]); node.output_count()]
            }
            "TopK" if inputs.get(1).is_some_and(|k| extents(k).is_some()) => {
                vec![along(node.axis(-1), inputs[0]); 2]
            }
            "LSTM" | "GRU" | "RNN" => recurrent(node, &inputs),
            _ => self.result(node, &inputs).into_iter().collect(),
        }
    }

    /// The first output of a node of which some input is made of items.
    fn result(&self, node: &Node, inputs: &[&Value]) -> Option<Value> {
        let kind = node.kind();
        let first = *inputs.first()?;
        let rest_fixed = || {
            node.inputs().iter().zip(inputs).skip(1).all(|(name, value)| name.is_empty() || extents(value).is_some())
        };
        if UNARY.contains(&kind) {
            return (rest_fixed() && matches!(first, Items { .. })).then(|| first.clone());
        }
        if BROADCAST.contains(&kind) {
            let with_old_axis = self.opset < 7 && node.int("axis").is_some();
            return if with_old_axis { None } else { broadcast(inputs) };
        }
        if kind == "Reshape" {
            return reshape(first, inputs.get(1)?, node);
        }
        if kind == "Expand" {
            return expand(first, inputs.get(1)?);
        }
        if kind == "Gather" {
            return gather(node, first, inputs.get(1)?);
        }
        if kind == "Einsum" {
            return einsum(node, inputs);
        }
        if matches!(kind, "MatMul" | "MatMulInteger" | "QLinearMatMul") {
            let second = *inputs.get(if kind == "QLinearMatMul" { 3 } else { 1 })?;
            let parameters = |index: usize| match kind {
                "QLinearMatMul" => index != 0 && index != 3,
                _ => index > 1,
            };
            // A scale or zero point for each row would have the rows of all items.
            let whole = inputs.iter().enumerate().filter(|(index, _)| parameters(*index));
            let whole = whole.filter(|(index, _)| !node.inputs()[*index].is_empty());
            let scalar = |value: &&Value| extents(value).flatten().is_some_and(|e| e.iter().all(|e| *e == Some(1)));
            return whole.map(|(_, v)| *v).all(|v| scalar(&v)).then(|| matmul(first, second)).flatten();
        }
        if matches!(kind, "Concat") {
            let Items { axis, rank, single } = *first else { return None };
            let concat = normalize(node.int("axis")?, rank)?;
            let alike =
                |v: &&Value| matches!(**v, Items { axis: a, rank: r, single: s } if (a, r, s) == (axis, rank, single));
            return (concat != axis && inputs.iter().all(alike)).then(|| first.clone());
        }
        if matches!(kind, "GatherElements" | "ScatterElements") {
            let Items { axis, rank, single: true } = *first else { return None };
            let at = normalize(node.axis(0), rank)?;
            return (at != axis && inputs.iter().all(|v| *v == first)).then(|| first.clone());
        }
        if kind == "GridSample" {
            let both = |v: &&Value| matches!(**v, Items { axis: 0, single: true, .. });
            return inputs.iter().all(both).then(|| first.clone());
        }
        if kind == "Attention" {
            let three = node.inputs().iter().skip(3).all(String::is_empty);
            let alike = |v: &&Value| *v == first && matches!(first, Items { axis: 0, single: true, .. });
            return (three && node.output_count() == 1 && inputs.len() >= 3 && inputs[..3].iter().all(alike))
                .then(|| first.clone());
        }
        if kind == "OneHot" {
            let Items { axis, rank, single } = *first else { return None };
            let at = normalize(node.axis(-1), rank + 1)?;
            return rest_fixed().then_some(Items { axis: axis + usize::from(at <= axis), rank: rank + 1, single });
        }

        // What is left has its items in the first input and parameters that are the same for all.
        let Items { axis, rank, single } = *first else { return None };
        if kind == "Resize" || kind == "Upsample" {
            return self.resize(node, inputs, axis, rank, single).then(|| first.clone());
        }
        if kind == "Pad" {
            return pads_no_items(node, inputs, axis, rank).then(|| first.clone());
        }
        if !rest_fixed() {
            return None;
        }
        if BATCH_FIRST.contains(&kind) {
            if node.int("training_mode").unwrap_or(0) != 0 {
                return None;
            }
            return (axis == 0 && rank > 1).then(|| first.clone());
        }
        match kind {
            "Transpose" => {
                let perm = match node.ints("perm") {
                    Some(perm) => perm.to_vec(),
                    None => (0..rank as i64).rev().collect(),
                };
                let axis = perm.iter().position(|from| *from == axis as i64)?;
                (perm.len() == rank).then_some(Items { axis, rank, single })
            }
            "Flatten" => {
                let at = match node.axis(1) {
                    after if after == rank as i64 => rank,
                    within => normalize(within, rank)?,
                };
                (axis == 0 && at > 0).then_some(Items { axis: 0, rank: 2, single: single && at == 1 })
            }
            "Squeeze" => {
                let axes = node.axes(1)??;
                let axes = axes.iter().map(|a| normalize(*a, rank)).collect::<Option<Vec<_>>>()?;
                let before = axes.iter().filter(|a| **a < axis).count();
                (!axes.contains(&axis)).then_some(Items { axis: axis - before, rank: rank - axes.len(), single })
            }
            "Unsqueeze" => {
                let axes = node.axes(1)??;
                let axes = axes.iter().map(|a| normalize(*a, rank + axes.len())).collect::<Option<Vec<_>>>()?;
                let old = (0..rank + axes.len()).filter(|a| !axes.contains(a)).nth(axis)?;
                Some(Items { axis: old, rank: rank + axes.len(), single })
            }
            "Slice" => slice(node, axis, rank).then(|| first.clone()),
            "Tile" => {
                let Numbers { numbers, .. } = inputs.get(1)? else { return None };
                (numbers.get(axis) == Some(&Known(1))).then(|| first.clone())
            }
            "Trilu" => (axis + 2 < rank).then(|| first.clone()),
            "CumSum" => {
                let at = normalize(*node.numbers(1)?.first()?, rank)?;
                (at != axis).then(|| first.clone())
            }
            "LpNormalization" => Some(along(node.axis(-1), first)),
            "Softmax" | "LogSoftmax" | "Hardmax" => {
                let at = normalize(node.axis(if self.opset < 13 { 1 } else { -1 }), rank)?;
                // Older operator sets take all axes from this one on together.
                let apart = if self.opset < 13 { at > axis } else { at != axis };
                apart.then(|| first.clone())
            }
            "LayerNormalization" | "RMSNormalization" => {
                (normalize(node.axis(-1), rank)? > axis).then(|| first.clone())
            }
            "MeanVarianceNormalization" => {
                let axes = node.ints("axes").unwrap_or(&[0, 2, 3]);
                let axes = axes.iter().map(|a| normalize(*a, rank)).collect::<Option<Vec<_>>>()?;
                (!axes.contains(&axis)).then(|| first.clone())
            }
            "ArgMax" | "ArgMin" => reduce(&[node.axis(0)], node, axis, rank, single),
            "Gemm" => {
                let whole = |v: &&Value| extents(v).flatten().is_some_and(|e| e.len() < 2 || e[0] == Some(1));
                let plain = axis == 0 && rank == 2 && node.int("transA").unwrap_or(0) == 0;
                (plain && inputs.get(2).is_none_or(whole)).then(|| first.clone())
            }
            "QuantizeLinear" | "DequantizeLinear" => {
                let one = extents(inputs.get(1)?).flatten()?.iter().all(|extent| *extent == Some(1));
                (one || normalize(node.axis(1), rank)? != axis).then(|| first.clone())
            }
            kind if kind.starts_with("Reduce") => match node.axes(1)? {
                Some(axes) if !axes.is_empty() => reduce(&axes, node, axis, rank, single),
                _ if node.int("noop_with_empty_axes") == Some(1) => Some(first.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    fn resize(&self, node: &Node, inputs: &[&Value], axis: usize, rank: usize, single: bool) -> bool {
        let cropped = node.string("coordinate_transformation_mode") == "tf_crop_and_resize";
        // The place of the batch among the numbers that the node has for its axes; none if it leaves the batch alone.
        let place = match node.ints("axes") {
            Some(axes) => match axes.iter().map(|a| normalize(*a, rank)).collect::<Option<Vec<_>>>() {
                Some(axes) => axes.iter().position(|a| *a == axis),
                None => return false,
            },
            None => Some(axis),
        };
        let Some(place) = place else { return !cropped };
        let scales = if node.is("Upsample") || self.opset < 11 { 1 } else { 2 };
        let given = |index: usize| node.inputs().get(index).filter(|name| !name.is_empty());
        let sizes = if scales == 2 { given(3) } else { None };
        let kept = match (sizes, given(scales)) {
            (Some(_), _) => match inputs[3] {
                Numbers { numbers, .. } => numbers.get(place) == Some(&Batch(Some(1))) && single,
                _ => false,
            },
            (None, Some(name)) => self.constants.floats(name).is_some_and(|scales| scales.get(place) == Some(&1.0)),
            (None, None) => node.floats("scales").is_some_and(|scales| scales.get(place) == Some(&1.0)),
        };
        kept && !cropped && node.string("keep_aspect_ratio_policy").is_empty()
    }
}

/// The axis as counted from the front.
fn normalize(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// The extents, as far as they are known, of what is the same in whatever batch.
fn extents(value: &Value) -> Option<Option<Vec<Option<i64>>>> {
    match value {
        Fixed(extents) => Some(extents.clone()),
        Numbers { scalar, numbers } if numbers.iter().all(|n| matches!(n, Known(_) | Free)) => {
            Some(Some(if *scalar { Vec::new() } else { vec![Some(numbers.len() as i64)] }))
        }
        _ => None,
    }
}

/// What works along one axis, which must not be the batch.
fn along(at: i64, value: &Value) -> Value {
    match value {
        Items { axis, rank, .. } if normalize(at, *rank).is_some_and(|at| at != *axis) => value.clone(),
        _ => Mixed,
    }
}

fn shape(value: Option<&&Value>, node: &Node) -> Value {
    let numbers: Vec<_> = match value {
        Some(Items { axis, rank, single }) => {
            let extent = |a| if a == *axis { Batch(single.then_some(1)) } else { Free };
            (0..*rank).map(extent).collect()
        }
        Some(value) => match extents(value) {
            Some(Some(extents)) => extents.iter().map(|extent| extent.map_or(Free, Known)).collect(),
            Some(None) => return Fixed(Some(vec![None])),
            None => return Mixed,
        },
        None => return Mixed,
    };
    let clamp = |at: i64| (if at < 0 { at + numbers.len() as i64 } else { at }).clamp(0, numbers.len() as i64) as usize;
    let (start, end) = (clamp(node.int("start").unwrap_or(0)), clamp(node.int("end").unwrap_or(i64::MAX)));
    Numbers { scalar: false, numbers: numbers.get(start..end).unwrap_or_default().to_vec() }
}

/// What is computed from shapes; `None` if the node is nothing of the kind.
fn numbers(node: &Node, inputs: &[&Value]) -> Option<Value> {
    let list = |index: usize| match inputs.get(index) {
        Some(Numbers { scalar, numbers }) => Some((*scalar, numbers.as_slice())),
        _ => None,
    };
    match node.kind() {
        "Identity" => list(0).map(|(scalar, numbers)| Numbers { scalar, numbers: numbers.to_vec() }),
        // What becomes a fraction is no extent any more, but Free stays free.
        "Cast" if matches!(node.int("to"), Some(6 | 7)) => {
            list(0).map(|(scalar, numbers)| Numbers { scalar, numbers: numbers.to_vec() })
        }
        "Unsqueeze" => match (list(0)?, node.axes(1)??.as_slice()) {
            ((true, numbers), [0 | -1]) => Some(Numbers { scalar: false, numbers: numbers.to_vec() }),
            _ => None,
        },
        "Squeeze" => match list(0)? {
            (false, [number]) => Some(Numbers { scalar: true, numbers: vec![*number] }),
            _ => None,
        },
        "Gather" if node.axis(0) == 0 => {
            let (false, numbers) = list(0)? else { return None };
            let (scalar, indexes) = list(1)?;
            let pick = |index: &Number| match index {
                Known(index) => normalize(*index, numbers.len()).map(|index| numbers[index]),
                _ => None,
            };
            Some(Numbers { scalar, numbers: indexes.iter().map(pick).collect::<Option<_>>()? })
        }
        "Slice" => {
            let (false, numbers) = list(0)? else { return None };
            let (starts, ends, axes, steps) = node.slices()?;
            if starts.len() != 1
                || axes.is_some_and(|axes| axes != [0] && axes != [-1])
                || !matches!(steps[..], [] | [1])
            {
                return None;
            }
            let clamp = |at: i64| {
                let at = if at < 0 { at.saturating_add(numbers.len() as i64) } else { at };
                at.clamp(0, numbers.len() as i64) as usize
            };
            let range = clamp(starts[0])..clamp(ends[0]);
            Some(Numbers { scalar: false, numbers: numbers.get(range).unwrap_or_default().to_vec() })
        }
        "Concat" => {
            let lists = (0..inputs.len()).map(list).collect::<Option<Vec<_>>>()?;
            if lists.iter().any(|(scalar, _)| *scalar) {
                return None;
            }
            Some(Numbers {
                scalar: false,
                numbers: lists.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect(),
            })
        }
        "ConstantOfShape" => constant_of_shape(node, inputs.first()?),
        kind @ ("Add" | "Sub" | "Mul" | "Div" | "Equal") => {
            let ((one, a), (other, b)) = (list(0)?, list(1)?);
            let numbers = zip(&[a, b], |n| arithmetic(kind, n[0], n[1]))?;
            Some(Numbers { scalar: one && other, numbers })
        }
        "Where" => {
            let ((one, c), (two, a), (three, b)) = (list(0)?, list(1)?, list(2)?);
            let pick = |n: &[Number]| match n[0] {
                Known(0) => n[2],
                Known(_) => n[1],
                Free if matches!((n[1], n[2]), (Known(_) | Free, Known(_) | Free)) => Free,
                _ => Number::Mixed,
            };
            Some(Numbers { scalar: one && two && three, numbers: zip(&[c, a, b], pick)? })
        }
        _ => None,
    }
}

/// Lists of one length, or of length one, taken together.
fn zip(lists: &[&[Number]], each: impl Fn(&[Number]) -> Number) -> Option<Vec<Number>> {
    let length = lists.iter().map(|list| list.len()).max()?;
    if lists.iter().any(|list| list.len() != length && list.len() != 1) {
        return None;
    }
    let at = |index: usize| lists.iter().map(|list| list[if list.len() == 1 { 0 } else { index }]).collect::<Vec<_>>();
    Some((0..length).map(|index| each(&at(index))).collect())
}

fn arithmetic(kind: &str, a: Number, b: Number) -> Number {
    match (kind, a, b) {
        (_, Known(a), Known(b)) => {
            let result = match kind {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Div" => a.checked_div(b),
                _ => Some(i64::from(a == b)),
            };
            result.map_or(Number::Mixed, Known)
        }
        ("Equal", Batch(_), Known(..1)) | ("Equal", Known(..1), Batch(_)) => Known(0),
        (_, Known(_) | Free, Known(_) | Free) => Free,
        ("Mul", Batch(factor), Known(k @ 1..)) | ("Mul", Known(k @ 1..), Batch(factor)) => {
            Batch(factor.and_then(|factor| factor.checked_mul(k)))
        }
        ("Mul", Batch(_), Free) | ("Mul", Free, Batch(_)) => Batch(None),
        ("Div", Batch(Some(factor)), Known(k @ 1..)) if factor % k == 0 => Batch(Some(factor / k)),
        _ => Number::Mixed,
    }
}

/// One number in every place. A batch in the shape makes items of it, all of them equal.
fn constant_of_shape(node: &Node, shape: &Value) -> Option<Value> {
    let Numbers { numbers, .. } = shape else { return None };
    if let [Known(count @ 0..=64)] = numbers[..]
        && let Some(value) = node.fill()
    {
        return Some(Numbers { scalar: false, numbers: vec![Known(value); count as usize] });
    }
    spread(numbers)
}

/// What a value that is the same for all items is when it is spread over that shape.
fn spread(shape: &[Number]) -> Option<Value> {
    let batches: Vec<_> = shape.iter().enumerate().filter(|(_, n)| matches!(n, Batch(_))).collect();
    match batches[..] {
        _ if shape.contains(&Number::Mixed) => None,
        [] => Some(Fixed(Some(shape.iter().map(|n| if let Known(n @ 1..) = n { Some(*n) } else { None }).collect()))),
        [(axis, Batch(factor))] => Some(Items { axis, rank: shape.len(), single: *factor == Some(1) }),
        _ => None,
    }
}

/// The extents of what does not depend on items, where they follow from the inputs' in a simple way.
fn fixed(node: &Node, inputs: &[&Value]) -> Value {
    let of = |index: usize| extents(inputs.get(index)?).flatten();
    let result = || match node.kind() {
        kind if UNARY.contains(&kind) => of(0),
        kind if BROADCAST.contains(&kind) => {
            let all = (0..inputs.len()).map(of).collect::<Option<Vec<_>>>()?;
            let rank = all.iter().map(Vec::len).max()?;
            let extent = |from_end: usize| {
                let here = all.iter().filter(|e| e.len() >= from_end).map(|e| e[e.len() - from_end]);
                here.reduce(|extent, other| match (extent, other) {
                    (Some(1), other) => other,
                    (extent, Some(1)) => extent,
                    (Some(extent), _) | (None, Some(extent)) => Some(extent),
                    (None, None) => None,
                })
                .flatten()
            };
            Some((1..=rank).rev().map(extent).collect())
        }
        "Unsqueeze" => {
            let (old, axes) = (of(0)?, node.axes(1)??);
            let rank = old.len() + axes.len();
            let axes = axes.iter().map(|a| normalize(*a, rank)).collect::<Option<Vec<_>>>()?;
            let mut old = old.into_iter();
            (0..rank).map(|axis| if axes.contains(&axis) { Some(Some(1)) } else { old.next() }).collect()
        }
        "Reshape" | "Expand" => {
            let Numbers { numbers, .. } = inputs.get(1)? else { return None };
            let plain = node.is("Reshape");
            Some(
                numbers
                    .iter()
                    .map(|n| match n {
                        Known(n @ 1..) if plain || *n > 1 => Some(*n),
                        _ => None,
                    })
                    .collect(),
            )
        }
        "Transpose" => {
            let old = of(0)?;
            match node.ints("perm") {
                Some(perm) => perm.iter().map(|axis| old.get(usize::try_from(*axis).ok()?).copied()).collect(),
                None => Some(old.into_iter().rev().collect()),
            }
        }
        "Gather" => {
            let (data, indexes) = (of(0)?, of(1)?);
            let axis = normalize(node.axis(0), data.len())?;
            Some([&data[..axis], &indexes[..], &data[axis + 1..]].concat())
        }
        _ => None,
    };
    Fixed(result())
}

/// Items and what is the same for all, broadcast to one another.
fn broadcast(inputs: &[&Value]) -> Option<Value> {
    // How far the batch is from the end: shapes are aligned there.
    let mut batch = None;
    let mut rank = 0;
    for value in inputs {
        match value {
            Items { axis, rank: r, single } => {
                let this = (r - axis, *single);
                if *batch.get_or_insert(this) != this {
                    return None;
                }
                rank = rank.max(*r);
            }
            other => rank = rank.max(extents(other)??.len()),
        }
    }
    let (from_end, single) = batch?;
    let apart = |value: &&Value| match value {
        Items { .. } => true,
        other => extents(other).flatten().is_some_and(|e| e.len() < from_end || e[e.len() - from_end] == Some(1)),
    };
    inputs.iter().all(apart).then(|| Items { axis: rank - from_end, rank, single })
}

fn reshape(value: &Value, shape: &Value, node: &Node) -> Option<Value> {
    let Numbers { numbers, .. } = shape else { return None };
    let Items { axis, single, .. } = *value else {
        // The same for all items, brought to a shape with a batch: only by repeating, which Reshape does not.
        return None;
    };
    let zero_is_literal = node.int("allowzero").unwrap_or(0) != 0 && numbers.contains(&Known(0));
    if zero_is_literal || numbers.contains(&Number::Mixed) {
        return None;
    }
    // Elements keep their order, so items stay apart where as many elements lie before the batch as did.
    let at = match axis {
        0 => numbers.iter().position(|n| *n != Known(1))?,
        axis => {
            if numbers.iter().take(axis).any(|n| *n != Known(0)) {
                return None;
            }
            axis
        }
    };
    if numbers.iter().skip(at + 1).any(|n| matches!(n, Batch(_))) {
        return None;
    }
    let single = match numbers.get(at)? {
        Known(0) if at == axis => single,
        Batch(factor) => *factor == Some(1),
        // The rest has a number of elements that does not depend on the batch; so this is a multiple of it.
        Known(-1) => false,
        _ => return None,
    };
    Some(Items { axis: at, rank: numbers.len(), single })
}

fn expand(value: &Value, shape: &Value) -> Option<Value> {
    let Numbers { numbers, .. } = shape else { return None };
    match value {
        Items { axis, rank, single } => {
            let from_end = rank - axis;
            let all = numbers.len().max(*rank);
            let fits = |(index, number): (usize, &Number)| match number {
                Known(1) => true,
                Batch(factor) => numbers.len() - index == from_end && *factor == Some(1) && *single,
                Known(_) | Free => numbers.len() - index != from_end,
                Number::Mixed => false,
            };
            numbers.iter().enumerate().all(fits).then_some(Items { axis: all - from_end, rank: all, single: *single })
        }
        other => {
            let old = extents(other)??;
            let result = spread(numbers)?;
            match result {
                Items { axis, rank, .. } => {
                    let from_end = rank - axis;
                    let one = old.len() < from_end || old[old.len() - from_end] == Some(1);
                    (one && old.len() <= rank).then_some(result)
                }
                other => Some(other),
            }
        }
    }
}

fn gather(node: &Node, data: &Value, indexes: &Value) -> Option<Value> {
    match (data, indexes) {
        (Items { axis, rank, single }, indexes) => {
            let at = normalize(node.axis(0), *rank)?;
            let count = extents(indexes)??.len();
            let moved = if at < *axis { axis + count - 1 } else { *axis };
            (at != *axis).then_some(Items { axis: moved, rank: rank + count - 1, single: *single })
        }
        (data, Items { axis, rank, single }) => {
            let data = extents(data)??;
            let at = normalize(node.axis(0), data.len())?;
            Some(Items { axis: at + axis, rank: data.len() + rank - 1, single: *single })
        }
        _ => None,
    }
}

fn matmul(a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Items { axis, rank, single }, Items { axis: other_axis, rank: other_rank, single: other }) => {
            let apart = rank - axis == other_rank - other_axis && rank - axis > 2 && single == other;
            let all = *rank.max(other_rank);
            apart.then_some(Items { axis: all - (rank - axis), rank: all, single: *single })
        }
        (Items { axis, rank, single }, other) => {
            let other = extents(other)??;
            let from_end = rank - axis;
            if from_end < 2 || *rank < 2 || other.is_empty() {
                return None;
            }
            if other.len() == 1 {
                return Some(Items { axis: *axis, rank: rank - 1, single: *single });
            }
            // The rows of the first are not the second's; axes before them are broadcast.
            let one = from_end == 2 || other.len() < from_end || other[other.len() - from_end] == Some(1);
            let all = (*rank).max(other.len());
            (one && (from_end > 2 || other.len() == 2)).then_some(Items {
                axis: all - from_end,
                rank: all,
                single: *single,
            })
        }
        (other, Items { axis, rank, single }) => {
            let other = extents(other)??;
            let from_end = rank - axis;
            let one = other.len() < from_end || other[other.len() - from_end] == Some(1);
            let all = (*rank).max(other.len());
            (from_end > 2 && other.len() > 1 && one).then_some(Items {
                axis: all - from_end,
                rank: all,
                single: *single,
            })
        }
        _ => None,
    }
}

fn einsum(node: &Node, inputs: &[&Value]) -> Option<Value> {
    let equation: String = node.string("equation").chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, result) = equation.split_once("->")?;
    let terms: Vec<Vec<char>> = terms.split(',').map(|term| term.chars().collect()).collect();
    let result: Vec<char> = result.chars().collect();
    let plain = |term: &[char]| term.iter().enumerate().all(|(i, c)| c.is_alphabetic() && !term[..i].contains(c));
    if terms.len() != inputs.len() || !terms.iter().all(|term| plain(term)) || !plain(&result) {
        return None;
    }
    let mut batch = None;
    for (term, value) in terms.iter().zip(inputs) {
        if let Items { axis, rank, single } = value {
            let this = (*term.get(*axis)?, *single);
            if *rank != term.len() || *batch.get_or_insert(this) != this {
                return None;
            }
        } else {
            extents(value)?;
        }
    }
    let (letter, single) = batch?;
    let elsewhere =
        terms.iter().zip(inputs).any(|(term, value)| !matches!(value, Items { .. }) && term.contains(&letter));
    let axis = result.iter().position(|c| *c == letter)?;
    (!elsewhere).then_some(Items { axis, rank: result.len(), single })
}

/// Whether a Slice leaves the batch alone.
fn slice(node: &Node, axis: usize, rank: usize) -> bool {
    let Some((starts, ends, axes, steps)) = node.slices() else { return false };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let all = |i: usize| starts[i] == 0 && ends[i] >= i64::from(i32::MAX) && steps.get(i).is_none_or(|step| *step == 1);
    let counts = [starts.len(), ends.len()];
    counts == [axes.len(); 2]
        && axes.iter().enumerate().all(|(i, a)| normalize(*a, rank).is_some_and(|a| a != axis || all(i)))
}

/// Whether a Pad leaves the batch alone.
fn pads_no_items(node: &Node, inputs: &[&Value], axis: usize, rank: usize) -> bool {
    let given: Vec<Number> = match (node.ints("pads"), inputs.get(1)) {
        (Some(pads), _) => pads.iter().map(|pad| Known(*pad)).collect(),
        (None, Some(Numbers { numbers, .. })) => numbers.clone(),
        _ => return false,
    };
    if inputs.iter().zip(node.inputs()).skip(2).any(|(value, name)| !name.is_empty() && extents(value).is_none()) {
        return false;
    }
    let axes = match node.inputs().get(3).filter(|name| !name.is_empty()) {
        Some(_) => match node.numbers(3) {
            Some(axes) => axes,
            None => return false,
        },
        None => (0..rank as i64).collect(),
    };
    let count = axes.len();
    given.len() == 2 * count
        && axes.iter().enumerate().all(|(i, a)| match normalize(*a, rank) {
            Some(a) if a == axis => given[i] == Known(0) && given[i + count] == Known(0),
            Some(_) => true,
            None => false,
        })
}

fn reduce(axes: &[i64], node: &Node, axis: usize, rank: usize, single: bool) -> Option<Value> {
    let axes = axes.iter().map(|a| normalize(*a, rank)).collect::<Option<Vec<_>>>()?;
    if axes.contains(&axis) {
        return None;
    }
    if node.int("keepdims").unwrap_or(1) != 0 {
        return Some(Items { axis, rank, single });
    }
    let before = axes.iter().filter(|a| **a < axis).count();
    Some(Items { axis: axis - before, rank: rank - axes.len(), single })
}

fn recurrent(node: &Node, inputs: &[&Value]) -> Vec<Value> {
    let given = |index: usize| node.inputs().get(index).is_some_and(|name| !name.is_empty());
    let state = |index: usize| !given(index) || matches!(inputs[index], Items { axis: 1, rank: 3, single: true });
    let weights = |index: usize| !given(index) || extents(inputs[index]).is_some();
    let understood = node.int("layout").unwrap_or(0) == 0
        && matches!(inputs.first(), Some(Items { axis: 1, rank: 3, single: true }))
        && (1..4).all(weights)
        && !given(4)
        && state(5)
        && (!node.is("LSTM") || state(6) && weights(7));
    match understood {
        true => {
            let last = Items { axis: 1, rank: 3, single: true };
            vec![Items { axis: 2, rank: 4, single: true }, last.clone(), last]
        }
        false => Vec::new(),
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
