"""The command line itself: what it says about itself, and what it refuses."""

import subprocess
import sys

import pytest

import stepwell
from stepwell.cli import main


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"stepwell {stepwell.__version__}\n"


def test_help_names_the_demo_and_its_exit_codes(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "demo" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    text = capsys.readouterr().out
    assert all(
        option in text
        for option in (
            "PATH",
            "--store",
            "--out",
            "--yes",
            "--chaos",
            "--crash-after",
            "exit codes",
        )
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["demo", "--crash-after", "soon"],
        ["demo", "--crash-after", "-1"],
        ["demo", "--chaos", "--crash-after", "1"],
    ],
)
def test_mistakes_in_the_arguments_end_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: stepwell" in capsys.readouterr().err


@pytest.mark.slow
def test_importing_stepwell_imports_neither_rich_nor_zstandard():
    code = (
        "import sys, stepwell; print(sorted({'rich', 'zstandard', 'stepwell._demo', "
        "'stepwell.cli'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
