"""How a task of a body waits until the engine wakes it, on either runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import outcome as results
from trio.lowlevel import Task, current_task, reschedule, wait_task_rescheduled

from .stopping import stop_here

if TYPE_CHECKING:
    from .life import Life


async def suspended(life: Life, waiter: Any) -> Any:
    """Blocks the body task that calls until `wake`; `waiter` has it as its `task`, and is told by
    `aborted` when it is cancelled."""
    if life.stopping:  # by what it has just asked for: behind a shield nobody would wake it
        await stop_here(life)
    if life.loop is not None:
        waiter.task = life.loop.suspension(waiter.aborted)
        return await waiter.task
    waiter.task = current_task()
    try:
        return await wait_task_rescheduled(waiter.aborted)
    finally:
        # whatever ended the wait, were it a call that could not be made: nobody may wake this task
        # any more
        waiter.task = None


def wake(task: Any, value: Any) -> None:
    """Lets a suspended body task go on."""
    if type(task) is Task:
        reschedule(task, results.Value(value))
    else:
        task.wake(value)


def wake_cancelled(task: Any, raise_cancel: Callable[[], NoReturn]) -> None:
    """Lets a body task learn that it was cancelled, as `Abort.FAILED` put that off."""
    if type(task) is Task:
        reschedule(task, results.capture(raise_cancel))
    else:
        task.cancel_now()
