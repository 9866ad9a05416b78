"""`put_schedule`, and `Schedule`: instances that are created again and again.

It checks and encodes what callers give, and asks the desk. When a schedule fires, and what it does
then, is in `schedule_times` and `schedule_turn`.
"""

from __future__ import annotations

import builtins
from datetime import datetime, timedelta
from typing import Any, NoReturn

from .._errors import InvalidConfig
from .._steps.params import encode_params
from .._steps.signatures import CatchUp, Overlap
from .._steps.workflow import Workflow
from .._types import Firing, Page
from .._values import names
from .._values.durations import Duration, from_us, instant_us, to_us
from .acting import by
from .answers import Cursors
from .desk import Desk
from .instance import Instance
from .schedule_rows import (
    CATCH_UPS,
    OVERLAPS,
    FiringRow,
    Plan,
    ScheduleRow,
)
from .schedule_times import check_range, checked, zone_of

_MICROSECOND = timedelta(microseconds=1)


class Schedule:
    """Instances of a workflow that are created again and again. Get it from `put_schedule` or
    `schedules`.

    What it says of itself is as of when it was got; its methods are about the schedule that has
    its id now, and raise `InvalidConfig` if there is none any more.

    Attributes:
        id: Its id.
        workflow: Name of the workflow.
        version: Which version of it; None: the last that is registered when it fires.
        when: The cron expression, or the interval.
        timezone: In which a cron expression is meant.
        catch_up: What becomes of times that were missed.
        overlap: What becomes of a time while an instance of it runs.
        jitter: By up to how much each time is put off.
        paused_at: Since when it is paused; None: it is not.
        next_at: When it fires next; None: it is paused, or never again.
        queued: Times that wait until nothing of it runs.
        has_code: Whether the engine has the code that it needs. Without it, it does not fire.
        created_at: When it was put first.
        updated_at: When what it is was changed last.
    """

    __slots__ = (
        "_desk", "_namespace", "_row", "catch_up", "created_at", "has_code", "id", "jitter",
        "next_at", "overlap", "paused_at", "queued", "timezone", "updated_at", "version", "when",
        "workflow",
    )  # fmt: skip

    id: str
    workflow: str
    version: str | None
    when: str | timedelta
    timezone: str
    catch_up: CatchUp
    overlap: Overlap
    jitter: timedelta
    paused_at: datetime | None
    next_at: datetime | None
    queued: int
    has_code: bool
    created_at: datetime
    updated_at: datetime

    def __init__(self, desk: Desk, row: ScheduleRow) -> None:
        self._desk, self._namespace, self._row = desk, row.namespace, row
        plan, standing = row.plan, row.standing
        self.id, self.workflow, self.version = row.id, plan.workflow, plan.version
        self.when = plan.when if isinstance(plan.when, str) else plan.when * _MICROSECOND
        self.timezone, self.catch_up, self.overlap = plan.timezone, plan.catch_up, plan.overlap
        self.jitter = plan.jitter * _MICROSECOND
        self.paused_at = None if standing.paused_at is None else from_us(standing.paused_at)
        self.next_at = None if row.next is None else from_us(row.next)
        self.queued = len(standing.queue)
        self.has_code = row.has_code
        self.created_at, self.updated_at = from_us(plan.created_at), from_us(plan.updated_at)

    def __repr__(self) -> str:
        return f"<Schedule {self.id!r} of {self.workflow!r}: {self._row.plan.when!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self._whose == other._whose

    def __hash__(self) -> int:
        return hash(self._whose)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process, which owns the store, and cannot be "
            "pickled. Pass its id along instead."
        )

    @property
    def _whose(self) -> tuple[builtins.object, str, str]:
        return self._desk, self._namespace, self.id

    async def pause(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Lets it fire no more until it is resumed. Its instances go on, and what waits in its
        queue stays there.

        Args:
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: There is no such schedule any more.
            EngineClosed: The engine is not open.
        """
        self._desk.check("schedule.pause")
        await self._desk.pause_schedule(self._namespace, self.id, by(actor, note))

    async def resume(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Lets it fire again, from now on: what the pause missed is not caught up, and `firings`
        say so.

        Args:
            actor: As `pause`.
            note: As `pause`.

        Raises:
            InvalidConfig: There is no such schedule any more.
            EngineClosed: The engine is not open.
        """
        self._desk.check("schedule.resume")
        await self._desk.resume_schedule(self._namespace, self.id, by(actor, note))

    async def delete(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Removes it, with what is kept of its times. Its instances stay, and go on.

        Args:
            actor: As `pause`.
            note: As `pause`.

        Raises:
            InvalidConfig: There is no such schedule any more.
            EngineClosed: The engine is not open.
        """
        self._desk.check("schedule.delete")
        await self._desk.delete_schedule(self._namespace, self.id, by(actor, note))

    async def trigger(self, *, actor: str | None = None, note: str | None = None) -> Instance[Any]:
        """Creates an instance now, whatever else of it runs, also while it is paused. Times are as
        before.

        Args:
            actor: As `pause`.
            note: As `pause`.

        Returns:
            The instance.

        Raises:
            InvalidConfig: There is no such schedule any more, or no code for its workflow.
            Overloaded: As `create`.
            EngineClosed: The engine is not open.
        """
        self._desk.check_admits("schedule.trigger")
        made = await self._desk.trigger_schedule(self._namespace, self.id, by(actor, note))
        look = await self._desk.find(made, payloads=False)
        return Instance(self._desk, self._namespace, made.workflow, made.id, look.no, None)

    async def backfill(
        self,
        start: datetime,
        end: datetime,
        *,
        dry_run: bool = False,
        actor: str | None = None,
        note: str | None = None,
    ) -> list[Firing]:
        """Fires its times from `start` up to and with `end`, each as if it had fired then, at once
        and whatever runs. A time that fired already does not fire again.

        Args:
            start: An aware datetime.
            end: The same, and not ahead of now.
            dry_run: Changes nothing, and returns what would come of it.
            actor: As `pause`.
            note: As `pause`.

        Returns:
            What came of each time, in order: "fired", or "skipped" and why.

        Raises:
            InvalidConfig: There is no such schedule any more, no code for its workflow, `end` is
                before `start` or ahead of now, or there are more than 1,000 times between them.
            Overloaded: As `create_batch`; nothing was created.
            EngineClosed: The engine is not open.
        """
        self._desk.check_admits("schedule.backfill")
        since, until = instant_us(start, "start"), instant_us(end, "end")
        if not isinstance(dry_run, bool):
            raise InvalidConfig(f"dry_run={dry_run!r:.120} is neither True nor False.")
        check_range(since, until, self._desk.now())
        who = by(actor, note)
        rows = await self._desk.backfill_schedule(
            self._namespace, self.id, since, until, who, dry_run=dry_run
        )
        return [_firing(it) for it in rows]

    async def firings(self, *, limit: int = 50, cursor: str | None = None) -> Page[Firing]:
        """Returns what came of its times, the last decided first. The last 10,000 are kept.

        Args:
            limit: 1 to 1,000.
            cursor: Where the page before ended.

        Raises:
            InvalidConfig: There is no such schedule any more, or the limit or the cursor is
                malformed.
            EngineClosed: The engine is not open.
        """
        self._desk.check("schedule.firings")
        limit = names.page_limit(limit)
        cursors = Cursors("firings", self._namespace, self.id)
        rows = await self._desk.firings(self._namespace, self.id, cursors.read(cursor), limit)
        more = cursors.make(rows[-1].number) if len(rows) == limit else None
        return Page([_firing(it) for it in rows], more)

    def next_times(self, n: int = 5) -> list[datetime]:
        """Returns when it fires next, as it was when this was got, in its time zone and not put off
        by its jitter; of a paused one nothing.

        Args:
            n: How many, 1 to 1,000.

        Raises:
            InvalidConfig: `n` is out of range.
            EngineClosed: The engine is not open.
        """
        self._desk.check("schedule.next_times")
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= names.PAGE_MAX:
            raise InvalidConfig(f"n={n!r:.120} is not a whole number from 1 to {names.PAGE_MAX:,}.")
        if self.paused_at is not None:
            return []
        zone, found = zone_of(self.timezone), []
        now = max(self._desk.now(), self._row.standing.place)
        for at in self._row.plan.times().beyond(now):
            found.append(from_us(at).astimezone(zone))
            if len(found) == n:
                break
        return found


class Schedules:
    """The methods of an engine and its namespaces that are about schedules."""

    _namespace: str
    _desk: Desk

    async def put_schedule(
        self,
        workflow: Workflow[Any, Any] | str,
        when: Duration,
        *,
        id: str,
        params: Any = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "one",
        overlap: Overlap = "skip",
        jitter: Duration | None = None,
        actor: str | None = None,
        note: str | None = None,
    ) -> Schedule:
        """Creates instances of a workflow again and again, from now on and whatever restarts. Each
        time creates one instance, or none, and `firings` tell which and why.

        With the id of a schedule that is there this changes that one: with the same `when` and
        `timezone` its times go on as before, so a program may put its schedules each time it
        starts; with others its first time is after now. It stays paused if it was.

        Args:
            workflow: A registered workflow, or its name (the last version there is when it fires).
            when: A cron expression of five fields, such as "0 2 * * *", or how often: "15 minutes",
                at least a second. The first time is after now.
            id: As of an instance. Each instance has an id made of this and of the time.
            params: What each instance starts with, as `create`.
            timezone: In which a cron expression is meant, such as "Europe/Berlin". A time that does
                not exist fires right after the gap, one that exists twice the first time;
                expressions with `*` in minute or hour follow real time.
            catch_up: What becomes of times that were missed, because no engine ran or the clock
                jumped: "skip", "one" (the last of them fires), "all" (the last 1,000).
            overlap: What becomes of a time while an instance of this schedule has not ended:
                "skip", "queue" (it waits for that; at most 100 do), "allow" (another one begins),
                "replace" (the others are terminated). A blocked one has not ended.
            jitter: Each time is put off by up to so much, always by the same.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, `when` is malformed or never fires, the
                time zone is not known, or an argument is none of those above.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            LimitReached: There are 10,000 schedules.
            EngineClosed: The engine is not open.
        """
        desk = self._desk
        desk.check("engine.put_schedule")
        code = await desk.registry()
        target = code.registered(workflow)
        id = names.instance_id(id, "schedule id")
        every = checked(when, timezone)
        _one_of("catch_up", catch_up, CATCH_UPS)
        _one_of("overlap", overlap, OVERLAPS)
        who = by(actor, note)
        value_bytes = desk.value_bytes(self._namespace, target.name)
        is_last = code.registered(target.name).version == target.version
        plan = Plan(
            target.name,
            None if is_last else target.version,
            every,
            timezone,
            catch_up,
            overlap,
            0 if jitter is None else to_us(jitter, "jitter"),
            encode_params(target, params, value_bytes),
            0,
            0,
            0,
        )
        return Schedule(desk, await desk.put_schedule(self._namespace, id, plan, who))

    async def schedules(self) -> builtins.list[Schedule]:
        """Returns all schedules, in the order in which they were put first.

        Raises:
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.schedules")
        rows = await self._desk.schedules(self._namespace)
        return [Schedule(self._desk, it) for it in rows]


def _one_of(what: str, word: object, words: tuple[str, ...]) -> None:
    if not isinstance(word, str) or word not in words:
        raise InvalidConfig(f"{what}={word!r:.120} is none of {', '.join(map(repr, words))}.")


def _firing(it: FiringRow) -> Firing:
    until = None if it.until is None else from_us(it.until)
    return Firing(from_us(it.at), until, it.outcome, it.why, it.id, from_us(it.decided_at))
