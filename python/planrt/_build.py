"""Plans, built from ONNX models."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ctypes import byref, c_void_p
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from . import _library
from ._engine import address_of
from ._errors import Error
from ._library import BuildProgress, Owner, ProfileShape, load, name_bytes, new, own
from ._runtime import Runtime, default_runtime, path_bytes


class Precision(IntFlag):
    """In what a plan may compute, beside float32."""

    FLOAT32 = 0
    TF32 = 1
    FLOAT16 = 2
    BFLOAT16 = 4
    INT8 = 8
    BEST = 16
    TYPED = 32


class BuildFeatures(IntFlag):
    """What a plan is to be capable of."""

    NONE = 0
    VERSION_COMPATIBLE = 1
    EXCLUDE_LEAN_RUNTIME = 2
    REFITTABLE = 4
    STRIP_WEIGHTS = 8
    WEIGHT_STREAMING = 16
    SPARSE_WEIGHTS = 32
    DETAILED_LAYERS = 64


class HardwareCompatibility(IntEnum):
    """On which GPUs a plan runs beside the kind it was built on."""

    SAME = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class InstanceNormalization(IntEnum):
    """What InstanceNormalization becomes, as the constants `PLANRT_INSTANCE_NORMALIZATION_…` of planrt.h tell."""

    DEFAULT = 0
    NATIVE = 1
    PLUGIN = 2
    DECOMPOSED = 3


class Tactics(IntFlag):
    """Where TensorRT may take kernels from, beside its own."""

    NONE = 0
    CUBLAS = 1
    CUBLAS_LT = 2
    CUDNN = 4
    EDGE_MASK_CONVOLUTIONS = 8
    JIT_CONVOLUTIONS = 16


Shape = Sequence[int]
Profile = Mapping[str, "Shape | tuple[Shape, Shape, Shape]"]
Progress = Callable[[str, "str | None", int, int], "bool | None"]


class Plan(Owner):
    """A plan in memory, for `Engine`, or to be saved."""

    def __init__(self, handle: ctypes.c_void_p):
        self._handle = handle
        own(self, "plan", handle)

    @property
    def data(self) -> memoryview:
        """The plan's bytes, read-only and not copied: they live as long as the plan."""
        library = load()
        size, address = library.planrt_plan_get_size(self._handle), library.planrt_plan_get_data(self._handle)
        view = (ctypes.c_char * size).from_address(address)
        view._plan = self  # the memoryview keeps the array, and the array the plan
        return memoryview(view).cast("B").toreadonly()

    def __len__(self) -> int:
        return load().planrt_plan_get_size(self._handle)  # type: ignore[no-any-return]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the plan to a file, which is there whole or not at all."""
        load().planrt_plan_save(self._handle, path_bytes(path))


@dataclass(frozen=True)
class BuildOptions:
    """How a plan is built; what is not said is planrt's default.

    A profile maps inputs to a shape, or to the smallest, best and largest one; there may be several. `progress` is called with a
    phase's name, that of the phase it is part of, and how many of its steps are done; False, or an exception, ends the build.
    """

    profiles: Profile | Sequence[Profile] = ()
    precision: Precision = Precision.FLOAT32
    keep_float32_nodes: Iterable[str] = ()
    keep_float32_operators: Iterable[str] = ()
    workspace_limit: int = 0
    timing_cache: str | os.PathLike[str] | None = None
    optimization_level: int | None = None
    use_tactics_too: Tactics = Tactics.NONE
    use_tactics_not: Tactics = Tactics.NONE
    features: BuildFeatures = BuildFeatures.NONE
    hardware: HardwareCompatibility = HardwareCompatibility.SAME
    instance_normalization: InstanceNormalization = InstanceNormalization.DEFAULT
    weights_folder: str | os.PathLike[str] | None = None
    progress: Progress | None = None

    @contextlib.contextmanager
    def _made(self) -> Iterator[c_void_p]:
        """The options for C, while something is built with them; what `progress` raises is raised at the end."""
        library = load()
        raised: list[BaseException] = []

        @BuildProgress
        def hear(_user_data: Any, phase: bytes, parent: bytes | None, done: int, steps: int) -> bool:
            try:
                assert self.progress is not None
                return self.progress(phase.decode(), parent.decode() if parent else None, done, steps) is not False
            except BaseException as error:  # Ctrl-C too
                raised.append(error)
                return False

        options = new("planrt_build_options_new")
        try:
            for number, profile in enumerate([self.profiles] if isinstance(self.profiles, Mapping) else self.profiles):
                for name, shapes in profile.items():
                    shape = _profile_shape(name, shapes)
                    library.planrt_build_options_set_profile_shape(options, number, name_bytes(name), byref(shape))
            library.planrt_build_options_set_precision(options, self.precision)
            for node in self.keep_float32_nodes:
                library.planrt_build_options_keep_float32_node(options, name_bytes(node))
            for operator in self.keep_float32_operators:
                library.planrt_build_options_keep_float32_operator(options, name_bytes(operator))
            library.planrt_build_options_set_workspace_limit(options, self.workspace_limit)
            library.planrt_build_options_set_timing_cache(options, path_bytes(self.timing_cache))
            if self.optimization_level is not None:
                library.planrt_build_options_set_optimization_level(options, self.optimization_level)
            library.planrt_build_options_set_tactics(options, self.use_tactics_too, self.use_tactics_not)
            library.planrt_build_options_set_features(options, self.features)
            library.planrt_build_options_set_hardware_compatibility(options, self.hardware)
            library.planrt_build_options_set_instance_normalization(options, self.instance_normalization)
            library.planrt_build_options_set_weights_folder(options, path_bytes(self.weights_folder))
            if self.progress is not None:
                library.planrt_build_options_set_progress(options, hear, None)
            yield options
        except Error:
            if raised:
                raise raised[0] from None
            raise
        finally:
            library.planrt_build_options_delete(options)


def build(
    onnx: str | os.PathLike[str] | bytes, runtime: Runtime | None = None, options: BuildOptions = BuildOptions()
) -> Plan:
    """Builds a plan from an ONNX file, or its bytes, with the TensorRT and for the GPU of the runtime. Minutes may pass."""
    handle = (runtime or default_runtime())._handle
    with options._made() as made:
        if isinstance(onnx, bytes):
            return Plan(new("planrt_build_memory", handle, *address_of(onnx), made))
        return Plan(new("planrt_build_file", handle, path_bytes(onnx), made))


def refit(
    plan: str | os.PathLike[str] | bytes,
    onnx: str | os.PathLike[str] | bytes,
    runtime: Runtime | None = None,
    options: BuildOptions = BuildOptions(),
) -> Plan:
    """Puts the weights of an ONNX model into a plan of the same graph, which was built refittable or without its weights.

    Both are files, or both are bytes. Of `options` `instance_normalization`, which is to be as it was built,
    `weights_folder` and `progress` count.
    """
    handle = (runtime or default_runtime())._handle
    if isinstance(plan, bytes) != isinstance(onnx, bytes):
        raise TypeError("the plan and the ONNX model are both files, or both bytes")
    with options._made() as made:
        if isinstance(plan, bytes) and isinstance(onnx, bytes):
            return Plan(new("planrt_refit_memory", handle, *address_of(plan), *address_of(onnx), made))
        return Plan(new("planrt_refit_file", handle, path_bytes(plan), path_bytes(onnx), made))  # type: ignore[arg-type]


def _profile_shape(name: str, shapes: Any) -> ProfileShape:
    if shapes and isinstance(shapes[0], int):
        shapes = (shapes,) * 3
    if len(shapes) != 3 or len({len(shape) for shape in shapes}) != 1 or len(shapes[0]) > _library.MAX_RANK:
        raise ValueError(f"a profile has one shape for {name!r}, or the smallest, best and largest, of one rank")
    minimum, best, maximum = (_library.extents(*shape) for shape in shapes)
    return ProfileShape(rank=len(shapes[0]), min=minimum, opt=best, max=maximum)
