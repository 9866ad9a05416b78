"""The README's examples run as they stand there."""

import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_first_example_survives_a_kill_and_a_second_run(tmp_path):
    (tmp_path / "src").mkdir()
    for number in range(3):
        (tmp_path / "src" / f"{number}.py").write_text(f"print({number % 2})\n")
    (tmp_path / "example.py").write_text(EXAMPLES[0])
    command = [sys.executable, "example.py"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    # killed as soon as there is a store: somewhere between opening and sleeping
    while not (tmp_path / "audit.db").exists():
        assert first.poll() is None
    first.kill()
    first.communicate()
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == "2\n"


def test_the_order_example_runs(capsys):
    scope: dict = {"__name__": "readme_order"}
    exec(compile(EXAMPLES[1], "README.md", "exec"), scope)
    trio.run(scope["main"])
    assert capsys.readouterr().out.startswith("receipt-")


def test_the_example_of_many_instances_runs():
    scope: dict = {"__name__": "readme_many"}
    exec(compile(EXAMPLES[1], "README.md", "exec"), scope)
    body = textwrap.indent(EXAMPLES[2], "        ")
    code = (
        "async def many():\n    async with Engine(':memory:', workflows=[order]) as engine:\n"
        + body
        + "        return await acme.count()\n"
    )
    exec(compile("from stepwell import Limits, NewInstance\n" + code, "README.md", "exec"), scope)
    assert sum(trio.run(scope["many"]).values()) == 10_000


def test_the_examples_for_asyncio_and_blocking_programs_run():
    scope: dict = {"__name__": "readme_asyncio"}
    exec(compile(EXAMPLES[3], "README.md", "exec"), scope)
    assert (asyncio.run(scope["main"]()), scope["blocking"]()) == ("SO WHY?", "SO WHY?")


def test_the_example_of_a_test_passes():
    scope: dict = {}
    exec(compile(EXAMPLES[4], "README.md", "exec"), scope)
    trio.run(scope["test_it_waits_a_year"])
