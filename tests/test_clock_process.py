"""A real process on the system's clocks while its wall clock jumps, by libfaketime (Debian:
`libfaketime`).

Skipped where that is not there; `test_clock_jumps.py` proves the same on a virtual clock.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from stepwell import Engine, Retry, Step, workflow

ROOT = Path(__file__).parent.parent
PLACES = [
    os.environ.get("LIBFAKETIME", ""),
    *map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")),
]
LIBRARY = next((place for place in PLACES if place and Path(place).exists()), None)
NAP_S = 5
"""How long a jump may go unseen (`NAP` in rust/core/src/limits.rs)."""
GRACE_S = 3


@workflow
async def sleeps(step: Step, seconds: float) -> None:
    await step.sleep(seconds)


async def lasts() -> str:
    await trio.sleep(2)
    return "done"


@workflow
async def attempts(step: Step) -> str:
    return await step.do(lasts, timeout="1 minute", retry=Retry.never)


def jump(seconds: int) -> None:
    """Moves the wall clock of this process to so far from the true time."""
    Path(os.environ["FAKETIME_TIMESTAMP_FILE"]).write_text(f"{seconds:+d}\n")


async def program(path: str) -> None:
    """What runs under libfaketime: says what it saw, with monotonic times."""
    async with Engine(path, workflows=[sleeps, attempts]) as engine:
        ahead, back, at_work = (
            await engine.create(sleeps, 3600),
            await engine.create(sleeps, 2),
            await engine.create(attempts),
        )
        await trio.sleep(0.3)
        wall, began = time.time(), time.monotonic()
        jump(7200)
        assert time.time() - wall > 7000, "the clock does not jump"
        assert time.monotonic() - began < 60, "the monotonic clock jumps too"
        print("attempt", await at_work.result(), flush=True)
        await ahead.result()
        await back.result()
        print("ahead", time.monotonic() - began, flush=True)
        late = await engine.create(sleeps, 1)
        await trio.sleep(0.1)
        jump(-86_400)
        with trio.move_on_after(NAP_S + 2) as patience:
            await late.result()
        print("early" if not patience.cancelled_caught else "waits", flush=True)
        began = time.monotonic()
        jump(7200)
        await late.result()
        print("back", time.monotonic() - began, flush=True)


@pytest.mark.slow
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_t2_a_process_notices_jumps_within_a_nap_and_times_nothing_out(tmp_path):
    rate = tmp_path / "offset"
    rate.write_text("+0\n")
    environment = os.environ | {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(rate),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    code = (
        "import trio; from tests.test_clock_process import program; trio.run(program, "
        f"{str(tmp_path / 'store.db')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(
        line.split(" ", 1) if " " in line else (line, "") for line in done.stdout.splitlines()
    )
    assert said.keys() == {"attempt", "ahead", "waits", "back"}, done.stdout
    assert said["attempt"] == "done"
    assert float(said["ahead"]) < NAP_S + GRACE_S
    assert float(said["back"]) < NAP_S + GRACE_S
