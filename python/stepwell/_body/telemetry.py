"""Who is told what instances do while they do it: `Engine(telemetry=…)`.

Where an engine has nobody to tell, nothing is asked for it. Whoever is told hears of what happens
and not of what is gone over again: a replay says nothing. What it makes of that is its own matter,
and nothing of it harms an instance: it raises nothing but Ctrl-C.

A creation or an event takes along the *trace* in which it was asked for, in bytes that only whoever
is told can read. They stand around the value that it brings (`_values.envelope`), so that they are
durable with it, and go wherever it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

Carry: TypeAlias = Callable[[bytes | None], bytes | None]
"""Puts a trace around a value."""


class Attempt(Protocol):
    """Somebody who was told that an attempt began."""

    def noted(self, what: Mapping[str, str | int | float]) -> None:
        """Code of the engine has this to tell of it, in words of the semantic conventions."""
        ...

    def ended(self, how: str, error: BaseException | None) -> None:
        """It has ended: "ok", "failed", "cancelled" (by its body) or "interrupted" (its instance
        leaves memory). Whoever never hears that, hears nothing more: the process was killed."""
        ...


class Listener(Protocol):
    """Who wants to know of the attempts of one instance.

    Attributes:
        short_ns: Of one that goes well in less time nothing is told, unless its code asks for what
            stands for it; 0: of each is told as it begins.
        short: How many there were of those.
    """

    short_ns: int
    short: int

    def begins(self, step: Any, at: int) -> Attempt:
        """An attempt of a `Running` step began, in whose context this is called; `at`: when, in
        nanoseconds of the wall clock."""
        ...


class Told(Protocol):
    """Who is told by the instances of one engine: of a `Life`, or of an instance by its number.

    Attributes:
        listeners: Who wants to know of attempts, by the number of the instance.
    """

    listeners: Mapping[int, Listener]

    def begins(self, life: Any, params: bytes | None) -> None:
        """In the task of a body that is about to run: what holds there for context variables holds
        for all of its code."""
        ...

    def rests(self, no: int) -> None:
        """A body only waits, and has given its slot back."""
        ...

    def goes_on(self, no: int) -> None:
        """It has a slot again."""
        ...

    def fails(self, no: int, error: BaseException, reason: str | None = None) -> None:
        """A body is about to end for this; `reason`: or its instance is to be blocked."""
        ...

    def ends(self, life: Any) -> None:
        """A body leaves memory."""
        ...

    def renewed(self, no: int) -> Carry:
        """An instance goes on as new, whose body has ended: what puts around its new params the
        trace that leads back to that."""
        ...

    def took(self, no: int, kind: str, event: bytes | None) -> None:
        """A body was given an event of this type."""
        ...

    def decided(self, no: int, name: str, approved: bool) -> None:
        """A body was told of a decision on this approval."""
        ...

    def asks(
        self, no: int, what: str, of: tuple[str, str], *, kind: str = "", of_many: int = 0
    ) -> Carry:
        """A body creates others ("create"), or sends ("send") an event of type `kind`.

        Args:
            no: Whose body.
            what: What it does.
            of: Workflow and id of the other.
            kind: Type of the event.
            of_many: How many others there are; 0: that one.
        """
        ...

    def closes(self) -> None:
        """The engine is closed."""
        ...


class Telemetry(Protocol):
    """What `telemetry=` takes; `stepwell.otel.Telemetry` is it."""

    def told_by(self, engine: Any, /) -> Told:
        """An engine opens."""
        ...

    def asks(
        self, what: str, of: tuple[str, str, str | None], /, *, kind: str = "", of_many: int = 0
    ) -> AbstractContextManager[Carry]:
        """Code outside of instances asks for something, for as long as the block lasts; as
        `Told.asks`, with the namespace in `of` before the others, and an id of None where one is
        drawn. Also "request" and "schedule"."""
        ...
