"""Attempts on asyncio: the loop that entered the engine, or the engine's own, runs the function;
see `_loops/bridge`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn

from trio.lowlevel import enable_ki_protection

from ._attempt import CutShort, Deadline
from ._branch import place
from ._errors import StepTimeout
from ._loops.bridge import AwaitedVisit, CancelledThere, Visit

if TYPE_CHECKING:
    from ._step_operation import StepOperation


async def call(operation: StepOperation, made: Callable[[], Any], context: Context) -> Any:
    """Runs one attempt while a trio task waits for it; returns or raises what the function does.

    Raises:
        StepTimeout: It was cancelled because it took too long.
    """
    port = operation.runner.port
    bridge, began = port.asyncio_loop(), port.monotonic()
    deadline = Deadline(operation, operation.context, lambda: visit.cancel())
    visit = operation.attempt_scope = AwaitedVisit(
        bridge, context, made, lambda: deadline.start(began), lambda: _too_late(operation, began)
    )
    bridge.begin(visit)
    try:
        return await visit.wait()
    except CancelledThere:
        if operation.runner.stopping:
            await operation.runner.stop_here()
        if visit.loop_ended and deadline.struck is None:
            await _never_ran(operation)
        if operation.is_cancelled:
            raise CutShort from None
        raise _cancelled_there(operation, visit, deadline) from None
    finally:
        deadline.stop()
        operation.attempt_scope = None  # it leads back here: without it all of it is freed at once


async def _never_ran(operation: StepOperation) -> NoReturn:
    """The program's loop ends before its engine: the attempt counts as one that a crash cut short,
    and the engine waits for it no more."""
    with operation.runner.port.borrowed.aside:
        await operation.runner.stop_here()


def _cancelled_there(
    operation: StepOperation, visit: Visit, deadline: Deadline | None
) -> BaseException:
    if deadline is not None and deadline.struck is not None:
        if visit.never_ran:
            return _did_not_begin(operation)
        return StepTimeout(deadline.struck)
    return asyncio.CancelledError(
        f'step "{operation.identity[2]}" was cancelled by asyncio code '
        "of its own, not by the engine"
    )


def _too_late(operation: StepOperation, began: int) -> StepTimeout | None:
    """Returns the failure of an attempt that was handed over so long ago that it is not to begin
    any more (R1)."""
    return (
        None
        if operation.runner.port.monotonic() - began < operation.plan.timeout
        else _did_not_begin(operation)
    )


def _did_not_begin(operation: StepOperation) -> StepTimeout:
    return StepTimeout(
        f"did not begin within its timeout of {operation.plan.timeout / 1e6:g} s: "
        "the asyncio loop was busy, or stood still"
    )


class RemoteAttempt(Visit):
    """The first attempt of a step, while no trio task waits for it: the operation is told how it
    ended.

    A trio task for each attempt would cost as much as all the rest of it.
    """

    __slots__ = ("_began", "_deadline", "_is_given_up", "_operation")

    def __init__(self, operation: StepOperation, context: Context) -> None:
        port = operation.runner.port
        bridge = port.asyncio_loop()
        super().__init__(bridge, context)
        context.run(place.set, operation)
        self._operation = operation
        self._deadline: Deadline | None = None
        self._is_given_up = False
        self._began = port.monotonic()
        port.borrowed.begin()
        bridge.begin(self)

    def call(self) -> Awaitable[Any]:
        return self._operation.fn(*self._operation.args)  # type: ignore[no-any-return]  # of a user's

    def too_late(self) -> BaseException | None:
        return _too_late(self._operation, self._began)

    def waits(self) -> None:
        if self._deadline is not None:
            return
        operation = self._operation
        self._deadline = Deadline(operation, operation.context, super().cancel)
        self._deadline.start(self._began)

    def cancel(self) -> None:
        """Its task is cancelled; if nobody waits for it any more, the engine does not close before
        that has ended."""
        if self._operation.is_cancelled and not self._operation.runner.stopping:
            super().cancel()
        elif not (self._is_given_up or self.has_ended):
            self._is_given_up = True
            super().cancel()
            # it is no code of the body, which may be what cancels
            self._operation.runner.spawn(self._outlast, self._context.copy())

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
        operation, error, deadline = self._operation, self.error, self._deadline
        self.error = None
        self._leave()
        if error is None:
            operation.remote_returned(self.value)
            return
        if isinstance(error, asyncio.CancelledError):
            if self.loop_ended and (deadline is None or deadline.struck is None):
                return  # as `_never_ran`: the body waits until it is unwound
            error = (
                CutShort()
                if operation.is_cancelled
                else _cancelled_there(operation, self, deadline)
            )
        operation.remote_failed(error)

    def _leave(self) -> None:
        self._operation.runner.port.borrowed.end()
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline = None  # it leads back here
