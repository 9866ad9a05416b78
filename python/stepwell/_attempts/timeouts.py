"""The timeouts of one attempt (R1): how they count, and which one struck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._body.running import Running


class CutShort(Exception):
    """The body cancelled a step, and its attempt has ended without a value or an error of its own
    (I8)."""


@dataclass(slots=True)
class Timeouts:
    """Arms the timeouts of one attempt, at most once, and remembers which one struck. All its times
    are monotonic (T2)."""

    operation: Running
    strike: Callable[[], None]
    struck: str | None = None
    _timers: list[int] | None = None
    _began: int = 0

    def start(self, began: int | None = None) -> None:
        """Starts counting; called when the function first waits, or its thread begins.

        Args:
            began: When the function was called, if that is not now.
        """
        if self._timers is not None:
            return
        self._timers = []
        port, plan = self.operation.life.port, self.operation.plan
        now = port.monotonic()
        self._began = now if began is None else began
        gone = now - self._began
        self._arm(max(0, plan.timeout - gone), self._timed_out)
        if plan.heartbeat_timeout is not None:
            self._arm(max(0, plan.heartbeat_timeout - gone), self._check_heartbeat)

    @property
    def has_begun(self) -> bool:
        """Whether the function has waited."""
        return self._timers is not None

    def stop(self) -> None:
        """Disarms what is left."""
        for ticket in self._timers or ():
            self.operation.life.port.disarm(ticket)

    def _arm(self, delay: int, then: Callable[[], None]) -> None:
        assert self._timers is not None
        self._timers.append(self.operation.life.port.arm(delay, then))

    def _timed_out(self) -> None:
        self._strike(f"took longer than its timeout of {self.operation.plan.timeout / 1e6:g} s")

    def _check_heartbeat(self) -> None:
        limit = self.operation.plan.heartbeat_timeout or 0
        silent = self.operation.life.port.monotonic() - max(self.operation.beat, self._began)
        if silent >= limit:
            self._strike(f"sent no heartbeat for {limit / 1e6:g} s")
        else:
            self._arm(limit - silent, self._check_heartbeat)

    def _strike(self, why: str) -> None:
        if self.struck is None:
            self.struck = why
            self.strike()
