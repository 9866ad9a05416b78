"""What stands around stored bytes that are not shown to everybody.

A stored value is one CBOR item. No item begins with the byte that an envelope begins with, so
whoever meets one knows; those that were stored without are read as before. In it, after its sort,
is what it stands around.
"""

from __future__ import annotations

from .._types import Redacted

_HIDDEN = b"\xff\x01"


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
