"""More operators for test_random_graphs.py: those that work along an axis before and after those that go over windows, and what
indexes, branches and loops."""

import numpy as np
from onnx import TensorProto, helper

F32, F64, I64, I32, BOOL = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL


def last(g, back=1):
    return f"t{len(g.tensors) - back}"


def numbers(g, values):
    return g.constant(np.array(values, np.int64))


def since(g, opsets):
    """The graph is of one of these operator sets."""
    if not g.nodes:
        g.opset = g.pick(opsets)
    elif g.opset not in opsets:
        raise ValueError


# One step of a chain: from a float32 tensor to another.


def along_axis(g, x):
    """Something that looks at all of an axis."""
    rank, at = len(g.shape(x)), g.axis(x)
    extent = g.shape(x)[at]
    kind = g.pick(["Softmax", "Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "CumSum", "Reduce", "ReduceAll", "ArgMax", "TopK",
                   "LayerNormalization", "InstanceNormalization", "written out", "ReverseSequence",
                   "GatherElements", "ScatterElements", "centered"])
    if kind in ("Softmax", "LogSoftmax", "Hardmax"):
        g.add(kind, [x], axis=at)
    elif kind == "LpNormalization":
        g.add("Add", [x, g.constant(np.float32(3))])
        g.add(kind, [last(g)], axis=at, p=g.pick([1, 2]))
    elif kind == "CumSum":
        g.add(kind, [x, g.constant(np.array(at))], exclusive=g.pick([0, 1]), reverse=g.pick([0, 1]))
    elif kind in ("Reduce", "ReduceAll"):
        axes = [at] if kind == "Reduce" else list(range(2, rank)) or [at]
        reduce = g.pick(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2", "ReduceSumSquare"])
        if g.opset >= (13 if reduce == "ReduceSum" else 18):
            g.add(reduce, [x, numbers(g, axes)], keepdims=1)
        else:
            g.add(reduce, [x], axes=axes, keepdims=1)
    elif kind == "ArgMax":
        g.add(kind, [x], axis=at, keepdims=1)
        g.add("Cast", [last(g)], to=F32)
    elif kind == "TopK":
        g.add(kind, [x, numbers(g, [int(g.random.integers(1, extent + 1))])], outputs=2, axis=at)
        return last(g, 2)
    elif kind == "LayerNormalization":
        g.add(kind, [x, g.new(F32, g.shape(x)[at:], as_input=False)], axis=at)
    elif kind == "InstanceNormalization":
        if rank < 3:
            raise ValueError
        vector = [g.constant(g.random.uniform(-1, 1, g.shape(x)[1]).astype(np.float32)) for _ in range(2)]
        g.add(kind, [x, *vector], epsilon=0.1)
    elif kind == "written out":
        two = g.constant(np.float32(2))
        g.add("Tanh", [x])
        g.add("Add", [last(g), two])
        e = last(g)
        g.add("ReduceSum", [e, numbers(g, [at])], keepdims=1)
        g.add("Div", [e, last(g)])
    elif kind == "centered":
        g.add("ReduceMean", *([[x, numbers(g, [at])]] if g.opset >= 18 else [[x]]), **({} if g.opset >= 18 else {"axes": [at]}))
        g.add("Sub", [x, last(g)])
    elif kind == "ReverseSequence":
        if rank < 2:
            raise ValueError
        batch, time = g.pick([(0, 1), (1, 0)])
        lengths = g.random.integers(1, g.shape(x)[time] + 1, g.shape(x)[batch])
        g.add(kind, [x, numbers(g, lengths)], batch_axis=batch, time_axis=time)
    elif kind == "GatherElements":
        g.add(kind, [x, g.constant(g.random.integers(-extent, extent, g.shape(x)))], axis=at)
    elif kind == "ScatterElements":
        shape = [*g.shape(x)]
        shape[at] = 1
        g.add(kind, [x, g.constant(g.random.integers(0, extent, shape)), g.new(F32, shape)], axis=at)
    return last(g)


def over_window(g, x):
    """A convolution or pool, of stride, pads, groups and dilation."""
    rank = len(g.shape(x))
    if not 3 <= rank <= 5:
        raise ValueError
    axes, channels = rank - 2, g.shape(x)[1]
    kind = g.pick(["Conv", "Conv", "pointwise", "pointwise", "depthwise", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "sum"])
    if kind in ("MaxPool", "AveragePool", "LpPool"):
        kernel = [int(g.random.integers(1, min(3, e) + 1)) for e in g.shape(x)[2:]]
        pads = [int(g.random.integers(0, k)) for k in kernel * 2]
        extra = {"count_include_pad": g.pick([0, 1])} if kind == "AveragePool" else {"p": 2} if kind == "LpPool" else {}
        g.add(kind, [x], kernel_shape=kernel, strides=g.extents(axes, 1, 3), pads=pads, **extra)
        return last(g)
    if kind == "sum":
        g.add("Conv", [x, g.constant(np.ones([1, channels, *[1] * axes], np.float32))])
        return last(g)
    kernel = [1] * axes if kind == "pointwise" else g.extents(axes, 1, 3)
    strides = g.extents(axes, 1, 3) if g.chance(0.6) else [1] * axes
    pads = [int(p) for p in g.random.integers(0, 3, 2 * axes)] if g.chance(0.6) else [0] * 2 * axes
    dilations = g.extents(axes, 1, 2)
    group = channels if kind == "depthwise" else g.pick([d for d in range(1, channels + 1) if channels % d == 0])
    if kind == "ConvTranspose":
        weight = [channels, int(g.random.integers(1, 3)), *kernel]
        outs = weight[1] * group
        pads = [min(p, 1) for p in pads]
    else:
        outs = group * int(g.random.integers(1, 3))
        weight = [outs, channels // group, *kernel]
    bias = [g.new(F32, [outs], as_input=False)] if g.chance(0.5) else []
    g.add("ConvTranspose" if kind == "ConvTranspose" else "Conv", [x, g.new(F32, weight, as_input=False), *bias], group=group,
          strides=strides, pads=pads, dilations=dilations)
    return last(g)


def moved(g, x):
    """The same elements, or some of them, in another order or shape."""
    rank, at = len(g.shape(x)), g.axis(x)
    shape, extent = g.shape(x), g.shape(x)[at]
    kind = g.pick(["Transpose", "Transpose", "every other", "flip", "part", "Concat", "twice", "Split", "Pad", "Pad", "Tile", "Gather", "merge",
                   "split", "Unsqueeze", "Squeeze", "Expand", "reflect", "Flatten", "DepthToSpace"])
    if kind == "Transpose":
        g.add(kind, [x], perm=[int(a) for a in g.random.permutation(rank)])
    elif kind in ("every other", "flip", "part"):
        start, end, step = {
            "every other": (int(g.random.integers(0, min(2, extent))), 2**62, 2),
            "flip": (-1, -(2**62), -1),
            "part": (int(g.random.integers(0, extent)), extent, 1),
        }[kind]
        g.add("Slice", [x, *(numbers(g, [n]) for n in (start, end, at, step))])
    elif kind == "Concat":
        other = [*shape]
        other[at] = int(g.random.integers(1, 3))
        g.add(kind, g.pick([[x, g.new(F32, other)], [g.new(F32, other), x]]), axis=at)
    elif kind == "twice":
        g.add("Concat", [x, x], axis=at)
    elif kind == "Split":
        if extent < 2:
            raise ValueError
        g.add(kind, [x, numbers(g, [1, extent - 1])], outputs=2, axis=at)
        return last(g, g.pick([1, 2]))
    elif kind == "Pad":
        pads = [int(p) for p in g.random.integers(0, 3, 2 * rank)]
        g.add(kind, [x, numbers(g, [p if g.chance(0.5) else 0 for p in pads])], mode=g.pick(["constant", "constant", "edge"]))
    elif kind == "reflect":
        pads = [int(g.random.integers(0, min(3, e))) for e in shape * 2]
        g.add("Pad", [x, numbers(g, pads)], mode="reflect")
    elif kind == "Tile":
        g.add(kind, [x, numbers(g, g.extents(rank, 1, 2))])
    elif kind == "Gather":
        indexes = g.random.integers(0, extent, g.pick([[], [1], [3], [2, 2]]))
        g.add(kind, [x, g.constant(np.array(indexes, np.int64))], axis=at)
    elif kind == "merge":
        cut = int(g.random.integers(0, rank - 1)) if rank > 1 else 0
        g.add("Reshape", [x, numbers(g, [*shape[:cut], -1, *shape[cut + 2:]])])
    elif kind == "split":
        if extent % 2:
            raise ValueError
        at %= rank
        g.add("Reshape", [x, numbers(g, [*shape[:at], *g.pick([[2, extent // 2], [extent // 2, 2]]), *shape[at + 1:]])])
    elif kind == "Unsqueeze":
        g.add(kind, [x, numbers(g, [int(g.random.integers(0, rank + 1))])])
    elif kind == "Squeeze":
        ones = [a for a, e in enumerate(shape) if e == 1]
        if not ones:
            raise ValueError
        g.add(kind, [x, numbers(g, [g.pick(ones)])])
    elif kind == "Expand":
        g.add(kind, [x, numbers(g, [2 if e == 1 else e for e in shape])])
    elif kind == "Flatten":
        g.add(kind, [x], axis=int(g.random.integers(0, rank + 1)))
    elif kind == "DepthToSpace":
        if rank != 4 or shape[1] % 4:
            raise ValueError
        g.add(kind, [x], blocksize=2, mode=g.pick(["DCR", "CRD"]))
    return last(g)


def by_element(g, x):
    """One element at a time, with a number for each channel or position."""
    shape = g.shape(x)
    kind = g.pick(["Add", "Mul", "Sub", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "channel", "Clip", "itself", "Where", "Elu"])
    if kind in ("Relu", "Sigmoid", "LeakyRelu", "Elu"):
        g.add(kind, [x])
    elif kind == "PRelu":
        g.add(kind, [x, g.new(F32, [shape[1], *[1] * (len(shape) - 2)] if len(shape) > 1 else [1], as_input=False)])
    elif kind == "channel":
        if len(shape) < 2:
            raise ValueError
        g.add(g.pick(["Mul", "Add", "Div"]), [x, g.constant(g.random.uniform(0.5, 2, [shape[1], *[1] * (len(shape) - 2)]).astype(np.float32))])
    elif kind == "Clip":
        g.add(kind, [x, g.constant(np.float32(-0.4)), g.constant(np.float32(0.7))])
    elif kind == "itself":
        g.add(g.pick(["Mul", "Add", "Max"]), [x, x])
    elif kind == "Where":
        g.add("Greater", [x, g.constant(np.float32(0.1))])
        g.add(kind, [last(g), x, g.new(F32, g.broadcast(x))])
    else:
        g.add(kind, g.pick([[x, g.other(x)], [g.other(x), x]]))
    return last(g)


def resized(g, x):
    shape = g.shape(x)
    if not 3 <= len(shape) <= 5:
        raise ValueError
    mode = g.pick(["nearest", "linear"])
    scales = [1.0, 1.0, *(g.pick([0.5, 1.0, 2.0]) for _ in shape[2:])]
    extra = {"nearest_mode": g.pick(["floor", "round_prefer_floor"])} if mode == "nearest" else {}
    g.add("Resize", [x, "", g.constant(np.array(scales, np.float32))], mode=mode,
          coordinate_transformation_mode=g.pick(["half_pixel", "asymmetric"]), **extra)
    return last(g)


def chain(g):
    """Steps one after the other: engines like to pull the later ones in front of the earlier."""
    x = g.new(F32, [g.pick([1, 1, 2, 3]), g.pick([1, 2, 3, 4, 4]), *g.extents(g.pick([1, 2, 3, 3]), 1, 6)], as_input=True)
    nothing = 0
    for _ in range(int(g.random.integers(2, 6))):
        step = g.pick([along_axis, along_axis, over_window, over_window, moved, moved, by_element, resized])
        try:
            before = x
            x = step(g, x)
            if g.chance(0.15) and g.shape(before) == g.shape(x):
                g.add("Add", [before, x])
                x = last(g)
        except Exception:  # noqa: BLE001 a step that does not fit
            nothing += 1
            if nothing > 6:
                raise


def any_resize(g):
    """Every mode and way of coordinates."""
    since(g, [11, 13, 18, 19])
    rank = g.pick([3, 4, 4, 5])
    x = g.new(F32, [*g.extents(2, 1, 3), *g.extents(rank - 2, 2, 6)], as_input=True)
    mode = g.pick(["nearest", "linear", "cubic"] if rank == 4 else ["nearest", "linear"])
    ways = ["half_pixel", "asymmetric", "align_corners", *(["pytorch_half_pixel"] if mode != "cubic" else [])]
    ways += ["half_pixel_symmetric"] if g.opset >= 19 and mode != "nearest" else []
    way = g.pick(ways)
    attributes = {"mode": mode, "coordinate_transformation_mode": way}
    if mode == "nearest":
        attributes["nearest_mode"] = g.pick(["round_prefer_floor", "floor", "ceil", "round_prefer_ceil"])
    if mode == "cubic":
        attributes["cubic_coeff_a"] = g.pick([-0.75, -0.5])
        attributes["exclude_outside"] = g.pick([0, 0, 1])
    # ONNX Runtime cuts by tf_crop_and_resize, and smoothes 5-D inputs, in another way than ONNX's reference.
    if g.opset >= 18 and mode != "nearest" and rank == 4 and g.chance(0.3):
        attributes["antialias"] = 1
    roi = g.constant(np.array([], np.float32)) if g.opset < 13 else ""
    sizes = [*g.shape(x)[:2], *g.extents(rank - 2, 1, 9)]
    empty = g.constant(np.array([], np.float32)) if g.opset < 13 else ""
    if g.chance(0.5) or way == "align_corners":
        if g.opset >= 18 and g.chance(0.3):
            attributes["axes"] = list(range(2, rank))
            sizes = sizes[2:]
        g.add("Resize", [x, roi, empty, numbers(g, sizes)], **attributes)
    else:
        scales = [1.0, 1.0, *(g.pick([0.3, 0.5, 1.0, 1.7, 2.0, 3.0]) for _ in range(rank - 2))]
        g.add("Resize", [x, roi, g.constant(np.array(scales, np.float32))], **attributes)


def volume_sample(g):
    """GridSample over two and three axes."""
    axes = g.pick([2, 3, 3])
    since(g, [20, 21] if axes == 3 else [16, 20])
    x = g.new(F32, [2, 2, *g.extents(axes, 1, 5)], as_input=True)
    grid = g.constant(g.random.uniform(-1.4, 1.4, [2, *g.extents(axes, 1, 3), axes]).astype(np.float32))
    linear, cubic = ("linear", "cubic") if g.opset >= 20 else ("bilinear", "bicubic")
    mode = g.pick([linear, "nearest", *([cubic] if axes == 2 else [])])
    g.add("GridSample", [x, grid], mode=mode, padding_mode=g.pick(["zeros", "reflection", *(["border"] if mode != cubic else [])]),
          align_corners=g.pick([0, 1]))


def scatter_nd(g):
    since(g, [11, 13, 16, 18])
    x = g.new(g.pick([F32, I64]), g.extents(g.pick([1, 2, 3, 4])), as_input=True)
    depth = int(g.random.integers(1, len(g.shape(x)) + 1))
    reduction = g.pick(["none", "add", "mul", "max", "min"] if g.opset >= 18 else ["none", "add", "mul"] if g.opset >= 16 else ["none"])
    # The order in which the same element is written is not said.
    every = np.stack(np.meshgrid(*(np.arange(e) for e in g.shape(x)[:depth]), indexing="ij"), -1).reshape(-1, depth)
    indexes = g.random.permutation(every)[: int(g.random.integers(1, len(every) + 1))]
    if g.chance(0.3):
        indexes = indexes - np.array(g.shape(x)[:depth])
    extra = {"reduction": reduction} if g.opset >= 16 else {}
    g.add("ScatterND", [x, numbers(g, indexes), g.new(g.kind(x), [len(indexes), *g.shape(x)[depth:]])], **extra)


def scatter_many(g):
    since(g, [18])
    x = g.new(g.pick([F32, I64, I32]), g.extents(g.pick([1, 2, 3])), as_input=True)
    at = g.axis(x)
    shape = [int(g.random.integers(1, e + 1)) for e in g.shape(x)]
    indexes = g.random.integers(-g.shape(x)[at], g.shape(x)[at], shape)
    # What the largest of no number is, ONNX Runtime leaves to the order.
    g.inputs[x] = g.random.integers(-9, 9, g.shape(x)).astype(g.inputs[x].dtype)
    updates = g.constant(g.random.integers(-9, 9, shape).astype(g.inputs[x].dtype))
    g.add("ScatterElements", [x, g.constant(indexes), updates], axis=at, reduction=g.pick(["add", "mul", "max", "min"]))


def ties(g):
    """TopK and ArgMax of what has the same number many times."""
    x = g.new(g.pick([F32, I64]), g.extents(g.pick([1, 2, 3]), 1, 6), as_input=True)
    g.inputs[x] = g.random.integers(0, 3, g.shape(x)).astype(g.inputs[x].dtype)
    at = g.axis(x)
    if g.chance(0.5):
        k = int(g.random.integers(1, g.shape(x)[at] + 1))
        g.add("TopK", [x, numbers(g, [k])], outputs=2, axis=at, largest=g.pick([0, 1]), sorted=1)
    else:
        if g.kind(x) == I64:
            g.add("Cast", [x], to=F32)
            x = last(g)
        g.add(g.pick(["ArgMax", "ArgMin"]), [x], axis=at, keepdims=g.pick([0, 1]), select_last_index=g.pick([0, 1]))


def fourier(g):
    since(g, [17, 20])
    inverse, onesided = g.pick([(0, 0), (0, 1), (1, 0)])
    x = g.new(F32, [*g.extents(2, 1, 6), 2 if inverse else g.pick([1, 1, 2] if not onesided else [1])], as_input=True)
    g.inputs[x] = g.random.uniform(-2, 2, g.shape(x)).astype(np.float32)
    at = g.pick([0, 1])
    length = [numbers(g, int(g.random.integers(1, 8)))] if g.chance(0.4) else []
    if g.opset == 17:
        g.add("DFT", [x, *length], axis=at, inverse=inverse, onesided=onesided)
    else:
        g.add("DFT", [x, *(length or [""]), numbers(g, at)], inverse=inverse, onesided=onesided)


def sums_of_products(g):
    """Einsum over letters at random."""
    letters = {c: int(g.random.integers(1, 4)) for c in "abcde"}
    terms = ["".join(g.random.permutation(list("abcde"))[: int(g.random.integers(1, 5))]) for _ in range(g.pick([1, 2, 2, 3]))]
    there = sorted(set("".join(terms)))
    result = "".join(g.random.permutation(there)[: int(g.random.integers(0, len(there) + 1))])
    inputs = [g.new(g.pick([F32]), [letters[c] for c in term], as_input=g.chance(0.6) or i == 0) for i, term in enumerate(terms)]
    for name in g.inputs:
        g.inputs[name] = g.random.uniform(-2, 2, g.shape(name)).astype(np.float32)
    g.add("Einsum", inputs, equation=",".join(terms) + "->" + result)


def branch(g):
    """An If of which the way is found at the run."""
    x = g.new(F32, g.extents(g.pick([1, 2, 3])), as_input=True)
    w = g.new(F32, g.broadcast(x))
    zero = g.constant(np.float32(0))
    g.add("ReduceSum", [x], keepdims=0)
    g.add("Greater", [last(g), zero])
    value = lambda n: helper.make_tensor_value_info(n, F32, None)  # noqa: E731
    ways = [helper.make_graph([helper.make_node(kind, inputs, [f"{name}.r"])], name, [], [value(f"{name}.r")])
            for name, (kind, inputs) in (("then", g.pick([("Add", [x, w]), ("Relu", [x])])), ("else", g.pick([("Mul", [x, w]), ("Neg", [x])])))]
    g.add("If", [last(g)], then_branch=ways[0], else_branch=ways[1])


def scan(g):
    """A sum and a product along the first axis, step by step."""
    x = g.new(F32, g.extents(g.pick([2, 3]), 1, 5), as_input=True)
    state = g.new(F32, g.shape(x)[1:])
    value = lambda n: helper.make_tensor_value_info(n, F32, g.shape(x)[1:])  # noqa: E731
    kind = g.pick(["Add", "Sub", "Max"])
    body = helper.make_graph([helper.make_node(kind, ["s", "e"], ["n"]), helper.make_node("Mul", ["n", "e"], ["o"])], "step",
                             [value("s"), value("e")], [value("n"), value("o")])
    extra = {"scan_input_directions": [1]} if g.chance(0.4) else {}
    extra |= {"scan_output_directions": [1]} if g.chance(0.3) else {}
    g.add("Scan", [state, x], outputs=2, body=body, num_scan_inputs=1, **extra)


def loop(g):
    """A number of turns that is known, or comes from a shape."""
    x = g.new(F32, g.extents(g.pick([2, 3]), 1, 4), as_input=True)
    value = lambda n, k, s: helper.make_tensor_value_info(n, k, s)  # noqa: E731
    if g.chance(0.5):
        turns = numbers(g, int(g.random.integers(0, 4)))
    else:
        g.add("Shape", [x])
        g.add("Gather", [last(g), numbers(g, 0)])
        turns = last(g)
    shape = g.shape(x)
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Cast", ["i"], ["r"], to=F32),
         helper.make_node("Add", ["s", "r"], ["n"]), helper.make_node("Mul", ["n", x], ["o"])],
        "turn", [value("i", I64, []), value("c", BOOL, []), value("s", F32, shape)],
        [value("c2", BOOL, []), value("n", F32, shape), value("o", F32, shape)])
    inputs = [turns, g.pick(["", g.constant(np.array(True))]), x]
    names = [f"{kind} {len(g.nodes)}" for kind in ("looped", "turned")]
    g.nodes.append(helper.make_node("Loop", inputs, names, name=f"Loop {len(g.nodes)}", body=body))
    g.declared |= {names[0]: (F32, len(shape)), names[1]: (F32, len(shape) + 1)}


def from_shapes(g):
    """Shapes that are computed from shapes, as exports with open axes have it."""
    x = g.new(F32, g.extents(g.pick([3, 4, 5]), 1, 6), as_input=True)
    rank = len(g.shape(x))
    g.add("Shape", [x])
    shape = last(g)
    kind = g.pick(["keep and flatten", "like", "half", "grid", "expand", "crop", "range"])
    if kind == "keep and flatten":
        g.add("Gather", [shape, numbers(g, 0)])
        g.add("Unsqueeze", [last(g), numbers(g, [0])])
        g.add("Concat", [last(g), numbers(g, [-1])], axis=0)
        g.add("Reshape", [x, last(g)])
    elif kind == "like":
        g.add("ConstantOfShape", [shape], value=helper.make_tensor("v", F32, [1], [g.pick([0.0, 1.5])]))
        g.add("Add", [last(g), x])
    elif kind == "half":
        g.add("Slice", [shape, numbers(g, [2]), numbers(g, [rank])])
        g.add("Div", [last(g), numbers(g, 2)])
        g.add("Max", [last(g), numbers(g, 1)]) if g.opset >= 12 else None
        half = last(g)
        g.add("Slice", [x, g.constant(np.zeros(rank - 2, np.int64)), half, numbers(g, range(2, rank))])
    elif kind == "grid":
        g.add("Gather", [shape, numbers(g, rank - 1)])
        g.add("Range", [numbers(g, 0), last(g), numbers(g, 1)])
        g.add("Cast", [last(g)], to=F32)
        g.add("Mul", [last(g), x])
    elif kind == "expand":
        g.add("ReduceMax", [x, numbers(g, [rank - 1])] if g.opset >= 18 else [x], keepdims=1, **({} if g.opset >= 18 else {"axes": [rank - 1]}))
        g.add("Expand", [last(g), shape])
        g.add("Sub", [x, last(g)])
    elif kind == "crop":
        g.add("Gather", [shape, numbers(g, [2])])
        g.add("Sub", [last(g), numbers(g, [1])])
        g.add("Slice", [x, numbers(g, [0]), last(g), numbers(g, [2])])
    else:
        g.add("Size", [x])
        g.add("Cast", [last(g)], to=F32)
        g.add("Div", [x, last(g)])


def of_the_data(g):
    """What has as many elements as the data says."""
    x = g.new(F32, g.extents(g.pick([1, 2, 3])), as_input=True)
    g.add("Greater", [x, g.constant(np.float32(0))])
    mask = last(g)
    kind = g.pick(["NonZero", "Compress", "count"])
    u = f" {len(g.nodes)}"
    if kind == "NonZero":
        g.nodes.append(helper.make_node("NonZero", [mask], [f"nz{u}"]))
        g.nodes.append(helper.make_node("Transpose", [f"nz{u}"], [f"nzt{u}"]))
        g.nodes.append(helper.make_node("GatherND", [x, f"nzt{u}"], [f"found{u}"]))
        g.declared[f"found{u}"] = (F32, 1)
        if g.chance(0.5):
            g.nodes.append(helper.make_node("ReduceSum", [f"found{u}"], [f"total{u}"], keepdims=1))
            g.declared[f"total{u}"] = (F32, 1)
    elif kind == "Compress":
        g.add("Reshape", [mask, numbers(g, [-1])])
        g.nodes.append(helper.make_node("Compress", [x, last(g)], [f"found{u}"]))
        g.declared[f"found{u}"] = (F32, 1)
    else:
        g.add("Cast", [mask], to=I64)
        g.add("ReduceSum", [last(g)], keepdims=0)


def sequences(g):
    """Lists of tensors, as scripted exports have them."""
    x = g.new(F32, g.extents(g.pick([1, 2, 3]), 2, 4), as_input=True)
    y = g.new(F32, g.shape(x))
    axis = g.axis(x)
    nodes, final = g.nodes.append, helper.make_node
    u = f" {len(g.nodes)}"
    kept = g.pick([0, 1])
    kind = g.pick(["stack", "cat", "insert", "split", "pieces", "unbound", "length", "back"])
    if kind in ("stack", "cat"):
        nodes(final("SequenceConstruct", [x, y, x], [f"list{u}"]))
        nodes(final("ConcatFromSequence", [f"list{u}"], [f"out{u}"], axis=axis, new_axis=int(kind == "stack")))
    elif kind == "insert":
        nodes(final("SequenceEmpty", [], [f"none{u}"]))
        nodes(final("SequenceInsert", [f"none{u}", x], [f"one{u}"]))
        nodes(final("SequenceInsert", [f"one{u}", y, numbers(g, 0)], [f"two{u}"]))
        nodes(final("SequenceInsert", [f"two{u}", x], [f"three{u}"]))
        nodes(final("SequenceErase", [f"three{u}", numbers(g, g.pick([0, -1, 1]))], [f"list{u}"]))
        nodes(final("SequenceAt", [f"list{u}", numbers(g, g.pick([0, 1, -1, -2]))], [f"out{u}"]))
    elif kind == "split":
        sizes = numbers(g, [1, g.shape(x)[axis] - 1])
        nodes(final("SplitToSequence", [x, sizes], [f"list{u}"], axis=axis))
        nodes(final("SequenceAt", [f"list{u}", numbers(g, g.pick([0, 1, -1]))], [f"out{u}"]))
    elif kind == "pieces":
        nodes(final("SplitToSequence", [x, numbers(g, g.pick([1, 2]))], [f"list{u}"], axis=axis))
        nodes(final("SequenceAt", [f"list{u}", numbers(g, g.pick([0, 0, 1]) if g.shape(x)[axis] > 2 else 0)], [f"out{u}"]))
    elif kind == "unbound":
        nodes(final("SplitToSequence", [x], [f"list{u}"], axis=axis, keepdims=kept))
        nodes(final("SequenceAt", [f"list{u}", numbers(g, g.pick([0, 1, -1, -2]))], [f"out{u}"]))
    elif kind == "length":
        nodes(final("SequenceConstruct", [x, y], [f"list{u}"]))
        nodes(final("SequenceLength", [f"list{u}"], [f"out{u}"]))
    else:
        nodes(final("SplitToSequence", [x], [f"list{u}"], axis=axis, keepdims=kept))
        nodes(final("ConcatFromSequence", [f"list{u}"], [f"out{u}"], axis=axis, new_axis=1 - kept))
    rank = len(g.shape(x)) + {"stack": 1, "unbound": 0 if kept else -1}.get(kind, 0)
    g.declared[f"out{u}"] = (I64, 0) if kind == "length" else (F32, rank)


def passed_on(g):
    """Outputs that are inputs, weights or other outputs."""
    x = g.new(F32, g.extents(3), as_input=True)
    g.add("Identity", [x])
    g.add("Identity", [last(g)])
    g.add("Identity", [g.new(F32, [2, 2], as_input=False)])
    g.add("Dropout", [x])
    g.add("Shape", [x])
    g.add("Cast", [x], to=F32)


def older(g):
    """Operators as they were said before operator set 13."""
    since(g, [7, 8, 9, 10, 11, 12])
    x = g.new(F32, [*g.extents(2, 1, 4), *g.extents(g.pick([0, 1, 2, 3]), 1, 5)], as_input=True)
    rank, at = len(g.shape(x)), int(g.random.integers(0, len(g.shape(x))))
    for _ in range(g.pick([1, 2])):
        if len(g.shape(x)) < 2:
            return
        kind = g.pick(["Softmax", "LogSoftmax", "Hardmax", "Clip", "Pad", "Slice", "TopK", "Squeeze", "Unsqueeze", "Reduce", "Split",
                       "BatchNormalization", "Upsample", "Dropout", "Flatten", "ArgMax", "Resize", "PRelu", "Gemm", "Cast", "pool"])
        shape = g.shape(x)
        rank, at = len(shape), int(g.random.integers(0, len(shape)))
        if kind in ("Softmax", "LogSoftmax", "Hardmax"):
            g.add(kind, [x], **g.pick([{}, {"axis": at}]))
        elif kind == "Clip":
            g.add(kind, [x], min=-0.3, max=0.8) if g.opset < 11 else g.add(kind, [x, "", g.constant(np.float32(0.5))])
        elif kind == "Pad" and g.opset < 11:
            g.add(kind, [x], pads=[int(p) for p in g.random.integers(0, 2, 2 * rank)], mode=g.pick(["constant", "edge"]), value=0.25)
        elif kind == "Slice" and g.opset < 10:
            g.add(kind, [x], axes=[at], starts=[g.pick([0, -1])], ends=[g.pick([1, 2**31 - 1, shape[at]])])
        elif kind == "TopK" and g.opset < 10:
            g.add(kind, [x], outputs=2, k=1, axis=at)
        elif kind == "Squeeze" and 1 in shape:
            g.add(kind, [x], **g.pick([{}, {"axes": [shape.index(1)]}]))
        elif kind == "Unsqueeze":
            g.add(kind, [x], axes=[0, rank])
        elif kind == "Reduce":
            g.add(g.pick(["ReduceMean", "ReduceSum", "ReduceMax"]), [x], **g.pick([{}, {"axes": [at], "keepdims": g.pick([0, 1])}]))
        elif kind == "Split":
            g.add(kind, [x], outputs=1 if shape[at] < 2 else 2, axis=at, **({} if shape[at] % 2 == 0 else {"split": [shape[at]] if shape[at] < 2 else [1, shape[at] - 1]}))
        elif kind == "BatchNormalization":
            g.add(kind, [x, *(g.new(F32, [shape[1]], as_input=False) for _ in range(3)), g.constant(np.ones(shape[1], np.float32))])
        elif kind == "Upsample" and g.opset in (7, 8):
            g.add(kind, [x], mode=g.pick(["nearest", "linear"]) if rank == 4 else "nearest", scales=[1.0, 1.0, *[2.0] * (rank - 2)])
        elif kind == "Upsample" and g.opset == 9:
            g.add(kind, [x, g.constant(np.array([1.0, 1.0, *[2.0] * (rank - 2)], np.float32))], mode="nearest")
        elif kind == "Resize" and g.opset == 10:
            g.add(kind, [x, g.constant(np.array([1.0, 1.0, *[g.pick([2.0, 0.5])] * (rank - 2)], np.float32))], mode=g.pick(["nearest", "linear"]) if rank == 4 else "nearest")
        elif kind == "Dropout":
            g.add(kind, [x])
        elif kind == "Flatten":
            g.add(kind, [x], axis=g.pick([0, 1, rank]))
        elif kind == "ArgMax":
            g.add(kind, [x], axis=at, keepdims=g.pick([0, 1]))
            g.add("Cast", [last(g)], to=F32)
        elif kind == "PRelu":
            g.add(kind, [x, g.new(F32, [shape[1], *[1] * (rank - 2)], as_input=False)])
        elif kind == "Gemm" and rank == 2:
            g.add(kind, [x, g.new(F32, [shape[1], 3], as_input=False), g.new(F32, [3], as_input=False)])
        elif kind == "Cast":
            g.add(kind, [x], to=F64)
            g.add(kind, [last(g)], to=F32)
        elif kind == "pool" and 3 <= rank <= 5:
            g.add(g.pick(["MaxPool", "AveragePool"]), [x], kernel_shape=[1] * (rank - 2), strides=[2] * (rank - 2))
        else:
            raise ValueError
        x = last(g, 2 if kind == "TopK" or kind == "Split" and len(g.nodes[-1].output) == 2 else 1)


def automatic(g):
    """auto_pad with all windows."""
    axes = g.pick([1, 2, 3])
    x = g.new(F32, [1, 2, *g.extents(axes, 1, 7)], as_input=True)
    kernel = [int(g.random.integers(1, min(4, e) + 1)) for e in g.shape(x)[2:]]
    strides = [int(g.random.integers(1, k + 1)) for k in kernel]
    pad = g.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    kind = g.pick(["Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"])
    if kind.startswith("Conv"):
        dilations = g.extents(axes, 1, 2) if kind == "Conv" and pad != "VALID" else [1] * axes
        if any(d > 1 for d in dilations):
            strides = [1] * axes
        g.add(kind, [x, g.new(F32, [2, g.pick([1, 2]), *kernel] if kind == "ConvTranspose" else [4, 2, *kernel], as_input=False)],
              auto_pad=pad, strides=strides, dilations=dilations)
    else:
        extra = {"count_include_pad": g.pick([0, 1])} if kind == "AveragePool" else {}
        g.add(kind, [x], auto_pad=pad, kernel_shape=kernel, strides=strides, **extra)


def many_channels(g):
    """Convolutions of as many channels as kernels by blocks have to do with."""
    axes = g.pick([2, 3, 3])
    group = g.pick([1, 1, 1, 2, 3])
    ins, outs = group * g.pick([1, 3, 4, 8, 9, 17]), group * g.pick([1, 2, 5, 8, 16, 19])
    kernel = g.pick([[3] * axes, [1] * axes, [2] * axes, [1, *[3] * (axes - 1)], [3, *[1] * (axes - 1)], [5] * axes])
    x = g.new(F32, [g.pick([1, 2]), ins, *(max(k, int(e)) for k, e in zip(kernel, g.random.integers(3, 9, axes)))], as_input=True)
    bias = [g.new(F32, [outs], as_input=False)] if g.chance(0.6) else []
    strides = g.pick([[1] * axes, [2] * axes, [1, *[2] * (axes - 1)]])
    if g.chance(0.6):
        dilation = g.pick([1, 1, 2]) if max(kernel) < 4 else 1
        pads = [d // 2 * dilation if g.chance(0.8) else 0 for d in kernel] * 2
        if any((k - 1) * dilation + 1 > e + 2 * p for k, e, p in zip(kernel, g.shape(x)[2:], pads)):
            raise ValueError
        g.add("Conv", [x, g.new(F32, [outs, ins // group, *kernel], as_input=False), *bias], group=group, strides=strides, pads=pads,
              dilations=[dilation] * axes)
    else:
        g.add("ConvTranspose", [x, g.new(F32, [ins, outs // group, *kernel], as_input=False), *bias], group=group, strides=strides,
              **g.pick([{}, {"pads": [0] * axes + [1] * axes} if max(kernel) > 1 else {}, {"output_padding": [s - 1 for s in strides]}]))
    if g.chance(0.5):
        g.add(g.pick(["Relu", "LeakyRelu", "Sigmoid"]), [last(g)])


OPERATORS = {made.__name__: made for made in (
    any_resize, automatic, branch, chain, fourier, from_shapes, loop, many_channels, of_the_data, older, passed_on, scan, scatter_many, scatter_nd,
    sequences, sums_of_products, ties, volume_sample,
)}
