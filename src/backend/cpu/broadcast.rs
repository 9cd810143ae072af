//! Sums, differences, products, quotients and choices of tensors that are repeated along some axes: biases and masks of
//! attention, for the most part.
//!
//! tract goes through them element by element, with an index for each axis; this goes row by row, a row being as many axes as
//! lie behind each other in all of the tensors.

use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::logic::Iff;
use tract_onnx::tract_hir::tract_core::ops::math::{Add, Div, Mul, Sub};

#[derive(Clone, Copy)]
enum Operation {
    Add,
    Sub,
    Mul,
    Div,
}

fn operation(node: &TypedNode) -> Option<Operation> {
    let op = node.op_as::<TypedBinOp>().filter(|op| op.1.is_none_or(|kind| kind == f32::datum_type()))?;
    let kinds = [
        (op.0.is::<Add>(), Operation::Add),
        (op.0.is::<Sub>(), Operation::Sub),
        (op.0.is::<Mul>(), Operation::Mul),
        (op.0.is::<Div>(), Operation::Div),
    ];
    kinds.into_iter().find_map(|(is, operation)| is.then_some(operation))
}

/// Whether [`eval`] does what the node asks for: float32, one of them of the result's shape and the others not all of it.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    let plain = |input: &TValue, kind| input.datum_type() == kind && input.has_plain_ram_storage();
    let float = |input| plain(input, f32::datum_type());
    match inputs {
        [a, b] if operation(node).is_some() => {
            float(a) && float(b) && a.shape() != b.shape() && whole(inputs, 0).is_some()
        }
        [which, a, b] if node.op_is::<Iff>() => {
            plain(which, bool::datum_type()) && float(a) && float(b) && whole(inputs, 1).is_some()
        }
        _ => false,
    }
}

/// The input that [`eval`] writes its output over, by what is known of all inputs before there are any.
pub fn whole_of(node: &TypedNode, inputs: &[&TypedFact]) -> Option<usize> {
    let from = inputs.len().checked_sub(2)?;
    let known = match inputs.len() {
        2 => operation(node).is_some() && inputs[0].shape != inputs[1].shape,
        3 => node.op_is::<Iff>(),
        _ => false,
    };
    let whole = |place: &usize| {
        inputs.iter().all(|other| {
            let mut extents = other.shape.iter().zip(inputs[*place].shape.iter());
            other.rank() == inputs[*place].rank() && extents.all(|(other, extent)| other.is_one() || other == extent)
        })
    };
    let floats = inputs[from..].iter().all(|input| input.datum_type == f32::datum_type());
    (from..inputs.len()).find(whole).filter(|_| known && floats)
}

/// Which input, from one on, has the shape that all are repeated to.
fn whole(inputs: &[TValue], from: usize) -> Option<usize> {
    (from..inputs.len()).find(|place| {
        let shape = inputs[*place].shape();
        inputs.iter().all(|other| {
            let mut extents = other.shape().iter().zip(shape);
            other.rank() == shape.len() && extents.all(|(other, extent)| *other == 1 || other == extent)
        })
    })
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let operation = operation(node);
    let Some(place) = whole(&inputs, inputs.len() - 2) else { bail!("no input of {} has its shape", node.name) };
    let mut tensor = inputs.remove(place).into_tensor();
    let shape: TVec<usize> = tensor.shape().into();
    let Some(other) = inputs.pop() else { bail!("{} has one input", node.name) };
    let plain = other.try_as_plain_ram()?;
    let values = plain.as_slice::<f32>()?;
    let mut to = tensor.try_as_plain_ram_mut()?;
    let to = to.as_slice_mut::<f32>()?;
    // Of a difference and of a quotient it counts which comes first.
    match (operation, place) {
        (Some(Operation::Add), _) => combine(to, &shape, (values, other.shape()), |to, other| to + other)?,
        (Some(Operation::Mul), _) => combine(to, &shape, (values, other.shape()), |to, other| to * other)?,
        (Some(Operation::Sub), 0) => combine(to, &shape, (values, other.shape()), |to, other| to - other)?,
        (Some(Operation::Sub), _) => combine(to, &shape, (values, other.shape()), |to, other| other - to)?,
        (Some(Operation::Div), 0) => combine(to, &shape, (values, other.shape()), |to, other| to / other)?,
        (Some(Operation::Div), _) => combine(to, &shape, (values, other.shape()), |to, other| other / to)?,
        (None, _) => {
            let which = inputs[0].try_as_plain_ram()?;
            let which = (which.as_slice::<bool>()?, inputs[0].shape());
            choose(to, &shape, which, (values, other.shape()), place == 1)?;
        }
    }
    Ok(tvec![tensor.into_tvalue()])
}

/// Puts in the place of each element what comes of it and the one that it meets of the other tensor, of the same rank.
pub fn combine<T: Copy + Send + Sync>(
    to: &mut [T],
    shape: &[usize],
    other: (&[T], &[usize]),
    of: impl Fn(T, T) -> T + Sync,
) -> TractResult<()> {
    let rows = Rows::new(shape, [other.1]);
    rows.each(to, |to, [start]| match Along::new(other.0, start, rows.lengths[0]) {
        Along::Each(others) => to.iter_mut().zip(others).for_each(|(to, other)| *to = of(*to, *other)),
        Along::One(other) => to.iter_mut().for_each(|to| *to = of(*to, other)),
    })
}

/// Keeps elements where `which` is `kept`, and puts the other tensor's in the places of the rest.
fn choose(
    to: &mut [f32],
    shape: &[usize],
    which: (&[bool], &[usize]),
    other: (&[f32], &[usize]),
    kept: bool,
) -> TractResult<()> {
    let rows = Rows::new(shape, [which.1, other.1]);
    // By bits: a branch would be guessed wrong as often as not.
    let one = |to: &mut f32, which: bool, other: f32| {
        let mask = u32::from(which == kept).wrapping_neg();
        *to = f32::from_bits(to.to_bits() & mask | other.to_bits() & !mask);
    };
    rows.each(to, |to, [which_start, start]| {
        let others = Along::new(other.0, start, rows.lengths[1]);
        match (Along::new(which.0, which_start, rows.lengths[0]), others) {
            (Along::One(which), _) if which == kept => {}
            (Along::One(_), Along::One(other)) => to.fill(other),
            (Along::One(_), Along::Each(others)) => to.copy_from_slice(others),
            (Along::Each(which), Along::One(other)) => {
                to.iter_mut().zip(which).for_each(|(to, which)| one(to, *which, other));
            }
            (Along::Each(which), Along::Each(others)) => {
                to.iter_mut().zip(which.iter().zip(others)).for_each(|(to, (which, other))| one(to, *which, *other));
            }
        }
    })
}

/// What a row meets of another tensor.
enum Along<'a, T> {
    Each(&'a [T]),
    One(T),
}

impl<'a, T: Copy> Along<'a, T> {
    fn new(values: &'a [T], start: usize, length: usize) -> Self {
        match length {
            1 => Self::One(values[start]),
            length => Self::Each(&values[start..][..length]),
        }
    }
}

/// The rows of a tensor, and where they meet others that are repeated to its shape.
struct Rows<const N: usize> {
    length: usize,
    /// How many elements of each of the others a row meets: one, or as many as it has.
    lengths: [usize; N],
    /// From the last axis to the first, without those of a row: their extents, and how far it is along each in the others.
    axes: Vec<(usize, [usize; N])>,
}

impl<const N: usize> Rows<N> {
    fn new(shape: &[usize], others: [&[usize]; N]) -> Self {
        let mut axes: Vec<(usize, [usize; N])> = Vec::new();
        let mut sizes = [1; N];
        for (axis, &extent) in shape.iter().enumerate().rev() {
            let steps = std::array::from_fn(|i| if others[i][axis] == 1 { 0 } else { sizes[i] });
            sizes.iter_mut().zip(others).for_each(|(size, other)| *size *= other[axis]);
            match axes.last_mut() {
                _ if extent == 1 => {}
                // The same step as within the axis before: they are one.
                Some((before, within)) if (0..N).all(|i| steps[i] == within[i] * *before) => *before *= extent,
                _ => axes.push((extent, steps)),
            }
        }
        let (length, steps) = if axes.is_empty() { (1, [0; N]) } else { axes.remove(0) };
        Self { length, lengths: steps.map(|step| if step == 0 { 1 } else { length }), axes }
    }

    /// Calls for each row, with where it begins in each of the others.
    fn each<T: Send>(&self, to: &mut [T], row: impl Fn(&mut [T], [usize; N]) + Sync) -> TractResult<()> {
        let all = to.len();
        if all == 0 {
            return Ok(());
        }
        par_chunks_mut(to, self.length, all, |first, rows| {
            for (number, values) in (first..).zip(rows.chunks_exact_mut(self.length)) {
                let (mut rest, mut starts) = (number, [0; N]);
                for (extent, steps) in &self.axes {
                    starts.iter_mut().zip(steps).for_each(|(start, step)| *start += rest % extent * step);
                    rest /= extent;
                }
                row(values, starts);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where an element of the shape, counted from the first on, meets a tensor that is repeated to it.
    fn met(mut place: usize, shape: &[usize], other: &[usize]) -> usize {
        let (mut at, mut size) = (0, 1);
        for (extent, of_other) in shape.iter().zip(other).rev() {
            at += place % extent % of_other * size;
            size *= of_other;
            place /= extent;
        }
        at
    }

    #[test]
    fn repeated_tensors_meet_as_onnx_has_it() {
        let shape = [2, 3, 1, 4, 5];
        let count = shape.iter().product::<usize>();
        // Each axis repeated or not.
        let others = (0..1 << shape.len()).map(|repeated: usize| {
            let one = |(axis, extent): (usize, &usize)| if repeated >> axis & 1 == 1 { 1 } else { *extent };
            shape.iter().enumerate().map(one).collect::<Vec<_>>()
        });
        let others: Vec<_> = others.collect();
        let values = |shape: &[usize]| -> Vec<f32> { (1..=shape.iter().product()).map(|i| i as f32 / 7.0).collect() };
        for other in &others {
            let mut to = values(&shape);
            combine(&mut to, &shape, (&values(other), other), |to, other| to - other).unwrap();
            for (place, to) in to.iter().enumerate() {
                assert_eq!(*to, values(&shape)[place] - values(other)[met(place, &shape, other)], "{other:?}");
            }
            for which_shape in &others {
                let which: Vec<bool> = (0..which_shape.iter().product()).map(|i: usize| i % 3 == 1).collect();
                let mut to = values(&shape);
                choose(&mut to, &shape, (&which, which_shape), (&values(other), other), true).unwrap();
                for place in 0..count {
                    let kept = which[met(place, &shape, which_shape)];
                    let expected = if kept { values(&shape)[place] } else { values(other)[met(place, &shape, other)] };
                    assert_eq!(to[place], expected, "{which_shape:?}, {other:?}");
                }
            }
        }
        combine(&mut [], &[0, 3], (&[1.0, 2.0, 3.0], &[1, 3]), |to, other| to + other).unwrap();
        let mut one = [3.0];
        combine(&mut one, &[], (&[4.0], &[]), |to, other| to * other).unwrap();
        assert_eq!(one, [12.0]);
    }
}
