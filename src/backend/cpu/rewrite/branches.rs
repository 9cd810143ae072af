//! An If that always goes the same way, replaced by that way. tract wants both ways to have one rank.

use super::rename;
use crate::backend::cpu::node::Constants;
use std::collections::HashSet;
use tract_onnx::pb::{GraphProto, NodeProto};

pub fn fold(graph: &mut GraphProto) {
    // What is put in place may have more of them.
    while fold_some(graph) {}
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(fold);
        }
    }
}

fn fold_some(graph: &mut GraphProto) -> bool {
    let constants = Constants::of(graph);
    let way = |node: &NodeProto| match node.op_type.as_str() {
        "If" => node.input.first().and_then(|condition| constants.truth(condition)),
        _ => None,
    };
    let ways: Vec<Option<bool>> = graph.node.iter().map(way).collect();
    if ways.iter().all(Option::is_none) {
        return false;
    }
    let mut nodes = Vec::with_capacity(graph.node.len());
    for (node, way) in std::mem::take(&mut graph.node).into_iter().zip(ways) {
        let name = match way {
            Some(true) => "then_branch",
            Some(false) => "else_branch",
            None => "",
        };
        let branch = node.attribute.iter().find(|attribute| attribute.name == name).and_then(|a| a.g.clone());
        match branch.filter(|branch| branch.output.len() >= node.output.len() && branch.input.is_empty()) {
            Some(branch) => place(branch, &node, &mut nodes, graph),
            None if way.is_some() => nodes.push(NodeProto { op_type: "If (damaged)".to_owned(), ..node }),
            None => nodes.push(node),
        }
    }
    graph.node = nodes;
    true
}

/// Puts a branch in the place of the node that it is of.
fn place(mut branch: GraphProto, node: &NodeProto, nodes: &mut Vec<NodeProto>, graph: &mut GraphProto) {
    let mut own: HashSet<String> = branch.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    own.extend(branch.node.iter().flat_map(|node| node.output.iter().cloned()));
    let prefix = node.output.first().map_or("", String::as_str);
    let name = |name: &str| if own.contains(name) { format!("{prefix}/{name}") } else { name.to_owned() };
    rename(&mut branch.node, &name);
    for mut tensor in branch.initializer {
        tensor.name = name(&tensor.name);
        graph.initializer.push(tensor);
    }
    nodes.append(&mut branch.node);
    for (inner, outer) in branch.output.iter().zip(&node.output).filter(|(_, outer)| !outer.is_empty()) {
        nodes.push(NodeProto {
            op_type: "Identity".to_owned(),
            input: vec![name(&inner.name)],
            output: vec![outer.clone()],
            ..NodeProto::default()
        });
    }
}
