"""A workflow that had another name before: `@workflow(formerly=)` (L12a)."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trio

from stepwell import (
    Client,
    Engine,
    InvalidConfig,
    InvalidName,
    Retry,
    Step,
    StepRef,
    Workflow,
    current_step,
    workflow,
)
from stepwell.crypto import Keyring
from stepwell.testing import check_replay, open_test_engine

KEYS: list[tuple[str, str]] = []


def keyed() -> str:
    context = current_step()
    KEYS.append((context.name, context.idempotency_key))
    return context.idempotency_key


async def refused() -> None:
    raise ValueError("not yet")


async def billing(step: Step, customer: str) -> list[Any]:
    """Derives all that derives from its name, before and after it waits."""
    first = [await step.do(keyed, name="first"), str(step.uuid()), step.random.random()]
    event = await step.wait_for_event("paid")
    approval = await step.wait_for_approval("ok")
    child = await step.create("note", id=None)
    last = [await step.do(keyed, name="last"), str(step.uuid()), step.random.random(), child.id]
    return [customer, first, event.payload, approval.by, last]


async def noted(step: Step) -> str:
    return "noted"


def under(name: str, *formerly: str, version: str = "1", fn: Any = billing) -> Workflow[Any, Any]:
    return workflow(name=name, version=version, formerly=formerly)(fn)


note = under("note", fn=noted)


async def begun(store: Path | str, name: str, *ids: str, **options: Any) -> None:
    """Creates instances of a workflow of this name, which wait for an event."""
    async with open_test_engine(workflows=[under(name), note], store=store, **options) as engine:
        for id in ids:
            await (await engine.create(name, "ada", id=id)).wait_for_status("waiting")


async def ended(engine: Any, name: str, id: str) -> list[Any]:
    instance = await engine.get(name, id)
    await instance.send_event("paid", 7)
    await instance.wait_for_status("waiting")
    [asked] = (await engine.approvals.list(name)).items
    assert await engine.approvals.approve(asked.id, by="eve")
    return await instance.result()


def shape(store: Path) -> list[Any]:
    """Everything that is stored, but what each opening counts."""
    with contextlib.closing(sqlite3.connect(store)) as conn:
        tables = [
            name
            for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if not name.startswith("sqlite_")
        ]
        return [
            (it, sorted(map(repr, conn.execute(f"SELECT * FROM {it}"))))
            for it in tables
            if it != "store" and it != "meta"
        ]


@pytest.mark.parametrize("sealed", [False, True])
async def test_l12a_what_derives_from_the_old_name_stays_as_it_was(
    tmp_path: Path, sealed: bool
) -> None:
    """Two stores that are alike to the byte: one goes on under the old name, one under another."""
    ring = Keyring({"k": secrets.token_bytes(32)}) if sealed else None
    await begun(tmp_path / "a.db", "billing", "x", codec=ring)
    (tmp_path / "b.db").write_bytes((tmp_path / "a.db").read_bytes())
    async with open_test_engine(
        workflows=[under("billing"), note], store=tmp_path / "a.db", codec=ring
    ) as engine:
        same = await ended(engine, "billing", "x")
    async with open_test_engine(
        workflows=[under("invoicing", "billing"), note], store=tmp_path / "b.db", codec=ring
    ) as engine:
        found = await engine.get("invoicing", "x")
        exported = await found.export()
        assert await ended(engine, "invoicing", "x") == same
        assert (await engine.list("billing")).items[0].workflow == "invoicing"
        # what is created from now on is of the new name
        fresh = await engine.create("billing", "bob", id="y")
        assert fresh.workflow == "invoicing"
        await fresh.wait_for_status("waiting")
        assert (await ended(engine, "billing", "y"))[0] == "bob"
    await check_replay(under("invoicing", "billing"), [exported])


async def test_l12a_an_event_sent_before_and_one_sent_after_are_read(tmp_path: Path) -> None:
    """With a codec that binds each value to its place."""

    async def collects(step: Step) -> list[Any]:
        await step.sleep("1 hour")
        return [(await step.wait_for_event("e")).payload for _ in range(3)]

    ring = Keyring({"k": secrets.token_bytes(32)})
    store = tmp_path / "s.db"
    old, new = under("old", fn=collects), under("new", "old", fn=collects)
    async with open_test_engine(workflows=[old], store=store, codec=ring, autojump=False) as engine:
        instance = await engine.create(old, id="x")
        await instance.wait_for_status("waiting")
        await instance.send_event("e", "before")
    async with open_test_engine(workflows=[new], store=store, codec=ring) as engine:
        instance = await engine.get("old", "x")
        await instance.send_event("e", "after")
        await (await engine.get("new", "x")).send_event("e", "last")
        assert await instance.result() == ["before", "after", "last"]
        assert await (await engine.get(new, "x")).result() == ["before", "after", "last"]
    async with open_test_engine(workflows=[new], store=store, codec=ring) as engine:
        assert await (await engine.get(new, "x")).result() == ["before", "after", "last"]


async def test_l12a_both_names_mean_it_wherever_a_workflow_is_named(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    await begun(store, "billing", "x", "y")
    async with open_test_engine(workflows=[under("billing"), note], store=store) as engine:
        await engine.set_limits("billing", concurrency=7)
        await engine.put_schedule("billing", "365 days", id="yearly", params="eve")
        await (await engine.get("billing", "y")).pause(actor="ann")
    new = under("invoicing", "billing")
    async with open_test_engine(workflows=[new, note], store=store) as engine:
        for name in ("billing", "invoicing", new):
            assert {it.id for it in await engine.list(name)} == {"x", "y"}
            assert (await engine.count(name))["paused"] == 1
            assert engine.limits(name).concurrency == 7
            assert (await engine.queue(name)).queued == 0
            assert [it.count for it in await engine.reasons(name)] == [1, 1]
            assert [it.workflow for it in await engine.versions(name)] == ["invoicing"]
            assert [it.actor for it in await engine.audit(workflow=name, id="y")] == ["ann"]
        assert engine.peek("billing", "x") == engine.peek("invoicing", "x") == "waiting"
        [schedule] = await engine.schedules()
        assert schedule.workflow == "invoicing"
        assert (await schedule.trigger()).workflow == "invoicing"
        done = await engine.resume("billing", ids=["y"])
        assert (done.done, done.errors) == (1, [])
        assert (await engine.terminate("billing", status="all")).done == 3
        await engine.set_limits("billing", concurrency=3)
        assert engine.limits(new).concurrency == 3


async def test_l12a_a_client_may_use_both_names(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    await begun(store, "billing", "x")
    engine = Engine(store, workflows=[under("invoicing", "billing"), note])
    async with engine, Client(store) as client:
        assert (await client.get("billing", "x")).workflow == "invoicing"
        created = await client.create("billing", "bob", id="y")
        assert created.workflow == "invoicing"
        await created.wait_for_status("waiting")
        assert {it.id for it in await client.list("billing")} == {"x", "y"}
        await (await client.get("billing", "x")).terminate()


async def test_l12a_an_approval_is_decided_by_both_names(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    await begun(store, "billing", "x", "y")
    async with open_test_engine(
        workflows=[under("invoicing", "billing"), note], store=store
    ) as engine:
        fresh = await engine.create("invoicing", "bob", id="z")
        # before it is asked for: ids can be known
        for request in ("billing/x#ok#1", "invoicing/y#ok#1", "billing/z#ok#1"):
            assert await engine.approvals.approve(request, by="eve")
        for id in ("x", "y", "z"):
            instance = await engine.get("invoicing", id)
            await instance.send_event("paid", 1)
            assert (await instance.result())[3] == "eve"
        assert fresh.id == "z"


async def test_l12a_a_parent_that_called_it_by_its_old_name_goes_on(tmp_path: Path) -> None:
    async def child(step: Step, n: int) -> int:
        return (await step.wait_for_event("go")).payload + n

    store = tmp_path / "s.db"

    def parent_of(target: Workflow[Any, Any]) -> Workflow[Any, Any]:
        async def parent(step: Step) -> list[int]:
            return [await step.call(target, n) for n in range(3)]

        return workflow(name="parent")(parent)

    async def child_of(engine: Any, name: str) -> Any:
        """Returns the one that waits, once it does."""
        async with engine.changes() as changes:
            while not (found := (await engine.list(name, status="waiting")).items):
                await anext(changes)
        return await engine.get(name, found[0].id)

    names = [("a", ()), ("b", ("a",)), ("a", ("b",))]  # renamed, and back
    for at, (name, formerly) in enumerate(names):
        target = under(name, *formerly, fn=child)
        async with open_test_engine(workflows=[target, parent_of(target)], store=store) as engine:
            if at == 0:
                await engine.create("parent", id="p")
            parent = await engine.get("parent", "p")
            called = await child_of(engine, name)
            await called.send_event("go", 10)
            await called.result()
            if at < 2:
                await child_of(engine, name)
            else:
                assert await parent.result() == [10, 11, 12]
                calls = [it.name for it in await parent.history() if it.kind == "call"]
                assert calls == ["a", "a", "b"]


async def test_l12a_names_follow_a_chain_and_come_back(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    await begun(store, "a", "x")
    for name, formerly in [
        ("b", ["a"]),
        ("c", ["b"]),  # that a became b the store knows
        ("d", ["a", "b", "c"]),
        ("a", ["d"]),
        ("a", []),
    ]:
        it = under(name, *formerly)
        async with open_test_engine(workflows=[it, note], store=store) as engine:
            assert [it.id for it in await engine.list(name, status="waiting")] == ["x"]
            assert await engine.count() == await engine.count(name)
    async with open_test_engine(workflows=[under("a"), note], store=store) as engine:
        assert (await ended(engine, "a", "x"))[0] == "ada"


async def test_l12a_the_store_remembers_when_the_code_says_it_no_more(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    await begun(store, "a", "x")
    for it in (under("b", "a"), under("b")):
        async with open_test_engine(workflows=[it, note], store=store) as engine:
            assert (await engine.get("a", "x")).workflow == "b"


async def test_l12a_whoever_contradicts_changes_nothing(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    await begun(store, "a", "x", "only-a")
    await begun(store, "b", "x")
    await begun(store, "c", "y")

    async def refused_by(match: str, *workflows: Workflow[Any, Any]) -> None:
        before = shape(store)
        with pytest.raises(InvalidConfig, match=match):
            async with open_test_engine(workflows=[*workflows, note], store=store):
                raise AssertionError("it opened")
        assert shape(store) == before

    # both have an instance of this id
    await refused_by('formerly="a", and both have an instance "x"', under("b", "a"))
    await refused_by('formerly="b", and both have an instance "x"', under("new", "a", "b"))
    # two want it, or it is there
    await refused_by('"n" and "m" both say formerly=.a.', under("n", "a"), under("m", "a"))
    await refused_by("formerly='a' is the name of another", under("n", "a"), under("a"))
    # it went to another before
    async with open_test_engine(workflows=[under("d", "c"), note], store=store):
        pass
    await refused_by('belong to "d" in this store. Name "d"', under("e", "c"), under("d"))
    # and is used again, for something else, or after a deploy was taken back
    await refused_by(r'write formerly=\["d"\]', under("c"))
    async with open_test_engine(workflows=[under("c", "d"), note], store=store) as engine:
        assert [it.id for it in await engine.list("c")] == ["y"]


def test_names_that_are_none_are_refused() -> None:
    for wrong, error in [
        ("old", InvalidConfig),
        (7, InvalidConfig),
        (["new"], InvalidConfig),
        (["a", "a"], InvalidConfig),
        (["no name"], InvalidName),
        ([7], InvalidName),
    ]:
        with pytest.raises(error, match="formerly"):
            workflow(name="new", formerly=wrong)(noted)  # type: ignore[arg-type]


async def test_l12a_steps_that_failed_and_ends_are_counted_under_the_new_name(
    tmp_path: Path,
) -> None:
    async def fails(step: Step) -> None:
        await step.do(refused, retry=Retry.never)

    store = tmp_path / "s.db"
    for name, formerly in [("a", ()), ("b", ("a",))]:
        it = under(name, *formerly, fn=fails)
        async with open_test_engine(workflows=[it], store=store) as engine:
            for n in range(2):
                instance = await engine.create(it, id=f"{name}-{n}")
                await instance.wait_for_status("errored")
    async with open_test_engine(workflows=[under("b", "a", fn=fails)], store=store) as engine:
        assert (await engine.count("a"))["errored"] == (await engine.count())["errored"] == 4
        [reason] = [it for it in await engine.reasons("b") if it.step is not None]
        assert (reason.count, reason.step) == (4, "refused")
        [version] = await engine.versions("a")
        assert version.counts["errored"] == 4
        instance = await engine.get("b", "a-0")
        await instance.restart(from_step=StepRef("refused"))
        await instance.wait_for_status("errored")


def _open_and_die(store: str, after: int) -> None:
    """Opens the store under the new name, and dies at some moment of that, or when it is open."""

    async def main() -> None:
        async with Engine(store, workflows=[under("b", "a"), note]):
            os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, after / 1e4)
    trio.run(main)


def test_l12a_a_kill_while_it_opens_leaves_all_or_none(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    trio.run(lambda: begun(store, "a", *(f"i-{n}" for n in range(40))))
    original = store.read_bytes()
    spawn = multiprocessing.get_context("fork")
    seen = set()
    for after in (1, 20, 60, 120, 200, 400, 1000, 100_000):
        store.write_bytes(original)
        for more in ("-wal", "-shm"):
            Path(f"{store}{more}").unlink(missing_ok=True)
        child = spawn.Process(target=_open_and_die, args=(str(store), after))
        child.start()
        child.join()
        assert child.exitcode in (-signal.SIGKILL, -signal.SIGALRM), child.exitcode
        with contextlib.closing(sqlite3.connect(store)) as conn:
            rows = conn.execute(
                "SELECT w.name, i.born, count(*) FROM instance i JOIN workflow w"
                " ON w.id = i.workflow GROUP BY 1, 2"
            ).fetchall()
        assert rows in ([("a", None, 40)], [("b", "a", 40)])
        seen.add(rows[0][0])

        async def goes_on() -> None:
            async with open_test_engine(workflows=[under("b", "a"), note], store=store) as engine:
                assert (await engine.count("b"))["waiting"] == 40

        trio.run(goes_on)
    assert "b" in seen
