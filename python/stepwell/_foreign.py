"""What a body must not do: wait for, or be cancelled by, something that the engine knows nothing of
(I9).

It would come at another moment on replay, so the instance is blocked, and told where and what to
use instead. Seen is what the counts of `_turns` show: a body task that becomes runnable between two
turns, and a body at rest without an open operation; and that a task leaves an operation because
trio cancelled it by a deadline, or from code that is not the body's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import outcome as results
import trio

from . import _diagnosis
from ._branch import current_branch

if TYPE_CHECKING:
    from ._operation import Operation
    from ._runner import Runner


def came_to_rest(runner: Runner) -> None:
    """Every body task is blocked. If none of them in an operation, nothing that replays can ever
    wake one."""
    counts = runner.tally or runner.turns
    if not runner.delivery.open and runner.goes_on and counts is not None:
        wait(runner, counts.coroutines())


def wait(runner: Runner, coroutines: list[Any]) -> None:
    """Body tasks with this code wait, or waited, for something other than the engine and the body's
    own tasks."""
    # it was cancelled in there: `left` sees to that
    strayed = any(operation.strayed for operation in runner.delivery.open.values())
    if runner.goes_on and not strayed:
        runner.block("foreign_wait", _diagnosis.foreign_wait(runner, coroutines))


def strays(operation: Operation, raise_cancel: Callable[[], NoReturn]) -> bool:
    """Whether the cancellation of a body task that is blocked in an operation would not replay.
    Nothing may be cancelled from in here, so the instance is blocked when the task has left
    (`left`)."""
    operation.strayed = operation.strayed or _cancels(
        operation.runner, results.capture(raise_cancel).error
    )
    return operation.strayed


def check_deadlines(runner: Runner) -> None:
    """Blocks the instance if what its body is about to begin stands under a deadline of trio's. A
    test engine looks, in whose time such a deadline never comes, or always."""
    if (
        runner.loop is None
        and current_branch() is not None
        and math.isfinite(trio.current_effective_deadline())
    ):
        runner.block("foreign_wait", _diagnosis.foreign_deadline(runner))


def left(operation: Operation, error: BaseException) -> None:
    """A body task leaves an operation without its outcome; a cancellation that would not replay
    blocks the instance."""
    runner = operation.runner
    by_deadline = isinstance(error, trio.Cancelled) and error.source == "deadline"
    if (operation.strayed or by_deadline) and not runner.stopping:
        runner.block("foreign_wait", _diagnosis.foreign_cancel(runner))
    runner.withdraw(operation)


def _cancels(runner: Runner, cancelled: BaseException) -> bool:
    if not isinstance(cancelled, trio.Cancelled):
        return False  # the loop of a body on asyncio knows no other code than the body's
    if cancelled.source == "deadline":
        return not runner.stopping
    # While a body task runs it may cancel others; between turns only the engine may.
    counts = runner.tally
    return (
        cancelled.source == "explicit"
        and counts is not None
        and not (counts.runnable or counts.moving or runner.stopping)
    )
