"""Tensors: what a model says of them, and memory of numpy, DLPack and CUDA's array interface as planrt is lent it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from . import _library
from ._errors import Error, ErrorCode

HOST, PINNED, DEVICE = 1, 2, 3
FLOAT32, FLOAT16, BFLOAT16, INT8, UINT8, INT32, INT64, BOOL, INT16, UINT16, FLOAT64 = range(1, 12)
_NAMES = "float32 float16 bfloat16 int8 uint8 int32 int64 bool int16 uint16 float64".split()
ELEMENT_TYPES: dict[str, int] = {name: number for number, name in enumerate(_NAMES, 1)}
TYPE_NAMES: dict[int, str] = {number: name for name, number in ELEMENT_TYPES.items()}
_SIZES = {FLOAT32: 4, FLOAT16: 2, BFLOAT16: 2, INT8: 1, UINT8: 1, INT32: 4, INT64: 8, BOOL: 1, INT16: 2, UINT16: 2, FLOAT64: 8}
_FLOATS = {FLOAT32, FLOAT16, BFLOAT16}
# What planrt converts to a model's floats, and from them, in host memory.
_CONVERTED = _FLOATS | {INT16, UINT16, FLOAT64}

Outputs = Union[Mapping[str, Any], Iterable[str], None]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model."""

    name: str
    is_input: bool
    element_type: str
    """ "float32", "bfloat16", ..."""
    shape: tuple[int, ...]
    """Extents, outermost first; -1 where the model leaves one open."""
    dimension_names: tuple[str | None, ...]
    """The names that an ONNX model gives to its open extents."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy's type for it: float32 for bfloat16, which numpy has not; planrt converts."""
        return np.dtype(np.float32 if self.element_type == "bfloat16" else self.element_type)


def converts(given: int, models: int) -> bool:
    """Whether planrt takes host memory of one type for a tensor of the other."""
    return given == models or (models in _FLOATS and given in _CONVERTED)


def element_type(dtype: np.dtype[Any]) -> int | None:
    return ELEMENT_TYPES.get(dtype.name) if dtype.isnative else None


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLVersioned(ctypes.Structure):
    """DLManagedTensorVersioned, of DLPack 1.0 and later."""

    _fields_ = [
        ("version", ctypes.c_uint32 * 2),
        ("owner", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    ]


_DL_VERSION, _DL_READ_ONLY = (1, 0), 1
_DL_CPU, _DL_CUDA, _DL_CUDA_HOST, _DL_CUDA_MANAGED = 1, 2, 3, 13
_DL_TYPES = {
    (2, 32): FLOAT32,
    (2, 16): FLOAT16,
    (4, 16): BFLOAT16,
    (0, 8): INT8,
    (1, 8): UINT8,
    (0, 32): INT32,
    (0, 64): INT64,
    (6, 8): BOOL,
    (0, 16): INT16,
    (1, 16): UINT16,
    (2, 64): FLOAT64,
}
_capsule_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_capsule_is_valid.restype = ctypes.c_int
_capsule_is_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


@dataclass
class Memory:
    """Memory of somebody's, dense, in C order."""

    address: int
    size_bytes: int
    element_type: int
    kind: int
    shape: tuple[int, ...]
    keep: Any
    """What keeps it alive."""
    is_read_only: bool = False


def is_dense(shape: tuple[int, ...], strides: Iterable[int], unit: int) -> bool:
    """Whether strides, in units of an element or in bytes, are those of C order; extents of 1 may have any."""
    expected = unit
    for extent, stride in reversed(list(zip(shape, strides))):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True


def _not_dense(name: str) -> ValueError:
    return ValueError(f"the memory of {name!r} is not dense in C order: give a contiguous copy (.contiguous(), ascontiguousarray)")


def _from_dlpack(name: str, value: Any, device: int, stream: int | None) -> Memory:
    on_gpu = device in (_DL_CUDA, _DL_CUDA_MANAGED)
    # The producer orders the stream behind its own work on the tensor.
    arguments = {"stream": stream} if on_gpu else {}
    try:
        capsule = value.__dlpack__(max_version=_DL_VERSION, **arguments)
    except TypeError:  # it is older than that, and cannot say whether it is read-only
        capsule = value.__dlpack__(**arguments)
    # The capsule is not consumed: it frees the tensor when it goes itself.
    if _capsule_is_valid(capsule, b"dltensor_versioned"):
        versioned = _DLVersioned.from_address(_capsule_pointer(capsule, b"dltensor_versioned"))
        if versioned.version[0] > _DL_VERSION[0]:
            raise TypeError(f"{name!r} is given in DLPack {versioned.version[0]}, and {_DL_VERSION[0]} is known")
        tensor, is_read_only = versioned.tensor, bool(versioned.flags & _DL_READ_ONLY)
    else:
        tensor, is_read_only = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor")), False
    shape = tuple(tensor.shape[: tensor.ndim])
    kind = DEVICE if on_gpu else PINNED if device == _DL_CUDA_HOST else HOST
    type_ = _DL_TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if type_ is None:
        raise TypeError(f"{name!r} has elements that planrt does not know (DLPack's type {tensor.code}, {tensor.bits} bits)")
    if tensor.strides and not is_dense(shape, tensor.strides[: tensor.ndim], 1) and 0 not in shape:
        raise _not_dense(name)
    size = math.prod(shape) * _SIZES[type_]
    return Memory((tensor.data or 0) + tensor.byte_offset, size, type_, kind, shape, (value, capsule), is_read_only)


def _from_cuda(name: str, value: Any, order: Callable[[int], None]) -> Memory:
    interface = value.__cuda_array_interface__
    dtype = np.dtype(interface["typestr"])
    shape = tuple(interface["shape"])
    type_ = element_type(dtype)
    if type_ is None:
        raise TypeError(f"{name!r} has elements of {dtype}, which planrt does not know")
    if interface.get("mask") is not None:
        raise TypeError(f"{name!r} has a mask, which planrt does not know")
    strides = interface.get("strides")
    if strides is not None and not is_dense(shape, strides, dtype.itemsize) and 0 not in shape:
        raise _not_dense(name)
    if (stream := interface.get("stream")) is not None:
        order(stream)
    address, is_read_only = interface["data"]
    return Memory(address or 0, math.prod(shape) * dtype.itemsize, type_, DEVICE, shape, value, bool(is_read_only))


def is_on_device(value: Any) -> bool:
    """Whether it is memory of a GPU."""
    return device_of(value) is not None


def device_of(value: Any) -> int | None:
    """The ordinal of the GPU that its memory is on, -1 where it does not say; None for host memory."""
    if isinstance(value, np.ndarray):
        return None
    if hasattr(value, "__dlpack_device__"):
        kind, ordinal = value.__dlpack_device__()
        return int(ordinal) if kind in (_DL_CUDA, _DL_CUDA_MANAGED) else None
    return -1 if hasattr(value, "__cuda_array_interface__") else None


def memory_of(name: str, value: Any, stream: int | None, order: Callable[[int], None]) -> Memory | None:
    """Memory that is not numpy's, where it says what it is.

    `stream` is the CUDA stream that is to be ordered behind the work on device memory; `order` does that for one more.
    """
    if isinstance(value, np.ndarray):
        return None
    if hasattr(value, "__dlpack_device__"):
        return _from_dlpack(name, value, value.__dlpack_device__()[0], stream)
    if hasattr(value, "__cuda_array_interface__"):
        return _from_cuda(name, value, order)
    return None


def no_order(_stream: int) -> None:
    pass


@dataclass
class Lent:
    """One tensor with the memory lent for it."""

    tensor: _library.Tensor
    info: TensorInfo
    keep: Any
    value: Any
    """For outputs: the caller's, or the array made for it."""


def _view(info: TensorInfo, memory: Memory) -> _library.Tensor:
    if len(memory.shape) > _library.MAX_RANK:
        raise ValueError(f"{info.name!r} has {len(memory.shape)} dimensions; planrt takes {_library.MAX_RANK}")
    return _library.Tensor(
        name=info.name.encode(),
        input_data=memory.address if info.is_input else None,
        output_data=None if info.is_input else memory.address,
        size_bytes=memory.size_bytes,
        element_type=memory.element_type,
        memory_kind=memory.kind,
        rank=len(memory.shape),
        shape=_library.extents(*memory.shape),
    )


def _of_array(array: np.ndarray[Any, Any], type_: int) -> Memory:
    return Memory(array.ctypes.data, array.nbytes, type_, HOST, array.shape, array, not array.flags.writeable)


def refuse_mask(name: str, value: Any) -> None:
    if np.ma.is_masked(value):
        raise TypeError(f"{name!r} has a mask, which planrt does not know: fill it (.filled(value))")


def _cast(info: TensorInfo, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array that planrt does not convert in the model's type. Whole numbers stay what they are, or it is an error."""
    if not np.can_cast(array.dtype, info.dtype, "same_kind"):
        raise TypeError(f"{info.name!r} holds {info.element_type}, and {array.dtype} was given, which is not converted")
    if info.dtype.kind in "iu" and array.size and not np.can_cast(array.dtype, info.dtype, "safe"):
        smallest, largest, limits = array.min(), array.max(), np.iinfo(info.dtype)
        if int(smallest) < limits.min or int(largest) > limits.max:
            raise ValueError(f"{info.name!r} holds {info.element_type}, and numbers from {smallest} to {largest} were given, which do not fit")
    return array.astype(info.dtype, order="C", copy=False)


def lend_input(info: TensorInfo, value: Any, stream: int | None = None, order: Callable[[int], None] = no_order) -> Lent:
    """Lends an input; what is not dense, or of a type that planrt does not convert, is copied first."""
    try:
        memory = memory_of(info.name, value, stream, order)
    except ValueError:
        if is_on_device(value):
            raise
        memory = None
        value = np.from_dlpack(value)  # not dense, in host memory
    if memory is None:
        models = ELEMENT_TYPES[info.element_type]
        refuse_mask(info.name, value)
        array = np.asarray(value)
        type_ = element_type(array.dtype)
        if type_ is None or not converts(type_, models):
            array = _cast(info, array)
            type_ = ELEMENT_TYPES[array.dtype.name]
        # Not ascontiguousarray: it makes a scalar one-dimensional.
        memory = _of_array(np.asarray(array, order="C"), type_)
    return Lent(_view(info, memory), info, memory.keep, value)


def lend(info: TensorInfo, value: Any, stream: int | None = None, order: Callable[[int], None] = no_order) -> Lent:
    """Lends memory of the caller's as it is, for an output or for an input that is not to be copied."""
    memory = memory_of(info.name, value, stream, order)
    if memory is None:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"memory for {info.name!r} is a numpy array or a tensor with DLPack, not {type(value).__name__}")
        type_ = element_type(value.dtype)
        if type_ is None:
            raise TypeError(f"the array for {info.name!r} has elements of {value.dtype}, which planrt does not know")
        if not value.flags.c_contiguous:
            raise _not_dense(info.name)
        memory = _of_array(value, type_)
    if memory.is_read_only and not info.is_input:
        raise ValueError(f"the memory for {info.name!r} is read-only")
    return Lent(_view(info, memory), info, memory.keep, value)


def new_output(info: TensorInfo, shape: tuple[int, ...]) -> Lent:
    return lend(info, np.empty(shape, info.dtype))


def array_of(lent: Iterable[Lent]) -> tuple[Any, int]:
    tensors = [one.tensor for one in lent]
    return (_library.Tensor * len(tensors))(*tensors), len(tensors)


def check_names(inputs: Mapping[str, Any], infos: Mapping[str, TensorInfo]) -> None:
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs are arrays by their names ({{name: array}}), not {type(inputs).__name__}")
    if inputs.keys() != infos.keys():
        raise Error(
            ErrorCode.INVALID_ARGUMENT, f"the model takes the inputs {sorted(infos)}, {sorted(inputs)} were given"
        )


def wanted_outputs(outputs: Outputs, infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The outputs that are wanted, each with its memory or None for new memory."""
    if outputs is None:
        return dict.fromkeys(infos)
    if isinstance(outputs, str):
        outputs = [outputs]
    wanted = dict(outputs) if isinstance(outputs, Mapping) else dict.fromkeys(outputs)
    for name in wanted:
        if name not in infos:
            raise Error(ErrorCode.NOT_FOUND, f"the model has no output {name!r}; it has {sorted(infos)}")
    return wanted


def shaped(value: Any, shape: tuple[int, ...]) -> Any:
    """The part of an array that a run has written, in its shape; other memory as it is."""
    if not isinstance(value, np.ndarray) or value.shape == shape:
        return value
    return value.reshape(-1)[: math.prod(shape)].reshape(shape)
