"""Says whether what is told of a schedule can have come about by its rules: naive, minute by minute
and time by time, from what was put and what happened to the engine.

What it is told: when the engine opened, when the wall clock jumped, when somebody paused and
resumed. It draws each schedule's times by itself, from a calendar that is walked day by day.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def values(field: str, least: int, most: int) -> set[int]:
    """What one field of an expression allows."""
    found: set[int] = set()
    for term in field.split(","):
        base, _, step = term.partition("/")
        first, dash, last = base.partition("-")
        if base == "*":
            begin, end = least, most
        elif first in DAYS:
            begin = end = DAYS.index(first)
        else:
            begin = int(first)
            end = int(last) if dash else (most if step else begin)
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def cron_times(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """All times of an expression after `begin`, up to and with `end`, in UTC."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours = values(minute, 0, 59), values(hour, 0, 23)
    days, months = values(day, 1, 31), values(month, 1, 12)
    weekdays = {it % 7 for it in values(weekday, 0, 7)}
    both = day.startswith("*") or weekday.startswith("*")
    found: set[datetime] = set()
    date = begin.astimezone(zone).date() - DAY
    while date <= end.astimezone(zone).date():
        fits = (date.day in days, (date.weekday() + 1) % 7 in weekdays)
        if date.month in months and (all(fits) if both else any(fits)):
            if minute.startswith("*") or hour.startswith("*"):
                found |= _by_real_time(date, zone, minutes, hours)
            else:
                found |= _by_the_clock(date, zone, minutes, hours)
        date += DAY
    return sorted(it for it in found if begin < it <= end)


def _by_the_clock(date, zone, minutes, hours) -> set[datetime]:
    found = set()
    for hour in hours:
        for minute in minutes:
            local = datetime(date.year, date.month, date.day, hour, minute)
            while (
                local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
                != local
            ):
                local += MINUTE  # there is no such time: the first there is after it
            found.add(local.replace(tzinfo=zone).astimezone(UTC))
    return found


def _by_real_time(date, zone, minutes, hours) -> set[datetime]:
    found = set()
    moment = datetime(date.year, date.month, date.day, tzinfo=UTC) - DAY
    for _ in range(3 * 24 * 60):
        local = moment.astimezone(zone)
        if local.date() == date and local.minute in minutes and local.hour in hours:
            found.add(moment)
        moment += MINUTE
    return found


@dataclass
class Put:
    """A schedule as it was put, and when."""

    id: str
    when: str | timedelta
    timezone: str
    catch_up: str
    overlap: str
    jitter: timedelta
    at: datetime
    lasts: timedelta
    """How long its instances sleep."""
    pauses: list[list[datetime]] = field(default_factory=list)
    """From when to when it was paused."""

    def times(self, end: datetime) -> list[datetime]:
        """All its times up to and with `end`."""
        if isinstance(self.when, str):
            return cron_times(self.when, ZoneInfo(self.timezone), self.at, end)
        return [self.at + self.when * n for n in range(1, int((end - self.at) / self.when) + 1)]

    def moment(self, at: datetime) -> datetime:
        """When a time fires."""
        if not self.jitter:
            return at
        text = f"{self.id}\0{(at - EPOCH) // MICROSECOND}".encode()
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
        return at + drawn % (self.jitter // MICROSECOND) * MICROSECOND


class Wrong(AssertionError):
    """It cannot have come about."""


class Judge:
    """Goes through what is told of one schedule, in the order in which it was decided."""

    def __init__(self, put: Put, now: datetime, openings, shaken, gaps=()) -> None:
        self.put = put
        self.times = put.times(now)
        self.now = now
        self.openings = openings
        """Whenever the engine opened, by the wall clock, in order."""
        self.shaken = shaken
        """Instants of crashes and jumps: who ended then may not have been seen to."""
        self.gaps = gaps
        """From when to when the wall clock did not pass: what was due then was seen to after it."""
        self.place = put.at
        self.queue: list[datetime] = []
        self.ends: list[datetime] = []
        """When the instances end that it created."""

    def judge(self, told) -> None:
        """Raises `Wrong` if something is. `told`: firings, the first decided first."""
        groups: list[list] = []
        for it in told:
            if groups and groups[-1][0].decided_at == it.decided_at:
                groups[-1].append(it)
            else:
                groups.append([it])
        for group in groups:
            at = group[0].decided_at
            while (look := self._next_look()) is not None and look < at:
                self._decided(look, [])  # all of it waits in the queue
            self._group(at, group)
        while (look := self._next_look()) is not None and look < self.now:
            self._decided(look, [])

    def _next_look(self) -> datetime | None:
        """When the next time that is not decided was seen to."""
        first = next((it for it in self.times if it > self.place), None)
        if first is None:
            return None
        look = self.put.moment(first)
        for begin, end in self.gaps:
            if begin < look <= end:
                look = end
        return None if self._is_paused(look) else look

    def _is_paused(self, at: datetime) -> bool:
        return any(begin <= at < end for begin, end in self.put.pauses)

    def _opened(self, at: datetime) -> datetime:
        return max(it for it in self.openings if it <= at)

    def _running(self, at: datetime) -> set[bool]:
        """Whether any of its instances may run then."""
        if any(end > at for end in self.ends):
            return {True}
        return {True, False} if at in self.shaken and self.ends else {False}

    def _group(self, at: datetime, group) -> None:
        own = [it for it in group if it.why == "trigger"]
        told = [it for it in group if it.why != "trigger"]
        # one that is due only now was queued and began in one instant, as the others ended
        queued = [it for it in told if it.why == "queued" and it.at <= self.place]
        told = [it for it in told if it not in queued]
        for it in queued:
            if not self.queue or it.at != self.queue.pop(0):
                raise Wrong(f"{self.put}: {it} was not next in the queue")
            if self._running(at) == {True} and self.put.overlap == "queue":
                raise Wrong(f"{self.put}: {it} began before the others had ended")
            self.ends.append(at + self.put.lasts)
        if told and told[0].why == "paused":
            self._resumed(at, told.pop(0))
        if told or (self._due(at) and not self._is_paused(at)):
            self._decided(at, told, len(queued))
        for _ in own:
            self.ends.append(at + self.put.lasts)

    def _resumed(self, at: datetime, it) -> None:
        over = [time for time in self.times if self.place < time <= at]
        if not over or (it.at, it.until or it.at) != (over[0], over[-1]):
            raise Wrong(f"{self.put}: {it} is not what the pause missed")
        self.place = at

    def _due(self, at: datetime) -> list[datetime]:
        due = []
        for time in self.times:
            if time <= self.place:
                continue
            if self.put.moment(time) > at:
                break
            due.append(time)
        return due

    def _decided(self, at: datetime, told, just_left: int = 0) -> None:
        due = self._due(at)
        if not due:
            raise Wrong(f"{self.put}: nothing was due at {at}, and {told} came of it")
        latest, moments = self.put.at, []
        for time in due:
            latest = max(latest, self.put.moment(time))
            moments.append(latest)
        if moments[-1] > self._opened(at):
            fires = [it for it, moment in zip(due, moments, strict=True) if moment == latest]
        else:
            fires = [] if self.put.catch_up == "skip" else due[-1:]
        if self.put.catch_up == "all":
            fires = due[-1_000:]
        missed = [it for it in due if it not in fires]
        if missed:
            if not told:
                raise Wrong(f"{self.put}: nothing is told of {missed[0]}")
            first = told.pop(0)
            is_it = (first.at, first.until or first.at, first.outcome)
            if is_it != (missed[0], missed[-1], "missed"):
                raise Wrong(f"{self.put}: at {at} {missed[0]} to {missed[-1]} were missed: {first}")
            late = self.put.moment(missed[0]) <= self._opened(at)
            if first.why != ("engine_down" if late else "overtaken"):
                raise Wrong(f"{self.put}: {first} was missed for something else")
        self._fired(at, fires, told, just_left)
        self.place = due[-1]

    def _fired(self, at: datetime, fires: list[datetime], told, just_left: int) -> None:
        just_began = bool(just_left)
        if self.put.overlap == "replace" and len(fires) > 1:
            if not told:
                raise Wrong(f"{self.put}: nothing is told of {fires[0]}")
            first = told.pop(0)
            if (first.at, first.until or first.at, first.why) != (
                fires[0], fires[-2], "replaced"
            ):  # fmt: skip
                raise Wrong(f"{self.put}: {first} says other times were replaced")
            fires = fires[-1:]
        for time in fires:
            of_it = [it for it in told if it.at <= time <= (it.until or it.at)]
            if len(of_it) > 1:
                raise Wrong(f"{self.put}: {time} is told twice: {of_it}")
            it = of_it[0] if of_it else None
            running = {True} if just_began else self._running(at)
            if it is None:
                if self.put.overlap != "queue" or (running == {False} and not self.queue):
                    raise Wrong(f"{self.put}: nothing is told of {time}")
                self.queue.append(time)
            elif it.outcome == "fired":
                if self.put.overlap in ("skip", "queue") and running == {True}:
                    raise Wrong(f"{self.put}: {it} overlaps")
                if self.put.overlap == "replace":
                    self.ends = []
                self.ends.append(at + self.put.lasts)
                just_began = True
            elif self.put.overlap == "queue" and it.why == "queue_full":
                # one that began in this instant may have made room only then
                if len(self.queue) + just_left < 100:
                    raise Wrong(f"{self.put}: {it}, and the queue has {len(self.queue)}")
            elif self.put.overlap != "skip" or it.why != "overlap" or running == {False}:
                raise Wrong(f"{self.put}: {it} was skipped for nothing")
        for it in told:
            if not any(it.at <= time <= (it.until or it.at) for time in fires):
                raise Wrong(f"{self.put}: {it} is no time of it that is due")
