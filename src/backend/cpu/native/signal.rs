//! Windows for signals, and their frequencies.

use super::values::{axis, floats, made, wholes};
use super::{Fact, Kernel, Places, node};
use std::f64::consts::TAU;
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::fft::Fft;
use tract_onnx::tract_hir::internal::*;

/// a0 − a1·cos(x) + a2·cos(2x), x once around.
#[derive(Debug)]
struct Window {
    weights: [f64; 3],
    periodic: bool,
    kind: DatumType,
}

impl Window {
    fn of(proto: &NodeProto, weights: [f64; 3]) -> TractResult<Self> {
        let kind = proto.get_attr_opt::<i64>("output_datatype")?.unwrap_or(1);
        let kind = DatumType::try_from(DataType::try_from(kind as i32)?)?;
        ensure!(matches!(kind, DatumType::F32 | DatumType::F64), "its type is {kind:?}");
        Ok(Self { weights, periodic: proto.get_attr_opt::<i64>("periodic")?.unwrap_or(1) != 0, kind })
    }
}

impl Kernel for Window {
    fn name(&self) -> &'static str {
        "Window"
    }

    fn parameters(&self) -> &'static [usize] {
        &[0]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let size = inputs.need(0)?.numbers()?;
        ensure!(size.len() == 1 && (0..1 << 40).contains(&size[0]), "its size is {size:?}");
        Ok(vec![Fact::new(self.kind, [size[0] as usize])])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let size = wholes(inputs.need(0)?)?[0] as usize;
        let around = if self.periodic { size } else { size.saturating_sub(1) } as f64;
        let one = |at: usize| {
            let x = if around == 0.0 { 0.0 } else { TAU * at as f64 / around };
            self.weights[0] - self.weights[1] * x.cos() + self.weights[2] * (2.0 * x).cos()
        };
        let values: Vec<f64> = (0..size).map(one).collect();
        Ok(vec![made(self.kind, &[size], &values)?])
    }
}

/// tract's is wrong where the length is not the input's; its transform of what has the right length already is not.
#[derive(Debug)]
struct Fourier {
    /// Where it is an attribute.
    axis: Option<i64>,
    inverse: bool,
    one_sided: bool,
}

impl Fourier {
    /// The axis, the length, and the shape of the result.
    fn layout(
        &self,
        shape: &[usize],
        length: Option<i64>,
        at: Option<i64>,
    ) -> TractResult<(usize, usize, TVec<usize>)> {
        let at = axis(self.axis.or(at).unwrap_or(-2), shape.len())?;
        ensure!(at + 1 < shape.len() && matches!(shape[shape.len() - 1], 1 | 2), "it takes real or complex numbers");
        let back = self.inverse && self.one_sided;
        let usual = if back { 2 * (shape[at] as i64 - 1) } else { shape[at] as i64 };
        let length = length.unwrap_or(usual);
        ensure!((1..1 << 40).contains(&length), "its length is {length}");
        let mut result: TVec<usize> = shape.into();
        result[at] = if self.one_sided && !self.inverse { length as usize / 2 + 1 } else { length as usize };
        // What one side of frequencies comes from is real.
        result[shape.len() - 1] = if back { 1 } else { 2 };
        Ok((at, length as usize, result))
    }
}

impl Kernel for Fourier {
    fn name(&self) -> &'static str {
        "DFT"
    }

    fn parameters(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        let number = |place: usize| match inputs.get(place) {
            Some(fact) => fact.numbers().map(|numbers| numbers.first().copied()),
            None => Ok(None),
        };
        ensure!(input.kind.is_float(), "it takes floating point");
        ensure!(!self.inverse || !self.one_sided || input.shape.last() == Some(&2), "it takes complex frequencies");
        Ok(vec![Fact::new(input.kind, self.layout(&input.shape, number(1)?, number(2)?)?.2)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let shape = input.shape();
        let number = |place: usize| match inputs.get(place) {
            Some(value) => wholes(value).map(|numbers| numbers.first().copied()),
            None => Ok(None),
        };
        let (at, length, result) = self.layout(shape, number(1)?, number(2)?)?;
        let values = floats(input)?;
        let parts = shape[shape.len() - 1];
        let inner: usize = shape[at + 1..shape.len() - 1].iter().product();
        let outer: usize = shape[..at].iter().product();
        let (kept, made_of) = (result[at], result[shape.len() - 1]);
        let mut output = vec![0.0; outer * kept * inner * made_of];
        let scale = if self.inverse { 1.0 / length as f64 } else { 1.0 };
        let mut lines = Vec::with_capacity(outer * inner * length * 2);
        for line in 0..outer * inner {
            let (outside, inside) = (line / inner, line % inner);
            let given = |t: usize| {
                if t >= shape[at] {
                    return [0.0, 0.0];
                }
                let place = ((outside * shape[at] + t) * inner + inside) * parts;
                [values[place], if parts == 2 { values[place + 1] } else { 0.0 }]
            };
            let conjugate = |[re, im]: [f64; 2]| [re, -im];
            let one = |t: usize| {
                if made_of == 1 && t > length / 2 { conjugate(given(length - t)) } else { given(t) }
            };
            lines.extend((0..length).flat_map(one));
        }
        let lines = Tensor::from_shape(&[outer * inner, length, 2], &lines)?;
        let turned =
            Fft { axis: 1, inverse: self.inverse }.eval(&EvalContext::out_of_plan(), tvec![lines.into_tvalue()])?;
        let turned = turned[0].try_as_plain_ram()?;
        for (line, turned) in turned.as_slice::<f64>()?.chunks_exact(2 * length).enumerate() {
            let (outside, inside) = (line / inner, line % inner);
            for (k, number) in turned.chunks_exact(2).take(kept).enumerate() {
                let place = ((outside * kept + k) * inner + inside) * made_of;
                for part in 0..made_of {
                    output[place + part] = number[part] * scale;
                }
            }
        }
        Ok(vec![made(input.datum_type(), &result, &output)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("DFT", |context, proto| {
        let flag = |name| TractResult::Ok(proto.get_attr_opt::<i64>(name)?.unwrap_or(0) != 0);
        // Before operator set 20 the axis is an attribute.
        let axis = match context.onnx_operator_set_version < 20 {
            true => Some(proto.get_attr_opt("axis")?.unwrap_or(1)),
            false => None,
        };
        Ok((node(Fourier { axis, inverse: flag("inverse")?, one_sided: flag("onesided")? }, proto), vec![]))
    });
    operators.insert("HannWindow", |_, proto| Ok((node(Window::of(proto, [0.5, 0.5, 0.0])?, proto), vec![])));
    operators.insert("HammingWindow", |_, proto| {
        Ok((node(Window::of(proto, [25.0 / 46.0, 21.0 / 46.0, 0.0])?, proto), vec![]))
    });
    operators.insert("BlackmanWindow", |_, proto| Ok((node(Window::of(proto, [0.42, 0.5, 0.08])?, proto), vec![])));
}
