#!/usr/bin/env python3
"""Makes preparation.json and preparation.f32, which the unit tests of src/volume compare with. Run by hand:

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 pandas nibabel==5.4.2
    venv/bin/pip install --no-deps nnunetv2==2.8.1 acvl-utils==0.2.6 batchgenerators==0.25.5
    venv/bin/python tests/volumes/make_preparation.py

Cropping, normalizing and resampling are nnunetv2's own functions, those of scikit-image and scipy underneath. nnunetv2 imports
PyTorch (5.6 GB) and blosc2 for things that are not called here, so empty modules stand in for them. MONAI does not work without PyTorch: its
cases are its formulas with scipy's interpolation.

The scans are not stored: both sides compute them (`scan` below).
"""

import json
import pathlib
import sys
import types

import nibabel
import numpy as np


class Class(type):
    def __getattr__(self, name):
        return Class.named(name)

    @staticmethod
    def named(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Class(name, (), {})


for name in ["torch", "torch.nn", "torch.nn.functional", "blosc2"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__getattr__ = Class.named
    if "." in name:
        setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], module)

from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
from scipy.ndimage import map_coordinates

HERE = pathlib.Path(__file__).parent


def scan(channels, extents, border):
    """Noise from -1000 to 1999, which overshoots most. Of the outermost `border` voxels all, and inside those where a channel is below -400, are 0."""
    values, state = np.empty(channels * int(np.prod(extents)), np.int16), 1
    for i in range(values.size):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = (state >> 16) % 3000 - 1000
    values = values.reshape(channels, *extents)
    if border:
        inside = np.zeros(extents, bool)
        inside[tuple(slice(border, -border) for _ in extents)] = True
        # Neither the channels nor the axes are alike.
        inside[:, border, :] = False
        values[:, ~inside] = 0
        values[:, values.min(axis=0) < -400] = 0
    return values


def normalized(channel, intensity, mask):
    kind = intensity["kind"]
    image = channel.astype(np.float32)
    if kind == "unchanged":
        return image
    if kind == "ct":
        properties = {
            "mean": intensity["mean"],
            "std": intensity["deviation"],
            "percentile_00_5": intensity["low"],
            "percentile_99_5": intensity["high"],
        }
        return schemes.CTNormalization(False, properties).run(image, None)
    if kind in ("whole", "filled_mask"):
        return schemes.ZScoreNormalization(kind == "filled_mask", {}).run(image, mask)
    if kind == "zero_to_one":
        return schemes.RescaleTo01Normalization(False, {}).run(image, None)
    if kind == "rgb":
        return image / np.float32(255)
    if kind in ("monai_whole", "monai_nonzero"):
        which = image != 0 if kind == "monai_nonzero" else np.ones_like(image, bool)
        if which.any():
            deviation = image[which].std(dtype=np.float64)
            image[which] = (image[which] - image[which].mean(dtype=np.float64)) / (1 if deviation == 0 else deviation)
        return image
    if kind == "range":
        (a, b), (low, high) = intensity["from"], intensity["to"]
        image = (image - a) / (b - a) * (high - low) + low
        return np.clip(image, low, high) if intensity["clip"] else image
    raise ValueError(kind)


def monai_resampled(data, old, new, shape):
    """`Spacing`'s way from one spacing to another: first voxels aligned, edges clamped."""
    axes = [np.clip(np.arange(m) * n / o, 0, e - 1) for m, o, n, e in zip(shape, old, new, data.shape[1:])]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.stack([map_coordinates(channel.astype(np.float64), grid, order=1, mode="nearest") for channel in data])


def prepared(case):
    data = scan(case["channels"], case["extents"], case["border"]).astype(np.float32)
    spacing = [case["spacing_mm"][i] for i in case["transpose"]]
    data = data.transpose(0, *[i + 1 for i in case["transpose"]])
    mask = None
    case["crop_start"] = [0, 0, 0]
    if case["crop"]:
        data, mask, box = crop_to_nonzero(data)
        mask = mask[0]
        case["crop_start"] = [int(low) for low, _ in box]
    case["crop_extents"] = list(data.shape[1:])
    normalize = lambda data: np.stack([normalized(c, i, mask) for c, i in zip(data, case["intensities"])])
    target = [t or s for t, s in zip(case["target_mm"], spacing)]
    if case["geometry"] == "edges":
        data = normalize(data)
        shape = compute_new_shape(data.shape[1:], spacing, target)
        separate = {"force_separate_z": None, "separate_z_anisotropy_threshold": 3}
        if not case["separate"]:
            separate = {"force_separate_z": False}
        return resample_data_or_seg_to_shape(data, shape, spacing, target, order=case["order"], order_z=0, **separate)
    shape = [max(1, round((n - 1) * s / t + 1)) for n, s, t in zip(data.shape[1:], spacing, target)]
    return normalize(monai_resampled(data, spacing, target, shape).astype(np.float32))


def returned(case):
    """What a network that gives noise on the model's grid gives on the scan's."""
    data = scan(case["classes"], case["model_extents"], 0).astype(np.float32)
    shape, old, new = case["extents"], case["target_mm"], case["spacing_mm"]
    if case["geometry"] == "edges":
        separate = {"force_separate_z": None if case["separate"] else False}
        return resample_data_or_seg_to_shape(data, shape, old, new, order=1, order_z=0, **separate)
    return monai_resampled(data, old, new, shape)


def there(name, extents, spacing, target, **more):
    case = dict(name=name, channels=1, extents=extents, border=0, spacing_mm=spacing, target_mm=target, transpose=[0, 1, 2])
    case |= dict(crop=False, geometry="edges", order=3, separate=True, intensities=[{"kind": "unchanged"}])
    return case | more


def back(name, model, extents, target, spacing, **more):
    case = dict(name=name, classes=2, model_extents=model, extents=extents, target_mm=target, spacing_mm=spacing)
    return case | dict(geometry="edges", separate=True) | more


CT = {"kind": "ct", "low": -150.5, "high": 1203.25, "mean": 321.7, "deviation": 287.3}
RANGE = {"kind": "range", "from": [-57.0, 1164.0], "to": [0.0, 1.0], "clip": True}
PLAIN = [0.0, 0.0, 0.0]
THERE = [
    there("coarser", [11, 13, 17], [0.8, 0.8, 1.0], [1.5, 1.5, 1.5]),
    there("finer", [7, 9, 6], [2.0, 1.5, 1.7], [1.0, 1.1, 1.3]),
    there("one axis only", [9, 10, 8], [2.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    there("both ways", [9, 12, 8], [1.0, 1.0, 2.0], [1.5, 0.7, 1.0]),
    there("ratio exactly 3", [6, 10, 9], [3.0, 1.0, 1.0], [2.0, 1.3, 1.3]),
    there("separate 0", [6, 10, 11], [5.0, 0.8, 0.7], [3.0, 1.2, 1.2]),
    there("separate 0, more planes", [4, 10, 9], [5.0, 0.8, 0.7], [2.0, 0.6, 1.2]),
    there("separate 0, same planes", [4, 10, 9], [5.0, 0.8, 0.7], [5.0, 1.2, 1.2]),
    there("separate 1", [10, 5, 11], [0.8, 5.0, 0.7], [1.2, 4.0, 1.2]),
    there("separate 2", [9, 11, 5], [0.8, 0.9, 5.0], [1.2, 0.6, 3.5]),
    there("separate by the new spacing", [12, 9, 8], [1.0, 1.1, 1.0], [4.0, 1.5, 0.8]),
    there("two axes share the largest spacing", [5, 5, 16], [4.0, 4.0, 1.0], [2.0, 2.0, 1.5]),
    there("an extent of 1", [1, 9, 10], [1.0, 1.0, 1.0], [0.5, 1.4, 0.7]),
    there("one voxel", [1, 1, 1], [1.0, 1.0, 1.0], [0.4, 0.4, 0.4]),
    there("two voxels to one", [2, 2, 9], [1.0, 1.0, 1.0], [2.0, 2.0, 1.6]),
    there("linear", [9, 11, 8], [1.0, 1.2, 2.0], [1.5, 0.7, 1.0], order=1, separate=False),
    there("same extents", [5, 6, 7], [1.0, 1.0, 1.0], [1.02, 0.98, 1.01]),
    there("ct", [9, 10, 8], [1.0, 1.0, 1.0], PLAIN, intensities=[CT]),
    there("whole", [9, 10, 8], [1.0, 1.0, 1.0], PLAIN, intensities=[{"kind": "whole"}]),
    there("zero to one", [9, 10, 8], [1.0, 1.0, 1.0], PLAIN, intensities=[{"kind": "zero_to_one"}]),
    there("rgb", [5, 6, 7], [1.0, 1.0, 1.0], PLAIN, intensities=[{"kind": "rgb"}]),
    there(
        "mask, transposed, two channels",
        [14, 12, 13],
        [1.0, 1.3, 0.9],
        [1.2, 1.2, 1.2],
        channels=2,
        border=2,
        transpose=[2, 0, 1],
        crop=True,
        intensities=[{"kind": "filled_mask"}, {"kind": "filled_mask"}],
    ),
    there(
        "ct and pet",
        [10, 14, 13],
        [4.0, 1.1, 1.1],
        [3.0, 1.5, 1.5],
        channels=2,
        border=2,
        crop=True,
        intensities=[CT, {"kind": "whole"}],
    ),
    there("monai", [9, 11, 8], [1.0, 1.2, 2.0], [1.5, 0.7, 1.0], geometry="centres", order=1, separate=False, intensities=[RANGE]),
    there(
        "monai, own statistics",
        [9, 10, 8],
        [2.0, 1.1, 0.7],
        [1.5, 1.5, 1.5],
        geometry="centres",
        order=1,
        separate=False,
        border=1,
        channels=2,
        intensities=[{"kind": "monai_nonzero"}, {"kind": "monai_whole"}],
    ),
]
BACK = [
    back("finer", [6, 7, 8], [11, 13, 15], [1.5, 1.5, 1.5], [0.8, 0.8, 0.8]),
    back("coarser", [11, 9, 10], [5, 7, 8], [1.0, 1.0, 1.0], [2.0, 1.3, 1.2]),
    back("separate 0", [5, 7, 8], [9, 10, 11], [5.0, 1.5, 1.5], [3.0, 1.0, 1.1]),
    back("separate 1", [7, 5, 8], [10, 9, 11], [1.5, 5.0, 1.5], [1.0, 3.0, 1.1]),
    back("separate 2", [7, 8, 5], [10, 9, 11], [1.5, 1.5, 5.0], [1.0, 1.3, 2.2]),
    back("one plane", [1, 8, 5], [3, 9, 11], [3.0, 1.5, 2.2], [1.0, 1.3, 1.0]),
    back("planes alike", [4, 8, 5], [4, 9, 11], [1.0, 1.5, 2.2], [1.0, 1.3, 1.0]),
    back("monai", [9, 11, 8], [13, 7, 14], [1.5, 0.7, 1.0], [1.0, 1.1, 0.57], geometry="centres", separate=False),
]


def orientations():
    """nibabel's closest axes of random directions (in LPS): rotations, some mirrored, and every third one sheared."""
    random, cases = np.random.default_rng(1), []
    for i in range(90):
        direction, _ = np.linalg.qr(random.normal(size=(3, 3)))
        if i % 3 == 2:
            direction = direction + random.normal(size=(3, 3)) * 0.3
        direction = direction.round(6)
        affine = np.eye(4)
        affine[:3, :3] = np.diag([-1, -1, 1]) @ direction @ np.diag([0.7, 0.8, 5.0])
        cases.append(dict(direction=direction.tolist(), directions="".join(nibabel.aff2axcodes(affine))))
    return cases


def main():
    values, place = [], 0
    for case, make in [(case, prepared) for case in THERE] + [(case, returned) for case in BACK]:
        result = make(case).astype("<f4")
        case["result"] = list(result.shape)
        case["at"] = place
        place += result.size
        values.append(result.ravel())
    lines = lambda cases: "[\n" + ",\n".join("  " + json.dumps(case) for case in cases) + "\n]"
    (HERE / "preparation.json").write_text(
        f'{{"there": {lines(THERE)},\n"back": {lines(BACK)},\n"orientations": {lines(orientations())}}}\n'
    )
    np.concatenate(values).tofile(HERE / "preparation.f32")


main()
