"""The one place where text of users becomes safe to print.

Ids, step names, errors, values: all of it is somebody's text, and a terminal obeys what is in it.
What a terminal may obey, what turns the order of letters round, and what cannot be seen is written
as `\\x1b`, `\\u202e`, `\\U000e0041`. Everything that the command prints goes through here.
"""

from __future__ import annotations

import re

_UNSEEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_IN_LINES = re.compile(f"[{_UNSEEN}]")
_IN_LINE = re.compile(f"[\t\n{_UNSEEN}]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def in_line(text: str) -> str:
    """Returns text that stays on one line."""
    return _IN_LINE.sub(_written, text)


def in_lines(text: str) -> str:
    """Returns text that may have several lines, such as a traceback."""
    return _IN_LINES.sub(_written, text)


def in_json(text: str) -> str:
    """Returns JSON whose strings are safe to print, and still the same strings."""
    return _IN_LINES.sub(_as_json, text)


def _written(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else (
        f"\\U{code:08x}"
    )  # fmt: skip


def _as_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
