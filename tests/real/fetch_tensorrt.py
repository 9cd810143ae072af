#!/usr/bin/env python3
"""Fetches real TensorRT libraries from PyPI for tests/real.

    fetch_tensorrt.py FOLDER

makes FOLDER/lean-10.16.1.11/libnvinfer_lean.so.10 and the like: the lean and dispatch runtimes of TensorRT 10.16 and 11.4
and TensorRT-RTX 1.7, 180 MB to download. TensorRT 8.5.3, 549 MB more, comes where PLANRT_TEST_TENSORRT_8 is set, or is
linked where it lies unpacked in ~/.cache/tensorrt-8.5.3. What is there already is not fetched again.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

WHEELS = [
    ("tensorrt-dispatch-cu13-libs", "10.16.1.11"),
    ("tensorrt-dispatch-cu13-libs", "11.4.0.106"),
    ("tensorrt-lean-cu13-libs", "10.16.1.11"),
    ("tensorrt-lean-cu13-libs", "11.4.0.106"),
    ("tensorrt-rtx-cu13-libs", "1.7.1.116"),
]
TENSORRT_8 = ("tensorrt", "8.5.3.1")
CACHED_8 = Path.home() / ".cache/tensorrt-8.5.3/tensorrt/libnvinfer.so.8"

# The libraries that planrt looks for. A wheel holds more: builders, plugins and Python's modules.
WANTED = ("libnvinfer.so", "libnvinfer_lean.so", "libnvinfer_dispatch.so", "libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so")


def download(project: str, version: str, folder: Path, python: str = "") -> Path:
    """The wheel. It is only unpacked, so the Python that it is for need not be this one; `python` is its version where it matters."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), f"{project}=={version}"]
    if project == "tensorrt":
        python = "3.10"
    if python:
        command += ["--python-version", python]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def place(project: str, version: str, folder: Path) -> Path:
    name = project.removeprefix("tensorrt-").removesuffix("-cu13-libs")
    return folder / f"{'full' if name == 'tensorrt' else name}-{version}"


def fetch(project: str, version: str, folder: Path):
    target = place(project, version, folder)
    is_whole = project != "tensorrt-rtx-cu13-libs" or any(target.glob("libtensorrt_onnxparser_rtx.so*"))
    if target.exists() and is_whole:
        return
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        unpacked = Path(temporary) / "libraries"
        unpacked.mkdir()
        with zipfile.ZipFile(download(project, version, Path(temporary))) as wheel:
            for member in wheel.namelist():
                library = PurePosixPath(member).name
                if library.startswith(WANTED):
                    with wheel.open(member) as source, open(unpacked / library, "wb") as destination:
                        shutil.copyfileobj(source, destination)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for project, version in WHEELS:
        fetch(project, version, folder)
    cached_8 = place(*TENSORRT_8, folder) / CACHED_8.name
    if CACHED_8.exists() and not cached_8.exists():
        cached_8.parent.mkdir(exist_ok=True)
        cached_8.symlink_to(CACHED_8)
    elif os.environ.get("PLANRT_TEST_TENSORRT_8"):
        fetch(*TENSORRT_8, folder)


if __name__ == "__main__":
    main()
