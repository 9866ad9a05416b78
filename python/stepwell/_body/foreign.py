"""What a body must not do: wait for, or be cancelled by, something that the engine knows nothing of
(I9).

It would come at another moment on replay, so the instance is blocked, and told where and what to
use instead. Seen is what the counts of `turns` show: a body task that becomes runnable between two
turns, and a body at rest without an open operation; and that a task leaves an operation because
trio cancelled it by a deadline, or from code that is not the body's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import outcome as results
import trio

from . import diagnosis, stopping

if TYPE_CHECKING:
    from .life import Life, Operation


def came_to_rest(life: Life) -> None:
    """Every body task is blocked. If none of them in an operation, nothing that replays can ever
    wake one."""
    counts = life.tally or life.turns
    if not life.delivery.open and stopping.goes_on(life) and counts is not None:
        wait(life, counts.coroutines())


def wait(life: Life, coroutines: list[Any]) -> None:
    """Body tasks with this code wait, or waited, for something other than the engine and the body's
    own tasks."""
    # it was cancelled in there: `left` sees to that
    strayed = any(operation.strayed for operation in life.delivery.open.values())
    if stopping.goes_on(life) and not strayed:
        stopping.block(life, "foreign_wait", diagnosis.foreign_wait(life, coroutines))


def strays(operation: Operation, raise_cancel: Callable[[], NoReturn]) -> bool:
    """Whether the cancellation of a body task that is blocked in an operation would not replay.
    Nothing may be cancelled from in here, so the instance is blocked when the task has left
    (`left`)."""
    operation.strayed = operation.strayed or _cancels(
        operation.life, results.capture(raise_cancel).error
    )
    return operation.strayed


def _cancels(life: Life, cancelled: BaseException) -> bool:
    if not isinstance(cancelled, trio.Cancelled):
        return False  # the loop of a body on asyncio knows no other code than the body's
    if cancelled.source == "deadline":
        return not life.stopping
    # While a body task runs it may cancel others; between turns only the engine may.
    counts = life.tally
    return (
        cancelled.source == "explicit"
        and counts is not None
        and not (counts.runnable or counts.moving or life.stopping)
    )
