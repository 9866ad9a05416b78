"""What stands around stored bytes that are not shown to everybody.

A stored value is one CBOR item. No item begins with the byte that an envelope begins with, so
whoever meets one knows; those that were stored without are read as before. In it, after its sort,
is what it stands around.
"""

from __future__ import annotations

from .._types import Redacted

_HIDDEN = b"\xff\x01"
_SEALED = b"\xff\x02"
_CARRIED = b"\xff\x03"
_UNOPENED = b"\xff\x04"
_TRACED = b"\xff\x05"
LARGE = b"\xff\x06"
"""Before what refers to a value in a payload store (`payloads.Reference`); the core knows it."""
SEALED_PART = "sealed"
"""Under which a recorded failure has what of it is sealed."""


def hide(data: bytes) -> bytes:
    """Returns these bytes as what bodies are told, and nobody else."""
    return _HIDDEN + data


def is_hidden(data: bytes) -> bool:
    """Whether these bytes were hidden."""
    return data.startswith(_HIDDEN)


def uncovered(data: bytes) -> bytes:
    """Returns the bytes of a value, hidden or not, for a body."""
    return data[len(_HIDDEN) :] if is_hidden(data) else data


def redacted(data: bytes) -> Redacted:
    """Returns what is shown in place of bytes that are hidden."""
    return Redacted(len(data) - len(_HIDDEN))


def seal(data: bytes) -> bytes:
    """Returns what a codec made of a value, as it is stored."""
    return _SEALED + data


def sealed(data: bytes) -> bytes | None:
    """Returns what a codec made of a value; None if none made this."""
    return data[len(_SEALED) :] if data.startswith(_SEALED) else None


def carry(data: bytes) -> bytes:
    """Returns a sealed value together with whose it is (a CBOR list), as it is stored."""
    return _CARRIED + data


def carried(data: bytes) -> bytes | None:
    """Returns what was carried; None if this is nothing like that."""
    return data[len(_CARRIED) :] if data.startswith(_CARRIED) else None


def unopened(why: str) -> bytes:
    """Returns what stands, in memory alone, where sealed bytes cannot be opened."""
    return _UNOPENED + why.encode("utf-8", "replace")


def why_unreadable(data: bytes) -> str | None:
    """Returns why these bytes cannot be read, if they are sealed."""
    if data.startswith(_UNOPENED):
        return data[len(_UNOPENED) :].decode()
    if data.startswith((_SEALED, _CARRIED)):
        return "is encoded, and this engine has no codec. Give it the one it was stored with"
    if data.startswith(LARGE):
        size = int.from_bytes(data[18:26])
        return (
            f"is {size:,} bytes that lie in a payload store, and this engine was given none. Give "
            "it the one that has them: Engine(payloads=…)"
        )
    return None


def with_trace(trace: bytes, data: bytes | None) -> bytes:
    """Returns a value together with the trace that it was given in, at most 64 KiB of it."""
    return _TRACED + len(trace).to_bytes(2) + trace + (data or b"")


def trace_of(data: bytes | None) -> bytes | None:
    """Returns the trace that a value was given in; None: in none."""
    return _split(data)[0]


def without_trace(data: bytes | None) -> bytes | None:
    """Returns a value without the trace that it was given in."""
    return data if data is None or not data.startswith(_TRACED) else _split(data)[1]


def _split(data: bytes | None) -> tuple[bytes | None, bytes | None]:
    if data is None or not data.startswith(_TRACED):
        return None, data
    begin = len(_TRACED) + 2
    end = begin + int.from_bytes(data[len(_TRACED) : begin])
    return data[begin:end], data[end:] or None
