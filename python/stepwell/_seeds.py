"""From what all derives that looks random in an instance and is the same on each replay (I13)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._replay import Identity

_KEYS = uuid.UUID("b1a5f0c2-3f0e-5d7c-9a58-0f5f6a5f2d10")


def seed_of(namespace: str, workflow: str, id: str, incarnation: int) -> str:
    """Returns what names one incarnation of an instance among those of all; its workflow by its
    first name."""
    return f"{namespace}|{workflow}|{id}|{incarnation}"


def idempotency_key(seed: str, identity: Identity) -> str:
    """Returns the key of an operation in a body that is seeded so."""
    return str(uuid.uuid5(_KEYS, f"{seed}|{identity}"))
