"""What mypy and pyright see of a step's operations as coroutines, which asyncio starts tasks with,
and of paths; it is never run."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path, PurePosixPath
from typing import Any, assert_type

import stepwell
from stepwell import Child, Event, Step, Workflow, aio, sync, workflow
from stepwell.testing import open_test_engine


async def double(number: int) -> int:
    return number * 2


def shout(text: str) -> str:
    return text.upper()


@workflow
async def audit(step: Step, folder: str) -> int:
    return len(folder)


@workflow(runtime="asyncio")
async def on_asyncio(step: Step) -> int:
    assert_type(await step.do(double, 1), int)
    assert_type(asyncio.create_task(step.do(double, 1)), asyncio.Task[int])
    assert_type(asyncio.ensure_future(step.do(shout, "a")), asyncio.Task[str])
    assert_type(asyncio.create_task(step.sleep(1)), asyncio.Task[None])
    assert_type(asyncio.create_task(step.map(double, [1])), asyncio.Task[list[int]])
    assert_type(
        asyncio.create_task(step.wait_for_event("paid", as_type=int)), asyncio.Task[Event[int]]
    )
    assert_type(asyncio.create_task(step.call(audit, "a")), asyncio.Task[int])
    child = await step.create(audit, "a")
    assert_type(child, Child[int])
    assert_type(asyncio.create_task(child.result()), asyncio.Task[int])
    assert_type(
        asyncio.create_task(step.gather(step.do(double, 1), step.do(shout, "a"))),
        asyncio.Task[tuple[int, str]],
    )
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(step.do(double, 1)), asyncio.Task[int])
    assert_type(await asyncio.gather(step.do(double, 1), step.do(shout, "a")), tuple[int, str])
    assert_type(await asyncio.wait_for(step.do(double, 1), 5), int)
    assert_type(await asyncio.shield(step.do(double, 1)), int)
    for done in asyncio.as_completed([step.do(double, 1)]):
        assert_type(await done, int)
    first, _ = await asyncio.wait([asyncio.create_task(step.do(double, 1))])
    assert_type(first, set[asyncio.Task[int]])
    later: Coroutine[Any, Any, int] = step.do(double, 1)
    print(asyncio.create_task(step.do(double, "a")))  # type: ignore[arg-type]
    return await later


@workflow
async def on_trio(step: Step) -> None:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, double, 1)
        nursery.start_soon(step.sleep, 1)


class Folder:
    def __fspath__(self) -> str:
        return "shop.db"


class Raw:
    def __fspath__(self) -> bytes:
        return b"shop.db"


async def paths(workflows: list[Workflow[str, int]], given: os.PathLike[str]) -> None:
    async with stepwell.Engine(Path("a.db"), workflows=workflows) as engine:
        await engine.backup(Path("b.db"))
        await engine.backup(given)
    async with aio.Engine(PurePosixPath("a.db"), workflows=workflows) as on_loop:
        await on_loop.backup(Folder())
    with sync.Engine(Folder(), workflows=workflows) as blocking:
        blocking.backup(given)
    async with open_test_engine(workflows, store=Path("a.db")):
        pass
    stepwell.Engine(Raw())  # type: ignore[arg-type]
    stepwell.Engine(b"a.db")  # type: ignore[arg-type]
