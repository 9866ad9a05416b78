"""The one place where text of users becomes safe to print.

Ids, step names, errors, values: all of it is somebody's text, and a terminal obeys what is in it.
What a terminal may obey, what turns the order of letters round, and what cannot be seen is written
as `\\x1b`, `\\u202e`, `\\U000e0041`. Everything that the command prints goes through here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def in_line(text: str) -> str:
    """Returns text that stays on one line."""
    return _escaped(text, "", _written)


def in_lines(text: str) -> str:
    """Returns text that may have several lines, such as a traceback."""
    return _escaped(text, "\n\t", _written)


def in_json(text: str) -> str:
    """Returns JSON whose strings are safe to print, and still the same strings."""
    return _escaped(text, "\n", _as_json)


def _escaped(text: str, kept: str, written: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(it if _is_seen(it) or it in kept else written(it) for it in text)


def _is_seen(letter: str) -> bool:
    """Whether a letter is one that a reader sees: a space of whatever width, too."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _written(letter: str) -> str:
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
