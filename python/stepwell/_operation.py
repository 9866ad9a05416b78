"""What a body waits for: one class per way in which an operation gets its outcome.

An operation is *begun* when body code asks for it, goes *live* at the end of that turn if history
has no outcome for it, and is *resolved* when its outcome is delivered. It may be withdrawn before
that, when its body task is cancelled (I8). Going live is where things happen: an attempt runs, a
wait is opened. Until then an operation is only a name. Steps, which have attempts, are in
`_step_operation`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import trio
from trio.lowlevel import Abort

from . import _foreign
from ._replay import Identity, Outcome
from ._turns import suspended, wake, wake_cancelled

if TYPE_CHECKING:
    from ._loops.body_loop import Suspension
    from ._runner import Runner

STOPPED: Any = object()
"""What a waiting body task is woken with in place of an outcome when the body unwinds."""


class Operation:
    """One open operation of a body."""

    # Defaults stand in the class: most operations never change most of them, and every store counts
    # (W2).
    task: trio.lowlevel.Task | Suspension | None = None
    number = 0
    live = False
    waiting = False
    delivered = False
    turn = 0
    """How many outcomes had been delivered when it was begun."""
    is_cancelled = False
    """Whether the body has cancelled it, and it is open all the same until an attempt has ended
    (I8)."""
    _raise_cancel: Callable[[], NoReturn] | None = None
    has_attempts = False
    is_in_body = False
    """Whether an attempt runs in the body's own task."""
    interrupted = False
    """Whether a crash may have cut short what history does not know of (R3)."""
    was_cut_short = False
    """Whether the body had cancelled it before that crash, and it may not have begun: then the body
    was further than history says."""
    strayed = False
    """Whether its body task was cancelled by something that would not replay (I9)."""

    def __init__(self, runner: Runner, identity: Identity) -> None:
        self.runner = runner
        self.identity = identity

    async def parked(self) -> Outcome | None:
        """Blocks the body task until the outcome is delivered to it."""
        self.runner.resting = True
        try:
            outcome = await suspended(self.runner, self)
        except BaseException as error:
            self.runner.resting = False
            _foreign.left(self, error)
            raise
        if outcome is STOPPED:
            await self.runner.stop_here()
        return outcome  # type: ignore[no-any-return]  # resolve() sends it

    def aborted(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """The body task that is blocked in this operation is cancelled. It learns that at once, or
        when an attempt has ended (I8)."""
        strays = _foreign.strays(self, raise_cancel)
        if not strays and self.stays_open():
            self.give_up()
            self._raise_cancel = raise_cancel
            return Abort.FAILED
        self.task = None
        self.runner.resting = False
        if not strays:
            self.runner.withdraw(self)
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
        if self.runner.loop is not None:
            return  # every task of the body is cancelled
        task, self.task = self.task, None
        if task is not None:
            self.runner.resting = False
            wake(task, STOPPED)

    def resolve(self, outcome: Outcome | None) -> bool:
        """Hands the outcome to the body task. Returns whether a task can go on now.

        Args:
            outcome: None: the operation knows it itself.
        """
        self.delivered = True
        task, self.task = self.task, None
        self.runner.resting = False
        if task is not None and self._raise_cancel is not None:
            wake_cancelled(task, self._raise_cancel)
        elif task is not None:
            wake(task, outcome)
        return task is not None

    def keep_context(self) -> None:
        """It is begun in a turn, and will go live when the body task that asked for it is at
        rest."""

    def go_live(self, in_body: bool = False) -> Awaitable[None] | None:
        """Starts what the operation stands for.

        Args:
            in_body: Whether the single task of the body, which has just begun it, is there to do
                something for it.

        Returns:
            What that task has to await before it blocks in the operation.
        """
        raise NotImplementedError

    def end_attempts(self) -> None:
        """Nobody waits for an outcome any more: what runs for it is to end."""

    def settle(
        self,
        verdict: int,
        type: str | None,
        payload: bytes | None,
        at: int,
        seq: int,
        came_at: int | None,
    ) -> None:
        """The core has the outcome."""
        outcome = Outcome(self.identity, verdict, type, payload, at, seq, came_at=came_at)
        self.runner.arrived(outcome)

    def withdrawn(self) -> None:
        """The body gave it up."""

    def own_outcome(self) -> Outcome:
        """Returns the outcome that only the operation itself has."""
        raise NotImplementedError


class WaitOperation(Operation):
    """A sleep, an event, an approval, a child: the core decides it.

    `open_wait` submits the wait, given the instance and `args`, and returns its number; a wait that
    is open already, because the body is replayed, keeps the number and the deadline it has.
    """

    def __init__(
        self,
        runner: Runner,
        identity: Identity,
        until: int,
        open_wait: Callable[..., int],
        *args: Any,
    ) -> None:
        super().__init__(runner, identity)
        self._open_wait = open_wait
        self._args = args
        self.until = until

    def go_live(self, in_body: bool = False) -> None:
        known = self.runner.delivery.attached.pop(self.identity, None)
        if known is None:
            self.number = self._open_wait(
                self.runner.who.no, self.runner.who.incarnation, *self._args
            )
        else:
            self.number, until = known
            self.until = self.until if until is None else until
        del self._open_wait, self._args  # a wait may be long, and there are many
        self.waiting = True
        self.runner.rest.busy -= 1
        self.runner.rest.expect(self.number, self, self.until)

    def withdrawn(self) -> None:
        self.runner.withdraw_wait(self.number)


class TicketOperation(Operation):
    """Something the core does at once and answers by ticket: create, create_batch, send_event."""

    def __init__(
        self, runner: Runner, identity: Identity, submit: Callable[..., int], *args: Any
    ) -> None:
        super().__init__(runner, identity)
        self._submit = submit
        self._args = args

    def go_live(self, in_body: bool = False) -> None:
        self.number = self._submit(self.runner.who.no, self.runner.who.incarnation, *self._args)
        self.runner.port.tickets[self.number] = self

    def withdrawn(self) -> None:
        self.runner.port.tickets.pop(self.number, None)
