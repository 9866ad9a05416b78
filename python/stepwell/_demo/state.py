"""How far a job of the demo is: all there is to show. The supervisor changes it, a screen reads
it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

RATE_SECONDS = 2.0


@dataclass(slots=True)
class State:
    """How far a job is."""

    title: str
    chaos: bool = False
    files: int | None = None
    done: int = 0
    states: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    kills: int = 0
    alive: bool = False
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def count_steps(self, steps: int) -> None:
        """Notes how many steps have ended by now."""
        if steps < self.steps:
            self._samples.clear()  # another job's
        now = time.monotonic()
        self.steps = steps
        self._samples.append((now, steps))
        while self._samples[0][0] < now - RATE_SECONDS:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Steps per second over the last two seconds."""
        if len(self._samples) < 2:
            return 0.0
        (t0, n0), (t1, n1) = self._samples[0], self._samples[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0


def times(n: int) -> str:
    """Returns how often, in words."""
    return "once" if n == 1 else f"{n:,} times"
