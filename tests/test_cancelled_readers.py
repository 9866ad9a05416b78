"""A reader that is cancelled while it waits for the next thing goes on after the last one, whoever
it reads from and whatever it reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from stepwell import Client, Engine, Step, workflow


@workflow
async def talks(step: Step) -> None:
    async with step.stream("numbers") as out:
        for n in range(3):
            await step.wait_for_event("go")
            await out.send(n)


async def cancelled(items: AsyncIterator[Any], *, moment: bool) -> None:
    """Waits for the next item, until nothing happens any more, or not even a moment."""
    async with trio.open_nursery() as nursery:

        async def waits() -> None:
            raise AssertionError(await anext(items))

        nursery.start_soon(waits)
        if moment:
            await wait_all_tasks_blocked()
        else:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def numbers(items: AsyncIterator[Any], n: int) -> None:
    item = await anext(items)
    assert item.value == n


async def events(items: AsyncIterator[Any], n: int) -> None:
    """The next record is the event of this number."""
    while (update := await anext(items)).kind != "record" or update.record.name != "go":
        pass
    assert update.record.count == n + 1


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("reads", [numbers, events])
async def test_a_reader_that_is_cancelled_misses_nothing(tmp_path, reads, is_remote):
    store = str(tmp_path / "s.db")
    async with Engine(store, workflows=[talks]) as engine, Client(store) as client:
        created = await engine.create(talks, id="i")
        instance = await client.get(talks, "i") if is_remote else created
        block = instance.stream("numbers") if reads is numbers else instance.watch()
        async with block as items:
            for n in range(3):
                if reads is numbers:
                    await cancelled(items, moment=False)
                    await cancelled(items, moment=True)
                await created.send_event("go")
                await reads(items, n)
            *_, last = [it async for it in items]
            assert last.final if reads is numbers else last.status == "complete"
