"""report.json and report.html: what is in the backup, and nothing that differs between two equal
runs.

No times, no counts of attempts, no paths of this machine but the source's: a run that was killed a
hundred times and one that was left alone write the same bytes.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from typing import Any

from .blobs import LEVEL
from .durably import write_durably
from .files import Backup, shown
from .manifest import Kept, Missed
from .page import render
from .steplog import logged

JSON, HTML = "report.json", "report.html"
SIZES = (
    (1 << 10, "to 1 KiB"),
    (1 << 12, "to 4 KiB"),
    (1 << 14, "to 16 KiB"),
    (1 << 16, "to 64 KiB"),
    (1 << 20, "to 1 MiB"),
)


@logged
def write_report(backup: Backup, kept: list[Kept], missed: list[Missed]) -> int:
    """Writes both reports and returns the size of report.json."""
    report = summarise(backup.source, kept, missed)
    data = (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode()
    write_durably(os.path.join(backup.out, HTML), render(report).encode())
    write_durably(os.path.join(backup.out, JSON), data)
    return len(data)


def summarise(source: str, kept: list[Kept], missed: list[Missed]) -> dict[str, Any]:
    """Returns what report.json holds. Sizes are in bytes; files come in the order of their
    names."""
    blobs = {k.sha256: k for k in kept}
    return {
        "source": source,
        "compression": f"zstd level {LEVEL}",
        "totals": {
            "files": len(kept),
            "size": sum(k.size for k in kept),
            "blobs": len(blobs),
            "blob_content": sum(k.size for k in blobs.values()),
            "stored": sum(k.stored for k in blobs.values()),
            "missed": len(missed),
        },
        "by_kind": _by_kind(kept),
        "by_size": _by_size(kept),
        "missed": [{"name": shown(m.name), "why": m.why} for m in missed],
        "files": [
            {"name": shown(k.name), "sha256": k.sha256, "size": k.size, "stored": k.stored}
            for k in kept
        ],
    }


def _by_kind(kept: list[Kept]) -> list[dict[str, Any]]:
    """Files by ending, the largest group first; a blob that several files share counts for each of
    them."""
    groups: dict[str, list[Kept]] = defaultdict(list)
    for k in kept:
        groups[shown(os.path.splitext(k.name)[1]) or "(none)"].append(k)
    rows = [
        {
            "kind": kind,
            "files": len(group),
            "size": sum(k.size for k in group),
            "stored": sum(k.stored for k in group),
        }
        for kind, group in groups.items()
    ]
    return sorted(rows, key=lambda r: (-r["size"], r["kind"]))


def _by_size(kept: list[Kept]) -> list[dict[str, Any]]:
    labels = [label for _, label in SIZES] + ["larger"]
    counts = dict.fromkeys(labels, 0)
    for k in kept:
        counts[next((label for most, label in SIZES if k.size <= most), "larger")] += 1
    return [{"size": label, "files": n} for label, n in counts.items()]
