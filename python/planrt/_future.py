"""Futures that callbacks of C's answer."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, TimeoutError
from ctypes import byref, c_bool, c_void_p
from typing import Any

from ._errors import Error
from ._library import Owner, calls, load, microseconds


class Answered(Owner, Future):  # type: ignore[type-arg]
    """A future that a callback answers, on a thread of planrt's. One callback at a time is made there: what waits inside one, for what
    the next would answer, waits in C instead, and answers itself."""

    _kind: str
    _handle: c_void_p

    def __init__(self) -> None:
        super().__init__()
        # Whoever takes it out answers.
        self._unanswered = deque([None])

    def result(self, timeout: float | None = None) -> Any:
        self._await_in_callback(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._await_in_callback(timeout)
        return super().exception(timeout)

    def _answer_once(self, error: Error | None) -> None:
        try:
            self._unanswered.pop()
        except IndexError:
            return
        self._answer(error)

    def _answer(self, error: Error | None) -> None:
        raise NotImplementedError

    def _await_in_callback(self, timeout: float | None) -> None:
        if self.done() or not calls.is_inside():
            return
        is_done = c_bool()
        limit = -1 if timeout is None else max(0, microseconds("the time-out", timeout))
        try:
            getattr(load(), f"planrt_{self._kind}_wait")(self._handle, limit, byref(is_done))
        except Error as error:
            # Its own, or that of a wait for what cannot come before this callback has ended.
            if not getattr(load(), f"planrt_{self._kind}_poll")(self._handle):
                raise
            self._answer_once(error)
            return
        if not is_done.value:
            raise TimeoutError
        self._answer_once(None)
