"""The two workflows: one instance for the backup, one for each of its files.

The parent creates its children in batches and follows them; a file that cannot be backed up makes
its own instance `errored` and nobody else's. The bodies only decide; all I/O is in steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stepwell import (
    ApprovalTimeout,
    Child,
    InstanceErrored,
    InstanceTerminated,
    NewInstance,
    Rejected,
    Retry,
    Step,
    workflow,
)

from .blobs import store_blob, verify_blob
from .files import Backup, hash_file, list_files, make_room, read_names
from .manifest import Kept, Missed, Unnamed, find_unnamed, prune, write_manifest
from .report import write_report

RETRY = Retry(limit=3, delay="300 ms")
FOLLOWED = 1_000


@dataclass(frozen=True, slots=True)
class File:
    """What a child starts with."""

    backup: Backup
    name: bytes


@dataclass(frozen=True, slots=True)
class Summary:
    """How a backup ended. `pruned` is None if the approval was refused."""

    files: int
    kept: int
    missed: int
    size: int
    blobs: int
    stored: int
    unnamed: Unnamed
    pruned: int | None
    examples: list[Missed] = field(default_factory=list)


@workflow(name="backup_file", concurrency=32)
async def backup_file(step: Step, file: File) -> Kept:
    """Hashes one file, keeps it and reads it back."""
    backup, name = file.backup, file.name
    hashed = await step.do(hash_file, backup, name, name="hash", retry=RETRY)
    stored = await step.do(store_blob, backup, name, hashed, name="store", retry=RETRY)
    await step.do(verify_blob, backup, name, hashed, stored, name="verify", retry=RETRY)
    return Kept(name, hashed.sha256, hashed.size, stored.sha256, stored.size)


@workflow(name="backup")
async def backup(step: Step, params: Backup) -> Summary:
    """Backs up a folder: one instance per file, then manifests, an approval, and reports."""
    kept, missed = await _files(step, params)
    await step.do(make_room, params, name="room", retry=RETRY)
    gone = await step.do(write_manifest, params, kept, name="manifest", retry=RETRY)
    lost = {m.name for m in gone}
    kept = [k for k in kept if k.name not in lost]
    missed = sorted([*missed, *gone], key=lambda m: m.name)
    unnamed = await step.do(find_unnamed, params, name="unnamed", retry=RETRY)
    pruned: int | None = None
    try:
        await step.wait_for_approval("prune", detail={"files": unnamed.files, "size": unnamed.size})
    except (Rejected, ApprovalTimeout):
        step.log.info("nothing is pruned")
    else:
        pruned = (await step.do(prune, params, name="prune", retry=RETRY)).files
    await step.do(write_report, params, kept, missed, name="report", retry=RETRY)
    blobs = {k.sha256: k.stored for k in kept}
    return Summary(
        len(kept) + len(missed), len(kept), len(missed), sum(k.size for k in kept), len(blobs),
        sum(blobs.values()),
        unnamed, pruned, missed[:20],
    )  # fmt: skip


async def _files(step: Step, params: Backup) -> tuple[list[Kept], list[Missed]]:
    """Starts one instance per file and waits for them all."""
    followed: list[tuple[bytes, Child[Kept]]] = []
    for piece in await step.do(list_files, params, name="list", retry=RETRY):
        names = await step.do(read_names, params, piece, name="names", retry=RETRY)
        items = [NewInstance(File(params, name), attributes={"job": params.id}) for name in names]
        followed += zip(names, await step.create_batch(backup_file, items), strict=True)

    async def follow(file: tuple[bytes, Child[Kept]]) -> Kept | Missed:
        name, child = file
        try:
            return await child.result()
        except (InstanceErrored, InstanceTerminated) as error:
            return Missed(name, error.error.message if error.error is not None else str(error))

    results = await step.each(follow, followed, concurrency=FOLLOWED)
    return [r for r in results if isinstance(r, Kept)], [
        r for r in results if isinstance(r, Missed)
    ]
