"""Which nodes must stay float32 in a plan that computes in float16.

Building a plan takes minutes. So the model is run on the CPU with each value rounded to float16, which shows where numbers leave its
range or lose their digits, and the smallest set of nodes is looked for that mends it there; only then is it built. Where that does not
do, more is kept: nodes around, then all that normalize.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .numbers import Arrays, Reference, compare

# What sums, divides and takes roots: float16 fails here first.
_NORMALIZING = {
    "InstanceNormalization", "GroupNormalization", "LayerNormalization", "BatchNormalization", "LpNormalization", "MeanVarianceNormalization",
    "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "GlobalAveragePool", "Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Sqrt",
    "Reciprocal", "Div", "Erf",
}  # fmt: skip
_MOST_RUNS = 200
# Values that are not computed, or hold no numbers to round.
_UNTOUCHED = {"Constant", "ConstantOfShape", "Shape", "Identity", "Cast"}


def rounded(model: onnx.ModelProto, keep: set[str]) -> onnx.ModelProto:
    """The model with each float32 value, weights too, as float16 has it, but for what the named nodes give."""
    typed = onnx.shape_inference.infer_shapes(model)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in [*typed.graph.value_info, *typed.graph.input, *typed.graph.output]
    }
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept_weights = {name for node in model.graph.node if node.name in keep for name in node.input}
    for weight in made.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and weight.name not in kept_weights:
            with np.errstate(over="ignore"):
                array = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    del made.graph.node[:]
    for number, node in enumerate(model.graph.node):
        copy = made.graph.node.add()
        copy.CopyFrom(node)
        if node.name in keep or node.op_type in _UNTOUCHED:
            continue
        for place, output in enumerate(node.output):
            if output and types.get(output) == TensorProto.FLOAT:
                whole, half = f"{output}/{number}/whole", f"{output}/{number}/half"
                copy.output[place] = whole
                made.graph.node.append(helper.make_node("Cast", [whole], [half], to=TensorProto.FLOAT16))
                made.graph.node.append(helper.make_node("Cast", [half], [output], to=TensorProto.FLOAT))
    return made


class Emulation:
    """The model in rounded numbers, on the CPU."""

    def __init__(self, model: onnx.ModelProto, inputs: Arrays, expected: Arrays, rtol: float, atol: float):
        self._model, self._inputs, self._expected, self._tolerance = model, inputs, expected, (rtol, atol)
        self.runs = 0

    def passes(self, keep: Iterable[str]) -> bool:
        self.runs += 1
        model = rounded(self._model, set(keep)).SerializeToString()
        found = Reference(model, optimized=False).run(self._inputs)
        return all(compare(self._expected[name], array, *self._tolerance)["passed"] for name, array in found.items())


def smallest(names: list[str], passes: Callable[[list[str]], bool], most_runs: int = _MOST_RUNS) -> list[str]:
    """A set of which none can be left out, or what is left when so many were tried; `names` as a whole must pass."""
    parts, runs = 2, 0
    while len(names) > 1 and runs < most_runs:
        size = -(-len(names) // parts)
        chunks = [names[at : at + size] for at in range(0, len(names), size)]
        for chunk in chunks:
            rest = [name for name in names if name not in set(chunk)]
            runs += 1
            if passes(rest):
                names, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(names))
    return names


def candidates(
    model: onnx.ModelProto, inputs: Arrays, expected: Arrays, rtol: float, atol: float
) -> Iterator[tuple[str, list[str]]]:
    """Sets of nodes to keep in float32, from the smallest on, each with the reason for it."""
    names = [node.name for node in model.graph.node if node.op_type not in _UNTOUCHED]
    emulation = Emulation(model, inputs, expected, rtol, atol)
    seen: list[set[str]] = []

    def fresh(keep: Iterable[str]) -> list[str]:
        chosen = set(keep)
        if not chosen or chosen in seen:
            return []
        seen.append(chosen)
        return [name for name in names if name in chosen]

    found: list[str] = []
    if not emulation.passes([]) and emulation.passes(names):
        found = smallest(names, emulation.passes)
        if keep := fresh(found):
            yield "rounded on the CPU, these are what fails", keep
        if keep := fresh(_around(model, set(found))):
            yield "and those around", keep
    normalizing = [node.name for node in model.graph.node if node.op_type in _NORMALIZING]
    if keep := fresh([*found, *normalizing]):
        yield "all that normalize", keep
    if keep := fresh(_around(model, {*found, *normalizing})):
        yield "and those around", keep


def _around(model: onnx.ModelProto, names: set[str]) -> set[str]:
    """These nodes, what they read and what reads them."""
    inside = [node for node in model.graph.node if node.name in names]
    read, given = {name for node in inside for name in node.input}, {name for node in inside for name in node.output}
    return names | {
        node.name for node in model.graph.node if node.op_type not in _UNTOUCHED and (read.intersection(node.output) or given.intersection(node.input))
    }

