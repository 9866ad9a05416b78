"""Undos: what a failed or terminated instance did is undone, last step first (L8)."""

from __future__ import annotations

import contextlib
import functools
from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing
from undoing import Ledger, failing

import stepwell
from stepwell import (
    InstanceErrored,
    InstanceTerminated,
    InvalidConfig,
    InvalidState,
    Retry,
    Status,
    Step,
    Undo,
    UndoContext,
    workflow,
)
from stepwell.testing import open_test_engine


async def test_l8_a_failed_body_undoes_its_steps_the_last_one_first():
    ledger = Ledger()

    @workflow
    async def trip(step: Step) -> None:
        for what in ("flight", "hotel", "car"):
            await step.do(ledger.book, what, name=what, undo=ledger.unbook)
        await step.do(ledger.book, "note")
        raise ValueError("sold out")

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip, id="t")
        with pytest.raises(InstanceErrored, match="sold out"):
            await instance.result()
        status = await instance.status()
    booked = ["flight", "hotel", "car", "note"]
    assert ledger.lines == [*booked, "uncar", "unhotel", "unflight"]
    assert (status.status, status.undo) == (
        Status.ERRORED,
        stepwell.UndoStatus("complete", None, None, 3, 3, left=("book",)),
    )
    first = ledger.told[0]
    assert (first.step.name, first.args, first.output, first.error) == (
        "car",
        ("car",),
        "car!",
        None,
    )
    assert (first.cause.type, first.cause.message) == ("ValueError", "sold out")
    assert len({it.idempotency_key for it in ledger.told}) == 3


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_l8_items_of_a_map_and_branches_are_undone_by_when_they_began(runtime: Any):
    ledger = Ledger()

    @workflow(runtime=runtime)
    async def trip(step: Step) -> None:
        await step.map(ledger.book, ["a", "b", "c"], undo=ledger.unbook)

        async def branch(what: str) -> None:
            await step.do(ledger.book, what, name=what, undo=ledger.unbook)

        await step.each(branch, ["x", "y"])
        await step.do(ledger.book, "last", undo=ledger.unbook)
        raise ValueError

    async with open_test_engine(workflows=[trip]) as engine:
        with pytest.raises(InstanceErrored):
            await engine.call(trip)
    assert ledger.lines[6:] == ["unlast", "uny", "unx", "unc", "unb", "una"]


async def test_l8_a_plain_function_and_its_undo_run_in_threads():
    lines: list[str] = []

    def charge(amount: int) -> int:
        lines.append(f"charge {amount}")
        return amount

    def refund(ctx: UndoContext) -> None:
        lines.append(f"refund {ctx.output}")

    @workflow
    async def order(step: Step) -> None:
        await step.do(charge, 5, undo=refund)
        raise ValueError

    async with open_test_engine(workflows=[order]) as engine:
        with pytest.raises(InstanceErrored):
            await engine.call(order)
    assert lines == ["charge 5", "refund 5"]


async def test_l8_failed_steps_are_undone_too_and_caught_ones_stay_in_their_place():
    ledger = Ledger()

    async def fails(what: str) -> None:
        ledger.lines.append(what)
        raise KeyError(what)

    @workflow
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        with contextlib.suppress(KeyError):
            await step.do(fails, "b", undo=ledger.unbook, retry=Retry.never)
        await step.do(fails, "c", undo=ledger.unbook, retry=Retry(limit=1))

    async with open_test_engine(workflows=[trip]) as engine:
        with pytest.raises(InstanceErrored):
            await engine.call(trip)
    assert ledger.lines == ["a", "b", "c", "c", "unc", "unb", "una"]
    assert [isinstance(it.error, KeyError) for it in ledger.told] == [True, True, False]
    assert ledger.told[0].cause.step == "fails"


async def test_l8_an_undo_is_tried_again_and_the_first_that_gives_up_ends_it():
    ledger = Ledger()
    tries: list[int] = []

    async def stubborn(ctx: UndoContext) -> None:
        tries.append(1)
        raise OSError("no route")

    async def hesitant(ctx: UndoContext) -> None:
        tries.append(2)
        if tries.count(2) < 3:
            raise OSError("not yet")

    @workflow
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", name="a", undo=ledger.unbook)
        await step.do(ledger.book, "b", name="b", undo=Undo(stubborn, retry=Retry(limit=2)))
        await step.do(ledger.book, "c", name="c", undo=hesitant)
        raise ValueError("sold out")

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        with pytest.raises(InstanceErrored, match="sold out"):
            await instance.result()
        status = await instance.status()
        told = str(await instance.explain())
        history = [
            (it.kind, it.name, it.status) for it in await instance.history() if it.kind == "undo"
        ]
    assert tries == [2, 2, 2, 1, 1, 1]
    assert ledger.lines == ["a", "b", "c"], "what began before it is not undone"
    undo = status.undo
    assert undo is not None
    assert undo.error is not None
    assert (undo.outcome, undo.step, undo.done, undo.steps) == ("failed", "b", 1, 3)
    assert (undo.error.type, undo.error.message) == ("OSError", "no route")
    assert history[-1] == ("undo", "b", "failed")
    assert 'Of its steps 1 of 3 were undone; the undo of "b" gave up (OSError: no route)' in told


async def test_l8_an_undo_that_hangs_times_out():
    begun = trio.Event()

    async def hangs(ctx: UndoContext) -> None:
        begun.set()
        await trio.sleep_forever()

    async def nothing() -> None: ...

    @workflow
    async def trip(step: Step) -> None:
        undo = Undo(hangs, retry=Retry.never, timeout="5 seconds")
        await step.do(nothing, undo=undo)
        raise ValueError

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        instance = await engine.create(trip)
        await begun.wait()
        core = engine._driver.core
        core.advance(core.now() + 5_000_000)  # `clock.advance` waits for attempts that run
        await instance.wait_for_status("errored")
        undo = (await instance.status()).undo
    assert undo is not None
    assert undo.error is not None
    assert (undo.outcome, undo.error.type) == ("failed", "stepwell.StepTimeout")


async def test_l8_a_body_that_returns_undoes_nothing():
    ledger = Ledger()

    @workflow
    async def trip(step: Step) -> str:
        return await step.do(ledger.book, "a", undo=ledger.unbook)

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        assert await instance.result() == "a!"
        assert (await instance.status()).undo is None
    assert ledger.lines == ["a"]


async def test_l8_a_failure_that_blocks_undoes_nothing_until_it_is_terminated():
    ledger = Ledger()

    @workflow(on_error="blocked")
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        raise ValueError

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        await instance.wait_for_status("blocked")
        assert ledger.lines == ["a"]
        await instance.terminate(undo=True)
        await instance.wait_for_status("terminated")
    assert ledger.lines == ["a", "una"]


# Terminated by somebody.


@pytest.mark.parametrize("state", ["waiting", "parked", "paused", "retrying", "queued"])
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_l8_whoever_rests_is_replayed_and_undone(state: str, runtime: Any):
    ledger = Ledger()

    async def fails() -> None:
        raise OSError

    @workflow(runtime=runtime, concurrency=1)
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        if state == "retrying":
            await step.do(fails, undo=lambda ctx: ledger.lines.append("unfails"))
        await step.wait_for_event("go")
        await step.do(ledger.book, "never", undo=ledger.unbook)

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        instance = await engine.create(trip)
        await instance.wait_for_status("waiting")
        other = None
        if state == "parked":
            await engine.clock.advance("1 hour")
        elif state == "paused":
            await instance.pause()
        elif state == "queued":
            other = await engine.create(trip)
            with trio.fail_after(5):
                while (await other.status()).status is not Status.WAITING:
                    await trio.lowlevel.checkpoint()
        await instance.terminate(undo=True)
        with pytest.raises(InstanceTerminated):
            await instance.result()
        undo = (await instance.status()).undo
        assert undo is not None
        assert undo.outcome == "complete"
    expected = ["a"] + ["a"] * (other is not None)
    expected += ["unfails"] * (state == "retrying") + ["una"]
    assert ledger.lines == expected


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_l8_an_attempt_that_runs_is_cancelled_and_then_undone(runtime: Any):
    ledger = Ledger()
    running = trio.Event()

    async def hangs(what: str) -> None:
        running.set()
        try:
            await trio.sleep_forever()
        finally:
            ledger.lines.append("left")

    @workflow(runtime=runtime)
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        await step.do(hangs, "b", undo=ledger.unbook, runtime="trio")
        await step.do(ledger.book, "never", undo=ledger.unbook)

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        await running.wait()
        await instance.terminate(undo=True)
        await instance.wait_for_status("terminated")
    assert ledger.lines == ["a", "left", "unb", "una"]
    assert type(ledger.told[0].error) is stepwell.Interrupted
    assert ledger.told[0].cause.type == "stepwell.InstanceTerminated"


@pytest.mark.parametrize("many", [False, True])
async def test_l8_a_thread_is_waited_for_and_its_undo_is_told_what_it_came_to(many: bool):
    import threading

    begun, goes = trio.Event(), threading.Event()
    lines: list[Any] = []

    def charge(amount: int) -> int:
        trio.from_thread.run_sync(begun.set)
        goes.wait()
        lines.append("charged")
        return amount

    async def refund(ctx: UndoContext) -> None:
        lines.append((ctx.output, ctx.error))

    @workflow
    async def order(step: Step) -> None:
        if many:
            await step.map(charge, [5], undo=refund)
        else:
            await step.do(charge, 5, undo=refund)

    async with open_test_engine(workflows=[order]) as engine:
        instance = await engine.create(order)
        await begun.wait()
        await instance.terminate(undo=True)
        status = await instance.status()
        assert (status.status, lines) == (Status.RUNNING, [])
        assert status.undo is not None
        assert status.undo.outcome == "running"
        goes.set()
        await instance.wait_for_status("terminated")
    assert lines == ["charged", (5, None)]


async def test_l8_one_that_never_ran_has_nothing_to_undo():
    @workflow
    async def trip(step: Step) -> None: ...

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        later = engine.clock.now() + timedelta(days=1)
        instance = await engine.create(trip, start_at=later)
        await instance.terminate(undo=True)
        status = await instance.status()
        assert status.status is Status.TERMINATED
        assert status.undo is not None
        assert status.undo.outcome == "complete"
        with pytest.raises(InvalidState):
            await instance.terminate(undo=True)


async def test_l8_meanwhile_nobody_pauses_or_restarts_it_and_delete_works():
    begun = trio.Event()

    async def nothing() -> None: ...

    async def hangs(ctx: UndoContext) -> None:
        begun.set()
        await trio.sleep_forever()

    @workflow
    async def trip(step: Step) -> None:
        await step.do(nothing, undo=hangs)
        raise ValueError

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip, id="t")
        await begun.wait()
        before = await instance.status()
        await instance.pause()
        await instance.resume()
        await instance.terminate(undo=True)
        await instance.send_event("x")
        after = await instance.status()
        assert (after.status, after.undo) == (before.status, before.undo)
        assert after.undo is not None
        assert (after.status, after.undo.step) == (Status.RUNNING, "nothing")
        with pytest.raises(InvalidState):
            await instance.restart()
        told = await instance.explain()
        assert 'attempt 1 of the undo of "nothing" runs' in told.text
        assert told.text.endswith("It undoes its steps, 0 of 1 so far, and ends then.")
        await instance.delete()
        with pytest.raises(stepwell.InstanceNotFound):
            await instance.status()


async def test_l8_terminated_without_more_words_it_ends_at_once():
    begun = trio.Event()

    async def nothing() -> None: ...

    async def hangs(ctx: UndoContext) -> None:
        begun.set()
        await trio.sleep_forever()

    @workflow
    async def trip(step: Step) -> None:
        await step.do(nothing, undo=hangs)
        raise ValueError

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        await begun.wait()
        await instance.terminate()
        with pytest.raises(InstanceTerminated):
            await instance.result()
        undo = (await instance.status()).undo
        assert undo is not None
        assert (undo.outcome, undo.step) == ("failed", "nothing")


async def test_l8_many_are_terminated_so_and_called_children_with_their_parents():
    ledger = Ledger()

    @workflow
    async def child(step: Step) -> None:
        await step.do(ledger.book, "child", undo=ledger.unbook)
        await step.sleep("1 day")

    @workflow
    async def parent(step: Step) -> None:
        await step.do(ledger.book, "parent", undo=ledger.unbook)
        await step.call(child)

    async with open_test_engine(workflows=[parent, child], autojump=False) as engine:
        instances = [await engine.create(parent) for _ in range(2)]
        with trio.fail_after(5):
            while (await engine.count(child))[Status.WAITING] < 2:
                await trio.lowlevel.checkpoint()
        result = await engine.terminate(parent, undo=True, status="all")
        assert result.done == 2
        for instance in instances:
            await instance.wait_for_status("terminated")
        with trio.fail_after(5):
            while (await engine.count(child))[Status.TERMINATED] < 2:
                await trio.lowlevel.checkpoint()
    assert sorted(ledger.lines[4:]) == ["unchild", "unchild", "unparent", "unparent"]


async def test_l8_a_called_child_undoes_its_steps_although_its_parent_has_ended():
    ledger, held = Ledger(), trio.Event()

    async def late(ctx: UndoContext) -> None:
        await held.wait()
        await ledger.unbook(ctx)

    @workflow
    async def child(step: Step) -> None:
        await step.do(ledger.book, "child", undo=late)
        await step.sleep("1 day")

    @workflow
    async def parent(step: Step) -> None:
        await step.call(child, id="c")

    async with open_test_engine(workflows=[parent, child], autojump=False) as engine:
        caller = await engine.create(parent)
        with trio.fail_after(5):
            while (await engine.count(child))[Status.WAITING] < 1:
                await trio.lowlevel.checkpoint()
        await caller.terminate(undo=True)
        await caller.wait_for_status("terminated")
        instance = await engine.get(child, "c")
        undo = (await instance.status()).undo
        assert undo is not None
        assert undo.outcome == "running"
        held.set()
        await instance.wait_for_status("terminated")
        undo = (await instance.status()).undo
        assert undo is not None
        assert (undo.outcome, ledger.lines) == ("complete", ["child", "unchild"])


async def test_l8_a_step_that_fails_in_the_moment_in_which_it_is_terminated_is_undone():
    """Its body says that it only waits for the next attempt, and does not know yet."""
    ledger, runs, fails = Ledger(), trio.Event(), trio.Event()

    async def failing_step(what: str) -> None:
        runs.set()
        await fails.wait()
        raise ValueError(what)

    @workflow
    async def trip(step: Step) -> None:
        retry = Retry(delay="1 minute")
        await step.do(failing_step, "a", name="a", undo=ledger.unbook, retry=retry)

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        instance = await engine.create(trip)
        await runs.wait()
        fails.set()
        await instance.terminate(undo=True)
        with trio.fail_after(5):
            await instance.wait_for_status("terminated")
    assert ledger.lines == ["una"]


@pytest.mark.parametrize(("on_interrupt", "attempts"), [("retry", [1, 2]), ("fail", [1])])
async def test_l8_what_it_cut_short_runs_again_after_a_restart_if_it_may(
    on_interrupt: Any, attempts: list[int]
):
    made: list[int] = []

    async def hangs_at_first() -> None:
        made.append(stepwell.current_step().attempt)
        if len(made) == 1:
            await trio.sleep_forever()

    @workflow
    async def trip(step: Step) -> str:
        try:
            await step.do(hangs_at_first, on_interrupt=on_interrupt)
        except stepwell.StepFailed as error:
            return error.type
        return "done"

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        instance = await engine.create(trip)
        with trio.fail_after(5):
            while not made:
                await trio.lowlevel.checkpoint()
        await instance.terminate(undo=True)
        await instance.wait_for_status("terminated")
        await instance.restart(from_step="failed")
        assert await instance.result() == ("done" if len(attempts) > 1 else "stepwell.Interrupted")
        assert made == attempts


async def test_l8_one_that_is_terminated_before_it_undoes_anything_can_be_restarted():
    """Its body, replayed for the undoing, has not left yet: nothing is undone after that."""
    ledger, leaves, gate = Ledger(), list[int](), trio.Event()

    @workflow
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        try:
            await step.wait_for_event("never")
        finally:
            leaves.append(1)
            if len(leaves) == 2:
                with trio.CancelScope(shield=True):
                    await gate.wait()

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        instance = await engine.create(trip)
        await instance.wait_for_status("waiting")
        await instance.terminate(undo=True)
        with trio.fail_after(5):
            while len(leaves) < 2:
                await trio.lowlevel.checkpoint()
            await instance.terminate()
            gate.set()
            await instance.restart()
            await instance.wait_for_status("waiting")
    assert ledger.lines == ["a", "a"]


async def test_l8_a_step_that_ends_in_the_moment_in_which_it_is_terminated_is_the_last():
    """Its outcome is recorded behind the intent, and the replay for the undoing is not told it."""
    ledger = Ledger()
    runs, ends = trio.Event(), trio.Event()

    async def first() -> None:
        runs.set()
        await ends.wait()

    @workflow
    async def trip(step: Step) -> None:
        await step.do(first)
        await step.do(ledger.book, "b", name="b")

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        for _ in range(20):
            runs, ends = trio.Event(), trio.Event()
            instance = await engine.create(trip)
            await runs.wait()
            ends.set()
            await instance.terminate(undo=True)
            await instance.wait_for_status("terminated")
            undo = (await instance.status()).undo
            assert undo is not None
            assert undo.outcome == "complete"
    assert ledger.lines == []


async def test_l8_restarted_from_what_failed_it_does_anew_what_was_undone():
    ledger = Ledger()

    @workflow
    async def trip(step: Step) -> str:
        await step.do(ledger.book, "a", name="a")
        await step.do(ledger.book, "b", name="b", undo=ledger.unbook)
        await step.do(ledger.book, "c", name="c", undo=ledger.unbook)
        if ledger.lines.count("c") < 2:
            raise ValueError
        return "done"

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        await instance.wait_for_status("errored")
        with pytest.raises(InvalidConfig, match="undo"):
            await instance.restart(from_step=stepwell.StepRef("b", kind="undo"))
        await instance.restart(from_step="failed")
        assert await instance.result() == "done"
        assert (await instance.status()).undo is None
    assert ledger.lines == ["a", "b", "c", "unc", "unb", "b", "c"]


@pytest.mark.parametrize("bad", [5, int, Undo])
async def test_undo_has_to_be_a_function(bad: Any):
    async def nothing() -> None: ...

    @workflow
    async def trip(step: Step) -> None:
        await step.do(nothing, undo=bad)

    async with open_test_engine(workflows=[trip]) as engine:
        with pytest.raises(InstanceErrored, match="undo is"):
            await engine.call(trip)


@pytest.mark.parametrize("undo", ["yes", 1, None])
async def test_whether_to_undo_is_said_by_true_or_false(undo: Any):
    async with open_test_engine(workflows=[failing(Ledger(), "trio")], autojump=False) as engine:
        instance = await engine.create("trip", False)
        for terminate in (instance.terminate, functools.partial(engine.terminate, status="all")):
            with pytest.raises(InvalidConfig, match=f"undo is {undo!r}; give True or False"):
                await terminate(undo=undo)
        assert (await instance.status()).status != Status.TERMINATED
