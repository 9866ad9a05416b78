"""Code that does not end when it is told to (P1): bodies, and steps on trio.

The engine unwinds a body by cancelling it. Code that catches this and goes on is cancelled again
wherever it waits, for nothing that it waits for will come. After a hundred times a task of such a
body is not driven any more: it keeps its memory, and takes no time. What waits behind a shield is
left in peace as well, until the engine closes. Then such tasks end, innermost first: shields are
taken away, and a task leaves its code where that stands, unfinished for ever. `asyncio_turns` has
the same for bodies on asyncio.

An attempt that is to end is treated alike, whoever cancels it: its timeout, its body (which waits
for its end, I8), or the engine. What its own code cancels does not count, nor does what goes on
behind a shield. Its code runs in tasks that it has started, too. Those are trio's, until the
attempt is to end: from then on they are driven from here (`_until_it_ends`).

A task that waits for something that cannot be cancelled, such as a thread of trio's, stays: it
would be woken after its end.
"""

from __future__ import annotations

import types
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import outcome as results
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from .._log import log
from .._loops.coroutines import leave_unfinished
from .._loops.interrupts import calls_code
from . import diagnosis
from .branch import Branch, place

if TYPE_CHECKING:
    from .life import Life, Port
    from .running import Running

CANCELS_MAX = 100
"""Cancellations that a task may outlive before it is not driven any more."""
RESUMES_MAX = 10_000
"""Times that it may go on otherwise, such as behind a shield."""


class Resistance:
    """The bodies and attempts of one engine, on trio, that resist."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._held: dict[Task, Running | None] = {}
        """Tasks that are not driven any more, and which step's code they run; None: a body's."""
        self._given_up: set[Life] = set()
        """Those whose tasks, and whose attempts' tasks, are to leave their code."""

    @types.coroutine
    def leaves(
        self, life: Life, resisted: int, code: Any, step: Running | None = None
    ) -> Generator[Any, Any, bool]:
        """Asked when a task goes on that should end. Returns whether it is to leave its code
        unfinished.

        Args:
            resisted: What that and all such times before count together.
            code: What it runs.
            step: Whose code that is; None: the body's.
        """
        if resisted > RESUMES_MAX and life not in self._given_up:
            self._held[current_task()] = step
            if step is not None:
                log.warning("%s", diagnosis.resisting_step(step, code))
            self._port.progressed()
            yield from wait_task_rescheduled(lambda _: Abort.FAILED).__await__()
        return life in self._given_up

    def holds(self, root: Task | None) -> bool:
        """Whether a task, of a body or an attempt, and all below it are not driven any more. One
        that has not begun will, and ends then."""
        return root is not None and all(task in self._held for task in _innermost(root))

    def holds_step(self, step: Running) -> bool:
        """Whether code of an attempt of this step is not driven any more."""
        return step in self._held.values()

    def attempts(self) -> list[Task]:
        """Returns the tasks, each of its own, of the attempts that have not ended."""
        return [task for task in self._port.nursery.child_tasks if self._step_of(task) is not None]

    def _step_of(self, task: Task) -> Running | None:
        here = task.context.get(place)
        return (
            here
            if here is not None and not isinstance(here, Branch) and here.life.port is self._port
            else None
        )

    def end_body(self, life: Life) -> None:
        """Ends those tasks of a body that no others of it stand in the way of, as far as that can
        be done."""
        if life.task is not None:
            self._end_innermost(life, life.task, life.scope)

    def end_attempt(self, root: Task) -> None:
        """The same for an attempt in a task of its own."""
        step = self._step_of(root)
        if step is not None and step.scope is not None:
            self._end_innermost(step.life, root, step.scope)

    def _end_innermost(self, life: Life, root: Task, scope: trio.CancelScope) -> None:
        self._given_up.add(life)
        for task in list(_innermost(root)):
            if task in self._held:
                del self._held[task]
                reschedule(task)
            else:
                _expose(task, scope)

    def forget(self, life: Life) -> None:
        """A body has left memory."""
        self._given_up.discard(life)

    # Tasks that an attempt has started.

    def watch(self, step: Running) -> None:
        """An attempt is about to be cancelled: its code is driven from here from now on, in all of
        its tasks."""
        root = step.root
        if root is not None:
            for task in list(_below(root)):
                self.born(task, step)

    def born(self, task: Task, step: Running) -> None:
        """A task was started, or found, that runs in the context of an attempt that is to end."""
        if (
            type(task.context.get(place)) is not Branch
            and not _is_driven(task)
            and _is_below(task, step.root)
        ):
            code: Any = _until_it_ends(step, task.coro)
            code.send(None)
            task.coro = code


@calls_code
@types.coroutine
def _until_it_ends(step: Running, coroutine: Any) -> Generator[Any, Any, Any]:
    """Runs the code of a task that an attempt has started; it may have begun long ago."""
    answer: Any = yield
    error: BaseException | None = None
    ground = Ground.of_task()
    while True:
        try:
            trap = coroutine.send(answer) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        finally:
            answer = error = None  # the traceback of one that leaves has this frame: a circle
        try:
            answer = yield trap
        except BaseException as raised:
            error = raised
        # a generator, whatever its decorator says
        leaves: Any = ground.leaves(step, coroutine, answer)
        if (yield from leaves):
            return None


class Ground:
    """Where code of an attempt begins in a task: what it has entered since, and not left, stands on
    that.

    Args:
        inside: Of what it begins in: trio's cancel status, which it keeps to itself.
        nurseries: How many are open there.
    """

    __slots__ = ("_inside", "_nurseries", "_resisted")

    def __init__(self, inside: Any, nurseries: int) -> None:
        self._inside = inside
        self._nurseries = nurseries
        self._resisted = 0

    @classmethod
    def here(cls) -> Ground:
        """Of an attempt that begins now, in the current task."""
        task: Any = current_task()
        return cls(task._cancel_status, len(task.child_nurseries))

    @classmethod
    def of_body(cls, life: Life) -> Ground:
        """Of an attempt that began in the body's own scopes. Whoever leaves it leaves the body
        too."""
        scope: Any = life.scope
        return cls(scope._cancel_status, 0)

    @classmethod
    def of_task(cls) -> Ground:
        """Of a task that an attempt has started, which is the current one."""
        nursery: Any = current_task().parent_nursery
        return cls(nursery._cancel_status, 0)

    @types.coroutine
    def leaves(self, step: Running, code: Any, answer: Any) -> Generator[Any, Any, bool]:
        """Asked when code goes on, with this answer of trio's, that should end. Returns whether it
        has been left, unfinished.

        What is left stands in nurseries and scopes: these end as if the code had.
        """
        if _is_cancelled(answer) and self._is_cancelled_from_without(step):
            self._resisted += weight(answer)
        # a generator, whatever its decorator says
        leaves: Any = step.life.port.resistance.leaves(step.life, self._resisted, code, step)
        if not (yield from leaves):
            return False
        task: Any = current_task()
        leave_unfinished(code)
        leave_nurseries(task, self._nurseries)
        while task._cancel_status is not self._inside and self._inside.encloses(
            task._cancel_status
        ):
            task._cancel_status._scope.__exit__(None, None, None)
        return True

    def _is_cancelled_from_without(self, step: Running) -> bool:
        """Whether what cancels the current task is none of the attempt's own scopes, and none of
        them shields it (I8)."""
        task: Any = current_task()
        status, ground = task._cancel_status, step.ground
        outermost = self._inside if ground is None else ground._inside
        while status is not None and status is not outermost:
            if status._scope.shield:
                return False
            status = status.parent
        return bool(outermost.effectively_cancelled)


def weight(answer: Any) -> int:
    """Returns what it counts that a task goes on with this answer of trio's."""
    return RESUMES_MAX // CANCELS_MAX if _is_cancelled(answer) else 1


def _is_cancelled(answer: Any) -> bool:
    return isinstance(answer, results.Error) and isinstance(answer.error, trio.Cancelled)


def leave_nurseries(task: Task, but: int = 0) -> None:
    """Cancels the nurseries that a task leaves open, as trio does when a task ends inside of one;
    but that is no error of the engine's.

    Args:
        but: So many of them, the outermost, stay open.
    """
    for nursery in task.child_nurseries[but:]:
        nursery.cancel_scope.cancel()
        nursery._closed = True
    del task._child_nurseries[but:]


def _children(task: Task) -> list[Task]:
    return [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _below(task: Task) -> Iterator[Task]:
    for child in _children(task):
        yield child
        yield from _below(child)


def _innermost(task: Task) -> Iterator[Task]:
    children = _children(task)
    for child in children:
        yield from _innermost(child)
    if not children:
        yield task


def _is_below(task: Task, root: Task | None) -> bool:
    above: Task | None = task
    while above is not None and above is not root:
        above = None if above.parent_nursery is None else above.parent_nursery.parent_task
    return above is root and task is not root


def _is_driven(task: Task) -> bool:
    return getattr(task.coro, "gi_code", None) is _until_it_ends.__code__


def _expose(task: Task, scope: trio.CancelScope) -> None:
    lift_shields(getattr(task, "_cancel_status", None), scope)


def lift_shields(inside: Any, scope: trio.CancelScope) -> None:
    """Takes away the shields between a place in a body, which is a cancel status of trio's, and the
    scope of the body, which is cancelled. trio keeps them to itself."""
    while inside is not None and inside._scope is not scope:
        inside._scope.shield = False
        inside = inside.parent
