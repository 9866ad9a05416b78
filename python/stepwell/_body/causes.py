"""What an exception that code of an instance raises says of who caused it (R9).

Ctrl-C is the engine's (R7), a cancellation goes on to the scope that asked for it, and all else is
a failure. trio's `Cancelled` does not say who asked for it. But where nothing is cancelled nobody
did: a library kept it, and raises it again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from .._errors import StepwellError

if TYPE_CHECKING:
    from .life import Life


def interrupt_in(error: BaseException) -> KeyboardInterrupt | None:
    """Returns the Ctrl-C that struck the code which raised this, if one did.

    Where it kept code from leaving a nursery, trio says that instead.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(
            (found for it in error.exceptions if (found := interrupt_in(it)) is not None), None
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


def was_cancelled(life: Life, error: BaseException) -> bool:
    """Whether code of an instance raised this because it was cancelled, by the engine or by a scope
    around it."""
    return part(error, trio.Cancelled) is not None and (bool(life.stopping) or _is_cancelled_here())


def strayed(life: Life, error: BaseException) -> StepwellError | None:
    """Returns what a branch of a body is to raise in place of a cancellation that nobody asked for;
    None: it may raise what it does.

    A nursery of trio's takes any `Cancelled` for its own: it would end without a word, and the body
    would go on.
    """
    if part(error, trio.Cancelled) is None or was_cancelled(life, error):
        return None
    return StepwellError(f"a branch of {life.who} raised {error!r}, and nothing had cancelled it")


def part(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Returns what is of a kind in an exception; nothing that a group's own class defines, such as
    `derive`, is called for that."""
    if isinstance(error, BaseExceptionGroup):
        return next(
            (found for it in error.exceptions if (found := part(it, kind)) is not None), None
        )
    return error if isinstance(error, kind) else None


def _is_cancelled_here() -> bool:
    return trio.lowlevel.in_trio_task() and trio.current_effective_deadline() == -math.inf
