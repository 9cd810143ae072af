"""Which operators became which: by their results, since names do not last."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from .numbers import Reference, differences, with_all_values
from .source import Source, as_tensors

_LARGEST_PROBE = 64
_PLUMBING = ("Constant", "Identity")


def operators(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """How many nodes there are of each operator."""
    counts = collections.Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in model.graph.node)
    return [{"operator": name, "count": count} for name, count in counts.most_common()]


def probes(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray[Any, Any]]
) -> Iterator[tuple[onnx.ModelProto, dict[str, np.ndarray[Any, Any]]]]:
    """The model with a middle part of the inputs, which is enough to see what each node does and takes less memory, then the whole."""
    if any(extent > _LARGEST_PROBE for array in inputs.values() for extent in array.shape[2:]):
        freed = onnx.ModelProto()
        freed.CopyFrom(model)
        for value in [*freed.graph.input, *freed.graph.output]:
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if axis >= 2:
                    dim.dim_param = f"{value.name}_{axis}"
        del freed.graph.value_info[:]
        cut = {}
        for name, array in inputs.items():
            begins = [max(0, extent - _LARGEST_PROBE) // 2 for extent in array.shape[2:]]
            place = tuple(slice(begin, begin + _LARGEST_PROBE) for begin in begins)
            cut[name] = np.ascontiguousarray(array[(slice(None), slice(None), *place)] if array.ndim > 2 else array)
        yield freed, cut
    yield model, inputs


def _graph_of(source: Source, example: tuple[Any, ...]) -> Any:
    """A module's TorchScript, with all that it calls written out."""
    import torch

    script = source.module
    if source.kind != "TorchScript":
        script = torch.jit.trace(script, tuple(one.clone() for one in example), check_trace=False)
    frozen = torch.jit.freeze(script.eval(), optimize_numerics=False)
    graph = frozen.graph.copy()
    torch._C._jit_pass_inline(graph)
    torch._C._jit_pass_remove_mutation(graph)
    if not list(next(graph.inputs()).uses()):
        graph.eraseInput(0)
    return graph


def _values_of(source: Source, example: tuple[Any, ...]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """What each aten operator of a model gives, in order."""
    import torch

    graph = _graph_of(source, example)
    kinds, values = [], []
    for node in graph.nodes():
        if node.kind().startswith("aten::"):
            for output in node.outputs():
                if output.type().isSubtypeOf(torch._C.TensorType.get()):
                    kinds.append(node.kind().removeprefix("aten::"))
                    values.append(output)
    tuple_node = graph.create("prim::TupleConstruct", values, 1)
    tuple_node.output().setType(torch._C.TupleType([value.type() for value in values]))
    graph.appendNode(tuple_node)
    while list(graph.outputs()):
        graph.eraseOutput(0)
    graph.registerOutput(tuple_node.output())
    with torch.no_grad():
        results = torch._C._create_function_from_graph("probe", graph)(*example)
    return [(kind, value.numpy()) for kind, value in zip(kinds, results)]


def mapping(
    source: Source, model: onnx.ModelProto, inputs: dict[str, np.ndarray[Any, Any]], rtol: float, atol: float
) -> dict[str, Any]:
    """Every aten operator with the ONNX nodes that it became: those between the values that both have.

    The first operator that is left without its like in the ONNX model is where it went wrong.
    """
    torch_values = _values_of(source, tuple(as_tensors(inputs)))
    probe, nodes = with_all_values(model)
    onnx_values = Reference(probe, optimized=False).run(inputs)
    producers = {name: node for node in nodes for name in node.output}
    used: set[str] = set()
    matched: list[tuple[str, str | None, float]] = []
    for kind, value in torch_values:
        best = None
        for name, other in onnx_values.items():
            if name in used or other.shape != value.shape or other.dtype != value.dtype:
                continue
            if np.allclose(other, value, rtol, atol, equal_nan=True):
                best = name
                break
        if best is not None:
            used.add(best)
        difference = float(differences(value, onnx_values[best]).max()) if best and value.size else 0.0
        matched.append((kind, best, difference))
    taken: set[int] = set()
    rows = []
    for kind, name, difference in matched:
        row: dict[str, Any] = {"torch": kind, "onnx": [], "nodes": [], "largest_difference": difference, "matched": name is not None}
        waiting, seen = [name] if name else [], set()
        while waiting:
            value_name = waiting.pop()
            node = producers.get(value_name)
            if node is None or value_name in seen:
                continue
            seen.add(value_name)
            if id(node) not in taken:
                taken.add(id(node))
                if node.op_type not in _PLUMBING:
                    row["onnx"].insert(0, node.op_type)
                    row["nodes"].insert(0, node.name)
            waiting += [below for below in node.input if below not in used]
        rows.append(row)
    return summed_up(joined(rows))


def joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with those operators that have no like, and are followed by one that has, as parts of that: a convolution and its
    BatchNorm become one convolution. Where an operator went wrong, what follows has no like either."""
    made: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for row in rows:
        if not row["matched"]:
            waiting.append(row)
            continue
        made.append({**row, "torch": " + ".join(one["torch"] for one in [*waiting, row])})
        waiting = []
    return made + waiting


def summed_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary = collections.Counter((row["torch"], " + ".join(row["onnx"]) if row["matched"] else "?") for row in rows)
    unmatched = [row["torch"] for row in rows if not row["matched"]]
    return {
        "rows": rows,
        "operators": sum(1 + row["torch"].count(" + ") for row in rows),
        "summary": [
            {"torch": torch_name, "onnx": onnx_names, "count": count} for (torch_name, onnx_names), count in summary.most_common()
        ],
        "unmatched": unmatched,
        "first_unmatched": unmatched[0] if unmatched else None,
    }


# What exports without a word and computes something else: (the operator in ONNX, from torch's, why, the way out).
_TRAPS = [
    ("Upsample", "upsample_trilinear3d", "trilinear upsampling below opset 11 aligns its corners differently", "use --opset 11 or later"),
    (
        "BatchNormalization",
        "instance_norm",
        "an InstanceNorm with track_running_stats that was kept in training mode became BatchNormalization",
        "set track_running_stats=False on it, or give module:function with --exporter dynamo",
    ),
]


def traps(source: Source, model: onnx.ModelProto, inputs: dict[str, np.ndarray[Any, Any]]) -> list[str]:
    """Known reasons for numbers that differ, where they may be the reason here."""
    try:
        found = _graph_of(source, tuple(as_tensors(inputs))).nodes()
        torch_kinds = {node.kind().removeprefix("aten::") for node in found}
    except Exception:  # internals of PyTorch's: what may be is told then
        torch_kinds = {torch_kind for _, torch_kind, _, _ in _TRAPS}
    kinds = {node.op_type for node in model.graph.node}
    return [f"{why}: {way_out}" for onnx_kind, torch_kind, why, way_out in _TRAPS if onnx_kind in kinds and torch_kind in torch_kinds]
