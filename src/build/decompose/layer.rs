//! Normalization over the last axes: LayerNormalization and RMSNormalization taken apart.
//!
//! Means and roots are float32, whatever the model's type; what is normalized is scaled and shifted in the model's, as ONNX has
//! it.

use super::writer::Writer;
use super::{FLOAT, Place};

pub fn layer(writer: &mut Writer<'_>, place: &Place<'_>) -> Result<(), String> {
    over_last_axes(writer, place, true)
}

pub fn root_mean_square(writer: &mut Writer<'_>, place: &Place<'_>) -> Result<(), String> {
    over_last_axes(writer, place, false)
}

/// The distances from the mean, or the numbers themselves, and the mean of their squares.
fn variance(writer: &mut Writer<'_>, x: String, axes: &[i64], is_centered: bool) -> (String, String) {
    let distance = match is_centered {
        true => {
            let mean = writer.mean_over(axes, "mean", &x);
            writer.other("Sub", "distance", &[&x, &mean], None)
        }
        false => x,
    };
    let squared = writer.statistic("Mul", "squared", &[&distance, &distance], vec![]);
    let variance = writer.mean_over(axes, "variance", &squared);
    (distance, variance)
}

fn over_last_axes(writer: &mut Writer<'_>, place: &Place<'_>, is_centered: bool) -> Result<(), String> {
    let scale = place.input(1).ok_or("it has no scale")?;
    let bias = place.input(2).filter(|_| is_centered);
    let element_type = place.element_type(Some(scale))?;
    let axes = match place.node.axis.map_or(-1, u64::cast_signed) {
        axis @ ..0 => axis..0,
        axis => axis..place.rank()? as i64,
    };
    if axes.is_empty() || axes.start < -MOST_AXES {
        return Err("its axis is none of its input's".to_owned());
    }
    let axes: Vec<i64> = axes.collect();
    let x = writer.as_float("x", place.x, element_type);
    let (distance, variance) = variance(writer, x, &axes, is_centered);
    let deviation = writer.deviation(&variance, place.node.epsilon.unwrap_or(1e-5));
    let mut normalized = writer.other("Div", "normalized", &[&distance, &deviation], None);
    if element_type != FLOAT {
        normalized = writer.cast("normalized_in_type", &normalized, element_type, None);
    }
    match bias {
        Some(bias) => {
            let scaled = writer.other("Mul", "scaled", &[&normalized, scale], None);
            writer.other("Add", "sum", &[&scaled, bias], Some(place.y))
        }
        None => writer.other("Mul", "scaled", &[&normalized, scale], Some(place.y)),
    };
    Ok(())
}

/// TensorRT's tensors have no more.
const MOST_AXES: i64 = 8;
