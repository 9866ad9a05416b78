"""Blocks that return from inside of them, as mypy (strict) and pyright see them; it is never
run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

from __future__ import annotations

from stepwell import Engine, Step, aio, sync, workflow
from stepwell.testing import open_test_engine


@workflow
async def audit(step: Step, folder: str) -> int:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, len, folder)
        return 1


async def on_trio() -> int:
    async with Engine("a.db", workflows=[audit]) as engine:
        return await engine.call(audit, "src")


async def on_asyncio() -> int:
    async with aio.Engine("a.db", workflows=[audit]) as engine:
        return await engine.call(audit, "src")


def blocking() -> int:
    with sync.Engine("a.db", workflows=[audit]) as engine:
        return engine.call(audit, "src")


async def tested() -> int:
    async with open_test_engine(workflows=[audit]) as engine:
        return await engine.call(audit, "src")


async def late(step: Step) -> int:
    with step.fail_after("1 hour"):
        return 1


async def values(
    on_trio: Engine, on_asyncio: aio.Engine, blocking: sync.Engine, step: Step
) -> None:
    print(
        await on_trio.call(audit, "src"),
        await on_asyncio.call(audit, "src"),
        blocking.call(audit, "src"),
    )
    print(
        await on_trio.create(audit, "src"),
        await on_asyncio.create(audit, "src"),
        blocking.create(audit, "src"),
    )
    print(
        await (await on_trio.get(audit, "x")).result(),
        await (await on_asyncio.get(audit, "x")).result(),
    )
    print(blocking.get(audit, "x").result(), await step.call(audit, "src"))
    blocking.call(audit, 1)  # type: ignore[arg-type]
    await on_asyncio.call(audit, 1)  # type: ignore[arg-type]
    blocking.set_limits(concurency=1)  # type: ignore[call-arg]
