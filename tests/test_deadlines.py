"""Durable deadlines: what they decide is recorded, and every replay takes the same way (rules T4,
I8)."""

import pytest
import trio

from stepwell import InstanceErrored, InvalidConfig, InvalidName, Retry, workflow
from stepwell.testing import open_test_engine

seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def noted(what: str) -> str:
    seen.append(what)
    return what


async def never() -> None:
    try:
        await trio.sleep_forever()
    finally:
        seen.append("cancelled")


def after(began, step) -> float:
    return (step.now() - began).total_seconds()


@workflow
async def waits_an_hour(step):
    began = step.now()
    with step.move_on_after("1 hour") as scope:
        await step.wait_for_event("go")
    return [scope.cancelled_caught, after(began, step), await step.do(noted, "after")]


@pytest.mark.parametrize("park", [False, True], ids=["resident", "parked"])
@pytest.mark.parametrize("crash", [False, True], ids=["", "crashed"])
async def test_t4_a_deadline_cuts_the_block_short_when_it_is_due(crash, park):
    async with open_test_engine(workflows=[waits_an_hour], autojump=False) as engine:
        instance = await engine.create(waits_an_hour)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("5 minutes" if park else "1 second")
        assert engine.statistics().resident == (0 if park else 1)
        if crash:
            await engine.crash()
        await engine.clock.advance("2 hours")
        assert await instance.result() == [True, 3600, "after"]
        history = [(r.kind, r.name, r.status) for r in await instance.history()]
    assert history == [("deadline", "move_on_after", "done"), ("do", "noted", "done")]


@workflow
async def in_time(step):
    with step.move_on_after("1 hour") as scope:
        await step.wait_for_event("go")
    await step.sleep("1 day")
    await step.wait_for_event("end")
    return scope.cancelled_caught


async def test_t4_a_scope_that_was_left_ignores_its_deadline():
    async with open_test_engine(workflows=[in_time]) as engine:
        instance = await engine.create(in_time)
        await instance.send_event("go")
        await instance.send_event("end")
        assert await instance.result() is False
        assert [r.kind for r in await instance.history()] == ["event", "sleep", "event"]


@workflow
async def steps_too_slow(step):
    with step.move_on_after(10, name="first") as first:
        await step.do(never)
    with step.move_on_after("10 seconds", name="second") as second:
        await step.do(noted, "quick")
    with step.move_on_after(30, name="third") as third:
        await step.do(fails, retry=Retry(delay=60))
    await step.wait_for_event("go")
    return [first.cancelled_caught, second.cancelled_caught, third.cancelled_caught]


async def fails() -> None:
    seen.append("failing")
    raise OSError("down")


async def test_i8_a_deadline_cancels_a_running_attempt_and_a_retry_delay():
    async with open_test_engine(workflows=[steps_too_slow], autojump=False) as engine:
        instance = await engine.create(steps_too_slow)
        core = engine._driver.core
        while not engine._driver.borrowed.attempts:
            await trio.lowlevel.checkpoint()
        # `clock.advance` waits for running attempts; this one never ends
        core.advance(core.now() + 10_000_000)
        await instance.wait_for_step("noted")
        await engine.clock.advance(31)
        for _ in range(2):
            await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [True, False, True]
        assert seen == ["cancelled", "quick", "failing"]


@workflow
async def fails_in_time(step, seconds: int):
    try:
        with step.fail_after(60) as scope:
            await step.sleep(seconds)
    except trio.TooSlowError as error:
        return [scope.cancelled_caught, str(error)]
    return [scope.cancelled_caught, "in time"]


async def test_t4_fail_after_raises_only_when_it_cut_the_block_short():
    async with open_test_engine(workflows=[fails_in_time]) as engine:
        assert await engine.call(fails_in_time, 59) == [False, "in time"]
        assert await engine.call(fails_in_time, 61, id="late") == [
            True,
            '"fail_after" of fails_in_time/late ran out of time',
        ]


@workflow
async def too_slow(step):
    with step.fail_after(1):
        await step.wait_for_event("go")


async def test_t4_an_uncaught_fail_after_makes_the_instance_errored():
    async with open_test_engine(workflows=[too_slow]) as engine:
        with pytest.raises(InstanceErrored, match="ran out of time") as caught:
            await engine.call(too_slow)
        assert caught.value.error.type == "trio.TooSlowError"


@workflow
async def nested(step):
    """The outer deadline comes first; the inner one's scope is left by it."""
    with step.move_on_after(10, name="outer") as outer:
        with step.move_on_after(20, name="inner") as inner:
            await step.wait_for_event("go")
        seen.append("unreachable")
    with (
        step.move_on_after(20, name="outer") as again,
        step.move_on_after(10, name="inner") as inside,
    ):
        await step.wait_for_event("go")
    await step.wait_for_event("end")
    return [s.cancelled_caught for s in (outer, inner, again, inside)]


async def test_t4_deadlines_nest_and_each_cuts_its_own_block():
    async with open_test_engine(workflows=[nested], autojump=False) as engine:
        instance = await engine.create(nested)
        await engine.clock.advance(30)
        await engine.crash()
        await instance.send_event("end")
        assert await instance.result() == [True, False, False, True]
    assert seen == []


@workflow
async def over_branches(step):
    order: list[str] = []

    async def branch(name: str, seconds: int) -> None:
        await step.sleep(seconds)
        order.append(name)

    with step.move_on_after(25) as scope:
        async with step.open_nursery() as nursery:
            for name, seconds in (("a", 30), ("b", 10), ("c", 20), ("d", 40)):
                nursery.start_soon(branch, name, seconds)
    await step.wait_for_event("go")
    return [scope.cancelled_caught, order]


async def test_t4_a_deadline_over_a_nursery_keeps_what_its_branches_had_done():
    async with open_test_engine(workflows=[over_branches], autojump=False) as engine:
        instance = await engine.create(over_branches)
        await engine.clock.advance(100)
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [True, ["b", "c"]]
        sleeps = [r for r in await instance.history() if r.kind == "sleep"]
        assert [r.status for r in sleeps] == ["done", "done"]


@workflow
async def in_a_branch(step):
    async def waits(seconds: int) -> bool:
        with step.move_on_after(seconds) as scope:
            await step.wait_for_event("go")
        return scope.cancelled_caught

    return await step.each(waits, [10, 1_000_000])


async def test_t4_branches_have_deadlines_of_their_own():
    async with open_test_engine(workflows=[in_a_branch], autojump=False) as engine:
        instance = await engine.create(in_a_branch)
        await engine.clock.advance(11)
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [True, False]


@workflow
async def cancels_itself(step):
    with step.move_on_after("1 day") as scope:
        scope.cancel()
        await step.wait_for_event("go")
    return [scope.cancel_called, scope.cancelled_caught, await step.do(noted, "after")]


async def test_i8_a_body_may_cancel_its_own_deadline_scope():
    async with open_test_engine(workflows=[cancels_itself]) as engine:
        assert await engine.call(cancels_itself) == [True, True, "after"]


@workflow
async def at_once(step):
    with step.move_on_after(0) as scope:
        await step.wait_for_event("go")
    return scope.cancelled_caught


async def test_t4_a_deadline_of_nothing_is_over_at_once():
    async with open_test_engine(workflows=[at_once], autojump=False) as engine:
        assert await engine.call(at_once) is True


@workflow
async def queued_for_long(step):
    with step.move_on_after(60) as scope:
        await step.sleep(30)
    return scope.cancelled_caught


async def test_t4_a_deadline_in_the_first_turn_does_not_count_the_time_in_the_queue():
    async with open_test_engine(workflows=[queued_for_long], autojump=False) as engine:
        instance = await engine.create(
            queued_for_long, start_at=engine.clock.now().replace(year=2031)
        )
        await engine.clock.advance("365 days")
        await engine.clock.advance(31)
        assert await instance.result() is False


@workflow
async def malformed(step):
    told = []
    for arguments in [("soon",), (-1,), (float("nan"),), (366 * 86_400,), (1, "x" * 257), (1, "")]:
        try:
            step.move_on_after(*arguments)
        except (InvalidConfig, InvalidName) as error:
            told.append(type(error).__name__)
    return told


async def test_t4_malformed_deadlines_are_refused():
    async with open_test_engine(workflows=[malformed]) as engine:
        assert await engine.call(malformed) == ["InvalidConfig"] * 4 + ["InvalidName"] * 2


@workflow
async def in_a_step(step):
    async def inner() -> None:
        with step.move_on_after(1):
            pass

    await step.do(inner, retry=Retry.never)


async def test_i7_a_deadline_inside_a_step_function_says_so():
    async with open_test_engine(workflows=[in_a_step]) as engine:
        with pytest.raises(
            InstanceErrored, match=r"move_on_after .* was called inside a step function"
        ) as caught:
            await engine.call(in_a_step)
        assert caught.value.error.type == "stepwell.StepwellError"
