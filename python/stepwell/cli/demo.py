"""`stepwell demo`: see `stepwell._demo`."""

from __future__ import annotations

from typing import Any

import click


@click.command(
    "demo",
    epilog="Exit codes: 0 all backed up; 1 some files could not be; 2 could not start; 3 stopped "
    "early; 4 --chaos found a difference; 130 Ctrl-C; 137 --crash-after.",
)
@click.argument("path", required=False)
@click.option(
    "--store", default="./stepwell-demo.db", show_default=True, help="The engine's store."
)
@click.option(
    "--out", default="./stepwell-demo", show_default=True,
    help="Folder for blobs, manifests and reports.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Approve the removal of blobs that no manifest names.")
@click.option(
    "--chaos", is_flag=True,
    help="Kill the worker with SIGKILL about every second until the job is done.",
)  # fmt: skip
@click.option(
    "--crash-after", type=click.FloatRange(0, 86_400, max_open=True), metavar="SECONDS",
    help="Kill the worker once, after so much work; run the command again to go on.",
)  # fmt: skip
@click.option(
    "--seed", type=int, help="Of --chaos: when it kills; default: a new one, which is printed."
)
def demo(**given: Any) -> int:
    """Back up the folder PATH (default: this Python's standard library), one durable instance per
    file, and verify every one. Kill it whenever you like and run it again."""
    if given["chaos"] and given["crash_after"] is not None:
        raise click.UsageError("--chaos and --crash-after are two ways to kill it; give one.")
    from .._demo.command import Options, main

    return main(Options(**given))
