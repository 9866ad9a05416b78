"""What takes the bytes of a store: of each version of a workflow, told from some of its instances.

To weigh all of them would mean to read the whole store, at the worst of times. So some are read,
as many from each part of the time in which they were created; what they weigh on average, times
how many there are, is what their version takes: its values as they are stored, and a little for
each record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .values import Row

if TYPE_CHECKING:
    from stepwell import Client, InstanceSummary, VersionCount

PARTS = 8
"""Into which the time from the first creation to the last is cut."""
OF_EACH = 5
"""Instances that are read of each part, spread over a page of them."""
PAGE = 200
_RECORD, _INSTANCE = 120, 400
"""Bytes that a record, or an instance, takes beside its values."""


async def sized(client: Client, versions: Sequence[VersionCount]) -> list[Row]:
    """Returns the versions, those first that take most, with what they take."""
    weights: list[tuple[float, int]] = []
    for it in versions:
        seen = [await _weight(client, found) async for found in _some(client, it)]
        count = sum(it.counts.values())
        weights.append((count * sum(seen) / len(seen) if seen else 0, len(seen)))
    whole = sum(weight for weight, _ in weights) or 1
    rows = [
        Row(
            "size",
            **it._asdict(),
            share=round(weight / whole, 4),
            bytes=round(weight),
            read=read,
        )
        for it, (weight, read) in zip(versions, weights, strict=True)
    ]
    return sorted(rows, key=lambda it: -it["bytes"])


async def _some(client: Client, version: VersionCount) -> AsyncIterator[InstanceSummary]:
    """Yields instances of a version from all of its time, each once; of few, all of them."""
    of: dict[str, Any] = {"version": version.version}
    last = (await client.list(version.workflow, **of, limit=PARTS * OF_EACH)).items
    if sum(version.counts.values()) <= PARTS * OF_EACH:
        for it in last:
            yield it
        return
    first = (await client.list(version.workflow, **of, newest_first=False, limit=1)).items
    if not (first and last):
        return
    seen = set[str]()
    passed = last[0].created_at - first[0].created_at
    for part in range(PARTS):
        at = first[0].created_at + passed * part / PARTS
        later: dict[str, Any] = {"created_after": at, "newest_first": False}
        earlier: dict[str, Any] = {
            "created_before": at + passed / PARTS + timedelta(microseconds=1)
        }
        way = later if part % 2 else earlier  # of many that were created at once, both ends
        page = (await client.list(version.workflow, **of, **way, limit=PAGE)).items
        stride = max(1, len(page) // OF_EACH)
        for it in page[part % stride :: stride][:OF_EACH]:
            if it.id not in seen:
                seen.add(it.id)
                yield it


async def _weight(client: Client, of: InstanceSummary) -> int:
    """Returns how many bytes an instance takes, about."""
    from stepwell import InstanceNotFound

    try:
        told = await (await client.get(of.workflow, of.id)).export()
    except InstanceNotFound:  # deleted meanwhile
        return _INSTANCE
    values = [told["params"], told["output"], told["attributes"]]
    values += [it["payload"] for it in told["history"]]
    stored: int = sum(len(it) * 3 // 4 for it in values if it is not None)
    hidden: int = sum(it.get("hidden_bytes", 0) for it in told["history"])
    return _INSTANCE + _RECORD * len(told["history"]) + stored + hidden
