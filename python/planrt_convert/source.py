"""Models: TorchScript, torch.export programs, functions that make an nn.Module, and ONNX files; and ONNX made of them."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import itertools
import os
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .problem import Problem

_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}
DEFAULT_OPSET = 17


@dataclass
class Input:
    """An input: its extents, those that are open, and its type."""

    name: str
    shape: list[int]
    open_axes: list[int] = field(default_factory=list)
    dtype: str = "float32"

    def at(self, batch: int) -> tuple[int, ...]:
        """The shape for a batch; an input whose first axis is fixed has its own."""
        return (batch, *self.shape[1:]) if 0 in self.open_axes else tuple(self.shape)

    def other_extents(self) -> list[int]:
        """The shape with what is open beside the batch at another size, smaller where that is possible: U-Nets want multiples of 16."""
        other = list(self.shape)
        for axis in self.open_axes:
            if axis > 0:
                extent = self.shape[axis]
                other[axis] = max(16, extent // 32 * 16) if extent >= 32 else 2 * extent
        return other

    def spans(self, batches: tuple[int, int, int]) -> tuple[tuple[int, ...], ...]:
        """The smallest, best and largest shape."""
        low, best, high = (self.at(batch) for batch in batches)
        other = (low[0], *self.other_extents()[1:])
        return tuple(map(min, low, other)), best, tuple(map(max, high, (high[0], *other[1:])))


class Source:
    """A model as it was given. `module` is what PyTorch runs; None for ONNX."""

    def __init__(self, text: str, symbolics: list[str]):
        self.text, self.module, self.kind = text, None, "ONNX"
        self.path: Path | None = Path(text)
        self.weights: list[Path] = []
        if text.endswith(".onnx"):
            self._require_file()
            self.weights = files_of_weights(self.path)
        elif ":" in text and not Path(text).exists():
            self.path = None
            self._load_function(text)
        else:
            self._require_file()
            self._load_torch()
        for file in symbolics:
            self._run_symbolics(Path(file))

    def _require_file(self) -> None:
        assert self.path is not None
        if not self.path.exists():
            raise Problem(f"there is no file {self.path}; give an ONNX file, TorchScript (.pt), a torch.export program (.pt2) or module:function")
        if not self.path.is_file() or self.path.stat().st_size == 0:
            raise Problem(f"{self.path} is no model: it is {'empty' if self.path.is_file() else 'no file'}")

    def _load_torch(self) -> None:
        torch = import_torch(self.text)
        assert self.path is not None
        if not zipfile.is_zipfile(self.path):
            raise Problem(f"{self.path} is neither ONNX nor a PyTorch file")
        with zipfile.ZipFile(self.path) as archive:
            names = archive.namelist()
        if any(name.endswith(("/constants.pkl", "code/")) or "/code/" in name for name in names):
            self.kind = "TorchScript"
            try:
                self.module = torch.jit.load(str(self.path), map_location="cpu").eval()
            except RuntimeError as error:
                raise Problem(f"{self.path} does not load as TorchScript: {first_line(error)}") from error
        elif any(name.endswith(("serialized_exported_program.json", "models/model.json", "archive_format")) for name in names):
            self.kind = "torch.export program"
            try:
                with captured():
                    self.program = torch.export.load(str(self.path))
            except Exception as error:  # it raises what it likes
                raise Problem(f"{self.path} does not load as a torch.export program: {first_line(error)}") from error
            self.module = self.program.module()
        else:
            raise Problem(
                f"{self.path} holds weights, or pickled objects, and no model: save it with torch.jit.save or torch.export.save, or give "
                "module:function that makes the nn.Module"
            )

    def _load_function(self, text: str) -> None:
        torch = import_torch(text)
        make = users_function(text, "that makes a model")
        with users_own(f"{text} fails"):
            made = make()
        if not isinstance(made, torch.nn.Module):
            raise Problem(f"{text} gives {type(made).__name__}, and no nn.Module")
        self.kind, self.module = "nn.Module", made.eval()

    def _run_symbolics(self, file: Path) -> None:
        """The user's own: it calls torch.onnx.register_custom_op_symbolic."""
        if not file.is_file():
            raise Problem(f"there is no file {file} with symbolic functions")
        with users_own(f"{file} fails"):
            exec(compile(file.read_bytes(), str(file), "exec"), {"__name__": "planrt_convert_symbolics", "__file__": str(file)})

    def run(self, inputs: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """What PyTorch answers."""
        import torch

        assert self.module is not None
        with torch.no_grad():
            answer = self.module(*as_tensors(inputs))
        return [tensor.numpy() for tensor in flat(answer)]

    def on(self, place: Any, half: bool) -> Any:
        """A copy of the module on a device."""
        import torch

        if self.kind == "TorchScript":
            module = torch.jit.load(str(self.path), map_location=place).eval()
        else:
            module = copy.deepcopy(self.module).to(place)  # type: ignore[union-attr]
        return module.half() if half else module


def as_tensors(inputs: dict[str, np.ndarray[Any, Any]]) -> list[Any]:
    """Inputs for PyTorch: copies, since a model may write to what it is given."""
    import torch

    return [torch.from_numpy(array.copy()) for array in inputs.values()]


def flat(answer: Any) -> list[Any]:
    """The tensors of what a module gives, in order."""
    if answer is None:
        return []
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)):
        return [tensor for part in answer for tensor in flat(part)]
    return [answer]


@contextlib.contextmanager
def users_own(what: str) -> Iterator[None]:
    """Runs code of the user's, which may raise what it likes."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise Problem(f"{what}: {type(error).__name__}: {first_line(error)}") from error


def users_function(text: str, that: str) -> Any:
    """What module:function names; the module may lie in the folder that this was called in."""
    name, _, function = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        with users_own(f"{name} cannot be imported"):
            module = importlib.import_module(name)
    finally:
        sys.path.pop(0)
    found = getattr(module, function, None)
    if not callable(found):
        raise Problem(f"{name} has no function {function!r} {that}")
    return found


def import_torch(what: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise Problem(f"{what} needs PyTorch, which cannot be imported here: {error}") from error
    # What it deprecates of itself is what it is asked for here.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
    return torch


def first_line(error: BaseException) -> str:
    """The line of an exception that says something. TorchScript's interpreter has it last, behind where it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    inner = [line for line in lines if line.startswith(("RuntimeError: ", "torch.jit.Error: "))]
    return (inner[-1].partition(": ")[2] if inner else lines[0])[:300]


@contextlib.contextmanager
def captured() -> Iterator[io.StringIO]:
    """Takes what is written to standard output and error meanwhile, also by C++: a failed export prints the whole graph."""
    text = io.StringIO()
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, old in zip((1, 2), saved):
                os.dup2(old, descriptor)
                os.close(old)
            file.seek(0)
            text.write(file.read().decode(errors="replace"))


def export(
    source: Source, target: Path, inputs: list[Input], outputs: list[str], batch: int, wanted: int | None, exporter: str
) -> dict[str, Any]:
    """Writes the ONNX model of a module; what is to be told of it."""
    import torch

    opset = wanted or DEFAULT_OPSET

    if exporter == "auto":
        exporter = "dynamo" if source.kind == "torch.export program" else "torchscript"
    if exporter == "dynamo" and source.kind == "TorchScript":
        raise Problem("the new exporter takes no TorchScript: leave --exporter out")
    # A batch of 2, if it is open: an extent of 1 may be taken for a constant.
    example = tuple(torch.from_numpy(random_array(one, max(batch, 2), 0)) for one in inputs)
    named: dict[str, Any] = {"input_names": [one.name for one in inputs], "opset_version": opset}
    if outputs:
        named["output_names"] = outputs
    _require_batch(source, inputs, example)
    open_axes = {one.name: {axis: axis_name(one.name, axis) for axis in one.open_axes} for one in inputs}
    with captured() as said:
        try:
            if exporter == "dynamo":
                if source.kind == "torch.export program":
                    torch.onnx.export(source.program, (), str(target), dynamo=True, external_data=False, **named)
                else:
                    dims = torch.export.Dim
                    shapes = tuple({axis: dims.AUTO for axis in one.open_axes} for one in inputs)
                    torch.onnx.export(source.module, example, str(target), dynamo=True, external_data=False, dynamic_shapes=shapes, **named)
            else:
                names = outputs or [f"output_{i}" for i in range(len(flat(source.module(*example))))]
                named["output_names"] = names
                axes = {name: {0: "batch"} for name in names if any(0 in one.open_axes for one in inputs)}
                torch.onnx.export(source.module, example, str(target), dynamo=False, dynamic_axes={**open_axes, **axes}, **named)
        except Exception as error:  # the exporters raise what they like
            failed = error
        else:
            failed = None
    if failed is not None:
        text = str(failed)
        way_out = next((f"; {words}" for pattern, words in _WAYS_OUT if re.search(pattern, text)), "")
        raise Problem(f"the export to ONNX (opset {opset}) failed: {first_line(failed)}{way_out}") from failed
    model = onnx.load(str(target))
    prune(model)
    name_nodes(model)
    made = opset_of(model)
    if wanted is not None and made != wanted:
        raise Problem(f"PyTorch's exporter {exporter!r} made opset {made} where --opset {wanted} was asked for: take that, or the other exporter")
    onnx.save(model, str(target))
    told = [line for line in said.getvalue().splitlines() if "Warning" in line]
    return {"exporter": exporter, "opset": made, "torch": torch.__version__, "warnings": told[:50]}


# What exporters say of a model that they do not take, and what to do.
_WAYS_OUT = [
    ("instance_norm training", "set track_running_stats=False on its InstanceNorm, or give module:function with --exporter dynamo"),
    (
        "(?i)exporting the operator|unsupported operator|is not supported|no decomposition|DispatchError",
        "take a higher --opset or --exporter dynamo, or say with --symbolics what the operator is in ONNX",
    ),
]


def _require_batch(source: Source, inputs: list[Input], example: tuple[Any, ...]) -> None:
    """A model may take the batch alone that it was traced with."""
    import torch

    assert source.module is not None
    try:
        with torch.no_grad():
            answer = source.module(*(one.clone() for one in example))
    except Exception as error:  # whatever its operators raise
        failed = first_line(error)
    else:
        if not flat(answer):
            raise Problem("the model gives no tensor")
        return
    if any(0 in one.open_axes for one in inputs):
        try:
            with torch.no_grad():
                source.module(*(one[:1].clone() for one in example))
        except Exception:
            pass
        else:
            raise Problem(f"the model takes a batch of 1 and none of {example[0].shape[0]}, as it was traced: give --batch 1 ({failed})")
    shapes = ", ".join(f"{one.name} {shown(list(given.shape))}" for one, given in zip(inputs, example))
    raise Problem(f"the model itself does not run with {shapes}: {failed}")


def prune(model: onnx.ModelProto) -> None:
    """Takes out nodes that nothing needs: of scripted models loops are left that only raised exceptions, which no engine runs."""
    needed = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.insert(0, node)
            needed.update(_read_by(node))
    if len(kept) < len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(kept)
        weights = [weight for weight in model.graph.initializer if weight.name in needed]
        del model.graph.initializer[:]
        model.graph.initializer.extend(weights)


def files_of_weights(path: Path) -> list[Path]:
    """The files beside an ONNX model that hold weights of its, as far as they are there: what is wrong with it is said when it is loaded."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's
        return []
    found = {path.parent / entry.value for tensor in _tensors(model.graph) for entry in tensor.external_data if entry.key == "location"}
    return sorted(file for file in found if file.is_file())


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Weights and constants, in bodies too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t, *attribute.tensors]
            for body in [attribute.g, *attribute.graphs]:
                yield from _tensors(body)


def opset_of(model: onnx.ModelProto) -> int:
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)


def name_nodes(model: onnx.ModelProto) -> None:
    """Gives each node a name of its own: by it plans tell of what their layers are made, and are told what stays float32."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            base = node.name or node.op_type
            node.name = next(name for n in itertools.count(number) if (name := f"{base}_{n}") not in taken)
        taken.add(node.name)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, in its bodies too."""
    yield from node.input
    for attribute in node.attribute:
        for body in [attribute.g, *attribute.graphs]:
            yield from (output.name for output in body.output)
            for inner in body.node:
                yield from _read_by(inner)


def axis_name(name: str, axis: int) -> str:
    return "batch" if axis == 0 else f"{name}_{axis}"


def read_inputs(model: onnx.ModelProto, sizes: dict[str, list[int]]) -> list[Input]:
    """The inputs of an ONNX model, with the extents that the user gives for open ones."""
    weights = {weight.name for weight in model.graph.initializer}
    found = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        if tensor.elem_type not in _DTYPES:
            raise Problem(f"input {value.name!r} has elements that planrt does not run")
        extents = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        given = sizes.get(value.name)
        if given is not None and (len(given) != len(extents) or any(e not in (-1, g) for e, g in zip(extents, given))):
            raise Problem(f"--input {value.name}={'x'.join(map(str, given))} does not fit the model, which takes {shown(extents)}")
        open_axes = [axis for axis, extent in enumerate(extents) if extent < 0]
        if given is None and any(axis > 0 for axis in open_axes):
            raise Problem(f"input {value.name!r} is {shown(extents)}: say which sizes to check with --input {value.name}=1x1x64x64x64")
        shape = given or [1 if extent < 0 else extent for extent in extents]
        found.append(Input(value.name, list(shape), open_axes, _DTYPES[tensor.elem_type]))
    unknown = set(sizes) - {one.name for one in found}
    if unknown:
        raise Problem(f"the model has no input {sorted(unknown)[0]!r}; it has {', '.join(repr(one.name) for one in found)}")
    return found


def shown(extents: list[int]) -> str:
    return "x".join("?" if extent < 0 else str(extent) for extent in extents)


def random_array(one: Input, batch: int, seed: int, other: bool = False) -> np.ndarray[Any, Any]:
    """Random numbers for an input, with `other` at other extents than those that were given."""
    random = np.random.default_rng([seed, *one.name.encode()])
    dtype, shape = np.dtype(one.dtype), one.at(batch)
    if other:
        shape = (shape[0], *one.other_extents()[1:])
    if dtype == np.float32:
        return random.standard_normal(shape, np.float32)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)
