"""Users' code under type checkers: what the files `typed….py` say of types, and of errors, holds
under mypy and pyright alike."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(str(path) for path in TESTS.glob("typed*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_types_and_errors_are_as_users_code_says(checker):
    assert FILES
    ran = subprocess.run(
        [sys.executable, "-m", checker, *FILES],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
