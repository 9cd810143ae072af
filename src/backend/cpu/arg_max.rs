//! The place of the largest value over channels, with which segmentation networks end that give labels themselves, and of the
//! smallest.
//!
//! tract goes through the volume voxel by voxel, gathering each one's channels; this goes through a block of voxels channel by
//! channel, as they lie in memory. And tract begins with the lowest number that is not infinite: of channels that are all
//! -∞ it gives the first where the last is asked for, and where one of them is that number, never it.

use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

/// Voxels that are worked on together.
const BLOCK: usize = 512;

/// Whether [`eval`] does what the node asks for: float32, and over one axis.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    let (Some(op), [input]) = (node.op_as::<Reduce>(), inputs) else { return false };
    matches!(op.reducer, Reducer::ArgMax(_) | Reducer::ArgMin(_))
        && op.axes.len() == 1
        && input.datum_type() == f32::datum_type()
        && input.has_plain_ram_storage()
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let Some(Reduce { axes, reducer }) = node.op_as::<Reduce>() else { bail!("{} is no reduction", node.name) };
    let (last, sign) = match reducer {
        Reducer::ArgMax(last) => (*last, 1.0),
        Reducer::ArgMin(last) => (*last, -1.0),
        _ => bail!("{} is neither ArgMax nor ArgMin", node.name),
    };
    let (mut shape, axis): (TVec<usize>, _) = (inputs[0].shape().into(), axes[0]);
    let (channels, voxels) = (shape[axis], shape[axis + 1..].iter().product());
    shape[axis] = 1;
    let mut output = Tensor::zero::<i64>(&shape)?;
    let plain = inputs[0].try_as_plain_ram()?;
    let to = &mut output.try_as_plain_ram_mut()?;
    arg_max(plain.as_slice::<f32>()?, to.as_slice_mut::<i64>()?, [channels, voxels], last, sign)?;
    Ok(tvec![output.into_tvalue()])
}

/// The first of the largest, or the last, of the values times the sign. What is no number is larger than nothing.
fn arg_max(values: &[f32], to: &mut [i64], [channels, voxels]: [usize; 2], last: bool, sign: f32) -> TractResult<()> {
    if to.is_empty() {
        return Ok(());
    }
    par_chunks_mut(to, 1, values.len(), |mut first, mut rest| {
        while !rest.is_empty() {
            let (volume, voxel) = (first / voxels, first % voxels);
            let count = rest.len().min(voxels - voxel).min(BLOCK);
            let (block, behind) = std::mem::take(&mut rest).split_at_mut(count);
            let (mut largest, mut places) = ([0f32; BLOCK], [0u32; BLOCK]);
            let (largest, places) = (&mut largest[..count], &mut places[..count]);
            largest.fill(f32::NEG_INFINITY);
            for channel in 0..channels {
                let row = &values[(volume * channels + channel) * voxels + voxel..][..count];
                for (value, (largest, place)) in row.iter().zip(largest.iter_mut().zip(&mut *places)) {
                    let value = value * sign;
                    let takes_over = value > *largest || last && value == *largest;
                    *largest = if takes_over { value } else { *largest };
                    *place = if takes_over { channel as u32 } else { *place };
                }
            }
            block.iter_mut().zip(places).for_each(|(to, place)| *to = i64::from(*place));
            (first, rest) = (first + count, behind);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_or_the_last_of_the_largest_or_smallest() {
        let (volumes, channels, voxels) = (2, 5, 2 * BLOCK + 77);
        let value = |i: usize| ((i * 7919) % 13) as f32 - 20.0;
        let mut values: Vec<f32> = (0..volumes * channels * voxels).map(value).collect();
        values[3] = f32::NAN;
        values[7] = f32::NEG_INFINITY;
        for (last, sign) in [(false, 1.0), (true, 1.0), (false, -1.0), (true, -1.0)] {
            let mut places = vec![-1; volumes * voxels];
            arg_max(&values, &mut places, [channels, voxels], last, sign).unwrap();
            for (voxel, place) in places.iter().enumerate() {
                let of =
                    |channel: usize| sign * values[(voxel / voxels * channels + channel) * voxels + voxel % voxels];
                let largest = (0..channels).map(of).fold(f32::NEG_INFINITY, f32::max);
                let mut those = (0..channels).filter(|channel| of(*channel) == largest);
                let expected = if last { those.next_back() } else { those.next() };
                assert_eq!(Some(*place as usize), expected);
            }
        }
        arg_max(&[], &mut [], [3, 0], false, 1.0).unwrap();
    }

    #[test]
    fn infinite_values_have_their_places() {
        const INFINITY: f32 = f32::INFINITY;
        for (values, first, last) in [
            ([-INFINITY, -INFINITY, -INFINITY], 0, 2),
            ([-INFINITY, f32::MIN, -INFINITY], 1, 1),
            ([f32::MIN, -INFINITY, f32::MIN], 0, 2),
            ([-INFINITY, INFINITY, INFINITY], 1, 2),
        ] {
            for (is_last, sign) in [(false, 1.0), (true, 1.0), (false, -1.0), (true, -1.0)] {
                let mut place = [-1];
                arg_max(&values.map(|value| value * sign), &mut place, [3, 1], is_last, sign).unwrap();
                assert_eq!(place, [if is_last { last } else { first }], "{values:?}, last: {is_last}, sign: {sign}");
            }
        }
    }
}
