"""What a schedule does when it is looked at: which of its times it fires, which it skips, which
were missed, and when it is to be looked at next.

`turn` is a function of what is durable of the schedule, of the time, and of which of its instances
still run. Whoever calls it commits all of what it returns, or none; so whatever happens in between,
each time has one outcome. It knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

from .schedule_rows import Outcome, Plan, Standing, Told
from .schedule_times import delay

CATCH_UP_MAX = 1_000
"""Missed times that `catch_up="all"` fires, the last ones."""
QUEUE_MAX = 100
"""Times that `overlap="queue"` keeps."""
AT_ONCE = 100
"""Instances that one commit creates."""
TRACKED_MAX = 1_000
"""Instances of which a schedule knows that they may still run, the last ones."""


class Turn(NamedTuple):
    """What is to be committed.

    Attributes:
        fires: The times for which an instance is created, in order.
        told: The rows, but for those times.
        next: When it is to be looked at next, if nothing else happens.
        is_all: Whether nothing is left that is due; otherwise it is to be looked at again at once.
    """

    standing: Standing
    fires: tuple[int, ...]
    told: tuple[Told, ...]
    next: int | None
    is_all: bool


def moment(id: str, plan: Plan, at: int) -> int:
    """Returns when a time fires: put off by its jitter."""
    return at + delay(id, at, plan.jitter)


def next_moment(id: str, plan: Plan, standing: Standing) -> int | None:
    """Returns when a schedule is to be looked at next."""
    if standing.paused_at is not None:
        return None
    at = plan.times().next(standing.place)
    return None if at is None else moment(id, plan, at)


def turn(
    id: str,
    plan: Plan,
    standing: Standing,
    now: int,
    opened: int,
    runs: Callable[[tuple[str, str]], bool],
    at_once: int = AT_ONCE,
) -> Turn:
    """Returns what a schedule does now.

    Args:
        id: Its id.
        plan: What it is.
        standing: How far it is.
        now: The time.
        opened: Since when somebody has looked after schedules: what was to fire before was missed.
        runs: Whether an instance still runs.
        at_once: Times that fire, at most.
    """
    it = _Looked(id, plan, standing, opened, runs, at_once)
    if standing.paused_at is None:
        it.take_from_queue()
        it.take_due(now)
    return it.done()


class _Looked:
    """One look at a schedule."""

    def __init__(
        self,
        id: str,
        plan: Plan,
        standing: Standing,
        opened: int,
        runs: Callable[[tuple[str, str]], bool],
        at_once: int,
    ) -> None:
        self._id, self._plan, self._opened, self._at_once = id, plan, opened, at_once
        self._standing = standing
        self._place = standing.place
        self._queue = list(standing.queue)
        self._running = [it for it in standing.active if runs(it)]
        self._replaced: list[tuple[str, str]] = []
        self._fires: list[int] = []
        self._told: list[Told] = []
        self._is_all = True

    @property
    def _is_running(self) -> bool:
        return bool(self._running or self._fires)

    def take_from_queue(self) -> None:
        """Fires the first that waits, if nothing runs any more."""
        overlaps = self._plan.overlap == "allow"
        while self._queue and (overlaps or not self._is_running) and self._has_room():
            self._fires.append(self._queue.pop(0))

    def _has_room(self) -> bool:
        return len(self._fires) < self._at_once

    def take_due(self, now: int) -> None:
        """Decides all that is due, as far as one commit goes."""
        first, due = self._due(now)
        if not due:
            return
        fires = self._to_fire(due)
        missed_to = due[-len(fires) - 1] if len(due) > len(fires) else None
        if missed_to is None and first < due[0]:
            missed_to = self._before(due[0])
        if missed_to is not None:
            late = self._is_late(first)
            self._tell(first, missed_to, "missed", "engine_down" if late else "overtaken")
            self._place = missed_to
        if self._plan.overlap == "replace" and len(fires) > 1:
            self._tell(fires[0], fires[-2], "skipped", "replaced")
            fires = fires[-1:]
        for at in fires:
            if not self._has_room():
                self._is_all = False
                return
            self._take(at)
            self._place = at

    def _due(self, now: int) -> tuple[int, list[int]]:
        """Returns the first time that is due, and the last of them, in order, as many as may
        matter."""
        times = self._plan.times()
        first = times.next(self._place)
        if first is None or moment(self._id, self._plan, first) > now:
            return 0, []
        found = times.last(self._place, now, CATCH_UP_MAX + 1)
        for index, at in enumerate(found):
            # one that is put off puts off what comes after it: they keep their order
            if at + self._plan.jitter > now and moment(self._id, self._plan, at) > now:
                found = found[:index]
                break
        return first, found[-CATCH_UP_MAX:]

    def _to_fire(self, due: list[int]) -> list[int]:
        """Returns those of what is due that do not count as missed."""
        if self._plan.catch_up == "all":
            return due
        # what one before was put off to, those after it were put off to, too
        put_off = (moment(self._id, self._plan, it) for it in due)
        moments = list(accumulate(put_off, max))
        if moments[-1] <= self._opened:
            return [] if self._plan.catch_up == "skip" else due[-1:]
        return due[moments.index(moments[-1]) :]

    def _before(self, at: int) -> int:
        """Returns the time before one, of which there is one."""
        return self._plan.times().last(self._place, at - 1, 1)[-1]

    def _is_late(self, at: int) -> bool:
        return moment(self._id, self._plan, at) <= self._opened

    def _take(self, at: int) -> None:
        overlap = self._plan.overlap
        if overlap == "replace":
            self._replaced += self._running
            self._running = []
        elif overlap == "skip" and self._is_running:
            return self._tell(at, at, "skipped", "overlap")
        elif overlap == "queue" and (self._is_running or self._queue):
            if len(self._queue) >= QUEUE_MAX:
                return self._tell(at, at, "skipped", "queue_full")
            return self._queue.append(at)
        return self._fires.append(at)

    def _tell(self, at: int, until: int, outcome: Outcome, why: str) -> None:
        """Adds a row, or to the last one if it says the same."""
        last = self._told[-1] if self._told else None
        if last is not None and (last.outcome, last.why) == (outcome, why):
            self._told[-1] = last._replace(until=until)
        else:
            self._told.append(Told(at, None if until == at else until, outcome, why))

    def done(self) -> Turn:
        """Returns what came of it."""
        standing = self._standing._replace(
            place=self._place,
            queue=tuple(self._queue),
            active=tuple(self._running),
            ending=(*self._standing.ending, *self._replaced),
        )
        following = next_moment(self._id, self._plan, standing)
        return Turn(standing, tuple(self._fires), tuple(self._told), following, self._is_all)
