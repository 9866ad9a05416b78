"""Who does something: what operations that are not reads are told for the audit, checked, and what
others are told of it."""

from __future__ import annotations

from .._values import names
from .desk import By


def by(actor: str | None, note: str | None) -> By:
    """Returns who does something. Raises InvalidName or InvalidConfig."""
    return By(names.actor(actor), names.note(note))


def terminated_text(who: By) -> str:
    """Returns what everybody is told who waits for an instance that somebody terminates."""
    text = f"{who.actor or 'somebody'} terminated it"
    return f"{text}: {who.note}" if who.note else text
