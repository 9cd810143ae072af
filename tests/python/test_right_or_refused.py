#!/usr/bin/env python3
"""What comes out of the CPU engine is what ONNX says, or the model is refused at load by node, operator and attribute.

    PLANRT_LIBRARY=libplanrt.so.0 test_right_or_refused.py [NAME...]

Each case is one small graph of a kind that came out wrong once, held against ONNX Runtime without optimizations or, where
that is off itself, against numpy in float64.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
from planrt import Engine as Model, Error as PlanrtError, Session  # noqa: E402

FLOAT, INT64, HALF, BOOL, INT32, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.FLOAT16,
    TensorProto.BOOL,
    TensorProto.INT32,
    TensorProto.UINT8,
)
UNSUPPORTED, INVALID_MODEL, OUT_OF_MEMORY, NOT_FOUND = 9, 4, 12, 2
CASES = {}
random = np.random.default_rng(4)


def case(make):
    CASES[make.__name__] = make
    return make


class Failure(Exception):
    pass


def op(kind, inputs, outputs, **attributes):
    """A node, which is called "the KIND" where its output is "y"."""
    name = f"the {kind}" if outputs.startswith("y") else f"the {kind} for {outputs}"
    return helper.make_node(kind, inputs.split(), outputs.split(), name=name, **attributes)


def graph(nodes, inputs, outputs, weights=None, opset=17, functions=(), domains=()):
    """A model of nodes, {name: (type, shape)} and {name: array}."""
    values = [[helper.make_tensor_value_info(n, *v) for n, v in tensors.items()] for tensors in (inputs, outputs)]
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()]
    made = helper.make_graph(nodes, "case", *values, initializers)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=imports, functions=list(functions), ir_version=9)


def load(model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.onnx"
        onnx.save(model, path)
        return Model(path, threads=2)


def reference(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs)))


def compare(results, expected, tolerance=1e-5):
    for name, array in expected.items():
        result = results[name]
        if result.shape != array.shape:
            raise Failure(f"{name} has shape {result.shape}, not {array.shape}")
        if not np.allclose(result.astype(float), array.astype(float), rtol=tolerance, atol=tolerance, equal_nan=True):
            worst = np.nanmax(np.abs(result.astype(float) - array.astype(float)))
            raise Failure(f"{name} is off by {worst:.2e}")


def check(model, inputs, expected=None, tolerance=1e-5):
    expected = reference(model, inputs) if expected is None else expected
    compare(load(model).run(inputs), expected, tolerance)


def refuse(model, *words, code=UNSUPPORTED):
    """The model is refused, in these words."""
    try:
        load(model)
    except PlanrtError as error:
        text = f"{error} {error.detail}"
        missing = [word for word in words if word not in text]
        if error.code != code or missing:
            raise Failure(f"code {error.code}: {text}") from error
        return
    raise Failure("the model was taken")


def noise(*shape):
    return random.standard_normal(shape).astype(np.float32)


# An open first axis that is no batch.


def whole(nodes, shape, weights=None, opset=17, sizes=(1, 2, 5), output=None, kind=FLOAT):
    """Right with any number of items, whatever the model calls the first axis."""
    for name in ("N", "batch", None):
        first = [name, *shape]
        result = {"y": (kind, [name, *output] if output is not None else None)}
        model = graph(nodes, {"x": (FLOAT, first)}, result, weights, opset)
        planrt = load(model)
        for size in sizes:
            inputs = {"x": noise(size, *shape)}
            compare(planrt.run(inputs), reference(model, inputs))


@case
def centered_over_all():
    whole([op("ReduceMean", "x", "m", keepdims=1), op("Sub", "x m", "y")], [3, 4])


@case
def centered_over_all_axes_named():
    whole([op("ReduceMean", "x", "m", axes=[-3, -1]), op("Sub", "x m", "y")], [3, 4])


@case
def softmax_over_the_batch():
    for axis in (0, -2):
        whole([op("Softmax", "x", "y", axis=axis)], [4], output=[4])


@case
def early_softmax_over_the_batch():
    whole([op("Softmax", "x", "y", axis=0)], [4], opset=11, output=[4])


@case
def early_softmax_beside_the_batch():
    whole([op("Softmax", "x", "y", axis=1)], [4, 3], opset=11, output=[4, 3])


@case
def flipped():
    weights = {"s": np.array([-1]), "e": np.array([np.iinfo(np.int64).min]), "a": np.array([0]), "t": np.array([-1])}
    whole([op("Slice", "x s e a t", "y")], [4], weights, output=[4])


@case
def every_other():
    weights = {"s": np.array([0]), "e": np.array([2**40]), "a": np.array([0]), "t": np.array([2])}
    whole([op("Slice", "x s e a t", "y")], [4], weights, sizes=(1, 2, 4, 5))


@case
def all_of_the_batch_sliced():
    weights = {"s": np.array([0, 1]), "e": np.array([2**40, 3]), "a": np.array([0, 1]), "t": np.array([1, 1])}
    whole([op("Slice", "x s e a t", "y")], [4], weights, output=[2])


@case
def number_of_items_as_a_value():
    nodes = [
        op("Shape", "x", "s"),
        op("Gather", "s zero", "n", axis=0),
        op("Cast", "n", "f", to=FLOAT),
        op("Mul", "x f", "y"),
    ]
    whole(nodes, [4], {"zero": np.array(0)}, output=[4])


@case
def a_constant_for_each_item():
    whole([op("Shape", "x", "s"), op("Range", "a n b", "r"), op("Add", "x r", "y"), op("Gather", "s a", "n")][:1]
          + [op("Gather", "s a", "n"), op("Range", "a n b", "r"), op("Cast", "r", "f", to=FLOAT),
             op("Unsqueeze", "f axes", "c"), op("Add", "x c", "y")],
          [4], {"a": np.array(0), "b": np.array(1), "axes": np.array([1])}, output=[4])


@case
def added_to_its_transpose():
    model = graph([op("Transpose", "x", "t"), op("Add", "x t", "y")], {"x": (FLOAT, ["N", "M"])}, {"y": (FLOAT, ["N", "M"])})
    check(model, {"x": noise(4, 4)})


@case
def sequence_first():
    weights = {"w": noise(1, 8, 3), "r": noise(1, 8, 2)}
    whole([op("LSTM", "x w r", "out", hidden_size=2), op("Squeeze", "out one", "y")], [1, 3],
          weights | {"one": np.array([1])})


@case
def batch_second():
    """The batch goes first, is brought to where LSTM has it, and back."""
    weights = {"w": noise(1, 8, 3), "r": noise(1, 8, 2), "one": np.array([1])}
    nodes = [
        op("Transpose", "x", "t", perm=[1, 0, 2]),
        op("LSTM", "t w r", "out", hidden_size=2),
        op("Squeeze", "out one", "q"),
        op("Transpose", "q", "y", perm=[1, 0, 2]),
    ]
    whole(nodes, [5, 3], weights, output=[5, 2])


@case
def depth_first_volume():
    nodes = [
        op("Unsqueeze", "x axes", "v"),
        op("Conv", "v w", "c", pads=[1] * 6),
        op("Squeeze", "c axes", "y"),
    ]
    model = graph(nodes, {"x": (FLOAT, ["depth", "height", "width"])}, {"y": (FLOAT, ["depth", "height", "width"])},
                  {"axes": np.array([0, 1]), "w": noise(1, 1, 3, 3, 3)})
    check(model, {"x": noise(5, 6, 7)})


@case
def a_part_of_what_is_summed():
    """An operator that looks at all of an axis, before one that takes every other place of it."""
    weights = {"w": noise(4, 1, 1, 1), "v": noise(3, 4, 1, 1), "u": noise(4, 1, 2, 1)}
    for first in ([op("Softmax", "x", "a", axis=3)], [op("LogSoftmax", "x", "a", axis=2)], [op("LpNormalization", "x", "a", axis=3)],
                  [op("Softmax", "x", "b", axis=3), op("Mul", "b b", "a")]):
        for weight, group in (("w", 4), ("v", 1), ("u", 4)):
            second = op("Conv", f"a {weight}", "y", strides=[2, 2], group=group, dilations=[2, 1] if weight == "u" else [1, 1])
            model = graph([*first, second], {"x": (FLOAT, [2, 4, 5, 6])}, {"y": (FLOAT, None)}, weights)
            check(model, {"x": noise(2, 4, 5, 6)})


@case
def less_or_divided_by_a_convolution():
    """1 - conv(x), which is not -conv(x) with another bias, and 1 / conv(x)."""
    for kernel in ([3, 3, 3], [1, 1, 1], [3, 3], [3]):
        for channels in (1, 3):
            tail = [1] * len(kernel)
            weights = {"w": np.abs(noise(channels, 2, *kernel)), "b": np.abs(noise(channels)) + 1, "s": np.abs(noise(channels, *tail)) + 1}
            shape = [2, 2, *[5] * len(kernel)]
            for constant in (np.abs(noise(1, channels, *tail)), np.float32(1)):
                for nodes in ([op("Conv", "x w b", "a")], [op("Conv", "x w b", "c"), op("Mul", "c s", "a")],
                              [op("Conv", "x w b", "c"), op("Identity", "c", "a")]):
                    for kind in ("Sub", "Div"):
                        model = graph([*nodes, op(kind, "k a", "y")], {"x": (FLOAT, shape)}, {"y": (FLOAT, None)}, weights | {"k": constant})
                        check(model, {"x": np.abs(noise(*shape))})


@case
def graphs_within_the_graph():
    """What holds for the whole graph holds in branches and in the steps of a Scan."""
    value = lambda name, shape: helper.make_tensor_value_info(name, FLOAT, shape)  # noqa: E731
    weights = {"w": noise(4, 1, 1, 1), "zero": np.float32(0)}
    part = [op("Softmax", "x", "a", axis=3), helper.make_node("Conv", ["a", "w"], ["t"], strides=[2, 2], group=4)]
    ways = [helper.make_graph(part, "then", [], [value("t", None)]),
            helper.make_graph([op("Relu", "x", "r"), op("MaxPool", "r", "e", kernel_shape=[1, 1], strides=[2, 2])], "else", [], [value("e", None)])]
    nodes = [op("ReduceSum", "x", "s", keepdims=0), op("Greater", "s zero", "c"), op("If", "c", "y", then_branch=ways[0], else_branch=ways[1])]
    model = graph(nodes, {"x": (FLOAT, [2, 4, 5, 6])}, {"y": (FLOAT, None)}, weights)
    x = np.abs(noise(2, 4, 5, 6))
    for sign in (1, -1):
        check(model, {"x": sign * x})
    for kind in ("Max", "Min"):
        step = helper.make_graph([op(kind, "s e", "n"), op("Relu", "n", "o")], "step", [value("s", [3]), value("e", [3])],
                                 [value("n", [3]), value("o", [3])])
        x = noise(4, 3)
        x[1, 2] = np.nan
        nodes = [helper.make_node("Scan", ["i", "x"], ["last", "y"], body=step, num_scan_inputs=1)]
        check(graph(nodes, {"i": (FLOAT, [3]), "x": (FLOAT, [4, 3])}, {"last": (FLOAT, [3]), "y": (FLOAT, [4, 3])}),
              {"i": noise(3), "x": x})


@case
def more_nodes_than_any_network_has():
    nodes = [op("Relu", f"t{i}", f"t{i + 1}") for i in range(100_000)]
    refuse(graph(nodes, {"t0": (FLOAT, [2])}, {"t100000": (FLOAT, [2])}), "100000 nodes")


@case
def extents_beyond_all_memory():
    """Computed in 32 bits they would be small ones."""
    for kind, inputs, names in (("Expand", "x s", "s"), ("Tile", "x s", "s"), ("Reshape", "x s", "s")):
        for number in (2**40, 2**32, 2**62, -(2**40)):
            model = graph([op(kind, inputs, "y")], {"x": (FLOAT, [4])}, {"y": (FLOAT, None)}, {names: np.array([number])})
            refuse(model, f"the {kind}", str(number))
    fill = graph([op("ConstantOfShape", "s", "c"), op("Add", "x c", "y")], {"x": (FLOAT, [1])}, {"y": (FLOAT, None)},
                 {"s": np.array([2**33, 2**33])})
    refuse(fill, "the ConstantOfShape")
    resized = graph([op("Resize", "x", "y", mode="nearest")], {"x": (FLOAT, [1, 1, 4, 4])}, {"y": (FLOAT, None)},
                    {"s": np.array([1, 1, 2**40, 2**40])})
    resized.graph.node[0].input.extend(["", "", "s"])
    refuse(resized, "the Resize")


@case
def names_that_are_given_twice():
    inputs, outputs = {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])}
    weights = graph([op("Add", "x w", "y")], inputs, outputs, {"w": noise(3)})
    weights.graph.initializer.append(weights.graph.initializer[0])
    refuse(weights, "two of its weights", '"w"', code=INVALID_MODEL)
    twice = graph([op("Relu", "x", "y")], inputs, outputs)
    twice.graph.output.append(twice.graph.output[0])
    refuse(twice, "two of its outputs", '"y"', code=INVALID_MODEL)
    attribute = op("Softmax", "x", "y", axis=0)
    attribute.attribute.append(helper.make_attribute("axis", 1))
    refuse(graph([attribute], inputs, outputs), "the Softmax", "axis", "twice", code=INVALID_MODEL)
    sets = graph([op("Relu", "x", "y")], inputs, outputs)
    sets.opset_import.append(helper.make_opsetid("", 9))
    refuse(sets, "two operator sets", code=INVALID_MODEL)
    lacking = op("Transpose", "x", "y")
    lacking.input.insert(0, "")
    refuse(graph([lacking], inputs, outputs), "the Transpose", "first input", code=INVALID_MODEL)


@case
def products_summed_to_one_number():
    for opset in (12, 13):
        for equation in ("ab->", "ab,ba->", "ab , bc ->"):
            names = "x x" if "," in equation else "x"
            model = graph([op("Einsum", names, "y", equation=equation)], {"x": (FLOAT, [3, 3])}, {"y": (FLOAT, [])}, opset=opset)
            check(model, {"x": noise(3, 3)})


@case
def frequencies_of_another_length():
    for opset in (17, 20):
        for length in (3, 4, 5, 8):
            weights = {"n": np.array(length), "a": np.array(1)}
            node = op("DFT", "x n", "y", axis=1, onesided=1) if opset < 20 else op("DFT", "x n a", "y", onesided=1)
            x = noise(2, 5, 3, 1)
            expected = np.fft.rfft(x[..., 0], length, 1)
            check(graph([node], {"x": (FLOAT, [2, 5, 3, 1])}, {"y": (FLOAT, None)}, weights, opset=opset), {"x": x},
                  {"y": np.stack([expected.real, expected.imag], -1).astype(np.float32)})
            node.attribute.append(helper.make_attribute("inverse", 1))
            x = noise(2, 4, 3, 2)
            expected = np.fft.irfft(x[..., 0] + 1j * x[..., 1], length, 1).astype(np.float32)
            check(graph([node], {"x": (FLOAT, [2, 4, 3, 2])}, {"y": (FLOAT, None)}, weights, opset=opset), {"x": x},
                  {"y": expected[..., None]})


@case
def scattered_by_indexes_from_the_end():
    weights = {"i": np.array([[-1, 0], [0, -2]]), "u": noise(2, 2)}
    for reduction in ("none", "add", "mul", "max", "min"):
        check(graph([op("ScatterND", "x i u", "y", reduction=reduction)], {"x": (FLOAT, [3, 3, 2])}, {"y": (FLOAT, [3, 3, 2])}, weights,
                    opset=18), {"x": noise(3, 3, 2)})


@case
def samples_by_cubes_at_the_border():
    refuse(graph([op("GridSample", "x g", "y", mode="cubic", padding_mode="border")], {"x": (FLOAT, [1, 1, 4, 4]), "g": (FLOAT, [1, 2, 2, 2])},
                 {"y": (FLOAT, None)}, opset=20), "the GridSample", "padding_mode = border")


@case
def sequences_of_scripted_exports():
    """torch.stack, torch.cat, torch.split and torch.unbind, as torch's scripted exports write them."""
    weights = {"one": np.array(1), "minus": np.array(-1), "sizes": np.array([1, 3])}
    inputs = {"x": (FLOAT, ["a", 4, "b"]), "z": (FLOAT, ["a", 4, "b"])}
    values = {"x": noise(2, 4, 3), "z": noise(2, 4, 3)}
    made = op("SequenceConstruct", "x z", "s")
    for nodes in (
        [made, op("ConcatFromSequence", "s", "y", axis=1)],
        [made, op("ConcatFromSequence", "s", "y", axis=-1, new_axis=1)],
        [made, op("Identity", "s", "t"), op("SequenceAt", "t minus", "y")],
        [made, op("SequenceInsert", "s x one", "t"), op("SequenceErase", "t", "u"), op("ConcatFromSequence", "u", "y", axis=0)],
        [op("SplitToSequence", "x sizes", "s", axis=1), op("SequenceAt", "s one", "y")],
        [op("SplitToSequence", "x", "s", axis=2, keepdims=0), op("SequenceAt", "s minus", "y")],
        [op("SplitToSequence", "x one", "s", axis=0), op("SequenceAt", "s one", "y")],
        [op("SplitToSequence", "x", "s", axis=0), op("ConcatFromSequence", "s", "y", axis=0)],
    ):
        check(graph(nodes, inputs, {"y": (FLOAT, None)}, weights), values)
    length = [made, op("SequenceLength", "s", "n"), op("Cast", "n", "f", to=FLOAT), op("Mul", "f x", "y")]
    check(graph(length, inputs, {"y": (FLOAT, None)}), values)
    # How many pieces there are does not show before the run.
    refuse(graph([op("SplitToSequence", "x", "s", axis=2), op("SequenceLength", "s", "n"), op("Cast", "n", "f", to=FLOAT),
                  op("Mul", "f x", "y")], inputs, {"y": (FLOAT, None)}), "SequenceLength")


@case
def elements_that_the_data_chooses():
    """x[x > 0] in exports: how many there are shows at the run."""
    weights = {"zero": np.float32(0), "all": np.array([-1])}
    for nodes in (
        [op("Greater", "x zero", "m"), op("NonZero", "m", "n"), op("Transpose", "n", "t", perm=[1, 0]), op("GatherND", "x t", "g"),
         op("ReduceSum", "g", "y", keepdims=0)],
        [op("Greater", "x zero", "m"), op("Reshape", "m all", "f"), op("Compress", "x f", "g"), op("ReduceSum", "g", "y", keepdims=0)],
    ):
        check(graph(nodes, {"x": (FLOAT, [3, 4])}, {"y": (FLOAT, [])}, weights), {"x": noise(3, 4)})


@case
def a_constant_declared_with_a_batch():
    model = graph([op("Identity", "x", "y")], {"x": (FLOAT, ["batch", 2])}, {"y": (FLOAT, ["batch", 2]), "c": (FLOAT, ["batch", 2])})
    model.graph.node.append(op("Constant", "", "c", value=numpy_helper.from_array(noise(1, 2))))
    check(model, {"x": noise(3, 2)})


@case
def normalized_over_the_batch():
    for kind, attributes in [("LpNormalization", {"axis": 0}), ("MeanVarianceNormalization", {}), ("Hardmax", {"axis": 0})]:
        whole([op(kind, "x", "y", **attributes)], [3, 4, 2], output=[3, 4, 2])


@case
def along_the_batch():
    whole([op("CumSum", "x zero", "y")], [3], {"zero": np.array(0)}, output=[3])
    whole([op("TopK", "x k", "y i", axis=0)], [3], {"k": np.array([1])}, sizes=(1, 2, 5))
    whole([op("ArgMax", "x", "i", axis=0), op("Cast", "i", "c", to=FLOAT), op("Sub", "x c", "y")], [3])
    whole([op("Concat", "x x", "y", axis=0)], [3])
    whole([op("Tile", "x n", "y")], [3], {"n": np.array([2, 1])})
    whole([op("Pad", "x p", "y")], [3], {"p": np.array([1, 0, 0, 0])})
    whole([op("Gather", "x i", "y", axis=0)], [3], {"i": np.array([0, 0])})
    whole([op("Reshape", "x s", "y")], [4], {"s": np.array([-1, 8])}, sizes=(2, 4), output=[8])
    whole([op("Reshape", "x s", "y")], [4], {"s": np.array([4, -1])})
    whole([op("Reshape", "x s", "y")], [4], {"s": np.array([-1, 2])})
    whole([op("Flatten", "x", "y", axis=0)], [4])
    whole([op("Gemm", "x x", "y", transB=1)], [4])
    whole([op("Einsum", "x x", "y", equation="ni,mi->nm")], [4])


@case
def extents_that_only_look_alike():
    """A constant with as many rows as there happen to be items, once."""
    whole([op("Add", "x c", "y")], [3], {"c": noise(4, 3)}, sizes=(1, 4))
    whole([op("MatMul", "c x", "y")], [3], {"c": noise(2, 4)}, sizes=(4,), output=[3])


@case
def attention_of_a_transformer():
    """Queries, keys and values from one product, split before the batch, as UNETR has them: right, and by items."""
    nodes = [
        op("MatMul", "x w", "a"),
        op("Shape", "x", "s"),
        op("Gather", "s zero", "n0"),
        op("Unsqueeze", "n0 axes", "n"),
        op("Concat", "n rest", "shape", axis=0),
        op("Reshape", "a shape", "b"),
        op("Transpose", "b", "c", perm=[2, 0, 3, 1, 4]),
        op("Gather", "c zero", "q", axis=0),
        op("Gather", "c one", "k", axis=0),
        op("Gather", "c two", "v", axis=0),
        op("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
        op("MatMul", "q kt", "d"),
        op("Softmax", "d", "e", axis=-1),
        op("MatMul", "e v", "f"),
        op("Transpose", "f", "g", perm=[0, 2, 1, 3]),
        op("Reshape", "g out", "y"),
    ]
    weights = {
        "w": noise(8, 24),
        "zero": np.array(0),
        "one": np.array(1),
        "two": np.array(2),
        "axes": np.array([0]),
        "rest": np.array([5, 3, 2, 4]),
        "out": np.array([0, 5, 8]),
    }
    whole(nodes, [5, 8], weights, output=[5, 8])


# Attributes that tract leaves out of account.


def refused_node(kind, inputs, shape, weights=None, outputs="y", words=(), opset=17, **attributes):
    named = dict.fromkeys(outputs.split(), (FLOAT, None))
    model = graph([op(kind, inputs, outputs, **attributes)], {"x": (FLOAT, shape)}, named, weights, opset)
    refuse(model, f'node "the {kind}" ({kind})', *words)


@case
def training_mode():
    refused_node("BatchNormalization", "x s b m v", [1, 3, 4], {n: np.ones(3, np.float32) for n in "sbmv"}, words=["is_test"], opset=6)
    refused_node("Dropout", "x r t", [1, 3], {"r": np.float32(0.5), "t": np.array(True)}, words=["training_mode"])
    # Normalized by the batch itself, whose items are not independent then.
    weights = {n: noise(3) for n in "sbm"} | {"v": np.abs(noise(3))}
    nodes = [op("BatchNormalization", "x s b m v", "y rm rv", training_mode=1, momentum=0.8)]
    model = graph(nodes, {"x": (FLOAT, ["N", 3, 4])}, {"y": (FLOAT, ["N", 3, 4]), "rm": (FLOAT, [3]), "rv": (FLOAT, [3])}, weights)
    x = noise(5, 3, 4)
    mean, variance = x.mean((0, 2)), x.var((0, 2))
    whole = lambda a: a[:, None]  # noqa: E731
    y = (x - whole(mean)) / np.sqrt(whole(variance) + 1e-5) * whole(weights["s"]) + whole(weights["b"])
    check(model, {"x": x}, {"y": y, "rm": 0.8 * weights["m"] + 0.2 * mean, "rv": 0.8 * weights["v"] + 0.2 * variance})


@case
def directions():
    for kind, gates in [("LSTM", 4), ("GRU", 3), ("RNN", 1)]:
        for direction, sides in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
            for more in ({}, {"clip": 0.5}, {"activations": {4: ["Sigmoid", "Relu", "Tanh"], 3: ["Sigmoid", "Relu"], 1: ["Relu"]}[gates] * sides}):
                weights = {"w": noise(sides, gates * 2, 3), "r": noise(sides, gates * 2, 2), "b": noise(sides, gates * 4),
                           "n": np.array([4, 2], np.int32)}
                nodes = [op(kind, "x w r b n", "y h", hidden_size=2, direction=direction, **more)]
                model = graph(nodes, {"x": (FLOAT, [4, 2, 3])}, {"y": (FLOAT, None), "h": (FLOAT, None)}, weights)
                check(model, {"x": noise(4, 2, 3)}, tolerance=1e-4)
        weights = {"w": noise(1, gates * 2, 3), "r": noise(1, gates * 2, 2)}
        refused_node(kind, "x w r", [4, 1, 3], weights, words=["activations", "Affine"], hidden_size=2, activations=["Affine"] * 3)


@case
def other_attributes():
    refused_node("Celu", "x", [1, 3], words=["alpha = -2"], alpha=-2.0)
    refused_node("SpaceToDepth", "x", [1, 3, 4, 4], words=["mode = CRD"], blocksize=2, mode="CRD", opset=28)
    refused_node("ConvTranspose", "x w", [1, 2, 3, 4], {"w": noise(2, 1, 3, 3)}, words=["output_padding"],
                 strides=[2, 2], output_padding=[1, 1], auto_pad="SAME_UPPER")
    refused_node("LRN", "x", [1, 4, 3], words=["size"], size=4)
    refused_node("Cast", "x", [1, 4], words=["to = STRING"], to=TensorProto.STRING)
    refused_node("Relu", "x", [1, 4], words=["slope = 3"], slope=3)


@case
def attributes_that_tract_does_not_heed():
    x = noise(2, 4, 5)
    for alpha in (0.5, 2.0):
        celu = np.maximum(0, x) + np.minimum(0, alpha * np.expm1(x / alpha))
        check(graph([op("Celu", "x", "y", alpha=alpha)], {"x": (FLOAT, [2, 4, 5])}, {"y": (FLOAT, None)}), {"x": x}, {"y": celu})
        swish = x / (1 + np.exp(-alpha * x))
        check(graph([op("Swish", "x", "y", alpha=alpha)], {"x": (FLOAT, [2, 4, 5])}, {"y": (FLOAT, None)}, opset=24), {"x": x}, {"y": swish})
    check(graph([op("Selu", "x", "y")], {"x": (FLOAT, [2, 4, 5])}, {"y": (FLOAT, None)}), {"x": x}, tolerance=1e-6)


@case
def shapes_of_transposed_convolutions():
    for auto_pad in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
        for shape in ([6, 8, 10], [5, 7, 9], [7, 9, 11], [8, 9, 12]):
            model = graph([op("ConvTranspose", "x w", "y", strides=[2] * 3, output_shape=shape, auto_pad=auto_pad)],
                          {"x": (FLOAT, [1, 2, 3, 4, 5])}, {"y": (FLOAT, None)}, {"w": noise(2, 3, 3, 3, 3)})
            check(model, {"x": noise(1, 2, 3, 4, 5)}, tolerance=1e-4)
        for kernel in (1, 2, 3):
            model = graph([op("ConvTranspose", "x w", "y", strides=[2, 3], auto_pad=auto_pad)],
                          {"x": (FLOAT, ["N", 2, "h", "w"])}, {"y": (FLOAT, None)}, {"w": noise(2, 3, kernel, kernel)})
            check(model, {"x": noise(2, 2, 4, 5)}, tolerance=1e-4)


@case
def pads_of_all_kinds():
    x = noise(3, 4)
    for mode, pads in [("constant", [0, -1, 0, 2]), ("constant", [-1, -1, -1, -2]), ("edge", [1, -1, 0, 2]), ("wrap", [2, 0, 1, 3]),
                       ("reflect", [1, 2, 2, 1])]:
        model = graph([op("Pad", "x p", "y", mode=mode)], {"x": (FLOAT, [3, 4])}, {"y": (FLOAT, None)}, {"p": np.array(pads)}, 19)
        check(model, {"x": x})
    weights = {"p": np.array([1, 2]), "v": np.array([7], np.float32), "a": np.array([-1])}
    model = graph([op("Pad", "x p v a", "y")], {"x": (FLOAT, ["N", 4])}, {"y": (FLOAT, None)}, weights, 18)
    check(model, {"x": x}, {"y": np.pad(x, [(0, 0), (1, 2)], constant_values=7)})


@case
def same_with_windows_smaller_than_strides():
    """Nothing is padded then. ONNX Runtime fails at some of them, so it is given the pads."""
    for kind in ("AveragePool", "MaxPool", "Conv"):
        for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            strides, window = (3, 2), (1, 2)
            weights = {"w": noise(2, 2, *window)} if kind == "Conv" else {}
            for extents in ([3, 4], [5, 5], [7, 3]):
                missing = [max(0, (-(-n // s) - 1) * s + k - n) for n, s, k in zip(extents, strides, window)]
                less, more = [m // 2 for m in missing], [m - m // 2 for m in missing]
                pads = {"pads": less + more if auto_pad == "SAME_UPPER" else more + less}
                made = [graph([op(kind, "x w" if weights else "x", "y", strides=strides, kernel_shape=window, **way)],
                              {"x": (FLOAT, [1, 2, *extents])}, {"y": (FLOAT, None)}, weights) for way in ({"auto_pad": auto_pad}, pads)]
                inputs = {"x": noise(1, 2, *extents)}
                check(made[0], inputs, reference(made[1], inputs))


@case
def every_other_of_a_softmax():
    weights = {"s": np.array([1, 0]), "e": np.array([5, 2]), "a": np.array([1, 0]), "t": np.array([2, 1])}
    model = graph([op("Softmax", "x", "p", axis=-1), op("Slice", "p s e a t", "y")], {"x": (FLOAT, [2, 5])}, {"y": (FLOAT, None)}, weights)
    check(model, {"x": noise(2, 5)})


@case
def squares_of_whole_numbers():
    for kind, dtype in ((UINT8, np.uint8), (INT32, np.int32), (INT64, np.int64), (TensorProto.INT8, np.int8)):
        x = np.array([3, 100, 17, 0], dtype)
        check(graph([op("Mul", "x x", "y")], {"x": (kind, [4])}, {"y": (kind, [4])}), {"x": x}, {"y": x * x})


@case
def quantized_beyond_the_range():
    x = np.array([[-1000, -13.1, -13, 0, 12.4, 12.6, 13, 1000]], np.float32)
    for zero in (np.int8(3), np.uint8(128), np.int16(-5), np.uint16(40000)):
        nodes = [op("QuantizeLinear", "x s z", "q"), op("DequantizeLinear", "q s z", "y")]
        check(graph(nodes, {"x": (FLOAT, [1, 8])}, {"y": (FLOAT, [1, 8])}, {"s": np.float32(0.1), "z": zero}, 21), {"x": x})


@case
def indexes_from_the_end():
    x = noise(3, 4)
    indexes = {"i": np.array([[-1, 0], [2, -4]])}
    check(graph([op("GatherND", "x i", "y")], {"x": (FLOAT, [3, 4])}, {"y": (FLOAT, None)}, indexes), {"x": x})
    weights = {"d": np.array(3), "v": np.array([0, 1], np.float32)}
    nodes = [op("OneHot", "x d v", "y")]
    check(graph(nodes, {"x": (INT64, [4])}, {"y": (FLOAT, None)}, weights), {"x": np.array([-1, 0, 2, 7])},
          {"y": np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]])})


@case
def operators_that_are_none():
    model = graph([op("Sigmoid", "x", "y", domain="acme.seg")], {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])},
                  domains=["acme.seg"])
    refuse(model, "acme.seg.Sigmoid")
    refused = graph([op("RandomNormalLike", "x", "y")], {"x": (FLOAT, [1, 2, 3])}, {"y": (FLOAT, None)})
    refuse(refused, "RandomNormalLike")
    refuse(graph([op("Relu", "x", "y")], {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, opset=99), "operator set 99")


@case
def functions_of_the_model():
    x = noise(2, 3)
    for domain in ("local", ""):
        body = [helper.make_node("Relu", ["a"], ["b"])]
        function = helper.make_function(domain, "Softplus", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
        model = graph([op("Softplus", "x", "y", domain=domain)], {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])},
                      functions=[function], domains=["local"])
        check(model, {"x": x}, {"y": np.maximum(x, 0)})
    # One that calls another twice, with an attribute, and names that others have as well.
    leaky = helper.make_node("LeakyRelu", ["a"], ["t"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = helper.make_function("local", "Inner", ["a"], ["t"], [leaky], [helper.make_opsetid("", 17)], ["slope"])
    calls = [op("Inner", "a", "x", domain="local"), op("Inner", "x", "t", domain="local"), op("Add", "a t", "b")]
    calls[0].attribute.add(name="slope", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    calls[1].attribute.add(name="slope", f=0.5, type=onnx.AttributeProto.FLOAT)
    outer = helper.make_function("local", "Outer", ["a"], ["b"], calls, [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)], ["slope"])
    model = graph([op("Outer", "x", "t", domain="local", slope=0.25), op("Outer", "t", "y", domain="local", slope=0.125)],
                  {"x": (FLOAT, ["N", 3])}, {"y": (FLOAT, ["N", 3])}, functions=[inner, outer], domains=["local"])
    check(model, {"x": x})
    endless = helper.make_function("local", "Endless", ["a"], ["b"], [op("Endless", "a", "b", domain="local")],
                                   [helper.make_opsetid("local", 1)])
    model = graph([op("Endless", "x", "y", domain="local")], {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, functions=[endless], domains=["local"])
    refuse(model, "Endless", "32 times")
    twice = [op("Twice", "a", "t", domain="local"), op("Twice", "t", "b", domain="local")]
    bomb = helper.make_function("local", "Twice", ["a"], ["b"], twice, [helper.make_opsetid("local", 1)])
    refuse(graph([op("Twice", "x", "y", domain="local")], {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, functions=[bomb], domains=["local"]), "Twice")
    other = helper.make_function("local", "Other", ["a"], ["b"], [op("Softmax", "a", "b")], [helper.make_opsetid("", 11)])
    refuse(graph([op("Other", "x", "y", domain="local")], {"x": (FLOAT, [2, 2, 2])}, {"y": (FLOAT, None)}, functions=[other], domains=["local"]),
           "operator set 11")


@case
def branches_that_are_always_taken():
    def branch(nodes, weights=None):
        initializers = [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()]
        return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info("out", FLOAT, None)], initializers)
    then = branch([op("Mul", "x k", "t"), op("Squeeze", "t axes", "out")], {"k": np.float32(2), "axes": np.array([1])})
    otherwise = branch([op("Neg", "x", "t"), op("Identity", "t", "out")])
    x = noise(3, 1)
    for taken in (True, False):
        nodes = [op("If", "c", "a", then_branch=then, else_branch=otherwise), op("If", "c", "b", then_branch=otherwise, else_branch=then),
                 op("ReduceSum", "b", "s", keepdims=0), op("Add", "a s", "y")]
        check(graph(nodes, {"x": (FLOAT, [3, 1])}, {"y": (FLOAT, None)}, {"c": np.array(taken)}), {"x": x})
        nodes = [op("Constant", "", "c", value=numpy_helper.from_array(np.array([taken]))), *nodes]
        check(graph(nodes, {"x": (FLOAT, [3, 1])}, {"y": (FLOAT, None)}), {"x": x})


@case
def factors_as_an_attribute():
    for opset in (7, 8):
        for mode in ("nearest", "linear"):
            model = graph([op("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0], mode=mode)], {"x": (FLOAT, ["N", 2, 3, 4])}, {"y": (FLOAT, None)}, opset=opset)
            check(model, {"x": noise(2, 2, 3, 4)})


# Parameters that come with a run, and runs of nothing.


@case
def parameters_of_a_run():
    sizes = graph([op("Resize", "x none none n", "y", mode="nearest")], {"x": (FLOAT, ["N", 2, 3, 4]), "n": (INT64, [4])}, {"y": (FLOAT, ["N", 2, "h", "w"])})
    sizes.graph.node[0].input[1:3] = ["", ""]
    model = load(sizes)
    for extents in ([2, 2, 6, 8], [2, 2, 3, 4], [2, 2, 5, 7], [2, 2, 6, 8]):
        inputs = {"x": noise(2, 2, 3, 4), "n": np.array(extents)}
        expected = reference(sizes, inputs)
        compare(model.run(inputs, {"y": np.empty(expected["y"].size, np.float32)}), expected)
    # Axes through a computation of their own, and a shape that the model says.
    nodes = [op("Sub", "a one", "b"), op("ReduceSum", "x b", "y", keepdims=1)]
    summed = graph(nodes, {"x": (FLOAT, [2, 3]), "a": (INT64, [1])}, {"y": (FLOAT, [2, 1])}, {"one": np.array([1])})
    check(summed, {"x": noise(2, 3), "a": np.array([2])})
    try:
        load(summed).run({"x": noise(2, 3), "a": np.array([1])})
    except PlanrtError as error:
        if error.code != INVALID_MODEL or "(1, 3)" not in str(error):
            raise Failure(f"code {error.code}: {error}") from error
    else:
        raise Failure("an output of another shape than the model says was written")


@case
def batches_of_nothing():
    nodes = [op("Conv", "x w", "c", pads=[1] * 6), op("Relu", "c", "y")]
    model = graph(nodes, {"x": (FLOAT, ["N", 1, 4, 4, 4])}, {"y": (FLOAT, ["N", 2, 4, 4, 4])}, {"w": noise(2, 1, 3, 3, 3)})
    check(model, {"x": np.zeros((0, 1, 4, 4, 4), np.float32)}, {"y": np.zeros((0, 2, 4, 4, 4), np.float32)})
    for kind, expected in [("ReduceSum", 0), ("ReduceMax", -np.inf), ("ReduceMin", np.inf), ("ReduceProd", 1)]:
        model = graph([op(kind, "x", "y", keepdims=0)], {"x": (FLOAT, ["N", "M"])}, {"y": (FLOAT, [])})
        check(model, {"x": np.zeros((0, 3), np.float32)}, {"y": np.float32(expected)})


@case
def wide_numbers():
    wide = np.random.default_rng(8).standard_normal((2, 3, 4))
    for node in (op("Exp", "x", "y"), op("ReduceMean", "x", "y"), op("Softmax", "x", "y"), op("Sigmoid", "x", "y"), op("MatMul", "x w", "y")):
        model = graph([node], {"x": (TensorProto.DOUBLE, [2, 3, 4])}, {"y": (TensorProto.DOUBLE, None)}, {"w": wide[0].T.copy()})
        check(model, {"x": wide}, tolerance=1e-12)
    for dtype, kind in [(np.int16, TensorProto.INT16), (np.uint16, TensorProto.UINT16)]:
        x = np.array([1, 30000, 7], dtype)
        nodes = [op("Cast", "x", "f", to=FLOAT), op("Add", "f f", "y"), op("Identity", "x", "z")]
        check(graph(nodes, {"x": (kind, ["N"])}, {"y": (FLOAT, ["N"]), "z": (kind, ["N"])}), {"x": x}, {"y": 2.0 * x, "z": x})


@case
def windows_beyond_the_extent():
    for kind, weights, inputs in [("Conv", {"w": noise(1, 1, 5, 5)}, "x w"), ("MaxPool", {}, "x"), ("AveragePool", {}, "x")]:
        attributes = {} if kind == "Conv" else {"kernel_shape": [5, 5]}
        model = graph([op(kind, inputs, "y", **attributes)], {"x": (FLOAT, [1, 1, 3, 8])}, {"y": (FLOAT, None)}, weights)
        refuse(model, f"the {kind}", "window")


@case
def declared_as_another_type():
    model = graph([op("Mul", "x x", "y")], {"x": (FLOAT, [3])}, {"y": (INT64, [3])})
    refuse(model, '"y" is declared as int64')


@case
def nodes_of_one_name():
    model = graph([op("Abs", "x", "a"), op("Neg", "a", "y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
    for names in (("same", "same"), ("x", "y")):
        for node, name in zip(model.graph.node, names):
            node.name = name
        check(model, {"x": np.array([1, -2, 3], np.float32)}, {"y": np.array([-1, -2, -3])})


# Sums, NaN, extremes, casts.


@case
def sums_of_many():
    shape = (1, 2, 96, 96, 96)
    x = (1000 + random.standard_normal(shape)).astype(np.float32)
    wide = x.astype(np.float64)
    axes = (2, 3, 4)
    mean, deviation = wide.mean(axes, keepdims=True), wide.std(axes, keepdims=True)
    normal = (wide - mean) / np.sqrt(deviation**2 + 1e-5)
    vector = {"s": np.ones(2, np.float32), "b": np.zeros(2, np.float32)}
    spatial = wide.mean(axes, keepdims=True)
    together = (wide - wide.mean((1, 2, 3, 4), keepdims=True)) / np.sqrt(wide.var((1, 2, 3, 4), keepdims=True) + 1e-5)
    for nodes, opset, expected, tolerance in [
        ([op("InstanceNormalization", "x s b", "y")], 17, normal, 1e-3),
        ([op("GroupNormalization", "x s b", "y", num_groups=2)], 21, normal, 1e-3),
        ([op("LayerNormalization", "x ls lb", "y", axis=1)], 17, together, 1e-3),
        ([op("MeanVarianceNormalization", "x", "y", axes=[2, 3, 4])], 17, (wide - mean) / deviation, 1e-3),
        ([op("ReduceMean", "x", "y", axes=[2, 3, 4])], 17, spatial, 1e-7),
        ([op("ReduceSum", "x a", "y")], 17, wide.sum(axes, keepdims=True), 1e-7),
        ([op("ReduceSumSquare", "x", "y", axes=[2, 3, 4])], 17, (wide**2).sum(axes, keepdims=True), 1e-6),
        ([op("GlobalAveragePool", "x", "y")], 17, spatial, 1e-7),
        ([op("AveragePool", "x", "y", kernel_shape=[96] * 3)], 17, spatial, 1e-7),
    ]:
        more = {"ls": np.ones(shape[1:], np.float32), "lb": np.zeros(shape[1:], np.float32), "a": np.array(axes)}
        used = {n: a for n, a in (vector | more).items() if n in nodes[0].input}
        model = graph(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, None)}, used, opset)
        try:
            check(model, {"x": x}, {"y": expected}, tolerance)
        except Failure as failure:
            raise Failure(f"{nodes[0].op_type}: {failure}") from failure


@case
def sums_of_whole_numbers():
    model = graph([op("ReduceSum", "x a", "y")], {"x": (INT64, [2, 3])}, {"y": (INT64, [2, 1])}, {"a": np.array([1])})
    x = np.array([[2**40, 2**40, 1], [-5, 2**33, 7]])
    check(model, {"x": x}, {"y": x.sum(1, keepdims=True)})


@case
def reductions():
    for kind in ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"]:
        for axes in ([1], [0, 2], [-1], [0, 1, 2, 3], [2, 3]):
            for keep in (0, 1):
                weights = {"a": np.array(axes)} if kind == "Sum" else {}
                node = op("Reduce" + kind, "x a" if kind == "Sum" else "x", "y", keepdims=keep,
                          **({} if kind == "Sum" else {"axes": axes}))
                model = graph([node], {"x": (FLOAT, [2, 3, 4, 5])}, {"y": (FLOAT, None)}, weights)
                check(model, {"x": np.abs(noise(2, 3, 4, 5))}, tolerance=2e-5)


@case
def not_a_number():
    x = np.array([[np.nan, -1.0, 2.0, np.nan, np.inf, -np.inf, 0.5, -0.25]], np.float32)
    lost = {}
    for kind, attributes in [
        ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Clip", {}), ("LeakyRelu", {}), ("Elu", {}), ("Selu", {}),
        ("HardSigmoid", {}), ("HardSwish", {}), ("Softplus", {}), ("Exp", {}), ("Log", {}), ("Erf", {}), ("Abs", {}),
        ("Neg", {}), ("Sqrt", {}), ("Softsign", {}), ("Celu", {}), ("Mish", {}), ("Sin", {}), ("Floor", {}),
        ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("PRelu", {}), ("Reciprocal", {}), ("Ceil", {}), ("Round", {}),
    ]:
        inputs = {"Clip": "x lo hi", "PRelu": "x lo"}.get(kind, "x")
        weights = {"lo": np.float32(-0.5), "hi": np.float32(1.5)} if kind in ("Clip", "PRelu") else {}
        weights = {n: a for n, a in weights.items() if n in inputs.split()}
        opset = 20 if kind in ("Gelu", "Mish") else 17
        model = graph([op(kind, inputs, "y", **attributes)], {"x": (FLOAT, [1, 8])}, {"y": (FLOAT, None)}, weights, opset)
        places = np.isnan(load(model).run({"x": x})["y"])[0, [0, 3]]
        if not places.all():
            lost[kind] = places
    for kind in ("Max", "Min", "Add", "Mul"):
        for other in ([1, 8], [1, 1], [8, 1]):
            model = graph([op(kind, "x w", "y")], {"x": (FLOAT, [1, 8])}, {"y": (FLOAT, None)}, {"w": noise(*other)})
            if not np.isnan(load(model).run({"x": x})["y"])[..., [0, 3]].all():
                lost[kind] = other
    for kind, attributes in [("MaxPool", {"kernel_shape": [3]}), ("AveragePool", {"kernel_shape": [3]}),
                             ("GlobalMaxPool", {}), ("GlobalAveragePool", {}), ("ReduceMax", {}), ("ReduceMin", {}),
                             ("ReduceMean", {}), ("Softmax", {}), ("LogSoftmax", {}), ("ReduceProd", {})]:
        model = graph([op(kind, "x", "y", **attributes)], {"x": (FLOAT, [1, 1, 8])}, {"y": (FLOAT, None)})
        if not np.isnan(load(model).run({"x": x[None]})["y"]).flat[0]:
            lost[kind] = "all"
    # After a convolution, where one operator may be melted into the other.
    for kind in ("Relu", "Sigmoid"):
        for axes in (1, 2, 3):
            nodes = [op("Conv", "x w", "c"), op(kind, "c", "y")]
            shape = [1, 2] + [4] * axes
            model = graph(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, None)}, {"w": noise(3, 2, *[1] * axes)})
            image = noise(*shape)
            image[0, 0].flat[1] = np.nan
            if not np.isnan(load(model).run({"x": image})["y"])[0, 0].flat[1]:
                lost[f"Conv {axes}D and {kind}"] = "all"
    if lost:
        raise Failure(f"lost in {lost}")


@case
def extremes():
    x = np.array([[-1000, -200, -95, -89, 0, 88, 89, 95, 200, 1000]], np.float32)
    wide = x.astype(np.float64)
    shifted = wide - wide.max()
    logs = shifted - np.log(np.exp(shifted).sum())
    for kind, expected in [("Softplus", np.logaddexp(0, wide)), ("LogSoftmax", logs),
                           ("ReduceLogSumExp", np.full((1, 1), 1000.0)), ("Sigmoid", 1 / (1 + np.exp(-np.clip(wide, -700, 700)))),
                           ("Tanh", np.tanh(wide)), ("Mish", wide * np.tanh(np.logaddexp(0, wide))),
                           ("Asinh", np.arcsinh(wide)), ("HardSwish", wide * np.clip(wide / 6 + 0.5, 0, 1))]:
        model = graph([op(kind, "x", "y")], {"x": (FLOAT, [1, 10])}, {"y": (FLOAT, None)}, opset=18)
        try:
            check(model, {"x": x}, {"y": expected})
        except Failure as failure:
            raise Failure(f"{kind}: {failure}") from failure
    # What squares of are infinite, and what a sigmoid of is next to nothing.
    for kind, values, expected in [("Asinh", [1e20, -3e38], np.arcsinh), ("Acosh", [1e20, 3e38], np.arccosh)]:
        model = graph([op(kind, "x", "y")], {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])})
        check(model, {"x": np.array(values, np.float32)}, {"y": expected(np.array(values))})
    low = np.array([-1e5, -1000, -80, -20, -12, -9, 1000], np.float32)
    model = graph([op("Sigmoid", "x", "s"), op("Mul", "x s", "y")], {"x": (FLOAT, [7])}, {"y": (FLOAT, [7])})
    check(model, {"x": low}, {"y": low / (1 + np.exp(np.minimum(-low.astype(np.float64), 700)))})
    model = graph([op("Sigmoid", "x", "s"), op("Log", "s", "y")], {"x": (FLOAT, [3])}, {"y": (FLOAT, [3])})
    check(model, {"x": low[2:5]}, {"y": -np.logaddexp(0, -low[2:5].astype(np.float64))})
    model = graph([op("Gelu", "x", "y", approximate="tanh")], {"x": (FLOAT, [7])}, {"y": (FLOAT, [7])}, opset=20)
    check(model, {"x": low}, {"y": np.where(low < -5, 0, low)})
    for opset in (11, 17):
        model = graph([op("LogSoftmax", "x", "y", axis=1)], {"x": (FLOAT, [1, 10, 1])}, {"y": (FLOAT, None)}, opset=opset)
        check(model, {"x": x[..., None]}, {"y": logs[..., None]})


@case
def casts_of_a_half_model():
    nodes = [op("Cast", "x", "h", to=HALF), op("Cast", "h", "y", to=FLOAT)]
    x = np.array([70000, 1 + 2**-12, -7e4, 3], np.float32)
    expected = {"y": np.array([np.inf, 1, -np.inf, 3], np.float32)}
    check(graph(nodes, {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])}), {"x": x}, expected)
    nodes = [op("CastLike", "x l", "h"), op("Cast", "h", "y", to=FLOAT)]
    check(graph(nodes, {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])}, {"l": np.float16(1)}), {"x": x}, expected)
    nodes = [op("Cast", "x", "h", to=TensorProto.BFLOAT16), op("Cast", "h", "y", to=FLOAT)]
    check(graph(nodes, {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])}), {"x": x})


# What shapes are computed with, and what is left unsaid.


@case
def remainders_of_whole_numbers():
    """Padding to a multiple, as in (-extent) % 16, has a negative dividend."""
    x = np.array([-7, -6, -1, 0, 1, 5], np.float32)
    for to in (INT32, INT64):
        for divisor in (3, -3):
            nodes = [op("Cast", "x", "n", to=to), op("Mod", "n d", "m"), op("Cast", "m", "y", to=FLOAT)]
            weights = {"d": np.array([divisor], np.int32 if to == INT32 else np.int64)}
            check(graph(nodes, {"x": (FLOAT, [6])}, {"y": (FLOAT, [6])}, weights), {"x": x})
    nodes = [
        op("Shape", "x", "s"),
        op("Neg", "s", "n"),
        op("Mod", "n d", "m"),
        op("Concat", "zeros m", "p", axis=0),
        op("Pad", "x p", "y"),
    ]
    weights = {"d": np.array([16]), "zeros": np.array([0, 0])}
    check(graph(nodes, {"x": (FLOAT, ["h", "w"])}, {"y": (FLOAT, ["H", "W"])}, weights), {"x": noise(13, 20)})


def pair(kind, x, w, constant, **attributes):
    """y of x and w, the second or the first of which is a weight, or none."""
    inputs = {name: array for name, array in (("x", x), ("w", w)) if name != constant}
    kinds = {name: (helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in inputs.items()}
    weights = {constant: {"x": x, "w": w}[constant]} if constant else {}
    kind = op(kind, "x w", "y", **attributes)
    return graph([kind], kinds, {"y": (helper.np_dtype_to_tensor_dtype(x.dtype), None)}, weights, 18), inputs


@case
def operators_whose_sides_differ():
    """One number for all on either side."""
    many, one = np.array([[5, -7, 3], [1, 13, -2]]), np.array([17])
    for dtype in (np.float32, np.float64, np.int64, np.int32, np.int16, np.int8):
        for kind, attributes in [("Mod", {"fmod": 1}), ("Mod", {"fmod": 0}), ("Div", {}), ("Sub", {})]:
            if kind == "Mod" and np.issubdtype(dtype, np.floating) and not attributes["fmod"]:
                continue
            for x, w in ((many, one), (one, many), (many, many[:, :1]), (many[:, :1], many), (many[:1], many)):
                for constant in ("w", "x", ""):
                    x, w = x.astype(dtype), w.astype(dtype)
                    expected = {"Mod": np.fmod if attributes.get("fmod") else np.mod, "Sub": np.subtract,
                                "Div": np.divide if dtype(0.5) else lambda a, b: np.fix(a / b)}[kind](x, w)
                    model, inputs = pair(kind, x, w, constant, **attributes)
                    check(model, inputs, {"y": expected.astype(dtype)})


@case
def quotients_to_the_last_digit():
    """Whoever rounds one down wants 3 of 147 / 49; the smallest numbers have no reciprocal, the largest none with all digits."""
    for dtype in (np.float32, np.float64):
        for divisor in (3, 7, 49, 41, 0.1, 1e-40, 2e38):
            with np.errstate(over="ignore"):
                x = (np.arange(0, 120) * dtype(divisor)).astype(dtype)
            x = x[np.isfinite(x)]
            for w in (np.full(len(x), divisor, dtype), np.array([divisor], dtype)):
                for constant in ("w", ""):
                    model, inputs = pair("Div", x, w, constant)
                    if not np.array_equal(load(model).run(inputs)["y"], x / w):
                        raise Failure(f"by {divisor} of {dtype.__name__}")
        for kind in ("Div", "Mul"):
            x = np.array([0, 1, np.inf, np.nan], dtype)
            model, inputs = pair(kind, np.zeros(1, dtype), x, "x")
            with np.errstate(all="ignore"):
                check(model, inputs, {"y": np.zeros(1, dtype) / x if kind == "Div" else np.zeros(1, dtype) * x})


@case
def powers_of_whole_numbers():
    base = np.array([0, 1, 2, 3, 5, 11], np.int64)
    kinds = (np.int64, np.int32, np.int16, np.uint16, np.uint8, np.int8)
    for kind in kinds:
        for other in kinds:
            for exponent in (np.array([0, 1, 2, 1, 2, 2]), np.array([2]), np.array([0])):
                model, inputs = pair("Pow", base.astype(kind), exponent.astype(other), "w")
                check(model, inputs, {"y": (base**exponent).astype(kind)})
    large = np.array([46340, 5001, -5001, 30001], np.int32)
    for constant in ("w", ""):
        model, inputs = pair("Pow", large, np.array([2], np.int32), constant)
        if not np.array_equal(load(model).run(inputs)["y"], large.astype(np.int64) ** 2):
            raise Failure("a square has other digits")


@case
def whole_numbers_of_64_bits():
    """Of what shapes are computed with they have no fewer."""
    x = np.array([0, 5, -3, 2**31, -(2**31) - 1, 2**40 + 1, 2**62, -(2**63)])
    same = lambda made, inputs, expected: np.array_equal(load(made).run(inputs)["y"], expected)  # noqa: E731
    for nodes, weights, expected in [
        ([op("Cast", "x", "y", to=INT64)], {}, x),
        ([op("CastLike", "x l", "y")], {"l": np.int64(0)}, x),
        ([op("Shape", "x", "s"), op("CastLike", "x s", "y")], {}, x),
        ([op("Shape", "x", "s"), op("Add", "x s", "y")], {}, x + 8),
        ([op("Size", "x", "s"), op("Mul", "x s", "y")], {}, x * 8),
        ([op("Shape", "x", "s"), op("Max", "x s", "y")], {}, np.maximum(x, 8)),
        ([op("Shape", "x", "s"), op("Mul", "s w", "p"), op("Sub", "x p", "y")], {"w": np.array([3_000_000_000])}, x - 24_000_000_000),
    ]:
        for shape in ([8], ["n"]):
            with np.errstate(over="ignore"):
                if not same(graph(nodes, {"x": (INT64, shape)}, {"y": (INT64, shape)}, weights), {"x": x}, expected):
                    raise Failure(" ".join(node.op_type for node in nodes))
    far = np.array([5e9, -5e9, 3e15, 7.9], np.float32)
    nodes = [op("Cast", "x", "n", to=INT64), op("Mod", "n w", "y")]
    model = graph(nodes, {"x": (FLOAT, [4])}, {"y": (INT64, [4])}, {"w": np.array([1000])})
    if not same(model, {"x": far}, np.mod(far.astype(np.int64), 1000)):
        raise Failure("Cast of float32")


@case
def a_quantized_convolution_that_does_not_say_its_kernel():
    weights = {"xs": np.float32(0.1), "xz": np.uint8(3), "w": random.integers(0, 200, [2, 1, 3, 3]).astype(np.uint8), "ws": np.float32(0.05),
               "wz": np.uint8(90), "ys": np.float32(0.4), "yz": np.uint8(100)}
    node = op("QLinearConv", "x xs xz w ws wz ys yz", "y", strides=[2, 1], pads=[1, 0, 1, 1], dilations=[1, 1])
    kinds = {"x": (TensorProto.UINT8, [1, 1, 5, 6])}, {"y": (TensorProto.UINT8, [1, 2, 3, 5])}
    check(graph([node], *kinds, weights), {"x": random.integers(0, 256, [1, 1, 5, 6]).astype(np.uint8)})


@case
def samples_of_whole_numbers():
    kinds = {"x": (INT32, [1, 1, 2, 2]), "g": (FLOAT, [1, 1, 2, 2])}
    refuse(graph([op("GridSample", "x g", "y")], kinds, {"y": (INT32, [1, 1, 1, 2])}), "the GridSample", "floating point")
    model = graph([op("GridSample", "x g", "y", mode="nearest")], kinds, {"y": (INT32, [1, 1, 1, 2])})
    inputs = {"x": np.array([[[[1, 2], [3, 4]]]], np.int32), "g": np.array([[[[0.4, 0.3], [-0.4, 0.3]]]], np.float32)}
    check(model, inputs, {"y": np.array([[[[4, 3]]]])})


@case
def what_a_condition_takes_in_older_operator_sets():
    x, c = noise(3, 4), np.array([True, False, True])
    for opset in (9, 11, 13):
        for extra in ({}, {"axis": 0}, {"axis": 1}):
            kinds = {"x": (FLOAT, [3, 4]), "c": (BOOL, [3])}
            proto = graph([op("Compress", "x c", "y", **extra)], kinds, {"y": (FLOAT, [None] * (2 if extra else 1))}, opset=opset)
            inputs = {"x": x, "c": c}
            compare(load(proto).run(inputs, {"y": np.zeros((3, 4) if extra else 12, np.float32)}), reference(proto, inputs))


@case
def an_output_that_is_an_input():
    """By a run and by a session."""
    kinds = {"x": (FLOAT, ["N", 3])}
    model = load(graph([op("Relu", "x", "y")], kinds, {**kinds, "y": (FLOAT, ["N", 3])}))
    x = noise(2, 3)
    expected = {"x": x, "y": np.maximum(x, 0)}
    compare(model.run({"x": x}), expected)
    with Session(model) as session:
        compare(session.submit({"x": x}).result(), expected)


@case
def bounds_that_older_operator_sets_do_not_say():
    """They are the ends of float32 until operator set 11."""
    x = np.array([-np.inf, np.inf, np.nan, -1, 2], np.float32)
    for extra in ({}, {"min": 0.0}, {"max": 1.0}):
        check(graph([op("Clip", "x", "y", **extra)], {"x": (FLOAT, [5])}, {"y": (FLOAT, [5])}, opset=9), {"x": x})


@case
def largest_of_what_is_no_number():
    """It counts as the largest, as PyTorch has it, and the first of those that are alike comes first."""
    x = np.array([[1, np.nan, np.inf, 1, -2, np.nan]], np.float32)
    kinds = {"v": (FLOAT, [1, 6]), "i": (INT64, [1, 6])}
    for largest, places in ((1, [1, 5, 2, 0, 3, 4]), (0, [4, 0, 3, 2, 1, 5])):
        model = graph([op("TopK", "x k", "v i", largest=largest)], {"x": (FLOAT, [1, 6])}, kinds, {"k": np.array([6])})
        check(model, {"x": x}, {"i": np.array([places]), "v": x[:, places]})


@case
def pairs_of_nothing():
    """A constant side without elements: tract read its first one."""
    for kind in ("Pow", "Mul", "Div", "PRelu", "Max", "Equal"):
        for names in ("c x", "x c"):
            if kind == "PRelu" and names == "c x":
                continue
            kinds = {"x": (FLOAT, [4, 1] if names == "c x" or kind != "PRelu" else [4, 0])}
            model = graph([op(kind, names, "y")], kinds, {"y": (BOOL if kind == "Equal" else FLOAT, [4, 0])}, {"c": np.zeros((4, 0), np.float32)})
            found = load(model).run({"x": np.ones(kinds["x"][1], np.float32)})["y"]
            if found.shape != (4, 0):
                raise Failure(f"{kind} {names}: {found.shape}")


@case
def normalizations_of_float64():
    """To the digits of float64."""
    x = np.random.default_rng(3).standard_normal((2, 6, 3)) + 1e5
    shaped = {"x": (TensorProto.DOUBLE, [2, 6, 3])}
    for kind, factors, extra, opset in [
        ("LayerNormalization", 3, {"axis": -1}, 17), ("RMSNormalization", 3, {"axis": -1}, 23),
        ("GroupNormalization", 3, {"num_groups": 3}, 18), ("GroupNormalization", 6, {"num_groups": 3}, 21),
    ]:
        weights = {"s": np.linspace(0.5, 2, factors), "b": np.linspace(-1, 1, factors)}
        names = "x s" if kind[0] == "R" else "x s b"
        parts = x.reshape(6, -1) if kind[0] == "G" else x.reshape(-1, 3)
        mean = 0 if kind[0] == "R" else parts.mean(1, keepdims=True)
        expected = ((parts - mean) / np.sqrt(((parts - mean) ** 2).mean(1, keepdims=True) + np.float64(np.float32(1e-5)))).reshape(x.shape)
        s, b = (np.repeat(w, 6 // factors)[:, None] if kind[0] == "G" else w for w in weights.values())
        expected = expected * s + (0 if kind[0] == "R" else b)
        model = graph([op(kind, names, "y", **extra)], shaped, {"y": (TensorProto.DOUBLE, [2, 6, 3])}, weights if kind[0] != "R" else {"s": weights["s"]}, opset)
        check(model, {"x": x}, {"y": expected}, tolerance=1e-9)


@case
def slices_from_and_to_anywhere():
    x = np.arange(4, dtype=np.float32)
    lowest, highest = -(2**63), 2**63 - 1
    for start, end, step, expected in [
        (1, lowest, 1, []), (-100, lowest, 1, []), (0, lowest + 1, 1, []), (highest, highest, 1, []),
        (0, 4, highest, [0]), (highest, lowest, -1, [3, 2, 1, 0]), (lowest, highest, 1, [0, 1, 2, 3]), (3, lowest, lowest + 1, [3]),
        (1, 2**40, 1, [1, 2, 3]), (-(2**40), 2, 1, [0, 1]),
    ]:
        weights = {name: np.array([value]) for name, value in zip("sean", (start, end, 0, step))}
        model = graph([op("Slice", "x s e a n", "y")], {"x": (FLOAT, [4])}, {"y": (FLOAT, None)}, weights)
        check(model, {"x": x}, {"y": np.array(expected, np.float32)})
        # The same said by a run, one after another.
        given = {name: value for name, value in weights.items() if name in "se"}
        kinds = {"x": (FLOAT, [4]), **{name: (INT64, [1]) for name in given}}
        rest = {name: weights[name] for name in "an"}
        if not any(2**31 <= abs(number) < 2**63 - 1 for number in (start, end)):
            proto = graph([op("Slice", "x s e a n", "y")], kinds, {"y": (FLOAT, [None])}, rest)
            model = load(proto)
            for ends in (given["e"], np.array([3]), given["e"]):
                inputs = {"x": x, **given, "e": ends}
                compare(model.run(inputs, {"y": np.zeros(4, np.float32)}), reference(proto, inputs))


@case
def slices_of_the_first_operator_sets():
    x = noise(4, 5)
    for starts, ends, axes in (([-9], [2], [1]), ([1, -3], [99, -1], None), ([3], [1], [0]), ([0], [-(2**63)], [1])):
        extra = {} if axes is None else {"axes": axes}
        for opset in (7, 9):
            model = graph([op("Slice", "x", "y", starts=starts, ends=ends, **extra)], {"x": (FLOAT, [4, 5])}, {"y": (FLOAT, [None, None])}, opset=opset)
            check(model, {"x": x})


@case
def sums_along_an_axis_in_a_list():
    for kind, expected in (("CumSum", np.cumsum), ("CumProd", np.cumprod)):
        x = noise(2, 3)
        model = graph([op(kind, "x a", "y")], {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])}, {"a": np.array([1])}, 26 if kind == "CumProd" else 14)
        check(model, {"x": x}, {"y": expected(x, 1)})


@case
def shifts_by_more_than_there_are_bits():
    for dtype in (np.uint8, np.uint16):
        for direction, shift in (("LEFT", np.left_shift), ("RIGHT", np.right_shift)):
            x, w = np.array([[255], [5]], dtype), np.array([0, 1, 7, 8, 9, 16, 200], dtype)
            for constant in ("w", "x", ""):
                model, inputs = pair("BitShift", x, w, constant, direction=direction)
                check(model, inputs, {"y": shift(x, w)})


@case
def products_of_whole_numbers():
    shapes = [([3], [3]), ([2, 3], [3]), ([3], [3, 4]), ([2, 3], [3, 4]), ([3], [2, 3, 4]), ([2, 1, 2, 3], [5, 3, 2])]
    for left, right in shapes:
        for dtype in (np.int64, np.int32):
            x, w = (random.integers(-9, 9, shape).astype(dtype) for shape in (left, right))
            for constant in ("w", ""):
                model, inputs = pair("MatMul", x, w, constant)
                check(model, inputs, {"y": np.matmul(x, w)})
        x, w = random.integers(0, 200, left).astype(np.uint8), random.integers(-100, 100, right).astype(np.int8)
        model = graph([op("MatMulInteger", "x w z", "y")], {"x": (TensorProto.UINT8, left)}, {"y": (INT32, None)}, {"w": w, "z": np.uint8(9)})
        check(model, {"x": x}, {"y": np.matmul(x.astype(np.int32) - 9, w.astype(np.int32))})


@case
def no_box_is_wanted():
    """A limit of 0 lets no box through, said in the model, by a run, or not at all."""
    boxes = {"b": (FLOAT, [1, 2, 4]), "s": (FLOAT, [1, 1, 2])}
    values = {"b": np.array([[[0, 0, 1, 1], [5, 5, 6, 6]]], np.float32), "s": np.array([[[0.9, 0.8]]], np.float32)}
    room = {"y": np.zeros((8, 3), np.int64)}
    for names, weights in (("b s", {}), ("b s m", {"m": np.array([0])}), ("b s m", {"m": np.array([1])})):
        model = load(graph([op("NonMaxSuppression", names, "y")], boxes, {"y": (INT64, [None, 3])}, weights))
        count = int(weights["m"][0]) if weights else 0
        compare(model.run(values, room), {"y": np.zeros((count, 3), np.int64)})
    model = load(graph([op("NonMaxSuppression", "b s m", "y")], {**boxes, "m": (INT64, [1])}, {"y": (INT64, [None, 3])}))
    for limit in (0, 1, 2, 0):
        found = model.run({**values, "m": np.array([limit])}, room)["y"]
        if found.tolist() != [[0, 0, 0], [0, 0, 1]][:limit]:
            raise Failure(f"{found} with a limit of {limit}")


@case
def attention_that_sees_nothing():
    """Rows of which all is masked are 0, in masks of bool, of numbers, and with what comes later masked, too."""
    seen = np.array([[False, False, False], [True, False, True]])
    for mask in (seen, np.where(seen, 0, -np.inf).astype(np.float32), seen[None, None], np.array([[False, True, True], [False, True, True]])):
        for causal in (0, 1):
            for heads in (None, 2):
                shapes = [(1, 2, rows, 4) if heads is None else (1, rows, 8) for rows in (2, 3, 3)]
                inputs = {name: noise(*shape) for name, shape in zip("qkv", shapes)} | {"m": mask}
                kinds = {name: (helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in inputs.items()}
                extra = {} if heads is None else {"q_num_heads": 2, "kv_num_heads": 2}
                model = graph([op("Attention", "q k v m", "y", is_causal=causal, **extra)], kinds, {"y": (FLOAT, None)}, opset=23)
                q, k, v = (a if heads is None else a.reshape(1, -1, 2, 4).transpose(0, 2, 1, 3) for a in (inputs[n] for n in "qkv"))
                bias = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
                scores = q.astype(float) @ k.transpose(0, 1, 3, 2) / 2 + bias + (np.triu(np.full((2, 3), -np.inf), 1) if causal else 0)
                weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
                expected = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30) @ v
                expected = {"y": expected if heads is None else expected.transpose(0, 2, 1, 3).reshape(1, 2, 8)}
                check(model, inputs, expected)
                node = op("Attention", "q k v m", "y", is_causal=causal, **extra)
                check(graph([node], {n: kinds[n] for n in "qkv"}, {"y": (FLOAT, None)}, {"m": mask}, 23), {n: inputs[n] for n in "qkv"}, expected)


@case
def attention_in_the_threads_that_were_asked_for():
    """No run starts threads; several heads of queries may share one of keys and values."""
    for length in (8, 6):
        shapes = {"q": (2, 4, 300, 8), "k": (2, 2, 310, 8), "v": (2, 2, 310, length)}
        inputs = {name: noise(*shape) for name, shape in shapes.items()}
        kinds = {name: (FLOAT, shape) for name, shape in shapes.items()}
        loaded = load(graph([op("Attention", "q k v", "y", scale=0.3)], kinds, {"y": (FLOAT, None)}, opset=23))
        threads = len(os.listdir("/proc/self/task"))
        scores = inputs["q"].astype(float) @ inputs["k"].repeat(2, 1).transpose(0, 1, 3, 2) * 0.3
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        compare(loaded.run(inputs), {"y": weights / weights.sum(-1, keepdims=True) @ inputs["v"].repeat(2, 1)})
        if (now := len(os.listdir("/proc/self/task"))) > threads:
            raise Failure(f"{now} threads, where there were {threads}")


@case
def padding_with_a_constant_that_is_not_used():
    for mode in ("edge", "reflect"):
        weights = {"p": np.array([1, 0, 0, 2]), "c": np.float32(-2)}
        model = graph([op("Pad", "x p c", "y", mode=mode)], {"x": (FLOAT, [3, 4])}, {"y": (FLOAT, [4, 6])}, weights)
        check(model, {"x": noise(3, 4)})


@case
def filled_with_nothing_said():
    nodes = [op("Shape", "x", "s"), op("ConstantOfShape", "s", "c"), op("Add", "x c", "y")]
    check(graph(nodes, {"x": (FLOAT, ["h", 4])}, {"y": (FLOAT, ["h", 4])}), {"x": noise(3, 4)})


@case
def an_einsum_of_any_rank():
    for shape in ([4], [3, 4], [2, 3, 4]):
        model = graph([op("Einsum", "x w", "y", equation="...i,ij->...j")], {"x": (FLOAT, shape)}, {"y": (FLOAT, None)}, {"w": noise(4, 5)}, 12)
        refuse(model, "the Einsum", "...i,ij->...j")


@case
def products_over_a_repeated_axis():
    for first in ("N", 6):
        for repeat, weights in (("Tile", {"r": np.array([1, 2])}), ("Expand", {"r": np.array([6, 2])})):
            for product in (
                op("MatMul", "t w", "y"),
                op("Gemm", "t w", "y"),
                op("Einsum", "t w", "y", equation="ab,bz->az"),
                op("Einsum", "w t", "y", equation="bz,ab->az"),
            ):
                nodes = [op(repeat, "x r", "t"), product]
                model = graph(nodes, {"x": (FLOAT, [first, 1])}, {"y": (FLOAT, None)}, {**weights, "w": noise(2, 3)})
                check(model, {"x": noise(6, 1)})


@case
def flattened_with_the_batch():
    for axis in (0, -3):
        nodes = [op("Flatten", "x", "f", axis=axis), op("Shape", "x", "s"), op("Softmax", "f", "p", axis=1), op("Reshape", "p s", "y")]
        whole(nodes, [2, 3], output=[2, 3])


# Weights in files beside the model.


def outside(x):
    """A product with weights in a file of their own, as torch writes it: (model, expected result)."""
    weights = {"w": noise(4, 300), "b": noise(300)}
    model = graph([op("MatMul", "x w", "p"), op("Add", "p b", "y")], {"x": (FLOAT, [2, 4])}, {"y": (FLOAT, [2, 300])}, weights)
    return model, x @ weights["w"] + weights["b"]


def save(model, folder, location="case.data"):
    onnx.save_model(model, folder / "case.onnx", save_as_external_data=True, location=location, size_threshold=0)
    return folder / "case.onnx"


def relocated(path, **entries):
    """The model with that said of each weight's place."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for key, value in entries.items():
            for entry in [entry for entry in tensor.external_data if entry.key == key]:
                tensor.external_data.remove(entry)
            if value is not None:
                tensor.external_data.add(key=key, value=str(value))
    changed = path.with_name("changed.onnx")
    changed.write_bytes(model.SerializeToString())
    return changed


@case
def weights_in_files():
    x = noise(2, 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, expected = outside(x)
        (folder / "below").mkdir()
        compare(Model(save(model, folder, "below/case.data")).run({"x": x}), {"y": expected})
        path = save(model, folder)
        compare(Model(path).run({"x": x}), {"y": expected})
        compare(Model(relocated(path, length=None)).run({"x": x}), {"y": expected})
        # A link that stays within is as good as a file.
        (folder / "link").symlink_to("below/case.data")
        compare(Model(relocated(path, location="link")).run({"x": x}), {"y": expected})
        previous = os.getcwd()
        os.chdir(folder)
        try:
            compare(Model("case.onnx").run({"x": x}), {"y": expected})
        finally:
            os.chdir(previous)


def memory(name):
    """MiB of this process's, as the system has them under that name."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) // 1024


@case
def weights_of_half_a_gigabyte_are_there_once():
    channels, layers = 736, 9
    size = 4 * channels * channels * 27
    names = [f"w{i}" for i in range(layers)]
    nodes = [op("Conv", f"x{i} {name}", f"x{i + 1}", pads=[1] * 6) for i, name in enumerate(names)]
    shape = [1, channels, 1, 1, 2]
    model = graph(nodes, {"x0": (FLOAT, shape)}, {f"x{layers}": (FLOAT, shape)}, {})
    for i, name in enumerate(names):
        tensor = model.graph.initializer.add(name=name, data_type=FLOAT, dims=[channels, channels, 3, 3, 3])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": "weights", "offset": i * size, "length": size}.items():
            tensor.external_data.add(key=key, value=str(value))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        # Zeros that take no room on the disk.
        with (Path(folder) / "weights").open("wb") as file:
            file.truncate(layers * size)
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        loaded = Model(path)
        most = memory("VmHWM") - before
        assert most < 64, f"loading takes {most} MiB"
        compare(loaded.run({"x0": noise(*shape)}), {f"x{layers}": np.zeros(shape, np.float32)})
        most, weights = memory("VmHWM") - before, layers * size >> 20
        assert most < 1.3 * weights, f"the first run takes {most} MiB, with {weights} of weights"


@case
def weights_in_files_that_are_not_there():
    with tempfile.TemporaryDirectory() as name:
        model, _ = outside(noise(2, 4))
        folder = Path(name) / "model"
        folder.mkdir()
        path = save(model, folder)
        (Path(name) / "secret").write_bytes(bytes(100_000))
        (folder / "way_out").symlink_to("../secret")
        (folder / "folder").symlink_to("..")
        cut = (folder / "case.data").read_bytes()[:-1]
        (folder / "cut").write_bytes(cut)
        for entries, code, words in [
            ({"location": "../secret"}, INVALID_MODEL, ["../secret", "own folder"]),
            ({"location": "a/../../secret"}, INVALID_MODEL, ["own folder"]),
            ({"location": str(Path(name) / "secret")}, INVALID_MODEL, ["own folder"]),
            ({"location": "way_out"}, INVALID_MODEL, ["way_out", "link"]),
            ({"location": "folder/secret"}, INVALID_MODEL, ["link"]),
            ({"location": ""}, INVALID_MODEL, ["own folder"]),
            ({"location": None}, INVALID_MODEL, ["does not say"]),
            ({"location": "missing"}, NOT_FOUND, ["missing", "beside"]),
            ({"location": "cut"}, INVALID_MODEL, ['"b"', "cut short"]),
            ({"offset": 2**63}, INVALID_MODEL, ["cut short"]),
            ({"offset": -1}, INVALID_MODEL, ["offset"]),
            ({"offset": 2**64}, INVALID_MODEL, ["offset"]),
            ({"length": 3}, INVALID_MODEL, ["3 bytes"]),
        ]:
            try:
                Model(relocated(path, **entries))
            except PlanrtError as error:
                if error.code != code or any(word not in str(error) for word in words):
                    raise Failure(f"{entries}: code {error.code}: {error}") from error
            else:
                raise Failure(f"{entries} was taken")


# Errors that are the model's.


@case
def whole_numbers_by_zero():
    for kind in ("Div", "Mod"):
        model = load(graph([op(kind, "x d", "y")], {"x": (INT32, [2]), "d": (INT32, [2])}, {"y": (INT32, [2])}))
        try:
            model.run({"x": np.array([4, 5], np.int32), "d": np.array([2, 0], np.int32)})
        except PlanrtError as error:
            if error.code != INVALID_MODEL or "panick" in error.detail or "zero" not in error.detail:
                raise Failure(f"code {error.code}: {error} {error.detail}") from error
        else:
            raise Failure("it ran")
        compare(model.run({"x": np.array([4, 5], np.int32), "d": np.array([2, 3], np.int32)}),
                {"y": np.array([2, 1] if kind == "Div" else [0, 2])})


@case
def indexes_out_of_range():
    for kind, attributes in (("Gather", {"axis": 0}), ("GatherElements", {"axis": 0})):
        model = load(graph([op(kind, "x i", "y", **attributes)], {"x": (FLOAT, [3]), "i": (INT64, [2])}, {"y": (FLOAT, [2])}))
        for index in (3, -4, 2**40, -(2**63)):
            try:
                model.run({"x": noise(3), "i": np.array([0, index])})
            except PlanrtError as error:
                if error.code != INVALID_MODEL or "panick" in error.detail:
                    raise Failure(f"code {error.code}: {error} {error.detail}") from error
            else:
                raise Failure(f"{kind} took {index}")


@case
def more_items_than_memory_holds():
    """Each item takes much more than its byte."""
    model = load(graph([op("Identity", "x", "y")], {"x": (UINT8, ["N"])}, {"y": (UINT8, ["N"])}))
    try:
        model.run({"x": np.zeros(2_000_000_000, np.uint8)})
    except PlanrtError as error:
        if error.code != OUT_OF_MEMORY:
            raise Failure(f"code {error.code}: {error}") from error
    else:
        raise Failure("it ran")


# Models that nobody exports: an error that says what it is, in seconds and little memory.


def weightless(kind, dims, **data):
    """x + w, with a weight that is written by hand."""
    model = graph([op("Add", "x w", "y")], {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])})
    model.graph.initializer.append(TensorProto(name="w", data_type=kind, dims=dims, **data))
    return model


@case
def weights_that_are_not_as_long_as_they_say():
    for kind, dims, data, words in [
        (FLOAT, [2, 3], {}, "0 bytes, and 24"),
        (FLOAT, [], {}, "0 bytes, and 4"),
        (FLOAT, [2, 3], {"raw_data": bytes(23)}, "23 bytes, and 24"),
        (FLOAT, [2, 3], {"float_data": [0.0] * 7}, "7 numbers, and 6"),
        (HALF, [2, 3], {"int32_data": [0] * 5}, "5 numbers, and 6"),
        (BOOL, [2, 3], {"int32_data": [0]}, "1 numbers, and 6"),
        (INT64, [2, 3], {"raw_data": bytes(24)}, "24 bytes, and 48"),
        (TensorProto.STRING, [2, 3], {"string_data": [b"a"]}, "1 strings, and 6"),
        (FLOAT, [-1, -1], {"raw_data": bytes(4)}, "the extent -1"),
        (FLOAT, [2**32, 2**32], {}, "more elements than there can be"),
        (FLOAT, [2**32, 2**32], {"raw_data": bytes(4)}, "more elements than there can be"),
        (FLOAT, [2**62, 1], {}, "more elements than there can be"),
    ]:
        refuse(weightless(kind, dims, **data), 'weight "w"', words, code=INVALID_MODEL)
    inside = graph([helper.make_node("Constant", [], ["w"], name="the Constant", value=TensorProto(data_type=FLOAT, dims=[3])),
                    op("Add", "x w", "y")], {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])})
    refuse(inside, "the Constant", "0 bytes, and 12", code=INVALID_MODEL)


@case
def weights_of_nothing():
    x = noise(2, 3)
    model = graph([op("Concat", "x w", "y", axis=0)], {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [2, 3])}, {"w": np.zeros((0, 3), np.float32)})
    check(model, {"x": x})
    model = graph([op("Gather", "w i", "y")], {"i": (INT64, [1])}, {"y": (FLOAT, [1, 3])}, {"w": np.zeros((0, 3), np.float32)})
    try:
        load(model).run({"i": np.array([0])})
    except PlanrtError as error:
        if error.code != INVALID_MODEL or "out of range" not in error.detail:
            raise Failure(f"code {error.code}: {error} {error.detail}") from error
    else:
        raise Failure("it ran")


@case
def circles():
    x, y = {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    refuse(graph([op("Add", "x y", "y")], x, y), "the Add", "its own result", code=INVALID_MODEL)
    refuse(graph([op("Add", "x b", "a"), op("Relu", "a", "b"), op("Neg", "b", "y")], x, y), "its own result", code=INVALID_MODEL)
    # Nobody needs these, so they cannot be computed either.
    refuse(graph([op("Neg", "x", "y"), op("Relu", "b", "a"), op("Exp", "a", "b")], x, y), "its own result", code=INVALID_MODEL)
    branches = {name: helper.make_graph([op(kind, "y", name)], name, [], [helper.make_tensor_value_info(name, FLOAT, [2])])
                for name, kind in (("then", "Neg"), ("else", "Exp"))}
    through = graph([op("If", "c", "b", then_branch=branches["then"], else_branch=branches["else"]), op("Add", "x b", "y")],
                    {**x, "c": (BOOL, [])}, y)
    refuse(through, "its own result", code=INVALID_MODEL)
    # Any order will do.
    check(graph([op("Neg", "a", "y"), op("Exp", "x", "a")], x, y), {"x": noise(2)})


@case
def names_that_are_there_twice():
    x, y = {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    for kind in ("input", "output"):
        model = graph([op("Relu", "x", "y")], x, y)
        tensors = getattr(model.graph, kind)
        tensors.append(tensors[0])
        refuse(model, f"two of its {kind}s", code=INVALID_MODEL)
    refuse(graph([op("Relu", "x", "x"), op("Neg", "x", "y")], x, y), 'two of its nodes produce "x"', code=INVALID_MODEL)
    model = weightless(FLOAT, [3], raw_data=bytes(12))
    model.graph.initializer.append(model.graph.initializer[0])
    refuse(model, 'two of its weights are called "w"', code=INVALID_MODEL)


@case
def names_that_a_terminal_would_act_on():
    def node(kind, input, output, **attributes):
        return helper.make_node(kind, [input], [output], **attributes)

    odd = "a\n\x1b[31m\x7f"
    zero = odd + "\0"
    x, y = {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    result = load(graph([node("Neg", odd, odd + "y")], {odd: (FLOAT, [2])}, {odd + "y": (FLOAT, [2])})).run({odd: np.ones(2, np.float32)})
    if list(result) != [odd + "y"]:
        raise Failure(f"outputs are called {list(result)}")
    # Names that stay within are anything.
    check(graph([node("Exp", "x", zero, name=zero), node("Neg", zero, "y")], x, y), {"x": noise(2)})
    for model, code in [
        (graph([node("Relu", zero, "y")], {zero: (FLOAT, [2])}, y), INVALID_MODEL),
        (graph([node("Relu", "x", zero)], x, {zero: (FLOAT, [2])}), INVALID_MODEL),
        (graph([node("Relu", "x", "y")], {"x": (FLOAT, [zero])}, {"y": (FLOAT, [zero])}), INVALID_MODEL),
        (graph([node("Relu", zero, "y", name=zero)], x, y), INVALID_MODEL),
        (graph([node("Relu", "x", "y", name=zero)], x, {zero: (FLOAT, [2])}), INVALID_MODEL),
        (graph([node("Relu" + zero, "x", "y", name=zero)], x, y), UNSUPPORTED),
        (graph([node("Relu", "x", "y", name=zero, domain=zero)], x, y, domains=[zero]), UNSUPPORTED),
        (graph([node("Relu", "x", "y", name=zero, **{zero: 1})], x, y), UNSUPPORTED),
        (graph([node("Einsum", "x", "y", name=zero, equation=zero + "i" * 100_000)], x, y), UNSUPPORTED),
    ]:
        try:
            load(model)
        except PlanrtError as error:
            text = f"{error} {error.detail}"
            if error.code != code or len(text) > 1000 or any(not c.isprintable() and c != "\n" for c in text):
                raise Failure(f"code {error.code}: {text[:1000]!r}") from error
        else:
            raise Failure("it was taken")


@case
def too_much_of_something():
    x, y = {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}
    chain = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(100_000)]
    refuse(graph(chain, {"t0": (FLOAT, [2])}, {"t100000": (FLOAT, [2])}), "100000 nodes")
    branch = helper.make_graph(chain[1:], "branch", [], [helper.make_tensor_value_info("t100000", FLOAT, [2])])
    inside = graph([helper.make_node("Relu", ["x"], ["t1"]), op("If", "c", "y", then_branch=branch, else_branch=branch)],
                   {**x, "c": (BOOL, [])}, y)
    refuse(inside, "nodes")
    refuse(graph([op("Relu", "x", "y")], {**x, **{f"x{i}": (FLOAT, [1]) for i in range(20_000)}}, y), "20002 inputs and outputs")
    letters = "".join(chr(0x4E00 + i) for i in range(20_000))
    refuse(graph([op("Einsum", "x", "y", equation=letters + "." + letters[0])], x, y), "the Einsum")


@case
def more_than_memory_holds():
    x, y = {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, [])}
    for kind, inputs, numbers in [
        ("ConstantOfShape", "s", [2**17, 2**17, 4]),
        ("Expand", "x s", [2**20, 2**14, 2, 3]),
        ("Tile", "x s", [2**18, 2**18]),
        ("Pad", "x s", [2**20, 2**20, 0, 0]),
    ]:
        largest = [op("ReduceMax", name, f"of_{name}", keepdims=0) for name in ("x", "large")]
        model = graph([op(kind, inputs, "large"), *largest, op("Add", "of_x of_large", "y")], x, y, {"s": np.array(numbers)})
        try:
            load(model).run({"x": noise(2, 3)})
        except PlanrtError as error:
            if error.code != OUT_OF_MEMORY:
                raise Failure(f"{kind}: code {error.code}: {error} {error.detail}") from error
        else:
            raise Failure(f"{kind} ran")
    for kind, inputs, numbers in [
        ("Expand", "x s", [2**40, 2**40, 2, 3]),
        ("Reshape", "x s", [2**40, 2**40]),
        ("Pad", "x s", [2**62, 2**62, 2**62, 2**62]),
    ]:
        nodes = [op(kind, inputs, "large"), op("ReduceMax", "large", "y", keepdims=0)]
        refuse(graph(nodes, x, y, {"s": np.array(numbers)}), f"the {kind}", "no extent")


@case
def loops_without_an_end():
    inner = [helper.make_tensor_value_info(name, *of) for name, of in {"i": (INT64, []), "c": (BOOL, []), "v": (FLOAT, [2])}.items()]
    outer = [helper.make_tensor_value_info(name, *of) for name, of in {"on": (BOOL, []), "w": (FLOAT, [2])}.items()]
    body = helper.make_graph([op("Identity", "c", "on"), op("Add", "v v", "w")], "body", inner, outer)
    for count, condition in (("", "t"), ("", ""), ("n", "t")):
        node = helper.make_node("Loop", [count, condition, "x"], ["y"], name="the Loop", body=body)
        model = graph([node], {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, {"t": np.array(True), "n": np.array(2**63 - 1)})
        refuse(model, "Loop")


def main():
    names = sys.argv[1:] or list(CASES)
    failed = 0
    for name in names:
        try:
            CASES[name]()
            print(f"{name:36} right", flush=True)
        except (Failure, PlanrtError) as error:
            failed += 1
            print(f"{name:36} FAILED: {error} {getattr(error, 'detail', '')}", flush=True)
        except Exception as error:
            failed += 1
            print(f"{name:36} FAILED by itself: {type(error).__name__} {error}"[:600], flush=True)
    print(f"{len(names) - failed} right, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
