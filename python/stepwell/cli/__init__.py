"""The command `stepwell`. A command is a module with `add_arguments` and `main`, imported once it
is asked for.

It uses the public API only and knows no command's business.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from stepwell import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: Without the program's name; default: those of this process.

    Returns:
        The exit code, for `sys.exit`.

    Raises:
        SystemExit: After `--help`, `--version` and mistakes in the arguments (code 2).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="stepwell", description="Durable execution inside a Python process."
    )
    parser.add_argument("--version", action="version", version=f"stepwell {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="a verified backup that survives kill -9",
        description="Backs up a folder, one durable workflow instance per file, and verifies every "
        "one. Kill it whenever you like and run it again.",
        epilog="exit codes: 0 all backed up; 1 some files could not be; 2 could not start; 3 "
        "stopped early; 4 --chaos found a difference; 130 Ctrl-C; 137 --crash-after",
    )
    if given[:1] == ["demo"]:
        from stepwell._demo import command

        command.add_arguments(demo)
        return command.main(parser.parse_args(given))
    parser.parse_args(given)  # help, version, or a mistake: each of them ends here
    return 2
