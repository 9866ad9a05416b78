"""Two checks that do not trust the run they check.

`audit` opens the store in a new process and holds every history of a job against what the steps
logged. `differences` compares two backups byte for byte: one that was killed and one that was not.
The definitions are in docs/demo.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from stepwell import Engine, Instance

from .files import Backup
from .job import backup, backup_file
from .manifest import BLOBS, MANIFEST
from .report import HTML, JSON
from .steplog import count

READERS = 16


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        instances: How many histories were read.
        steps: Steps that the log has an attempt of.
        recorded: Steps whose outcome the histories have.
        lost: Acknowledged steps that ran again, or that ended and are in no history.
        twice: Outcomes beyond the first of each step in the histories.
        repeated: Attempts beyond the first of each step in the log.
    """

    instances: int
    steps: int
    recorded: int
    lost: int
    twice: int
    repeated: int


async def audit(engine: Engine, job: Backup) -> Audit:
    """Reads the histories of a job that has ended and compares them with its log."""
    counted = count(job.log, job.id)
    outcomes: Counter[tuple[str, str]] = Counter()
    instances: list[Instance[Any]] = [await engine.get(backup, job.id)]
    cursor: str | None = None
    while True:
        page = await engine.list(
            backup_file, attributes={"job": job.id}, limit=1_000, cursor=cursor
        )
        instances += [await engine.get(backup_file, item.id) for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    async def read(instance: Instance[Any]) -> None:
        for record in await instance.history():
            if record.kind == "do" and record.status in ("done", "failed", "timed_out"):
                outcomes[instance.id, f"{record.name}#{record.count}"] += 1

    await _spread(read, instances)
    missing = len(counted.ended - outcomes.keys())
    twice = sum(outcomes.values()) - len(outcomes)
    return Audit(
        len(instances),
        counted.steps,
        len(outcomes),
        counted.lost + missing,
        twice,
        counted.repeated,
    )


async def _spread(
    work: Callable[[Instance[Any]], Awaitable[None]], items: list[Instance[Any]]
) -> None:
    queue = iter(items)

    async def reader() -> None:
        for item in queue:
            await work(item)

    async with trio.open_nursery() as nursery:
        for _ in range(READERS):
            nursery.start_soon(reader)


def differences(out: str, reference: str, *, pruned: bool) -> list[str]:
    """Returns what differs between two backups: names of files, relative to their folders.

    Args:
        out: The one.
        reference: The other, made in an empty folder.
        pruned: Whether `out` may hold nothing that the other has not.
    """
    found = [
        name
        for name in (JSON, HTML, MANIFEST, BLOBS)
        if not _same(Path(out, name), Path(reference, name))
    ]
    ours, theirs = _blobs(out), _blobs(reference)
    found += [
        name
        for name in sorted(theirs)
        if name not in ours or not _same(Path(out, name), Path(reference, name))
    ]
    return found + (sorted(ours - theirs) if pruned else [])


def _blobs(out: str) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, f), out)
        for folder, _, files in os.walk(os.path.join(out, "blobs"))
        for f in files
    }


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()
