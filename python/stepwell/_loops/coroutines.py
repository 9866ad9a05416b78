"""What is asked of coroutines wherever they are driven by hand: to be one, and to be left."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any


def leave_unfinished(code: Any) -> None:
    """Keeps code for ever as it stands. To free it would be to close it, and it would catch that as
    it caught all else."""
    import ctypes  # here, because few programs ever come here

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(code))


def as_coroutine(made: Any) -> Coroutine[Any, Any, Any]:
    """Returns what an async function made, which may be any awaitable, as what can be sent to."""
    return made if inspect.iscoroutine(made) else _awaited(made)


async def _awaited(made: Any) -> Any:
    return await made
