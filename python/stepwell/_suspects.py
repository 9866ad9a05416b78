"""Who may have killed the process, and cannot be blocked for it any more (L11)."""

from __future__ import annotations

from ._log import log
from ._types import STATUSES


def warn_of(suspects: list[tuple[str, str, str, int]]) -> None:
    """Names those that had ended, or gone to wait, just before the process died, among those that were tried for killing it."""
    for namespace, workflow, id, status in suspects:
        whose = "" if namespace == "default" else f' in namespace "{namespace}"'
        log.warning(
            "%s/%s%s may be what killed the process: it was one of those that were running when earlier processes died, and this time "
            "it had stopped running (it is %s) less than a second before. It is not blocked for that: look at what its last steps do to "
            "the process.",
            workflow, id, whose, STATUSES[status].value,
        )  # fmt: skip
