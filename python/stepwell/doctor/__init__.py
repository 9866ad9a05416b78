"""What is wrong with a store, and what to do: for somebody at three in the morning, and for the
command `stepwell doctor`.

`examine` looks, at a store whose engine runs and at the file of one that has none; it changes
nothing. `repair` writes what can be saved of a damaged store into a new file, and says what
cannot; the old one stays as it is. Both block: they are for a program of their own, or a thread.
"""

from __future__ import annotations

import trio

from .._values.durations import Duration
from ._finding import Finding
from ._salvage import Lost, Repaired, repair

__all__ = ["Finding", "Lost", "Repaired", "examine", "repair"]


def examine(store: str, *, timeout: Duration = "5 seconds") -> list[Finding]:
    """Returns what is wrong with a store; nothing, if all is well.

    What its engine knows is asked over its socket; without one it is read from the file, which is
    then also checked as a whole, if it has less than 4 GiB.

    Args:
        store: Path of the store.
        timeout: In this time an engine that has it has to answer.

    Raises:
        StoreFailed: There is none, or what is there is no store.
    """
    from . import _asked, _file  # what they need, nobody else does

    shape = _file.looked_at(store)
    found = _file.findings(shape)
    if not shape.has_header:
        return found
    is_damaged = any(it.id == "damaged" for it in found)
    return found + trio.run(_asked.findings, shape, timeout, is_damaged)
