"""Frames on a socket: four bytes of length, most significant first, and one CBOR item; and the
words in them that are of no call.

Whoever reads believes nothing: how long a frame may be is known before any of it is kept, and how
long one may take to come once it has begun. What is in it is plain CBOR, which makes no object of
anybody's class (`_values.plain`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from .._values.plain import Misfit, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOL = 1
"""Version of all that is said over the socket; both sides say theirs first, and it has to be the
same."""
HELLO_MAX = 4_096
"""Bytes of what a client says first."""
FRAME_MAX = 96 << 20
"""Bytes of any other frame: one value of 64 MiB, and what is around it."""
FRAME_SECONDS = 30
"""So long a frame that has begun may take."""
READ_BYTES = 1 << 16
SENT_AT_ONCE = 1 << 20
"""Bytes that are to be taken in one such time."""
CANCEL = "cancel"
"""What a client sends in place of a call to give one up."""

ANSWER, ERROR, ITEM, BEGUN = range(4)
"""What follows the number of a call: its answer, or the end of its items; an error; an item; the
cursor from which items come from now on, if there is one before the first."""


_HEAD = 4


class BadFrame(Exception):
    """What came is no frame; nothing that follows it can be read."""


class LongFrame(BadFrame):
    """What is to be sent is longer than a frame may be."""


def framed(item: Any) -> bytes:
    """Returns an item as it is sent.

    Raises:
        BadFrame: It is too large, or cannot be written.
    """
    try:
        data = dumps(item)
    except Misfit as error:
        raise BadFrame(f"it {error}") from None
    if len(data) > FRAME_MAX:
        raise LongFrame(f"it is {len(data):,} bytes, of which {FRAME_MAX:,} can be sent at once")
    return len(data).to_bytes(_HEAD) + data


class Frames:
    """What comes from one stream, frame by frame."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def next(self, most: int = FRAME_MAX) -> tuple[Any, int] | None:
        """Waits for the next one, and returns its item and how many bytes it has; None at the end
        of the stream.

        Raises:
            BadFrame: It is too long, takes too long, is cut short, or is no CBOR item.
            trio.BrokenResourceError: The stream broke.
        """
        if not self._data and not await self._more():
            return None
        size = self._size(most)
        if size is None or len(self._data) < _HEAD + size:  # most come whole
            try:
                with trio.fail_after(FRAME_SECONDS):
                    size = await self._completed(most)
            except trio.TooSlowError:
                raise BadFrame(
                    f"a frame that was not there after {FRAME_SECONDS} seconds"
                ) from None
        data = bytes(memoryview(self._data)[_HEAD : _HEAD + size])
        del self._data[: _HEAD + size]
        try:
            return loads(data), size
        except Misfit as error:
            raise BadFrame(f"a frame that {error}") from None

    def _size(self, most: int) -> int | None:
        """Returns how long the frame is that has begun; None if that has not come yet."""
        if len(self._data) < _HEAD:
            return None
        size = int.from_bytes(self._data[:_HEAD])
        if size > most:
            raise BadFrame(f"a frame of {size:,} bytes, of which {most:,} may come at once")
        return size

    async def _completed(self, most: int) -> int:
        while (size := self._size(most)) is None or len(self._data) < _HEAD + size:
            if not await self._more():
                raise BadFrame("a frame that was cut short")
        return size

    async def _more(self) -> bool:
        data = await self._stream.receive_some(READ_BYTES)
        self._data += data
        return bool(data)


class Outlet:
    """What goes out on one stream: at once as far as the system takes it, which spares whoever
    waits for it a round of this loop, and the rest in order by `run`.

    Args:
        stream: Where to.
        seconds: So long the other end may take to read some of it.
        sent: Called when some of what waited is out.

    Attributes:
        waiting: Bytes that are not out yet.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        *,
        seconds: float,
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        self.waiting = 0
        self._stream = stream
        self._seconds = seconds
        self._sent = sent
        self._parts: list[bytes] = []
        self._some = trio.Event()

    def send(self, data: bytes) -> None:
        """Sends it, after all that was sent before."""
        gone = 0
        if not self.waiting:
            with suppress(OSError):  # it takes none now; or is broken, which `run` finds as well
                gone = os.write(self._stream.socket.fileno(), data)
        if gone < len(data):
            self._parts.append(data[gone:])
            self.waiting += len(data) - gone
            self._some.set()

    async def run(self) -> None:
        """Sends what had to wait, for ever.

        Raises:
            BadFrame: Nobody reads it.
            trio.BrokenResourceError: The stream broke.
        """
        while True:
            await self._some.wait()
            self._some = trio.Event()
            data, self._parts = b"".join(self._parts), []
            for at in range(0, len(data), SENT_AT_ONCE):
                part = data[at : at + SENT_AT_ONCE]
                with trio.move_on_after(self._seconds) as slow:
                    await self._stream.send_all(part)
                if slow.cancelled_caught:
                    raise BadFrame("nobody reads what is answered")
                self.waiting -= len(part)
                self._sent()
