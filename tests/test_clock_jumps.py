"""The wall clock jumps while bodies wait and attempts run (T1, T2, I13).

A test engine's clock has two hands; `jump` moves the wall clock alone, as an administrator, a time
server or a resumed machine does.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
import trio
import trio.testing

from stepwell import EventTimeout, InstanceErrored, Retry, current_step, workflow
from stepwell.testing import TestEngine, open_test_engine

YEAR = 365 * 86_400
JUMPS = [YEAR, -YEAR, 3, -3]


@asynccontextmanager
async def engine_for(*workflows) -> AsyncGenerator[TestEngine]:
    async with open_test_engine(workflows=workflows, autojump=False) as engine:
        yield engine


def jump(engine: TestEngine, seconds: float) -> None:
    engine._running().core.jump(round(seconds * 1e6))


async def until(engine: TestEngine, instant: datetime) -> None:
    """Lets time pass until the wall clock says this."""
    await engine.clock.settled()
    while (left := instant - engine.clock.now()) > timedelta(0):
        await engine.clock.advance(min(left, timedelta(days=300)))


MOMENT = timedelta(milliseconds=1)


@workflow
async def sleeps(step):
    await step.sleep("1 hour")
    return step.now()


@pytest.mark.parametrize("by", JUMPS)
async def test_t1_a_sleep_ends_when_the_wall_clock_says_so(by):
    async with engine_for(sleeps) as engine:
        instance = await engine.create(sleeps)
        due = engine.clock.now() + timedelta(hours=1)
        await engine.clock.settled()
        jump(engine, by)
        if engine.clock.now() < due:
            await until(engine, due - MOMENT)
            assert not (await instance.status()).status.is_final
            await until(engine, due)
        assert await instance.result() == max(due, engine.clock.now())


@workflow
async def waits(step):
    try:
        await step.wait_for_event("go", timeout="1 hour")
    except EventTimeout:
        return step.now()


@pytest.mark.parametrize("by", JUMPS)
async def test_t1_an_event_timeout_survives_a_jump_and_a_crash(by):
    async with engine_for(waits) as engine:
        instance = await engine.create(waits)
        due = engine.clock.now() + timedelta(hours=1)
        await instance.wait_for_status("waiting")
        jump(engine, by)
        await engine.crash()
        if engine.clock.now() < due:
            await until(engine, due - MOMENT)
            assert not (await instance.status()).status.is_final
            await until(engine, due)
        assert await instance.result() >= due


attempts: list[int] = []


async def fails_once() -> int:
    attempts.append(current_step().attempt)
    if current_step().attempt == 1:
        raise ValueError("once")
    return 1


@workflow
async def retries(step):
    return await step.do(
        fails_once, retry=Retry(limit=2, delay="1 hour", backoff="constant", jitter=0)
    )


@pytest.mark.parametrize("by", JUMPS)
async def test_t1_a_retry_delay_ends_when_the_wall_clock_says_so(by):
    attempts.clear()
    async with engine_for(retries) as engine:
        instance = await engine.create(retries)
        due = engine.clock.now() + timedelta(hours=1)
        await instance.wait_for_status("waiting")
        jump(engine, by)
        await engine.clock.settled()
        if engine.clock.now() < due:
            await until(engine, due - MOMENT)
            assert attempts == [1]
            await until(engine, due)
        assert await instance.result() == 1
        assert attempts == [1, 2]


started = trio.Event()
go_on = trio.Event()


async def takes_long() -> str:
    started.set()
    await go_on.wait()
    return "done"


def one_step(**options):
    global started, go_on
    started, go_on = trio.Event(), trio.Event()

    @workflow
    async def runs_one(step):
        return await step.do(takes_long, retry=Retry.never, **options)

    return runs_one


async def passes(engine: TestEngine, seconds: float) -> None:
    """Lets time pass, on both clocks, while an attempt runs."""
    core = engine._running().core
    core.advance(core.now() + round(seconds * 1e6))
    while core.busy():
        await trio.sleep(0)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("by", JUMPS)
async def test_t2_a_jump_times_no_running_attempt_out(by):
    code = one_step(timeout="10 minutes")
    async with engine_for(code) as engine:
        instance = await engine.create(code)
        await started.wait()
        await passes(engine, 599)
        jump(engine, by)
        await passes(engine, 0.9)
        go_on.set()
        assert await instance.result() == "done"


beat = trio.Event()


async def beats_once() -> None:
    started.set()
    await beat.wait()
    current_step().heartbeat()
    await go_on.wait()


@workflow
async def one_heartbeat(step):
    await step.do(beats_once, heartbeat_timeout="10 seconds", retry=Retry.never)


@pytest.mark.parametrize("by", JUMPS)
async def test_t2_a_jump_makes_no_heartbeat_older_or_younger(by):
    global started, go_on, beat
    started, go_on, beat = trio.Event(), trio.Event(), trio.Event()
    async with engine_for(one_heartbeat) as engine:
        instance = await engine.create(one_heartbeat)
        await started.wait()
        await passes(engine, 5)
        beat.set()
        await trio.testing.wait_all_tasks_blocked()
        jump(engine, by)
        await passes(engine, 7)
        assert not (await instance.status()).status.is_final, (
            "12 s after its start, 7 s after its heartbeat"
        )
        await passes(engine, 3)
        with pytest.raises(InstanceErrored, match="no heartbeat for 10 s"):
            await instance.result()


@pytest.mark.parametrize("by", JUMPS)
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": "10 minutes"}, "timeout of 600 s"),
        ({"heartbeat_timeout": "10 seconds"}, "no heartbeat for 10 s"),
    ],
)
async def test_t2_a_jump_does_not_lengthen_an_attempt_timeout(by, options, text):
    code = one_step(**options)
    async with engine_for(code) as engine:
        instance = await engine.create(code)
        await started.wait()
        core = engine._running().core
        jump(engine, by)
        core.advance(core.now() + 600_000_000)
        with pytest.raises(InstanceErrored, match=text):
            await instance.result()


@workflow
async def notes_times(step):
    seen = []
    for index in range(4):
        await step.wait_for_event("e", name=f"w{index}")
        seen.append(step.now().isoformat())
    return seen


async def test_i13_now_is_the_same_on_replay_though_the_clock_went_back():
    async with engine_for(notes_times) as engine:
        instance = await engine.create(notes_times)
        recorded = []
        for by in (YEAR // 2, -2 * YEAR, 5, -3):
            await engine.clock.settled()
            jump(engine, by)
            await instance.send_event("e")
            recorded.append(engine.clock.now().isoformat())
            await engine.clock.settled()
            # the body runs again from the top, while the clock says something else
            await engine.crash()
        assert recorded != sorted(recorded), "the clock did go back"
        assert await instance.result() == recorded


@workflow
async def three_events(step):
    return [(await step.wait_for_event("e", name=f"w{index}")).payload for index in range(3)]


async def test_t2_events_come_in_the_order_they_were_sent_though_the_clock_went_back():
    async with engine_for(three_events) as engine:
        instance = await engine.create(
            three_events, start_at=engine.clock.now() + timedelta(days=1)
        )
        for number, by in enumerate((YEAR // 2, -YEAR, -1)):
            await instance.send_event("e", number)
            await engine.clock.settled()
            jump(engine, by)
        await engine.clock.advance(YEAR)
        assert await instance.result() == [0, 1, 2]
        ends = [record.ended_at for record in await instance.history()]
        assert ends != sorted(ends), "the clock did go back"


async def test_t2_lists_are_in_order_of_creation_though_the_clock_went_back():
    async with engine_for(sleeps) as engine:
        for number, by in enumerate((YEAR, -2 * YEAR, YEAR, 0)):
            await engine.create(sleeps, id=str(number))
            jump(engine, by)
        page = await engine.list(newest_first=False)
        assert [item.id for item in page.items] == ["0", "1", "2", "3"]
        made = [item.created_at for item in page.items]
        assert made != sorted(made), "the clock did go back"
