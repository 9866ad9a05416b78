"""Durations and instants: what people write, as the integer microseconds the core counts in.

One grammar everywhere: a number and a unit (`"10 seconds"`, `"1.5 h"`), a number of seconds, or a
`timedelta`; 0 to 365 days. An instant is a timezone-aware `datetime`: a naive one means a different
moment on every machine. Nothing here reads a clock.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TypeAlias

from .._errors import InvalidConfig

Duration: TypeAlias = str | int | float | timedelta
"""What is accepted wherever a duration is asked for; a number is seconds."""

SECOND_US = 1_000_000
DURATION_MAX_US = 365 * 86_400 * SECOND_US
GRAMMAR = (
    'a duration is "10 seconds", "5 min", "1 hour" or "7 days", a number of seconds, or a '
    "timedelta; 0 to 365 days"
)

_UNITS_US: dict[str, int] = {
    unit: us
    for us, units in (
        (1_000, "ms millisecond milliseconds"),
        (SECOND_US, "s sec secs second seconds"),
        (60 * SECOND_US, "m min mins minute minutes"),
        (3_600 * SECOND_US, "h hr hrs hour hours"),
        (86_400 * SECOND_US, "d day days"),
        (7 * 86_400 * SECOND_US, "w week weeks"),
    )
    for unit in units.split()
}
_TEXT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([a-z]+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(value: Duration, what: str = "timeout") -> int:
    """Returns a duration in microseconds, 0 to 365 days.

    Args:
        value: `"10 seconds"`, a number of seconds, or a `timedelta`.
        what: What the duration is for; the message names it.

    Raises:
        InvalidConfig: It is no duration, is negative, or is more than 365 days.
    """
    us = _parse(value)
    if us is None or not 0 <= us <= DURATION_MAX_US:
        raise InvalidConfig(f"{what}={value!r} is not a duration: {GRAMMAR}")
    return us


def _parse(value: object) -> int | None:
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        unit = _UNITS_US.get(match[2]) if match else None
        return round(Fraction(match[1]) * unit) if match and unit else None
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value * SECOND_US
    if isinstance(value, float) and math.isfinite(value):
        # -1e-9 rounds to 0 but is a mistake like any other negative number; 1e308 s is no finite
        # number of µs.
        return round(value * SECOND_US) if 0 <= value <= 1e12 else -1
    return None


def text(us: int) -> str:
    """Returns a duration as people write it, in the largest unit that divides it: `"90 seconds"`,
    `"2 hours"`."""
    for unit, size in (
        ("day", 86_400 * SECOND_US),
        ("hour", 3_600 * SECOND_US),
        ("minute", 60 * SECOND_US),
    ):
        if us and us % size == 0:
            return _plural(us // size, unit)
    if us % SECOND_US and us < SECOND_US:
        return f"{us / 1_000:g} ms"
    return (
        _plural(us // SECOND_US, "second")
        if us % SECOND_US == 0
        else f"{us / SECOND_US:.3f}".rstrip("0") + " seconds"
    )


def _plural(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


LAST_US = 253_402_300_799_999_999
"""The end of the year 9999, after which Python has no dates."""


def instant_us(value: datetime, what: str = "when") -> int:
    """Returns an instant in microseconds since 1970-01-01 UTC.

    Args:
        value: A timezone-aware `datetime`.
        what: What the instant is for; the message names it.

    Raises:
        InvalidConfig: It is no `datetime`, or a naive one.
    """
    if not isinstance(value, datetime):
        raise InvalidConfig(f"{what}={value!r} is not an instant: pass a timezone-aware datetime")
    if value.utcoffset() is None:
        raise InvalidConfig(
            f"{what}={value!r} has no timezone, so it is a different moment on every machine: "
            "pass an aware one, such as datetime.now(UTC) or value.replace(tzinfo=UTC)"
        )
    return (value - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Returns the instant `us` microseconds after 1970-01-01 UTC, as an aware UTC `datetime`; at
    most the last one there is."""
    if us > LAST_US:
        return datetime.max.replace(tzinfo=UTC)
    return _EPOCH + timedelta(microseconds=us)
