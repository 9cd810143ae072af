#!/usr/bin/env python3
"""Plans and device memory, over the test doubles of TensorRT and the driver: test_device.py DOUBLES

DOUBLES is the folder that tensorrt-sys/tests/double/build.sh makes; the driver's double is on LD_LIBRARY_PATH.
"""

import ctypes
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


def plan(version):
    """A plan as the double of a TensorRT takes it."""
    major, minor, patch = map(int, version.split("."))
    if (major, minor) == (8, 5):
        return b"ptrt" + bytes(20) + LINES.encode()
    return (b"vtrt" if major == 1 else b"ftrt") + bytes(20) + bytes([major, minor, patch, 1]) + LINES.encode()


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


class Device(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        libraries = sorted(
            file for file in Path(FOLDER).glob("*/lib*.so*") if "parser" not in file.name and not file.is_symlink()
        )
        assert libraries, f"no doubles in {FOLDER}"
        cls.doubles = [(file.parent.name, planrt.Runtime(tensorrt=file)) for file in libraries]

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


if __name__ == "__main__":
    FOLDER = sys.argv.pop(1)
    unittest.main(argv=sys.argv)
