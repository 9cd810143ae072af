use super::super::tests::{Attributes, model, node, value, weight};
use super::super::{CpuEngine, CpuOptions};
use super::kernel::{COLUMNS, Head, ROWS, Step, WIDTH};
use super::*;
use crate::backend::Cancellation;
use crate::model::Origin;
use crate::tensor::Shape;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType::Float;
use tract_onnx::pb::{NodeProto, TensorProto};

fn ramp(i: usize) -> f32 {
    ((i * 7919) % 1009) as f32 / 252.0 - 2.0
}

/// What a graph from "x" to "y" gives, and the operators of its plan; where what lies between is asked for too, nothing can
/// be brought together.
fn run(nodes: &[NodeProto], weights: &[TensorProto], outputs: &[&str], threads: usize) -> (Vec<f32>, Vec<String>) {
    let shape = [6, 13, 3, 2, 5];
    let names = shape.map(|extent| extent.to_string());
    let input = value("x", Float, &names.each_ref().map(String::as_str));
    let outputs = outputs.iter().map(|name| value(name, Float, &[""; 4])).collect();
    let model = model(nodes.to_vec(), vec![input], outputs, weights.to_vec()).encode_to_vec();
    let engine = CpuEngine::new(&model, Origin::default(), CpuOptions { threads, shape_cache: 1 }).unwrap();
    let plan = engine.plans.get(&engine.model, &[Shape::new(&shape.map(|extent| extent as i64)).unwrap()], Vec::new());
    let plan = plan.unwrap();
    let values: Vec<f32> = (0..shape.iter().product()).map(ramp).collect();
    let inputs = vec![tvec![Tensor::from_shape(&shape, &values).unwrap().into_tvalue()]];
    let results =
        engine.threads.map(inputs, |inputs| plan.run(&engine.model, inputs, &Cancellation::default())).unwrap();
    let last = results[0].last().unwrap().try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    (last, plan.operators())
}

#[test]
fn attention_is_what_its_nodes_give() {
    let ints = |name: &str, numbers: &[i64]| super::super::tests::int64s(name, numbers);
    let place = |name: &str, number: i64| TensorProto { dims: Vec::new(), ..ints(name, &[number]) };
    let number = |name: &str, number: f32| weight(name, &[], move |_| number);
    let weights = [
        weight("bias", &[2, 13, 13], ramp),
        // The first of three is like the last.
        weight("mask", &[1, 3, 1, 13, 13], |i| if i % 338 % 7 == 3 { f32::NEG_INFINITY } else { 0.0 }),
        weight("row", &[1, 1, 1, 13], ramp),
        weight("column", &[6, 1, 13, 1], ramp),
        number("scale", 0.4),
        place("0", 0),
        place("1", 1),
        place("2", 2),
        ints("0s", &[0]),
        ints("1s", &[1]),
        ints("3s", &[3]),
        ints("apart", &[2, 3, 2, 13, 13]),
        ints("together", &[6, 2, 13, 13]),
    ];
    let gather = |at: &str, to: &str| node("Gather", &["t", at], &[to]).int("axis", 0);
    // Windows, tokens, one of three, heads, elements.
    let before = [
        node("Transpose", &["x"], &["t"]).ints("perm", &[2, 0, 3, 1, 4]),
        gather("0", "q"),
        gather("1", "k"),
        gather("2", "v"),
        node("Transpose", &["k"], &["kt"]).ints("perm", &[0, 1, 3, 2]),
        node("MatMul", &["q", "kt"], &["s0"]),
    ];
    let after = [
        node("Softmax", &["s"], &["p"]).int("axis", -1),
        node("MatMul", &["p", "v"], &["o"]),
        node("Transpose", &["o"], &["y"]).ints("perm", &[0, 2, 1, 3]),
    ];
    let windows = vec![
        node("Mul", &["s0", "scale"], &["s1"]),
        node("Add", &["s1", "bias"], &["s2"]),
        node("Reshape", &["s2", "apart"], &["s3"]),
        node("Add", &["mask", "s3"], &["s4"]),
        node("Reshape", &["s4", "together"], &["s"]),
    ];
    let rows = vec![node("Add", &["s0", "row"], &["s1"]), node("Add", &["column", "s1"], &["s"])];
    let nothing = vec![node("Mul", &["scale", "s0"], &["s"])];
    for between in [windows, rows, nothing] {
        let nodes: Vec<_> = before.iter().chain(&between).chain(&after).cloned().collect();
        is_brought_together(&nodes, &weights);
    }
    // With one head.
    let nodes = [
        node("Slice", &["x", "0s", "1s", "3s"], &["x1"]),
        node("Transpose", &["x1"], &["t"]).ints("perm", &[2, 0, 3, 1, 4]),
    ];
    let between = [node("Add", &["s0", "row"], &["s"])];
    is_brought_together(
        &nodes.iter().chain(&before[1..]).chain(&between).chain(&after).cloned().collect::<Vec<_>>(),
        &weights,
    );
}

fn is_brought_together(nodes: &[NodeProto], weights: &[TensorProto]) {
    let (apart, operators) = run(nodes, weights, &["s", "p", "o", "y"], 1);
    assert!(operators.iter().all(|operator| operator != "FusedAttention"));
    let (fused, operators) = run(nodes, weights, &["y"], 1);
    assert!(operators.iter().any(|operator| operator == "FusedAttention"), "{operators:?}");
    assert!(operators.iter().all(|operator| operator != "Softmax"), "{operators:?}");
    for (fused, apart) in fused.iter().zip(&apart) {
        assert!((fused - apart).abs() < 2e-6 * apart.abs().max(1.0), "{fused} and not {apart}");
    }
    assert_eq!(run(nodes, weights, &["y"], 3).0, fused);
}

#[test]
fn each_kernel_is_right() {
    for (inner, keys, width) in [(1usize, 1usize, 1usize), (12, 343, 12), (5, 33, 40), (64, 32, 16)] {
        let (length, step) = (keys.next_multiple_of(COLUMNS), width.next_multiple_of(WIDTH));
        let padded = |columns: usize, to: usize, rows: usize| -> Vec<f32> {
            let one = |i: usize| if i % to < columns { ramp(i) } else { 0.0 };
            (0..rows * to).map(one).collect()
        };
        let (packed_keys, packed_values) = (padded(keys, length, inner), padded(width, step, keys));
        let head = Head { keys, packed_keys: &packed_keys, packed_values: &packed_values, width };
        let queries: Vec<[f32; ROWS]> = (0..inner).map(|i| std::array::from_fn(|row| ramp(i * 31 + row))).collect();
        let added: Vec<f32> = (0..ROWS * keys).map(|i| ramp(i * 3)).collect();
        let steps = [
            Step::Scale(0.5),
            Step::AddOne(std::array::from_fn(|row| row as f32)),
            Step::Add(std::array::from_fn(|row| &added[row * keys..][..keys])),
        ];
        let mut expected = Vec::new();
        for row in 0..ROWS {
            let score = |key: usize| {
                let products =
                    (0..inner).map(|i| f64::from(queries[i][row]) * f64::from(packed_keys[i * length + key]));
                products.sum::<f64>() * 0.5 + row as f64 + f64::from(added[row * keys + key])
            };
            let scores: Vec<f64> = (0..keys).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            let of = |column: usize| {
                let value = |key: usize| f64::from(packed_values[key * step + column]);
                (0..keys).map(|key| (scores[key] - largest).exp() * value(key)).sum::<f64>() / total
            };
            expected.extend((0..width).map(of));
        }
        let check = |way: &dyn Fn(&mut [f32], &mut [f32])| {
            let (mut scores, mut results) = (vec![9.0; ROWS * length], vec![9.0; ROWS * step]);
            way(&mut scores, &mut results);
            for (row, expected) in results.chunks_exact(step).zip(expected.chunks_exact(width)) {
                for (found, expected) in row.iter().zip(expected) {
                    assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} and not {expected}");
                }
            }
        };
        check(&|scores, results| kernel::rows(&head, &queries, &steps, scores, results));
        check(&|scores, results| kernel::plain::<8, false>(&head, &queries, &steps, scores, results));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the instructions.
            check(&|scores, results| unsafe { kernel::avx2(&head, &queries, &steps, scores, results) });
        }
    }
}
