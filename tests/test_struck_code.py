"""Ctrl-C at instructions of bodies and steps, and of what they call, while an instance is replayed
and goes on (R7).

Whatever the instruction: the program ends with it, bare; nothing is said, and nothing recorded that
the next engine would find false. `STEPWELL_STRIKES=100000` strikes everywhere.
"""

import asyncio
import gc
import logging
import os
import random
import shutil
import sys
import weakref
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from moments import AtInstruction, ctrl_c

from stepwell import Engine, Step, step_options, workflow

pytestmark = pytest.mark.usefixtures("hears_ctrl_c")


@pytest.fixture
def collects_quickly():
    """The collector passes over all that was there before."""
    gc.freeze()
    yield
    gc.unfreeze()


STRIKES = int(os.environ.get("STEPWELL_STRIKES", "25"))
ALL = 10**9


async def first() -> int:
    return 1


async def second(x: int = 2) -> int:
    await trio.lowlevel.checkpoint()
    return x


async def inner() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        with trio.CancelScope():
            await second()


async def nested() -> int:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inner)
        nursery.start_soon(second)
        with trio.CancelScope():
            try:
                await second()
            finally:
                await trio.lowlevel.checkpoint()
    return 3


def plain() -> int:
    return 4


async def replayed_and_live(step: Step, all_of_it: Callable[[], Awaitable[int]]) -> int:
    """Body code that is gone through twice: before the store is copied, and after that."""
    total = await all_of_it()
    await step.wait_for_event("go")
    try:
        return total + await all_of_it()
    finally:
        await step.do(plain, name="cleanup")


@workflow
async def everything(step: Step) -> int:
    async def branch(n: int) -> int:
        value = await step.do(second, name=f"branch {n}")
        async with step.open_nursery("inner") as nursery:
            more = nursery.start_soon(step.do, first)
            nursery.start_soon(step.sleep, 0.001)
        return value + more.value

    async def values():
        for n in range(2):
            yield await step.do(second, n, name=f"value {n}")

    async def all_of_it() -> int:
        total = await step.do(first) + await step.do(second) + await step.do(nested)
        async with step.open_nursery() as nursery:
            started = [
                nursery.start_soon(branch, 1),
                nursery.start_soon(branch, 2),
                nursery.start_soon(step.do, plain),
            ]
        total += (
            sum(it.value for it in started)
            + sum(await step.map(second, [1, 2]))
            + sum(await step.each(branch, [3, 4]))
        )
        with step.move_on_after(60):
            total += await step.do(second, name="in time")
        async with aclosing(values()) as generator:
            async for value in generator:
                total += value
        return total + await step.patched("change")

    return await replayed_and_live(step, all_of_it)


@step_options(runtime="asyncio")
async def on_loop(x: int = 2) -> int:
    await asyncio.sleep(0)
    return x


@workflow(runtime="asyncio")
async def on_asyncio(step: Step) -> int:
    async def branch(n: int) -> int:
        return await step.do(on_loop, n, name=f"branch {n}")

    async def all_of_it() -> int:
        total = await step.do(first) + await step.do(plain)
        total += sum(await step.gather(step.do(on_loop), branch(1), branch(2)))
        total += sum(await step.map(on_loop, [1, 2])) + sum(await step.each(branch, [3, 4]))
        with step.move_on_after(60):
            total += await step.do(on_loop, name="in time")
        return total

    return await replayed_and_live(step, all_of_it)


FLOWS = [everything, on_asyncio]


async def begin(store: str, flow) -> None:
    """Leaves an instance that has a history."""
    async with Engine(store, workflows=FLOWS) as engine:
        await (await engine.create(flow, id="i")).wait_for_status("waiting")


async def go_on(store: str, flow) -> tuple[int, list[tuple[str, str]]]:
    """What is struck. Returns what the instance comes to."""
    async with Engine(store, workflows=FLOWS, grace="1 hour") as engine:
        instance = await engine.get(flow, "i")
        await instance.send_event("go", dedup_id="go")
        with trio.fail_after(30):
            return await instance.result(), sorted(
                (it.name, it.status) for it in await instance.history()
            )


def goes_on(store: Path, flow, k: int, unshielded: bool) -> tuple[AtInstruction, object]:
    """Lets the instance in a copy of a store go on, struck at the k-th moment. Returns what that
    comes to, None if it is interrupted."""
    for file in store.parent.glob("s.db*"):
        shutil.copy(file, file.with_name(f"struck{file.name[1:]}"))
    with AtInstruction(k, ctrl_c, unshielded) as moments:
        try:
            return moments, trio.run(go_on, str(store.with_name("struck.db")), flow)
        except KeyboardInterrupt:
            return moments, None


@pytest.mark.slow
@pytest.mark.usefixtures("collects_quickly")
# as Python has it when a signal strikes behind the making
@pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    ("flow", "unshielded"), [(everything, False), (everything, True), (on_asyncio, False)]
)
def test_r7_ctrl_c_at_instructions_of_the_code_of_instances(
    tmp_path, caplog, monkeypatch, flow, unshielded
):
    """`unshielded`: in tasks that a step starts itself, where it is raised at once."""
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    caplog.set_level(logging.WARNING, "stepwell")
    store = tmp_path / "s.db"
    trio.run(begin, str(store), flow)
    moments, expected = goes_on(store, flow, ALL, unshielded)
    apart = max(1, (ALL - moments.left) // STRIKES)
    k = random.randint(1, apart)
    print(f"{ALL - moments.left} moments; struck are {k} and every {apart}th after it")
    while True:
        moments, came = goes_on(store, flow, k, unshielded)
        if not moments.where:
            break
        assert came is None, (k, moments.where)
        gc.collect()
        assert not [it.getMessage() for it in caplog.records], (k, moments.where)
        assert not ignored, (k, moments.where)
        assert trio.run(go_on, str(store.with_name("struck.db")), flow) == expected, (
            k,
            moments.where,
        )
        k += apart


class Goes:
    """What weak references are made to."""


def at_weak_callback(frame, event, arg) -> None:
    """Strikes when Python tells a weak container that something has gone."""
    if frame.f_code.co_name in ("remove", "_remove"):
        sys.settrace(None)
        ctrl_c()


@pytest.mark.parametrize(
    "remembers",
    [
        lambda it: weakref.WeakKeyDictionary({it: 1}),
        lambda it: weakref.WeakValueDictionary({1: it}),
        lambda it: weakref.WeakSet([it]),
    ],
    ids=["keys", "values", "set"],
)
def test_r7_ctrl_c_in_the_callback_of_a_weak_reference_is_not_lost(remembers):
    """The program's own code runs when the engine, or the program, has let go of something."""
    struck = False

    async def main() -> None:
        nonlocal struck
        it = Goes()
        remembered = remembers(it)
        sys.settrace(at_weak_callback)
        del it
        struck = sys.gettrace() is None
        sys.settrace(None)
        assert not list(remembered)
        await trio.lowlevel.checkpoint()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert struck
