"""An engine as a whole program: it runs until its main function has returned or a signal comes,
then drains."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

import trio

from .._errors import InvalidConfig, InvalidState
from .._steps.workflow import is_plain_def
from .engine import Engine

T = TypeVar("T")


def run(engine: Engine, main: Callable[[Engine], Awaitable[T]] | None = None) -> T | None:
    """Runs an engine, and `await main(engine)` beside it; without `main` until a signal comes.

    SIGINT and SIGTERM cancel `main` and drain the engine: no new steps start, running attempts get
    the engine's `grace`. A second one stops at once: what runs is unwound, of which nothing
    is recorded, and goes on at the next start. Blocks; call it in the main thread, outside of trio.

    Args:
        engine: It is opened here.
        main: An async function that is given the open engine. When it returns, or raises, the
            engine drains.

    Returns:
        What `main` returned; None without it, or if a signal came first.

    Raises:
        StepwellError: As opening the engine.
        InvalidConfig: `engine` is no engine for trio, or `main` no async function.
        InvalidState: This is not the main thread, which signals come to, or a trio program already.
        SystemExit: A second signal came; the code is 128 and its number.
    """
    if not isinstance(engine, Engine):
        raise InvalidConfig(
            f"run() was given {engine!r:.120}; give it a stepwell.Engine. Those of stepwell.aio "
            "and sync have blocks of their own."
        )
    if main is not None and not callable(main):
        raise InvalidConfig(
            f"run(engine, {main!r:.120}): give the async function itself; it is "
            "called with the open engine."
        )
    if is_plain_def(getattr(main, "__func__", main)):
        raise _not_async(main)
    if trio.lowlevel.in_trio_run():
        raise InvalidState(
            "run() was called inside a trio program. There, use `async with engine:`."
        )
    if threading.current_thread() is not threading.main_thread():
        raise InvalidState(
            "run() was called in a thread that signals do not come to. Call it in the main thread, "
            "or use stepwell.sync.Engine."
        )
    return trio.run(_Program(engine, main).run)


def _not_async(main: object) -> InvalidConfig:
    return InvalidConfig(
        f"run(engine, main): {main!r:.120} is not async. Write `async def`; "
        "blocking programs use stepwell.sync.Engine."
    )


class _Program(Generic[T]):
    """One run."""

    def __init__(self, engine: Engine, main: Callable[[Engine], Awaitable[T]] | None) -> None:
        self._engine = engine
        self._main = main
        self._scope = trio.CancelScope()
        self._code: int | None = None
        """What to exit with, if a second signal has come."""
        self._failure: BaseException | None = None
        self._result: T | None = None

    async def run(self) -> T | None:
        """Opens, runs and leaves the engine; returns or raises what comes of that, bare."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                await self._use()
                nursery.cancel_scope.cancel()
        if self._code is not None:
            raise SystemExit(self._code) from self._failure
        if self._failure is not None:
            raise self._failure
        return self._result

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        await anext(signals)
        self._scope.cancel()
        async for number in signals:
            self._code = 128 + number
            self._engine._hurry()

    async def _use(self) -> None:
        try:
            with self._scope:
                async with self._engine:
                    awaits = (
                        trio.sleep_forever() if self._main is None else self._main(self._engine)
                    )
                    if not inspect.isawaitable(awaits):
                        raise _not_async(self._main)
                    self._result = await awaits
        except BaseException as error:  # raised where no nursery wraps it
            self._failure = error
