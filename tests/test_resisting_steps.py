"""Steps on trio that do not end when they are told to (rules P1 and I8): they cost no time, and no
engine hangs because of them."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from test_attempts import advanced

import stepwell
from stepwell import InvalidState, Status, Step, aio, sync, workflow
from stepwell._engine import unwinding
from stepwell.testing import open_test_engine

cancels: list[int] = []
lives: list[str] = []
resists = True
CANCELS = 110
"""More than are outlived by one task."""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    global resists
    resists = True
    cancels.clear()
    lives.clear()
    monkeypatch.setattr(unwinding, "RESISTS_MAX", 0.05)


async def _outlives(wait: Callable[[], Awaitable[object]] = trio.sleep_forever) -> None:
    """Waits again and again, whatever ends that."""
    while True:
        try:
            await wait()
        except BaseException:
            cancels.append(1)


async def _waits() -> None:
    await _outlives()


async def _spins() -> None:
    await _outlives(trio.lowlevel.checkpoint)


async def _in_tasks() -> None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_outlives)
            nursery.start_soon(_nested)
            nursery.start_soon(trio.sleep_forever)
    finally:
        lives.append("never")


async def _nested() -> None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_outlives)
    finally:
        await _outlives()


async def _in_a_task_that_begins_late() -> None:
    async with trio.open_nursery() as nursery:
        try:
            await trio.sleep_forever()
        finally:
            nursery.start_soon(_outlives)


async def _in_another_context() -> None:
    async with trio.open_nursery() as nursery:
        contextvars.Context().run(nursery.start_soon, _outlives)


async def _in_scopes() -> None:
    with trio.CancelScope(), trio.move_on_after(1000), trio.CancelScope():
        await _outlives()


async def _behind_a_shield() -> None:
    with trio.CancelScope(shield=True), trio.CancelScope(), trio.CancelScope(shield=True):
        await _outlives()


async def _tasks_behind_a_shield() -> None:
    with trio.CancelScope(shield=True):
        await _in_tasks()


async def _in_a_generator() -> None:
    async def generator():
        while True:
            await _outlives()
            yield

    async for _ in generator():
        pass


RESISTING: list[Callable[[], Awaitable[None]]] = [
    _waits, _spins, _in_tasks, _in_a_task_that_begins_late, _in_another_context, _in_scopes,
    _behind_a_shield, _tasks_behind_a_shield,
    _in_a_generator,
]  # fmt: skip


async def _code(_: int, fn: Callable[[], Awaitable[None]]) -> str:
    lives.append("begins")
    if resists:
        await fn()
    return "ended"


async def _fails_once(fn: Callable[[], Awaitable[None]]) -> str:
    if not lives:
        lives.append("fails")
        raise ValueError
    return await _code(0, fn)


async def _alone(step: Step, fn: Any) -> Any:
    return await step.do(_code, 0, fn, name="resist")


async def _mapped(step: Step, fn: Any) -> Any:
    return (await step.map(partial(_code, fn=fn), [0], name="resist"))[0]


async def _in_a_nursery(step: Step, fn: Any) -> Any:
    async with step.open_nursery() as nursery:
        branch = nursery.start_soon(partial(step.do, _code, 0, fn, name="resist"))
    return branch.value


async def _in_a_deadline(step: Step, fn: Any) -> Any:
    with step.fail_after("1 day"):
        return await step.do(_code, 0, fn, name="resist")


async def _retried(step: Step, fn: Any) -> Any:
    return await step.do(_fails_once, fn, name="resist", retry=stepwell.Retry(delay="0 seconds"))


async def _shielded(step: Step, fn: Any) -> Any:
    with trio.CancelScope(shield=True):
        return await step.do(_code, 0, fn, name="resist")


PLACES = [_alone, _mapped, _in_a_nursery, _in_a_deadline, _retried, _shielded]


def _flow(place: Any, fn: Any, runtime: Any = "trio") -> Any:
    @workflow(name="flow", runtime=runtime)
    async def flow(step: Step) -> str:
        return await place(step, fn)  # type: ignore[no-any-return]

    return flow


def _errors(caplog) -> list[str]:
    return [it.message for it in caplog.records if it.levelno >= logging.ERROR]


@pytest.mark.parametrize("fn", RESISTING)
@pytest.mark.parametrize("place", PLACES)
async def test_p1_an_engine_closes_although_a_step_resists_and_the_next_one_makes_it_again(
    place, fn, tmp_path, caplog
):
    global resists
    flow, store = _flow(place, fn), str(tmp_path / "s.db")
    async with open_test_engine(workflows=[flow], store=store, autojump=False, grace=0) as engine:
        await engine.create("flow", id="f")
        while "begins" not in lives:
            await trio.lowlevel.checkpoint()
        await (
            trio.testing.wait_all_tasks_blocked()
        ) if fn is not _spins else await trio.lowlevel.checkpoint()
    assert len(cancels) <= CANCELS * 4  # for each of its tasks
    assert "never" not in lives
    [error] = _errors(caplog)
    assert "code of 1 step has not ended although it was cancelled" in error
    assert "runs again when an engine opens, unless its instance has ended" in error
    assert "flow/f at test_resisting_steps.py:" in error
    resists = False
    async with open_test_engine(workflows=[flow], store=store, grace=0) as engine:
        instance = await engine.get("flow", "f")
        assert await instance.result() == "ended"
        assert [it.attempt for it in await instance.history() if it.status == "done"] == [
            1 if place is not _retried else 2
        ]


async def _left_by_a_scope(step: Step, fn: Any) -> Any:
    async with step.open_nursery() as nursery:
        nursery.start_soon(partial(step.do, _code, 0, fn, name="resist"))
        await step.wait_for_event("go")
        nursery.cancel_scope.cancel()


async def _timed_out(step: Step, fn: Any) -> Any:
    await step.do(_code, 0, fn, name="resist", timeout="1 minute")


async def _timed_out_in_a_map(step: Step, fn: Any) -> Any:
    await step.map(partial(_code, fn=fn), [0], name="resist", timeout="1 minute")


@pytest.mark.parametrize(
    "fn", [it for it in RESISTING if it is not _spins and "shield" not in it.__name__]
)
@pytest.mark.parametrize("place", [_left_by_a_scope, _timed_out, _timed_out_in_a_map])
async def test_p1_a_step_that_resists_its_body_or_its_timeout_is_held_and_stays_open(
    place, fn, caplog
):
    flow = _flow(place, fn)
    async with open_test_engine(workflows=[flow], autojump=False, grace=0) as engine:
        instance = await engine.create("flow", id="f")
        while not lives:
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        await advanced(engine, "61 seconds")
        await instance.send_event("go")
        await trio.testing.wait_all_tasks_blocked()
        before = len(cancels)
        assert 100 <= before <= CANCELS * 3
        told = {it.message for it in caplog.records if "has caught a hundred times" in it.message}
        assert all(
            'code of step "resist" of flow/f' in it and "at test_resisting_steps.py:" in it
            for it in told
        )
        assert len(told) >= 1
        explained = await instance.explain()
        assert ("has caught its cancellation a hundred times, and is not driven any more") in str(
            explained
        )
        assert [it["is_held"] for it in explained.details["steps"]] == [True]
        await advanced(engine, "2 minutes")
        await trio.testing.wait_all_tasks_blocked()
        assert (await instance.status()).status is Status.RUNNING
        assert len(cancels) == before
    assert "never" not in lives
    assert len(_errors(caplog)) == 1


async def _polls(result: str) -> str:
    lives.append("begins")
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            for _ in range(300):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await trio.sleep_forever()
    return result


async def test_i8_a_cancelled_step_may_cancel_its_own_scopes_often_and_runs_shielded_to_its_end():
    @workflow
    async def flow(step: Step) -> str:
        with step.move_on_after("1 second"):
            await step.do(_polls, "ran to its end")
        return "goes on"

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow)
        while not lives:
            await trio.lowlevel.checkpoint()
        await advanced(engine, "2 seconds")
        assert await instance.result() == "goes on"
        [record] = [it for it in await instance.history() if it.status == "abandoned"]
        assert record.output == "ran to its end"


async def test_p1_a_step_that_nothing_can_end_is_named_by_an_error_and_closing_does_not_wait(
    monkeypatch, tmp_path
):
    global resists
    monkeypatch.setattr(unwinding, "ENDS_MAX", 0.05)
    gate, ended = threading.Event(), []

    async def in_a_thread() -> None:
        await trio.to_thread.run_sync(gate.wait)
        ended.append("never")

    flow, store = _flow(_mapped, in_a_thread), str(tmp_path / "s.db")
    try:
        with pytest.raises(InvalidState) as caught:  # noqa: PT012
            async with open_test_engine(
                workflows=[flow], store=store, autojump=False, grace=0
            ) as engine:
                await (await engine.create("flow", id="f")).wait_for_status("running")
                await trio.testing.wait_all_tasks_blocked()
        assert (
            'cannot be ended, and trio.run waits for them: step "resist" of flow/f at '
            "test_resisting_steps.py:"
        ) in str(caught.value)
        resists = False
        # the store is closed
        async with open_test_engine(workflows=[flow], store=store, grace=0) as engine:
            assert await (await engine.get("flow", "f")).result() == "ended"
    finally:
        gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert ended == []


async def test_p1_ctrl_c_ends_an_engine_whose_step_resists(caplog):
    async def struck() -> None:
        try:
            await trio.sleep_forever()
        finally:
            await _in_tasks()

    flow = _flow(_mapped, struck)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with open_test_engine(workflows=[flow], autojump=False) as engine:
            await engine.create("flow", id="f")
            while not lives:
                await trio.lowlevel.checkpoint()
            raise KeyboardInterrupt
    [error] = _errors(caplog)
    assert 'step "resist" of flow/f at test_resisting_steps.py:' in error


@pytest.mark.parametrize("fn", [_waits, _in_tasks, _behind_a_shield])
def test_p1_an_engine_on_asyncio_closes_although_a_step_on_trio_resists(fn, caplog):
    async def main() -> None:
        flow = _flow(_mapped_on_trio, fn, "asyncio")
        async with aio.Engine(":memory:", workflows=[flow], grace=0) as engine:
            await engine.create("flow", id="f")
            while "begins" not in lives:
                await asyncio.sleep(0)

    asyncio.run(main())
    assert 'step "resist" of flow/f at test_resisting_steps.py:' in _errors(caplog)[0]


async def _mapped_on_trio(step: Step, fn: Any) -> Any:
    await step.map(partial(_code, fn=fn), [0], name="resist", runtime="trio")


@pytest.mark.parametrize("fn", [_waits, _in_tasks, _behind_a_shield])
def test_p1_a_blocking_engine_closes_although_a_step_resists(fn, caplog):
    begun = threading.Event()

    async def begins() -> None:
        begun.set()
        await fn()

    flow = _flow(_mapped, begins)
    with sync.Engine(":memory:", workflows=[flow], grace=0) as engine:
        engine.create("flow", id="f")
        assert begun.wait(30)
    assert 'step "resist" of flow/f at test_resisting_steps.py:' in _errors(caplog)[0]
