"""Pictures of labels over a volume, two results beside each other, and how they agree."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Of labels from 1 on; more begin anew.
_COLOURS = np.array([[230, 60, 50], [60, 150, 255], [70, 200, 90], [250, 190, 40], [190, 90, 220], [60, 210, 210]], np.float32)
_DIFFERENT = [255, 0, 255]
_LARGEST_SIDE = 320
# A picture is numbers in a palette, with few grays: noise takes most of its bytes.
_GRAYS, _DIM_GRAYS = 16, 4


def _palette() -> Array:
    """Grays, then grays below each colour, then dim grays, then what is different, then white."""
    grays = np.repeat(np.linspace(0, 255, _GRAYS)[:, None], 3, 1)
    parts = [grays, *[0.5 * grays + 0.5 * colour for colour in _COLOURS]]
    dim = np.repeat(np.linspace(0, 150, _DIM_GRAYS)[:, None], 3, 1)
    return np.concatenate([*parts, dim, [_DIFFERENT, [255, 255, 255]]]).round().astype(np.uint8)


_DIM_AT = _GRAYS * (1 + len(_COLOURS))
_DIFFERENT_AT = _DIM_AT + _DIM_GRAYS


def labels_of(output: Array) -> Array | None:
    """The label of each voxel of the first item: the largest channel, or what is more than a half; None where it is no segmentation."""
    if output.ndim not in (4, 5) or not output.size or output.dtype.kind != "f":
        return None
    item = output[0]
    if item.shape[0] > 1:
        return item.argmax(0).astype(np.int32)
    return (item[0] > 0.5).astype(np.int32) if 0 <= np.nanmin(item) and np.nanmax(item) <= 1 else None


def agreement(expected: Array, found: Array) -> list[dict[str, Any]]:
    """For each label: its voxels in both, and Dice."""
    rows = []
    for label in np.union1d(np.unique(expected), np.unique(found)):
        if label:
            a, b = expected == label, found == label
            both, total = int((a & b).sum()), int(a.sum()) + int(b.sum())
            rows.append({"label": int(label), "expected_voxels": int(a.sum()), "found_voxels": int(b.sum()), "dice": 2 * both / total})
    return rows


def picture(volume: Array, expected: Array, found: Array) -> str | None:
    """A PNG, in base64: a slice along each axis, through where most labels are; the one result, the other, and where they differ."""
    if volume.shape != expected.shape or expected.shape != found.shape:
        return None
    if volume.ndim == 2:
        volume, expected, found = volume[None], expected[None], found[None]
        axes = [0]
    else:
        axes = [0, 1, 2]
    # Where a volume has no number it is as dark as can be.
    finite = volume[np.isfinite(volume)].astype(np.float64)
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0, 1)
    shown = np.nan_to_num(volume.astype(np.float64), nan=low, posinf=high, neginf=low)
    gray = np.clip((shown - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    rows = []
    for axis in axes:
        others = tuple(one for one in range(3) if one != axis)
        counts = ((expected > 0) | (found > 0)).sum(others)
        at = int(counts.argmax()) if counts.any() else volume.shape[axis] // 2
        plane, a, b = (np.take(one, at, axis) for one in (gray, expected, found))
        step = -(-max(plane.shape) // _LARGEST_SIDE)
        plane, a, b = (one[::step, ::step] for one in (plane, a, b))
        changed = np.where(a != b, _DIFFERENT_AT, _DIM_AT + np.minimum(plane * _DIM_GRAYS, _DIM_GRAYS - 1).astype(int))
        rows.append(np.concatenate([_painted(plane, a), _painted(plane, b), changed], 1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1])), constant_values=_DIFFERENT_AT + 1) for row in rows]
    return base64.b64encode(png(np.concatenate(padded).astype(np.uint8), _palette())).decode()


def _painted(plane: Array, labels: Array) -> Array:
    colour = np.where(labels > 0, 1 + (labels - 1) % len(_COLOURS), 0)
    return colour * _GRAYS + np.minimum(plane * _GRAYS, _GRAYS - 1).astype(int)


def png(pixels: Array, palette: Array) -> bytes:
    """A picture of numbers in a palette of 8-bit red, green and blue."""
    height, width = pixels.shape
    lines = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"PLTE", palette.tobytes()), chunk(b"IDAT", zlib.compress(lines, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
