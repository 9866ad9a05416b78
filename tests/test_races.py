"""Two tasks of a body that begin the same thing in the same turn are a race, not an order (rule
I3)."""

import functools

import pytest
import trio

from stepwell import workflow
from stepwell.testing import open_test_engine


async def noop() -> None:
    pass


async def noop_of(_: int) -> None:
    pass


@workflow
async def races(step):
    async def does():
        await step.do(noop)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(does)
        nursery.start_soon(does)


@workflow
async def races_in_one_branch(step):
    async def does():
        await step.do(noop)

    async def pair():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(does)
            nursery.start_soon(does)

    async with step.open_nursery() as nursery:
        nursery.start_soon(pair)


@workflow
async def maps_race(step):
    async def does():
        await step.map(noop_of, [1, 2])

    async def pair():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(does)
            nursery.start_soon(does)

    async with step.open_nursery() as nursery:
        nursery.start_soon(pair)


@workflow
async def nurseries_race(step):
    async def does():
        async with step.open_nursery("noop"):
            pass

    async def pair():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(does)
            nursery.start_soon(does)

    async with step.open_nursery() as nursery:
        nursery.start_soon(pair)


@workflow
async def operations_race(step):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(step.do, noop)
        nursery.start_soon(step.do, noop)


@workflow
async def operations_race_in_one_branch(step):
    async def pair():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(step.map, noop_of, [1, 2])
            nursery.start_soon(step.map, noop_of, [1, 2])

    async with step.open_nursery() as nursery:
        nursery.start_soon(pair)


RACES = [
    races,
    races_in_one_branch,
    maps_race,
    nurseries_race,
    operations_race,
    operations_race_in_one_branch,
]


@pytest.mark.parametrize("code", RACES)
async def test_i3_two_body_tasks_that_race_for_one_identity_block_the_instance_live(code):
    async with open_test_engine(workflows=[code]) as engine:
        instance = await engine.create(code)
        await instance.wait_for_status("blocked")
        text = str(await instance.explain())
    assert '"noop' in text
    assert "step.open_nursery" in text
    assert "key=" in text


async def test_i3_one_branch_may_begin_the_same_twice_in_one_turn_from_one_task():
    @workflow(name="one_after_the_other")
    async def one_after_the_other(step):
        async with step.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(step.do, noop)
        for _ in range(2):
            async with step.open_nursery("again"):
                pass
            await step.map(noop_of, [])
            await step.each(noop_of, [])
        return "ok"

    async with open_test_engine(workflows=[one_after_the_other]) as engine:
        assert await engine.call(one_after_the_other) == "ok"


async def own_nursery(step, does):
    """In a nursery of trio's alone."""
    async with trio.open_nursery() as nursery:
        await does(nursery)


async def nursery_of_a_branch(step, does):
    """In one that a branch opens."""
    async with step.open_nursery() as branches:
        branches.start_soon(own_nursery, step, does)


async def nursery_around_branches(step, does):
    """In one whose tasks outlive the nursery of the body that was open when they began."""
    async with trio.open_nursery() as nursery:
        async with step.open_nursery() as branches:
            branches.start_soon(functools.partial(step.do, noop, name="branch"))
            await does(nursery)
        await step.do(noop, name="beside")


@pytest.mark.parametrize("apart", ["key", "name"])
@pytest.mark.parametrize("nursery_in", [own_nursery, nursery_of_a_branch, nursery_around_branches])
async def test_i3_tasks_that_give_keys_or_names_do_not_race_and_replay(nursery_in, apart):
    arrived = []

    async def waits(number):
        return number

    @workflow(name="keyed")
    async def keyed(step):
        async def task(number: str):
            await step.do(noop_of, 0, **{apart: number})
            await step.map(
                noop_of,
                [number],
                **(
                    {"key": lambda it: f"item {it}"}
                    if apart == "key"
                    else {"name": f"map {number}"}
                ),
            )
            await step.sleep(1, name=f"sleep {number}")
            arrived.append(number)

        async def does(nursery):
            nursery.start_soon(task, "a")
            nursery.start_soon(task, "b")
            nursery.start_soon(functools.partial(step.do, noop_of, 0, **{apart: "c"}))

        await nursery_in(step, does)
        await step.do(noop, name="after")
        await step.wait_for_event("go")
        return await step.do(waits, 7)

    async with open_test_engine(workflows=[keyed], autojump=False) as engine:
        instance = await engine.create(keyed)
        for _ in range(4):
            await engine.clock.advance(0.5)
            await engine.crash()
        await instance.wait_for_status("waiting")
        before, _ = sorted(arrived), arrived.clear()
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == 7
        assert sorted(arrived) == ["a", "b"] == sorted(set(before))
