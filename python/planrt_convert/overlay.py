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
_DIFFERENT = np.array([255, 0, 255], np.float32)
_LARGEST_SIDE = 320


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
    low, high = np.percentile(volume, [1, 99])
    gray = np.clip((volume - low) / max(high - low, 1e-12), 0, 1) * 255
    rows = []
    for axis in axes:
        others = tuple(one for one in range(3) if one != axis)
        counts = ((expected > 0) | (found > 0)).sum(others)
        at = int(counts.argmax()) if counts.any() else volume.shape[axis] // 2
        plane, a, b = (np.take(one, at, axis) for one in (gray, expected, found))
        step = -(-max(plane.shape) // _LARGEST_SIDE)
        plane, a, b = (one[::step, ::step] for one in (plane, a, b))
        base = np.repeat(plane[..., None], 3, -1).astype(np.float32)
        changed = base * 0.6
        changed[a != b] = _DIFFERENT
        rows.append(np.concatenate([_painted(base, a), _painted(base, b), changed], 1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return base64.b64encode(png(np.concatenate(padded).clip(0, 255).astype(np.uint8))).decode()


def _painted(base: Array, labels: Array) -> Array:
    painted = base.copy()
    inside = labels > 0
    painted[inside] = 0.5 * base[inside] + 0.5 * _COLOURS[(labels[inside] - 1) % len(_COLOURS)]
    return painted


def png(pixels: Array) -> bytes:
    """A picture of 8-bit red, green and blue."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
