"""`explain()` of an instance that runs while its body is not in memory, or stands where no step of
it is known (L13)."""

import subprocess
import sys
import threading

import pytest
import trio

from stepwell import Retry, StepFailed, workflow
from stepwell._engine import driver
from stepwell._engine.departed import LOOKS_AT
from stepwell.testing import open_test_engine

LOCKER = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
c.execute("COMMIT")
"""
let_go = threading.Event()


class Lock:
    """Somebody else's lock on the store: while it is there, nothing becomes durable."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.holder: subprocess.Popen[str] | None = None

    def take(self) -> None:
        command = [sys.executable, "-S", "-c", LOCKER, self.store]
        self.holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "locked\n"

    def release(self) -> None:
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.communicate("\n", timeout=20)


@pytest.fixture
def lock(tmp_path):
    let_go.clear()
    there = locks["lock"] = Lock(str(tmp_path / "s.db"))
    yield there
    let_go.set()
    there.release()


locks: dict[str, Lock] = {}


async def says(instance, text: str) -> None:
    """Waits until the explanation is, or has in it, this text."""
    with trio.fail_after(20):
        while text not in str(await instance.explain()):
            await trio.sleep(0.001)


def pass_time(engine) -> None:
    """Lets attempts time out; `clock.advance` would wait for what then becomes durable."""
    engine._driver.core.advance(engine._driver.now() + 61_000_000)


def quick() -> int:
    return 1


async def hangs() -> None:
    await trio.sleep_forever()


async def waits_if(wanted: bool) -> None:
    if wanted:
        await trio.sleep_forever()


def blocks() -> None:
    let_go.wait()


@workflow
async def returns(step) -> None:
    await step.do(quick)
    locks["lock"].take()


@workflow
async def fails(step) -> None:
    await step.do(quick)
    locks["lock"].take()
    raise ValueError("broken")


@workflow
async def strays(step) -> None:
    await step.do(quick)
    locks["lock"].take()
    await trio.sleep(1)


@workflow
async def after_a_timeout(step) -> None:
    with pytest.raises(StepFailed):
        await step.do(hangs, timeout="1 minute", retry=Retry.never)
    locks["lock"].take()


@workflow
async def announces(step) -> None:
    locks["lock"].take()
    await step.do(quick, on_interrupt="fail")


ENDED = "its body has ended, and that is being recorded."
CASES = [
    (returns, ENDED, "complete"),
    (fails, ENDED, "errored"),
    (strays, "its body cannot go on, and that is being recorded.", "blocked"),
    (after_a_timeout, ENDED, "complete"),
    (announces, 'attempt 1 of "quick" is about to begin.', "complete"),
]


@pytest.mark.parametrize(("code", "text", "becomes"), CASES, ids=[case[0].name for case in CASES])
async def test_l13_what_is_not_durable_yet_is_told_as_being_recorded(lock, code, text, becomes):
    async with open_test_engine(workflows=[code], store=lock.store, autojump=False) as engine:
        instance = await engine.create(code, id="i")
        if code is after_a_timeout:
            await says(instance, "times out at")
            pass_time(engine)
        await says(instance, f"{code.name}/i is running: {text}")
        for _ in range(10):
            assert str(await instance.explain()) == f"{code.name}/i is running: {text}"
        lock.release()
        assert await instance.wait_for_status("complete", "errored", "blocked") == becomes


@workflow
async def learns(step) -> str:
    await step.do(waits_if, False)
    try:
        await step.do(waits_if, True, timeout="1 minute", retry=Retry.never)
    except StepFailed:
        await step.wait_for_event("go")


async def test_l13_a_body_that_is_replayed_to_stop_an_attempt_begins_again_once_that_is_recorded(
    lock,
):
    async with open_test_engine(workflows=[learns], store=lock.store, autojump=False) as engine:
        instance = await engine.create(learns, id="i")
        await says(instance, "times out at")
        lock.take()
        pass_time(engine)
        await says(
            instance,
            "learns/i is running: its body begins again from its history, once "
            "what it came to is recorded.",
        )
        lock.release()
        await says(instance, 'learns/i waits for event "go"')


@workflow
async def leaves_a_thread(step) -> None:
    with pytest.raises(StepFailed):
        await step.do(blocks, timeout="1 minute", retry=Retry.never)
    locks["lock"].take()


async def test_l13_a_thread_that_an_ended_body_left_is_named_beside_it(lock):
    async with open_test_engine(
        workflows=[leaves_a_thread], store=lock.store, autojump=False, grace=0
    ) as engine:
        instance = await engine.create(leaves_a_thread, id="i")
        await says(instance, "in a thread at test_explain_absent.py")
        pass_time(engine)
        await says(instance, f"and cannot be stopped; {ENDED}")
        assert ('a thread of "blocks" that nobody waits for any more runs since') in str(
            await instance.explain()
        )
        lock.release()
        assert await instance.wait_for_status("complete") == "complete"


async def test_l13_a_body_that_has_not_begun_is_about_to(monkeypatch):
    gate, run = trio.Event(), driver.Runner.run

    async def later(self, make_step) -> None:
        await gate.wait()
        await run(self, make_step)

    monkeypatch.setattr(driver.Runner, "run", later)
    async with open_test_engine(workflows=[learns], autojump=False, grace=0) as engine:
        instance = await engine.create(learns, id="i")
        for _ in range(3):
            assert str(await instance.explain()) == (
                "learns/i is running: its body is about to begin."
            )
        gate.set()
        await says(instance, "times out at")


@workflow
async def hangs_on(step) -> None:
    await step.do(hangs)


async def test_l13_of_a_burst_those_whose_turn_has_not_come_are_about_to_begin(monkeypatch):
    async with open_test_engine(workflows=[hangs_on], autojump=False, grace=0) as engine:
        monkeypatch.setattr(driver, "STARTS_AT_ONCE", 0)  # as if there were no end of those before
        instance = await engine.create(hangs_on, id="i")
        for _ in range(3):
            assert str(await instance.explain()) == (
                "hangs_on/i is running: its body is about to begin."
            )
        monkeypatch.undo()
        await says(instance, "times out at")


@workflow
async def lingers(step, gate: str) -> str:
    try:
        await step.wait_for_event("go")
    finally:
        if step.instance.id in gates:
            with trio.CancelScope(shield=True):
                await gates.pop(step.instance.id).wait()
    return "went"


gates: dict[str, trio.Event] = {}


async def test_l13_a_parked_body_that_is_woken_before_it_has_left_says_so():
    async with open_test_engine(workflows=[lingers], autojump=False) as engine:
        gate = gates["i"] = trio.Event()
        instance = await engine.create(lingers, "", id="i")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        await instance.send_event("go")
        await says(
            instance,
            "lingers/i is running: its body is leaving memory, and begins again after that.",
        )
        gate.set()
        assert await instance.result() == "went"


@workflow
async def lingers_over_a_step(step) -> None:
    try:
        await step.do(hangs)
    finally:
        with trio.CancelScope(shield=True):
            await gates["i"].wait()


async def test_l13_a_body_that_is_unwound_by_an_engine_that_drains_says_so():
    async with (
        open_test_engine(workflows=[lingers_over_a_step], autojump=False, grace=0) as engine,
        trio.open_nursery() as nursery,
    ):
        gate = gates["i"] = trio.Event()
        instance = await engine.create(lingers_over_a_step, id="i")
        await says(instance, "times out at")
        nursery.start_soon(engine.drain)
        await says(
            instance,
            "lingers_over_a_step/i is running: its body is leaving memory. The engine drains",
        )
        gate.set()


async def test_what_is_kept_of_bodies_that_have_left_is_forgotten_when_their_end_is_durable():
    @workflow(name="ends")
    async def ends(step) -> None:
        pass

    async with open_test_engine(workflows=[ends, hangs_on], grace=0) as engine:
        departed = engine._driver.departed
        for _ in range(3):
            created, _ = await engine.create_batch(ends, [None] * LOOKS_AT)
            for instance in created:
                await instance.wait_for_status("complete")
            assert len(departed) <= LOOKS_AT
        assert str(await created[0].explain()).endswith("is complete.")
        await engine.crash()
        assert len(departed) == 0
