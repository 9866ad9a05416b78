"""A namespace that is removed with everything of it: `delete_all` (L7a)."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trio

from stepwell import (
    Client,
    Engine,
    InstanceNotFound,
    InvalidConfig,
    InvalidState,
    Limits,
    Step,
    aio,
    sync,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def order(step: Step, n: int = 0) -> int:
    if n % 4 == 0:
        return n
    if n % 4 == 1:
        raise ValueError("no")
    if n % 4 == 2:
        await step.create(child, id=f"child-of-{n}", attributes={"n": n})
    await step.wait_for_approval("ok", detail=n)
    return n


@workflow
async def child(step: Step) -> None:
    await step.wait_for_event("never")


CODE = [order, child]


async def lived_in(engine: Any, name: str) -> Any:
    """Fills a namespace with some of everything."""
    tenant = engine.namespace(name, limits=Limits(concurrency=7, create_rate=1000))
    await tenant.set_limits(order, steps=9)
    for n in range(8):
        await tenant.create(order, n, id=f"o-{n}", attributes={"tenant": name})
    for n in (3, 7):
        waits = await tenant.get(order, f"o-{n}")
        await waits.wait_for_status("waiting")
        await waits.send_event("early", {"of": name}, dedup_id="once")
    await tenant.approvals.approve("order/o-7#later#1", by="ann")
    await tenant.put_schedule(order, "1 day", id="daily", params=4)
    await (await tenant.schedules())[0].trigger()
    await tenant.pause(order, ids=["o-3"], actor="ann")
    return tenant


def everything(store: Path, name: str) -> dict[str, list[str]]:
    """Every row of the store that says this, in any column, but for the audit."""
    found: dict[str, list[str]] = {}
    with contextlib.closing(sqlite3.connect(store)) as conn:
        tables = [it for (it,) in conn.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in tables:
            if table.startswith("sqlite_") or table == "audit":
                continue
            rows = list(conn.execute(f"SELECT * FROM {table}"))
            said = [repr(row) for row in rows if name in repr(row)]
            if said:
                found[table] = said
    return found


def of_namespace(store: Path, name: str) -> dict[str, list[str]]:
    """Every row that is of this namespace, by what it says or by the number of its instance."""
    found = everything(store, name)
    del found["bucket"]  # each opening changes what a rate has left
    with contextlib.closing(sqlite3.connect(store)) as conn:
        of = "SELECT i.no FROM instance i JOIN workflow w ON w.id = i.workflow WHERE w.namespace"
        for table in ("instance", "journal", "wait", "event", "seen", "params", "result",
                      "attributes", "attribute", "approval"):  # fmt: skip
            rows = conn.execute(f"SELECT * FROM {table} WHERE no IN ({of} = ?)", [name])
            found[table] = sorted(map(repr, rows))
    assert all(found[it] for it in ("instance", "journal", "wait", "event", "seen", "approval"))
    return found


async def swept(store: Path) -> None:
    """Opens it, so that what waits for that is done."""
    async with Engine(store, workflows=CODE):
        pass


async def test_l7a_everything_of_it_goes_and_nothing_of_others(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=CODE, store=store, autojump=False) as engine:
        await lived_in(engine, "first")
        acme = await lived_in(engine, "acme")
        await lived_in(engine, "last")
        before = [
            [str(it) for it in await engine.namespace(name).list(limit=100)]
            for name in ("first", "last")
        ]
        done = await acme.delete_all(confirm="acme", actor="eve", note="they left")
        assert (done.done, done.errors) == (11, [])  # 8, two children, one of the schedule
        assert (await acme.list()).items == []
        assert await acme.schedules() == []
        assert (await acme.approvals.list(status=None)).items == []
        assert await acme.reasons() == []
        assert not any((await acme.count()).values())
        assert acme.limits() == Limits()
        assert acme.limits(order).steps == Limits().steps
        assert [it.operation for it in (await acme.bulk.list()).items] == ["delete_all"]
        with pytest.raises(InstanceNotFound):
            await acme.get(order, "o-3")
        [row] = [it for it in await acme.audit() if it.operation == "delete_all"]
        assert (row.actor, row.note, row.result) == ("eve", "they left", "ended, done: 11")
        assert {"pause", "set_limits"} <= {it.operation for it in await acme.audit()}
        assert await engine.namespaces() == ["default", "first", "last"]
        after = [
            [str(it) for it in await engine.namespace(name).list(limit=100)]
            for name in ("first", "last")
        ]
        assert before == after
        for name in ("first", "last"):
            other = engine.namespace(name)
            assert other.limits().concurrency == 7
            assert other.limits(order).steps == 9
            assert [it.id for it in await other.schedules()] == ["daily"]
            assert len((await other.approvals.list()).items) == 4
    await swept(store)
    await swept(store)
    # what the bulk says of itself is all that is left
    assert set(everything(store, "acme")) <= {"bulk"}
    async with open_test_engine(workflows=CODE, store=store, autojump=False) as engine:
        assert await engine.namespaces() == ["default", "first", "last"]
        assert engine.namespace("last").limits().concurrency == 7
        acme = engine.namespace("acme")
        assert (await acme.create(order, 0, id="o-3")).id == "o-3"
        assert "acme" in await engine.namespaces()


async def test_l7a_only_whoever_says_its_name(tmp_path: Path) -> None:
    async with open_test_engine(workflows=CODE, store=tmp_path / "s.db") as engine:
        acme = engine.namespace("acme")
        await acme.create(order, 3, id="x")
        for wrong in ("", "Acme", "default", None, 7, True):
            with pytest.raises(InvalidConfig, match="only if its name is given"):
                await acme.delete_all(confirm=wrong)
        assert len((await acme.list()).items) == 1
        assert [it.operation for it in await acme.audit()] == []


async def test_l7a_meanwhile_nothing_is_let_in(tmp_path: Path) -> None:
    """And what bodies create goes as well: each of these creates the next."""

    @workflow
    async def generations(step: Step, n: int) -> None:
        await step.create(generations, n + 1, id=f"g-{n + 1}")
        await step.sleep("1 second")

    async with open_test_engine(
        workflows=[order, generations], store=tmp_path / "s.db", autojump=False
    ) as engine:
        acme = engine.namespace("acme")
        for n in range(200):
            await acme.create(order, 3, id=f"o-{n}")
        for n in range(0, 50, 10):
            await acme.create(generations, n, id=f"start-{n}")
        refused: list[str] = []

        async def tries(call: Any, *args: Any, **options: Any) -> None:
            try:
                await call(*args, **options)
            except InvalidState as error:
                refused.append(str(error))

        bulks, held = engine._running().bulks, trio.Event()
        unschedule = bulks._unschedule

        async def holds(namespace: str) -> None:
            """It has begun, and waits here before it does anything."""
            await held.wait()
            await unschedule(namespace)

        bulks._unschedule = holds  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tries, functools.partial(acme.delete_all, confirm="acme"))
            while not (open_ones := (await acme.bulk.list()).items):
                pass
            await tries(acme.create, order, 0)
            await tries(acme.create_batch, order, [0, 1])
            await tries(acme.set_limits, steps=7)
            await tries(acme.put_schedule, order, "1 day", id="new")
            await tries(acme.pause, status="all")
            await tries(acme.delete_all, confirm="acme")
            await tries(acme.bulk.stop, open_ones[0].id)
            held.set()
        assert len(refused) == 7
        assert "is not stopped" in refused.pop()
        assert all('namespace "acme" is being deleted' in it for it in refused)
        assert (await acme.list()).items == []
        await acme.create(order, 0, id="anew")


async def test_l7a_what_is_done_to_one_of_it_meanwhile_does_not_save_it(tmp_path: Path) -> None:
    """It is done, or it is too late; but nothing of it stays, and nothing can be begun for many."""
    async with open_test_engine(workflows=CODE, store=tmp_path / "s.db", autojump=False) as engine:
        acme = await lived_in(engine, "acme")
        bulks, held = engine._running().bulks, trio.Event()
        unschedule = bulks._unschedule

        async def holds(namespace: str) -> None:
            await held.wait()
            await unschedule(namespace)

        bulks._unschedule = holds  # type: ignore[method-assign]
        waits, ended = await acme.get(order, "o-7"), await acme.get(order, "o-0")
        calls: list[Any] = [
            ended.restart, waits.pause, waits.resume, waits.terminate, waits.restart,
            functools.partial(waits.send_event, "early", 2), waits.delete,
        ]  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(acme.delete_all, confirm="acme"))
            while not (await acme.bulk.list()).items:
                pass
            for call in calls[:-1]:
                await call()
            with pytest.raises(InvalidState, match="is being deleted"):
                await acme.restart(order, ids=["o-1"])
            held.set()
        for call in calls:
            with pytest.raises(InstanceNotFound):
                await call()
        assert (await acme.list()).items == []
        assert not any((await acme.count()).values())


def _begins_and_dies(store: str, parts: int) -> None:
    """Dies after so many parts of it are durable."""

    async def main() -> None:
        async with Engine(store, workflows=CODE) as engine:
            acme = engine.namespace("acme")

            async def watch() -> None:
                seen = 0
                async with acme.changes() as changes:
                    while seen < parts:
                        await anext(changes)
                        seen += 1
                os.kill(os.getpid(), signal.SIGKILL)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await acme.delete_all(confirm="acme")
                os.kill(os.getpid(), signal.SIGKILL)

    trio.run(main)


@pytest.mark.parametrize("parts", [1, 2, 3, 1_000])
def test_l7a_it_goes_on_after_a_kill(tmp_path: Path, parts: int) -> None:
    store = tmp_path / "s.db"

    async def begin() -> None:
        async with Engine(store, workflows=CODE) as engine:
            await lived_in(engine, "other")
            acme = await lived_in(engine, "acme")
            for n in range(300):
                await acme.create(order, 3, id=f"more-{n}")

    trio.run(begin)
    trio.run(swept, store)
    others = of_namespace(store, "other")
    child = multiprocessing.get_context("fork").Process(
        target=_begins_and_dies, args=(str(store), parts)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL

    async def ends() -> None:
        async with Engine(store, workflows=CODE) as engine:
            acme = engine.namespace("acme")
            while not (found := (await acme.bulk.list()).items) or found[0].status == "running":
                if not found:  # it died before that had begun
                    await acme.delete_all(confirm="acme")
            assert (await acme.list()).items == []
            assert await acme.schedules() == []
            assert [it.operation for it in found] == ["delete_all"]

    trio.run(ends)
    trio.run(swept, store)
    trio.run(swept, store)
    assert set(everything(store, "acme")) <= {"bulk"}
    assert of_namespace(store, "other") == others


async def test_l7a_a_client_and_the_other_fronts(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    async with Engine(store, workflows=CODE) as engine:
        await engine.namespace("acme").create(order, 3, id="x")
        async with Client(store) as client:
            acme = client.namespace("acme")
            with pytest.raises(InvalidConfig):
                await acme.delete_all(confirm="default")
            assert (await acme.delete_all(confirm="acme", actor="eve")).done == 1
            assert await client.namespaces() == []
    assert hasattr(aio.Engine, "delete_all")
    assert hasattr(sync.Engine, "delete_all")


async def test_l7a_an_engines_own_namespace_keeps_what_it_was_opened_with(tmp_path: Path) -> None:
    async with open_test_engine(
        workflows=CODE, store=tmp_path / "s.db", limits=Limits(concurrency=5)
    ) as engine:
        await engine.set_limits(steps=3)
        await engine.create(order, 0, id="x")
        assert (await engine.delete_all(confirm="default")).done == 1
        assert (engine.limits().concurrency, engine.limits().steps) == (5, Limits().steps)
        assert await engine.namespaces() == ["default"]
