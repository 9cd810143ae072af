//! What TensorRT 8.5's parser reads as something else, and says nothing about: seen with 8.5.3, whose plans of such nodes give wrong
//! answers, or whose parser ends the process. They are refused.

use super::graph::{Graph, Node, WITH_GRAPHS, graphs_within};
use super::{opset, reduce};
use crate::build::onnx::Model;
use crate::build::protobuf::{Field, Fields, text};
use crate::error::{Code, Error, Result};

const OPERATORS: [&str; 6] = ["AveragePool", "GridSample", "LRN", "Resize", "ScatterElements", "ScatterND"];

/// Refuses a model with such a node, in its graph or in one within that.
pub fn check(data: &[u8], model: &Model) -> Result<()> {
    if !OPERATORS.iter().chain(&WITH_GRAPHS).any(|operator| model.has(operator)) {
        return Ok(());
    }
    let opset = opset(data)?;
    for field in Fields(data) {
        let (7, Field::Bytes(graph)) = field? else { continue };
        if let Some((index, why)) = first(graph, opset, false)? {
            let message = format!("TensorRT 8.5 does not build {}: {why}", model.describe(index));
            return Err(Error::new(Code::Unsupported, message));
        }
    }
    Ok(())
}

/// The first node of a graph that is refused, be it for one in a graph within it, and why.
fn first(graph: &[u8], opset: u64, is_within: bool) -> Result<Option<(usize, String)>> {
    let read = Graph::read(graph)?;
    let mut index = 0;
    for field in Fields(graph) {
        let (1, Field::Bytes(message)) = field? else { continue };
        let node = &read.nodes[index];
        if let Some(why) = why(&Attributes::read(message)?, node, &read) {
            return Ok(Some((index, why.to_owned())));
        }
        // Those of the model's own graph are written as it reads them.
        if is_within && reduce::is_misread(message, node, &read, opset)? {
            let why = "it takes no notice of the axes of a reduction that are an input; export the model with opset 17";
            return Ok(Some((index, why.to_owned())));
        }
        for inner in graphs_within(message)? {
            if let Some((number, why)) = first(inner, opset, true)? {
                return Ok(Some((index, format!("node {number} of a graph within it: {why}"))));
            }
        }
        index += 1;
    }
    Ok(None)
}

fn why(attributes: &Attributes, node: &Node, graph: &Graph) -> Option<&'static str> {
    let rank = || node.inputs.first().and_then(|x| graph.tensors.get(x).rank);
    let is = |operator| node.is(operator);
    if is("Resize") && attributes.is_set("antialias") {
        return Some("it takes no notice of antialias");
    }
    if is("Resize") && attributes.is_word("keep_aspect_ratio_policy", |policy| policy != "stretch") {
        return Some("it takes no notice of keep_aspect_ratio_policy");
    }
    if is("GridSample") && rank().is_some_and(|rank| rank != 4) {
        return Some("it samples in two dimensions only");
    }
    if is("GridSample") && attributes.is_word("mode", |mode| mode == "cubic") {
        return Some(
            "it takes mode cubic, as it is called from opset 20 on, for another; export the model with an earlier one",
        );
    }
    if (is("ScatterElements") || is("ScatterND")) && attributes.is_word("reduction", |kind| kind != "none") {
        return Some("it takes no notice of reduction");
    }
    if is("AveragePool") && ["ceil_mode", "count_include_pad", "pads"].iter().all(|name| attributes.is_set(name)) {
        return Some("it averages over other elements where ceil_mode, count_include_pad and pads come together");
    }
    if is("LRN") && !attributes.has("alpha") {
        return Some("it takes another alpha for the default; give the node its alpha");
    }
    None
}

/// Names, with numbers other than zero and words.
struct Attributes(Vec<(String, bool, String)>);

impl Attributes {
    fn read(node: &[u8]) -> Result<Self> {
        let mut all = Vec::new();
        for field in Fields(node) {
            let (5, Field::Bytes(attribute)) = field? else { continue };
            let (mut name, mut is_set, mut word) = (String::new(), false, String::new());
            for field in Fields(attribute) {
                match field? {
                    (1, Field::Bytes(bytes)) => name = text(bytes),
                    (3 | 8, Field::Number(number)) => is_set |= number != 0,
                    (4, Field::Bytes(bytes)) => word = text(bytes),
                    (8, Field::Bytes(packed)) => is_set |= packed.iter().any(|byte| *byte != 0),
                    _ => {}
                }
            }
            all.push((name, is_set, word));
        }
        Ok(Self(all))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, ..)| known == name)
    }

    fn is_set(&self, name: &str) -> bool {
        self.0.iter().any(|(known, is_set, _)| known == name && *is_set)
    }

    fn is_word(&self, name: &str, is: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|(known, _, word)| known == name && is(word))
    }
}

#[cfg(test)]
mod tests {
    use super::super::FLOAT;
    use super::super::testing::*;
    use super::*;
    use crate::build::protobuf::Message;

    fn number(name: &str, number: u64) -> Message {
        Message::default().text(1, name).number(3, number).number(20, 2)
    }

    fn word(name: &str, word: &str) -> Message {
        Message::default().text(1, name).text(4, word).number(20, 3)
    }

    fn pads(numbers: [u64; 4]) -> Message {
        let list = numbers.iter().fold(Message::default().text(1, "pads"), |list, pad| list.number(8, *pad));
        list.number(20, 7)
    }

    fn model(operator: &str, extents: &[u64], attributes: Vec<Message>) -> Vec<u8> {
        let made = node("it", operator, &["x"], "y");
        let made = attributes.into_iter().fold(made, |made, attribute| made.message(5, attribute));
        let graph = Message::default().message(1, made).text(2, "graph").message(11, value("x", FLOAT, extents));
        let opset = Message::default().number(2, 18);
        Message::default().number(1, 8).message(7, graph).message(8, opset).into_bytes()
    }

    #[test]
    fn what_is_misread_is_refused_and_the_rest_is_not() {
        const PLANE: &[u64] = &[1, 2, 4, 5];
        let is_refused = |operator: &str, extents: &[u64], attributes: Vec<Message>| {
            let data = model(operator, extents, attributes);
            let error = check(&data, &Model::read(&data).unwrap()).err();
            if let Some(error) = &error {
                let names_it = error.message().contains(&format!("node 0 \"it\" ({operator})"));
                assert!(error.code() == Code::Unsupported && names_it, "{error}");
            }
            error.is_some()
        };
        assert!(is_refused("Resize", PLANE, vec![number("antialias", 1)]));
        assert!(!is_refused("Resize", PLANE, vec![number("antialias", 0), word("mode", "linear")]));
        assert!(is_refused("Resize", PLANE, vec![word("keep_aspect_ratio_policy", "not_larger")]));
        assert!(!is_refused("Resize", PLANE, vec![word("keep_aspect_ratio_policy", "stretch")]));
        assert!(is_refused("GridSample", &[1, 2, 3, 4, 5], vec![]));
        assert!(is_refused("GridSample", PLANE, vec![word("mode", "cubic")]));
        assert!(!is_refused("GridSample", PLANE, vec![word("mode", "bicubic")]));
        for operator in ["ScatterElements", "ScatterND"] {
            assert!(is_refused(operator, PLANE, vec![word("reduction", "add")]));
            assert!(!is_refused(operator, PLANE, vec![word("reduction", "none")]));
            assert!(!is_refused(operator, PLANE, vec![]));
        }
        let pool = |pad| vec![number("ceil_mode", 1), pads([0, 0, pad, 0]), number("count_include_pad", 1)];
        assert!(is_refused("AveragePool", PLANE, pool(1)));
        assert!(!is_refused("AveragePool", PLANE, pool(0)));
        assert!(is_refused("LRN", PLANE, vec![number("size", 3)]));
        assert!(!is_refused("LRN", PLANE, vec![number("size", 3), Message::default().text(1, "alpha")]));
        assert!(!is_refused("Relu", PLANE, vec![number("antialias", 1)]));
        let branch = |within: Message| {
            vec![Message::default().text(1, "then_branch").message(6, Message::default().message(1, within))]
        };
        let resize = |attribute| node("within", "Resize", &["x"], "z").message(5, number("antialias", attribute));
        assert!(is_refused("If", PLANE, branch(resize(1))) && !is_refused("If", PLANE, branch(resize(0))));
        let reduction = |operator: &str, inputs: &[&str]| branch(node("within", operator, inputs, "z"));
        assert!(is_refused("If", PLANE, reduction("ReduceMean", &["x", "axes"])));
        assert!(!is_refused("If", PLANE, reduction("ReduceMean", &["x"])));
        assert!(!is_refused("If", PLANE, reduction("ReduceSum", &["x", "axes"])));
    }
}
