"""Turns: how a body with several tasks stays deterministic (rule I4).

trio shuffles runnable tasks on purpose, so the order in which body tasks happen to run must never
matter. A turn delivers one outcome and lasts until every task of the body is blocked again. In it,
body tasks run one at a time: of those that can go on, the one goes first that became able to in the
earlier *slice* (the stretch of code of one task between two waits), and of those that did so in the
same slice the one whose branch comes first. A branch that was just started is one of them.
Operations are only collected; at the turn's end they take effect in the order of their identity,
and only then is the next outcome delivered.

An instance with a single body task needs none of this (a turn is then what happens between two
awaits), so `Turns` exists only while a nursery or a deadline of the body is open, or once it has
started a task in a nursery of trio's, which tells nobody when it closes. The instrument that counts
runnable tasks is installed only while some instance has `Turns`. A test engine counts always.

The counts also show what a body must not do (I9): between two turns nothing but the engine can make
a body task runnable, so a task that becomes it waited for something foreign, and so does a body at
rest that has no open operation.
"""

from __future__ import annotations

import heapq
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import trio
from trio.lowlevel import (
    Abort,
    Task,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from .._loops.coroutines import leave_unfinished
from .._loops.interrupts import calls_code
from . import delivery, foreign, stopping
from .branch import Branch, place
from .generators import close
from .resisting import leave_nurseries, weight

if TYPE_CHECKING:
    from .life import Life

_Place = tuple[int, tuple[tuple[str, int, int], ...], int]
"""What decides who goes first: the slice that made a task runnable, its branch, and when the task
was started."""


class Turns:
    """The open turn of one instance.

    Invariant: `runnable` is the number of its body tasks that trio will run without anything else
    happening. When it falls to zero, the next of those that wait for their slice goes on; if there
    is none, the turn can end.

    Attributes:
        depth: Nurseries and deadlines that are open; with none of them operations take effect at
            once.
        for_good: Whether one of them is a nursery of trio's, and counts as open to the end of the
            body.
        moving: The engine is waking body tasks: what becomes runnable now does so by its doing.
    """

    __slots__ = (
        "_keeper", "_life", "_queue", "depth", "for_good", "moving", "runnable", "slice", "started",
    )  # fmt: skip

    line = staticmethod(current_task)
    """Returns what stands for the line of code that runs: the body task."""

    def __init__(self, life: Life, keeper: TurnKeeper) -> None:
        self._life = life
        self._keeper = keeper
        self._queue: list[tuple[_Place, Task]] = []
        self.depth = 0
        self.for_good = False
        self.moving = False
        self.runnable = 0
        self.slice = 0
        self.started = 0

    @property
    def at_rest(self) -> bool:
        """Whether the turn is over: no body task can go on."""
        return not self.runnable and not self._queue

    @property
    def is_free(self) -> bool:
        """Whether the body task that was just resumed is the only one that can go on."""
        return (self.runnable == 1 and not self._queue) or bool(self._life.stopping)

    @enable_ki_protection
    async def wait_turn(self) -> None:
        """Blocks the current body task until those before it have had their slices."""
        task = current_task()
        entry = (self._keeper.place_of(task), task)
        heapq.heappush(self._queue, entry)

        def aborted(_: Callable[[], NoReturn]) -> Abort:
            if not self._life.stopping:
                # its own body cancels it: it learns that where it waits next, in its slice
                return Abort.FAILED
            self._queue.remove(entry)
            heapq.heapify(self._queue)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(aborted)

    def ended(self) -> None:
        """Every body task is blocked: let the next one have its slice, or end the turn and go
        on."""
        if self.runnable:
            return
        if self._queue:
            self.moving = True
            reschedule(heapq.heappop(self._queue)[1])
            self.moving = False
        elif self.depth:
            delivery.deliver(self._life)
        else:
            foreign.came_to_rest(self._life)

    def coroutines(self) -> list[Any]:
        """Returns the code of the body tasks."""
        return [task.coro for task in self._keeper.tasks_of(self)]

    def scheduled(self, member: _Member, task: Task) -> None:
        """A body task becomes runnable."""
        if not self.runnable and self.depth and not self.moving:
            # while it is still suspended and can be looked at
            foreign.wait(self._life, [task.coro])
        member.since = self.slice
        self.runnable += 1


def open_turns(life: Life) -> None:
    """A nursery of the body opens: from now on there are turns (I4)."""
    if life.turns is None:
        life.turns = life.tally or life.port.keeper.open(life)
    life.turns.depth += 1


def joined(life: Life) -> None:
    """A task of the body starts in a nursery of trio's: from now on there are turns."""
    counts = life.tally or life.port.keeper.open(life)
    if not counts.for_good:
        counts.for_good = True
        open_turns(life)


def close_turns(life: Life) -> None:
    """A nursery of the body is closed; with the last one the body is a single task again."""
    if life.turns is not None:
        life.turns.depth -= 1
        if not life.turns.depth and life.task is not None:
            life.turns = None
            if not life.port.observed:
                life.port.keeper.close(life.task)
                life.tally = None


async def on_asyncio(life: Life, code: Coroutine[Any, Any, Any]) -> Any:
    """Runs a body of asyncio code; returns or raises what it does."""
    from .asyncio_turns import AsyncioTurns  # here, because asyncio takes long to import

    turns = AsyncioTurns(life)
    life.turns = turns
    life.loop = turns.loop
    return await turns.run(code)


@dataclass(slots=True)
class _Member:
    """A body task."""

    turns: Turns
    order: tuple[tuple[str, int, int], ...]
    number: int
    since: int = 0
    """The slice in which it became runnable."""


@calls_code
@types.coroutine
def in_slices(life: Life, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Runs the code of a body task to its end; while there are turns, each stretch of it in its
    slice.

    Generators that it left before their end are closed before it ends.
    """
    answer: Any = None
    error: BaseException | None = None
    resisted = 0
    while True:
        turns: Turns | None = life.turns  # type: ignore[assignment]  # of a body on trio
        if turns is not None:
            if not turns.is_free:
                try:
                    yield from turns.wait_turn().__await__()
                except BaseException as raised:  # the body unwinds
                    error = raised
            turns.slice += 1
        try:
            trap = coroutine.send(answer) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            value = stop.value
            break
        except BaseException as raised:
            stopping.struck(life, raised)
            if left := life.port.generators.left_by():
                # a generator, whatever its decorator says
                closing: Any = in_slices(life, close(life, left, raised))
                yield from closing
            raise
        finally:
            answer = error = None  # the traceback of one that leaves has this frame: a circle
        try:
            answer = yield trap
        except BaseException as raised:
            error = raised
        if life.stopping:
            resisted += weight(answer)
            # a generator, whatever its decorator says
            leaves: Any = life.port.resistance.leaves(life, resisted, coroutine)
            # An attempt that runs in here leaves its own code first, and gives back what it has
            # borrowed.
            if (yield from leaves) and not any(
                operation.is_in_body for operation in life.delivery.open.values()
            ):
                leave_unfinished(coroutine)
                leave_nurseries(current_task())
                value = None
                break
    if left := life.port.generators.left_by():
        rest: Any = in_slices(life, close(life, left, None))  # a generator as well
        yield from rest
    return value


@enable_ki_protection
async def _task_in_slices(life: Life, coroutine: Any) -> Any:
    """As `in_slices`, as the coroutine that trio takes a task for."""
    return await in_slices(life, coroutine)


class Births(trio.abc.Instrument):
    """Sees to it that code of a body runs in slices, and that code of an attempt which is to end
    does, whoever starts a task with it."""

    def __init__(self, keeper: TurnKeeper) -> None:
        self._keeper = keeper

    @enable_ki_protection
    def task_spawned(self, task: Task) -> None:
        branch = task.context.get(place)
        if branch is None or branch.life.port.keeper is not self._keeper:
            return
        if isinstance(branch, Branch):
            if branch.has_task:
                joined(branch.life)
            branch.has_task = True
            task.coro = _task_in_slices(branch.life, task.coro)  # type: ignore[assignment]  # it is a coroutine as well
            self._keeper.born(task, branch)
        elif branch.is_ending:
            branch.life.port.resistance.born(task, branch)


class TurnKeeper(trio.abc.Instrument):
    """Counts the runnable body tasks of every instance that has turns, and ends turns.

    Turns end in a task of their own, not in the instrument: trio disables an instrument that
    raises. For the same reason Ctrl-C may not strike in here: without its counts a body would be
    taken for one that differs from its history.
    """

    def __init__(self) -> None:
        self._members: dict[Task, _Member] = {}
        self._still: list[Turns] = []
        self._sleeper: Task | None = None
        self._users = 0

    def open(self, life: Life) -> Turns:
        """Begins to count for an instance that has one body task."""
        assert life.task is not None, "it runs"
        turns = Turns(life, self)
        life.tally = turns
        if not self._users:
            trio.lowlevel.add_instrument(self)
        self._users += 1
        self._members[life.task] = _Member(turns, (), 0)
        # else it waits for what starts a task of its own
        turns.runnable = int(current_task() is life.task)
        return turns

    def close(self, task: Task) -> None:
        """Ends that for an instance that is down to one body task again, or is gone."""
        if self._members.pop(task, None) is None:
            return
        self._users -= 1
        if not self._users:
            trio.lowlevel.remove_instrument(self)

    def born(self, task: Task, branch: Branch) -> None:
        """A task of a body was started."""
        turns: Any = branch.life.tally  # of a body on trio
        if turns is not None:
            turns.started += 1
            self._members[task] = _Member(turns, branch.order, turns.started)

    def tasks_of(self, turns: Turns) -> list[Task]:
        """Returns the body tasks of one instance."""
        return [task for task, member in self._members.items() if member.turns is turns]

    def place_of(self, task: Task) -> _Place:
        """Returns what decides when a runnable body task goes on."""
        member = self._members[task]
        return (member.since, member.order, member.number)

    @enable_ki_protection
    async def run(self) -> None:
        """Ends turns as they come to rest."""
        while True:
            if not self._still:
                self._sleeper = current_task()
                await wait_task_rescheduled(self._stopped)
            still, self._still = self._still, []
            for turns in dict.fromkeys(still):
                turns.ended()

    def _stopped(self, _: Callable[[], None]) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    def _rest(self, turns: Turns) -> None:
        self._still.append(turns)
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            reschedule(sleeper)

    # trio.abc.Instrument

    @enable_ki_protection
    def task_scheduled(self, task: Task) -> None:
        member = self._members.get(task)
        if member is not None:
            member.turns.scheduled(member, task)

    @enable_ki_protection
    def after_task_step(self, task: Task) -> None:
        member = self._members.get(task)
        if member is not None:
            self._stepped(member.turns)

    @enable_ki_protection
    def task_exited(self, task: Task) -> None:
        member = self._members.pop(task, None)
        if member is not None:
            self._stepped(member.turns)

    def _stepped(self, turns: Turns) -> None:
        turns.runnable -= 1
        if turns.runnable:
            return
        if turns.depth:
            self._rest(turns)
        else:
            # at once: what a body waits for in vain may come before the keeper's task runs
            turns.ended()
