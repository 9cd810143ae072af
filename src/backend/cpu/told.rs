//! Inputs of the model whose values shapes and parameters are made of: the axes of a sum, the sizes of a Resize.
//!
//! tract wants them as constants. So a plan is made for such values as it is for shapes, and is told them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::Tensor;

/// The values of those inputs, in their order.
pub type Told = Vec<Arc<Tensor>>;

/// Whether a number is beyond what tract computes shapes with, which is 32 bits in places. The ends of 64 bits are ends of axes.
pub fn is_far(number: i64) -> bool {
    i32::try_from(number).is_err()
        && !matches!(number, i64::MIN | -0x7fff_ffff_ffff_ffff | 0x7fff_ffff_ffff_fffe | i64::MAX)
}

/// The inputs of an operator that have to be known before it runs.
pub fn parameters(node: &NodeProto) -> &'static [usize] {
    match node.op_type.as_str() {
        "BatchNormalization" => &[1, 2, 3, 4],
        "Col2Im" | "STFT" => &[1, 2, 3],
        "ConstantOfShape" => &[0],
        "AffineGrid" | "CenterCropPad" | "CumProd" | "CumSum" | "Expand" | "Reshape" | "Split" | "Squeeze" | "TopK"
        | "Trilu" | "Unsqueeze" | "Upsample" => &[1],
        "DFT" | "Dropout" | "MaxUnpool" | "OneHot" | "Tile" => &[1, 2],
        "NonMaxSuppression" => &[2, 3, 4],
        "Pad" | "Resize" => &[1, 2, 3],
        "Range" => &[0, 1, 2],
        "Slice" => &[1, 2, 3, 4],
        "BlackmanWindow" | "HammingWindow" | "HannWindow" => &[0],
        "MelWeightMatrix" => &[0, 1, 2, 3, 4],
        kind if kind.starts_with("Reduce") => &[1],
        _ => &[],
    }
}

/// The places of such inputs among the model's. `small` says whether an input has at most one axis: what comes of larger
/// ones is no parameter, but depends on the data.
pub fn find(graph: &GraphProto, inputs: &[(&str, bool)]) -> Vec<usize> {
    let producers: HashMap<&str, &NodeProto> =
        graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node))).collect();
    let places: HashMap<&str, usize> = inputs.iter().enumerate().map(|(place, (name, _))| (*name, place)).collect();
    let mut found = BTreeSet::new();
    for node in &graph.node {
        for name in parameters(node).iter().filter_map(|index| node.input.get(*index)) {
            // Everything that it is computed from.
            let mut sources = Vec::new();
            let (mut seen, mut open) = (HashSet::new(), vec![name.as_str()]);
            while let Some(name) = open.pop() {
                if !seen.insert(name) {
                    continue;
                }
                if let Some(place) = places.get(name) {
                    sources.push(*place);
                } else if let Some(node) = producers.get(name)
                    && !matches!(node.op_type.as_str(), "Shape" | "Size")
                {
                    open.extend(node.input.iter().map(String::as_str));
                }
            }
            if sources.iter().all(|place| inputs[*place].1) {
                found.extend(sources);
            }
        }
    }
    found.into_iter().collect()
}
