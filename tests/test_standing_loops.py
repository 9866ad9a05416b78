"""A loop that stands still, or is busy, while attempts wait for it: told of, timed from the
hand-over, given up at once (R1, I8)."""

import asyncio
import logging
import threading

import pytest
import trio

from stepwell import Engine, InstanceErrored, Retry, Step, aio, workflow
from stepwell._loops import bridge

began: list[str] = []
gates: list[threading.Event] = []


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    began.clear()
    gates[:] = [threading.Event(), threading.Event()]
    monkeypatch.setattr(bridge, "STANDS_STILL", 0.02)


async def quick() -> int:
    began.append("quick")
    return 1


async def computes() -> None:
    gates[1].set()
    gates[0].wait(30)


@workflow
async def runs(step: Step, timeout: float) -> int:
    return await step.do(quick, runtime="asyncio", timeout=timeout, retry=Retry.never, name="a")


@workflow
async def holds_the_loop(step: Step) -> None:
    await step.do(computes, runtime="asyncio")


@workflow
async def gives_up(step: Step) -> str:
    with step.move_on_after(0.05):
        await step.do(quick, runtime="asyncio", name="a")
    return "went on"


def warnings(caplog) -> list[str]:
    return [it.getMessage() for it in caplog.records if "has taken nothing" in it.getMessage()]


def test_r1_a_loop_that_nobody_runs_is_told_of_and_what_waits_for_it_times_out(caplog):
    """A fixture's loop that opened the engine, and a test's loop that calls."""
    caplog.set_level(logging.WARNING, "stepwell")
    engine = aio.Engine(":memory:", workflows=[runs, gives_up])
    outer = asyncio.new_event_loop()
    outer.run_until_complete(engine.__aenter__())

    async def calls() -> None:
        waiting = await engine.create(runs, 3600.0, id="w")
        while not warnings(caplog):
            await asyncio.sleep(0.001)
        text = str(await waiting.explain())
        assert (
            'Its step "a" of runs/w has not begun: the asyncio loop that opened the engine has '
            "taken nothing for 0 s: nobody runs" in text
        )
        for n in range(3):
            instance = await engine.create(runs, 0.05, id=f"t{n}")
            with pytest.raises(
                InstanceErrored, match=r"did not begin within its timeout of 0\.05 s"
            ):
                await instance.result()
        # what has not begun is given up at once (I8)
        assert await engine.call(gives_up) == "went on"

    asyncio.run(calls())
    assert len(warnings(caplog)) == 1
    assert began == []

    async def ends() -> int:
        try:
            return await (await engine.get(runs, "w")).result()
        finally:
            await engine.__aexit__(None, None, None)

    assert outer.run_until_complete(ends()) == 1
    outer.close()
    assert began == ["quick"]  # what had timed out never begins


async def test_r1_what_waits_for_the_engines_own_loop_while_that_computes_times_out(caplog):
    caplog.set_level(logging.WARNING, "stepwell")
    async with Engine(":memory:", workflows=[runs, holds_the_loop]) as engine:
        holder = await engine.create(holds_the_loop)
        await trio.to_thread.run_sync(gates[1].wait)
        with pytest.raises(InstanceErrored, match=r"did not begin within its timeout of 0\.05 s"):
            await engine.call(runs, 0.05)
        assert len(warnings(caplog)) == 1
        assert "the engine's own asyncio loop has taken nothing" in warnings(caplog)[0]
        gates[0].set()
        await holder.result()
        assert began == []
        assert await engine.call(runs, 60) == 1


async def test_r1_an_attempt_whose_time_is_up_when_its_loop_is_free_again_never_begins(monkeypatch):
    monkeypatch.setattr(bridge, "STANDS_STILL", 3600)  # nobody looks meanwhile
    async with Engine(":memory:", workflows=[runs, holds_the_loop]) as engine:
        holder = await engine.create(holds_the_loop)
        await trio.to_thread.run_sync(gates[1].wait)
        instance = await engine.create(runs, 0.01)
        while not engine._driver.bridge._waiting:
            await trio.lowlevel.checkpoint()
        began_at = engine._driver.monotonic()
        while engine._driver.monotonic() - began_at < 10_000:
            await trio.lowlevel.checkpoint()
        gates[0].set()
        with pytest.raises(InstanceErrored, match=r"did not begin within its timeout of 0\.01 s"):
            await instance.result()
        await holder.result()
    assert began == []
