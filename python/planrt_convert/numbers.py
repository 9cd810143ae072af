"""Results held against each other: allclose and what else there is to see, and where a difference begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import planrt

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported
import onnxruntime  # noqa: E402

Arrays = dict[str, np.ndarray[Any, Any]]


class Reference:
    """An ONNX model in ONNX Runtime, on the CPU; with every value as an output where `values` says so."""

    def __init__(self, model: Path | bytes, optimized: bool = True):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, too
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        given = model if isinstance(model, bytes) else str(model)
        self.session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self.outputs, self.session.run(None, inputs)))


def with_exact_norms(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with the means and deviations of its InstanceNormalization in float64; None where it has none.

    ONNX Runtime sums them in float32, one after the other, which over millions of voxels loses the digits that are looked for here.
    """
    typed = onnx.shape_inference.infer_shapes(model)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in [*typed.graph.value_info, *typed.graph.input]}
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    done = 0
    for number, node in enumerate(model.graph.node):
        rank = ranks.get(node.input[0], 0) if node.op_type == "InstanceNormalization" and not node.domain else 0
        if rank < 3:
            made.graph.node.add().CopyFrom(node)
            continue
        done += 1
        name, axes = f"{node.output[0]}/{number}/exact", list(range(2, rank))

        def weight(what: str, array: np.ndarray[Any, Any]) -> str:
            made.graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}/{what}"))
            return f"{name}/{what}"

        def add(kind: str, inputs: list[str], what: str, **attributes: Any) -> str:
            output = node.output[0] if what == "result" else f"{name}/{what}"
            made.graph.node.append(onnx.helper.make_node(kind, inputs, [output], **attributes))
            return output

        def mean(of: str, what: str) -> str:
            if opset >= 18:
                return add("ReduceMean", [of, weight(f"{what}_axes", np.array(axes, np.int64))], what, keepdims=1)
            return add("ReduceMean", [of], what, axes=axes, keepdims=1)

        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        channels = weight("channels", np.array([-1] + [1] * len(axes), np.int64))
        scale, bias = (
            add("Cast", [add("Reshape", [one, channels], f"{what}_shaped")], what, to=onnx.TensorProto.DOUBLE)
            for one, what in ((node.input[1], "scale"), (node.input[2], "bias"))
        )
        whole = add("Cast", [node.input[0]], "whole", to=onnx.TensorProto.DOUBLE)
        centred = add("Sub", [whole, mean(whole, "mean")], "centred")
        variance = mean(add("Mul", [centred, centred], "squares"), "variance")
        root = add("Sqrt", [add("Add", [variance, weight("epsilon", np.array(epsilon, np.float64))], "variance_epsilon")], "root")
        scaled = add("Mul", [add("Div", [centred, root], "normal"), scale], "scaled")
        add("Cast", [add("Add", [scaled, bias], "shifted")], "result", to=onnx.TensorProto.FLOAT)
    return made if done else None


def differences(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of each element in float64; 0 for the same infinity, or no number in both."""
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))


def compare(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any], rtol: float, atol: float) -> dict[str, Any]:
    """How one output differs from what was expected."""
    result: dict[str, Any] = {"rtol": rtol, "atol": atol, "shape": list(expected.shape)}
    if expected.shape != found.shape:
        return {**result, "passed": False, "why": f"its shape is {list(found.shape)}"}
    a, b = expected.astype(np.float64), found.astype(np.float64)
    difference = differences(a, b)
    with np.errstate(invalid="ignore"):
        off = (difference != 0) & (~(difference <= atol + rtol * np.abs(a)) | ~np.isfinite(difference))
    finite = difference[np.isfinite(difference)]
    result |= {
        "passed": not bool(off.any()),
        "elements": int(a.size),
        "elements_off": int(off.sum()),
        "largest_difference": float(finite.max()) if finite.size else 0.0,
        "mean_difference": float(finite.mean()) if finite.size else 0.0,
        "nan": int(np.isnan(b).sum()),
        "infinite": int(np.isinf(b).sum()),
    }
    if (labels := labels_changed(a, b)) is not None:
        result["labels_changed"] = labels
    if off.any():
        result["why"] = f"{result['elements_off']} of {a.size} elements are off"
    return result


def labels_changed(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int | None:
    """How many voxels get another label: of the largest channel, or on the other side of a half."""
    if a.ndim < 3 or not a.size:
        return None
    if a.shape[1] > 1:
        return int((a.argmax(1) != b.argmax(1)).sum())
    numbers = a[~np.isnan(a)]
    if numbers.size and numbers.min() >= 0 and numbers.max() <= 1:
        return int(((a > 0.5) != (b > 0.5)).sum())
    return None


def with_all_values(model: onnx.ModelProto) -> tuple[bytes, list[onnx.NodeProto]]:
    """The model with what each node gives as an output, and the nodes in order."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(probe)
    types = {value.name: value for value in [*inferred.graph.value_info, *inferred.graph.output]}
    del probe.graph.output[:]
    for node in probe.graph.node:
        for name in node.output:
            if name:
                probe.graph.output.append(types.get(name) or onnx.ValueInfoProto(name=name))
    return probe.SerializeToString(), list(model.graph.node)


def first_off(model: Path, inputs: Arrays, rtol: float, atol: float) -> dict[str, Any] | None:
    """The first node at which planrt on the CPU and ONNX Runtime part: its name, operator and difference."""
    probe, nodes = with_all_values(onnx.load(str(model)))
    try:
        expected = Reference(probe, optimized=False).run(inputs)
        found = planrt.Engine(probe).run(inputs)
    except Exception as error:  # a model with these outputs may be refused where the model itself is not
        return {"why": f"the values between could not be looked at: {str(error).splitlines()[0]}"}
    for node in nodes:
        for name in node.output:
            if name in expected and name in found:
                result = compare(expected[name], found[name], rtol, atol)
                if not result["passed"]:
                    return {"node": node.name, "operator": node.op_type, "value": name, **result}
    return None


def count_nan(array: np.ndarray[Any, Any]) -> int:
    return int(np.isnan(array).sum()) if array.dtype.kind in "fc" else 0


def has_infinite(value: Any) -> bool:
    """Of floating-point numbers; what else there is, as text and lists of tensors, has none."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc" and not bool(np.isfinite(value).all())


def first_nan(model: Path, inputs: Arrays) -> str:
    """Where the first NaN of a run comes from whose inputs have none, for people: weights, or the first node that makes one of numbers."""
    whole = onnx.load(str(model))
    if weights := [one.name for one in whole.graph.initializer if count_nan(onnx.numpy_helper.to_array(one))]:
        return f"the model's weights {weights[0]!r} have NaN"
    probe, nodes = with_all_values(whole)
    try:
        found = Reference(probe, optimized=False).run(inputs)
    except Exception as error:  # a model with these outputs may be refused where the model itself is not
        return f"the values between could not be looked at: {str(error).splitlines()[0]}"
    for node in nodes:
        for name in node.output:
            if name in found and isinstance(found[name], np.ndarray) and (count := count_nan(found[name])):
                infinite = [one for one in node.input if has_infinite({**inputs, **found}.get(one))]
                of = f" of {infinite[0]!r}, which has infinities" if infinite else ""
                return f"the first comes from {node.op_type} {node.name!r}{of}: {count} of {found[name].size} elements of {name!r}"
    return "the ONNX model in ONNX Runtime gives none"
