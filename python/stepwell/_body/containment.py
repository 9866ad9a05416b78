"""What a part of an instance raises stays in that instance, whatever class it is of (R9).

A part is what of an instance runs in a task or a callback of the engine's: its body, attempts in
tasks of their own, the end of an attempt that ran elsewhere. Each runs in a `Guard`, and nothing
gets past that. Before it comes to that, attempts and bodies tell apart what they catch; see
`causes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import StepwellError
from .._log import log
from . import stopping
from .causes import interrupt_in, part, was_cancelled

if TYPE_CHECKING:
    from .life import Life


class Guard:
    """Around a part of an instance, at its border to the engine: nothing that it raises gets past
    this."""

    __slots__ = ("_life",)

    def __init__(self, life: Life) -> None:
        self._life = life

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            contain(self._life, error)
        return True


def contain(life: Life, error: BaseException) -> None:
    """Sees to it that what a part raises ends that instance's life in memory, and nothing else."""
    struck = interrupt_in(error)
    if struck is not None:
        life.port.interrupted_by(struck)
    # what an unwound body raises is discarded (P1)
    elif not (life.stopping or was_cancelled(life, error)):
        who = f"{life.who}"
        log.error("internal error in %s", who, exc_info=error)
        told = StepwellError(
            f"{type(error).__qualname__}: {error} was raised while the engine worked for {who}, in "
            "neither its body nor a step of it. If code of yours did, such as a method of a "
            "value's class, mend it, then resume(); if not, report it with the log's traceback."
        )
        told.__cause__ = error
        stopping.block(life, "internal", told)


async def check_is_failure(life: Life, error: BaseException) -> None:
    """Returns if what an attempt raised is a failure of its step.

    The cancellation of what it runs in is raised again, without whatever else its tasks raised:
    what is cancelled is given up (P1, I8). Ctrl-C stops the engine, and nothing is recorded: then
    this never returns.
    """
    struck = interrupt_in(error)
    if struck is not None:
        life.port.interrupted_by(struck)
        await stopping.stop_here(life)
    cancelled = part(error, trio.Cancelled) if was_cancelled(life, error) else None
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled, error  # their tracebacks have this frame: a circle


def spawn(life: Life, run: Callable[[], Awaitable[None]], variables: Context) -> None:
    """Runs the attempts of a step in a task of their own, outside the body (I8), with the body's
    context variables (I12)."""
    variables.run(life.port.nursery.start_soon, _guarded, life, run)


@enable_ki_protection
async def _guarded(life: Life, run: Callable[[], Awaitable[None]]) -> None:
    with Guard(life):
        await run()
