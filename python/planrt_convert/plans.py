"""Plans, built and tried where there is a TensorRT, and where there is none the reason; and which nodes their layers were made of."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnx
import planrt
from planrt import BuildFeatures, BuildOptions, Error, ErrorCode, InstanceNormalization, Precision, Tactics

from .source import Input

PRECISIONS = {
    "fp32": Precision.FLOAT32,
    "tf32": Precision.TF32,
    "fp16": Precision.FLOAT16,
    "bf16": Precision.BFLOAT16,
    "best": Precision.BEST,
}
# What is not there is told, and is no fault of the model's.
_NOT_HERE = {ErrorCode.NO_CUDA, ErrorCode.NO_TENSORRT}


def profile(inputs: list[Input], batches: tuple[int, int, int]) -> dict[str, tuple[Any, Any, Any]]:
    """The optimization profile."""
    return {one.name: one.spans(batches) for one in inputs if one.open_axes}  # type: ignore[misc]


def options(
    precision: str,
    shapes: dict[str, tuple[Any, Any, Any]],
    keep_float32: Iterable[str],
    timing_cache: Path,
    without_libraries: bool,
    instance_normalization: str,
) -> BuildOptions:
    norms = InstanceNormalization[instance_normalization.upper()]
    if without_libraries and norms == InstanceNormalization.DEFAULT:
        norms = InstanceNormalization.DECOMPOSED
    return BuildOptions(
        profiles=[shapes] if shapes else (),
        precision=PRECISIONS[precision],
        keep_float32_nodes=list(keep_float32),
        timing_cache=timing_cache,
        features=BuildFeatures.DETAILED_LAYERS,
        use_tactics_not=Tactics.CUBLAS | Tactics.CUBLAS_LT | Tactics.CUDNN if without_libraries else Tactics.NONE,
        instance_normalization=norms,
    )


def build(
    runtime: planrt.Runtime, model: Path, target: Path, precision: str, wanted: BuildOptions, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Builds one plan: what the passport says of it, or with `built` false why it was not."""
    result: dict[str, Any] = {"precision": [precision]}
    if wanted.profiles:
        result["profiles"] = [
            {name: dict(zip(("min", "opt", "max"), map(list, three))) for name, three in shapes.items()} for shapes in wanted.profiles
        ]
    if wanted.keep_float32_nodes:
        result["keep_float32"] = wanted.keep_float32_nodes

    outermost, told, at = "", "", 0.0

    def hear(phase: str, parent: str | None, done: int, steps: int) -> None:
        """Phases as they begin and end, and every ten seconds what is done in them."""
        nonlocal outermost, told, at
        if parent is None:
            outermost = f"  {precision}: {phase} {done}/{steps}"
        line = outermost if parent is None else f"{outermost}, {phase[:60]}"
        is_edge = parent is None and done in (0, steps)
        if line != told and (is_edge or told == outermost or time.monotonic() - at >= 10):
            told, at = line, time.monotonic()
            progress(line)

    try:
        planrt.build(model, runtime, dataclasses.replace(wanted, progress=hear)).save(target)
    except Error as error:
        return {**result, "built": False, "available": error.code not in _NOT_HERE, "why": str(error)}
    result |= {"built": True, "file": str(target), "sha256": planrt.sha256(target), "size_bytes": target.stat().st_size}
    device = runtime.describe()["device"]
    if device["available"]:
        result |= {"device": device["name"], "compute_capability": device["compute_capability"]}
    return result


def load(runtime: planrt.Runtime, plan: dict[str, Any]) -> tuple[planrt.Engine | None, str, bool]:
    """The engine of a plan that was built, or why it does not run, and whether that is for what is not here (TensorRT-RTX builds without a
    GPU)."""
    try:
        return planrt.Engine(plan["file"], runtime), "", False
    except Error as error:
        return None, str(error), error.code in _NOT_HERE


def layers(engine: planrt.Engine, model: onnx.ModelProto) -> list[dict[str, Any]]:
    """The plan's layers with their kind and precision, and the names of the ONNX nodes that each was made of."""
    known = named(node.name for node in model.graph.node)
    told = []
    for layer in engine.inspect()["layers"]:
        name, details = str(layer["name"]), layer.get("details")
        metadata = str(details.get("Metadata", "")) if isinstance(details, dict) else ""
        nodes = re.findall(r"\[ONNX Layer: (.*?)\]", metadata) or nodes_in(name, known)
        kernel = str(details.get("TacticName") or "") if isinstance(details, dict) else ""
        precision = layer.get("precision") or precision_of(kernel)
        told.append(
            {"name": name, "kind": layer.get("type") or "", "precision": precision, "kernel": kernel, "onnx": list(dict.fromkeys(nodes))}
        )
    return told


# What is in a kernel's name that computes so.
_KERNELS = [("TF32", r"tf32"), ("INT8", r"i8i8|i8816|i16832|int8"), ("FP16", r"f16|h884|h1688|h16816|hmma|fp16|half"), ("FP32", r"f32|ffma|scudnn|sgemm|float")]


def precision_of(kernel: str) -> str:
    """TensorRT 8 does not tell the types of layers whose shapes are open: then by the kernel's name, or nothing."""
    return next((name for name, pattern in _KERNELS if re.search(pattern, kernel, re.IGNORECASE)), "")


def named(nodes: Iterable[str]) -> re.Pattern[str]:
    """Finds these names, the longest that fits."""
    return re.compile("|".join(sorted(map(re.escape, set(nodes) - {""}), key=len, reverse=True)) or "(?!)")


def nodes_in(layer: str, named: re.Pattern[str]) -> list[str]:
    """The nodes that a layer's name tells of: TensorRT joins them with signs and spaces, and puts words of its own around them."""
    if layer.startswith("Reformatting CopyNode"):
        return []
    return [
        found.group()
        for found in named.finditer(layer)
        if _ends(layer[: found.start()][-1:]) and (_ends(layer[found.end() :][:1]) or layer[found.end()] == "/")
    ]


def _ends(sign: str) -> bool:
    return not sign or not (sign.isalnum() or sign in "_/.:")


def of_nodes(layers: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """For each ONNX node the layers that it became part of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for layer in layers:
        for node in layer["onnx"]:
            found.setdefault(node, []).append(layer)
    return found
