"""Brings the instances of a kept store to their ends."""

from typing import Any

from stepwell import Instance
from stepwell.testing import TestEngine, open_test_engine

from . import bodies

GO = ["cancels", "out_of_time", "fails", "waits", "on_asyncio"]
CHILDREN = ["created", "second"]


async def go_on(path: str) -> dict[str, Any]:
    """Returns what each instance gave or raised."""
    async with open_test_engine(workflows=bodies.ALL, store=path, autojump=False) as engine:
        await engine.clock.advance("5 hours")  # retries, sleeps and what was to begin later
        for name in GO:
            await (await find(engine, name)).send_event("go", 3)
        for name in CHILDREN:
            await (await engine.get(bodies.child, name)).send_event("go", 4)
        await engine.approvals.approve("waits/waits#late#1", by="ann")
        await engine.clock.settled()
        page = (await engine.list(limit=100)).items
        found = [await engine.get(it.workflow, it.id) for it in page]
        return {f"{it.workflow}/{it.id}": await end(it) for it in found}


async def find(engine: TestEngine, name: str) -> Instance[Any]:
    """Returns the instance that is called like its workflow."""
    return await engine.get(getattr(bodies, name), name)


async def end(instance: Instance[Any]) -> list[Any]:
    """Returns the state in which an instance is, and its output or what its error was."""
    status = await instance.status()
    error = status.error and [status.error.type, status.error.step, status.error.attempts]
    return [str(status.status), await instance.result() if status.status == "complete" else error]
