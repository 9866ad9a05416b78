"""Python's `sqlite3` in the engine's process. The proof in small: 30 runs; `python -m
tests.intruder` runs any number."""

import random
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stepwell import Engine, Step, workflow

ROOT = Path(__file__).parent.parent


@workflow
async def nothing(step: Step) -> None:
    pass


def may_fold(connection: sqlite3.Connection, mode: str) -> bool:
    """Asks for a checkpoint; a refusal is said in one of two ways."""
    try:
        busy, _, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    except sqlite3.OperationalError:
        return False
    return not busy


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
async def test_d1_nobody_else_folds_the_wal_or_deletes_it_while_the_engine_is_open(tmp_path, mode):
    path = tmp_path / "store.db"
    wal = tmp_path / "store.db-wal"
    async with Engine(str(path), workflows=[nothing]) as engine:
        await (await engine.create(nothing)).result()
        before = wal.stat()
        with closing(sqlite3.connect(path, timeout=0)) as intruder:
            assert intruder.execute("SELECT count(*) FROM instance").fetchone() == (1,)
            assert not may_fold(intruder, mode)
        after = wal.stat()
        assert (after.st_ino, after.st_nlink, after.st_size) == (before.st_ino, 1, before.st_size)
        await (await engine.create(nothing)).result()
    with closing(sqlite3.connect(path)) as later:
        assert later.execute("SELECT count(*) FROM instance").fetchone() == (2,)
        assert may_fold(later, mode), "nobody else is there"
    assert not wal.exists()


@pytest.mark.slow
def test_d1_what_is_acknowledged_survives_whoever_closes_our_file_in_our_process(tmp_path):
    seed = random.randrange(1_000_000)
    command = [
        sys.executable,
        "-m",
        "tests.intruder",
        "--runs",
        "30",
        "--round",
        "15",
        "--seed",
        str(seed),
        "--keep",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    print(done.stdout, done.stderr)  # the seed is in it
    assert done.returncode == 0, done.stdout
    assert "30 kills" in done.stdout
    found = re.search(r"([0-9,]+) intrusions", done.stdout)
    assert found is not None, "nobody intruded"
    assert int(found[1].replace(",", "")) > 100, "hardly anybody intruded"
    assert "0 lost, 0 recorded twice, 0 attempt numbers repeated, 0 other problems" in done.stdout
