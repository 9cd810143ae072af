//! InstanceNormalization taken apart; and GroupNorm as PyTorch exports it, a reshape to [batch, groups, rest] and back around
//! InstanceNormalization.

use super::channels::{self, Affine, Groups, Normalization};
use super::graph::{Graph, Node};
use super::tensors::MOST_CHANNELS;
use super::writer::Writer;
use super::{FLOAT, Place};
use crate::build::protobuf::{Field, Fields};
use crate::error::Result;
use crate::quote::quoted;
use std::collections::HashSet;

/// An InstanceNormalization between two reshapes that normalizes groups of channels.
struct Grouped {
    /// What is reshaped to groups.
    x: String,
    rank: usize,
    groups: Groups,
    /// The node that reshapes what was normalized to the shape of `x`, if it is the only one that reads it.
    back: Option<usize>,
}

impl Graph {
    /// Whether a node normalizes groups of channels of a tensor that is reshaped to [batch, groups, rest] for it.
    fn grouped(&self, node: &Node) -> Option<Grouped> {
        let to_groups = &self.nodes[*self.computed_by.get(node.inputs.first()?)?];
        let [x, extents] = &to_groups.inputs[..] else { return None };
        let known = self.tensors.get(x);
        let (rank, channels) = (known.rank?, known.channels?);
        let count = match self.tensors.get(extents).numbers?[..] {
            [0, count, -1] => u64::try_from(count).ok()?,
            _ => return None,
        };
        if !to_groups.is("Reshape") || rank < 3 || count == 0 || channels % count != 0 || channels > MOST_CHANNELS {
            return None;
        }
        // Others than reshapes would see another shape, and so would those that copy extents of it beside the batch.
        let y = node.outputs.first()?;
        let readers = self.read_by.get(y)?;
        let is_reshaped = |index: &usize| {
            let node = &self.nodes[*index];
            let shape = node.inputs.get(1).map(|shape| self.tensors.get(shape)).unwrap_or_default();
            let is_known = shape.shape_of.is_some()
                || shape.numbers.is_some_and(|extents| extents.iter().skip(1).all(|extent| *extent != 0));
            node.is("Reshape") && node.inputs.first() == Some(y) && is_known
        };
        let is_seen = self.outputs.contains(y) || self.nodes.iter().any(|node| node.has_graph);
        if is_seen || !readers.iter().all(is_reshaped) {
            return None;
        }
        let back = match readers[..] {
            [reader] => self.nodes[reader].inputs.get(1).and_then(|shape| self.tensors.get(shape).shape_of),
            _ => None,
        };
        let back = back.filter(|like| like == x).and_then(|_| readers.first().copied());
        Some(Grouped { x: x.clone(), rank, groups: Groups { count, channels }, back })
    }

    fn suits_plugin(&self, node: &Node) -> bool {
        let [x, factors @ ..] = &node.inputs[..] else { return false };
        let is_float = |name: &String| {
            let known = self.tensors.get(self.same_as(name));
            known.length.is_some() && known.element_type == Some(FLOAT)
        };
        self.tensors.get(x).rank.is_none_or(|rank| rank <= 5) && factors.iter().all(is_float)
    }

    /// What a tensor is, behind Identity nodes, which exporters write where two weights are the same.
    fn same_as<'a>(&'a self, mut name: &'a str) -> &'a str {
        for _ in &self.nodes {
            let node = self.computed_by.get(name).map(|index| &self.nodes[*index]);
            match node.filter(|node| node.is("Identity")).and_then(|node| node.inputs.first()) {
                Some(before) => name = before,
                None => break,
            }
        }
        name
    }
}

/// Whether the plugin of TensorRT 8.5 computes all of a model's. The parser gives it the bytes of scales and biases as float32's, of
/// whatever type they are, and refuses those that are computed, and tensors of more than five dimensions.
pub fn suits_plugin(data: &[u8]) -> Result<bool> {
    for field in Fields(data) {
        let (7, Field::Bytes(graph)) = field? else { continue };
        let graph = Graph::read(graph)?;
        if graph.nodes.iter().any(|node| node.is("InstanceNormalization") && !graph.suits_plugin(node)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The node behind it that is left out when it is taken apart is added to `left_out`.
pub fn write(
    writer: &mut Writer<'_>,
    place: &Place<'_>,
    left_out: &mut HashSet<usize>,
) -> std::result::Result<(), String> {
    let (node, graph) = (place.node, place.graph);
    let [x, scale, bias] = &node.inputs[..] else { return Err("it has not three inputs".to_owned()) };
    let rank = place.rank()?;
    let element_type = place.element_type(Some(scale))?;
    if rank < 3 {
        return Err(format!("{} has {rank} dimensions, and none behind its channels", quoted(x)));
    }
    let epsilon = node.epsilon.unwrap_or(1e-5);
    let affine = Affine::OfChannels { scale, bias };
    let mut whole = Normalization { x, affine, epsilon, rank, element_type, groups: None, y: place.y };
    let grouped = graph.grouped(node);
    if let Some(Grouped { x, rank, groups, back }) = &grouped {
        // GroupNorm scales and shifts behind its InstanceNormalization.
        let is_plain = graph.tensors.get(scale).fill == Some(1.0) && graph.tensors.get(bias).fill == Some(0.0);
        let affine = if is_plain { Affine::None } else { Affine::OfGroups { scale, bias } };
        whole = Normalization { x, rank: *rank, groups: Some(*groups), affine, ..whole };
        let back = back.and_then(|back| Some((back, &graph.nodes[back], graph.nodes[back].outputs.first()?)));
        if let Some((back, node, y)) = back {
            left_out.insert(back);
            writer.part.of.push(node.name.clone());
            whole.y = y;
        }
    }
    channels::write(writer, &whole);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Decomposition, INT64, take_apart};
    use super::*;
    use crate::build::Options;
    use crate::build::onnx::Model;
    use crate::build::protobuf::Message;
    use crate::error::Code;
    use half::f16;

    const INSTANCE_NORMALIZATION: &str = "InstanceNormalization";

    fn decompose(data: &[u8]) -> Result<(Vec<u8>, Decomposition)> {
        take_apart(data, &Model::read(data)?, &only(&[INSTANCE_NORMALIZATION]))
    }

    const SCALE: [f32; 3] = [1.5, -0.25, 2.0];
    const BIAS: [f32; 3] = [0.5, 3.0, -1.0];
    type Affine = ([f32; 3], [f32; 3]);
    const EXTENTS: [u64; 5] = [2, 3, 4, 5, 6];

    /// x (2, 3, 4, 5, 6) → InstanceNormalization → y, of an epsilon that shows.
    fn model(opset: u64, element_type: u64, mut graph: Message, x: &str) -> Vec<u8> {
        let epsilon = Message::default().text(1, "epsilon");
        let mut epsilon = epsilon;
        epsilon.copy(2, &Field::Fixed(&0.01f32.to_le_bytes()));
        epsilon.copy(20, &Field::Number(1));
        graph.add_message(1, node("norm", INSTANCE_NORMALIZATION, &[x, "scale", "bias"], "y").message(5, epsilon));
        let opset = Message::default().number(2, opset);
        Message::default()
            .number(1, 8)
            .message(
                7,
                graph
                    .text(2, "graph")
                    .message(5, weights("scale", element_type, &[3], &raw(&SCALE, element_type)))
                    .message(5, weights("bias", element_type, &[3], &raw(&BIAS, element_type)))
                    .message(11, value("x", element_type, &EXTENTS))
                    .message(12, value("y", element_type, &EXTENTS)),
            )
            .message(8, opset)
            .into_bytes()
    }

    /// What the CPU engine computes, and what it should be, in float64.
    #[cfg(feature = "cpu")]
    fn computed(
        data: &[u8],
        element_type: u64,
        extents: &[u64],
        x: &[f32],
        (scale, bias): Affine,
    ) -> (Vec<f32>, Vec<f64>) {
        let y = run(data, element_type, extents, x);
        let per_channel = x.len() / 6;
        let wanted = x.chunks(per_channel).enumerate().flat_map(|(i, plane)| {
            let mean = plane.iter().map(|x| f64::from(*x)).sum::<f64>() / plane.len() as f64;
            let variance = plane.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / plane.len() as f64;
            let factor = f64::from(scale[i % 3]) / (variance + f64::from(0.01f32)).sqrt();
            plane.iter().map(move |x| (f64::from(*x) - mean) * factor + f64::from(bias[i % 3])).collect::<Vec<_>>()
        });
        (y, wanted.collect())
    }

    /// Numbers that float16 has too, a thousand away from zero.
    #[cfg(feature = "cpu")]
    fn numbers() -> Vec<f32> {
        (0..720).map(|i| 1030.0 + ((i * 7919) % 1009) as f32).map(|x| f16::from_f32(x).to_f32()).collect()
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn the_parts_compute_what_the_whole_did() {
        let x = numbers();
        for (opset, element_type, allowed) in
            [(7, FLOAT, 1e-4), (13, FLOAT, 1e-4), (18, FLOAT, 1e-4), (17, FLOAT16, 4e-3)]
        {
            let whole = model(opset, element_type, Message::default(), "x");
            let (parts, _) = decompose(&whole).unwrap();
            let (y, wanted) = computed(&parts, element_type, &EXTENTS, &x, (SCALE, BIAS));
            for (i, (y, wanted)) in y.iter().zip(&wanted).enumerate() {
                let off = (f64::from(*y) - wanted).abs();
                assert!(off < allowed, "opset {opset}, type {element_type}: y[{i}] is {y} and not {wanted}");
            }
        }
    }

    /// x → reshape to three groups → InstanceNormalization → reshape back → y.
    struct InGroups<'a> {
        opset: u64,
        element_type: u64,
        extents: &'a [u64],
        /// Whether a convolution comes first, of which only its weights say how many channels there are.
        is_convolved: bool,
        to: &'a [i64],
        affine: Affine,
        /// The shape that `back` gives, or none for that of x.
        back: Option<&'a [i64]>,
    }

    impl Default for InGroups<'_> {
        fn default() -> Self {
            let (opset, element_type) = (17, FLOAT);
            let (extents, affine) = (&[2, 6, 2, 5, 6], (SCALE, BIAS));
            Self { opset, element_type, extents, is_convolved: false, to: &[0, 3, -1], affine, back: None }
        }
    }

    impl InGroups<'_> {
        fn model(&self, more: Message) -> Vec<u8> {
            let Self { opset, element_type, extents, is_convolved, to, affine, back } = *self;
            let mut epsilon = Message::default().text(1, "epsilon");
            epsilon.copy(2, &Field::Fixed(&0.01f32.to_le_bytes()));
            epsilon.copy(20, &Field::Number(1));
            let mut graph = more.text(2, "graph").message(5, integers("to", to));
            let mut x = "x";
            if is_convolved {
                // A tensor of one weight for each channel: with as many groups as channels.
                let mut group = Message::default().text(1, "group").number(3, extents[1]);
                group.copy(20, &Field::Number(2));
                let kernel: Vec<u64> = [extents[1], 1].into_iter().chain(extents[2..].iter().map(|_| 1)).collect();
                graph.add_message(1, node("conv", "Conv", &["x", "kernel"], "convolved").message(5, group));
                let ones = vec![1.0; extents[1] as usize];
                graph.add_message(5, weights("kernel", element_type, &kernel, &raw(&ones, element_type)));
                x = "convolved";
            }
            graph.add_message(1, node("to groups", "Reshape", &[x, "to"], "in groups"));
            let norm = node("norm", INSTANCE_NORMALIZATION, &["in groups", "scale", "bias"], "normalized");
            graph.add_message(1, norm.message(5, epsilon));
            match back {
                Some(shape) => graph.add_message(5, integers("shape", shape)),
                None => graph.add_message(1, node("shape of x", "Shape", &[x], "shape")),
            }
            graph.add_message(1, node("back", "Reshape", &["normalized", "shape"], "y"));
            let graph = graph
                .message(5, weights("scale", element_type, &[3], &raw(&affine.0, element_type)))
                .message(5, weights("bias", element_type, &[3], &raw(&affine.1, element_type)))
                .message(11, value("x", element_type, extents))
                .message(12, value("y", element_type, extents));
            let opset = Message::default().number(2, opset);
            Message::default().number(1, 8).message(7, graph).message(8, opset).into_bytes()
        }
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn groups_are_normalized_in_the_shape_that_they_come_in() {
        const PLAIN: Affine = ([1.0; 3], [0.0; 3]);
        let x = numbers();
        let extents: [&[u64]; 4] = [&[2, 6, 2, 5, 6], &[2, 6, 10, 6], &[2, 6, 60], &[2, 3, 4, 5, 6]];
        for (opset, element_type, allowed) in [(13, FLOAT, 1e-4), (18, FLOAT, 1e-4), (17, FLOAT16, 4e-3)] {
            for extents in extents {
                let signed: Vec<i64> = extents.iter().map(|extent| *extent as i64).collect();
                for (back, affine) in [(None, (SCALE, BIAS)), (Some(&signed[..]), (SCALE, BIAS)), (None, PLAIN)] {
                    let whole = InGroups { opset, element_type, extents, affine, back, ..InGroups::default() };
                    let (parts, _) = decompose(&whole.model(Message::default())).unwrap();
                    let found = names(&parts);
                    assert!(found.contains(&"norm/mean_channels".to_owned()), "{found:?}");
                    assert_eq!(found.contains(&"back".to_owned()), back.is_some(), "{found:?}");
                    let is_scaled = found.contains(&"norm/factor".to_owned());
                    assert_eq!(is_scaled, affine != PLAIN || element_type != FLOAT, "{found:?}");
                    let (y, wanted) = computed(&parts, element_type, extents, &x, affine);
                    for (i, (y, wanted)) in y.iter().zip(&wanted).enumerate() {
                        let off = (f64::from(*y) - wanted).abs();
                        assert!(
                            off < allowed,
                            "{extents:?} of opset {opset}, type {element_type}: y[{i}] is {y}, not {wanted}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn groups_are_found_where_the_model_says_how_many_channels_there_are() {
        let is_found = |model: &InGroups<'_>, more: Message| {
            let (parts, _) = decompose(&model.model(more)).unwrap();
            names(&parts).contains(&"norm/mean_channels".to_owned())
        };
        assert!(is_found(&InGroups::default(), Message::default()));
        assert!(is_found(&InGroups { is_convolved: true, ..InGroups::default() }, Message::default()));
        // Seven channels are no three groups of channels, though seven times sixty numbers are three groups.
        assert!(!is_found(&InGroups { extents: &[2, 7, 2, 5, 6], ..InGroups::default() }, Message::default()));
        // Reshapes that are others, or that copy an extent of the groups.
        assert!(!is_found(&InGroups { to: &[2, 3, 4, -1], ..InGroups::default() }, Message::default()));
        assert!(!is_found(&InGroups { to: &[0, 0, -1], ..InGroups::default() }, Message::default()));
        assert!(!is_found(&InGroups { back: Some(&[0, 0, 20, -1, 6]), ..InGroups::default() }, Message::default()));
        // Whoever else reads what is normalized sees groups.
        for seen in [
            Message::default().message(1, node("reader", "Relu", &["normalized"], "seen")),
            Message::default().message(12, value("normalized", FLOAT, &[2, 3, 120])),
        ] {
            assert!(!is_found(&InGroups::default(), seen));
        }
        let branch = Message::default().text(1, "then_branch").message(6, Message::default());
        let may_read = node("if", "If", &["x"], "chosen").message(5, branch);
        assert!(!is_found(&InGroups::default(), Message::default().message(1, may_read)));
    }

    #[test]
    fn means_are_taken_axis_by_axis() {
        for opset in [13, 18] {
            let (parts, _) = decompose(&model(opset, FLOAT, Message::default(), "x")).unwrap();
            let means = Model::read(&parts).unwrap().nodes.into_iter().filter(|node| node.operator == "ReduceMean");
            let found: Vec<_> = means.map(|node| node.name).collect();
            let wanted = ["mean_4", "mean_3", "mean", "variance_4", "variance_3", "variance"];
            assert_eq!(found, wanted.map(|what| format!("norm/{what}")));
        }
    }

    #[test]
    fn the_plugin_is_for_float32_that_the_model_brings() {
        let suits = |scale: &str, element_type, extents: &[u64], more: Message| {
            let graph = more
                .message(1, node("norm", INSTANCE_NORMALIZATION, &["x", scale, "bias"], "y"))
                .message(5, weights("scale", element_type, &[3], &raw(&SCALE, element_type)))
                .message(5, weights("bias", element_type, &[3], &raw(&BIAS, element_type)))
                .message(11, value("x", element_type, extents));
            suits_plugin(&Message::default().message(7, graph).into_bytes()).unwrap()
        };
        let other = |operator| Message::default().message(1, node("other", operator, &["scale"], "other"));
        assert!(suits("scale", FLOAT, &EXTENTS, Message::default()));
        assert!(suits("other", FLOAT, &EXTENTS, other("Identity")));
        assert!(!suits("other", FLOAT, &EXTENTS, other("Exp")));
        assert!(!suits("scale", FLOAT16, &EXTENTS, Message::default()));
        assert!(!suits("other", FLOAT16, &EXTENTS, other("Identity")));
        assert!(!suits("scale", FLOAT, &[1, 3, 2, 2, 2, 2], Message::default()));
    }

    #[test]
    fn nothing_else_changes() {
        let graph = Message::default().message(1, node("a", "Relu", &["x"], "a"));
        let whole = model(13, FLOAT, graph, "a");
        let (parts, _) = decompose(&whole).unwrap();
        let found = operators(&parts);
        assert!(found[0] == "Relu" && !found.contains(&INSTANCE_NORMALIZATION.to_owned()), "{found:?}");
        // A model without is copied byte by byte.
        assert_eq!(decompose(&parts).unwrap().0, parts);
    }

    #[test]
    fn ranks_are_found_or_asked_for() {
        let unknown = || Message::default().message(1, node("a", "Mystery", &["x"], "a"));
        let error = decompose(&model(13, FLOAT, unknown(), "a")).err().unwrap();
        assert!(error.code() == Code::Unsupported && error.message().contains("node 1 \"norm\""), "{error}");
        assert!(error.message().contains("shape_inference"), "{error}");
        // The shape that it is given, what is noted of it, and the weights of a convolution tell.
        let shape: Vec<u8> = [0i64, 3, -1].iter().flat_map(|number| number.to_le_bytes()).collect();
        let known = [
            unknown()
                .message(1, node("b", "Reshape", &["a", "shape"], "b"))
                .message(5, weights("shape", INT64, &[3], &shape)),
            unknown().message(1, node("b", "Relu", &["a"], "b")).message(13, value("b", FLOAT, &EXTENTS)),
            unknown()
                .message(1, node("b", "Conv", &["a", "w"], "b"))
                .message(5, weights("w", FLOAT, &[3, 3, 1, 1, 1], &raw(&[0.0; 9], FLOAT))),
        ];
        for graph in known {
            assert!(operators(&decompose(&model(13, FLOAT, graph, "b")).unwrap().0).contains(&"ReduceMean".to_owned()));
        }
        // A sum has as many dimensions as the operand of which nothing is known, or more.
        for operands in [["a", "w"], ["w", "a"]] {
            let graph = unknown().message(1, node("b", "Add", &operands, "b"));
            let graph = graph.message(5, weights("w", FLOAT, &[3, 1, 1, 1], &raw(&[0.0; 3], FLOAT)));
            let error = decompose(&model(13, FLOAT, graph, "b")).err().unwrap();
            assert!(error.message().contains("how many dimensions"), "{error}");
        }
        let error = decompose(&model(6, FLOAT, Message::default(), "x")).err().unwrap();
        assert!(error.message().contains("opset 6"), "{error}");
    }

    #[test]
    fn parts_stay_in_float32_as_the_whole_would() {
        let (parts, decomposition) = decompose(&model(13, FLOAT, Message::default(), "x")).unwrap();
        let found = names(&parts);
        let kept = |change: &dyn Fn(&mut Options), is_reduced| {
            let mut options = Options::default();
            change(&mut options);
            decomposition.keep_float32(&mut options, is_reduced);
            assert!(
                options.float32_operators.is_empty() && options.float32_nodes.iter().all(|name| found.contains(name))
            );
            options.float32_nodes
        };
        assert!(kept(&|_| {}, false).is_empty());
        let statistics = kept(&|_| {}, true);
        assert!(statistics.contains(&"norm/variance".to_owned()) && !statistics.contains(&"norm/scaled".to_owned()));
        for change in [
            &(|options: &mut Options| options.float32_nodes.push("norm".to_owned())) as &dyn Fn(&mut Options),
            &|options| options.float32_operators.push(INSTANCE_NORMALIZATION.to_owned()),
        ] {
            assert!(kept(change, true).contains(&"norm/scaled".to_owned()));
        }
        // Under the name of the reshape, too, whose place they take.
        let (parts, decomposition) = decompose(&InGroups::default().model(Message::default())).unwrap();
        let mut options = Options::default();
        options.float32_nodes.push("back".to_owned());
        decomposition.keep_float32(&mut options, false);
        assert!(options.float32_nodes.contains(&"norm/scaled".to_owned()));
        assert!(options.float32_nodes.iter().all(|name| names(&parts).contains(name)));
    }
}
