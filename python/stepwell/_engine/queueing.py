"""Why the instances of a workflow are queued, in one plain paragraph (`Engine.queue`).

Told from what others know: the reasons, the counters, the limits in force, and who set them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .._core import CONCURRENCY, NAMESPACE_CONCURRENCY, SLOTS, START_AT, STARTING
from .._types import QueueExplanation, ReasonCount, SlotHolder, Status

if TYPE_CHECKING:
    from datetime import datetime

HOLDERS_MAX = 5
"""Those who have had a slot longest, that are named."""


class Account(NamedTuple):
    """Slots of one limit: how many are in use, how many there are, who set that and when."""

    used: int
    slots: int
    set_by: str | None = None
    set_at: datetime | None = None


def explained(
    workflow: str,
    reasons: list[ReasonCount],
    accounts: dict[str, Account],
    holders: list[SlotHolder],
    per_minute: float,
) -> QueueExplanation:
    """Says why instances are queued.

    Args:
        reasons: Those of the workflow, the most frequent first.
        accounts: By the code of their limit.
        holders: Who has slots, by limit irrespective, the longest first.
        per_minute: Slots of the workflow given back a minute, lately.
    """
    queued = [it for it in reasons if it.status is Status.QUEUED]
    count = sum(it.count for it in queued)
    if not queued:
        text = f'no instance of "{workflow}" is queued.'
        return QueueExplanation(
            "empty", text, 0, None, None, None, None, None, (), per_minute, None
        )
    first = queued[0]
    since = min((it.since for it in queued if it.since is not None), default=None)
    account = accounts.get(first.code)
    named = tuple(holders[:HOLDERS_MAX]) if account is not None else ()
    waits = sum(it.count for it in queued if it.code != START_AT)
    estimate = waits / per_minute if per_minute > 0 and waits else None
    parts = [
        f'{count:,} instance{"s" * (count != 1)} of "{workflow}" {_are(count)} queued',
        _why(first, account),
    ]
    if named:
        held = named[0]
        steps = f" in {', '.join(held.steps)}" if held.steps else ""
        parts.append(
            f"{held.workflow}/{held.id} has had one since {held.since:%Y-%m-%d %H:%M:%S} UTC{steps}"
        )
    if per_minute > 0:
        soon = "" if estimate is None else f", so the last starts in about {estimate:,.0f} minutes"
        parts.append(f"about {per_minute:,.2f} slots come back a minute{soon}")
    if account is not None:
        more = "Engine(slots=…)" if first.code == SLOTS else "set_limits(concurrency=…)"
        parts.append(f"{more} gives it more")
    return QueueExplanation(
        first.code,
        "; ".join(parts) + ".",
        count,
        since,
        None if account is None else account.used,
        None if account is None else account.slots,
        None if account is None else account.set_by,
        None if account is None else account.set_at,
        named,
        per_minute,
        estimate,
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _why(first: ReasonCount, account: Account | None) -> str:
    """Says what holds up most of them."""
    whose = {
        SLOTS: "the engine (slots)",
        NAMESPACE_CONCURRENCY: "the namespace (concurrency)",
        CONCURRENCY: "the workflow (concurrency)",
    }
    if account is not None:
        by = f", set by {account.set_by}" if account.set_by else ""
        at = f" on {account.set_at:%Y-%m-%d %H:%M} UTC" if account.set_at else ""
        if at and not by:
            by = ", set"
        return (
            f"the only slot of {whose[first.code]} is"
            if account.used == account.slots == 1
            else f"{account.used:,} of {account.slots:,} slots of {whose[first.code]} are"
        ) + f" in use{by}{at}"
    if first.code == START_AT:
        return f"{first.count:,} of them {_are(first.count)} not to start yet (start_at)"
    if first.code == STARTING:
        return "their slots are free, and they start"
    return f"most of them are {first.code.replace('_', ' ')}"
