"""What the machine itself can do: the limit that stands beside every durable figure."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from pathlib import Path


def sync_seconds(folder: Path, rounds: int = 400) -> tuple[float, float]:
    """Returns median and 99th percentile of write 4 KiB + fdatasync, in seconds, in this folder."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        block = os.urandom(4096)
        for _ in range(rounds):
            began = time.perf_counter()
            os.write(file.fileno(), block)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def written_bytes() -> int:
    """Returns how many bytes this process has sent towards the disk so far (Linux)."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def resident_bytes() -> int:
    """Returns how much memory this process has now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def description() -> str:
    """Returns processor count, kind and Python version."""
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{os.cpu_count()} × {platform.machine()}, {kernel}, Python {platform.python_version()}"
