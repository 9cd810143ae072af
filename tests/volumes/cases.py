"""Volumes and networks for which make_references.py asks nnU-Net and MONAI for the right answer, and which test_volumes.py segments with
planrt. Both compute them from here, so that only the answers are stored.
"""

import numpy as np


def noise(seed, shape):
    """Whole numbers from -500 to 499 that look random."""
    count = int(np.prod(shape))
    state = (np.arange(count, dtype=np.uint64) + np.uint64(seed * 7919 + 1)) * np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(31)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    return ((state >> np.uint64(40)) % np.uint64(1000)).astype(np.int16).reshape(shape) - np.int16(500)


def scan(seed, shape, border=0, smooth=3):
    """A scan with structures of some voxels; its outermost `border` voxels are 0."""
    values = noise(seed, shape).astype(np.float64)
    for axis in range(len(shape) - 3, len(shape)):
        for _ in range(smooth):
            values = (np.roll(values, 1, axis) + 2 * values + np.roll(values, -1, axis)) / 4
    values = np.round(values * 8).astype(np.int16)
    if border:
        inside = np.zeros(shape[-3:], bool)
        inside[tuple(slice(border, -border) for _ in range(3))] = True
        # The axes are not alike.
        inside[:, border : border + 1] = False
        values[..., ~inside] = 0
    return values


def weights(seed, channels, classes, patch):
    """A network's numbers: what channels are multiplied by, and what is added in each place of the tile."""
    along = noise(seed, (classes, channels)).astype(np.float32) / np.float32(300)
    places = noise(seed + 1, (classes, *patch)).astype(np.float32) / np.float32(900)
    return along, places


# MONAI's sliding_window_inference, in float32.
BLENDING = [
    {"name": name, "extents": extents, "patch": patch, "overlap": overlap, "mode": mode, "padding": padding, "value": value}
    for name, extents, patch, overlap, mode, padding, value in [
        ("constant window", (11, 14, 13), (6, 8, 5), 0.25, "constant", "constant", 0),
        ("gaussian window", (11, 14, 13), (6, 8, 5), 0.5, "gaussian", "constant", 0),
        ("odd patch", (12, 13, 14), (5, 7, 5), 0.6, "gaussian", "constant", 0),
        ("an overlap that no float holds", (25, 9, 9), (10, 9, 9), 0.8, "constant", "constant", 0),
        ("one voxel less than the patch", (7, 7, 7), (8, 8, 8), 0.25, "gaussian", "constant", -3),
        ("the patch", (8, 8, 8), (8, 8, 8), 0.25, "gaussian", "constant", 0),
        ("one voxel more than the patch", (9, 9, 9), (8, 8, 8), 0.25, "gaussian", "constant", 0),
        ("twice the patch less one", (15, 15, 15), (8, 8, 8), 0.25, "constant", "constant", 0),
        ("smaller than the patch, edges repeated", (3, 9, 4), (8, 8, 8), 0.25, "gaussian", "replicate", 0),
        ("smaller than the patch, reflected", (5, 9, 6), (8, 8, 8), 0.25, "gaussian", "reflect", 0),
        ("one plane", (1, 14, 13), (4, 8, 8), 0.5, "gaussian", "constant", 0),
        ("planes", (5, 14, 13), (1, 8, 8), 0.5, "constant", "constant", 0),
    ]
]
CLASSES = 3


def turned(*degrees):
    """A direction turned about x, y and z one after the other, to the six digits that DICOM files keep: its columns lean to each other by those."""
    direction = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        direction = turn @ direction
    return np.round(direction, 6)


# MONAI from the scan to the labels, with the transforms of its bundles; axes are x, y, z, as its own are, and columns of the direction (in
# RAS) those of x, y and z.
MONAI = [
    {
        "name": name,
        "extents": extents,
        "spacing": spacing,
        "direction": direction,
        "target": target,
        "patch": patch,
        "argmax_first": argmax_first,
        "scale": scale,
    }
    for name, extents, spacing, direction, target, patch, argmax_first, scale in [
        ("finer", (19, 21, 12), (1.2, 1.1, 2.0), np.eye(3), (1.5, 1.5, 2.0), (10, 9, 8), False, "range"),
        ("coarser", (14, 13, 9), (1.9, 1.7, 3.0), np.diag([-1.0, 1.0, -1.0]), (1.5, 1.5, 2.0), (8, 12, 10), False, "range"),
        ("turned", (15, 12, 17), (1.0, 1.4, 0.9), np.eye(3)[[1, 2, 0]], (1.3, 1.2, 1.1), (8, 9, 7), False, "range"),
        # No voxel lies halfway between two, where MONAI takes the one that noise says.
        ("argmax first", (17, 16, 15), (1.0, 1.4, 0.9), np.diag([1.0, -1.0, 1.0]), (1.5, 1.3, 1.3), (9, 8, 7), True, "range"),
        # Not resampled: MONAI's interpolation makes 1e-16 of some zeros, which then count as something else.
        ("nonzero", (13, 12, 14), (1.0, 1.2, 0.9), np.diag([1.0, -1.0, 1.0]), (1.0, 1.2, 0.9), (9, 8, 7), False, "nonzero"),
        ("oblique", (15, 12, 17), (1.0, 1.4, 0.9), turned(12, -7, 20), (1.53, 1.17, 1.36), (8, 9, 7), False, "range"),
        ("oblique and flipped", (14, 18, 9), (0.8, 0.7, 2.1), turned(-4, 9, 95), (1.13, 0.94, 1.31), (9, 8, 8), False, "range"),
        ("spacing as good as the model's", (15, 12, 17), (1.0009, 1.4, 0.9), np.eye(3), (1.0, 1.17, 0.9), (8, 9, 7), False, "range"),
    ]
]


def _configuration(patch, spacing, schemes, masked=None, torch=False):
    function = "resample_torch_fornnunet" if torch else "resample_data_or_seg_to_shape"
    more = (
        {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False}
        if torch
        else {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    )
    labels = {**more, "is_seg": True} if torch else {**more, "is_seg": True, "order": 1}
    back = more if torch else {**more, "order": 1}
    return {
        "data_identifier": "x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": list(patch),
        "spacing": list(spacing),
        "normalization_schemes": schemes,
        "use_mask_for_norm": masked or [False] * len(schemes),
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_data_kwargs": more,
        "resampling_fn_seg_kwargs": labels,
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": back,
        "batch_dice": True,
        "architecture": {"network_class_name": "none", "arch_kwargs": {}, "_kw_requires_import": []},
    }


CT = {"mean": 12.5, "std": 310.0, "percentile_00_5": -700.0, "percentile_99_5": 900.0, "max": 0, "min": 0, "median": 0}


def _case(name, extents, spacing, patch, target, scheme="CTNormalization", **more):
    case = {
        "name": name,
        "extents": extents,
        "spacing": spacing,
        "patch": patch,
        "target": target,
        "schemes": [scheme],
        "masked": [False],
        "channels": 1,
        "border": 0,
        "transpose": (0, 1, 2),
        "mirrored": (),
        "classes": 3,
        "regions": False,
        "torch": False,
        "content": "scan",
        **more,
    }
    case["schemes"] *= case["channels"]
    case["masked"] = case["masked"] * case["channels"] if len(case["masked"]) == 1 else case["masked"]
    return case


Z_SCORE = "ZScoreNormalization"
# nnU-Net from the scan to the labels.
NNUNET = [
    _case("isotropic", (21, 24, 19), (1.0, 0.8, 0.8), (12, 12, 12), (1.5, 1.5, 1.5)),
    _case("finer", (9, 11, 10), (2.0, 2.0, 2.0), (12, 16, 10), (1.2, 1.3, 1.4), Z_SCORE),
    _case("thick planes", (9, 40, 36), (5.0, 0.9, 0.9), (6, 16, 16), (5.0, 1.4, 1.4)),
    _case("thick planes that are resampled", (11, 30, 28), (4.0, 0.9, 0.9), (6, 16, 16), (3.0, 1.1, 1.1)),
    _case("spacing of exactly three to one", (10, 25, 25), (3.0, 1.0, 1.0), (8, 12, 12), (2.0, 1.5, 1.5)),
    _case(
        "mask, transposed, mirrored",
        (20, 22, 18),
        (1.3, 0.7, 1.0),
        (10, 12, 8),
        (1.0, 1.2, 0.9),
        Z_SCORE,
        masked=[True, False],
        channels=2,
        border=3,
        transpose=(2, 0, 1),
        mirrored=(0, 1, 2),
    ),
    _case("smaller than the patch", (7, 9, 8), (1.0, 1.0, 1.0), (16, 16, 16), (1.0, 1.0, 1.0), Z_SCORE, mirrored=(0, 2)),
    _case("regions", (16, 18, 17), (1.0, 0.9, 0.9), (10, 10, 10), (1.2, 1.2, 1.2), "RescaleTo01Normalization", regions=True),
    _case("by torch", (16, 18, 17), (1.0, 0.9, 0.9), (10, 10, 10), (1.4, 1.2, 1.2), "NoNormalization", torch=True),
    _case("planes", (7, 30, 26), (5.0, 0.9, 0.9), (16, 20), (1.2, 1.2), Z_SCORE, mirrored=(0, 1)),
    _case("one plane", (1, 26, 24), (5.0, 1.0, 1.0), (8, 16, 16), (5.0, 1.3, 1.3), Z_SCORE),
    _case("constant", (9, 10, 11), (1.0, 1.0, 1.0), (8, 8, 8), (1.2, 1.2, 1.2), Z_SCORE, content="constant"),
    _case("zeros", (9, 10, 11), (1.0, 1.0, 1.0), (8, 8, 8), (1.2, 1.2, 1.2), content="zeros", border=1),
    _case("one voxel less than the patch", (11, 11, 11), (1.0, 1.0, 1.0), (12, 12, 12), (1.0, 1.0, 1.0)),
    _case("one voxel more than the patch", (13, 13, 13), (1.0, 1.0, 1.0), (12, 12, 12), (1.0, 1.0, 1.0)),
    _case("twice the patch less one", (23, 23, 23), (1.0, 1.0, 1.0), (12, 12, 12), (1.0, 1.0, 1.0)),
    _case("odd patch", (20, 21, 22), (1.0, 1.0, 1.0), (7, 9, 11), (1.0, 1.0, 1.0), mirrored=(1,)),
]


def voxels(case, seed):
    shape = (case["channels"], *case["extents"])
    if case["content"] == "scan":
        return scan(seed, shape, case["border"])
    return np.full(shape, 0 if case["content"] == "zeros" else 700, np.int16)


def plans(case):
    """plans.json and dataset.json of a case."""
    name = "2d" if len(case["patch"]) == 2 else "3d_fullres"
    forward = list(case["transpose"])
    backward = [forward.index(axis) for axis in range(3)]
    plans = {
        "dataset_name": "Dataset001_Test",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1, 1, 1],
        "original_median_shape_after_transp": [9, 9, 9],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": forward,
        "transpose_backward": backward,
        "configurations": {
            name: _configuration(case["patch"], case["target"], case["schemes"], case["masked"], case["torch"])
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): CT for channel in range(case["channels"])},
    }
    classes = case["classes"]
    labels = {"background": 0}
    for label in range(1, classes + 1 if case["regions"] else classes):
        labels[f"label {label}"] = list(range(label, classes + 1)) if case["regions"] else label
    dataset = {
        "channel_names": {str(channel): "CT" for channel in range(case["channels"])},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if case["regions"]:
        dataset["regions_class_order"] = list(range(1, classes + 1))
    return name, plans, dataset
