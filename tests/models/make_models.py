#!/usr/bin/env python3
"""Writes the models that the tests run: small 3D networks with random weights, the operators of segmentation in them.

    make_models.py FOLDER

Each function decorated with @model is one network and says what it is there for. Their weights follow from their names,
so every machine tests the same numbers.
"""

import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
MODELS = []


def model(make):
    MODELS.append(make)
    return make


class Net:
    """A graph under construction. Operators take and give names of tensors."""

    def __init__(self, name: str, opset: int = 13):
        self.name, self.opset = name, opset
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []

    def input(self, name, shape, element_type=FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, element_type, shape))
        return name

    def output(self, name, tensor, shape, element_type=FLOAT):
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, element_type, shape))

    def op(self, kind, *inputs, **attributes):
        out = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def constant(self, array):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def noise(self, *shape, scale=1.0, mean=0.0):
        return self.constant((mean + scale * self.random.standard_normal(shape)).astype(np.float32))

    def conv(self, x, channels_in, channels_out, kernel=3, stride=1, dilation=1, group=1):
        fan_in = channels_in // group * kernel**3
        weights = self.noise(channels_out, channels_in // group, kernel, kernel, kernel, scale=math.sqrt(2 / fan_in))
        bias = self.noise(channels_out, scale=0.1)
        sizes = {"kernel_shape": [kernel] * 3, "strides": [stride] * 3, "dilations": [dilation] * 3}
        return self.op("Conv", x, weights, bias, pads=[dilation * (kernel // 2)] * 6, group=group, **sizes)

    def up(self, x, channels_in, channels_out):
        """A transposed convolution that doubles the resolution."""
        weights = self.noise(channels_in, channels_out, 2, 2, 2, scale=math.sqrt(2 / channels_in))
        return self.op("ConvTranspose", x, weights, kernel_shape=[2] * 3, strides=[2] * 3)

    def per_channel(self, channels):
        """A scale near one and a bias near zero, for a normalization."""
        return self.noise(channels, scale=0.1, mean=1), self.noise(channels, scale=0.1)

    def instance_norm(self, x, channels):
        return self.op("InstanceNormalization", x, *self.per_channel(channels), epsilon=1e-5)

    def batch_norm(self, x, channels):
        mean = self.noise(channels, scale=0.1)
        variance = self.constant(self.random.uniform(0.5, 1.5, channels).astype(np.float32))
        return self.op("BatchNormalization", x, *self.per_channel(channels), mean, variance, epsilon=1e-5)

    def prelu(self, x, channels):
        return self.op("PRelu", x, self.noise(channels, 1, 1, 1, scale=0.1, mean=0.25))

    def resize(self, x, factor, **attributes):
        scales = self.constant(np.array([1, 1, factor, factor, factor], np.float32))
        return self.op("Resize", x, "", scales, mode="linear", **attributes)

    def save(self, folder: Path):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10 if self.opset > 20 else 8)
        onnx.checker.check_model(made)
        onnx.save(made, folder / f"{self.name}.onnx")


def volume(channels, size, batch="batch"):
    return [batch, channels, size, size, size]


@model
def small():
    """What the C and C++ programs run: quick even under valgrind."""
    net = Net("small")
    x = net.op("Relu", net.conv(net.input("image", volume(1, 8)), 1, 4))
    net.output("prob", net.op("Softmax", net.conv(x, 4, 2, kernel=1), axis=1), volume(2, 8))
    return net


@model
def tiny():
    """Hardly any work, so that what is around it shows: small's tensors, one convolution of one voxel."""
    net = Net("tiny")
    net.output("prob", net.conv(net.input("image", volume(1, 8)), 1, 2, kernel=1), volume(2, 8))
    return net


@model
def third():
    """A third of each voxel: the last bit tells how it was rounded, and of the smallest numbers whether they are kept."""
    net = Net("third")
    x = net.op("Div", net.input("image", volume(1, 8)), net.constant(np.float32(3)))
    net.output("prob", net.op("Concat", x, x, axis=1), volume(2, 8))
    return net


@model
def many():
    """300 classes, each the largest where the voxel is its number: 2cx - c² is x² less the distance's square."""
    net = Net("many")
    classes = np.arange(300, dtype=np.float32)
    weights = net.constant((2 * classes).reshape(300, 1, 1, 1, 1))
    scores = net.op("Conv", net.input("image", volume(1, 4)), weights, net.constant(-(classes**2)), kernel_shape=[1] * 3)
    net.output("prob", scores, volume(300, 4))
    return net


@model
def logarithm():
    """Of voxels, and so no number where one is negative: the first of two classes wins above 1."""
    net = Net("logarithm")
    x = net.op("Log", net.input("image", volume(1, 8)))
    net.output("prob", net.op("Concat", x, net.op("Neg", x), axis=1), volume(2, 8))
    return net


@model
def slow():
    """Long enough, a second or so, to be cancelled and to be caught in use. Nothing runs it to its end for its result."""
    net = Net("slow")
    x = net.conv(net.input("image", volume(1, 64)), 1, 24)
    for _ in range(8):
        x = net.op("Relu", net.conv(x, 24, 24))
    net.output("prob", net.op("Sigmoid", net.conv(x, 24, 1, kernel=1)), volume(1, 64))
    return net


@model
def unet_instance():
    """An nnU-Net in small: strided and transposed convolutions, instance norm, leaky ReLU, two outputs."""
    net = Net("unet_instance")

    def block(x, channels_in, channels_out, stride=1):
        x = net.instance_norm(net.conv(x, channels_in, channels_out, stride=stride), channels_out)
        return net.op("LeakyRelu", x, alpha=0.01)

    top = block(net.input("image", volume(2, 16)), 2, 6)
    middle = block(top, 6, 12, stride=2)
    bottom = block(middle, 12, 24, stride=2)
    middle = block(net.op("Concat", net.up(bottom, 24, 12), middle, axis=1), 24, 12)
    top = block(net.op("Concat", net.up(middle, 12, 6), top, axis=1), 12, 6)
    net.output("prob", net.op("Softmax", net.conv(top, 6, 3, kernel=1), axis=1), volume(3, 16))
    net.output("coarse", net.op("Softmax", net.conv(middle, 12, 3, kernel=1), axis=1), volume(3, 8))
    return net


@model
def unet_batch():
    """A MONAI-like U-Net: batch norm, PReLU, max-pool, trilinear upsampling, a residual sum."""
    net = Net("unet_batch")

    def block(x, channels_in, channels_out):
        return net.prelu(net.batch_norm(net.conv(x, channels_in, channels_out), channels_out), channels_out)

    top = block(net.input("image", volume(1, 16)), 1, 8)
    bottom = block(net.op("MaxPool", top, kernel_shape=[2] * 3, strides=[2] * 3), 8, 8)
    bottom = net.op("Add", block(bottom, 8, 8), bottom)
    bottom = net.resize(bottom, 2, coordinate_transformation_mode="half_pixel")
    top = block(net.op("Concat", bottom, top, axis=1), 16, 8)
    net.output("prob", net.op("Sigmoid", net.conv(top, 8, 1, kernel=1)), volume(1, 16))
    return net


@model
def group_norm_primitive():
    """Group norm as PyTorch exports it: reshaped to groups, instance norm, reshaped back, scaled and shifted."""
    net = Net("group_norm_primitive")
    x = net.conv(net.input("image", volume(1, 8)), 1, 8)
    ones, zeros = net.constant(np.ones(4, np.float32)), net.constant(np.zeros(4, np.float32))
    groups = net.op("Reshape", x, net.constant(np.array([0, 4, -1], np.int64)))
    groups = net.op("InstanceNormalization", groups, ones, zeros, epsilon=1e-5)
    x = net.op("Reshape", groups, net.op("Shape", x))
    x = net.op("Mul", x, net.noise(8, 1, 1, 1, scale=0.1, mean=1))
    x = net.op("Relu", net.op("Add", x, net.noise(8, 1, 1, 1, scale=0.1)))
    net.output("features", net.conv(x, 8, 2, kernel=1), volume(2, 8))
    return net


@model
def group_norm():
    """Group norm as one operator. Opset 21 has it; 18's, with a scale a group, was withdrawn."""
    net = Net("group_norm", opset=21)
    x = net.conv(net.input("image", volume(1, 8)), 1, 8)
    x = net.op("GroupNormalization", x, *net.per_channel(8), num_groups=4, epsilon=1e-5)
    net.output("features", net.conv(net.op("Relu", x), 8, 2, kernel=1), volume(2, 8))
    return net


@model
def resize_align_corners():
    """Trilinear resizing the other way, and to a quarter as well as to the double."""
    net = Net("resize_align_corners")
    x = net.conv(net.input("image", volume(1, 8)), 1, 4)
    x = net.resize(x, 2, coordinate_transformation_mode="align_corners")
    x = net.resize(net.conv(x, 4, 4), 0.25, coordinate_transformation_mode="half_pixel")
    net.output("features", x, volume(4, 4))
    return net


@model
def any_size():
    """Batch and all three spatial axes open, with resolutions that go down and up again."""
    net = Net("any_size")
    shape = ["batch", 1, "depth", "height", "width"]
    top = net.op("Relu", net.conv(net.input("image", shape), 1, 4))
    bottom = net.op("Relu", net.conv(net.op("AveragePool", top, kernel_shape=[2] * 3, strides=[2] * 3), 4, 8))
    top = net.op("Concat", net.up(bottom, 8, 4), top, axis=1)
    net.output("prob", net.op("Softmax", net.conv(top, 8, 2), axis=1), ["batch", 2, "depth", "height", "width"])
    return net


@model
def attention():
    """Squeeze and excitation, depthwise and dilated convolutions, SiLU: the operators of newer encoders."""
    net = Net("attention")
    x = net.conv(net.input("image", volume(2, 8)), 2, 8)
    x = net.op("Mul", x, net.op("Sigmoid", x))
    x = net.op("Add", net.conv(x, 8, 8, group=8), net.conv(x, 8, 8, dilation=2))
    weights = net.op("GlobalAveragePool", x)
    weights = net.op("Relu", net.conv(weights, 8, 2, kernel=1))
    weights = net.op("Sigmoid", net.conv(weights, 2, 8, kernel=1))
    net.output("features", net.conv(net.op("Mul", x, weights), 8, 2, kernel=1), volume(2, 8))
    return net


@model
def labels():
    """Classes in, a label map out, as int64."""
    net = Net("labels")
    x = net.conv(net.input("image", volume(1, 8)), 1, 4)
    net.output("label", net.op("ArgMax", x, axis=1, keepdims=1), volume(1, 8), TensorProto.INT64)
    return net


@model
def places():
    """An output whose shape depends on the data: where the image is not zero."""
    net = Net("places")
    net.output("found", net.op("NonZero", net.input("image", ["height", 8])), [2, "count"], TensorProto.INT64)
    return net


@model
def fixed_batch():
    """A batch that is fixed in the model, and is not one."""
    net = Net("fixed_batch")
    x = net.op("Relu", net.conv(net.input("image", volume(1, 8, batch=2)), 1, 4))
    net.output("features", net.conv(x, 4, 2, kernel=1), volume(2, 8, batch=2))
    return net


@model
def half():
    """float16 at both ends: the caller may give and take float32."""
    net = Net("half")
    x = net.op("Cast", net.input("image", volume(1, 8), TensorProto.FLOAT16), to=FLOAT)
    x = net.op("Softmax", net.conv(net.op("Relu", net.conv(x, 1, 4)), 4, 2, kernel=1), axis=1)
    net.output("prob", net.op("Cast", x, to=TensorProto.FLOAT16), volume(2, 8), TensorProto.FLOAT16)
    return net


@model
def other_types():
    """Every other element type that ONNX gives a tensor of a medical network, in and out."""
    net = Net("other_types")
    shape = ["batch", 4, 6]
    for name, element_type, one in [
        ("int64", TensorProto.INT64, np.int64(1)),
        ("int32", TensorProto.INT32, np.int32(1)),
    ]:
        x = net.op("Add", net.input(f"{name}_in", shape, element_type), net.constant(one))
        net.output(f"{name}_out", x, shape, element_type)
    for name, element_type in [("uint8", TensorProto.UINT8), ("int8", TensorProto.INT8)]:
        x = net.op("Transpose", net.input(f"{name}_in", shape, element_type), perm=[0, 2, 1])
        net.output(f"{name}_out", x, ["batch", 6, 4], element_type)
    x = net.op("Not", net.input("bool_in", shape, TensorProto.BOOL))
    net.output("bool_out", x, shape, TensorProto.BOOL)
    return net


def plan(version, compute_capability):
    """The beginning of a TensorRT plan as 8.5 writes it, before a body of noise: sound as far as planrt's own look at
    the header goes, which is what there is to test without TensorRT."""
    header = b"".join(b"\x02\x80\x01\x00" + struct.pack("<B", number) for number in version)
    header += b"\x12\x80\x01\x00\x10\x80\x01\x00"
    header += b"".join(b"\x07\x80\x01\x00" + struct.pack("<i", number) for number in compute_capability)
    header = header.ljust(0xE8, b"\0")
    body = np.random.default_rng(8).bytes(4096)
    return b"ptrt" + struct.pack("<IQQ", 0, 0xE8, len(header + body)) + header + body


def whole(head):
    """A plan of which only the beginning is kept (tests/plans), with a body of noise as long as its header says."""
    size = 24 + struct.unpack_from("<Q", head, 16)[0]
    return head + np.random.default_rng(9).bytes(size - len(head))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for make in MODELS:
        make().save(folder)
    (folder / "synthetic.plan").write_bytes(plan((8, 5, 3, 1), (9, 0)))
    heads = sorted((Path(__file__).resolve().parent.parent / "plans").glob("*.head"))
    for head in heads:
        (folder / f"{head.stem}.plan").write_bytes(whole(head.read_bytes()))
    print(f"{len(MODELS)} models and {1 + len(heads)} plans in {folder}")


if __name__ == "__main__":
    main()
