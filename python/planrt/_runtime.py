"""Runtimes, streams, and memory on the GPU."""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import threading
from collections.abc import Iterable, Sequence
from ctypes import byref, c_bool, c_void_p
from typing import Any

import numpy as np

from . import _library
from ._library import LogCallback, Owner, ReleaseCallback, load, new, own
from ._tensors import DEVICE, Memory, device_of, element_type, memory_of

_logger = logging.getLogger("planrt")
_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


@LogCallback
def _log(_user_data: Any, level: int, message: bytes) -> None:
    # A module's global, so that it outlives every runtime.
    _logger.log(_LEVELS.get(level, logging.INFO), "%s", message.decode(errors="replace"))


def path_bytes(path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError(f"{path!r} has a null character, at which C would cut it")
    return encoded


class Runtime(Owner):
    """What is found for an application: the CUDA driver, a device, TensorRT. Any thread may use it.

    Nothing is loaded before it is needed, so one is made on every machine. Its log goes to the logger "planrt" of
    Python's `logging`, up to `log_level`, one of that module's levels; None turns it off.
    """

    def __init__(
        self,
        *,
        device: int = 0,
        tensorrt: str | os.PathLike[str] | None = None,
        openvino: str | os.PathLike[str] | None = None,
        plugins: Iterable[str | os.PathLike[str]] = (),
        standard_plugins: bool = True,
        engine_host_code: bool = False,
        log_level: int | None = logging.WARNING,
    ):
        library = load()
        self.device = device
        options = new("planrt_runtime_options_new")
        try:
            if log_level is not None:
                level = max((ours for ours, theirs in _LEVELS.items() if theirs >= log_level), default=1)
                library.planrt_runtime_options_set_log(options, _log, None, ReleaseCallback(), level)
            library.planrt_runtime_options_set_device(options, device)
            library.planrt_runtime_options_set_tensorrt_path(options, path_bytes(tensorrt))
            library.planrt_runtime_options_set_openvino_path(options, path_bytes(openvino))
            for plugin in plugins:
                library.planrt_runtime_options_add_plugin_library(options, path_bytes(plugin))
            library.planrt_runtime_options_set_standard_plugins(options, standard_plugins)
            library.planrt_runtime_options_set_engine_host_code_allowed(options, engine_host_code)
            self._handle = new("planrt_runtime_new", options)
        finally:
            library.planrt_runtime_options_delete(options)
        own(self, "runtime", self._handle)

    def load_tensorrt(self) -> None:
        """Loads the driver and TensorRT now; `Error` with every place that was looked at where one is missing."""
        load().planrt_runtime_load_tensorrt(self._handle)

    def load_openvino(self) -> None:
        """Loads OpenVINO now; `Error` with every place that was looked at, or what is wrong with what is there."""
        load().planrt_runtime_load_openvino(self._handle)

    def describe(self) -> dict[str, Any]:
        """What there is and what there is not, with reasons: `device`, `tensorrt`, `cpu`, `openvino`."""
        return json.loads(_library.text("planrt_runtime_describe", self._handle))  # type: ignore[no-any-return]

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> DeviceArray:
        """Memory on the runtime's GPU, which torch and cupy take as it is (`torch.as_tensor(array, device="cuda")`)."""
        return DeviceArray(self, tuple(shape), np.dtype(dtype))

    def to_device(self, array: Any) -> DeviceArray:
        """A copy of an array on the runtime's GPU."""
        source = np.asarray(array, order="C")
        target = self.empty(source.shape, source.dtype)
        target._copy(target._address, source.ctypes.data)
        return target


_default: Runtime | None = None
_default_lock = threading.Lock()


def default_runtime() -> Runtime:
    """The runtime of those who name none, made at the first call: device 0, and TensorRT as it is found."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Runtime()
        return _default


def _forget_default() -> None:
    """In the child of a fork the parent's runtime is of no use."""
    global _default, _default_lock
    _default, _default_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_default)


def devices() -> dict[str, Any]:
    """The GPUs that the CUDA driver shows this process: `driver`, and `devices`, a list."""
    return json.loads(_library.text("planrt_describe_devices"))  # type: ignore[no-any-return]


def version() -> str:
    """The library's release."""
    return load().planrt_version().decode()  # type: ignore[no-any-return]


class Stream(Owner):
    """A CUDA stream: planrt's own, or `native`, one of the application's, which it must outlive."""

    def __init__(self, runtime: Runtime, native: int | None = None, *, priority: int = 0):
        if native is None:
            self._handle = new("planrt_stream_new", runtime._handle, priority)
        else:
            self._handle = new("planrt_stream_wrap", runtime._handle, native or None)
        own(self, "stream", self._handle)
        self._runtime = runtime

    @property
    def native(self) -> int:
        """The `CUstream`, as torch's and cupy's external streams take it."""
        return load().planrt_stream_get_native(self._handle) or 0

    def synchronize(self) -> None:
        """Waits until all work given so far has ended."""
        load().planrt_stream_synchronize(self._handle)

    def is_done(self) -> bool:
        """Whether all work given so far has ended."""
        done = c_bool()
        load().planrt_stream_query(self._handle, byref(done))
        return done.value

    def wait_for(self, other: Stream) -> None:
        """Orders this stream behind what the other one holds now."""
        load().planrt_stream_wait_for(self._handle, other._handle)

    def _order(self, native: int) -> None:
        self.wait_for(Stream(self._runtime, native))


def runtime_on(ordinal: int, runtimes: Sequence[Runtime]) -> Runtime:
    """The one whose GPU that is; the first where none is, or memory does not say where it is."""
    return next((one for one in runtimes if one.device == ordinal), runtimes[0])


class Behind:
    """Takes memory as what has no stream uses it: when all work on it has ended."""

    def __init__(self, runtimes: Sequence[Runtime]):
        self._runtimes = runtimes
        self._streams: dict[int, Stream] = {}

    def memory(self, name: str, value: Any) -> Memory | None:
        """Memory of a GPU, to be used after `wait`; None for what is on the host."""
        ordinal = device_of(value)
        if ordinal is None:
            return None
        if ordinal not in self._streams:
            self._streams[ordinal] = Stream(runtime_on(ordinal, self._runtimes))
        stream = self._streams[ordinal]
        return memory_of(name, value, stream.native or 1, stream._order)

    def wait(self) -> None:
        for stream in self._streams.values():
            stream.synchronize()


class DeviceArray(Owner):
    """Memory on a GPU, dense in C order; freed with the last reference to it."""

    def __init__(self, runtime: Runtime, shape: tuple[int, ...], dtype: np.dtype[Any]):
        if element_type(dtype) is None or dtype.name == "bfloat16":
            raise TypeError(f"no model has elements of {dtype}")
        self.shape, self.dtype = shape, dtype
        self.nbytes = math.prod(shape) * dtype.itemsize
        self._runtime = runtime
        self._buffer = new("planrt_buffer_new", runtime._handle, DEVICE, max(self.nbytes, 1))
        own(self, "buffer", self._buffer)
        self._address: int = load().planrt_buffer_get_data(self._buffer)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def _copy(self, to: int, source: int) -> None:
        if self.nbytes == 0:
            return
        stream = Stream(self._runtime)
        load().planrt_stream_copy(stream._handle, c_void_p(to), c_void_p(source), self.nbytes)
        stream.synchronize()

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy in host memory."""
        array = np.empty(self.shape, self.dtype)
        self._copy(array.ctypes.data, self._address)
        return array


def doctor(
    model: str | os.PathLike[str] | None = None,
    *,
    tensorrt: str | os.PathLike[str] | None = None,
    openvino: str | os.PathLike[str] | None = None,
    device: int = 0,
) -> tuple[str, bool]:
    """A report on this machine, and on a model, for people; and whether it will run here."""
    library = load()
    options = new("planrt_runtime_options_new")
    report, usable = c_void_p(), c_bool()
    try:
        library.planrt_runtime_options_set_device(options, device)
        library.planrt_runtime_options_set_tensorrt_path(options, path_bytes(tensorrt))
        library.planrt_runtime_options_set_openvino_path(options, path_bytes(openvino))
        library.planrt_doctor(options, path_bytes(model), byref(report), byref(usable))
        return ctypes.string_at(report.value or 0).decode(), usable.value
    finally:
        library.planrt_string_delete(report)
        library.planrt_runtime_options_delete(options)
