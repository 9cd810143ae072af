#!/usr/bin/env python3
"""Turns deepbrain's brain mask network into ONNX, without TensorFlow.

    deepbrain_to_onnx.py GRAPH_PB_OR_WHEEL OUT.onnx

The first argument is `deepbrain/models/graph.pb`, or the wheel of PyPI's `deepbrain==0.1` (MIT) that holds it:
`pip download --no-deps deepbrain==0.1`. What is needed beside Python is in requirements.txt.

The network takes `image` (batch, 1, 128, 128, 128), float32: a T1 head whose axes run to the right, anterior and
superior, resized to 128 voxels a side and divided by its maximum. It gives `prob` of the same shape: the probability of
brain, voxel by voxel.
"""

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper
from tensorboard.compat.proto import graph_pb2
from tensorboard.util import tensor_util

GRAPH_IN_WHEEL = "deepbrain/models/graph.pb"
SIZE = 128

# Opset 13 and IR 7 are old enough for every runtime in use, TensorRT 8.5 among them.
OPSET = 13
IR_VERSION = 7

# TensorFlow keeps the channels last (NDHWC), ONNX keeps them second (NCDHW).
CONV_WEIGHTS = (4, 3, 0, 1, 2)  # DHWIO -> OIDHW for a convolution, DHWOI -> IODHW for a transposed one


class ConversionError(Exception):
    pass


def read_graph(path: Path) -> graph_pb2.GraphDef:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            if GRAPH_IN_WHEEL not in wheel.namelist():
                raise ConversionError(f"{path} holds no {GRAPH_IN_WHEEL}: is it the wheel of deepbrain 0.1?")
            data = wheel.read(GRAPH_IN_WHEEL)
    else:
        data = path.read_bytes()
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(data)
    except DecodeError as error:
        raise ConversionError(f"{path} is neither a frozen TensorFlow graph nor a wheel: {error}") from error
    return graph


class Converter:
    """Walks from an output of the TensorFlow graph back to its input and writes each operator met on the way.

    Walking back leaves out what inference does not need: the input pipeline, and the training branch of each dropout.
    """

    def __init__(self, graph: graph_pb2.GraphDef, tf_input: str, onnx_input: str):
        self.tf_nodes = {node.name: node for node in graph.node}
        self.onnx_names = {tf_input: onnx_input}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.writers = {
            "BiasAdd": self.bias_add,
            "ConcatV2": self.concat,
            "Conv3DBackpropInputV2": self.transposed_convolution,
            "MaxPool3D": self.max_pool,
            "Merge": self.dropout,
            "Relu": self.elementwise,
            "Sigmoid": self.elementwise,
        }

    def tensor(self, tf_name: str) -> str:
        """The ONNX name of a TensorFlow tensor, after writing what computes it."""
        if tf_name not in self.onnx_names:
            node = self.node(tf_name)
            writer = self.writers.get(node.op)
            if writer is None:
                raise ConversionError(f"node {node.name}: no conversion for {node.op}")
            self.onnx_names[tf_name] = writer(node)
        return self.onnx_names[tf_name]

    def node(self, tf_name: str):
        try:
            return self.tf_nodes[tf_name]
        except KeyError:
            raise ConversionError(f"the graph has no node {tf_name}: is it deepbrain's?") from None

    def constant(self, tf_name: str) -> np.ndarray:
        node = self.node(tf_name)
        while node.op == "Identity":
            node = self.node(node.input[0])
        if node.op != "Const":
            raise ConversionError(f"node {node.name}: expected a constant, found {node.op}")
        return tensor_util.make_ndarray(node.attr["value"].tensor)

    def emit(self, op: str, node, inputs: list[str], **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [node.name], name=node.name, **attributes))
        return node.name

    def initializer(self, name: str, array: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def bias_add(self, node) -> str:
        """A convolution and its bias, which are one operator in ONNX."""
        convolution = self.node(node.input[0])
        if convolution.op != "Conv3D":
            raise ConversionError(f"node {node.name}: expected the bias of a Conv3D, found that of {convolution.op}")
        expect(convolution, data_format=b"NDHWC", padding=b"SAME", strides=[1] * 5, dilations=[1] * 5)
        weights = self.constant(convolution.input[1])
        kernel = weights.shape[:3]
        if any(k % 2 == 0 for k in kernel):
            raise ConversionError(f"node {convolution.name}: an even kernel, {kernel}, needs uneven padding")
        return self.emit(
            "Conv",
            node,
            [
                self.tensor(convolution.input[0]),
                self.initializer(f"{convolution.name}/weights", weights.transpose(CONV_WEIGHTS)),
                self.initializer(f"{node.name}/bias", self.constant(node.input[1])),
            ],
            kernel_shape=kernel,
            pads=[k // 2 for k in kernel] * 2,
        )

    def transposed_convolution(self, node) -> str:
        expect(node, data_format=b"NDHWC", padding=b"SAME", strides=[1, 2, 2, 2, 1], dilations=[1] * 5)
        weights = self.constant(node.input[1])
        kernel = weights.shape[:3]
        # It is the gradient of a SAME convolution from 2n voxels to n, which pads kernel - 2 voxels in all, the odd one
        # at the end. With kernel 3 that is one voxel at the end and none at the start, and here they are cropped off.
        pads = [k - 2 for k in kernel]
        begin = [p // 2 for p in pads]
        end = [p - b for p, b in zip(pads, begin)]
        return self.emit(
            "ConvTranspose",
            node,
            [
                self.tensor(node.input[2]),
                self.initializer(f"{node.name}/weights", weights.transpose(CONV_WEIGHTS)),
            ],
            kernel_shape=kernel,
            strides=[2, 2, 2],
            pads=begin + end,
        )

    def max_pool(self, node) -> str:
        expect(node, data_format=b"NDHWC", padding=b"VALID", strides=[1, 2, 2, 2, 1], ksize=[1, 2, 2, 2, 1])
        return self.emit("MaxPool", node, [self.tensor(node.input[0])], kernel_shape=[2, 2, 2], strides=[2, 2, 2])

    def concat(self, node) -> str:
        *parts, axis = node.input
        if self.constant(axis) not in (-1, 4):
            raise ConversionError(f"node {node.name}: a concatenation that is not over channels")
        return self.emit("Concat", node, [self.tensor(part) for part in parts], axis=1)

    def dropout(self, node) -> str:
        """tf.layers.dropout: a Switch sends the tensor to the training or the inference branch, and a Merge joins them.
        The inference branch is an Identity behind the Switch, so the Merge is what went into the Switch."""
        identity = self.node(node.input[0])
        switch = self.node(identity.input[0]) if identity.op == "Identity" else identity
        if switch.op != "Switch":
            raise ConversionError(f"node {node.name}: a Merge that is no dropout")
        return self.tensor(switch.input[0])

    def elementwise(self, node) -> str:
        return self.emit(node.op, node, [self.tensor(node.input[0])])


def expect(node, **attributes):
    """Refuses what the conversion of a node relies on and does not find."""
    for name, expected in attributes.items():
        value = node.attr[name]
        found = list(value.list.i) if value.HasField("list") else value.s
        if found != expected:
            raise ConversionError(f"node {node.name}: {name} is {found}, expected {expected}")


def convert(graph: graph_pb2.GraphDef) -> onnx.ModelProto:
    converter = Converter(graph, tf_input="img", onnx_input="image")
    prob = converter.tensor("prob")
    shape = ["batch", 1, SIZE, SIZE, SIZE]
    model = helper.make_model(
        helper.make_graph(
            converter.nodes,
            "deepbrain",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(prob, TensorProto.FLOAT, shape)],
            converter.initializers,
        ),
        producer_name="planrt deepbrain_to_onnx.py",
        doc_string="Brain mask of a T1 head. Converted from deepbrain 0.1 by Ivan Itzcovich, MIT licence.",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, metavar="GRAPH_PB_OR_WHEEL")
    parser.add_argument("out", type=Path, metavar="OUT.onnx")
    arguments = parser.parse_args()
    try:
        model = convert(read_graph(arguments.graph))
        onnx.save(model, str(arguments.out))
    except (ConversionError, OSError) as error:
        print(f"deepbrain_to_onnx: {error}", file=sys.stderr)
        return 1
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    print(f"{arguments.out}: {len(model.graph.node)} nodes, {weights:,} weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
