"""What trio and asyncio say when their code runs where they are not. Each says it in several ways,
none of which names the cure."""

from __future__ import annotations

import traceback
from types import FrameType

_IN_ASYNCIO = "no running event loop"
_IN_TRIO = "must be called from async context"


def stranger(error: BaseException) -> str | None:
    """Returns whose code this comes from, "trio" or "asyncio", if that code is in no task of it;
    None: the error says something else."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kind = type(error)
    if kind not in (RuntimeError, TypeError, AttributeError):
        return None
    text = str(error)
    if kind is RuntimeError:
        is_trio = _IN_TRIO in text or ("got bad yield" in text and "trio" in text)
        return "trio" if is_trio else "asyncio" if _IN_ASYNCIO in text else None
    if kind is TypeError:
        return (
            "asyncio" if text.startswith("trio.run received unrecognized yield message") else None
        )
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    # asyncio has asked for the loop that runs, and none does
    if "'NoneType' object has no attribute" in text and library(frame) == "asyncio":
        return "asyncio"
    return (
        "trio"
        if ("'RunContext' object has no attribute") in text and library(frame) == "trio"
        else None
    )


def library(frame: FrameType) -> str:
    """Returns the top-level package whose code a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
