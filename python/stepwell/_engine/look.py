"""An instance as it was at one moment: what the core answers to a look at it, by name.

Whatever is told of an instance in one answer comes from one of these, so that a state and a result
never belong to two moments.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from .. import _core
from .._formats import Format
from .._kinds import Kind
from .._replay import Identity
from .._seeds import seed_of
from .._types import STATUSES, Status
from .._values.durations import from_us
from .._values.names import any_of, wait_name

_WORDS = {
    _core.RESULT: "child",
    _core.DO: "the next attempt of",
    _core.UNDO: "the next attempt to undo",
}
"""What is waited for, where it is not called like the operation."""
_NEVER = 1 << 61
"""Beyond this no deadline is meant: children are waited for without one."""


class Awaited(NamedTuple):
    """A child whose end is waited for."""

    workflow: str
    id: str
    code: int
    reason: str | None

    def __str__(self) -> str:
        return f"{self.workflow}/{self.id}"

    @property
    def state(self) -> str:
        """What it is at, in words."""
        status = STATUSES[self.code].value.replace("_", " ")
        return f"{status} ({self.reason})" if self.reason else status


class Wait(NamedTuple):
    """Something that an instance waits for; `until` is in microseconds."""

    number: int
    kind: Kind
    branch: str
    name: str
    key: str | None
    occurrence: int
    opened_at: int
    until: int | None
    awaited: tuple[str, str, int, str | None] | None
    """The child, if it is the end of one."""
    types: list[str]
    """Of the events, if it is one of them."""
    approval: str | None
    """The id of the approval, if it is one."""

    @property
    def child(self) -> Awaited | None:
        """The child whose end is waited for; None: something else is, or there is no such child any
        more."""
        return None if self.awaited is None else Awaited._make(self.awaited)

    @property
    def identity(self) -> Identity:
        """The operation that waits."""
        return self[1:6]

    @property
    def title(self) -> str:
        """Name or key, and branch, of the operation that waits."""
        place = f" in {self.branch}" if self.branch else ""
        return f'"{self.name if self.key is None else self.key}"{place}'

    def __str__(self) -> str:
        until = (
            (f" until {from_us(self.until):%Y-%m-%d %H:%M:%S} UTC")
            if self.until is not None and self.until < _NEVER
            else ""
        )
        child = self.child
        if child is not None:
            place = f" in {self.branch}" if self.branch else ""
            return (
                f"child {child}{place}"
                if self.kind == _core.RESULT
                else (f"child {child} (call {self.title})")
            )
        if self.types:
            return f"{self._event}{until}"
        return f"{_WORDS.get(self.kind, _core.KINDS[self.kind])} {self.title}{until}"

    @property
    def _event(self) -> str:
        """Which events are waited for; and by which step, if that has a name of its own."""
        place = f" in {self.branch}" if self.branch else ""
        step = "" if self.name == wait_name(self.types) else f' (step "{self.name}")'
        return f"event {any_of(self.types)}{step}{place}"


class Look(NamedTuple):
    """An instance at one moment. Times are in microseconds; payloads are None unless they were
    asked for."""

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
    kept: list[tuple[str, int]]
    """Types of the events that no wait has taken yet, and how many of each; asked for with one
    instance only."""
    undo: Literal["running", "complete", "failed"] | None
    """How far the undoing of its steps is (L8)."""
    format: Format
    """Which rules it keeps for life (see `_formats`)."""
    seed: int
    """The incarnation from which all that looks random in it derives."""
    born: str | None
    """The name that its workflow had when it was created, if that was another one."""

    @property
    def status(self) -> Status:
        """Its state."""
        return STATUSES[self.code]

    @property
    def seeded(self) -> str:
        """From which all that looks random in its body derives (see `_seeds`)."""
        return seed_of(self.namespace, self.born or self.workflow, self.id, self.seed)

    @property
    def open_waits(self) -> list[Wait]:
        """What is waited for in it, oldest first, also beside steps that run."""
        return [Wait._make(wait) for wait in self.waits]

    @property
    def waiting_on(self) -> str | None:
        """What a waiting instance waits for, in words."""
        return (
            ", ".join(map(str, self.open_waits)) or None if self.status is Status.WAITING else None
        )
