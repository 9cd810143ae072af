#!/usr/bin/env python3
"""multiprocessing with fork: a child is told that the parent's model is not for it, and loads one of its own.

    PLANRT_LIBRARY=libplanrt.so.0 test_fork.py MODELS
"""

import multiprocessing
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
from planrt import Engine as Model, Error as PlanrtError  # noqa: E402

FORKED = 22  # PLANRT_ERROR_FORKED
IMAGE = {"image": np.linspace(0, 1, 8**3, dtype=np.float32).reshape(1, 1, 8, 8, 8)}


def use_the_parents(_):
    try:
        MODEL.run(IMAGE)
    except PlanrtError as error:
        return error.code
    return 0


def load_anew(path):
    global MODEL
    del MODEL  # as at the end of any process
    MODEL = Model(path, threads=2)


def run(_):
    return MODEL.run(IMAGE)["prob"]


path = Path(sys.argv[1]) / "small.onnx"
MODEL = Model(path, threads=2)
expected = MODEL.run(IMAGE)["prob"]
fork = multiprocessing.get_context("fork")
with fork.Pool(2) as pool:
    codes = pool.map_async(use_the_parents, range(8)).get(timeout=60)
assert codes == [FORKED] * 8, codes
with fork.Pool(2, initializer=load_anew, initargs=(path,)) as pool:
    results = pool.map_async(run, range(8)).get(timeout=60)
assert all(np.array_equal(result, expected) for result in results)
assert np.array_equal(MODEL.run(IMAGE)["prob"], expected)
