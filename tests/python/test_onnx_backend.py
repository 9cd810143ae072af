#!/usr/bin/env python3
"""Runs the test cases of the ONNX package, an operator each, on planrt: what it takes must come out right.

    PLANRT_LIBRARY=libplanrt.so.0 test_onnx_backend.py [--list | --update] [NAME...]

Refused cases are listed in onnx_backend_refused.txt: a case that is refused and is not in the list fails, and so does one
that is in the list and runs. --update writes the list anew, --list prints how each case went.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
from planrt import Engine as Model, Error as PlanrtError  # noqa: E402

REFUSED = Path(__file__).with_name("onnx_backend_refused.txt")
# What planrt says of a model or of shapes that it does not run; any other code is a failure.
INVALID_MODEL, UNSUPPORTED, SHAPE = 4, 9, 10
CONVERTED = Path(onnx.__file__).parent / "backend/test/data"


def read(path, value):
    """One tensor of a converted case; None for a sequence or an optional."""
    if not value.type.HasField("tensor_type"):
        return None
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def converted():
    """The cases that the package brings as files: (name, model, [(inputs, outputs)], rtol, atol)."""
    for folder in sorted(CONVERTED.glob("*/*")):
        if folder.parent.name not in ("simple", "pytorch-converted", "pytorch-operator"):
            continue
        model = onnx.load(folder / "model.onnx")
        sets = []
        for data in sorted(folder.glob("test_data_set_*")):
            inputs = [read(data / f"input_{i}.pb", value) for i, value in enumerate(model.graph.input)
                      if (data / f"input_{i}.pb").exists()]
            outputs = [read(data / f"output_{i}.pb", value) for i, value in enumerate(model.graph.output)]
            sets.append((inputs, outputs))
        yield folder.name, model, sets, 1e-3, 1e-5


def tolerances(case):
    """planrt computes in float32 what a model has in 16 bits, so it does not round where the expected values did."""
    if "bf16" in case.name or "bfloat16" in case.name:
        return 1e-2, 1e-2
    if "fp16" in case.name or "float16" in case.name:
        return 2e-3, 2e-3
    return case.rtol, 1e-4 if "dft" in case.name else case.atol


def cases():
    for case in collect_testcases():
        if case.model is not None:
            yield case.name, case.model, case.data_sets, *tolerances(case)
    yield from converted()


def equal(result, expected, rtol, atol):
    expected = np.asarray(expected)
    if result.shape != expected.shape:
        return f"shape {result.shape} for {expected.shape}"
    if result.dtype != expected.dtype and not (result.dtype == np.float32 and expected.dtype.name == "bfloat16"):
        return f"{result.dtype} for {expected.dtype}"
    if result.size == 0:
        return None
    if np.issubdtype(result.dtype, np.floating):
        expected = expected.astype(np.float64)
        if np.allclose(result.astype(np.float64), expected, rtol=rtol, atol=max(atol, 1e-6), equal_nan=True):
            return None
        return f"off by {np.nanmax(np.abs(result - expected)):.1e}"
    return None if np.array_equal(result, expected) else "not equal"


def run(path, proto, sets, rtol, atol):
    """How a case went: "equal", "refused: …", "wrong: …" or "failed: …"."""
    path.write_bytes(proto.SerializeToString())
    try:
        model = Model(path, threads=1)
        for inputs, outputs in sets:
            if any(not isinstance(array, (np.ndarray, np.generic)) for array in [*inputs, *outputs]):
                return "refused: what is not a tensor"
            names = [value.name for value in proto.graph.input]
            given = {name: np.asarray(array) for name, array in zip(names, inputs) if name in model.inputs}
            if given.keys() != model.inputs.keys():
                return "refused: an input without a value"
            results = model.run(given)
            for value, expected in zip(proto.graph.output, outputs):
                why = equal(results[value.name], expected, rtol, atol)
                if why:
                    return f"wrong: {value.name} {why}"
    except PlanrtError as error:
        kind = "refused" if error.code in (INVALID_MODEL, UNSUPPORTED, SHAPE) else "failed"
        return f"{kind}: {error.code} {error} | {error.detail}".replace("\n", " | ")
    except (TypeError, ValueError) as error:
        return f"refused: by Python: {error}"
    return "equal"


def main():
    arguments = sys.argv[1:]
    names = [argument for argument in arguments if not argument.startswith("--")]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, proto, sets, rtol, atol in cases():
            if not names or name in names:
                results[name] = run(Path(folder) / "model.onnx", proto, sets, rtol, atol)
                if "--list" in arguments:
                    print(f"{name}: {results[name]}", flush=True)
    refused = sorted(name for name, result in results.items() if result.startswith("refused"))
    if "--update" in arguments:
        REFUSED.write_text("".join(f"{name}\n" for name in refused))
    listed = set(REFUSED.read_text().split())
    failures = [f"{name}: {result}" for name, result in results.items() if result.startswith(("wrong", "failed"))]
    failures += [f"{name} was not refused before: {results[name]}" for name in refused if name not in listed]
    failures += [f"{name} runs now: take it off the list" for name in listed if results.get(name) == "equal"]
    for failure in failures:
        print(failure)
    equals = sum(result == "equal" for result in results.values())
    print(f"{equals} equal, {len(refused)} refused, {len(failures)} failed")
    sys.exit(bool(failures) or (not names and equals < 1400))


if __name__ == "__main__":
    main()
