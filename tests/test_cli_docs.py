"""What docs/cli.md shows, as it stands there, in a shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shop import fail, order, pay, ship
from test_cli_table import ALL

from stepwell import sync, workflow
from stepwell.cli import COMMANDS, exits

PAGE = (Path(__file__).parent.parent / "docs" / "cli.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a store whose engine runs, and a `stepwell` to be called."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "stepwell"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m stepwell "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("SHOP_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STEPWELL_STORE", str(tmp_path / "stepwell.db"))
    with sync.Engine(
        str(tmp_path / "stepwell.db"), workflows=[order, pay, ship, fail, render]
    ) as engine:
        engine.create(pay, id="p").wait_for_status("waiting")
        yield tmp_path


@workflow
async def render(step):
    """Nothing of it is queued."""


@pytest.mark.slow
def test_every_example_runs(folder):
    assert len(BLOCKS) == 5
    printed = []
    for block in BLOCKS:
        done = subprocess.run(
            ["sh", "-e", "-c", block], cwd=folder, capture_output=True, text=True, timeout=110,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        printed.append(done.stdout)
    assert '{"params": {"items": ["book"]}, "paid": 40}\n' in printed[0]
    assert '"code": "retrying"' in printed[1]
    assert '"operation": "terminate"' in printed[2]
    assert '"outcome": "fired"' in printed[3]
    assert printed[4].endswith("\n1\n") or printed[4].endswith("\n2\n")


def test_the_page_has_the_exit_codes_as_they_are():
    told = {int(it) for it in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert told == {it for name, it in vars(exits).items() if name.isupper() and name[0] != "_"}


def test_what_the_page_shows_are_commands_there_are():
    for line in "\n".join(BLOCKS).splitlines():
        for words in re.findall(r"stepwell ((?:[a-z-]+ ?){1,2})", line):
            first, *rest = words.split()
            assert first in COMMANDS, line
            assert first in ALL or f"{first} {(rest or ['list'])[0]}" in ALL, line
