"""So many kills, spread over rounds and over lanes that run side by side: what both proofs have in
common.

A lane is a process of its own, because a round forks its workers and must have opened nothing
itself. It prints one line of JSON a round; whatever else it says goes to stderr. Which kills there
are depends on the seed alone, never on the number of lanes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .killer import run_round
from .report import Report
from .worker import Beside


def parser(module: str, about: str | None) -> argparse.ArgumentParser:
    """Returns a parser for what every campaign takes. The caller adds how many kills, as
    `kills`."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--round", type=int, default=25, help="kills per store")
    made.add_argument("--lanes", type=int, default=2, help="rounds at the same time")
    made.add_argument("--keep", type=Path, help="where the files of a round with problems go")
    made.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    return made


def run(module: str, options: argparse.Namespace, beside: Beside | None = None) -> int:
    """Runs a campaign, or one lane of it, and prints what it came to. Returns the exit status.

    Args:
        module: What `python -m` is given, for the lanes.
        options: What the parser read.
        beside: What else runs in every process that is to be killed.
    """
    if options.lane is not None:
        for seed, kills in _rounds(options)[options.lane :: options.lanes]:
            print(json.dumps(asdict(run_round(seed, kills, options.keep, beside))), flush=True)
        return 0
    total = Report(seed=options.seed)
    for report in _lanes(module, options.lanes):
        total.add(report)
        print(report if report.problems else f"round {report}", file=sys.stderr, flush=True)
    print(total)
    if total.kills < options.kills:
        print(f"only {total.kills} of {options.kills} kills were made")
    return int(bool(total.problems) or total.kills < options.kills)


def _rounds(options: argparse.Namespace) -> list[tuple[int, int]]:
    """Returns seed and kills of every round."""
    full, rest = divmod(options.kills, options.round)
    sizes = [options.round] * full + [rest] * bool(rest)
    return [(options.seed * 1_000_000 + index, kills) for index, kills in enumerate(sizes)]


def _lanes(module: str, count: int) -> Iterator[Report]:
    """Runs every lane in a process of its own, which forks workers and nothing else; yields their
    reports."""
    command = [sys.executable, "-m", module, *sys.argv[1:]]
    lanes = [
        subprocess.Popen([*command, "--lane", str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    try:
        for lane in lanes:
            assert lane.stdout is not None, "it was asked for"
            for line in lane.stdout:
                report = json.loads(line)
                yield Report(**{**report, "problems": [tuple(p) for p in report["problems"]]})
    finally:
        for lane in lanes:
            lane.kill()
            lane.wait()
