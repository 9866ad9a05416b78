"""One round: lives that end by SIGKILL at moments drawn from a seed, then one that nobody disturbs.

A third of the kills come early, while the worker opens its store and recovers, some of them several in a
row; the others while it works. Lives are forked from this process, which has imported everything and
opened nothing: that is as real as a process gets, and starts in a few milliseconds.
"""

import os
import random
import select
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from . import worker
from .checks import check
from .journal import Journal
from .report import Report

EARLY_S, WORK_S, LONG_S = (0.0, 0.06), (0.05, 0.4), (0.4, 1.0)
SHORT_MAX = 7
"""An instance that starts ten times without any outcome is poison by rule L11; so after so many short lives comes a longer one."""
LAST_LIFE_S = 120


@dataclass
class Life:
    """A worker process."""

    pid: int
    ready: int

    @classmethod
    def begin(cls, directory: Path, seed: int, *, last: bool = False, beside: worker.Beside | None = None) -> "Life":
        """Forks a worker."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            worker.live(directory, seed, writer, last=last, beside=beside)
        os.close(writer)
        return cls(pid, reader)

    def wait_until_open(self, seconds: float) -> None:
        """Returns when the engine is open, or the time is up."""
        select.select([self.ready], [], [], seconds)

    def kill(self) -> bool:
        """Kills it; returns whether it was still alive."""
        os.kill(self.pid, signal.SIGKILL)
        return self.end() == -signal.SIGKILL

    def end(self) -> int:
        """Waits for its end and returns how it ended."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.ready)
        return os.waitstatus_to_exitcode(status)

    def end_within(self, seconds: float) -> int:
        """Waits so long for its end, then kills it."""
        until = time.monotonic() + seconds
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        return self.end()


def moments(seed: int, kills: int) -> list[tuple[bool, float]]:
    """Returns when to kill: whether counted from the fork (else from the opened engine), and after how many seconds."""
    rng, found = random.Random(f"{seed}/moments"), []
    while len(found) < kills:
        if rng.random() < 0.12:
            found += [(True, rng.uniform(*EARLY_S)) for _ in range(rng.randint(1, 4))]
        else:
            long = not any(seconds > WORK_S[1] for _, seconds in found[-SHORT_MAX:])
            found.append((False, rng.uniform(*(LONG_S if long and found else WORK_S))))
    return found[:kills]


def run_round(seed: int, kills: int, keep: Path | None = None, beside: worker.Beside | None = None) -> Report:
    """Runs one round on a fresh store and checks it. The files of a round with problems go to `keep`.

    In every life but the last, `beside` runs in the process too.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"stepwell-kill-{seed}-"))
    report = Report(seed=seed)
    try:
        _run(directory, seed, kills, report, beside)
    except Exception:
        report.problem("broken", traceback.format_exc())
    if report.problems and keep is not None:
        shutil.copytree(directory, keep / f"round-{seed}", dirs_exist_ok=True)
    shutil.rmtree(directory)
    return report


def _run(directory: Path, seed: int, kills: int, report: Report, beside: worker.Beside | None) -> None:
    for from_fork, seconds in moments(seed, kills):
        life = Life.begin(directory, seed, beside=beside)
        if not from_fork:
            life.wait_until_open(30)
        time.sleep(seconds)
        if not life.kill():
            report.problem("broken", "a life ended by itself: " + _stderr(directory))
            return
        report.kills += 1
    Journal(directory / "journal").put("last")
    status = Life.begin(directory, seed, last=True).end_within(LAST_LIFE_S)
    if status != 0:
        report.problem("broken", f"the last life ended with {status}: " + _stderr(directory))
        return
    check(directory, seed, report)
    _check_integrity(directory, report)


def _stderr(directory: Path) -> str:
    path = directory / "stderr"
    return path.read_text()[-4000:] if path.exists() else "(it said nothing)"


def _check_integrity(directory: Path, report: Report) -> None:
    """Asks SQLite about a copy; the engine has closed, and the store itself is left alone."""
    with tempfile.TemporaryDirectory() as elsewhere:
        for path in directory.glob("store.db*"):
            shutil.copy(path, elsewhere)
        with closing(sqlite3.connect(Path(elsewhere) / "store.db")) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchall()
    if verdict != [("ok",)]:
        report.problem("corrupt", f"integrity_check: {verdict}")
