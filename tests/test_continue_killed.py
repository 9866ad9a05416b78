"""kill -9 around `continue_as_new` (L15): whenever the process dies, every run begins once, no
event is lost and none is told twice, and what one run hands to the next is what it had."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from moments import AtStep

from stepwell import Engine, Step, workflow

RUNS, EVENTS, KILLS = 4, 12, 16


@workflow(timeout="1 day")
async def loops(step: Step, state: dict[str, Any]) -> dict[str, Any]:
    """Each run hears of some events in a branch, and goes on as new when it is told to."""
    seen = list(state["seen"])

    async def listen() -> None:
        while True:
            seen.append((await step.wait_for_event("x")).payload)

    await step.do(int, name="work")
    if state["run"] < RUNS:
        async with step.open_nursery() as nursery:
            nursery.start_soon(listen)
            await step.wait_for_event("tick")
            await step.continue_as_new({"run": state["run"] + 1, "seen": seen})
    while len(seen) < EVENTS:
        seen.append((await step.wait_for_event("x")).payload)
    return {"run": state["run"], "seen": seen}


async def child(store: str, k: str) -> None:
    """Goes on with what is there, and dies at its k-th moment."""
    strike = AtStep(int(k), lambda: os.kill(os.getpid(), signal.SIGKILL))
    async with Engine(store, workflows=[loops]) as engine:
        trio.lowlevel.add_instrument(strike)
        instance = await engine.create(loops, {"run": 1, "seen": []}, id="a", if_exists="return")
        for number in range(EVENTS):
            if (await instance.status()).status.is_final:
                break
            await instance.send_event("x", number, dedup_id=f"x{number}")
            if number % (EVENTS // RUNS) == 1:
                await instance.send_event("tick", dedup_id=f"t{number}")
        await instance.result()


@pytest.mark.slow
async def test_l15_whenever_the_process_is_killed_every_run_begins_once(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    dice, store, killed = random.Random(seed), tmp_path / "s.db", 0
    for _ in range(KILLS):
        command = [sys.executable, __file__, str(store), str(dice.randint(1, 160))]
        done = await trio.run_process(command, check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        killed += done.returncode != 0
        if not done.returncode:
            await _right(store)
            for left in tmp_path.glob("s.db*"):
                left.unlink()
    assert killed > KILLS // 2, "it was killed"
    command = [sys.executable, __file__, str(store), str(1 << 60)]
    subprocess.run(command, check=True)
    await _right(store)


async def _right(store: Path) -> None:
    async with Engine(store, workflows=[loops]) as engine:
        instance = await engine.get(loops, "a")
        assert await instance.result() == {"run": RUNS, "seen": list(range(EVENTS))}
        lines = await instance.history()
        assert (lines[0].kind, lines[0].count) == ("continue_as_new", RUNS)
        done = [it for it in lines if it.kind == "do" and it.status == "done"]
        assert len(done) == 1, "an attempt that a kill cut short has a line as well"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    trio.run(child, *sys.argv[1:])
