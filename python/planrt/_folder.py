"""Model folders, written: docs/folder.md describes them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ._tensors import ELEMENT_TYPES

PASSPORT = "planrt.json"
VERSION = 1


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in 64 digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_folder(
    folder: str | os.PathLike[str],
    *,
    name: str,
    onnx: str | os.PathLike[str] | None = None,
    plans: Iterable[Mapping[str, Any]] = (),
    tests: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = (),
    rtol: float = 1e-4,
    atol: float = 9e-4,
    files: Mapping[str, str | os.PathLike[str]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model folder, with its passport last: a folder without one is not finished.

    `onnx` is copied to `model.onnx`, and the `file` of each of `plans`, whose other keys go into the passport, to `plans/`. Each test has a
    name, and arrays for the inputs and for the outputs that are expected. `files` are further ones by their place in the folder, `more` further
    keys of the passport.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PASSPORT).unlink(missing_ok=True)
    taken: list[str] = []

    def put(target: str, write: Callable[[Path], object]) -> None:
        """Whole or not at all, in the place of what is there: somebody may have that mapped, and a link may lead out."""
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        part = (folder / target).with_name(f".{os.getpid()}.part")
        try:
            write(part)
            os.replace(part, folder / target)
        finally:
            part.unlink(missing_ok=True)

    def take(source: str | os.PathLike[str], target: str) -> str:
        if target in taken:
            raise ValueError(f"two files would be {target}: give one another name")
        place = PurePosixPath(target)
        if not place.parts or place.is_absolute() or ".." in place.parts or "\\" in target or target == PASSPORT:
            raise ValueError(f"{target!r} is no place for a file in the folder")
        if not (folder / target).exists() or not os.path.samefile(source, folder / target):
            put(target, lambda part: shutil.copyfile(source, part))
        taken.append(target)
        return target

    def vectors(number: int, arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
        described = []
        for place, (tensor, value) in enumerate(arrays.items()):
            array = np.asarray(value)
            if array.dtype.name not in ELEMENT_TYPES:
                raise TypeError(f"{tensor!r} of test {number} has elements of {array.dtype}, which no passport knows")
            file = f"tests/{number}.{len(taken)}.{place}.bin"
            put(file, lambda part, array=array: part.write_bytes(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()))
            taken.append(file)
            described.append(
                {"name": tensor, "file": file, "element_type": array.dtype.name, "shape": list(array.shape)}
            )
        return described

    passport: dict[str, Any] = {"planrt_folder": VERSION, "sha256": "0" * 64, "name": name}
    model = take(onnx, "model.onnx") if onnx is not None else None
    described_plans = [{**plan, "file": take(plan["file"], f"plans/{Path(plan['file']).name}")} for plan in plans]
    described_tests = [
        {"name": test, "inputs": vectors(number, inputs), "outputs": vectors(number, outputs)}
        for number, (test, inputs, outputs) in enumerate(tests)
    ]
    for target, source in (files or {}).items():
        take(source, target)
    passport["files"] = [
        {"path": file, "sha256": sha256(folder / file), "size_bytes": (folder / file).stat().st_size} for file in taken
    ]
    if model is not None:
        passport["onnx"] = model
    passport["plans"] = described_plans
    passport["tolerance"] = {"rtol": rtol, "atol": atol}
    passport["tests"] = described_tests
    if taken_keys := passport.keys() & (more or {}).keys():
        raise ValueError(f"the passport has its own {', '.join(sorted(taken_keys))}")
    passport.update(more or {})
    text = json.dumps(passport, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    seal = hashlib.sha256(text.encode()).hexdigest()
    put(PASSPORT, lambda part: part.write_text(text.replace("0" * 64, seal, 1), encoding="utf-8"))
