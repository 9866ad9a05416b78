"""A store that another engine owns is waited for, so that on one machine a new process may begin
while the old one still drains.

Looks at the lock again and again: the owner may be of another process, or be killed, and tells
nobody. Each look leaves the files as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from .._errors import StoreLocked
from .._log import log
from .._values.durations import text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_WAIT, _LAST_WAIT = 0.02, 0.5
"""Seconds between two looks."""


async def opened(
    opens: Callable[[], Awaitable[T]], seconds: float | None, given_up: trio.Event
) -> T:
    """Opens a store, and looks again as long as it is another's.

    Args:
        opens: Opens it, or raises StoreLocked.
        seconds: How long it is waited for; None: not at all.
        given_up: Set when nobody waits for it any more.

    Raises:
        StoreLocked: It was another's all that time.
    """
    until = trio.current_time() + (seconds or 0)
    wait, has_told = _FIRST_WAIT, False
    while True:
        try:
            return await opens()
        except StoreLocked as error:
            left = until - trio.current_time()
            if seconds is None or given_up.is_set():
                raise
            if left <= 0:
                waited = text(round(seconds * 1e6))
                raise StoreLocked(f"{error} It was waited for {waited}.") from None
            if not has_told:
                has_told = True
                log.info("waiting up to %s: %s", text(round(seconds * 1e6)), error)
        with trio.move_on_after(min(wait, left)):
            await given_up.wait()
        wait = min(2 * wait, _LAST_WAIT)
