"""What a body waits for: one class per way in which an operation gets its outcome.

An operation is *begun* when body code asks for it, goes *live* at the end of that turn if history
has no outcome for it, and is *resolved* when its outcome is delivered. It may be withdrawn before
that, when its body task is cancelled (I8). Going live is where things happen: an attempt runs, a
wait is opened. Until then an operation is only a name. Steps, which have attempts, are in
`step_operation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import trio
from trio.lowlevel import Abort

from .._body import delivery, foreign, stopping
from .._body.life import Operation
from .._body.suspended import suspended, wake, wake_cancelled
from .._replay import Identity, Outcome

if TYPE_CHECKING:
    from .._body.life import Life
    from .._kinds import Verdict
    from .._loops.body_loop import Suspension

STOPPED: Any = object()
"""What a waiting body task is woken with in place of an outcome when the body unwinds."""


class TaskOperation(Operation):
    """One that a task of the body waits in."""

    task: trio.lowlevel.Task | Suspension | None = None
    delivered = False
    _raise_cancel: Callable[[], NoReturn] | None = None

    def __init__(self, life: Life, identity: Identity) -> None:
        self.life = life
        self.identity = identity

    async def parked(self) -> Outcome | None:
        """Blocks the body task until the outcome is delivered to it."""
        self.life.resting = True
        try:
            outcome = await suspended(self.life, self)
        except BaseException as error:
            self.life.resting = False
            delivery.left(self.life, self, error)
            raise
        if outcome is STOPPED:
            await stopping.stop_here(self.life)
        return outcome  # type: ignore[no-any-return]  # resolve() sends it

    def aborted(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """The body task that is blocked in this operation is cancelled. It learns that at once, or
        when an attempt has ended (I8)."""
        strays = foreign.strays(self, raise_cancel)
        if not strays and self.stays_open():
            self.give_up()
            self._raise_cancel = raise_cancel
            return Abort.FAILED
        self.task = None
        self.life.resting = False
        if not strays:
            delivery.withdraw(self.life, self)
        return Abort.SUCCEEDED

    def stays_open(self) -> bool:
        """Whether it stays open although the body cancels it: an attempt is under way, and its end
        will be the outcome (I8)."""
        return False

    def give_up(self) -> None:
        """The body cancels it, and it stays open."""
        self.is_cancelled = True

    def stop(self) -> None:
        """The body unwinds: a task that still waits here is behind a shield, and is not spared
        (P1)."""
        if self.life.loop is not None:
            return  # every task of the body is cancelled
        task, self.task = self.task, None
        if task is not None:
            self.life.resting = False
            wake(task, STOPPED)

    def resolve(self, outcome: Outcome | None) -> bool:
        """Hands the outcome to the body task. Returns whether a task can go on now.

        Args:
            outcome: None: the operation knows it itself.
        """
        self.delivered = True
        task, self.task = self.task, None
        self.life.resting = False
        if task is not None and self._raise_cancel is not None:
            wake_cancelled(task, self._raise_cancel)
        elif task is not None:
            wake(task, outcome)
        return task is not None

    def settle(
        self,
        verdict: Verdict,
        type: str | None,
        payload: bytes | None,
        at: int,
        seq: int,
        came_at: int | None = None,
    ) -> None:
        """The core has the outcome."""
        outcome = Outcome(self.identity, verdict, type, payload, at, seq, came_at=came_at)
        delivery.arrived(self.life, outcome)


class WaitOperation(TaskOperation):
    """A sleep, an event, an approval, a child: the core decides it.

    `open_wait` submits the wait, given the instance and `args`, and returns its number; a wait that
    is open already, because the body is replayed, keeps the number and the deadline it has.
    """

    def __init__(
        self,
        life: Life,
        identity: Identity,
        until: int,
        open_wait: Callable[..., int],
        *args: Any,
    ) -> None:
        super().__init__(life, identity)
        self._open_wait = open_wait
        self._args = args
        self.until = until

    def go_live(self, in_body: bool = False) -> None:
        known = self.life.delivery.attached.pop(self.identity, None)
        if known is None:
            self.number = self._open_wait(
                self.life.who.no, self.life.who.incarnation, self.after, *self._args
            )
        else:
            self.number, until = known
            self.until = self.until if until is None else until
        del self._open_wait, self._args  # a wait may be long, and there are many
        self.waiting = True
        self.life.rest.busy -= 1
        self.life.rest.expect(self.number, self, self.until)

    def withdrawn(self) -> None:
        delivery.withdraw_wait(self.life, self.number)


class TicketOperation(TaskOperation):
    """Something the core does at once and answers by ticket: create, create_batch, send_event."""

    def __init__(
        self, life: Life, identity: Identity, submit: Callable[..., int], *args: Any
    ) -> None:
        super().__init__(life, identity)
        self._submit = submit
        self._args = args

    def go_live(self, in_body: bool = False) -> None:
        self.number = self._submit(
            self.life.who.no, self.life.who.incarnation, self.after, *self._args
        )
        self.life.port.tickets[self.number] = self

    def withdrawn(self) -> None:
        self.life.port.tickets.pop(self.number, None)
