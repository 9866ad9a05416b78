"""A life whose body is only replayed, to find out what there is to undo (L8).

Nothing goes live in it and nothing is recorded. Its body is told what was recorded until the
instance was to undo its steps, and asks for them as it did before: so each step is there again with
its function, its arguments and what undoes it. When the body asks for more than it was told, ends,
or turns out to be another one by now, that is all, and it is unwound. What then undoes the steps is
in `_operations.undoer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._core import ABANDONED, DO, OUTCOMES, REFUSED, STARTED, TERMINATED, UNDO
from .._replay import Recorded

if TYPE_CHECKING:
    from .._core import Record, Start
    from .._replay import Identity


class Undoing:
    """What is known of what there is to undo.

    Args:
        start: With what the life began.

    Attributes:
        cause: Why, as an error that is recorded.
        is_terminated: Whether somebody terminated the instance; else its body failed.
        ends: How steps ended, by identity: their outcomes.
        late: What threads came to whose steps had ended before.
        undone: What is recorded of undos, in order.
        planned: What is recorded of how many there are; None: nothing yet.
        begun: What the body has asked for so far, by identity, with the place after which it did.
        why: Why the body could not be replayed to its end; None: it could.
    """

    def __init__(self, start: Start) -> None:
        self.start = start
        self.cause = b""
        self.is_terminated = False
        self.ends: dict[Identity, Recorded] = {}
        self.late: dict[Identity, bytes | None] = {}
        self.undone: list[Record] = []
        self.planned: bytes | None = None
        self.begun: dict[Identity, tuple[int, Any]] = {}
        self.why: BaseException | None = None
        self._last: dict[Identity, int] = {}
        self._read(start[12])

    def _read(self, records: Iterable[Record]) -> None:
        for record in records:
            it = Recorded._make(record)
            if it.kind == UNDO and it.name:
                self.undone.append(record)
            elif it.kind == UNDO and it.verdict == STARTED:
                self.cause, self.is_terminated = it.payload or b"", it.type == TERMINATED
            elif it.kind == UNDO:
                self.planned = it.payload
            elif it.kind == DO and it.verdict != REFUSED:
                self._last[it.identity] = it.seq
                if it.verdict == ABANDONED and it.identity in self.ends:
                    self.late[it.identity] = it.payload
                elif it.verdict in OUTCOMES:
                    self.ends[it.identity] = it

    @property
    def interrupted(self) -> bool:
        """Whether a crash may have cut short what is not recorded."""
        return self.start[11]

    def asked_for(self, operation: Any) -> None:
        """The body asks for this, as it did before."""
        self.begun.setdefault(operation.identity, (operation.after, operation))

    def has_started(self, identity: Identity) -> bool:
        """Whether an attempt of this step is recorded."""
        return identity in self._last

    def may_have_started(self, identity: Identity) -> None:
        """A crash may have cut an attempt of this step short."""
        self._last.setdefault(identity, 0)

    def unreached(self) -> Identity | None:
        """Returns the last step that had started, and that the code of today does not ask for."""
        left = [identity for identity in self._last if identity not in self.begun]
        return max(left, key=self._last.__getitem__, default=None)
