"""What an instance sends in its streams: chunks, in passages of one writer each.

A passage hands over a row of chunks and keeps what is sent meanwhile for the next one: so whatever
is sent within one commit shares a row. Nobody who sends waits for the commit, unless much is on its
way. What a step sends is lost with the attempt if the process dies; what the body sends it sends
again when it is replayed, and the core has said how much of it is there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from .._core import ENDS, GOES_ON, OPENS
from .._errors import LimitReached, MisusedState, TooLarge
from .._values.codec import codec
from .._values.envelope import hide
from . import stopping
from .life import Streams

if TYPE_CHECKING:
    from .._kinds import Verdict
    from .life import Life

ROW_BYTES = 256 << 10
"""So much goes into a row, and one chunk more at most."""
ROW_CHUNKS = 1_000
_ANY = (1 << 62, 1 << 62)
WAITING_BYTES = 1 << 20
"""Whoever sends waits while so much of it is on its way."""


def streams_of(life: Life) -> Streams:
    """Returns what there is of an instance's streams."""
    told = life.delivery
    if told.streams is None:
        told.streams = Streams({})
    return told.streams


class Passage:
    """What one block sends, until it is left.

    Args:
        by: Who sends, for those that are told that they may not meanwhile.
        part: Place of the record of the body's block; 0: a step sends.
        known: How many of its places are in the stream already.
    """

    __slots__ = (
        "_attempt", "_by", "_count", "_durable", "_error", "_given", "_is_open", "_is_sensitive",
        "_known", "_life", "_news", "_number", "_part", "_row", "_waiting", "stream",
    )  # fmt: skip

    def __init__(
        self,
        life: Life,
        stream: str,
        by: str,
        *,
        part: int = 0,
        attempt: int = 1,
        known: int = 0,
        is_sensitive: bool = False,
    ) -> None:
        self.stream = stream
        self._life, self._by, self._part, self._attempt = life, by, part, attempt
        self._known, self._is_sensitive = known, is_sensitive
        self._count = self._given = self._durable = self._number = self._row = 0
        self._is_open = known > 0
        self._waiting: deque[bytes] = deque()
        self._error: LimitReached | None = None
        self._news: trio.Event | None = None

    def open(self) -> None:
        """Begins the passage.

        Raises:
            InvalidState: Somebody else sends in the stream.
        """
        others = streams_of(self._life).open
        other = others.get(self.stream)
        # how long a step sends is chance: a body is told of blocks of its own only
        if other is not None and (other._part or not self._part):
            raise MisusedState(
                f'stream "{self.stream}" of {self._life.who} is being sent by {other._by}, and '
                "only one may send at a time. Give each a stream of its own."
            )
        others[self.stream] = self

    def close(self) -> None:
        """Nothing is sent any more."""
        others = streams_of(self._life).open
        if others.get(self.stream) is self:
            del others[self.stream]

    # What is sent.

    def encoded(self, value: Any) -> bytes:
        """Returns a chunk as it is stored.

        Raises:
            NotSerializable: It cannot be stored.
            TooLarge: It is over the limit.
            LimitReached: The stream holds what it may.
        """
        if self._error is not None:
            raise self._error
        limit = self._limits.chunk_bytes
        try:
            data = codec.encode(value, limit=limit, where="chunk")
        except TooLarge as error:
            raise TooLarge(
                f'a chunk of stream "{self.stream}" of {self._life.who} is {error.size:,} bytes '
                f"when encoded, and {limit:,} is the most. Send it in parts, or raise "
                "Limits.chunk_bytes.",
                limit=limit,
                size=error.size,
            ) from None
        return hide(data) if self._is_sensitive else data

    def add(self, chunk: bytes) -> None:
        """Sends a chunk with the next row; from any thread."""
        self._count += 1
        self._given += len(chunk)
        if self._count > self._known:
            self._waiting.append(chunk)

    def check_room(self, chunk: bytes) -> None:
        """A body is told what it may not send at the same place live and on replay.

        Raises:
            LimitReached: With this chunk it would send more than the stream may hold.
        """
        limits = self._limits
        if self._count >= limits.stream_chunks:
            raise self._full("stream_chunks", limits.stream_chunks)
        if self._given + len(chunk) > limits.stream_bytes:
            raise self._full("stream_bytes", limits.stream_bytes)

    def hand_over(self) -> None:
        """Submits a row, unless one is under way."""
        if self._waiting and not self._number:
            self._number = self._submit(is_heard=True)
            self._life.port.tickets[self._number] = self

    def finish(self) -> None:
        """Submits all that is left, and the end of the passage."""
        while self._waiting:
            self._submit(is_heard=False)
        self._count += 1
        if self._count > self._known:
            self._say(ENDS, [], is_heard=False)

    def _submit(self, *, is_heard: bool) -> int:
        chunks: list[bytes] = []
        self._row = 0
        while self._waiting and self._row < ROW_BYTES and len(chunks) < ROW_CHUNKS:
            chunks.append(self._waiting.popleft())
            self._row += len(chunks[-1])
        mark = GOES_ON if self._is_open else OPENS
        self._is_open = True
        return self._say(mark, chunks, is_heard=is_heard)

    def _say(self, mark: int, chunks: list[bytes], *, is_heard: bool) -> int:
        who, limits = self._life.who, self._limits
        most = (limits.stream_chunks, limits.stream_bytes)
        if self._part:
            most = _ANY  # the body has looked itself
        return self._life.port.send_chunks(
            who.no, who.incarnation, self.stream, self._part, self._attempt, mark, chunks, most,
            is_heard,
        )  # fmt: skip

    # How far it is.

    @property
    def is_crowded(self) -> bool:
        """Whether so much is on its way that whoever sends has to wait."""
        return self._given - self._durable > WAITING_BYTES

    async def has_room(self, most: int = WAITING_BYTES) -> None:
        """Returns when no more than so many bytes are on their way.

        Raises:
            LimitReached: The stream holds what it may.
        """
        while self._number and self._given - self._durable > most:
            if self._life.stopping:
                await stopping.stop_here(self._life)
            self._news = trio.Event()
            await self._news.wait()
        if self._error is not None:
            raise self._error

    def done(self, at: int, place: int) -> None:
        """A row is durable."""
        self._number = 0
        self._durable += self._row
        self.hand_over()
        self.look()

    def settle(
        self, verdict: Verdict, type: str | None, payload: bytes | None, at: int, seq: int, *_: Any
    ) -> None:
        """The stream holds what it may: nothing more is sent."""
        self._error = self._full("stream_bytes", self._limits.stream_bytes)
        self.fenced()

    def fenced(self) -> None:
        """The instance writes nothing more under this incarnation."""
        self._number = 0
        self._waiting.clear()
        self.look()

    def look(self) -> None:
        """Whoever waits for room looks again."""
        if self._news is not None:
            self._news.set()

    @property
    def _limits(self) -> Any:
        who = self._life.who
        return self._life.port.limits_of(who.namespace, who.workflow.name)

    def _full(self, limit: str, value: int) -> LimitReached:
        return LimitReached(
            f'stream "{self.stream}" of {self._life.who} holds what it may: '
            f"{self._limits.stream_chunks:,} chunks, {self._limits.stream_bytes:,} bytes. Raise "
            "Limits.stream_chunks or Limits.stream_bytes, or begin another stream.",
            limit=limit,
            value=value,
        )
