//! Average and max-pools, row by row.
//!
//! tract goes through an image voxel by voxel, and for each through its window and then through the channels; here a row of
//! results takes one of the window's places after the other. The sums are in tract's order.

use super::numeric::{GuardedMaxPool, WidePool};
use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::ops::cnn::{OptSumPool, PaddingSpec, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

/// What is made of a window.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Largest,
    Sum,
    /// Summed in float64.
    WideSum,
}

/// A node's windows, what is made of them, and whether a sum is divided and by what it counts.
fn pool(node: &TypedNode) -> Option<(&PoolSpec, Kind, Option<bool>)> {
    if let Some(op) = node.op_as::<OptSumPool>() {
        return Some((&op.pool_spec, Kind::Sum, op.normalize.then_some(op.count_include_pad)));
    }
    if let Some(WidePool(op)) = node.op_as() {
        return Some((&op.pool_spec, Kind::WideSum, op.normalize.then_some(op.count_include_pad)));
    }
    node.op_as::<GuardedMaxPool>().map(|op| (&op.0.pool_spec, Kind::Largest, None))
}

/// Whether [`eval`] does what the node asks for: float32 with channels before up to three axes.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    let (Some((spec, ..)), [input]) = (pool(node), inputs) else { return false };
    let outer = match spec.data_format {
        DataFormat::NCHW => 2,
        DataFormat::CHW => 1,
        _ => return false,
    };
    (1..=3).contains(&spec.rank())
        && input.rank() == outer + spec.rank()
        && input.datum_type() == f32::datum_type()
        && input.has_plain_ram_storage()
        && input.len() > 0
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let (Some((spec, kind, counted)), [input]) = (pool(node), &inputs[..]) else { bail!("{} is no pool", node.name) };
    Ok(tvec![computed(spec, kind, counted, input)?.into_tvalue()])
}

fn computed(spec: &PoolSpec, kind: Kind, counted: Option<bool>, input: &Tensor) -> TractResult<Tensor> {
    let outer = input.rank() - spec.rank();
    let mut shape: TVec<usize> = input.shape().into();
    let mut axes = [Axis::default(), Axis::default(), Axis::default()];
    let padding = spec.computed_padding(&shape[outer..]);
    for (number, padded) in padding.iter().enumerate() {
        let axis = &mut axes[3 - spec.rank() + number];
        *axis = Axis::new(spec, number, shape[outer + number], padded.convoluted, padded.pad_before, counted);
        shape[outer + number] = padded.convoluted;
    }
    let mut output = Tensor::zero::<f32>(&shape)?;
    let input = input.try_as_plain_ram()?;
    let mut results = output.try_as_plain_ram_mut()?;
    pooled(&axes, kind, counted.is_some(), input.as_slice()?, results.as_slice_mut()?)?;
    Ok(output)
}

/// One axis of a pool.
#[derive(Clone, Debug)]
struct Axis {
    extent: usize,
    stride: usize,
    dilation: usize,
    window: usize,
    before: usize,
    /// By how many elements each result's sum is divided, as far as this axis counts.
    counts: Vec<usize>,
}

impl Default for Axis {
    fn default() -> Self {
        Self { extent: 1, stride: 1, dilation: 1, window: 1, before: 0, counts: vec![1] }
    }
}

impl Axis {
    fn new(
        spec: &PoolSpec,
        number: usize,
        extent: usize,
        results: usize,
        before: usize,
        counted: Option<bool>,
    ) -> Self {
        let (stride, dilation) = (spec.stride(number), spec.dilation(number));
        let window = spec.kernel_shape[number];
        let mut axis = Self { extent, stride, dilation, window, before, counts: Vec::new() };
        // A last window that goes beyond the padding has fewer elements.
        let padded = match &spec.padding {
            PaddingSpec::ExplicitOnnxPool(first, last, true) => Some(first[number] + extent + last[number]),
            _ => None,
        };
        let count = |at: usize| match (counted, padded) {
            (Some(true), Some(padded)) => (0..window).filter(|tap| at * stride + tap * dilation < padded).count(),
            (Some(true), None) => window,
            _ => (0..window).filter(|tap| axis.place(at, *tap).is_some()).count(),
        };
        axis.counts = (0..results).map(count).collect();
        axis
    }

    /// Where a result meets the input with one of its window's places.
    fn place(&self, at: usize, tap: usize) -> Option<usize> {
        (at * self.stride + tap * self.dilation).checked_sub(self.before).filter(|place| *place < self.extent)
    }

    /// The results that meet the input with that place of their windows, and where the first of them does.
    fn within(&self, tap: usize) -> (usize, usize, usize) {
        let (offset, results) = (tap * self.dilation, self.counts.len());
        let first = self.before.saturating_sub(offset).div_ceil(self.stride).min(results);
        let end = (self.extent + self.before).saturating_sub(offset).div_ceil(self.stride).clamp(first, results);
        (first, end, (first * self.stride + offset).saturating_sub(self.before))
    }
}

/// All channels.
fn pooled(axes: &[Axis; 3], kind: Kind, divided: bool, input: &[f32], output: &mut [f32]) -> TractResult<()> {
    let [planes, rows, columns] = [0, 1, 2].map(|axis| axes[axis].counts.len());
    let volume: usize = axes.iter().map(|axis| axis.extent).product();
    let taps: usize = axes.iter().map(|axis| axis.window).product();
    let work = output.len().saturating_mul(taps);
    if output.is_empty() {
        return Ok(());
    }
    par_chunks_mut(output, columns, work, |first, output| {
        for (row, output) in (first..).zip(output.chunks_exact_mut(columns)) {
            let (channel, plane) = (row / rows / planes, row / rows % planes);
            let input = &input[channel * volume..][..volume];
            row_of(axes, kind, divided, [plane, row % rows], input, output);
        }
        Ok(())
    })
}

/// One row of one channel.
fn row_of(axes: &[Axis; 3], kind: Kind, divided: bool, at: [usize; 2], input: &[f32], output: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(axes: &[Axis; 3], kind: Kind, divided: bool, at: [usize; 2], input: &[f32], output: &mut [f32]) {
            plain(axes, kind, divided, at, input, output);
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions.
            return unsafe { wide(axes, kind, divided, at, input, output) };
        }
    }
    plain(axes, kind, divided, at, input, output);
}

/// Written for a compiler that knows of wide registers: it gives the same bits with them and without.
#[inline(always)]
fn plain(axes: &[Axis; 3], kind: Kind, divided: bool, at: [usize; 2], input: &[f32], output: &mut [f32]) {
    let count = axes[0].counts[at[0]] * axes[1].counts[at[1]];
    let counts = axes[2].counts.iter().map(|along| count * along);
    match kind {
        Kind::Largest => {
            output.fill(f32::NEG_INFINITY);
            // What is no number stays.
            taps(
                axes,
                at,
                input,
                output,
                |largest, value| {
                    if value > largest || value.is_nan() { value } else { largest }
                },
            );
            // As ONNX Runtime and tract have windows with nothing in them.
            let empty = output.iter_mut().zip(counts).filter(|(_, count)| *count == 0);
            empty.for_each(|(largest, _)| *largest = f32::MIN);
        }
        Kind::Sum => {
            output.fill(0.0);
            taps(axes, at, input, output, |sum, value| sum + value);
            if divided {
                output.iter_mut().zip(counts).for_each(|(sum, count)| *sum *= 1.0 / count as f32);
            }
        }
        Kind::WideSum => {
            let mut sums = vec![0.0f64; output.len()];
            taps(axes, at, input, &mut sums, |sum, value| sum + f64::from(value));
            for (output, (sum, count)) in output.iter_mut().zip(sums.into_iter().zip(counts)) {
                *output = if divided { sum * (1.0 / count as f64) } else { sum } as f32;
            }
        }
    }
}

/// Calls with each result of a row and each of the elements that its window meets, one place of the window after the other.
#[inline(always)]
fn taps<A: Copy>(axes: &[Axis; 3], at: [usize; 2], input: &[f32], results: &mut [A], of: impl Fn(A, f32) -> A) {
    let [planes, rows, columns] = axes;
    for z in (0..planes.window).filter_map(|tap| planes.place(at[0], tap)) {
        for y in (0..rows.window).filter_map(|tap| rows.place(at[1], tap)) {
            let input = &input[(z * rows.extent + y) * columns.extent..][..columns.extent];
            for tap in 0..columns.window {
                let (first, end, from) = columns.within(tap);
                let results = &mut results[first..end];
                if results.is_empty() {
                    continue;
                }
                let input = &input[from..];
                // The compiler makes wide loads of strides that it knows.
                match columns.stride {
                    1 => results.iter_mut().zip(input).for_each(|(to, value)| *to = of(*to, *value)),
                    2 => results.iter_mut().zip(input.iter().step_by(2)).for_each(|(to, value)| *to = of(*to, *value)),
                    n => results.iter_mut().zip(input.iter().step_by(n)).for_each(|(to, value)| *to = of(*to, *value)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tract_linalg::multithread::{Executor, multithread_tract_scope};
    use tract_onnx::tract_hir::internal::{EvalContext, EvalOp};
    use tract_onnx::tract_hir::tract_core::ops::cnn::{MaxPool, SumPool};

    fn spec(kernel: &[usize], strides: &[usize], dilations: &[usize], padding: PaddingSpec) -> PoolSpec {
        let (strides, dilations) = (Some(strides.into()), Some(dilations.into()));
        PoolSpec::new(DataFormat::NCHW, kernel.into(), padding, dilations, strides, 2, 2)
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let plain = tensor.try_as_plain_ram().unwrap();
        plain.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn pools_are_those_of_tract() {
        let onnx =
            |before: &[usize], after: &[usize], ceil| PaddingSpec::ExplicitOnnxPool(before.into(), after.into(), ceil);
        let all: [(&[usize], PoolSpec); 7] = [
            (&[2, 2, 6, 7, 8], spec(&[3, 3, 3], &[1, 1, 1], &[1, 1, 1], onnx(&[1; 3], &[1; 3], false))),
            (&[1, 2, 8, 6, 40], spec(&[2, 2, 2], &[2, 2, 2], &[1, 1, 1], PaddingSpec::Valid)),
            (&[1, 2, 9, 7, 10], spec(&[3, 2, 3], &[2, 3, 2], &[1, 1, 1], onnx(&[1, 0, 1], &[0, 1, 1], true))),
            (&[1, 2, 9, 10], spec(&[2, 3], &[1, 2], &[3, 2], onnx(&[1, 2], &[2, 1], false))),
            (&[1, 2, 9, 10], spec(&[3, 3], &[2, 2], &[1, 1], PaddingSpec::SameUpper)),
            (&[3, 2, 21], spec(&[4], &[3], &[1], onnx(&[2], &[3], true))),
            (&[1, 2, 5, 5, 5], spec(&[5, 5, 5], &[1, 1, 1], &[1, 1, 1], onnx(&[2; 3], &[2; 3], false))),
        ];
        let context = EvalContext::out_of_plan();
        for (shape, spec) in all {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| (i * 7919 % 1009) as f32 / 7.0 - 70.0).collect();
            let input = Tensor::from_shape(shape, &values).unwrap().into_tvalue();
            for counted in [None, Some(false), Some(true)] {
                let op = SumPool::new(spec.clone(), counted == Some(true), counted.is_some());
                let expected = op.eval(&context, tvec![input.clone()]).unwrap().remove(0);
                let sum = || computed(&spec, Kind::Sum, counted, &input).unwrap();
                assert_eq!(sum().shape(), expected.shape());
                assert_eq!(bits(&sum()), bits(&expected), "{spec:?} of {shape:?}, {counted:?}");
                let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
                assert_eq!(bits(&multithread_tract_scope(Executor::MultiThread(pool), sum)), bits(&expected));
                let wide = input.cast_to::<f64>().unwrap().into_owned().into_tvalue();
                let expected = op.eval(&context, tvec![wide]).unwrap().remove(0).cast_to::<f32>().unwrap().into_owned();
                assert_eq!(bits(&computed(&spec, Kind::WideSum, counted, &input).unwrap()), bits(&expected));
            }
            let expected = MaxPool::new(spec.clone(), None).eval(&context, tvec![input.clone()]).unwrap().remove(0);
            let largest = computed(&spec, Kind::Largest, None, &input).unwrap();
            assert_eq!(bits(&largest), bits(&expected), "{spec:?} of {shape:?}");
        }
    }

    #[test]
    fn what_is_no_number_and_what_is_infinite_goes_through_a_max_pool() {
        let values = [f32::NAN, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY, 2.0];
        let input = Tensor::from_shape(&[1, 2, 3], &values).unwrap();
        let windows = spec(&[2], &[1], &[1], PaddingSpec::Valid);
        let largest = computed(&windows, Kind::Largest, None, &input).unwrap();
        let plain = largest.try_as_plain_ram().unwrap();
        let found = plain.as_slice::<f32>().unwrap();
        assert!(found[0].is_nan());
        assert_eq!(found[1..], [1.0, f32::INFINITY, f32::INFINITY]);
        let below = Tensor::from_shape(&[1, 2, 2], &[f32::NEG_INFINITY; 4]).unwrap();
        let largest = computed(&windows, Kind::Largest, None, &below).unwrap();
        assert_eq!(bits(&largest), [f32::NEG_INFINITY.to_bits(); 2]);
    }
}
