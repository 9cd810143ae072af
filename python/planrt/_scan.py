"""Scans: volumes in memory, and NIfTI files of them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import byref, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _library
from ._library import Owner, load, new, own
from ._runtime import path_bytes
from ._tensors import DEVICE, ELEMENT_TYPES, TYPE_NAMES, Memory, element_type, is_on_device, refuse_mask

# What voxels may be; others become float32, as they do where a file is read.
_VOXELS = frozenset({"int8", "uint8", "int16", "uint16", "int32", "float16", "float32"})
_IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass
class Volume:
    """A scan in memory, and where its voxels lie. Axes are [z, y, x], or [channel, z, y, x], in any strides."""

    voxels: Any
    """A numpy array, or what becomes one; types other than int8, uint8, int16, uint16, int32, float16 and float32 become float32. Or memory of
    a GPU that the segmenter runs on, with DLPack or CUDA's array interface: dense, and of one of these types."""
    spacing_mm: Sequence[float]
    """Between the centres of neighbouring voxels along z, y and x."""
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0)
    """Where the centre of voxel (0, 0, 0) lies: toward the patient's left, posterior, superior, as in DICOM and ITK."""
    direction: Any = _IDENTITY
    """Three by three, as ITK has it: its columns are the directions in which the index of x, y and z grows. Nine numbers row after row, as
    SimpleITK gives them, are the same."""
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along z, y and x."""
        if not is_on_device(self.voxels):
            return tuple(np.shape(self.voxels)[-3:])
        interface = getattr(self.voxels, "__cuda_array_interface__", None)
        return tuple((interface["shape"] if interface else self.voxels.shape)[-3:])


@dataclass
class Place:
    """Memory as a strided array's: from the lowest byte on, and where its first element lies."""

    address: int
    size_bytes: int
    first_bytes: int
    keep: Any
    kind: int = 0
    """Where it is; 0 for the host."""


def place_of(array: np.ndarray[Any, Any]) -> Place:
    """Where an array's elements lie, whichever way its strides go."""
    reach = [stride * (extent - 1) for stride, extent in zip(array.strides, array.shape)]
    below = -sum(one for one in reach if one < 0)
    above = sum(one for one in reach if one > 0)
    return Place(array.ctypes.data - below, below + above + array.itemsize if array.size else 0, below, array)


def c_volume(volume: Volume, memory: Memory | None = None) -> tuple[_library.Volume, Any]:
    """A volume as C takes it, and what has to be kept as long as that is in use. `memory` is a GPU's that has its voxels."""
    if memory is not None:
        type_, shape = TYPE_NAMES[memory.element_type], memory.shape
        strides: tuple[int, ...] = (0, 0, 0, 0)
        if type_ not in _VOXELS:
            raise TypeError(f"a volume in device memory has elements of {type_}, and is not converted: {', '.join(sorted(_VOXELS))}")
        _check_axes(len(shape))
        shape = shape if len(shape) == 4 else (1, *shape)
        place = Place(memory.address, memory.size_bytes, 0, memory.keep, DEVICE)
    else:
        place, type_, shape, strides = _on_host(volume.voxels)
    direction = np.asarray(volume.direction, dtype=np.float64)
    if direction.size != 9:
        raise ValueError(f"a direction has nine numbers, and this one {direction.size}")
    if not direction.any():
        # C takes zeros for none given.
        raise ValueError("a direction of zeros: its columns are of length 1 and perpendicular to each other")
    made = _library.Volume(
        data=place.address,
        size_bytes=place.size_bytes,
        first_voxel_bytes=place.first_bytes,
        element_type=ELEMENT_TYPES[type_],
        memory_kind=place.kind,
        channels=shape[0],
        # An extent of 0 is refused, with its name.
        extents=_three("extents", shape[1:], ctypes.c_int64),
        strides_bytes=(ctypes.c_int64 * 4)(*strides),
        spacing_mm=_three("spacing_mm", volume.spacing_mm),
        origin_mm=_three("origin_mm", volume.origin_mm),
        direction=(ctypes.c_double * 9)(*direction.ravel()),
        rescale_slope=volume.rescale_slope,
        rescale_intercept=volume.rescale_intercept,
    )
    return made, place


def _check_axes(count: int) -> None:
    if count not in (3, 4):
        raise ValueError(f"a volume has the axes [z, y, x] or [channel, z, y, x]; this one has {count}")


def _on_host(voxels: Any) -> tuple[Place, str, tuple[int, ...], tuple[int, ...]]:
    """Where the voxels of an array lie, their type, and extents and steps in bytes of channels, z, y and x."""
    refuse_mask("voxels", voxels)
    array = np.asarray(voxels)
    _check_axes(array.ndim)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    elif array.dtype.kind not in "iuf":
        raise TypeError(f"a volume has whole or real numbers, and not {array.dtype}")
    elif not array.dtype.isnative or array.dtype.name not in _VOXELS:
        array = array.astype(array.dtype.newbyteorder("=") if array.dtype.name in _VOXELS else np.float32)
    channels = array if array.ndim == 4 else array[np.newaxis]
    strides = channels.strides
    if not any(strides):
        # Zeros say that there are no gaps. One value for all voxels is one channel, whose own step leads nowhere.
        channels = channels if channels.shape[0] == 1 else np.ascontiguousarray(channels)
        strides = (array.itemsize, 0, 0, 0) if channels.shape[0] == 1 else channels.strides
    return place_of(channels), array.dtype.name, channels.shape, strides


def _three(name: str, values: Sequence[float], kind: Any = ctypes.c_double) -> Any:
    if len(values) != 3:
        raise ValueError(f"{name} has three numbers, along z, y and x, and not {len(values)}")
    return (kind * 3)(*values)


class Scan:
    """A scan that is read from a NIfTI-1 file, `.nii` or `.nii.gz`. Several files become the channels of one, in their order."""

    def __init__(self, *files: str | os.PathLike[str]):
        if not files:
            raise ValueError("a scan has at least one file")
        # Those that are joined are not needed any more.
        read = [_Read(new("planrt_scan_read_file", path_bytes(file))) for file in files]
        if len(read) > 1:
            handles = (c_void_p * len(read))(*[one.handle for one in read])
            read.append(_Read(new("planrt_scan_join", handles, len(read))))
        self._read = read[-1]
        self._handle = self._read.handle

    @property
    def volume(self) -> Volume:
        """The scan as a segmenter takes it; its voxels are the scan's own memory, read-only, and keep it."""
        volume = _library.Volume()
        load().planrt_scan_get_volume(self._handle, byref(volume))
        dtype = np.dtype(next(name for name, number in ELEMENT_TYPES.items() if number == volume.element_type))
        memory = (ctypes.c_char * volume.size_bytes).from_address(volume.data)
        memory._scan = self._read  # the array keeps the memory, and that the scan
        voxels = np.frombuffer(memory, dtype).reshape(volume.channels, *volume.extents)
        voxels.flags.writeable = False
        return Volume(
            voxels[0] if volume.channels == 1 else voxels,
            tuple(volume.spacing_mm),
            tuple(volume.origin_mm),
            np.array(volume.direction).reshape(3, 3),
            volume.rescale_slope,
            volume.rescale_intercept,
        )

    @property
    def note(self) -> str:
        """What a person should know of the file beside its content, as that its sform and its qform disagree."""
        return load().planrt_scan_get_note(self._handle).decode()  # type: ignore[no-any-return]

    def write_labels(self, path: str | os.PathLike[str], labels: Any) -> None:
        """Writes labels [z, y, x] as a NIfTI-1 file that lies where the scan lies, compressed where the path ends in `.gz`."""
        self._write("labels", path, labels)

    def write_overlay(self, path: str | os.PathLike[str], labels: Any) -> None:
        """Writes a PNG file with three planes of the scan in grey and labels over it in colour."""
        self._write("overlay", path, labels)

    def _write(self, what: str, path: str | os.PathLike[str], labels: Any) -> None:
        array = np.asarray(labels, order="C")
        type_ = element_type(array.dtype)
        if type_ is None:
            raise TypeError(f"labels of {array.dtype}; they are uint8 or uint16")
        if array.shape != self.volume.shape:
            raise ValueError(f"labels of shape {array.shape} for a scan of {self.volume.shape}")
        call = getattr(load(), f"planrt_scan_write_{what}")
        call(self._handle, path_bytes(path), array.ctypes.data, array.nbytes, type_)


class _Read(Owner):
    """A scan's handle; views of its voxels keep it."""

    def __init__(self, handle: c_void_p):
        self.handle = handle
        own(self, "scan", handle)
