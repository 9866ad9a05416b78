"""Large values in a folder, and what small ones pay for there being one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benches.workloads import Figures, run_all, steps
from stepwell import Engine, workflow
from stepwell.payloads import Folder

SIZE = 10 << 20
VALUES = 24
AT_ONCE = 4


@workflow
async def makes(step: Any, count: int) -> int:
    """So many values of 10 MiB, four at a time."""
    made = await step.map(os.urandom, [SIZE] * count, concurrency=AT_ONCE)
    return len(made)


async def folder(place: Path) -> Figures:
    """Values of 10 MiB that steps return, each durable in the folder and recorded; then read, by a
    replay of their instance; and one after another by hand."""
    large = Folder(place / "large")
    async with Engine(place / "store.db", workflows=[makes], payloads=large) as engine:
        begun = time.perf_counter()
        assert await engine.call(makes, VALUES) == VALUES
        recorded = VALUES / (time.perf_counter() - begun)
    data = os.urandom(SIZE)
    begun = time.perf_counter()
    for n in range(VALUES):
        large.put(f"{n:032x}", data)
    put = VALUES / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for n in range(VALUES):
        large.get(f"{n:032x}")
    return {
        "10 MiB values recorded/s": recorded,
        "put by hand/s": put,
        "got by hand/s, cached": VALUES / (time.perf_counter() - begun),
    }


async def small(place: Path) -> Figures:
    """W2 with a payload store and without, in turns."""
    rates: dict[str, list[float]] = {"with": [], "without": []}
    for n in range(3):
        for name, payloads in (("with", Folder(place / "large")), ("without", None)):
            store = place / f"{name}-{n}.db"
            async with Engine(store, workflows=[steps], payloads=payloads) as engine:
                made = await engine.create_batch(steps, [10] * 1_000)
                begun = time.perf_counter()
                await run_all(made.created)
                rates[name].append(10_000 / (time.perf_counter() - begun))
    return {f"W2 steps/s, {name} a payload store": sorted(some)[1] for name, some in rates.items()}
