"""What a body sends in a stream: `step.stream`.

The block is an operation, recorded when it is entered, so that what is sent in it has a name: the
place of that record. What is sent is in no history. A replay counts, and sends what is not in the
stream yet; so a body waits for nothing that it sends, and no turn depends on when it is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, stopping
from .._body.sending import Passage, streams_of
from .._core import OK
from .._errors import MisusedState
from .._replay import Outcome
from .._room import need_room
from .operation import TaskOperation

if TYPE_CHECKING:
    from types import TracebackType

    from .._body.branch import Branch


class _Block(TaskOperation):
    """A block that history does not know yet."""

    def go_live(self, in_body: bool = False) -> None:
        who, port = self.life.who, self.life.port
        self.number = port.record(
            who.no, who.incarnation, self.after, self.identity, 0, OK, port.now(), None
        )
        port.tickets[self.number] = self

    def done(self, at: int, place: int) -> None:
        """The record is durable."""
        outcome = Outcome(self.identity, OK, None, None, at, place=place)
        delivery.arrived(self.life, outcome)

    def withdrawn(self) -> None:
        self.life.port.tickets.pop(self.number, None)


class BodyStream:
    """What `Step.stream` gives: a block in which a body sends chunks."""

    __slots__ = ("_branch", "_name", "_passage")

    def __init__(self, branch: Branch, name: str) -> None:
        self._branch, self._name = branch, name
        self._passage: Passage | None = None

    @enable_ki_protection
    async def __aenter__(self) -> Self:
        need_room()
        branch, life = self._branch, self._branch.life
        identity = branch.identify(_core.STREAM, self._name)
        outcome = await delivery.perform(life, _Block(life, identity))
        part = outcome.seq or outcome.place
        streams = streams_of(life)
        passage = Passage(life, self._name, "its body", part=part, known=streams.sent.get(part, 0))
        passage.open()
        self._passage = passage
        return self

    @enable_ki_protection
    async def send(self, chunk: Any) -> None:
        """Sends a chunk: any storable value, and readers have it as plain data. It waits for
        nothing.

        Raises:
            NotSerializable: It cannot be stored.
            TooLarge: It is over `Limits.chunk_bytes`.
            LimitReached: The body would send more in this block than a stream may hold.
            InvalidState: The block is not entered, or left.
        """
        need_room()
        life, passage = self._branch.life, self._passage
        await stopping.enter(life)
        if passage is None:
            raise MisusedState(
                f'stream "{self._name}" of {life.who}: send() is for the block of `async with '
                f'step.stream("{self._name}") as out`.'
            )
        # whoever sends beside another task sends in an order that is chance
        await delivery.check_race(life, self._branch.path, _core.STREAM, f"{self._name}.send")
        data = passage.encoded(chunk)
        passage.check_room(data)
        passage.add(data)
        if life.undoing is None:
            passage.hand_over()

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        life, passage, self._passage = self._branch.life, self._passage, None
        if passage is not None:
            passage.close()
            if not life.stopping and life.undoing is None:
                passage.finish()
