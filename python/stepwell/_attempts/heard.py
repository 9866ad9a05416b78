"""A step's function where somebody is told of its attempts: when one begins, and how it ends.

It is told from inside the attempt, in its own context and on whatever it runs. Whoever wants to
know of no attempt that is short and goes well is told of the others when that turns out, or when
code of the attempt asks for what stands for it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from time import time_ns
from typing import TYPE_CHECKING, Any

import trio

from .._body.branch import Branch, place
from .._ending import End
from .._errors import StepTimeout

if TYPE_CHECKING:
    from .._body.running import Running
    from .._body.telemetry import Attempt, Listener


class Heard:
    """The function of one step, made for that, as it is called for each attempt. It does not know
    its step, which holds it (a circle): the attempt's context does.

    Attributes:
        attempt: Who was told of the attempt that runs.
    """

    __slots__ = ("_began", "_fn", "_listener", "attempt")

    def __init__(self, listener: Listener, fn: Callable[..., Any]) -> None:
        self._listener = listener
        self._fn = fn
        self._began = 0
        self.attempt: Attempt | None = None

    def asked(self, step: Running) -> Attempt | None:
        """Returns who is told of the attempt that runs: now, if nobody was; None: none runs."""
        if self.attempt is None and self._began:
            self.attempt = self._listener.begins(step, self._began)
        return self.attempt

    async def on_loop(self, *args: Any) -> Any:
        """An attempt of an async function."""
        self._begin()
        return await self._awaited(self._fn(*args))

    def in_thread(self, *args: Any) -> Any:
        """An attempt of a plain function. What it returns may have to be awaited, and ends then."""
        self._begin()
        try:
            value = self._fn(*args)
        except BaseException as error:
            self._failed(error)
            raise
        if inspect.isawaitable(value):
            return self._awaited(value)
        self._succeeded()
        return value

    def _begin(self) -> None:
        self._began = time_ns()
        self.attempt = (
            None if self._listener.short_ns else self._listener.begins(_running(), self._began)
        )

    async def _awaited(self, made: Awaitable[Any]) -> Any:
        try:
            value = await made
        except BaseException as error:
            self._failed(error)
            raise
        self._succeeded()
        return value

    def _succeeded(self) -> None:
        listener = self._listener
        if self.attempt is None and time_ns() - self._began < listener.short_ns:
            listener.short += 1
            self._began = 0
        else:
            self._ended("ok", None)

    def _ended(self, how: str, error: BaseException | None) -> None:
        attempt = self.asked(_running())
        self._began, self.attempt = 0, None
        if attempt is not None:
            attempt.ended(how, error)

    def _failed(self, error: BaseException) -> None:
        step = _running()
        stopping = step.life.stopping
        if not _is_cancellation(error):
            self._ended("failed", error)
        elif stopping is End.REPLAYED and step.is_in_body:
            self._ended("failed", _timed_out())  # there was no other way to stop it
        elif stopping is End.CRASHED:
            pass  # a process that is killed tells nothing
        elif stopping is not None:
            self._ended("interrupted", None)
        elif step.is_cancelled:
            self._ended("cancelled", None)
        else:
            self._ended("failed", _timed_out())


def heard(step: Running, listener: Listener) -> Callable[..., Any]:
    """Returns the function of a step so that somebody is told of each call."""
    it = Heard(listener, step.fn)
    return it.on_loop if step.plan.is_async else it.in_thread


def asked_for() -> Attempt | None:
    """Returns who is told of the attempt whose code calls; None: none does, or nobody is told."""
    step = place.get()
    if step is None or isinstance(step, Branch):
        return None
    it = getattr(step.fn, "__self__", None)
    return it.asked(step) if isinstance(it, Heard) else None


def _running() -> Running:
    step = place.get()
    assert step is not None, "an attempt has a context of its own, which says whose"
    assert not isinstance(step, Branch), "the same"
    return step


def _timed_out() -> StepTimeout:
    return StepTimeout("the attempt took longer than its timeout")


def _is_cancellation(error: BaseException) -> bool:
    asyncio = sys.modules.get("asyncio")  # never imported: no such error
    return isinstance(error, (trio.Cancelled, GeneratorExit)) or (
        asyncio is not None and isinstance(error, asyncio.CancelledError)
    )
