"""Attempts on asyncio: the loop that entered the engine, or the engine's own, runs the function;
see `_loops/bridge`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn

from trio.lowlevel import enable_ki_protection

from .._body import containment, stopping
from .._body.branch import place
from .._errors import StepTimeout
from .._loops.bridge import AwaitedVisit, CancelledThere, Visit
from .timeouts import CutShort, Timeouts

if TYPE_CHECKING:
    from .._body.running import Running


async def call(operation: Running, made: Callable[[], Any], context: Context) -> Any:
    """Runs one attempt while a trio task waits for it; returns or raises what the function does.

    Raises:
        StepTimeout: It was cancelled because it took too long.
    """
    port = operation.life.port
    bridge, began = port.asyncio_loop(), port.monotonic()
    timeouts = Timeouts(operation, lambda: visit.cancel())
    visit = operation.attempt_scope = AwaitedVisit(
        bridge, context, made, lambda: timeouts.start(began), lambda: _too_late(operation, began)
    )
    bridge.begin(visit)
    try:
        return await visit.wait()
    except CancelledThere:
        if operation.life.stopping:
            await stopping.stop_here(operation.life)
        if visit.loop_ended and timeouts.struck is None:
            await _never_ran(operation)
        if operation.is_cancelled:
            raise CutShort from None
        raise _cancelled_there(operation, visit, timeouts) from None
    finally:
        timeouts.stop()
        operation.attempt_scope = None  # its timeouts hold the operation: a circle


async def _never_ran(operation: Running) -> NoReturn:
    """The program's loop ends before its engine: the attempt counts as one that a crash cut short,
    and the engine waits for it no more."""
    with operation.life.port.borrowed.aside:
        await stopping.stop_here(operation.life)


def _cancelled_there(operation: Running, visit: Visit, timeouts: Timeouts | None) -> BaseException:
    if timeouts is not None and timeouts.struck is not None:
        if visit.never_ran:
            return _did_not_begin(operation)
        return StepTimeout(timeouts.struck)
    return asyncio.CancelledError(
        f'step "{operation.identity[2]}" was cancelled by asyncio code '
        "of its own, not by the engine"
    )


def _too_late(operation: Running, began: int) -> StepTimeout | None:
    """Returns the failure of an attempt that was handed over so long ago that it is not to begin
    any more (R1)."""
    return (
        None
        if operation.life.port.monotonic() - began < operation.plan.timeout
        else _did_not_begin(operation)
    )


def _did_not_begin(operation: Running) -> StepTimeout:
    return StepTimeout(
        f"did not begin within its timeout of {operation.plan.timeout / 1e6:g} s: "
        "the asyncio loop was busy, or stood still"
    )


class RemoteAttempt(Visit):
    """The first attempt of a step, while no trio task waits for it: the operation is told how it
    ended.

    A trio task for each attempt would cost as much as all the rest of it.
    """

    __slots__ = ("_began", "_is_given_up", "_operation", "_timeouts")

    def __init__(self, operation: Running, context: Context) -> None:
        port = operation.life.port
        bridge = port.asyncio_loop()
        super().__init__(bridge, context)
        context.run(place.set, operation)
        self._operation = operation
        self._timeouts: Timeouts | None = None
        self._is_given_up = False
        self._began = port.monotonic()
        port.borrowed.begin()
        bridge.begin(self)

    def call(self) -> Awaitable[Any]:
        return self._operation.fn(*self._operation.args)  # type: ignore[no-any-return]  # of a user's

    def too_late(self) -> BaseException | None:
        return _too_late(self._operation, self._began)

    def waits(self) -> None:
        if self._timeouts is not None:
            return
        operation = self._operation
        self._timeouts = Timeouts(operation, super().cancel)
        self._timeouts.start(self._began)

    def cancel(self) -> None:
        """Its task is cancelled; if nobody waits for it any more, the engine does not close before
        that has ended."""
        if self._operation.is_cancelled and not self._operation.life.stopping:
            super().cancel()
        elif not (self._is_given_up or self.has_ended):
            self._is_given_up = True
            super().cancel()
            # it is no code of the body, which may be what cancels
            containment.spawn(self._operation.life, self._outlast, self._context.copy())

    @enable_ki_protection
    async def _outlast(self) -> None:
        operation = self._operation
        try:
            if not self.has_ended:
                with suppress(Exception):
                    await self.wait()
        finally:
            self._leave()
            operation.remote_ended()

    def told(self) -> None:
        if self._is_given_up:
            super().told()
            return
        operation, error, timeouts = self._operation, self.error, self._timeouts
        self.error = None
        self._leave()
        if error is None:
            operation.remote_returned(self.value)
            return
        if isinstance(error, asyncio.CancelledError):
            if self.loop_ended and (timeouts is None or timeouts.struck is None):
                return  # the body waits until it is unwound, and nothing is recorded
            error = (
                CutShort()
                if operation.is_cancelled
                else _cancelled_there(operation, self, timeouts)
            )
        operation.remote_failed(error)

    def _leave(self) -> None:
        self._operation.life.port.borrowed.end()
        if self._timeouts is not None:
            self._timeouts.stop()
            self._timeouts = None  # they hold this, to cancel it: a circle
