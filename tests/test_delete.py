"""Deleting an instance with everything of it (rule L7)."""

import sqlite3
from contextlib import closing

import pytest
import trio
from test_every_state import STATES, an_engine

from stepwell import (
    InstanceNotFound,
    InstanceTerminated,
    InvalidName,
    workflow,
)
from stepwell.testing import open_test_engine

seen: list[str] = []


@pytest.fixture(autouse=True)
def _fresh():
    seen.clear()


async def notes(what: str) -> str:
    seen.append(what)
    return what


@workflow
async def waits(step) -> int:
    await step.do(notes, "begun", name="begun")
    event = await step.wait_for_event("go")
    return event.payload


@workflow
async def calls(step) -> str:
    try:
        return str(await step.call(waits, id="child"))
    except InstanceTerminated as error:
        return str(error)


@workflow
async def creates(step) -> None:
    await step.create(waits, id="created")
    await step.call(waits, id="called")


@pytest.mark.parametrize("store", ["memory", "file"])
@pytest.mark.parametrize("state", STATES)
async def test_l7_one_in_whatever_state_is_gone_and_its_id_free(tmp_path, store, state):
    async with an_engine(":memory:" if store == "memory" else str(tmp_path / "s.db")) as engine:
        instance = await STATES[state](engine)
        await instance.wait_for_status(state)
        before = await engine.count()
        await instance.delete(actor="ann")
        counts = await engine.count()
        assert sum(counts.values()) == sum(before.values()) - 1
        assert counts[state] == before[state] - 1 or state == "queued"
        for call in (
            instance.status, instance.history, instance.explain, instance.delete, instance.pause,
            instance.terminate, instance.restart, lambda: instance.send_event("go"),
            instance.result,
        ):  # fmt: skip
            with pytest.raises(InstanceNotFound, match=instance.id):
                await call()
        await engine.crash()
        assert engine.peek("one", instance.id) is None
        assert instance.id not in [it.id for it in (await engine.list()).items]
        again = await engine.create("one", "returns", id=instance.id)
        assert again.id == instance.id
        row = (await engine.audit(id=instance.id, workflow="one")).items[0]
        assert (row.operation, row.actor, row.result) == ("delete", "ann", "gone")


async def test_l7_whoever_waits_is_told_and_a_handle_means_whoever_has_the_id():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        instance = await engine.create(waits, id="one")
        await instance.wait_for_status("waiting")
        told = []

        async def wait() -> None:
            with pytest.raises(InstanceNotFound):
                await instance.result()
            told.append("gone")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await instance.delete()
        assert told == ["gone", "gone"]
        await engine.create(waits, id="one")
        await instance.send_event("go", 4)
        assert await instance.result() == 4
        assert [it.name for it in await instance.history()] == ["begun", "go"]


@pytest.mark.parametrize("paused", [False, True])
async def test_l10_who_called_it_is_told_that_it_was_terminated(paused):
    async with open_test_engine(workflows=[waits, calls], autojump=False) as engine:
        parent = await engine.create(calls)
        await parent.wait_for_status("waiting")
        if paused:
            await parent.pause()
        child = await engine.get(waits, "child")
        await child.delete()
        if paused:
            await engine.crash()
            await parent.resume()
        assert "terminated" in await parent.result()
        assert [it.status for it in await parent.history()] == ["failed"]


async def test_l10_with_it_end_those_it_called_and_not_those_it_created():
    async with open_test_engine(workflows=[waits, creates], autojump=False) as engine:
        parent = await engine.create(creates)
        await parent.wait_for_status("waiting")
        await parent.delete()
        called, created = await engine.get(waits, "called"), await engine.get(waits, "created")
        assert (await called.status()).status == "terminated"
        assert (await created.status()).status == "waiting"
        await created.send_event("go", 1)
        assert await created.result() == 1


async def test_l7_events_and_their_dedup_ids_are_forgotten():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        for payload in (1, 2):
            instance = await engine.create(waits, id="one")
            await instance.send_event("go", payload, dedup_id="once")
            assert await instance.result() == payload
            await instance.delete()


async def test_l7_two_at_once_the_second_finds_nothing():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        instance = await engine.create(waits, id="one")
        refused = []

        async def delete() -> None:
            try:
                await instance.delete()
            except InstanceNotFound:
                refused.append("gone")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(delete)
        assert refused == ["gone", "gone"]
        with pytest.raises(InvalidName, match="actor"):
            await instance.delete(actor="")


async def test_l7_nothing_of_it_is_left_in_the_store(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=[waits], store=str(store)) as engine:
        for id in ("one", "two"):
            instance = await engine.create(waits, id=id, attributes={"tier": "gold"})
            await instance.send_event("go", 1, dedup_id="once")
            await instance.send_event("later", 2)
            await instance.result()
        await instance.delete()
        # the writer frees a history when it has time: it has after the next commits
        for number in range(4):
            await engine.create(waits, id=f"n{number}")
    with closing(sqlite3.connect(store)) as conn:
        (gone,) = conn.execute("SELECT max(no) FROM instance WHERE id IN ('one')").fetchone()
        known = {no for (no,) in conn.execute("SELECT no FROM instance")}
        assert gone in known
        assert len(known) == 5
        for table in ("params", "result", "progress", "attributes", "attribute", "journal",
                      "wait", "event", "seen", "approval", "sweep", "grave"):  # fmt: skip
            rows = {no for (no,) in conn.execute(f"SELECT no FROM {table}")}
            assert rows <= known, table
