"""What it costs to call the engine from asyncio and from plain threads, and to run a step on
asyncio."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from benches.workloads import Figures, nothing, opened, run_all
from stepwell import Engine, Workflow, aio, sync, workflow

CALLS = 2_000
INSTANCES = 1_000


@workflow
async def ten(step: Any) -> None:
    for _ in range(10):
        await step.do(nothing)


@workflow
async def many(step: Any) -> None:
    for _ in range(CALLS):
        await step.do(nothing)


@workflow(runtime="asyncio")
async def many_on_asyncio(step: Any) -> None:
    for _ in range(CALLS):
        await step.do(nothing)


@workflow(runtime="asyncio")
async def gathers(step: Any) -> None:
    for _ in range(CALLS // 10):
        await step.gather(*(step.do(nothing) for _ in range(10)))


async def fronts(folder: Path) -> Figures:
    """A call from asyncio and from a thread, a step on asyncio beside one on trio, and W2 in an
    asyncio program."""
    steps = {runtime: await _steps(many, runtime) for runtime in ("trio", "asyncio")}
    on_trio = await _w2(folder)
    on_asyncio = await trio.to_thread.run_sync(lambda: asyncio.run(_w2_on_asyncio(folder)))
    return {
        "seconds per round trip, nothing done": await trio.to_thread.run_sync(
            lambda: asyncio.run(_round_trips())
        ),
        "seconds per call, asyncio": await trio.to_thread.run_sync(lambda: asyncio.run(_calls())),
        "seconds per call, thread": await trio.to_thread.run_sync(_blocking_calls),
        "seconds per step, memory, trio": steps["trio"],
        "seconds per step, memory, asyncio": steps["asyncio"],
        "seconds per step, memory, trio, asyncio body": await _steps(many_on_asyncio, "trio"),
        "seconds per step, memory, trio, asyncio body, ten at once": await _steps(gathers, "trio"),
        "W2 steps/s, trio": on_trio,
        "W2 steps/s, aio": on_asyncio,
        "W2 aio by trio": on_asyncio / on_trio,
    }


async def _steps(workflow: Workflow[Any, Any], runtime: str) -> float:
    async with Engine(":memory:", workflows=[workflow], default_runtime=runtime) as engine:
        await engine.call(workflow)
        began = time.perf_counter()
        await engine.call(workflow)
        return (time.perf_counter() - began) / CALLS


async def _round_trips() -> float:
    """From an asyncio loop to a trio loop in another thread and back: what no call can be faster
    than."""
    loop, started = asyncio.get_running_loop(), asyncio.Event()
    tokens: list[trio.lowlevel.TrioToken] = []
    end = trio.Event()

    async def serves() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        loop.call_soon_threadsafe(started.set)
        await end.wait()

    thread = threading.Thread(target=lambda: trio.run(serves))
    thread.start()
    await started.wait()

    async def there_and_back() -> None:
        back = loop.create_future()
        tokens[0].run_sync_soon(lambda: loop.call_soon_threadsafe(back.set_result, None))
        await back

    median = statistics.median([await _timed(there_and_back) for _ in range(CALLS)])
    tokens[0].run_sync_soon(end.set)
    thread.join()
    return median


async def _calls() -> float:
    async with aio.Engine(":memory:", workflows=[ten]) as engine:
        return statistics.median([await _timed(engine.count) for _ in range(CALLS)])


async def _timed(call: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


def _blocking_calls() -> float:
    times = []
    with sync.Engine(":memory:", workflows=[ten]) as engine:
        for _ in range(CALLS):
            began = time.perf_counter()
            engine.count()
            times.append(time.perf_counter() - began)
    return statistics.median(times)


async def _w2(folder: Path) -> float:
    async with opened(str(folder / "trio.db"), ten) as engine:
        began = time.perf_counter()
        await run_all((await engine.create_batch(ten, [None] * INSTANCES)).created)
        return 10 * INSTANCES / (time.perf_counter() - began)


async def _w2_on_asyncio(folder: Path) -> float:
    async with aio.Engine(str(folder / "aio.db"), workflows=[ten]) as engine:
        began = time.perf_counter()
        created = (await engine.create_batch(ten, [None] * INSTANCES)).created
        await asyncio.gather(*(it.result() for it in created))
        return 10 * INSTANCES / (time.perf_counter() - began)
