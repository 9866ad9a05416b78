"""Frames on a socket: four bytes of length, most significant first, and one CBOR item; and the
words in them that are of no call.

Whoever reads believes nothing: how long a frame may be is known before any of it is kept, and how
long one may take to come once it has begun. What is in it is plain CBOR, which makes no object of
anybody's class (`_values.plain`).
"""

from __future__ import annotations

from typing import Any

import trio

from .._values.plain import Misfit, dumps, loads

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
CANCEL = "cancel"
"""What a client sends in place of a call to give one up."""

ANSWER, ERROR, ITEM, BEGUN = range(4)
"""What follows the number of a call: its answer, or the end of its items; an error; an item; the
cursor from which items come from now on, if there is one before the first."""


class BadFrame(Exception):
    """What came is no frame; nothing that follows it can be read."""


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
        raise BadFrame(f"it is {len(data):,} bytes, of which {FRAME_MAX:,} can be sent at once")
    return len(data).to_bytes(4) + data


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
        try:
            with trio.fail_after(FRAME_SECONDS):
                size = int.from_bytes(await self._taken(4))
                if size > most:
                    raise BadFrame(f"a frame of {size:,} bytes, of which {most:,} may come at once")
                return loads(await self._taken(size)), size
        except trio.TooSlowError:
            raise BadFrame(f"a frame that was not there after {FRAME_SECONDS} seconds") from None
        except Misfit as error:
            raise BadFrame(f"a frame that {error}") from None

    async def _taken(self, size: int) -> bytes:
        while len(self._data) < size:
            if not await self._more():
                raise BadFrame("a frame that was cut short")
        taken = bytes(memoryview(self._data)[:size])
        del self._data[:size]
        return taken

    async def _more(self) -> bool:
        data = await self._stream.receive_some(READ_BYTES)
        self._data += data
        return bool(data)
