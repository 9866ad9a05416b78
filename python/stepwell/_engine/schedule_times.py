"""When a schedule fires: the times of a cron expression or of an interval, in order, as the integer
microseconds the core counts in.

A cron expression is read by cronsim, which does at the edges of summer time what Debian's cron
does: a time that does not exist is right after the gap, one that exists twice is the first of the
two, and expressions that begin with `*` in minute or hour follow real time. Here its times are made
strictly ascending, whatever the zone's clock does. Nothing here knows what a time is for.
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from .._errors import InvalidConfig
from .._values.durations import LAST_US, SECOND_US, from_us, instant_us, text, to_us

if TYPE_CHECKING:
    from cronsim import CronSim

EXPRESSION_MAX = 256
"""Characters in a cron expression."""
_FIELDS = "minute, hour, day of the month, month, day of the week"
FIRST_US = -62_135_596_800 * SECOND_US
"""The beginning of the year 1, before which Python has no dates."""
_SOME_DAY = 1_700_000_000 * SECOND_US
"""Fifty years from here on have every day that there is, and more than once."""


class Times(ABC):
    """The times of one schedule."""

    @abstractmethod
    def beyond(self, place: int) -> Iterator[int]:
        """Returns all times after this one, in order."""

    def next(self, place: int) -> int | None:
        """Returns the first time after this one; None: there is none in the next fifty years."""
        return next(self.beyond(place), None)

    def between(self, place: int, until: int) -> Iterator[int]:
        """Returns the times after `place`, up to and with `until`."""
        return takewhile(lambda it: it <= until, self.beyond(place))

    def last(self, place: int, until: int, most: int) -> list[int]:
        """Returns the last times after `place` up to and with `until`, at most so many, in order.

        However many there are, no more than some times `most` are gone through.
        """
        stretch = 3_600 * SECOND_US
        while True:
            begin = max(place, until - stretch)
            found = deque(self.between(begin, until), most)
            if len(found) == most or begin == place:
                return list(found)
            stretch *= 2


class Interval(Times):
    """One time every so many microseconds, counted from an anchor, which is none itself."""

    def __init__(self, every: int, anchor: int) -> None:
        self._every, self._anchor = every, anchor

    def beyond(self, place: int) -> Iterator[int]:
        at = place + self._every - (place - self._anchor) % self._every
        while at <= LAST_US:
            yield at
            at += self._every


class Cron(Times):
    """The times of a cron expression in a time zone."""

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self._expression, self._zone = expression, zone

    def beyond(self, place: int) -> Iterator[int]:
        for it in self._simulated(place):
            at = instant_us(it)
            # of two that the clock's change makes one there is one; and what the first of two
            # equal hours had is not there again
            if at > place:
                place = at
                yield at

    def _simulated(self, place: int) -> Iterator[datetime]:
        times = _parsed(self._expression, from_us(place).astimezone(self._zone))
        try:
            yield from times
        except OverflowError:  # the year 9999 ends
            return


def _parsed(expression: str, begin: datetime) -> CronSim:
    return _simulator()(expression, begin)


@functools.cache
def _simulator() -> type[CronSim]:
    """Returns cronsim's class, whose days and hours begin when they do: by real time it would begin
    a day at a midnight that does not exist, and look for its second hour in the third; and step by
    whole hours over a change of the clock by half of one."""
    from cronsim import CronSim  # most programs have no schedule

    class AsItBegins(CronSim):
        def advance_day(self) -> bool:
            is_another = super().advance_day()
            self._begin_day(is_another)
            return is_another

        def advance_month(self) -> None:
            before = self.dt
            super().advance_month()
            self._begin_day(self.dt != before)

        def advance_hour(self) -> bool:
            if self.dt.hour in self.hours:
                return False
            while self.dt.hour not in self.hours:
                self.tick(seconds=3_600 - 60 * self.dt.minute - self.dt.second)
                if self.dt.hour == 0:  # of another day, which is to be looked at
                    break
            return True

        def advance_minute(self) -> bool:
            before = self.dt
            is_another = super().advance_minute()
            if before.utcoffset() != self.dt.utcoffset():  # it may have leapt over some
                self.dt = before.replace(second=0)
                while self.dt.minute not in self.minutes:
                    self.tick(seconds=60)
            return is_another

        def _begin_day(self, is_another: bool) -> None:
            if is_another and self.dt.tzinfo not in (None, UTC):
                self.dt = self.dt.astimezone(UTC).astimezone(self.dt.tzinfo)

    return AsItBegins


def times_of(when: str | int, timezone: str, anchor: int) -> Times:
    """Returns the times of what was checked before: an expression, or microseconds."""
    if isinstance(when, int):
        return Interval(when, anchor)
    return Cron(when, zone_of(timezone))


def checked(when: object, timezone: object) -> str | int:
    """Returns a cron expression in one spelling, or an interval in microseconds.

    Raises:
        InvalidConfig: It is neither, never fires, is too long, or the time zone is not known.
    """
    zone = zone_of(timezone)
    if isinstance(when, str) and _is_expression(when):
        return _checked_cron(when, zone)
    try:
        every = to_us(when, "when")  # type: ignore[arg-type]  # it says so itself
    except InvalidConfig:
        raise InvalidConfig(
            f"when={when!r:.300} is neither a cron expression of five fields ({_FIELDS}), such as "
            '"0 2 * * *", nor a duration, such as "15 minutes".'
        ) from None
    if every < SECOND_US:
        raise InvalidConfig(
            f"when={when!r:.300} is {text(every) if every else 'no time'}: an interval is at least "
            "1 second. What happens more often is a loop with step.sleep in one workflow."
        )
    return every


def check_range(start: int, end: int, now: int) -> None:
    """Raises InvalidConfig if these are not two instants that are over, in their order."""
    if not FIRST_US <= start <= LAST_US:
        raise InvalidConfig(f"start is {start}, which is no instant.")
    if end > now:
        raise InvalidConfig(
            f"end={from_us(end)} is ahead of now: what is to come fires by itself. Pass an end "
            "that is over."
        )
    if end < start:
        raise InvalidConfig(f"end={from_us(end)} is before start={from_us(start)}: swap them.")


def _is_expression(when: str) -> bool:
    return len(when.split()) > 2 or "*" in when or when.startswith("@")


def _checked_cron(when: str, zone: tzinfo) -> str:
    from cronsim import CronSimError

    if len(when) > EXPRESSION_MAX:
        raise InvalidConfig(
            f"when={when[:60]!r}… has {len(when)} characters; a cron expression has at most "
            f"{EXPRESSION_MAX}."
        )
    fields = when.split()
    if len(fields) != 5 or not when.isascii():
        raise InvalidConfig(
            f"when={when!r} is not five fields: a cron expression has {_FIELDS}, such "
            'as "0 2 * * *" for two every night. Seconds and names such as @daily are not known.'
        )
    expression = " ".join(fields).upper()
    try:
        first = Cron(expression, zone).next(_SOME_DAY)
    except CronSimError as error:
        raise InvalidConfig(
            f"when={when!r} is no cron expression: {str(error)[:1].lower()}{str(error)[1:]}. Its "
            f'five fields are {_FIELDS}, such as "0 2 * * *", and the day is one there is.'
        ) from None
    except (ValueError, AssertionError):
        raise InvalidConfig(
            f"when={when!r} is no cron expression. Its five fields are {_FIELDS}, such as "
            '"0 2 * * *".'
        ) from None
    if first is None:
        raise InvalidConfig(
            f"when={when!r} never fires: no day of the next fifty years is like that."
        )
    return expression


def zone_of(timezone: object) -> tzinfo:
    """Returns a time zone by its name. Raises InvalidConfig if there is none."""
    if timezone == "UTC":
        return UTC  # also where no database of zones is installed
    try:
        if isinstance(timezone, str) and 0 < len(timezone) <= 100:
            return ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):
        pass
    raise InvalidConfig(
        f"timezone={timezone!r:.120} is no time zone that this machine knows: pass a name such as "
        '"Europe/Berlin" or "UTC". Where the system has none, `pip install tzdata` brings them.'
    )


def delay(schedule: str, at: int, jitter: int) -> int:
    """Returns by how much a time is put off: less than `jitter`, and always the same."""
    if not jitter:
        return 0
    drawn = hashlib.blake2b(f"{schedule}\0{at}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) % jitter


def instance_id(schedule: str, at: int, trigger: int | None = None) -> str:
    """Returns the id of the instance for a time of a schedule: `nightly@2030-01-01T02:00:00Z`.

    Args:
        schedule: The id of the schedule. Of one that is too long its beginning is there, and a
            digest.
        at: The time.
        trigger: A number that no other trigger of the schedule has, if it is one.
    """
    moment = from_us(at)
    when = moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    if moment.microsecond:
        when += f".{moment.microsecond:06}"
    tail = f"@{when}Z" + ("" if trigger is None else f"+{trigger}")
    room = 100 - len("@9999-12-31T23:59:59.999999Z+") - 12
    if len(schedule) > room:
        digest = hashlib.blake2b(schedule.encode(), digest_size=12).hexdigest()
        schedule = f"{schedule[: room - 25]}.{digest}"
    return schedule + tail
