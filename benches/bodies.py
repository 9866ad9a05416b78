"""What bodies cost: turns, parking, and a step while a checkpoint runs.

Not in the list of ten: the cost of turns compares the same number of steps made by one task, by two
and by a hundred branches.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import trio

from benches.machine import resident_bytes
from benches.workloads import Figures, nothing, opened, run_all
from stepwell import workflow

STEPS = 10_000
PARKED = 50_000
ASLEEP = int(os.environ.get("STEPWELL_ASLEEP", 1_000_000))


@workflow
async def one_task(step: Any, count: int) -> None:
    for _ in range(count):
        await step.do(nothing)


@workflow
async def one_task_with_turns(step: Any, count: int) -> None:
    async with step.open_nursery():
        for _ in range(count):
            await step.do(nothing)


async def _branches(step: Any, branches: int, count: int) -> None:
    async def branch() -> None:
        for _ in range(count // branches):
            await step.do(nothing)

    async with step.open_nursery() as nursery:
        for _ in range(branches):
            nursery.start_soon(branch)


@workflow
async def two_branches(step: Any, count: int) -> None:
    await _branches(step, 2, count)


@workflow
async def hundred_branches(step: Any, count: int) -> None:
    await _branches(step, 100, count)


async def turns(folder: Path) -> Figures:
    """Time per step of 100 instances with 100 or 1,000 steps each, on the memory store: what turns
    add to a step."""
    codes = [
        (one_task, 100),
        (one_task_with_turns, 100),
        (two_branches, 100),
        (hundred_branches, 1_000),
    ]
    figures = {}
    for code, count in codes:
        instances = STEPS // count
        async with opened(":memory:", code) as engine:
            await engine.call(code, count)
            began = time.perf_counter()
            batch = await engine.create_batch(code, [count] * instances)
            await run_all(batch.created)
            figures[f"seconds per step, {code.name}"] = (time.perf_counter() - began) / STEPS
    return figures


@workflow
async def sleeps(step: Any) -> None:
    await step.sleep("1 day")


@workflow
async def waits(step: Any) -> None:
    await step.wait_for_event("go")


async def parking(folder: Path) -> Figures:
    """W4, its parking part: 50,000 instances reach a wait and leave memory; then each gets its
    event, is replayed and ends."""
    async with opened(str(folder / "w4.db"), waits) as engine:
        before = resident_bytes()
        began = time.perf_counter()
        created = []
        for _ in range(PARKED // 10_000):
            created += (await engine.create_batch(waits, [None] * 10_000)).created
        while engine.statistics().waiting < PARKED:
            await trio.sleep(0.01)
        all_waiting = time.perf_counter() - began
        while engine.statistics().resident:
            await trio.sleep(0.01)
        each = (resident_bytes() - before) / PARKED
        idle = _cpu_seconds()
        await trio.sleep(2)
        idle = (_cpu_seconds() - idle) / 2
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for part in range(100):
                nursery.start_soon(_wake, created[part::100])
        return {
            "seconds until all wait": all_waiting,
            "bytes each, parked": each,
            "cores while idle": idle,
            "seconds until all have ended": time.perf_counter() - began,
        }


async def asleep(folder: Path) -> Figures:
    """W4, its last part: a million instances sleep for a day."""
    async with opened(str(folder / "w4b.db"), sleeps) as engine:
        began = time.perf_counter()
        for _ in range(ASLEEP // 10_000):
            await engine.create_batch(sleeps, [None] * 10_000)
            while ASLEEP > engine.statistics().leased + engine.statistics().queued > 20_000:
                await trio.sleep(0.01)
        while engine.statistics().waiting < ASLEEP or engine.statistics().resident:
            await trio.sleep(0.1)
        took = time.perf_counter() - began
        idle = _cpu_seconds()
        await trio.sleep(5)
        return {
            "seconds until all sleep": took,
            "MiB, all of the process": resident_bytes() / (1 << 20),
            "cores while idle": (_cpu_seconds() - idle) / 5,
        }


async def _wake(instances: list[Any]) -> None:
    for instance in instances:
        await instance.send_event("go")
    for instance in instances:
        await instance.result()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


TIMES: list[float] = []


@workflow
async def timed(step: Any, count: int) -> None:
    for _ in range(count):
        began = time.perf_counter()
        await step.do(nothing)
        TIMES.append(time.perf_counter() - began)


@workflow
async def load(step: Any, count: int) -> None:
    for _ in range(count):
        await step.do(_kilobytes)


async def _kilobytes() -> bytes:
    return b"x" * 4_000


async def checkpoints(folder: Path) -> Figures:
    """How long one instance's steps take while twenty others write 4 KB each: the log is folded
    back about every 400 steps."""
    TIMES.clear()
    async with opened(str(folder / "checkpoints.db"), timed, load) as engine:
        others = await engine.create_batch(load, [1_000] * 20)
        await engine.call(timed, 1_000)
        await run_all(others.created)
    return {
        "p50": statistics.median(TIMES),
        "p99": statistics.quantiles(TIMES, n=100)[98],
        "p100": max(TIMES),
    }
