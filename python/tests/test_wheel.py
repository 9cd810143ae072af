#!/usr/bin/env python3
"""The wheel, with the library in it, is built, installed into a fresh environment, and runs there by itself.

    test_wheel.py PACKAGE LIBRARY MODELS

Works in the current folder. Nothing is fetched: this Python has setuptools, and the environment finds its numpy.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

package, library, models = (Path(argument).resolve() for argument in sys.argv[1:])
here = Path.cwd()
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PLANRT_LIBRARY")}


def run(*command, **more):
    print("$", *command, flush=True)
    return subprocess.run([str(word) for word in command], check=True, env={**env, **more}, cwd=here)


def build(folder, **more):
    """A wheel of a copy of the package, so that nothing is written beside the sources."""
    for old in ("source", folder):
        shutil.rmtree(here / old, ignore_errors=True)
    shutil.copytree(package, here / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*PIP, "wheel", *options, "--wheel-dir", folder, "./source", **more)
    (wheel,) = (here / folder).iterdir()
    return wheel


pure = build("pure")
assert pure.name.endswith("-py3-none-any.whl"), pure.name
wheel = build("bundled", PLANRT_BUNDLE=str(library))
assert "-py3-none-linux" in wheel.name, wheel.name
assert wheel.stat().st_size > (1 << 20) > pure.stat().st_size

shutil.rmtree(here / "environment", ignore_errors=True)
venv.create(here / "environment", with_pip=False, symlinks=True)
python = here / "environment" / "bin" / "python"
target = subprocess.run(
    [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, stdout=subprocess.PIPE, text=True
).stdout.strip()
# This Python's pip, since to bring another takes longer than all else.
run(*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
Path(target, "numpy_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
program = """
import sys, numpy, planrt
assert planrt.__file__.startswith(sys.argv[1]), planrt.__file__
image = numpy.linspace(0, 1, 512, dtype=numpy.float32).reshape(1, 1, 8, 8, 8)
engine = planrt.Engine(sys.argv[2])
result = engine.run({"image": image})["prob"]
with planrt.Session(engine) as session:
    assert numpy.array_equal(session.submit({"image": image}).result()["prob"], result)
recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}
volume = planrt.Volume(numpy.zeros((9, 10, 11), numpy.int16), spacing_mm=(1.5, 0.8, 0.8))
with planrt.Segmenter.from_folds(engine, recipe) as segmenter:
    assert segmenter.run(volume).labels.shape == volume.shape
assert planrt._library.load()._name.startswith(sys.argv[1])
print(engine, result.shape)
"""
assert Path(target, "bin", "planrt-convert").is_file()
run(python, "-m", "planrt_convert", "--help")
run(python, "-c", program, target, models / "small.onnx")
