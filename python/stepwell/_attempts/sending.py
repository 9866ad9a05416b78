"""What the function of a step sends in a stream, wherever it runs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Self

import trio

from .._body.sending import Passage
from .._errors import MisusedState
from .._room import need_room

if TYPE_CHECKING:
    from types import TracebackType

    from .._body.running import Running


def runs_on() -> str:
    """Returns what the calling code runs on: "trio", "asyncio" or, with neither, a "thread"."""
    if trio.lowlevel.in_trio_run():
        return "trio"
    loops = sys.modules.get("asyncio")  # never imported: no loop runs
    return "thread" if loops is None or loops._get_running_loop() is None else "asyncio"


class Sending:
    """What `StepContext.stream` gives: a block in which a step sends chunks."""

    __slots__ = ("_attempt", "_concludes", "_operation", "_passage")

    def __init__(
        self, operation: Running, attempt: int, name: str, *, concludes: bool = False
    ) -> None:
        self._operation, self._attempt, self._concludes = operation, attempt, concludes
        self._passage = Passage(
            operation.life,
            name,
            str(operation),
            attempt=attempt,
            is_sensitive=operation.plan.is_sensitive,
        )

    def send(self, chunk: Any) -> Coroutine[Any, Any, None]:
        """Sends a chunk: any storable value, and readers have it as plain data. It waits only while
        much is on its way; what the attempt comes to is recorded after all that it has sent. A
        plain function calls it and awaits nothing.

        Raises:
            NotSerializable: It cannot be stored.
            TooLarge: It is over `Limits.chunk_bytes`.
            LimitReached: The stream holds what it may; at the latest when the block is left.
            InvalidState: The attempt, or the block, has ended.
        """
        need_room()
        self._check_runs()
        passage, where = self._passage, runs_on()
        passage.add(passage.encoded(chunk))
        if where == "trio":
            passage.hand_over()
            return _let_others_go_on(passage)
        self._operation.life.port.token.run_sync_soon(passage.hand_over, idempotent=True)
        if where == "asyncio":
            return self._awaited(where, passage.has_room) if passage.is_crowded else _nothing()
        if passage.is_crowded:
            self._done(passage.has_room)
        return None  # type: ignore[return-value]  # to a plain function, which awaits nothing

    def _awaited(
        self, where: str, fn: Callable[[], Coroutine[Any, Any, None]]
    ) -> Coroutine[Any, Any, None]:
        """Has something awaited on the engine's loop, by code on a loop."""
        if where == "trio":
            return fn()
        from .._loops.portal import from_asyncio  # it imports asyncio, as the caller has

        return from_asyncio(self._operation.life.port.token, fn)

    def _done(self, fn: Callable[[], Awaitable[None]]) -> None:
        """The same for a thread, which has it when this returns."""
        from .._loops.portal import from_thread  # as the threads of an engine have

        from_thread(self._operation.life.port.token, functools.partial(self._for_thread, fn))

    async def _for_thread(self, fn: Callable[[], Awaitable[None]]) -> None:
        try:
            await fn()
        except trio.Cancelled:  # a body unwinds, and nothing cancels a thread
            raise MisusedState(
                f"{self._operation} is to end, and sends nothing more: its instance leaves memory. "
                "It runs again."
            ) from None

    async def _begin(self) -> None:
        self._check_runs()
        self._passage.open()
        self._operation.passages = (*self._operation.passages, self._passage)

    async def _finish(self) -> None:
        """Returns when all is durable that was sent: an attempt that sent too much learns it."""
        try:
            self._passage.hand_over()
            await self._passage.has_room(0)
            if not self._concludes:
                self._passage.finish()
            else:
                self._operation.concludes = self._passage.stream
        finally:
            self._passage.close()

    async def __aenter__(self) -> Self:
        await self._awaited(runs_on(), self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self._awaited(runs_on(), self._finish)
        else:
            self._passage.close()

    def __enter__(self) -> Self:
        self._done(self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._done(self._finish)
        else:
            self._passage.close()

    def _check_runs(self) -> None:
        operation = self._operation
        if operation.has_ended(self._attempt):
            raise MisusedState(
                f"{operation} sends in a stream, but its attempt {self._attempt} has ended. What a "
                "step starts it has to await, or to stop, before it returns."
            )


async def _let_others_go_on(passage: Passage) -> None:
    await trio.lowlevel.checkpoint()
    if passage.is_crowded:
        await passage.has_room()


async def _nothing() -> None:
    """What is awaited where nothing has to be waited for."""
