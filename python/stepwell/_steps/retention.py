"""How long instances are kept after their end (L9).

What the code says today holds for all that is stored, counted from when each has ended; only what
an instance was created with stays with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .._errors import InvalidConfig
from .._values.durations import Duration, to_us

COUNT_MAX = 1_000_000_000

Keep: TypeAlias = tuple[int | None, int | None]
"""Microseconds that an instance is kept: one that is complete, and one that is not. None: until it
is deleted."""


@dataclass(frozen=True)
class Retention:
    """How long instances are kept after their end. Then they are deleted, with all that belongs to
    them, and their ids are free.

    Args:
        success: One that is complete: over 0 to 365 days; None: until it is deleted.
        error: The same of one that is errored or terminated.
        count: Most that are kept of a workflow, of all that have ended; beyond that those go first
            that ended first. 1 to 1,000,000,000; None: any number.

    Raises:
        InvalidConfig: One of them is malformed or out of range.
    """

    success: Duration | None = "30 days"
    error: Duration | None = "30 days"
    count: int | None = None
    _keep: Keep = field(init=False, repr=False, compare=False, default=(None, None))

    def __post_init__(self) -> None:
        keep = tuple(_kept(name, getattr(self, name)) for name in ("success", "error"))
        object.__setattr__(self, "_keep", keep)
        count = self.count
        if count is not None and (type(count) is not int or not 1 <= count <= COUNT_MAX):
            raise InvalidConfig(
                f"Retention(count={count!r}): a whole number from 1 to {COUNT_MAX:,}, or None for "
                "any number"
            )

    @property
    def keep(self) -> Keep:
        """How long, in microseconds."""
        return self._keep


def _kept(name: str, value: Duration | None) -> int | None:
    if value is None:
        return None
    us = to_us(value, f"Retention {name}")
    if us == 0:
        raise InvalidConfig(
            f"Retention({name}={value!r}): nobody could read the result of an instance that goes "
            "when it ends; give more than 0, or None to keep it"
        )
    return us


def retention_of(where: str, value: Any) -> Retention | None:
    """Checks what is given as a retention.

    Raises:
        InvalidConfig: It is none.
    """
    if value is not None and not isinstance(value, Retention):
        raise InvalidConfig(
            f"{where}: retention is {value!r:.120}; give a stepwell.Retention, or None."
        )
    return value


def own_keep(value: Any) -> Keep | None:
    """Checks what one instance is created with, and returns how long that is.

    Raises:
        InvalidConfig: It is no retention, or has a count.
    """
    retention = retention_of("create", value)
    if retention is None:
        return None
    if retention.count is not None:
        raise InvalidConfig(
            f"create: retention has count={retention.count}, which is for all instances of a "
            "workflow; give it to @workflow or the engine."
        )
    return retention.keep
