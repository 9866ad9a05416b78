"""What it costs to follow 200 instances from one program on asyncio: by `watch`, or by asking for
status and history each tenth of a second.

Processor time of the whole process, engine included, less what it takes when nobody follows.
`--scale 0.1` makes it 20 instances.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import trio

from benches.traffic import scaled
from benches.workloads import Figures
from stepwell import aio, workflow

READERS = 200
POLL = 0.1
SECONDS = 10.0
MET: list[int] = []


@workflow
async def agent(step: Any) -> None:
    """A step a second, twice as long as what is measured takes."""
    for n in range(60):
        await step.do(_think, name=f"think-{n % 3}")


async def _think() -> str:
    await asyncio.sleep(1)
    return "x" * 100


async def _watch(instance: aio.Instance[Any]) -> None:
    async with instance.watch() as updates:
        async for update in updates:
            MET.append(update.record is not None)


async def _ask(instance: aio.Instance[Any]) -> None:
    known = 0
    while True:
        await instance.status()
        records = [it for it in await instance.history() if it.status == "done"]
        MET.extend([1] * (len(records) - known))
        known = len(records)
        await asyncio.sleep(POLL)


async def _measured(instances: list[Any], follow: Any) -> tuple[float, int]:
    """Returns processor seconds while all are followed, and the records met."""
    followers = [asyncio.create_task(follow(it)) for it in instances] if follow else []
    await asyncio.sleep(2)
    MET.clear()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(SECONDS)
    used = (time.process_time() - cpu) / (time.perf_counter() - began)
    met = sum(MET)
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    return used, met


async def _all(store: Path) -> Figures:
    count = scaled(READERS)
    async with aio.Engine(store, workflows=[agent], grace=0) as engine:
        created = await engine.create_batch(agent, [None] * count)
        idle, _ = await _measured(created.created, None)
        watching, told = await _measured(created.created, _watch)
        asking, met = await _measured(created.created, _ask)
    return {
        "processors, nobody follows": idle,
        "processors more, watch": watching - idle,
        "processors more, status and history": asking - idle,
        "percent, watch by asking": 100 * (watching - idle) / max(asking - idle, 1e-9),
        "records/s, watch": told / SECONDS,
        "records/s, asking": met / SECONDS,
    }


async def watch_or_ask(folder: Path) -> Figures:
    """Both, in the same program, one after the other."""
    return await trio.to_thread.run_sync(asyncio.run, _all(folder / "readers.db"))
