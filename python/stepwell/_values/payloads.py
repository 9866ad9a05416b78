"""Where large values lie, beside the store: what an engine asks of such a place.

The store keeps a reference in place of the value: its key, its size and what its bytes hash to. So
a value that was changed is found, and nothing but the engine's own keys is ever asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from .envelope import LARGE, is_hidden

OVER = 256 << 10
"""From so many bytes on a value is better off in a file of its own: the store copies each page of
it twice, and a folder syncs two files for it."""
LIMIT = 256 << 20
"""A value is in memory as an object, as its bytes, and as what a codec makes of those: a GiB of the
largest ones is what a process has room for."""


class Most(int):
    """How many bytes a value may have, if that is the limit of a payload store and no other one: a
    number that says so, for whoever crosses it."""


class Payloads(ABC):
    """Where an engine puts large values: `Engine(payloads=…)`. `stepwell.payloads.Folder` is one.

    For another, an object store say, write `put`, `get` and `delete`. They are called in threads of
    the engine's, several at once, and may take their time: one that does not return within a minute
    and a second for each MiB is given up. What they raise says why; what is put or got is tried
    again a few times. A key is 32 characters from `0-9a-f`, is put with one value only, and is of
    one store only, so several engines may share a place.

    Attributes:
        over: Values of more bytes than this, as they are encoded, lie here; 256 KiB.
        limit: How many bytes such a value may have; 256 MiB.
    """

    over: int = OVER
    limit: int = LIMIT

    @abstractmethod
    def put(self, key: str, data: bytes, /) -> None:
        """Keeps these bytes. When this returns they are durable: a record that refers to them is
        committed next. It may come again for the same key and bytes, when it failed before."""

    @abstractmethod
    def get(self, key: str, /) -> bytes:
        """Returns what was put.

        Raises:
            KeyError: There is nothing under this key. Whatever else is raised is tried again.
        """

    @abstractmethod
    def delete(self, keys: Sequence[str], /) -> None:
        """Removes these, and what a `put` that was cut short has left of them. It is no error that
        there is nothing. Whatever is raised, all of them come again later."""


class Reference(NamedTuple):
    """What is stored in place of a large value."""

    key: bytes
    size: int
    digest: bytes
    is_hidden: bool

    @property
    def name(self) -> str:
        """The key, as the place of large values knows it."""
        return self.key.hex()

    def is_of(self, data: object) -> bool:
        """Whether these are the bytes that it stands for."""
        return (
            type(data) is bytes and len(data) == self.size and sha256(data).digest() == self.digest
        )

    def packed(self) -> bytes:
        """Returns it as it is stored."""
        flags = b"\x01" if self.is_hidden else b"\x00"
        return LARGE + self.key + self.size.to_bytes(8) + self.digest + flags


def referring(key: bytes, data: bytes) -> Reference:
    """Returns what stands for these bytes when they lie under this key."""
    return Reference(key, len(data), sha256(data).digest(), is_hidden(data))


def reference(data: bytes | None) -> Reference | None:
    """Returns what these stored bytes refer to; None if they are a value themselves."""
    if data is None or not data.startswith(LARGE):
        return None
    rest = data[len(LARGE) :]
    return Reference(rest[:16], int.from_bytes(rest[16:24]), rest[24:56], rest[56:57] == b"\x01")
