"""One connection to an engine: calls go out, answers come back in any order.

It ends once: when the engine closes it, breaks it, or says what cannot be understood. Whoever waits
for an answer then is told `Lost`, and decides whether to ask again.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import Any

import trio

from .._engine.frames import (
    BEGUN,
    CANCEL,
    FRAME_SECONDS,
    ITEM,
    PROTOCOL,
    BadFrame,
    Frames,
    Outlet,
    framed,
)  # fmt: skip
from .._errors import NoEngine
from .._version import __version__

ITEMS_MAX = 1_000
"""Items that are kept for one who follows and does not read; then it is cut, and reads on later."""
HELLO_SECONDS = 10


class Lost(Exception):
    """The connection is gone; whether what was asked has been done is not known."""


class Asked:
    """A call that has no answer yet; of one that follows, its items."""

    def __init__(self) -> None:
        self.items: deque[tuple[int, Any]] = deque()
        self.end: list[Any] | None = None
        """Whether it is answered, and what with."""
        self.is_lost = False
        self._news = trio.Event()

    def take(self, kind: int, value: Any) -> None:
        """Something came."""
        if kind in (ITEM, BEGUN):
            self.items.append((kind, value))
        else:
            self.end = [kind, value]
        self._news.set()

    def lose(self) -> None:
        """Nothing will come any more."""
        self.is_lost = True
        self._news.set()

    async def answer(self) -> list[Any]:
        """Waits for the answer. Raises Lost."""
        while self.end is None:
            if self.is_lost:
                raise Lost
            await self.more()
        return self.end

    async def more(self) -> None:
        """Waits until something comes."""
        await self._news.wait()
        self._news = trio.Event()


class Connection:
    """See above. `open` makes one.

    Attributes:
        hello: What the engine said first.
        is_lost: Whether it has ended.
    """

    def __init__(self, stream: trio.SocketStream, frames: Frames, hello: dict[str, Any]) -> None:
        self.hello = hello
        self.is_lost = False
        self._stream = stream
        self._frames = frames
        self._asked: dict[int, Asked] = {}
        self._numbers = 0
        self._outlet = Outlet(stream, seconds=math.inf)  # an engine that has much to do reads later
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    def ask(self, name: str, args: list[Any], key: bytes | None) -> tuple[int, Asked]:
        """Sends a call; returns its number and what comes of it.

        Raises:
            Lost: It has ended.
            BadFrame: It cannot be sent.
        """
        if self.is_lost:
            raise Lost
        self._numbers += 1
        data = framed([self._numbers, name, args, key])
        asked = self._asked[self._numbers] = Asked()
        self._outlet.send(data)
        return self._numbers, asked

    def forget(self, number: int, *, gives_up: bool) -> None:
        """Nobody waits for this call any more; `gives_up`: the engine is told so."""
        if self._asked.pop(number, None) is not None and gives_up and not self.is_lost:
            self._outlet.send(framed([number, CANCEL, [], None]))

    async def run(self) -> None:
        """Reads and writes, until it ends. For a task of its own; nothing leaves it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._outlet.run)
                    await self._read()
                    nursery.cancel_scope.cancel()
        except* (BadFrame, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.is_lost = True
            for asked in self._asked.values():
                asked.lose()
            await _closed(self._stream)
            self._ended.set()

    async def close(self) -> None:
        """Ends it, and waits for that."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    async def _read(self) -> None:
        while (frame := await self._frames.next()) is not None:
            match frame[0]:
                case [int(number), int(kind), value]:
                    pass
                case _:
                    raise BadFrame("an answer is [number, kind, value]")
            asked = self._asked.get(number)
            if asked is None:
                continue
            asked.take(kind, value)
            if kind not in (ITEM, BEGUN):
                del self._asked[number]
            elif len(asked.items) > ITEMS_MAX:
                self.forget(number, gives_up=True)
                asked.lose()


async def open_connection(path: str) -> Connection:
    """Connects to the engine whose socket this is.

    Raises:
        OSError: Nobody is there.
        Lost: Whoever is there says nothing that could be understood.
        NoEngine: It is an engine of another version.
    """
    stream = await trio.open_unix_socket(path)
    try:
        hello = {"stepwell": PROTOCOL, "version": __version__}
        frames = Frames(stream)
        with trio.move_on_after(min(HELLO_SECONDS, FRAME_SECONDS)):
            await stream.send_all(framed(hello))
            frame = await frames.next()
            said = None if frame is None else frame[0]
            if isinstance(said, dict) and said.get("stepwell") == PROTOCOL:
                return Connection(stream, frames, said)
            if isinstance(said, dict) and "stepwell" in said:
                raise _other_version(said)
    except (BadFrame, trio.BrokenResourceError):
        pass
    except BaseException:
        await _closed(stream)
        raise
    await _closed(stream)
    raise Lost


def _other_version(said: dict[str, Any]) -> NoEngine:
    return NoEngine(
        f"the engine of process {said.get('process')} is of stepwell {said.get('version')!s:.40} "
        f"and speaks version {said.get('stepwell')!s:.40} of the protocol; this client is of "
        f"stepwell {__version__} and speaks version {PROTOCOL}. Use one version in both."
    )


async def _closed(stream: trio.SocketStream) -> None:
    """Closes a stream whatever happens; a forked child may have it too, and does not know."""
    with suppress(OSError):
        stream.socket.shutdown(trio.socket.SHUT_RDWR)
    with trio.CancelScope(shield=True):
        await stream.aclose()
