#!/usr/bin/env python3
"""Plans and device memory, over the test doubles of TensorRT and the driver: test_device.py DOUBLES

DOUBLES is the folder that tensorrt-sys/tests/double/build.sh makes; the driver's double is on LD_LIBRARY_PATH.
"""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import numpy as np
import planrt
from planrt import BuildOptions, Engine, Error, ErrorCode, Session, Stream, _tensors

LINES = "double-plan\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n"
KEPT = ["kept.plan", "kept.plan.json", "kept.plan.lock"]
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def plan(version, lines=LINES):
    """A plan as the double of a TensorRT takes it."""
    major, minor, patch = map(int, version.split("."))
    if (major, minor) == (8, 5):
        return b"ptrt" + bytes(20) + lines.encode()
    return (b"vtrt" if major == 1 else b"ftrt") + bytes(20) + bytes([major, minor, patch, 1]) + lines.encode()


def onnx(lines):
    """A model that the parser's double takes."""
    text = f"double-onnx\n{lines}".encode() + b"\0"
    node = b"".join(bytes([field << 3 | 2, len(value)]) + value for field, value in ((2, b"n_out"), (3, b"n"), (4, b"Conv")))
    graph = bytes([1 << 3 | 2, len(node)]) + node
    return bytes([6 << 3 | 2, len(text)]) + text + bytes([7 << 3 | 2, len(graph)]) + graph


MODEL = onnx("input x 0 -1,4\nnode n\noutput y\n")


class Cuda:
    """A tensor as numba has it: CUDA's array interface only."""

    def __init__(self, array, **more):
        self.array, self.more = array, more

    @property
    def __cuda_array_interface__(self):
        return {**self.array.__cuda_array_interface__, **self.more}


class Torch:
    """A tensor as torch has it: DLPack, which remembers the stream that it is asked for."""

    def __init__(self, array):
        self.array, self.streams = array, []

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        shape = (ctypes.c_int64 * len(self.array.shape))(*self.array.shape)
        self.tensor = _tensors._DLTensor(
            data=self.array._address, device_type=2, ndim=len(shape), code=2, bits=32, lanes=1, shape=shape
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


class Doubled(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        libraries = sorted(
            file for file in Path(FOLDER).glob("*/lib*.so*") if "parser" not in file.name and not file.is_symlink()
        )
        assert libraries, f"no doubles in {FOLDER}"
        cls.doubles = [(file.parent.name, planrt.Runtime(tensorrt=file)) for file in libraries]


class Device(Doubled):
    def each(self):
        for version, runtime in self.doubles:
            with self.subTest(version):
                yield runtime, Engine(plan(version), runtime)

    def first(self):
        version, runtime = self.doubles[0]
        return runtime, Engine(plan(version), runtime)

    def test_plans_run_from_host_memory(self):
        for _, engine in self.each():
            self.assertEqual((engine.backend, engine.outputs["y"].shape), ("TensorRT", (-1, 4)))
            self.assertEqual(engine.profiles(), [{"x": ((1, 4), (2, 4), (8, 4))}])
            np.testing.assert_array_equal(engine.run({"x": ROWS})["y"], ROWS)
            with self.assertRaises(Error) as caught:
                engine.run({"x": np.zeros((9, 4))})
            self.assertEqual(caught.exception.code, ErrorCode.SHAPE)

    def test_sessions_run_from_host_memory(self):
        for _, engine in self.each():
            with Session(engine) as session:
                requests = [session.submit({"x": ROWS + i}) for i in range(8)]
                for i, request in enumerate(requests):
                    np.testing.assert_array_equal(request.result(60)["y"], ROWS + i)
                np.testing.assert_array_equal(session.run({"x": ROWS})["y"], ROWS)

    def test_device_memory_is_used_where_it_is(self):
        for runtime, engine in self.each():
            with Session(engine) as session:
                for wrap in (lambda array: array, Cuda, Torch):
                    x, y = wrap(runtime.to_device(ROWS)), wrap(runtime.empty((3, 4)))
                    self.assertIs(session.run({"x": x}, {"y": y})["y"], y)
                    array = getattr(y, "array", y)
                    np.testing.assert_array_equal(array.numpy(), ROWS)
                    if wrap is Torch:
                        stream = session._streams[0].native
                        self.assertEqual({*x.streams, *y.streams}, {stream})
                np.testing.assert_array_equal(session.run({"x": Torch(runtime.to_device(ROWS))})["y"], ROWS)
                mine = Stream(runtime)
                x = Torch(runtime.to_device(ROWS))
                np.testing.assert_array_equal(session.submit({"x": x}, stream=mine).result(60)["y"], ROWS)
                self.assertEqual(set(x.streams), {mine.native})
                theirs = Stream(runtime)
                y = runtime.empty((3, 4))
                session.run({"x": Cuda(runtime.to_device(ROWS), stream=theirs.native)}, {"y": y})
                np.testing.assert_array_equal(y.numpy(), ROWS)

    def test_device_memory_that_does_not_fit_is_refused(self):
        runtime, engine = self.first()
        array = runtime.to_device(ROWS)
        with Session(engine) as session:
            with self.assertRaisesRegex(ValueError, "not dense"):
                session.run({"x": Cuda(array, strides=(4, 12))})
            with self.assertRaisesRegex(TypeError, "does not know"):
                session.run({"x": Cuda(array, typestr="<c8")})
            with self.assertRaises(Error) as caught:
                session.run({"x": Cuda(array, typestr="<i4")})  # device memory is not converted
            self.assertEqual(caught.exception.code, ErrorCode.INVALID_ARGUMENT)
        self.assertFalse(planrt._session._pending)

    def test_device_memory_that_is_read_only_is_not_written(self):
        runtime, engine = self.first()
        x, y = runtime.to_device(ROWS), runtime.to_device(-ROWS)
        fixed = lambda array: Cuda(array, data=(array._address, True))
        with Session(engine) as session:
            np.testing.assert_array_equal(session.run({"x": fixed(x)})["y"], ROWS)
            with self.assertRaisesRegex(ValueError, "'y' is read-only"):
                session.run({"x": x}, {"y": fixed(y)})
        with self.assertRaisesRegex(ValueError, "'y' is read-only"):
            engine.context().bind("y", fixed(y))
        engine.context().bind("x", fixed(x))
        np.testing.assert_array_equal(y.numpy(), -ROWS)

    def test_contexts_enqueue(self):
        for runtime, engine in self.each():
            context, stream = engine.context(), Stream(runtime)
            y = runtime.empty((3, 4))
            x = Torch(runtime.to_device(ROWS))
            context.bind("x", x, stream)
            context.bind("y", y)
            context.enqueue(stream)
            stream.synchronize()
            self.assertTrue(stream.is_done())
            np.testing.assert_array_equal(y.numpy(), ROWS)
            self.assertEqual(x.streams, [stream.native])

    def test_arrays_on_the_device(self):
        runtime, _ = self.first()
        for array in (ROWS, np.zeros((0, 3), np.float16), np.array(7, np.int64), np.array([True, False])):
            np.testing.assert_array_equal(runtime.to_device(array).numpy(), array)
        with self.assertRaises(TypeError):
            runtime.empty((2,), np.complex64)

    def test_plans_are_built(self):
        for runtime, _ in self.each():
            phases = []
            built = planrt.build(
                MODEL,
                runtime,
                BuildOptions(
                    profiles={"x": ((1, 4), (2, 4), (8, 4))},
                    workspace_limit=4096,
                    progress=lambda *step: phases.append(step),
                ),
            )
            self.assertIn(b"workspace=4096", bytes(built.data))
            self.assertEqual(len(built.data), len(built))
            self.assertTrue(phases)
            self.assertEqual(Engine(built, runtime).profiles(), [{"x": ((1, 4), (2, 4), (8, 4))}])
            data = planrt.build(MODEL, runtime, BuildOptions(profiles=[{"x": (3, 4)}])).data  # the plan lives with its bytes
            self.assertEqual(Engine(data, runtime).profiles(), [{"x": ((3, 4),) * 3}])
            with tempfile.TemporaryDirectory() as folder:
                path, saved = Path(folder) / "model.onnx", Path(folder) / "a.plan"
                path.write_bytes(MODEL)
                planrt.build(path, runtime).save(saved)
                self.assertEqual(saved.read_bytes()[1:4], b"trt")

    def test_plans_are_refitted(self):
        old, new = (onnx(f"input x 0 -1,4\nconv n {weights}\noutput y\n") for weights in ("1.5,3", "7,0.25"))
        for runtime, _ in self.each():
            options = BuildOptions(features=planrt.BuildFeatures.REFITTABLE)
            built = planrt.build(old, runtime, options).data.tobytes()
            self.assertIn(b"weights n 2 1.5,3", built)
            self.assertIn(b"weights n 2 7,0.25", planrt.refit(built, new, runtime).data.tobytes())
            with self.assertRaises(Error) as raised:
                planrt.refit(built, onnx("input x 0 -1,4\nconv m 1,2\noutput y\n"), runtime)
            self.assertEqual(raised.exception.code, ErrorCode.INCOMPATIBLE_MODEL)
            with self.assertRaises(TypeError):
                planrt.refit("old.plan", new, runtime)

    def test_of_a_folder_the_plan_that_runs_here_is_taken(self):
        with tempfile.TemporaryDirectory() as scratch:
            plans = []
            for version, runtime in self.doubles:
                file = Path(scratch) / f"{version}.plan"
                file.write_bytes(plan(version) + f"name {version}\n".encode())
                plans.append({"file": file, "tensorrt": version, "tolerance": {"rtol": 0, "atol": 0.5}})
            folder = Path(scratch) / "folder"
            planrt.write_folder(folder, name="copy", plans=plans, tests=[("rows", {"x": ROWS}, {"y": ROWS + 0.4})])
            taken = []
            for version, runtime in self.doubles:
                engine = Engine.from_folder(folder, runtime)
                taken.append(engine.name)
                self.assertEqual(engine.self_test(folder)["tolerance"], {"rtol": 0, "atol": 0.5})
            # A plan of the RTX double runs in none but its own version; others may run in several.
            self.assertGreaterEqual(len(set(taken)), 2)
            planrt.write_folder(folder, name="copy", plans=plans, tests=[("rows", {"x": ROWS}, {"y": ROWS + 0.6})])
            engine = Engine.from_folder(folder, runtime)
            with self.assertRaises(Error) as caught:
                engine.self_test(folder)
            self.assertEqual(caught.exception.code, ErrorCode.SELF_TEST)
            self.assertIn('output "y": 12 of 12 elements are off', caught.exception.detail)

    def test_of_a_folder_a_plan_is_built_where_none_runs(self):
        with tempfile.TemporaryDirectory() as scratch:
            model, folder, kept = (Path(scratch) / name for name in ("model.onnx", "folder", "kept.plan"))
            model.write_bytes(MODEL)
            planrt.write_folder(folder, name="copy", onnx=model, tests=[("rows", {"x": ROWS}, {"y": ROWS})])
            for _, runtime in self.doubles:
                kept.unlink(missing_ok=True)
                phases = []
                options = BuildOptions(
                    profiles={"x": ((1, 4), (2, 4), (8, 4))}, progress=lambda *step: phases.append(step)
                )

                def load():
                    phases.clear()
                    return Engine.from_folder(folder, runtime, build=options, built_plan=kept)

                self.assertEqual((load().backend, bool(phases)), ("TensorRT", True))
                self.assertEqual((load().backend, bool(phases)), ("TensorRT", False))  # it is kept
                kept.write_bytes(kept.read_bytes() + b" ")
                self.assertEqual((load().backend, bool(phases)), ("TensorRT", True))  # it was changed
                self.assertEqual(sorted(path.name for path in Path(scratch).glob("kept*")), KEPT)
            with self.assertRaises(ValueError):
                Engine.from_folder(folder, runtime, build=options)
            kept.unlink()

            def interrupt(*_):
                raise KeyboardInterrupt

            with self.assertRaises(KeyboardInterrupt):
                Engine.from_folder(folder, runtime, build=BuildOptions(progress=interrupt), built_plan=kept)
            self.assertEqual(sorted(path.name for path in Path(scratch).glob("kept*")), KEPT[1:])
            with self.assertRaises(Error) as caught:
                Engine.from_folder(folder, runtime, build=BuildOptions(), built_plan=Path(scratch) / "no" / "such.plan")
            self.assertEqual(caught.exception.code, ErrorCode.IO)

    def test_of_several_processes_one_builds(self):
        with tempfile.TemporaryDirectory() as scratch:
            model, folder, kept = (Path(scratch) / name for name in ("model.onnx", "folder", "kept.plan"))
            model.write_bytes(MODEL)
            planrt.write_folder(folder, name="copy", onnx=model)
            library = next(file for file in Path(FOLDER).glob("*/lib*.so*") if "parser" not in file.name)
            program = """if True:
                import sys, planrt
                phases = set()
                options = planrt.BuildOptions(progress=lambda phase, *_: phases.add(phase))
                runtime = planrt.Runtime(tensorrt=sys.argv[1])
                engine = planrt.Engine.from_folder(sys.argv[2], runtime, build=options, built_plan=sys.argv[3])
                assert engine.backend == "TensorRT"
                print(any("waiting" not in phase for phase in phases))
            """
            command = [sys.executable, "-c", program, library, folder, kept]
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
            said = [process.communicate()[0].strip() for process in running]
            self.assertEqual(sorted(said), ["False"] * 3 + ["True"])

    def test_builds_end_when_progress_says_so(self):
        class Interrupted(BaseException):
            pass

        def interrupt(*_):
            raise Interrupted

        for runtime, _ in self.each():
            with self.assertRaises(Interrupted):
                planrt.build(MODEL, runtime, BuildOptions(progress=interrupt))
            with self.assertRaises(Error) as caught:
                planrt.build(MODEL, runtime, BuildOptions(progress=lambda *_: False))
            self.assertEqual(caught.exception.code, ErrorCode.CANCELLED)
            with self.assertRaises(ValueError):
                planrt.build(MODEL, runtime, BuildOptions(profiles={"x": ((1, 4), (2,), (8, 4))}))
            with self.assertRaises(Error) as caught:
                planrt.build(MODEL, runtime, BuildOptions(profiles={"z": (1, 4)}))
            self.assertEqual(caught.exception.code, ErrorCode.NOT_FOUND)

    def test_threads_share_a_session(self):
        runtime, engine = self.first()
        wrong = []

        def work(seed):
            for i in range(20):
                rows = np.full((1 + i % 3, 4), seed * 100 + i, np.float32)
                value = Torch(runtime.to_device(rows)) if i % 2 else rows
                if not np.array_equal(session.run({"x": value})["y"], rows):
                    wrong.append((seed, i))

        with Session(engine) as session:
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])


class Volumes(Doubled):
    """Volumes, labels and scores in a GPU's memory."""

    COPY = "double-plan\nlayers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,3,4,5,6 1,3,4,5,6 2,3,4,5,6 8,3,4,5,6\noutput y 0 -1,3,4,5,6\ncopies\n"
    RECIPE = {"planrt_recipe": 1, "channels": 3, "tiling": {"patch": [4, 5, 6]}, "decision": {"labels": [0, 5, 300]}}
    SHAPE = (7, 9, 11)

    def setUp(self):
        self.voxels = np.random.default_rng(3).normal(0, 2, (3, *self.SHAPE)).astype(np.float32)

    def segmenter(self, version, runtime):
        return planrt.Segmenter.from_folds(Engine(plan(version, self.COPY), runtime), self.RECIPE)

    def test_they_are_used_where_they_are(self):
        for version, runtime in self.doubles:
            segmenter = self.segmenter(version, runtime)
            expected = segmenter.run(planrt.Volume(self.voxels, (1, 1, 1)), logits=True)
            self.assertEqual(set(np.unique(expected.labels)), {0, 5, 300})
            for wrap in (lambda array: array, Cuda, Torch):
                voxels = wrap(runtime.to_device(self.voxels))
                volume = planrt.Volume(voxels, (1, 1, 1))
                labels, scores = runtime.to_device(np.zeros(self.SHAPE, np.uint16)), wrap(runtime.empty(self.voxels.shape))
                found = segmenter.run(volume, labels, logits=scores)
                self.assertIs(found.labels, labels)
                self.assertIs(found.scores, scores)
                np.testing.assert_array_equal(labels.numpy(), expected.labels)
                np.testing.assert_array_equal(getattr(scores, "array", scores).numpy(), expected.scores)
                self.assertEqual(found.volume_ml(5), expected.volume_ml(5))
                if wrap is Torch:
                    self.assertTrue(all(stream for stream in (*voxels.streams, *scores.streams)))
            voxels = runtime.to_device(self.voxels)
            stream = Stream(runtime)
            ordered = planrt.Volume(Cuda(voxels, stream=stream.native), (1, 1, 1))
            np.testing.assert_array_equal(segmenter.run(ordered).labels, expected.labels)
            self.assertEqual(ordered.shape, (7, 9, 11))
            there, here = (planrt.Volume(memory, (1, 1, 1)) for memory in (voxels, self.voxels))
            self.assertGreaterEqual(segmenter.estimate(there).most, segmenter.estimate(here).most)
            segmenter.check_company(there)

    def test_memory_that_does_not_fit_is_refused(self):
        version, runtime = self.doubles[0]
        segmenter = self.segmenter(version, runtime)
        voxels = runtime.to_device(self.voxels)
        volume = planrt.Volume(voxels, (1, 1, 1))
        for odd, said in (
            (runtime.to_device(self.voxels.astype(np.float64)), "float64, and is not converted"),
            (runtime.to_device(self.voxels[0, 0]), "this one has 2"),
            (Cuda(voxels, strides=(4, 44, 400, 4000)), "not dense"),
        ):
            with self.assertRaisesRegex((TypeError, ValueError), said):
                segmenter.submit(planrt.Volume(odd, (1, 1, 1)))
        for labels, said in (
            (runtime.empty(self.SHAPE, np.int16), "int16; they are uint8 or uint16"),
            (runtime.empty((7, 9, 10), np.uint16), "has the shape"),
            (Cuda(runtime.empty(self.SHAPE, np.uint16), data=(voxels._address, True)), "is read-only"),
            (Cuda(runtime.empty(self.SHAPE, np.uint8)), "labels"),  # 300 does not fit
            ([1, 2], "a numpy array or memory of a GPU, not list"),
        ):
            with self.assertRaisesRegex((TypeError, ValueError, Error), said):
                segmenter.submit(volume, labels)
        with self.assertRaisesRegex(Error, "share"):
            segmenter.run(volume, logits=voxels)


class Built(Doubled):
    """Segmenters whose plans are built where they are to run."""

    def test_each_fold_has_a_plan_that_is_built_once(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        folder, heard = Path(scratch.name) / "folds", []

        def hear(*told):
            gc.collect()
            heard.append(told)

        profile = {"x": ((1, 3, 4, 5, 6), (2, 3, 4, 5, 6), (8, 3, 4, 5, 6))}
        options = {"build": BuildOptions(profiles=profile, progress=hear), "built_plan": Path(scratch.name) / "built.plan"}
        for fold in (0, 1):
            model = Path(scratch.name) / "model.onnx"
            model.write_bytes(onnx(f"input x 0 -1,3,4,5,6\nnode n{fold}\noutput y\n"))
            planrt.write_folder(folder / f"fold_{fold}", name="copy", onnx=model)
        (folder / "recipe.json").write_text(json.dumps(Volumes.RECIPE))
        runtime = self.doubles[0][1]
        volume = planrt.Volume(np.random.default_rng(3).normal(0, 2, (3, 7, 9, 11)).astype(np.float32), (1, 1, 1))
        expected = planrt.Segmenter(folder, runtime, **options).run(volume).labels
        self.assertTrue(heard)
        names = {path.name for path in Path(scratch.name).glob("*.plan")}
        self.assertEqual(names, {"built.fold_0.plan", "built.fold_1.plan"})
        heard.clear()
        np.testing.assert_array_equal(planrt.Segmenter(folder, runtime, **options).run(volume).labels, expected)
        self.assertEqual(heard, [])


class Heads(Doubled):
    """Models whose last convolution was folded out of them, on the sessions' GPU: held against the processor, to the bit."""

    # Gives back the three channels that it takes: they are the features.
    COPY = "double-plan\nlayers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,3,4,5,6 1,3,4,5,6 2,3,4,5,6 8,3,4,5,6\noutput y 0 -1,3,4,5,6\ncopies\n"
    RESAMPLED = {"resampling": {"spacing_mm": [1.5, 1, 1.25], "geometry": "edges"}, "transpose": [1, 0, 2]}

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        runs = ctypes.CDLL("libcuda.so.1").cudaDoubleKernelRuns
        runs.restype = ctypes.c_int64
        self.kernel_runs = runs

    def folder(self, classes, decision, **more):
        random = np.random.default_rng(classes)
        self.weights, self.biases = (random.normal(0, 1, shape).astype(np.float32) for shape in ((classes, 3), (classes,)))
        head = self.scratch / "head.bin"
        head.write_bytes(self.weights.tobytes() + self.biases.tobytes())
        plans = []
        for version, _ in self.doubles:
            file = self.scratch / f"{version}.plan"
            file.write_bytes(plan(version, self.COPY))
            plans.append({"file": file, "tensorrt": version})
        folder = self.scratch / "folder"
        recipe = {"planrt_recipe": 1, "channels": 3, "tiling": {"patch": [4, 5, 6], "mirrored": [True, False, False]}, "decision": decision}
        described = {"file": "head.bin", "features": 3, "channels": classes, "input": "y", "output": "logits"}
        planrt.write_folder(folder, name="copy", plans=plans, files={"head.bin": head}, more={"head": described, "recipe": {**recipe, **more}})
        return folder

    def segmenters(self, runtime, folder):
        """On the host, and on the device."""
        os.environ["CUDA_DOUBLE_FAILS"] = "cuModuleGetFunction=500"
        try:
            here = planrt.Segmenter(folder, runtime)
        finally:
            del os.environ["CUDA_DOUBLE_FAILS"]
        return here, planrt.Segmenter(folder, runtime)

    def volume(self, **odd):
        voxels = np.random.default_rng(5).normal(0, 2, (3, 11, 9, 17)).astype(np.float32)
        for number, value in odd.items():
            voxels[int(number[1:]), 5, 4, 8] = value
        return planrt.Volume(voxels, (2, 1.5, 1))

    def run_both(self, here, there, volume, on_device=True, **options):
        expected, before = here.run(volume, **options), self.kernel_runs()
        found = there.run(volume, **options)
        self.assertEqual(self.kernel_runs() > before, on_device)
        return expected, found

    def test_labels_are_those_of_the_host(self):
        regions = {"activation": "sigmoid", "regions": [{"channel": 6, "label": 3}, {"channel": 0, "label": 1}], "threshold": 0.6}
        for classes, decision, more in (
            (7, {"labels": [0, 5, 2, 200, 4, 1, 7], "activation": "softmax"}, {}),
            (8, {"labels": list(range(8))}, self.RESAMPLED),
            (1, {"labels": [4]}, {}),
            (300, {"labels": list(range(300))}, {"crop_to_nonzero": True}),
            (9, regions, self.RESAMPLED),
            (9, {**regions, "activation": "none", "largest_component": True}, {}),
            # What all channels of a voxel are needed for, and what is decided before it is resampled, is the host's.
            (9, {**regions, "activation": "softmax", "threshold": 0.2}, self.RESAMPLED),
            (8, {"labels": list(range(8)), "before_resampling": True}, self.RESAMPLED),
        ):
            with self.subTest(decision=decision, more=more):
                folder = self.folder(classes, decision, **more)
                for _, runtime in self.doubles[:2]:
                    here, there = self.segmenters(runtime, folder)
                    expected, found = self.run_both(here, there, self.volume())
                    np.testing.assert_array_equal(found.labels, expected.labels)
                    for label in np.unique(expected.labels):
                        self.assertEqual(found.volume_ml(int(label)), expected.volume_ml(int(label)))
                    self.assertTrue(classes == 1 or len(np.unique(found.labels)) > 1)
                    if not decision.get("before_resampling"):
                        expected, found = self.run_both(here, there, self.volume(), logits=True)
                        np.testing.assert_array_equal(found.scores, expected.scores)
                        np.testing.assert_array_equal(found.labels, expected.labels)

    def test_labels_are_those_of_plain_numbers(self):
        folder = self.folder(30, {"labels": list(range(30))})
        there = planrt.Segmenter(folder, self.doubles[0][1])
        volume = self.volume()
        channels = np.einsum("cf,fzyx->czyx", self.weights.astype(np.float64), volume.voxels) + self.biases[:, None, None, None]
        two = np.sort(channels, axis=0)[-2:]
        changed = there.run(volume).labels != channels.argmax(0)
        self.assertFalse((changed & (two[1] - two[0] > 1e-4)).any())
        self.assertLess(changed.mean(), 1e-3)

    def test_device_memory_does_not_grow_with_the_classes(self):
        taken = []
        for classes in (25, 118):
            there = planrt.Segmenter(self.folder(classes, {"labels": list(range(classes))}), self.doubles[0][1])
            taken.append(there.estimate(planrt.Volume(np.zeros((3, 60, 200, 200), np.float32), (1, 1, 1))).device)
        self.assertGreater(taken[0], 0)
        self.assertLess(taken[1], 1.05 * taken[0])

    def test_a_budget_of_device_memory_is_kept_by_strips(self):
        self.__class__.COPY, small = self.COPY.replace("4,5,6", "9,40,50"), self.COPY
        self.addCleanup(setattr, self.__class__, "COPY", small)
        patch = {"patch": [9, 40, 50]}
        regions = {"activation": "sigmoid", "regions": [{"channel": 6, "label": 3}, {"channel": 0, "label": 1}]}
        edges = {"resampling": {"spacing_mm": [1.5, 1, 1.25], "geometry": "edges"}, "crop_to_nonzero": True}
        voxels = np.random.default_rng(5).integers(-9, 10, (3, 9, 330, 300)).astype(np.int8)
        voxels[:, :2] = 0
        volume = planrt.Volume(voxels, (2, 1.5, 1))
        runtime = self.doubles[0][1]
        for decision, more in (
            ({"labels": list(range(9))}, {}),
            (regions, edges),
            ({"labels": list(range(9)), "before_resampling": True, "largest_component": True}, edges),
        ):
            with self.subTest(decision=decision, more=more):
                here, there = self.segmenters(runtime, self.folder(9, decision, tiling=patch, **more))
                expected, found = self.run_both(here, there, volume)
                np.testing.assert_array_equal(found.labels, expected.labels)
                most = there.estimate(volume).device
                with self.assertRaises(Error) as raised:
                    there.estimate(volume, device_memory_budget=1)
                self.assertEqual(raised.exception.code, ErrorCode.OUT_OF_MEMORY)
                least = int(re.search(r"takes (\d+) bytes of device memory at least, and the budget is 1", str(raised.exception))[1])
                self.assertEqual(there.estimate(volume).least_device, least)
                # While the scan is resampled there is no ring yet.
                self.assertLess(least, (0.9 if more else 0.7) * most)
                counts = set()
                for budget in (least, (2 * least + most) // 3, (least + most) // 2, most):
                    told = there.estimate(volume, device_memory_budget=budget)
                    self.assertLessEqual(told.device, budget)
                    before = self.kernel_runs()
                    segmentation = there.submit(volume, device_memory_budget=budget)
                    labels = segmentation.result()
                    self.assertGreater(self.kernel_runs(), before)
                    np.testing.assert_array_equal(labels.labels, expected.labels)
                    for label in range(9):
                        self.assertEqual(labels.volume_ml(label), expected.volume_ml(label))
                    done, count = segmentation.progress()
                    self.assertEqual(done, count)
                    counts.add(count)
                self.assertGreater(len(counts), 1)
                for budget in (least - 1, 1):
                    with self.assertRaises(Error) as raised:
                        there.run(volume, device_memory_budget=budget)
                    self.assertIn(f"takes {least} bytes of device memory at least, and the budget is {budget}", str(raised.exception))
                # Where no more is free, strips are what is done without a budget, too; and where that is not enough the host does it.
                for free, on_device in ((least, True), (least - 1, False)):
                    os.environ["CUDA_DOUBLE_MEMORY"] = str(self.used_memory() + free)
                    try:
                        expected, found = self.run_both(here, there, volume, on_device)
                    finally:
                        del os.environ["CUDA_DOUBLE_MEMORY"]
                    np.testing.assert_array_equal(found.labels, expected.labels)

    def used_memory(self):
        driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.assertEqual(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), 0)
        self.assertEqual(driver.cuCtxPushCurrent_v2(context), 0)
        self.assertEqual(driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), 0)
        self.assertEqual(driver.cuCtxPopCurrent_v2(ctypes.byref(context)), 0)
        self.assertEqual(driver.cuDevicePrimaryCtxRelease_v2(0), 0)
        return total.value - free.value

    def test_infinite_features_whose_sum_is_no_number(self):
        folder = self.folder(7, {"labels": list(range(7))}, tiling={"patch": [4, 5, 6]})
        volume = self.volume(_0=np.inf, _1=np.inf, _2=np.inf)
        for segmenter in self.segmenters(self.doubles[0][1], folder):
            with self.assertRaises(Error) as raised:
                segmenter.run(volume)
            self.assertEqual(raised.exception.code, ErrorCode.INVALID_MODEL)
            self.assertIn("no number", str(raised.exception))
            segmenter.run(volume, nan_allowed=True)


if __name__ == "__main__":
    FOLDER = sys.argv.pop(1)
    unittest.main(argv=sys.argv)
