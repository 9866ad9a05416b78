"""Who kills the process is found and blocked; everybody else goes on (rule L11)."""

import logging
import signal
import subprocess
import sys

import pytest
import trio
import trio.testing

from stepwell import Limits, Status, workflow
from stepwell.testing import open_test_engine

struck = trio.Event()
harmless: list[bool] = []


@pytest.fixture(autouse=True)
def _fresh():
    global struck
    struck = trio.Event()
    harmless.clear()


async def strikes() -> str:
    """Stands for a step that kills the process."""
    if harmless:
        return "mended"
    struck.set()
    await trio.sleep_forever()
    raise AssertionError


async def works(i: int) -> int:
    for _ in range(100):  # far longer than the guilty one needs to strike
        await trio.lowlevel.checkpoint()
    return i


@workflow
async def guilty(step):
    return await step.do(strikes)


@workflow
async def innocent(step, i: int):
    return await step.do(works, i)


@workflow
async def waits(step):
    return (await step.wait_for_event("go")).payload


async def until_it_is_found(engine, instance) -> int:
    """Crashes whenever the guilty one strikes. Returns how often."""
    global struck
    crashes = 0
    while (await instance.status()).status is not Status.BLOCKED:
        assert crashes < 30, "found within a bounded number of starts"
        await struck.wait()
        struck = trio.Event()
        await engine.crash()
        crashes += 1
    return crashes


@pytest.mark.slow
@pytest.mark.parametrize("recoveries", [2, 3, 10])
async def test_l11_of_forty_running_instances_only_the_one_that_kills_the_process_is_blocked(
    recoveries,
):
    flows, limits = [guilty, innocent, waits], Limits(recoveries=recoveries)
    async with open_test_engine(workflows=flows, limits=limits) as engine:
        patient = await engine.create(waits)
        await patient.wait_for_status("waiting")
        others = [await engine.create(innocent, i) for i in range(20)]
        killer = await engine.create(guilty, id="k")
        others += [await engine.create(innocent, i) for i in range(20, 39)]
        assert await until_it_is_found(engine, killer) == recoveries + 1
        assert [await other.result() for other in others] == list(range(39))
        blocked = (await engine.list(status="blocked")).items
        assert [(it.id, it.reason) for it in blocked] == [("k", "recoveries")]
        assert (await patient.status()).status is Status.WAITING
        await patient.send_event("go", 5)
        assert await patient.result() == 5


async def test_l11_what_is_blocked_says_how_often_it_was_started_and_goes_on_when_it_is_resumed():
    async with open_test_engine(workflows=[guilty]) as engine:
        killer = await engine.create(guilty, id="k")
        assert await until_it_is_found(engine, killer) == 11
        explanation = await killer.explain()
        assert explanation.code == "recoveries"
        for part in [
            "guilty/k is blocked",
            "started 11 times in a row",
            "stopped uncleanly",
            "Limits.recoveries allows 10",
            "resume()",
        ]:
            assert part in explanation.text
        [summary] = (await engine.list(guilty)).items
        assert (summary.error.type, summary.error.message in explanation.text) == (
            "stepwell.LimitReached",
            True,
        )
        await engine.crash()
        assert (await killer.status()).status is Status.BLOCKED
        harmless.append(True)
        await killer.resume()
        assert await killer.result() == "mended"


async def test_l11_one_that_is_held_back_says_so_and_starts_by_itself():
    async with open_test_engine(workflows=[guilty], autojump=False, grace=0) as engine:
        several = [await engine.create(guilty, id=f"k{i}") for i in range(6)]
        for _ in range(2):
            await _all_run(engine, 6)
            await engine.crash()
        await _all_run(engine, 4)
        explanation = await several[5].explain()
        assert explanation.code == "held_back"
        assert "guilty/k5 is held back" in explanation.text
        assert "starts by itself" in explanation.text
        assert (await several[5].status()).status is Status.QUEUED
        assert (await several[0].explain()).code == "running"


async def _all_run(engine, count: int) -> None:
    while engine._driver.borrowed.attempts < count:
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked(0.001)
    assert engine._driver.borrowed.attempts == count


async def test_l11_a_waiting_instance_is_never_counted():
    async with open_test_engine(
        workflows=[waits], autojump=False, limits=Limits(recoveries=1)
    ) as engine:
        patient = await engine.create(waits)
        for _ in range(12):
            await patient.wait_for_status("waiting")
            await engine.crash()
        await patient.send_event("go", 5)
        assert await patient.result() == 5


async def hangs_until_it_is_harmless() -> None:
    if not harmless:
        await trio.sleep_forever()


@workflow
async def ends(step):
    await step.do(hangs_until_it_is_harmless)


async def test_l11_one_that_ended_just_before_the_process_died_is_named(caplog):
    async with open_test_engine(workflows=[ends], autojump=False) as engine:
        for i in range(2):
            await engine.create(ends, id=f"e{i}")
        for _ in range(2):
            await _all_run(engine, 2)
            await engine.crash()
        await _all_run(engine, 2)
        harmless.append(True)
        await engine.crash()
        assert caplog.messages == []
        assert [await (await engine.get(ends, f"e{i}")).result() for i in range(2)] == [None, None]
        await engine.crash()
        assert [(it.levelno, it.message.partition(":")[0]) for it in caplog.records] == [
            (logging.WARNING, f"ends/e{i} may be what killed the process") for i in range(2)
        ]
        assert "(it is complete)" in caplog.messages[0]
        await engine.crash()
        assert len(caplog.messages) == 2


KILLS_LATER = """
import os, signal, sys, threading
import trio
from stepwell import Engine, Limits, workflow

async def strikes_later():
    threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()

@workflow
async def guilty(step):
    while True:
        await step.do(strikes_later)
        await step.do(trio.sleep, 0.001)

@workflow
async def innocent(step):
    for _ in range(10):
        await step.do(trio.sleep, 0.005)

async def main():
    flows = [innocent, guilty, innocent, innocent]
    limits = Limits(recoveries=3)
    async with Engine(sys.argv[1], workflows=[guilty, innocent], limits=limits, grace=0) as engine:
        handles = [
            await engine.create(flow, id=str(i), if_exists="return")
            for i, flow in enumerate(flows)
        ]
        print(*[await handle.wait_for_status("complete", "blocked") for handle in handles])

trio.run(main)
"""


@pytest.mark.slow
def test_l11_what_kills_the_process_a_little_later_is_blocked_and_nobody_else(tmp_path):
    """A thread that a step started kills the process 20 ms later, when other steps have begun."""
    ends = []
    while not ends or ends[-1].returncode == -signal.SIGKILL:
        assert len(ends) < 6
        command = [sys.executable, "-c", KILLS_LATER, str(tmp_path / "store.db")]
        ends.append(
            subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        )
    assert [it.returncode for it in ends] == [-signal.SIGKILL] * 4 + [0], ends
    assert ends[-1].stdout.split() == ["complete", "blocked", "complete", "complete"]


async def test_l11_one_that_is_restarted_on_trial_is_not_innocent_for_that():
    async with open_test_engine(workflows=[guilty], autojump=False, grace=0) as engine:
        instances = [await engine.create(guilty) for _ in range(10)]
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked()
            await engine.crash()
        await trio.testing.wait_all_tasks_blocked()
        counts = await engine.count()
        tried = counts["running"]
        assert 0 < tried < 10
        for instance in instances:
            if (await instance.status()).status == "running":
                await instance.restart()
        await trio.testing.wait_all_tasks_blocked()
        assert await engine.count() == counts
        await engine.crash()
        await trio.testing.wait_all_tasks_blocked()
        assert (await engine.count())["running"] <= tried
