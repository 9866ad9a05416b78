"""Steps that go on beside what is measured: how many in a second, and how much longer each took
than its function."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from benches.workloads import Figures
from stepwell import Engine, Limits, Workflow, workflow

BODIES = 100
PACE = 0.05
CALM = 5.0
"""Seconds of traffic alone, and what they are held against."""
BATCH = 10_000
_LATE: list[float] = []


def scaled(count: int) -> int:
    """Returns how many of so many there are in this run: `python -m benches --scale`."""
    return max(1, int(count * float(os.environ.get("STEPWELL_SCALE", "1"))))


async def _pace() -> None:
    await trio.sleep(PACE)


@workflow(name="traffic")
async def traffic(step: Any) -> None:
    while True:
        began = time.perf_counter()
        await step.do(_pace)
        _LATE.append(time.perf_counter() - began - PACE)


@asynccontextmanager
async def opened(
    store: Path, *workflows: Workflow[Any, Any], **options: Any
) -> AsyncIterator[Engine]:
    """An engine with room for all of it, which does not wait for the traffic at its end."""
    limits = Limits(steps=10_000_000, queue_entries=10_000_000)
    async with Engine(
        store, workflows=[traffic, *workflows], limits=limits, grace=0, **options
    ) as engine:
        yield engine


class Traffic:
    """2,000 steps a second, made by a hundred instances."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self) -> Figures:
        """Begins it, and returns what it is like alone."""
        await self._engine.create_batch(traffic, [None] * BODIES)
        await trio.sleep(1)
        return await self.beside("alone", lambda: trio.sleep(CALM))

    async def beside(self, what: str, do: Callable[[], Awaitable[object]]) -> Figures:
        """Returns what it is like while this is done."""
        _LATE.clear()
        began = time.perf_counter()
        await do()
        seconds = time.perf_counter() - began
        late = sorted(_LATE) or [seconds]
        return {
            f"seconds, {what}": seconds,
            f"steps/s, {what}": len(_LATE) / seconds,
            f"p50 of a step, {what}": late[len(late) // 2],
            f"p99 of a step, {what}": late[int(len(late) * 0.99)],
            f"p100 of a step, {what}": late[-1],
        }


async def fill(engine: Engine, code: Workflow[Any, Any], params: list[Any]) -> list[Any]:
    """Creates so many instances, in batches."""
    created: list[Any] = []
    for at in range(0, len(params), BATCH):
        batch = await engine.create_batch(code, params[at : at + BATCH], on_overload="wait")
        created += batch.created
    return created
