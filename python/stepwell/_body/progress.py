"""What an instance reports of its progress, for watchers: the last report is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._errors import TooLarge
from .._values.codec import codec
from .._values.envelope import hide

if TYPE_CHECKING:
    from .life import Life

REPORT_MAX = 1 << 16
"""Bytes of one report, encoded."""


def report(
    life: Life,
    progress: Any,
    message: str | None,
    fields: dict[str, Any],
    *,
    is_sensitive: bool = False,
) -> None:
    """Keeps the last progress; none is repeated on replay. What cannot be kept is refused there
    too: the body may have gone another way for it. That of a sensitive step is not shown."""
    if life.stopping:
        return
    value = {
        "progress": progress,
        **({"message": message} if message is not None else {}),
        **fields,
    }
    try:
        payload = codec.encode(value, limit=REPORT_MAX, where="report")
    except TooLarge as error:
        raise TooLarge(
            f"report is {error.size:,} bytes when encoded, and {REPORT_MAX:,} is the most. "
            "Return what is long from a step",
            limit=REPORT_MAX,
            size=error.size,
        ) from None
    if is_sensitive:
        payload = hide(payload)
    if not life.delivery.replaying:
        life.port.report(life.who.no, life.who.incarnation, payload)
