"""A body that raises, or handles, an exception while it is replayed: that is what is told first, in
every place (rule I5)."""

import asyncio
import logging
from collections.abc import Callable

import pytest
import trio

from stepwell import Instance, Retry, Workflow, workflow
from stepwell.testing import TestEngine, open_test_engine

broken = False


def reads_config() -> None:
    if broken:
        raise KeyError("CONFIG_MISSING")  # the line that every text has to name


async def nothing() -> int:
    return 1


@workflow
async def at_the_top(step):
    reads_config()
    await step.do(nothing)
    await step.wait_for_event("go")


@workflow
async def in_a_branch(step):
    async def branch() -> None:
        reads_config()
        await step.do(nothing)

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch)
        nursery.start_soon(step.do, nothing)
    await step.wait_for_event("go")


@workflow
async def in_each(step):
    async def one(item: int) -> None:
        reads_config()
        await step.do(nothing, name=f"n{item}")

    await step.each(one, [1, 2])
    await step.wait_for_event("go")


@workflow
async def under_a_deadline(step):
    with step.move_on_after("1 hour"):
        reads_config()
        await step.do(nothing)
    await step.wait_for_event("go")


@workflow
async def and_handles_it(step):
    try:
        reads_config()
        await step.do(nothing)
    except KeyError:
        await step.do(nothing, name="alarm")
    await step.wait_for_event("go")


@workflow
async def and_cleans_up(step):
    try:
        reads_config()
        await step.do(nothing)
    finally:
        await step.do(nothing, name="clean")
    await step.wait_for_event("go")


@workflow
async def and_handles_it_in_a_branch(step):
    async def branch() -> None:
        try:
            reads_config()
            await step.do(nothing)
        except KeyError:
            await step.do(nothing, name="alarm")

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch)
    await step.wait_for_event("go")


@workflow(runtime="asyncio")
async def on_asyncio(step):
    reads_config()
    await step.do(nothing, runtime="trio")
    await step.wait_for_event("go")


@workflow(runtime="asyncio")
async def in_gather(step):
    async def part() -> None:
        reads_config()
        await step.do(nothing, runtime="trio")

    await step.gather(part(), part())
    await step.wait_for_event("go")


@workflow(runtime="asyncio")
async def in_a_task_group(step):
    async def part() -> None:
        reads_config()
        await step.do(nothing, runtime="trio")

    async with asyncio.TaskGroup() as group:
        group.create_task(part())
    await step.wait_for_event("go")


@workflow(runtime="asyncio")
async def in_a_task_that_nobody_awaits_yet(step):
    async def part() -> None:
        reads_config()
        await step.do(nothing, runtime="trio")

    task = asyncio.create_task(part())
    await step.wait_for_event("go")
    await task


PLACES = [
    at_the_top, in_a_branch, in_each, under_a_deadline, and_handles_it, and_cleans_up,
    and_handles_it_in_a_branch,
    on_asyncio, in_gather, in_a_task_group, in_a_task_that_nobody_awaits_yet,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _mended():
    global broken, swapped
    broken = swapped = False


async def blocked_by(
    breaks: Callable[[], None], engine: TestEngine, flow: Workflow[None, None]
) -> Instance[None]:
    """Returns an instance that had come to its wait, and then to where its broken code is
    blocked."""
    instance = await engine.create(flow, id="i")
    await instance.wait_for_status("waiting")
    breaks()
    await engine.crash()
    await instance.send_event("go")
    await instance.wait_for_status("blocked")
    return instance


def breaks() -> None:
    global broken
    broken = True


@pytest.mark.parametrize("place", PLACES, ids=lambda it: it.name)
async def test_i5_what_a_body_raises_on_replay_is_told_first_in_every_place(place, caplog):
    global broken
    caplog.set_level(logging.ERROR)
    async with open_test_engine(workflows=[place], autojump=False) as engine:
        instance = await blocked_by(breaks, engine, place)
        status, (row,) = await instance.status(), (await engine.list()).items
        line = reads_config.__code__.co_firstlineno + 2
        first = (
            f"{place.name}/i raised KeyError: 'CONFIG_MISSING' at test_raised_on_replay.py:{line}"
        )
        (logged,) = [it for it in caplog.records if "is blocked" in it.message]
        told = [
            status.error.message,
            str(await instance.explain()),
            row.error.message,
            logged.message,
        ]
        for text in told:
            assert first in text
            assert text.index(first) < text.index('recorded do "n')
        assert status.error.type.endswith("Nondeterminism")
        for traceback in (status.error.traceback, caplog.text):
            assert "in reads_config" in traceback
        assert (await engine.reasons())[0].code == "nondeterminism"
        broken = False
        await instance.resume()
        await instance.result()


@workflow
async def moved_on(step):
    try:
        await step.do(declines, retry=Retry.never)
    except LookupError:
        await step.do(nothing, name="other" if broken else "refund")
    await step.wait_for_event("go")


async def declines() -> None:
    raise LookupError("card declined")


async def test_i5_a_failure_that_history_brought_is_no_news():
    async with open_test_engine(workflows=[moved_on], autojump=False) as engine:
        instance = await blocked_by(breaks, engine, moved_on)
        text = (await instance.status()).error.message
        assert "card declined" not in text
        assert text.startswith(
            'moved_on/i differs from its history: recorded do "refund" (1st), now do "other"'
        )


@workflow
async def handles_first(step):
    try:
        reads_config()
    except KeyError:
        await step.do(nothing, name="alarm")
    await step.do(nothing, name="second" if not swapped else "third")
    await step.wait_for_event("go")


swapped = False


def swaps() -> None:
    global swapped
    swapped = True


async def test_i5_what_was_handled_before_an_outcome_that_fitted_is_no_reason():
    breaks()
    async with open_test_engine(workflows=[handles_first], autojump=False) as engine:
        instance = await blocked_by(swaps, engine, handles_first)
        assert "CONFIG_MISSING" not in (await instance.status()).error.message


@workflow
async def fails_with_its_group(step):
    if broken:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, 1)
            nursery.start_soon(fails, 2)
    await step.do(nothing)
    await step.wait_for_event("go")


async def fails(number: int) -> None:
    raise ValueError(f"no {number}")


async def test_i5_of_a_group_the_first_member_is_told_and_how_many_more():
    async with open_test_engine(workflows=[fails_with_its_group], autojump=False) as engine:
        instance = await blocked_by(breaks, engine, fails_with_its_group)
        error = (await instance.status()).error
        assert "raised ValueError: no " in error.message
        assert "(and 1 more)" in error.message
        assert "no 1" in error.traceback
        assert "no 2" in error.traceback
