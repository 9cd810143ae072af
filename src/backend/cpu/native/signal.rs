//! Windows for signals.

use super::values::made;
use super::{Fact, Kernel, Places, node};
use std::f64::consts::TAU;
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
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
        let size = super::values::wholes(inputs.need(0)?)?[0] as usize;
        let around = if self.periodic { size } else { size.saturating_sub(1) } as f64;
        let one = |at: usize| {
            let x = if around == 0.0 { 0.0 } else { TAU * at as f64 / around };
            self.weights[0] - self.weights[1] * x.cos() + self.weights[2] * (2.0 * x).cos()
        };
        let values: Vec<f64> = (0..size).map(one).collect();
        Ok(vec![made(self.kind, &[size], &values)?])
    }
}

pub fn register(operators: &mut OnnxOpRegister) {
    operators.insert("HannWindow", |_, proto| Ok((node(Window::of(proto, [0.5, 0.5, 0.0])?, proto), vec![])));
    operators.insert("HammingWindow", |_, proto| {
        Ok((node(Window::of(proto, [25.0 / 46.0, 21.0 / 46.0, 0.0])?, proto), vec![]))
    });
    operators.insert("BlackmanWindow", |_, proto| Ok((node(Window::of(proto, [0.42, 0.5, 0.08])?, proto), vec![])));
}
