"""Room on the stack: whether Python's recursion limit can strike code of the engine's own.

It strikes at any call, so also between what was submitted and the note of it, or where a task was
told that it waits and does not yet. What is half done there would be found by somebody else, as an
answer to another question or a task that cannot be woken. So whatever a program's code calls asks
here first. A call too deep raises its `RecursionError` before anything has begun, in every life of
an instance at the same place, and that is a failure of that code like any other (R9).
"""

from __future__ import annotations

import functools
import sys
from typing import Any

ROOM = 48
"""Calls that are to be left. The deepest of the engine's own, which tells the log of a step that
has failed, needs about 30."""


if sys.version_info >= (3, 12):  # only calls of Python code are counted, and their frames are those

    def need_room() -> None:
        """Called first by whatever code of a program calls.

        Raises:
            RecursionError: Fewer than `ROOM` calls are left.
        """
        if sys._getframemodulename(sys.getrecursionlimit() - ROOM) is not None:
            raise RecursionError(
                "maximum recursion depth exceeded: there is no room for a call of the engine"
            )

# any call is counted, such as those by which `isinstance` looks into tuples of classes: that takes
# 0.15 µs
else:
    _nested: Any = int
    for _ in range(ROOM):
        _nested = (_nested,)
    need_room = functools.partial(isinstance, None, _nested)
