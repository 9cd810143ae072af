//! What a model's layers are, in which precision, and how long each takes.

use super::Findings;
use super::inputs::{Given, complete};
use super::rig::Rig;
use crate::backend::{Engine, LayerTime};
use crate::error::{Code, Error, Result};
use crate::quote::printable;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A line of the table.
struct Layer {
    name: String,
    kind: Option<String>,
    precision: Option<&'static str>,
    microseconds: Option<f64>,
    /// What the engine says of it.
    details: Option<Value>,
}

/// With the mean times of so many runs, or without times for none.
pub fn inspect(engine: &Arc<dyn Engine>, given: &[Given<'_>], runs: usize) -> Result<Findings> {
    let times = match runs {
        0 => None,
        _ => {
            let inputs = complete(engine.description(), given)?;
            let rig = Rig::new(engine, &inputs)?;
            // SAFETY: what is bound lives as long as the context.
            let times = unsafe { rig.context.time_layers(rig.stream.as_ref(), runs) }?;
            Some((inputs, times))
        }
    };
    let layers = layers(&engine.layers_json()?)?;
    let layers = match &times {
        None => layers,
        Some((_, times)) => with_times(layers, times),
    };
    let mut json = Map::new();
    json.insert("metadata".to_owned(), engine.metadata());
    json.insert("device".to_owned(), json!(engine.description().device_name.to_string_lossy()));
    if let Some((inputs, _)) = &times {
        let shape = |tensor: usize| engine.description().tensors[tensor].name().to_owned();
        let shapes: Map<_, _> = inputs.iter().map(|input| (shape(input.tensor), json!(input.shape.to_vec()))).collect();
        json.insert("inputs".to_owned(), shapes.into());
        json.insert("runs".to_owned(), json!(runs));
    }
    json.insert("layers".to_owned(), layers.iter().map(Layer::json).collect());
    Ok(Findings { json: Value::Object(json), text: printable(&table(&layers)).into_owned() })
}

fn layers(text: &str) -> Result<Vec<Layer>> {
    let damaged = || Error::new(Code::Internal, "the engine's layers are no JSON that is understood here");
    let json: Value = serde_json::from_str(text).map_err(|_| damaged())?;
    let layers = json.get("Layers").and_then(Value::as_array).ok_or_else(damaged)?;
    let one = |layer: &Value| match layer {
        Value::String(name) => {
            Layer { name: name.clone(), kind: None, precision: None, microseconds: None, details: None }
        }
        layer => {
            let text = |key: &str| layer.get(key).and_then(Value::as_str).map(str::to_owned);
            Layer {
                // An ONNX node without a name is known by what it computes.
                name: text("Name").filter(|name| !name.is_empty()).or_else(|| output(layer)).unwrap_or_default(),
                kind: text("LayerType").or_else(|| text("Type")),
                precision: precision(layer),
                microseconds: None,
                details: Some(layer.clone()),
            }
        }
    };
    Ok(layers.iter().map(one).collect())
}

/// The name of an ONNX node's first output.
fn output(layer: &Value) -> Option<String> {
    layer.get("Outputs")?.get(0)?.as_str().map(str::to_owned)
}

/// The type of a layer's first output, as TensorRT's versions write it: "Row major linear FP32", "Half".
fn precision(layer: &Value) -> Option<&'static str> {
    const NAMES: [(&str, &str); 14] = [
        ("FP32", "FP32"),
        ("FP16", "FP16"),
        ("BF16", "BF16"),
        ("BFloat16", "BF16"),
        ("FP8", "FP8"),
        ("FP4", "FP4"),
        ("Int8", "INT8"),
        ("INT8", "INT8"),
        ("Int32", "INT32"),
        ("INT32", "INT32"),
        ("Int64", "INT64"),
        ("INT64", "INT64"),
        ("Half", "FP16"),
        ("Float", "FP32"),
    ];
    let format = layer.get("Outputs")?.get(0)?.get("Format/Datatype")?.as_str()?;
    NAMES.iter().find(|(said, _)| format.contains(said)).map(|(_, name)| *name)
}

/// The layers in the order in which they ran, then those that did not by themselves.
fn with_times(mut layers: Vec<Layer>, times: &[LayerTime]) -> Vec<Layer> {
    let mut timed = Vec::new();
    for time in times {
        let found = layers.iter().position(|layer| layer.name == time.name);
        let mut layer = match found {
            Some(place) => layers.remove(place),
            None => Layer { name: time.name.clone(), kind: None, precision: None, microseconds: None, details: None },
        };
        layer.kind = layer.kind.or_else(|| time.kind.clone());
        layer.microseconds = Some(time.mean.as_secs_f64() * 1e6);
        timed.push(layer);
    }
    timed.extend(layers);
    timed
}

impl Layer {
    fn json(&self) -> Value {
        let mut json = Map::new();
        json.insert("name".to_owned(), json!(self.name));
        json.insert("type".to_owned(), json!(self.kind));
        json.insert("precision".to_owned(), json!(self.precision));
        if let Some(time) = self.microseconds {
            json.insert("time_us".to_owned(), json!(time));
        }
        if let Some(details) = &self.details {
            json.insert("details".to_owned(), details.clone());
        }
        Value::Object(json)
    }
}

/// Columns as wide as what is in them; without those in which there is nothing.
fn table(layers: &[Layer]) -> String {
    let total: f64 = layers.iter().filter_map(|layer| layer.microseconds).sum();
    let share = |time: f64| if total > 0.0 { 100.0 * time / total } else { 0.0 };
    let mut rows =
        vec![["time".to_owned(), "%".to_owned(), "precision".to_owned(), "type".to_owned(), "layer".to_owned()]];
    rows.extend(layers.iter().map(|layer| {
        let time = |tell: &dyn Fn(f64) -> String| layer.microseconds.map(tell).unwrap_or_default();
        [
            time(&|time| format!("{time:.1} us")),
            time(&|time| format!("{:.1}", share(time))),
            layer.precision.unwrap_or_default().to_owned(),
            layer.kind.clone().unwrap_or_default(),
            layer.name.clone(),
        ]
    }));
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let is_empty = rows[1..].iter().all(|row| row[column].is_empty());
        if is_empty { 0 } else { rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) }
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).enumerate().filter(|(_, (_, width))| *width > 0);
        let cells = cells.map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    if total > 0.0 {
        text += &format!("{total:.1} us in all\n");
    }
    if !layers.is_empty() && layers.iter().all(|layer| layer.details.is_none()) {
        text +=
            "The plan tells the names of its layers only: build it with --profilingVerbosity=detailed for the rest.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn layers_are_told_as_the_versions_write_them() {
        let said = r#"{"Layers": ["conv_1", {"Name": "conv_2", "LayerType": "CaskConvolution", "Outputs": [
            {"Name": "y", "Dimensions": [1, 4], "Format/Datatype": "Channel major FP16 format"}]},
            {"Name": "soft", "Outputs": [{"Name": "z", "Format/Datatype": "Float"}]}], "Bindings": ["x"]}"#;
        let found = layers(said).unwrap();
        assert_eq!(found.iter().map(|l| l.precision).collect::<Vec<_>>(), [None, Some("FP16"), Some("FP32")]);
        let time =
            |name: &str, micros| LayerTime { name: name.to_owned(), kind: None, mean: Duration::from_micros(micros) };
        let found = with_times(found, &[time("conv_2", 30), time("reformat", 10)]);
        let text = table(&found);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert!(lines[1].starts_with("30.0 us  75.0  FP16       CaskConvolution  conv_2"), "{text}");
        assert!(lines[2].starts_with("10.0 us  25.0") && lines[2].ends_with("reformat"), "{text}");
        assert!(lines[3].ends_with("conv_1") && text.contains("40.0 us in all"), "{text}");
        assert!(layers("{}").is_err() && layers("no").is_err());
        assert!(table(&layers(r#"{"Layers": ["a"]}"#).unwrap()).contains("names of its layers only"));
    }
}
