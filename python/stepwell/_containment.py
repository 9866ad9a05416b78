"""What a part of an instance raises stays in that instance, whatever class it is of (R9).

A part is what of an instance runs in a task or a callback of the engine's: its body, attempts in
tasks of their own, the end of an attempt that ran elsewhere. Each runs in a `Guard`, and nothing
gets past that. Before it comes to that, attempts and bodies tell apart what they catch: Ctrl-C is
the engine's (R7), a cancellation goes on to the scope that asked for it, and all else is a failure.
trio's `Cancelled` does not say who asked for it. But where nothing is cancelled nobody did: a
library kept it, and raises it again.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from ._errors import StepwellError
from ._log import log

if TYPE_CHECKING:
    from ._runner import Runner


class Guard:
    """Around a part of an instance, at its border to the engine: nothing that it raises gets past
    this."""

    __slots__ = ("_runner",)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            contain(self._runner, error)
        return True


def contain(runner: Runner, error: BaseException) -> None:
    """Sees to it that what a part raises ends that instance's life in memory, and nothing else."""
    struck = interrupt_in(error)
    if struck is not None:
        runner.port.interrupted_by(struck)
    # what an unwound body raises is discarded (P1)
    elif not (runner.stopping or was_cancelled(runner, error)):
        who = f"{runner.who}"
        log.error("internal error in %s", who, exc_info=error)
        told = StepwellError(
            f"{type(error).__qualname__}: {error} was raised while the engine worked for {who}, in "
            "neither its body nor a step of it. If code of yours did, such as a method of a "
            "value's class, mend it, then resume(); if not, report it with the log's traceback."
        )
        told.__cause__ = error
        runner.block("internal", told)


def interrupt_in(error: BaseException) -> KeyboardInterrupt | None:
    """Returns the Ctrl-C that struck the code which raised this, if one did.

    Where it kept code from leaving a nursery, trio says that instead.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(
            (found for part in error.exceptions if (found := interrupt_in(part)) is not None), None
        )
    if is_misnesting(error) and error.__context__ is not None:
        return interrupt_in(error.__context__)
    return error if isinstance(error, KeyboardInterrupt) else None


_CORRUPTED = (
    "Cancel scope stack corrupted",
    "Nursery stack corrupted",
    "Nursery misnesting detected",
)


def is_misnesting(error: BaseException | None) -> bool:
    """Whether trio says with this that a scope or a nursery is left that is not the innermost
    one."""
    return isinstance(error, RuntimeError | AssertionError) and any(
        text in str(error) for text in _CORRUPTED
    )


def was_cancelled(runner: Runner, error: BaseException) -> bool:
    """Whether code of an instance raised this because it was cancelled, by the engine or by a scope
    around it."""
    return _part(error, trio.Cancelled) is not None and (
        bool(runner.stopping) or _is_cancelled_here()
    )


def strayed(runner: Runner, error: BaseException) -> StepwellError | None:
    """Returns what a branch of a body is to raise in place of a cancellation that nobody asked for;
    None: it may raise what it does.

    A nursery of trio's takes any `Cancelled` for its own: it would end without a word, and the body
    would go on.
    """
    if _part(error, trio.Cancelled) is None or was_cancelled(runner, error):
        return None
    return StepwellError(f"a branch of {runner.who} raised {error!r}, and nothing had cancelled it")


async def check_is_failure(runner: Runner, error: BaseException) -> None:
    """Returns if what an attempt raised is a failure of its step.

    The cancellation of what it runs in is raised again, without whatever else its tasks raised:
    what is cancelled is given up (P1, I8). Ctrl-C stops the engine, and nothing is recorded: then
    this never returns.
    """
    struck = interrupt_in(error)
    if struck is not None:
        runner.port.interrupted_by(struck)
        await runner.stop_here()
    cancelled = _part(error, trio.Cancelled) if was_cancelled(runner, error) else None
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled, error  # they lead back to this frame


def _part(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Returns what is of a kind in an exception; nothing that a group's own class defines, such as
    `derive`, is called for that."""
    if isinstance(error, BaseExceptionGroup):
        return next(
            (found for part in error.exceptions if (found := _part(part, kind)) is not None), None
        )
    return error if isinstance(error, kind) else None


def _is_cancelled_here() -> bool:
    return trio.lowlevel.in_trio_task() and trio.current_effective_deadline() == -math.inf
