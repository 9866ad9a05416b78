"""The workloads: each runs once in a folder of its own and returns its figures by name.

W1, W2, W5, W11 and W12 and the bytes of W10 as docs/benchmarks.md describes them. Durability is
full: every commit is synced.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from benches.machine import written_bytes
from stepwell import Engine, Instance, Workflow, workflow

Figures = dict[str, float]
COMPILED = {name: it for name, it in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""The environment of a program whose modules are compiled once, as those of users are."""


async def nothing() -> int:
    return 1


async def hundred_bytes() -> bytes:
    return b"x" * 98


@workflow
async def steps(step: Any, count: int) -> None:
    for _ in range(count):
        await step.do(nothing)


@workflow
async def wide_steps(step: Any, count: int) -> None:
    for _ in range(count):
        await step.do(hundred_bytes)


@workflow
async def long_history(step: Any, count: int) -> int:
    total = 0
    for _ in range(count):
        total += await step.do(nothing)
    await step.wait_for_event("go")
    return total


@asynccontextmanager
async def opened(store: str, *workflows: Workflow[Any, Any]) -> AsyncIterator[Engine]:
    async with Engine(store, workflows=workflows) as engine:
        yield engine


async def run_all(instances: list[Instance[Any]]) -> None:
    async with trio.open_nursery() as nursery:
        for instance in instances:
            nursery.start_soon(instance.result)


async def sequential(folder: Path) -> Figures:
    """W1: one instance, 1,000 steps one after the other."""
    async with opened(str(folder / "w1.db"), steps) as engine:
        await engine.call(steps, 10)
        began = time.perf_counter()
        await engine.call(steps, 1000)
        return {"seconds per step": (time.perf_counter() - began) / 1000}


async def _throughput(store: str) -> float:
    async with opened(store, steps) as engine:
        await engine.call(steps, 2)
        began = time.perf_counter()
        batch = await engine.create_batch(steps, [10] * 1000)
        await run_all(batch.created)
        return 10_000 / (time.perf_counter() - began)


async def concurrent(folder: Path) -> Figures:
    """W2: 1,000 instances × 10 steps, all running; the same on the memory store; the same calls
    without an engine."""
    durable = await _throughput(str(folder / "w2.db"))
    memory = await _throughput(":memory:")
    return {
        "steps/s": durable,
        "steps/s in memory": memory,
        "steps/s of bare trio": await _bare_trio(),
    }


async def _bare_trio() -> float:
    async def body() -> None:
        for _ in range(10):
            await nothing()
            await trio.lowlevel.checkpoint()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(body)
    return 10_000 / (time.perf_counter() - began)


async def latency(folder: Path) -> Figures:
    """W5: create → one step → result, 200 times in sequence."""
    async with opened(str(folder / "w5.db"), steps) as engine:
        times = []
        for _ in range(210):
            began = time.perf_counter()
            await engine.call(steps, 1)
            times.append(time.perf_counter() - began)
    times = times[10:]
    return {"p50": statistics.median(times), "p99": statistics.quantiles(times, n=100)[98]}


async def written(folder: Path) -> Figures:
    """W10: bytes written to disk per step with 100-byte results, 50,000 instances stepping in turn,
    checkpoints included.

    What creating and ending an instance writes is taken off, by a run with one step each.
    """
    one, _ = await _bytes_of(str(folder / "one.db"), 1)
    four, commits = await _bytes_of(str(folder / "four.db"), 4)
    return {
        "bytes per step": (four - one) / (3 * WIDE),
        "bytes per instance": one / WIDE,
        "steps per commit": 4 * WIDE / commits,
    }


WIDE = 50_000


async def _bytes_of(store: str, count: int) -> tuple[int, int]:
    before = written_bytes()
    async with opened(store, wide_steps) as engine:
        created = []
        for _ in range(WIDE // 10_000):
            created += (await engine.create_batch(wide_steps, [count] * 10_000)).created
        await run_all(created)
        commits = engine.statistics().commits
    return written_bytes() - before, commits


async def start(folder: Path) -> Figures:
    """W11: what loading an engine takes beyond trio, and opening an empty store."""
    probe = (
        "import time, trio; t = time.perf_counter(); from stepwell import Engine, Step, workflow; "
        "print(time.perf_counter() - t)"
    )
    for _ in range(2):  # the first time it is compiled
        command = [sys.executable, "-c", probe]
        done = await trio.run_process(command, capture_stdout=True, env=COMPILED)
    began = time.perf_counter()
    async with opened(str(folder / "w11.db"), steps):
        opening = time.perf_counter() - began
    return {"import beyond trio": float(done.stdout), "open an empty store": opening}


async def replay(folder: Path) -> Figures:
    """W12: an event wakes a parked instance with 10,000 recorded steps: read the history, replay
    it, complete."""
    store = str(folder / "w12.db")
    async with opened(store, long_history) as engine:
        instance = await engine.create(long_history, 10_000, id="long")
        await instance.wait_for_status("waiting")
    async with opened(store, long_history) as engine:
        instance = await engine.get(long_history, "long")
        began = time.perf_counter()
        await instance.send_event("go")
        assert await instance.result() == 10_000
        return {"seconds": time.perf_counter() - began}
