#!/usr/bin/env python3
"""Random small graphs on the CPU engine and on ONNX Runtime without optimizations: what planrt takes must come out the same.

    PLANRT_LIBRARY=libplanrt.so.0 test_random_graphs.py [--count N] [--first SEED] [--operator NAME] [--list] [--keep FOLDER]

Graph number N is the same in every run. Refused graphs are counted, not failed; --list prints why, --keep saves the models
that came out otherwise.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
import random_families  # noqa: E402
from planrt import Engine as Model, Error as PlanrtError  # noqa: E402

F32, F64, I64, I32, I16, U16, I8, U8, BOOL, F16 = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.INT16,
    TensorProto.UINT16,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.BOOL,
    TensorProto.FLOAT16,
)
FLOATS = (F32, F64)
WHOLE = (I64, I32, I16, U16, I8, U8)
REFUSED = (4, 9, 10)


class Nothing(Exception):
    """This operator does not fit what there is; another may."""


class Graph:
    """A graph that grows node by node, with the type and shape of each of its tensors."""

    def __init__(self, seed, opset):
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.nodes, self.weights, self.inputs, self.tensors = [], {}, {}, {}
        # Outputs of which no more is known than type and rank; nothing else reads them.
        self.declared = {}

    def pick(self, choices):
        return choices[self.random.integers(len(choices))]

    def chance(self, probability):
        return self.random.random() < probability

    def extents(self, rank, least=1, most=5):
        return [int(self.random.integers(least, most + 1)) for _ in range(rank)]

    def values(self, kind, shape, special=True):
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        if kind == BOOL:
            return self.random.random(shape) < 0.5
        if np.issubdtype(dtype, np.integer):
            low = 0 if np.issubdtype(dtype, np.unsignedinteger) else -9
            return self.random.integers(low, 10, shape).astype(dtype)
        array = (self.random.standard_normal(shape) * self.pick([0.3, 1, 1, 30])).astype(dtype)
        if special and array.size and self.chance(0.15):
            places = self.random.integers(0, array.size, 2)
            array.reshape(-1)[places] = self.random.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -200.0], 2)
        return array

    def new(self, kind, shape, as_input=None):
        """A new input or weight."""
        name = f"t{len(self.tensors)}"
        if as_input is None:
            as_input = self.chance(0.3)
        if as_input:
            self.inputs[name] = self.values(kind, shape)
        else:
            self.weights[name] = self.values(kind, shape, special=False)
        self.tensors[name] = (kind, list(shape))
        return name

    def constant(self, array):
        name = f"t{len(self.tensors)}"
        self.weights[name] = np.asarray(array)
        self.tensors[name] = (helper.np_dtype_to_tensor_dtype(self.weights[name].dtype), list(self.weights[name].shape))
        return name

    def any(self, kinds=None, ranks=None):
        """Some tensor of such a type and rank, the last ones rather."""
        fits = [n for n, (kind, shape) in self.tensors.items()
                if n not in self.weights and (kinds is None or kind in kinds) and (ranks is None or len(shape) in ranks)]
        if not fits or self.chance(0.1):
            rank = int(self.pick(list(ranks))) if ranks is not None else int(self.random.integers(0, 5))
            return self.new(self.pick(list(kinds or (F32,))), self.extents(rank), as_input=True)
        return fits[max(self.random.integers(len(fits)), self.random.integers(len(fits)))]

    def shape(self, name):
        return self.tensors[name][1]

    def kind(self, name):
        return self.tensors[name][0]

    def broadcast(self, name):
        """A shape that broadcasts with that tensor's."""
        shape = [extent if self.chance(0.7) else 1 for extent in self.shape(name)]
        cut = int(self.random.integers(0, len(shape) + 1)) if self.chance(0.4) else 0
        return shape[cut:]

    def other(self, name, kind=None):
        """An operand to go with that tensor."""
        kind = self.kind(name) if kind is None else kind
        same = [n for n, (k, s) in self.tensors.items() if k == kind and s == self.shape(name)]
        if same and self.chance(0.4):
            return self.pick(same)
        return self.new(kind, self.broadcast(name))

    def add(self, kind, inputs, outputs=1, **attributes):
        names = [f"t{len(self.tensors) + i}" for i in range(outputs)]
        node = helper.make_node(kind, inputs, names, name=f"{kind} {len(self.nodes)}", **attributes)
        self.nodes.append(node)
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model(names), strict_mode=True, data_prop=True)
            for value in inferred.graph.output:
                tensor = value.type.tensor_type
                if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in tensor.shape.dim):
                    raise Nothing
                shape = [d.dim_value for d in tensor.shape.dim]
                # Of nothing at all ONNX Runtime has crashed.
                if len(shape) > 7 or np.prod(shape) > 20000 or 0 in shape:
                    raise Nothing
                self.tensors[value.name] = (tensor.elem_type, shape)
        except Exception as error:
            self.nodes.pop()
            for name in names:
                self.tensors.pop(name, None)
            raise Nothing from error

    def model(self, outputs, symbols=None):
        """The graph with these outputs. With symbols the first extent of inputs of that extent is left open."""
        def value(name):
            kind, shape = self.tensors[name]
            if symbols and shape and shape[0] == symbols[0]:
                shape = [symbols[1], *shape[1:]]
            return helper.make_tensor_value_info(name, kind, shape)
        weights = [numpy_helper.from_array(array, name) for name, array in self.weights.items()]
        results = [helper.make_tensor_value_info(n, self.tensors[n][0], [None] * len(self.tensors[n][1]) if symbols else self.tensors[n][1])
                   if n in self.tensors else
                   helper.make_tensor_value_info(n, self.declared[n][0], [None] * self.declared[n][1]) if n in self.declared
                   else onnx.ValueInfoProto(name=n) for n in outputs]
        graph = helper.make_graph(self.nodes, "random", [value(n) for n in self.inputs], results, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


# What these do with infinities and what is no number is not said, or ONNX Runtime does it in another way than ONNX's reference.
FINITE = set(
    "ArgMax ArgMin Clip Conv ConvTranspose GRU GlobalMaxPool GlobalLpPool GridSample Hardmax LSTM LogSoftmax LpPool MaxPool Pow RNN "
    "ReduceLogSumExp ReduceMax ReduceMin Resize QuantizeLinear TopK".split()
)
OPERATORS = {}


def operator(make):
    OPERATORS[make.__name__] = make
    return make


UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish Identity Log Mish Neg Reciprocal Relu Round "
    "Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh"
).split()


@operator
def unary(g):
    g.add(g.pick(UNARY), [g.any(g.pick([FLOATS, (F32,), WHOLE]))])


@operator
def activation(g):
    kind, attributes = g.pick([
        ("Celu", {"alpha": g.pick([0.5, 1.0, 2.0])}), ("Elu", {"alpha": g.pick([0.5, 1.0])}), ("Selu", {}),
        ("LeakyRelu", {"alpha": g.pick([0.01, 0.3])}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("ThresholdedRelu", {"alpha": 0.7}), ("Shrink", {"bias": 0.3, "lambd": 0.6}),
        ("Gelu", {"approximate": g.pick(["none", "tanh"])}), ("IsInf", {"detect_negative": g.pick([0, 1])}), ("IsNaN", {}),
        ("Swish", {"alpha": 0.7}),
    ])
    # ONNX Runtime computes Shrink of float64 in float32.
    g.add(kind, [g.any((F32,) if kind == "Shrink" else FLOATS)], **attributes)


@operator
def binary(g):
    kind = g.pick(["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "Pow"])
    # A whole number to a negative power is anything.
    x = g.any((F32, F32, F64, I64, I32) if kind not in ("Mean", "Pow") else FLOATS)
    y = g.other(x)
    if kind == "Div" and g.kind(x) in WHOLE:
        y = g.constant(np.maximum(1, np.abs(g.values(g.kind(x), g.broadcast(x)))).astype(helper.tensor_dtype_to_np_dtype(g.kind(x))))
    g.add(kind, [x, y] if g.chance(0.6) else [y, x] if kind != "Div" else [x, y])


@operator
def small_whole_numbers(g):
    x = g.any((I16, U16, I8, U8))
    g.add(g.pick(["Add", "Sub", "Mul", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor"]), [x, g.other(x)])


@operator
def prelu(g):
    x = g.any(FLOATS)
    g.add("PRelu", [x, g.new(g.kind(x), g.broadcast(x), as_input=False)])


@operator
def compare(g):
    x = g.any((F32, F64, I64, I32))
    g.add(g.pick(["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"]), [x, g.other(x)])


@operator
def logic(g):
    x = g.any((BOOL,))
    g.add(*g.pick([("Not", [x]), ("And", [x, g.other(x)]), ("Or", [x, g.other(x)]), ("Xor", [x, g.other(x)])]))


@operator
def where(g):
    x = g.any()
    g.add("Where", [g.new(BOOL, g.broadcast(x)), x, g.other(x)])


@operator
def clip(g):
    x = g.any((F32, F64, I64, I32, I8, U8))
    dtype = helper.tensor_dtype_to_np_dtype(g.kind(x))
    low, high = sorted(g.values(g.kind(x), (2,), special=False))
    bounds = [g.constant(dtype.type(low)) if g.chance(0.8) else "", g.constant(dtype.type(high)) if g.chance(0.8) else ""]
    g.add("Clip", [x, *bounds])


@operator
def modulo(g):
    x = g.any((I64, I32, F32))
    d = g.constant(np.where(g.values(I64, g.broadcast(x)) < 0, -3, 4).astype(helper.tensor_dtype_to_np_dtype(g.kind(x))))
    g.add("Mod", [x, d], fmod=1 if g.kind(x) == F32 else g.pick([0, 1]))


@operator
def cast(g):
    x = g.any()
    if g.kind(x) in FLOATS and not np.isfinite(1.0):
        raise Nothing
    to = g.pick([F32, F64, I64, I32, BOOL] if g.kind(x) not in FLOATS else [F32, F64, F16, BOOL])
    g.add("Cast", [x], to=to)
    if to == F16:
        g.add("Cast", [f"t{len(g.tensors) - 1}"], to=F32)


@operator
def reduction(g):
    kind = g.pick(["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
                   "ReduceSum", "ReduceSumSquare"])
    # ONNX Runtime's products of int32 do not wrap around, and logarithms of whole numbers are anything.
    x = g.any((F32,) if kind == "ReduceProd" else FLOATS if "Log" in kind or kind == "ReduceL2" else g.pick([FLOATS, (I64, I32)]))
    rank = len(g.shape(x))
    count = int(g.random.integers(0, rank + 1))
    axes = [int(a) - (rank if g.chance(0.3) else 0) for a in g.random.permutation(rank)[:count]]
    attributes = {"keepdims": g.pick([0, 1])}
    inputs = [x]
    if axes and g.opset >= (13 if kind == "ReduceSum" else 18):
        inputs.append(g.constant(np.array(axes, np.int64)))
    elif axes:
        attributes["axes"] = axes
    elif g.opset >= 18 and g.chance(0.5):
        attributes["noop_with_empty_axes"] = 1
    g.add(kind, inputs, **attributes)


@operator
def arg(g):
    x = g.any((F32, I32))
    if not g.shape(x):
        raise Nothing
    g.add(g.pick(["ArgMax", "ArgMin"]), [x], axis=g.axis(x), keepdims=g.pick([0, 1]), select_last_index=g.pick([0, 1]))


def axis(self, name):
    rank = len(self.shape(name))
    return int(self.random.integers(-rank, rank))


Graph.axis = axis


@operator
def softmax(g):
    x = g.any(FLOATS, range(1, 5))
    g.add(g.pick(["Softmax", "LogSoftmax", "Hardmax"]), [x], axis=g.axis(x))


@operator
def cumulated(g):
    x = g.any((F32, F64, I64, I32), range(1, 5))
    g.add("CumSum", [x, g.constant(np.array(g.axis(x)))], exclusive=g.pick([0, 1]), reverse=g.pick([0, 1]))


@operator
def transpose(g):
    x = g.any()
    g.add("Transpose", [x], **({"perm": [int(a) for a in g.random.permutation(len(g.shape(x)))]} if g.chance(0.8) else {}))


@operator
def reshape(g):
    x = g.any()
    shape = g.shape(x)
    total = int(np.prod(shape))
    parts = [d for d in (1, 2, 3, 4, 5, 6, 8, 10, 12) if total % d == 0]
    first = g.pick(parts)
    target = g.pick([[-1], [first, -1], [1, first, -1], [0, -1], [0, 0, -1], [*shape[:1], -1], shape[::-1]])
    g.add("Reshape", [x, g.constant(np.array(target, np.int64))])


@operator
def flatten(g):
    x = g.any(ranks=range(1, 5))
    g.add("Flatten", [x], axis=int(g.random.integers(0, len(g.shape(x)) + 1)))


@operator
def squeeze(g):
    x = g.any()
    ones = [a for a, extent in enumerate(g.shape(x)) if extent == 1]
    if ones and g.chance(0.6):
        axes = [a for a in ones if g.chance(0.7)] or ones[:1]
        g.add("Squeeze", [x, g.constant(np.array(axes, np.int64))])
    else:
        rank = len(g.shape(x)) + 1
        g.add("Unsqueeze", [x, g.constant(np.array([int(g.random.integers(-rank, rank))], np.int64))])


@operator
def expand(g):
    x = g.any()
    shape = [extent if extent > 1 or g.chance(0.4) else g.pick([1, 2, 3]) for extent in g.shape(x)]
    shape = g.extents(1, 1, 2) + shape if g.chance(0.3) else [extent if g.chance(0.7) else 1 for extent in shape]
    g.add("Expand", [x, g.constant(np.array(shape, np.int64))])


@operator
def tile(g):
    x = g.any(ranks=range(1, 5))
    g.add("Tile", [x, g.constant(np.array(g.extents(len(g.shape(x)), 1, 2), np.int64))])


@operator
def concat(g):
    x = g.any(ranks=range(1, 5))
    at = g.axis(x)
    shape = list(g.shape(x))
    shape[at] = int(g.random.integers(1, 4))
    g.add("Concat", g.pick([[x, x], [x, g.new(g.kind(x), shape)], [g.new(g.kind(x), shape), x, x]]), axis=at)


@operator
def split(g):
    x = g.any(ranks=range(1, 5))
    at = g.axis(x)
    extent = g.shape(x)[at]
    if extent < 2:
        raise Nothing
    first = int(g.random.integers(1, extent))
    g.add("Split", [x, g.constant(np.array([first, extent - first], np.int64))], outputs=2, axis=at)


@operator
def cut(g):
    x = g.any(ranks=range(1, 5))
    axes = [int(a) for a in g.random.permutation(len(g.shape(x)))[: g.pick([1, 2])]]
    starts, ends, steps = [], [], []
    for a in axes:
        extent = g.shape(x)[a]
        step = g.pick([1, 1, 1, 2, -1, -2])
        low, high = sorted(int(n) for n in g.random.integers(0, extent + 1, 2))
        if step > 0:
            starts.append(low)
            ends.append(g.pick([high, 2**63 - 1, high - extent if high < extent else extent + 3]))
        else:
            starts.append(g.pick([high, -1, 2**31 - 1]))
            ends.append(g.pick([low - extent - 1, -(2**63)]))
        steps.append(step)
    g.add("Slice", [x, *(g.constant(np.array(n, np.int64)) for n in (starts, ends, axes, steps))])


@operator
def pad(g):
    x = g.any((F32, F64, I64, I32), range(1, 6))
    rank = len(g.shape(x))
    mode = g.pick(["constant", "constant", "reflect", "edge", "wrap"])
    most = lambda a: min(g.shape(x)[a] - 1, 2) if mode in ("reflect", "wrap") else 2  # noqa: E731
    pads = [int(g.random.integers(0, most(a) + 1)) if g.chance(0.6) else 0 for a in list(range(rank)) * 2]
    if mode == "constant" and g.chance(0.3):
        pads[int(g.random.integers(2 * rank))] = -1
    inputs = [x, g.constant(np.array(pads, np.int64))]
    if mode == "constant" and g.chance(0.5):
        dtype = helper.tensor_dtype_to_np_dtype(g.kind(x)).type
        inputs.append(g.constant(dtype(3)))
    g.add("Pad", inputs, mode=mode)


@operator
def gather(g):
    x = g.any(ranks=range(1, 5))
    at = g.axis(x)
    extent = g.shape(x)[at]
    if g.chance(0.5):
        indexes = g.random.integers(-extent, extent, g.extents(int(g.random.integers(0, 3)), 1, 3))
        g.add("Gather", [x, g.constant(np.array(indexes, np.int64))], axis=at)
    else:
        shape = [max(1, extent - int(g.random.integers(0, 2))) for extent in g.shape(x)]
        g.add("GatherElements", [x, g.constant(g.random.integers(-extent, extent, shape))], axis=at)


@operator
def gather_nd(g):
    x = g.any(ranks=range(1, 5))
    depth = int(g.random.integers(1, len(g.shape(x)) + 1))
    indexes = [[int(g.random.integers(-extent, extent)) for extent in g.shape(x)[:depth]] for _ in range(3)]
    g.add("GatherND", [x, g.constant(np.array(indexes, np.int64))])


@operator
def scatter(g):
    x = g.any(ranks=range(1, 4))
    at = g.axis(x)
    extent = g.shape(x)[at]
    shape = list(g.shape(x))
    shape[at] = 1
    indexes = g.random.integers(-extent, extent, shape)
    reduction = g.pick(["none", "add"]) if g.kind(x) in (F32, I64, I32) else "none"
    g.add("ScatterElements", [x, g.constant(indexes), g.new(g.kind(x), shape)], axis=at, reduction=reduction)


@operator
def top(g):
    x = g.any((F32, F64, I64, I32), range(1, 5))
    at = g.axis(x)
    k = int(g.random.integers(1, g.shape(x)[at] + 1))
    g.add("TopK", [x, g.constant(np.array([k], np.int64))], outputs=2, axis=at, largest=g.pick([0, 1]))


@operator
def triangle(g):
    x = g.any(ranks=range(2, 5))
    k = [g.constant(np.array(int(g.random.integers(-2, 3))))] if g.chance(0.5) else []
    g.add("Trilu", [x, *k], upper=g.pick([0, 1]))


@operator
def one_hot(g):
    x = g.any((I64, I32), range(0, 3))
    g.add("OneHot", [x, g.constant(np.array(4)), g.constant(np.array([2, 5], np.float32))], axis=-1)


@operator
def shapes(g):
    x = g.any()
    rank = len(g.shape(x))
    attributes = {"start": int(g.random.integers(-rank, rank)), "end": rank} if rank and g.chance(0.5) else {}
    g.add(*g.pick([("Shape", [x]), ("Size", [x])]), **({} if g.chance(0.3) else attributes))


@operator
def matmul(g):
    x = g.any((F32, F32, F64, I32), range(1, 5))
    k = g.shape(x)[-1]
    shape = g.pick([[k], [k, 3], [*(1 if g.chance(0.5) else e for e in g.shape(x)[:-2]), k, 2]])
    y = g.new(g.kind(x), shape)
    g.add("MatMul", [x, y])


@operator
def gemm(g):
    x = g.any(FLOATS, [2])
    transpose = g.pick([0, 1])
    k, m = g.shape(x) if transpose else g.shape(x)[::-1]
    flip = g.pick([0, 1])
    w = g.new(g.kind(x), [3, k] if flip else [k, 3])
    c = [g.new(g.kind(x), g.pick([[3], [1, 3], [m, 3], [m, 1], []]))] if g.chance(0.7) else []
    g.add("Gemm", [x, w, *c], alpha=g.pick([1.0, 0.5]), beta=g.pick([1.0, 2.0]), transA=transpose, transB=flip)


@operator
def einsum(g):
    x = g.any((F32,), [3])
    a, b, c = g.shape(x)
    equation, shape = g.pick([("abc,cd->abd", [c, 2]), ("abc,abd->acd", [a, b, 2]), ("abc,b->ca", [b]), ("abc,abc->ab", [a, b, c])])
    g.add("Einsum", [x, g.new(F32, shape)], equation=equation)


def window(g, axes, extents, pooling):
    kernel = [int(g.random.integers(1, min(3, e) + 1)) for e in extents]
    attributes = {"kernel_shape": kernel}
    if g.chance(0.5):
        attributes["strides"] = g.extents(axes, 1, 3)
    if g.chance(0.3):
        attributes["dilations"] = [2 if (k - 1) * 2 < e else 1 for k, e in zip(kernel, extents)]
    way = g.pick(["pads", "pads", "auto", "none"])
    if way == "pads":
        dilations = attributes.get("dilations", [1] * axes)
        most = [k - 1 if pooling else 2 for k in kernel]
        if pooling and any(d > 1 for d in dilations):
            most = [0] * axes
        attributes["pads"] = [int(g.random.integers(0, m + 1)) for m in most * 2]
    elif way == "auto" and "dilations" not in attributes and all(s <= k for s, k in zip(attributes.get("strides", [1] * axes), kernel)):
        # ONNX Runtime pads by less than nothing where windows are smaller than strides.
        attributes["auto_pad"] = g.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    return kernel, attributes


@operator
def convolution(g):
    x = g.any((F32, F32, F32, F64), [3, 4, 5])
    n, channels, *extents = g.shape(x)
    group = g.pick([d for d in range(1, channels + 1) if channels % d == 0])
    kernel, attributes = window(g, len(extents), extents, pooling=False)
    out = group * int(g.random.integers(1, 3))
    inputs = [x, g.new(g.kind(x), [out, channels // group, *kernel], as_input=g.chance(0.1))]
    if g.chance(0.5):
        inputs.append(g.new(g.kind(x), [out], as_input=False))
    g.add("Conv", inputs, group=group, **attributes)


@operator
def transposed_convolution(g):
    x = g.any((F32,), [3, 4, 5])
    n, channels, *extents = g.shape(x)
    axes = len(extents)
    group = g.pick([d for d in range(1, channels + 1) if channels % d == 0])
    kernel = g.extents(axes, 1, 3)
    attributes = {"strides": g.extents(axes, 1, 3)}
    if g.chance(0.3):
        attributes["dilations"] = g.extents(axes, 1, 2)
    way = g.pick(["pads", "output_shape", "auto", "none"])
    full = [s * (e - 1) + (k - 1) * d + 1 for s, e, k, d in
            zip(attributes["strides"], extents, kernel, attributes.get("dilations", [1] * axes))]
    if way == "pads":
        attributes["pads"] = [int(g.random.integers(0, 2)) for _ in range(2 * axes)]
        attributes["output_padding"] = [int(g.random.integers(0, s)) for s in attributes["strides"]]
    elif way == "output_shape":
        attributes["output_shape"] = [max(1, f - int(g.random.integers(0, 3))) for f in full]
        if g.chance(0.5):
            attributes["auto_pad"] = g.pick(["SAME_UPPER", "SAME_LOWER"])
    elif way == "auto":
        attributes["auto_pad"] = g.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    out = int(g.random.integers(1, 3))
    inputs = [x, g.new(F32, [channels, out, *kernel], as_input=False)]
    if g.chance(0.5):
        inputs.append(g.new(F32, [out * group], as_input=False))
    g.add("ConvTranspose", inputs, group=group, kernel_shape=kernel, **attributes)


@operator
def pool(g):
    x = g.any((F32,), [3, 4, 5])
    _, _, *extents = g.shape(x)
    kernel, attributes = window(g, len(extents), extents, pooling=True)
    if g.chance(0.3) and "auto_pad" not in attributes:
        attributes["ceil_mode"] = 1
    kind = g.pick(["MaxPool", "AveragePool", "LpPool"])
    if kind == "AveragePool":
        attributes["count_include_pad"] = g.pick([0, 1])
    if kind != "MaxPool" and g.opset < 19:
        attributes.pop("dilations", None)
        attributes.pop("ceil_mode", None)
    if kind == "LpPool":
        attributes["p"] = g.pick([1, 2, 3])
        attributes.pop("ceil_mode", None)
    g.add(kind, [x], **attributes)


@operator
def global_pool(g):
    g.add(g.pick(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]), [g.any((F32,), [3, 4, 5])])


@operator
def normalization(g):
    x = g.any((F32, F32, F64), [2, 3, 4, 5])
    channels = g.shape(x)[1]
    kind = g.pick(["BatchNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
                   "MeanVarianceNormalization", "LRN", "GroupNormalization"])
    # ONNX has its first stage in float32, ONNX Runtime has not.
    if kind == "LayerNormalization" and g.kind(x) == F64:
        raise Nothing
    vector = lambda: g.new(g.kind(x), [channels], as_input=False)  # noqa: E731
    if kind == "BatchNormalization":
        variance = g.constant(np.abs(g.values(g.kind(x), [channels], special=False)) + 0.1)
        g.add(kind, [x, vector(), vector(), vector(), variance], epsilon=1e-4)
    elif kind == "InstanceNormalization":
        g.add(kind, [x, vector(), vector()], epsilon=1e-3)
    elif kind == "GroupNormalization":
        if g.opset < 21:
            raise Nothing
        g.add(kind, [x, vector(), vector()], num_groups=g.pick([d for d in range(1, channels + 1) if channels % d == 0]))
    elif kind == "LayerNormalization":
        at = g.axis(x)
        shape = g.shape(x)[at:]
        extra = [g.new(g.kind(x), shape, as_input=False)] if g.chance(0.5) else []
        g.add(kind, [x, g.new(g.kind(x), shape, as_input=False), *extra], axis=at, epsilon=1e-3)
    elif kind == "LpNormalization":
        g.add(kind, [x], axis=g.axis(x), p=g.pick([1, 2]))
    elif kind == "LRN":
        g.add(kind, [x], size=g.pick([1, 3, 2]), alpha=0.1)
    else:
        axes = sorted(int(a) for a in g.random.permutation(len(g.shape(x)))[:2])
        # Of one element ONNX Runtime makes no number.
        if np.prod([g.shape(x)[a] for a in axes]) == 1:
            raise Nothing
        g.add(kind, [x], axes=axes)


@operator
def resize(g):
    x = g.any((F32,), [3, 4, 5])
    mode = g.pick(["nearest", "linear", "linear", "cubic"]) if len(g.shape(x)) == 4 else g.pick(["nearest", "linear"])
    # ONNX Runtime is not as ONNX's reference where corners are aligned by factors, and where cubes have one element.
    by_factors = g.chance(0.5)
    ways = ["half_pixel", "asymmetric", *([] if by_factors else ["align_corners"]), *(["pytorch_half_pixel"] if mode != "cubic" else [])]
    attributes = {"mode": mode, "coordinate_transformation_mode": g.pick(ways)}
    if mode == "nearest":
        attributes["nearest_mode"] = g.pick(["round_prefer_floor", "floor", "ceil", "round_prefer_ceil"])
    fixed = g.shape(x)[:2]
    if by_factors:
        scales = [1.0, 1.0, *(g.pick([0.5, 1.0, 1.5, 2.0, 3.0]) for _ in g.shape(x)[2:])]
        g.add("Resize", [x, "", g.constant(np.array(scales, np.float32))], **attributes)
    else:
        sizes = fixed + g.extents(len(g.shape(x)) - 2, 1, 7)
        g.add("Resize", [x, "", "", g.constant(np.array(sizes, np.int64))], **attributes)


@operator
def grid_sample(g):
    x = g.any((F32,), [4])
    n = g.shape(x)[0]
    grid = g.constant(g.random.uniform(-1.3, 1.3, [n, 3, 2, 2]).astype(np.float32))
    mode = g.pick(["linear", "nearest"]) if g.opset >= 20 else g.pick(["bilinear", "nearest"])
    g.add("GridSample", [x, grid], mode=mode, padding_mode=g.pick(["zeros", "border", "reflection"]), align_corners=g.pick([0, 1]))


@operator
def depth_space(g):
    x = g.any((F32,), [4])
    n, c, h, w = g.shape(x)
    if c % 4 == 0 and g.chance(0.5):
        g.add("DepthToSpace", [x], blocksize=2, mode=g.pick(["DCR", "CRD"]))
    elif h % 2 == 0 and w % 2 == 0:
        g.add("SpaceToDepth", [x], blocksize=2)
    else:
        raise Nothing


@operator
def recurrent(g):
    x = g.any((F32,), [3])
    kind, gates = g.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    direction = g.pick(["forward", "reverse", "bidirectional"])
    sides = 2 if direction == "bidirectional" else 1
    length, batch, width = g.shape(x)
    inputs = [x, g.new(F32, [sides, gates * 2, width], as_input=False), g.new(F32, [sides, gates * 2, 2], as_input=False)]
    if g.chance(0.6):
        inputs.append(g.new(F32, [sides, gates * 4], as_input=False))
        if g.chance(0.5):
            inputs += ["", g.new(F32, [sides, batch, 2])]
    attributes = {"linear_before_reset": g.pick([0, 1])} if kind == "GRU" else {}
    g.add(kind, inputs, outputs=2, hidden_size=2, direction=direction, **attributes)


@operator
def quantized(g):
    # Of what is computed some is no number, which may become any.
    x = g.new(F32, g.extents(g.pick([1, 2, 3, 4])), as_input=True)
    scale, zero = g.constant(np.float32(0.1)), g.constant(g.pick([np.uint8(128), np.int8(3)]))
    g.add("QuantizeLinear", [x, scale, zero])
    g.add("DequantizeLinear", [f"t{len(g.tensors) - 1}", scale, zero])


OPERATORS.update(random_families.OPERATORS)


def make(seed, only=None):
    """A graph, its inputs and its open extent if it has one."""
    g = Graph(seed, [13, 17, 18, 21][seed % 4])
    kinds = [F32, F32, F32, F32, F64, I64, I32, BOOL, I16, U8]
    for _ in range(int(g.random.integers(1, 3))):
        g.new(g.pick(kinds[: 4 if only is None and g.chance(0.6) else None]), g.extents(g.pick([1, 2, 3, 4, 4, 5])), as_input=True)
    names = list(OPERATORS) if only is None else [only]
    for _ in range(int(g.random.integers(1, 6)) if only is None else 1):
        for _ in range(20):
            try:
                OPERATORS[g.pick(names)](g)
                break
            except (Nothing, ValueError):
                continue
    if not g.nodes:
        return None
    read = {name for node in g.nodes for name in node.input}
    produced = [name for node in g.nodes for name in node.output]
    # What is not read by others, so that nothing is left out as useless.
    outputs = [name for name in produced if name not in read] or produced[-1:]
    g.inputs = {name: array for name, array in g.inputs.items() if name in read}
    if any(node.op_type in FINITE for node in g.nodes):
        for name, array in g.inputs.items():
            if np.issubdtype(array.dtype, np.floating):
                g.inputs[name] = np.where(np.abs(array) < 1e3, array, array.dtype.type(0.5))
    if not g.inputs:
        return None
    first = [shape[0] for name in g.inputs if (shape := g.tensors[name][1])]
    symbols = (first[0], g.pick(["batch", "N", None])) if first and seed % 3 == 0 else None
    return g.model(outputs, symbols), g.inputs


def reference(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs)))


def difference(result, expected, exact=False):
    """What is unlike, or None. `exact` says that all of the graph is computed in float64."""
    if result.shape != expected.shape:
        return f"shape {result.shape} for {expected.shape}"
    if result.dtype != expected.dtype:
        return f"{result.dtype} for {expected.dtype}"
    if not np.issubdtype(result.dtype, np.floating):
        return None if np.array_equal(result, expected) else f"{np.sum(result != expected)} of {result.size} unlike"
    a, b = result.astype(np.float64), expected.astype(np.float64)
    usual = 1e-9 if exact else 2e-4
    finite = np.isfinite(b)
    scale = np.max(np.abs(b[finite]), initial=0.05)
    if np.array_equal(np.isnan(a), np.isnan(b)) and np.allclose(a[finite], b[finite], rtol=usual, atol=usual * scale) \
            and np.array_equal(a[np.isinf(b)], b[np.isinf(b)]) and np.isfinite(a[finite]).all():
        return None
    with np.errstate(invalid="ignore"):
        return f"off by {np.nanmax(np.abs(a - b), initial=0):.1e} of {scale:.1e}, {np.sum(np.isnan(a) != np.isnan(b))} NaN unlike"


def compared(model, inputs, path):
    """How a graph went: "equal", "refused: …", "unlike: …", "failed: …" or "senseless: …", which ONNX Runtime does not take."""
    try:
        expected = reference(model, inputs)
    except Exception as error:
        return f"senseless: {str(error)[:150]}"
    path.write_bytes(model.SerializeToString())
    try:
        results = Model(path, threads=1).run(inputs)
    except PlanrtError as error:
        return f"{'refused' if error.code in REFUSED else 'failed'}: {error.code} {error} | {error.detail}".replace("\n", " | ")
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = [value.type.tensor_type.elem_type for value in [*inferred.input, *inferred.value_info, *inferred.output]]
    exact = F32 not in kinds and F16 not in kinds
    for name, array in expected.items():
        unlike = difference(results[name], np.asarray(array), exact)
        if unlike:
            return f"unlike: {name} {unlike}"
    return "equal"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--operator", choices=list(OPERATORS))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.first, arguments.first + arguments.count):
            made = make(seed, arguments.operator)
            if made is None:
                continue
            model, inputs = made
            outcome = compared(model, inputs, Path(folder) / "model.onnx")
            kind = outcome.split(":")[0]
            counts[kind] += 1
            if kind in ("unlike", "failed") or arguments.list and kind != "equal":
                nodes = " ".join(f"{n.op_type}{[o for o in n.output]}" for n in model.graph.node)
                print(f"{seed}: {outcome[:400]} | {nodes}", flush=True)
                if arguments.keep and kind in ("unlike", "failed"):
                    onnx.save(model, arguments.keep / f"{seed}.onnx")
                    np.savez(arguments.keep / f"{seed}.npz", **inputs)
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    sys.exit(counts["unlike"] + counts["failed"] > 0 or counts["equal"] < 0.4 * counts.total())


if __name__ == "__main__":
    main()
