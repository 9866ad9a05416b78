"""The warning of a first retention: what goes, while there is time to take it back."""

from __future__ import annotations

from .._log import log
from .._values.durations import from_us


def warn_of_first(overdue: tuple[int, int] | None) -> None:
    """Tells, once in the life of a store, how many instances its first retention ends."""
    if overdue is not None:
        count, at = overdue
        log.warning(
            "this store is opened with a retention for the first time, and the time of %d of its "
            "instances is over: %s deleted from %s on. To keep them, close the engine before that "
            "and open it with a longer retention, or without one.",
            count, "it is" if count == 1 else "they are", from_us(at).isoformat(timespec="seconds"),
        )  # fmt: skip
