"""An engine that closes in order, at any moment of a body that is replayed (rules L14, I5, P1)."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from stepwell import Engine, Retry, current_step, workflow

TURNS, BRANCHES = 4, 3
moments = 0
"""How often code of a body has gone on in this engine."""
last_moment: int | None = None
at_last_moment = trio.Event()


def here() -> None:
    global moments
    moments += 1
    if moments == last_moment:
        at_last_moment.set()


async def echo(n: int) -> int:
    return n


async def branch(step: Any, n: int) -> None:
    here()
    await step.do(echo, n, name="first")
    here()
    await step.do(echo, n, name="second")
    here()


async def in_nurseries(step: Any) -> None:
    for _ in range(TURNS):
        async with step.open_nursery() as nursery:
            for n in range(BRANCHES):
                nursery.start_soon(branch, step, n)


async def in_each(step: Any) -> None:
    for _ in range(TURNS):
        await step.each(functools.partial(branch, step), range(BRANCHES))


async def in_maps_and_deadlines(step: Any) -> None:
    for n in range(TURNS):
        with step.move_on_after("1 hour"):
            await step.map(echo, range(BRANCHES))
            here()
        await branch(step, n)


async def in_gathers(step: Any) -> None:
    for _ in range(TURNS):
        await step.gather(*(branch(step, n) for n in range(BRANCHES)))


async def in_patches(step: Any) -> None:
    async with step.open_nursery() as nursery:
        for n in range(BRANCHES):
            nursery.start_soon(branch, step, n)
            await step.patched(f"change-{n}")
            here()


def body_of(code: Callable[[Any], Any], runtime: str) -> Any:
    @workflow(name="replays", runtime=runtime)
    async def replays(step: Any) -> str:
        await code(step)
        while (await step.wait_for_event("again", "end")).type == "again":
            pass
        return "whole"

    return replays


busy = trio.Event()


@workflow
async def keeps_the_grace_open(step: Any) -> None:
    async def waits() -> None:
        await busy.wait()

    await step.do(waits)


async def opens(*gates: trio.Event) -> None:
    """Once the engine drains, which is when nothing goes on any more; each when what the one before
    let through has come to rest."""
    for gate in gates:
        await trio.testing.wait_all_tasks_blocked(0.005)
        gate.set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "runtime"),
    [
        (in_nurseries, "trio"),
        (in_each, "trio"),
        (in_maps_and_deadlines, "trio"),
        (in_patches, "trio"),
        (in_gathers, "asyncio"),
        (in_each, "asyncio"),
        (in_maps_and_deadlines, "asyncio"),
    ],
)
async def test_l14_a_body_that_replays_while_the_engine_drains_is_not_judged(
    tmp_path, code, runtime
):
    global moments, last_moment, at_last_moment, busy
    replays, store = body_of(code, runtime), str(tmp_path / "s.db")
    moments, last_moment = 0, None
    async with Engine(store, workflows=[replays]) as engine:
        instance = await engine.create(replays, id="x")
        await instance.wait_for_status("waiting")
    total = moments
    for last_moment in range(1, total + 1):
        moments, at_last_moment, busy = 0, trio.Event(), trio.Event()
        async with (
            trio.open_nursery() as nursery,
            Engine(store, workflows=[replays, keeps_the_grace_open]) as engine,
        ):
            await engine.create(keeps_the_grace_open)
            await (await engine.get(replays, "x")).send_event("again")
            await at_last_moment.wait()
            nursery.start_soon(opens, busy)
        assert moments >= last_moment
    last_moment = None
    async with Engine(store, workflows=[replays, keeps_the_grace_open]) as engine:
        instance = await engine.get(replays, "x")
        await instance.send_event("end")
        assert await instance.result() == "whole"


@workflow
async def waits_and_works(step: Any) -> str:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "go")
        for name in ("first", "second"):
            await step.do(passes_the_gate, name=name)
    return "whole"


gate = trio.Event()


async def passes_the_gate() -> None:
    here()
    await gate.wait()


async def test_l14_a_body_that_was_refused_a_step_beside_a_wait_does_not_wait_in_the_next_engine(
    tmp_path,
):
    """Else the refused step would not run before the wait is over: nobody would wake the instance
    for it."""
    global moments, gate, busy
    moments, gate, busy, store = 0, trio.Event(), trio.Event(), str(tmp_path / "s.db")
    async with (
        trio.open_nursery() as nursery,
        Engine(store, workflows=[waits_and_works, keeps_the_grace_open]) as engine,
    ):
        await engine.create(keeps_the_grace_open)
        await engine.create(waits_and_works, id="x")
        while not moments:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(opens, gate, busy)
    async with Engine(store, workflows=[waits_and_works, keeps_the_grace_open]) as engine:
        while moments < 2:
            await trio.lowlevel.checkpoint()
        instance = await engine.get(waits_and_works, "x")
        await instance.send_event("go")
        assert await instance.result() == "whole"


attempts: list[int] = []


async def ends_badly(n: int) -> int:
    """The first time it waits, and makes an error of its own of its cancellation."""
    attempts.append(current_step().attempt)
    if len(attempts) == 1:
        try:
            await (trio.sleep(3600) if trio.lowlevel.in_trio_task() else asyncio.sleep(3600))
        except BaseException:
            raise ConnectionError("closed in the middle") from None
    return n


async def by_itself(step: Any, **options: Any) -> Any:
    return await step.do(ends_badly, 1, **options)


async def in_a_map(step: Any, **options: Any) -> Any:
    return (await step.map(ends_badly, [1], **options))[0]


async def in_a_deadline(step: Any, **options: Any) -> Any:
    with step.move_on_after("1 hour"):
        return await step.do(ends_badly, 1, **options)


async def in_a_branch(step: Any, **options: Any) -> Any:
    values: list[Any] = []

    async def one() -> None:
        values.append(await step.do(ends_badly, 1, **options))

    async with step.open_nursery() as nursery:
        nursery.start_soon(one)
        while len(attempts) < 2:
            await step.do(echo, 1)  # until it is refused, as the engine drains
    return values[0]


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("code", [by_itself, in_a_map, in_a_deadline, in_a_branch])
async def test_l14_what_an_attempt_raises_because_the_engine_ends_is_no_failure_of_its_step(
    tmp_path, code, runtime
):
    @workflow(name="w")
    async def body(step: Any) -> Any:
        return await code(step, runtime=runtime, retry=Retry(limit=0))

    attempts.clear()
    async with Engine(tmp_path / "s.db", workflows=[body], grace=0) as engine:
        await engine.create(body, id="x")
        while not attempts:
            await trio.lowlevel.checkpoint()
    async with Engine(tmp_path / "s.db", workflows=[body]) as engine:
        instance = await engine.get(body, "x")
        assert await instance.result() == 1
    assert attempts == [1, 1]
