//! The graph written anew, with the same meaning, in what the CPU engine takes: functions written out, branches that are
//! always taken put in place, sequences named tensor by tensor, old spellings made new.

mod branches;
mod functions;
mod sequences;
mod spelling;

use crate::error::Result;
use tract_onnx::pb::{FunctionProto, GraphProto, NodeProto};

/// Rewrites a model's graph. Nothing is left that calls one of the model's functions.
pub fn rewrite(graph: &mut GraphProto, functions: &[FunctionProto], opset: i64) -> Result<()> {
    write_out(graph, functions, opset)?;
    spelling::renew(graph, opset);
    Ok(())
}

/// Writes functions out, folds branches that are always taken and names what is in sequences, for engines that know ONNX's
/// older spellings.
pub fn write_out(graph: &mut GraphProto, functions: &[FunctionProto], opset: i64) -> Result<()> {
    functions::write_out(graph, functions, opset)?;
    branches::fold(graph);
    sequences::write_out(graph);
    Ok(())
}

/// Gives new names to what nodes read and write, in the graphs within them as well.
fn rename(nodes: &mut [NodeProto], name: &impl Fn(&str) -> String) {
    let all = |names: &mut Vec<String>| names.iter_mut().filter(|n| !n.is_empty()).for_each(|n| *n = name(n));
    for node in nodes {
        all(&mut node.input);
        all(&mut node.output);
        for attribute in &mut node.attribute {
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                graph.value_info.clear();
                graph.input.iter_mut().chain(&mut graph.output).for_each(|value| value.name = name(&value.name));
                graph.initializer.iter_mut().for_each(|tensor| tensor.name = name(&tensor.name));
                rename(&mut graph.node, name);
            }
        }
    }
}
