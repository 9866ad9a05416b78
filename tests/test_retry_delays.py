"""A step that waits for its next attempt: what it holds, what cancelling it leaves, what its delay
function is told."""

import contextlib

from stepwell import Retry, StepFailed, workflow
from stepwell.testing import open_test_engine


async def fails_by_item(item: int) -> None:
    raise (KeyError if item == 0 else ValueError)(item)


@workflow
async def map_that_fails(step):
    with contextlib.suppress(StepFailed):
        await step.map(
            fails_by_item, range(3), retry=Retry(delay="1 hour", jitter=0, retry_on=(ValueError,))
        )
    await step.wait_for_event("go")
    return "went on"


@workflow
async def other(step):
    return "ran"


async def test_r4_a_step_cancelled_in_its_retry_delay_holds_no_slot_and_leaves_no_wait():
    async with open_test_engine(
        workflows=[map_that_fails, other], slots=1, autojump=False
    ) as engine:
        instance = await engine.create(map_that_fails, id="m")
        await instance.wait_for_status("waiting")
        assert [r.name for r in await instance.history() if r.status == "waiting"] == ["go"]
        await engine.clock.advance("2 hours")
        assert await engine.call(other) == "ran"
        await instance.send_event("go")
        assert await instance.result() == "went on"


def named(name: str):
    async def step_function():
        return name

    step_function.__name__ = name
    return step_function


@workflow
async def made_by_a_factory(step):
    return [await step.do(named("charge")), await step.do(named("refund"))]


async def test_i1_functions_of_one_factory_keep_the_names_they_were_given():
    async with open_test_engine(workflows=[made_by_a_factory]) as engine:
        instance = await engine.create(made_by_a_factory)
        assert await instance.result() == ["charge", "refund"]
        assert [r.name for r in await instance.history()] == ["charge", "refund"]


seen: list[int] = []


def delay_by_attempt(context, error):
    seen.append(context.attempt)
    return 1


async def fails_twice(marker: list[int]) -> int:
    marker.append(1)
    if len(marker) < 3:
        raise ValueError("again")
    return len(marker)


@workflow
async def asks_for_delays(step):
    for _ in range(2):
        await step.do(fails_twice, [], retry=Retry(delay=delay_by_attempt))
    return


async def test_r6_a_delay_function_is_told_the_attempt_that_failed_also_of_a_known_function():
    seen.clear()
    # the step counts in what it is given
    async with open_test_engine(workflows=[asks_for_delays], check_arguments=False) as engine:
        await engine.call(asks_for_delays)
        assert seen == [1, 2, 1, 2]
