"""What the steps themselves log: one line before an attempt's work, one after it.

A line is `attempt <instance> <step> <n>`, then `done …` or `failed …`, appended by one write() to a
file opened with O_APPEND, so that lines of many threads never mix and SIGKILL tears none of them.
The engine neither writes nor reads this file: it is the second witness, and `audit` compares both.

The steps of one instance follow each other. A step's successor begins only once the step is
durable, so an attempt of a step *after* its successor began means that an acknowledged step was
lost.
"""

from __future__ import annotations

import errno
import functools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from stepwell import NonRetryableError, current_step


class Logged(Protocol):
    """What the first argument of a logged step knows."""

    @property
    def log(self) -> str:
        """Path of the log."""
        ...


J = TypeVar("J", bound=Logged)
P = ParamSpec("P")
R = TypeVar("R")

PASSING = frozenset(
    {
        errno.EINTR,
        errno.EAGAIN,
        errno.EIO,
        errno.ENFILE,
        errno.EMFILE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Errors of the operating system that may be gone at the next attempt; with any other one the step
gives up."""

_open_logs: dict[str, int] = {}
_lock = threading.Lock()
_pause = 0.0


class Problem(NonRetryableError):
    """Something about a file that another attempt would not change. The text is one line for a
    person."""


def slow_down(pause: float) -> None:
    """Makes every attempt in this process last `pause` seconds longer, so that a kill has something
    to hit."""
    global _pause  # one process, one pace
    _pause = pause


def logged(fn: Callable[Concatenate[J, P], R], /) -> Callable[Concatenate[J, P], R]:
    """Makes a step function log its attempts, and turn errors that stay into a `Problem`."""

    def attempt(job: J, /, *args: P.args, **kwargs: P.kwargs) -> R:
        step = current_step()
        who = f"{step.instance_id} {step.name}#{step.count} {step.attempt}"
        try:
            append(job.log, f"attempt {who}")
            time.sleep(_pause)
            result = fn(job, *args, **kwargs)
            append(job.log, f"done {who}")
        except OSError as error:
            _note_failure(job.log, who)
            if error.errno in PASSING:
                raise
            raise Problem(error.strerror or str(error)) from error
        except BaseException:
            _note_failure(job.log, who)
            raise
        return result

    functools.update_wrapper(attempt, fn)
    return attempt


def append(path: str, line: str) -> None:
    """Appends one line in one write().

    Raises:
        OSError: The log cannot be opened, or the disk is full.
    """
    with _lock:
        if path not in _open_logs:
            _open_logs[path] = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        file = _open_logs[path]
    data = f"{line}\n".encode()
    if os.write(file, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _note_failure(path: str, who: str) -> None:
    try:
        append(path, f"failed {who}")
    except OSError:
        return  # the attempt's own error says more


@dataclass(slots=True)
class Count:
    """What a log says.

    steps: pairs of instance and step that were attempted. attempts: attempts of them all. repeated:
    attempts beyond the first of each. lost: attempts of a step after its successor had begun.
    ended: steps that have a `done` or `failed` line.
    """

    steps: int = 0
    attempts: int = 0
    lost: int = 0
    ended: set[tuple[str, str]] = field(default_factory=set)

    @property
    def repeated(self) -> int:
        """Attempts beyond the first of each step."""
        return self.attempts - self.steps


def count(path: str, parent: str, barrier: str = "room#1") -> Count:
    """Counts a log.

    Args:
        path: The log; one that is missing is empty.
        parent: Id of the instance that waits for all the others before its step `barrier`.
        barrier: After its first attempt no other instance may attempt anything: all of them were
            acknowledged.
    """
    result = Count()
    order: dict[str, list[str]] = {}
    over = False
    for line in _lines(path):
        verb, instance, label = line
        if verb != "attempt":
            result.ended.add((instance, label))
            continue
        steps = order.setdefault(instance, [])
        if label not in steps:
            steps.append(label)
            result.steps += 1
            late = False
        else:
            late = steps[-1] != label
        result.attempts += 1
        result.lost += late or (over and instance != parent)
        over = over or (instance == parent and label == barrier)
    return result


def _lines(path: str) -> list[tuple[str, str, str]]:
    if not Path(path).exists():
        return []
    found = []
    for line in Path(path).read_text().split("\n")[:-1]:
        words = line.split(" ")
        if len(words) == 4 and words[0] in ("attempt", "done", "failed"):
            found.append((words[0], words[1], words[2]))
    return found


class Tail:
    """Follows a log and counts the steps that ended, from whichever process wrote them."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.ended = 0
        self._offset = 0

    def follow(self, path: str) -> None:
        """Starts at the end of another log; the same one goes on."""
        if path != self.path:
            self.path, self._offset, self.ended = path, 0, 0
            if Path(path).exists():
                self._offset = Path(path).stat().st_size

    def poll(self) -> int:
        """Returns how many steps have ended since `follow`."""
        if self.path is not None and Path(self.path).exists():
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
            data = data[: data.rfind(b"\n") + 1]
            self._offset += len(data)
            self.ended += sum(line.startswith(b"done ") for line in data.split(b"\n"))
        return self.ended
