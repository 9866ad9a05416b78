"""What a flood does to a step of somebody else: events to 50,000 instances, or as many sleeps that
are over at one moment.

Beside them what as many tasks of trio alone do to it.

A bystander makes one step after the other all the while. `STEPWELL_FLOOD` sets how many are flooded
(default 50,000).
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from benches.workloads import Figures
from stepwell import Engine, Limits, Status, workflow

FLOOD = int(os.environ.get("STEPWELL_FLOOD", 50_000))
BATCH = 10_000
CALLERS = 100
ANSWERED = 512
PACE = 0.002
STEPS: list[float] = []
"""By how much each step of the bystander took longer than its function."""


async def _two_milliseconds() -> None:
    await trio.sleep(PACE)


@workflow
async def bystander(step: Any) -> None:
    while True:
        began = time.perf_counter()
        await step.do(_two_milliseconds)
        STEPS.append(time.perf_counter() - began - PACE)


@workflow
async def waiter(step: Any) -> None:
    await step.wait_for_event("go")


@workflow
async def sleeper(step: Any, until: float) -> None:
    await step.sleep_until(datetime.fromtimestamp(until, UTC))


@asynccontextmanager
async def _opened(store: Path) -> AsyncIterator[Engine]:
    async with Engine(
        store, workflows=[bystander, waiter, sleeper], limits=Limits(steps=1_000_000), grace=0
    ) as engine:
        yield engine


async def _asleep(engine: Engine, code: Any, params: Any) -> list[Any]:
    created = []
    for _ in range(FLOOD // BATCH):
        created += (await engine.create_batch(code, [params] * BATCH)).created
    while engine.statistics().waiting < FLOOD or engine.statistics().resident > 1:
        await trio.sleep(0.01)
    return created


async def _all_ended(engine: Engine, code: Any) -> None:
    while (await engine.count(code))[Status.COMPLETE] < FLOOD:
        await trio.sleep(0.05)


def _figures(when: str, began: float) -> Figures:
    """A stall counts for as long as it lasts, as whoever begins a step at any moment of it would
    meet it."""
    met = []
    for took in STEPS:
        met += [took - PACE * at for at in range(int(took / PACE) + 1)]
    met.sort()
    p50, p99 = met[len(met) // 2], met[int(len(met) * 0.99)]
    seconds = time.perf_counter() - began
    return {
        f"p50 of a step, {when}": p50,
        f"p99 of a step, {when}": p99,
        f"p100 of a step, {when}": met[-1],
        f"seconds, {when}": seconds,
    }


async def events(folder: Path) -> Figures:
    """50,000 events to instances that left memory, from a hundred tasks: each is replayed and
    ends."""
    async with _opened(folder / "events.db") as engine:
        created = await _asleep(engine, waiter, None)
        await engine.create(bystander)
        STEPS.clear()
        await trio.sleep(1)
        figures = _figures("calm", time.perf_counter() - 1)
        STEPS.clear()
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for part in range(CALLERS):
                nursery.start_soon(_send, created[part::CALLERS])
        figures["seconds until all are sent"] = time.perf_counter() - began
        await _all_ended(engine, waiter)
        return figures | _figures("events", began)


async def events_at_once(folder: Path) -> Figures:
    """The same from 50,000 tasks that begin in one round of the loop."""
    async with _opened(folder / "events.db") as engine:
        created = await _asleep(engine, waiter, None)
        await engine.create(bystander)
        await trio.sleep(1)
        STEPS.clear()
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for instance in created:
                nursery.start_soon(instance.send_event, "go")
        figures = {"seconds until all are sent": time.perf_counter() - began}
        await _all_ended(engine, waiter)
        return figures | _figures("events at once", began)


async def tasks_at_once(folder: Path) -> Figures:
    """What 50,000 tasks cost that begin in one round and each wait for an event of trio's: the
    engine has no part in them."""
    async with _opened(folder / "tasks.db") as engine:
        await engine.create(bystander)
        await trio.sleep(1)
        STEPS.clear()
        began = time.perf_counter()
        waited: list[trio.Event] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set, waited)
            for _ in range(FLOOD):
                nursery.start_soon(_wait, waited)
        return _figures("tasks at once", began)


async def _wait(waited: list[trio.Event]) -> None:
    waited.append(trio.Event())
    await waited[-1].wait()


async def _set(waited: list[trio.Event]) -> None:
    while len(waited) < FLOOD:
        await trio.sleep(0.01)
    for part in range(0, FLOOD, ANSWERED):
        for event in waited[part : part + ANSWERED]:
            event.set()
        await trio.lowlevel.checkpoint()


async def _send(instances: list[Any]) -> None:
    for instance in instances:
        await instance.send_event("go")


async def due(folder: Path) -> Figures:
    """50,000 sleeps are over at one moment; then the same while no engine is open, and the next one
    finds them overdue."""
    figures = {}
    async with _opened(folder / "due.db") as engine:
        over = time.time() + FLOOD / 2_000 + 5
        await _asleep(engine, sleeper, over)
        await engine.create(bystander)
        await trio.sleep(over - time.time())
        STEPS.clear()
        began = time.perf_counter()
        await _all_ended(engine, sleeper)
        figures |= _figures("due", began)
    async with _opened(folder / "overdue.db") as engine:
        over = time.time() + FLOOD / 2_000 + 5
        await _asleep(engine, sleeper, over)
        await engine.create(bystander)
    await trio.sleep(over - time.time())
    STEPS.clear()
    began = time.perf_counter()
    async with _opened(folder / "overdue.db") as engine:
        await _all_ended(engine, sleeper)
    return figures | _figures("overdue", began)
