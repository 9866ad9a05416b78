"""Ending an instance from outside, whatever it is at (rule L5)."""

from datetime import timedelta

import pytest
import trio

from stepwell import (
    InstanceTerminated,
    InvalidState,
    Retry,
    Status,
    workflow,
)
from stepwell.testing import open_test_engine

seen: list[str] = []
entered = trio.Event()
release = trio.Event()


@pytest.fixture(autouse=True)
def _fresh():
    global entered, release
    seen.clear()
    entered, release = trio.Event(), trio.Event()


async def runs_for_ever() -> None:
    entered.set()
    try:
        await trio.sleep_forever()
    finally:
        seen.append("cancelled")


async def _until_released() -> None:
    await release.wait()


def runs_in_a_thread() -> str:
    trio.from_thread.run_sync(entered.set)
    trio.from_thread.run(_until_released)
    seen.append("thread ended")
    return "late"


async def fails_at_once() -> None:
    entered.set()
    raise ConnectionError("away")


async def after() -> None:
    seen.append("after")


@workflow
async def busy(step, how: str):
    if how == "runs":
        await step.do(runs_for_ever)
    elif how == "runs in a thread":
        await step.do(runs_in_a_thread)
    elif how == "retries":
        await step.do(fails_at_once, retry=Retry(limit=5, delay="1 hour", jitter=0))
    elif how == "asks":
        await step.wait_for_approval("ok")
    elif how == "calls":
        await step.call(busy, "waits", id="called")
    elif how == "creates":
        await step.create(busy, "waits", id="created")
        await step.wait_for_event("go")
    else:
        await step.wait_for_event("go")
    await step.do(after)


@workflow(runtime="asyncio")
async def busy_on_asyncio(step, how: str):
    import asyncio

    if how == "runs":

        async def runs() -> None:
            seen.append("began")
            try:
                await asyncio.sleep(1e6)
            finally:
                seen.append("cancelled")

        await step.do(runs, runtime="asyncio")
    else:
        await step.wait_for_event("go")
    await step.do(after)


async def counts(engine) -> dict[Status, int]:
    """How many instances are in each state in which any is."""
    return {status: count for status, count in (await engine.count()).items() if count}


HOW = ["waits", "runs", "runs in a thread", "retries", "asks", "calls", "creates"]
WAITS = ("asks", "waits", "calls", "creates", "retries")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("crashes", [False, True])
async def test_l5_whatever_it_is_at_it_ends_and_begins_nothing_more(how, crashes):
    async with open_test_engine(workflows=[busy], autojump=False, grace=0) as engine:
        instance = await engine.create(busy, how, id="x")
        if how in WAITS:
            await instance.wait_for_status("waiting")
        else:
            await entered.wait()
        if crashes:
            await engine.crash()
            if how in ("runs in a thread", "runs"):
                await instance.wait_for_status("running")
        await instance.terminate()
        expected = {Status.TERMINATED: 2 if how == "calls" else 1}
        if how == "creates":
            expected[Status.WAITING] = 1
        assert await counts(engine) == expected
        release.set()
        with pytest.raises(
            InstanceTerminated, match=r"^busy/x was terminated: somebody terminated it"
        ):
            await instance.result()
        assert (await instance.status()).status is Status.TERMINATED
        assert "after" not in seen
        assert not (await engine.approvals.list(status="open")).items
        with pytest.raises(InvalidState, match="is terminated: it has ended") as refused:
            await instance.terminate()
        assert refused.value.status is Status.TERMINATED
        with pytest.raises(InvalidState, match="is terminated"):
            await instance.send_event("go")
        await engine.crash()
        assert (await instance.status()).status is Status.TERMINATED
    assert "after" not in seen


@pytest.mark.parametrize("how", ["waits", "runs"])
async def test_l5_bodies_on_asyncio_too(how):
    async with open_test_engine(workflows=[busy_on_asyncio], autojump=False, grace=0) as engine:
        instance = await engine.create(busy_on_asyncio, how)
        await instance.wait_for_status("waiting" if how == "waits" else "running")
        await instance.terminate()
        with pytest.raises(InstanceTerminated):
            await instance.result()
    assert "after" not in seen


async def test_l5_one_that_is_queued_leaves_the_queue_and_makes_room():
    async with open_test_engine(workflows=[busy], autojump=False, grace=0, slots=1) as engine:
        first = await engine.create(busy, "runs")
        queued = await engine.create(busy, "waits", id="q", priority=5)
        later = await engine.create(
            busy, "waits", id="l", start_at=engine.clock.now() + timedelta(hours=1)
        )
        for instance in (queued, later):
            assert (await instance.status()).status is Status.QUEUED
            await instance.terminate()
            assert await instance.history() == []
        await first.terminate()
        last = await engine.create(busy, "waits")
        await last.wait_for_status("waiting")
        await engine.clock.advance("2 hours")
        assert await counts(engine) == {Status.TERMINATED: 3, Status.WAITING: 1}


@workflow
async def asks_about(step, id: str):
    try:
        await step.call(busy, "waits", id=id)
    except InstanceTerminated as error:
        return str(error)


async def test_l5_whoever_called_it_is_told():
    async with open_test_engine(workflows=[busy, asks_about]) as engine:
        parent = await engine.create(asks_about, "c")
        await parent.wait_for_status("waiting")
        child = await engine.get(busy, "c")
        await child.terminate()
        assert await parent.result() == ("busy/c was terminated: somebody terminated it")


@workflow
async def blocked(step):
    # two that wait for the same and are no branches: a race (I3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "go")
        nursery.start_soon(step.wait_for_event, "go")


async def test_l5_one_that_is_blocked_and_one_without_code(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(store=store, workflows=[blocked, busy], autojump=False) as engine:
        first = await engine.create(blocked, id="b")
        await first.wait_for_status("blocked")
        await first.terminate()
        await (await engine.create(busy, "waits", id="m")).wait_for_status("waiting")
    async with open_test_engine(store=store, workflows=[blocked]) as engine:
        second = await engine.get("busy", "m")
        assert (await second.status()).status is Status.BLOCKED
        await second.terminate()
        assert await counts(engine) == {Status.TERMINATED: 2}
        assert await engine.reasons() == []


@workflow
async def charges(step, times: int):
    return await step.do(charge, times, retry=Retry(limit=9, delay="1 hour", jitter=0))


async def charge(times: int) -> int:
    seen.append("charge")
    if seen.count("charge") < times:
        raise ConnectionError("away")
    return len(seen)


async def test_retry_now_makes_the_next_attempt_without_the_delay():
    async with open_test_engine(workflows=[charges], autojump=False) as engine:
        instance = await engine.create(charges, 3)
        await instance.wait_for_status("waiting")
        await engine.crash()  # it is parked, and comes back for that
        before = engine.clock.now()
        await instance.retry_now()
        while len(seen) < 2:
            await instance.wait_for_status("waiting")
            await trio.testing.wait_all_tasks_blocked()
        await instance.wait_for_status("waiting")
        await instance.retry_now()
        assert await instance.result() == 3
        assert engine.clock.now() - before < timedelta(seconds=1)
        with pytest.raises(InvalidState):
            await instance.retry_now()


async def test_retry_now_of_one_that_waits_for_no_attempt_does_nothing():
    async with open_test_engine(workflows=[busy], autojump=False) as engine:
        instance = await engine.create(busy, "waits")
        await instance.wait_for_status("waiting")
        await instance.retry_now()
        assert (await instance.status()).status is Status.WAITING
        await instance.send_event("go")
        await instance.result()
        assert seen == ["after"]


@workflow
async def charges_meanwhile(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(charged, step)
        nursery.start_soon(step.do, runs_in_a_thread)


async def charged(step) -> None:
    await step.do(charge, 2, retry=Retry(limit=1, delay="1 hour", jitter=0))


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("leaves", [False, True])
async def test_retry_now_of_one_that_is_paused_makes_the_attempt_when_it_goes_on(leaves, crashes):
    async with open_test_engine(workflows=[charges_meanwhile]) as engine:
        instance = await engine.create(charges_meanwhile)
        await entered.wait()
        await trio.testing.wait_all_tasks_blocked()
        await instance.pause()
        if leaves:
            release.set()
            await instance.wait_for_status("paused")
        await instance.retry_now()
        release.set()
        await instance.wait_for_status("paused")
        if crashes:
            await engine.crash()
        assert seen.count("charge") == 1
        before = engine.clock.now()
        await instance.resume()
        await instance.result()
        assert seen.count("charge") == 2
        assert engine.clock.now() - before < timedelta(seconds=1)
