"""A page of instances where there are two million: the first and the thousandth, where an index
leads to what is asked for and where none does.

`--scale 0.01` makes it 20,000.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import trio

from benches.traffic import BATCH, opened, scaled
from benches.workloads import Figures
from stepwell import Engine, NewInstance, workflow

ROUNDS = 20


@workflow(name="held", concurrency=1)
async def held(step: Any) -> None:
    await step.do(trio.sleep_forever)


@workflow(name="rare", version="2")
async def rare(step: Any) -> None:
    await step.wait_for_event("go")


ASKED: dict[str, dict[str, Any]] = {
    "all": {},
    "workflow and state": {"workflow": held, "status": "queued"},
    "attribute": {"attributes": {"customer": 7}},
    "oldest first": {"newest_first": False},
}


async def pages(folder: Path) -> Figures:
    """Pages of 50; the same is asked for twenty times, and the median told."""
    count = scaled(2_000_000)
    async with opened(folder / "lists.db", held, rare) as engine:
        await engine.create(rare, id="first")
        await (await engine.create(held, id="holder")).wait_for_status("running")
        for at in range(0, count, BATCH):
            items = [
                NewInstance(id=f"i-{n}", attributes={"customer": n % 10})
                for n in range(at, min(at + BATCH, count))
            ]
            await engine.create_batch(held, items, on_overload="wait")
        figures: Figures = {}
        last_page = max(3, scaled(1_000))
        for name, asked in ASKED.items():
            first, cursor = await _page(engine, asked, None)
            figures[f"seconds of a page, first, {name}"] = first
            page = 1
            while cursor is not None and page < last_page - 1:
                cursor = (await engine.list(**asked, cursor=cursor)).cursor
                page += 1
            if cursor is not None:
                there, _ = await _page(engine, asked, cursor)
                figures[f"seconds of a page, {page + 1:,}th, {name}"] = there
        for name, asked in {
            "id_prefix": {"id_prefix": "i-77"},
            "one of a version": {"version": "2"},
        }.items():
            figures[f"seconds of a page, first, {name}"], _ = await _page(engine, asked, None)
        page_of_rare = await engine.list(version="2")
        assert page_of_rare.searched_to is not None or count <= 20_000
        return figures


async def _page(
    engine: Engine, asked: dict[str, Any], cursor: str | None
) -> tuple[float, str | None]:
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        page = await engine.list(**asked, cursor=cursor)
        took.append(time.perf_counter() - began)
    return statistics.median(took), page.cursor
