"""Inputs of the user's: arrays in .npz and .npy, scans in .nii and .nii.gz."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planrt

from .numbers import Arrays
from .problem import Problem
from .source import Input, first_line, shown, users_own

Prepare = Callable[[Any], Any]


def read_all(files: list[str], prepare: Prepare | None, inputs: list[Input], batches: tuple[int, int, int]) -> dict[str, Arrays]:
    """The files' inputs, each by its file's name, or by its path where names are alike."""
    names = [Path(file).name for file in files]
    own = {file: name if names.count(name) == 1 else file for file, name in zip(files, names)}
    return {own[file]: read(Path(file), prepare, inputs, batches) for file in files}


def read(path: Path, prepare: Prepare | None, inputs: list[Input], batches: tuple[int, int, int]) -> Arrays:
    """A file's inputs, as the model takes them."""
    found = _read(path)
    if prepare is not None:
        with users_own(f"{path}: what prepares it fails"):
            found = prepare(found)
    elif isinstance(found, planrt.Volume):
        found = np.asarray(found.voxels, np.float32) * np.float32(found.rescale_slope) + np.float32(found.rescale_intercept)
    if not isinstance(found, dict):
        if len(inputs) > 1:
            several = ", ".join(repr(one.name) for one in inputs)
            raise Problem(f"{path} is one array, and the model takes {several}: give a .npz with an array for each by its name")
        array = np.asarray(found)
        # A batch of one, and one channel, where these are not in it.
        found = {inputs[0].name: array.reshape((1,) * (len(inputs[0].shape) - array.ndim) + array.shape)}
    return {one.name: _fitting(path, one, found, batches) for one in inputs}


def _read(path: Path) -> Any:
    """A volume of a scan, an array, or arrays by their names."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return planrt.Scan(path).volume
    if not name.endswith((".npz", ".npy")):
        raise Problem(f"{path} is neither a .npz or .npy of arrays nor a .nii or .nii.gz of a scan, by its name")
    try:
        loaded = np.load(path)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Problem(f"{path} holds no arrays that can be read: {first_line(error)}") from error


def _fitting(path: Path, one: Input, found: dict[str, Any], batches: tuple[int, int, int]) -> Any:
    """An input's array, if the model takes it."""
    if one.name not in found:
        raise Problem(f"{path} has no array {one.name!r}")
    array = np.asarray(found[one.name])
    if array.dtype.kind not in "biuf":
        raise Problem(f"{path}: {one.name!r} has no numbers that planrt takes, but {array.dtype}")
    fits = array.ndim == len(one.shape) and all(
        axis in one.open_axes or extent == own for axis, (extent, own) in enumerate(zip(array.shape, one.shape))
    )
    if not fits:
        wanted = shown([-1 if axis in one.open_axes else extent for axis, extent in enumerate(one.shape)])
        raise Problem(
            f"{path}: {one.name!r} is {shown(list(array.shape))}, and the model takes {wanted}; "
            "--prepare MODULE:FUNCTION names what makes the one of the other"
        )
    if 0 in one.open_axes and not batches[0] <= array.shape[0] <= batches[2]:
        raise Problem(f"{path}: {one.name!r} has a batch of {array.shape[0]}, which --batch {':'.join(map(str, batches))} leaves out")
    with np.errstate(all="ignore"):
        taken = np.ascontiguousarray(array, dtype=one.dtype)
        is_lost = np.isfinite(array) & ~np.isfinite(taken) if taken.dtype.kind == "f" else taken != array
    if is_lost.any():
        raise Problem(f"{path}: {one.name!r} has numbers that are none of {one.dtype}, which the model takes, as {array[is_lost].flat[0]}")
    return taken


def digest(inputs: Arrays) -> str:
    """A hash of arrays, as they are after what prepares them."""
    sha = hashlib.sha256()
    for name, array in inputs.items():
        sha.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha.update(array.data)
    return sha.hexdigest()
