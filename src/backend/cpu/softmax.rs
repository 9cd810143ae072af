//! Softmax over channels, with which segmentation networks end.
//!
//! tract goes through the volume voxel by voxel, gathering each one's channels; this goes through a block of voxels
//! channel by channel, as they lie in memory. On the last layer of a network for 96³ that was a third of the whole run.

use super::exponential::exponential;
use super::voxels::each_block;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::ops::nn::{Softmax, SoftmaxKind};

/// Voxels that are worked on together: few enough that all of a block's channels stay in the cache.
const BLOCK: usize = 1024;

/// Whether [`eval`] does what the node asks for: float32, and over one axis that is not the last.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    let (Some(op), [input]) = (node.op_as::<Softmax>(), inputs) else { return false };
    op.kind == SoftmaxKind::Softmax
        && op.quant_output_dt.is_none()
        && matches!(op.axes[..], [axis] if axis + 1 < input.rank())
        && input.datum_type() == f32::datum_type()
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let Some(op) = node.op_as::<Softmax>() else { bail!("{} is not a softmax", node.name) };
    let mut tensor = inputs.remove(0).into_tensor();
    let (shape, axis) = (tensor.shape(), op.axes[0]);
    let (channels, voxels) = (shape[axis], shape[axis + 1..].iter().product());
    softmax(tensor.try_as_plain_ram_mut()?.as_slice_mut()?, channels, voxels);
    Ok(tvec![tensor.into_tvalue()])
}

fn softmax(data: &mut [f32], channels: usize, voxels: usize) {
    each_block(data, channels, voxels, BLOCK, |_, _, rows| softmax_block(rows));
}

/// One block: a row of voxels for each channel.
fn softmax_block(rows: &mut [&mut [f32]]) {
    let length = rows[0].len();
    let mut largest = [f32::NEG_INFINITY; BLOCK];
    let mut sum = [0f32; BLOCK];
    let (largest, sum) = (&mut largest[..length], &mut sum[..length]);
    for row in rows.iter() {
        for (largest, value) in largest.iter_mut().zip(row.iter()) {
            *largest = largest.max(*value);
        }
    }
    for row in rows.iter_mut() {
        for ((value, largest), sum) in row.iter_mut().zip(largest.iter()).zip(sum.iter_mut()) {
            *value = exponential(*value - largest);
            *sum += *value;
        }
    }
    for row in rows.iter_mut() {
        for (value, sum) in row.iter_mut().zip(sum.iter()) {
            *value /= sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tract_linalg::multithread::{Executor, multithread_tract_scope};

    #[test]
    fn softmax_over_channels_is_exact() {
        let (volumes, channels, voxels) = (2, 5, 2 * BLOCK + 77);
        let value = |i: usize| ((i * 2654435761) % 1000) as f32 / 20.0 - 25.0;
        let input: Vec<f32> = (0..volumes * channels * voxels).map(value).collect();
        let mut output = input.clone();
        softmax(&mut output, channels, voxels);
        for volume in 0..volumes {
            for voxel in 0..voxels {
                let at = |channel: usize| (volume * channels + channel) * voxels + voxel;
                let sum: f64 = (0..channels).map(|c| f64::from(input[at(c)]).exp()).sum();
                for c in 0..channels {
                    let exact = f64::from(input[at(c)]).exp() / sum;
                    // Differences of up to 50 are rounded before their exponential is taken.
                    assert!((f64::from(output[at(c)]) - exact).abs() < 4e-6 * exact);
                }
            }
        }
        let pool = Executor::MultiThread(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()));
        let mut threaded = input;
        multithread_tract_scope(pool, || softmax(&mut threaded, channels, voxels));
        assert_eq!(threaded, output);
        softmax(&mut [], 3, 0);
    }
}
