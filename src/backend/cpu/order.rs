//! Whether a graph's nodes can be computed one after the other, in any order of the file.

use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto};

/// A node that needs, over others or at once, what it produces itself.
pub fn circle(graph: &GraphProto) -> Option<&NodeProto> {
    let mut producers = HashMap::new();
    for (place, node) in graph.node.iter().enumerate() {
        producers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), place)));
    }
    let mut needs = Vec::with_capacity(graph.node.len());
    let mut needed_by = vec![Vec::new(); graph.node.len()];
    for (place, node) in graph.node.iter().enumerate() {
        let before: HashSet<usize> = reads(node).into_iter().filter_map(|name| producers.get(name).copied()).collect();
        for producer in &before {
            needed_by[*producer].push(place);
        }
        needs.push(before);
    }
    let mut missing: Vec<usize> = needs.iter().map(HashSet::len).collect();
    let mut ready: Vec<usize> = (0..missing.len()).filter(|place| missing[*place] == 0).collect();
    while let Some(place) = ready.pop() {
        for next in &needed_by[place] {
            missing[*next] -= 1;
            if missing[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    // Each of those left waits for one of them: who goes back as many steps as there are nodes is in a circle.
    let mut place = missing.iter().position(|missing| *missing > 0)?;
    for _ in 0..missing.len() {
        place = *needs[place].iter().find(|producer| missing[**producer] > 0)?;
    }
    graph.node.get(place)
}

/// What a node reads, and the graphs within it from outside of them.
fn reads(node: &NodeProto) -> HashSet<&str> {
    let mut names: HashSet<&str> = node.input.iter().map(String::as_str).collect();
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        let mut inner: HashSet<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        inner.extend(graph.node.iter().flat_map(reads));
        let own = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
        for name in own.chain(graph.input.iter().map(|input| input.name.as_str())) {
            inner.remove(name);
        }
        names.extend(inner);
    }
    names
}
