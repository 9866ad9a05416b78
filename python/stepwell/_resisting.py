"""Bodies that do not end when they are told to (P1).

The engine unwinds a body by cancelling it. Code that catches this and goes on is cancelled again wherever it waits, for nothing that
it waits for will come. After a hundred times a task of such a body is not driven any more: it keeps its memory, and takes no time.
What waits behind a shield is left in peace as well, until the engine closes. Then such tasks end, innermost first: shields are taken
away, and a task leaves its code where that stands, unfinished for ever. `_asyncio_turns` has the same for bodies on asyncio.

A task that waits for something that cannot be cancelled, such as a thread of trio's, stays: it would be woken after its end.
"""

from __future__ import annotations

import types
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import outcome as results
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

if TYPE_CHECKING:
    from ._runner import Runner

CANCELS_MAX = 100
"""Cancellations that a task of a body may outlive before it is not driven any more."""
RESUMES_MAX = 10_000
"""Times that it may go on otherwise, such as behind a shield."""


class Resistance:
    """The bodies of one engine, on trio, that resist."""

    def __init__(self) -> None:
        self._held: set[Task] = set()
        """Tasks that are not driven any more."""
        self._given_up: set[Runner] = set()
        """Bodies whose tasks are to leave their code."""

    @types.coroutine
    def leaves(self, runner: Runner, resisted: int) -> Generator[Any, Any, bool]:
        """Asked when a task of a body goes on that should end. Returns whether it is to leave its code unfinished.

        Args:
            resisted: What that and all such times before count together.
        """
        if resisted > RESUMES_MAX and runner not in self._given_up:
            self._held.add(current_task())
            runner.port.progressed()
            yield from wait_task_rescheduled(lambda _: Abort.FAILED).__await__()
        return runner in self._given_up

    def holds(self, runner: Runner) -> bool:
        """Whether no task of a body is driven any more. One that has not begun will, and ends then."""
        return runner.task is not None and all(task in self._held for task in _innermost(runner.task))

    def end_innermost(self, runner: Runner) -> None:
        """Ends those tasks of a body that no others of it stand in the way of, as far as that can be done."""
        self._given_up.add(runner)
        for task in list(_innermost(runner.task)):
            if task in self._held:
                self._held.remove(task)
                reschedule(task)
            else:
                _expose(task, runner.scope)

    def forget(self, runner: Runner) -> None:
        """A body has left memory."""
        self._given_up.discard(runner)


def weight(answer: Any) -> int:
    """Returns what it counts that a task goes on with this answer of trio's."""
    was_cancelled = isinstance(answer, results.Error) and isinstance(answer.error, trio.Cancelled)
    return RESUMES_MAX // CANCELS_MAX if was_cancelled else 1


def leave_unfinished(code: Any) -> None:
    """Keeps code for ever as it stands. To free it would be to close it, and it would catch that as it caught all else."""
    import ctypes  # here, because few programs ever come here

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(code))


def leave_nurseries(task: Task) -> None:
    """Cancels the nurseries that a task leaves open, as trio does when a task ends inside of one; but that is no error of the engine's."""
    for nursery in task.child_nurseries:
        nursery.cancel_scope.cancel()
        nursery._closed = True
    task._child_nurseries.clear()


def _innermost(task: Task | None) -> Iterator[Task]:
    if task is None:
        return
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    for child in children:
        yield from _innermost(child)
    if not children:
        yield task


def _expose(task: Task, scope: trio.CancelScope) -> None:
    """Takes away the shields between a task of a body and the scope of the body, which is cancelled. trio keeps them to itself."""
    status: Any = getattr(task, "_cancel_status", None)
    while status is not None and status._scope is not scope:
        status._scope.shield = False
        status = status.parent
