"""`drain`: it comes to its end whatever becomes of its caller, and everybody is told the truth
meanwhile and afterwards (L14)."""

import asyncio
import signal
import threading
import time
from contextvars import copy_context
from typing import Any

import pytest
import trio

from stepwell import (
    Engine,
    EngineClosed,
    InstanceErrored,
    Retry,
    Step,
    aio,
    current_step,
    sync,
    workflow,
)
from stepwell.testing import open_test_engine

DRAINED = "the engine has drained, so nothing runs any more"
gates: list[trio.Event] = []


async def waits_at_the_gate() -> None:
    await gates[0].wait()


async def nothing() -> int:
    return 1


@workflow
async def two_steps(step: Step) -> int:
    await step.do(waits_at_the_gate)
    return await step.do(nothing)


@workflow
async def waits(step: Step) -> Any:
    return (await step.wait_for_event("go")).payload


def held_in_a_thread() -> tuple[threading.Event, Any]:
    """Returns a gate, and a workflow whose first step waits there."""
    gate = threading.Event()

    @workflow
    async def holds(step: Step) -> int:
        await step.do(gate.wait, name="gate")
        return await step.do(nothing)

    return gate, holds


async def at_the_gate(engine: Any) -> Any:
    """Returns an instance whose first step waits for the gate."""
    gates[:] = [trio.Event()]
    instance = await engine.create(two_steps, id="two")
    while gates[0].statistics().tasks_waiting == 0:
        await trio.lowlevel.checkpoint()
    return instance


async def test_l14_a_drain_whose_caller_gives_up_ends_and_whoever_waits_is_told():
    said: list[str] = []

    async def hears(call: Any, *args: Any) -> None:
        with pytest.raises(EngineClosed) as caught:
            await call(*args)
        said.append(str(caught.value))

    with trio.fail_after(30):
        async with (
            open_test_engine(workflows=[two_steps, waits], autojump=False) as engine,
            trio.open_nursery() as nursery,
        ):
            other = await engine.create(waits)
            instance = await at_the_gate(engine)
            for call, *args in (
                (instance.result,),
                (other.wait_for_status, "complete"),
                (instance.wait_for_step, "nothing"),
            ):
                nursery.start_soon(hears, call, *args)
            with trio.CancelScope() as scope:
                nursery.start_soon(cancels_when_blocked, scope)
                await engine.drain("1 hour")
            assert scope.cancelled_caught
            assert said == []
            for one in (instance, other):
                assert str(await one.explain()).endswith(
                    " The engine drains: no more steps start. Open a new engine on the same store "
                    "to go on."
                )
            gates[0].set()
            await engine.drain("1 hour")
    assert [it.partition(".")[0] for it in said] == [DRAINED] * 3


async def cancels_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_l14_of_two_drains_the_grace_that_is_over_first_counts():
    with trio.fail_after(30):
        async with (
            open_test_engine(workflows=[two_steps], autojump=False) as engine,
            trio.open_nursery() as nursery,
        ):
            instance = await at_the_gate(engine)
            nursery.start_soon(engine.drain, "1 hour")
            await trio.testing.wait_all_tasks_blocked()
            await engine.drain(0)
            await engine.drain("1 hour")
            with pytest.raises(EngineClosed, match=DRAINED):
                await instance.result()


async def test_l14_a_drain_that_is_cancelled_before_it_begins_changes_nothing():
    async with open_test_engine(workflows=[waits]) as engine:
        with trio.CancelScope() as scope:
            scope.cancel()
            await engine.drain()
        instance = await engine.create(waits)
        await instance.send_event("go", 5)
        assert await instance.result() == 5


async def test_l14_a_drain_that_fails_stops_the_engine_and_hangs_nobody(monkeypatch, caplog):
    async def fails(*_: Any) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr("stepwell._engine.draining.end_all", fails)
    with trio.fail_after(30), pytest.raises(Exception, match="LookupError"):  # noqa: PT012
        async with open_test_engine(workflows=[waits]) as engine:
            await engine.create(waits)
            with trio.CancelScope(shield=True):  # the block is cancelled
                await engine.drain()
            await trio.sleep_forever()
    assert "internal error" in caplog.text


async def test_l13_what_is_said_of_an_instance_of_a_drained_engine_is_true():
    async with open_test_engine(workflows=[two_steps, waits], autojump=False) as engine:
        ended = await engine.create(waits, id="ended")
        await ended.send_event("go", 1)
        assert await ended.result() == 1
        other, instance = await engine.create(waits, id="w"), await at_the_gate(engine)
        await other.wait_for_status("waiting")
        await engine.drain(0)
        with pytest.raises(EngineClosed) as caught:
            await instance.result()
        end = f" {str(caught.value).capitalize()[:1]}{str(caught.value)[1:]}"
        assert (await instance.explain()).text == (
            f"two_steps/two is running: its body is not in memory.{end}"
        )
        assert (await other.explain()).text.startswith('waits/w waits for event "go" until ')
        assert (await other.explain()).text.endswith(end)
        assert (await ended.explain()).text == "waits/ended is complete."


def test_l14_a_drain_that_an_asyncio_program_gives_up_ends():
    gate, holds = held_in_a_thread()

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[holds]) as engine, asyncio.timeout(30):
            instance = await engine.create(holds)
            task = asyncio.create_task(engine.drain("1 hour"))
            while not engine._inner._driver.draining:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.set()
            with pytest.raises(EngineClosed, match=DRAINED):
                await instance.result()

    asyncio.run(main())


@pytest.mark.usefixtures("hears_ctrl_c")
def test_l14_a_drain_that_ctrl_c_cuts_short_ends():
    gate, holds = held_in_a_thread()

    with sync.Engine(":memory:", workflows=[holds]) as engine:
        instance = engine.create(holds)

        def strikes() -> None:
            while not engine._inner._driver.draining:
                time.sleep(0.001)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        striker = threading.Thread(target=strikes)
        striker.start()
        with pytest.raises(KeyboardInterrupt):
            engine.drain("1 hour")
        striker.join()
        gate.set()
        with pytest.raises(EngineClosed, match=DRAINED):
            instance.result()


# In a step, which the end of the engine would wait for.


def _of(error: str, what: str) -> bool:
    return f'InvalidState: {what} by step "ends" of ' in error and "nothing was done" in error


async def drains_here() -> None:
    await current_step().engine.drain(0)


async def leaves_here() -> None:
    await current_step().engine.__aexit__(None, None, None)


def drains_from_a_thread() -> None:
    engine: Engine = current_step().engine
    trio.from_thread.run(engine.drain, 0)


def drains_blocking() -> None:
    current_step().engine.drain(0)


def leaves_blocking() -> None:
    current_step().engine.__exit__(None, None, None)


@workflow
async def ends_the_engine(step: Step, how: str) -> None:
    await step.do(globals()[how], name="ends", retry=Retry.never)


WHATS = {"drains": "engine.drain was called", "leaves": "the engine's block was left"}


@pytest.mark.parametrize("how", ["drains_here", "leaves_here", "drains_from_a_thread"])
async def test_l14_a_step_cannot_end_its_engine(how):
    async with open_test_engine(workflows=[ends_the_engine, waits]) as engine:
        with pytest.raises(InstanceErrored) as caught:
            await engine.call(ends_the_engine, how)
        assert _of(str(caught.value), WHATS[how.partition("_")[0]]), str(caught.value)
        instance = await engine.create(waits)
        await instance.send_event("go", 1)
        assert await instance.result() == 1


@pytest.mark.parametrize(
    "how", ["drains_here", "leaves_here", "drains_blocking", "leaves_blocking"]
)
def test_l14_a_step_cannot_end_its_engine_on_asyncio(how):
    async def main() -> None:
        async with (
            aio.Engine(":memory:", workflows=[ends_the_engine, waits]) as engine,
            asyncio.timeout(30),
        ):
            with pytest.raises(InstanceErrored) as caught:
                await engine.call(ends_the_engine, how)
            assert _of(str(caught.value), WHATS[how.partition("_")[0]]), str(caught.value)
            instance = await engine.create(waits)
            await instance.send_event("go", 1)
            assert await instance.result() == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "how", ["drains_here", "leaves_here", "drains_blocking", "leaves_blocking"]
)
def test_l14_a_step_cannot_end_its_engine_in_a_blocking_program(how):
    with sync.Engine(":memory:", workflows=[ends_the_engine, waits]) as engine:
        with pytest.raises(InstanceErrored) as caught:
            engine.call(ends_the_engine, how)
        assert _of(str(caught.value), WHATS[how.partition("_")[0]]), str(caught.value)
        instance = engine.create(waits)
        instance.send_event("go", 1)
        assert instance.result() == 1


async def test_l14_the_body_of_an_instance_cannot_leave_its_engine():
    seen: list[str] = []

    @workflow
    async def leaves(step: Step) -> None:
        try:
            await engine.__aexit__(None, None, None)
        except Exception as error:
            seen.append(f"{type(error).__name__}: {error}")

    async with open_test_engine(workflows=[leaves]) as engine:
        await engine.call(leaves, id="l")
    assert seen[0].startswith(
        "MisusedState: the engine's block was left in the body of leaves/l, "
        "for whose end that would wait"
    )


async def test_l14_what_a_step_has_left_behind_may_end_the_engine():
    ended, drained = trio.Event(), trio.Event()

    async def drains() -> None:
        await ended.wait()
        await current_step().engine.drain(0)
        drained.set()

    async def leaves_a_task() -> None:
        trio.lowlevel.spawn_system_task(drains, context=copy_context())

    @workflow
    async def left(step: Step) -> None:
        await step.do(leaves_a_task)

    async with open_test_engine(workflows=[left]) as engine:
        await engine.call(left)
        ended.set()
        with trio.fail_after(30):
            await drained.wait()


def test_what_is_no_engine_of_its_own_is_neither_opened_nor_left():
    kept: list[Any] = []

    def keeps_it() -> None:
        kept.append(current_step().engine)

    @workflow
    async def keeps(step: Step) -> None:
        await step.do(keeps_it)

    with sync.Engine(":memory:", workflows=[keeps]) as engine:
        engine.call(keeps)
        with pytest.raises(EngineClosed, match="opens once"):
            kept[0].__enter__()
        with pytest.raises(EngineClosed, match="not opened with this object"):
            kept[0].__exit__(None, None, None)
        engine.call(keeps)
