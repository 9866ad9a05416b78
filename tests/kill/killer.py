"""One round: lives that end by SIGKILL at moments drawn from a seed, or in order, then one that
nobody disturbs.

A third of the kills come early, while the worker opens its store and recovers, some of them several
in a row; the others while it works. Between them lives are told to end by SIGTERM or SIGINT,
sometimes twice, or leave the engine's block, several in a row; some of them are killed while they
drain. Lives are forked from this process, which has imported everything and opened nothing: that is
as real as a process gets, and starts in a few milliseconds.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from . import worker
from .checks import check
from .journal import Journal
from .report import Report

EARLY_S, WORK_S, LONG_S, DRAIN_S = (0.0, 0.06), (0.05, 0.4), (0.4, 1.0), (0.0, 0.1)
SHORT_MAX = 7
"""An instance that starts ten times without any outcome is poison by rule L11; so after so many
short lives comes a longer one."""
LAST_LIFE_S = 120
ENDS_S = 20
"""In which a life has ended that was told to; it takes its grace, and some hundredths of a
second."""


@dataclass
class Life:
    """A worker process."""

    pid: int
    ready: int

    @classmethod
    def begin(
        cls, directory: Path, seed: int, plan: worker.Plan, beside: worker.Beside | None = None
    ) -> "Life":
        """Forks a worker."""
        reader, writer = os.pipe()
        # Python swallows what strikes while it forks; the worker lets it in
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                worker.live(directory, seed, writer, plan, beside)
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
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


class Death(NamedTuple):
    """How one life ends."""

    early: bool
    """Whether its time counts from the fork, else from the opened engine."""
    seconds: float
    plan: worker.Plan = worker.Plan()
    signal: int = signal.SIGKILL
    """What it is sent; 0: nothing, it leaves by itself."""
    again: int = 0
    """A second signal, SIGKILL perhaps, while it drains; 0: none."""
    after: float = 0


def deaths(seed: int, kills: int, *, orderly: bool) -> list[Death]:
    """Returns how the lives end: so many by a kill and nothing else, and between them, if those are
    wanted, some in order."""
    rng, found, left = random.Random(f"{seed}/moments"), list[Death](), kills
    while left:
        if orderly and rng.random() < 0.3:
            found += [_in_order(rng) for _ in range(rng.randint(1, 3))]
        elif rng.random() < 0.12:
            found += [
                Death(True, rng.uniform(*EARLY_S), _plan(rng, orderly))
                for _ in range(min(left, rng.randint(1, 4)))
            ]
        else:
            long = not any(death.seconds > WORK_S[1] for death in found[-SHORT_MAX:])
            found.append(
                Death(
                    False, rng.uniform(*(LONG_S if long and found else WORK_S)), _plan(rng, orderly)
                )
            )
        left = kills - sum(death.signal == signal.SIGKILL for death in found)
    return found


def _plan(rng: random.Random, orderly: bool) -> worker.Plan:
    if not orderly:
        return worker.Plan()
    front: worker.Front = rng.choice(("trio", "trio", "run", "aio", "sync"))
    return worker.Plan(front, cut_short=rng.uniform(0, 0.04) if rng.random() < 0.25 else None)


def _in_order(rng: random.Random) -> Death:
    plan, early, seconds = _plan(rng, True), rng.random() < 0.2, rng.uniform(*WORK_S)
    if rng.random() < 0.4:
        return Death(
            False,
            0,
            replace(plan, leaves_after=seconds),
            0,
            rng.choice((0, 0, signal.SIGKILL)),
            seconds + rng.uniform(0, 0.1),
        )
    sent = rng.choice((signal.SIGINT, signal.SIGTERM)) if plan.front == "run" else signal.SIGINT
    return Death(
        early,
        rng.uniform(*EARLY_S) if early else seconds,
        plan,
        sent,
        rng.choice((0, 0, sent, signal.SIGKILL)),
        rng.uniform(0, 0.1),
    )


def run_round(
    seed: int, kills: int, keep: Path | None = None, beside: worker.Beside | None = None
) -> Report:
    """Runs one round on a fresh store and checks it. The files of a round with problems go to
    `keep`.

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


def _run(
    directory: Path, seed: int, kills: int, report: Report, beside: worker.Beside | None
) -> None:
    for death in deaths(seed, kills, orderly=beside is None):
        life = Life.begin(directory, seed, death.plan, beside)
        if not death.early:
            life.wait_until_open(30)
        time.sleep(death.seconds)
        problem = _ends(life, death, directory, report)
        if problem is not None:
            report.problem("broken", f"{problem}, {death}: {_stderr(directory)}")
            return
    Journal(directory / "journal").put("last")
    status = Life.begin(directory, seed, worker.Plan(last=True)).end_within(LAST_LIFE_S)
    if status != 0:
        report.problem("broken", f"the last life ended with {status}: " + _stderr(directory))
        return
    check(directory, seed, report)
    _check_integrity(directory, report)


def _ends(life: Life, death: Death, directory: Path, report: Report) -> str | None:
    """Ends a life. Returns what is wrong with how it ended."""
    if death.signal == signal.SIGKILL:
        report.kills += 1
        return None if life.kill() else "a life ended by itself"
    if death.signal:
        Journal(directory / "journal").put("ends", data=life.pid)
        os.kill(life.pid, death.signal)
    if death.again:
        time.sleep(death.after)
        os.kill(life.pid, death.again)
    status = life.end_within(ENDS_S)
    report.ends += status == 0
    allowed = {0, -death.again} | ({-death.signal} if death.early else set())
    return None if status in allowed else f"a life that was told to end did so with {status}"


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
