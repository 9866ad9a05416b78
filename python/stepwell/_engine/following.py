"""Following what happens: the records and states of one instance, and the changes of a namespace.

Nobody looks in vain: the core tells of what somebody follows, and a reader sleeps until then. What
is told while a reader is busy is kept for it, up to a limit; one that falls behind is cut, and
reads on from the store where it was, so it misses nothing and nothing is kept for it in the
meantime. Reports are not kept one by one: a reader is told the last.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import trio

from .._core import RESTARTED
from .._errors import EngineClosed, InvalidConfig
from .._types import STATUSES, Change, Status, Update
from .._values.durations import from_us
from . import history
from .answers import Telling
from .draining import DRAINED

if TYPE_CHECKING:
    from .._core import Core
    from .._replay import Recorded
    from .desk import Who
    from .look import Look


class Followed(Protocol):
    """What can be followed."""

    async def begin(self) -> None:
        """From now on it is told."""

    def end(self) -> None:
        """It is told nothing any more."""


F = TypeVar("F", bound=Followed)

KEPT_MAX = 256
"""Records that are kept for a reader who is busy."""
PAGE = 500
"""Changes that are asked for at once."""
_PLACE = re.compile(r"([0-9a-f]{1,16})\.([a-z_]*)", re.ASCII)
_CHANGE = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16})", re.ASCII)


class Listener(Protocol):
    """Somebody who is told what happens to an instance."""

    no: int

    def tell(self, status: Status, payload: bytes | None, /) -> None:
        """It is in this state now."""

    def recorded(self, record: Recorded, /) -> None:
        """This was recorded."""

    def reported(self, progress: bytes, /) -> None:
        """It has come so far."""

    def streamed(self, incarnation: int, stream: str, row: tuple[Any, ...], /) -> None:
        """It has sent this."""

    def look_again(self) -> None:
        """What happened is not known any more."""


class Teller(Protocol):
    """What tells of what happens: the engine's driver."""

    core: Core
    epoch: str

    @property
    def drained(self) -> bool:
        """Whether nothing happens any more."""
        ...

    def now(self) -> int:
        """Wall time."""
        ...

    def listen(self, listener: Listener, /) -> None:
        """Tells this listener."""

    def ignore(self, listener: Listener, /) -> None:
        """Tells it nothing any more."""

    def next_change(self) -> trio.Event:
        """Returns what is set at the next change that was asked for."""
        ...


class Source(Protocol):
    """The engine, as whoever follows it sees it.

    Raises:
        EngineClosed: From each, if it is not open.
    """

    @property
    def driver(self) -> Teller:
        """What tells."""
        ...

    async def records(self, who: Who, no: int, /) -> tuple[Look, list[Recorded]]:
        """Returns an instance, and what is recorded of it."""
        ...

    async def changes(
        self, namespace: str, place: int, limit: int, /
    ) -> tuple[bool, list[tuple[int, str, str, int, int]], int]:
        """Returns what changed after a place: see `Core.changes`."""
        ...


class Following(Generic[F]):
    """Somebody follows as long as its block lasts."""

    _what: F

    def __init__(self, what: F) -> None:
        self._what = what

    async def __aenter__(self) -> F:
        await self._what.begin()
        return self._what

    async def __aexit__(self, *_: object) -> None:
        self._what.end()


class Updates:
    """What happens to one instance, in order: see `Instance.watch`.

    Raises:
        InvalidConfig: The cursor is none.
    """

    def __init__(self, source: Source, who: Who, no: int, cursor: str | None) -> None:
        found = None if cursor is None else matched(_PLACE, cursor)
        self._seq = -1 if found is None else int(found[1], 16)
        self._status = None if found is None else found[2]
        self._source, self._who, self.no = source, who, no
        self._told: deque[tuple[int, Recorded]] = deque()
        self._state: Status | None = None
        self._progress: bytes | None = None
        self._is_behind, self._is_over = True, False
        self._seed = ""
        self._ready: deque[Update] = deque()
        self._news = trio.Event()

    begun_at: str | None = None
    """It begins with what was recorded after the cursor that was given."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        """Returns the next update; waits for it.

        Raises:
            InstanceNotFound: The instance is gone.
            EngineClosed: The engine was closed meanwhile.
        """
        while not self._ready:
            if self._is_over:
                raise StopAsyncIteration
            if self._is_behind:
                await self._read()
            else:
                self._take()
            if not self._ready and not self._is_over and not self._is_behind:
                if self._source.driver.drained:
                    raise EngineClosed(DRAINED)
                await self._news.wait()
                self._news = trio.Event()
        return self._ready.popleft()

    async def begin(self) -> None:
        """From now on it is told."""
        self._source.driver.listen(self)

    def end(self) -> None:
        """It is told nothing any more."""
        self._source.driver.ignore(self)

    # The driver tells.

    def tell(self, status: Status, _: bytes | None) -> None:
        """It is in this state now."""
        self._state = status
        self._news.set()

    def recorded(self, record: Recorded) -> None:
        """This was recorded."""
        if len(self._told) >= KEPT_MAX:
            self._told.clear()
            self._is_behind = True
        if not self._is_behind:
            self._told.append((record.seq, record))
        self._news.set()

    def reported(self, progress: bytes) -> None:
        """It has come so far."""
        self._progress = progress
        self._news.set()

    def streamed(self, incarnation: int, stream: str, row: tuple[Any, ...]) -> None:
        """It has sent this, which is for others."""

    def look_again(self) -> None:
        """What happened is not known any more: the engine crashed and recovered."""
        self._told.clear()
        self._is_behind = True
        self._news.set()

    # The reader reads.

    async def _read(self) -> None:
        """Reads on from the store. What is told meanwhile is read, or kept."""
        self._is_behind = False
        self._state = None
        try:
            look, records = await self._source.records(self._who, self.no)
        except BaseException:
            self._is_behind = True  # it was cancelled, say, and may be asked again
            raise
        self._seed = look.seeded
        for seq, line in history.numbered(records, self._seed):
            if seq > self._seq:
                self._add(seq, line)
        last = records[-1].seq if records else 0
        self._seq = max(self._seq, last, 0)
        self._arrive(look.status, look.updated_at)

    def _take(self) -> None:
        """Makes updates of what was told."""
        while self._told:
            seq, record = self._told.popleft()
            if seq > self._seq:
                for _, line in history.numbered([record], self._seed):
                    self._add(seq, line)
                self._seq = seq
            if record.verdict == RESTARTED:  # its keys derive from something else now
                self._is_behind = True
                break
        if self._progress is not None:
            progress, self._progress = self._progress, None
            told = Telling(self._who.workflow, self._who.id).value(progress, "report")
            self._put("progress", progress=told, at=self._source.driver.now())
        if self._state is not None:
            state, self._state = self._state, None
            self._arrive(state, self._source.driver.now())

    def _add(self, seq: int, line: Any) -> None:
        self._seq = seq
        self._put("record", record=line, at=line.ended_at)

    def _arrive(self, status: Status, at: int) -> None:
        if status.value != self._status:
            self._status = status.value
            self._put("status", at=at)
        self._is_over = status.is_final

    def _put(self, kind: Any, *, at: Any, record: Any = None, progress: Any = None) -> None:
        status = self._status or ""
        moment = from_us(at) if isinstance(at, int) else at
        state = Status(status) if status else None
        cursor = f"{max(self._seq, 0):x}.{status}"
        self._ready.append(Update(cursor, kind, state, record, progress, moment))


class Changes:
    """Which instances of a namespace change: see `Engine.changes`.

    Raises:
        InvalidConfig: The cursor is none.
    """

    def __init__(self, source: Source, namespace: str, cursor: str | None) -> None:
        found = None if cursor is None else matched(_CHANGE, cursor)
        self._epoch = None if found is None else found[1]
        self._place = 0 if found is None else int(found[2], 16)
        self._source, self._namespace = source, namespace
        self._ready: deque[Change] = deque()
        self._is_new = cursor is None

    @property
    def begun_at(self) -> str | None:
        """Cursor after which changes are told."""
        return self._cursor(self._place)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Returns the next change; waits for it.

        Raises:
            EngineClosed: The engine was closed meanwhile.
        """
        while not self._ready:
            await self._read()
        return self._ready.popleft()

    async def begin(self) -> None:
        """Without a cursor it tells what comes from now on."""
        if self._is_new:
            self._epoch, self._place = self._source.driver.epoch, await self._last()

    def end(self) -> None:
        """Nothing is left of it."""

    async def _last(self) -> int:
        """Returns the place of the last change."""
        _, _, place = await self._source.changes(self._namespace, 1 << 63, 0)
        return place

    async def _read(self) -> None:
        driver = self._source.driver
        if self._epoch != driver.epoch:
            await self._reset()
            return
        news = driver.next_change()
        if not driver.core.await_change(self._place):
            if driver.drained:
                raise EngineClosed(DRAINED)
            await news.wait()
            return
        lost, rows, place = await self._source.changes(self._namespace, self._place, PAGE)
        if lost:
            await self._reset()
            return
        for at, workflow, id, status, when in rows:
            self._ready.append(
                Change(self._cursor(at), "status", workflow, id, STATUSES[status], from_us(when))
            )
        self._place = place

    async def _reset(self) -> None:
        """Something was missed: says so, and goes on with what comes from now on."""
        driver = self._source.driver
        self._epoch, self._place = driver.epoch, await self._last()
        at = from_us(driver.now())
        self._ready.append(Change(self._cursor(self._place), "reset", None, None, None, at))

    def _cursor(self, place: int) -> str:
        return f"{self._epoch}-{place:x}"


def matched(shape: re.Pattern[str], cursor: object) -> re.Match[str]:
    """Returns what a cursor says.

    Raises:
        InvalidConfig: It is none.
    """
    found = shape.fullmatch(cursor) if isinstance(cursor, str) else None
    if found is None:
        raise InvalidConfig(
            f"cursor is {cursor!r:.120}; pass the .cursor of the last update, or leave it out."
        )
    return found
