#!/usr/bin/env python3
"""Fetches real OpenVINO libraries from PyPI for tests/python/test_openvino.py.

    fetch_openvino.py FOLDER

makes FOLDER/2026.4.1 and FOLDER/2025.1.0, the earliest that planrt takes: what runs ONNX models on the CPU, of 103 MB to
download. What is there already is not fetched again.
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from fetch_tensorrt import download

VERSIONS = ["2026.4.1", "2025.1.0"]
WANTED = ("libopenvino.so", "libopenvino_c.so", "libopenvino_onnx_frontend.so", "libopenvino_intel_cpu_plugin.so", "libtbb.so", "libtbbbind", "libtbbmalloc.so", "libhwloc")


def fetch(version, folder):
    target = folder / version
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        unpacked = Path(temporary) / "libraries"
        unpacked.mkdir()
        with zipfile.ZipFile(download("openvino", version, Path(temporary), "3.11")) as wheel:
            for member in wheel.namelist():
                path = PurePosixPath(member)
                if path.parent.name == "libs" and path.name.startswith(WANTED):
                    with wheel.open(member) as source, open(unpacked / path.name, "wb") as destination:
                        shutil.copyfileobj(source, destination)
        unpacked.rename(target)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        fetch(version, folder)


if __name__ == "__main__":
    main()
