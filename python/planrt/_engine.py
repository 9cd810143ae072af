"""Engines and contexts."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import byref, c_double, c_int32, c_int64, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Union

from . import _library
from ._errors import Error, ErrorCode
from ._library import Guarded, Owner, load, microseconds, name_bytes, new
from ._runtime import Runtime, Stream, default_runtime, path_bytes
from ._tensors import (
    Lent,
    Outputs,
    TensorInfo,
    _NAMES,
    array_of,
    check_names,
    lend,
    lend_input,
    new_output,
    shaped,
    wanted_outputs,
)

if TYPE_CHECKING:
    from ._build import BuildOptions, Plan

_INPUT = 1
_BACKENDS = {1: "TensorRT", 2: "CPU", 3: "OpenVINO"}
_CPU_BACKENDS = {"CPU": 2, "OpenVINO": 3, "fastest": 4}
_STATISTICS = {
    "weights_size": 1,
    "stripped_weights_size": 2,
    "streamable_weights_size": 3,
    "weight_streaming_budget": 4,
    "aux_streams": 5,
}

Model = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "Plan"]


def address_of(data: bytes | bytearray | memoryview) -> tuple[Any, int]:
    """What a C function reads of bytes, without a copy where they allow that."""
    view = memoryview(data).cast("B")
    if view.readonly:
        whole = data if isinstance(data, bytes) else bytes(view)
        return ctypes.cast(ctypes.c_char_p(whole), c_void_p), len(whole)
    return (ctypes.c_char * len(view)).from_buffer(view), len(view)


def cpu_backend(name: str) -> int:
    """The number of what is to run ONNX models."""
    if name not in _CPU_BACKENDS:
        raise ValueError(f"cpu is one of {', '.join(_CPU_BACKENDS)}, not {name!r}")
    return _CPU_BACKENDS[name]


@contextlib.contextmanager
def engine_options(**settings: Any) -> Iterator[c_void_p]:
    """The options of an engine for C, while something is made with them; what is None keeps its default."""
    library = load()
    options = new("planrt_engine_options_new")
    try:
        for name, value in settings.items():
            if value is not None:
                getattr(library, f"planrt_engine_options_set_{name}")(options, value)
        yield options
    finally:
        library.planrt_engine_options_delete(options)


class Engine(Owner):
    """A loaded model: a TensorRT plan on a GPU, or an ONNX model on the CPU. Any thread may use it, several at once.

    `model` is a file's path, a model's bytes, or a `Plan`. `cpu` is what runs ONNX models: "CPU", planrt's own engine, "OpenVINO",
    or "fastest", OpenVINO where it is found and takes the model.
    """

    def __init__(
        self,
        model: Model,
        runtime: Runtime | None = None,
        *,
        cpu: str = "CPU",
        threads: int = 0,
        shape_cache: int = 0,
        lean_runtime: str | os.PathLike[str] | None = None,
        weight_streaming_budget: int | None = None,
        allow_features: bool = False,
    ):
        self._open(runtime, lambda options: self._load(model, options), {
            "cpu_backend": cpu_backend(cpu),
            "cpu_threads": threads,
            "cpu_shape_cache": shape_cache,
            "lean_runtime": path_bytes(lean_runtime),
            "weight_streaming_budget": weight_streaming_budget,
            "features_allowed": allow_features,
        })

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        runtime: Runtime | None = None,
        *,
        build: BuildOptions | None = None,
        built_plan: str | os.PathLike[str] | None = None,
        allow_cpu: bool = False,
        allow_features: bool = False,
        cpu: str = "CPU",
        threads: int = 0,
        shape_cache: int = 0,
    ) -> Engine:
        """Loads a model folder: every file is held against its hash, and the first plan that runs here is taken.

        Where none does, one is built from the ONNX model as `build` says, and kept in the file `built_plan`, by one process for all;
        or the ONNX model runs on the CPU, by `cpu`, if `allow_cpu` says so or there is nothing else. One whose head was folded out
        (`planrt-convert --fold-head`), and which gives features, is for `Segmenter`, or loaded without the head if `allow_features` says so.
        """
        if (build is None) != (built_plan is None):
            raise ValueError("build and built_plan, the file to keep the plan in, go together")
        engine = cls.__new__(cls)

        def opened(options: c_void_p) -> c_void_p:
            if build is None:
                return new("planrt_engine_load_folder", engine.runtime._handle, path_bytes(folder), options)
            with build._made() as made:
                load().planrt_engine_options_set_build(options, made, path_bytes(built_plan))
                return new("planrt_engine_load_folder", engine.runtime._handle, path_bytes(folder), options)

        engine._open(runtime, opened, {
            "cpu_backend": cpu_backend(cpu),
            "cpu_threads": threads,
            "cpu_shape_cache": shape_cache,
            "cpu_allowed": allow_cpu,
            "features_allowed": allow_features,
        })
        return engine

    def self_test(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Runs the test vectors of the folder that this engine was loaded from, and says how the answers differ.

        `ErrorCode.SELF_TEST` where they differ by more than the passport allows: the model is not to be used here then.
        """
        return self._text("planrt_engine_self_test", path_bytes(folder))  # type: ignore[no-any-return]

    def _open(self, runtime: Runtime | None, opened: Callable[[c_void_p], c_void_p], settings: dict[str, Any]) -> None:
        self.runtime = runtime or default_runtime()
        with engine_options(**settings) as options:
            self._guarded = Guarded(self, "engine", opened(options))
        self._describe()

    @property
    def _handle(self) -> c_void_p:
        return self._guarded.handle

    def _text(self, function: str, *arguments: Any) -> Any:
        """What a function says as JSON."""
        with self._guarded.call:
            return json.loads(_library.text(function, self._handle, *arguments))

    def _load(self, model: Model, options: c_void_p) -> c_void_p:
        if isinstance(model, (str, os.PathLike)):
            return new("planrt_engine_load_file", self.runtime._handle, path_bytes(model), options)
        data = model if isinstance(model, (bytes, bytearray, memoryview)) else getattr(model, "data", None)
        if data is None:
            raise TypeError(f"a model is a file's path, its bytes, or a planrt.Plan, not {type(model).__name__}")
        address, size = address_of(data)
        return new("planrt_engine_load_memory", self.runtime._handle, address, size, options)

    def _describe(self) -> None:
        library = load()
        self.name: str = library.planrt_engine_get_name(self._handle).decode(errors="replace")
        self.device_name: str = library.planrt_engine_get_device_name(self._handle).decode(errors="replace")
        self.backend: str = _BACKENDS.get(library.planrt_engine_get_backend(self._handle), "unknown")
        """ "TensorRT", "CPU" or "OpenVINO"."""
        tensors = [self._tensor(i) for i in range(library.planrt_engine_get_tensor_count(self._handle))]
        self.inputs: dict[str, TensorInfo] = {tensor.name: tensor for tensor in tensors if tensor.is_input}
        self.outputs: dict[str, TensorInfo] = {tensor.name: tensor for tensor in tensors if not tensor.is_input}
        # For `run`; none refers to this object, so that no cycle holds device memory.
        self._idle: list[Context] = []
        self._lent = 0
        self._returned = threading.Condition()

    def _tensor(self, index: int) -> TensorInfo:
        library = load()
        info = _library.TensorInfo()
        library.planrt_engine_get_tensor_info(self._handle, index, byref(info))
        names = [library.planrt_engine_get_dimension_name(self._handle, index, axis) for axis in range(info.rank)]
        return TensorInfo(
            name=info.name.decode(),
            is_input=info.role == _INPUT,
            element_type=_NAMES[info.element_type - 1],
            shape=tuple(info.shape[: info.rank]),
            dimension_names=tuple(name and name.decode() for name in names),
        )

    def __repr__(self) -> str:
        return f"<planrt.Engine {self.name!r} on {self.device_name}>"

    def context(self) -> Context:
        """A new execution context."""
        return Context(self)

    def run(self, inputs: Mapping[str, Any], outputs: Outputs = None) -> dict[str, Any]:
        """Runs the model, as `Context.run`, on a context that the engine keeps for it; any thread, several at once.

        TensorRT 8 gives each optimization profile to one context: where all are taken by other calls of `run` this one waits.
        """
        taken = self._take()
        context: Context | None = taken
        try:
            return taken.run(inputs, outputs)
        except Error as error:
            if error.code in (ErrorCode.POISONED, ErrorCode.INTERNAL):
                context = None
            raise
        finally:
            self._give_back(context)

    def _take(self) -> Context:
        with self._returned:
            while not self._idle:
                try:
                    context = self.context()
                except Error as error:
                    if error.code != ErrorCode.IN_USE or self._lent == 0:
                        raise
                    self._returned.wait()
                else:
                    self._lent += 1
                    return context
            self._lent += 1
            return self._idle.pop()

    def _give_back(self, context: Context | None) -> None:
        with self._returned:
            self._lent -= 1
            if context is not None:
                self._idle.append(context)
            self._returned.notify()

    def profiles(self) -> list[dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]]:
        """Each optimization profile: for each input its smallest, best and largest shape. Empty on the CPU."""
        library = load()
        found = []
        for number in range(library.planrt_engine_get_profile_count(self._handle)):
            profile = {}
            for name in self.inputs:
                shape = _library.ProfileShape()
                library.planrt_engine_get_profile_shape(self._handle, number, name.encode(), byref(shape))
                minimum, best, maximum = (tuple(part[: shape.rank]) for part in (shape.min, shape.opt, shape.max))
                profile[name] = (minimum, best, maximum)
            found.append(profile)
        return found

    def device_memory_size(self, profile: int | None = None) -> int:
        """Bytes of device memory that one context takes, besides its inputs and outputs; 0 on the CPU."""
        if profile is None:
            return load().planrt_engine_get_device_memory_size(self._handle)  # type: ignore[no-any-return]
        size = c_size_t()
        load().planrt_engine_get_profile_device_memory_size(self._handle, profile, byref(size))
        return size.value

    def statistic(self, name: str) -> int:
        """What TensorRT knows of a plan: `weights_size`, `streamable_weights_size`, `aux_streams`, ..."""
        if name not in _STATISTICS:
            raise ValueError(f"there is no statistic {name!r}; there are {sorted(_STATISTICS)}")
        value = c_int64()
        load().planrt_engine_get_statistic(self._handle, _STATISTICS[name], byref(value))
        return value.value

    def metadata(self) -> dict[str, Any]:
        """What the model's file says of itself."""
        return self._text("planrt_engine_get_metadata_json")  # type: ignore[no-any-return]

    def layers(self) -> list[Any]:
        """The model's layers, as TensorRT's inspector has them, or an ONNX model's nodes."""
        return self._text("planrt_engine_get_layers_json")["Layers"]  # type: ignore[no-any-return]

    def inspect(self, shapes: Mapping[str, Sequence[int]] | None = None, *, runs: int = 0) -> dict[str, Any]:
        """The layers with their precisions and, for more than 0 runs, how long each takes: what `planrt_inspect` tells as JSON.

        `shapes` are the inputs', by name; those left out are the plan's best ones, or have a batch of 1.
        """
        given, count = _input_shapes(shapes)
        return self._text("planrt_inspect", given, count, runs, _JSON)  # type: ignore[no-any-return]

    def bench(
        self,
        shapes: Mapping[str, Sequence[int]] | None = None,
        *,
        streams: int = 1,
        concurrency: int = 0,
        largest_batch: int = 0,
        cuda_graph: bool = False,
        data_transfers: bool = True,
        least_runs: int = 10,
        warm_up: float = 0.2,
        duration: float = 3.0,
        percentiles: Sequence[float] = (90, 95, 99),
    ) -> dict[str, Any]:
        """Throughput and latency as trtexec measures them: what `planrt_bench` tells as JSON. Times here are in seconds.

        `concurrency` threads ask a session, which is measured instead of contexts on so many streams.
        """
        given, count = _input_shapes(shapes)
        settings = _library.BenchSettings(
            streams=streams,
            concurrency=concurrency,
            largest_batch=largest_batch,
            use_cuda_graph=cuda_graph,
            no_data_transfers=not data_transfers,
            least_runs=least_runs,
            # In C 0 is the default, and -1 none.
            warm_up_us=microseconds("warm_up", warm_up) or -1,
            duration_us=microseconds("duration", duration) or -1,
            percentiles=(c_double * len(percentiles))(*percentiles),
            percentile_count=len(percentiles),
        )
        return self._text("planrt_bench", given, count, byref(settings), _JSON)  # type: ignore[no-any-return]


_JSON = 2


def _input_shapes(shapes: Mapping[str, Sequence[int]] | None) -> tuple[Any, int]:
    given = (_library.InputShape * len(shapes or {}))()
    for one, (name, shape) in zip(given, (shapes or {}).items()):
        one.struct_size = ctypes.sizeof(_library.InputShape)
        one.name, one.rank = name_bytes(name), len(shape)
        if len(shape) <= _library.MAX_RANK:  # else the library says what is wrong
            one.shape = _library.extents(*shape)
    return given, len(given)


class Context(Owner):
    """One execution context of an engine: for one thread at a time."""

    def __init__(self, engine: Engine):
        with engine._guarded.call:
            self._guarded = Guarded(self, "context", new("planrt_context_new", engine._handle))
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._bound: dict[str, Any] = {}

    @property
    def _handle(self) -> c_void_p:
        return self._guarded.handle

    def run(self, inputs: Mapping[str, Any], outputs: Outputs = None) -> dict[str, Any]:
        """Runs the model from host memory to host memory: an array for each input gives one for each output.

        Arrays are lent as they are where they are dense and of a type that planrt takes, else copied. `outputs` names
        the outputs that are wanted, or maps their names to arrays to write to: those are returned, cut to what was
        written. An output whose shape depends on the data needs an array as large as it can become.
        """
        check_names(inputs, self.inputs)
        wanted = wanted_outputs(outputs, self.outputs)
        lent_in = [lend_input(self.inputs[name], value) for name, value in inputs.items()]
        with self._guarded.call:
            for one in lent_in:
                self._set_shape(one)
            lent_out = []
            for name, value in wanted.items():
                info = self.outputs[name]
                lent_out.append(new_output(info, self.shape(name)) if value is None else lend(info, value))
            load().planrt_context_run(self._handle, *array_of(lent_in), *array_of(lent_out))
            return {one.info.name: self._written(one) for one in lent_out}

    def _set_shape(self, lent: Lent) -> None:
        name = lent.info.name.encode()
        load().planrt_context_set_shape(self._handle, name, lent.tensor.shape, lent.tensor.rank)

    def _written(self, lent: Lent) -> Any:
        return shaped(lent.value, _library.shape("planrt_context_get_output_shape", self._handle, lent.info.name))

    def set_profile(self, profile: int) -> None:
        """Fixes the optimization profile; -1 leaves the choice to planrt."""
        load().planrt_context_set_profile(self._handle, profile)

    def profile(self) -> int:
        """The optimization profile in use; -1 where there is none."""
        profile = c_int32()
        load().planrt_context_get_profile(self._handle, byref(profile))
        return profile.value

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Sets the shape of an input."""
        extents = (c_int64 * max(len(shape), 1))(*_library.fitting(c_int64, *shape))
        load().planrt_context_set_shape(self._handle, name_bytes(name), extents, len(shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an input or output as it follows from the inputs' shapes as set."""
        return _library.shape("planrt_context_get_shape", self._handle, name)

    def output_shape(self, name: str) -> tuple[int, ...]:
        """The shape that an output had in the last run."""
        return _library.shape("planrt_context_get_output_shape", self._handle, name)

    def bind(self, name: str, memory: Any, stream: Stream | None = None) -> None:
        """Binds memory to an input or output for `enqueue`: a tensor on the GPU (numpy arrays on the CPU), not copied.

        An input gets the memory's shape. The context keeps the memory alive. With `stream` that stream is ordered
        behind the work that the memory's library (torch, cupy) has under way on it.
        """
        native = (stream.native or 1) if stream is not None else None
        order = stream._order if stream is not None else None
        info = self.inputs.get(name) or self.outputs.get(name)
        if info is None:
            raise Error(ErrorCode.NOT_FOUND, f"the model has no tensor {name!r}")
        lent = lend(info, memory, native, *([order] if order else []))
        if lent.tensor.element_type != _NAMES.index(info.element_type) + 1:
            raise TypeError(f"{name!r} holds {info.element_type}; memory that is bound is not converted")
        if info.is_input:
            self._set_shape(lent)
        address = lent.tensor.input_data or lent.tensor.output_data
        load().planrt_context_bind(self._handle, name.encode(), address, lent.tensor.size_bytes)
        self._bound[name] = lent.keep

    def enqueue(self, stream: Stream | None = None) -> None:
        """Runs with the bound memory. On a GPU the work is given to the stream and the call returns."""
        with self._guarded.call:
            load().planrt_context_enqueue(self._handle, stream._handle if stream is not None else None)
        self._stream = stream  # it must live as long as the work

    def cancel(self) -> None:
        """Asks the run under way, or else the next one, to end with `ErrorCode.CANCELLED`. Any thread."""
        load().planrt_context_cancel(self._handle)
