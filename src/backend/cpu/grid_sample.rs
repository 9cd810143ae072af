//! GridSample: an input looked up between its voxels, at places that a grid gives; registration networks warp images so.
//!
//! tract works out each result by itself, with lists of its coordinates, and once more for each channel; here the places of a
//! block of points are worked out once, point beside point, and the channels read there. The bits are the same.

use super::voxels::{dispatch, each_block, is_dispatched};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::bail;
use tract_onnx::tract_hir::tract_core::ops::nn::grid_sample::{GridSample, InterpolationMode, PaddingMode};

/// Points whose places are worked out together.
const POINTS: usize = 64;

/// Points that one thread takes at a time.
const BLOCK: usize = 16 * POINTS;

/// The most axes that there are places for.
const AXES: usize = 3;

/// Whether [`eval`] does what the node asks for: float32 over up to three axes, or the nearest of other elements.
pub fn takes(node: &TypedNode, inputs: &[TValue]) -> bool {
    let (Some(op), [input, grid]) = (node.op_as::<GridSample>(), inputs) else { return false };
    let float = |value: &TValue| value.datum_type() == f32::datum_type() && value.has_plain_ram_storage();
    let axes = input.rank().saturating_sub(2);
    let extents = &input.shape()[input.rank().min(2)..];
    let nearest = op.mode == InterpolationMode::Nearest;
    (float(input) || nearest && is_dispatched(input.datum_type()) && input.has_plain_ram_storage())
        && float(grid)
        && (1..=AXES).contains(&axes)
        && (axes == 2 || op.mode != InterpolationMode::Bicubic)
        && input.len() > 0
        // Whole numbers that float32 has, and offsets that 32 bits hold.
        && extents.iter().all(|extent| *extent < 1 << 23)
        && extents.iter().product::<usize>() < 1 << 31
}

/// The node's output; [`takes`] holds for it.
pub fn eval(node: &TypedNode, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    let (Some(op), [input, grid]) = (node.op_as::<GridSample>(), &inputs[..]) else {
        bail!("{} is not a GridSample", node.name)
    };
    let (from, to) = (input.shape(), grid.shape());
    let axes = from.len() - 2;
    if to.len() != axes + 2 || to[0] != from[0] || to[axes + 1] != axes {
        bail!("a grid of shape {to:?} does not fit an input of shape {from:?}");
    }
    let shape: TVec<usize> = from[..2].iter().chain(&to[1..=axes]).copied().collect();
    if input.datum_type() != f32::datum_type() {
        let output = dispatch!(nearest(input.datum_type())(op, &shape, input, grid))?;
        return Ok(tvec![output.into_tvalue()]);
    }
    let mut output = Tensor::zero::<f32>(&shape)?;
    let (input, grid) = (input.try_as_plain_ram()?, grid.try_as_plain_ram()?);
    let mut results = output.try_as_plain_ram_mut()?;
    sample(op, &from[1..], input.as_slice()?, grid.as_slice()?, results.as_slice_mut()?);
    Ok(tvec![output.into_tvalue()])
}

/// The nearest elements. tract has them as float32 on the way.
fn nearest<T: Datum + Copy + tract_num_traits::Zero>(
    op: &GridSample,
    shape: &[usize],
    input: &Tensor,
    grid: &Tensor,
) -> TractResult<Tensor> {
    let mut output = Tensor::zero::<T>(shape)?;
    let from = input.shape();
    let (input, grid) = (input.try_as_plain_ram()?, grid.try_as_plain_ram()?);
    let mut results = output.try_as_plain_ram_mut()?;
    let work = |extents: &[usize], input: &[T], grid: &[f32], rows: &mut [&mut [T]]| {
        let (axes, volume) = (extents.len(), extents.iter().product());
        let mut corners = Corners::default();
        for (number, grid) in grid.chunks(POINTS * axes).enumerate() {
            corners.find(op, extents, &mut coordinates(grid, axes)[..axes]);
            for (row, input) in rows.iter_mut().zip(input.chunks_exact(volume)) {
                let places = corners.offsets[0].iter().zip(&corners.inside[0]);
                for (to, (offset, inside)) in row[number * POINTS..].iter_mut().zip(places) {
                    // What is outside stays zero.
                    if *inside != 0 {
                        *to = input[*offset as usize];
                    }
                }
            }
        }
    };
    each(&from[1..], input.as_slice()?, grid.as_slice()?, results.as_slice_mut()?, work);
    Ok(output)
}

/// `shape` are an item's channels and extents.
fn sample(op: &GridSample, shape: &[usize], input: &[f32], grid: &[f32], output: &mut [f32]) {
    each(shape, input, grid, output, |extents, input, grid, rows| block(op, extents, input, grid, rows));
}

/// Calls for points that follow each other, in all channels, with an item's extents, its input, where the points are, and a row
/// of results for each channel.
fn each<T: Send + Sync>(
    shape: &[usize],
    input: &[T],
    grid: &[f32],
    output: &mut [T],
    work: impl Fn(&[usize], &[T], &[f32], &mut [&mut [T]]) + Sync,
) {
    let (channels, extents) = (shape[0], &shape[1..]);
    let (axes, volume) = (extents.len(), extents.iter().product::<usize>());
    let items = input.len() / (channels * volume);
    let points = output.len() / (items * channels);
    each_block(output, channels, points, BLOCK, |item, start, rows| {
        let places = &grid[(item * points + start) * axes..][..rows[0].len() * axes];
        let input = &input[item * channels * volume..][..channels * volume];
        work(extents, input, places, rows);
    });
}

/// Points that follow each other, in all channels.
fn block(op: &GridSample, extents: &[usize], input: &[f32], grid: &[f32], rows: &mut [&mut [f32]]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(op: &GridSample, extents: &[usize], input: &[f32], grid: &[f32], rows: &mut [&mut [f32]]) {
            plain(op, extents, input, grid, rows);
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions.
            return unsafe { wide(op, extents, input, grid, rows) };
        }
    }
    plain(op, extents, input, grid, rows);
}

/// Written for a compiler that knows of wide registers: it gives the same bits with them and without.
#[inline(always)]
fn plain(op: &GridSample, extents: &[usize], input: &[f32], grid: &[f32], rows: &mut [&mut [f32]]) {
    let axes = extents.len();
    let volume: usize = extents.iter().product();
    let mut corners = Corners::default();
    for (number, grid) in grid.chunks(POINTS * axes).enumerate() {
        let count = grid.len() / axes;
        corners.find(op, extents, &mut coordinates(grid, axes)[..axes]);
        for (row, input) in rows.iter_mut().zip(input.chunks_exact(volume)) {
            let mut results = [0.0; POINTS];
            match op.mode {
                InterpolationMode::Nearest => corners.pixels(0, input, &mut results),
                InterpolationMode::Bilinear => corners.linear(1 << axes, input, &mut results),
                InterpolationMode::Bicubic => corners.cubic(input, &mut results),
            }
            row[number * POINTS..][..count].copy_from_slice(&results[..count]);
        }
    }
}

/// One number for each point.
type Each<T> = [T; POINTS];

/// For each axis the coordinates of up to as many points, which the grid has with the last axis first.
#[inline(always)]
fn coordinates(grid: &[f32], axes: usize) -> [Each<f32>; AXES] {
    let mut coordinates = [[0.0; POINTS]; AXES];
    for (axis, coordinates) in coordinates[..axes].iter_mut().enumerate() {
        for (coordinate, point) in coordinates.iter_mut().zip(grid.chunks_exact(axes)) {
            *coordinate = point[axes - 1 - axis];
        }
    }
    coordinates
}

/// What of the input the results for some points are made of.
struct Corners {
    offsets: [Each<u32>; 16],
    /// All bits where there is a voxel; where there is none it counts as zero.
    inside: [Each<u32>; 16],
    /// For linear interpolation a weight for each corner; for cubic four along the first axis, then four along the second.
    weights: [Each<f32>; 8],
}

impl Default for Corners {
    fn default() -> Self {
        Self { offsets: [[0; POINTS]; 16], inside: [[0; POINTS]; 16], weights: [[0.0; POINTS]; 8] }
    }
}

impl Corners {
    /// `coordinates` from -1 to 1, for each axis, are written to.
    #[inline(always)]
    fn find(&mut self, op: &GridSample, extents: &[usize], coordinates: &mut [Each<f32>]) {
        let mut outside = [false; POINTS];
        for (extent, coordinates) in extents.iter().zip(coordinates.iter_mut()) {
            let (size, (low, high)) = (*extent as f32, bounds(op, *extent));
            match op.align_corners {
                true => coordinates.iter_mut().for_each(|c| *c = (*c + 1.0) / 2.0 * (size - 1.0)),
                false => coordinates.iter_mut().for_each(|c| *c = ((*c + 1.0) * size - 1.0) / 2.0),
            }
            if op.mode == InterpolationMode::Nearest {
                coordinates.iter_mut().for_each(|c| *c = c.round_ties_even());
            }
            outside.iter_mut().zip(&*coordinates).for_each(|(outside, c)| *outside |= *c < low || *c > high);
        }
        self.inside.iter_mut().for_each(|inside| *inside = [u32::MAX; POINTS]);
        self.offsets.iter_mut().for_each(|offsets| *offsets = [0; POINTS]);
        self.weights.iter_mut().for_each(|weights| *weights = [1.0; POINTS]);
        let mut stride = extents.iter().product::<usize>() as u32;
        for (axis, (extent, coordinates)) in extents.iter().zip(coordinates.iter_mut()).enumerate() {
            stride /= *extent as u32;
            // Where one coordinate is outside all are brought inside.
            padded(op, *extent, coordinates, &outside);
            match op.mode {
                InterpolationMode::Nearest => {
                    let (offsets, inside) = places(op, *extent, stride, coordinates, 0.0);
                    self.along(0, &offsets, &inside);
                }
                InterpolationMode::Bilinear => {
                    let low = coordinates.map(f32::floor);
                    let taps = [0.0, 1.0].map(|tap| places(op, *extent, stride, &low, tap));
                    let mut weights = [[0.0; POINTS]; 2];
                    for point in 0..POINTS {
                        weights[0][point] = low[point] + 1.0 - coordinates[point];
                        weights[1][point] = coordinates[point] - low[point];
                    }
                    for corner in 0..1 << extents.len() {
                        let tap = corner >> axis & 1;
                        self.along(corner, &taps[tap].0, &taps[tap].1);
                        self.weights[corner].iter_mut().zip(&weights[tap]).for_each(|(all, of)| *all *= of);
                    }
                }
                InterpolationMode::Bicubic => {
                    let mut first = [0.0; POINTS];
                    for point in 0..POINTS {
                        first[point] = coordinates[point].floor() - 1.0;
                        let weights = cubic_weights(coordinates[point] - first[point] - 1.0);
                        (0..4).for_each(|tap| self.weights[4 * axis + tap][point] = weights[tap]);
                    }
                    let taps = [0.0, 1.0, 2.0, 3.0].map(|tap| places(op, *extent, stride, &first, tap));
                    for corner in 0..16 {
                        let tap = corner >> (2 * axis) & 3;
                        self.along(corner, &taps[tap].0, &taps[tap].1);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn along(&mut self, corner: usize, offsets: &Each<u32>, inside: &Each<u32>) {
        self.offsets[corner].iter_mut().zip(offsets).for_each(|(all, of)| *all += of);
        self.inside[corner].iter_mut().zip(inside).for_each(|(all, of)| *all &= of);
    }

    /// The voxels of one corner.
    #[inline(always)]
    fn pixels(&self, corner: usize, input: &[f32], pixels: &mut Each<f32>) {
        pixels.iter_mut().zip(&self.offsets[corner]).for_each(|(pixel, offset)| *pixel = input[*offset as usize]);
        for (pixel, inside) in pixels.iter_mut().zip(&self.inside[corner]) {
            *pixel = f32::from_bits(pixel.to_bits() & inside);
        }
    }

    #[inline(always)]
    fn linear(&self, corners: usize, input: &[f32], results: &mut Each<f32>) {
        for (corner, weights) in self.weights[..corners].iter().enumerate() {
            let mut pixels = [0.0; POINTS];
            self.pixels(corner, input, &mut pixels);
            for (result, (weight, pixel)) in results.iter_mut().zip(weights.iter().zip(&pixels)) {
                *result += weight * pixel;
            }
        }
    }

    #[inline(always)]
    fn cubic(&self, input: &[f32], results: &mut Each<f32>) {
        let (first, second) = self.weights.split_at(4);
        let mut lines = [[0.0; POINTS]; 4];
        for (line, values) in lines.iter_mut().enumerate() {
            let mut pixels = [[0.0; POINTS]; 4];
            (0..4).for_each(|tap| self.pixels(4 * line + tap, input, &mut pixels[tap]));
            weighted(first, &pixels, values);
        }
        weighted(second, &lines, results);
    }
}

#[inline(always)]
fn weighted(weights: &[Each<f32>], values: &[Each<f32>; 4], results: &mut Each<f32>) {
    for (point, result) in results.iter_mut().enumerate() {
        let of = |tap: usize| weights[tap][point] * values[tap][point];
        *result = of(0) + of(1) + of(2) + of(3);
    }
}

/// Keys' weights, with -0.75, of four neighbours, as far behind the second of them.
#[inline(always)]
fn cubic_weights(behind: f32) -> [f32; 4] {
    let a = -0.75f32;
    let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [far(behind + 1.0), near(behind), near(1.0 - behind), far(2.0 - behind)]
}

/// From where to where the input lies along an axis.
#[inline(always)]
fn bounds(op: &GridSample, extent: usize) -> (f32, f32) {
    let size = extent as f32;
    if op.align_corners { (0.0, size - 1.0) } else { (-0.5, size - 0.5) }
}

/// Brings the coordinates of points that are outside to where the input has something.
#[inline(always)]
fn padded(op: &GridSample, extent: usize, coordinates: &mut Each<f32>, outside: &Each<bool>) {
    let (low, high) = bounds(op, extent);
    let both = coordinates.iter_mut().zip(outside);
    match op.padding_mode {
        PaddingMode::Zeros => {}
        PaddingMode::Border => both.for_each(|(c, outside)| {
            let within = c.clamp(0.0, high + low);
            *c = if *outside { within } else { *c };
        }),
        PaddingMode::Reflection => both.for_each(|(c, outside)| {
            let within = reflected(*c, low, high);
            *c = if *outside { within } else { *c };
        }),
    }
}

/// Where voxels lie along an axis, so many behind the given ones, and whether there are any.
#[inline(always)]
fn places(op: &GridSample, extent: usize, stride: u32, from: &Each<f32>, behind: f32) -> (Each<u32>, Each<u32>) {
    let (mut offsets, mut inside) = ([0; POINTS], [u32::MAX; POINTS]);
    let last = (extent - 1) as f32;
    // What is none is the first. As a whole number by the bits of a sum whose last digit is 1: a conversion goes one by one.
    const WHOLE: f32 = 8_388_608.0;
    let offset = |place: f32| ((place.max(0.0).min(last).trunc() + WHOLE).to_bits() - WHOLE.to_bits()) * stride;
    match op.padding_mode {
        PaddingMode::Zeros => {
            for point in 0..POINTS {
                let place = from[point] + behind;
                offsets[point] = offset(place);
                inside[point] = u32::from(place >= 0.0 && place <= last).wrapping_neg();
            }
        }
        PaddingMode::Border => (0..POINTS).for_each(|point| offsets[point] = offset(from[point] + behind)),
        PaddingMode::Reflection => {
            let (low, high) = bounds(op, extent);
            (0..POINTS).for_each(|point| offsets[point] = offset(reflected(from[point] + behind, low, high)));
        }
    }
    (offsets, inside)
}

/// What is below or above is folded back as often as it takes.
#[inline(always)]
fn reflected(x: f32, low: f32, high: f32) -> f32 {
    let range = high - low;
    if range == 0.0 {
        return low;
    }
    let (below, above) = (x < low, x > high);
    let beyond = if below { low - x } else { x - high };
    let times = (beyond / range).trunc();
    let rest = beyond - times * range;
    let is_even = (times / 2.0).trunc() * 2.0 == times;
    let folded = if below == is_even { low + rest } else { high - rest };
    if below || above { folded } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tract_linalg::multithread::{Executor, multithread_tract_scope};
    use tract_onnx::tract_hir::internal::EvalOp;

    #[test]
    fn the_bits_are_those_of_one_point_after_the_other() {
        let all: [(&[usize], &[usize]); 5] = [
            (&[2, 3, 7], &[2, 2 * BLOCK + 5, 1]),
            (&[1, 2, 5, 6], &[1, 9, 13, 2]),
            (&[2, 1, 1, 4], &[2, 5, 17, 2]),
            (&[2, 2, 4, 5, 6], &[2, 3, 31, 7, 3]),
            (&[1, 1, 3, 1, 2], &[1, 1, 1, 1, 3]),
        ];
        let cases = all.iter().flat_map(|shapes| {
            let modes = [InterpolationMode::Nearest, InterpolationMode::Bilinear, InterpolationMode::Bicubic];
            let paddings = [PaddingMode::Zeros, PaddingMode::Border, PaddingMode::Reflection];
            let with = move |mode: InterpolationMode| {
                let one = move |padding_mode: PaddingMode| {
                    let op = |align_corners| GridSample {
                        mode: mode.clone(),
                        padding_mode: padding_mode.clone(),
                        align_corners,
                    };
                    [op(false), op(true)]
                };
                paddings.clone().into_iter().flat_map(one)
            };
            modes.into_iter().flat_map(with).map(move |op| (shapes.0, shapes.1, op))
        });
        for (from, to, op) in cases {
            if op.mode == InterpolationMode::Bicubic && from.len() != 4 {
                continue;
            }
            let input: Vec<f32> =
                (0..from.iter().product()).map(|i: usize| (i * 7919 % 101) as f32 / 7.0 - 6.0).collect();
            // Some far outside, and some on voxels and on borders.
            let place = |i: usize| match i * 6113 % 503 {
                n if n % 11 == 0 => [-1.0, 1.0, 0.0, -3e6, 47.0][i % 5],
                n => n as f32 / 180.0 - 1.4,
            };
            let grid: Vec<f32> = (0..to.iter().product()).map(place).collect();
            let tensor = |shape, values: &[f32]| Tensor::from_shape(shape, values).unwrap().into_tvalue();
            let expected = op.eval_out_of_plan(tvec![tensor(from, &input), tensor(to, &grid)]).unwrap().unwrap();
            let expected = bits(expected[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap());
            let mut output = vec![9.0; expected.len()];
            sample(&op, &from[1..], &input, &grid, &mut output);
            assert_eq!(bits(&output), expected, "{op:?} of {from:?} at {to:?}");
            let pool = Executor::MultiThread(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()));
            let mut threaded = vec![9.0; expected.len()];
            multithread_tract_scope(pool, || sample(&op, &from[1..], &input, &grid, &mut threaded));
            assert_eq!(bits(&threaded), expected);
            let count = to[1..to.len() - 1].iter().product::<usize>();
            let mut narrow = vec![9.0; from[1] * count];
            let (first, places) = (&input[..input.len() / from[0]], &grid[..grid.len() / to[0]]);
            plain(&op, &from[2..], first, places, &mut narrow.chunks_mut(count).collect::<Vec<_>>());
            assert_eq!(bits(&narrow), expected[..narrow.len()]);
        }
    }

    #[test]
    fn the_nearest_whole_numbers_keep_all_digits() {
        let op =
            GridSample { mode: InterpolationMode::Nearest, padding_mode: PaddingMode::Zeros, align_corners: false };
        let input = Tensor::from_shape(&[1, 1, 2, 2], &[i64::MAX, 2, 3, i64::MIN + 1]).unwrap();
        let grid = Tensor::from_shape(&[1, 1, 3, 2], &[-0.5f32, -0.5, 0.5, 0.5, 5.0, 0.0]).unwrap();
        let found = nearest::<i64>(&op, &[1, 1, 1, 3], &input, &grid).unwrap();
        assert_eq!(found.try_as_plain_ram().unwrap().as_slice::<i64>().unwrap(), [i64::MAX, i64::MIN + 1, 0]);
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn places_that_are_none_are_of_no_voxel() {
        let op = |mode| GridSample { mode, padding_mode: PaddingMode::Zeros, align_corners: false };
        let grid = [f32::NAN, 0.0, f32::INFINITY, f32::NEG_INFINITY, 1e30, 0.0];
        let mut output = [9.0; 3];
        sample(&op(InterpolationMode::Nearest), &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0], &grid, &mut output);
        assert_eq!(output, [0.0; 3]);
        sample(&op(InterpolationMode::Bilinear), &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0], &grid, &mut output);
        assert!(output[0].is_nan() && output[1].is_nan() && output[2] == 0.0, "{output:?}");
    }
}
