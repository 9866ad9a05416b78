"""The programs in examples/ run, twice on the same store; the one that serves is in test_web.py,
and the bucket, which is no program, in test_payloads_bucket.py."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(
    it
    for it in (Path(__file__).parent.parent / "examples").glob("*.py")
    if not it.name.endswith(("_app.py", "bucket.py"))
)
ARGUMENTS = {"burst.py": ["--instances", "2000"]}
LAST_LINES = {
    "refunds.py": "90 paid, 10 refused",
    "burst.py": "2,000 instances are complete, each of them once",
}


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_an_example_runs_and_runs_again(example, tmp_path):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, example, tmp_path / "example.db", *ARGUMENTS.get(example.name, [])],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == LAST_LINES[example.name]
