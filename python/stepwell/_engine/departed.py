"""Bodies that have left memory for an end that may not be durable yet: what `explain()` says of
them meanwhile.

Until the commit of it, which a full disk or somebody else's lock may hold up for hours, such an
instance runs and has no body, as one has whose body is about to begin. Nobody is told of that
commit (a note for each would cost more than all this), so what is kept here is looked through
whenever there is twice as much of it as was in use the last time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._ending import End
from .._types import STATUSES, Status

if TYPE_CHECKING:
    from .._body.life import Life

LOOKS_AT = 1_000
"""So many are kept in any case."""
_KEPT = (End.FINISHED, End.BLOCKED, End.REPLAYED, End.CONTINUED)
_RUNNING = STATUSES.index(Status.RUNNING)


class Departed:
    """The bodies of one engine whose end may be under way to the store. `peek` gives a state as it
    was committed last."""

    def __init__(self, peek: Callable[[str, str, str], int | None]) -> None:
        self._peek = peek
        self._ends: dict[int, tuple[End, int, str, str, str]] = {}
        self._looks_at = LOOKS_AT

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, runner: Life) -> None:
        """A body has left memory."""
        if runner.stopping in _KEPT:
            self._ends[runner.who.no] = (
                runner.stopping,
                runner.stopped_at,
                runner.who.namespace,
                runner.who.workflow.name,
                runner.who.id,
            )
            if len(self._ends) > self._looks_at:
                self._ends = {
                    no: it for no, it in self._ends.items() if self._peek(*it[2:]) == _RUNNING
                }
                self._looks_at = max(LOOKS_AT, 2 * len(self._ends))

    def forget(self, no: int) -> None:
        """A body of this instance begins, or nothing counts any more of what it was."""
        self._ends.pop(no, None)

    def clear(self) -> None:
        """Forgets all."""
        self._ends.clear()

    def end_of(self, no: int, since: int) -> End | None:
        """Returns by which end the body left of an instance that runs since then, in microseconds,
        and has none; None: it has not begun."""
        end, at, *_ = self._ends.get(no, (None, 0))
        return None if end is End.BLOCKED and since > at else end  # somebody has let it go on
