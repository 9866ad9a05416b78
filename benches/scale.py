"""The control plane at headline scale: W2b, W3, W6, W7, W9, and what one more entry costs as there
are more of them.

The queue of W3 is filled behind one instance that holds the only slot. `STEPWELL_QUEUED` sets how
many it gets (default 2,000,000).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from benches.machine import resident_bytes
from benches.workloads import Figures, nothing, opened, run_all
from stepwell import Engine, Limits, Status, workflow

QUEUED = int(os.environ.get("STEPWELL_QUEUED", 2_000_000))
RUNNING = 50_000
BATCH = 10_000
GATE: dict[str, Any] = {}


class Lateness:
    """How late the event loop comes back to a task that sleeps 5 ms."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await trio.sleep(0.005)
            self.times.append(max(0.0, time.perf_counter() - before - 0.005))

    def at(self, share: float) -> float:
        return (
            sorted(self.times)[min(int(len(self.times) * share), len(self.times) - 1)]
            if self.times
            else 0.0
        )


async def _all_there() -> None:
    gates, GATE["there"] = GATE["gates"], GATE["there"] + 1
    await gates[GATE["there"] % len(gates)].wait()


async def _open_gates() -> None:
    """Lets all go on, some hundred at a time: that all tasks become runnable at one moment would be
    this program's doing."""
    for gate in GATE["gates"]:
        gate.set()
        await trio.lowlevel.checkpoint()


@workflow
async def crowd(step: Any) -> None:
    await step.do(_all_there)
    for _ in range(9):
        await step.do(nothing)


@workflow
async def waiting(step: Any) -> None:
    await step.wait_for_event("go")


@workflow(concurrency=1)
async def queued(step: Any) -> None:
    await step.do(_hold)


async def _hold() -> None:
    await trio.sleep_forever()


async def running(folder: Path) -> Figures:
    """W2b: 50,000 instances run at once, none has ended before all have begun; then each makes its
    steps."""
    GATE.update(there=0, gates=[trio.Event() for _ in range(RUNNING // 200)])
    late = Lateness()
    async with opened(str(folder / "w2b.db"), crowd) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(late.watch)
        before, began = resident_bytes(), time.perf_counter()
        for _ in range(RUNNING // BATCH):
            await engine.create_batch(crowd, [None] * BATCH)
        while GATE["there"] < RUNNING:
            await trio.sleep(0.01)
        started, each = time.perf_counter() - began, (resident_bytes() - before) / RUNNING
        began = time.perf_counter()
        await _open_gates()
        # Asked, not awaited by 50,000 tasks of this program, which would hold the loop themselves.
        while (await engine.count(crowd))[Status.COMPLETE] < RUNNING:
            await trio.sleep(0.01)
        steps = 10 * RUNNING / (time.perf_counter() - began)
        nursery.cancel_scope.cancel()
    return {
        "seconds until all run": started,
        "bytes each, running": each,
        "steps/s": steps,
        "p99 delay of the loop": late.at(0.99),
        "longest delay of the loop": late.at(1),
    }


async def queue(folder: Path) -> Figures:
    """W3 and W7: creations of queued instances, one at a time and in batches; what they cost;
    `peek` among them."""
    path = folder / "w3.db"
    figures: Figures = {}
    async with Engine(
        path, workflows=[queued], limits=Limits(queue_entries=10 * QUEUED), grace=0
    ) as engine:
        holder = await engine.create(queued)
        await holder.wait_for_status("running")
        figures["single creations/s, 100 tasks"] = await _singles(engine, 20_000)
        memory, disk = resident_bytes(), _bytes_of(path)
        made, began, slowest = 0, time.perf_counter(), float("inf")
        while made < QUEUED:
            before = time.perf_counter()
            await engine.create_batch(queued, [None] * BATCH)
            slowest = min(slowest, BATCH / (time.perf_counter() - before))
            made += BATCH
            if made in (10_000, 100_000, 1_000_000, QUEUED):
                figures[f"bytes of memory each, {made:,}"] = (resident_bytes() - memory) / made
                figures[f"creations/s in batches, up to {made:,}"] = made / (
                    time.perf_counter() - began
                )
        figures["creations/s, slowest batch"] = slowest
        figures["bytes of disk each"] = (_bytes_of(path) - disk) / made
        figures |= _peeks(engine, holder.id)
        began = time.perf_counter()
        for _ in range(1_000):
            engine.statistics()
        figures["seconds per statistics()"] = (time.perf_counter() - began) / 1_000
    return figures


async def _singles(engine: Engine, count: int) -> float:
    async def caller() -> None:
        for _ in range(count // 100):
            await engine.create(queued)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(caller)
    return count / (time.perf_counter() - began)


def _peeks(engine: Engine, id: str) -> Figures:
    figures = {}
    for threads in (1, 2, 4):
        each = 200_000 // threads

        def look(each: int = each) -> None:
            for _ in range(each):
                engine.peek(queued, id)

        crew = [threading.Thread(target=look) for _ in range(threads)]
        began = time.perf_counter()
        for one in crew:
            one.start()
        for one in crew:
            one.join()
        figures[f"seconds per peek, {threads} threads"] = (time.perf_counter() - began) / 200_000
    return figures


def _bytes_of(path: Path) -> int:
    return sum(
        it.stat().st_size
        for it in path.parent.glob(path.name + "*")
        if not it.name.endswith("ballast")
    )


async def reshard(folder: Path) -> Figures:
    """W9: 1 → 64 shards and back while 1,000 instances make steps and others are created; how late
    calls and loop come."""
    async with Engine(
        folder / "w9.db",
        workflows=[queued, crowd],
        shards=1,
        limits=Limits(queue_entries=10 * QUEUED),
        grace=0,
    ) as engine:
        GATE.update(there=0, gates=[trio.Event()])
        await _open_gates()
        await (await engine.create(queued)).wait_for_status("running")
        for _ in range(QUEUED // BATCH // 4):
            await engine.create_batch(queued, [None] * BATCH)
        calm = await _latency(engine, None)
        moving = await _latency(engine, lambda: _there_and_back(engine))
    return {
        f"p99 of a creation, {name}": times[int(len(times) * 0.99)]
        for name, times in (("calm", calm), ("resharding", moving))
    } | {
        "p100 of a creation, calm": calm[-1],
        "p100 of a creation, resharding": moving[-1],
    }


async def _there_and_back(engine: Engine) -> None:
    for _ in range(3):
        await engine.reshard(64)
        await engine.reshard(1)


async def _latency(engine: Engine, meanwhile: Callable[[], Any] | None) -> list[float]:
    """Returns how long single creations took under load, in order: for five seconds, or until
    `meanwhile` is done."""
    times: list[float] = []

    async def load() -> None:
        while True:
            await run_all((await engine.create_batch(crowd, [None] * 200)).created)

    async def create() -> None:
        while True:
            before = time.perf_counter()
            await engine.create(queued)
            times.append(time.perf_counter() - before)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(load)
            nursery.start_soon(create)
        await trio.sleep(1)
        times.clear()
        await (meanwhile() if meanwhile is not None else trio.sleep(5))
        nursery.cancel_scope.cancel()
    return sorted(times)


async def recovery(folder: Path) -> Figures:
    """W6: `kill -9` with 50,000 waiting and two million queued, then a start in a process of its
    own."""
    path = folder / "w6.db"
    for script in ("fill", "start"):
        done = await trio.run_process(
            [sys.executable, "-m", "benches.scale", script, path], capture_stdout=True, check=False
        )
    words = done.stdout.split()
    return {"seconds until calls are accepted": float(words[0]), "MiB of memory": float(words[1])}


async def _fill(path: Path) -> None:
    async with Engine(
        path, workflows=[waiting, queued], limits=Limits(queue_entries=10 * QUEUED)
    ) as engine:
        for _ in range(RUNNING // BATCH):
            await engine.create_batch(waiting, [None] * BATCH)
        while engine.statistics().waiting < RUNNING:
            await trio.sleep(0.05)
        for _ in range(QUEUED // BATCH):
            await engine.create_batch(queued, [None] * BATCH)
        os.kill(os.getpid(), 9)


async def _start(path: Path) -> None:
    began = time.perf_counter()
    async with Engine(path, workflows=[waiting, queued], grace=0) as engine:
        await engine.create(queued)
        sys.stdout.write(f"{time.perf_counter() - began} {resident_bytes() / (1 << 20)}\n")
        sys.stdout.flush()
        os.kill(os.getpid(), 9)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, subprocess.SubprocessError):
        trio.run({"fill": _fill, "start": _start}[sys.argv[1]], Path(sys.argv[2]))
