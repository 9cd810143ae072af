"""The last 1×1×1 convolution of a model, folded out of it: what is left gives the convolution's features, and whoever blends tiles of them
applies it afterwards. Blending and resampling are weighted means, so that the result is the same, and memory does not grow with the classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .numbers import Arrays
from .problem import Problem
from .source import prune

# What changes nothing on the way from the convolution to the output.
_NOTHING = {"Identity"}
_ACTIVATIONS = {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "HardSigmoid", "Clip"}


@dataclasses.dataclass
class Head:
    """`output` is `weights`, of [channel, feature], times `input`, and `biases`, one a channel."""

    input: str
    output: str
    weights: np.ndarray[Any, Any]
    biases: np.ndarray[Any, Any]

    def described(self, file: str) -> dict[str, Any]:
        """As the passport has it."""
        channels, features = self.weights.shape
        return {"file": file, "features": features, "channels": channels, "input": self.input, "output": self.output}

    def save(self, file: Path) -> None:
        file.write_bytes(np.concatenate([self.weights.ravel(), self.biases]).astype("<f4").tobytes())

    @staticmethod
    def load(file: Path, described: dict[str, Any]) -> Head:
        values, shape = np.frombuffer(file.read_bytes(), "<f4"), (described["channels"], described["features"])
        count = shape[0] * shape[1]
        return Head(described["input"], described["output"], values[:count].reshape(shape), values[count:])

    def apply(self, found: Arrays) -> Arrays:
        """What the whole model gives, of what the folded one does."""
        features = found[self.input].astype(np.float64)
        channels = np.moveaxis(np.tensordot(self.weights.astype(np.float64), features, axes=(1, 1)), 0, 1)
        channels += self.biases.reshape(1, -1, *[1] * (features.ndim - 2))
        return {self.output: channels.astype(np.float32)}


def fold(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Head]:
    """The model without its last convolution, and that."""
    if len(model.graph.output) != 1:
        names = ", ".join(repr(output.name) for output in model.graph.output)
        raise Problem(f"--fold-head takes a model with one output, and this one gives {names}")
    (output,) = model.graph.output
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get(output.name)
    while node is not None and node.op_type in _NOTHING and not node.domain:
        node = producers.get(node.input[0])
    if node is None or node.op_type != "Conv" or node.domain:
        kind = "nothing" if node is None else node.op_type
        why = "it is the recipe's to say what is done to its values, and probabilities that are blended cannot be made of blended features" if kind in _ACTIVATIONS else "a convolution is looked for"
        raise Problem(f"--fold-head takes a model that ends with a 1x1x1 convolution, and {output.name!r} comes from {kind}: {why}")
    if reason := _is_more(node):
        raise Problem(f"--fold-head takes a model that ends with a 1x1x1 convolution: the last one, {node.name!r}, has {reason}")
    constants = _constants(model)
    arrays = [constants.get(name) for name in node.input[1:] if name]
    if any(array is None for array in arrays):
        raise Problem(f"--fold-head: the weights of the last convolution, {node.name!r}, are computed")
    weights = arrays[0]
    if any(array.dtype != np.float32 for array in arrays):
        raise Problem(f"--fold-head: the weights of the last convolution, {node.name!r}, are {weights.dtype}, and not float32")
    if weights.ndim not in (4, 5) or any(extent != 1 for extent in weights.shape[2:]):
        raise Problem(f"--fold-head takes a model that ends with a 1x1x1 convolution: the last one, {node.name!r}, has weights of {list(weights.shape)}")
    channels, features = weights.shape[:2]
    if node.input[0] not in producers:
        raise Problem("--fold-head: but for its last convolution there is nothing in the model")
    biases = arrays[1] if len(arrays) > 1 else np.zeros(channels, np.float32)
    head = Head(node.input[0], output.name, weights.reshape(channels, features).copy(), biases.copy())
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    (given,) = folded.graph.output
    given.name = head.input
    given.type.tensor_type.elem_type = TensorProto.FLOAT
    # Those of the features are the output's, but for the channels.
    if len(given.type.tensor_type.shape.dim) == weights.ndim:
        given.type.tensor_type.shape.dim[1].Clear()
        given.type.tensor_type.shape.dim[1].dim_value = features
    kept = [value for value in folded.graph.value_info if value.name not in (head.input, output.name)]
    del folded.graph.value_info[:]
    folded.graph.value_info.extend(kept)
    prune(folded)
    return folded, head


def _is_more(node: onnx.NodeProto) -> str | None:
    """What makes it something else than a matrix for each voxel."""
    for attribute in node.attribute:
        if attribute.name in ("kernel_shape", "strides") and any(extent != 1 for extent in attribute.ints):
            return f"{attribute.name} {list(attribute.ints)}"
        if attribute.name == "pads" and any(attribute.ints):
            return f"pads {list(attribute.ints)}"
        if attribute.name == "group" and attribute.i != 1:
            return f"{attribute.i} groups"
    return None


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """What is no result of the inputs, under each of its names."""
    found = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def near_ties(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> str | None:
    """Of voxels that get another label, how far apart the two largest channels are at most."""
    if expected.shape != found.shape or expected.ndim < 3 or expected.shape[1] < 2:
        return None
    changed = expected.argmax(1) != found.argmax(1)
    if not changed.any():
        return "no label changes"
    two = np.sort(expected, axis=1)[:, -2:]
    apart = float((two[:, 1] - two[:, 0])[changed].max())
    return f"{int(changed.sum())} labels change, where the two largest channels are {apart:.3g} apart or less"
