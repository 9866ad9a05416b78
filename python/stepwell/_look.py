"""An instance as it was at one moment: what the core answers to a look at it, by name.

Whatever is told of an instance in one answer comes from one of these, so that a state and a result never belong to two moments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ._durations import from_us
from ._types import KINDS, STATUSES, Status

_WORDS = {"event": "event", "approval": "approval", "call": "child", "result": "child", "do": "the next attempt of"}
_NEVER = 1 << 61
"""Beyond this no deadline is meant: children are waited for without one."""


class Wait(NamedTuple):
    """Something that an instance waits for; `until` is in microseconds."""

    number: int
    kind: int
    branch: str
    name: str
    key: str | None
    occurrence: int
    opened_at: int
    until: int | None

    def __str__(self) -> str:
        place = f" in {self.branch}" if self.branch else ""
        until = f" until {from_us(self.until):%Y-%m-%d %H:%M:%S} UTC" if self.until is not None and self.until < _NEVER else ""
        word = _WORDS.get(KINDS[self.kind], KINDS[self.kind])
        return f'{word} "{self.name if self.key is None else self.key}"{place}{until}'


class Look(NamedTuple):
    """An instance at one moment. Times are in microseconds; payloads are None unless they were asked for."""

    no: int
    namespace: str
    workflow: str
    version: str
    id: str
    code: int
    reason: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    updated_at: int
    parent: int | None
    params: bytes | None
    result: bytes | None
    progress: bytes | None
    attributes: bytes | None
    priority: int
    start_at: int | None
    waits: list[Any]

    @property
    def status(self) -> Status:
        """Its state."""
        return STATUSES[self.code]

    @property
    def waiting_for(self) -> list[Wait]:
        """What it waits for, oldest first; nothing while it is about to go on."""
        return [Wait._make(wait) for wait in self.waits] if self.status is Status.WAITING else []

    @property
    def waiting_on(self) -> str | None:
        """What it waits for, in words."""
        return ", ".join(str(wait) for wait in self.waiting_for) or None
