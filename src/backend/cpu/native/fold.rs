//! Volumes cut, folded and placed: Col2Im, CenterCropPad, AffineGrid, Det.

use super::values::{Moved, axis, each, floats, made, place, wholes};
use super::{Fact, Kernel, Places, node};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// Columns, a window each, summed into what they were taken from.
#[derive(Debug)]
struct Col2Im {
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
}

impl Col2Im {
    fn list(given: &Option<Vec<usize>>, count: usize, default: usize) -> TractResult<Vec<usize>> {
        let list = given.clone().unwrap_or_else(|| vec![default; count]);
        ensure!(list.len() == count && (default == 0 || !list.contains(&0)), "its attributes do not fit its image");
        Ok(list)
    }

    /// How many windows there are along each axis.
    fn windows(&self, image: &[usize], block: &[usize]) -> TractResult<Vec<usize>> {
        let axes = image.len();
        let (dilations, strides) = (Self::list(&self.dilations, axes, 1)?, Self::list(&self.strides, axes, 1)?);
        let pads = Self::list(&self.pads, 2 * axes, 0)?;
        ensure!(block.len() == axes && !block.contains(&0), "its block {block:?} does not fit its image {image:?}");
        let one = |a: usize| {
            let room = (image[a] + pads[a] + pads[a + axes]).checked_sub((block[a] - 1) * dilations[a] + 1);
            Ok(room.context("its block is larger than its image")? / strides[a] + 1)
        };
        (0..axes).map(one).collect()
    }
}

fn extents(numbers: Vec<i64>) -> TractResult<Vec<usize>> {
    ensure!(numbers.iter().all(|n| (0..1 << 40).contains(n)), "extents of it are {numbers:?}");
    Ok(numbers.into_iter().map(|n| n as usize).collect())
}

impl Kernel for Col2Im {
    fn name(&self) -> &'static str {
        "Col2Im"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        let (image, block) = (extents(inputs.need(1)?.numbers()?)?, extents(inputs.need(2)?.numbers()?)?);
        let windows: usize = self.windows(&image, &block)?.iter().product();
        let taps: usize = block.iter().product();
        ensure!(input.kind.is_float() && input.rank() == 3, "it takes columns of floating point");
        ensure!(input.shape[1].is_multiple_of(taps) && input.shape[2] == windows, "{:?} does not fit", input.shape);
        Ok(vec![Fact::new(input.kind, [input.shape[0], input.shape[1] / taps].into_iter().chain(image))])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let (image, block) = (extents(wholes(inputs.need(1)?)?)?, extents(wholes(inputs.need(2)?)?)?);
        let windows = self.windows(&image, &block)?;
        let axes = image.len();
        let (dilations, strides) = (Self::list(&self.dilations, axes, 1)?, Self::list(&self.strides, axes, 1)?);
        let pads = Self::list(&self.pads, 2 * axes, 0)?;
        let planes = input.shape()[0] * input.shape()[1] / block.iter().product::<usize>();
        let volume: usize = image.iter().product();
        let columns = floats(input)?;
        let mut sums = vec![0.0; planes * volume];
        let mut columns = columns.iter();
        for plane in 0..planes {
            each(&block, |tap| {
                each(&windows, |window| {
                    let value = columns.next().context("there are too few columns")?;
                    let mut at = TVec::new();
                    for a in 0..axes {
                        let along = (window[a] * strides[a] + tap[a] * dilations[a]).checked_sub(pads[a]);
                        match along.filter(|along| *along < image[a]) {
                            Some(along) => at.push(along),
                            None => return Ok(()),
                        }
                    }
                    sums[plane * volume + place(&at, &image)] += value;
                    Ok(())
                })
            })?;
        }
        let shape: Vec<usize> =
            [input.shape()[0], planes / input.shape()[0].max(1)].into_iter().chain(image.iter().copied()).collect();
        Ok(vec![made(input.datum_type(), &shape, &sums)?])
    }
}

/// The middle of an input, or the input in the middle of zeros.
#[derive(Debug)]
struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

impl CenterCropPad {
    fn shape(&self, input: &[usize], wanted: Vec<i64>) -> TractResult<TVec<usize>> {
        let all = || (0..input.len() as i64).collect();
        let axes = self.axes.clone().unwrap_or_else(all);
        let wanted = extents(wanted)?;
        ensure!(axes.len() == wanted.len(), "there are {} extents for {} axes", wanted.len(), axes.len());
        let mut shape: TVec<usize> = input.into();
        for (number, extent) in axes.iter().zip(wanted) {
            shape[axis(*number, input.len())?] = extent;
        }
        Ok(shape)
    }
}

impl Kernel for CenterCropPad {
    fn name(&self) -> &'static str {
        "CenterCropPad"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        Ok(vec![Fact::new(input.kind, self.shape(&input.shape, inputs.need(1)?.numbers()?)?)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let shape = self.shape(input.shape(), wholes(inputs.need(1)?)?)?;
        let moved = Moved::of(input)?;
        let mut output = Tensor::zero_dt(input.datum_type(), &shape)?;
        let bytes = output.as_bytes_mut();
        let mut to = 0;
        each(&shape, |position| {
            let mut from = TVec::new();
            for (axis, at) in position.iter().enumerate() {
                let (had, has) = (input.shape()[axis], shape[axis]);
                let along = if has <= had { Some(at + (had - has) / 2) } else { at.checked_sub((has - had) / 2) };
                from.extend(along.filter(|along| *along < had));
            }
            if from.len() == shape.len() {
                moved.copy(place(&from, input.shape()), 1, bytes, to);
            }
            to += 1;
            Ok(())
        })?;
        Ok(vec![output])
    }
}

/// Where each voxel of an image comes from by an affine map, in coordinates from -1 to 1.
#[derive(Debug)]
struct AffineGrid {
    align_corners: bool,
}

impl Kernel for AffineGrid {
    fn name(&self) -> &'static str {
        "AffineGrid"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let theta = inputs.need(0)?;
        let size = extents(inputs.need(1)?.numbers()?)?;
        let axes = size.len().saturating_sub(2);
        ensure!((2..4).contains(&axes) && theta.kind.is_float(), "its size is {size:?}");
        ensure!(theta.shape[..] == [size[0], axes, axes + 1], "theta of shape {:?} does not fit {size:?}", theta.shape);
        Ok(vec![Fact::new(theta.kind, size[..1].iter().chain(&size[2..]).copied().chain([axes]))])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let theta = inputs.need(0)?;
        let size = extents(wholes(inputs.need(1)?)?)?;
        let (image, axes) = (&size[2..], size.len() - 2);
        let maps = floats(theta)?;
        let mut values = Vec::new();
        let coordinate = |at: usize, extent: usize| match (self.align_corners, extent) {
            (true, 1) => 0.0,
            (true, _) => 2.0 * at as f64 / (extent - 1) as f64 - 1.0,
            (false, _) => (2 * at + 1) as f64 / extent as f64 - 1.0,
        };
        for map in maps.chunks(axes * (axes + 1)).take(size[0]) {
            each(image, |position| {
                // The last axis is x.
                let point: Vec<f64> = (0..axes).rev().map(|a| coordinate(position[a], image[a])).chain([1.0]).collect();
                values.extend(map.chunks(axes + 1).map(|row| row.iter().zip(&point).map(|(m, x)| m * x).sum::<f64>()));
                Ok(())
            })?;
        }
        let shape: Vec<usize> = size[..1].iter().chain(image).copied().chain([axes]).collect();
        Ok(vec![made(theta.datum_type(), &shape, &values)?])
    }
}

/// Determinants of matrices.
#[derive(Debug)]
struct Det;

impl Kernel for Det {
    fn name(&self) -> &'static str {
        "Det"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        let rank = input.rank();
        ensure!(rank > 1 && input.shape[rank - 1] == input.shape[rank - 2], "{:?} are no square matrices", input.shape);
        ensure!(input.kind.is_float(), "it takes floating point, not {:?}", input.kind);
        Ok(vec![Fact::new(input.kind, input.shape[..rank - 2].iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let n = input.shape()[input.rank() - 1];
        let shape = &input.shape()[..input.rank() - 2];
        let values = floats(input)?;
        let one = |number: usize| {
            let mut matrix = values[number * n * n..][..n * n].to_vec();
            let mut product = 1.0;
            for column in 0..n {
                let largest =
                    |a: &usize, b: &usize| matrix[a * n + column].abs().total_cmp(&matrix[b * n + column].abs());
                let Some(pivot) = (column..n).max_by(largest) else { continue };
                if pivot != column {
                    (0..n).for_each(|k| matrix.swap(pivot * n + k, column * n + k));
                    product = -product;
                }
                let head = matrix[column * n + column];
                product *= head;
                if head == 0.0 {
                    return product;
                }
                for row in column + 1..n {
                    let factor = matrix[row * n + column] / head;
                    (column..n).for_each(|k| matrix[row * n + k] -= factor * matrix[column * n + k]);
                }
            }
            product
        };
        let results: Vec<f64> = (0..shape.iter().product()).map(one).collect();
        Ok(vec![made(input.datum_type(), shape, &results)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("Col2Im", |_, proto| {
        let list = |name| proto.get_attr_opt_vec::<usize>(name);
        let kernel = Col2Im { dilations: list("dilations")?, pads: list("pads")?, strides: list("strides")? };
        Ok((node(kernel, proto), vec![]))
    });
    operators.insert("CenterCropPad", |_, proto| {
        Ok((node(CenterCropPad { axes: proto.get_attr_opt_vec("axes")? }, proto), vec![]))
    });
    operators.insert("AffineGrid", |_, proto| {
        let align_corners = proto.get_attr_opt::<i64>("align_corners")?.unwrap_or(0) != 0;
        Ok((node(AffineGrid { align_corners }, proto), vec![]))
    });
    operators.insert("Det", |_, proto| Ok((node(Det, proto), vec![])));
}
