"""Bodies that do not end when they are told to (rule P1): they cost no time, and no engine hangs
because of them."""

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from asyncio_bodies import line_of

from stepwell import InvalidState, Status, Step, workflow
from stepwell._body.runner import Runner
from stepwell._ending import End
from stepwell._engine import unwinding
from stepwell._loops import bridge
from stepwell.testing import open_test_engine

cancels: list[int] = []
cleaned: list[str] = []


@pytest.fixture(autouse=True)
def _fresh():
    cancels.clear()
    cleaned.clear()


async def _outlives(wait: Callable[[], Awaitable[object]]) -> None:
    """Waits again and again, whatever ends that."""
    for n in range(1_000_000):
        try:
            await wait()
        except BaseException:
            cancels.append(n)


async def _step(step: Step) -> None:
    await _outlives(lambda: step.sleep(1000))


async def _in_a_nursery(step: Step) -> None:
    async def branch() -> None:
        try:
            async with step.open_nursery("inner") as inner:
                inner.start_soon(_step, step)
        finally:
            cleaned.append("never")
            await _step(step)

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch)


async def _in_trios_nursery(step: Step) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_outlives, trio.sleep_forever)
        await step.wait_for_event("never")


async def _in_trios_wait(step: Step) -> None:
    try:
        await step.wait_for_event("never")
    finally:
        await _outlives(trio.sleep_forever)


async def _spins(step: Step) -> None:
    try:
        await step.wait_for_event("never")
    finally:
        while True:
            await trio.lowlevel.cancel_shielded_checkpoint()


async def _behind_a_shield(step: Step) -> None:
    try:
        await step.wait_for_event("never")
    finally:
        with trio.CancelScope(shield=True), trio.CancelScope(), trio.CancelScope(shield=True):
            await _outlives(trio.sleep_forever)


async def _in_each(step: Step) -> None:
    async def branch(n: int) -> None:
        await _outlives(lambda: step.wait_for_event(f"never-{n}"))

    await step.each(branch, range(3))


async def _in_gather(step: Step) -> None:
    await step.gather(_outlives(lambda: step.wait_for_event("never")), _step(step))


async def _spins_on_asyncio(step: Step) -> None:
    try:
        await step.wait_for_event("never")
    finally:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)


async def _in_asyncios_wait(step: Step) -> None:
    try:
        await step.wait_for_event("never")
    finally:
        await _outlives(asyncio.Event().wait)


RESISTING = {
    "step on trio": ("trio", _step),
    "branches": ("trio", _in_a_nursery),
    "each on trio": ("trio", _in_each),
    "a nursery of trio's": ("trio", _in_trios_nursery),
    "a wait of trio's": ("trio", _in_trios_wait),
    "a loop on trio": ("trio", _spins),
    "a shield": ("trio", _behind_a_shield),
    "step on asyncio": ("asyncio", _step),
    "each on asyncio": ("asyncio", _in_each),
    "gather": ("asyncio", _in_gather),
    "a loop on asyncio": ("asyncio", _spins_on_asyncio),
    "a wait of asyncio's": ("asyncio", _in_asyncios_wait),
}


@workflow(name="healthy")
async def healthy(step: Step) -> str:
    await step.sleep(1)
    return "fine"


@pytest.mark.parametrize("how", RESISTING)
async def test_p1_a_body_that_resists_costs_no_time_and_no_engine_hangs_because_of_it(
    how, monkeypatch
):
    runtime, code = RESISTING[how]
    monkeypatch.setattr(unwinding, "RESISTS_MAX", 0.05)

    @workflow(name="resists", runtime=runtime)
    async def resists(step: Step) -> None:
        await code(step)

    async with open_test_engine(workflows=[resists, healthy], autojump=False) as engine:
        instance = await engine.create("resists", id="r")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("2 minutes")  # it is parked
        await trio.testing.wait_all_tasks_blocked()
        before = len(cancels)
        assert before <= 110 * 4  # for each of its tasks
        call = await engine.create("healthy")
        await engine.clock.advance("5 seconds")
        assert await call.result() == "fine"
        assert len(cancels) == before
        assert engine.statistics().resident == 1
        assert ("s ago and has not ended; it stands at test_resisting.py:") in str(
            await instance.explain()
        )
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert cleaned == []


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_p1_a_body_that_resists_a_crash_is_left_and_its_next_life_goes_on(
    runtime, monkeypatch
):
    monkeypatch.setattr(unwinding, "RESISTS_MAX", 0.05)
    lives: list[int] = []

    @workflow(name="resists", runtime=runtime)
    async def resists(step: Step) -> object:
        life = len(lives)
        lives.append(life)
        while True:
            try:
                return (await step.wait_for_event("go")).payload
            except BaseException:
                if life:
                    raise

    async with open_test_engine(workflows=[resists], autojump=False) as engine:
        instance = await engine.create("resists", id="r")
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go", "gone")
        assert await instance.result() == "gone"
    assert lives == [0, 1]


async def test_p1_a_body_that_cannot_be_ended_is_named_by_an_error_and_closing_does_not_wait(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(unwinding, "RESISTS_MAX", 0.05)
    monkeypatch.setattr(unwinding, "ENDS_MAX", 0.05)
    gate = threading.Event()

    @workflow(name="stuck")
    async def stuck(step: Step) -> None:
        try:
            await step.wait_for_event("go")
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(gate.wait)  # stuck

    store = str(tmp_path / "s.db")
    try:
        with pytest.raises(InvalidState) as caught:
            async with open_test_engine(workflows=[stuck], store=store, autojump=False) as engine:
                await (await engine.create("stuck", id="s")).wait_for_status("waiting")
        assert f"stuck/s at {line_of(__file__, 'stuck')}" in str(caught.value)
        assert "use step.do" in str(caught.value)
        # the store is closed
        async with open_test_engine(workflows=[stuck], store=store, autojump=False) as engine:
            assert (await engine.count())[Status.WAITING] == 1
    finally:
        gate.set()
    await trio.testing.wait_all_tasks_blocked()


async def test_p1_a_body_that_has_not_begun_when_the_engine_closes_does_not_resist(monkeypatch):
    """It was taken for one that resists, and was not waited for: on a busy machine the engine said
    that it could not be ended."""
    run, begun = Runner.run, []

    async def run_late(runner, make_step):
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        begun.append(runner.stopping)
        await run(runner, make_step)

    @workflow
    async def waits(step: Step) -> None:
        await step.wait_for_event("never")

    monkeypatch.setattr(Runner, "run", run_late)
    monkeypatch.setattr(unwinding, "ENDS_MAX", 0)
    async with open_test_engine(workflows=[waits]) as engine:
        await engine.create(waits)
    assert begun == [End.DRAINED]


endings: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []


async def _outlives_on_asyncio() -> None:
    ending = asyncio.Event()
    endings.append((asyncio.get_running_loop(), ending))
    while not ending.is_set():
        with suppress(asyncio.CancelledError):
            await ending.wait()


async def _in_a_task() -> None:
    await asyncio.create_task(_outlives_on_asyncio())


@workflow
async def resists_on_asyncio(step):
    await step.do(_outlives_on_asyncio, runtime="asyncio")


@workflow
async def branches_resist_on_asyncio(step):
    async with step.open_nursery() as nursery:
        for fn in (_in_a_task, _outlives_on_asyncio):
            nursery.start_soon(functools.partial(step.do, fn, runtime="asyncio"))


@pytest.mark.parametrize(
    ("flow", "steps"),
    [(resists_on_asyncio, "1 step has"), (branches_resist_on_asyncio, "2 steps has")],
)
async def test_p1_a_step_on_asyncio_that_outlives_its_cancellation_keeps_no_engine_open(
    monkeypatch, caplog, flow, steps
):
    monkeypatch.setattr(unwinding, "RESISTS_MAX", 0.05)
    monkeypatch.setattr(bridge, "CLOSES_MAX", 0.05)
    async with open_test_engine(workflows=[flow], autojump=False, grace=0) as engine:
        instance = await engine.create(flow)
        await instance.wait_for_status("running")
        await trio.testing.wait_all_tasks_blocked(0.01)
    [record] = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert f"code of {steps} not ended although it was cancelled" in record.message
    for loop, ending in endings:
        loop.call_soon_threadsafe(ending.set)
    endings.clear()
    for thread in threading.enumerate():
        if thread.name == "stepwell asyncio":
            thread.join(5)
            assert not thread.is_alive()
