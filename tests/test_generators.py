"""Asynchronous generators of bodies and steps on trio that are left before their end (R9).

They are closed where the code that began them ends, in its task. What stands in them is left in
order, or one instance suffers.
"""

import pytest
import trio
import trio.testing
from asyncio_bodies import line_of

from stepwell import InstanceErrored, Retry, Step, StepFailed, step_options, workflow
from stepwell.testing import open_test_engine

closed: list[object] = []
kept: list[object] = []


@pytest.fixture(autouse=True)
def _fresh():
    closed.clear()
    kept.clear()


async def one(x: int) -> int:
    return x


@workflow(name="healthy")
async def healthy(step: Step) -> str:
    await step.sleep(1)
    return "fine"


async def _in_a_deadline(step: Step):
    with step.move_on_after("1 hour"):
        for k in range(5):
            yield await step.do(one, k)


async def _in_a_scope(step: Step):
    with trio.CancelScope():
        for k in range(5):
            yield await step.do(one, k)


async def _in_a_nursery(step: Step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "never")
        for k in range(5):
            yield await step.do(one, k)


async def _in_trios_nursery(step: Step):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        for k in range(5):
            yield await step.do(one, k)


async def _in_a_finally(step: Step):
    try:
        for k in range(5):
            yield await step.do(one, k)
    finally:
        closed.append(await step.do(one, 7))


GENERATORS = [_in_a_deadline, _in_a_scope, _in_a_nursery, _in_trios_nursery, _in_a_finally]


async def _left(step: Step, items) -> int:
    async for x in items(step):
        if x == 2:
            break
    return await step.do(one, 9)


async def _kept(step: Step, items) -> int:
    kept.append(items(step))
    async for x in kept[-1]:
        if x == 2:
            break
    return await step.do(one, 9)


async def _left_twice(step: Step, items) -> int:
    await _left(step, items)
    return await _left(step, items)


async def _left_in_a_branch(step: Step, items) -> int:
    async with step.open_nursery("outer") as nursery:
        started = nursery.start_soon(_left, step, items)
    return started.value


async def _left_in_each(step: Step, items) -> int:
    async def branch(_: int) -> int:
        return await _left(step, items)

    return max(await step.each(branch, range(3)))


@pytest.mark.parametrize("items", GENERATORS)
@pytest.mark.parametrize("leaves", [_left, _kept, _left_twice, _left_in_a_branch, _left_in_each])
async def test_r9_a_generator_that_is_left_early_is_closed_at_the_end_in_the_task_that_began_it(
    leaves, items, caplog
):
    lives: list[object] = []

    @workflow(name="leaves")
    async def body(step: Step) -> int:
        lives.append(1)
        value = await leaves(step, items)
        await step.wait_for_event("go")
        return value

    async with open_test_engine(
        workflows=[body, healthy], autojump=items is not _in_a_deadline
    ) as engine:
        instance = await engine.create("leaves", id="l")
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        # a plain nursery waits for something foreign, and nothing else comes of it
        if items is _in_trios_nursery:
            await instance.wait_for_status("blocked", "complete")
        else:
            assert await instance.result() == 9
        started = await engine.create("healthy")
        await engine.clock.advance(2)
        assert await started.result() == "fine"
    if items is _in_a_finally:
        assert closed


async def test_r9_a_deadline_in_a_generator_that_was_left_is_told_with_line_and_hurts_no_other():
    @workflow(name="leaves")
    async def body(step: Step) -> None:
        async def items():
            with step.move_on_after("1 hour"):
                for k in range(5):
                    yield k  # here

        async for _ in items():
            break
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[body, healthy]) as engine:
        instance = await engine.create("leaves", id="l")
        with pytest.raises(InstanceErrored) as caught:
            await instance.result()
        assert await engine.call("healthy") == "fine"
    assert (
        f"leaves/l left a generator before its end, at {line_of(__file__, 'here')}, inside of a "
        "scope"
    ) in caught.value.error.message
    assert "contextlib.aclosing" in caught.value.error.message


@pytest.mark.parametrize("outer", [trio.CancelScope, trio.open_nursery, "step"])
async def test_r9_what_is_around_a_generator_and_left_before_it_is_told_with_the_line(outer):
    @workflow(name="leaves")
    async def body(step: Step) -> None:
        async def items():
            with trio.CancelScope():
                for k in range(5):
                    yield k  # inside

        async def leaves() -> None:
            generator = items()
            kept.append(generator)
            async for _ in generator:
                break

        if outer is trio.CancelScope:
            with trio.CancelScope():
                await leaves()
        elif outer is trio.open_nursery:
            async with trio.open_nursery():
                await leaves()
        else:
            async with step.open_nursery() as nursery:
                nursery.start_soon(step.sleep, 1)
                await leaves()
        await step.do(one, 1)

    async with open_test_engine(workflows=[body, healthy]) as engine:
        instance = await engine.create("leaves", id="l")
        with pytest.raises(InstanceErrored) as caught:
            await instance.result()
        assert await engine.call("healthy") == "fine"
    assert (
        f"leaves/l left a generator before its end, at {line_of(__file__, 'inside')}"
    ) in caught.value.error.message


async def test_a_generator_that_is_left_is_named_in_the_log(caplog):
    @workflow(name="leaves")
    async def body(step: Step) -> int:
        return await _left(step, _in_a_scope)

    async with open_test_engine(workflows=[body]) as engine:
        assert await engine.call("leaves", id="l") == 9
    assert "leaves/l left a generator before its end, at test_generators.py:" in caplog.text


# In steps.


async def _of_a_step(kind: str, waits: bool):
    if kind == "scope":
        with trio.CancelScope():
            for k in range(5):
                if waits:
                    await trio.lowlevel.checkpoint()
                yield k
    else:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            for k in range(5):
                yield k


@step_options(retry=Retry.never)
async def leaves_in_a_step(kind: str, waits: bool = False) -> int:
    if kind == "nothing":
        return 0
    async for x in _of_a_step(kind, waits):
        if x == 1:
            return x
    return -1


@pytest.mark.parametrize("kind", ["scope", "nursery"])
async def test_r9_a_generator_that_a_step_leaves_early_is_closed_with_its_attempt(kind):
    @workflow(name="leaves")
    async def body(step: Step) -> list[int]:
        # known not to wait from then on
        values = [await step.do(leaves_in_a_step, "nothing") for _ in range(3)]
        values += [
            await step.do(leaves_in_a_step, kind),
            await step.do(leaves_in_a_step, kind, True),
        ]
        async with step.open_nursery() as nursery:
            started = nursery.start_soon(step.do, leaves_in_a_step, kind)
        with step.move_on_after("1 hour"):
            values += await step.map(leaves_in_a_step, [kind, kind])
        await step.wait_for_event("go")
        return [*values, started.value]

    async with open_test_engine(workflows=[body, healthy], autojump=False) as engine:
        instance = await engine.create("leaves", id="l")
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [0, 0, 0, 1, 1, 1, 1, 1]


async def test_r9_a_step_whose_generator_raises_when_it_is_closed_fails():
    async def items():
        try:
            yield 1
        finally:
            raise ValueError("not closed")

    @step_options(retry=Retry.never)
    async def leaves() -> None:
        await trio.lowlevel.checkpoint()
        async for _ in items():
            break

    @workflow(name="leaves")
    async def body(step: Step) -> str:
        try:
            await step.do(leaves)
        except StepFailed as error:
            return error.message
        return "nothing"

    async with open_test_engine(workflows=[body]) as engine:
        assert await engine.call("leaves") == "not closed"
