"""Turns of a body that runs on asyncio (rule I4).

Its tasks run on a loop of its own, which only this file runs, in the trio task of the body: until
nothing can go on, which is the end of the turn, and again when an outcome was delivered. So the
body is one body task to the engine, with many open operations, and no bookkeeping is needed.
`turns` has the same for bodies on trio, where tasks belong to a scheduler that is not ours.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import outcome as results
import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from .._ending import End
from .._log import log
from .._loops.body_loop import BodyLoop, code_of
from . import delivery, diagnosis, foreign, stopping
from .pending import Pending

if TYPE_CHECKING:
    from .._loops.body_loop import BodyTask
    from .life import Life

ROUNDS_MAX = 100
"""Rounds of a body's loop between two of trio's: a body that never comes to rest, or a long replay,
must not hold the engine."""
CANCELS_MAX = 100
"""Cancellations that the tasks of a body may outlive before it is left to stay in memory (P1)."""


class AsyncioTurns:
    """The open turn of one instance; for the life the same as `Turns`.

    Attributes:
        depth: Never zero: operations always take effect at the end of a turn.
        moving: The engine is waking body tasks.
        loop: On which they run.
        is_abandoned: Whether the engine closes, and waits for this body no more.
    """

    __slots__ = (
        "_life",
        "_rounds",
        "_running",
        "_sleeper",
        "depth",
        "for_good",
        "is_abandoned",
        "loop",
        "moving",
    )

    def __init__(self, life: Life) -> None:
        self._life = life
        self._running = False
        """Whether the body runs, or goes on to: what becomes able to run then does so by its own
        doing."""
        self._rounds = 0
        self._sleeper: trio.lowlevel.Task | None = None
        self.depth = 1
        self.moving = False
        self.for_good = False
        self.loop = BodyLoop(self, zlib.crc32(life.who.seed.encode()))  # type: ignore[abstract]  # what is missing is filled in
        self.is_abandoned = False

    # For the life.

    @property
    def at_rest(self) -> bool:
        """Whether the turn is over: no body task can go on."""
        return not self._running and not self.loop.runnable

    @property
    def runnable(self) -> int:
        """More than zero while a body task can go on."""
        return self.loop.runnable

    def line(self) -> object:
        """Returns what stands for the line of code that runs."""
        task: Any = asyncio.current_task(self.loop)
        return self if task is None else getattr(task, "line", task)

    def coroutines(self) -> list[Any]:
        """Returns the code of the body tasks."""
        return [code_of(task) for task in self.loop.tasks]

    async def run(self, body: Coroutine[Any, Any, Any]) -> Any:
        """Runs a body, in its trio task, until all tasks of it have ended. Returns or raises what
        the first one does.

        If the body is unwound, it returns None.
        """
        life, loop = self._life, self.loop
        self._running = True
        main = loop.start(body)
        # no `finally`: what cancels this is no context of the body's own
        ended = await results.acapture(self._turn_by_turn, main)
        if loop.tasks:
            await self._unwind()
        loop.forget()
        if isinstance(ended, results.Error):
            error = ended.error
            del ended, main
            try:
                raise error
            finally:
                del error
        if not life.stopping and not main.cancelled():
            self._look_for_others(main.exception())
        try:
            return None if life.stopping else main.result()
        finally:
            del main  # it has the error that leaves, which has this frame: a circle

    def abandon(self) -> None:
        """The engine closes: what does not end is left behind."""
        self.is_abandoned = True
        self._wake()

    # Running.

    async def _turn_by_turn(self, main: BodyTask) -> None:
        life, loop, has_ended = self._life, self.loop, False
        while True:
            await self._run_turn()
            if main.done() and not has_ended:
                has_ended = True
                self._end_rest()
                continue
            if life.stopping:
                return
            if not loop.tasks:
                if loop.close_generators():
                    continue
                return
            self._running = False
            delivery.deliver(life)
            if not loop.runnable and not life.stopping:
                await self._sleep()
            self._running = True

    async def _run_turn(self) -> None:
        """Runs the body's tasks until none can go on."""
        while self.loop.runnable and not self._life.stopping:
            self.loop.run_ready()
            self._rounds += 1
            if self._rounds % ROUNDS_MAX == 0:
                await trio.lowlevel.checkpoint()

    def _end_rest(self) -> None:
        """The body has returned or raised: its other tasks are cancelled, as `asyncio.run` does
        it."""
        life, left = (
            self._life,
            [task for task in self.loop.tasks if not getattr(task, "is_part", False)],
        )
        if left and not life.stopping:
            names = ", ".join(diagnosis.task_name(task, code_of(task)) for task in left[:3])
            log.warning(
                "%s has ended while tasks of it were running (%d: %s); they are cancelled. "
                "Await them, or use asyncio.TaskGroup.",
                life.who, len(left), names,
            )  # fmt: skip
        self.loop.cancel_all()

    def _look_for_others(self, error: BaseException | None) -> None:
        """A body that failed because it used trio, or ran another loop, is blocked as one that
        waits for what is not its own (I9)."""
        found = None if error is None else diagnosis.use_of_others(self._life, error)
        if found is not None:
            stopping.block(self._life, "foreign_wait", found)

    async def _unwind(self) -> None:
        """Cancels every task and lets them end (P1). Who catches that is cancelled again, for
        nothing that it waits for will come."""
        life, loop, cancels, rounds = self._life, self.loop, 0, ROUNDS_MAX
        life.stopping = life.stopping or End.CANCELLED
        loop.is_ending = True
        while (loop.tasks or loop.close_generators()) and not self.is_abandoned:
            if loop.runnable and rounds < ROUNDS_MAX:
                rounds += 1
                loop.run_ready()
                await trio.lowlevel.cancel_shielded_checkpoint()
            elif cancels < CANCELS_MAX:
                cancels, rounds = cancels + 1, 0
                loop.cancel_all()
            elif life.stopping is End.CRASHED:
                return
            else:
                await self._sleep()
                cancels = 0

    @property
    def has_given_up(self) -> bool:
        """Whether the body resists, and is not driven any more (P1)."""
        return self.loop.is_ending and self._sleeper is not None

    async def _sleep(self) -> None:
        self._sleeper = current_task()
        if self.loop.is_ending:
            self._life.port.progressed()
        await wait_task_rescheduled(self._aborted)

    def _aborted(self, _: Callable[[], NoReturn]) -> Abort:
        if self.loop.is_ending:
            return Abort.FAILED  # it is cancelled already
        self._sleeper = None
        return Abort.SUCCEEDED

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            reschedule(sleeper)

    # What the loop tells.

    def stirred(self) -> None:
        """Something can run; see `Host`."""
        if not (self._running or self.moving):
            foreign.wait(self._life, self.coroutines())
        self._wake()

    def refused(self, method: str) -> None:
        """Something would wait for the world outside; see `Host`."""
        stopping.block(self._life, "foreign_wait", diagnosis.foreign_call(self._life, method))

    def called_from_outside(self, method: str, handle: asyncio.Handle | None = None) -> NoReturn:
        """Another thread called a method; see `Host`."""

        def on_trio() -> None:
            foreign.wait(self._life, self.coroutines())
            if handle is not None:
                self.loop.run_late(handle)
                self._wake()

        with suppress(trio.RunFinishedError):
            self._life.port.token.run_sync_soon(on_trio)
        whose = f"the body of {self._life.who}"
        raise RuntimeError(
            f"asyncio's {method} was called from another thread, for {whose}, which takes nothing "
            "from there: on replay it would not come. Return it from the step, or send an event."
        )

    def strayed(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """A task waits for what is not of its loop; see `Host`."""
        foreign.wait(self._life, [coroutine])

    def never_began(self, values: list[Any]) -> None:
        """A task was cancelled before it began; see `Host`."""
        for value in values:
            if isinstance(value, Pending):
                value.close()

    def raised(self, error: BaseException) -> None:
        """A task has raised this; see `Host`."""
        if self._life.delivery.cursor.pending:
            stopping.handles(self._life, error)

    def failed(self, error: RuntimeError) -> None:
        """A task that a library made has failed; see `Host`."""
        self._look_for_others(error)

    def seconds(self) -> float:
        """Returns the time of the turn."""
        return self._life.delivery.at / 1e6

    def troubled(self, context: dict[str, Any]) -> None:
        """Something failed that nobody awaits; see `Host`."""
        error: BaseException | None = context.get("exception")
        log.error(
            "%s: %s",
            self._life.who,
            context.get("message"),
            exc_info=error,
        )
