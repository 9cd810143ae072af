"""planrt: runs TensorRT plans on NVIDIA GPUs, and ONNX models on any CPU.

    import numpy as np, planrt

    engine = planrt.Engine("deepbrain.onnx")             # or a TensorRT plan
    prob = engine.run({"image": image})["prob"]          # numpy arrays in and out

    with planrt.Session(engine) as session:              # requests of many threads, batched
        requests = [session.submit({"image": image}) for image in images]
        results = [request.result()["prob"] for request in requests]

    segmenter = planrt.Segmenter("model folder")         # whole volumes: tiles, resampling and all
    labels = segmenter.run(planrt.Volume(voxels, spacing_mm=(1.5, 0.8, 0.8))).labels

The library is found where PLANRT_LIBRARY says, else beside this package, else on the loader's path; it is loaded at the first use,
or by `load_library(path)`.
"""

import os as _os

from ._build import (
    BuildFeatures,
    BuildOptions,
    HardwareCompatibility,
    InstanceNormalization,
    Plan,
    Precision,
    Tactics,
    build,
    refit,
)
from ._engine import Context, Engine
from ._errors import Error, ErrorCode
from ._folder import sha256, write_folder
from ._library import load as _load
from ._runtime import DeviceArray, Runtime, Stream, devices, doctor, version
from ._scan import Scan, Volume
from ._segmenter import LabelMap, Segmentation, Segmenter
from ._session import Request, Session
from ._tensors import TensorInfo

__all__ = [
    "BuildFeatures",
    "BuildOptions",
    "Context",
    "DeviceArray",
    "Engine",
    "Error",
    "ErrorCode",
    "HardwareCompatibility",
    "InstanceNormalization",
    "LabelMap",
    "Plan",
    "Precision",
    "Request",
    "Runtime",
    "Scan",
    "Segmentation",
    "Segmenter",
    "Session",
    "Stream",
    "Tactics",
    "TensorInfo",
    "Volume",
    "build",
    "devices",
    "doctor",
    "load_library",
    "refit",
    "sha256",
    "version",
    "write_folder",
]


def load_library(path: "str | _os.PathLike[str] | None" = None) -> None:
    """Loads planrt's library now, from a file of the caller's choice; `ImportError` where that is not to be had."""
    _load(path)
