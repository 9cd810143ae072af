use super::ring::Row;
use super::*;
use crate::backend::cpu::finish::Activation;

/// The sum as ONNX has it, in float64.
fn plainly(geometry: &Geometry, weights: &[f32], bias: &[f32], input: &[f32]) -> Vec<f64> {
    let Geometry {
        input_channels, output_channels, input: from, output: to, kernel, stride, dilation, padding, ..
    } = geometry;
    let volume: usize = to.iter().product();
    let mut output: Vec<f64> =
        (0..output_channels * volume).map(|i| bias.get(i / volume).map_or(0.0, |bias| f64::from(*bias))).collect();
    let flat = |channel: usize, [z, y, x]: Triple, extents: &Triple| {
        ((channel * extents[0] + z) * extents[1] + y) * extents[2] + x
    };
    let all = |extents: Triple| {
        let [planes, rows, columns] = extents;
        (0..planes).flat_map(move |z| (0..rows).flat_map(move |y| (0..columns).map(move |x| [z, y, x])))
    };
    // The smaller of the two grids is walked over; the tap says where in the other one it meets.
    let walked = if geometry.transposed { *from } else { *to };
    let met_extents = if geometry.transposed { to } else { from };
    for place in all(walked) {
        for (number, tap) in all(*kernel).enumerate() {
            let met = [0, 1, 2]
                .map(|axis| (place[axis] * stride[axis] + tap[axis] * dilation[axis]).wrapping_sub(padding[axis]));
            if (0..3).any(|axis| met[axis] >= met_extents[axis]) {
                continue;
            }
            let (read, written) = if geometry.transposed { (place, met) } else { (met, place) };
            for o in 0..*output_channels {
                for i in 0..*input_channels {
                    let weight = weights[(o * input_channels + i) * kernel.iter().product::<usize>() + number];
                    output[flat(o, written, to)] += f64::from(weight) * f64::from(input[flat(i, read, from)]);
                }
            }
        }
    }
    output
}

fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

/// Holds each kernel of this processor against the plain sum, and one thread against three.
fn check(geometry: &Geometry) {
    let count = |channels: usize, extents: Triple| channels * extents.iter().product::<usize>();
    let Geometry { input_channels, output_channels, input, output, kernel, .. } = geometry;
    let weights = values(count(input_channels * output_channels, *kernel), 1);
    let bias = values(*output_channels, 2);
    let given = values(count(*input_channels, *input), 3);
    let expected = plainly(geometry, &weights, &bias, &given);
    for kernel in Kernel::all() {
        let convolution = Convolution::with_kernel(geometry.clone(), &weights, &bias, kernel);
        let mut computed = vec![f32::NAN; count(*output_channels, *output)];
        convolution.run(&[&given], None, Finish::default(), &mut computed).unwrap();
        for (i, (computed, expected)) in computed.iter().zip(&expected).enumerate() {
            let difference = (f64::from(*computed) - expected).abs();
            assert!(difference < 1e-4, "{kernel:?}: {computed} and not {expected} at {i} of {geometry:?}");
        }
        let pool = std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
        let mut again = vec![f32::NAN; computed.len()];
        tract_linalg::multithread::multithread_tract_scope(Executor::MultiThread(pool), || {
            convolution.run(&[&given], None, Finish::default(), &mut again).unwrap();
        });
        assert!(computed.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "threads change {geometry:?}");
        finished(&convolution, &given, &computed);
    }
}

/// Holds what is computed in one go, from channels in two places, against the same in steps.
fn finished(convolution: &Convolution, given: &[f32], computed: &[f32]) {
    let Geometry { input_channels, output_channels, input, output, .. } = &convolution.geometry;
    let volume: usize = output.iter().product();
    let (first, second) = given.split_at(input_channels / 2 * input.iter().product::<usize>());
    let residual = values(computed.len(), 4);
    let finish = Finish { residual: true, activation: Activation::Leaky(0.25f32.to_bits()) };
    let mut at_once = vec![f32::NAN; computed.len()];
    convolution.run(&[first, second], Some(&residual), finish, &mut at_once).unwrap();
    for ((at_once, value), more) in at_once.iter().zip(computed).zip(&residual) {
        let sum = value + more;
        assert_eq!(at_once.to_bits(), if sum < 0.0 { sum * 0.25 } else { sum }.to_bits());
    }
    let (factors, numbers) = (values(*output_channels, 5), values(*output_channels, 6));
    let changed = convolution.clone().scaled(&factors).shifted(&numbers);
    changed.run(&[given], None, Finish::default(), &mut at_once).unwrap();
    for (place, (at_once, value)) in at_once.iter().zip(computed).enumerate() {
        let expected = value * factors[place / volume] + numbers[place / volume];
        assert!((at_once - expected).abs() < 1e-4, "{at_once} and not {expected}");
    }
    let mut again = vec![f32::NAN; computed.len()];
    convolution.clone().scaled(&[2.0]).shifted(&[1.0]).run(&[given], None, Finish::default(), &mut again).unwrap();
    assert!(again.iter().zip(computed).all(|(again, value)| (again - (2.0 * value + 1.0)).abs() < 1e-4));
}

fn forward(channels: [usize; 2], input: Triple, kernel: Triple, stride: Triple, dilation: Triple, pad: [Triple; 2]) {
    let output = [0, 1, 2].map(|axis| {
        let span = (kernel[axis] - 1) * dilation[axis] + 1;
        (input[axis] + pad[0][axis] + pad[1][axis] - span) / stride[axis] + 1
    });
    let [input_channels, output_channels] = channels;
    let padding = pad[0];
    check(&Geometry {
        input_channels,
        output_channels,
        input,
        output,
        kernel,
        stride,
        dilation,
        padding,
        transposed: false,
    });
}

fn transposed(
    channels: [usize; 2],
    input: Triple,
    kernel: Triple,
    stride: Triple,
    dilation: Triple,
    pad: Triple,
    more: Triple,
) {
    let output = [0, 1, 2].map(|axis| {
        (input[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 + more[axis] - 2 * pad[axis]
    });
    let [input_channels, output_channels] = channels;
    let padding = pad;
    check(&Geometry {
        input_channels,
        output_channels,
        input,
        output,
        kernel,
        stride,
        dilation,
        padding,
        transposed: true,
    });
}

#[test]
fn convolutions_of_all_kinds_are_the_plain_sum() {
    for channels in [[1, 1], [1, 8], [3, 5], [8, 17]] {
        for stride in [[1; 3], [2; 3], [1, 2, 3]] {
            forward(channels, [7, 6, 9], [3; 3], stride, [1; 3], [[1; 3]; 2]);
            forward(channels, [7, 6, 9], [3, 1, 2], stride, [1; 3], [[0; 3]; 2]);
            forward(channels, [5, 9, 30], [1; 3], stride, [1; 3], [[0; 3]; 2]);
            forward(channels, [9, 8, 11], [3, 2, 3], stride, [2, 3, 1], [[2, 0, 3], [1, 4, 0]]);
        }
    }
    forward([2, 3], [1, 1, 1], [3; 3], [1; 3], [1; 3], [[1; 3]; 2]);
    forward([2, 3], [1, 1, 1], [1; 3], [3; 3], [1; 3], [[0; 3]; 2]);
    forward([1, 2], [2, 3, 100], [1, 3, 5], [1, 1, 4], [1; 3], [[0, 1, 2]; 2]);
    forward([1, 2], [2, 3, 4], [3; 3], [1; 3], [1; 3], [[7, 5, 60], [6, 8, 50]]);
    forward([2, 5], [4, 5, 45], [3; 3], [2; 3], [1; 3], [[1; 3]; 2]);
    forward([12, 40], [3, 4, 5], [3; 3], [1; 3], [1; 3], [[1; 3]; 2]);
}

#[test]
fn transposed_convolutions_of_all_kinds_are_the_plain_sum() {
    for channels in [[1, 1], [3, 5], [8, 17]] {
        transposed(channels, [4, 5, 6], [2; 3], [2; 3], [1; 3], [0; 3], [0; 3]);
        transposed(channels, [4, 5, 6], [3; 3], [2; 3], [1; 3], [1; 3], [1; 3]);
        transposed(channels, [4, 5, 6], [3; 3], [2; 3], [1; 3], [1; 3], [0, 1, 0]);
        transposed(channels, [4, 5, 6], [4, 2, 3], [2, 3, 1], [1; 3], [1, 0, 1], [0; 3]);
        transposed(channels, [3, 4, 5], [1; 3], [3, 2, 2], [1; 3], [0; 3], [2, 1, 0]);
        transposed(channels, [3, 4, 5], [3, 2, 3], [2, 2, 3], [2, 3, 1], [1, 0, 2], [1, 0, 2]);
    }
    transposed([2, 5], [3, 4, 45], [2; 3], [2; 3], [1; 3], [0; 3], [0; 3]);
    transposed([2, 3], [1, 1, 1], [3; 3], [2; 3], [1; 3], [0; 3], [0; 3]);
}

#[test]
fn rows_are_copied_by_phase() {
    let from: Vec<f32> = (1..=7).map(|i| i as f32).collect();
    let copied = |step, number, first, count| {
        let mut to = vec![-1.0; count];
        Row::new([count, from.len()], step, number as isize + first).copy(&mut to, &from);
        to
    };
    assert_eq!(copied(1, 0, -2, 10), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0]);
    assert_eq!(copied(2, 0, -1, 5), [0.0, 2.0, 4.0, 6.0, 0.0]);
    assert_eq!(copied(2, 1, -1, 5), [1.0, 3.0, 5.0, 7.0, 0.0]);
    assert_eq!(copied(3, 2, 4, 3), [7.0, 0.0, 0.0]);
    assert_eq!(copied(1, 0, 9, 2), [0.0, 0.0]);
    // Both phases at once, of rows with registers' worth of elements and without.
    let from: Vec<f32> = (1..=45).map(|i| i as f32).collect();
    for (first, count) in [(-1, 23), (-2, 25), (-3, 9), (0, 23), (1, 23), (4, 30), (44, 3), (60, 3), (-60, 20)] {
        let rows = [0, 1].map(|phase| Row::new([count, from.len()], 2, phase + first));
        let mut apart = [vec![-1.0; count], vec![-1.0; count]];
        rows.iter().zip(&mut apart).for_each(|(row, to)| row.copy(to, &from));
        let [mut a, mut b] = [vec![-1.0; count], vec![-1.0; count]];
        Row::copy_both(&rows, [&mut a, &mut b], &from);
        assert_eq!([a, b], apart, "from {first} on");
    }
    assert_eq!(copied(1, 0, -9, 2), [0.0, 0.0]);
}
