"""States of an open step, for whoever tells them (L13); `standing` finds them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .._replay import Identity

RUNNING, QUEUED, BEHIND, LEFT, ENDED = "running", "queued", "behind", "left", "ended"
"""An attempt runs; waits for one of the engine's threads; waits for the thread of the one before;
is a thread that nobody waits for any more; or is over, perhaps not durably."""


class Standing(NamedTuple):
    """One open step of a body. Times are in microseconds of the wall clock.

    Attributes:
        identity: Of its operation.
        branch: The branch that began it.
        attempt: The one that runs, or is queued.
        state: One of the five above.
        since: When the attempt began, or was queued.
        until: When it times out; None: that is not counted yet.
        where: `file:line` in the user's code, "" if it is not known.
        runs_on: What runs it: "trio", "asyncio" or "thread"; "" where nothing does.
        is_cancelled: Whether the body has cancelled it, and waits for the attempt's end (I8).
        is_held: Whether it resists its cancellation, and code of it is not driven any more (P1).
    """

    identity: Identity
    branch: str
    attempt: int
    state: str
    since: int
    until: int | None
    where: str
    runs_on: str
    is_cancelled: bool
    is_held: bool
