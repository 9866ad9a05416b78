"""Pausing and resuming an instance, whatever it is at (rules L3, L4)."""

import contextlib
import threading
from datetime import timedelta

import pytest
import trio

from stepwell import (
    InstanceErrored,
    InvalidState,
    Retry,
    Status,
    StepFailed,
    step_options,
    workflow,
)
from stepwell.testing import open_test_engine

seen: list[object] = []
entered = trio.Event()
release = trio.Event()


@pytest.fixture(autouse=True)
def _fresh():
    global entered, release
    seen.clear()
    entered, release = trio.Event(), trio.Event()


async def slow(item: object) -> object:
    entered.set()
    await release.wait()
    seen.append(item)
    return item


def slow_in_a_thread(item: object) -> object:
    trio.from_thread.run(slow, item)
    return item


async def quick(item: object) -> object:
    seen.append(item)
    return item


async def fails(item: object) -> None:
    seen.append(item)
    raise ConnectionError("away")


@workflow
async def two_steps(step, fn_name: str):
    fn = {"async": slow, "thread": slow_in_a_thread}[fn_name]
    return [await step.do(fn, 1), await step.do(quick, 2)]


@workflow
async def maps(step):
    return await step.map(slow, [1, 2, 3, 4], concurrency=2)


@workflow
async def in_a_nursery(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, slow, 1)
        nursery.start_soon(step.do, quick, 2)
    await step.do(quick, 3)
    return "done"


@workflow(runtime="asyncio")
async def on_asyncio(step, fn_name: str):
    return [await step.do(slow_in_a_thread, 1), await step.do(quick_there, 2)]


async def quick_there(item: object) -> object:
    seen.append(item)
    return item


@pytest.mark.parametrize(
    ("code", "params", "first", "all_of_it"),
    [
        (two_steps, "async", [1], [1, 2]),
        (two_steps, "thread", [1], [1, 2]),
        (on_asyncio, "thread", [1], [1, 2]),
        (maps, None, [1, 2], [1, 2, 3, 4]),
        (in_a_nursery, None, [2, 1], [2, 1, 3]),
    ],
    ids=lambda it: getattr(it, "name", str(it)),
)
@pytest.mark.parametrize("crashes", [False, True])
async def test_l3_what_runs_ends_and_is_recorded_and_nothing_begins(
    code, params, first, all_of_it, crashes
):
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create(code, *([] if params is None else [params]), id="x")
        await entered.wait()
        await instance.pause()
        assert (await instance.status()).status is Status.WAITING_FOR_PAUSE
        why = await instance.explain()
        assert why.code == "waiting_for_pause"
        assert "is paused as soon as nothing of it runs" in str(why)
        assert 'attempt 1 of "slow' in str(why)
        await instance.pause()  # it is to be already
        release.set()
        assert await instance.wait_for_status("paused") is Status.PAUSED
        assert sorted(seen, key=str) == sorted(first, key=str)
        if crashes:
            await engine.crash()
        await engine.clock.advance("1 day")
        assert sorted(seen, key=str) == sorted(first, key=str)
        assert (await instance.explain()).code == "paused"
        await instance.resume()
        await instance.result()
        assert sorted(seen, key=str) == sorted(all_of_it, key=str)


async def test_resumed_before_it_had_paused_it_goes_on_as_if_nothing_had_been():
    async with open_test_engine(workflows=[two_steps], autojump=False) as engine:
        instance = await engine.create(two_steps, "async")
        await entered.wait()
        await instance.pause()
        await instance.resume()
        assert (await instance.status()).status is Status.RUNNING
        release.set()
        assert await instance.result() == [1, 2]
        assert seen == [1, 2]


@workflow
async def refused_meanwhile(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, slow, 1)
        nursery.start_soon(then_more, step)
    return "done"


async def then_more(step) -> None:
    await step.wait_for_event("go")
    await step.do(quick, 2)


async def test_resumed_after_it_was_refused_something_it_begins_again_from_its_history():
    async with open_test_engine(workflows=[refused_meanwhile], autojump=False) as engine:
        instance = await engine.create(refused_meanwhile)
        await entered.wait()
        await instance.pause()
        await instance.send_event("go")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []  # it wanted to go on, and may not
        await instance.resume()
        release.set()
        assert await instance.result() == "done"
        assert sorted(seen) == [1, 2]


@workflow
async def waits_in_all_ways(step, how: str):
    begin = step.now()
    if how == "sleep":
        await step.sleep("1 hour")
    elif how == "sleep_until":
        await step.sleep_until(begin + timedelta(hours=1))
    elif how == "event":
        with contextlib.suppress(TimeoutError):
            await step.wait_for_event("go", timeout="1 hour")
    elif how == "approval":
        with contextlib.suppress(TimeoutError):
            await step.wait_for_approval("ok", timeout="1 hour")
    elif how == "deadline":
        with step.move_on_after("1 hour"):
            await step.wait_for_event("never")
    elif how == "retry":
        with contextlib.suppress(Exception):
            await step.do(fails, 1, retry=Retry(limit=1, delay="1 hour", jitter=0))
    return (step.now() - begin).total_seconds()


WAYS = ["sleep", "sleep_until", "event", "approval", "deadline", "retry"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("crashes", ["never", "before", "while"])
async def test_l4_what_lasts_a_while_lasts_as_much_longer(how, crashes):
    async with open_test_engine(workflows=[waits_in_all_ways], autojump=False) as engine:
        instance = await engine.create(waits_in_all_ways, how)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("20 minutes")
        if crashes == "before":
            await engine.crash()
        await instance.pause()
        assert (await instance.status()).status is Status.PAUSED
        if crashes == "while":
            await engine.crash()
        await engine.clock.advance("1 day")
        assert (await instance.status()).status is Status.PAUSED
        await instance.resume()
        if how == "sleep_until":
            assert await instance.result() == 86_400 + 20 * 60
            return
        await instance.wait_for_status("waiting")
        await engine.clock.advance("39 minutes")
        assert (await instance.status()).status is Status.WAITING
        if how == "approval":
            [request] = await engine.approvals.list(status="open")
            assert request.until - engine.clock.now() == timedelta(minutes=1)
        await engine.clock.advance("2 minutes")
        assert await instance.result() == 86_400 + 3_600


async def test_l3_events_are_kept_and_approvals_decided_meanwhile():
    @workflow
    async def both(step):
        event = await step.wait_for_event("go", timeout="1 hour")
        approval = await step.wait_for_approval("ok", timeout="1 hour")
        return [event.payload, approval.by]

    async with open_test_engine(workflows=[both], autojump=False) as engine:
        instance = await engine.create(both, id="b")
        await instance.wait_for_status("waiting")
        await instance.pause()
        await instance.send_event("go", 7)
        await engine.approvals.approve("both/b#ok#1", by="ann")
        await engine.clock.advance("1 day")
        assert (await instance.status()).status is Status.PAUSED
        await instance.resume()
        assert await instance.result() == [7, "ann"]


async def test_l3_one_that_is_queued_leaves_the_queue_and_comes_back_at_its_own_age():
    async with open_test_engine(workflows=[two_steps], autojump=False, slots=1) as engine:
        first = await engine.create(two_steps, "async", id="first")
        await entered.wait()
        ids = ["a", "b", "c"]
        a, b, c = [await engine.create(two_steps, "thread", id=id) for id in ids]
        await a.pause()
        assert (await a.status()).status is Status.PAUSED
        assert str(await b.explain()).startswith("two_steps/b is queued, first of")
        await a.resume()
        assert str(await b.explain()).startswith("two_steps/b is queued, behind 1 other of")
        await a.pause()
        release.set()
        for instance in (first, b, c):
            await instance.result()
        assert (await a.status()).status is Status.PAUSED
        await a.resume()
        await a.result()


async def test_t1_one_that_was_paused_before_its_start_at_starts_not_before_that():
    async with open_test_engine(workflows=[two_steps], autojump=False) as engine:
        release.set()
        later = engine.clock.now() + timedelta(hours=2)
        instance = await engine.create(two_steps, "async", start_at=later)
        await instance.pause()
        await engine.clock.advance("1 hour")
        await instance.resume()
        assert (await instance.explain()).code == "start_at"
        await engine.clock.advance("59 minutes")
        assert seen == []
        await engine.clock.advance("1 minute")
        assert await instance.result() == [1, 2]


async def test_pause_and_resume_in_states_where_there_is_nothing_to_do():
    async with open_test_engine(workflows=[two_steps], autojump=False) as engine:
        instance = await engine.create(two_steps, "async")
        await entered.wait()
        await instance.resume()
        assert (await instance.status()).status is Status.RUNNING
        release.set()
        await instance.result()
        for verb in (instance.pause, instance.resume):
            with pytest.raises(InvalidState, match="is complete: it has ended"):
                await verb()


async def test_what_is_paused_can_be_terminated():
    async with open_test_engine(workflows=[waits_in_all_ways], autojump=False) as engine:
        instance = await engine.create(waits_in_all_ways, "event")
        await instance.wait_for_status("waiting")
        await instance.pause()
        await instance.terminate()
        assert (await instance.status()).status is Status.TERMINATED


async def test_l14_an_engine_that_closes_while_one_is_to_pause_leaves_it_paused(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(
        workflows=[two_steps], store=store, autojump=False, grace=0
    ) as engine:
        instance = await engine.create(two_steps, "async", id="x")
        await entered.wait()
        await instance.pause()
    release.set()
    async with open_test_engine(workflows=[two_steps], store=store, autojump=False) as engine:
        instance = await engine.get(two_steps, "x")
        assert (await instance.status()).status is Status.PAUSED
        assert seen == []
        await instance.resume()
        assert await instance.result() == [1, 2]


async def test_l13_one_that_is_paused_and_has_no_code_here_says_so(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(
        workflows=[two_steps], store=store, autojump=False, grace=0
    ) as engine:
        instance = await engine.create(two_steps, "async", id="x")
        await instance.pause()
    async with open_test_engine(workflows=[maps], store=store, autojump=False) as engine:
        why = await (await engine.get("two_steps", "x")).explain()
        assert why.code == "paused"
        assert str(why).endswith(
            'Before it can go on, its code is needed too: version "1" of "two_steps" is not '
            "registered with this engine (registered: maps)."
        )


async def test_l3_a_step_that_is_queued_for_a_thread_has_not_begun():
    async with open_test_engine(workflows=[two_steps], autojump=False, threads=1) as engine:
        first = await engine.create(two_steps, "thread", id="first")
        await entered.wait()
        queued = await engine.create(two_steps, "thread", id="queued")
        await queued.wait_for_status("running")
        await trio.testing.wait_all_tasks_blocked()
        assert "waits since" in str(await queued.explain())
        await queued.pause()
        assert await queued.wait_for_status("paused") is Status.PAUSED
        await queued.resume()
        release.set()
        assert await first.result() == await queued.result() == [1, 2]


async def test_l3_a_body_that_ends_after_it_was_refused_something_is_paused_all_the_same():
    breaks_now, lets_go = trio.Event(), threading.Event()

    async def breaks_when_told() -> None:
        await breaks_now.wait()
        raise ValueError("broken")

    @step_options(abandon_on_cancel=True)
    def given_up() -> None:
        trio.from_thread.run_sync(entered.set)
        lets_go.wait()
        seen.append("thread")

    @workflow
    async def collapses(step):
        told = trio.Event()

        async def wants_more() -> None:
            await told.wait()
            await step.do(quick, 2)

        async def breaks() -> None:
            try:
                await step.do(breaks_when_told, retry=Retry(limit=0))
            except StepFailed:
                told.set()
                raise

        async with step.open_nursery() as nursery:
            nursery.start_soon(wants_more)
            nursery.start_soon(breaks)
            nursery.start_soon(step.do, given_up)

    async with open_test_engine(workflows=[collapses], autojump=False) as engine:
        instance = await engine.create(collapses)
        await entered.wait()
        await instance.pause()
        breaks_now.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (await instance.status()).status is Status.WAITING_FOR_PAUSE  # the thread runs
        lets_go.set()
        assert await instance.wait_for_status("paused") is Status.PAUSED
        await instance.resume()
        with pytest.raises(InstanceErrored, match="ValueError: broken"):
            await instance.result()
        assert seen == ["thread"]
