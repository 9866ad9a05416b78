"""Waiting instances leave memory and come back by replay; bodies are unwound by cancellation (rules
P1, P2)."""

import contextlib

import pytest
import trio
import trio.testing

from stepwell import Retry, Status, workflow
from stepwell._body import rest
from stepwell.testing import open_test_engine

seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def noted(what: str) -> str:
    seen.append(what)
    return what


@workflow
async def waits(step):
    seen.append("body")
    await step.do(noted, "before")
    try:
        event = await step.wait_for_event("go")
    finally:
        seen.append("finally")
    return [event.payload, await step.do(noted, "after")]


async def test_p2_an_instance_that_waits_a_while_leaves_memory_and_comes_back_by_replay():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        instance = await engine.create(waits)
        await instance.wait_for_status("waiting")
        assert engine.statistics().resident == 1
        assert engine.statistics().leased == 0
        await engine.clock.advance("1 minute")
        assert engine.statistics().resident == 0
        assert (await instance.status()).status is Status.WAITING
        assert seen == ["body", "before", "finally"]
        await instance.send_event("go", 5)
        assert await instance.result() == [5, "after"]
        assert seen == ["body", "before", "finally", "body", "finally", "after"]


@workflow(park=False)
async def stays(step):
    seen.append("body")
    await step.wait_for_event("go")
    return "done"


async def test_p2_park_false_keeps_an_instance_in_memory():
    async with open_test_engine(workflows=[stays], autojump=False) as engine:
        instance = await engine.create(stays)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("30 days")
        assert engine.statistics().resident == 1
        assert engine.statistics().leased == 0
        await instance.send_event("go")
        assert await instance.result() == "done"
        assert seen == ["body"]


@workflow
async def sleeps(step, seconds: int):
    seen.append("body")
    await step.sleep(seconds)
    return seen.count("body")


async def test_p2_one_that_wakes_soon_stays_and_one_that_sleeps_long_is_parked():
    async with open_test_engine(workflows=[sleeps], autojump=False) as engine:
        soon = await engine.create(sleeps, 2)
        await soon.wait_for_status("waiting")
        await engine.clock.advance("3 seconds")
        assert await soon.result() == 1
        seen.clear()
        long = await engine.create(sleeps, 86_400 * 300)
        await long.wait_for_status("waiting")
        await engine.clock.advance("200 days")
        assert engine.statistics().resident == 0
        await engine.clock.advance("101 days")
        assert await long.result() == 2


@workflow
async def ticks(step, given):
    """Has so many outcomes of so many bytes each; then it wakes every minute, or by an event."""
    seen.append("body")
    outcomes, size, by = given
    await step.map(lambda _: bytes(size), range(outcomes), name="before")
    while by == "sleep":
        await step.sleep("1 minute")
    while True:
        await step.wait_for_event("go")


@pytest.mark.parametrize(
    ("outcomes", "size", "stays"),
    [(3, 0, False), (30, 0, False), (100, 0, True), (2, 40_000, True)],
)
async def test_p2_a_body_whose_replay_costs_much_for_how_often_it_wakes_stays(
    outcomes, size, stays
):
    async with open_test_engine(workflows=[ticks], autojump=False) as engine:
        await engine.create(ticks, [outcomes, size, "sleep"])
        await engine.clock.advance("10 minutes")
        assert seen == (["body"] if stays else ["body"] * 11)


async def test_p2_a_loop_is_replayed_ever_more_seldom_as_its_history_grows():
    async with open_test_engine(workflows=[ticks], autojump=False) as engine:
        await engine.create(ticks, [40, 0, "sleep"])
        await engine.clock.advance("2 hours")
        # with 60 outcomes a replay takes 0.6 ms, which is a hundred-thousandth of a minute
        assert len(seen) == 20
        await engine.crash()
        await engine.clock.advance("10 minutes")
        assert len(seen) == 21


async def test_p2_a_body_that_waits_for_no_certain_time_stays_for_as_long_as_its_replay_is_worth():
    async with open_test_engine(workflows=[ticks], autojump=False) as engine:
        await engine.create(ticks, [200, 0, "event"])
        await engine.clock.advance("200 seconds")
        assert engine.statistics().resident == 1
        await engine.clock.advance("2 seconds")
        assert engine.statistics().resident == 0


async def test_p2_among_many_only_those_stay_that_woke_soon_the_last_time(monkeypatch):
    monkeypatch.setattr(rest, "RESIDENT_MAX", 0)

    async def resident_after(wait: str) -> int:
        await engine.clock.advance(wait)
        await instance.send_event("go")
        await instance.wait_for_status("waiting")
        await engine.clock.settled()
        return engine.statistics().resident

    async with open_test_engine(workflows=[ticks], autojump=False) as engine:
        instance = await engine.create(ticks, [200, 0, "event"])  # worth 20 seconds among many
        await engine.clock.settled()
        assert engine.statistics().resident == 0
        assert [
            await resident_after(wait)
            for wait in ("15 seconds", "15 seconds", "1 hour", "15 seconds")
        ] == [1, 1, 0, 1]
        assert len(seen) == 4


@workflow
async def waits_for_many(step):
    async with step.open_nursery() as nursery:
        for i in range(3):
            nursery.start_soon(step.wait_for_event, f"e{i}")
        nursery.start_soon(step.sleep, "1 day")
    return "all"


async def test_p2_many_open_waits_survive_being_parked_between_them():
    async with open_test_engine(workflows=[waits_for_many], autojump=False) as engine:
        instance = await engine.create(waits_for_many)
        await instance.wait_for_status("waiting")
        for i in range(3):
            await engine.clock.advance("1 minute")
            assert engine.statistics().resident == 0
            await instance.send_event(f"e{i}")
            await instance.wait_for_status("waiting")
        await engine.clock.advance("2 days")
        assert await instance.result() == "all"


async def fails_once() -> str:
    seen.append("attempt")
    if len(seen) == 1:
        raise OSError("x")
    return "ok"


@workflow
async def retries(step):
    return await step.do(fails_once, retry=Retry(delay="1 hour"))


async def test_p2_a_retry_delay_parks_too_and_forgets_no_attempt():
    async with open_test_engine(workflows=[retries], autojump=False) as engine:
        instance = await engine.create(retries)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        assert engine.statistics().resident == 0
        await engine.clock.advance("2 hours")
        assert await instance.result() == "ok"
        assert [(r.attempt, r.status) for r in await instance.history()] == [
            (1, "attempt_failed"),
            (2, "done"),
        ]


@workflow
async def stubborn(step):
    try:
        await step.wait_for_event("go")
    finally:
        seen.append("finally")
        with trio.CancelScope(shield=True):
            await step.do(noted, "started in finally")
        seen.append("not reached")
    return "done"


@workflow
async def swallows(step):
    for _ in range(3):
        try:
            await step.wait_for_event("go")
            return "done"
        except BaseException as error:
            seen.append(type(error).__name__)
    return "discarded"


async def test_p1_no_step_starts_in_a_finally_block_shield_or_not():
    async with open_test_engine(workflows=[stubborn], autojump=False) as engine:
        instance = await engine.create(stubborn)
        await instance.wait_for_status("waiting")
        with trio.fail_after(5):
            await engine.clock.advance("1 minute")
        assert seen == ["finally"]
        assert engine.statistics().resident == 0
        await instance.send_event("go")
        assert await instance.result() == "done"
        assert seen == ["finally", "finally", "started in finally", "not reached"]


async def test_p1_every_primitive_raises_cancelled_at_once_and_what_the_body_returns_is_discarded():
    async with open_test_engine(workflows=[swallows], autojump=False) as engine:
        instance = await engine.create(swallows)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        assert seen == ["Cancelled"] * 3
        assert engine.statistics().resident == 0
        assert (await instance.status()).status is Status.WAITING
        await instance.send_event("go")
        assert await instance.result() == "done"


@workflow
async def shielded(step, how: str):
    with trio.CancelScope(shield=True):
        if how == "nursery":
            async with step.open_nursery() as nursery:
                nursery.start_soon(step.wait_for_event, "go")
        elif how == "map":
            await step.map(
                fails_always, [1], retry=Retry(delay="1 hour", limit=1), on_error="collect"
            )
        elif how == "retry":
            with contextlib.suppress(OSError):
                await step.do(fails_always, 1, retry=Retry(delay="1 hour", limit=1))
        else:
            await step.wait_for_event("go")
    return "done"


async def fails_always(_: int) -> None:
    raise OSError("x")


@pytest.mark.parametrize("how", ["alone", "nursery", "map", "retry"])
async def test_p1_a_primitive_that_waits_behind_a_shield_is_not_spared(how):
    async with open_test_engine(workflows=[shielded], autojump=False) as engine:
        instance = await engine.create(shielded, how)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        assert engine.statistics().resident == 0
        await instance.send_event("go")
        await engine.clock.advance("2 days")
        assert await instance.result() == "done"


async def test_p2_thousands_of_waiting_instances_hold_no_slot_and_leave_memory():
    async with open_test_engine(workflows=[waits], autojump=False, slots=10) as engine:
        created = (await engine.create_batch(waits, [None] * 300)).created
        for instance in created:
            await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        statistics = engine.statistics()
        assert (statistics.resident, statistics.leased, statistics.waiting, statistics.slots) == (
            0,
            0,
            300,
            10,
        )
        for instance in created:
            await instance.send_event("go", 1)
        assert [await i.result() for i in created] == [[1, "after"]] * 300
        assert seen.count("before") == 300


async def breaks(_: int) -> None:
    raise ValueError("broken")


@workflow
async def fails_beside_a_cleanup(step):
    async def cleans_up():
        try:
            await step.wait_for_event("never")
        finally:
            with trio.CancelScope(shield=True):
                await step.wait_for_event("go")

    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(cleans_up)
            await step.do(breaks, 1, retry=Retry.never)
    except ExceptionGroup:
        seen.append("caught")
    return "done"


@workflow
async def fails_while_it_unwinds(step):
    async def fails():
        try:
            await step.wait_for_event("go")
        except trio.Cancelled:
            raise ValueError("broken") from None

    async with step.open_nursery() as nursery:
        nursery.start_soon(fails)
    return "done"


@pytest.mark.parametrize("code", [fails_beside_a_cleanup, fails_while_it_unwinds])
async def test_p1_what_a_body_raises_while_it_is_unwound_is_discarded_and_logged(code, caplog):
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create(code)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        assert engine.statistics().resident == 0
        [line] = [it for it in caplog.records if "unwound" in it.message]
        assert f"the body of {instance.workflow}/{instance.id} raised this" in line.message
        assert "ValueError" in caplog.text
        await instance.send_event("go")
        assert await instance.result() == "done"


gate = trio.Event()


@workflow
async def resists(step):
    try:
        return (await step.wait_for_event("go")).payload
    finally:
        with trio.CancelScope(shield=True):
            seen.append("resists")
            await gate.wait()  # here


async def test_p1_a_body_that_does_not_unwind_stays_resident_and_explain_says_so():
    global gate
    gate = trio.Event()
    async with open_test_engine(workflows=[resists], autojump=False) as engine:
        instance = await engine.create(resists)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        assert seen == ["resists"]
        assert "has not ended" not in str(await instance.explain())
        await engine.clock.advance("5 seconds")
        assert engine.statistics().resident == 1
        await instance.send_event("go", "gone")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["resists"]  # no second body beside the first
        text = str(await instance.explain())
        assert (
            "Its body was cancelled 6 s ago and has not ended; it stands at test_parking.py:"
        ) in text
        gate.set()
        assert await instance.result() == "gone"
        assert seen == ["resists", "resists"]


async def runs_for_ever(_: int = 0) -> None:
    seen.append("runs")
    try:
        await trio.sleep_forever()
    finally:
        seen.append("cancelled")


@workflow
async def runs_in_branches(step, how: str):
    if how == "map":
        await step.map(runs_for_ever, [1])
    elif how == "alone":
        await step.do(runs_for_ever)
    elif how == "shielded":
        with trio.CancelScope(shield=True):
            await step.do(runs_for_ever)
    else:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.do, runs_for_ever)


@pytest.mark.parametrize("how", ["alone", "shielded", "nursery", "map"])
async def test_p1_an_attempt_is_cancelled_with_its_body_wherever_it_runs(how):
    async with open_test_engine(workflows=[runs_in_branches], autojump=False, grace=0) as engine:
        await engine.create(runs_in_branches, how)
        while seen != ["runs"]:
            await trio.lowlevel.checkpoint()
        with trio.fail_after(5):
            await engine.crash()
        while len(seen) < 3:
            await trio.lowlevel.checkpoint()
        assert seen == ["runs", "cancelled", "runs"]
