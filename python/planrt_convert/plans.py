"""Plans, built and tried where there is a TensorRT, and where there is none the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import planrt
from planrt import Error, ErrorCode, Precision

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
    """The optimization profile: open axes beside the batch have the size that was given."""
    return {one.name: tuple(one.at(batch) for batch in batches) for one in inputs if one.open_axes}  # type: ignore[misc]


def build(
    runtime: planrt.Runtime,
    model: Path,
    target: Path,
    precision: str,
    inputs: list[Input],
    batches: tuple[int, int, int],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Builds one plan: what the passport says of it, or with `built` false why it was not."""
    shapes = profile(inputs, batches)
    result: dict[str, Any] = {"precision": [precision]}
    if shapes:
        result["profiles"] = [
            {name: dict(zip(("min", "opt", "max"), map(list, three))) for name, three in shapes.items()}
        ]

    def hear(phase: str, parent: str | None, done: int, steps: int) -> None:
        if parent is None:
            progress(f"{precision}: {phase} {done}/{steps}")

    try:
        plan = planrt.build(
            model,
            runtime,
            planrt.BuildOptions(
                profiles=[shapes] if shapes else (),
                precision=PRECISIONS[precision],
                timing_cache=target.with_suffix(".timing"),
                progress=hear,
            ),
        )
        plan.save(target)
    except Error as error:
        return {**result, "built": False, "available": error.code not in _NOT_HERE, "why": str(error)}
    result |= {"built": True, "file": str(target), "sha256": planrt.sha256(target), "size_bytes": target.stat().st_size}
    device = runtime.describe()["device"]
    if device["available"]:
        result |= {"device": device["name"], "compute_capability": device["compute_capability"]}
    return result


def load(runtime: planrt.Runtime, plan: dict[str, Any]) -> tuple[planrt.Engine | None, str]:
    """The engine of a plan that was built, or why it does not run here (TensorRT-RTX builds without a GPU)."""
    try:
        return planrt.Engine(plan["file"], runtime), ""
    except Error as error:
        if error.code in _NOT_HERE:
            return None, str(error)
        raise


def layers(engine: planrt.Engine) -> list[dict[str, str]]:
    """The plan's layers with their precision, as far as TensorRT tells."""
    told = []
    for layer in engine.layers():
        if isinstance(layer, dict):
            kinds = {str(output.get("Format/Datatype", "")) for output in layer.get("Outputs", []) if isinstance(output, dict)}
            told.append({"name": str(layer.get("Name", "")), "kind": str(layer.get("LayerType", "")), "precision": ", ".join(sorted(kinds))})
        else:
            told.append({"name": str(layer), "kind": "", "precision": ""})
    return told
