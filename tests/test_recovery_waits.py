"""After a crash: events are kept, delivered once and in order; children are there once; batches are
whole or not at all."""

import contextlib
import functools
import time

import pytest
import trio
import trio.testing

from stepwell import EngineClosed, EventTimeout, NewInstance, current_step, workflow
from stepwell.testing import open_test_engine

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


async def noted(what: str) -> str:
    ran.append(what)
    return what


@workflow
async def sleeps_then_reads_three(step):
    await step.sleep("1 hour")
    return [(await step.wait_for_event("news")).payload for _ in range(3)]


async def test_e2_events_sent_before_the_wait_are_kept_across_a_crash_in_order():
    async with open_test_engine(workflows=[sleeps_then_reads_three], autojump=False) as engine:
        instance = await engine.create(sleeps_then_reads_three, id="a")
        await instance.wait_for_status("waiting")
        for number in range(3):
            await instance.send_event("news", number)
            await engine.crash()
        await engine.clock.advance("1 hour")
        assert await instance.result() == [0, 1, 2]


@workflow
async def waits_twice(step):
    try:
        first = (await step.wait_for_event("news", timeout="1 hour")).payload
    except EventTimeout:
        first = "timeout"
    return [first, (await step.wait_for_event("news")).payload]


async def test_e3_a_wait_that_timed_out_takes_no_event_after_a_crash():
    async with open_test_engine(workflows=[waits_twice], autojump=False) as engine:
        instance = await engine.create(waits_twice, id="a")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("30 min")
        await engine.crash()
        await engine.clock.advance("30 min")
        await engine.crash()
        await instance.send_event("news", 1)
        assert await instance.result() == ["timeout", 1]


async def test_e3_an_event_that_came_in_time_is_not_timed_out_by_a_crash():
    async with open_test_engine(workflows=[waits_twice], autojump=False) as engine:
        instance = await engine.create(waits_twice, id="a")
        await instance.wait_for_status("waiting")
        await instance.send_event("news", 1)
        await engine.crash()
        await engine.clock.advance("2 hours")
        await instance.send_event("news", 2)
        assert await instance.result() == [1, 2]


async def test_e4_a_dedup_id_holds_across_a_crash():
    async with open_test_engine(workflows=[waits_twice], autojump=False) as engine:
        instance = await engine.create(waits_twice, id="a")
        await instance.wait_for_status("waiting")
        for _ in range(2):
            await instance.send_event("news", 1, dedup_id="1")
            await engine.crash()
            await instance.send_event("news", 1, dedup_id="1")
        await instance.send_event("news", 2, dedup_id="2")
        assert await instance.result() == [1, 2]


@workflow
async def gives_up_a_wait(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "news")
        await step.do(noted, "tired")
        nursery.cancel_scope.cancel()
    return (await step.wait_for_event("news", name="again")).payload


async def test_i8_a_wait_given_up_before_a_crash_takes_no_event_after_it():
    async with open_test_engine(workflows=[gives_up_a_wait], autojump=False) as engine:
        driver = engine._running()
        open_wait, opened = driver.wait_event, []
        # The crash comes after the step's outcome and before what followed from it was committed.
        driver.withdraw = lambda *_: None
        driver.wait_event = lambda *wait: (
            opened.append(wait) or (open_wait(*wait) if len(opened) == 1 else 1 << 40)
        )
        instance = await engine.create(gives_up_a_wait, id="a")
        while len(opened) < 2:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await engine.crash()
        await instance.wait_for_status("waiting")
        await instance.send_event("news", 1)
        assert await instance.result() == 1


@workflow
async def child(step, name: str) -> str:
    await step.do(noted, name)
    await step.wait_for_event("go")
    return name.upper()


@workflow
async def parent(step) -> list[str]:
    created = await step.create(child, "created")
    batch = await step.create_batch(child, [f"b{i}" for i in range(3)])
    called = await step.call(child, "called")
    return [called, await created.result(), *[await one.result() for one in batch]]


async def test_l10_children_are_created_once_however_often_their_parent_replays():
    async with open_test_engine(workflows=[parent, child], autojump=False) as engine:
        instance = await engine.create(parent, id="p")
        await instance.wait_for_status("waiting")
        await engine.clock.settled()
        for _ in range(3):
            await engine.crash()
            await engine.clock.settled()
        children = (await engine.list(child)).items
        assert len(children) == 5
        for summary in children:
            await (await engine.get(child, summary.id)).send_event("go")
            await engine.crash()
        assert await instance.result() == ["CALLED", "CREATED", "B0", "B1", "B2"]
        assert sorted(ran) == ["b0", "b1", "b2", "called", "created"]


@workflow
async def creates_many(step) -> int:
    return len(await step.create_batch(child, [str(i) for i in range(200)]))


@pytest.mark.parametrize("turns", range(0, 12, 3))
async def test_l2_a_batch_of_children_is_created_as_a_whole_or_not_at_all(turns):
    async with open_test_engine(workflows=[creates_many, child], autojump=False) as engine:
        instance = await engine.create(creates_many, id="p")
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        await engine.crash()
        assert sum((await engine.count(child)).values()) in (0, 200)
        assert await instance.result() == 200
        assert sum((await engine.count(child)).values()) == 200


@pytest.mark.parametrize("turns", range(0, 12, 3))
async def test_l2_a_batch_is_created_as_a_whole_or_not_at_all(turns):
    items = [NewInstance(str(i), id=str(i)) for i in range(200)]
    async with open_test_engine(workflows=[child], autojump=False) as engine:
        acknowledged = False

        async def create():
            nonlocal acknowledged
            with contextlib.suppress(EngineClosed):
                acknowledged = len((await engine.create_batch(child, items)).created) == 200

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            await engine.crash()
        there = sum((await engine.count(child)).values())
        assert there in ((200,) if acknowledged else (0, 200))


async def stuck_in_the_first_life(name: str):
    ran.append(f"{name} {current_step().attempt}")
    if current_step().attempt == 1:
        await trio.sleep_forever()


@workflow
async def waits_beside_steps(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "news")
        for index in range(30):
            nursery.start_soon(
                functools.partial(step.do, stuck_in_the_first_life, f"s{index}", name=f"s{index}")
            )


async def test_r3_an_event_that_comes_at_once_does_not_hide_that_attempts_were_cut_short():
    # so that the event is there before the steps' tasks have begun
    async def keeps_the_thread_busy():
        while True:
            time.sleep(0.003)
            await trio.lowlevel.checkpoint()

    async with open_test_engine(workflows=[waits_beside_steps], autojump=False) as engine:
        # the crash comes before the wait is committed
        engine._running().wait_event = lambda *_: 1 << 40
        instance = await engine.create(waits_beside_steps, id="a")
        await instance.send_event("news")
        while len(ran) < 30:
            await trio.testing.wait_all_tasks_blocked(0.001)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeps_the_thread_busy)
            await engine.crash()
            with trio.fail_after(20):
                await instance.result()
            nursery.cancel_scope.cancel()
        assert sorted(ran[30:]) == sorted(f"s{index} 2" for index in range(30))
