"""Sessions: requests of many threads, batched."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import byref, c_int32, c_void_p
from typing import Any

from . import _library
from ._engine import Context, Engine
from ._errors import Error, ErrorCode
from ._future import Answered
from ._library import Guarded, Owner, RequestCallback, RequestOptions, calls, error_of, fitting, load, microseconds, new, own, timeout_us
from ._runtime import Stream, runtime_on
from ._tensors import (
    Lent,
    Outputs,
    array_of,
    check_names,
    device_of,
    lend,
    lend_input,
    new_output,
    no_order,
    shaped,
    wanted_outputs,
)

_REFUSE, _BLOCK = 1, 2
_MOST_SHAPES = 256  # whose outputs' shapes are remembered

_pending: dict[int, Request] = {}
_numbers = itertools.count(1)


@RequestCallback
def _answered(number: int, error: int | None) -> None:
    # A module's global, so that it outlives every session. What is popped here may be the last reference to its session, which may be
    # deleted inside its callback.
    with calls:
        _pending.pop(number)._answer_once(error_of(error) if error else None)


class Request(Answered):
    """A request that was submitted: a future whose result is the outputs by their names.

    As every future of `concurrent.futures` it is waited for with `result`, `wait` or `as_completed`, and in a coroutine with
    `await asyncio.wrap_future(request)`. Callbacks of `add_done_callback` are called on a thread of the session's: long ones hold
    up other answers. Inside one `result` and `exception` wait for other requests of the session; `wait` and `as_completed` of
    `concurrent.futures` would do so for ever.
    """

    _kind = "request"

    def __init__(self, session: Session, lent_in: list[Lent], lent_out: list[Lent]):
        super().__init__()
        self._handle = c_void_p()
        own(self, "request", self._handle)
        self._session, self._lent = session, (lent_in, lent_out)

    def cancel(self) -> bool:
        """Gives the request up. It is cancelled at once if it still waits, else when its batch has ended; false where it is done."""
        if self.done():
            return self.cancelled()
        load().planrt_request_cancel(self._handle)
        return True

    def _answer(self, error: Error | None) -> None:
        _lent_in, lent_out = self._lent
        self._session, self._lent = None, ([], [])  # type: ignore[assignment]
        if error is None:
            try:
                self.set_result(self._results(lent_out))
            except Exception as failed:  # whatever it is, somebody waits
                self.set_exception(failed)
        elif error.code == ErrorCode.CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_exception(error)

    def _results(self, lent_out: list[Lent]) -> dict[str, Any]:
        return {one.info.name: shaped(one.value, self._shape(one.info.name)) for one in lent_out}

    def _shape(self, name: str) -> tuple[int, ...]:
        return _library.shape("planrt_request_get_output_shape", self._handle, name)


@contextlib.contextmanager
def session_options(
    *,
    largest_batch: int = 0,
    preferred_batches: Iterable[int] = (),
    max_delay: float | None = None,
    queue_capacity: int = 0,
    block_when_full: bool = False,
    contexts: int = 0,
    memory_budget: int = 0,
    retry: bool = False,
) -> Iterator[c_void_p]:
    """The options of `Session` for C, while something is made with them."""
    library = load()
    options = new("planrt_session_options_new")
    try:
        library.planrt_session_options_set_largest_batch(options, largest_batch)
        sizes = list(preferred_batches)
        library.planrt_session_options_set_preferred_batches(options, (c_int32 * len(sizes))(*fitting(c_int32, *sizes)), len(sizes))
        delay = -1 if max_delay is None else microseconds("max_delay", max_delay)
        library.planrt_session_options_set_max_delay(options, delay)
        library.planrt_session_options_set_queue(options, queue_capacity, _BLOCK if block_when_full else _REFUSE)
        library.planrt_session_options_set_contexts(options, contexts)
        library.planrt_session_options_set_memory_budget(options, memory_budget)
        library.planrt_session_options_set_retry(options, retry)
        yield options
    finally:
        library.planrt_session_options_delete(options)


class Session(Owner):
    """Runs requests of many threads on a few contexts, those that fit together as one batch. Any thread may use it, several at once.

    `engines` is an engine, or one model's engines on several devices. Times are in seconds; what is not said is chosen by planrt,
    as `planrt_session_options_…` in planrt.h tell. A session is closed with the last reference to it and to its requests, or
    by `close`, or as a context manager.
    """

    def __init__(
        self,
        engines: Engine | Sequence[Engine],
        *,
        largest_batch: int = 0,
        preferred_batches: Iterable[int] = (),
        max_delay: float | None = None,
        queue_capacity: int = 0,
        block_when_full: bool = False,
        contexts: int = 0,
        memory_budget: int = 0,
        retry: bool = False,
    ):
        self.engines = [engines] if isinstance(engines, Engine) else list(engines)
        with session_options(
            largest_batch=largest_batch,
            preferred_batches=preferred_batches,
            max_delay=max_delay,
            queue_capacity=queue_capacity,
            block_when_full=block_when_full,
            contexts=contexts,
            memory_budget=memory_budget,
            retry=retry,
        ) as options:
            handles = (c_void_p * len(self.engines))(*[engine._handle for engine in self.engines])
            self._guarded = Guarded(self, "session", new("planrt_session_new", handles, len(self.engines), options))
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._known: dict[tuple[tuple[int, ...], ...], dict[str, tuple[int, ...]]] = {}
        self._streams: dict[int, Stream] = {}

    @property
    def _handle(self) -> c_void_p:
        return self._guarded.handle

    @property
    def _engine(self) -> Engine:
        return self.engines[0]

    def submit(
        self,
        inputs: Mapping[str, Any],
        outputs: Outputs = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
        stream: Stream | None = None,
    ) -> Request:
        """Gives the session a request and returns: a future for the outputs.

        Inputs and outputs are numpy arrays, or tensors with DLPack or CUDA's array interface (torch's and cupy's on the GPU are read
        and written where they are). They are the session's until the request is done: do not write to inputs meanwhile. `outputs`
        names the outputs that are wanted, or maps their names to memory to write to. After `timeout` seconds the request is not run
        any more (`ErrorCode.DEADLINE`); requests of a higher priority go first.

        Device memory is used in the order of `stream`, or of a stream of the session's which DLPack's `stream` argument orders behind the
        work of the tensor's library.
        """
        lent_in, lent_out, order = self._lend(inputs, outputs, stream)
        options = _options(timeout, priority, order)
        number = next(_numbers)
        options.callback, options.user_data = _answered, number
        request = Request(self, lent_in, lent_out)
        _pending[number] = request
        try:
            with self._guarded.call:
                load().planrt_session_submit(
                    self._handle, *array_of(lent_in), *array_of(lent_out), byref(options), byref(request._handle)
                )
        except BaseException:
            if request._handle:
                # It was taken in before an interrupt came: its memory is the session's until it is answered.
                request.cancel()
            else:
                _pending.pop(number, None)
            raise
        self._remember(lent_in, request)
        return request

    def run(
        self,
        inputs: Mapping[str, Any],
        outputs: Outputs = None,
        *,
        timeout: float | None = None,
        priority: int = 0,
        stream: Stream | None = None,
    ) -> dict[str, Any]:
        """Runs a request and returns its outputs, as `submit(...).result()`; where it may go at once, on the calling thread."""
        lent_in, lent_out, order = self._lend(inputs, outputs, stream)
        shapes = self._known.get(_key(lent_in))
        if shapes is None:
            return self.submit(inputs, outputs, timeout=timeout, priority=priority, stream=stream).result()  # type: ignore[no-any-return]
        options = _options(timeout, priority, order)
        with self._guarded.call:
            load().planrt_session_run(self._handle, *array_of(lent_in), *array_of(lent_out), byref(options))
        return {one.info.name: shaped(one.value, shapes[one.info.name]) for one in lent_out}

    def _lend(
        self, inputs: Mapping[str, Any], outputs: Outputs, stream: Stream | None
    ) -> tuple[list[Lent], list[Lent], Stream | None]:
        engine = self._engine
        check_names(inputs, engine.inputs)
        wanted = wanted_outputs(outputs, engine.outputs)
        if stream is None:
            stream = self._stream_for([*inputs.values(), *wanted.values()])
        native, order = (stream.native or 1, stream._order) if stream is not None else (None, no_order)
        lent_in = [lend_input(engine.inputs[name], value, native, order) for name, value in inputs.items()]
        lent_out = []
        for name, value in wanted.items():
            info = engine.outputs[name]
            if value is None:
                lent_out.append(new_output(info, self._shape(name, lent_in)))
            else:
                lent_out.append(lend(info, value, native, order))
        return lent_in, lent_out, stream

    def _stream_for(self, values: Iterable[Any]) -> Stream | None:
        """The session's stream on the device that the memory is on; None for host memory."""
        ordinals = {ordinal for value in values if (ordinal := device_of(value)) is not None}
        if not ordinals:
            return None
        ordinal = max(ordinals)
        with self._lock:
            if ordinal not in self._streams:
                self._streams[ordinal] = Stream(runtime_on(ordinal, [engine.runtime for engine in self.engines]))
            return self._streams[ordinal]

    def _shape(self, name: str, lent_in: list[Lent]) -> tuple[int, ...]:
        """The shape that an output will have, or on the GPU most likely has: the request itself will tell."""
        if shapes := self._known.get(_key(lent_in)):
            return shapes[name]
        info = self._engine.outputs[name]
        if -1 not in info.shape:
            return info.shape
        if self._engine.backend != "TensorRT":
            with self._lock:
                if self._context is None:
                    self._context = self._engine.context()
                for one in lent_in:
                    self._context._set_shape(one)
                return self._context.shape(name)
        # A context of TensorRT would take memory, and a profile: an open extent is that of the first input with the same axis open.
        return tuple(extent if extent >= 0 else _open_extent(axis, lent_in) for axis, extent in enumerate(info.shape))

    def _remember(self, lent_in: list[Lent], request: Request) -> None:
        key = _key(lent_in)
        if key not in self._known:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            self._known[key] = {name: request._shape(name) for name in self._engine.outputs}

    def statistics(self) -> dict[str, Any]:
        """What the session has done so far: counts, and times in microseconds, as `planrt_session_statistics` has them."""
        statistics = _library.SessionStatistics()
        with self._guarded.call:
            load().planrt_session_get_statistics(self._handle, byref(statistics))
        values = {field[0]: getattr(statistics, field[0]) for field in statistics._fields_ if field[0] != "struct_size"}
        return {**values, "batches": list(statistics.batches)}

    def metrics_text(self) -> str:
        """The same for Prometheus."""
        with self._guarded.call:
            return _library.text("planrt_session_get_metrics_text", self._handle)

    def describe(self) -> dict[str, Any]:
        """What the session chose when it was made."""
        with self._guarded.call:
            return json.loads(_library.text("planrt_session_describe", self._handle))  # type: ignore[no-any-return]

    def close(self) -> None:
        """Ends the session: requests that wait are answered with `ErrorCode.SHUT_DOWN`, those that run are finished.

        Calls of other threads end first, and any from now on is an error.
        """
        self._guarded.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _key(lent_in: list[Lent]) -> tuple[tuple[int, ...], ...]:
    by_name = sorted(lent_in, key=lambda one: one.info.name)
    return tuple(tuple(one.tensor.shape[: one.tensor.rank]) for one in by_name)


def _open_extent(axis: int, lent_in: list[Lent]) -> int:
    for one in lent_in:
        if axis < len(one.info.shape) and one.info.shape[axis] == -1 and axis < one.tensor.rank:
            return int(one.tensor.shape[axis])
    raise Error(ErrorCode.SHAPE, "an output's shape does not follow from the inputs': give memory for it (outputs={name: array})")


def _options(timeout: float | None, priority: int, stream: Stream | None) -> RequestOptions:
    return RequestOptions(
        timeout_us=timeout_us(timeout), priority=priority, stream=stream._handle if stream is not None else None
    )
