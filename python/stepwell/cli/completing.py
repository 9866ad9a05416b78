"""`stepwell completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes `stepwell` in SHELL. For bash:
    `eval "$(stepwell completion bash)"`."""
    from click.shell_completion import get_completion_class

    from . import stepwell
    from .output import Output

    made = get_completion_class(shell)
    assert made is not None, "click knows these shells"
    Output().plain_text(made(stepwell, {}, "stepwell", "_STEPWELL_COMPLETE").source().rstrip())
