"""The witness: one JSON line per fact, in the order in which the facts became true.

Every line is one `write` to a file opened with O_APPEND. It is in the kernel when the call returns,
so SIGKILL cannot take it back; only a line that is being written may be torn, and then it is the
last of its life. A life therefore begins with a newline of its own. Time is the wall clock, in
microseconds.

| op | who | says |
|---|---|---|
| `boot` | worker | a life begins |
| `open` | worker | the engine is open |
| `cut` | worker | its first opening was cancelled |
| `ends` | killer, worker | this life, or that of this process, is about to end in order |
| `Q` | driver | `status()` has returned, and with what |
| `c`, `C` | driver | about to create these instances; `create` or `create_batch` has returned |
| `E` | driver | `send_event` has returned |
| `A` | driver | `approve` or `reject` has returned, and with what |
| `R` | driver | `result()` has returned, and with what |
| `S` | step function | an attempt starts: its number, and what an earlier one had saved |
| `F` | step function | the attempt is about to fail; the step's next attempt is due so much later |
| `D` | step function | the attempt is about to return this value |
| `V` | step function | `save` has returned |
| `B` | body | about to sleep so long |
| `P` | body | went past this operation, which answered so: the operation is acknowledged |
| `m`, `M` | mover | about to create this moved instance; `create` has returned |
| `v`, `a` | mover | about to do this to it; that has returned, with "done", "refused" or "gone" |
| `l` | mover | `status()` said this of it, while nothing was being done to it |
| `s`, `d` | moved step | an attempt starts: number, key, if in a thread; is about to return |
| `p`, `n` | moved body | went past this step; is this run of a relay, and was handed this |
| `u`, `w` | undo | begins, and is told what its step came to; is about to return |
| `I` | an intruder | looked at the store, how, and what stopped it, if anything (tests.intruder) |
| `X` | anybody | something that must never be |
"""

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One fact."""

    at: int
    pid: int
    op: str
    instance: str
    label: str
    data: Any


class Journal:
    """Appends facts. From any thread: a line is one system call."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._pid = os.getpid()
        os.write(self._fd, b"\n")

    def put(self, op: str, instance: str = "", label: str = "", data: Any = None) -> None:
        """Writes one fact; in the kernel when this returns."""
        os.write(
            self._fd,
            json.dumps([time.time_ns() // 1000, self._pid, op, instance, label, data]).encode()
            + b"\n",
        )


def read(path: Path) -> tuple[list[Line], int]:
    """Returns the facts in order, and how many torn lines were passed over."""
    lines, torn = [], 0
    for raw in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            if raw:
                lines.append(Line(*json.loads(raw)))
        except ValueError:
            torn += 1
    return lines, torn
