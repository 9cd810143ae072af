#!/usr/bin/env python3
"""ONNX models on real OpenVINO libraries: as on the CPU engine, and nothing is printed.

    PLANRT_LIBRARY=libplanrt.so.0 test_openvino.py OPENVINO MODELS PROGRAM
    PLANRT_LIBRARY=libplanrt.so.0 test_openvino.py --onnx OPENVINO/VERSION [NAME...]

OPENVINO is the folder that tests/real/fetch_openvino.py makes. --onnx runs the ONNX package's test cases through OpenVINO and prints how
each went; by hand, as they take minutes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
import planrt  # noqa: E402
from planrt import Engine, Error, ErrorCode, Runtime, Session  # noqa: E402

NEWEST, OLDEST = "2026.4.1", "2025.1.0"


def image(batch, *extents, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 1, *extents)).astype(np.float32)


def refused(call, *codes):
    try:
        call()
    except Error as error:
        assert error.code in codes, error
        return str(error)
    raise AssertionError("nothing was refused")


def model(folder, nodes, inputs, outputs, weights=(), opset=17):
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(weights))
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def info(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def agrees(result, expected, limit=1e-5):
    assert result.keys() == expected.keys()
    for name, array in expected.items():
        assert result[name].shape == array.shape and result[name].dtype == array.dtype, name
        assert np.abs(result[name].astype(np.float64) - array).max(initial=0) <= limit, name


class Case:
    """What the cases have at hand; each runs in a process of its own."""

    def __init__(self, openvino, models, program, folder):
        self.openvino, self.models, self.program, self.folder = openvino, models, program, folder

    def runtime(self, version=NEWEST):
        return Runtime(openvino=self.openvino / version)

    # What runs.

    def as_the_cpu_engine(self):
        for version in (NEWEST, OLDEST):
            check = [sys.executable, __file__, *map(str, [self.openvino, self.models, self.program]), f"_same {version}"]
            subprocess.run(check, check=True, timeout=300)

    def _same(self, version):
        runtime = self.runtime(version)
        runtime.load_openvino()
        described = runtime.describe()["openvino"]
        assert described["available"] and described["version"] == version, described
        for name, extents in [("small", (8, 8, 8)), ("unet_batch", None), ("unet_instance", None), ("any_size", (8, 12, 16)),
                              ("group_norm", None), ("resize_align_corners", None), ("attention", None)]:
            if (name, version) == ("group_norm", OLDEST):
                continue  # which does not read GroupNormalization
            path = self.models / f"{name}.onnx"
            engine, own = Engine(path, runtime, cpu="OpenVINO", threads=2), Engine(path, runtime, threads=2)
            assert (engine.backend, own.backend) == ("OpenVINO", "CPU") and version in engine.device_name
            for batch in (1, 2, 3):
                random = np.random.default_rng(batch)
                given = {}
                for key, tensor in engine.inputs.items():
                    shape = [(batch if axis == 0 else 16) if extent < 0 else extent for axis, extent in enumerate(tensor.shape)]
                    if extents and len(shape) == 5:
                        shape[2:] = extents
                    given[key] = random.standard_normal(shape).astype(tensor.element_type)
                agrees(engine.run(given), own.run(given), 1e-4)

    def types_of_elements(self):
        runtime = self.runtime()
        x = np.array([[0, 1, 2, 3]])
        for kind, dtype in [(TensorProto.FLOAT16, np.float16), (TensorProto.INT8, np.int8), (TensorProto.UINT8, np.uint8),
                            (TensorProto.INT16, np.int16), (TensorProto.UINT16, np.uint16), (TensorProto.INT32, np.int32),
                            (TensorProto.INT64, np.int64), (TensorProto.BOOL, bool)]:
            path = model(self.folder, [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
                         [info("x", kind, ["n", 4])], [info("y", TensorProto.FLOAT, ["n", 4])])
            result = Engine(path, runtime, cpu="OpenVINO").run({"x": x.astype(dtype)})["y"]
            assert np.array_equal(result, x.astype(dtype).astype(np.float32)), dtype
        path = model(self.folder, [helper.make_node("Add", ["x", "s"], ["y"])],
                     [info("x", TensorProto.FLOAT, [2]), info("s", TensorProto.FLOAT, [])], [info("y", TensorProto.FLOAT, [2])])
        result = Engine(path, runtime, cpu="OpenVINO").run({"x": np.ones(2, np.float32), "s": np.float32(3)})["y"]
        assert np.array_equal(result, [4, 4])

    def outputs_that_depend_on_data(self):
        path = model(self.folder, [helper.make_node("NonZero", ["x"], ["y"])], [info("x", TensorProto.FLOAT, [6])],
                     [info("y", TensorProto.INT64, [1, "n"])])
        context = Engine(path, self.runtime(), cpu="OpenVINO").context()
        assert "depends on the data" in refused(lambda: context.shape("y"), ErrorCode.UNSUPPORTED)
        y = np.full((1, 6), -1, np.int64)
        context.run({"x": np.array([0, 1, 0, 0, 5, 0], np.float32)}, {"y": y})
        assert y.ravel()[:2].tolist() == [1, 4]

    def batches_of_none_and_shapes(self):
        engine = Engine(self.models / "small.onnx", self.runtime(), cpu="OpenVINO")
        assert engine.run({"image": image(0, 8, 8, 8)})["prob"].shape == (0, 2, 8, 8, 8)
        refused(lambda: engine.run({"image": image(1, 8, 8, 9)}), ErrorCode.SHAPE)
        sizes = Engine(self.models / "any_size.onnx", self.runtime(), cpu="OpenVINO", shape_cache=1)
        own = Engine(self.models / "any_size.onnx")
        name = next(iter(sizes.inputs))
        for extents in [(8, 8, 8), (8, 12, 8), (8, 8, 8), (16, 8, 8)]:
            agrees(sizes.run({name: image(1, *extents)}), own.run({name: image(1, *extents)}))

    def sessions(self):
        engine = Engine(self.models / "small.onnx", self.runtime(), cpu="OpenVINO", threads=2)
        inputs = [image(1 + i % 3, 8, 8, 8, seed=i) for i in range(40)]
        expected = [Engine(self.models / "small.onnx").run({"image": x})["prob"] for x in inputs]
        with Session(engine) as session:
            requests = [session.submit({"image": x}) for x in inputs]
            for request, array in zip(requests, expected):
                agrees(request.result(), {"prob": array})

    def segmenters(self):
        folder = self.folder / "model"
        folder.mkdir()
        shutil.copy(self.models / "tiny.onnx", folder / "model.onnx")
        recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}
        (folder / "recipe.json").write_text(json.dumps(recipe))
        volume = planrt.Volume(np.random.default_rng(7).normal(size=(9, 18, 20)).astype(np.float32), (2.0, 0.75, 0.5))
        labels = [planrt.Segmenter(folder, self.runtime(), cpu=cpu).run(volume).labels for cpu in ("OpenVINO", "CPU")]
        assert (labels[0] != labels[1]).mean() < 0.001

    def several_threads(self):
        engine = Engine(self.models / "unet_batch.onnx", self.runtime(), cpu="OpenVINO", threads=2)
        name, tensor = next(iter(engine.inputs.items()))
        shape = [1 if extent < 0 else extent for extent in tensor.shape]
        x = np.ones(shape, np.float32)
        expected = engine.run({name: x})
        wrong = []

        def work():
            for _ in range(5):
                try:
                    agrees(engine.run({name: x}), expected)
                except BaseException:
                    wrong.append(traceback.format_exc())

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[0]

    def a_run_is_cancelled(self):
        size = 4000
        weights = [numpy_helper.from_array(np.full((size, size), 1 / size, np.float32), "w")]
        nodes = [helper.make_node("MatMul", [f"t{i}" if i else "x", "w"], [f"t{i + 1}"]) for i in range(60)]
        path = model(self.folder, nodes, [info("x", TensorProto.FLOAT, [size, size])], [info("t60", TensorProto.FLOAT, [size, size])],
                     weights)
        context = Engine(path, self.runtime(), cpu="OpenVINO", threads=1).context()
        x = {"x": np.ones((size, size), np.float32)}
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(refused(lambda: context.run(x), ErrorCode.CANCELLED)))
        thread.start()
        time.sleep(0.5)  # so that it is under way most of the time; before, the request is answered all the same
        begun = time.monotonic()
        context.cancel()
        thread.join()
        assert outcome and time.monotonic() - begun < 60, outcome

    def weights_beside_the_model(self):
        weight = numpy_helper.from_array(np.arange(1024, dtype=np.float32).reshape(1, 1024), "w")
        path = model(self.folder, [helper.make_node("Mul", ["x", "w"], ["y"])], [info("x", TensorProto.FLOAT, ["n", 1024])],
                     [info("y", TensorProto.FLOAT, ["n", 1024])], [weight])
        whole = onnx.load(path)
        onnx.save(whole, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        runtime = self.runtime()
        x = np.ones((2, 1024), np.float32)
        assert np.array_equal(Engine(path, runtime, cpu="OpenVINO").run({"x": x})["y"], np.tile(np.arange(1024.0), (2, 1)))
        (self.folder / "below").mkdir()
        moved = self.folder / "below" / "model.onnx"
        proto = onnx.load(path, load_external_data=False)
        for entry in proto.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
        moved.write_bytes(proto.SerializeToString())
        assert "not below the model" in refused(lambda: Engine(moved, runtime, cpu="OpenVINO"), ErrorCode.INVALID_MODEL)

    # What does not.

    def bad_models(self):
        runtime = self.runtime()
        good = (self.models / "small.onnx").read_bytes()
        path = self.folder / "bad.onnx"
        for data in [b"", b"\x08", b"text" * 99, good[:1000], good[: len(good) // 2], good + b"\xff" * 9, bytes(1000)]:
            path.write_bytes(data)
            refused(lambda: Engine(path, runtime, cpu="OpenVINO"), *ErrorCode)
        for i in range(60):
            damaged = bytearray(good)
            random = np.random.default_rng(i)
            for place in random.integers(0, 400, 3):
                damaged[place] = random.integers(256)
            try:
                Engine(bytes(damaged), runtime, cpu="OpenVINO").run({"image": image(1, 8, 8, 8)})
            except (Error, ValueError, KeyError, TypeError):
                pass
        path = model(self.folder, [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[-3, 1])],
                     [info("x", TensorProto.FLOAT, [1, 1, 4, 4])], [info("y", TensorProto.FLOAT, [1, 1, 4, 4])])
        assert "kernel_shape" in refused(lambda: Engine(path, runtime, cpu="OpenVINO"), ErrorCode.INVALID_MODEL)
        path = model(self.folder, [helper.make_node("Relu", ["x"], ["y"])], [info("x", TensorProto.FLOAT, [1])],
                     [info("y", TensorProto.FLOAT, [1])], opset=99)
        assert "operator set" in refused(lambda: Engine(path, runtime, cpu="OpenVINO"), ErrorCode.UNSUPPORTED)
        nodes = [helper.make_node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(10_001)]
        path = model(self.folder, nodes, [info("x", TensorProto.FLOAT, [1])], [info("t10001", TensorProto.FLOAT, [1])])
        assert "nodes" in refused(lambda: Engine(path, runtime, cpu="OpenVINO"), ErrorCode.UNSUPPORTED)
        assert Engine(good, runtime, cpu="OpenVINO").backend == "OpenVINO"

    def what_openvino_computes_otherwise(self):
        runtime = self.runtime()
        for nodes, kind in [([helper.make_node("Add", ["x", "x"], ["y"])], TensorProto.DOUBLE),
                            ([helper.make_node("BitShift", ["x", "x"], ["y"], direction="RIGHT")], TensorProto.INT32)]:
            path = model(self.folder, nodes, [info("x", kind, [4])], [info("y", kind, [4])], opset=18)
            refused(lambda: Engine(path, runtime, cpu="OpenVINO"), ErrorCode.UNSUPPORTED)
        path = model(self.folder, [helper.make_node("Add", ["x", "x"], ["y"])], [info("x", TensorProto.INT64, [2])],
                     [info("y", TensorProto.INT64, [2])])
        engine = Engine(path, runtime, cpu="OpenVINO")
        assert engine.run({"x": np.array([3, -4])})["y"].tolist() == [6, -8]
        said = refused(lambda: engine.run({"x": np.array([3, 1 << 40])}), ErrorCode.UNSUPPORTED)
        assert str(1 << 40) in said, said
        nan = image(1, 8, 8, 8)
        nan[0, 0, 3, 3, 3] = np.nan
        said = refused(lambda: Engine(self.models / "small.onnx", runtime, cpu="OpenVINO").run({"image": nan}), ErrorCode.UNSUPPORTED)
        assert "NaN" in said, said
        # Denormal numbers are numbers.
        path = model(self.folder, [helper.make_node("Mul", ["x", "x"], ["y"])], [info("x", TensorProto.FLOAT, [16])],
                     [info("y", TensorProto.FLOAT, [16])])
        tiny = np.full(16, 1e-20, np.float32)
        assert np.array_equal(Engine(path, runtime, cpu="OpenVINO").run({"x": tiny})["y"], tiny * tiny) and (tiny * tiny).all()

    def in_the_child_of_a_fork(self):
        engine = Engine(self.models / "small.onnx", self.runtime(), cpu="OpenVINO", threads=2)
        x = {"image": image(1, 8, 8, 8)}
        expected = engine.run(x)
        child = os.fork()
        if child == 0:
            try:
                refused(lambda: engine.run(x), ErrorCode.FORKED)
                del engine
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        agrees(engine.run(x), expected, 0)

    # Where it is looked for.

    def places(self):
        packages = self.folder / "venv/lib/python3.11/site-packages/openvino"
        packages.mkdir(parents=True)
        (packages / "libs").symlink_to(self.openvino / NEWEST)
        found = Runtime(openvino=self.folder / "venv").describe()["openvino"]
        assert found["available"], found
        file = next((self.openvino / NEWEST).glob("libopenvino_c.so.*"))
        assert Runtime(openvino=file).describe()["openvino"]["path"] == str(file.resolve())
        # It is in the process now.
        assert Runtime().describe()["openvino"]["available"]
        said = refused(Runtime(openvino=self.folder).load_openvino, ErrorCode.NO_OPENVINO)
        assert "libopenvino_c.so" in said, said
        os.environ["PLANRT_OPENVINO"] = str(self.folder / "nowhere")
        assert "PLANRT_OPENVINO" in refused(Runtime().load_openvino, ErrorCode.NO_OPENVINO)
        os.environ["PLANRT_OPENVINO"] = str(self.openvino / NEWEST)
        assert Runtime().describe()["openvino"]["available"]

    def the_fastest(self):
        path = self.models / "small.onnx"
        nowhere = Runtime(openvino=self.folder)
        engine = Engine(path, nowhere, cpu="fastest")
        assert engine.backend == "CPU" and Engine(path, nowhere).backend == "CPU"
        refused(lambda: Engine(path, nowhere, cpu="OpenVINO"), ErrorCode.NO_OPENVINO)
        assert Engine(path, self.runtime(), cpu="fastest").backend == "OpenVINO"
        assert Engine(path, self.runtime()).backend == "CPU"

    def the_program(self):
        def run(*arguments):
            ran = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, timeout=300)
            assert ran.returncode == 0 and not ran.stderr, ran
            return ran.stdout

        openvino, small = self.openvino / NEWEST, self.models / "small.onnx"
        said = run("doctor", small, "--openvino", openvino)
        assert f"OpenVINO {NEWEST}" in said and "takes the model, too" in said, said
        options = [small, "--cpu=openvino", f"--openvino={openvino}", "--cpuThreads=1", "--shapes=image:2x1x8x8x8"]
        assert NEWEST in run("bench", *options, "--duration=0.1", "--json")
        assert "conv" in run("inspect", *options, "--runs=2").lower()
        wrong = subprocess.run([self.program, "bench", small, "--cpu=abacus"], capture_output=True, text=True)
        assert wrong.returncode == 2 and "abacus" in wrong.stderr, wrong

    # What is damaged: an error that names it, nothing else, and the same runtime works once it is mended.

    def damaged(self):
        newest, oldest = self.openvino / NEWEST, self.openvino / OLDEST
        plugin, c, core = "libopenvino_intel_cpu_plugin.so", "libopenvino_c.so.2641", "libopenvino.so.2641"
        reader, old_reader = "libopenvino_onnx_frontend.so.2641", "libopenvino_onnx_frontend.so.2510"
        whole = {name: (newest / name).read_bytes() for name in (plugin, c, core, reader, "libtbb.so.12")}
        changes = [(c, b""), (c, b"no library"), (c, whole[c][: len(whole[c]) // 2]), (c, whole["libtbb.so.12"]),
                   (core, None), (core, whole[core][:5000]), (core, b""), (core, whole[core][: len(whole[core]) // 2]),
                   (plugin, None), (plugin, b""), (plugin, whole[plugin][:100]), (plugin, whole[plugin][: len(whole[plugin]) // 2]),
                   (plugin, (oldest / plugin).read_bytes()), (plugin, whole["libtbb.so.12"]), (plugin, whole[c]),
                   (reader, None), (reader, b""), (reader, whole[reader][: len(whole[reader]) // 3]),
                   (reader, (oldest / old_reader).read_bytes()), (reader, whole[c]), ("libtbb.so.12", None), ("libtbb.so.12", b"")]
        for i, (name, data) in enumerate(changes):
            folder = self.folder / str(i)
            folder.mkdir()
            for file in newest.iterdir():
                if file.name != name:
                    shutil.copy(file, folder / file.name)
            if data is not None:
                (folder / name).write_bytes(data)
            check = [sys.executable, __file__, *map(str, [self.openvino, self.models, self.program]), f"_mended {folder} {name}"]
            ran = subprocess.run(check, capture_output=True, text=True, timeout=300)
            assert ran.returncode == 0 and not ran.stdout and not ran.stderr, (name, data and len(data), ran)
            shutil.rmtree(folder)

    def _mended(self, folder, name):
        runtime = Runtime(openvino=folder)
        path = self.models / "small.onnx"
        said = refused(lambda: Engine(path, runtime, cpu="OpenVINO"), ErrorCode.NO_OPENVINO, ErrorCode.UNSUPPORTED)
        assert "libopenvino" in said or "libtbb" in said, said
        assert Engine(path, runtime, cpu="fastest").backend == "CPU"
        shutil.copy(self.openvino / NEWEST / name, Path(folder) / f"{name}.new")
        os.replace(Path(folder) / f"{name}.new", Path(folder) / name)
        assert Engine(path, runtime, cpu="OpenVINO").run({"image": image(1, 8, 8, 8)})


def onnx_cases(openvino, names):
    import test_onnx_backend as cases

    runtime = Runtime(openvino=openvino)
    cases.Model = lambda path, threads: Engine(path, runtime, cpu="OpenVINO", threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        for name, proto, sets, rtol, atol in cases.cases():
            if not names or name in names:
                print(f"{name}: {cases.run(Path(folder) / 'model.onnx', proto, sets, rtol, atol)}", flush=True)


def main():
    if sys.argv[1:2] == ["--onnx"]:
        return onnx_cases(sys.argv[2], sys.argv[3:])
    openvino, models, program = map(Path, sys.argv[1:4])
    if len(sys.argv) > 4:
        name, *arguments = sys.argv[4].split()
        with tempfile.TemporaryDirectory() as folder:
            getattr(Case(openvino, models, program, Path(folder)), name)(*arguments)
        return None
    failed = False
    for name in [name for name in vars(Case) if not name.startswith("_") and name != "runtime"]:
        # Each by itself, so that nothing is in the process before; what it writes would be OpenVINO's, or planrt's.
        begun = time.monotonic()
        ran = subprocess.run([sys.executable, __file__, *sys.argv[1:4], name], capture_output=True, text=True, timeout=600)
        good = ran.returncode == 0 and not ran.stdout and not ran.stderr
        print(f"{name}: {'as it should be' if good else ran} ({time.monotonic() - begun:.1f} s)", flush=True)
        failed |= not good
    return failed


if __name__ == "__main__":
    sys.exit(main())
