"""All workloads by name, and one run of one of them: what a process of its own is started for.

A module of its own, because a process that is spawned cannot import `__main__` of a package.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from benches import (
    beside,
    bodies,
    clients,
    floods,
    fronts,
    large,
    lists,
    machine,
    readers,
    scale,
    telemetry,
    workloads,
)

WORKLOADS: dict[str, Callable[[Path], Awaitable[workloads.Figures]]] = {
    "W1": workloads.sequential,
    "W2": workloads.concurrent,
    "W2b": scale.running,
    "W3": scale.queue,
    "W4": bodies.parking,
    "W4b": bodies.asleep,
    "W5": workloads.latency,
    "W6": scale.recovery,
    "W9": scale.reshard,
    "W10": workloads.written,
    "W11": workloads.start,
    "W12": workloads.replay,
    "turns": bodies.turns,
    "fronts": fronts.fronts,
    "checkpoints": bodies.checkpoints,
    "events": floods.events,
    "events-at-once": floods.events_at_once,
    "tasks-at-once": floods.tasks_at_once,
    "due": floods.due,
    "bulk": beside.bulk,
    "restart-failed": beside.restart_failed,
    "retention": beside.retention,
    "reasons": beside.reasons,
    "watchers": beside.watchers,
    "clients": clients.calls,
    "watchers-over-sockets": clients.watchers,
    "shell": clients.shell,
    "pages": lists.pages,
    "large": large.folder,
    "small-beside-large": large.small,
    "watch-or-ask": readers.watch_or_ask,
    "telemetry": telemetry.told,
}


def once(name: str) -> tuple[float, workloads.Figures]:
    """Runs one workload in the present process. Returns the machine's sync time in seconds, and the
    figures."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        return machine.sync_seconds(Path(folder))[0], trio.run(WORKLOADS[name], Path(folder))
