"""Stepwell for asyncio programs: the same API, awaited on asyncio.

    from stepwell import aio, workflow

    async with aio.Engine("shop.db", workflows=[order]) as engine:
        print(await engine.call(order, cart, id="o-17"))

The engine runs on trio in a thread of its own. Async steps run as tasks of the loop that entered
the engine, so what was made on that loop, such as a pool of connections, works in them;
`runtime="trio"` puts one on trio. Everything else is `stepwell`'s own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from trio import RunFinishedError
from trio.lowlevel import spawn_system_task

from ._errors import InvalidState
from ._fronts import ClientFront, EngineFront, Way, fill
from ._loops.portal import from_asyncio, wake
from ._steps.signatures import Runtime

WAY = Way(__name__, from_asyncio)


class _EngineBase(EngineFront):
    __slots__ = ("_cancelled", "_loop", "_task")
    _way = WAY

    def __init__(
        self,
        store: str | os.PathLike[str] = "stepwell.db",
        *,
        default_runtime: Runtime = "asyncio",
        **options: Any,
    ) -> None:
        self._make(store, default_runtime=default_runtime, **options)

    async def __aenter__(self) -> Any:
        self._check_new()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidState(
                "stepwell.aio.Engine is for asyncio programs, and no asyncio loop runs here; in a "
                "trio program use stepwell.Engine."
            ) from None
        self._task = asyncio.current_task()
        self._inner._host_loop = self._loop
        self._cancelled = False
        try:
            self._start(self._cancel_block)
            if (
                threading.current_thread() is threading.main_thread()
                and self._gate.token is not None
            ):
                self._gate.token.run_sync_soon(spawn_system_task, wake, self._loop)
            await self._on_trio(self._enter)
        except BaseException as error:
            try:
                # and cancelled at the same time
                if self._held is not None and self._held.is_entered:
                    await self._leave_block(type(error), error, error.__traceback__)
            finally:
                self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._check_opened()
        if self._is_parents:
            return
        try:
            await self._leave_block(kind, error, trace)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):  # these end the loop, too
            self._forsake_loop()
            raise
        finally:
            self._stop()
            if self._cancelled and self._task is not None:
                self._task.uncancel()  # by the engine, and its failure says why

    async def _leave_block(self, *how: Any) -> None:
        await self._on_trio(lambda: self._leave(*how), hurry=self._inner._hurry)

    def _forsake_loop(self) -> None:
        """Nobody runs the loop while this waits for the engine's end: what runs there is waited for
        no longer."""
        driver, token = self._inner._driver, self._gate.token
        if driver is not None and driver.bridge is not None and token is not None:
            with suppress(RunFinishedError):
                token.run_sync_soon(driver.bridge.forsake)

    async def _on_trio(
        self, fn: Callable[[], Awaitable[Any]], hurry: Callable[[], None] | None = None
    ) -> Any:
        token = self._gate.token
        assert token is not None, "its thread was started"
        return await from_asyncio(token, fn, keeps_errors=True, hurry=hurry)

    def _cancel_block(self) -> None:
        """The engine cannot go on: the block ends, as it does on trio."""
        with suppress(RuntimeError):  # the loop was closed, and with it the block
            self._loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._cancelled = self._task.cancel()


class _ClientBase(ClientFront):
    __slots__ = ()
    _way = WAY

    def __init__(self, store: str | os.PathLike[str] = "stepwell.db", **options: Any) -> None:
        self._make(store, **options)

    async def __aenter__(self) -> Any:
        try:
            self._start()
            await self._on_trio(self._enter)
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(self, *how: Any) -> None:
        if self._is_parents:
            return
        try:
            await self._on_trio(lambda: self._leave(*how))
        finally:
            self._stop()

    async def _on_trio(self, fn: Callable[[], Awaitable[Any]]) -> Any:
        token = self._gate.token
        assert token is not None, "its thread was started"
        return await from_asyncio(token, fn, keeps_errors=True)


__all__ = fill(globals(), WAY, _EngineBase, _ClientBase)  # pyright: ignore[reportUnsupportedDunderAll]
