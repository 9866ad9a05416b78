"""Bodies on asyncio: what ends them or a part of them, and how they are unwound (rules I8, L14, P1,
P2, R7)."""

import asyncio
import functools
import gc
import weakref
from contextlib import suppress

import pytest
import trio
import trio.testing
from asyncio_bodies import NEVER, blocked, doubles, fails, flow, line_of, lives, ran, replayed, run

from stepwell import InstanceErrored, Step
from stepwell._engine import unwinding
from stepwell.testing import open_test_engine


@pytest.fixture(autouse=True)
def _fresh():
    ran.clear()
    lives.clear()


# What ends a body, or a part of it.


async def test_a_group_that_leaves_a_body_makes_it_errored_with_its_tree():
    async def code(step: Step, seen):
        async with asyncio.TaskGroup() as group:
            group.create_task(step_fails(step, "a"))
            group.create_task(waits(step))

    async def step_fails(step: Step, text: str):
        await step.do(fails, text, retry=NEVER)

    async def waits(step: Step):
        await step.wait_for_event("never")

    with pytest.raises(InstanceErrored) as caught:
        await run(code)
    info = caught.value.error
    assert info.type == "ExceptionGroup"
    assert "ValueError: a" in str(info)


async def test_a_body_that_cancels_itself_is_errored():
    async def code(step: Step, seen):
        asyncio.current_task().cancel()
        await step.sleep(1)

    with pytest.raises(InstanceErrored, match="CancelledError"):
        await run(code)


async def test_tasks_that_a_body_leaves_behind_are_cancelled_and_named(caplog):
    async def code(step: Step, seen):
        async def left():
            try:
                await step.wait_for_event("never")
            except asyncio.CancelledError:
                seen.append("cancelled")
                await step.do(doubles, 1)  # as with asyncio.run: who catches it is waited for
                seen.append("cleaned")
                raise

        task = asyncio.create_task(left(), name="lefty")
        await step.sleep(1)
        return task.get_name()

    assert await run(code) == "lefty"
    assert lives == [["cancelled", "cleaned"]]
    assert (
        "flow/f has ended while tasks of it were running (1: lefty at test_asyncio_endings.py:"
    ) in caplog.text


async def test_operations_are_taken_by_tasks_as_they_are_and_one_cancelled_before_begins_none():
    async def code(step: Step, seen):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.do(doubles, x, key=str(x))) for x in range(3)]
        seen += [task.result() for task in tasks]
        by_hand = functools.partial(asyncio.Task, loop=asyncio.get_running_loop())
        seen.append(await by_hand(step.do(doubles, 4)))
        for make in (asyncio.ensure_future, asyncio.create_task, by_hand):
            task = make(step.do(doubles, 9))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with step.move_on_after(0) as scope:
            scope.cancel()
            await step.gather(step.sleep(1), step.do(doubles, 3))
        return "done"

    assert await replayed(code) == "done"
    assert lives[-1] == [0, 2, 4, 8]
    assert 9 not in ran


async def test_a_deadline_in_a_callback_is_an_error_there_and_nowhere_else(caplog):
    async def code(step: Step, seen):
        def callback() -> None:
            with step.move_on_after(1):
                pass

        asyncio.get_running_loop().call_soon(callback)
        await step.sleep(2)
        return "done"

    assert await run(code) == "done"
    assert (
        "RuntimeError: a deadline needs a task to cancel, and this is the code of a callback"
    ) in caplog.text


async def test_an_error_that_nobody_awaits_is_logged_with_its_instance(caplog):
    async def code(step: Step, seen):
        async def breaks():
            raise LookupError("dropped")

        task = asyncio.create_task(breaks())
        await step.sleep(1)
        del task
        return "done"

    async with open_test_engine(workflows=[flow(code)]) as engine:
        assert await engine.call("flow", id="f") == "done"
    gc.collect()
    assert "exception was never retrieved" in caplog.text
    assert "LookupError: dropped" in caplog.text


async def test_i8_a_cancelled_task_gives_its_operations_up():
    async def code(step: Step, seen):
        async def waits():
            return await step.wait_for_event("go", name="first")

        async def runs():
            await step.do(hangs)

        first, second = asyncio.create_task(waits()), asyncio.create_task(runs())
        await step.wait_for_event("now")
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        seen += [first.cancelled(), second.cancelled()]
        return (await step.wait_for_event("go")).payload  # the withdrawn wait took nothing

    async def hangs() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ran.append("cancelled")

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await trio.testing.wait_all_tasks_blocked()
        await instance.send_event("now")
        await instance.wait_for_status("waiting")
        assert ran == ["cancelled"]
        await engine.crash()
        await instance.send_event("go", 5)
        assert await instance.result() == 5
    assert lives == [[True, True], [True, True]]


async def test_an_awaited_step_that_was_cancelled_beside_its_outcome_replays():
    """The same turn wakes a task and has it cancelled: what it was told is lost to it, in every
    life."""

    async def code(step: Step, seen):
        event = asyncio.Event()

        async def sleeps():
            await step.sleep(1)
            event.set()

        async def waits():
            await event.wait()
            seen.append("not here")

        other = asyncio.create_task(waits())
        await step.gather(sleeps(), cancels(step, other))
        seen.append(other.cancelled())

    async def cancels(step: Step, other):
        await step.sleep(1)
        other.cancel()

    await replayed(code)


# Unwinding.


async def test_p1_a_task_that_swallows_its_cancellation_stays_resident_and_explain_says_so():
    told: list[asyncio.Event] = []

    async def code(step: Step, seen):
        told.append(asyncio.Event())
        while True:
            try:
                return (await step.wait_for_event("go")).payload
            except asyncio.CancelledError:
                while not told[0].is_set():
                    with suppress(asyncio.CancelledError):
                        await told[0].wait()  # resists

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        await engine.clock.advance("5 seconds")
        assert engine.statistics().resident == 1
        await instance.send_event("go", "gone")
        await trio.testing.wait_all_tasks_blocked()
        assert len(lives) == 1  # no second body beside the first
        text = str(await instance.explain())
        assert (
            "Its body was cancelled 6 s ago and has not ended; it stands at "
            f"{line_of(__file__, 'resists')}"
        ) in text
        assert "let CancelledError pass" in text
        told[0].set()
        await trio.testing.wait_all_tasks_blocked()
        assert engine.statistics().resident == 1  # it waits for the event again, and begins nothing
        assert len(lives) == 1


@pytest.mark.parametrize("how", ["begins again", "waits", "spins"])
@pytest.mark.parametrize("end", ["close", "crash", "park"])
async def test_p1_nothing_hangs_with_a_body_that_never_ends(how, end, monkeypatch):
    monkeypatch.setattr(unwinding, "RESISTS_MAX", 0.01)

    async def code(step: Step, seen):
        event = asyncio.Event()
        while True:
            try:
                await step.wait_for_event("go")
            except asyncio.CancelledError:
                while how != "begins again":
                    try:
                        await (event.wait() if how == "waits" else asyncio.sleep(0))
                    except asyncio.CancelledError:
                        seen.append("again")

    async def other(step: Step, seen):
        return await step.do(doubles, 1)

    async with open_test_engine(
        workflows=[flow(code), flow(other, "other")], autojump=False
    ) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        if end == "crash":
            await engine.crash()
        elif end == "park":
            await engine.clock.advance("11 seconds")
            assert engine.statistics().resident == 1
        assert await engine.call("other") == 2


async def test_p1_nobody_takes_a_body_that_unwinds_for_one_that_went_on():
    """Every task is cancelled, those too that only wait for other tasks."""

    async def waits(step: Step, n: int) -> None:
        await step.wait_for_event("go", name=str(n))

    async def code(step: Step, seen):
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(2):
                    group.create_task(waits(step, n))
                await asyncio.gather(waits(step, 2), waits(step, 3), return_exceptions=True)
                seen.append("gathered")
            seen.append("the group is done")
        finally:
            with suppress(asyncio.CancelledError), step.fail_after(1):
                await step.sleep(2)
            seen.append("left")

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        assert engine.statistics().resident == 0
    assert lives == [["left"]]


async def test_p1_a_body_that_is_busy_while_it_unwinds_may_take_its_time():
    async def code(step: Step, seen):
        async def spins() -> None:
            try:
                while True:
                    await asyncio.sleep(0)
            finally:
                for _ in range(90):
                    await asyncio.sleep(0)
                seen.append("unwound")

        async def breaks() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(1)

        await step.do(doubles, 1)
        await step.gather(spins(), breaks())

    reason, _ = await blocked(code)
    assert reason == "foreign_wait"
    assert lives == [["unwound"]]


async def test_p1_no_step_begins_while_a_body_unwinds():
    async def code(step: Step, seen):
        try:
            await step.gather(
                step.wait_for_event("go"),
                asyncio.shield(asyncio.ensure_future(asyncio.Event().wait())),
            )
        finally:
            for _ in range(2):
                with suppress(asyncio.CancelledError):
                    seen.append(await step.do(doubles, 1))
            with suppress(asyncio.CancelledError):
                seen.append(await step.gather(step.do(doubles, 2), step.map(doubles, [3])))
            seen.append("ended")

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        assert engine.statistics().resident == 0
    assert lives == [["ended"]]
    assert ran == []


async def test_l14_a_body_that_would_begin_something_while_draining_waits_and_then_unwinds():
    gates = [trio.Event(), trio.Event()]

    async def waits(which: int) -> None:
        await gates[which].wait()

    async def code(step: Step, seen):
        async def second():
            await step.do(waits, 0, name="first")
            seen.append("went on")
            try:
                await step.do(doubles, 1)
            except asyncio.CancelledError:
                seen.append("cancelled")
            return "swallowed"

        return await step.gather(second(), step.do(waits, 1, name="second"))

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain)
            await trio.testing.wait_all_tasks_blocked()
            gates[0].set()
            while lives == [[]]:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert lives == [["went on"]]
            gates[1].set()
        assert lives == [["went on", "cancelled"]]
        assert engine.peek("flow", instance.id) == "running"
    assert ran == []


async def test_r7_ctrl_c_in_a_body_stops_the_engine():
    async def code(step: Step, seen):
        async def strikes():
            raise KeyboardInterrupt

        await step.gather(strikes(), step.wait_for_event("never"))

    with pytest.raises(KeyboardInterrupt):
        async with open_test_engine(workflows=[flow(code)]) as engine:
            await engine.call("flow")


class Big:
    """Something that a body holds."""


@pytest.mark.parametrize("how", ["ends", "is parked"])
async def test_p2_a_body_that_leaves_memory_is_freed_at_once(how):
    made: list[weakref.ref] = []

    async def code(step: Step, seen):
        big = Big()
        made.append(weakref.ref(big))
        await step.gather(step.do(doubles, 1), step.wait_for_event("go"))
        with step.move_on_after(1):
            await step.map(doubles, [1, 2])
        return type(big).__name__

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow")
        await instance.wait_for_status("waiting")
        gc.collect()
        gc.disable()
        try:
            if how == "ends":
                await instance.send_event("go")
                assert await instance.result() == "Big"
            else:
                await engine.clock.advance("11 seconds")
            await trio.testing.wait_all_tasks_blocked()
            assert engine.statistics().resident == 0
            assert made[0]() is None
        finally:
            gc.enable()
