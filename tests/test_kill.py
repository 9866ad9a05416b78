"""The crash proof in small: 100 kills of real processes under load. `python -m tests.kill` runs any
number."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_d1_a_hundred_kills_lose_nothing_and_repeat_nothing(tmp_path):
    seed = random.randrange(1_000_000)
    command = [
        sys.executable,
        "-m",
        "tests.kill",
        "--kills",
        "100",
        "--seed",
        str(seed),
        "--keep",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    print(done.stdout, done.stderr)  # the seed is in it
    assert done.returncode == 0, done.stdout
    assert "100 kills" in done.stdout
    assert "0 lost, 0 recorded twice, 0 attempt numbers repeated, 0 other problems" in done.stdout
