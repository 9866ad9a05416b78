"""What is done to many instances: to each that was there, once, whatever happens to the engine."""

import contextlib

import pytest
import trio

from stepwell import (
    BulkPreview,
    EngineClosed,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    InvalidState,
    NewInstance,
    Retry,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def waits(step):
    return (await step.wait_for_event("go")).payload


@workflow
async def asks(step):
    return (await step.wait_for_approval("ship")).by


@workflow
async def retries(step):
    await step.do(fails)


async def fails() -> None:
    raise ValueError("broken")


ALL = [waits, asks, retries]


@pytest.fixture(params=[":memory:", "s.db"])
def opened(request, tmp_path):
    store = request.param if request.param == ":memory:" else str(tmp_path / request.param)
    return open_test_engine(workflows=ALL, store=store, autojump=False)


async def made(engine, count: int, code=waits, **more):
    """So many that wait."""
    batch = [NewInstance(id=f"{code.name}-{n}", **more) for n in range(count)]
    created = (await engine.create_batch(code, batch)).created
    for instance in created:
        await instance.wait_for_status("waiting")
    return created


async def test_who_is_chosen_is_shown_and_then_done_to_and_nobody_else(opened):
    async with opened as engine:
        gold = await made(engine, 70, attributes={"tier": "gold"})
        plain = await engine.create(waits, id="plain")
        await gold[3].pause()
        seen = await engine.terminate(waits, attributes={"tier": "gold"}, dry_run=True)
        assert isinstance(seen, BulkPreview)
        assert seen.counts == {"waiting": 69, "paused": 1}
        assert [it.id for it in seen.examples] == [it.id for it in gold[:5]]
        late = await engine.create(waits, id="late", attributes={"tier": "gold"})
        result = await engine.terminate(
            waits, attributes={"tier": "gold"}, frontier=seen.frontier, actor="ann", note="unwanted"
        )
        assert (result.done, result.errors) == (70, [])
        assert await engine.count(waits, status="terminated") == {
            **dict.fromkeys(await engine.count(), 0), "terminated": 70,
        }  # fmt: skip
        for instance in (plain, late):
            assert await instance.wait_for_status("waiting") == "waiting"
        assert (await gold[0].status()).error.message == "ann terminated it: unwanted"

        bulk = await engine.bulk.get(result.id)
        assert (bulk.operation, bulk.status, bulk.done, bulk.errors, bulk.actor, bulk.note) == (
            "terminate", "ended", 70, {}, "ann", "unwanted",
        )  # fmt: skip
        assert bulk.filter == "attributes={'tier': 'gold'}"
        assert (await engine.bulk.list()).items == [bulk]
        assert (await engine.namespace("other").bulk.list()).items == []


async def test_what_it_is_about_is_one_row_of_the_audit_found_from_each_of_them(opened):
    async with opened as engine:
        some = await made(engine, 3)
        await some[0].pause(actor="bob")
        await engine.resume(waits, status="paused", actor="ann", note="go on")
        await engine.pause(waits, status="waiting", actor="eve")
        rows = (await engine.audit()).items
        assert [(it.operation, it.actor, it.id, it.filter, it.result) for it in rows] == [
            ("pause", "eve", None, "status='waiting'", "ended, done: 3"),
            ("resume", "ann", None, "status='paused'", "ended, done: 1"),
            ("pause", "bob", "waits-0", None, "paused"),
        ]
        of = await engine.audit(workflow=waits, id="waits-1")
        assert of.items == rows[:1]
        # of those that were done to many each instance knows the last
        of = await engine.audit(workflow=waits, id="waits-0")
        assert of.items == [rows[0], rows[2]]


async def test_ids_are_done_in_their_order_and_who_refuses_is_told(opened):
    async with opened as engine:
        some = await made(engine, 3)
        await some[1].send_event("go")
        await some[1].result()
        ids = ["waits-0", "nobody", "waits-1", "waits-2", "waits-0"]
        seen = await engine.pause(waits, ids=ids, dry_run=True)
        assert seen.counts == {"waiting": 2, "complete": 1}
        result = await engine.pause(waits, ids=ids)
        assert result.done == 2
        assert [(it.id, type(it.error)) for it in result.errors] == [
            ("nobody", InstanceNotFound), ("waits-1", InvalidState),
        ]  # fmt: skip
        bulk = await engine.bulk.get(result.id)
        assert bulk.errors == {"InstanceNotFound": 1, "InvalidState": 1}
        assert (await engine.audit()).items[0].result == "ended, done: 2, not_found: 1, state: 1"


async def test_at_a_rate_it_goes_on_after_a_crash_where_it_was_and_can_be_stopped(opened):
    async with opened as engine:
        some = await made(engine, 50)

        async def pauses() -> None:
            with pytest.raises(EngineClosed):
                await engine.pause(waits, status="waiting", rate=10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pauses)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(19):
                await engine.clock.advance(0.1)
            assert 15 <= (await engine.count())["paused"] <= 25
            await engine.crash()
        before = (await engine.count())["paused"]
        for _ in range(10):
            await engine.clock.advance(0.1)
        assert before < (await engine.count())["paused"] < 45
        [bulk] = (await engine.bulk.list()).items
        assert (bulk.status, bulk.rate) == ("running", 10)
        bulk = await engine.bulk.stop(bulk.id, actor="ann", note="enough")
        assert bulk.status == "stopped"
        paused = (await engine.count())["paused"]
        assert bulk.done == paused
        await engine.clock.advance("1 minute")
        assert (await engine.count())["paused"] == paused
        assert (await engine.bulk.stop(bulk.id)) == bulk
        rows = (await engine.audit()).items
        assert [(it.operation, it.actor, it.note) for it in rows] == [
            ("bulk.stop", "ann", "enough"), ("pause", None, None),
        ]  # fmt: skip
        assert rows[1].result == f"stopped, done: {paused}"
        assert len(some) == 50


async def test_approvals_and_events_are_for_many_too(opened):
    async with opened as engine:
        asking, waiting = await made(engine, 3, asks), await made(engine, 3)
        seen = await engine.approvals.approve_all(asks, by="ann", status="waiting", dry_run=True)
        assert seen.counts == {"waiting": 3}
        none = await engine.approvals.reject_all(asks, by="eve", status="waiting", name="other")
        assert none.done == 0
        done = await engine.approvals.approve_all(asks, by="ann", status="all", reason="paid")
        assert done.done == 3
        assert [await it.result() for it in asking] == ["ann"] * 3
        done = await engine.send_event_all("go", 7, workflow=waits, ids=["waits-0", "waits-2"])
        assert done.done == 2
        assert [await waiting[n].result() for n in (0, 2)] == [7, 7]
        assert (await waiting[1].status()).status == "waiting"
        assert [(it.operation, it.actor) for it in (await engine.audit()).items] == [
            ("send_event", None), ("approve", "ann"), ("reject", "eve"),
        ]  # fmt: skip


async def test_the_next_attempts_of_many_are_made_now(opened):
    async with opened as engine:
        some = await made(engine, 5, retries)
        result = await engine.retry_now(retries, status="waiting", rate=1_000)
        assert result.done == 5
        for instance in some:
            await instance.wait_for_status("waiting")
            assert len([it for it in await instance.history() if it.status != "waiting"]) == 2


async def test_many_are_restarted_and_deleted_ended_or_not(opened):
    async with opened as engine:
        some = await made(engine, 3)
        await some[0].send_event("go", 1)
        await some[0].result()
        result = await engine.restart(waits, status=["complete", "waiting"], actor="ann")
        assert result.done == 3
        assert await some[0].result() == 1  # its event is there again
        for instance in some[1:]:
            await instance.wait_for_status("waiting")
        assert (await engine.audit(workflow=waits, id="waits-0")).items[0].operation == "restart"
        result = await engine.restart(waits, status="all", from_step="failed")
        assert {type(it.error) for it in result.errors} == {InvalidState}
        assert result.done + len(result.errors) == 3
        with pytest.raises(InvalidConfig, match="from_step is 'other'"):
            await engine.restart(waits, status="all", from_step="other")
        result = await engine.delete(waits, ids=["waits-0", "waits-1"])
        assert (result.done, result.errors) == (2, [])
        assert [it.id for it in (await engine.list()).items] == ["waits-2"]


async def test_two_at_once_over_the_same_act_each_by_the_table(opened):
    async with opened as engine:
        some = await made(engine, 100)
        done = {}

        async def do(name, method, **options):
            done[name] = (await method(waits, **options)).done

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: do("pause", engine.pause, status="all"))
            nursery.start_soon(lambda: do("terminate", engine.terminate, status="all"))
            nursery.start_soon(lambda: do("again", engine.pause, status="all"))
        assert done["terminate"] == 100
        assert done["pause"] + done["again"] <= 100
        assert (await engine.count(waits))["terminated"] == len(some)


async def test_neither_ids_nor_a_filter_chooses_nobody(opened):
    async with opened as engine:
        instance = await engine.create(waits, id="a")
        for options, text in (
            ({}, 'neither ids nor a filter, and would be about everything; say status="all"'),
            ({"workflow": waits}, "neither ids nor a filter"),
            ({"workflow": waits, "ids": ["a"], "status": "waiting"}, "given ids and status"),
            ({"ids": ["a"]}, "ids of no workflow"),
            ({"workflow": waits, "ids": "a"}, "is not a sequence"),
            ({"workflow": waits, "ids": []}, "number of items"),
            ({"workflow": waits, "ids": ["a"] * 10_001}, "number of items"),
            ({"status": "none"}, "status='none' is none"),
            ({"status": "all", "rate": 0}, "rate is 0"),
            ({"status": "all", "rate": 100_001}, "up to 100,000"),
            ({"status": "all", "rate": float("nan")}, "rate is nan"),
            ({"status": "all", "frontier": -1}, "frontier=-1"),
            ({"workflow": "nobody", "status": "all"}, 'no workflow "nobody"'),
        ):
            with pytest.raises(InvalidConfig) as raised:
                await engine.terminate(**options)
            assert text in str(raised.value)
        with pytest.raises(TypeError, match="unexpected argument 'stat'"):
            await engine.terminate(stat="waiting")
        for id in ("7", "x", "-1", 7):
            with pytest.raises(InvalidConfig, match="no bulk has the id"):
                await engine.bulk.get(id)
        assert (await engine.bulk.list()).items == []
        assert await instance.wait_for_status("waiting") == "waiting"


async def test_one_whose_caller_gives_up_goes_on(opened):
    async with opened as engine:
        await made(engine, 30)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_given_up, engine, nursery.cancel_scope)
        while (await engine.count())["paused"] < 30:
            await engine.clock.advance(0.1)
        [bulk] = (await engine.bulk.list()).items
        assert bulk.done == 30


async def _given_up(engine, scope) -> None:
    async with trio.open_nursery() as nursery:

        async def pauses() -> None:
            with contextlib.suppress(EngineClosed):
                await engine.pause(waits, status="waiting", rate=10)

        nursery.start_soon(pauses)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()


async def test_one_that_is_left_at_the_end_of_an_engine_is_gone_on_with_by_the_next(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        await made(engine, 20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_given_up, engine, nursery.cancel_scope)
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        assert (await engine.count())["paused"] < 20
        while (await engine.count())["paused"] < 20:
            await engine.clock.advance(0.1)
        [bulk] = (await engine.bulk.list()).items
        assert (bulk.done, bulk.status) == (20, "ended")


async def test_it_is_kept_for_thirty_days(opened):
    async with opened as engine:
        await made(engine, 1)
        result = await engine.pause(waits, status="waiting")
        await engine.clock.advance("29 days")
        assert (await engine.bulk.get(result.id)).done == 1
        await engine.clock.advance("2 days")
        await engine.create(waits)
        with pytest.raises(InvalidConfig, match="no bulk has the id"):
            await engine.bulk.get(result.id)
        assert (await engine.audit()).items[0].operation == "pause"


@pytest.mark.parametrize("chosen", ["reason", "ids"])
async def test_r7_who_is_resumed_with_many_tries_anew_what_its_body_failed_of(chosen, tmp_path):
    ran = {"a": 0, "b": 0, "c": 0}

    async def charge(id: str) -> int:
        ran[id] += 1
        if ran[id] == 1:
            raise ValueError("key expired")
        return ran[id]

    @workflow(on_error="blocked")
    async def pays(step):
        first = await step.do(charge, step.instance.id, retry=Retry.never)
        return first, await step.wait_for_event("go")

    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[pays], store=store, autojump=False) as engine:
        batch = [NewInstance(id=id) for id in ran]
        instances = (await engine.create_batch(pays, batch)).created
        for it in instances:
            await it.wait_for_status("blocked")
        given = {"reason": "body_failed"} if chosen == "reason" else {"ids": list(ran)}
        result = await engine.resume(pays, **given)
        assert (result.done, result.errors) == (3, [])
        for it in instances:
            await it.wait_for_status("waiting")
        assert ran == {"a": 2, "b": 2, "c": 2}


async def test_l12_many_go_on_as_another_version(tmp_path):
    def shop(version: str):
        @workflow(name="shop", version=version, on_error="blocked")
        async def shop(step):
            await step.wait_for_event("go")
            if version == "1":
                raise KeyError("typo")
            return version

        return shop

    one, two = shop("1"), shop("2")
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[one, two], store=store, autojump=False) as engine:
        with pytest.raises(InvalidName, match="to_version"):
            await engine.resume(one, status="blocked", to_version="")
        instances = await made(engine, 70, one)
        for it in instances:
            await it.send_event("go")
            await it.wait_for_status("blocked")
        absent = await engine.resume(ids=["shop-0"], workflow="shop", to_version="3")
        assert (absent.done, [it.id for it in absent.errors]) == (0, ["shop-0"])
        assert isinstance(absent.errors[0].error, InvalidState)
        result = await engine.resume(reason="body_failed", to_version="2")
        assert (result.done, result.errors) == (70, [])
        assert [await it.result() for it in instances] == ["2"] * 70
        assert "to_version=2" in (await engine.audit(limit=1)).items[0].filter
