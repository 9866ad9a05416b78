"""The command line itself: what it says about itself, and what it refuses."""

import subprocess
import sys

import pytest
from commands import piped

import stepwell
from stepwell import cli


def test_version_is_the_packages():
    assert piped("--version").out == f"stepwell {stepwell.__version__}\n"


def test_help_names_every_command_and_the_exit_codes():
    done = piped("--help")
    assert done.code == 0
    for name, (_, line) in cli.COMMANDS.items():
        assert f"  {name} " in done.out
        assert line.endswith(".")
    assert "124 waited too" in done.out
    text = piped("demo", "--help").out
    for word in ("PATH", "--store", "--out", "--yes", "--chaos", "--crash-after", "Exit codes"):
        assert word in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_says_what_it_does(name):
    done = piped(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: stepwell {name} ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Usage: stepwell [OPTIONS] COMMAND"),
        (["no-such-command"], "stepwell: No such command 'no-such-command'."),
        (["demo", "--crash-after", "soon"], "'soon' is not a valid float range"),
        (["demo", "--crash-after", "-1"], "-1.0 is not in the range 0<=x<86400"),
        (["demo", "--chaos", "--crash-after", "1"], "two ways to kill it; give one"),
        (["show"], "Missing argument 'WORKFLOW/ID'"),
        (["create", "order", "-5"], "A negative number stands behind --, after all options."),
        (["list", "--status", "stuck"], "'stuck' is not one of 'queued', 'running'"),
    ],
)
def test_mistakes_in_the_arguments_end_with_code_2(arguments, told):
    done = piped(*arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert "Usage: stepwell" in done.err


def test_what_is_typed_wrong_is_told_without_its_control_characters():
    done = piped("\x1b[31mred\u202e")
    assert done.code == 2
    assert r"No such command '\x1b[31mred\u202e'." in done.err


@pytest.mark.slow
def test_importing_stepwell_imports_neither_rich_nor_zstandard():
    code = (
        "import sys, stepwell; print(sorted({'rich', 'zstandard', 'click', 'stepwell._demo', "
        "'stepwell.cli'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "store"),
    [
        (["list"], "environment"),
        (["--store", "before", "list"], "before"),
        (["--store", "before", "bulk", "list"], "before"),
        (["--store", "before", "list", "--store", "after"], "after"),
    ],
)
def test_the_store_may_stand_before_the_command(monkeypatch, tmp_path, arguments, store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPWELL_STORE", "environment")
    ran = piped(*arguments)
    assert ran.code == 8
    assert f"there is no store at {store}," in ran.err


@pytest.mark.parametrize("name", ["run", "completion", "demo"])
def test_a_store_before_a_command_that_asks_none_is_refused(name):
    ran = piped("--store", "before", name)
    assert ran.code == 2
    assert f"{name} takes no --store before it" in ran.err
