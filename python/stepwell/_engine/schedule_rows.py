"""What is stored of schedules: what each is, how far it is, and what came of its times.

How the bytes are read in which the core keeps the first two is known here and nowhere else.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from .._errors import InvalidConfig
from .._steps.signatures import CatchUp, Overlap
from .._values.codec import as_plain, codec
from .._values.envelope import why_unreadable
from .schedule_times import Times, times_of

Outcome: TypeAlias = Literal["fired", "skipped", "missed"]
CATCH_UPS: tuple[str, ...] = get_args(CatchUp)
OVERLAPS: tuple[str, ...] = get_args(Overlap)


class Plan(NamedTuple):
    """What a schedule is, as its user wants it. Times and durations are microseconds.

    Attributes:
        version: Which version of the workflow; None: the last one there is.
        when: A cron expression, or an interval.
        anchor: From when an interval is counted.
    """

    workflow: str
    version: str | None
    when: str | int
    timezone: str
    catch_up: CatchUp
    overlap: Overlap
    jitter: int
    params: bytes | None
    anchor: int
    created_at: int
    updated_at: int

    def times(self) -> Times:
        """Returns when it fires."""
        return times_of(self.when, self.timezone, self.anchor)

    def encoded(self) -> bytes:
        """Returns it as it is stored."""
        return codec.encode(dict(self._asdict()))


class Standing(NamedTuple):
    """How far a schedule is.

    Attributes:
        place: No time up to this one is left to decide.
        paused_at: Since when it is paused.
        queue: Times that wait until nothing of it runs.
        active: Workflow and id of the instances that it created and that may still run.
        ending: The same of those that were replaced and are still to be terminated.
    """

    place: int
    paused_at: int | None = None
    queue: tuple[int, ...] = ()
    active: tuple[tuple[str, str], ...] = ()
    ending: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        """Returns it as it is stored."""
        return codec.encode(
            {
                "place": self.place,
                "paused_at": self.paused_at,
                "queue": list(self.queue),
                "active": [list(it) for it in self.active],
                "ending": [list(it) for it in self.ending],
            }
        )


def plan_of(stored: bytes) -> Plan:
    """Returns what was stored of it."""
    return Plan(**as_plain(stored))


def standing_of(stored: bytes) -> Standing:
    """Returns what was stored of it."""
    it: Any = as_plain(stored)
    return Standing(
        it["place"],
        it["paused_at"],
        tuple(it["queue"]),
        tuple((workflow, id) for workflow, id in it["active"]),
        tuple((workflow, id) for workflow, id in it["ending"]),
    )


class Told(NamedTuple):
    """A row that tells what came of a time, or of several in a row, up to and with `until`."""

    at: int
    until: int | None
    outcome: Outcome
    why: str | None = None
    id: str | None = None


class ScheduleRow(NamedTuple):
    """A schedule. `has_code`: whether this engine has the code of its workflow."""

    number: int
    namespace: str
    id: str
    revision: int
    next: int | None
    plan: Plan
    standing: Standing
    has_code: bool = True


class FiringRow(NamedTuple):
    """What came of a time of a schedule."""

    number: int
    at: int
    until: int | None
    decided_at: int
    outcome: Outcome
    why: str | None
    id: str | None


def row_of(row: tuple[Any, ...]) -> ScheduleRow:
    """Returns a schedule as the core tells it.

    Raises:
        InvalidConfig: What it is was stored with another codec, or by another version.
    """
    number, namespace, id, revision, next, state, what = row
    why = why_unreadable(what)
    try:
        if why is None:
            plan, standing = plan_of(what), standing_of(state)
            return ScheduleRow(number, namespace, id, revision, next, plan, standing)
    except (KeyError, TypeError, ValueError) as error:
        why = f"is not as this version of stepwell writes it ({error})"
    raise InvalidConfig(f"schedule {id!r} does not fire, and cannot be changed: it {why}.")
