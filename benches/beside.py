"""What is done to many instances, beside 2,000 steps a second of others: a bulk of 100,000,
restarts of 10,000 that failed, the purge of a million, reasons asked ten times a second, 1,000
watchers.

`--scale 0.01` makes all of them a hundred times smaller.
"""

from __future__ import annotations

import logging
import statistics
import time
from pathlib import Path
from typing import Any

import trio

from benches.machine import resident_bytes
from benches.traffic import Traffic, fill, opened, scaled
from benches.workloads import Figures, nothing
from stepwell import Engine, Instance, NewInstance, Retention, Retry, Status, workflow

POLL = 0.1
GROUPS = 1_000
HEALED: list[bool] = []


@workflow
async def waiting(step: Any) -> None:
    await step.wait_for_event("go")


@workflow
async def named(step: Any, name: str) -> None:
    await step.wait_for_event("go", name=name)


@workflow
async def ends(step: Any) -> None:
    pass


@workflow
async def charge(step: Any) -> None:
    await step.do(nothing)
    await step.do(_charged, retry=Retry.never)


async def _charged() -> None:
    if not HEALED:
        raise ConnectionError("down")


@workflow
async def busy(step: Any) -> None:
    while True:
        await step.do(nothing)


@workflow
async def paced(step: Any) -> None:
    while True:
        await step.do(_tick)


async def _tick() -> float:
    await trio.sleep(1)
    return time.perf_counter()


async def _until(engine: Engine, code: Any, status: Status, count: int) -> None:
    while (await engine.count(code))[status] < count:
        await trio.sleep(0.02)


async def bulk(folder: Path) -> Figures:
    """A hundred thousand that wait are terminated by one call."""
    count = scaled(100_000)
    async with opened(folder / "bulk.db", waiting) as engine:
        await fill(engine, waiting, [None] * count)
        await _until(engine, waiting, Status.WAITING, count)
        flow = Traffic(engine)
        figures = await flow.begin()
        figures |= await flow.beside("bulk", lambda: engine.terminate(waiting, status="waiting"))
        assert (await engine.count(waiting))[Status.TERMINATED] == count
        figures["instances/s, bulk"] = count / figures["seconds, bulk"]
        return figures


async def restart_failed(folder: Path) -> Figures:
    """Ten thousand that errored go on from the step that failed, until all are complete."""
    count = scaled(10_000)
    HEALED.clear()
    logging.getLogger("stepwell").setLevel(logging.CRITICAL)
    async with opened(folder / "failed.db", charge) as engine:
        await fill(engine, charge, [None] * count)
        await _until(engine, charge, Status.ERRORED, count)
        flow = Traffic(engine)
        figures = await flow.begin()
        HEALED.append(True)

        async def restart() -> None:
            began = time.perf_counter()
            await engine.restart(charge, reason="failed", from_step="failed")
            figures["seconds until all are restarted"] = time.perf_counter() - began
            await _until(engine, charge, Status.COMPLETE, count)

        return figures | await flow.beside("restarts", restart)


async def retention(folder: Path) -> Figures:
    """A million that have ended are deleted when their time is over, each as long after its end as
    they took to end, and more: so no faster than they ended."""
    count, path = scaled(1_000_000), folder / "retention.db"
    kept = Retention(success=max(10.0, count / 4_000))
    async with opened(path, ends) as engine:
        item = NewInstance(retention=kept)
        await fill(engine, ends, [item] * count)
        await _until(engine, ends, Status.COMPLETE, count)
        figures: Figures = {"MiB of disk, before": path.stat().st_size / (1 << 20)}
        flow = Traffic(engine)
        figures |= await flow.begin()
        while (await engine.count(ends))[Status.COMPLETE] == count:
            await trio.sleep(0.05)

        async def gone() -> None:
            while (await engine.count(ends))[Status.COMPLETE]:
                await trio.sleep(0.05)

        figures |= await flow.beside("purge", gone)
        figures["instances/s, purge"] = count / figures["seconds, purge"]
        figures["MiB of disk, right after"] = path.stat().st_size / (1 << 20)
        return figures


async def reasons(folder: Path) -> Figures:
    """Reasons are asked each 100 ms: beside 2,000 steps a second, and beside as many steps as there
    can be. A hundred thousand instances wait, for 1,000 reasons."""
    count = scaled(100_000)
    async with opened(folder / "reasons.db", named, busy) as engine:
        await fill(engine, named, [f"event-{n % GROUPS}" for n in range(count)])
        await _until(engine, named, Status.WAITING, count)
        took: list[float] = []

        async def poll(seconds: float) -> None:
            until = time.perf_counter() + seconds
            while (began := time.perf_counter()) < until:
                found = await engine.reasons()
                took.append(time.perf_counter() - began)
                assert found
                await trio.sleep(max(0.0, POLL - took[-1]))

        flow = Traffic(engine)
        figures = await flow.begin()
        figures |= await flow.beside("reasons", lambda: poll(10))
        figures |= _times("reasons", took)
        took.clear()
        await fill(engine, busy, [None] * scaled(1_000))
        await trio.sleep(1)
        alone = await _records(engine, lambda: trio.sleep(5))
        figures["steps/s at full load, alone"] = alone
        figures["steps/s at full load, reasons"] = await _records(engine, lambda: poll(5))
        return figures | _times("reasons at full load", took)


async def _records(engine: Engine, do: Any) -> float:
    """Returns how many records were made in a second of this."""
    before, began = engine.statistics().records, time.perf_counter()
    await do()
    return (engine.statistics().records - before) / (time.perf_counter() - began)


def _times(what: str, took: list[float]) -> Figures:
    took = sorted(took)
    return {
        f"p50 of a call, {what}": statistics.median(took),
        f"p99 of a call, {what}": took[int(len(took) * 0.99)],
    }


async def watchers(folder: Path) -> Figures:
    """A thousand instances are watched, each of which makes a step a second; the traffic makes
    2,000 more."""
    count = scaled(1_000)
    async with opened(folder / "watchers.db", paced) as engine, trio.open_nursery() as nursery:
        instances = await fill(engine, paced, [None] * count)
        flow = Traffic(engine)
        figures = await flow.begin()
        delays: list[float] = []
        before, cpu = resident_bytes(), time.process_time()
        for instance in instances:
            nursery.start_soon(_watch, instance, delays)
        await trio.sleep(2)
        figures["bytes each, watcher"] = (resident_bytes() - before) / count
        delays.clear()
        cpu = time.process_time()
        figures |= await flow.beside("watchers", lambda: trio.sleep(10))
        figures["share of a processor"] = (time.process_time() - cpu) / 10
        figures["updates/s"] = len(delays) / 10
        nursery.cancel_scope.cancel()
    return figures | _times("update", delays)


async def _watch(instance: Instance[Any], delays: list[float]) -> None:
    """Reads, and notes how long after its step's end each record came."""
    async with instance.watch() as updates:
        async for update in updates:
            if update.record is not None:
                delays.append(time.perf_counter() - update.record.output)
