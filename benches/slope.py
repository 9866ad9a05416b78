"""Draws docs/queue-slope.svg: what an entry of the queue costs, in bytes and in time, as the number
grows.

STEPWELL_TABLE=1 cargo test --release -p stepwell-core --test memory_per_entry -- --nocapture >
memory.txt cargo bench -p stepwell-benches --bench core -- "queue/(fill|drain) 64 shards" >
speed.txt python -m benches.slope memory.txt speed.txt            # needs matplotlib, which nothing
else here does
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "docs" / "queue-slope.svg"
UNITS = {"ns": 1.0, "µs": 1e3, "ms": 1e6, "s": 1e9}


def memory(text: str) -> dict[str, dict[int, float]]:
    """Returns bytes per entry by curve and number of entries."""
    curves: dict[str, dict[int, float]] = {}
    for entries, shards, what, each in re.findall(
        r"^ *(\d+) +(\d+)  (.{18}) +([\d.]+)$", text, re.MULTILINE
    ):
        what = what.strip()
        if (what == "(registry)" and shards == "64") or (
            shards == "64" and what != "1,000 workflows"
        ):
            curves.setdefault("registry" if what == "(registry)" else f"queue, {what}", {})[
                int(entries)
            ] = float(each)
    return curves


def speed(text: str) -> dict[str, dict[int, float]]:
    """Returns nanoseconds per entry by curve and number of entries."""
    curves: dict[str, dict[int, float]] = {}
    found = re.findall(
        r"^queue/(fill|drain) 64 shards, (.+), (\d+)\n? +time: +\[\S+ \S+ (\S+) (\S+) ",
        text,
        re.MULTILINE,
    )
    for what, order, entries, value, unit in found:
        curves.setdefault(f"{what}, {order}", {})[int(entries)] = (
            float(value) * UNITS[unit] / int(entries)
        )
    return curves


def main() -> None:
    """Draws both."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]  # asked for above

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "stepwell"
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]  # the same

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    plots: list[tuple[Any, str, dict[str, dict[int, float]]]] = [
        (axes[0], "bytes per entry", memory(Path(sys.argv[1]).read_text())),
        (axes[1], "nanoseconds per entry", speed(Path(sys.argv[2]).read_text())),
    ]
    for axis, label, curves in plots:
        for name, points in curves.items():
            axis.plot(
                *zip(*sorted(points.items()), strict=True), marker="o", markersize=3, label=name
            )
        axis.set(xscale="log", xlabel="entries", ylabel=label, ylim=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(TARGET, metadata={"Date": None})


if __name__ == "__main__":
    main()
