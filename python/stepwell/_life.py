"""One instance in memory, as everything that its body does sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._replay import Cursor, Identity

if TYPE_CHECKING:
    from ._operation import Operation
    from ._workflow import Workflow


@dataclass(slots=True)
class Who:
    """Which instance it is, and in which of its lives. Its text is what a person calls it.

    Attributes:
        no: The number by which the core knows it.
        incarnation: Which life of it writes: the core takes nothing from an earlier one.
        format: Which rules it keeps for life, so that what it recorded replays (see `_core.pyi`).
        created_at: When it was created, in microseconds of the wall clock.
        attributes: Those that it was created with, encoded; None: it has none.
    """

    no: int
    incarnation: int
    namespace: str
    workflow: Workflow[Any, Any]
    version: str
    id: str
    format: int
    created_at: int
    attributes: bytes | None

    def __str__(self) -> str:
        return f"{self.workflow.name}/{self.id}"

    @property
    def seed(self) -> str:
        """From which all that looks random in this life of the instance is derived (I13)."""
        return f"{self.namespace}|{self.workflow.name}|{self.id}|{self.incarnation}"


class Delivery:
    """What a body has asked for, and what of it it was told: its place in its history.

    Attributes:
        cursor: What is known and not delivered yet.
        open: The operations that are begun and not over.
        attached: Waits that were open when the body was loaded and that it has not come back to:
            their numbers, and deadlines if they have any.
        begun: Operations that go live when the turn ends, if they are still open then.
        beginners: What each task has begun in this turn; two of the same are a race.
        keys: Of all operations that have one: a key names one.
        replaying: Whether the body goes over what was recorded before.
        interrupted: Whether a crash may have cut short what history does not know of (R3).
        untaken: Open steps that a crash may have cut short, and that have not recorded that.
        turn: How many outcomes were delivered.
        at: When the last of them came, in microseconds of the wall clock: the time of the turn.
        steps: How many the body has asked for.
        bytes: Of all values that it was given, so that live and on replay it is the same at the
            same place.
    """

    __slots__ = (
        "at", "attached", "beginners", "begun", "bytes", "cursor", "interrupted", "keys", "open",
        "replaying", "steps", "turn", "untaken",
    )  # fmt: skip

    def __init__(
        self,
        cursor: Cursor,
        attached: dict[Identity, tuple[int, int | None]],
        interrupted: bool,
        at: int,
        bytes: int,
    ) -> None:
        self.cursor = cursor
        self.attached = attached
        self.interrupted = interrupted
        self.at = at
        self.bytes = bytes
        self.open: dict[Identity, Operation] = {}
        self.begun: list[Operation] = []
        self.beginners: dict[tuple[str, int, str], object] | None = None
        self.keys: set[tuple[int, str, str]] | None = None
        self.replaying = bool(cursor.pending)
        self.untaken = 0
        self.turn = 0
        self.steps = 0
