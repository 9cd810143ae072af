#!/usr/bin/env python3
"""Exports of the networks that people segment volumes with, on the CPU engine and on ONNX Runtime without optimizations.

    PLANRT_LIBRARY=libplanrt.so.0 test_networks.py [NAME...]

The graphs in tests/models/networks are torch's own (export.py there says how they were made); their weights are made here.
"""

import lzma
import os
import sys
import tempfile
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
from planrt import Engine  # noqa: E402

NETWORKS = Path(__file__).parents[1] / "models" / "networks"
# What the extents are that a model leaves open.
EXTENTS = {
    "dynunet": (8, 16, 16),
    "meshnet": (12, 13, 14),
    "monai_basic_unet": (32, 16, 16),
    "nnunet_deep_supervision": (8, 16, 16),
    "nnunet_plain": (8, 16, 16),
    "nnunet_residual_encoder": (8, 16, 16),
    "registration": (8, 9, 10),
    "swin_unetr": (64, 32, 32),
    "swin_unetr_v2": (64, 32, 32),
    "vista3d": (32, 32, 32),
}


def weighted(model, random):
    """Puts weights in the places of those that were left out."""
    for tensor in model.graph.initializer:
        if tensor.raw_data or tensor.float_data or tensor.int32_data or tensor.int64_data or 0 in tensor.dims:
            continue
        shape = tuple(tensor.dims)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if len(shape) > 1:
            array = random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape) / shape[0]))
        else:
            # A bias, or a variance: more than nothing.
            array = random.uniform(0.5, 1.5, shape)
        tensor.CopyFrom(numpy_helper.from_array(array.astype(dtype), tensor.name))
    return model


def values(model, name, random):
    inputs = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype == np.int64:
            inputs[value.name] = np.array([[1]])
            continue
        likely = (1, 1, *EXTENTS.get(name, (16, 16, 16)))
        shape = [dim.dim_value or likely[axis] for axis, dim in enumerate(kind.shape.dim)]
        inputs[value.name] = random.standard_normal(shape).astype(dtype)
    return inputs


def reference(path, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs)))


def difference(results, expected, half):
    """The largest difference, in standard deviations of what is expected."""
    worst = 0.0
    for name, array in expected.items():
        if results[name].shape != array.shape:
            return np.inf
        a, b = results[name].astype(np.float64), array.astype(np.float64)
        if np.issubdtype(array.dtype, np.integer):
            # Labels: where two are as likely the other may be chosen.
            worst = max(worst, 0.0 if np.mean(a != b) <= 0.001 else np.inf)
        else:
            worst = max(worst, np.max(np.abs(a - b)) / max(np.std(b), 1e-6))
    return worst / 100 if half else worst


def main():
    failed = 0
    files = [file for file in sorted(NETWORKS.glob("*.onnx.xz")) if not sys.argv[1:] or file.name.split(".")[0] in sys.argv[1:]]
    for file in files:
        name, kind = file.name.split(".")[:2]
        random = np.random.default_rng(3)
        model = weighted(onnx.ModelProto.FromString(lzma.decompress(file.read_bytes())), random)
        inputs = values(model, name, random)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            path.write_bytes(model.SerializeToString())
            off = difference(Engine(path, threads=2).run(inputs), reference(path, inputs), kind == "half")
        failed += not off < 1e-3
        print(f"{name} {kind}: off by {off:.1e} {'FAILED' if not off < 1e-3 else ''}", flush=True)
    print(f"{len(files) - failed} right, {failed} failed")
    sys.exit(failed > 0 or not files)


if __name__ == "__main__":
    main()
