//! Whether the tensors that a model brings hold what their shapes say: nobody after this need look.

use super::node::cut;
use super::weights;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

/// The bytes of a tensor of that type and shape; `None` where no tensor can have them, or the type is not known.
pub fn bytes(tensor: &TensorProto) -> Option<usize> {
    elements(tensor)?.checked_mul(width(tensor)?)
}

/// Why a tensor does not hold what its shape says.
pub fn check(tensor: &TensorProto) -> Result<(), String> {
    if let Some(extent) = tensor.dims.iter().find(|extent| **extent < 0) {
        return Err(format!("has the extent {extent}"));
    }
    // Types that are not known are refused as such.
    if DataType::try_from(tensor.data_type) == Ok(DataType::String) {
        let Some(strings) = elements(tensor) else { return Err(too_large(tensor)) };
        return held(tensor.string_data.len(), strings, "strings");
    }
    let Some(width) = width(tensor) else { return Ok(()) };
    let Some((elements, bytes)) = elements(tensor).and_then(|n| Some((n, n.checked_mul(width)?))) else {
        return Err(too_large(tensor));
    };
    if weights::held(tensor).is_some() {
        return Ok(());
    }
    if !tensor.raw_data.is_empty() {
        return held(tensor.raw_data.len(), bytes, "bytes");
    }
    let numbers = [
        tensor.float_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.double_data.len(),
        tensor.uint64_data.len(),
    ];
    match numbers.iter().sum() {
        0 => held(0, bytes, "bytes"),
        numbers => held(numbers, elements, "numbers"),
    }
}

fn held(has: usize, wanted: usize, of: &str) -> Result<(), String> {
    match has == wanted {
        true => Ok(()),
        false => Err(format!("has {has} {of}, and {wanted} by its shape and type")),
    }
}

fn too_large(tensor: &TensorProto) -> String {
    format!("has a shape of more elements than there can be, {}", cut(&format!("{:?}", tensor.dims)))
}

fn elements(tensor: &TensorProto) -> Option<usize> {
    tensor.dims.iter().try_fold(1, |product: usize, extent| product.checked_mul(usize::try_from(*extent).ok()?))
}

/// The bytes of an element, for types that take whole bytes and are one number each.
fn width(tensor: &TensorProto) -> Option<usize> {
    use DataType::{
        Bfloat16, Bool, Double, Float, Float8e4m3fn, Float8e4m3fnuz, Float8e5m2, Float8e5m2fnuz, Float16, Int8, Int16,
        Int32, Int64, Uint8, Uint16, Uint32, Uint64,
    };
    Some(match DataType::try_from(tensor.data_type).ok()? {
        Bool | Int8 | Uint8 | Float8e4m3fn | Float8e4m3fnuz | Float8e5m2 | Float8e5m2fnuz => 1,
        Float16 | Bfloat16 | Int16 | Uint16 => 2,
        Float | Int32 | Uint32 => 4,
        Double | Int64 | Uint64 => 8,
        _ => return None,
    })
}
