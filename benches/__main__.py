"""Runs the workloads, prints a table, writes JSON.

    python -m benches [--runs 5] [--only W2,W5] [--scale 1] [--json benches/results/latest.json]

Figures are medians over the runs; the sync time of the disk is measured in each run, beside the
workload it limits.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benches import machine, scale
from benches.once import WORKLOADS, once

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass
class Line:
    """One figure: its median, what it is held against, and the machine's own limit."""

    workload: str
    what: str
    median: float
    low: float
    high: float
    unit: str
    target: str
    met: bool | None
    sync_ms: float


@dataclass(frozen=True)
class Goal:
    """What a figure should be, as a function of the machine's sync time (in seconds) and of the
    other medians."""

    text: str
    test: Callable[[float, float, dict[str, float]], bool]


GOALS = {
    ("W1", "seconds per step"): Goal(
        "≤ 1.5 × sync + 0.15 ms", lambda v, sync, _: v <= 1.5 * sync + 0.00015
    ),
    ("W2", "steps/s"): Goal(
        "≥ 50,000; ≥ 0.5 × in memory",
        lambda v, _, rest: v >= 50_000 and v >= 0.5 * rest["steps/s in memory"],
    ),
    ("W2b", "seconds until all run"): Goal("≤ 10 s", lambda v, _, __: v <= 10),
    ("W2b", "bytes each, running"): Goal("≤ 8,192", lambda v, _, __: v <= 8192),
    ("W2b", "steps/s"): Goal("≥ 30,000", lambda v, _, __: v >= 30_000),
    ("W2b", "p99 delay of the loop"): Goal("≤ 50 ms", lambda v, _, __: v <= 0.05),
    ("W3", "single creations/s, 100 tasks"): Goal("≥ 20,000", lambda v, _, __: v >= 20_000),
    ("W3", f"creations/s in batches, up to {scale.QUEUED:,}"): Goal(
        "≥ 100,000", lambda v, _, __: v >= 100_000
    ),
    ("W3", f"bytes of memory each, {scale.QUEUED:,}"): Goal("≤ 64", lambda v, _, __: v <= 64),
    ("W3", "bytes of disk each"): Goal("≤ 400", lambda v, _, __: v <= 400),
    ("W3", "seconds per peek, 1 threads"): Goal("≤ 3 µs", lambda v, _, __: v <= 3e-6),
    ("W6", "seconds until calls are accepted"): Goal("≤ 2 s", lambda v, _, __: v <= 2),
    ("W6", "MiB of memory"): Goal("≤ 300", lambda v, _, __: v <= 300),
    ("W9", "p100 of a creation, resharding"): Goal(
        "≤ calm + 50 ms", lambda v, _, it: v <= it["p100 of a creation, calm"] + 0.05
    ),
    ("W4", "seconds until all wait"): Goal("≤ 10 s", lambda v, _, __: v <= 10),
    ("W4", "bytes each, parked"): Goal("≤ 2,048", lambda v, _, __: v <= 2048),
    ("W4", "seconds until all have ended"): Goal("≤ 15 s", lambda v, _, __: v <= 15),
    ("W4b", "MiB, all of the process"): Goal("≤ 1,024", lambda v, _, __: v <= 1024),
    ("W5", "p50"): Goal("≤ 5 × sync + 0.5 ms", lambda v, sync, _: v <= 5 * sync + 0.0005),
    ("W5", "p99"): Goal("≤ 5 ms", lambda v, _, __: v <= 0.005),
    ("fronts", "seconds per call, asyncio"): Goal("≤ 100 µs", lambda v, _, __: v <= 100e-6),
    ("fronts", "seconds per call, thread"): Goal("≤ 100 µs", lambda v, _, __: v <= 100e-6),
    ("fronts", "seconds per step, memory, asyncio"): Goal(
        "≤ trio + 150 µs", lambda v, _, rest: v <= rest["seconds per step, memory, trio"] + 150e-6
    ),
    ("fronts", "W2 aio by trio"): Goal("≥ 0.7", lambda v, _, __: v >= 0.7),
    ("checkpoints", "p99"): Goal("≤ 25 ms", lambda v, _, __: v <= 0.025),
    ("W10", "bytes per step"): Goal("≤ 500", lambda v, _, __: v <= 500),
    ("W11", "import beyond trio"): Goal("≤ 40 ms", lambda v, _, __: v <= 0.040),
    ("W11", "open an empty store"): Goal("≤ 50 ms", lambda v, _, __: v <= 0.050),
    ("bulk", "p99 of a step, bulk"): Goal(
        "≤ 2 × alone", lambda v, _, it: v <= 2 * it["p99 of a step, alone"]
    ),
    ("pages", "seconds of a page, first, all"): Goal("≤ 20 ms", lambda v, _, __: v <= 0.02),
    ("pages", "seconds of a page, 1,000th, all"): Goal("≤ 20 ms", lambda v, _, __: v <= 0.02),
    ("pages", "seconds of a page, first, one of a version"): Goal(
        "≤ 60 ms", lambda v, _, __: v <= 0.06
    ),
    ("watch-or-ask", "percent, watch by asking"): Goal("≤ 3 %", lambda v, _, __: v <= 3),
    ("clients", "seconds per call, status"): Goal("≤ 0.2 ms", lambda v, _, __: v <= 0.0002),
    ("clients", "creations/s in batches"): Goal("≥ 20,000", lambda v, _, __: v >= 20_000),
    ("shell", "seconds, stepwell --help"): Goal("≤ 120 ms", lambda v, _, __: v <= 0.12),
    ("shell", "seconds, stepwell list later"): Goal("≤ 250 ms", lambda v, _, __: v <= 0.25),
    ("shell", "seconds, stepwell list --status queued"): Goal(
        "≤ 250 ms", lambda v, _, __: v <= 0.25
    ),
    ("shell", "seconds, stepwell show later/77"): Goal("≤ 250 ms", lambda v, _, __: v <= 0.25),
    ("telemetry", "W2 not sampled by without"): Goal("≥ 0.8", lambda v, _, __: v >= 0.8),
    ("telemetry", "W2 spans from 1 ms by without"): Goal("≥ 0.8", lambda v, _, __: v >= 0.8),
    ("telemetry", "W2 all spans by without"): Goal("≥ 0.8", lambda v, _, __: v >= 0.8),
    ("W12", "seconds"): Goal("≤ 0.2 s", lambda v, _, __: v <= 0.2),
}


def measure(name: str, runs: int) -> list[Line]:
    """Runs one workload and returns its figures."""
    seen: dict[str, list[float]] = {}
    syncs = []
    for _ in range(runs):
        # Each in a process of its own: what another one left in memory is not this one's.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            sync, figures = process.submit(once, name).result()
        syncs.append(sync)
        for what, value in figures.items():
            seen.setdefault(what, []).append(value)
    sync = statistics.median(syncs)
    medians = {what: statistics.median(values) for what, values in seen.items()}
    lines = []
    for what, values in seen.items():
        goal = GOALS.get((name, what))
        met = None if goal is None else goal.test(medians[what], sync, medians)
        unit = "s" if what.startswith(("seconds", "p50", "p99", "p100", "import", "open")) else ""
        lines.append(
            Line(
                name,
                what,
                medians[what],
                min(values),
                max(values),
                unit,
                goal.text if goal else "",
                met,
                sync * 1000,
            )
        )
    return lines


def shown(value: float, unit: str) -> str:
    """Returns a figure as a person reads it."""
    if unit == "s":
        return f"{value * 1000:,.3f} ms"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def table(lines: list[Line]) -> Table:
    """Returns the lines as a table."""
    result = Table(title=machine.description(), title_justify="left")
    for column in ("", "figure", "median", "range", "target", "met", "sync (median)"):
        result.add_column(column, justify="right" if column in ("median", "range") else "left")
    for line in lines:
        met = {True: "yes", False: "no", None: ""}[line.met]
        span = f"{shown(line.low, line.unit)} … {shown(line.high, line.unit)}"
        result.add_row(
            line.workload,
            line.what,
            shown(line.median, line.unit),
            span,
            line.target,
            met,
            f"{line.sync_ms:.3f} ms",
        )
    return result


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each workload (default 5)")
    parser.add_argument(
        "--only", default=",".join(WORKLOADS), help="workloads, separated by commas"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="how many instances, of those that a workload says, from bulk on (default 1)",
    )
    options = parser.parse_args()
    os.environ["STEPWELL_SCALE"] = str(options.scale)
    lines = [line for name in options.only.split(",") for line in measure(name, options.runs)]
    Console(width=150).print(table(lines))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps(
            {"machine": machine.description(), "figures": [asdict(line) for line in lines]},
            indent=2,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
