//! QuantizeLinear and DequantizeLinear, with a scale for all, for each channel or for blocks, constant or computed.
//!
//! tract's has constant scales only, no blocks, and lets what is beyond the range wrap around.

use super::values::{axis, floats, made, wholes};
use super::{Fact, Kernel, Places, node};
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Debug)]
struct Scaling {
    axis: i64,
    block: usize,
}

impl Scaling {
    fn of(proto: &NodeProto) -> TractResult<Self> {
        let block = proto.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
        ensure!(block >= 0, "block_size is {block}");
        Ok(Self { axis: proto.get_attr_opt("axis")?.unwrap_or(1), block: block as usize })
    }

    /// For each element the place of its scale.
    fn places(&self, shape: &[usize], scale: &[usize]) -> TractResult<Vec<usize>> {
        let count: usize = shape.iter().product();
        if scale.iter().product::<usize>() == 1 {
            return Ok(vec![0; count]);
        }
        let at = axis(self.axis, shape.len())?;
        let inner: usize = shape[at + 1..].iter().product();
        if scale.len() == 1 {
            ensure!(scale[0] == shape[at], "there are {} scales for an axis of {}", scale[0], shape[at]);
            return Ok((0..count).map(|place| place / inner % shape[at]).collect());
        }
        ensure!(scale.len() == shape.len() && self.block > 0, "scales of shape {scale:?} do not fit {shape:?}");
        let fits = |a: usize| if a == at { shape[a].div_ceil(self.block) == scale[a] } else { shape[a] == scale[a] };
        ensure!(
            (0..shape.len()).all(fits),
            "scales of shape {scale:?} do not fit blocks of {} of {shape:?}",
            self.block
        );
        let one = |place: usize| {
            let (outer, along, within) = (place / inner / shape[at], place / inner % shape[at], place % inner);
            (outer * scale[at] + along / self.block) * inner + within
        };
        Ok((0..count).map(one).collect())
    }

    fn check(&self, inputs: &Places<Fact>) -> TractResult<()> {
        let (input, scale) = (inputs.need(0)?, inputs.need(1)?);
        ensure!(scale.kind == f32::datum_type(), "its scale is {:?}", scale.kind);
        if let Some(zero) = inputs.get(2) {
            ensure!(zero.shape == scale.shape, "its zero point has another shape than its scale");
        }
        self.places(&input.shape, &scale.shape).map(|_| ())
    }
}

#[derive(Debug)]
struct Quantize {
    scaling: Scaling,
    kind: Option<DatumType>,
}

impl Kernel for Quantize {
    fn name(&self) -> &'static str {
        "QuantizeLinear"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        self.scaling.check(inputs)?;
        let input = inputs.need(0)?;
        ensure!(matches!(input.kind, DatumType::F32 | DatumType::I32), "it takes float32, not {:?}", input.kind);
        let kind = inputs.get(2).map(|zero| zero.kind).or(self.kind).unwrap_or(DatumType::U8);
        let known = matches!(kind, DatumType::U8 | DatumType::I8 | DatumType::U16 | DatumType::I16);
        ensure!(known, "the CPU engine does not quantize to {kind:?}");
        Ok(vec![Fact::new(kind, input.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (input, scale) = (inputs.need(0)?, inputs.need(1)?);
        let places = self.scaling.places(input.shape(), scale.shape())?;
        let kind = inputs.get(2).map(|zero| zero.datum_type()).or(self.kind).unwrap_or(DatumType::U8);
        let (least, most) = match kind {
            DatumType::I8 => (-128, 127),
            DatumType::U16 => (0, 65535),
            DatumType::I16 => (-32768, 32767),
            _ => (0, 255),
        };
        let zeros = inputs.get(2).map(|zero| wholes(zero)).transpose()?;
        let wide = input.cast_to::<f32>()?;
        let wide = wide.try_as_plain_ram()?;
        let scales = scale.try_as_plain_ram()?;
        let scales = scales.as_slice::<f32>()?;
        let one = |(value, place): (&f32, usize)| {
            let zero = zeros.as_ref().map_or(0, |zeros| zeros[place]);
            // As far as there are whole numbers in float32; then what is added makes no difference.
            let steps = (value / scales[place]).round_ties_even().clamp(-1e9, 1e9) as i64;
            (steps + zero).clamp(least, most)
        };
        let results: Vec<i64> = wide.as_slice::<f32>()?.iter().zip(places).map(one).collect();
        Ok(vec![made(kind, input.shape(), &results)?])
    }
}

#[derive(Debug)]
struct Dequantize(Scaling);

impl Kernel for Dequantize {
    fn name(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        self.0.check(inputs)?;
        let input = inputs.need(0)?;
        ensure!(input.kind.is_integer(), "it takes whole numbers, not {:?}", input.kind);
        if let Some(zero) = inputs.get(2) {
            ensure!(zero.kind == input.kind, "its zero point is {:?}, what it takes is {:?}", zero.kind, input.kind);
        }
        Ok(vec![Fact::new(f32::datum_type(), input.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (input, scale) = (inputs.need(0)?, inputs.need(1)?);
        let places = self.0.places(input.shape(), scale.shape())?;
        let zeros = inputs.get(2).map(|zero| wholes(zero)).transpose()?;
        let scales = floats(scale)?;
        let one = |(value, place): (i64, usize)| {
            let steps = value - zeros.as_ref().map_or(0, |zeros| zeros[place]);
            steps as f32 * scales[place] as f32
        };
        let results: Vec<f32> = wholes(input)?.into_iter().zip(places).map(one).collect();
        Ok(vec![made(f32::datum_type(), input.shape(), &results)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("QuantizeLinear", |_, proto| {
        let kind = match proto.get_attr_opt::<i64>("output_dtype")?.unwrap_or(0) {
            0 => None,
            kind => Some(DatumType::try_from(DataType::try_from(kind as i32)?)?),
        };
        Ok((node(Quantize { scaling: Scaling::of(proto)?, kind }, proto), vec![]))
    });
    operators.insert("DequantizeLinear", |_, proto| Ok((node(Dequantize(Scaling::of(proto)?), proto), vec![])));
}
