#!/usr/bin/env python3
"""Writes a 3D U-Net of random weights as ONNX, for timing and for numerics; a stand-in of any size for a segmentation network.

usage: make_unet.py OUT.onnx FILTERS LEVELS DxHxW NORM [REFERENCE]
NORM: bn (BatchNormalization), in (InstanceNormalization), ind (the same from primitive operators).
REFERENCE: also writes REFERENCE.x and REFERENCE.y, float32 input (2,1,D,H,W) and ONNX Runtime's CPU output.
Input INPUT__0 (batch,1,D,H,W), output OUTPUT__0 (batch,2,D,H,W), softmax over two channels; the batch axis is dynamic.
"""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

out, filters, levels = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
D, H, W = map(int, sys.argv[4].split("x"))
norm = sys.argv[5]
rng = np.random.default_rng(0)
nodes, weights = [], []


def weight(name, shape, value=None):
    a = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) if value is None else np.full(shape, value)
    weights.append(numpy_helper.from_array(a.astype(np.float32), name))
    return name


def op(kind, inputs, output, **attributes):
    nodes.append(helper.make_node(kind, inputs, [output], **attributes))
    return output


def conv(x, c_in, c_out, name, stride=1, k=3):
    return op("Conv", [x, weight(name + "_w", (c_out, c_in, k, k, k)), weight(name + "_b", (c_out,), 0.01)], name,
              kernel_shape=[k] * 3, pads=[k // 2] * 6, strides=[stride] * 3)


def normalize(x, c, n):
    if norm == "in":
        return op("InstanceNormalization", [x, weight(n + "_s", (c,), 1), weight(n + "_o", (c,), 0)], n + "_n")
    if norm == "bn":
        return op("BatchNormalization", [x, weight(n + "_s", (c,), 1), weight(n + "_o", (c,), 0),
                                         weight(n + "_m", (c,), 0.1), weight(n + "_v", (c,), 0.9)], n + "_n")
    if not any(w.name == "eps" for w in weights):
        weights.append(numpy_helper.from_array(np.array(1e-5, np.float32), "eps"))
    op("ReduceMean", [x], n + "_mu", axes=[2, 3, 4], keepdims=1)
    op("Sub", [x, n + "_mu"], n + "_xc")
    op("Mul", [n + "_xc", n + "_xc"], n + "_sq")
    op("ReduceMean", [n + "_sq"], n + "_var", axes=[2, 3, 4], keepdims=1)
    op("Add", [n + "_var", "eps"], n + "_ve")
    op("Sqrt", [n + "_ve"], n + "_sd")
    return op("Div", [n + "_xc", n + "_sd"], n + "_n")


def block(x, c_in, c_out, name, stride=1):
    return op("LeakyRelu", [normalize(conv(x, c_in, c_out, name, stride), c_out, name)], name + "_a", alpha=0.01)


channels = [min(320, filters * 2**i) for i in range(levels)]
skips, x, c = [], "INPUT__0", 1
for i, n in enumerate(channels):
    x = block(block(x, c, n, f"e{i}a", 1 if i == 0 else 2), n, n, f"e{i}b")
    skips.append(x)
    c = n
for i in reversed(range(levels - 1)):
    up = op("ConvTranspose", [x, weight(f"u{i}_w", (channels[i + 1], channels[i], 2, 2, 2))], f"u{i}",
            kernel_shape=[2] * 3, strides=[2] * 3)
    x = op("Concat", [up, skips[i]], f"k{i}", axis=1)
    x = block(block(x, 2 * channels[i], channels[i], f"d{i}a"), channels[i], channels[i], f"d{i}b")
op("Softmax", [conv(x, filters, 2, "o", k=1)], "OUTPUT__0", axis=1)

model = helper.make_model(
    helper.make_graph(nodes, "unet3d",
                      [helper.make_tensor_value_info("INPUT__0", TensorProto.FLOAT, ["batch_size", 1, D, H, W])],
                      [helper.make_tensor_value_info("OUTPUT__0", TensorProto.FLOAT, ["batch_size", 2, D, H, W])], weights),
    opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
onnx.checker.check_model(model)
onnx.save(model, out)
print(out, sum(int(np.prod(w.dims)) for w in weights), "parameters")
if len(sys.argv) > 6:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    import onnxruntime
    x = np.random.default_rng(1).standard_normal((2, 1, D, H, W)).astype(np.float32)
    y = onnxruntime.InferenceSession(out).run(None, {"INPUT__0": x})[0]
    x.tofile(sys.argv[6] + ".x")
    y.tofile(sys.argv[6] + ".y")
