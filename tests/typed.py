"""What type checkers see of the three APIs: `make check` runs mypy and pyright over this file; it
is never run itself."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, assert_type

import stepwell
from stepwell import (
    EngineStatistics,
    InstanceSummary,
    Limits,
    Page,
    Status,
    Step,
    Workflow,
    aio,
    sync,
    workflow,
)


@workflow
async def audit(step: Step, folder: str) -> int:
    return len(folder)


assert_type(audit, Workflow[str, int])


async def length(text: str) -> int:
    return len(text)


@workflow(runtime="asyncio")
async def gathers(step: Step, folder: str) -> int:
    assert_type(await step.gather(step.do(length, "a"), step.do(length, "b")), tuple[int, int])
    async for done in step.as_completed(step.do(length, "a"), length("b")):
        assert_type(await done, int)
    for done in step.as_completed(length("a")):
        assert_type(await done, int)
    return 1


async def on_trio() -> None:
    async with stepwell.Engine("a.db", workflows=[audit]) as engine:
        instance = await engine.create(audit, "src")
        assert_type(instance, stepwell.Instance[int])
        assert_type(await instance.result(), int)


async def on_asyncio() -> None:
    async with aio.Engine("a.db", workflows=[audit], limits=Limits(concurrency=5)) as engine:
        assert_type(engine, aio.Engine)
        instance = await engine.create(audit, "src", id="a", if_exists="return")
        assert_type(instance, aio.Instance[int])
        assert_type(await instance.result(), int)
        assert_type(await engine.call(audit, "src"), int)
        batch = await engine.create_batch(audit, ["a", "b"])
        assert_type(batch.created, list[aio.Instance[int]])
        assert_type(await batch.created[0].wait_for_status("complete"), Status)
        assert_type(engine.peek(audit, "a"), Status | None)
        assert_type(engine.statistics(), EngineStatistics)
        tenant = engine.namespace("acme")
        assert_type(tenant, aio.Namespace)
        assert_type(await tenant.list(audit, limit=5), Page[InstanceSummary])
        assert_type(await engine.approvals.approve("a", by="me"), bool)
        method: Callable[[int], Coroutine[Any, Any, None]] = engine.reshard
        await method(5)
        await engine.create(audit, "src", priority="high")  # type: ignore[call-overload]  # an int
        engine.create_all()  # type: ignore[attr-defined]  # there is no such method


def blocking() -> None:
    with sync.Engine("a.db", workflows=[audit]) as engine:
        assert_type(engine, sync.Engine)
        instance = engine.create(audit, "src")
        assert_type(instance, sync.Instance[int])
        assert_type(instance.result(), int)
        assert_type(engine.call(audit, "src"), int)
        assert_type(engine.create_batch(audit, ["a"]).created, list[sync.Instance[int]])
        assert_type(engine.namespace("acme").count(), dict[Status, int])
        assert_type(engine.approvals.reject("a", by="me"), bool)
        engine.call(audit, "src", "id")  # type: ignore[call-overload]  # keyword only


async def takes(engine: aio.Engine, instance: aio.Instance[int]) -> Awaitable[int]:
    return instance.result()
