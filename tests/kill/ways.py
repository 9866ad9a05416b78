"""What the driver needs of whatever it runs on: trio, asyncio, or an engine whose calls block."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import trio


class OnTrio:
    """Of a trio program."""

    sleep = staticmethod(trio.sleep)
    group = staticmethod(trio.open_nursery)
    limit = staticmethod(trio.CapacityLimiter)


class Group:
    """A task group that begins tasks as a nursery does."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Group:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *how: Any) -> None:
        await self._group.__aexit__(*how)

    def start_soon(self, fn: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Begins a task."""

        async def runs() -> None:
            await fn(*args)

        self._group.create_task(runs())


class OnAsyncio:
    """Of an asyncio program."""

    sleep = staticmethod(asyncio.sleep)
    group = Group
    limit = asyncio.Semaphore


class Blocking:
    """An object whose methods block: each call is awaited, and runs in a thread. So does what it
    returns, if that has methods too."""

    def __init__(self, it: Any, threads: ThreadPoolExecutor) -> None:
        self._it = it
        self._threads = threads

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._it, name)
        if not callable(found):
            return Blocking(found, self._threads)

        async def call(*args: Any, **options: Any) -> Any:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: found(*args, **options)
            )
            return Blocking(answer, self._threads) if hasattr(answer, "send_event") else answer

        return call
