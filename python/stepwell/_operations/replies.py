"""Answers to events: `Event.reply` (E6).

An answer is an operation like any other: recorded once, passed over on replay. With its record it
is kept beside the event that the wait took, if that wants one, and is found there from then on,
whatever becomes of the history. An event has one answer: a second one is refused wherever the body
gives it, and recorded nowhere, so that a replay refuses it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery
from .._body.pending import Pending
from .._core import OK
from .._errors import InvalidState
from .._replay import Outcome
from .._values.codec import codec, usable
from . import recalled
from .asking import Asking
from .operation import TaskOperation

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._body.life import Life
    from .._replay import Identity


class Answer(TaskOperation):
    """One that history does not know yet."""

    def __init__(self, life: Life, identity: Identity, place: int, payload: bytes) -> None:
        super().__init__(life, identity)
        self._place = place
        self._payload = payload

    def go_live(self, in_body: bool = False) -> None:
        who, port = self.life.who, self.life.port
        self.number = port.answer(
            who.no,
            who.incarnation,
            self.after,
            self.identity,
            self._place,
            port.now(),
            self._payload,
        )
        port.tickets[self.number] = self

    def done(self, at: int, place: int) -> None:
        """The record is durable."""
        outcome = Outcome(self.identity, OK, None, self._payload, at, place=place)
        delivery.arrived(self.life, outcome)

    def withdrawn(self) -> None:
        self.life.port.tickets.pop(self.number, None)


class Replying(Asking):
    """The way from an event back to the body that took it, and to the record that says so."""

    __slots__ = ("_place", "_type")
    _word = "event"

    def __init__(self, life: Life, type: str, place: int) -> None:
        super().__init__(life)
        self._type = type
        self._place = place

    def __call__(self, value: Any, as_type: Any) -> Pending[None]:
        """Answers the event; see `Event.reply`."""
        branch = self._branch("reply")
        plan = codec.plan(Any if as_type is None else usable(as_type))
        stored, refusal = recalled.encoded(
            branch,
            _core.REPLIED,
            self._type,
            lambda: plan.encode(
                value, limit=self._life.port.most_bytes(self._life.value_bytes), where="reply"
            ),
        )
        return Pending(answer, (branch, self._type, self._place, stored, refusal))


@enable_ki_protection
async def answer(
    branch: Branch, type: str, place: int, stored: bytes | None, refusal: Exception | None
) -> None:
    """Answers the event of this type that was taken at this place of the history."""
    life, told = branch.life, branch.life.delivery
    if told.keys is None:
        told.keys = set()
    if (which := (_core.REPLIED, type, str(place))) in told.keys:
        raise InvalidState(
            f'event "{type}" of {life.who} was answered before, and has one answer. Nothing was '
            "changed."
        )
    identity = await recalled.again(branch, _core.REPLIED, type, refusal)
    assert stored is not None, "else it is refused"
    told.keys.add(which)
    await delivery.perform(life, Answer(life, identity, place, stored))
