"""When a body is at rest: it gives its slot back, and later its memory (C6, R4, P2).

An instance whose every open operation is a wait holds no slot. Its body stays in memory for a
while, because what it waits for often comes soon; then it is parked, and comes back by replay. The
rule is here, whole; who unwinds a body is `_runner`, and the core says whether it may be parked.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ._ending import End

if TYPE_CHECKING:
    from ._runner import Runner

KEEP_SLOT_US = 50_000
"""A wait shorter than this keeps its slot: handing it over takes two commits and a replay (C6)."""
PARK_AFTER_US = 10_000_000
"""A waiting body leaves memory after this long, at once when many are resident (P2)."""
RESIDENT_MAX = 2_000
"""Waiting bodies that are kept for `PARK_AFTER_US`; a resident body costs about 10 KiB."""


class Rest:
    """What one body waits for, and what else it still does.

    Attributes:
        busy: Open operations that will come to something by themselves: attempts, records in flight.
        winding: Attempts that the body gave up and that still run; they keep the slot (I8).
        waits: The open waits, by number, with their deadlines.
    """

    __slots__ = ("_park_timer", "_quiet", "_runner", "busy", "waits", "winding")

    def __init__(self, runner: Runner) -> None:
        self._runner: Runner = weakref.proxy(runner)  # a body that has left is freed at once, not when the collector comes
        self.busy = 0
        self.winding = 0
        self.waits: dict[int, int] = {}
        self._quiet = False
        self._park_timer: int | None = None

    def expect(self, number: int, who: Any, until: int) -> None:
        """An open wait: `who` is told when it is settled."""
        self.waits[number] = until
        self._runner.port.tickets[number] = who

    def forget(self, number: int) -> None:
        """A wait is over."""
        if self.waits.pop(number, None) is not None:
            self._runner.port.tickets.pop(number, None)
            self.woken()

    def delayed(self, began: bool) -> None:
        """A step begins, or ends, to wait for its next attempt (R4)."""
        self.busy += -1 if began else 1
        if began:
            self.settled_down()

    def settled_down(self) -> None:
        """If nothing but waits is open, the instance gives its slot back, and may be parked later."""
        runner, port = self._runner, self._runner.port
        if self.busy or self.winding or self._quiet or not self.waits or not runner.goes_on or runner.cursor.pending:
            return
        if runner.in_turn:
            return
        soonest = min(self.waits.values()) - port.now()
        if soonest < KEEP_SLOT_US:
            return
        self._quiet = True
        port.waiting_residents += 1
        port.quiet(runner.no, runner.incarnation, runner.cursor.seq)
        if runner.workflow.park and soonest >= PARK_AFTER_US:
            delay = PARK_AFTER_US if port.waiting_residents <= RESIDENT_MAX else 0
            self._park_timer = port.arm(delay, self._park)

    def woken(self) -> None:
        """The instance goes on, with a slot."""
        if not self._quiet:
            return
        self._quiet = False
        self._runner.port.waiting_residents -= 1
        if self._park_timer is not None:
            self._runner.port.disarm(self._park_timer)
            self._park_timer = None

    def end(self) -> None:
        """The body leaves memory: nobody is to be told of its waits any more."""
        for number in self.waits:
            self._runner.port.tickets.pop(number, None)
        self.woken()

    def _park(self) -> None:
        self._park_timer = None
        runner = self._runner
        if not self._quiet or runner.stopping:
            return
        if runner.port.park(runner.no, runner.incarnation):
            runner.unwind(End.PARKED)
        else:
            self._park_timer = runner.port.arm(PARK_AFTER_US, self._park)
