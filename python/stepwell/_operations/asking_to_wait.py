"""The methods of `Step` that wait, and those that say for how long.

Each checks its arguments at the call, and hands what it was asked for to the operation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, overload

from .. import _core
from .._body.branch import Branch
from .._body.pending import Pending
from .._errors import InvalidConfig, InvalidName
from .._types import Approval, Event
from .._values import names
from .._values.codec import codec, usable
from .._values.durations import Duration, instant_us, to_us
from . import recalled, waits
from .asking import Asking
from .deadline import DeadlineScope

T = TypeVar("T")


class AskingToWait(Asking):
    """Waits for time, events and approvals, and sets deadlines to what a block awaits."""

    __slots__ = ()

    def sleep(self, duration: Duration, *, name: str | None = None) -> Pending[None]:
        """Sleeps durably: the deadline survives restarts and is never early.

        Args:
            duration: 0 to 365 days.
            name: Default "sleep".

        Raises:
            InvalidConfig: The duration is malformed.
        """
        us = to_us(duration, "duration")
        return self._sleep(lambda: self._life.port.now() + us, self._branch("sleep"), name, False)

    def sleep_until(self, when: datetime, *, name: str | None = None) -> Pending[None]:
        """Sleeps until an instant; one in the past returns at once.

        Args:
            when: An aware datetime, at most 365 days ahead.
            name: Default "sleep".

        Raises:
            InvalidConfig: It is naive or too far ahead.
        """
        until, branch = instant_us(when, "when"), self._branch("sleep_until")
        # from the turn's own time, so that replay decides alike
        if until - self._life.delivery.at > waits.WAIT_MAX_US:
            raise InvalidConfig(f"when={when!r} is more than 365 days ahead; sleep in a loop.")
        return self._sleep(lambda: until, branch, name, True)

    def _sleep(
        self, until: Callable[[], int], branch: Branch, name: str | None, is_fixed: bool
    ) -> Pending[None]:
        label = names.step_name(name if name is not None else "sleep")
        return Pending(waits.sleep, (branch, label, until, is_fixed))

    @overload
    def wait_for_event(
        self,
        *types: str,
        timeout: Duration | None = None,
        name: str | None = None,
        as_type: type[T],
    ) -> Pending[Event[T]]: ...
    @overload
    def wait_for_event(
        self,
        *types: str,
        timeout: Duration | None = None,
        name: str | None = None,
        as_type: Any = None,
    ) -> Pending[Event[Any]]: ...
    def wait_for_event(
        self,
        *types: str,
        timeout: Duration | None = None,
        name: str | None = None,
        as_type: Any = None,
    ) -> Pending[Event[Any]]:
        """Waits for an event of one of these types; one that arrived earlier counts.

        Args:
            types: 1 to 32 event types.
            timeout: Default 365 days.
            name: Default: the types joined by "|". A wait that is open under its name already keeps
                the types that it was opened for, whatever new code asks for: they are in `explain`.
            as_type: What the payload is to become; default: plain data. An event without one has
                None.

        Raises:
            EventTimeout: None came in time.
            InvalidPayload: The payload cannot become `as_type`; the event is consumed.
            InvalidName: A type or the name is malformed.
            InvalidConfig: No type, or the timeout is malformed.
        """
        branch = self._branch("wait_for_event")
        if not 1 <= len(types) <= 32:
            raise InvalidConfig(f"wait_for_event takes 1 to 32 event types, got {len(types)}.")
        if isinstance(types[0], list | tuple | set):
            raise InvalidName(
                f"wait_for_event was given {types[0]!r:.120}; give one type after the other: "
                'wait_for_event("paid", "refused").'
            )
        kinds = [names.event_type(t) for t in types]
        label = names.wait_name(kinds) if name is None else names.step_name(name)
        us = waits.WAIT_MAX_US if timeout is None else to_us(timeout, "timeout")
        return Pending(waits.event, (branch, label, kinds, us, usable(as_type)))

    @overload
    def wait_for_approval(
        self,
        name: str,
        *,
        detail: Any = None,
        timeout: Duration | None = "7 days",
        as_type: type[T],
    ) -> Pending[Approval[T | None]]: ...
    @overload
    def wait_for_approval(
        self,
        name: str,
        *,
        detail: Any = None,
        timeout: Duration | None = "7 days",
        as_type: Any = None,
    ) -> Pending[Approval]: ...
    def wait_for_approval(
        self,
        name: str,
        *,
        detail: Any = None,
        timeout: Duration | None = "7 days",
        as_type: Any = None,
    ) -> Pending[Approval]:
        """Waits until somebody approves; see `engine.approvals`.

        Args:
            name: What is to be approved; with its occurrence it makes the approval's id.
            detail: Storable data for whoever decides.
            timeout: Default 7 days; None: 365 days.
            as_type: What the decision's metadata is to become; without any it is None. Metadata
                that cannot become it blocks the instance (`undecodable`): the decision is made, and
                stands, so the type has to take it.

        Raises:
            Rejected: It was refused.
            ApprovalTimeout: Nobody decided in time.
            NotSerializable: `detail` cannot be stored.
            TooLarge: `detail` is over the limit for one value.
        """
        branch = self._branch("wait_for_approval")
        label = names.step_name(name)
        us = waits.WAIT_MAX_US if timeout is None else to_us(timeout, "timeout")
        stored, refusal, limit = None, None, self._life.value_bytes
        if detail is not None:
            stored, refusal = recalled.encoded(
                branch,
                _core.APPROVAL,
                label,
                lambda: codec.encode(detail, limit=limit, where="detail"),
            )
        return Pending(waits.approval, (branch, label, stored, refusal, us, usable(as_type)))

    def move_on_after(self, duration: Duration, name: str | None = None) -> DeadlineScope:
        """Cancels what the `with` block still waits for once `duration` has passed; the body then
        goes on after the block.

        The deadline is `now()` plus `duration`; in the first turn, where `now()` is when the
        instance was created, it counts from when the body runs. It is durable: it holds over
        restarts and while the instance is parked, and what it decided is recorded, so that a replay
        takes the same way. A deadline that passes after the block was left does nothing.

        Args:
            duration: 0 to 365 days.
            name: Tells it from other deadlines of the branch; default "move_on_after".

        Returns:
            A context manager; `cancelled_caught` says whether the block was cut short.

        Raises:
            InvalidConfig: The duration is malformed.
            InvalidName: The name is malformed.
        """
        return self._deadline("move_on_after", duration, name)

    def fail_after(self, duration: Duration, name: str | None = None) -> DeadlineScope:
        """As `move_on_after`, but a block that is cut short raises.

        Args:
            duration: 0 to 365 days.
            name: Tells it from other deadlines of the branch; default "fail_after".

        Raises:
            trio.TooSlowError: At the end of the block, if it was cut short; in a body on asyncio,
            TimeoutError.
            InvalidConfig: The duration is malformed.
            InvalidName: The name is malformed.
        """
        return self._deadline("fail_after", duration, name)

    def _deadline(self, method: str, duration: Duration, name: str | None) -> DeadlineScope:
        us, branch = to_us(duration, "duration"), self._branch(method)
        return DeadlineScope(
            branch,
            us,
            names.step_name(name if name is not None else method),
            method == "fail_after",
        )
