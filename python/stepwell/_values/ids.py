"""Ids of new instances, where they are drawn in Python: a client's, which a repeated call is known
by, and a sealed one's, whose params are bound to it. All others the core draws."""

from __future__ import annotations

import secrets
import uuid


def drawn_id(us: int) -> str:
    """Returns a UUIDv7 of this moment, in microseconds, as the core draws them."""
    drawn = us // 1_000 % (1 << 48) << 80 | secrets.randbits(80)
    version, variant = 7 << 76, 2 << 62
    return str(uuid.UUID(int=drawn & ~(0xF << 76 | 3 << 62) | version | variant))
