"""Runs a program as a body on asyncio: the same language, with `step.gather` for nurseries and asyncio's events, queues and locks.

What `gather` raises bare is put into a group, as a nursery would, so that a program returns the same on both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
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

    async def together(self, *branches: Coroutine[Any, Any, Any]) -> None:
        """Runs branches, as a nursery does."""
        try:
            await self.step.gather(*branches)
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
            await self.together(own(), *map(branch, range(len(node.branches))))
        self.see(line, at, "arrived", arrived)
        following = node.then[arrived[0] % len(node.then)] if node.then and arrived else ()
        return [*(values.get(i) for i in range(-1, len(node.branches))), await self.run(following, f"{at}n", line)]

    async def _handoff(self, node: nodes.Handoff, at: str, line: str) -> Any:
        event, values = asyncio.Event(), {}

        async def sets() -> None:
            values[0] = await self.run(node.before, f"{at}b", f"{at}s")
            event.set()
            values[1] = await self.run(node.after, f"{at}a", f"{at}s")

        async def waits(i: int) -> None:
            here = f"{at}w{i}"
            await event.wait()
            self.see(here, at, "handed over", self.step.now().timestamp())
            values[2 + i] = await self.run(node.waiter, here, here)

        await self.together(*map(waits, range(node.waiters)), sets())
        return [values[i] for i in range(2 + node.waiters)]

    async def _channel(self, node: nodes.Channel, at: str, line: str) -> Any:
        queue: asyncio.Queue[tuple[int, int]] = asyncio.Queue(node.buffer + 1)
        got: list[Any] = []

        async def produces(i: int) -> None:
            for count in range(node.each_sends):
                here = f"{at}p{i}.{count}"
                await queue.put((i, await self.node(node.producers[i], here, f"{at}p{i}")))
                self.see(f"{at}p{i}", here, "sent")

        async def consumes() -> None:
            for count in range(node.each_sends * len(node.producers)):
                value = await queue.get()
                self.see(f"{at}c", at, "received", value)
                got.append([*value, await self.node(node.consumer, f"{at}c{count}", f"{at}c")])

        await self.together(consumes(), *map(produces, range(len(node.producers))))
        return sorted(got)

    async def _locked(self, node: nodes.Locked, at: str, line: str) -> Any:
        lock: Any = asyncio.Lock() if node.tokens == 1 else asyncio.Semaphore(node.tokens)
        values: dict[int, Any] = {}

        async def branch(i: int) -> None:
            first, inside = node.branches[i]
            here = f"{at}b{i}"
            before = await self.node(first, f"{here}x", here)
            async with lock:
                self.see(here, "holds")
                values[i] = [before, await self.run(inside, here, here)]

        await self.together(*map(branch, range(len(node.branches))))
        return [values[i] for i in range(len(node.branches))]


@workflow(name="main", runtime="asyncio")
async def main(step: Step) -> Any:
    """As `interpret.main`."""
    return await interpret.run_main(interpret.body_of(step, AsyncioBody))


@workflow(name="child", runtime="asyncio")
async def child(step: Step, label: str) -> Any:
    """As `interpret.child`."""
    return await interpret.run_child(interpret.body_of(step, AsyncioBody), label)


WORKFLOWS = (main, child)
