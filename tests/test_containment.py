"""What a step or a body raises stays in its instance, whatever class it is of and wherever it comes
out (R9).

One table: each kind of exception, raised at each place, in bodies on either runtime. Whatever it
is, the engine and its other instances go on, and the instance ends as the rule says; so it does
when it is replayed.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
import trio.testing

from stepwell import (
    Engine,
    EngineClosed,
    Instance,
    InstanceErrored,
    InternalError,
    Retry,
    Step,
    StepFailed,
    StepwellError,
    aio,
    step_options,
    sync,
    workflow,
)
from stepwell._body.turns import TurnKeeper
from stepwell._engine.driver import Driver
from stepwell.testing import open_test_engine


class Panic(BaseException):
    """As what extensions written in Rust raise, and gevent's timeouts."""


class LockedGroup(BaseExceptionGroup[BaseException]):
    """A group that cannot be split."""

    def derive(self, excs: Any) -> Any:
        raise TypeError("derive")


KINDS: dict[str, Callable[[], BaseException]] = {
    "Panic": lambda: Panic("boom"),
    "SystemExit": lambda: SystemExit(3),
    "Cancelled": lambda: trio.Cancelled._create(source="unknown"),
    "CancelledError": lambda: asyncio.CancelledError("nobody asked"),
    "GeneratorExit": GeneratorExit,
    "StopAsyncIteration": lambda: StopAsyncIteration("boom"),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [Panic("boom"), ValueError("too")]),
    "LockedGroup": lambda: LockedGroup("several", [Panic("boom")]),
    "a group of Cancelled": lambda: BaseExceptionGroup(
        "several", [trio.Cancelled._create(source="unknown")]
    ),
}
raised: list[str] = []
ONCE = step_options(retry=Retry.never)


@ONCE
def boom(kind: str) -> None:
    raised.append(kind)
    raise KINDS[kind]()


@ONCE
async def straight(kind: str) -> None:
    boom(kind)


@ONCE
async def waiting(kind: str) -> None:
    await trio.lowlevel.checkpoint()
    boom(kind)


@ONCE
async def waiting_on_asyncio(kind: str) -> None:
    await asyncio.sleep(0)
    boom(kind)


class Future:
    """What a function that is not written with `async def` may return."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __await__(self):
        boom(self.kind)
        yield


@ONCE
def plain_awaitable(kind: str) -> Any:
    return Future(kind)


@ONCE
async def of_a_generator(kind: str) -> None:
    async def values():
        try:
            yield 1
        finally:
            boom(kind)

    async for _ in values():
        pass


async def _in_a_nursery(step: Step, kind: str) -> None:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "never")
        nursery.start_soon(step.do, straight, kind)


async def _in_a_deadline(step: Step, kind: str) -> None:
    with step.move_on_after("1 hour"):
        await step.do(waiting, kind)


async def _straight_in_a_deadline(step: Step, kind: str) -> None:
    with step.move_on_after("1 hour"):
        await step.do(straight, kind)


async def _in_each(step: Step, kind: str) -> None:
    async def branch(item: str) -> None:
        await step.do(straight, item)

    await step.each(branch, [kind])


async def _in_a_task_group(step: Step, kind: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(step.wait_for_event("never"))  # type: ignore[arg-type]
        group.create_task(step.do(straight, kind, runtime="trio"))  # type: ignore[arg-type]


async def _again(step: Step, kind: str) -> None:
    for _ in range(3):  # the first two succeed: the third is known not to wait
        await step.do(_fine, name="straight")
    await step.do(straight, kind)


async def _fine() -> None: ...


ON_BOTH: dict[str, Callable[[Step, str], Awaitable[object]]] = {
    "do, straight": lambda step, kind: step.do(straight, kind, runtime="trio"),
    "do, waiting": lambda step, kind: step.do(waiting, kind, runtime="trio"),
    "do, known not to wait": _again,
    "do, in a thread": lambda step, kind: step.do(boom, kind),
    "do, a thread's awaitable": lambda step, kind: step.do(plain_awaitable, kind),
    "do, on asyncio": lambda step, kind: step.do(straight, kind, runtime="asyncio"),
    "do, waiting on asyncio": lambda step, kind: step.do(
        waiting_on_asyncio, kind, runtime="asyncio"
    ),
    "do, a generator": lambda step, kind: step.do(of_a_generator, kind),
    "map": lambda step, kind: step.map(straight, [kind]),
    "map, waiting": lambda step, kind: step.map(waiting, [kind]),
    "map, in threads": lambda step, kind: step.map(boom, [kind]),
    "map, on asyncio": lambda step, kind: step.map(straight, [kind], runtime="asyncio"),
    "map, waiting on asyncio": lambda step, kind: step.map(
        waiting_on_asyncio, [kind], runtime="asyncio"
    ),
    "each": _in_each,
    "deadline": _in_a_deadline,
    "deadline, straight": _straight_in_a_deadline,
}
ON_TRIO = {"nursery": _in_a_nursery}
ON_ASYNCIO = {
    "gather": lambda step, kind: step.gather(step.wait_for_event("never"), step.do(straight, kind)),
    "task group": _in_a_task_group,
}
PLACES = {
    **{
        (place, runtime): made for runtime in ("trio", "asyncio") for place, made in ON_BOTH.items()
    },
    **{(place, "trio"): made for place, made in ON_TRIO.items()},
    **{(place, "asyncio"): made for place, made in ON_ASYNCIO.items()},
}


class Bad:
    """A value whose own code raises when it is stored."""

    kind: str

    def __get__(self, holder: object, owner: object = None) -> object:
        return boom(self.kind) if holder is not None else 0

    def __set__(self, holder: object, value: object) -> None: ...


@dataclass
class Holder:
    value: int = Bad()  # type: ignore[assignment]


@ONCE
async def returns_bad(kind: str) -> Holder:
    Bad.kind = kind
    return Holder()


async def fails() -> None:
    raise ValueError("as always")


CALLED = {
    "a result's own code": lambda step, kind: step.do(returns_bad, kind),
    "retry_on": lambda step, kind: step.do(fails, retry=Retry(retry_on=lambda _: boom(kind))),
    "delay": lambda step, kind: step.do(fails, retry=Retry(delay=lambda *_: boom(kind))),
}
"""Code of users that is called for a step, beside its function."""
PLACES |= {
    (place, runtime): made for runtime in ("trio", "asyncio") for place, made in CALLED.items()
}


@pytest.fixture(autouse=True)
def _fresh(caplog):
    raised.clear()
    # each failure is logged with its traceback, hundreds of times here
    caplog.set_level(logging.ERROR, "stepwell")


@workflow(name="healthy")
async def healthy(step: Step) -> str:
    await step.sleep(1)
    await step.do(_fine)
    return "fine"


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _steps_of(instance: Instance) -> list[tuple[object, ...]]:
    return [(r.name, r.status, r.attempt) for r in await instance.history() if r.kind == "do"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("place", "runtime"), PLACES)
async def test_r9_what_a_step_raises_is_a_recorded_failure_and_stays_in_its_instance(
    kind, place, runtime
):
    lives: list[str] = []

    @workflow(name="guilty", runtime=runtime)
    async def guilty(step: Step) -> str:
        try:
            await PLACES[place, runtime](step, kind)
            told = "nothing"
        except (StepFailed, ExceptionGroup) as error:
            failure = _leaf(error)
            assert isinstance(failure, StepFailed)
            told = f"{failure.type}: {failure.message} after {failure.attempts}"
        lives.append(told)
        return f"{told}, {(await step.wait_for_event('go')).payload}"

    async with open_test_engine(workflows=[guilty, healthy]) as engine:
        instance = await engine.create("guilty", id="g")
        assert await engine.call("healthy") == "fine"
        await instance.wait_for_status("waiting")
        before = await _steps_of(instance)
        await engine.crash()
        assert await engine.call("healthy") == "fine"
        await instance.send_event("go", "again")
        said = await instance.result()
        assert await _steps_of(instance) == before
    assert lives[0] == lives[-1]
    assert said == f"{lives[0]}, again"
    assert kind.rpartition(" ")[2] in lives[0] or "Group" in lives[0], lives[0]
    assert lives[0].endswith(" after 1")
    assert set(raised) == {kind}
    assert len(raised) == 1 or place in CALLED  # the class of a result is tried before it is stored


# What an attempt raises that the body has cancelled.


async def cleans_up(kind: str) -> None:
    raised.append("began")
    try:
        await trio.sleep_forever()
    finally:
        boom(kind)


async def cleans_up_on_asyncio(kind: str) -> None:
    raised.append("began")
    try:
        await asyncio.Event().wait()
    finally:
        boom(kind)


async def cleans_up_in_a_nursery(kind: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cleans_up, kind)
        nursery.start_soon(trio.sleep_forever)


async def _alone(step: Step, fn: Any, kind: str) -> None:
    await step.do(fn, kind, runtime="asyncio" if fn is cleans_up_on_asyncio else "trio")


async def _in_a_map(step: Step, fn: Any, kind: str) -> None:
    await step.map(fn, [kind], runtime="asyncio" if fn is cleans_up_on_asyncio else "trio")


async def _in_a_branch(step: Step, fn: Any, kind: str) -> None:
    async with step.open_nursery() as nursery:
        nursery.start_soon(_alone, step, fn, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fn", [cleans_up, cleans_up_on_asyncio, cleans_up_in_a_nursery])
@pytest.mark.parametrize("how", [_alone, _in_a_map, _in_a_branch])
async def test_r9_what_a_cancelled_attempt_raises_is_abandoned_and_the_body_goes_on(kind, fn, how):
    @workflow(name="guilty")
    async def guilty(step: Step) -> str:
        with step.move_on_after("10 seconds") as scope:
            await how(step, fn, kind)
        went_on = f"went on: {scope.cancelled_caught}"
        return f"{went_on}, {(await step.wait_for_event('go')).payload}"

    async with open_test_engine(workflows=[guilty, healthy], autojump=False) as engine:
        instance = await engine.create("guilty", id="g")
        while not raised:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        core = engine._driver.core
        core.advance(core.now() + 11_000_000)  # the clock of tests waits for attempts that run
        await instance.wait_for_status("waiting")
        before = await _steps_of(instance)
        await engine.crash()
        await instance.send_event("go", "again")
        assert await instance.result() == "went on: True, again"
        assert await _steps_of(instance) == before
        assert [status for _, status, _ in before] == ["abandoned"]
        started = await engine.create("healthy")
        await engine.clock.advance(2)
        assert await started.result() == "fine"
    assert raised == ["began", kind]


# What a body raises itself.


async def _of_the_body(step: Step, kind: str) -> None:
    await step.do(_fine)
    boom(kind)


async def _of_its_finally(step: Step, kind: str) -> None:
    try:
        await step.wait_for_event("go")
    finally:
        boom(kind)


async def _of_its_generator(step: Step, kind: str) -> None:
    async def values():
        try:
            yield await step.do(_fine)
        finally:
            boom(kind)

    async for _ in values():
        await step.wait_for_event("go")


async def _of_a_generator_it_left(step: Step, kind: str) -> None:
    async def values():
        try:
            yield await step.do(_fine)
        finally:
            boom(kind)

    async for _ in values():
        break
    await step.do(_fine)
    if kind == "GeneratorExit":
        boom(kind)  # of a generator that is closed it is no error


async def _of_a_branch(step: Step, kind: str) -> None:
    async def branch(item: str) -> None:
        await step.do(_fine, key=item)
        boom(item)

    await step.each(branch, [kind])


async def _of_a_nursery(step: Step, kind: str) -> None:
    async def branch() -> None:
        boom(kind)

    async with step.open_nursery() as nursery:
        nursery.start_soon(step.wait_for_event, "never")
        nursery.start_soon(branch)


async def _of_a_task(step: Step, kind: str) -> None:
    async def branch() -> None:
        await step.do(_fine)
        boom(kind)

    await step.gather(branch(), step.wait_for_event("never"))


async def _inside_a_deadline(step: Step, kind: str) -> None:
    with step.move_on_after("1 hour"):
        await step.do(_fine)
        boom(kind)


BODIES_ON_BOTH = {
    "body": _of_the_body,
    "finally": _of_its_finally,
    "generator": _of_its_generator,
    "branch": _of_a_branch,
    "in a deadline": _inside_a_deadline,
}
BODIES = {
    **{
        (place, runtime): made
        for runtime in ("trio", "asyncio")
        for place, made in BODIES_ON_BOTH.items()
    },
    ("nursery", "trio"): _of_a_nursery,
    ("a generator that it left", "trio"): _of_a_generator_it_left,
    ("task", "asyncio"): _of_a_task,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("place", "runtime"), BODIES)
async def test_r9_what_a_body_raises_makes_its_instance_errored_and_no_other(kind, place, runtime):
    @workflow(name="guilty", runtime=runtime)
    async def guilty(step: Step) -> None:
        await BODIES[place, runtime](step, kind)

    async with open_test_engine(workflows=[guilty, healthy]) as engine:
        instance = await engine.create("guilty", id="g")
        assert await engine.call("healthy") == "fine"
        if place in ("finally", "generator"):
            await instance.wait_for_status("waiting")
            await engine.crash()  # what it raises while it unwinds is discarded (P1)
            assert await engine.call("healthy") == "fine"
            await instance.wait_for_status("waiting")
            await instance.send_event("go")
        with pytest.raises(InstanceErrored) as caught:
            await instance.result()
        assert await engine.call("healthy") == "fine"
        await engine.crash()
        assert (await instance.status()).error == caught.value.error
    told = f"{caught.value.error.type}: {caught.value.error.message}"
    splits = (kind, place) == ("LockedGroup", "nursery")  # trio's nursery does
    assert (
        kind.rpartition(" ")[2] in told
        or "Group" in told
        or (splits and told == "TypeError: derive")
    ), told


@pytest.mark.parametrize(("place", "runtime"), PLACES)
async def test_r7_ctrl_c_in_a_step_shuts_the_engine_down_wherever_it_strikes(
    place, runtime, monkeypatch
):
    monkeypatch.setitem(KINDS, "Ctrl-C", KeyboardInterrupt)
    seen: list[str] = []

    @workflow(name="guilty", runtime=runtime)
    async def guilty(step: Step) -> None:
        try:
            await PLACES[place, runtime](step, "Ctrl-C")
        except (Exception, KeyboardInterrupt) as error:
            seen.append(type(error).__name__)

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with open_test_engine(workflows=[guilty]) as engine:
            instance = await engine.create("guilty", id="g")
            await trio.sleep_forever()
    assert set(raised) == {"Ctrl-C"}
    assert seen == []
    assert instance.id == "g"


async def test_r7_ctrl_c_in_a_step_leaves_bare_although_others_in_the_block_find_the_engine_stopped(
    monkeypatch,
):
    monkeypatch.setitem(KINDS, "Ctrl-C", KeyboardInterrupt)

    @workflow
    async def guilty(step: Step) -> None:
        await step.do(straight, "Ctrl-C")

    async def asks_on(engine: Engine) -> None:
        with trio.CancelScope(shield=True):
            while engine._driver is None or engine._driver.failure is None:
                await trio.lowlevel.checkpoint()
            await engine.create(guilty)

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with open_test_engine(workflows=[guilty]) as engine, trio.open_nursery() as nursery:
            nursery.start_soon(asks_on, engine)
            nursery.start_soon(trio.sleep_forever)
            await engine.create(guilty)


# The engine's own tasks.


async def _asks(engine: Engine, told: list[str]) -> None:
    try:
        await engine.create("healthy")
    except StepwellError as error:
        told.append(type(error).__name__)


@pytest.mark.parametrize("which", ["driver", "keeper"])
@pytest.mark.parametrize("kind", [*KINDS, "ValueError"])
async def test_r9_whatever_else_ends_one_of_the_engines_own_tasks_is_told_to_all_who_wait(
    kind, which, monkeypatch, caplog
):
    monkeypatch.setitem(KINDS, "ValueError", lambda: ValueError("boom"))
    breaks = trio.Event()

    async def run_for_a_while(*_: object) -> None:
        await breaks.wait()
        boom(kind)

    monkeypatch.setattr(Driver if which == "driver" else TurnKeeper, "run", run_for_a_while)
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        with pytest.raises(InternalError, match="bug of its own") as caught:  # noqa: PT012
            async with Engine(":memory:", workflows=[healthy]) as engine:
                if which == "driver":  # nothing is answered
                    nursery.start_soon(_asks, engine, told)
                    await trio.testing.wait_all_tasks_blocked()
                breaks.set()
                with trio.CancelScope(shield=True):
                    while not caplog.records:
                        await trio.lowlevel.checkpoint()
                    await _asks(engine, told)  # of a program that does not leave the block
                await trio.sleep_forever()
    assert caught.value.__cause__ is not None
    assert "internal error in the engine" in caplog.text
    await _asks(engine, told)
    assert told == ["EngineClosed"] * (3 if which == "driver" else 2)


async def test_r9_who_looks_again_and_again_is_told_too_when_the_engine_breaks():
    """Each look is a question of its own, and nobody answers the next one."""
    told: list[str] = []

    async def looks(instance: Instance[str]) -> None:
        try:
            await instance.wait_for_step("never")
        except EngineClosed as error:
            told.append(str(error))

    async with trio.open_nursery() as nursery:
        with pytest.raises(InternalError, match="bug of its own"):  # noqa: PT012
            async with Engine(":memory:", workflows=[healthy]) as engine:
                gate = await engine.create("healthy", start_at=datetime(2100, 1, 1, tzinfo=UTC))
                nursery.start_soon(looks, gate)
                await trio.testing.wait_all_tasks_blocked()
                while engine._driver.tickets:  # then it waits for the next record
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                engine._driver.broke(ValueError("boom"))
                with trio.CancelScope(shield=True):
                    while not told:
                        await trio.lowlevel.checkpoint()
                await trio.sleep_forever()
    assert re.search(r"the engine has stopped: InternalError.*Leave its block", told[0])


# In programs that are not trio's.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fn", [straight, waiting_on_asyncio, boom])
def test_r9_what_a_step_raises_ends_no_loop_of_a_program(kind, fn):
    @workflow(name="guilty")
    async def guilty(step: Step) -> str:
        try:
            await step.do(fn, kind)
        except StepFailed as error:
            return f"{error.type}: {error.message}"
        return "nothing"

    async def program() -> str:
        async with aio.Engine(":memory:", workflows=[guilty]) as engine:
            return str(await asyncio.wait_for(engine.call(guilty), 30))

    assert kind.rpartition(" ")[2] in (told := asyncio.run(program())) or "Group" in told
    with sync.Engine(":memory:", workflows=[guilty], default_runtime="asyncio") as engine:
        assert engine.call(guilty) == told
