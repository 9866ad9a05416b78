"""What the steps of a body in memory are doing at this moment: which attempt, since when, where,
until when (L13).

Everything here looks from outside and changes nothing, as `_body.diagnosis` does. It reads what
operations keep for themselves, so that they need not keep anything for this.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import trio

from .._body import diagnosis
from .._body.branch import place
from .._core import GAVE_UP
from .states import BEHIND, ENDED, LEFT, QUEUED, RUNNING, Standing
from .step_operation import StepOperation

if TYPE_CHECKING:
    from .._body.life import Life
    from .._replay import Identity
    from .._steps.borrowed import Borrowed, Thread

_THREADS = frozenset(
    vars(threading.Thread)[name].__code__ for name in ("run", "_bootstrap", "_bootstrap_inner")
)
"""What begins a thread, and is nobody's."""


def of(life: Life) -> list[Standing]:
    """Returns where the open steps of a body stand, in the order in which they were begun."""
    steps = [it for it in _steps(life) if it.live and not _is_announced(it)]
    tasks = _tasks(life, steps)
    return [_standing(step, tasks) for step in steps]


def runs(life: Life, *, but_in_body: bool = False) -> bool:
    """Whether an attempt of a body is under way, or about to be, or goes on without it;
    `but_in_body`: not counted one that runs in the body's own task."""
    return (
        life.rest.threads > 0
        or life.rest.winding > 0
        or any(
            it.live
            and not (but_in_body and it.is_in_body and it.thread is None)
            and (_is_announced(it) or _is_under_way(it))
            for it in _steps(life)
        )
    )


def _is_under_way(step: StepOperation) -> bool:
    if step.number or step.waiting:
        return False
    has_begun = step._context is not None and step._context.attempt == step._made + 1
    is_remote = step.on_asyncio and step.attempt_scope is not None
    # a plain function that waits for one of the engine's threads has not begun
    return step.thread is not None or is_remote or (step.runs and (step.is_in_body or has_begun))


def announced(life: Life) -> list[tuple[Identity, str, int]]:
    """Returns the steps, and their branches, of which something is being recorded before an attempt
    begins, and which attempt that is."""
    return [
        (it.identity, it.identity[1], it._made + 1)
        for it in _steps(life)
        if it.live and _is_announced(it)
    ]


def left(borrowed: Borrowed, no: int, life: Life | None) -> list[Standing]:
    """Returns the threads that no body of this instance waits for any more: of steps that timed out
    for good, or were let go (R4)."""
    waited_for = {} if life is None else life.delivery.open
    return [
        _in_thread(step, it, LEFT)
        for it in borrowed.threads
        if isinstance(step := it.operation, StepOperation)
        and step.life.who.no == no
        and waited_for.get(step.identity) is not step
    ]


def retries(life: Life) -> dict[int, tuple[int, int | None]]:
    """Returns how many attempts have failed, and how many retries there are (None: no end), by the
    number of the delay that is open."""
    return {
        step._delayed_by: (step._failed, step.plan.retry.limit)
        for step in _steps(life)
        if step.waiting
    }


def _steps(life: Life) -> list[StepOperation]:
    return [it for it in life.delivery.open.values() if isinstance(it, StepOperation)]


def _standing(step: StepOperation, tasks: dict[StepOperation, Any]) -> Standing:
    attempt, timeout = step._made + 1, step.plan.timeout

    def told(
        state: str, since: int, until: int | None, where: str = "", runs_on: str = ""
    ) -> Standing:
        is_held = step.is_ending and step.life.port.resistance.holds_step(step)
        return Standing(
            step.identity,
            step.identity[1],
            attempt,
            state,
            since,
            until,
            where,
            runs_on,
            step.is_cancelled,
            is_held,
        )

    if step.waiting:
        attempt -= 1  # the one that a retry delay comes after
        if step.thread is not None:
            return _in_thread(step, step.thread, BEHIND)
        return told(ENDED, step._started_at, None)
    if step.number:
        attempt = max(1, step._made) if step._verdict == GAVE_UP else attempt
        return told(ENDED, step._started_at, None)
    thread = step.thread
    if thread is not None:
        return _in_thread(step, thread, RUNNING if step.under_way == attempt else BEHIND)
    if not step.plan.is_async:
        return told(QUEUED, step._started_at, None)
    runs_on = step.plan.runtime or step.life.port.default_runtime
    if runs_on == "asyncio":
        carrier = getattr(step.attempt_scope, "_carrier", None)
        code = None if carrier is None else carrier.get_coro()
    else:
        code = getattr(tasks.get(step, step.life.task), "coro", None)
    return told(
        RUNNING,
        step._started_at,
        step._started_at + timeout,
        diagnosis.stands(code, in_steps=True),
        runs_on,
    )


def _in_thread(step: StepOperation, thread: Thread, state: str) -> Standing:
    attempt = step._made + (state == RUNNING)
    until = thread.since + step.plan.timeout if state == RUNNING else None
    where = _in_frames(_outwards(sys._current_frames().get(thread.ident or 0)))
    return Standing(
        step.identity,
        step.identity[1],
        attempt,
        state,
        thread.since,
        until,
        where,
        "thread",
        step.is_cancelled,
        False,
    )


def _is_announced(step: StepOperation) -> bool:
    """Whether something about an attempt is being recorded before it begins."""
    has_begun = step._context is not None and step._context.attempt == step._made + 1
    return step._awaited is not None and not step.waiting and not has_begun


def _tasks(life: Life, steps: list[StepOperation]) -> dict[StepOperation, Any]:
    """Returns the tasks of those steps that are not attempted in the body's own."""
    wanted = {step for step in steps if step._in_task}
    if not wanted:
        return {}
    tasks: dict[StepOperation, trio.lowlevel.Task] = {}
    for task in life.port.nursery.child_tasks:
        step: Any = task.context.get(place)
        if isinstance(step, StepOperation) and step in wanted:
            tasks[step] = task
    return tasks


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _in_frames(frames: Iterator[FrameType]) -> str:
    """Returns the innermost place in code of users: what a step calls of the standard library says
    less than the line that calls it."""
    users = [
        frame for frame in frames if diagnosis.is_users(frame) and frame.f_code not in _THREADS
    ]
    own = (
        frame
        for frame in users
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in sys.stdlib_module_names
    )
    frame = next(own, users[0] if users else None)
    return "" if frame is None else diagnosis.place_of(frame)
