"""What an engine that opens has to say of instances that it cannot block: who may have killed the
process (L11), and who is damaged."""

from __future__ import annotations

from .._log import log
from .._types import STATUSES

UNREADABLE_MAX = 20
"""Damaged rows that one line names."""


def warn_of(suspects: list[tuple[str, str, str, int]]) -> None:
    """Names those that had ended, or gone to wait, just before the process died, among those that
    were tried for killing it."""
    for namespace, workflow, id, status in suspects:
        whose = "" if namespace == "default" else f' in namespace "{namespace}"'
        log.warning(
            "%s/%s%s may be what killed the process: it was one of those that were running when "
            "earlier processes died, and this time it had stopped running (it is %s) less than a "
            "second before. It is not blocked for that: look at what its last steps do to the "
            "process.",
            workflow, id, whose, STATUSES[status].value,
        )  # fmt: skip


def tell_unreadable(damaged: list[str]) -> None:
    """Tells in one line of rows that cannot be read, or of which nobody knows whose they are:
    nothing of them runs, or is changed."""
    if damaged:
        log.error(
            "the store is damaged: %d row%s cannot be read, and %s left alone; everything else "
            "goes on. Keep a copy, and restore the file from a backup. %s%s",
            len(damaged), "s" * (len(damaged) != 1), "is" if len(damaged) == 1 else "are",
            "; ".join(damaged[:UNREADABLE_MAX]),
            "; …" if len(damaged) > UNREADABLE_MAX else "",
        )  # fmt: skip
