//! Elements of tensors as kernels read and write them.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

pub fn floats(tensor: &Tensor) -> TractResult<Vec<f64>> {
    Ok(tensor.cast_to::<f64>()?.try_as_plain_ram()?.as_slice::<f64>()?.to_vec())
}

pub fn wholes(tensor: &Tensor) -> TractResult<Vec<i64>> {
    Ok(tensor.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
}

pub fn truths(tensor: &Tensor) -> TractResult<Vec<bool>> {
    Ok(tensor.try_as_plain_ram()?.as_slice::<bool>()?.to_vec())
}

/// A tensor of that type with these elements, each to the nearest value that the type has.
pub fn made<T: Datum + Copy>(kind: DatumType, shape: &[usize], values: &[T]) -> TractResult<Tensor> {
    Ok(Tensor::from_shape(shape, values)?.cast_to_dt(kind)?.into_owned())
}

/// The axis that a number from -rank to rank - 1 means.
pub fn axis(number: i64, rank: usize) -> TractResult<usize> {
    let counted = if number < 0 { number + rank as i64 } else { number };
    ensure!((0..rank as i64).contains(&counted), "there is no axis {number} of {rank}");
    Ok(counted as usize)
}

/// An index from -extent to extent - 1, counted from the start.
pub fn index(number: i64, extent: usize) -> TractResult<usize> {
    let counted = if number < 0 { number + extent as i64 } else { number };
    ensure!((0..extent as i64).contains(&counted), "index {number} is out of range for an extent of {extent}");
    Ok(counted as usize)
}

/// How many elements lie between neighbours along each axis.
pub fn strides(shape: &[usize]) -> TVec<usize> {
    let mut strides: TVec<usize> = shape.into();
    let mut stride = 1;
    for (place, extent) in strides.iter_mut().zip(shape).rev() {
        (*place, stride) = (stride, stride * extent);
    }
    strides
}

/// Calls with the position of each element of that shape, in order.
pub fn each(shape: &[usize], mut call: impl FnMut(&[usize]) -> TractResult<()>) -> TractResult<()> {
    if shape.contains(&0) {
        return Ok(());
    }
    let mut position: TVec<usize> = tvec![0; shape.len()];
    loop {
        call(&position)?;
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return Ok(());
            }
            axis -= 1;
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
}

/// The place of an element of a tensor of `shape` that is broadcast, by the position in the result.
pub fn place(position: &[usize], shape: &[usize]) -> usize {
    let skipped = position.len() - shape.len();
    shape
        .iter()
        .zip(&position[skipped..])
        .fold(0, |place, (extent, at)| place * extent + if *extent == 1 { 0 } else { *at })
}

/// Elements of any type that are moved and not computed with.
pub struct Moved<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Moved<'a> {
    pub fn of(tensor: &'a Tensor) -> TractResult<Self> {
        ensure!(tensor.datum_type().is_copy(), "elements of {:?} cannot be moved", tensor.datum_type());
        Ok(Self { bytes: tensor.as_bytes(), size: tensor.datum_type().size_of() })
    }

    /// Copies `count` elements from place `from` on.
    pub fn copy(&self, from: usize, count: usize, to: &mut [u8], at: usize) {
        let size = self.size;
        to[at * size..(at + count) * size].copy_from_slice(&self.bytes[from * size..(from + count) * size]);
    }
}
