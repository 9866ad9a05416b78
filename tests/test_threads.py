"""Threads of plain steps: what an attempt borrows of its engine comes back, however the attempt
ends (rules R1, R5, I8, L14, T3)."""

import threading

import pytest
import trio
import trio.testing

from stepwell import InstanceErrored, Retry, StepFailed, workflow
from stepwell._core import DEADLINE, OK
from stepwell._ending import End
from stepwell.testing import open_test_engine

seen: list = []
gate = threading.Event()


@pytest.fixture(autouse=True)
def _fresh():
    seen.clear()
    gate.clear()
    yield
    gate.set()


def plain(x=None):
    seen.append(x)
    return x


def blocks() -> str:
    seen.append("blocks")
    gate.wait(20)
    return "let go"


def fails_at_three(k: int) -> int:
    if k == 3:
        raise ValueError("404")
    return k


async def until(condition) -> None:
    while not condition():
        await trio.lowlevel.checkpoint()


class Strikes(trio.abc.Instrument):
    """Does something right before the nth step of the tasks in which attempts are made."""

    def __init__(self, moment: int, strike) -> None:
        self.left = moment
        self.strike = strike

    def before_task_step(self, task) -> None:
        if task.name.endswith(("StepOperation._in_own_task", "Runner.run")):
            self.left -= 1
            if not self.left:
                self.strike()


MOMENTS = range(1, 12)
"""From before the attempt's first step until after its thread has ended; more is never reached."""


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_i8_a_plain_step_that_is_cancelled_at_any_moment_gives_its_thread_back(
    runtime, moment
):
    @workflow(runtime=runtime)
    async def one(step):
        with step.move_on_after("1 hour"):
            await step.do(plain, 1)
        return await step.do(plain, 2)

    async with open_test_engine(workflows=[one], threads=1) as engine:
        driver = engine._driver

        def deadline_passes():
            for runner in driver.runners.values():
                for operation in list(runner.delivery.open.values()):
                    if operation.identity[0] == DEADLINE:
                        operation.settle(
                            OK, None, None, driver.now(), runner.delivery.cursor.seq + 1
                        )

        trio.lowlevel.add_instrument(strikes := Strikes(moment, deadline_passes))
        assert await engine.call(one) == 2
        trio.lowlevel.remove_instrument(strikes)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_p1_a_body_that_unwinds_at_any_moment_gives_its_thread_back(nested, moment):
    @workflow
    async def one(step):
        if nested:
            async with step.open_nursery() as nursery:
                nursery.start_soon(step.do, plain, 1)
        else:
            await step.do(plain, 1)
        return await step.do(plain, 2)

    async with open_test_engine(workflows=[one], threads=1) as engine:
        driver = engine._driver
        trio.lowlevel.add_instrument(
            strikes := Strikes(moment, lambda: driver.unwind_all(End.CRASHED))
        )
        instance = await engine.create(one)
        await engine.clock.settled()
        trio.lowlevel.remove_instrument(strikes)
        await engine.crash()
        assert await instance.result() == 2


async def test_i8_maps_that_fail_leave_every_thread_and_every_slot_to_those_that_come_after():
    @workflow
    async def crawls(step):
        try:
            await step.map(fails_at_three, range(30), concurrency=8, retry=Retry.never)
        except StepFailed:
            return await step.do(plain, "done")

    async with open_test_engine(workflows=[crawls], threads=2, slots=3) as engine:
        for _ in range(6):
            assert await engine.call(crawls) == "done"
        await engine.clock.settled()
        assert engine.statistics().leased == 0


async def test_l14_what_is_queued_for_a_thread_does_not_begin_while_the_engine_drains():
    @workflow
    async def one(step, fn):
        return await step.do({"blocks": blocks, "plain": plain}[fn], retry=Retry.never)

    async with open_test_engine(workflows=[one], threads=1, autojump=False) as engine:
        await engine.create(one, "blocks")
        await until(lambda: "blocks" in seen)
        await engine.create(one, "plain")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain, "1 hour")
            await trio.testing.wait_all_tasks_blocked()
            gate.set()  # its thread is free then, and the drain waits for nothing more
    assert seen == ["blocks"]


async def test_r1_the_time_for_which_a_step_is_queued_for_a_thread_is_not_its_own():
    @workflow
    async def one(step, fn):
        try:
            return await step.do(
                {"blocks": blocks, "plain": plain}[fn], retry=Retry.never, timeout="1 minute"
            )
        except TimeoutError:
            return "timed out"

    async with open_test_engine(workflows=[one], threads=1, autojump=False) as engine:
        first = await engine.create(one, "blocks")
        await until(lambda: "blocks" in seen)
        second = await engine.create(one, "plain")
        await trio.testing.wait_all_tasks_blocked()
        core = engine._driver.core
        core.advance(core.now() + 90_000_000)
        assert await first.result() == "timed out"
        gate.set()
        assert await second.result() is None


async def test_t3_time_does_not_jump_while_a_thread_runs_that_nobody_waits_for_any_more():
    @workflow
    async def one(step):
        try:
            await step.do(blocks, retry=Retry.never, timeout="1 minute")
        except TimeoutError:
            await step.sleep("1 hour", name="after")
        return step.now()

    async with open_test_engine(workflows=[one]) as engine:
        began, instance = engine.clock.now(), await engine.create(one)
        await until(lambda: "blocks" in seen)
        core = engine._driver.core
        core.advance(core.now() + 60_000_000)
        await until(lambda: not engine._driver.borrowed.attempts)
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked()
        assert (engine.clock.now() - began).total_seconds() == 60
        gate.set()
        assert (await instance.result() - began).total_seconds() == 3660


@pytest.fixture
def no_threads(monkeypatch):
    """The machine starts no thread for a step as long as there is something in the list."""
    start, refusals = trio._threads.start_thread_soon, []

    def refuses(fn, deliver, name=None):
        if refusals and name.startswith("step "):
            raise RuntimeError(refusals.pop())
        return start(fn, deliver, name)

    monkeypatch.setattr(trio._threads, "start_thread_soon", refuses)
    return refusals


@pytest.mark.parametrize("on_interrupt", ["retry", "fail"])
async def test_a_thread_that_cannot_be_started_fails_the_attempt_which_is_made_again(
    no_threads, on_interrupt
):
    @workflow
    async def one(step):
        return await step.do(
            plain, "done", retry=Retry(limit=3, retry_on=LookupError), on_interrupt=on_interrupt
        )

    no_threads += ["can't start new thread"] * 3
    async with open_test_engine(workflows=[one], threads=1) as engine:
        instance = await engine.create(one, id="i")
        assert await instance.result() == "done"
        failed = [
            record.error.message
            for record in await instance.history()
            if record.status == "attempt_failed"
        ]
    assert len(failed) == 3
    assert all(
        'no thread for step "plain" of one/i: can\'t start new thread' in text and "ulimit" in text
        for text in failed
    )


async def test_a_step_that_never_gets_a_thread_fails_as_any_step_and_keeps_nothing(no_threads):
    @workflow
    async def one(step):
        return await step.do(plain, retry=Retry.never)

    no_threads += ["can't start new thread"]
    async with open_test_engine(workflows=[one], threads=1) as engine:
        with pytest.raises(InstanceErrored, match="no thread for step"):
            await engine.call(one)
        assert await engine.call(one) is None


async def test_at_rest_whatever_is_missing_is_told():
    async with open_test_engine() as engine:
        borrowed = engine._driver.borrowed
        for begin, end, text in (
            (borrowed.begin, borrowed.end, "1 attempts are counted"),
            (lambda: borrowed.held.add(7), lambda: borrowed.held.remove(7), r"\[7\] ended"),
            (
                lambda: borrowed.slots.acquire_on_behalf_of_nowait("nobody"),
                lambda: borrowed.slots.release_on_behalf_of("nobody"),
                "slot",
            ),
        ):
            begin()
            with pytest.raises(AssertionError, match=text):
                borrowed.check()
            end()
        borrowed.check()
