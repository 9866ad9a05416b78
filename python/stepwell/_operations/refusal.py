"""What a body asked for and may not have: a limit, a registration or a type of that day refused it.

What a body does about it depends on it, as on any outcome. So it is one, of an operation that never
begins: recorded under its identity, told when that is durable, and told again on every replay,
whatever the limits are then (D3). Only what history does not know meets those of today.

How often is limited: a body that asks for the same in a loop may not fill the store. Instances of
formats before 4 know no such records (ADR 0018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .._body import delivery, diagnosis, stopping
from .._core import REFUSED
from .._errors import StepwellError
from .._formats import REFUSALS_ARE_RECORDED
from .._replay import Outcome
from .._values.codec import codec
from .._values.failures import blamed, describe_refusal
from .operation import TaskOperation

if TYPE_CHECKING:
    from .._body.life import Life
    from .._replay import Identity

REFUSALS_MAX = 10_000
"""So many of one instance are recorded, some 4 MB; then it is blocked."""


class Refusal(TaskOperation):
    """One that never begins. It has an outcome all the same."""

    def __init__(self, life: Life, identity: Identity, error: Exception) -> None:
        super().__init__(life, identity)
        self._error = error
        self._payload = b""

    def go_live(self, in_body: bool = False) -> None:
        who, port = self.life.who, self.life.port
        self.life.delivery.cursor.refuse(self.identity)
        self._payload = codec.encode(describe_refusal(self._error))
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
        port.tickets[self.number] = self

    def done(self, at: int, place: int) -> None:
        """The record is durable."""
        delivery.arrived(
            self.life, Outcome(self.identity, REFUSED, None, self._payload, at, place=place)
        )

    def withdrawn(self) -> None:
        self.life.port.tickets.pop(self.number, None)


async def refuse(life: Life, identity: Identity, error: Exception) -> NoReturn:
    """Raises into the body why it may not have what it asks for, once that is recorded; or what is
    recorded of it, of which today's `error` may say something else."""
    if life.who.format < REFUSALS_ARE_RECORDED:
        raise error
    refused = life.delivery.cursor.refused or ()
    if len(refused) >= REFUSALS_MAX and identity not in refused:
        stopping.block(life, "refused", diagnosis.refused_too_often(life, len(refused), error))
        await stopping.stop_here(life)
    try:
        await delivery.perform(life, Refusal(life, identity, error))
    except StepwellError as told:
        raise blamed(
            told, identity
        ) from error.__cause__  # which may be the user's own, and is not recorded
    raise AssertionError("its outcome is raised")
