"""Turns: how a body with several tasks stays deterministic (rule I4).

trio shuffles runnable tasks on purpose, so the order in which branches happen to run must never
matter. A turn delivers one outcome and lasts until every task of the body is blocked again. In it,
operations are only collected; at its end they take effect in the order of their identity, and only
then is the next outcome delivered. Branches start one at a time, in the order of their calls.

An instance with a single body task needs none of this (a turn is then what happens between two
awaits), so `Turns` exists only while a nursery of the body is open, and the instrument that counts
runnable tasks is installed only while some instance has one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, Task, current_task, enable_ki_protection, reschedule, wait_task_rescheduled

from ._branch import Branch, place

if TYPE_CHECKING:
    from ._runner import Runner


class Turns:
    """The open turn of one instance.

    Invariant: `runnable` is the number of its body tasks that trio will run without anything else
    happening. When it falls to zero the turn can end.
    """

    __slots__ = ("_runner", "_starts", "depth", "runnable")

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._starts: list[tuple[tuple[tuple[str, int, int], ...], int, Task]] = []
        self.depth = 0
        self.runnable = 0

    @property
    def at_rest(self) -> bool:
        """Whether the turn is over: no body task can go on, no branch is still to start."""
        return not self.runnable and not self._starts

    async def start_branch(self, branch: Branch) -> None:
        """Blocks a new branch until it is its turn to start."""
        task = current_task()
        entry = (branch.order, id(task), task)
        heapq.heappush(self._starts, entry)

        def aborted(_: Callable[[], None]) -> Abort:
            self._starts.remove(entry)
            heapq.heapify(self._starts)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(aborted)

    def ended(self) -> None:
        """Every body task is blocked: start the next branch, or end the turn and go on."""
        if self.runnable:
            return
        if self._starts:
            reschedule(heapq.heappop(self._starts)[2])
            return
        self._runner.deliver()


class TurnKeeper(trio.abc.Instrument):
    """Counts the runnable body tasks of every instance that has turns, and ends turns.

    Turns end in a task of their own, not in the instrument: trio disables an instrument that raises. For the same
    reason Ctrl-C may not strike in here: without its counts a body would be taken for one that differs from its history.
    """

    def __init__(self) -> None:
        self._tasks: dict[Task, Turns] = {}
        self._still: list[Turns] = []
        self._sleeper: Task | None = None
        self._users = 0

    def open(self, runner: Runner) -> Turns:
        """Begins turns for an instance whose one body task is the current one."""
        turns = Turns(runner)
        if not self._users:
            trio.lowlevel.add_instrument(self)
        self._users += 1
        self._tasks[current_task()] = turns
        turns.runnable = 1
        return turns

    def close(self, task: Task) -> None:
        """Ends turns for an instance that is down to one body task again, or is gone."""
        if self._tasks.pop(task, None) is None:
            return
        self._users -= 1
        if not self._users:
            trio.lowlevel.remove_instrument(self)

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
    def task_spawned(self, task: Task) -> None:
        branch = task.context.get(place)
        if type(branch) is Branch and branch.runner.turns is not None:
            self._tasks[task] = branch.runner.turns

    @enable_ki_protection
    def task_scheduled(self, task: Task) -> None:
        turns = self._tasks.get(task)
        if turns is not None:
            turns.runnable += 1

    @enable_ki_protection
    def after_task_step(self, task: Task) -> None:
        turns = self._tasks.get(task)
        if turns is not None:
            turns.runnable -= 1
            if not turns.runnable:
                self._rest(turns)

    @enable_ki_protection
    def task_exited(self, task: Task) -> None:
        turns = self._tasks.pop(task, None)
        if turns is not None:
            turns.runnable -= 1
            if not turns.runnable:
                self._rest(turns)
