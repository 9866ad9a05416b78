"""How a body ends its life in memory, and what it may not do any more from then on (P1).

Whoever ends a body says why (`End`), once. From then on the body submits nothing and begins
nothing, and nothing is delivered to it. Whether it may begin anything is decided in one place,
`may_begin`; a task that may not waits until the body unwinds.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, NoReturn

import trio

from .._ending import End
from .._errors import StepwellError
from .._formats import CANCELLED_ATTEMPTS_END
from .._log import log
from .._values.codec import Undecodable, codec
from .._values.failures import MissingClass, describe_body, from_users_code
from . import diagnosis
from .branch import current_branch
from .causes import interrupt_in

if TYPE_CHECKING:
    from .._replay import Mismatch
    from .life import Life, Operation


def may_begin(life: Life) -> bool:
    """Whether code of the body may begin anything now: the one place where that is decided.

    A body that was refused is not driven any more, though the engine may still give its
    attempts time to end: nothing is delivered to it, and neither its history nor its rest is
    judged by what it was not allowed to begin.
    """
    if (error := sys.exception()) is not None and error is not life.port.outer:
        struck(life, error)
    if life.port.observed and not life.port.draining:
        _check_deadlines(life)
    if life.is_refused or life.stopping or life.is_pausing or life.port.draining:
        life.is_refused = True
        return False
    return True


def _check_deadlines(life: Life) -> None:
    """Blocks the instance if what its body is about to begin stands under a deadline of trio's. A
    test engine looks, in whose time such a deadline never comes, or always."""
    if (
        life.loop is None
        and current_branch() is not None
        and math.isfinite(trio.current_effective_deadline())
    ):
        block(life, "foreign_wait", diagnosis.foreign_deadline(life))


async def enter(life: Life) -> None:
    """Returns if body code may begin something; a body that may not never comes back from
    here."""
    if not may_begin(life):
        await stop_here(life)


async def leave_if_cancelled(life: Life) -> None:
    """What a cancelled scope of the body asks for never begins, as with everything of trio's
    (I8)."""
    if life.who.format >= CANCELLED_ATTEMPTS_END and life.loop is None:
        await trio.lowlevel.checkpoint_if_cancelled()


def goes_on(life: Life) -> bool:
    """Whether the body is driven by what happens to its instance: it neither ends nor was
    refused to begin something."""
    return not (life.stopping or life.is_refused)


def struck(life: Life, error: BaseException) -> None:
    """Code of the body raises this, or handles it: if it is Ctrl-C, nothing that the body makes
    of it is recorded (R7)."""
    if (interrupt := interrupt_in(error)) is not None:
        life.port.interrupted_by(interrupt)
        unwind(life, End.STOPPED)


def handles(life: Life, error: BaseException | None) -> None:
    """Code of the body raised this, or handles it, while outcomes are undelivered: if the next
    one does not fit, it may be why (I5)."""
    # else it is what history itself brought
    if isinstance(error, Exception) and not isinstance(error, StepwellError):
        life.raised = error


def unwind(life: Life, why: End) -> None:
    """Cancels the body (P1). From now on it submits nothing."""
    if life.stopping is None:
        life.stopping, life.stopped_at = why, life.port.now()
        operations = list(life.delivery.open.values())  # before the cancellation takes them out
        life.scope.cancel()
        # what is settled from now on belongs to the body that comes after this one
        life.rest.end()
        if life.halted is not None:
            life.halted.set()
        for operation in operations:
            operation.end_attempts()
            operation.stop()


async def stop_here(life: Life) -> NoReturn:
    """Never returns: no operation begins any more. Raises `Cancelled` once the body unwinds,
    shields notwithstanding (P1)."""
    if life.stopping is None:
        life.port.progressed()  # perhaps it was the last that somebody waits for
    # else it is an attempt in a task of its own
    if life.loop is not None and life.loop.is_running():
        await life.loop.halt()
    # the engine drains, or it pauses, and attempts that run are waited for
    if life.stopping is None:
        if life.halted is None:
            life.halted = trio.Event()
        await life.halted.wait()
    caught: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            caught.append(error)
    raise caught.pop()  # its scope is gone; the body's own one is cancelled and takes it


def mismatch(life: Life, found: Mismatch, wanted: Operation | None) -> None:
    """The code is not what history was made by: block, with a diff (I5, I10)."""
    identity = None if wanted is None else wanted.identity
    block(
        life,
        "nondeterminism",
        diagnosis.mismatch(life, found, identity, life.raised),
        found.recorded[2],
    )


def block(life: Life, reason: str, error: BaseException, step: str | None = None) -> None:
    """The instance needs a human: the body is unwound, and nothing more of it is recorded.
    `step`: the one it is about."""
    if not goes_on(life):
        return
    if life.undoing is not None and reason != "undecodable":  # which may be readable again (D7)
        life.undoing.why = error
        unwind(life, End.UNDOES)
        return
    log.error(
        "%s is blocked (%s): %s",
        life.who,
        reason,
        error,
        exc_info=None if error.__cause__ is None else from_users_code(error.__cause__),
    )
    if life.port.told is not None:
        life.port.told.fails(life.who.no, error, reason)
    life.port.block(
        life.who.no, life.who.incarnation, reason, codec.encode(describe_body(error)), step
    )
    unwind(life, End.BLOCKED)


async def unreadable(
    life: Life, what: str, error: Undecodable, step: str | None = None
) -> NoReturn:
    """A stored value cannot become today's type, or a failure has lost its class: block. The
    body never sees that (D7, D9, I10)."""
    if isinstance(error, MissingClass):
        life.port.lacks_class(life, (error.module, error.qualname))
        block(life, "missing_class", diagnosis.missing_class(life, what, error), step)
    else:
        block(life, "undecodable", diagnosis.unreadable(life, what, error), step)
    await stop_here(life)
