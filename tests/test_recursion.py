"""Code that comes near Python's recursion limit fails by itself: it takes neither the engine nor
another instance with it (R9).

Each way into the engine is called with every number of frames left, from none to more than it
needs, beside an instance that has nothing to do with it. What the code makes of its
`RecursionError` it makes again on replay.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from stepwell import (
    ApprovalTimeout,
    EventTimeout,
    Retry,
    Step,
    StepFailed,
    current_step,
    step_options,
    workflow,
)
from stepwell._body import suspended
from stepwell._engine import callers, watching
from stepwell._operations import do
from stepwell.testing import open_test_engine

FRAMES = (*range(12), *range(44, 72))
"""Left when a call is made; the engine asks for 48."""
ONCE = step_options(retry=Retry.never)
told: dict[int, str] = {}


def frames_left() -> int:
    try:
        return frames_left() + 1
    except RecursionError:
        return 0


async def with_left(frames: int, call: Callable[[], Awaitable[Any]]) -> str:
    """Makes a call from where only so many frames are left; returns what came of it."""

    async def sink(levels: int) -> None:
        if levels:
            await sink(levels - 1)
        else:
            await call()

    try:
        await sink(frames_left() - frames)
    except RecursionError:
        return "too deep"
    return "done"


def assert_one_border(came: list[str]) -> None:
    """What was called with the fewest frames left failed, and all from one number on did not."""
    failed = came.index("done")
    assert failed
    assert came == ["too deep"] * failed + ["done"] * (len(came) - failed)


@ONCE
async def one() -> int:
    return 1


@ONCE
async def waiting() -> int:
    await (trio.lowlevel.checkpoint() if current_runtime() == "trio" else asyncio.sleep(0))
    return 1


@ONCE
def plain() -> int:
    return 1


def current_runtime() -> str:
    return "trio" if trio.lowlevel.in_trio_run() and not asyncio._get_running_loop() else "asyncio"


@ONCE
async def failing() -> int:
    raise ValueError("no")


@workflow
async def child(step: Step) -> int:
    return 1


@workflow
async def innocent(step: Step) -> str:
    for _ in range(20):
        await step.do(one)
        await step.sleep(1)
    await step.wait_for_event("go")
    return "fine"


async def _event(step: Step) -> None:
    with pytest.raises(EventTimeout):
        await step.wait_for_event("never", timeout=1)


async def _approval(step: Step) -> None:
    with pytest.raises(ApprovalTimeout):
        await step.wait_for_approval("x", timeout=1)


async def _failing(step: Step) -> None:
    with pytest.raises(StepFailed):
        await step.do(failing)


async def _each(step: Step) -> None:
    async def branch(_: int) -> None:
        await step.do(one)

    await step.each(branch, range(2))


async def _nursery(step: Step) -> None:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, waiting)
        nursery.start_soon(step.sleep, 1)


async def _deadline(step: Step) -> None:
    with step.move_on_after(1):
        await step.sleep(2)


async def _gather(step: Step) -> None:
    await step.gather(step.sleep(1), step.do(one))


async def _as_completed(step: Step) -> None:
    async for done in step.as_completed(step.sleep(1), step.do(one)):
        await done


async def _task(step: Step) -> None:
    await asyncio.create_task(step.sleep(1))  # type: ignore[arg-type]  # an operation is a coroutine by protocol


EITHER: dict[str, Callable[[Step], Awaitable[Any]]] = {
    "do": lambda step: step.do(one),
    "do, waiting": lambda step: step.do(waiting),
    "do, in a thread": lambda step: step.do(plain),
    "do, failing": _failing,
    "map": lambda step: step.map(lambda _: one(), [1, 2], name="m"),
    "each": _each,
    "deadline": _deadline,
    "sleep": lambda step: step.sleep(1),
    "event": _event,
    "approval": _approval,
    "call": lambda step: step.call(child),
    "create": lambda step: step.create(child),
    "create_batch": lambda step: step.create_batch(child, [None, None]),
    "send_event": lambda step: step.send_event(innocent, "innocent", "hello"),
    "patched": lambda step: step.patched("change"),
}
WAYS = {
    "trio": {**EITHER, "nursery": _nursery},
    "asyncio": {**EITHER, "gather": _gather, "as_completed": _as_completed, "task": _task},
}


def _body(runtime: str) -> Any:
    async def body(step: Step, given: tuple[str, int]) -> str:
        way, frames = given
        came = await with_left(frames, lambda: WAYS[runtime][way](step))
        await step.do(one, name="after")
        await step.wait_for_event("go")
        assert came == told.setdefault(frames, came), "it goes another way on replay"
        return came

    return workflow(name=f"on_{runtime}", runtime=runtime)(body)  # type: ignore[call-overload]


BODIES = {runtime: _body(runtime) for runtime in WAYS}


@pytest.mark.parametrize(
    ("runtime", "way"), [(runtime, way) for runtime, ways in WAYS.items() for way in ways]
)
async def test_r9_a_body_at_the_recursion_limit_may_go_on_and_nobody_else_is_struck(
    runtime: str, way: str
):
    told.clear()
    body = BODIES[runtime]
    async with open_test_engine([body, child, innocent]) as engine:
        beside = await engine.create(innocent, id="innocent")
        deep = [await engine.create(body, (way, frames)) for frames in FRAMES]
        for instance in deep:
            await instance.wait_for_step("after")
        await engine.crash()
        for instance in (beside, *deep):
            await instance.send_event("go")
        came = [await instance.result() for instance in deep]
        assert await beside.result() == "fine"
    assert_one_border(came)


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "create": lambda engine: engine.create(child),
    "create, waiting to be let in": lambda engine: engine.create(child, on_overload="wait"),
    "create_batch": lambda engine: engine.create_batch(child, [None, None]),
    "call": lambda engine: engine.call(child),
    "get": lambda engine: engine.get(innocent, "innocent"),
    "status": lambda engine: _innocent(engine, "status"),
    "history": lambda engine: _innocent(engine, "history"),
    "explain": lambda engine: _innocent(engine, "explain"),
    "wait_for_status": lambda engine: _innocent(engine, "wait_for_status", "waiting"),
    "send_event": lambda engine: _innocent(engine, "send_event", "hello"),
    "list": lambda engine: engine.list(limit=1),
    "count": lambda engine: engine.count(),
    "approvals": lambda engine: engine.approvals.list(),
}
IN_STEPS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    **CALLS,
    "save": lambda _: current_step().save(1),
    "report": lambda _: _report(),
}


async def _innocent(engine: Any, method: str, *args: Any) -> None:
    await getattr(await engine.get(innocent, "innocent"), method)(*args)


async def _report() -> None:
    current_step().report(0.5, "half")
    current_step().heartbeat()


async def calls_engine(call: str, frames: int) -> str:
    engine = current_step().engine
    return await with_left(frames, lambda: IN_STEPS[call](engine))


@workflow
async def in_a_step(step: Step, given: tuple[str, str, int]) -> str:
    runtime, call, frames = given
    return await step.do(calls_engine, call, frames, runtime=runtime, retry=Retry.never)


@pytest.mark.parametrize(
    ("runtime", "call"), [(runtime, call) for runtime in WAYS for call in IN_STEPS]
)
async def test_r9_a_step_at_the_recursion_limit_strikes_nobody_else(runtime: str, call: str):
    async with open_test_engine([in_a_step, child, innocent]) as engine:
        beside = await engine.create(innocent, id="innocent")
        deep = [await engine.create(in_a_step, (runtime, call, frames)) for frames in FRAMES]
        came = [await instance.result() for instance in deep]
        await beside.send_event("go")
        assert await beside.result() == "fine"
    assert_one_border(came)


@pytest.mark.parametrize("call", CALLS)
async def test_r9_a_program_at_the_recursion_limit_strikes_nobody_else(call: str):
    async with open_test_engine([child, innocent]) as engine:
        beside = await engine.create(innocent, id="innocent")
        came = [await with_left(frames, lambda: CALLS[call](engine)) for frames in FRAMES]
        await beside.send_event("go")
        assert await beside.result() == "fine"
    assert_one_border(came)


@pytest.mark.parametrize("what", ["do", "patched", "status"])
async def test_r9_a_task_that_does_not_come_to_wait_is_woken_by_nobody(
    what: str, monkeypatch: pytest.MonkeyPatch
):
    """As where there is no memory for what makes it wait."""
    real, armed = trio.lowlevel.wait_task_rescheduled, [False]

    async def strikes_once(*args: Any) -> Any:
        if armed[0]:
            armed[0] = False
            raise MemoryError("struck")
        return await real(*args)

    monkeypatch.setattr(trio.lowlevel, "wait_task_rescheduled", strikes_once)
    for module in (suspended, callers, do, watching):
        monkeypatch.setattr(module, "wait_task_rescheduled", strikes_once)

    @workflow
    async def struck(step: Step) -> str:
        armed[0] = what != "status"
        try:
            await (step.patched("change") if what == "patched" else step.do(one))
        except MemoryError as error:
            await step.sleep(5, name="after")
            return str(error)
        await step.sleep(5, name="after")
        return "waited"

    async with open_test_engine([struck, innocent]) as engine:
        beside = await engine.create(innocent)
        instance = await engine.create(struck)
        if what == "status":
            armed[0] = True
            with pytest.raises(MemoryError):
                await instance.status()
        assert await instance.result() == ("waited" if what == "status" else "struck")
        await beside.send_event("go")
        assert await beside.result() == "fine"
