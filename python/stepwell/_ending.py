"""The ways in which a body ends its life in memory, and what becomes of its instance by each.

Who ends a body is `_body.runner` (it returned, or cannot go on), `_body.rest` (nothing but waits is
left) and the driver (the core says so, the engine closes or crashes). What all of them have in
common is there: from that moment the body begins nothing, nothing is delivered to it, and what it
returns or raises is discarded.
"""

from __future__ import annotations

from enum import Enum


class End(Enum):
    """Why a body leaves memory."""

    FINISHED = "it returned or raised, and that is submitted"
    BLOCKED = "it cannot go on without a human"
    PARKED = "it only waits, and comes back by replay"
    REPLAYED = "it runs again from its history at once: there was no other way to stop an attempt"
    PAUSED = "somebody paused it, and what ran of it has ended"
    CONTINUED = "its instance goes on with a fresh history, and other params"
    UNDOES = "its instance is to undo its steps"
    STOPPED = "the core says so: the instance was terminated, or lives on in another life"
    DRAINED = "the engine closes"
    CRASHED = "the test engine loses what it had in memory"
    CANCELLED = "the task that ran it was cancelled"

    @property
    def is_for_later(self) -> bool:
        """Whether the instance was running until then and stays so: who closes the engine hands it
        back to the next one (L14)."""
        return self in (
            End.DRAINED,
            End.CANCELLED,
            End.STOPPED,
            End.CRASHED,
            End.CONTINUED,
            End.UNDOES,
        )
