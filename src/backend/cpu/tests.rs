//! The CPU engine on models small enough to write down.

use super::*;
use crate::engine::Role;
use crate::process::memory;
use crate::tensor::{ElementType, HostTensor, Shape};
use half::f16;
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Extent};
use tract_onnx::pb::*;

// What a model is written down with.

pub(super) fn value(name: &str, data_type: DataType, extents: &[&str]) -> ValueInfoProto {
    let extent = |text: &&str| Dimension {
        value: match text.parse() {
            Ok(number) => Some(Extent::DimValue(number)),
            Err(_) if text.is_empty() => None,
            Err(_) => Some(Extent::DimParam((*text).to_owned())),
        },
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: extents.iter().map(extent).collect() });
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

pub(super) fn weight(name: &str, dims: &[i64], values: impl Fn(usize) -> f32) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: (0..dims.iter().product::<i64>() as usize).flat_map(|i| values(i).to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn int64s(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![numbers.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: numbers.to_vec(),
        ..TensorProto::default()
    }
}

pub(super) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: format!("{op} of {}", outputs[0]),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: outputs.iter().map(|name| (*name).to_owned()).collect(),
        ..NodeProto::default()
    }
}

pub(super) trait Attributes {
    fn int(self, name: &str, i: i64) -> Self;
    fn ints(self, name: &str, ints: &[i64]) -> Self;
}

impl Attributes for NodeProto {
    fn int(mut self, name: &str, i: i64) -> Self {
        let r#type = AttributeType::Int as i32;
        self.attribute.push(AttributeProto { name: name.to_owned(), r#type, i, ..AttributeProto::default() });
        self
    }

    fn ints(mut self, name: &str, ints: &[i64]) -> Self {
        let (r#type, ints) = (AttributeType::Ints as i32, ints.to_vec());
        self.attribute.push(AttributeProto { name: name.to_owned(), r#type, ints, ..AttributeProto::default() });
        self
    }
}

pub(super) fn model(
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    weights: Vec<TensorProto>,
) -> ModelProto {
    let graph = GraphProto {
        name: "small".to_owned(),
        node: nodes,
        input: inputs,
        output: outputs,
        initializer: weights,
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() }
}

fn ramp(i: usize) -> f32 {
    ((i * 7919) % 1009) as f32 / 1009.0 - 0.5
}

/// (batch, 1, D, H, W) → `depth` convolutions of 4 channels with ReLU → softmax over 2 channels.
fn network(depth: usize) -> ModelProto {
    let open = ["batch", "1", "D", "H", "W"];
    let mut nodes = Vec::new();
    let mut weights = vec![weight("w0", &[4, 1, 3, 3, 3], ramp), weight("wo", &[2, 4, 1, 1, 1], ramp)];
    let mut last = "image".to_owned();
    for i in 0..depth {
        let (w, c, r) = (format!("w{i}"), format!("c{i}"), format!("r{i}"));
        if i > 0 {
            weights.push(weight(&w, &[4, 4, 3, 3, 3], ramp));
        }
        nodes.push(node("Conv", &[&last, &w], &[&c]).ints("kernel_shape", &[3; 3]).ints("pads", &[1; 6]));
        nodes.push(node("Relu", &[&c], &[&r]));
        last = r;
    }
    nodes.push(node("Conv", &[&last, "wo"], &["logits"]));
    nodes.push(node("Softmax", &["logits"], &["prob"]).int("axis", 1));
    let output = value("prob", DataType::Float, &["batch", "2", "D", "H", "W"]);
    // An initializer that is listed as an input as well, as old writers do.
    let inputs = vec![value("w0", DataType::Float, &["4", "1", "3", "3", "3"]), value("image", DataType::Float, &open)];
    model(nodes, inputs, vec![output], weights)
}

/// For tests of what runs engines: "image" (batch, 1, D, H, W) in, "prob" (batch, 2, D, H, W) out.
pub(crate) fn small_network(threads: usize) -> Arc<dyn Engine> {
    CpuEngine::load(&network(2).encode_to_vec(), options(threads, 4)).unwrap()
}

pub(super) fn options(threads: usize, shape_cache: usize) -> CpuOptions {
    CpuOptions { threads, shape_cache }
}

fn load(model: &ModelProto) -> Result<Arc<CpuEngine>> {
    CpuEngine::new(&model.encode_to_vec(), Origin::default(), options(2, 2)).map(Arc::new)
}

#[track_caller]
fn refused(model: &ModelProto) -> Error {
    load(model).map(|_| ()).expect_err("the model should be refused")
}

// What it is run with.

fn shape(extents: &[i64]) -> Shape {
    Shape::new(extents).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect()
}

pub(super) fn view(tensor: usize, data: &mut [u8], element_type: ElementType, extents: &[i64]) -> HostTensor {
    HostTensor { tensor, data: data.as_mut_ptr(), size: data.len(), element_type, shape: shape(extents) }
}

pub(super) fn image(extents: &[i64]) -> Vec<u8> {
    bytes(&(0..extents.iter().product::<i64>() as usize).map(ramp).collect::<Vec<_>>())
}

/// Runs [`network`] and returns the bytes of its output.
pub(super) fn segment(context: &mut dyn Context, extents: &[i64], mut input: Vec<u8>) -> Result<Vec<u8>> {
    let mut output = vec![0xa5; input.len() * 2];
    let input = view(0, &mut input, ElementType::Float32, extents);
    let result = view(1, &mut output, ElementType::Float32, &[]);
    match unsafe { context.run(&[input], &[result]) } {
        Ok(()) => Ok(output),
        Err(error) => {
            assert!(output.iter().all(|byte| *byte == 0xa5), "an output was written in spite of {error}");
            Err(error)
        }
    }
}

#[test]
fn a_model_says_what_it_is() {
    let engine = load(&network(1)).unwrap();
    let description = engine.description();
    assert_eq!(description.backend, crate::engine::Backend::Cpu);
    assert_eq!(description.name.to_str(), Ok("small"));
    assert_eq!(description.device_name.to_str(), Ok("CPU, 2 threads"));
    assert_eq!(description.tensors.len(), 2);
    let [image, prob] = &description.tensors[..] else { unreachable!() };
    assert_eq!((image.name(), image.role, image.shape), ("image", Role::Input, shape(&[-1, 1, -1, -1, -1])));
    assert_eq!((prob.name(), prob.role, prob.shape), ("prob", Role::Output, shape(&[-1, 2, -1, -1, -1])));
    assert_eq!(image.element_type, ElementType::Float32);
    let layers: serde_json::Value = serde_json::from_str(&engine.layers_json().unwrap()).unwrap();
    let first =
        serde_json::json!({ "Name": "Conv of c0", "LayerType": "Conv", "Inputs": ["image", "w0"], "Outputs": ["c0"] });
    assert_eq!(layers["Layers"][0], first);
}

#[test]
fn a_batch_is_its_items_to_the_bit() {
    let extents = [7, 1, 33, 24, 36];
    let input = image(&extents);
    let (one, item) = ([1, 1, 33, 24, 36], input.len() / 7);
    let single = Arc::new(CpuEngine::new(&network(2).encode_to_vec(), Origin::default(), options(1, 1)).unwrap());
    let mut context = single.new_context().unwrap();
    let items = input.chunks(item).map(|chunk| segment(&mut *context, &one, chunk.to_vec()).unwrap());
    let items: Vec<_> = items.flatten().collect();
    assert!(floats(&items).iter().all(|p| (0.0..=1.0).contains(p)));
    for threads in [1, 2, 3, 8] {
        let engine =
            Arc::new(CpuEngine::new(&network(2).encode_to_vec(), Origin::default(), options(threads, 1)).unwrap());
        let mut context = engine.new_context().unwrap();
        assert!(segment(&mut *context, &extents, input.clone()).unwrap() == items, "{threads} threads");
    }
}

#[test]
fn shapes_used_last_stay_prepared() {
    let engine = load(&network(1)).unwrap();
    let mut context = engine.clone().new_context().unwrap();
    let [a, b, c] = [[1, 1, 4, 4, 4], [1, 1, 5, 4, 4], [1, 1, 6, 4, 4]];
    for extents in [a, b, a, c] {
        segment(&mut *context, &extents, image(&extents)).unwrap();
    }
    assert_eq!(engine.plans.kept(), [[shape(&a)], [shape(&c)]]);
    // A batch needs no plan of its own.
    segment(&mut *context, &[5, 1, 4, 4, 4], image(&[5, 1, 4, 4, 4])).unwrap();
    assert_eq!(engine.plans.kept(), [[shape(&c)], [shape(&a)]]);
}

#[test]
fn a_plan_is_built_once() {
    let engine = load(&network(2)).unwrap();
    let shapes = [shape(&[1, 1, 8, 8, 8])];
    let plans: Vec<_> = std::thread::scope(|scope| {
        let get = || engine.plans.get(&engine.model, &shapes, Vec::new()).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(get)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(plans.iter().all(|plan| Arc::ptr_eq(plan, &plans[0])));
}

#[test]
fn a_run_is_cancelled_from_another_thread() {
    let engine = load(&network(24)).unwrap();
    let mut context = engine.new_context().unwrap();
    let cancellation = context.cancellation();
    let small = [1, 1, 4, 4, 4];

    // Before a run: it ends that run and no other.
    cancellation.request();
    assert_eq!(segment(&mut *context, &small, image(&small)).unwrap_err().code(), Code::Cancelled);
    segment(&mut *context, &small, image(&small)).unwrap();

    for batch in [1, 4] {
        let large = [batch, 1, 48, 48, 48];
        let start = Instant::now();
        segment(&mut *context, &large, image(&large)).unwrap();
        let whole = start.elapsed();
        let start = Instant::now();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(whole / 8);
                cancellation.request();
            });
            segment(&mut *context, &large, image(&large))
        });
        assert_eq!(result.unwrap_err().code(), Code::Cancelled);
        assert!(start.elapsed() < whole, "{:?} of {whole:?}", start.elapsed());
        segment(&mut *context, &small, image(&small)).unwrap();
    }
}

#[test]
fn no_more_threads_than_allowed_and_none_left() {
    let threads = Threads::start(3).unwrap();
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ids = threads.map((0..8).collect(), |i| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        Ok((i, name, std::fs::read_link("/proc/thread-self").unwrap()))
    });
    let ids = ids.unwrap();
    assert!(ids.iter().map(|id| id.0).eq(0..8));
    assert_eq!(most.into_inner(), 3);
    let workers: Vec<_> = ids.iter().filter(|id| id.1.starts_with("planrt-cpu-")).collect();
    assert_eq!(workers.len(), 6);
    let path = |id: &(i32, String, std::path::PathBuf)| std::path::Path::new("/proc").join(&id.2);
    assert!(workers.iter().all(|id| path(id).exists()));
    drop(threads);
    // The kernel tells of a thread's end a little before it forgets it.
    let start = Instant::now();
    while workers.iter().any(|id| path(id).exists()) {
        assert!(start.elapsed() < Duration::from_secs(2), "a thread is left");
        std::thread::yield_now();
    }
}

#[test]
fn an_error_in_one_item_ends_the_batch() {
    let threads = Threads::start(2).unwrap();
    for failing in [1, 4] {
        let work = |i| if i == failing { Err(Error::new(Code::Internal, "no")) } else { Ok(i) };
        assert_eq!(threads.map((0..5).collect(), work).unwrap_err().message(), "no");
    }
}

#[test]
fn contexts_run_at_once() {
    let engine = load(&network(3)).unwrap();
    let extents = [[1, 1, 24, 16, 20], [3, 1, 9, 16, 11], [2, 1, 24, 16, 20], [1, 1, 7, 7, 7]];
    let mut context = engine.clone().new_context().unwrap();
    let expected: Vec<_> = extents.iter().map(|e| segment(&mut *context, e, image(e)).unwrap()).collect();
    std::thread::scope(|scope| {
        for (extents, expected) in extents.iter().zip(&expected) {
            let engine = engine.clone();
            scope.spawn(move || {
                let mut context = engine.new_context().unwrap();
                for _ in 0..10 {
                    assert!(segment(&mut *context, extents, image(extents)).unwrap() == *expected);
                }
            });
        }
    });
}

#[test]
fn shapes_are_checked() {
    let engine = load(&network(1)).unwrap();
    let mut context = engine.new_context().unwrap();
    assert_eq!(context.shape(0).unwrap_err().code(), Code::Shape);
    assert_eq!(context.shape(1).unwrap_err().message(), "the shape of input \"image\" (-1, 1, -1, -1, -1) is not set");
    for wrong in [&[1, 1, 4, 4][..], &[1, 0, 4, 4, 4], &[1, 3, 4, 4, 4], &[1, 1, -1, 4, 4]] {
        assert_eq!(context.set_shape(0, &shape(wrong)).unwrap_err().code(), Code::Shape, "{wrong:?}");
        assert_eq!(segment(&mut *context, wrong, vec![0; 4096]).unwrap_err().code(), Code::Shape, "{wrong:?}");
    }
    context.set_shape(0, &shape(&[3, 1, 4, 5, 6])).unwrap();
    assert_eq!(context.shape(1).unwrap(), shape(&[3, 2, 4, 5, 6]));
    assert_eq!(context.set_profile(Some(0)).unwrap_err().code(), Code::InvalidArgument);

    let error = segment(&mut *context, &[1, 1, 4, 4, 4], vec![0; 255]).unwrap_err();
    assert_eq!(error.code(), Code::BufferTooSmall);
    assert_eq!(error.message(), "\"image\" with shape (1, 1, 4, 4, 4) of float32 needs 256 bytes, 255 were given");
    let (mut input, mut output) = (vec![0; 256], vec![0xa5; 511]);
    let views =
        (view(0, &mut input, ElementType::Float32, &[1, 1, 4, 4, 4]), view(1, &mut output, ElementType::Float32, &[]));
    let error = unsafe { context.run(&[views.0], &[views.1]) }.unwrap_err();
    assert_eq!(error.code(), Code::BufferTooSmall);
    assert!(error.message().starts_with("\"prob\"") && output.iter().all(|byte| *byte == 0xa5));

    // Too large for the machine: an input alone, or what becomes of it.
    let most = 64 << 30;
    for (large, what) in
        [([1, 1, 1 << 16, 1 << 16, 1 << 16], "input \"image\""), ([1, 1, 1, 1 << 15, 1 << 16], "a run")]
    {
        if what == "a run" && memory::require(what, most).is_ok() {
            continue;
        }
        let mut byte = 0u8;
        context.set_shape(0, &shape(&large)).unwrap();
        unsafe {
            // It is refused before anything is read or written.
            context.bind(0, (&raw mut byte).cast(), usize::MAX).unwrap();
            context.bind(1, (&raw mut byte).cast(), usize::MAX).unwrap();
            let error = context.enqueue(None).unwrap_err();
            assert_eq!(error.code(), Code::OutOfMemory);
            assert!(error.message().starts_with(what), "{error}");
        }
    }
}

/// sum = a + b, over a common batch; also, of the same: flag = not on.
fn sum() -> ModelProto {
    let float = |name, extents: &[&str]| value(name, DataType::Float, extents);
    let nodes = vec![node("Add", &["a", "b"], &["sum"]), node("Not", &["on"], &["off"])];
    let inputs = vec![float("a", &["N", "X"]), float("b", &["N", "X"]), value("on", DataType::Bool, &["N"])];
    model(nodes, inputs, vec![float("sum", &["N", "X"]), value("off", DataType::Bool, &["N"])], vec![])
}

/// The same as an engine, for the tests of sessions.
pub fn sum_network() -> Arc<dyn Engine> {
    load(&sum()).unwrap()
}

#[test]
fn views_come_in_any_order_and_type() {
    let mut context = load(&sum()).unwrap().new_context().unwrap();
    let halves = |values: &[f32]| values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect::<Vec<_>>();
    let mut a = bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // One byte off, so that nothing is aligned.
    let mut b = [vec![0], halves(&[0.5, 0.25, 0.125, -1.0, -2.0, -3.0])].concat();
    let (mut on, mut off, mut result) = (vec![0, 1, 2], vec![7; 4], vec![7; 14]);
    let inputs = [
        view(2, &mut on, ElementType::Bool, &[3]),
        view(1, &mut b[1..], ElementType::Float16, &[3, 2]),
        view(0, &mut a, ElementType::Float32, &[3, 2]),
    ];
    let outputs =
        [view(4, &mut off[1..], ElementType::Bool, &[]), view(3, &mut result[1..13], ElementType::Float16, &[])];
    unsafe { context.run(&inputs, &outputs) }.unwrap();
    assert_eq!(off, [7, 1, 0, 0]);
    assert_eq!(result[1..13], halves(&[1.5, 2.25, 3.125, 3.0, 3.0, 3.0]));
    assert_eq!((result[0], result[13]), (7, 7));

    // An output that is not named is dropped; an input that is not named is missed.
    off.fill(7);
    unsafe { context.run(&inputs, &[view(4, &mut off[1..], ElementType::Bool, &[])]) }.unwrap();
    assert_eq!(off, [7, 1, 0, 0]);
    let error = unsafe { context.run(&inputs[..2], &outputs) }.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "input \"a\" is missing"));
    let as_ints = view(0, &mut a, ElementType::Int32, &[3, 2]);
    let error = unsafe { context.run(&[inputs[0], inputs[1], as_ints], &outputs) }.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);

    let mut short = inputs;
    short[1].shape = shape(&[2, 2]);
    let error = unsafe { context.run(&short, &outputs) }.unwrap_err();
    assert_eq!(error.message(), "\"N\" is one extent of the model, but 3 in input \"a\" and 2 in input \"b\"");
}

#[test]
fn bound_memory_is_run_with() {
    let mut context = load(&sum()).unwrap().new_context().unwrap();
    let (mut a, mut b, mut on) = (bytes(&[1.0, 2.0]), bytes(&[3.0, 4.0]), vec![1, 0]);
    let (mut result, mut off) = (vec![0; 8], vec![7u8; 2]);
    for (tensor, extents) in [&[2, 1][..], &[2, 1], &[2]].into_iter().enumerate() {
        context.set_shape(tensor, &shape(extents)).unwrap();
    }
    let buffers = [&mut a, &mut b, &mut on, &mut result].map(|buffer| (buffer.as_mut_ptr().cast(), buffer.len()));
    unsafe {
        for (tensor, (address, bytes)) in buffers.into_iter().enumerate() {
            context.bind(tensor, address, bytes).unwrap();
        }
        assert_eq!(context.enqueue(None).unwrap_err().message(), "no memory is bound to \"off\"");
        context.bind(4, off.as_mut_ptr().cast(), 1).unwrap();
        assert_eq!(context.enqueue(None).unwrap_err().code(), Code::BufferTooSmall);
        context.bind(4, off.as_mut_ptr().cast(), 2).unwrap();
        context.enqueue(None).unwrap();
    }
    assert_eq!((floats(&result), off), (vec![4.0, 6.0], vec![0, 1]));
}

#[test]
fn every_element_type_passes_through() {
    let types = [
        (DataType::Float, ElementType::Float32),
        (DataType::Float16, ElementType::Float16),
        (DataType::Bfloat16, ElementType::BFloat16),
        (DataType::Int8, ElementType::Int8),
        (DataType::Uint8, ElementType::Uint8),
        (DataType::Int32, ElementType::Int32),
        (DataType::Int64, ElementType::Int64),
        (DataType::Bool, ElementType::Bool),
        (DataType::Int16, ElementType::Int16),
        (DataType::Uint16, ElementType::Uint16),
        (DataType::Double, ElementType::Float64),
    ];
    for (data_type, element_type) in types {
        let nodes = vec![node("Transpose", &["x"], &["y"]).ints("perm", &[0, 2, 1])];
        let inputs = vec![value("x", data_type, &["N", "2", "3"])];
        let engine = load(&model(nodes, inputs, vec![value("y", data_type, &["N", "3", "2"])], vec![])).unwrap();
        assert_eq!(engine.description().tensors[0].element_type, element_type);
        let mut context = engine.new_context().unwrap();
        let size = element_type.size();
        let mut input: Vec<u8> = (0..12 * size).map(|i| u8::from(i % size == 0 && i / size % 5 == 2)).collect();
        let mut output = vec![0; input.len()];
        let expected: Vec<u8> = (0..2)
            .flat_map(|n| [0, 3, 1, 4, 2, 5].map(|i| n * 6 + i))
            .flat_map(|i| input[i * size..(i + 1) * size].to_vec())
            .collect();
        let views = (view(0, &mut input, element_type, &[2, 2, 3]), view(1, &mut output, element_type, &[]));
        unsafe { context.run(&[views.0], &[views.1]) }.unwrap();
        assert_eq!(output, expected, "{element_type}");
    }
    let inputs = vec![value("x", DataType::Uint64, &["2"])];
    let model = model(vec![node("Neg", &["x"], &["y"])], inputs, vec![value("y", DataType::Uint64, &["2"])], vec![]);
    let error = refused(&model);
    assert_eq!(error.code(), Code::Unsupported);
    assert_eq!(error.message(), "input \"x\" has elements of uint64, which the CPU engine does not take");
}

#[test]
fn sixteen_bits_run_in_float32() {
    // y = cast(cast(x, float) * 3, half) + 2^-11, all that can be in half precision being so.
    let half_bits = |x: f32| f16::from_f32(x).to_bits();
    let step = TensorProto {
        name: "step".to_owned(),
        dims: vec![1],
        data_type: DataType::Float16 as i32,
        int32_data: vec![i32::from(half_bits(1.0 / 2048.0))],
        ..TensorProto::default()
    };
    let three = TensorProto {
        name: "three".to_owned(),
        data_type: DataType::Float16 as i32,
        int32_data: vec![],
        raw_data: half_bits(3.0).to_le_bytes().to_vec(),
        dims: vec![1],
        ..TensorProto::default()
    };
    let nodes = vec![
        node("Mul", &["x", "three"], &["t"]),
        node("Cast", &["t"], &["f"]).int("to", DataType::Float as i64),
        node("Cast", &["f"], &["h"]).int("to", DataType::Float16 as i64),
        node("Add", &["h", "step"], &["y"]),
    ];
    let (input, output) = (value("x", DataType::Float16, &["N"]), value("y", DataType::Float16, &["N"]));
    let mut context = load(&model(nodes, vec![input], vec![output], vec![step, three])).unwrap().new_context().unwrap();
    let (mut x, mut halves, mut wide) = (half_bits(0.5).to_le_bytes(), [0; 2], [0; 4]);
    let x = view(0, &mut x, ElementType::Float16, &[1]);
    unsafe { context.run(&[x], &[view(1, &mut halves, ElementType::Float16, &[])]) }.unwrap();
    assert_eq!(u16::from_le_bytes(halves), half_bits(1.5 + 1.0 / 2048.0));
    unsafe { context.run(&[x], &[view(1, &mut wide, ElementType::Float32, &[])]) }.unwrap();
    assert_eq!(f32::from_le_bytes(wide), 1.5 + 1.0 / 2048.0);
}

#[test]
fn without_a_common_batch_the_model_runs_whole() {
    // Normalizes over the batch, so that items alone would come out otherwise; the batch has no name.
    let nodes = vec![node("ReduceMean", &["x"], &["m"]).ints("axes", &[0]), node("Sub", &["x", "m"], &["y"])];
    let float = |name| value(name, DataType::Float, &["", "2"]);
    let engine = load(&model(nodes, vec![float("x")], vec![float("y")], vec![])).unwrap();
    assert!(!engine.model.batched);
    let mut context = engine.clone().new_context().unwrap();
    let (mut x, mut y) = (bytes(&[1.0, 2.0, 3.0, 6.0]), vec![0; 16]);
    let views = (view(0, &mut x, ElementType::Float32, &[2, 2]), view(1, &mut y, ElementType::Float32, &[]));
    unsafe { context.run(&[views.0], &[views.1]) }.unwrap();
    assert_eq!(floats(&y), [-1.0, -2.0, 1.0, 2.0]);
    assert_eq!(engine.plans.kept(), [[shape(&[2, 2])]]);

    // An output that does not come item by item, though its leading extent has the batch's name.
    let flat = TensorProto {
        name: "flat".to_owned(),
        dims: vec![1],
        data_type: DataType::Int64 as i32,
        int64_data: vec![-1],
        ..TensorProto::default()
    };
    let nodes = vec![node("Reshape", &["x", "flat"], &["y"])];
    let (input, output) = (value("x", DataType::Float, &["N", "2"]), value("y", DataType::Float, &["N"]));
    let engine = load(&model(nodes, vec![input], vec![output], vec![flat])).unwrap();
    let mut context = engine.clone().new_context().unwrap();
    unsafe { context.run(&[views.0], &[views.1]) }.unwrap();
    assert_eq!(y, x);
    assert_eq!(context.shape(1).unwrap(), shape(&[4]));
}

#[test]
fn an_output_may_depend_on_the_data() {
    let (input, output) = (value("x", DataType::Float, &["4"]), value("y", DataType::Int64, &["1", "n"]));
    let engine = load(&model(vec![node("NonZero", &["x"], &["y"])], vec![input], vec![output], vec![])).unwrap();
    let mut context = engine.new_context().unwrap();
    assert_eq!(context.shape(1).unwrap_err().code(), Code::Unsupported);
    let (mut x, mut y) = (bytes(&[0.0, 1.0, 0.0, 1.0]), vec![7; 24]);
    let x = view(0, &mut x, ElementType::Float32, &[4]);
    unsafe {
        let error = context.run(&[x], &[view(1, &mut y[..15], ElementType::Int64, &[])]).unwrap_err();
        assert_eq!((error.code(), y[0]), (Code::BufferTooSmall, 7));
        context.run(&[x], &[view(1, &mut y, ElementType::Int64, &[])]).unwrap();
    }
    assert_eq!(y, [[1, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0], [7; 8]].concat());
}

#[test]
fn early_resizes_round_down() {
    for (op, version) in [("Upsample", 9), ("Resize", 10)] {
        let (input, output) =
            (value("x", DataType::Float, &["N", "1", "2"]), value("y", DataType::Float, &["N", "1", "6"]));
        let scales = weight("scales", &[3], |axis| [1.0, 1.0, 3.0][axis]);
        let mut proto = model(vec![node(op, &["x", "scales"], &["y"])], vec![input], vec![output], vec![scales]);
        proto.opset_import[0].version = version;
        let mut context = load(&proto).unwrap().new_context().unwrap();
        let (mut x, mut y) = (bytes(&[5.0, 7.0]), vec![0; 24]);
        let views = (view(0, &mut x, ElementType::Float32, &[1, 1, 2]), view(1, &mut y, ElementType::Float32, &[]));
        unsafe { context.run(&[views.0], &[views.1]) }.unwrap();
        assert_eq!(floats(&y), [5.0, 5.0, 5.0, 7.0, 7.0, 7.0], "{op}");
    }
}

#[test]
fn an_output_without_a_shape_gets_its_rank() {
    let mut proto = network(1);
    let graph = proto.graph.as_mut().unwrap();
    let Some(type_proto::Value::TensorType(tensor)) = &mut graph.output[0].r#type.as_mut().unwrap().value else {
        unreachable!()
    };
    tensor.shape = None;
    let engine = load(&proto).unwrap();
    assert_eq!(engine.description().tensors[1].shape, shape(&[-1; 5]));
    let mut context = engine.new_context().unwrap();
    segment(&mut *context, &[2, 1, 4, 4, 4], image(&[2, 1, 4, 4, 4])).unwrap();
}

#[test]
fn what_cannot_run_is_refused_with_its_reason() {
    for (data, message) in [
        (&b""[..], "the ONNX model is empty"),
        (b"# a text, named .onnx by mistake\n", "these bytes are not an ONNX model"),
        (b"ftrt\0\0\0\0", "these bytes are not an ONNX model"),
    ] {
        let error = CpuEngine::new(data, Origin::default(), CpuOptions::default()).map(|_| ()).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::InvalidModel, message));
    }

    let mut lacking = network(1);
    let nodes = &mut lacking.graph.as_mut().unwrap().node;
    nodes[1].op_type = "DeformConv".to_owned();
    nodes[2].op_type = "Odd".to_owned();
    nodes[2].domain = "org.example".to_owned();
    let error = refused(&lacking);
    assert_eq!(error.code(), Code::Unsupported);
    assert_eq!(
        error.message(),
        "the model uses the operators DeformConv, org.example.Odd; the CPU engine (tract) lacks them"
    );

    let mut external = network(1);
    let tensor = &mut external.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data.clear();
    tensor.data_location = Some(1);
    assert_eq!(
        refused(&external).message(),
        "the ONNX model is damaged: weight \"w0\" lies in another file and does not say in which"
    );
    // As weights look that are held apart.
    let tensor = &mut external.graph.as_mut().unwrap().initializer[0];
    tensor.external_data.push(StringStringEntryProto { key: "held".to_owned(), value: "0".to_owned() });
    assert!(refused(&external).message().ends_with("does not say in which"));
    let tensor = &mut external.graph.as_mut().unwrap().initializer[0];
    tensor.external_data = vec![StringStringEntryProto { key: "location".to_owned(), value: "w.bin".to_owned() }];
    let error = refused(&external);
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.message().starts_with("weight \"w0\" lies in \"w.bin\", a file beside the ONNX model"), "{error}");

    for (damage, message) in [
        (
            &(|g: &mut GraphProto| g.output[0].name.push('x')) as &dyn Fn(&mut GraphProto),
            "produces its output \"probx\"",
        ),
        (&|g| g.node[0].input[0].push('x'), "a node reads \"imagex\", which nothing produces"),
        (&|g| g.node[1].output[0] = "c0".to_owned(), "two of its nodes produce \"c0\""),
        (&|g| g.output.clear(), "no output"),
        (&|g| g.name.push('\0'), "zero byte"),
        (&|g| g.node[0].input[0] = "r0".to_owned(), "node \"Conv of c0\" (Conv) needs its own result"),
        (&|g| g.input.push(g.input[1].clone()), "two of its inputs are called \"image\""),
        (&|g| g.initializer[0].raw_data.truncate(431), "weight \"w0\" has 431 bytes, and 432 by its shape and type"),
        (&|g| g.initializer[0].raw_data.clear(), "weight \"w0\" has 0 bytes, and 432 by its shape and type"),
        (
            &|g| (g.initializer[0].raw_data, g.initializer[0].float_data) = (Vec::new(), vec![1.0; 5]),
            "weight \"w0\" has 5 numbers, and 108 by its shape and type",
        ),
        (&|g| g.initializer[0].dims[1] = -1, "weight \"w0\" has the extent -1"),
        (
            &|g| g.initializer[0].dims = vec![1 << 40, 1 << 40],
            "weight \"w0\" has a shape of more elements than there can be, [1099511627776, 1099511627776]",
        ),
    ] {
        let mut proto = network(1);
        damage(proto.graph.as_mut().unwrap());
        let error = refused(&proto);
        assert_eq!(error.code(), Code::InvalidModel);
        assert!(error.message().contains(message), "{error}");
    }

    // All extents are known, so a layer that does not fit shows at load.
    let float = |name, extents: &[&str]| value(name, DataType::Float, extents);
    let inputs = vec![float("a", &["N", "2"]), float("b", &["N", "3"])];
    let proto = model(vec![node("Add", &["a", "b"], &["y"])], inputs, vec![float("y", &["N", "3"])], vec![]);
    let error = refused(&proto);
    assert_eq!(
        (error.code(), error.detail()),
        (Code::Unsupported, "node \"Add of y\": its inputs do not fit together")
    );
}

#[test]
fn bytes_cut_short_are_errors() {
    let whole = network(2).encode_to_vec();
    for end in 0..whole.len() {
        let result = CpuEngine::new(&whole[..end], Origin::default(), options(1, 1));
        assert!(result.is_err(), "{end} of {} bytes", whole.len());
    }
}

/// A flipped bit may leave a model: it loads and runs, or says why not. It takes nothing down.
#[test]
fn flipped_bits_do_no_harm() {
    let mut proto = network(1);
    let whole = proto.encode_to_vec();
    let weights = proto.graph.as_mut().unwrap().initializer.swap_remove(0).raw_data;
    let weights_at = whole.windows(weights.len()).position(|window| window == weights).unwrap();
    let extents = [1, 1, 6, 6, 6];
    // The weights are any numbers; what is around them has meaning.
    for byte in (0..weights_at + 8).chain(weights_at + weights.len()..whole.len()) {
        for bit in [0, 3, 7] {
            let mut data = whole.clone();
            data[byte] ^= 1 << bit;
            let result = CpuEngine::new(&data, Origin::default(), options(1, 1)).and_then(|engine| {
                let mut context = Arc::new(engine).new_context()?;
                segment(&mut *context, &extents, image(&extents))
            });
            if let Err(error) = result {
                // What tract would panic at is found before.
                assert!(!error.detail().contains("panicked"), "byte {byte}, bit {bit}: {error}");
            }
        }
    }
}
