"""Runs a program as a body on asyncio: the same language, with `step.gather` for nurseries and
asyncio's events, queues and locks.

What `gather` raises bare is put into a group, as a nursery would, so that a program returns the
same on both.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from stepwell import Step, workflow

from . import interpret, nodes
from .interpret import Body

T = TypeVar("T")


class Enough(Exception):
    """The end of a branch that cancels the rest."""


class AsyncioBody(Body):
    """One run of one body."""

    async def outcome(self, line: str, at: str, operation: Awaitable[T]) -> T:
        try:
            return await super().outcome(line, at, operation)
        except asyncio.CancelledError:
            self.see(line, at, "cancelled")
            raise

    async def together(
        self, *branches: Callable[[], Awaitable[None]], name: str | None = None
    ) -> None:
        try:
            await self.step.gather(*(branch() for branch in branches))
        except Enough:
            raise
        except Exception as error:
            raise ExceptionGroup("branches", [error]) from None

    async def _finally(self, node: nodes.Finally, at: str, line: str) -> Any:
        try:
            return await self.run(node.body, f"{at}t", line)
        finally:
            self.see(line, at, "cleans up")
            await self.run(node.cleanup, f"{at}f", line)

    async def _cancelled(self, node: nodes.Cancelled, at: str, line: str) -> None:
        pass

    async def _nursery(self, node: nodes.Nursery, at: str, line: str) -> Any:
        values: dict[int, Any] = {}
        arrived: list[int] = []

        async def branch(i: int) -> None:
            values[i] = await self.run(node.branches[i], f"{at}b{i}", f"{at}b{i}")
            arrived.append(i)
            if i == node.cancel:
                raise Enough

        async def own() -> None:
            values[-1] = await self.run(node.own, f"{at}o", line)
            if node.cancel == -1:
                raise Enough

        with suppress(Enough):
            await self.together(own, *(partial(branch, i) for i in range(len(node.branches))))
        self.see(line, at, "arrived", arrived)
        following = node.then[arrived[0] % len(node.then)] if node.then and arrived else ()
        return [
            *(values.get(i) for i in range(-1, len(node.branches))),
            await self.run(following, f"{at}n", line),
        ]

    async def unbranched(
        self,
        own: Callable[[], Awaitable[None]],
        tasks: Sequence[Callable[[], Awaitable[None]]],
        cancel: int | None,
    ) -> None:
        async def run(i: int) -> None:
            await tasks[i]()
            if i == cancel:
                raise Enough

        task: Any = asyncio.current_task()
        before = task.cancelling()
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(len(tasks)):
                    group.create_task(run(i))
                await own()
        except* Enough:
            while sys.version_info < (3, 13) and task.cancelling() > before:
                # up to there a group forgets one cancellation of its own, and no timeout around it
                # catches its own then
                task.uncancel()

    def event(self) -> Any:
        return asyncio.Event()

    def channel(
        self, buffer: int
    ) -> tuple[Callable[[Any], Awaitable[None]], Callable[[], Awaitable[Any]]]:
        queue: asyncio.Queue[Any] = asyncio.Queue(buffer + 1)
        return queue.put, queue.get

    def lock(self, tokens: int) -> Any:
        return asyncio.Lock() if tokens == 1 else asyncio.Semaphore(tokens)


@workflow(name="main", runtime="asyncio")
async def main(step: Step, run: int = 1) -> Any:
    """As `interpret.main`."""
    return await interpret.run_main(interpret.body_of(step, AsyncioBody, run))


@workflow(name="child", runtime="asyncio")
async def child(step: Step, label: str) -> Any:
    """As `interpret.child`."""
    return await interpret.run_child(interpret.body_of(step, AsyncioBody), label)


WORKFLOWS = (main, child)
