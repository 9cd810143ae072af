"""Segmenters: a volume goes in with its spacing, labels on its own grid come out."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from ctypes import POINTER, byref, c_double, c_float, c_int64, c_size_t, c_void_p, pointer
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from . import _library
from ._engine import Engine, cpu_backend, engine_options
from ._errors import Error, ErrorCode
from ._future import Answered
from ._library import Guarded, Owner, RequestCallback, ScorePlaneCallback, SegmentationProgress, calls, error_of, load, name_bytes, new, own, timeout_us
from ._runtime import Behind, Runtime, default_runtime, path_bytes
from ._scan import Place, Scan, Volume, c_volume, place_of
from ._session import Session, session_options
from ._tensors import DEVICE, ELEMENT_TYPES, TYPE_NAMES

if TYPE_CHECKING:
    from ._build import BuildOptions

Progress = Callable[[int, int], "bool | None"]
Planes = Callable[["tuple[int, int, int]", "np.ndarray[Any, Any]"], "bool | None"]
# True, memory to write to, or a function.
Scores = Any
Region = Sequence[slice]
Folds = Union[Engine, Session, Sequence[Engine], Sequence[Session]]

_under_way: dict[int, Segmentation] = {}
_numbers = itertools.count(1)


@RequestCallback
def _answered(number: int, error: int | None) -> None:
    # A module's global, so that it outlives every segmenter.
    with calls:
        _under_way.pop(number)._answer_once(error_of(error) if error else None)


@SegmentationProgress
def _advanced(number: int, done: int, count: int) -> bool:
    with calls:
        return _under_way[number]._advance(done, count)


@ScorePlaneCallback
def _plane_is_done(number: int, address: int) -> bool:
    with calls:
        return _under_way[number]._take(_library.ScorePlane.from_address(address))


class LabelMap(Owner):
    """What a segmentation came to, on the grid of its volume."""

    def __init__(self, labels: Any, scores: Any, handle: c_void_p):
        self.labels = labels
        """uint8 or uint16, [z, y, x]: an array, or the device memory that was given for it."""
        self.scores = scores
        """The logits or probabilities that were asked for, [channel, z, y, x]; the same."""
        self._handle = handle
        own(self, "segmentation", handle)

    def volume_ml(self, label: int) -> float:
        """How much of the volume has a label, in millilitres."""
        value = c_double()
        load().planrt_segmentation_get_label_volume(self._handle, label, byref(value))
        return value.value


class Segmentation(Answered):
    """A volume that was submitted: a future whose result is a `LabelMap`.

    As every future of `concurrent.futures` it is waited for with `result`, `wait` or `as_completed`, and in a coroutine with
    `await asyncio.wrap_future(segmentation)`. Callbacks of `add_done_callback` are called on the segmentation's own thread.
    To wait for it inside its own `progress` is an error, `ErrorCode.IN_USE`.
    """

    _kind = "segmentation"

    def __init__(
        self,
        segmenter: Segmenter,
        labels: Any,
        scores: Any,
        keep: Any,
        progress: Progress | None,
        planes: Planes | None,
    ):
        super().__init__()
        self._handle = c_void_p()
        self._delete = own(self, "segmentation", self._handle)
        self._lent: Any = (segmenter, labels, scores, keep)
        self._progress, self._planes = progress, planes
        self._raised: BaseException | None = None

    def cancel(self) -> bool:
        """Gives it up: it is cancelled when what runs of it has ended; false where it is done."""
        if self.done():
            return self.cancelled()
        load().planrt_segmentation_cancel(self._handle)
        return True

    def progress(self) -> tuple[int, int]:
        """How many tiles are done, and how many there are: 0 as long as that is not known."""
        done, count = c_int64(), c_int64()
        load().planrt_segmentation_get_progress(self._handle, byref(done), byref(count))
        return done.value, count.value

    def _advance(self, done: int, count: int) -> bool:
        try:
            return self._progress is None or self._progress(done, count) is not False
        except BaseException as error:
            self._raised = error
            return False

    def _take(self, plane: _library.ScorePlane) -> bool:
        assert self._planes is not None
        shape = (plane.channels, *plane.extents)
        # From the lowest byte on, whichever way its strides go.
        below = sum(stride * (extent - 1) for stride, extent in zip(plane.strides_bytes, shape) if stride < 0)
        size = sum(abs(stride) * (extent - 1) for stride, extent in zip(plane.strides_bytes, shape)) + 4
        memory = np.frombuffer((ctypes.c_char * size).from_address(plane.values + below), np.uint8)
        values = np.ndarray(shape, np.float32, memory, -below, tuple(plane.strides_bytes))
        values.flags.writeable = False
        try:
            return self._planes(tuple(plane.start), values) is not False
        except BaseException as error:
            self._raised = error
            return False

    def _answer(self, error: Error | None) -> None:
        _segmenter, labels, scores, _keep = self._lent
        self._lent = self._progress = self._planes = None
        if error is None:
            # The result owns the handle from now on, and the future lends it.
            self._delete.detach()
            self.set_result(LabelMap(labels, scores, self._handle))
        elif self._raised is not None:
            self.set_exception(self._raised)
        elif error.code == ErrorCode.CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_exception(error)


class Memory(NamedTuple):
    """The memory that a volume takes, in bytes, beside the application's own and what engines and sessions have."""

    most: int
    """Of the host's, with the options that were given."""
    least: int
    """The smallest budget that can be kept."""
    device: int = 0
    """Of a GPU's."""
    least_device: int = 0
    """The smallest budget of that that can be kept."""


class Segmenter(Owner):
    """Segments whole volumes: a scan goes in with its spacing, labels on its own grid come out. Any thread may use it, several at once.

    `folder` is a model's folder: its description (`recipe.json`, a passport, nnU-Net's `plans.json` or a MONAI bundle's `inference.json`) and
    its models, one for each fold. What is not said is as the description has it: how much tiles overlap (0 to below 1), the
    axes (z, y, x) of the model's grid that they are `mirrored` over, which `configuration` of an nnU-Net's the models are, which `output` of a
    model that has several is the result, whether only the largest connected part of each label is kept, and how much each voxel of a tile
    counts (`window`, an array of the patch's shape). `threads` are for what is not the network; `cpu` is what runs ONNX models, as for an
    `Engine`, and where none of a model folder's plans runs here `allow_cpu`, `build` and `built_plan` are as for `Engine.from_folder`; `session` holds arguments of `Session` for the sessions that run the tiles. With `coarse`, another segmenter and
    a margin in millimetres, volumes are first segmented with that one, and only the box around what it found by this one.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        runtime: Runtime | None = None,
        *,
        overlap: float | None = None,
        mirrored: Sequence[bool] | None = None,
        configuration: str | None = None,
        output: str | None = None,
        largest_component: bool | None = None,
        window: Any = None,
        threads: int = 0,
        cpu: str = "CPU",
        allow_cpu: bool = False,
        build: BuildOptions | None = None,
        built_plan: str | os.PathLike[str] | None = None,
        session: Mapping[str, Any] | None = None,
        coarse: tuple[Segmenter, float] | None = None,
    ):
        if (build is None) != (built_plan is None):
            raise ValueError("build and built_plan, the file to keep the plan in, go together")
        runtime = runtime or default_runtime()
        self._runtimes = [runtime]
        settings = {
            "overlap": overlap,
            "mirrored": mirrored,
            "configuration": configuration,
            "output": output,
            "largest_component": largest_component,
            "window": window,
            "threads": threads,
            "engine": {"cpu_backend": cpu_backend(cpu), "cpu_allowed": allow_cpu},
            "build": None if build is None else (build, built_plan),
            "session": session,
            "coarse": coarse,
        }
        self._open(lambda options: new("planrt_segmenter_load", runtime._handle, path_bytes(folder), options), settings)

    @classmethod
    def from_folds(
        cls,
        folds: Folds,
        recipe: Mapping[str, Any] | str,
        *,
        overlap: float | None = None,
        mirrored: Sequence[bool] | None = None,
        output: str | None = None,
        largest_component: bool | None = None,
        window: Any = None,
        threads: int = 0,
        session: Mapping[str, Any] | None = None,
        coarse: tuple[Segmenter, float] | None = None,
    ) -> Segmenter:
        """A segmenter over the engines of a model's folds, or over sessions of the application's own, one for each fold.

        `recipe` says what is done around them, as a `recipe.json` in a model's folder.
        """
        given: list[Any] = [folds] if isinstance(folds, (Engine, Session)) else list(folds)
        are_sessions = bool(given) and isinstance(given[0], Session)
        if not all(isinstance(fold, Session if are_sessions else Engine) for fold in given):
            raise TypeError("folds are engines, or sessions: all of them the same")
        function = "planrt_segmenter_new_over_sessions" if are_sessions else "planrt_segmenter_new"
        text = recipe if isinstance(recipe, str) else json.dumps(recipe)
        handles = (c_void_p * len(given))(*[fold._handle for fold in given])
        segmenter = cls.__new__(cls)
        engines = [engine for fold in given for engine in (fold.engines if are_sessions else [fold])]
        segmenter._runtimes = [engine.runtime for engine in engines]
        settings = {
            "overlap": overlap,
            "mirrored": mirrored,
            "output": output,
            "largest_component": largest_component,
            "window": window,
            "threads": threads,
            "session": session,
            "coarse": coarse,
        }
        segmenter._open(lambda options: new(function, handles, len(given), name_bytes(text), options), settings)
        return segmenter

    @classmethod
    def ensemble(cls, segmenters: Sequence[Segmenter], *, coarse: tuple[Segmenter, float] | None = None) -> Segmenter:
        """A segmenter that averages the probabilities of several on the volume's grid, as nnU-Net does with its configurations."""
        handles = (c_void_p * len(segmenters))(*[one._handle for one in segmenters])
        segmenter = cls.__new__(cls)
        segmenter._runtimes = [runtime for one in segmenters for runtime in one._runtimes]
        segmenter._open(
            lambda options: new("planrt_segmenter_new_ensemble", handles, len(segmenters), options), {"coarse": coarse}
        )
        return segmenter

    @property
    def _handle(self) -> c_void_p:
        return self._guarded.handle

    def _open(self, opened: Callable[[c_void_p], c_void_p], settings: dict[str, Any]) -> None:
        library = load()
        options = new("planrt_segmenter_options_new")
        with contextlib.ExitStack() as stack:
            stack.callback(library.planrt_segmenter_options_delete, options)
            if settings.get("overlap") is not None:
                library.planrt_segmenter_options_set_overlap(options, settings["overlap"])
            if settings.get("mirrored") is not None:
                z, y, x = settings["mirrored"]
                library.planrt_segmenter_options_set_mirrored(options, bool(z), bool(y), bool(x))
            if settings.get("configuration") is not None:
                library.planrt_segmenter_options_set_configuration(options, name_bytes(settings["configuration"]))
            if settings.get("output") is not None:
                library.planrt_segmenter_options_set_output(options, name_bytes(settings["output"]))
            if settings.get("largest_component") is not None:
                library.planrt_segmenter_options_set_largest_component(options, settings["largest_component"])
            if settings.get("window") is not None:
                weights = np.ascontiguousarray(settings["window"], np.float32)
                address = weights.ctypes.data_as(POINTER(c_float))
                library.planrt_segmenter_options_set_window(options, address, weights.size)
            if settings.get("coarse") is not None:
                other, margin_mm = settings["coarse"]
                library.planrt_segmenter_options_set_coarse(options, other._handle, margin_mm)
            library.planrt_segmenter_options_set_threads(options, settings.get("threads", 0))
            if settings.get("engine") is not None:
                made = stack.enter_context(engine_options(**settings["engine"]))
                if settings["build"] is not None:
                    # Its progress is called while the folder is loaded.
                    build, built_plan = settings["build"]
                    library.planrt_engine_options_set_build(made, stack.enter_context(build._made()), path_bytes(built_plan))
                library.planrt_segmenter_options_set_engine_options(options, made)
            if settings.get("session") is not None:
                # A tile for which the queue has no room waits, unless that is said otherwise.
                with session_options(**{"block_when_full": True, **settings["session"]}) as made:
                    library.planrt_segmenter_options_set_session_options(options, made)
            self._guarded = Guarded(self, "segmenter", opened(options))
        info = _library.SegmenterInfo()
        library.planrt_segmenter_get_info(self._handle, byref(info))
        self.channels: int = info.channels
        """Channels that a volume has."""
        self.score_channels: int = info.score_channels
        """Channels of logits and probabilities."""
        self.largest_label: int = info.largest_label
        self.patch: tuple[int, ...] = tuple(info.patch)
        """Voxels of a tile along the axes of the model's grid."""
        window = settings.get("window")
        shape = () if window is None else np.shape(window)
        # The network may give less than it takes; how much is looked at by the library.
        if window is not None and (len(shape) != 3 or any(extent > most for extent, most in zip(shape, self.patch))):
            self.close()
            raise ValueError(f"a window of the shape {shape}; it has a weight for each voxel that the network gives for a tile of {self.patch}")

    def submit(
        self,
        volume: Volume | Scan,
        labels: Any = None,
        *,
        logits: Scores = False,
        probabilities: Scores = False,
        region: Region | None = None,
        priority: int = 0,
        timeout: float | None = None,
        nan_allowed: bool = False,
        any_direction: bool = False,
        memory_budget: int | None = None,
        device_memory_budget: int | None = None,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Gives the segmenter a volume and returns: a future for a `LabelMap`. Do not write to the volume until it is done.

        `labels` is an array to write to, uint8 or uint16 in any strides; where there is none it is a new one, of the type that the largest
        label takes. `logits` or `probabilities`, true or a float32 or float16 array [channel, z, y, x] to write to, asks for what labels are
        decided by, as `LabelMap.scores`; or a function, which is called with planes as they are done: the volume's voxel (z, y, x) that is the
        first one, and values [channel, z, y, x], read-only and lent for the call. `region`, a slice for each of z, y and x, is what is
        segmented, as if the volume had no more; what is outside has the label 0. Tiles of higher priorities go first; after `timeout` seconds it ends with `ErrorCode.DEADLINE`.
        Labels and scores may go to memory of a GPU that the segmenter runs on, with DLPack or CUDA's array interface and dense, as the volume may
        come from there: what was given to be done with them is waited for here.
        `nan_allowed` lets the network give what is no number, `any_direction` lets the volume's axes be oblique to each other.
        `memory_budget` is the most bytes of host memory that planrt takes beside the application's own, `device_memory_budget` of a GPU's
        beside what engines and sessions have. `progress` is called with how many
        tiles are done and how many there are; False, or an exception, which is then the result, ends it.
        """
        behind = Behind(self._runtimes)
        given, keep = _lend(volume, behind)
        shape = tuple(given.extents)
        labels = np.empty(shape, np.uint8 if self.largest_label < 256 else np.uint16) if labels is None else labels
        place, type_, strides = _written("labels", labels, shape, ("uint8", "uint16"), behind)
        label_map = _library.LabelMap(
            data=place.address,
            size_bytes=place.size_bytes,
            first_voxel_bytes=place.first_bytes,
            element_type=ELEMENT_TYPES[type_],
            memory_kind=place.kind,
            strides_bytes=(c_int64 * 3)(*strides),
        )
        options = _options(shape, region, priority, timeout, nan_allowed, any_direction, memory_budget, device_memory_budget)
        planes = next((asked for asked in (logits, probabilities) if callable(asked)), None)
        scores, scores_place = self._scores(options, shape, logits, probabilities, behind)
        behind.wait()
        number = next(_numbers)
        options.callback, options.user_data = _answered, number
        if progress is not None:
            options.progress = _advanced
        segmentation = Segmentation(self, labels, scores, (keep, volume, place, scores_place), progress, planes)
        _under_way[number] = segmentation
        try:
            with self._guarded.call:
                load().planrt_segmenter_submit(
                    self._handle, byref(given), byref(label_map), byref(options), byref(segmentation._handle)
                )
        except BaseException:
            if segmentation._handle:
                # It was taken in before an interrupt came: its memory is the segmenter's until it is answered.
                segmentation.cancel()
            else:
                _under_way.pop(number, None)
            raise
        return segmentation

    def run(self, volume: Volume | Scan, labels: Any = None, **options: Any) -> LabelMap:
        """Segments a volume: `submit(volume, labels, ...).result()`. An interrupt cancels it."""
        segmentation = self.submit(volume, labels, **options)
        try:
            return segmentation.result()  # type: ignore[no-any-return]
        except BaseException:
            segmentation.cancel()
            raise

    def estimate(
        self,
        volume: Volume | Scan,
        *,
        logits: Scores = False,
        probabilities: Scores = False,
        region: Region | None = None,
        any_direction: bool = False,
        memory_budget: int | None = None,
        device_memory_budget: int | None = None,
    ) -> Memory:
        """The memory that a volume takes, without looking at its voxels; arrays for `logits` or `probabilities` are not made."""
        behind = Behind(self._runtimes)
        given, _keep = _lend(volume, behind)
        shape = tuple(given.extents)
        options = _options(shape, region, 0, None, False, any_direction, memory_budget, device_memory_budget)
        self._scores(options, shape, logits, probabilities, behind, is_made=False)
        told = [c_size_t() for _ in Memory._fields]
        with self._guarded.call:
            load().planrt_segmenter_estimate(self._handle, byref(given), byref(options), *map(byref, told))
        return Memory(*(bytes_.value for bytes_ in told))

    def check_company(self, volume: Volume | Scan, company: int = 3) -> None:
        """Segments a volume by itself, and then so many times at once: `ErrorCode.SELF_TEST` where a mask is not the same to the bit."""
        behind = Behind(self._runtimes)
        given, _keep = _lend(volume, behind)
        behind.wait()
        with self._guarded.call:
            load().planrt_segmenter_check_company(self._handle, byref(given), None, company)

    def _scores(
        self,
        options: _library.SegmentationOptions,
        shape: tuple[int, ...],
        logits: Scores,
        probabilities: Scores,
        behind: Behind,
        is_made: bool = True,
    ) -> tuple[Any, Place | None]:
        """The memory for what is asked for, which the options then point to."""
        if logits is not False and probabilities is not False:
            raise ValueError("either logits or probabilities are asked for")
        asked = logits if probabilities is False else probabilities
        if asked is False:
            return None, None
        if callable(asked):
            options.score_plane = _plane_is_done
            options.score_plane_probabilities = probabilities is not False
            return None, None
        wanted = (self.score_channels, *shape)
        if asked is True and not is_made:
            size, type_ = 4 * math.prod(wanted), ELEMENT_TYPES["float32"]
            options.scores = pointer(
                _library.ScoreMap(size_bytes=size, element_type=type_, probabilities=probabilities is not False)
            )
            return None, None
        scores = np.empty(wanted, np.float32) if asked is True else asked
        place, name, strides = _written("logits or probabilities", scores, wanted, ("float32", "float16"), behind)
        score_map = _library.ScoreMap(
            data=place.address,
            size_bytes=place.size_bytes,
            first_voxel_bytes=place.first_bytes,
            element_type=ELEMENT_TYPES[name],
            memory_kind=place.kind,
            strides_bytes=(c_int64 * 4)(*strides),
            probabilities=probabilities is not False,
        )
        options.scores = pointer(score_map)
        return scores, place

    def close(self) -> None:
        """Ends the segmenter: volumes under way end with `ErrorCode.SHUT_DOWN`.

        Calls of other threads end first, and any from now on is an error.
        """
        self._guarded.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lend(volume: Volume | Scan, behind: Behind) -> tuple[_library.Volume, Any]:
    """A volume as C takes it, and what has to be kept as long as that is in use."""
    given = volume.volume if isinstance(volume, Scan) else volume
    if not isinstance(given, Volume):
        raise TypeError(f"a volume is a planrt.Volume or a planrt.Scan, not {type(volume).__name__}")
    return c_volume(given, behind.memory("voxels", given.voxels))


def _written(
    name: str, value: Any, shape: tuple[int, ...], types: tuple[str, ...], behind: Behind
) -> tuple[Place, str, tuple[int, ...]]:
    """Where memory lies that is written to, the type of its elements, and its steps in bytes: all 0 where there are no gaps."""
    if (memory := behind.memory(name, value)) is not None:
        place = Place(memory.address, memory.size_bytes, 0, memory.keep, DEVICE)
        type_, strides = TYPE_NAMES[memory.element_type], (0,) * len(shape)
        its_shape, is_read_only = memory.shape, memory.is_read_only
    elif isinstance(value, np.ndarray):
        place, type_, strides = place_of(value), value.dtype.name if value.dtype.isnative else str(value.dtype), value.strides
        its_shape, is_read_only = value.shape, not value.flags.writeable
    else:
        raise TypeError(f"memory for {name} is a numpy array or memory of a GPU, not {type(value).__name__}")
    if type_ not in types:
        raise TypeError(f"the array for {name} has elements of {type_}; they are {' or '.join(types)}")
    if its_shape != shape:
        raise ValueError(f"the array for {name} has the shape {its_shape}, and {shape} is written")
    if is_read_only:
        raise ValueError(f"the array for {name} is read-only")
    return place, type_, strides


def _options(
    shape: tuple[int, ...],
    region: Region | None,
    priority: int,
    timeout: float | None,
    nan_allowed: bool,
    any_direction: bool,
    memory_budget: int | None,
    device_memory_budget: int | None,
) -> _library.SegmentationOptions:
    start: tuple[int, ...] = (0, 0, 0)
    extents: tuple[int, ...] = (0, 0, 0)
    if region is not None:
        if not isinstance(region, Sequence) or len(region) != 3 or not all(isinstance(part, slice) for part in region):
            raise ValueError(f"a region is three slices, along z, y and x, and not {region!r}")
        if any(part.step not in (None, 1) for part in region):
            raise ValueError("a region is three slices, along z, y and x, without steps")
        ends = [part.indices(extent)[:2] for part, extent in zip(region, shape)]
        if any(first >= last for first, last in ends):
            raise ValueError(f"the region {region} has no voxels in a volume of {shape}")
        start = tuple(first for first, _ in ends)
        extents = tuple(last - first for first, last in ends)
    # A 0 would stand for as much as is of use.
    for budget in (memory_budget, device_memory_budget):
        if budget is not None and not 0 < budget < 2**63:
            raise ValueError(f"a memory budget of {budget} bytes; take None for none")
    return _library.SegmentationOptions(
        timeout_us=timeout_us(timeout),
        priority=priority,
        nan_allowed=nan_allowed,
        any_direction_allowed=any_direction,
        memory_budget_bytes=memory_budget or 0,
        device_memory_budget_bytes=device_memory_budget or 0,
        region_start=(c_int64 * 3)(*start),
        region_extents=(c_int64 * 3)(*extents),
    )
