//! LSTM, GRU and RNN, in each direction, for sequences of each length.
//!
//! tract's leave the direction, lengths and activations out of account, and lose NaN.

use super::values::{floats, made, wholes};
use super::{Built, Fact, Kernel, Places, node};
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Lstm,
    Gru { linear_before_reset: bool },
    Rnn,
}

type Activation = fn(f64) -> f64;

#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    /// Whether each direction goes backwards.
    sides: Vec<bool>,
    activations: Vec<Activation>,
    clip: Option<f64>,
    /// Whether the batch comes before the sequence.
    batch_first: bool,
}

impl Recurrent {
    fn gates(&self) -> usize {
        match self.cell {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// What is put into each activation.
    fn clipped(&self, value: f64) -> f64 {
        match self.clip {
            Some(clip) if value > clip => clip,
            Some(clip) if value < -clip => -clip,
            _ => value,
        }
    }

    /// Length, batch and width of sequences of this shape.
    fn extents(&self, shape: &[usize]) -> TractResult<(usize, usize, usize)> {
        match (shape, self.batch_first) {
            (&[length, batch, width], false) | (&[batch, length, width], true) => Ok((length, batch, width)),
            _ => bail!("its input has {} axes, not 3", shape.len()),
        }
    }
}

fn dot(weights: &[f64], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
}

/// Weights of one direction.
struct Side<'a> {
    input: &'a [f64],
    state: &'a [f64],
    bias: Vec<f64>,
    peepholes: Vec<f64>,
    activations: &'a [Activation],
    width: usize,
    hidden: usize,
}

impl Side<'_> {
    /// What comes from the input to a unit of a gate.
    fn input(&self, gate: usize, unit: usize, x: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.input[row * self.width..][..self.width], x) + self.bias[row]
    }

    /// What comes from the state.
    fn state(&self, gates: usize, gate: usize, unit: usize, h: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.state[row * self.hidden..][..self.hidden], h) + self.bias[(gates + gate) * self.hidden + unit]
    }
}

impl Recurrent {
    /// One step: what `h` and `c` are after it.
    fn step(&self, side: &Side, x: &[f64], h: &mut Vec<f64>, c: &mut [f64]) {
        let (gates, hidden) = (self.gates(), side.hidden);
        let sum = |gate: usize, unit: usize, h: &[f64]| side.input(gate, unit, x) + side.state(gates, gate, unit, h);
        let f = |value: f64| side.activations[0](self.clipped(value));
        *h = match self.cell {
            Cell::Rnn => (0..hidden).map(|unit| f(sum(0, unit, h))).collect(),
            Cell::Lstm => {
                let one = |unit: usize| {
                    let peephole = |gate: usize| side.peepholes[gate * hidden + unit];
                    let i = f(sum(0, unit, h) + peephole(0) * c[unit]);
                    let forget = f(sum(2, unit, h) + peephole(2) * c[unit]);
                    let candidate = side.activations[1](self.clipped(sum(3, unit, h)));
                    c[unit] = forget * c[unit] + i * candidate;
                    f(sum(1, unit, h) + peephole(1) * c[unit]) * side.activations[2](c[unit])
                };
                (0..hidden).map(one).collect()
            }
            Cell::Gru { linear_before_reset } => {
                let reset: Vec<f64> = (0..hidden).map(|unit| f(sum(1, unit, h))).collect();
                let kept: Vec<f64> = reset.iter().zip(&*h).map(|(r, h)| r * h).collect();
                let one = |unit: usize| {
                    let update = f(sum(0, unit, h));
                    let from_state = match linear_before_reset {
                        true => reset[unit] * side.state(gates, 2, unit, h),
                        false => side.state(gates, 2, unit, &kept),
                    };
                    let candidate = side.activations[1](self.clipped(side.input(2, unit, x) + from_state));
                    (1.0 - update) * candidate + update * h[unit]
                };
                (0..hidden).map(one).collect()
            }
        };
    }
}

impl Kernel for Recurrent {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Lstm => "LSTM",
            Cell::Gru { .. } => "GRU",
            Cell::Rnn => "RNN",
        }
    }

    fn facts(&self, inputs: &Places<Fact>) -> TractResult<Vec<Fact>> {
        let (x, w, r) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let (length, batch, width) = self.extents(&x.shape)?;
        let (sides, gates) = (self.sides.len(), self.gates());
        let hidden = *r.shape.last().context("its weights have no axis")?;
        ensure!(x.kind.is_float(), "it takes floating point, not {:?}", x.kind);
        ensure!(
            w.shape[..] == [sides, gates * hidden, width] && r.shape[..] == [sides, gates * hidden, hidden],
            "weights of {:?} and {:?} do not fit {sides} directions and an input of {:?}",
            w.shape,
            r.shape,
            x.shape
        );
        let state = if self.batch_first { [batch, sides, hidden] } else { [sides, batch, hidden] };
        let whole = if self.batch_first { [batch, length, sides, hidden] } else { [length, sides, batch, hidden] };
        let fits = |place: usize, shape: &[usize]| inputs.get(place).is_none_or(|fact| fact.shape[..] == *shape);
        ensure!(fits(3, &[sides, 2 * gates * hidden]), "its bias does not fit");
        ensure!(fits(4, &[batch]), "there is not one length for each sequence");
        ensure!(fits(5, &state) && fits(6, &state) && fits(7, &[sides, 3 * hidden]), "its state does not fit");
        let fact = |shape: &[usize]| Fact::new(x.kind, shape.iter().copied());
        Ok(vec![fact(&whole), fact(&state), fact(&state)])
    }

    fn eval(&self, inputs: &Places<TValue>) -> TractResult<Vec<Tensor>> {
        let (x, w, r) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let kind = x.datum_type();
        let (length, batch, width) = self.extents(x.shape())?;
        let (sides, gates, hidden) = (self.sides.len(), self.gates(), r.shape()[2]);
        let numbers = |place: usize, count: usize| match inputs.get(place) {
            Some(values) => floats(values),
            None => Ok(vec![0.0; count]),
        };
        let (values, w, r) = (floats(x)?, floats(w)?, floats(r)?);
        let bias = numbers(3, sides * 2 * gates * hidden)?;
        let lengths = match inputs.get(4) {
            Some(lengths) => wholes(lengths)?,
            None => vec![length as i64; batch],
        };
        ensure!(lengths.iter().all(|n| (0..=length as i64).contains(n)), "a sequence's length is out of range");
        let mut states = numbers(5, sides * batch * hidden)?;
        let mut cells = numbers(6, sides * batch * hidden)?;
        let peepholes = if self.cell == Cell::Lstm { numbers(7, sides * 3 * hidden)? } else { Vec::new() };
        let mut whole = vec![0.0; length * sides * batch * hidden];
        let functions = self.activations.len() / sides;
        for (number, backwards) in self.sides.iter().enumerate() {
            let side = Side {
                input: &w[number * gates * hidden * width..],
                state: &r[number * gates * hidden * hidden..],
                bias: bias[number * 2 * gates * hidden..][..2 * gates * hidden].to_vec(),
                peepholes: peepholes.get(number * 3 * hidden..).unwrap_or_default().to_vec(),
                activations: &self.activations[number * functions..],
                width,
                hidden,
            };
            for (item, count) in lengths.iter().enumerate() {
                let state = if self.batch_first { item * sides + number } else { number * batch + item } * hidden;
                let mut h = states[state..][..hidden].to_vec();
                let mut c = cells[state..][..hidden].to_vec();
                let count = *count as usize;
                for step in 0..count {
                    let at = if *backwards { count - 1 - step } else { step };
                    let from = if self.batch_first { item * length + at } else { at * batch + item };
                    self.step(&side, &values[from * width..][..width], &mut h, &mut c);
                    let to = match self.batch_first {
                        true => (item * length + at) * sides + number,
                        false => (at * sides + number) * batch + item,
                    };
                    whole[to * hidden..][..hidden].copy_from_slice(&h);
                }
                states[state..][..hidden].copy_from_slice(&h);
                cells[state..][..hidden].copy_from_slice(&c);
            }
        }
        let state = if self.batch_first { [batch, sides, hidden] } else { [sides, batch, hidden] };
        let shape = if self.batch_first { [batch, length, sides, hidden] } else { [length, sides, batch, hidden] };
        Ok(vec![made(kind, &shape, &whole)?, made(kind, &state, &states)?, made(kind, &state, &cells)?])
    }
}

/// The functions that have no parameters of their own.
pub fn activation(name: &str) -> Option<Activation> {
    Some(match name.to_ascii_lowercase().as_str() {
        "relu" => |x| if x < 0.0 { 0.0 } else { x },
        "sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "softplus" => |x| if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() },
        "softsign" => |x| x / (1.0 + x.abs()),
        "tanh" => f64::tanh,
        _ => return None,
    })
}

fn recurrent(_: &ParsingContext, proto: &NodeProto) -> Built {
    let (cell, usual): (_, &[&str]) = match proto.op_type.as_str() {
        "LSTM" => (Cell::Lstm, &["Sigmoid", "Tanh", "Tanh"]),
        "GRU" => {
            let linear_before_reset = proto.get_attr_opt::<i64>("linear_before_reset")?.unwrap_or(0) != 0;
            (Cell::Gru { linear_before_reset }, &["Sigmoid", "Tanh"])
        }
        _ => (Cell::Rnn, &["Tanh"]),
    };
    let sides = match proto.get_attr_opt::<&str>("direction")? {
        None | Some("forward") => vec![false],
        Some("reverse") => vec![true],
        Some("bidirectional") => vec![false, true],
        Some(other) => bail!("its direction is {other:?}"),
    };
    let given = proto.get_attr_opt_vec::<String>("activations")?.filter(|given| !given.is_empty());
    let names: Vec<String> =
        given.unwrap_or_else(|| sides.iter().flat_map(|_| usual).map(|name| (*name).to_owned()).collect());
    ensure!(names.len() == sides.len() * usual.len(), "it has {} activations", names.len());
    let known = |name: &String| activation(name).with_context(|| format!("it has the activation {name:?}"));
    let kernel = Recurrent {
        cell,
        activations: names.iter().map(known).collect::<TractResult<_>>()?,
        sides,
        clip: proto.get_attr_opt::<f32>("clip")?.filter(|clip| *clip > 0.0).map(f64::from),
        batch_first: proto.get_attr_opt::<i64>("layout")? == Some(1),
    };
    Ok((node(kernel, proto), vec![]))
}

pub fn register(operators: &mut OnnxOpRegister) {
    for name in ["GRU", "LSTM", "RNN"] {
        operators.insert(name, recurrent);
    }
}
