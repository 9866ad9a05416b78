"""`explain()` of an instance that waits for children: which ones, and what each is at (L13)."""

import sqlite3
from contextlib import closing

import pytest
import trio

from stepwell import workflow
from stepwell.testing import open_test_engine

gate = trio.Event()


@pytest.fixture(autouse=True)
def _fresh():
    global gate
    gate = trio.Event()


async def at_the_gate() -> None:
    await gate.wait()


async def in_a_task_of_its_own(step) -> None:
    await step.wait_for_event("go")


@workflow(concurrency=1)
async def delivers(step, how: str) -> str:
    if how == "runs":
        await step.do(at_the_gate)
    elif how == "blocked":
        # two that wait for the same and are no branches: a race (I3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_task_of_its_own, step)
            nursery.start_soon(in_a_task_of_its_own, step)
    else:
        await step.wait_for_event("go")
    return how


@workflow
async def calls(step, how: str) -> str:
    return await step.call(delivers, how, id="c", name="asks")


@workflow
async def awaits(step, how: str) -> str:
    return await (await step.create(delivers, how, id="c")).result()


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize(
    ("parent", "wait"), [(calls, 'child delivers/c (call "asks")'), (awaits, "child delivers/c")]
)
@pytest.mark.parametrize(
    ("how", "state", "reason"),
    [("waits", "waiting", None), ("runs", "running", None), ("blocked", "blocked", "race")],
)
async def test_l13_who_waits_for_a_child_says_which_and_what_that_is_at(
    parent, wait, how, state, reason, crashes
):
    async with open_test_engine(
        workflows=[delivers, calls, awaits], autojump=False, grace=0
    ) as engine:
        instance = await engine.create(parent, how, id="p")
        await instance.wait_for_status("waiting")
        made = await engine.get(delivers, "c")
        await made.wait_for_status(state)
        if crashes:  # nobody's body is in memory any more
            await engine.crash()
            await made.wait_for_status(state)
        why = await instance.explain()
        said = f"{state} ({reason})" if reason else state
        assert str(why) == f"{instance.workflow}/p waits for {wait}, which is {said}."
        assert (why.code, why.until) == ("waiting", None)
        assert why.details == {
            "children": [{"workflow": "delivers", "id": "c", "status": state, "reason": reason}]
        }
        listed = (await engine.list(parent)).items[0]
        assert (await instance.status()).waiting_on == listed.waiting_on == wait


async def test_l13_children_are_named_one_by_one_and_beside_a_step_that_runs():
    @workflow
    async def many(step) -> None:
        async with step.open_nursery() as nursery:
            for it in ("a", "b"):
                nursery.start_soon(lambda it=it: step.call(delivers, "runs", id=it))
            nursery.start_soon(lambda: step.do(at_the_gate))

    async with open_test_engine(workflows=[delivers, many], autojump=False, grace=0) as engine:
        instance = await engine.create(many, id="p")
        while len((await engine.list(delivers)).items) < 2:
            await trio.lowlevel.checkpoint()
        await (await engine.get(delivers, "a")).wait_for_status("running")
        why = await instance.explain()
        assert 'many/p is running: attempt 1 of "at_the_gate" in nursery#1[2]' in str(why)
        assert (
            'it waits for child delivers/a (call "delivers" in nursery#1[0]), which is running; '
        ) in str(why)
        assert str(why).endswith(
            'it waits for child delivers/b (call "delivers" in nursery#1[1]), which is queued.'
        )
        assert [(it["id"], it["status"]) for it in why.details["children"]] == [
            ("a", "running"),
            ("b", "queued"),
        ]
        assert [it["name"] for it in why.details["steps"]] == ["at_the_gate"]
        gate.set()
        await instance.result()
        assert (await instance.explain()).details == {}


async def test_l13_of_many_children_the_first_are_named():
    @workflow
    async def all_of_them(step) -> None:
        async with step.open_nursery() as nursery:
            for it in await step.create_batch(delivers, ["waits"] * 30):
                nursery.start_soon(it.result)

    async with open_test_engine(
        workflows=[delivers, all_of_them], autojump=False, grace=0
    ) as engine:
        instance = await engine.create(all_of_them)
        await instance.wait_for_status("waiting")
        why = await instance.explain()
        assert len({it["id"] for it in why.details["children"]}) == 20
        assert str(why).endswith("; ….")
        assert len((await instance.status()).waiting_on.split(", ")) == 30


async def test_l13_a_child_that_cannot_be_read_is_not_named_and_harms_no_parent(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[delivers, calls], store=store, autojump=False) as engine:
        instance = await engine.create(calls, "waits", id="p")
        await instance.wait_for_status("waiting")
        await (await engine.get(delivers, "c")).wait_for_status("waiting")
        with closing(sqlite3.connect(store)) as conn, conn:
            assert conn.execute("UPDATE instance SET status = 'x' WHERE id = 'c'").rowcount == 1
        why = await instance.explain()
        assert (str(why), why.details) == ('calls/p waits for call "asks".', {})
        assert [it.waiting_on for it in (await engine.list(calls)).items] == ['call "asks"']
