"""Attributes that a body changes: `step.set_attributes`.

What it asks for is merged, when the operation goes live, into what all those before it asked for,
in the order of their identity: so branches that change them in one turn all have their way. The
merged attributes and the record are one commit, and the record keeps what the attributes were
before and after. So `step.instance.attributes`, which is what the body was told of, is on replay
what it was at every place of the first life, whatever the row says by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, diagnosis, stopping
from .._core import OK, REFUSED
from .._errors import InvalidConfig
from .._replay import Outcome
from .._values import names
from .._values.codec import Undecodable, codec
from .._values.failures import describe_refusal
from .operation import TaskOperation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._body.branch import Branch
    from .._body.life import Life
    from .._replay import Identity
    from .._values.names import AttributeValue

NAME = "attributes"
"""Of the operation: a body sets them all alike."""


def read_attributes(life: Life, stored: bytes | None) -> dict[str, AttributeValue]:
    """Returns attributes as they are stored; blocks the instance if they are damaged."""
    try:
        return dict(codec.decode(stored, where="attributes")) if stored else {}
    # the body goes on to its next `await`, and what comes of that is discarded
    except Undecodable as error:
        stopping.block(life, "undecodable", diagnosis.unreadable(life, "step.instance", error))
        return {}


def _span(life: Life, record: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Returns what the attributes were before and after a recorded change, as they are stored."""
    try:
        said = codec.decode(record or b"", where="attributes")
        before, after = said["before"], said["after"]
    except (Undecodable, TypeError, KeyError) as error:
        damage = Undecodable(f"a change of the attributes cannot be read: {error!r}")
        stopping.block(life, "undecodable", diagnosis.unreadable(life, NAME, damage))
        return None, None
    return codec.encode(before), codec.encode(after)


def wanted(changes: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue | None]:
    """Returns a copy of what a body asks for.

    Raises:
        InvalidConfig: A key, a value, or all of them together are not what attributes may be.
    """
    if not isinstance(changes, dict):
        raise InvalidConfig(
            f"step.set_attributes({changes!r:.120}): give a dict of those to set; None removes one."
        )
    names.attributes({key: "" if value is None else value for key, value in changes.items()})
    return dict(changes)


class Change(TaskOperation):
    """One change that history does not know yet."""

    def __init__(
        self, life: Life, identity: Identity, changes: dict[str, AttributeValue | None]
    ) -> None:
        super().__init__(life, identity)
        self._changes = changes
        self._verdict, self._payload = OK, b""

    def go_live(self, in_body: bool = False) -> None:
        who, port = self.life.who, self.life.port
        before = read_attributes(self.life, who.ahead)
        after = {key: it for key, it in (before | self._changes).items() if it is not None}
        try:
            names.attributes(after)
        except InvalidConfig as error:
            self._verdict, self._payload = REFUSED, codec.encode(describe_refusal(error))
            self.life.delivery.cursor.refuse(self.identity)
            self.number = port.record(
                who.no,
                who.incarnation,
                self.after,
                self.identity,
                0,
                REFUSED,
                port.now(),
                self._payload,
            )
        else:
            self._payload = codec.encode({"before": before, "after": after})
            who.ahead = codec.encode(after)
            self.number = port.set_attributes(
                who.no,
                who.incarnation,
                self.after,
                self.identity,
                port.now(),
                self._payload,
                who.ahead,
            )
        port.tickets[self.number] = self

    def done(self, at: int, place: int) -> None:
        """The record is durable."""
        outcome = Outcome(self.identity, self._verdict, None, self._payload, at, place=place)
        delivery.arrived(self.life, outcome)

    def withdrawn(self) -> None:
        self.life.port.tickets.pop(self.number, None)


@enable_ki_protection
async def change_attributes(branch: Branch, changes: dict[str, AttributeValue | None]) -> None:
    """Changes the attributes of an instance, and returns when that is durable."""
    life = branch.life
    identity = branch.identify(_core.ATTRIBUTES, NAME)
    outcome = await delivery.perform(life, Change(life, identity, changes))
    life.who.attributes = _span(life, outcome.payload)[1]


def recall_attributes(life: Life) -> None:
    """A body begins: if its history has changes, it has what was there before the first of them,
    and the next one is made to what was there after the last."""
    who, changes = life.who, life.delivery.cursor.changes
    if changes is not None:
        first, last = changes
        who.attributes, who.ahead = _span(life, first)[0], _span(life, last)[1]
