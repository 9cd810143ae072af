//! Which graphs keep the items of a batch apart.

use super::check;
use crate::backend::cpu::tests::{Attributes, int64s, model, node, value, weight};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

fn verdict(nodes: Vec<NodeProto>, rank: usize, weights: Vec<TensorProto>, opset: i64) -> Result<(), String> {
    let value = |name| value(name, DataType::Float, &["N"]);
    let graph = model(nodes, vec![value("x")], vec![value("y")], weights).graph.unwrap();
    check(&graph, &[("x", rank)], opset)
}

#[test]
fn items_stay_apart() {
    let x = |op: &str| node(op, &["x"], &["y"]);
    let conv = weight("w", &[4, 2, 3, 3, 3], |_| 0.0);
    for (nodes, rank, weights) in [
        (vec![x("Relu")], 1, vec![]),
        (vec![node("Conv", &["x", "w"], &["y"])], 5, vec![conv]),
        (vec![x("Softmax").int("axis", 1)], 5, vec![]),
        (vec![x("ReduceMean").ints("axes", &[1, 2]).int("keepdims", 0)], 3, vec![]),
        (vec![node("MatMul", &["x", "w"], &["y"])], 3, vec![weight("w", &[4, 4], |_| 0.0)]),
        (vec![node("Add", &["x", "w"], &["y"])], 3, vec![weight("w", &[1, 4, 4], |_| 0.0)]),
        (
            vec![x("Transpose").ints("perm", &[1, 0, 2]), node("Transpose", &["y"], &["z"]).ints("perm", &[1, 0, 2])],
            3,
            vec![],
        ),
        (vec![x("InstanceNormalization")], 4, vec![]),
        (vec![x("Flatten")], 4, vec![]),
        (vec![node("Reshape", &["x", "s"], &["y"])], 4, vec![int64s("s", &[0, -1])]),
        // A batch put into a shape, as exporters do, and a constant spread over it.
        (
            vec![
                node("Shape", &["x"], &["s"]),
                node("Gather", &["s", "zero"], &["n"]).int("axis", 0),
                node("Concat", &["n", "rest"], &["shape"]).int("axis", 0),
                node("Reshape", &["x", "shape"], &["a"]),
                node("Expand", &["w", "shape"], &["b"]),
                node("Mul", &["a", "b"], &["y"]),
            ],
            3,
            vec![int64s("zero", &[0]), int64s("rest", &[-1, 8]), weight("w", &[1, 1, 8], |_| 0.0)],
        ),
    ] {
        let mut nodes = nodes;
        if let Some(last) = nodes.last_mut() {
            last.output[0] = "y".to_owned();
        }
        if nodes.len() == 2 {
            nodes[0].output[0] = "t".to_owned();
            nodes[1].input[0] = "t".to_owned();
        }
        let name = nodes[0].op_type.clone();
        assert_eq!(verdict(nodes, rank, weights, 17), Ok(()), "{name}");
    }
}

#[test]
fn what_may_mix_items_is_named() {
    let x = |op: &str| node(op, &["x"], &["y"]);
    let two = |op: &str| node(op, &["x", "w"], &["y"]);
    for (node, weights, opset) in [
        (x("Softmax").int("axis", 0), vec![], 17),
        (x("Softmax").int("axis", -3), vec![], 17),
        (x("Softmax").int("axis", 0), vec![], 11),
        (x("ReduceMean"), vec![], 17),
        (x("ReduceSum").ints("axes", &[0]), vec![], 11),
        (x("ArgMax"), vec![], 17),
        (x("Transpose").ints("perm", &[1, 0, 2]), vec![], 17),
        (x("Flatten").int("axis", 0), vec![], 17),
        (x("Flatten").int("axis", -3), vec![], 17),
        (x("MeanVarianceNormalization"), vec![], 17),
        (x("DynamicQuantizeLinear"), vec![], 17),
        (x("NonZero"), vec![], 17),
        (x("Squeeze"), vec![], 17),
        (x("Dream"), vec![], 17),
        (two("Add"), vec![weight("w", &[4, 1, 1], |_| 0.0)], 17),
        (two("Add"), vec![weight("w", &[2, 1, 1, 1], |_| 0.0)], 17),
        (node("MatMul", &["w", "x"], &["y"]), vec![weight("w", &[3, 3, 3], |_| 0.0)], 17),
        (two("Gather"), vec![int64s("w", &[0])], 17),
        (two("Tile"), vec![int64s("w", &[2, 1, 1])], 17),
        (two("Pad"), vec![int64s("w", &[1, 0, 0, 0, 0, 0])], 17),
        (two("Reshape"), vec![int64s("w", &[-1])], 17),
        (two("Reshape"), vec![int64s("w", &[2, -1])], 17),
        (two("CumSum"), vec![int64s("w", &[0])], 17),
        (two("LSTM"), vec![weight("w", &[1, 8, 3], |_| 0.0)], 17),
        (node("Slice", &["x", "w", "w"], &["y"]), vec![int64s("w", &[1])], 17),
        (node("Concat", &["x", "x"], &["y"]).int("axis", 0), vec![], 17),
    ] {
        let name = node.op_type.clone();
        let verdict = verdict(vec![node], 3, weights, opset);
        // Those that keep one row for each item and only put it elsewhere are told of at the output.
        let told = verdict.as_ref().is_err_and(|why| why.contains(&name) || why.contains("\"y\""));
        if name != "Reshape" || verdict.is_err() {
            assert!(told, "{name}: {verdict:?}");
        }
    }
}

#[test]
fn a_number_of_items_is_not_a_value() {
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Gather", &["s", "zero"], &["n"]).int("axis", 0),
        node("Cast", &["n"], &["f"]).int("to", DataType::Float as i64),
        node("Mul", &["x", "f"], &["y"]),
    ];
    let why = verdict(nodes, 2, vec![int64s("zero", &[0])], 17).unwrap_err();
    assert_eq!(why, "node \"Cast of f\" (Cast) may mix the items of a batch");
}
