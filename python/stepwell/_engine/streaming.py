"""Reading what an instance sends in a stream: `Engine.stream`, `Instance.stream`.

A reader is told what is sent while it listens, and reads from the store what came before or while
it was busy. It ends with the instance. What it has read it knows by its place in the stream of one
incarnation, so it misses nothing and sees nothing twice, wherever it goes on.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, Self

import trio

from .._core import CONCLUDES, ENDS, OPENS
from .._errors import EngineClosed, InstanceNotFound
from .._types import STATUSES, Chunk, Status
from .answers import Telling
from .draining import DRAINED
from .following import KEPT_MAX, matched

if TYPE_CHECKING:
    from .._replay import Recorded
    from .desk import Who
    from .following import Teller

_VALUE = 12
"""Place in a record."""
PAGE = 256
"""Rows that are asked for at once."""
_PLACE = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{1,16})", re.ASCII)


class Source(Protocol):
    """The engine, as whoever reads a stream sees it.

    Raises:
        EngineClosed: From each, if it is not open.
    """

    @property
    def driver(self) -> Teller:
        """What tells."""
        ...

    async def chunks_after(
        self, who: Who, stream: str, incarnation: int, place: int, limit: int, /
    ) -> tuple[int, int, int, list[tuple[Any, ...]]] | None:
        """Returns rows of a stream: see `Core.stream`."""
        ...


class Chunks:
    """What an instance sends in one stream, in order: see `Instance.stream`.

    Raises:
        InvalidConfig: The cursor is none.
    """

    def __init__(self, source: Source, who: Who, stream: str, cursor: str | None) -> None:
        found = None if cursor is None else matched(_PLACE, cursor)
        self._incarnation = 0 if found is None else int(found[1], 16)
        self._place = 0 if found is None else int(found[2], 16)
        self._source, self._who, self._stream = source, who, stream
        self._telling = Telling(who.workflow, who.id)
        self.no = 0
        self._listens = False
        self._told: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._is_behind, self._is_over = True, False
        self._ready: deque[Chunk] = deque()
        self._news = trio.Event()

    begun_at: str | None = None
    """It begins with what was sent after the cursor that was given."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """Returns the next chunk; waits for it.

        Raises:
            InstanceNotFound: The instance is gone.
            EngineClosed: The engine was closed meanwhile.
        """
        while not self._ready:
            if self._is_over:
                raise StopAsyncIteration
            if self._is_behind:
                await self._read()
            elif self._told:
                self._take()
            else:
                if self._source.driver.drained:
                    raise EngineClosed(DRAINED)
                await self._news.wait()
                self._news = trio.Event()
        return self._ready.popleft()

    async def begin(self) -> None:
        """From now on it is told."""
        await self._read()

    def end(self) -> None:
        """It is told nothing any more."""
        if self._listens:
            self._listens = False
            self._source.driver.ignore(self)

    # The driver tells.

    def tell(self, status: Status, _: bytes | None) -> None:
        """It is in this state now: it may have ended, or begun anew."""
        self.look_again()

    def recorded(self, record: Recorded) -> None:
        """This was recorded, which is for others."""

    def reported(self, progress: bytes) -> None:
        """It has come so far, which is for others."""

    def streamed(self, incarnation: int, stream: str, row: tuple[Any, ...]) -> None:
        """It has sent this."""
        if stream == self._stream and not self._is_behind:
            self._told.append((incarnation, row))
            if len(self._told) > KEPT_MAX:
                self._told.clear()
                self._is_behind = True
            self._news.set()

    def look_again(self) -> None:
        """What happened is not known any more."""
        self._told.clear()
        self._is_behind = True
        self._news.set()

    # The reader reads.

    async def _read(self) -> None:
        """Reads on from the store. What is told meanwhile is read, or kept."""
        self._is_behind = False
        try:
            found = await self._source.chunks_after(
                self._who, self._stream, self._incarnation, self._place, PAGE
            )
        except BaseException:
            self._is_behind = True  # it was cancelled, say, and may be asked again
            raise
        if found is None:
            raise InstanceNotFound(f"there is no {self._who.workflow}/{self._who.id} any more")
        no, incarnation, status, rows = found
        if not self._listens or no != self.no:
            self.end()
            self.no, self._listens = no, True
            self._source.driver.listen(self)
            self._is_behind = True  # it was told nothing between the look and now
        if incarnation != self._incarnation:
            self._incarnation, self._place = incarnation, 0
        for row in rows:
            self._add(row)
        if rows:
            self._is_behind = True  # there may be more
        elif STATUSES[status].is_final:
            self._is_over = True

    def _take(self) -> None:
        """Makes chunks of what was told; what does not follow on what was read is read."""
        while self._told:
            incarnation, row = self._told.popleft()
            place, _, mark, *_ = row
            if incarnation != self._incarnation or place > self._place + 1 or mark == CONCLUDES:
                self.look_again()
                return
            self._add(row)

    def _add(self, row: tuple[Any, ...]) -> None:
        place, attempt, mark, _, chunks, outcome = row
        if mark in (ENDS, CONCLUDES):
            chunks = [None if outcome is None else outcome[_VALUE]]
        for at, chunk in enumerate(chunks, place):
            if at > self._place:
                self._place = at
                self._ready.append(
                    Chunk(
                        f"{self._incarnation:x}.{at:x}",
                        attempt,
                        self._telling.value(chunk, "chunk"),
                        first=mark == OPENS and at == place,
                        final=mark in (ENDS, CONCLUDES),
                    )
                )
