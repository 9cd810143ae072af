//! Functions of one element.

use super::values::made;
use super::{Built, Fact, Kernel, Places, node};
use crate::backend::cpu::kept::{displace, expansion, tracts};
use crate::backend::cpu::numeric::alike;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::element_wise::ElementWiseOp;

/// A function of an element and of attributes.
type Function = fn(f64, &[f64]) -> f64;

#[derive(Debug)]
struct Pointwise {
    name: &'static str,
    function: Function,
    attributes: Vec<f64>,
}

impl Kernel for Pointwise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        ensure!(input.kind.is_float(), "{} takes floating point, not {:?}", self.name, input.kind);
        Ok(vec![Fact::new(input.kind, input.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let mut tensor = inputs.need(0)?.clone().into_tensor();
        let one = |value: f64| (self.function)(value, &self.attributes);
        let kind = tensor.datum_type();
        let mut plain = tensor.try_as_plain_ram_mut()?;
        if kind == f32::datum_type() {
            plain.as_slice_mut::<f32>()?.iter_mut().for_each(|value| *value = one(f64::from(*value)) as f32);
        } else {
            plain.as_slice_mut::<f64>()?.iter_mut().for_each(|value| *value = one(*value));
        }
        Ok(vec![tensor])
    }
}

/// tract's operator for float32, and one of ours for float64, which tract lacks or computes with fewer digits.
#[derive(Clone, Debug)]
struct ByType {
    tracts: Tracts,
    ours: Box<dyn Expansion>,
}

#[derive(Clone, Debug)]
enum Tracts {
    Expansion(Box<dyn Expansion>),
    ElementWise(ElementWiseOp),
}

impl Expansion for ByType {
    fn name(&self) -> StaticName {
        self.ours.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        alike(solver, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        if model.outlet_fact(inputs[0])?.datum_type == f64::datum_type() {
            return self.ours.wire(prefix, model, inputs);
        }
        match &self.tracts {
            Tracts::Expansion(expansion) => expansion.wire(prefix, model, inputs),
            Tracts::ElementWise(op) => model.wire_node(prefix, op.clone(), inputs),
        }
    }
}

/// tract's operator where it computes float32 right, ours elsewhere.
fn by_type(context: &ParsingContext, proto: &NodeProto, ours: Pointwise) -> Built {
    let ours = node(ours, proto);
    let (operator, outputs) = tracts(context, proto)?;
    let ours = expansion(&*ours)?;
    let element_wise = operator.as_op().downcast_ref::<ElementWiseOp>().cloned().map(Tracts::ElementWise);
    match expansion(&*operator).ok().map(Tracts::Expansion).or(element_wise) {
        Some(tracts) => Ok((expand(ByType { tracts, ours }), outputs)),
        None => Ok((operator, outputs)),
    }
}

fn number(proto: &NodeProto, name: &str, default: f32) -> TractResult<f64> {
    Ok(f64::from(proto.get_attr_opt::<f32>(name)?.unwrap_or(default)))
}

/// Whether a number is infinite or none, element by element.
#[derive(Debug)]
struct Unusual {
    /// By sign, or no number at all.
    negative: bool,
    positive: bool,
    nan: bool,
}

impl Kernel for Unusual {
    fn name(&self) -> &'static str {
        "Unusual"
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let input = inputs.need(0)?;
        ensure!(input.kind.is_float(), "it takes floating point, not {:?}", input.kind);
        Ok(vec![Fact::new(bool::datum_type(), input.shape.iter().copied())])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let input = inputs.need(0)?;
        let one = |value: f64| {
            value.is_nan() && self.nan
                || value == f64::INFINITY && self.positive
                || value == f64::NEG_INFINITY && self.negative
        };
        let results: Vec<bool> = super::values::floats(input)?.into_iter().map(one).collect();
        Ok(vec![made(bool::datum_type(), input.shape(), &results)?])
    }
}

fn erf(x: f64) -> f64 {
    libm::erf(x)
}

fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// Squares of numbers beyond this are infinite, or nearly.
const HUGE: f64 = 1e150;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Of which tract's are kept for float32.
const TWOFOLD: &[&str] = &[
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Round",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "ThresholdedRelu",
];

pub fn register(operators: &mut OnnxOpRegister) {
    TWOFOLD.iter().for_each(|name| displace(operators, name, twofold));
    operators.insert("Acosh", |_, proto| {
        let function: Function = |x, _| if x > HUGE { x.ln() + std::f64::consts::LN_2 } else { x.acosh() };
        Ok((node(Pointwise { name: "Acosh", function, attributes: vec![] }, proto), vec![]))
    });
    operators.insert("Asinh", |_, proto| {
        let function: Function = |x, _| match x.abs() > HUGE {
            true => (x.abs().ln() + std::f64::consts::LN_2).copysign(x),
            false => x.asinh(),
        };
        Ok((node(Pointwise { name: "Asinh", function, attributes: vec![] }, proto), vec![]))
    });
    operators.insert("Celu", |_, proto| {
        let function: Function = |x, a| if x < 0.0 { a[0] * (x / a[0]).exp_m1() } else { x };
        let attributes = vec![number(proto, "alpha", 1.0)?];
        Ok((node(Pointwise { name: "Celu", function, attributes }, proto), vec![]))
    });
    operators.insert("Selu", |_, proto| {
        let function: Function = |x, a| a[1] * if x <= 0.0 { a[0] * x.exp_m1() } else { x };
        let attributes = vec![number(proto, "alpha", 1.673_263_2)?, number(proto, "gamma", 1.050_701)?];
        Ok((node(Pointwise { name: "Selu", function, attributes }, proto), vec![]))
    });
    operators.insert("Shrink", |_, proto| {
        let function: Function = |x, a| match x {
            _ if x < -a[1] => x + a[0],
            _ if x > a[1] => x - a[0],
            _ => 0.0,
        };
        let attributes = vec![number(proto, "bias", 0.0)?, number(proto, "lambd", 0.5)?];
        Ok((node(Pointwise { name: "Shrink", function, attributes }, proto), vec![]))
    });
    operators.insert("Swish", |_, proto| {
        let function: Function = |x, a| x * sigmoid(a[0] * x);
        let attributes = vec![number(proto, "alpha", 1.0)?];
        Ok((node(Pointwise { name: "Swish", function, attributes }, proto), vec![]))
    });
    operators
        .insert("IsNaN", |_, proto| Ok((node(Unusual { negative: false, positive: false, nan: true }, proto), vec![])));
    operators.insert("IsInf", |_, proto| {
        let wanted = |name| TractResult::Ok(proto.get_attr_opt::<i64>(name)?.unwrap_or(1) != 0);
        let kernel = Unusual { negative: wanted("detect_negative")?, positive: wanted("detect_positive")?, nan: false };
        Ok((node(kernel, proto), vec![]))
    });
}

/// An operator of which tract's is kept for float32.
fn twofold(context: &ParsingContext, proto: &NodeProto) -> Built {
    let Some(name) = TWOFOLD.iter().find(|name| **name == proto.op_type) else { bail!("no such operator") };
    let (function, attributes): (Function, Vec<f64>) = match *name {
        "Elu" => (|x, a| if x < 0.0 { a[0] * x.exp_m1() } else { x }, vec![number(proto, "alpha", 1.0)?]),
        "Erf" => (|x, _| erf(x), vec![]),
        "Gelu" if proto.get_attr_opt::<&str>("approximate")? == Some("tanh") => (
            |x, _| {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                x * (0.5 * (1.0 + inner.tanh()))
            },
            vec![],
        ),
        "Gelu" => (|x, _| x * (0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2))), vec![]),
        "HardSigmoid" => (
            |x, a| if x.is_nan() { x } else { (a[0] * x + a[1]).clamp(0.0, 1.0) },
            vec![number(proto, "alpha", 0.2)?, number(proto, "beta", 0.5)?],
        ),
        "HardSwish" => (|x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), vec![]),
        "LeakyRelu" => (|x, a| if x < 0.0 { a[0] * x } else { x }, vec![number(proto, "alpha", 0.01)?]),
        "Mish" => (|x, _| x * softplus(x).tanh(), vec![]),
        "Round" => (|x, _| x.round_ties_even(), vec![]),
        "Sigmoid" => (|x, _| sigmoid(x), vec![]),
        "Softplus" => (|x, _| softplus(x), vec![]),
        "Softsign" => (|x, _| x / (1.0 + x.abs()), vec![]),
        "Tanh" => (|x, _| x.tanh(), vec![]),
        "ThresholdedRelu" => (|x, a| if x > a[0] { x } else { 0.0 }, vec![number(proto, "alpha", 1.0)?]),
        _ => bail!("no such operator"),
    };
    by_type(context, proto, Pointwise { name, function, attributes })
}
