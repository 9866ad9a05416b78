"""Looking at instances: list, count, peek, get, statistics, explain, history, wait_for_status."""

from datetime import timedelta

import pytest
import trio

from stepwell import InvalidConfig, InvalidState, Limits, Retry, Status, StepRef, workflow
from stepwell.testing import open_test_engine


@workflow
async def ends(step, how: str):
    if how == "wait":
        await step.wait_for_event("go", "stop", timeout="1 day")
    elif how == "sleep":
        await step.sleep("2 hours", name="nap")
    elif how == "approve":
        await step.wait_for_approval("deploy")
    elif how == "retry":
        await step.do(declines, retry=Retry(limit=5, delay="1 hour", jitter=0))
    elif how == "race":
        await step.do(lambda: 1, name="one")
    elif how == "fail":
        raise ValueError("broken")
    return how


async def declines() -> None:
    raise LookupError("card declined")


@workflow
async def other(step):
    return 1


async def test_list_gives_every_instance_once_in_order_of_creation_page_by_page():
    async with open_test_engine(workflows=[ends, other]) as engine:
        for i in range(7):
            await engine.call(ends, "ok", id=f"i{i}")
        for newest_first in (True, False):
            ids, cursor = [], None
            for _ in range(10):
                page = await engine.list(ends, limit=3, cursor=cursor, newest_first=newest_first)
                ids += [i.id for i in page.items]
                cursor = page.cursor
                if cursor is None:
                    break
            wanted = [f"i{i}" for i in range(7)]
            assert ids == (wanted[::-1] if newest_first else wanted)
        assert (await engine.list("ends", limit=7)).items == (await engine.list(ends)).items


async def test_list_and_count_filter():
    async with open_test_engine(workflows=[ends, other], autojump=False) as engine:
        await engine.call(other, id="o")
        await engine.clock.advance("1 hour")
        middle = engine.clock.now()
        for how in ("wait", "fail", "ok"):
            instance = await engine.create(ends, how, id=how, attributes={"how": how, "n": 1})
            await instance.wait_for_status("waiting", "errored", "complete")

        async def ids(*args, **options):
            return sorted(i.id for i in (await engine.list(*args, **options)).items)

        assert await ids() == ["fail", "o", "ok", "wait"]
        assert await ids(ends) == ["fail", "ok", "wait"]
        assert await ids(status="errored") == ["fail"]
        # a filter that came out empty, and whatever is done to what it finds
        for none in ([], (), set()):
            with pytest.raises(InvalidConfig, match="names no state; leave it out"):
                await engine.list(status=none)
        assert await ids(status=[Status.WAITING, "complete"]) == ["o", "ok", "wait"]
        assert await ids(attributes={"how": "ok"}) == ["ok"]
        assert await ids(attributes={"n": 1, "how": "none"}) == []
        assert await ids(created_after=middle) == ["fail", "ok", "wait"]
        assert await ids(created_before=middle) == ["o"]
        assert await ids(version="2") == []
        counts = await engine.count()
        assert list(counts) == list(Status)
        assert (counts["complete"], counts["errored"], counts["waiting"], sum(counts.values())) == (
            2,
            1,
            1,
            4,
        )
        assert (await engine.count(ends, status="errored"))[Status.ERRORED] == 1
        errored = next(i for i in (await engine.list()).items if i.id == "fail")
        assert (errored.error.type, errored.error.message) == ("ValueError", "broken")


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine, _: engine.count(),
        lambda engine, _: engine.reasons(),
        lambda engine, _: engine.list(),
        lambda engine, _: engine.get(ends, "w"),
        lambda engine, _: engine.approvals.list(),
        lambda _, instance: instance.status(),
        lambda _, instance: instance.explain(),
        lambda _, instance: instance.history(),
        lambda _, instance: instance.wait_for_status("waiting"),
    ],
    ids=["count", "reasons", "list", "get", "approvals", "status", "explain", "history", "wait"],
)
async def test_whoever_asks_in_a_loop_lets_the_engine_go_on(ask):
    async with open_test_engine(workflows=[ends], autojump=False) as engine:
        instance = await engine.create(ends, "wait", id="w")
        await instance.wait_for_status("waiting")
        others = 0

        async def goes_on() -> None:
            nonlocal others
            while True:
                others += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(goes_on)
            for _ in range(10):
                await ask(engine, instance)
            nursery.cancel_scope.cancel()
        assert others >= 5


async def test_list_pages_full_of_others_do_not_end_a_filter_by_attributes():
    async with open_test_engine(workflows=[ends]) as engine:
        for i in range(9):
            await engine.call(ends, "ok", id=f"i{i}", attributes={"odd": i % 2 == 1})
        page = await engine.list(attributes={"odd": True}, limit=3)
        rest = await engine.list(attributes={"odd": True}, limit=3, cursor=page.cursor)
        assert [i.id for i in page.items + rest.items] == ["i7", "i5", "i3", "i1"]


async def test_peek_and_get_and_statistics():
    async with open_test_engine(workflows=[ends], autojump=False, slots=7) as engine:
        instance = await engine.create(ends, "wait", id="w")
        await instance.wait_for_status("waiting")
        assert engine.peek(ends, "w") is Status.WAITING
        assert engine.peek("ends", "nobody") is None
        same = await engine.get(ends, "w")
        assert (same.id, same.workflow) == ("w", "ends")
        statistics = engine.statistics()
        assert (statistics.slots, statistics.leased, statistics.waiting, statistics.resident) == (
            7,
            0,
            1,
            1,
        )
        assert statistics.commits >= 1
        assert statistics.records >= 0
        await instance.send_event("go")
        await instance.result()
        assert engine.peek(ends, "w") is None
        assert engine.statistics().waiting == 0


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("wait", ["event", "go", "until 2030-01-02 00:00:00 UTC"]),
        ("sleep", ['"nap"', "2030-01-01 02:00:00 UTC"]),
        ("approve", ['approval "deploy"', "2030-01-08"]),
        ("retry", ['"declines"', "2030-01-01 01:00:00 UTC"]),
        ("fail", ["errored", "ValueError: broken"]),
        ("ok", ["complete"]),
    ],
)
async def test_explain_is_one_plain_paragraph_that_names_the_true_reason(how, parts):
    async with open_test_engine(workflows=[ends], autojump=False) as engine:
        instance = await engine.create(ends, how, id="x")
        await instance.wait_for_status("waiting", "errored", "complete")
        why = await instance.explain()
        assert str(why) == why.text
        assert "\n" not in why.text
        assert "ends/x" in why.text
        for part in parts:
            assert part in why.text
        assert why.code in ("waiting", "errored", "complete")
        status = await instance.status()
        if status.status is Status.WAITING:
            assert why.until is not None
            assert status.waiting_on is not None


async def test_history_is_oldest_first_then_what_is_waited_for():
    @workflow(name="told")
    async def told(step):
        await step.do(lambda: [1, {"a": 2}], name="first", key="k")
        await step.sleep("1 minute")
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[told], autojump=False) as engine:
        began = engine.clock.now()
        instance = await engine.create(told)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("5 minutes")
        do, sleep, event = await instance.history()
        assert (do.kind, do.name, do.key, do.attempt, do.status, do.output) == (
            "do",
            "first",
            "k",
            1,
            "done",
            [1, {"a": 2}],
        )
        assert (sleep.kind, sleep.status, sleep.ended_at - began) == (
            "sleep",
            "done",
            timedelta(minutes=1),
        )
        assert (event.kind, event.name, event.status, event.ended_at) == (
            "event",
            "go",
            "waiting",
            None,
        )
        assert do.ref == StepRef("first", 1, "k", "do", "")


async def test_a_state_that_is_passed_through_is_seen_and_one_that_cannot_come_is_an_error():
    async with open_test_engine(workflows=[ends], autojump=False) as engine:
        instance = await engine.create(ends, "ok", id="x")
        assert await instance.wait_for_status("running", Status.COMPLETE) in (
            Status.RUNNING,
            Status.COMPLETE,
        )
        await instance.result()
        with pytest.raises(InvalidState) as caught:
            await instance.wait_for_status(Status.RUNNING)
        assert caught.value.status is Status.COMPLETE


async def test_resume_of_what_is_not_blocked_does_nothing_and_of_a_final_one_is_invalid_state():
    async with open_test_engine(workflows=[ends], autojump=False) as engine:
        instance = await engine.create(ends, "wait", id="x")
        await instance.wait_for_status("waiting")
        await instance.resume()
        assert (await instance.status()).status is Status.WAITING
        await instance.send_event("stop")
        await instance.result()
        with pytest.raises(InvalidState, match="complete"):
            await instance.resume()


async def test_status_has_times_version_and_output():
    async with open_test_engine(workflows=[ends], autojump=False) as engine:
        instance = await engine.create(ends, "sleep", id="x")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("3 hours")
        status = await instance.status()
        assert (status.status, status.output, status.error, status.version, status.undo) == (
            Status.COMPLETE,
            "sleep",
            None,
            "1",
            None,
        )
        assert status.ended_at - status.created_at == timedelta(hours=2)
        assert status.started_at == status.created_at


@workflow(name="busy", concurrency=1)
async def busy(step):
    await step.do(trio.sleep_forever)


@pytest.mark.parametrize("crashes", [0, 1])
async def test_l13_a_queued_instance_says_how_many_go_first_and_which_limits_are_met(crashes):
    async with open_test_engine(workflows=[busy], autojump=False, grace=0) as engine:
        await (await engine.create(busy, id="runs")).wait_for_status("running")
        last = [await engine.create(busy, id=f"q{i}") for i in range(3)][-1]
        urgent = await engine.create(busy, id="urgent", priority=5)
        for _ in range(crashes):
            await engine.crash()
            await (await engine.get(busy, "runs")).wait_for_status("running")
        told = await last.explain()
        assert str(told) == (
            'busy/q2 is queued, behind 3 others of "busy"; the only slot of "busy" '
            "(concurrency) is in use."
        )
        assert (told.code, told.details) == ("queued", {"ahead": 3})
        assert str(await urgent.explain()) == (
            'busy/urgent is queued, first of "busy"; the only '
            'slot of "busy" (concurrency) is in use.'
        )
        assert 'behind 1 other of "busy"' in str(await (await engine.get(busy, "q0")).explain())


async def test_l13_limits_of_the_namespace_and_the_engine_are_named_too():
    async with open_test_engine(
        workflows=[busy], slots=1, limits=Limits(concurrency=1), autojump=False, grace=0
    ) as engine:
        await (await engine.create(busy, id="runs")).wait_for_status("running")
        waits = await engine.create(busy)
        text = str(await waits.explain())
        for part in (
            "of the engine (slots) is",
            'of namespace "default" (concurrency) is',
            'of "busy" (concurrency) is',
        ):
            assert part in text


async def test_l13_an_instance_that_is_to_start_later_says_when():
    async with open_test_engine(workflows=[busy], autojump=False, grace=0) as engine:
        moment = engine.clock.now() + timedelta(hours=1)
        told = await (await engine.create(busy, id="later", start_at=moment)).explain()
        assert str(told) == (
            "busy/later is queued until 2030-01-01 01:00:00 UTC, the start_at it was created with."
        )
        assert (told.code, told.until) == ("start_at", moment)


async def test_a_workflow_that_neither_the_engine_nor_its_store_has_is_a_slip_of_the_pen(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[ends], store=store) as engine:
        await engine.call(ends, "ok", id="a")
        assert sum((await engine.namespace("empty").count(ends)).values()) == 0
        for ask in (engine.count, engine.list, engine.reasons, engine.namespace("empty").count):
            with pytest.raises(
                InvalidConfig,
                match=r'no workflow "end" is registered .* check the name \(registered: .*ends',
            ):
                await ask("end")
    async with open_test_engine(workflows=[], store=store) as engine:
        assert (await engine.count("ends"))[Status.COMPLETE] == 1
        assert [it.id for it in (await engine.list("ends")).items] == ["a"]
        assert await engine.reasons("ends") == []
        assert (await engine.namespace("empty").list("ends")).items == []
