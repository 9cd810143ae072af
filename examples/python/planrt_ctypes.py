#!/usr/bin/env python3
"""planrt from Python, with ctypes and numpy only.

As a module:

    from planrt_ctypes import Model

    model = Model("deepbrain.onnx")          # or a TensorRT plan
    prob = model.run({"image": image})["prob"]

As a program it says what is in a model and, with arrays to run it on, what comes out:

    planrt_ctypes.py MODEL [INPUTS.npz] [--output OUTPUTS.npz]

The library is the one given, or the one that PLANRT_LIBRARY names, or the loader's libplanrt.so.0.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import sys
import time
import weakref
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_void_p, sizeof
from dataclasses import dataclass
from functools import cache

import numpy as np

API_VERSION = (0, 2)  # the interface that this module was written for
MAX_RANK = 8

BACKENDS = {1: "TensorRT", 2: "CPU"}
INPUT = 1
FLOAT32, BFLOAT16 = 1, 3
# numpy has no bfloat16: such tensors are float32 here, and planrt converts.
DTYPES = {
    FLOAT32: np.dtype(np.float32),
    2: np.dtype(np.float16),
    BFLOAT16: np.dtype(np.float32),
    4: np.dtype(np.int8),
    5: np.dtype(np.uint8),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    8: np.dtype(np.bool_),
}
LOG_WARNING = 2
LOG_LEVELS = {1: logging.ERROR, LOG_WARNING: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


class PlanrtError(Exception):
    """What planrt refused or failed to do. `code` is one of the PLANRT_ERROR_ constants of planrt.h."""

    def __init__(self, code: int, message: str, detail: str = "", cuda_code: int = 0):
        super().__init__(message)
        self.code = code
        self.detail = detail
        self.cuda_code = cuda_code


class TensorInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("role", c_int32),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("rank", c_int32),
        ("shape", c_int64 * MAX_RANK),
    ]


class LentTensor(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("input_data", c_void_p),
        ("output_data", c_void_p),
        ("size_bytes", c_size_t),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("rank", c_int32),
        ("shape", c_int64 * MAX_RANK),
    ]


LogCallback = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_char_p)


@LogCallback
def forward_log(_user_data, level, message):
    # A module's global, so that it outlives every runtime.
    logging.getLogger("planrt").log(LOG_LEVELS.get(level, logging.INFO), message.decode(errors="replace"))


# Functions that return an error, or null: name and arguments.
FALLIBLE = {
    "planrt_runtime_options_new": [POINTER(c_void_p)],
    "planrt_runtime_options_set_device": [c_void_p, c_int32],
    "planrt_runtime_options_set_tensorrt_path": [c_void_p, c_char_p],
    "planrt_runtime_options_add_plugin_library": [c_void_p, c_char_p],
    "planrt_runtime_options_set_log": [c_void_p, LogCallback, c_void_p, c_void_p, c_int32],
    "planrt_runtime_new": [c_void_p, POINTER(c_void_p)],
    "planrt_engine_options_new": [POINTER(c_void_p)],
    "planrt_engine_options_set_cpu_threads": [c_void_p, c_int32],
    "planrt_engine_load_file": [c_void_p, c_char_p, c_void_p, POINTER(c_void_p)],
    "planrt_engine_get_tensor_info": [c_void_p, c_int32, POINTER(TensorInfo)],
    "planrt_context_new": [c_void_p, POINTER(c_void_p)],
    "planrt_context_set_shape": [c_void_p, c_char_p, POINTER(c_int64), c_int32],
    "planrt_context_get_shape": [c_void_p, c_char_p, POINTER(c_int64), POINTER(c_int32)],
    "planrt_context_run": [c_void_p, POINTER(LentTensor), c_size_t, POINTER(LentTensor), c_size_t],
}

# The others: name, result and arguments.
INFALLIBLE = {
    "planrt_api_version": (None, [POINTER(c_uint32), POINTER(c_uint32)]),
    "planrt_version": (c_char_p, []),
    "planrt_error_get_code": (c_int32, [c_void_p]),
    "planrt_error_get_message": (c_char_p, [c_void_p]),
    "planrt_error_get_detail": (c_char_p, [c_void_p]),
    "planrt_error_get_cuda_code": (c_int32, [c_void_p]),
    "planrt_error_delete": (None, [c_void_p]),
    "planrt_runtime_options_delete": (None, [c_void_p]),
    "planrt_runtime_delete": (None, [c_void_p]),
    "planrt_engine_options_delete": (None, [c_void_p]),
    "planrt_engine_delete": (None, [c_void_p]),
    "planrt_engine_get_backend": (c_int32, [c_void_p]),
    "planrt_engine_get_name": (c_char_p, [c_void_p]),
    "planrt_engine_get_device_name": (c_char_p, [c_void_p]),
    "planrt_engine_get_tensor_count": (c_int32, [c_void_p]),
    "planrt_context_delete": (None, [c_void_p]),
}


@cache
def load_library(path: str | None = None) -> ctypes.CDLL:
    """The library with its functions declared; those of FALLIBLE raise PlanrtError."""
    default = "planrt.dll" if sys.platform == "win32" else "libplanrt.so.0"
    library = ctypes.CDLL(path or os.environ.get("PLANRT_LIBRARY") or default)

    def raise_error(error, _function, _arguments):
        if not error:
            return
        try:
            raise PlanrtError(
                library.planrt_error_get_code(error),
                library.planrt_error_get_message(error).decode(),
                library.planrt_error_get_detail(error).decode(),
                library.planrt_error_get_cuda_code(error),
            )
        finally:
            library.planrt_error_delete(error)

    for name, (result, arguments) in INFALLIBLE.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for name, arguments in FALLIBLE.items():
        function = getattr(library, name)
        function.restype, function.argtypes, function.errcheck = c_void_p, arguments, raise_error

    major, minor = c_uint32(), c_uint32()
    library.planrt_api_version(byref(major), byref(minor))
    if (major.value, minor.value) != API_VERSION:
        found, wanted = f"{major.value}.{minor.value}", ".".join(map(str, API_VERSION))
        raise ImportError(f"libplanrt has interface {found}; this module was written for {wanted}")
    return library


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model; -1 in the shape where it is dynamic."""

    name: str
    is_input: bool
    dtype: np.dtype
    shape: tuple[int, ...]
    element_type: int

    def lent(self, array: np.ndarray) -> LentTensor:
        """A view of the array, which must outlive it."""
        return LentTensor(
            struct_size=sizeof(LentTensor),
            name=self.name.encode(),
            input_data=array.ctypes.data if self.is_input else None,
            output_data=None if self.is_input else array.ctypes.data,
            size_bytes=array.nbytes,
            element_type=FLOAT32 if self.element_type == BFLOAT16 else self.element_type,
            rank=array.ndim,
            shape=(c_int64 * MAX_RANK)(*array.shape),
        )


class Model:
    """A TensorRT plan or an ONNX model with one execution context: for one thread at a time."""

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        library: str | None = None,
        device: int = 0,
        tensorrt: str | None = None,
        plugins: tuple[str, ...] = (),
        threads: int = 0,
    ):
        self._library = load_library(library)
        runtime = self._make_runtime(device, tensorrt, plugins)
        self._engine = self._load_engine(runtime, path, threads)
        self._context = self._own("context", self._new("planrt_context_new", self._engine))

        self.name = self._library.planrt_engine_get_name(self._engine).decode()
        self.backend = BACKENDS.get(self._library.planrt_engine_get_backend(self._engine), "unknown")
        self.device = self._library.planrt_engine_get_device_name(self._engine).decode()
        tensors = [self._tensor(i) for i in range(self._library.planrt_engine_get_tensor_count(self._engine))]
        self.inputs = {tensor.name: tensor for tensor in tensors if tensor.is_input}
        self.outputs = {tensor.name: tensor for tensor in tensors if not tensor.is_input}

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the model: an array for each of its inputs gives one for each of its outputs."""
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"the model takes {sorted(self.inputs)}, not {sorted(inputs)}")
        arrays = {}
        for name, given in inputs.items():
            array = np.asarray(given).astype(self.inputs[name].dtype, order="C", casting="same_kind", copy=False)
            if array.ndim > MAX_RANK:
                raise ValueError(f"{name} has {array.ndim} dimensions; planrt takes {MAX_RANK}")
            shape = (c_int64 * MAX_RANK)(*array.shape)
            self._library.planrt_context_set_shape(self._context, name.encode(), shape, array.ndim)
            arrays[name] = array
        results = {name: np.empty(self._shape(name), tensor.dtype) for name, tensor in self.outputs.items()}

        views_in = [self.inputs[name].lent(array) for name, array in arrays.items()]
        views_out = [self.outputs[name].lent(array) for name, array in results.items()]
        self._library.planrt_context_run(
            self._context,
            (LentTensor * len(views_in))(*views_in),
            len(views_in),
            (LentTensor * len(views_out))(*views_out),
            len(views_out),
        )
        return results

    def _new(self, function: str, *arguments) -> c_void_p:
        handle = c_void_p()
        getattr(self._library, function)(*arguments, byref(handle))
        return handle

    def _own(self, kind: str, handle: c_void_p) -> c_void_p:
        """Deletes the handle with this object, in whatever order: planrt counts references."""
        weakref.finalize(self, getattr(self._library, f"planrt_{kind}_delete"), handle)
        return handle

    def _make_runtime(self, device: int, tensorrt: str | None, plugins: tuple[str, ...]) -> c_void_p:
        library = self._library
        options = self._new("planrt_runtime_options_new")
        try:
            library.planrt_runtime_options_set_log(options, forward_log, None, None, LOG_WARNING)
            library.planrt_runtime_options_set_device(options, device)
            if tensorrt:
                library.planrt_runtime_options_set_tensorrt_path(options, os.fsencode(tensorrt))
            for plugin in plugins:
                library.planrt_runtime_options_add_plugin_library(options, os.fsencode(plugin))
            return self._own("runtime", self._new("planrt_runtime_new", options))
        finally:
            library.planrt_runtime_options_delete(options)

    def _load_engine(self, runtime: c_void_p, path: str | os.PathLike, threads: int) -> c_void_p:
        options = self._new("planrt_engine_options_new")
        try:
            self._library.planrt_engine_options_set_cpu_threads(options, threads)
            return self._own("engine", self._new("planrt_engine_load_file", runtime, os.fsencode(path), options))
        finally:
            self._library.planrt_engine_options_delete(options)

    def _tensor(self, index: int) -> Tensor:
        info = TensorInfo(struct_size=sizeof(TensorInfo))
        self._library.planrt_engine_get_tensor_info(self._engine, index, byref(info))
        return Tensor(
            name=info.name.decode(),
            is_input=info.role == INPUT,
            dtype=DTYPES[info.element_type],
            shape=tuple(info.shape[: info.rank]),
            element_type=info.element_type,
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        shape, rank = (c_int64 * MAX_RANK)(), c_int32()
        self._library.planrt_context_get_shape(self._context, name.encode(), shape, byref(rank))
        return tuple(shape[: rank.value])


def main() -> int:
    parser = argparse.ArgumentParser(description="Says what is in a model, and runs it.")
    parser.add_argument("model", metavar="MODEL", help="a TensorRT plan or an ONNX file")
    parser.add_argument("inputs", metavar="INPUTS.npz", nargs="?", help="an array for each input, by name")
    parser.add_argument("--output", metavar="OUTPUTS.npz", help="where to write the outputs")
    parser.add_argument("--library", metavar="PATH", help="libplanrt")
    parser.add_argument("--tensorrt", metavar="PATH", help="TensorRT's library or its folder")
    parser.add_argument("--plugin", metavar="PATH", action="append", default=[], help="a library of TensorRT plugins")
    parser.add_argument("--device", metavar="N", type=int, default=0, help="ordinal of the GPU")
    parser.add_argument("--threads", metavar="N", type=int, default=0, help="threads of the CPU")
    arguments = parser.parse_args()
    logging.basicConfig(format="planrt: %(message)s")
    try:
        model = Model(
            arguments.model,
            library=arguments.library,
            device=arguments.device,
            tensorrt=arguments.tensorrt,
            plugins=tuple(arguments.plugin),
            threads=arguments.threads,
        )
        print(f"model    {model.name}\nbackend  {model.backend}\ndevice   {model.device}")
        for role, tensors in (("input", model.inputs), ("output", model.outputs)):
            for tensor in tensors.values():
                print(f"{role:8} {tensor.name} {tensor.dtype} {'x'.join(map(str, tensor.shape))}")
        if arguments.inputs is None:
            return 0
        with np.load(arguments.inputs) as arrays:
            inputs = dict(arrays)
        start = time.perf_counter()
        outputs = model.run(inputs)
        print(f"run      {(time.perf_counter() - start) * 1e3:.1f} ms")
        for name, array in outputs.items():
            extremes = f"min {array.min():g}, mean {array.mean():g}, max {array.max():g}" if array.size else "empty"
            print(f"result   {name} {'x'.join(map(str, array.shape))}: {extremes}")
        if arguments.output:
            np.savez(arguments.output, **outputs)
    except PlanrtError as error:
        print(f"planrt_ctypes: {error}", file=sys.stderr)
        if error.detail:
            print(error.detail, file=sys.stderr)
        return 1
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"planrt_ctypes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
