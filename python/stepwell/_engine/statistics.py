"""The counters of a running engine, by the names of the public API."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from .._types import EngineStatistics, WorkflowStatistics

if TYPE_CHECKING:
    from .driver import Driver

_KNOWN = (
    "slots", "leased", "queued", "waiting", "commits", "operations", "records", "batch_max",
    "shards",
)  # fmt: skip


def of(driver: Driver) -> EngineStatistics:
    """Returns them, from memory."""
    raw = dict(driver.core.statistics())
    known = {name: raw.pop(name, 0) for name in _KNOWN}
    return EngineStatistics(
        **known,
        resident=len(driver.runners),
        commit_p50=raw.pop("commit_p50_us", 0) / 1e6,
        commit_p99=raw.pop("commit_p99_us", 0) / 1e6,
        submitted=raw.pop("submitted_depth", 0),
        workflows=tuple(itertools.starmap(WorkflowStatistics, driver.core.workflow_statistics())),
        extra={
            **raw,
            "loop_holds": driver.watchdog.holds,
            "longest_hold_ms": round(driver.watchdog.longest * 1e3),
        },
    )
