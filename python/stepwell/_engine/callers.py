"""Callers: who waits for an answer of the core, and how many calls are submitted in one round of
trio's loop.

A program may begin 50,000 tasks in one round, each of which calls the engine. What trio needs to
run them is the program's affair; what the calls cost beyond that is bounded here, or whoever else
runs in the loop waits for all of it. So a round submits so many; the others wait for their turn,
asleep, and the engine submits for them, in the order in which they called. A call that is cancelled
before its turn never happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVarTuple

import outcome as results
import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from .._core import ANSWERS_MAX
from .._errors import EngineClosed
from .host import Reply

if TYPE_CHECKING:
    from .host import Host

ONCE: ContextVar[bytes | None] = ContextVar("once", default=None)
"""The id of the call that somebody in another process makes, under which it is done once."""
CALLS_AT_ONCE = ANSWERS_MAX
"""Calls that are submitted in one round of the loop: as many as are answered in one."""

Ts = TypeVarTuple("Ts")


class _Call:
    """A call that has no answer yet; without a ticket it has not been submitted."""

    __slots__ = ("_args", "_callers", "_once", "_submit", "task", "ticket")

    def __init__(
        self,
        callers: Callers,
        submit: Callable[..., int],
        args: tuple[Any, ...],
        once: bytes | None = None,
    ) -> None:
        self._callers = callers
        self._once = once
        self.ticket: int | None = None
        self.task: trio.lowlevel.Task | None = None
        self._submit = submit
        self._args = args

    def submit(self, task: trio.lowlevel.Task) -> None:
        """Submits it; the answer is for this task."""
        if self._once is not None:
            self._callers.host.core.once(self._once)
        self.ticket, self.task = self._submit(*self._args), task
        self._callers.host.tickets[self.ticket] = task

    def aborted(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """Its caller is cancelled."""
        self._callers.forget(self)
        return Abort.SUCCEEDED


class _Creation(_Call):
    """One whose caller learns of a cancellation when the core has given it up."""

    __slots__ = ("_raise_cancel",)

    def __init__(self, callers: Callers, submit: Callable[..., int], args: tuple[Any, ...]) -> None:
        super().__init__(callers, submit, args, ONCE.get())
        self._raise_cancel: Callable[[], NoReturn] | None = None

    def aborted(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        host = self._callers.host
        if self.ticket is None or host.failure is not None or not host.core.give_up(self.ticket):
            return super().aborted(raise_cancel)
        self._raise_cancel = raise_cancel
        self._callers.given_up.add(self.ticket)
        return Abort.FAILED

    def gave_up(self) -> None:
        """It came to nothing: raises the cancellation, if that is why."""
        raise_cancel, self._raise_cancel = self._raise_cancel, None
        if raise_cancel is not None:
            raise_cancel()


class Listener:
    """A call whose answer a function takes, at once: it needs no task, and no round of the loop in
    which that would begin or go on."""

    __slots__ = ("_callers", "_take", "_ticket")

    def __init__(
        self, callers: Callers, ticket: int, take: Callable[[results.Maybe[Reply]], None]
    ) -> None:
        self._callers, self._ticket, self._take = callers, ticket, take
        callers.host.tickets[ticket] = self
        callers.waiting += 1
        callers.called += 1

    def hear(self, answer: results.Maybe[Reply]) -> None:
        """It is answered, or will never be."""
        self._callers.waiting -= 1
        self._take(answer)

    def forget(self) -> None:
        """Nobody wants the answer any more."""
        tickets = self._callers.host.tickets
        if tickets.get(self._ticket) is self:
            del tickets[self._ticket]
            self._callers.waiting -= 1


def tell(waiter: object, answer: results.Maybe[Reply]) -> None:
    """Gives an answer to whoever waits for it."""
    if isinstance(waiter, trio.lowlevel.Task):
        reschedule(waiter, answer)
    elif isinstance(waiter, Listener):
        waiter.hear(answer)


class Callers:
    """All who call one engine.

    Attributes:
        host: The engine.
        waiting: How many have no answer yet.
        called: How many there were.
        given_up: Tickets of creations whose callers are cancelled, and wait to hear whether they
            were let in.
    """

    def __init__(self, host: Host) -> None:
        self.waiting = 0
        self.called = 0
        self.given_up: set[int] = set()
        self.host = host
        self._room = CALLS_AT_ONCE
        self._queue: dict[_Call, trio.lowlevel.Task] = {}
        """Those who wait for their turn, in the order in which they called."""
        self._some = trio.Event()

    def ask(self, submit: Callable[[*Ts], int], *args: *Ts) -> Awaitable[Reply]:
        """Submits a call when its turn comes, which is mostly at once, and waits for the answer.

        Raises:
            CoreError: As `submit`.
            EngineClosed: The engine has stopped, or was closed meanwhile.
        """
        return self._answer(_Call(self, submit, args))

    def listen(
        self, take: Callable[[results.Maybe[Reply]], None], submit: Callable[[*Ts], int], *args: *Ts
    ) -> Listener | None:
        """As `ask`, at once: `take` is called with the answer, and may not raise. Returns None if
        others wait for their turn.

        Raises:
            CoreError: As `submit`.
            EngineClosed: The engine has stopped.
        """
        self._check_running()
        if not self._room:
            return None
        self._room -= 1
        return Listener(self, submit(*args), take)

    def change(self, submit: Callable[[*Ts], int], *args: *Ts) -> Awaitable[Reply]:
        """As `ask`, for what changes something: once only, if whoever asks says so (`ONCE`)."""
        return self._answer(_Call(self, submit, args, ONCE.get()))

    @enable_ki_protection
    async def let_in(self, create: Callable[..., int], *args: Any) -> Reply:
        """Creates and waits for the answer; what is cancelled before it was let in never happens
        (C10).

        Whoever is cancelled learns it when the core has given the creation up, so that it does not
        happen behind their back; one that was let in before that is answered.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        creation = _Creation(self, create, args)
        try:
            reply = await self._answer(creation)
        except EngineClosed:
            creation.gave_up()
            raise
        finally:
            self.given_up.discard(creation.ticket or 0)
        if reply.code:
            creation.gave_up()
        return reply

    @enable_ki_protection
    async def _answer(self, call: _Call) -> Reply:
        self._check_running()
        self.waiting += 1
        self.called += 1
        try:
            if self._room:
                self._room -= 1
                call.submit(current_task())
            else:
                self._queue[call] = current_task()
                self._some.set()
                # the collector is told now: this round may begin a hundred times as many
                self.host.look()
            return await wait_task_rescheduled(call.aborted)  # type: ignore[no-any-return]  # the driver sends it
        # also of a call that could not be made on the way: nobody may wake a task that does not
        # wait
        except BaseException:
            self.forget(call)
            raise
        finally:
            self.waiting -= 1

    def _check_running(self) -> None:
        if (failure := self.host.failure) is not None:
            raise EngineClosed(
                f"the engine has stopped: {failure!r}. Leave its block, which raises that."
            )

    def forget(self, call: _Call) -> None:
        """Nobody waits for a call: before its turn it never happens, and later its answer goes to
        nobody."""
        self._queue.pop(call, None)
        # after a crash, which only tests survive, the same ticket may be another call's
        if call.ticket is not None and self.host.tickets.get(call.ticket) is call.task:
            del self.host.tickets[call.ticket]

    def round_ended(self) -> None:
        """Trio has run all that could run. Nobody passes those who wait already."""
        if not self._queue:
            self._room = CALLS_AT_ONCE

    async def run(self) -> None:
        """Submits for those who wait, round by round. Never returns."""
        while True:
            await self._some.wait()
            while self._queue:
                for call in list(islice(self._queue, CALLS_AT_ONCE)):
                    task = self._queue.pop(call)
                    submitted = results.capture(call.submit, task)
                    if isinstance(submitted, results.Error):
                        reschedule(task, submitted)
                await trio.lowlevel.checkpoint()
            self._some = trio.Event()

    def leave(self) -> Iterable[trio.lowlevel.Task]:
        """Returns those who wait for their turn, and forgets them: the core that they called is
        gone."""
        waiting, self._queue = self._queue, {}
        return waiting.values()
