//! What decides about a node beyond its attributes one by one.

use super::table::Refusal;
use crate::backend::cpu::native::activation;
use crate::backend::cpu::node::{Node, cut};
use crate::quote::quoted;
use std::collections::HashSet;
use tract_onnx::pb::tensor_proto::DataType;

type Checked = Result<(), Refusal>;

fn refuse(why: impl Into<String>) -> Checked {
    Err(Refusal { why: why.into(), hint: "" })
}

fn advise(why: impl Into<String>, hint: &'static str) -> Checked {
    Err(Refusal { why: why.into(), hint })
}

const EVALUATE: &str = "export the model in evaluation mode (model.eval())";

pub fn attention(node: &Node) -> Checked {
    if (node.has_input(4) || node.has_input(5)) && node.int("is_causal").unwrap_or(0) != 0 {
        return refuse("input past_key together with attribute is_causal = 1");
    }
    match node.has_input(6) {
        true => refuse("input nonpad_kv_seqlen"),
        false => Ok(()),
    }
}

/// A convolution's or a pool's window.
pub fn window(node: &Node) -> Checked {
    let automatic = !matches!(node.string("auto_pad"), "" | "NOTSET");
    if automatic && node.int("ceil_mode").unwrap_or(0) != 0 {
        return advise("attribute auto_pad together with ceil_mode", "give it pads");
    }
    if automatic && node.ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad != 0)) {
        return refuse("attribute auto_pad together with pads");
    }
    if node.ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad < 0)) {
        return advise("negative pads", "cut with a Slice before it");
    }
    let positive = |name: &str| node.ints(name).is_none_or(|numbers| numbers.iter().all(|number| *number > 0));
    match ["strides", "dilations", "kernel_shape"].into_iter().find(|name| !positive(name)) {
        Some(name) => refuse(format!("attribute {name} with a number below 1")),
        None => Ok(()),
    }
}

pub fn conv_integer(node: &Node) -> Checked {
    if node.has_input(3) && node.tensor(3).is_none_or(|zero| zero.dims.iter().product::<i64>() != 1) {
        return refuse("a zero point for each channel of the weights");
    }
    window(node)
}

pub fn conv_transpose(node: &Node) -> Checked {
    let shaped = node.ints("output_shape").is_some_and(|shape| !shape.is_empty());
    if shaped && node.ints("output_shape").is_some_and(|shape| shape.iter().any(|extent| *extent < 1)) {
        return refuse("attribute output_shape with a number below 1");
    }
    let padded = node.ints("output_padding").is_some_and(|padding| padding.iter().any(|n| *n != 0));
    if padded && node.string("auto_pad").starts_with("SAME") {
        return advise("attribute output_padding together with auto_pad", "give it pads in place of auto_pad");
    }
    // The pads follow from output_shape, whatever auto_pad and pads say.
    if shaped { Ok(()) } else { window(node) }
}

pub fn batch_normalization(node: &Node) -> Checked {
    let used = (1..node.output_count()).any(|index| node.has_output(index));
    match used && node.int("training_mode").unwrap_or(0) == 0 {
        true => refuse("more outputs than one"),
        false => test_mode(node),
    }
}

pub fn celu(node: &Node) -> Checked {
    match node.float("alpha").unwrap_or(1.0) {
        alpha if alpha > 0.0 => Ok(()),
        alpha => refuse(format!("attribute alpha = {alpha}")),
    }
}

pub fn max_unpool(node: &Node) -> Checked {
    if node.has_input(2) { refuse("input output_shape") } else { window(node) }
}

/// Before operator set 7 training was the default.
pub fn test_mode(node: &Node) -> Checked {
    match node.opset < 7 && node.int("is_test").unwrap_or(0) == 0 {
        true => advise("attribute is_test = 0", EVALUATE),
        false => Ok(()),
    }
}

pub fn dropout(node: &Node) -> Checked {
    if node.has_input(2) {
        let off = node.tensor(2).is_some_and(|mode| {
            mode.data_type == DataType::Bool as i32
                && mode.raw_data.iter().all(|byte| *byte == 0)
                && mode.int32_data.iter().all(|value| *value == 0)
        });
        if !off {
            return advise("input training_mode, which is not a constant false", EVALUATE);
        }
    }
    test_mode(node)
}

pub fn cast(node: &Node) -> Checked {
    use DataType::{Bfloat16, Bool, Double, Float, Float16, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    let to = node.int("to").and_then(|to| DataType::try_from(i32::try_from(to).ok()?).ok());
    match to {
        Some(
            Bfloat16 | Bool | Double | Float | Float16 | Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32
            | Uint64,
        ) => Ok(()),
        Some(to) => refuse(format!("attribute to = {}", to.as_str_name())),
        None => refuse("attribute to"),
    }
}

pub fn einsum(node: &Node) -> Checked {
    let equation: String = node.string("equation").chars().filter(|c| !c.is_whitespace()).collect();
    let terms = equation.split(['>', ',', '-']);
    let twice = |term: &str| {
        let mut seen = HashSet::new();
        term.chars().any(|c| c != '.' && !seen.insert(c))
    };
    if !equation.contains("->") || terms.into_iter().any(twice) {
        return refuse(format!(
            "attribute equation = {}: no result is named, or a term has a letter twice",
            quoted(&equation)
        ));
    }
    // tract takes them for one axis, however many there are.
    if equation.contains('.') {
        return advise(
            format!("attribute equation = {}", quoted(&equation)),
            "give a letter to each axis that \"...\" stands for",
        );
    }
    Ok(())
}

/// tract brings positions to the border before it looks for neighbours, which are brought there themselves.
pub fn grid_sample(node: &Node) -> Checked {
    match matches!(node.string("mode"), "cubic" | "bicubic") && node.string("padding_mode") == "border" {
        true => refuse("attribute mode = cubic together with padding_mode = border"),
        false => Ok(()),
    }
}

pub fn lrn(node: &Node) -> Checked {
    match node.int("size") {
        Some(size) if size > 0 && size % 2 == 1 => Ok(()),
        _ => refuse("attribute size that is not odd"),
    }
}

pub fn recurrent(node: &Node) -> Checked {
    let given = node.strings("activations").unwrap_or_default();
    match given.iter().find(|name| activation(name).is_none()) {
        Some(name) => refuse(format!("attribute activations with {}", cut(name))),
        None => Ok(()),
    }
}

/// Before operator set 7 a slope for each channel was meant, whatever the axes.
pub fn prelu(node: &Node) -> Checked {
    let one = || node.tensor(1).is_some_and(|slope| slope.dims.iter().product::<i64>() == 1);
    match node.opset < 7 && !one() {
        true => advise("a slope for each channel in this operator set", "convert the model to operator set 7 or later"),
        false => Ok(()),
    }
}

/// Where each element changes even if no axis is reduced.
pub fn reduce_changing(node: &Node) -> Checked {
    match node.int("noop_with_empty_axes").unwrap_or(0) != 0 && node.axes(1).flatten().is_none_or(|a| a.is_empty()) {
        true => refuse("attribute noop_with_empty_axes = 1 without axes"),
        false => Ok(()),
    }
}

pub fn scan(node: &Node) -> Checked {
    if node.opset < 9 { refuse("the Scan of operator set 8") } else { Ok(()) }
}

pub fn tile(node: &Node) -> Checked {
    if node.has_input(2) { refuse("the Tile of the first operator sets") } else { Ok(()) }
}

pub fn upsample(node: &Node) -> Checked {
    match node.has_input(1) {
        true => Ok(()),
        false => advise("attribute scales", "convert the model to operator set 9 or later"),
    }
}
