"""What a body had cancelled when its process died (rules I8, R3)."""

import threading
from typing import Any

import pytest
import trio

from stepwell import current_step, workflow
from stepwell.testing import open_test_engine


async def crash_and_come_back_later(engine: Any, seconds: int) -> None:
    """As a process that is killed, and not started again for a while: what was due by then is over
    when the next engine opens."""
    core = engine._driver.core

    async def reopen() -> Any:
        core.crash()
        core.jump(seconds * 1_000_000)
        return core.reopen()

    await engine._driver.reset(reopen)


@pytest.mark.parametrize("keyed", [False, True])
async def test_i8_threads_whose_deadlines_are_over_after_a_crash_are_all_in_the_history(keyed):
    """The deadlines are recorded together as the engine opens, and no body was told of any of
    them."""
    go_on, began, repaid = threading.Event(), [], []

    def charge(n: int) -> int:
        began.append(n)
        go_on.wait()
        return n

    def refund(n: int) -> None:
        repaid.append((n, current_step().attempt))

    @workflow
    async def pays(step):
        async def one(n: int) -> None:
            with step.move_on_after(10):
                await step.do(charge, n, key=f"charge {n}" if keyed else None)
            await step.do(refund, n)

        await step.each(one, range(3))
        return "x"

    async with open_test_engine(workflows=[pays], autojump=False) as engine:
        instance = await engine.create(pays, id="x")
        while len(began) < 3:
            await trio.lowlevel.checkpoint()
        await crash_and_come_back_later(engine, 20)
        assert await instance.result() == "x"
        charges = [
            (it.attempt, it.status) for it in await instance.history() if it.name == "charge"
        ]
        go_on.set()
    assert charges == [(1, "abandoned")] * 3
    assert sorted(repaid) == [(0, 1), (1, 1), (2, 1)]


async def test_i8_what_follows_a_cancelled_thread_after_a_crash_had_not_begun():
    go_on, began, gate, repaid = threading.Event(), threading.Event(), trio.Event(), []

    def charge() -> None:
        began.set()
        go_on.wait()

    async def gated() -> None:
        await gate.wait()

    def refund() -> None:
        repaid.append(current_step().attempt)

    @workflow
    async def pays(step):
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.do, charge)
            await step.do(gated)
            nursery.cancel_scope.cancel()
        await step.do(refund)

    async with open_test_engine(workflows=[pays], autojump=False) as engine:
        instance = await engine.create(pays, id="x")
        await trio.to_thread.run_sync(began.wait)
        gate.set()
        while "started" not in [it.status for it in await instance.history()]:
            await trio.lowlevel.checkpoint()
        await engine.crash()
        await instance.result()
        history = [(it.name, it.attempt, it.status) for it in await instance.history()]
        go_on.set()
    assert history == [
        ("gated", 1, "done"),
        ("charge", 1, "started"),
        ("charge", 1, "abandoned"),
        ("refund", 1, "done"),
    ]
    assert repaid == [1]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("seconds", [0, 7, 20])
async def test_i8_a_queued_thread_is_known_as_such_by_what_the_body_opened_after_it(
    mapped, seconds
):
    """The body went on in the turn that cancelled it, for it had not begun. By the time the next
    engine opens nothing of what was open is over, the deadline around all of that, or both."""
    go_on, began, charged = threading.Event(), threading.Event(), []
    gates = [trio.Event(), trio.Event()]

    def keeps_the_only_thread() -> None:
        began.set()
        go_on.wait()

    def charge(n: int) -> None:
        charged.append(n)

    async def gated(n: int) -> None:
        await gates[n].wait()

    @workflow
    async def pays(step):
        async def charges() -> None:
            await step.do(gated, 0)
            async with step.open_nursery() as inner:
                if mapped:
                    inner.start_soon(step.map, charge, [1, 2])
                else:
                    inner.start_soon(step.do, charge, 1)
                await step.do(gated, 1)
                inner.cancel_scope.cancel()
            with step.move_on_after(10):
                await step.wait_for_event("refused")

        async def in_time() -> None:
            with step.move_on_after(5):
                await charges()

        async with step.open_nursery() as nursery:
            nursery.start_soon(step.do, keeps_the_only_thread)
            nursery.start_soon(in_time)

    async with open_test_engine(workflows=[pays], autojump=False, threads=1) as engine:
        instance = await engine.create(pays, id="x")
        await trio.to_thread.run_sync(began.wait)
        for gate in gates:
            gate.set()
        while "refused" not in [it.name for it in await instance.history()]:
            await trio.lowlevel.checkpoint()
        go_on.set()
        await crash_and_come_back_later(engine, seconds)
        if not seconds:
            await instance.send_event("refused")
        assert await instance.wait_for_status("complete", "blocked") == "complete"
        history = {it.name for it in await instance.history()}
    assert charged == []
    assert "charge" not in history
