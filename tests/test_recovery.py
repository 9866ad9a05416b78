"""After a crash: attempts and their waits are remembered, sleeps end when they are due, missing
code is waited for."""

import pytest
import trio
import trio.testing

from stepwell import InstanceErrored, Retry, Status, current_step, workflow
from stepwell._engine.starting import Starts
from stepwell.testing import TestEngine, open_test_engine

HOUR = 3600
attempts: list[int] = []
woken: list[str] = []
saved: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_happened():
    attempts.clear()
    woken.clear()
    saved.clear()


class Declined(Exception):
    pass


async def declined():
    attempts.append(current_step().attempt)
    raise Declined("no")


@workflow
async def tries_twice_more(step):
    await step.do(declined, retry=Retry(limit=2, delay="1 hour", backoff="constant", jitter=0))


@pytest.mark.parametrize("crash_after", [0, 1, HOUR // 2, HOUR - 1])
async def test_r2_a_crash_neither_forgets_attempts_nor_changes_the_wait(crash_after):
    async with open_test_engine(workflows=[tries_twice_more], autojump=False) as engine:
        instance = await engine.create(tries_twice_more, id="a")
        await instance.wait_for_status("waiting")
        await engine.clock.advance(crash_after)
        await engine.crash()
        await engine.clock.advance(HOUR - crash_after - 1)
        assert attempts == [1]
        await engine.clock.advance(1)
        assert attempts == [1, 2]


async def test_r2_the_limit_counts_attempts_of_all_lives():
    async with open_test_engine(workflows=[tries_twice_more], autojump=False) as engine:
        instance = await engine.create(tries_twice_more, id="a")
        for _ in range(2):
            await instance.wait_for_status("waiting")
            await engine.crash()
            await engine.clock.advance(HOUR)
        with pytest.raises(InstanceErrored, match=r"Declined: no$"):
            await instance.result()
        assert attempts == [1, 2, 3]
        history = await instance.history()
        assert [(r.attempt, r.status) for r in history] == [
            (1, "attempt_failed"),
            (2, "attempt_failed"),
            (3, "failed"),
        ]


async def stuck_at_first():
    attempts.append(current_step().attempt)
    if len(attempts) == 1:
        await trio.sleep_forever()
    return current_step().attempt


@workflow
async def gets_stuck(step):
    return await step.do(stuck_at_first, retry=Retry.never)


@workflow
async def gets_stuck_once(step):
    return await step.do(stuck_at_first, on_interrupt="fail")


async def _running(instance):
    """Waits until the first attempt runs."""
    while not attempts:
        await trio.testing.wait_all_tasks_blocked(0.001)
    assert (await instance.status()).status is Status.RUNNING


async def test_r3_an_attempt_that_a_crash_cut_short_is_counted_and_tried_again_at_once():
    async with open_test_engine(workflows=[gets_stuck], autojump=False) as engine:
        instance = await engine.create(gets_stuck, id="a")
        await _running(instance)
        await engine.crash()
        assert await instance.result() == 2
        assert attempts == [1, 2]
        assert [
            (r.attempt, r.status, r.error and r.error.type.rpartition(".")[2])
            for r in await instance.history()
        ] == [
            (1, "interrupted", "Interrupted"),
            (2, "done", None),
        ]


async def test_r3_a_clean_stop_interrupts_nothing(tmp_path):
    store = str(tmp_path / "store.db")
    async with open_test_engine(workflows=[gets_stuck], store=store, grace=0) as engine:
        await _running(await engine.create(gets_stuck, id="a"))
    async with open_test_engine(workflows=[gets_stuck], store=store) as engine:
        instance = await engine.get(gets_stuck, "a")
        assert await instance.result() == 1
        assert [(r.attempt, r.status) for r in await instance.history()] == [(1, "done")]


async def test_r3_what_must_not_repeat_fails_when_a_crash_cut_it_short():
    async with open_test_engine(workflows=[gets_stuck_once], autojump=False) as engine:
        instance = await engine.create(gets_stuck_once, id="a")
        await _running(instance)
        await engine.crash()
        with pytest.raises(InstanceErrored, match="Interrupted") as caught:
            await instance.result()
        assert attempts == [1]
        assert caught.value.error.step == "stuck_at_first"


async def saves():
    saved.append(current_step().saved)
    await current_step().save({"pages": [len(saved)]})
    if len(saved) < 3:
        await trio.sleep_forever()
    return len(saved)


@workflow
async def saving(step):
    return await step.do(saves)


async def test_r3_saved_values_are_handed_to_the_attempt_after_a_crash():
    async with open_test_engine(workflows=[saving], autojump=False) as engine:
        instance = await engine.create(saving, id="a")
        for times in (1, 2):
            while sum(r.status == "saved" for r in await instance.history()) < times:
                await trio.testing.wait_all_tasks_blocked(0.001)
            await engine.crash()
        assert await instance.result() == 3
        assert saved == [None, {"pages": [1]}, {"pages": [2]}]


async def wakes(name: str):
    woken.append(name)


@workflow
async def sleeper(step, hours: int):
    await step.sleep(hours * HOUR)
    await step.do(wakes, str(hours))


async def test_t1_a_sleep_across_a_crash_is_never_early_and_ends_when_due():
    async with open_test_engine(workflows=[sleeper], autojump=False) as engine:
        instance = await engine.create(sleeper, 1, id="a")
        await instance.wait_for_status("waiting")
        await engine.clock.advance(HOUR / 2)
        await engine.crash()
        await engine.clock.advance(HOUR / 2 - 1)
        await engine.crash()
        assert woken == []
        await engine.clock.advance(1)
        assert woken == ["1"]


async def test_t1_overdue_timers_fire_in_due_order_at_start(tmp_path, monkeypatch):
    started, add = [], Starts.add
    monkeypatch.setattr(
        Starts, "add", lambda starts, note: started.append(note[5]) or add(starts, note)
    )
    store = str(tmp_path / "store.db")
    async with open_test_engine(workflows=[sleeper], store=store, autojump=False) as engine:
        for hours in (3, 1, 4, 2, 9):
            instance = await engine.create(sleeper, hours, id=str(hours))
            await instance.wait_for_status("waiting")
    later = TestEngine(store, seed=0, autojump=False, workflows=[sleeper])
    started.clear()
    later._virtual_time += 5 * HOUR * 1_000_000  # the process was down for five hours
    async with later:
        await later.clock.advance(0)
        assert started == ["1", "2", "3", "4"]  # trio shuffles what then runs at the same time
        assert sorted(woken) == started
        assert (await (await later.get(sleeper, "9")).status()).status is Status.WAITING


@workflow(name="order", version="1")
async def order_1(step):
    await step.sleep("1 hour")
    return "one"


@workflow(name="order", version="2")
async def order_2(step):
    return "two"


@pytest.mark.parametrize("others", [[], [order_2]], ids=["no code", "another version"])
async def test_l12_missing_code_blocks_and_the_instance_goes_on_when_it_is_there_again(
    tmp_path, others
):
    store = str(tmp_path / "store.db")
    async with open_test_engine(workflows=[order_1], store=store, autojump=False) as engine:
        await (await engine.create(order_1, id="a")).wait_for_status("waiting")
    async with open_test_engine(workflows=others, store=store) as engine:
        [summary] = (await engine.list("order")).items
        assert (summary.status, summary.reason, summary.version) == (
            Status.BLOCKED,
            "missing_code",
            "1",
        )
        if others:
            text = (await (await engine.get("order", "a")).explain()).text
            assert 'version "1" of "order" is not registered' in text
    async with open_test_engine(workflows=[order_1, order_2], store=store) as engine:
        assert await (await engine.get("order", "a")).result() == "one"


async def test_d1_two_crashes_in_a_row_are_two_crashes():
    @workflow(name="plain")
    async def plain(step):
        return await step.do(str, "x")

    async with open_test_engine(workflows=[plain]) as engine:
        for _ in range(3):
            instance = await engine.create(plain)
            await engine.crash()
            await engine.crash()
            assert await instance.result() == "x"


async def hangs_thrice(i: int) -> int:
    attempts.append(current_step().attempt)
    if len(attempts) <= 3:
        await trio.sleep_forever()
    return i


@workflow
async def several(step):
    return await step.map(hangs_thrice, range(3))


@pytest.mark.parametrize("steps", range(0, 31, 3))
async def test_r3_an_interruption_outlives_an_engine_that_is_left_before_the_body_is_back(
    tmp_path, steps
):
    store = str(tmp_path / "store.db")
    async with open_test_engine(
        workflows=[several], store=store, autojump=False, grace=0
    ) as engine:
        await engine.create(several, id="a")
        while len(attempts) < 3:
            await trio.lowlevel.checkpoint()
        await engine.crash()
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
    async with open_test_engine(workflows=[several], store=store) as engine:
        instance = await engine.get(several, "a")
        assert await instance.result() == [0, 1, 2]
        cut = [(r.name, r.attempt) for r in await instance.history() if r.status == "interrupted"]
    assert cut == [("hangs_thrice", 1)] * 3


async def test_a_call_that_a_crash_ended_takes_no_answer_from_the_next():
    """Each core counts its tickets from the same number, and each life of the engine asks it some
    things of its own."""

    @workflow
    async def waits(step) -> None:
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        instance = await engine.create(waits, id="one")
        for _ in range(4):
            await engine.crash()
            await engine.crash()
            await instance.send_event("nobody_waits_for_this")
