"""Durable deadlines: `step.move_on_after` and `step.fail_after` (T4).

A deadline is an operation of the body like a sleep, but nobody awaits it: it opens when its scope
is entered, is armed as a durable wait (also while the instance is parked), and its outcome,
delivered as a turn of its own, cancels the scope. A scope that was left before withdraws it, and an
outcome that comes all the same is passed over (I8). So what a deadline decided is read from
history, and a replay decides the same.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, stopping
from .._body.turns import close_turns, open_turns
from .._room import need_room
from .._values.failures import blamed
from .operation import WaitOperation

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._loops.body_loop import Scope
    from .._replay import Outcome


class _DeadlineOperation(WaitOperation):
    """The wait for the instant at which a scope is cancelled."""

    scope: trio.CancelScope | Scope

    def resolve(self, outcome: Outcome | None) -> bool:
        self.delivered = True
        self.scope.cancel("a durable deadline passed")
        turns = self.life.turns
        return turns is not None and turns.runnable > 0  # tasks behind a shield are not woken


class DeadlineScope:
    """What `with step.move_on_after(…)` and `with step.fail_after(…)` give. See there."""

    __slots__ = ("_branch", "_fails", "_name", "_operation", "_scope", "_us")

    def __init__(self, branch: Branch, us: int, name: str, fails: bool) -> None:
        self._branch = branch
        self._us = us
        self._name = name
        self._fails = fails
        loop = branch.life.loop
        self._scope = trio.CancelScope() if loop is None else loop.scope()
        self._operation: _DeadlineOperation | None = None

    @property
    def cancel_called(self) -> bool:
        """Whether the deadline has passed inside the block, or `cancel` was called."""
        return self._scope.cancel_called

    @property
    def cancelled_caught(self) -> bool:
        """Whether the block was cut short."""
        return self._scope.cancelled_caught

    def cancel(self) -> None:
        """Cancels the block now."""
        need_room()
        self._scope.cancel()

    @enable_ki_protection
    def __enter__(self) -> DeadlineScope:
        need_room()
        branch, life = self._branch, self._branch.life
        # A body that is stopped, or that stops here, learns it at its next await: nothing is begun
        # for it (P1).
        if stopping.may_begin(life) and not delivery.races(
            life, branch.path, _core.DEADLINE, self._name
        ):
            open_turns(life)
            self._begin()
        self._scope.__enter__()
        return self

    def _begin(self) -> None:
        branch, life = self._branch, self._branch.life
        identity = branch.identify(_core.DEADLINE, self._name)
        until = delivery.turn_began(life) + self._us
        self._operation = _DeadlineOperation(
            life,
            identity,
            until,
            life.port.sleep,
            _core.DEADLINE,
            branch.path,
            self._name,
            identity[4],
            until,
        )
        self._operation.scope = self._scope
        delivery.begin(life, self._operation)

    @enable_ki_protection
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        life = self._branch.life
        if self._operation is not None:
            delivery.withdraw(life, self._operation)  # unless it has been delivered
            close_turns(life)
        caught = self._scope.__exit__(kind, error, trace)
        if self._fails and self._scope.cancelled_caught:
            # what timeouts of trio, and of asyncio, raise
            late = trio.TooSlowError if life.loop is None else TimeoutError
            error = late(f'"{self._name}" of {life.who} ran out of time')
            raise error if self._operation is None else blamed(error, self._operation.identity)
        return caught
