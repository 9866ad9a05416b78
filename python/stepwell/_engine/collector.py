"""Python's collector of cyclic garbage, while engines are open.

It looks at young objects after every 700 new ones and, at last, at all there are. Fifty thousand
bodies in memory are three million objects, none of them garbage: what the engine drops is freed at
once. With the thresholds of Python's own a third of the time, and pauses of a second, went into
finding that out. So the collector is the more patient the more bodies there are, or begin within a
second, and as Python has it when they are few; calls that wait for their answer count, too. And
should memory grow by more than what bodies explain, it looks at once (docs/adr/0009).

The setting belongs to the process, so it is touched only if the program left it as Python has it,
and given back by the last engine.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

try:
    import resource  # now: where no file can be opened any more, none can be imported
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

_PYTHONS = {(700, 10, 10), (2000, 10, 10), (2000, 10, 0)}
"""What `gc.get_threshold()` is in a fresh interpreter, 3.11 to 3.14."""
CALLS_A_BODY = 3
"""Calls that wait for their answer and are as many objects, and as much memory, as one body: a task
of trio each."""
YOUNG_A_BODY = 10
YOUNG_MAX = 10_000
"""New objects between two looks at young ones: so many for each body, at least as many as Python's
own, at most this."""
OLD_MAX = 100
"""Looks at the middle generation between two at everything, at 10,000 bodies or more; with fewer in
proportion, but never under ten."""
BODY_BYTES = 12 << 10
"""What a body with a step under way takes (docs/benchmarks.md, W2b)."""
GROWTH_MIN = 64 << 20
"""Memory beyond that of bodies may grow by so much, and by a quarter of all, before there is a look
for what holds it."""
LOOK_EVERY = 0.01
"""Seconds between two looks at memory; each takes some 20 microseconds."""
_PAGE = os.sysconf("SC_PAGESIZE") if hasattr(os, "sysconf") else 0


def memory() -> int | None:
    """Returns the bytes that this process has in memory, elsewhere than on Linux the most it ever
    had; None where neither can be read."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:
            return int(statm.read(64).split()[1]) * _PAGE
    except OSError:
        pass
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


class Patience:
    """The share of one engine: it says how many bodies it has."""

    __slots__ = ("_begun", "_bodies", "_lately", "_looked", "_passing")

    def __init__(self) -> None:
        self._bodies = 0
        self._begun = 0
        self._lately = 0.0
        """Bodies that began within the last second; of those before some still count."""
        self._passing = 0
        """By how many they are more than those there are."""
        self._looked = 0.0

    def look(self, bodies: int, begun: int = 0) -> None:
        """Called in every round of the engine's loop: there are so many bodies, and so many have
        begun since it was opened."""
        now = time.monotonic()
        since = now - self._looked
        if since < LOOK_EVERY:
            return
        self._looked = now
        self._lately += begun - self._begun - self._lately * min(1.0, since)
        self._begun = begun
        self._tell(bodies, max(0, int(self._lately) - bodies))

    def end(self) -> None:
        """Its engine has no bodies any more."""
        self._tell(0, 0)

    def _tell(self, bodies: int, passing: int) -> None:
        more, more_passing = bodies - self._bodies, passing - self._passing
        self._bodies, self._passing = bodies, passing
        _process.look(more, more_passing)


class _Process:
    """What the engines of this process have agreed on with its collector."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines = 0
        self._bodies = 0
        self._passing = 0
        """Bodies beside those that began lately; they take no memory any more."""
        self._most = 0
        """Bodies there were at one time since the last look at everything: what they leave stays
        with Python, and is used again."""
        self._before: tuple[int, int, int] | None = None
        """What the program had; None: it has a setting of its own, and keeps it."""
        self._ours = (0, 0, 0)
        self._explained = 0
        """Memory beyond that of bodies that is known to be needed."""

    def enter(self) -> None:
        with self._lock:
            self._engines += 1
            found = gc.get_threshold()
            if self._engines == 1 and found in _PYTHONS and memory() is not None:
                self._before = self._ours = found

    def leave(self) -> None:
        with self._lock:
            self._engines -= 1
            if self._engines == 0 and self._before is not None:
                self._set(self._before)
                self._before = None

    def look(self, more: int, more_passing: int) -> None:
        """There are so many bodies more, and so many more have gone again lately."""
        with self._lock:
            self._bodies += more
            self._passing += more_passing
            self._most = max(self._most, self._bodies)
            grows = self._is_patient() and gc.isenabled() and self._unexplained() > self._may_have
        if grows:
            self._collect()

    def _is_patient(self) -> bool:
        """Sets the thresholds for the bodies there are. Returns whether they are other than
        Python's own."""
        if self._before is None:
            return False
        young, middle, old = self._before
        bodies = self._bodies + self._passing
        patient = min(YOUNG_MAX, max(young, bodies * YOUNG_A_BODY))
        if patient == young:
            self._set(self._before)
            return False
        if self._ours == self._before:
            self._begin_anew()
        self._set((patient, middle, min(OLD_MAX, max(old, bodies // 100))))
        return self._before is not None

    def _set(self, wanted: tuple[int, int, int]) -> None:
        if wanted == self._ours:
            return
        if gc.get_threshold() == self._ours:
            gc.set_threshold(*wanted)
            self._ours = wanted
        else:
            self._before = None  # the program has changed it meanwhile

    def _unexplained(self) -> int:
        return (memory() or 0) - BODY_BYTES * self._most

    @property
    def _may_have(self) -> int:
        return self._explained + max(GROWTH_MIN, (self._explained + BODY_BYTES * self._most) // 4)

    def _collect(self) -> None:
        """Looks for garbage: at what is young, and if that was not it at everything. Without the
        lock: finalizers run in here."""
        gc.collect(1)
        if self._unexplained() > self._may_have:
            gc.collect()
            self._begin_anew()

    def _begin_anew(self) -> None:
        """What there is now is needed."""
        self._most = self._bodies
        self._explained = self._unexplained()


_process = _Process()


@contextmanager
def patient() -> Generator[Patience]:
    """Lets the collector look less often while one engine or more has many bodies, in whatever
    thread."""
    patience = Patience()
    _process.enter()
    try:
        yield patience
    finally:
        patience.end()
        _process.leave()
