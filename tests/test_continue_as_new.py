"""`step.continue_as_new` (L15): what a new run keeps, what it does not, and what is refused."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import trio

from stepwell import (
    Event,
    InstanceErrored,
    InstanceTerminated,
    InstanceTimeout,
    Limits,
    RequestTimeout,
    Status,
    Step,
    TooLarge,
    current_step,
    workflow,
)
from stepwell.testing import check_replay, open_test_engine

KEYS: list[str] = []


def key() -> str:
    found = current_step().idempotency_key
    KEYS.append(found)
    return found


@workflow
async def counts(step: Step, n: int = 0) -> int:
    await step.do(key)
    if n < 3:
        await step.continue_as_new(n + 1)
    return n


@workflow(name="counts_on_asyncio", runtime="asyncio")
async def counts_on_asyncio(step: Step, n: int = 0) -> int:
    await step.do(key)
    if n < 3:
        await step.gather(step.sleep("1 second"), step.continue_as_new(n + 1))
    return n


@pytest.mark.parametrize("body", [counts, counts_on_asyncio])
async def test_l15_a_new_run_has_other_params_and_a_history_of_its_own(body: Any) -> None:
    KEYS.clear()
    async with open_test_engine(workflows=[body]) as engine:
        began = engine.clock.now()
        await engine.clock.advance("1 hour")
        instance = await engine.create(body, id="a")
        assert await instance.result() == 3
        lines = [(it.kind, it.name, it.count, it.status) for it in await instance.history()]
        assert lines[:2] == [("continue_as_new", "run", 4, "done"), ("do", "key", 1, "done")]
        assert len(set(KEYS)) == 4, "every run has keys of its own"
        assert (await instance.status()).created_at == began + timedelta(hours=1)


@workflow
async def timed(step: Step, before: float = 0.0) -> list[float]:
    now = step.now().timestamp()
    if not before:
        await step.sleep("1 hour")
        await step.continue_as_new(now)
    await step.sleep("1 minute")
    return [before, now]


async def test_l15_now_is_when_the_run_began_live_and_on_replay() -> None:
    async with open_test_engine(workflows=[timed], autojump=False) as engine:
        instance = await engine.create(timed)
        await engine.clock.advance("1 hour")
        await engine.crash()
        await engine.clock.advance("1 minute")
        before, now = await instance.result()
        assert now - before == 3600
        (run, *_) = await instance.history()
        assert run.ended_at is not None
        assert run.ended_at.timestamp() == now


@workflow
async def keeps(step: Step, run: int = 1) -> list[Any]:
    if run == 1:
        await step.set_attributes({"color": "red"})
        await step.create(counts, 3, id="child")
        first = await step.wait_for_event("go")
        await step.continue_as_new(run + 1)
        raise AssertionError(first)
    got = [(await step.wait_for_event("go")).payload for _ in range(2)]
    return [got, step.instance.attributes]


async def test_l15_attributes_kept_events_and_created_children_stay() -> None:
    async with open_test_engine(workflows=[keeps, counts]) as engine:
        instance = await engine.create(keeps, id="a", priority=7)
        for number in range(3):
            await instance.send_event("go", number, dedup_id=f"d{number}")
        assert await instance.result() == [[1, 2], {"color": "red"}]
        child = await engine.get(counts, "child")
        assert await child.result() == 3
        page = await engine.list(attributes={"color": "red"})
        assert [it.id for it in page.items] == ["a"]


@workflow
async def listens(step: Step, run: int = 1) -> Any:
    async def listen() -> Any:
        return (await step.wait_for_event("x")).payload

    if run > 1:
        return await listen()
    async with step.open_nursery() as nursery:
        nursery.start_soon(listen)
        await step.wait_for_event("go")
        await step.continue_as_new(run + 1)
    return None


async def test_l15_an_event_that_no_branch_was_told_of_is_for_the_new_run() -> None:
    async with open_test_engine(workflows=[listens], autojump=False) as engine:
        instance = await engine.create(listens)
        await instance.wait_for_status("waiting")
        async with trio.open_nursery() as nursery:  # both come with one commit, or with two
            nursery.start_soon(instance.send_event, "go")
            await trio.lowlevel.checkpoint()
            nursery.start_soon(instance.send_event, "x", 5)
        assert await instance.result() == 5


@pytest.mark.parametrize("crashes", [False, True])
async def test_l15_so_is_one_that_a_wait_took_before_the_body_was_there(crashes: bool) -> None:
    async with open_test_engine(workflows=[listens], autojump=False) as engine:
        instance = await engine.create(listens)
        await instance.wait_for_status("waiting")
        await instance.pause()
        await instance.send_event("go")
        await instance.send_event("x", 5)
        await instance.resume()  # both waits have their events with this commit
        if crashes:
            await engine.crash()
        assert await instance.result() == 5


UNDONE: list[str] = []


@workflow
async def saga(step: Step, run: int = 1) -> None:
    await step.do(key, undo=lambda ctx: UNDONE.append(f"run {run}"))
    if run == 1:
        await step.continue_as_new(2)
    raise ValueError("no")


async def test_l15_undos_of_the_run_before_are_forgotten() -> None:
    UNDONE.clear()
    async with open_test_engine(workflows=[saga]) as engine:
        with pytest.raises(InstanceErrored):
            await engine.call(saga)
        assert UNDONE == ["run 2"]


@workflow
async def sleeps(step: Step) -> None:
    await step.sleep("1 day")


@workflow
async def calls(step: Step, run: int = 1) -> str:
    if run > 1:
        await step.sleep("1 minute")
        return "done"
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.call, sleeps, None)
        await step.sleep("1 second")
        await step.continue_as_new(2)
    return ""


@workflow
async def outer(step: Step) -> str:
    return await step.call(calls, id="inner")


async def test_l15_what_it_called_ends_and_whoever_called_it_waits_on() -> None:
    async with open_test_engine(workflows=[outer, calls, sleeps]) as engine:
        assert await engine.call(outer) == "done"
        (called,) = (await engine.list(sleeps)).items
        assert called.status is Status.TERMINATED
        assert called.error is not None
        assert "has continued as new" in called.error.message


@workflow(timeout="1 hour")
async def limited(step: Step, run: int = 1) -> None:
    await step.sleep("25 minutes")
    await step.continue_as_new(run + 1)


async def test_l15_the_time_limit_is_that_of_the_instance() -> None:
    async with open_test_engine(workflows=[limited], autojump=False) as engine:
        instance = await engine.create(limited)
        for _ in range(2):
            await engine.clock.advance("25 minutes")
        await engine.crash()
        await engine.clock.advance("9 minutes")
        assert (await instance.status()).status is Status.WAITING
        await engine.clock.advance("1 minute")
        with pytest.raises(InstanceErrored, match="InstanceTimeout") as caught:
            await instance.result()
        assert caught.value.error.type.endswith(InstanceTimeout.__name__)
        assert (await instance.history())[0].count == 3


async def test_l15_the_time_limit_stands_still_in_a_pause() -> None:
    async with open_test_engine(workflows=[limited], autojump=False) as engine:
        instance = await engine.create(limited)
        await engine.clock.advance("25 minutes")
        await instance.pause()
        await engine.clock.advance("1 day")
        await instance.resume()
        await engine.clock.advance("34 minutes")
        assert (await instance.status()).status is Status.WAITING
        await engine.clock.advance("1 minute")
        assert (await instance.status()).status is Status.ERRORED


SEEN: list[str] = []


@workflow
async def catches(step: Step, run: int = 1) -> str:
    if run > 1:
        return "done"
    try:
        try:
            await step.continue_as_new(2)
        except Exception:
            SEEN.append("an Exception")
    except BaseException as error:
        SEEN.append(type(error).__name__)
        with trio.CancelScope(shield=True):
            await step.do(SEEN.append, "a step")
        raise
    return "went on"


@workflow(name="swallows")
async def swallows(step: Step, run: int = 1) -> str:
    if run == 1:
        try:
            await step.continue_as_new(2)
        except BaseException:
            return "what it returns is discarded"
    return "done"


async def test_l15_it_passes_except_exception_and_begins_nothing_more() -> None:
    SEEN.clear()
    async with open_test_engine(workflows=[catches, swallows]) as engine:
        assert await engine.call(catches) == "done"
        assert SEEN == ["Cancelled"]
        assert await engine.call(swallows) == "done"


RAN: list[str] = []


@workflow
async def branches(step: Step, run: int = 1) -> str:
    async def work(name: str) -> None:
        await step.do(RAN.append, name)

    if run > 1:
        return "done"
    async with step.open_nursery() as nursery:
        nursery.start_soon(work, "early")
        nursery.start_soon(step.continue_as_new, 2)
        nursery.start_soon(work, "late")
    return ""


async def test_l15_what_begins_in_the_same_turn_never_begins() -> None:
    RAN.clear()
    async with open_test_engine(workflows=[branches]) as engine:
        assert await engine.call(branches) == "done"
        assert RAN == []


HELD = threading.Event()


@workflow
async def threaded(step: Step, run: int = 1) -> str:
    if run > 1:
        assert HELD.is_set(), "the thread of the run before has ended"
        return "done"
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, HELD.wait)
        await step.wait_for_event("go")
        await step.continue_as_new(2)
    return ""


async def test_l15_threads_of_the_run_before_end_first_and_explain_says_so() -> None:
    HELD.clear()
    async with open_test_engine(workflows=[threaded]) as engine:
        instance = await engine.create(threaded)
        await instance.send_event("go")
        while "goes on as new" not in str(found := await instance.explain()):
            assert "threaded/" in str(found)
            await trio.lowlevel.checkpoint()
        assert (await instance.status()).status is Status.RUNNING
        HELD.set()
        assert await instance.result() == "done"


async def test_l15_a_terminate_meanwhile_wins() -> None:
    HELD.clear()
    async with open_test_engine(workflows=[threaded]) as engine:
        instance = await engine.create(threaded)
        await instance.send_event("go")
        while "goes on as new" not in str(await instance.explain()):
            await trio.lowlevel.checkpoint()
        await instance.terminate()
        HELD.set()
        with pytest.raises(InstanceTerminated):
            await instance.result()


async def test_l15_a_pause_meanwhile_pauses_the_new_run_where_it_begins() -> None:
    HELD.clear()
    async with open_test_engine(workflows=[threaded]) as engine:
        instance = await engine.create(threaded)
        await instance.send_event("go")
        while "goes on as new" not in str(await instance.explain()):
            await trio.lowlevel.checkpoint()
        await instance.pause()
        HELD.set()
        await instance.wait_for_status("paused")
        assert [it.kind for it in await instance.history()] == ["continue_as_new"]
        await instance.resume()
        assert await instance.result() == "done"


@workflow
async def answers(step: Step, run: int = 1) -> int:
    event: Event[int] = await step.wait_for_event("ask", as_type=int)
    if run == 1:
        await event.reply(event.payload + 1)
        await step.continue_as_new(2)
    if run == 2:
        await step.continue_as_new(3)  # without an answer
    return run


async def test_l15_answers_stay_and_what_was_not_answered_never_is() -> None:
    async with open_test_engine(workflows=[answers]) as engine:
        instance = await engine.create(answers)
        assert await instance.request("ask", 1, dedup_id="one") == 2
        with pytest.raises(RequestTimeout):
            await instance.request("ask", 2, dedup_id="two", timeout="1 second")
        assert (await instance.history())[0].count == 3
        assert await instance.request("ask", 1, dedup_id="one") == 2


@workflow
async def asks(step: Step, run: int = 1) -> str:
    found = await step.wait_for_approval("ship")
    if run == 1:
        await step.continue_as_new(2)
    return found.by


async def test_l15_an_approval_is_asked_for_again() -> None:
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, id="a")
        for by in ("ann", "bob"):
            await instance.wait_for_status("waiting")
            (request,) = (await engine.approvals.list()).items
            assert await engine.approvals.approve(request.id, by=by)
        assert await instance.result() == "bob"


async def test_l15_a_restart_begins_the_present_run_anew() -> None:
    async with open_test_engine(workflows=[counts]) as engine:
        instance = await engine.create(counts)
        await instance.result()
        for from_step in (None, (await instance.history())[0].ref):
            KEYS.clear()
            await instance.restart(from_step=from_step)
            assert await instance.result() == 3
            assert len(KEYS) == 1
            assert [it.count for it in await instance.history()] == [4, 1]


async def test_l15_what_was_refused_stays_so_when_limits_are_raised() -> None:
    @workflow
    async def grows(step: Step, text: str = "") -> str:
        try:
            await step.continue_as_new("x" * 10_000)
        except TooLarge:
            await step.wait_for_event("go")
        return "it was too large"

    limits = Limits(value_bytes=5_000)
    async with open_test_engine(workflows=[grows], limits=limits, autojump=False) as engine:
        instance = await engine.create(grows)
        await instance.wait_for_status("waiting")
        await engine.set_limits(value_bytes=1_000_000)
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == "it was too large"


async def test_l15_watch_and_result_follow_it() -> None:
    async with open_test_engine(workflows=[timed], autojump=False) as engine:
        instance = await engine.create(timed)
        seen: list[str] = []

        async def look() -> None:
            async with instance.watch() as updates:
                seen.extend([it.record.kind async for it in updates if it.record is not None])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await engine.clock.advance("1 hour")
            await engine.clock.advance("1 minute")
        assert seen == ["sleep", "continue_as_new", "sleep"]
        assert (await instance.status()).status is Status.COMPLETE


async def test_l15_an_export_fits_the_code_that_made_it() -> None:
    async with open_test_engine(workflows=[timed, counts], autojump=False) as engine:
        instance = await engine.create(timed)
        exports = [await instance.export()]
        await engine.clock.advance("1 hour")
        exports.append(await instance.export())
        await engine.clock.advance("1 minute")
        exports.append(await instance.export())
        whole = await engine.create(counts)
        await whole.result()
        last = await whole.export()
    await check_replay(timed, exports)
    await check_replay(counts, [last])


# What may not be asked.
