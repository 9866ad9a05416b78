"""One thing that is wrong."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that somebody should do something about.

    Attributes:
        id: What sort of thing it is, in a word that stays the same.
        evidence: How it is known.
        action: What to do.
    """

    id: str
    evidence: str
    action: str
