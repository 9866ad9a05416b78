"""When a body is at rest: it gives its slot back, and later its memory (C6, R4, P2).

An instance whose every open operation is a wait holds no slot. Its body stays in memory for a
while, because what it waits for often comes soon; then it is parked, and comes back by replay. How
long it stays is a question of what that replay costs: as one rents before one buys, a body stays
until being there has cost as much, and one that wakes sooner than that is not parked at all. The
rule is here, whole; who unwinds a body is `runner`, and the core says whether it may be parked.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._ending import End
from . import delivery, stopping

if TYPE_CHECKING:
    from .._replay import Outcome
    from .life import Life

KEEP_SLOT_US = 50_000
"""A wait shorter than this keeps its slot: handing it over takes two commits and a replay (C6)."""
PARK_AFTER_US = 10_000_000
"""A waiting body stays at least this long, unless many are resident (P2)."""
RESIDENT_MAX = 2_000
"""Waiting bodies that are kept in any case; a resident body costs about 10 KiB. With more of them
each stays a tenth as long, and one that did not wake soon the last time is parked at once."""
OUTCOME_US = 10
BYTES_IN_A_US = 100
"""What a replay takes: so long for each outcome, and for so many bytes of their values
(docs/benchmarks.md, below W12)."""
WORTH = 100_000
WORTH_AMONG_MANY = 10_000
"""How many times what its replay takes a body stays: parked, it spends at most this fraction of a
processor on being replayed."""


class Rest:
    """What one body waits for, and what else it still does.

    Attributes:
        busy: Open operations that will come to something by themselves: attempts, records in
            flight.
        winding: Attempts in tasks that nobody waits for and that still run; they keep the slot.
        threads: Those that run, whether somebody waits for them or not; they keep the slot as well
            (R4).
        waits: The open waits, by number, with their deadlines.
    """

    __slots__ = (
        "_last_wait",
        "_life",
        "_park_timer",
        "_quiet_since",
        "_recorded",
        "_waited",
        "busy",
        "threads",
        "waits",
        "winding",
    )

    def __init__(self, life: Life) -> None:
        # held by the life: a circle, if this held it in turn
        self._life: Life = weakref.proxy(life)
        self.busy = 0
        self.winding = 0
        self.threads = 0
        self.waits: dict[int, int] = {}
        self._quiet_since: int | None = None
        self._park_timer: int | None = None
        recorded: Sequence[Outcome] = life.delivery.cursor.pending
        self._recorded = len(recorded)
        self._waited = 0
        self._last_wait: int | None = (
            recorded[-1].at - recorded[-2].at if len(recorded) > 1 else None
        )

    def expect(self, number: int, who: Any, until: int) -> None:
        """An open wait: `who` is told when it is settled."""
        self._waited += 1
        self.waits[number] = until
        self._life.port.tickets[number] = who

    def forget(self, number: int) -> None:
        """A wait is over."""
        if self.waits.pop(number, None) is not None:
            self._life.port.tickets.pop(number, None)
            self.woken()

    def delayed(self, began: bool) -> None:
        """A step begins, or ends, to wait for its next attempt (R4)."""
        self.busy += -1 if began else 1
        if began:
            self.settled_down()

    def settled_down(self) -> None:
        """If nothing but waits is open, the instance gives its slot back, and may be parked
        later."""
        life, port = self._life, self._life.port
        if (
            self.busy
            or self.winding
            or self.threads
            or self._quiet_since is not None
            or not self.waits
        ):
            return
        if not stopping.goes_on(life) or life.delivery.cursor.pending:
            return
        if delivery.in_turn(life):
            return
        now = port.now()
        soonest = min(self.waits.values()) - now
        if soonest < KEEP_SLOT_US:
            return
        self._quiet_since = now
        port.waiting_residents += 1
        port.quiet(life.who.no, life.who.incarnation, life.delivery.cursor.seq)
        if port.told is not None:
            port.told.rests(life.who.no)
        if life.who.workflow.park:
            self._stay(soonest)

    def _stay(self, soonest: int) -> None:
        """Arms the timer at which the body is parked, unless it wakes before that."""
        port = self._life.port
        among_many = port.waiting_residents > RESIDENT_MAX
        stays = max(PARK_AFTER_US, self._replay_us * (WORTH_AMONG_MANY if among_many else WORTH))
        if soonest < stays:
            return
        woke_late = self._last_wait is None or self._last_wait >= stays
        self._park_timer = port.arm(0 if among_many and woke_late else stays, self._park)

    @property
    def _replay_us(self) -> int:
        """What a replay would take, roughly: outcomes are not counted where each of them would cost
        something."""
        life = self._life
        return (
            OUTCOME_US * (max(self._recorded, life.delivery.steps) + self._waited)
            + life.delivery.bytes // BYTES_IN_A_US
        )

    def woken(self) -> None:
        """The instance goes on, with a slot."""
        if self._quiet_since is None:
            return
        port = self._life.port
        self._last_wait = port.now() - self._quiet_since
        self._quiet_since = None
        port.waiting_residents -= 1
        if port.told is not None and not self._life.stopping:
            port.told.goes_on(self._life.who.no)
        if self._park_timer is not None:
            port.disarm(self._park_timer)
            self._park_timer = None

    def end(self) -> None:
        """The body leaves memory: nobody is to be told of its waits any more."""
        for number in self.waits:
            self._life.port.tickets.pop(number, None)
        self.woken()

    def _park(self) -> None:
        self._park_timer = None
        life = self._life
        if self._quiet_since is None or life.stopping:
            return
        if life.port.park(life.who.no, life.who.incarnation):
            stopping.unwind(life, End.PARKED)
        else:
            self._park_timer = life.port.arm(PARK_AFTER_US, self._park)
