"""The library and its functions, as planrt.h has them: those that can fail raise `planrt.Error`."""

from __future__ import annotations

import atexit
import collections
import contextlib
import ctypes
import math
import operator
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64
from ctypes import c_void_p
from pathlib import Path
from typing import Any

from ._errors import Error, ErrorCode

API_VERSION = (0, 2)  # the interface that this package was written for
MAX_RANK = 8
BATCH_SIZES = 66

Extents = c_int64 * MAX_RANK


def fitting(kind: Any, *numbers: Any) -> Sequence[Any]:
    """Whole numbers for a C type; an error for one that does not fit, which ctypes would cut without a word."""
    bits = 8 * ctypes.sizeof(kind)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if kind(-1).value < 0 else (0, 2**bits)
    for number in numbers:
        # numpy's numbers are cut, too.
        if (isinstance(number, int) or hasattr(number, "__index__")) and not low <= operator.index(number) < high:
            raise ValueError(f"{number} does not fit in {bits} bits" + ("" if low else ", from 0 on"))
    return numbers


def _checked(kind: Any) -> Any:
    """The same type as an argument that is not cut."""

    def from_param(_: Any, number: Any) -> Any:
        return kind.from_param(*fitting(kind, number))

    return type(kind.__name__, (kind,), {"from_param": classmethod(from_param)})


_WHOLE = {kind: _checked(kind) for kind in (c_int32, c_int64, c_uint32, c_uint64, c_size_t)}


class _Sized(ctypes.Structure):
    """A struct that begins with its own size."""

    def __init__(self, **fields: Any):
        for name, kind in self._fields_:  # type: ignore[misc]
            if name in fields and kind in _WHOLE:
                fitting(kind, fields[name])
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


class Tensor(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("input_data", c_void_p),
        ("output_data", c_void_p),
        ("size_bytes", c_size_t),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("rank", c_int32),
        ("shape", Extents),
    ]


class TensorInfo(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("role", c_int32),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("rank", c_int32),
        ("shape", Extents),
    ]


class ProfileShape(_Sized):
    _fields_ = [("struct_size", c_size_t), ("rank", c_int32), ("min", Extents), ("opt", Extents), ("max", Extents)]


class InputShape(_Sized):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("rank", c_int32), ("shape", Extents)]


class BenchSettings(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("streams", c_int32),
        ("concurrency", c_int32),
        ("largest_batch", c_int32),
        ("use_cuda_graph", c_int32),
        ("no_data_transfers", c_int32),
        ("least_runs", c_int32),
        ("warm_up_us", c_int64),
        ("duration_us", c_int64),
        ("percentiles", POINTER(c_double)),
        ("percentile_count", c_size_t),
    ]


LogCallback = CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
ReleaseCallback = CFUNCTYPE(None, c_void_p)
RequestCallback = CFUNCTYPE(None, c_void_p, c_void_p)
ScorePlaneCallback = CFUNCTYPE(c_bool, c_void_p, c_void_p)
SegmentationProgress = CFUNCTYPE(c_bool, c_void_p, c_int64, c_int64)
BuildProgress = CFUNCTYPE(c_bool, c_void_p, c_char_p, c_char_p, c_int32, c_int32)


class RequestOptions(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("timeout_us", c_int64),
        ("priority", c_int32),
        ("copy_in_background", c_int32),
        ("stream", c_void_p),
        ("event", c_void_p),
        ("callback", RequestCallback),
        ("user_data", c_void_p),
    ]


class SessionStatistics(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        *[
            (name, c_uint64)
            for name in (
                "submitted",
                "refused",
                "succeeded",
                "failed",
                "cancelled",
                "timed_out",
                "waiting_requests",
                "running_items",
                "items",
            )
        ],
        *[(f"{what}_p{part}_us", c_double) for what in ("queue", "run", "total") for part in (50, 90, 99)],
        ("utilization", c_double),
        ("batches", c_uint64 * BATCH_SIZES),
    ]


class Volume(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("size_bytes", c_size_t),
        ("first_voxel_bytes", c_size_t),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("channels", c_int32),
        ("extents", c_int64 * 3),
        ("strides_bytes", c_int64 * 4),
        ("spacing_mm", c_double * 3),
        ("origin_mm", c_double * 3),
        ("direction", c_double * 9),
        ("rescale_slope", c_double),
        ("rescale_intercept", c_double),
    ]


class LabelMap(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("size_bytes", c_size_t),
        ("first_voxel_bytes", c_size_t),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("strides_bytes", c_int64 * 3),
    ]


class ScoreMap(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("size_bytes", c_size_t),
        ("first_voxel_bytes", c_size_t),
        ("element_type", c_int32),
        ("memory_kind", c_int32),
        ("strides_bytes", c_int64 * 4),
        ("probabilities", c_int32),
    ]


class ScorePlane(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("values", c_void_p),
        ("channels", c_int32),
        ("reserved", c_int32),
        ("start", c_int64 * 3),
        ("extents", c_int64 * 3),
        ("strides_bytes", c_int64 * 4),
    ]


class SegmenterInfo(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("channels", c_int32),
        ("score_channels", c_int32),
        ("largest_label", c_int32),
        ("reserved", c_int32),
        ("patch", c_int64 * 3),
    ]


class SegmentationOptions(_Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("timeout_us", c_int64),
        ("priority", c_int32),
        ("nan_allowed", c_int32),
        ("memory_budget_bytes", c_size_t),
        ("device_memory_budget_bytes", c_size_t),
        ("any_direction_allowed", c_int32),
        ("scores", POINTER(ScoreMap)),
        ("progress", SegmentationProgress),
        ("callback", RequestCallback),
        ("user_data", c_void_p),
        ("region_start", c_int64 * 3),
        ("region_extents", c_int64 * 3),
        ("score_plane", ScorePlaneCallback),
        ("score_plane_probabilities", c_int32),
        ("reserved", c_int32),
    ]


# The arguments of the functions that return an error, or null. Handles are void pointers.
_HANDLE, _OUT, _STRING_OUT = c_void_p, POINTER(c_void_p), POINTER(c_void_p)
_SHAPE_OUT = [POINTER(c_int64), POINTER(c_int32)]
_TENSORS = [POINTER(Tensor), c_size_t]
_SEGMENTED = [POINTER(Volume), POINTER(LabelMap)]
FALLIBLE: dict[str, list[Any]] = {
    "planrt_describe_devices": [_STRING_OUT],
    "planrt_doctor": [_HANDLE, c_char_p, _STRING_OUT, POINTER(c_bool)],
    "planrt_runtime_options_new": [_OUT],
    "planrt_runtime_options_set_device": [_HANDLE, c_int32],
    "planrt_runtime_options_set_tensorrt_path": [_HANDLE, c_char_p],
    "planrt_runtime_options_set_openvino_path": [_HANDLE, c_char_p],
    "planrt_runtime_options_add_plugin_library": [_HANDLE, c_char_p],
    "planrt_runtime_options_set_standard_plugins": [_HANDLE, c_bool],
    "planrt_runtime_options_set_engine_host_code_allowed": [_HANDLE, c_bool],
    "planrt_runtime_options_set_log": [_HANDLE, LogCallback, c_void_p, ReleaseCallback, c_int32],
    "planrt_runtime_new": [_HANDLE, _OUT],
    "planrt_runtime_load_tensorrt": [_HANDLE],
    "planrt_runtime_load_openvino": [_HANDLE],
    "planrt_runtime_describe": [_HANDLE, _STRING_OUT],
    "planrt_engine_options_new": [_OUT],
    "planrt_engine_options_set_cpu_backend": [_HANDLE, c_int32],
    "planrt_engine_options_set_cpu_threads": [_HANDLE, c_int32],
    "planrt_engine_options_set_cpu_shape_cache": [_HANDLE, c_int32],
    "planrt_engine_options_set_lean_runtime": [_HANDLE, c_char_p],
    "planrt_engine_options_set_weight_streaming_budget": [_HANDLE, c_int64],
    "planrt_engine_options_set_cpu_allowed": [_HANDLE, c_bool],
    "planrt_engine_options_set_features_allowed": [_HANDLE, c_bool],
    "planrt_engine_options_set_build": [_HANDLE, _HANDLE, c_char_p],
    "planrt_engine_load_folder": [_HANDLE, c_char_p, _HANDLE, _OUT],
    "planrt_engine_self_test": [_HANDLE, c_char_p, _STRING_OUT],
    "planrt_engine_load_file": [_HANDLE, c_char_p, _HANDLE, _OUT],
    "planrt_engine_load_memory": [_HANDLE, c_void_p, c_size_t, _HANDLE, _OUT],
    "planrt_engine_get_tensor_info": [_HANDLE, c_int32, POINTER(TensorInfo)],
    "planrt_engine_get_profile_shape": [_HANDLE, c_int32, c_char_p, POINTER(ProfileShape)],
    "planrt_engine_get_profile_device_memory_size": [_HANDLE, c_int32, POINTER(c_size_t)],
    "planrt_engine_get_statistic": [_HANDLE, c_int32, POINTER(c_int64)],
    "planrt_engine_get_metadata_json": [_HANDLE, _STRING_OUT],
    "planrt_engine_get_layers_json": [_HANDLE, _STRING_OUT],
    "planrt_inspect": [_HANDLE, POINTER(InputShape), c_size_t, c_int32, c_int32, _STRING_OUT],
    "planrt_bench": [_HANDLE, POINTER(InputShape), c_size_t, POINTER(BenchSettings), c_int32, _STRING_OUT],
    "planrt_build_options_new": [_OUT],
    "planrt_build_options_set_profile_shape": [_HANDLE, c_int32, c_char_p, POINTER(ProfileShape)],
    "planrt_build_options_set_precision": [_HANDLE, c_uint32],
    "planrt_build_options_keep_float32_node": [_HANDLE, c_char_p],
    "planrt_build_options_keep_float32_operator": [_HANDLE, c_char_p],
    "planrt_build_options_set_workspace_limit": [_HANDLE, c_size_t],
    "planrt_build_options_set_timing_cache": [_HANDLE, c_char_p],
    "planrt_build_options_set_optimization_level": [_HANDLE, c_int32],
    "planrt_build_options_set_tactics": [_HANDLE, c_uint32, c_uint32],
    "planrt_build_options_set_features": [_HANDLE, c_uint32],
    "planrt_build_options_set_hardware_compatibility": [_HANDLE, c_int32],
    "planrt_build_options_set_instance_normalization": [_HANDLE, c_int32],
    "planrt_build_options_set_weights_folder": [_HANDLE, c_char_p],
    "planrt_build_options_set_progress": [_HANDLE, BuildProgress, c_void_p],
    "planrt_build_file": [_HANDLE, c_char_p, _HANDLE, _OUT],
    "planrt_build_memory": [_HANDLE, c_void_p, c_size_t, _HANDLE, _OUT],
    "planrt_refit_file": [_HANDLE, c_char_p, c_char_p, _HANDLE, _OUT],
    "planrt_refit_memory": [_HANDLE, c_void_p, c_size_t, c_void_p, c_size_t, _HANDLE, _OUT],
    "planrt_plan_save": [_HANDLE, c_char_p],
    "planrt_buffer_new": [_HANDLE, c_int32, c_size_t, _OUT],
    "planrt_stream_new": [_HANDLE, c_int32, _OUT],
    "planrt_stream_wrap": [_HANDLE, c_void_p, _OUT],
    "planrt_stream_synchronize": [_HANDLE],
    "planrt_stream_query": [_HANDLE, POINTER(c_bool)],
    "planrt_stream_wait_for": [_HANDLE, _HANDLE],
    "planrt_stream_copy": [_HANDLE, c_void_p, c_void_p, c_size_t],
    "planrt_context_new": [_HANDLE, _OUT],
    "planrt_context_set_profile": [_HANDLE, c_int32],
    "planrt_context_get_profile": [_HANDLE, POINTER(c_int32)],
    "planrt_context_set_shape": [_HANDLE, c_char_p, POINTER(c_int64), c_int32],
    "planrt_context_get_shape": [_HANDLE, c_char_p, *_SHAPE_OUT],
    "planrt_context_get_output_shape": [_HANDLE, c_char_p, *_SHAPE_OUT],
    "planrt_context_bind": [_HANDLE, c_char_p, c_void_p, c_size_t],
    "planrt_context_enqueue": [_HANDLE, _HANDLE],
    "planrt_context_run": [_HANDLE, *_TENSORS, *_TENSORS],
    "planrt_request_wait": [_HANDLE, c_int64, POINTER(c_bool)],
    "planrt_request_get_output_shape": [_HANDLE, c_char_p, *_SHAPE_OUT],
    "planrt_request_order_stream": [_HANDLE, _HANDLE],
    "planrt_session_options_new": [_OUT],
    "planrt_session_options_set_largest_batch": [_HANDLE, c_int32],
    "planrt_session_options_set_preferred_batches": [_HANDLE, POINTER(c_int32), c_size_t],
    "planrt_session_options_set_max_delay": [_HANDLE, c_int64],
    "planrt_session_options_set_queue": [_HANDLE, c_int32, c_int32],
    "planrt_session_options_set_contexts": [_HANDLE, c_int32],
    "planrt_session_options_set_memory_budget": [_HANDLE, c_size_t],
    "planrt_session_options_set_retry": [_HANDLE, c_bool],
    "planrt_session_new": [POINTER(c_void_p), c_size_t, _HANDLE, _OUT],
    "planrt_session_submit": [_HANDLE, *_TENSORS, *_TENSORS, POINTER(RequestOptions), _OUT],
    "planrt_session_run": [_HANDLE, *_TENSORS, *_TENSORS, POINTER(RequestOptions)],
    "planrt_session_get_statistics": [_HANDLE, POINTER(SessionStatistics)],
    "planrt_session_get_metrics_text": [_HANDLE, _STRING_OUT],
    "planrt_session_describe": [_HANDLE, _STRING_OUT],
    "planrt_scan_read_file": [c_char_p, _OUT],
    "planrt_scan_join": [POINTER(c_void_p), c_size_t, _OUT],
    "planrt_scan_get_volume": [_HANDLE, POINTER(Volume)],
    "planrt_scan_write_labels": [_HANDLE, c_char_p, c_void_p, c_size_t, c_int32],
    "planrt_scan_write_overlay": [_HANDLE, c_char_p, c_void_p, c_size_t, c_int32],
    "planrt_segmenter_options_new": [_OUT],
    "planrt_segmenter_options_set_session_options": [_HANDLE, _HANDLE],
    "planrt_segmenter_options_set_engine_options": [_HANDLE, _HANDLE],
    "planrt_segmenter_options_set_threads": [_HANDLE, c_int32],
    "planrt_segmenter_options_set_overlap": [_HANDLE, c_double],
    "planrt_segmenter_options_set_mirrored": [_HANDLE, c_bool, c_bool, c_bool],
    "planrt_segmenter_options_set_configuration": [_HANDLE, c_char_p],
    "planrt_segmenter_options_set_output": [_HANDLE, c_char_p],
    "planrt_segmenter_options_set_largest_component": [_HANDLE, c_bool],
    "planrt_segmenter_options_set_window": [_HANDLE, POINTER(c_float), c_size_t],
    "planrt_segmenter_options_set_coarse": [_HANDLE, _HANDLE, c_double],
    "planrt_segmenter_new_ensemble": [POINTER(c_void_p), c_size_t, _HANDLE, _OUT],
    "planrt_segmenter_check_company": [_HANDLE, POINTER(Volume), POINTER(SegmentationOptions), c_int32],
    "planrt_segmenter_new": [POINTER(c_void_p), c_size_t, c_char_p, _HANDLE, _OUT],
    "planrt_segmenter_new_over_sessions": [POINTER(c_void_p), c_size_t, c_char_p, _HANDLE, _OUT],
    "planrt_segmenter_load": [_HANDLE, c_char_p, _HANDLE, _OUT],
    "planrt_segmenter_get_info": [_HANDLE, POINTER(SegmenterInfo)],
    "planrt_segmenter_submit": [_HANDLE, *_SEGMENTED, POINTER(SegmentationOptions), _OUT],
    "planrt_segmenter_estimate": [
        _HANDLE,
        POINTER(Volume),
        POINTER(SegmentationOptions),
        POINTER(c_size_t),
        POINTER(c_size_t),
        POINTER(c_size_t),
        POINTER(c_size_t),
    ],
    "planrt_segmentation_wait": [_HANDLE, c_int64, POINTER(c_bool)],
    "planrt_segmentation_get_progress": [_HANDLE, POINTER(c_int64), POINTER(c_int64)],
    "planrt_segmentation_get_label_volume": [_HANDLE, c_int32, POINTER(c_double)],
}

# The others: result and arguments.
INFALLIBLE: dict[str, tuple[Any, list[Any]]] = {
    "planrt_api_version": (None, [POINTER(c_uint32), POINTER(c_uint32)]),
    "planrt_version": (c_char_p, []),
    "planrt_string_delete": (None, [c_void_p]),
    "planrt_error_get_code": (c_int32, [_HANDLE]),
    "planrt_error_get_message": (c_char_p, [_HANDLE]),
    "planrt_error_get_detail": (c_char_p, [_HANDLE]),
    "planrt_error_get_cuda_code": (c_int32, [_HANDLE]),
    "planrt_engine_get_backend": (c_int32, [_HANDLE]),
    "planrt_engine_get_name": (c_char_p, [_HANDLE]),
    "planrt_engine_get_device_name": (c_char_p, [_HANDLE]),
    "planrt_engine_get_tensor_count": (c_int32, [_HANDLE]),
    "planrt_engine_get_profile_count": (c_int32, [_HANDLE]),
    "planrt_engine_get_device_memory_size": (c_size_t, [_HANDLE]),
    "planrt_engine_get_dimension_name": (c_char_p, [_HANDLE, c_int32, c_int32]),
    "planrt_plan_get_data": (c_void_p, [_HANDLE]),
    "planrt_plan_get_size": (c_size_t, [_HANDLE]),
    "planrt_buffer_get_data": (c_void_p, [_HANDLE]),
    "planrt_stream_get_native": (c_void_p, [_HANDLE]),
    "planrt_context_cancel": (None, [_HANDLE]),
    "planrt_request_cancel": (None, [_HANDLE]),
    "planrt_request_poll": (c_bool, [_HANDLE]),
    "planrt_segmentation_poll": (c_bool, [_HANDLE]),
    "planrt_segmentation_cancel": (None, [_HANDLE]),
    "planrt_scan_get_note": (c_char_p, [_HANDLE]),
    **{
        f"planrt_{kind}_delete": (None, [_HANDLE])
        for kind in (
            "error",
            "runtime_options",
            "runtime",
            "engine_options",
            "engine",
            "build_options",
            "plan",
            "buffer",
            "stream",
            "context",
            "request",
            "session_options",
            "session",
            "scan",
            "segmenter_options",
            "segmenter",
            "segmentation",
        )
    },
}


class _Calls:
    """Callbacks that are at work on planrt's threads. Python ends such a thread where it stands, which ends the process badly."""

    def __init__(self) -> None:
        # Without a lock: where garbage is collected while it is held, a session that goes then would wait for callbacks that wait for it.
        self._at_work: collections.deque[None] = collections.deque()
        self._ended = 0.0
        self._here = threading.local()

    def __enter__(self) -> None:
        self._at_work.append(None)
        self._here.depth = getattr(self._here, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._here.depth -= 1
        self._at_work.pop()

    def is_inside(self) -> bool:
        """Whether this very thread is in a callback."""
        return getattr(self._here, "depth", 0) > 0

    def forget(self) -> None:
        self._at_work.clear()

    def finish(self) -> None:
        """When Python ends: waits for callbacks whose session or segmenter was deleted inside one, where nobody waited for them."""
        until = time.monotonic() + 10
        # One that has ended is still on its way out of Python.
        while (self._at_work or time.monotonic() < self._ended + 0.1) and time.monotonic() < until:
            time.sleep(0.01)


calls = _Calls()
# Before any handle's finalizer, and so called after all of them.
atexit.register(calls.finish)
if hasattr(os, "register_at_fork"):
    # A child has no threads of its parent's that it would wait for.
    os.register_at_fork(after_in_child=calls.forget)

_lock = threading.Lock()
_loaded: ctypes.CDLL | None = None


def _candidate(path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        return os.fspath(path)
    if named := os.environ.get("PLANRT_LIBRARY"):
        return named
    beside = Path(__file__).with_name("libplanrt.so.0")
    if beside.exists():
        return str(beside)
    return {"win32": "planrt.dll", "darwin": "libplanrt.0.dylib"}.get(sys.platform, "libplanrt.so.0")


def raise_error(handle: int) -> None:
    """Raises what the handle, which is deleted, says."""
    library = load()
    try:
        raise error_of(handle)
    finally:
        library.planrt_error_delete(handle)


def error_of(handle: int) -> Error:
    library = load()
    return Error(
        library.planrt_error_get_code(handle),
        library.planrt_error_get_message(handle).decode(errors="replace"),
        library.planrt_error_get_detail(handle).decode(errors="replace"),
        library.planrt_error_get_cuda_code(handle),
    )


def _check(handle: int | None, _function: Any, _arguments: Any) -> None:
    if handle:
        raise_error(handle)


def load(path: str | os.PathLike[str] | None = None) -> ctypes.CDLL:
    """The library: `path`, or what PLANRT_LIBRARY names, or the one beside this package, or the loader's.

    It is loaded once a process, at the first call; `ImportError` where there is none, or one of another interface.
    """
    global _loaded
    if _loaded is not None:
        if path is not None and os.fspath(path) != _loaded._name:
            raise ImportError(f"planrt is loaded already, from {_loaded._name}: name the library before it is used")
        return _loaded
    with _lock:
        if _loaded is None:
            _loaded = _declared(_candidate(path))
    return _loaded


def _declared(name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(
            f"planrt's library does not load: {error}. Let PLANRT_LIBRARY name libplanrt.so.0, or put it on the loader's path"
        ) from error
    try:
        library.planrt_api_version.restype = None
    except AttributeError:
        raise ImportError(f"{name} is not planrt's library: it has no planrt_api_version") from None
    major, minor = c_uint32(), c_uint32()
    library.planrt_api_version(byref(major), byref(minor))
    if (major.value, minor.value) != API_VERSION:
        wanted = ".".join(map(str, API_VERSION))
        raise ImportError(f"{name} has interface {major.value}.{minor.value}; this package was written for {wanted}")
    try:
        for function_name, (result, arguments) in INFALLIBLE.items():
            function = getattr(library, function_name)
            function.restype, function.argtypes = result, [_WHOLE.get(kind, kind) for kind in arguments]
        for function_name, arguments in FALLIBLE.items():
            function = getattr(library, function_name)
            function.restype, function.errcheck = c_void_p, _check
            function.argtypes = [_WHOLE.get(kind, kind) for kind in arguments]
    except AttributeError as error:
        raise ImportError(f"{name} is another release than this package: {error}") from None
    return library


def new(function: str, *arguments: Any) -> c_void_p:
    """Calls a function whose last argument receives a handle."""
    handle = c_void_p()
    getattr(load(), function)(*arguments, byref(handle))
    return handle


def extents(*shape: int) -> Any:
    """Room for a shape, and the shape in it."""
    return Extents(*fitting(c_int64, *shape))


def microseconds(name: str, seconds: float) -> int:
    """A time as C has it."""
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is {seconds} seconds, which is no time that can be waited for")
    return round(seconds * 1e6)


def timeout_us(seconds: float | None) -> int:
    """A time-out as options have it, where 0 is none at all."""
    return 0 if seconds is None else microseconds("the time-out", seconds) or -1


def name_bytes(name: str) -> bytes:
    """A name as C takes it."""
    if "\0" in name:
        raise ValueError(f"{name!r} has a null character, at which C would cut it")
    return name.encode()


class Owner:
    """What owns a handle: it is not copied, since the handle goes with the first of the two."""

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError(f"a planrt {type(self).__name__} cannot be copied or pickled")


def own(owner: Owner, kind: str, handle: c_void_p) -> weakref.finalize[Any, Any]:
    """Deletes the handle with its owner, in whatever order: planrt counts references."""
    finalizer = weakref.finalize(owner, getattr(load(), f"planrt_{kind}_delete"), handle)
    # When Python ends, what is under way ends with its session or segmenter, whose callbacks still ask these.
    finalizer.atexit = kind not in ("request", "segmentation")
    return finalizer


class Guarded:
    """A handle that goes while other threads use it: at a `close`, or when Python ends and threads of its do not. From then on no call
    begins, and those under way have ended before it is deleted, which C leaves to its caller.
    """

    def __init__(self, owner: Owner, kind: str, handle: c_void_p):
        self._kind, self._handle, self._is_closed = kind, handle, False
        # Whoever takes it out deletes it.
        self._to_delete = [handle]
        self._delete = getattr(load(), f"planrt_{kind}_delete")
        # One a thread, held in its calls: whatever ends a call lets go of it, and no call waits for another's. By process, too: what
        # threads held when it was forked nobody lets go of in the child.
        self._locks: dict[tuple[int, int], Any] = {}
        # Not the owner's method, which would keep it.
        weakref.finalize(owner, self.close)

    @property
    def handle(self) -> c_void_p:
        if self._is_closed:
            raise Error(ErrorCode.INVALID_ARGUMENT, f"the {self._kind} is closed")
        return self._handle

    @property
    def call(self) -> Any:
        """What this thread holds while it is in a call."""
        key = (os.getpid(), threading.get_ident())
        return self._locks.get(key) or self._locks.setdefault(key, threading.RLock())

    def close(self) -> None:
        if self._is_closed and not self._to_delete:
            return
        if self.call._is_owned():
            raise Error(ErrorCode.IN_USE, f"the {self._kind} is in a call of this very thread, which a signal has interrupted")
        self._is_closed = True
        process = os.getpid()
        for (its_process, _), lock in list(self._locks.items()):
            if its_process == process:
                with lock:
                    pass
        with contextlib.suppress(IndexError):
            self._delete(self._to_delete.pop())


def text(function: str, *arguments: Any) -> str:
    """Calls a function whose last argument receives a string."""
    handle = new(function, *arguments)
    try:
        return ctypes.string_at(handle.value).decode() if handle.value else ""
    finally:
        load().planrt_string_delete(handle)


def shape(function: str, handle: c_void_p, name: str) -> tuple[int, ...]:
    """Calls a function whose last arguments receive a shape."""
    extents, rank = Extents(), c_int32()
    getattr(load(), function)(handle, name_bytes(name), extents, byref(rank))
    return tuple(extents[: rank.value])
