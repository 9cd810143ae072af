//! Activation functions taken apart, as ONNX defines them.

use super::writer::Writer;
use super::{FLOAT, Place};
use crate::quote::quoted;
use half::{bf16, f16};

/// Numbers of onnx.proto's `TensorProto.DataType`.
const FLOAT16: u64 = 10;
const BFLOAT16: u64 = 16;

pub fn mish(writer: &mut Writer<'_>, place: &Place<'_>) -> Result<(), String> {
    let softplus = writer.other("Softplus", "softplus", &[place.x], None);
    let tanh = writer.other("Tanh", "tanh", &[&softplus], None);
    writer.other("Mul", "product", &[place.x, &tanh], Some(place.y));
    Ok(())
}

pub fn swish(writer: &mut Writer<'_>, place: &Place<'_>) -> Result<(), String> {
    let alpha = place.node.alpha.unwrap_or(1.0);
    let scaled = match alpha {
        1.0 => place.x.to_owned(),
        _ => writer.scaled("scaled", place, place.x, alpha)?,
    };
    let sigmoid = writer.other("Sigmoid", "sigmoid", &[&scaled], None);
    writer.other("Mul", "product", &[place.x, &sigmoid], Some(place.y));
    Ok(())
}

pub fn gelu(writer: &mut Writer<'_>, place: &Place<'_>) -> Result<(), String> {
    let x = place.x;
    let argument = match place.node.approximate.as_str() {
        "" | "none" => writer.scaled("scaled", place, x, std::f32::consts::FRAC_1_SQRT_2)?,
        "tanh" => {
            // x³ would be more than float16 holds where x² times a constant times x is not.
            let squared = writer.other("Mul", "squared", &[x, x], None);
            let cubic = writer.scaled("cubic", place, &squared, 0.044_715)?;
            let one = writer.number("one", place, 1.0)?;
            let sum = writer.other("Add", "sum", &[&cubic, &one], None);
            let product = writer.other("Mul", "polynomial", &[x, &sum], None);
            writer.scaled(
                "scaled",
                place,
                &product,
                std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2,
            )?
        }
        other => return Err(format!("its approximation {} is not known", quoted(other))),
    };
    let operator = if place.node.approximate == "tanh" { "Tanh" } else { "Erf" };
    let share = writer.other(operator, "share", &[&argument], None);
    let one = writer.number("unit", place, 1.0)?;
    let shifted = writer.other("Add", "shifted", &[&share, &one], None);
    let half = writer.scaled("half", place, x, 0.5)?;
    writer.other("Mul", "product", &[&half, &shifted], Some(place.y));
    Ok(())
}

impl Writer<'_> {
    /// A number of the type that the elements have.
    fn number(&mut self, what: &str, place: &Place<'_>, number: f32) -> Result<String, String> {
        let element_type = place.element_type(None)?;
        let raw = match element_type {
            FLOAT => number.to_le_bytes().to_vec(),
            FLOAT16 => f16::from_f32(number).to_le_bytes().to_vec(),
            BFLOAT16 => bf16::from_f32(number).to_le_bytes().to_vec(),
            other => {
                return Err(format!("its elements are of ONNX's type {other}, neither float nor float16 nor bfloat16"));
            }
        };
        Ok(self.constant(what, element_type, &[], &raw))
    }

    fn scaled(&mut self, what: &str, place: &Place<'_>, name: &str, by: f32) -> Result<String, String> {
        let by = self.number(&format!("{what}_by"), place, by)?;
        Ok(self.other("Mul", what, &[name, &by], None))
    }
}
