"""`python -m tests.kill`: so many kills, spread over rounds and over lanes that run side by side."""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from .killer import run_round
from .report import Report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, default=25, help="kills per store")
    parser.add_argument("--lanes", type=int, default=2, help="rounds at the same time")
    parser.add_argument("--keep", type=Path, help="where the files of a round with problems go")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lane is not None:
        for seed, kills in _rounds(options)[options.lane :: options.lanes]:
            print(json.dumps(asdict(run_round(seed, kills, options.keep))), flush=True)
        return 0
    total = Report(seed=options.seed)
    for report in _lanes(options):
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


def _lanes(options: argparse.Namespace):
    """Runs every lane in a process of its own, which forks workers and nothing else; yields their reports."""
    command = [sys.executable, "-m", "tests.kill", *sys.argv[1:]]
    lanes = [subprocess.Popen([*command, "--lane", str(i)], stdout=subprocess.PIPE, text=True) for i in range(options.lanes)]
    try:
        for lane in lanes:
            for line in lane.stdout:
                report = json.loads(line)
                yield Report(**{**report, "problems": [tuple(p) for p in report["problems"]]})
    finally:
        for lane in lanes:
            lane.kill()
            lane.wait()


sys.exit(main())
