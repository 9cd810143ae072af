#!/usr/bin/env python3
"""Holds planrt, through the package planrt, against ONNX Runtime.

    PLANRT_LIBRARY=libplanrt.so.0 test_numerics.py MODELS [DEEPBRAIN.onnx HEAD.nii.gz]

MODELS is what tests/models/make_models.py wrote.
"""

import gzip
import os
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
from planrt import Engine as Model, Error as PlanrtError  # noqa: E402

TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-3  # two steps of a float16 just below 1
NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}
# What open axes are set to, one run after the other with one model: larger, smaller, and the first once more.
SIZES = [
    {"batch": 1, "depth": 8, "height": 12, "width": 16},
    {"batch": 3, "depth": 16, "height": 8, "width": 10},
    {"batch": 2, "depth": 8, "height": 8, "width": 8},
    {"batch": 1, "depth": 8, "height": 12, "width": 16},
]


class Failure(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failure(message)


def reference(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def open_axes(session):
    return {axis for tensor in session.get_inputs() for axis in tensor.shape if isinstance(axis, str)}


def random_input(tensor, sizes, random):
    shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
    dtype = NUMPY_TYPES[tensor.type]
    if dtype == np.bool_:
        return random.random(shape) < 0.5
    if np.issubdtype(dtype, np.integer):
        return random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return random.random(shape).astype(dtype)


def compare(results, expected, session):
    """The greatest difference of any output."""
    worst = 0.0
    for tensor, array in zip(session.get_outputs(), expected):
        result = results[tensor.name]
        check(result.dtype == array.dtype, f"{tensor.name} is {result.dtype}, {array.dtype} was expected")
        check(result.shape == array.shape, f"{tensor.name} has shape {result.shape}, {array.shape} was expected")
        if not np.issubdtype(array.dtype, np.floating):
            check(np.array_equal(result, array), f"{tensor.name} is not equal")
            continue
        tolerance = HALF_TOLERANCE if array.dtype == np.float16 else TOLERANCE
        difference = float(np.abs(result.astype(np.float64) - array).max())
        check(difference <= tolerance, f"{tensor.name} is off by {difference:.1e}, more than {tolerance:.0e}")
        worst = max(worst, difference)
    return worst


def small_models(folder):
    """(name, check) for each model that make_models.py wrote, but the one that is there to be slow, and the one whose output
    has a shape that depends on the data, for which `run` makes no memory."""
    for path in sorted(Path(folder).glob("*.onnx")):
        if path.stem not in ("slow", "places"):
            yield path.stem, lambda path=path: against_reference(path)


def against_reference(path):
    random = np.random.default_rng(0)
    session, model = reference(path), Model(path)
    check(model.backend == "CPU", f"runs on {model.backend}")
    worst = 0.0
    for sizes in SIZES if open_axes(session) else SIZES[:1]:
        inputs = {tensor.name: random_input(tensor, sizes, random) for tensor in session.get_inputs()}
        worst = max(worst, compare(model.run(inputs), session.run(None, inputs), session))
    return f"within {worst:.1e}"


def read_head(path):
    """The voxels of an int16, uint8 or float32 NIfTI, brought to 128 a side by taking the nearest one."""
    data = gzip.decompress(Path(path).read_bytes())
    size = np.frombuffer(data, "<i2", 3, offset=42)
    dtype = {2: "u1", 4: "<i2", 16: "<f4"}[int(np.frombuffer(data, "<i2", 1, offset=70)[0])]
    offset = int(np.frombuffer(data, "<f4", 1, offset=108)[0])
    voxels = np.frombuffer(data, dtype, int(np.prod(size, dtype=np.int64)), offset=offset).reshape(size, order="F")
    nearest = np.ix_(*(((np.arange(128) + 0.5) * n / 128).astype(int) for n in size))
    image = voxels[nearest].astype(np.float32)
    return (image / image.max())[None, None]


def deepbrain(path, head):
    image = read_head(head)
    session = reference(path)
    results = Model(path).run({"image": image})
    worst = compare(results, session.run(None, {"image": image}), session)
    brain = float((results["prob"] > 0.5).mean())
    check(0.1 < brain < 0.4, f"{brain:.0%} of the volume is said to be brain")
    return f"within {worst:.1e}, {brain:.0%} of the volume is brain"


def errors(folder):
    """What the library says reaches Python, and the model is usable after it."""
    model = Model(Path(folder) / "small.onnx")
    image = np.zeros((1, 1, 8, 8, 8), np.float32)
    for wrong, code in [(image[0], 10), (image[..., :7], 10)]:
        try:
            model.run({"image": wrong})
        except PlanrtError as error:
            check(error.code == code, f"code {error.code} for the shape {wrong.shape}: {error}")
        else:
            check(False, f"the shape {wrong.shape} was taken")
    model.run({"image": image})
    try:
        Model(Path(folder) / "no such file.onnx")
    except PlanrtError as error:
        check(error.code == 2 and "no such file.onnx" in str(error), f"code {error.code}: {error}")
    else:
        check(False, "a file that is not there was loaded")
    return "as expected"


def main():
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    checks = [*small_models(sys.argv[1]), ("errors", lambda: errors(sys.argv[1]))]
    if len(sys.argv) == 4:
        checks.append(("deepbrain", lambda: deepbrain(*sys.argv[2:])))
    failed = 0
    for name, run in checks:
        try:
            print(f"{name:24} {run()}", flush=True)
        except (Failure, PlanrtError) as error:
            failed += 1
            print(f"{name:24} FAILED: {error} {getattr(error, 'detail', '')}", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(failed > 0 or len(checks) < 10)


if __name__ == "__main__":
    main()
