"""Following what happens: `Instance.watch` and `Engine.changes`."""

import asyncio
import contextlib
import sqlite3

import pytest
import trio
import trio.testing

from stepwell import EngineClosed, InstanceNotFound, InvalidConfig, Status, aio, sync, workflow
from stepwell._engine import following
from stepwell.testing import open_test_engine


async def double(n: int) -> int:
    return 2 * n


@workflow
async def steps(step, count: int):
    for n in range(count):
        await step.do(double, n)
        step.report(n)
        if n == 1:
            await step.wait_for_event("go")


@workflow
async def waits(step, _: object = None):
    await step.wait_for_event("go")


async def read(updates, until=None) -> list:
    found = []
    async for update in updates:
        found.append(update)
        if until is not None and until(update):
            break
    return found


def kinds(updates) -> list[str]:
    """What was told but for reports, which are told once or more often."""
    return [
        it.record.name if it.kind == "record" else it.status.value
        for it in updates
        if it.kind != "progress"
    ]


async def test_a_watch_tells_what_was_recorded_and_then_what_happens():
    async with open_test_engine(workflows=[steps], autojump=False) as engine:
        it = await engine.create(steps, 3, id="s")
        await it.wait_for_status("waiting")
        async with it.watch() as updates:
            before = await read(updates, lambda it: it.kind == "status")
            assert kinds(before) == ["double", "double", "waiting"]
            assert [it.record.output for it in before[:2]] == [0, 2]
            await it.send_event("go")
            after = await read(updates)
        assert [it.record.name for it in after if it.record] == ["go", "double"]
        assert after[-1].status is Status.COMPLETE
        assert [it.progress for it in after if it.kind == "progress"][-1:] in (
            [{"progress": 2}],
            [],
        )
        # from each place on, exactly the records that come after it
        names = ["double", "double", "go", "double"]
        records = [it for it in (*before, *after) if it.kind == "record"]
        for at, record in enumerate(records, start=1):
            async with it.watch(cursor=record.cursor) as updates:
                rest = await read(updates)
            assert kinds(rest) == [*names[at:], "complete"]
        async with it.watch(cursor=after[-1].cursor) as updates:
            assert await read(updates) == []


async def test_a_cursor_goes_on_after_a_crash_and_in_another_engine(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=[steps], store=store, autojump=False) as engine:
        it = await engine.create(steps, 4, id="s")
        await it.wait_for_status("waiting")
        async with it.watch() as updates:
            first = await read(updates, lambda it: it.kind == "status")
            await engine.crash()
            await it.send_event("go")
            rest = await read(updates)
        names = [it.record.name for it in (*first, *rest) if it.record]
        assert names == ["double", "double", "go", "double", "double"]
    async with open_test_engine(workflows=[steps], store=store) as engine:
        it = await engine.get(steps, "s")
        async with it.watch(cursor=first[0].cursor) as updates:
            assert kinds(await read(updates)) == [*names[1:], "complete"]


async def test_a_slow_reader_is_cut_and_misses_no_record(monkeypatch):
    monkeypatch.setattr(following, "KEPT_MAX", 4)
    async with open_test_engine(workflows=[steps]) as engine:
        it = await engine.create(steps, 40, id="s")
        async with it.watch() as updates:
            await it.send_event("go")
            await it.result()
            found = await read(updates)
        outputs = [it.record.output for it in found if it.record and it.record.name == "double"]
        assert outputs == [2 * n for n in range(40)]
        assert found[-1].status is Status.COMPLETE


async def test_many_watch_one_and_none_is_left(monkeypatch):
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        it = await engine.create(waits, id="w")
        await it.wait_for_status("waiting")
        ended = []

        async def follow():
            async with it.watch() as updates:
                ended.append(kinds(await read(updates))[-1])

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            await it.terminate()
        assert ended == ["terminated"] * 50


async def test_whoever_follows_is_told_that_it_is_over():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        it = await engine.create(waits, id="w")
        await it.wait_for_status("waiting")
        with pytest.raises(InvalidConfig, match="cursor is"):
            it.watch(cursor="x")
        with pytest.raises(InvalidConfig, match="cursor is"):
            engine.changes(cursor="x")
        gone = await engine.create(waits, id="gone")
        await gone.wait_for_status("waiting")

        async def until_deleted():
            async with gone.watch() as updates:
                with pytest.raises(InstanceNotFound):
                    await read(updates)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_deleted)
            await trio.testing.wait_all_tasks_blocked()
            await gone.delete()

        async def until_closed():
            async with it.watch() as updates, engine.changes() as changes:
                with pytest.raises(EngineClosed):
                    await read(updates)
                with pytest.raises(EngineClosed):
                    await read(changes)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_closed)
            await trio.testing.wait_all_tasks_blocked()
            await engine.drain()


async def test_changes_tell_each_instance_in_the_state_that_it_is_in():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        async with engine.changes() as changes:
            it = await engine.create(waits, id="a")
            await it.wait_for_status("waiting")
            await (await engine.namespace("acme").create(waits, id="x")).wait_for_status("waiting")
            found = await read(changes, lambda it: it.status is Status.WAITING)
            assert {(it.workflow, it.id, it.kind) for it in found} == {("waits", "a", "status")}
            await it.terminate()
            (ended,) = await read(changes, lambda it: True)
            assert (ended.id, ended.status) == ("a", Status.TERMINATED)
        async with engine.changes(cursor=found[-1].cursor) as changes:
            (again,) = await read(changes, lambda it: True)
            assert again == ended
        other = await engine.create(waits, id="b")
        await other.wait_for_status("waiting")
        await engine.crash()
        async with engine.changes(cursor=ended.cursor) as changes:
            found = await read(changes, lambda it: it.status is Status.WAITING)
            assert {it.id for it in found} == {"b"}
            await engine.create(waits, id="c")
            assert (await read(changes, lambda it: it.id == "c"))[-1].kind == "status"


async def test_a_cursor_of_changes_that_is_not_known_any_more_is_told(tmp_path):
    async def reset(engine, cursor: str) -> None:
        async with engine.changes(cursor=cursor) as changes:
            (told,) = await read(changes, lambda it: True)
            assert (told.kind, told.id, told.status) == ("reset", None, None)
            it = await engine.create(waits)
            found = await read(changes, lambda told: told.id == it.id)
            assert {told.kind for told in found} == {"status"}

    async with open_test_engine(workflows=[waits], store=tmp_path / "s.db") as engine:
        async with engine.changes() as changes:
            await engine.create(waits, id="a")
            (first,) = await read(changes, lambda it: True)
        epoch, _, place = first.cursor.partition("-")
        await reset(engine, f"{epoch}-{int(place, 16) + 1_000:x}")
        await reset(engine, f"{int(epoch, 16) + 1:x}-{place}")
    # the row of the first commits is lost, and with it what came before what is left
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as conn, conn:
        conn.execute("UPDATE meta SET value = x'00' WHERE name = 'changes/001'")
    async with open_test_engine(workflows=[waits], store=tmp_path / "s.db") as engine:
        await reset(engine, first.cursor)


def test_blocking_programs_and_those_on_asyncio_follow_too(tmp_path):
    with sync.Engine(tmp_path / "s.db", workflows=[steps]) as engine:
        it = engine.create(steps, 1, id="s")
        with it.watch() as updates:
            assert kinds(list(updates))[-1] == "complete"
        with engine.changes() as changes:
            engine.create(steps, 1, id="t")
            assert next(changes).id == "t"


async def follows_on_asyncio(store) -> list[str]:
    async with aio.Engine(store, workflows=[steps]) as engine:
        it = await engine.create(steps, 1, id="s")
        async with it.watch() as updates:
            return kinds([update async for update in updates])


def test_programs_on_asyncio_follow_too(tmp_path):
    assert asyncio.run(follows_on_asyncio(tmp_path / "s.db"))[-1] == "complete"
