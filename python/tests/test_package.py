#!/usr/bin/env python3
"""The package on the CPU: PLANRT_LIBRARY=libplanrt.so.0 PLANRT_MODELS=folder test_package.py

The folder is what tests/models/make_models.py wrote; PLANRT_HEADER names planrt.h.
"""

import asyncio
import concurrent.futures
import contextlib
import copy
import ctypes
import gc
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import unittest
import weakref
from pathlib import Path

import numpy as np
import planrt
from planrt import Engine, Error, ErrorCode, Session, _library

MODELS = Path(os.environ["PLANRT_MODELS"])
IMAGE = np.linspace(0, 1, 2 * 8**3, dtype=np.float32).reshape(2, 1, 8, 8, 8)


class HostTensor:
    """A tensor of another library's in host memory."""

    def __init__(self, array):
        self.array, self.exports = array, 0

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **arguments):
        self.exports += 1
        return self.array.__dlpack__(**arguments)


@contextlib.contextmanager
def entering(function):
    """A thread that calls a function of the library's stands before its door until it is told to go."""
    library = _library.load()
    call = getattr(library, function)
    entered, go = threading.Event(), threading.Event()

    def wait(*arguments):
        entered.set()
        go.wait()
        return call(*arguments)

    setattr(library, function, wait)
    try:
        yield entered, go
    finally:
        go.set()
        setattr(library, function, call)


@contextlib.contextmanager
def interrupted(function):
    """Ctrl-C comes while a function of the library's is at work, and is heard of when that returns."""
    call = getattr(_library.load(), function)
    check = call.errcheck

    def interrupt(*_):
        raise KeyboardInterrupt

    call.errcheck = interrupt
    try:
        yield
    finally:
        call.errcheck = check


class Case(unittest.TestCase):
    def fails(self, code, text, call, *arguments, **named):
        with self.assertRaises(Error) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code, code)
        self.assertIn(text, str(caught.exception))
        return caught.exception


class Header(unittest.TestCase):
    """The functions are declared as planrt.h has them."""

    # What a C type is here: handles and structs by their kinds.
    KINDS = {
        "int32_t": ctypes.c_int32,
        "double": ctypes.c_double,
        "float *": ctypes.POINTER(ctypes.c_float),
        "double *": ctypes.POINTER(ctypes.c_double),
        "uint32_t": ctypes.c_uint32,
        "int64_t": ctypes.c_int64,
        "size_t": ctypes.c_size_t,
        "bool": ctypes.c_bool,
        "const char *": ctypes.c_char_p,
        "char **": ctypes.POINTER(ctypes.c_void_p),
        "void": None,
        "planrt_tensor *": ctypes.POINTER(_library.Tensor),
        "planrt_tensor_info *": ctypes.POINTER(_library.TensorInfo),
        "planrt_profile_shape *": ctypes.POINTER(_library.ProfileShape),
        "planrt_input_shape *": ctypes.POINTER(_library.InputShape),
        "planrt_bench_settings *": ctypes.POINTER(_library.BenchSettings),
        "planrt_request_options *": ctypes.POINTER(_library.RequestOptions),
        "planrt_session_statistics *": ctypes.POINTER(_library.SessionStatistics),
        "planrt_volume *": ctypes.POINTER(_library.Volume),
        "planrt_label_map *": ctypes.POINTER(_library.LabelMap),
        "planrt_segmenter_info *": ctypes.POINTER(_library.SegmenterInfo),
        "planrt_segmentation_options *": ctypes.POINTER(_library.SegmentationOptions),
        "planrt_log_callback": _library.LogCallback,
        "planrt_release_callback": _library.ReleaseCallback,
        "planrt_build_progress": _library.BuildProgress,
        "int32_t *": ctypes.POINTER(ctypes.c_int32),
        "uint32_t *": ctypes.POINTER(ctypes.c_uint32),
        "int64_t *": ctypes.POINTER(ctypes.c_int64),
        "size_t *": ctypes.POINTER(ctypes.c_size_t),
        "bool *": ctypes.POINTER(ctypes.c_bool),
    }

    @classmethod
    def setUpClass(cls):
        cls.text = re.sub(r"/\*.*?\*/", "", Path(os.environ["PLANRT_HEADER"]).read_text(), flags=re.S)
        cls.numbers = {name: kind for kind, name in re.findall(r"typedef (u?int32_t) (planrt_\w+);", cls.text)}

    def kind(self, declared):
        """What a parameter is in ctypes."""
        plain = re.sub(r"\s+", " ", declared.replace("struct ", "")).strip()
        stars = plain.count("*")
        words = [word for word in plain.replace("*", " ").split() if word != "const"]
        name = self.numbers.get(words[0], words[0])
        if name == "char" and stars == 1 and "const" in plain:
            return ctypes.c_char_p
        known = self.KINDS.get(f"{name} {'*' * stars}".strip())
        if known is not None or name == "void" and stars == 0:
            return known
        return ctypes.c_void_p if stars == 1 else ctypes.POINTER(ctypes.c_void_p)

    def test_the_functions_are_those_of_the_header(self):
        declared = {}
        pattern = r"(struct planrt_error \*|const char \*|const void \*|void \*|\w+ )\s*(planrt_\w+)\(([^()]*)\);"
        for result, name, parameters in re.findall(pattern, self.text):
            arguments = [] if parameters.strip() == "void" else [self.kind(one) for one in parameters.split(",")]
            declared[name] = (result, arguments)
        self.assertGreater(len(declared), 100)
        for name, arguments in _library.FALLIBLE.items():
            self.assertEqual(declared[name], ("struct planrt_error *", arguments), name)
        for name, (result, arguments) in _library.INFALLIBLE.items():
            self.assertEqual(declared[name][1], arguments, name)
            self.assertIs(self.kind(declared[name][0]), result, name)

    def test_the_constants_are_those_of_the_header(self):
        constants = {name: int(value) for name, value in re.findall(r"#define PLANRT_(\w+) (-?\d+)$", self.text, re.M)}
        self.assertEqual(_library.API_VERSION, (constants["API_MAJOR"], constants["API_MINOR"]))
        self.assertEqual(_library.MAX_RANK, constants["MAX_RANK"])
        self.assertEqual(_library.BATCH_SIZES, constants["BATCH_SIZES"])
        for kinds, prefix in (
            (ErrorCode, "ERROR"),
            (planrt.Precision, "PRECISION"),
            (planrt.BuildFeatures, "BUILD"),
            (planrt.HardwareCompatibility, "HARDWARE"),
            (planrt.InstanceNormalization, "INSTANCE_NORMALIZATION"),
            (planrt.Tactics, "TACTICS"),
        ):
            ours = {f"{prefix}_{one.name}": one.value for one in kinds.__members__.values() if one.value}
            theirs = {n: v for n, v in constants.items() if n.startswith(prefix + "_") and v}
            self.assertEqual(ours, theirs)
        names = planrt._tensors._NAMES
        self.assertEqual([constants[name.upper()] for name in names], list(range(1, len(names) + 1)))

    def test_the_structs_have_the_fields_of_the_header(self):
        for struct, name in (
            (_library.Tensor, "tensor"),
            (_library.TensorInfo, "tensor_info"),
            (_library.ProfileShape, "profile_shape"),
            (_library.InputShape, "input_shape"),
            (_library.BenchSettings, "bench_settings"),
            (_library.RequestOptions, "request_options"),
            (_library.SessionStatistics, "session_statistics"),
            (_library.Volume, "volume"),
            (_library.LabelMap, "label_map"),
            (_library.ScoreMap, "score_map"),
            (_library.ScorePlane, "score_plane"),
            (_library.SegmenterInfo, "segmenter_info"),
            (_library.SegmentationOptions, "segmentation_options"),
        ):
            body = re.search(rf"typedef struct planrt_{name} {{(.*?)}} planrt_{name};", self.text, re.S)[1]
            fields = re.findall(r"(\w+)(?:\[\w+\])?;", body)
            self.assertEqual([field for field, _ in struct._fields_], fields)


class Running(Case):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(MODELS / "small.onnx", threads=2)
        cls.expected = cls.engine.run({"image": IMAGE})["prob"]

    def same(self, result):
        np.testing.assert_array_equal(result["prob"], self.expected)

    def test_what_a_model_says_of_itself(self):
        self.assertEqual((self.engine.backend, self.engine.name), ("CPU", "small"))
        image = self.engine.inputs["image"]
        self.assertEqual((image.shape, image.dimension_names[0]), ((-1, 1, 8, 8, 8), "batch"))
        self.assertEqual((image.element_type, image.dtype), ("float32", np.float32))
        self.assertEqual(self.engine.metadata()["format"], "onnx")
        self.assertTrue(self.engine.layers())
        self.assertEqual(self.engine.profiles(), [])
        told = self.engine.inspect({"image": (2, 1, 8, 8, 8)}, runs=2)
        self.assertEqual((told["inputs"], told["runs"]), ({"image": [2, 1, 8, 8, 8]}, 2))
        self.assertTrue(all(layer["time_us"] >= 0 for layer in told["layers"] if "time_us" in layer))
        measured = self.engine.bench(concurrency=2, least_runs=3, warm_up=0, duration=0, percentiles=[99.5])
        self.assertEqual((measured["runs"], list(measured["latency"]["percentiles_ms"])), (6, ["99.5"]))
        self.fails(ErrorCode.INVALID_ARGUMENT, "rank", self.engine.inspect, {"image": [1] * 9}, runs=1)
        self.fails(ErrorCode.UNSUPPORTED, "", self.engine.statistic, "weights_size")
        self.assertEqual(planrt.version().split(".")[:2], list(map(str, _library.API_VERSION)))

    def test_what_owns_a_handle_is_not_copied(self):
        session = Session(self.engine)
        self.addCleanup(session.close)
        for owner in (self.engine, self.engine.runtime, session, session.submit({"image": IMAGE})):
            for copied in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.assertRaisesRegex(TypeError, "cannot be copied"):
                    copied(owner)

    def test_extents_are_not_cut(self):
        shape = (2**64 + 1, 1, 8, 8, 8)
        for call in (lambda: planrt.Context(self.engine).set_shape("image", shape), lambda: self.engine.inspect({"image": shape}, runs=1)):
            with self.assertRaisesRegex(ValueError, "not fit in 64 bits"):
                call()

    def test_numbers_are_not_cut(self):
        calls = [
            lambda: Engine(MODELS / "small.onnx", threads=2**32 + 1),
            lambda: planrt.Runtime(device=2**32),
            lambda: Session(self.engine, memory_budget=-1),
            lambda: Session(self.engine, largest_batch=2**32 + 1),
            lambda: Session(self.engine, max_delay=1e20),
            lambda: self.engine.inspect(runs=2**32 + 1),
            lambda: self.engine.device_memory_size(2**32),
        ]
        for call in calls:
            with self.assertRaisesRegex(ctypes.ArgumentError, "not fit in"):
                call()
        with Session(self.engine) as session:
            for call in [
                lambda: Session(self.engine, preferred_batches=[2**32 + 1]),
                lambda: self.engine.bench(streams=2**32 + 1),
                lambda: session.run({"image": IMAGE}, timeout=1e20),
                lambda: session.submit({"image": IMAGE}, priority=2**32),
            ]:
                with self.assertRaisesRegex(ValueError, "not fit in"):
                    call()

    def test_models_come_from_bytes_too(self):
        data = (MODELS / "small.onnx").read_bytes()
        for model in (data, bytearray(data), memoryview(data)):
            self.same(Engine(model, threads=2).run({"image": IMAGE}))

    def test_inputs_are_lent_or_converted(self):
        wide = np.zeros((2, 1, 8, 8, 16), np.float32)
        wide[..., ::2] = IMAGE
        foreign = IMAGE.astype(">f4")
        for image in (IMAGE.astype(np.float64), IMAGE.tolist(), wide[..., ::2], np.asfortranarray(IMAGE), foreign):
            self.same(self.engine.run({"image": image}))
        half = self.engine.run({"image": IMAGE.astype(np.float16)})["prob"]
        np.testing.assert_allclose(half, self.expected, atol=1e-2)
        self.assertEqual(half.dtype, np.float32)
        whole = (IMAGE * 100).astype(np.int16)
        np.testing.assert_array_equal(
            self.engine.run({"image": whole})["prob"], self.engine.run({"image": whole.astype(np.float32)})["prob"]
        )
        with self.assertRaises(TypeError):
            self.engine.run({"image": IMAGE.astype(np.complex64)})

    def test_dense_memory_is_not_copied(self):
        info = self.engine.inputs["image"]
        for image in (IMAGE, IMAGE.astype(np.float64), IMAGE.astype(np.uint16), HostTensor(IMAGE)):
            lent = planrt._tensors.lend_input(info, image)
            array = getattr(image, "array", image)
            self.assertEqual(lent.tensor.input_data, array.ctypes.data)

    def test_tensors_of_other_libraries(self):
        tensor = HostTensor(IMAGE)
        self.same(self.engine.run({"image": tensor}))
        self.assertEqual(tensor.exports, 1)
        turned = HostTensor(np.asfortranarray(IMAGE))
        self.same(self.engine.run({"image": turned}))
        output = HostTensor(np.zeros_like(self.expected))
        self.assertIs(self.engine.run({"image": IMAGE}, {"prob": output})["prob"], output)
        np.testing.assert_array_equal(output.array, self.expected)
        with self.assertRaisesRegex(ValueError, "not dense"):
            self.engine.run({"image": IMAGE}, {"prob": HostTensor(np.asfortranarray(self.expected))})

    def test_what_is_read_only_is_read_only(self):
        image, fixed = IMAGE.copy(), np.zeros_like(self.expected)
        image.flags.writeable = fixed.flags.writeable = False
        context = self.engine.context()
        context.bind("image", image)
        with self.assertRaisesRegex(ValueError, "'prob' is read-only"):
            context.bind("prob", fixed)
        try:
            fixed.__dlpack__(max_version=(1, 0))
        except TypeError:
            self.skipTest("this numpy has no DLPack that says so")
        self.same(self.engine.run({"image": HostTensor(image)}))
        with self.assertRaisesRegex(ValueError, "'prob' is read-only"):
            self.engine.run({"image": IMAGE}, {"prob": HostTensor(fixed)})
        self.assertFalse(fixed.any())

    def test_a_tensor_lives_as_long_as_it_is_lent(self):
        array = IMAGE.copy()
        gone = weakref.ref(array)
        lent = planrt._tensors.lend_input(self.engine.inputs["image"], HostTensor(array))
        del array
        gc.collect()
        self.assertIsNotNone(gone())
        del lent
        gc.collect()
        self.assertIsNone(gone())

    def test_outputs_go_where_the_caller_says(self):
        for dtype in (np.float32, np.float64, np.float16):
            memory = np.full_like(self.expected, np.nan, dtype=dtype)
            self.assertIs(self.engine.run({"image": IMAGE}, {"prob": memory})["prob"], memory)
            np.testing.assert_array_equal(memory, self.expected.astype(dtype))
        large = np.full((5, *self.expected.shape), np.nan, np.float32)
        self.same(self.engine.run({"image": IMAGE}, {"prob": large}))
        self.assertTrue(np.isnan(large.reshape(-1)[self.expected.size :]).all())
        self.same(self.engine.run({"image": IMAGE}, ["prob"]))
        self.assertEqual(self.engine.run({"image": IMAGE}, []), {})
        small = np.zeros(3, np.float32)
        self.fails(ErrorCode.BUFFER_TOO_SMALL, "prob", self.engine.run, {"image": IMAGE}, {"prob": small})
        fixed = np.zeros_like(self.expected)
        fixed.flags.writeable = False
        for bad in (fixed, np.zeros_like(self.expected)[..., ::-1]):
            with self.assertRaises(ValueError):
                self.engine.run({"image": IMAGE}, {"prob": bad})
        with self.assertRaises(TypeError):
            self.engine.run({"image": IMAGE}, {"prob": [0.0]})

    def test_bad_input_is_an_error_that_says_what_was_wrong(self):
        self.fails(ErrorCode.INVALID_ARGUMENT, "'image'", self.engine.run, {"picture": IMAGE})
        self.fails(ErrorCode.NOT_FOUND, "'mask'", self.engine.run, {"image": IMAGE}, ["mask"])
        error = self.fails(ErrorCode.SHAPE, "5 dimensions", self.engine.run, {"image": IMAGE[0]})
        copy = pickle.loads(pickle.dumps(error))
        self.assertEqual((copy.code, str(copy)), (error.code, str(error)))
        self.fails(ErrorCode.NOT_FOUND, "no such file", Engine, MODELS / "no such file.onnx")
        self.fails(ErrorCode.INVALID_MODEL, "", Engine, b"no model at all")
        with self.assertRaises(ValueError):
            self.engine.run({"image": np.zeros((1,) * 9, np.float32)})
        self.same(self.engine.run({"image": IMAGE}))  # the engine's context is as it was

    def test_many_threads_use_one_engine(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for result in pool.map(lambda _: self.engine.run({"image": IMAGE}), range(64)):
                self.same(result)

    def test_a_run_waits_where_no_profile_is_left(self):
        engine = Engine(MODELS / "small.onnx", threads=1)
        make, made = engine.context, []

        def one():
            if made:
                raise Error(ErrorCode.IN_USE, "every profile is taken")
            made.append(make())
            return made[0]

        engine.context = one
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for result in pool.map(lambda _: engine.run({"image": IMAGE}), range(16)):
                self.same(result)
        self.assertEqual(len(made), 1)
        engine._idle.clear()
        self.fails(ErrorCode.IN_USE, "taken", engine.run, {"image": IMAGE})

    def test_contexts(self):
        context = self.engine.context()
        self.same(context.run({"image": IMAGE}))
        self.assertEqual(context.shape("prob"), self.expected.shape)
        self.assertEqual(context.output_shape("prob"), self.expected.shape)
        self.assertEqual(context.profile(), -1)
        context.cancel()
        self.fails(ErrorCode.CANCELLED, "", context.run, {"image": IMAGE})
        output = np.zeros_like(self.expected)
        context.bind("image", IMAGE)
        context.bind("prob", output)
        context.enqueue()
        np.testing.assert_array_equal(output, self.expected)
        with self.assertRaises(TypeError):
            context.bind("image", IMAGE.astype(np.float64))
        self.fails(ErrorCode.NOT_FOUND, "'mask'", context.bind, "mask", output)

    def test_the_log_goes_to_logging(self):
        runtime = planrt.Runtime(log_level=logging.DEBUG)
        with self.assertLogs("planrt", logging.DEBUG) as logged:
            Engine(MODELS / "small.onnx", runtime, threads=1)
        self.assertTrue(logged.output)
        quiet = planrt.Runtime(log_level=None)
        with self.assertNoLogs("planrt") if hasattr(self, "assertNoLogs") else self.subTest():
            Engine(MODELS / "small.onnx", quiet, threads=1)

    def test_the_machine(self):
        self.assertIn("planrt", planrt.Runtime().describe())
        self.assertIn("devices", planrt.devices())
        report, usable = planrt.doctor(MODELS / "small.onnx")
        self.assertTrue(usable)
        self.assertIn("runs here", report)


class Sessions(Case):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(MODELS / "small.onnx", threads=2)
        cls.expected = cls.engine.run({"image": IMAGE})["prob"]

    def test_requests_are_futures(self):
        with Session(self.engine) as session:
            requests = [session.submit({"image": IMAGE}) for _ in range(20)]
            for request in concurrent.futures.as_completed(requests, timeout=60):
                np.testing.assert_array_equal(request.result()["prob"], self.expected)
            called = threading.Event()
            request = session.submit({"image": IMAGE})
            request.add_done_callback(lambda _: called.set())
            self.assertTrue(called.wait(60))
            for _ in range(2):  # the second on the thread that calls
                np.testing.assert_array_equal(session.run({"image": IMAGE})["prob"], self.expected)
            memory = np.zeros_like(self.expected)
            self.assertIs(session.run({"image": IMAGE}, {"prob": memory})["prob"], memory)
            np.testing.assert_array_equal(memory, self.expected)
            self.assertEqual(session.statistics()["succeeded"], 24)
            self.assertEqual(len(session.describe()["devices"]), 1)
            self.assertIn("planrt", session.metrics_text())

    def test_a_callback_waits_for_other_requests_of_its_session(self):
        with Session(self.engine, largest_batch=1, contexts=1) as session:
            found, went = [], threading.Event()

            def wait_for_others(_first):
                try:
                    found.append(session.submit({"image": IMAGE}).result(60)["prob"])
                    found.append(session.submit({"image": IMAGE}).exception(60))
                    cancelled = session.submit({"image": IMAGE})
                    cancelled.cancel()
                    try:
                        found.append(cancelled.result(60)["prob"])  # it may have been done before
                    except concurrent.futures.CancelledError:
                        found.append(self.expected)
                    found.append(session.run({"image": IMAGE})["prob"])
                finally:
                    went.set()

            session.submit({"image": IMAGE}).add_done_callback(wait_for_others)
            self.assertTrue(went.wait(60))
            first, none, *others = found
            self.assertIsNone(none)
            for one in (first, *others):
                np.testing.assert_array_equal(one, self.expected)
            np.testing.assert_array_equal(session.submit({"image": IMAGE}).result(60)["prob"], self.expected)
        self.assertFalse(planrt._session._pending)

    def test_a_wait_inside_a_callback_ends_in_time(self):
        slow = Engine(MODELS / "slow.onnx", threads=1)
        info = next(iter(slow.inputs.values()))
        image = {info.name: np.zeros([abs(extent) for extent in info.shape], np.float32)}
        with Session(self.engine) as session, Session(slow, largest_batch=1, contexts=1) as busy:
            went, raised = threading.Event(), []

            def wait(_first):
                running = busy.submit(image)
                try:
                    running.result(0)
                except BaseException as error:
                    raised.append(error)
                running.cancel()
                went.set()

            session.submit({"image": IMAGE}).add_done_callback(wait)
            self.assertTrue(went.wait(60))
        self.assertIsInstance(raised[0], concurrent.futures.TimeoutError)

    def test_coroutines_wait_for_requests(self):
        async def run(session):
            requests = [asyncio.wrap_future(session.submit({"image": IMAGE})) for _ in range(4)]
            return await asyncio.gather(*requests)

        with Session(self.engine) as session:
            for result in asyncio.run(run(session)):
                np.testing.assert_array_equal(result["prob"], self.expected)

    def test_a_session_lives_as_long_as_its_requests(self):
        request = Session(self.engine).submit({"image": IMAGE})
        np.testing.assert_array_equal(request.result(60)["prob"], self.expected)
        self.assertFalse(planrt._session._pending)

    def test_requests_are_cancelled_and_refused(self):
        slow = Engine(MODELS / "slow.onnx", threads=1)
        info = next(iter(slow.inputs.values()))
        image = {info.name: np.zeros([abs(extent) for extent in info.shape], np.float32)}
        session = Session(slow, largest_batch=1, contexts=1, queue_capacity=2)
        running = session.submit(image)
        waiting = [session.submit(image)]
        with self.assertRaises(Error) as caught:
            for _ in range(10):
                waiting.append(session.submit(image))
        self.assertEqual(caught.exception.code, ErrorCode.QUEUE_FULL)
        self.assertTrue(waiting[-1].cancel())
        with self.assertRaises(concurrent.futures.CancelledError):
            waiting[-1].result(60)
        self.assertTrue(waiting[-1].cancelled())
        for request in [running, *waiting]:
            request.cancel()
        session.close()
        for request in [running, *waiting]:
            self.assertTrue(request.done())
        self.assertFalse(planrt._session._pending)
        self.fails(ErrorCode.INVALID_ARGUMENT, "session", session.submit, image)

    def test_an_interrupted_request_keeps_its_memory(self):
        slow = Engine(MODELS / "slow.onnx", threads=1)
        info = next(iter(slow.inputs.values()))
        image = np.zeros([abs(extent) for extent in info.shape], np.float32)
        unheard = []
        before, sys.unraisablehook = sys.unraisablehook, unheard.append
        try:
            with Session(slow, largest_batch=1, contexts=1) as session:
                with interrupted("planrt_session_submit"), self.assertRaises(KeyboardInterrupt):
                    session.submit({info.name: image})
        finally:
            sys.unraisablehook = before
        # It is answered, and who answers knows it.
        self.assertEqual(unheard, [])
        self.assertFalse(planrt._session._pending)

    def test_what_waits_when_a_session_is_closed_is_answered(self):
        slow = Engine(MODELS / "slow.onnx", threads=1)
        info = next(iter(slow.inputs.values()))
        image = {info.name: np.zeros([abs(extent) for extent in info.shape], np.float32)}
        with Session(slow, largest_batch=1, contexts=1) as session:
            requests = [session.submit(image) for _ in range(6)]
        self.assertTrue(all(request.done() for request in requests))
        self.assertEqual(requests[-1].exception().code, ErrorCode.SHUT_DOWN)

    def test_a_call_under_way_ends_before_its_session_does(self):
        for function, call in (("submit", Session.submit), ("run", Session.run), ("get_statistics", lambda session, _: session.statistics())):
            session = Session(self.engine)
            session.run({"image": IMAGE})
            with entering(f"planrt_session_{function}") as (entered, go):
                calling = threading.Thread(target=call, args=(session, {"image": IMAGE}))
                calling.start()
                entered.wait()
                closing = threading.Thread(target=session.close)
                closing.start()
                closing.join(0.2)
                self.assertTrue(closing.is_alive())
                go.set()
                calling.join()
                closing.join()
            self.fails(ErrorCode.INVALID_ARGUMENT, "closed", call, session, {"image": IMAGE})
            session.close()
        self.assertFalse(planrt._session._pending)

    def test_a_session_is_not_closed_in_the_midst_of_its_own_call(self):
        session = Session(self.engine)
        with session._guarded.call:  # where a signal's handler comes in
            self.fails(ErrorCode.IN_USE, "signal", session.close)
        session.run({"image": IMAGE})
        session.close()

    def test_time_outs(self):
        with Session(self.engine) as session:
            self.fails(ErrorCode.DEADLINE, "", session.submit, {"image": IMAGE}, timeout=0)
            self.fails(ErrorCode.DEADLINE, "", session.run, {"image": IMAGE}, timeout=-1)
            session.run({"image": IMAGE}, timeout=600, priority=3)
            self.fails(ErrorCode.SHAPE, "", session.run, {"image": IMAGE[0]})
        self.assertFalse(planrt._session._pending)


# Requests are under way when Python ends; with an argument nobody has their session any more.
UNDER_WAY = """
import sys, numpy, planrt
session = planrt.Session(planrt.Engine(sys.argv[1]), queue_capacity=300)
for _ in range(200):
    session.submit({"image": numpy.zeros((1, 1, 8, 8, 8), numpy.float32)})
if len(sys.argv) > 2:
    del session
"""

# Threads that Python does not wait for are in calls when it ends.
IN_CALLS = """
import sys, threading, numpy, planrt
def run():
    while True:
        engine.run(image)
        started.set()
engine, started = planrt.Engine(sys.argv[1], threads=1), threading.Event()
info = next(iter(engine.inputs.values()))
image = {info.name: numpy.zeros([abs(extent) for extent in info.shape], numpy.float32)}
for _ in range(2):
    threading.Thread(target=run, daemon=True).start()
threading.excepthook = lambda raised: None  # it is told that the engine is gone
started.wait()
"""

# A callback is at work when the process is forked. It ends with 1 where the child's Python waits for it.
IN_CALLBACK = """
import atexit, os, sys, threading, numpy, planrt
from planrt import _library
session, at_work, go = planrt.Session(planrt.Engine(sys.argv[1])), threading.Event(), threading.Event()
request = session.submit({"image": numpy.zeros((1, 1, 8, 8, 8), numpy.float32)})
request.add_done_callback(lambda _: (at_work.set(), go.wait()))
at_work.wait()
child = os.fork()
if child == 0:
    os._exit(len(_library.calls._at_work))
waited, status = os.waitpid(child, 0)
go.set()
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Given(unittest.TestCase):
    """What is given is not changed without a word."""

    def test_whole_numbers_that_do_not_fit(self):
        engine = Engine(MODELS / "other_types.onnx")
        inputs = {name: np.ones((1, 4, 6), info.dtype) for name, info in engine.inputs.items()}
        self.assertEqual(engine.run({**inputs, "int8_in": np.full((1, 4, 6), -7)})["int8_out"].flat[0], -7)
        for name, dtype, number in (
            ("int8_in", np.int64, 300),
            ("uint8_in", np.uint16, 256),
            ("int32_in", np.int64, -(2**40)),
            ("int64_in", np.uint64, 2**63),
        ):
            with self.assertRaisesRegex(ValueError, f"{name}.*{abs(number)}"):
                engine.run({**inputs, name: np.full((1, 4, 6), number, dtype)})
        with self.assertRaisesRegex(TypeError, "int8_in.*float64"):
            engine.run({**inputs, "int8_in": np.ones((1, 4, 6))})
        self.assertEqual(engine.run({name: array[:0] for name, array in inputs.items()})["int8_out"].size, 0)

    def test_masks(self):
        engine = Engine(MODELS / "small.onnx")
        engine.run({"image": np.ma.masked_array(IMAGE)})
        with self.assertRaisesRegex(TypeError, "image.*mask"):
            engine.run({"image": np.ma.masked_array(IMAGE, IMAGE > 0.5)})

    def test_numbers_of_numpys(self):
        with self.assertRaisesRegex(Exception, "does not fit in 32 bits"):
            Engine(MODELS / "small.onnx", threads=np.int64(2**32 + 1))
        with self.assertRaisesRegex(ValueError, "does not fit in 64 bits"):
            Engine(MODELS / "small.onnx").context().set_shape("image", np.array([2**64 - 1, 1, 8, 8, 8], np.uint64))

    def test_names_are_not_cut(self):
        engine = Engine(MODELS / "small.onnx")
        for call in (
            lambda: engine.context().set_shape("image\0", IMAGE.shape),
            lambda: engine.context().shape("image\0"),
            lambda: engine.inspect({"image\0": IMAGE.shape}),
        ):
            with self.assertRaisesRegex(ValueError, "null character"):
                call()

    def test_what_is_something_else_altogether(self):
        engine = Engine(MODELS / "small.onnx")
        for call in (lambda: engine.run([IMAGE]), lambda: engine.run(None), lambda: Session(engine).submit(IMAGE)):
            with self.assertRaisesRegex(TypeError, "by their names"):
                call()
        for model in (None, 3):
            with self.assertRaisesRegex(TypeError, type(model).__name__):
                Engine(model)

    def test_times_that_are_none(self):
        engine = Engine(MODELS / "small.onnx")
        with Session(engine) as session:
            for seconds in (float("nan"), float("inf")):
                with self.assertRaisesRegex(ValueError, "time-out"):
                    session.run({"image": IMAGE}, timeout=seconds)
                with self.assertRaisesRegex(ValueError, "max_delay"):
                    Session(engine, max_delay=seconds)
                with self.assertRaisesRegex(ValueError, "duration"):
                    engine.bench(duration=seconds)


class End(unittest.TestCase):
    def test_python_ends_while_threads_are_in_calls(self):
        environment = os.environ | {"PYTHONPATH": str(Path(planrt.__file__).parent.parent)}
        for model in ("slow.onnx", "small.onnx", "small.onnx", "small.onnx"):
            command = [sys.executable, "-c", IN_CALLS, str(MODELS / model)]
            ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_python_ends_while_requests_are_under_way(self):
        for more in 5 * [[], ["dropped"]]:
            command = [sys.executable, "-c", UNDER_WAY, str(MODELS / "small.onnx"), *more]
            environment = os.environ | {"PYTHONPATH": str(Path(planrt.__file__).parent.parent)}
            ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_a_child_waits_for_no_callback_of_its_parents(self):
        environment = os.environ | {"PYTHONPATH": str(Path(planrt.__file__).parent.parent)}
        command = [sys.executable, "-c", IN_CALLBACK, str(MODELS / "small.onnx")]
        ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_a_path_is_not_cut(self):
        with self.assertRaisesRegex(ValueError, "null character"):
            Engine(f"{MODELS / 'small.onnx'}\0.onnx")


class Library(unittest.TestCase):
    def test_the_library_is_chosen_before_it_is_used(self):
        planrt.load_library()
        with self.assertRaisesRegex(ImportError, "loaded already"):
            planrt.load_library("/no/such/libplanrt.so.0")

    def test_what_is_not_the_library_is_told(self):
        for name, text in (("/no/such/libplanrt.so.0", "PLANRT_LIBRARY"), ("libm.so.6", "is not planrt's library")):
            with self.assertRaisesRegex(ImportError, text):
                _library._declared(name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
