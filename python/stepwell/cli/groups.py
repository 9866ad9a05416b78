"""Commands that have commands of their own: `bulk list`, `schedules show`; alone, such a word
lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class Family(click.Group):
    """Commands of one family; without one of them named, the first is meant."""

    def __init__(self, name: str, help: str, commands: Sequence[click.Command]) -> None:
        super().__init__(name, help=f"{help} Alone it is `{name} {commands[0].name}`.")
        self.first = commands[0]
        for it in commands:
            self.add_command(it)
        self.no_args_is_help = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns their names, the first one first."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tells what each does, in whole sentences."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, it.help or "") for name, it in self.commands.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the first command where none is named."""
        asks_help = args[:1] in (["--help"], ["-h"])
        if not asks_help and (not args or args[0].startswith("-")):
            args = [str(self.first.name), *args]
        return super().parse_args(ctx, args)


def members(command: click.Command) -> list[Any]:
    """Returns a command, or all of its family."""
    return list(command.commands.values()) if isinstance(command, Family) else [command]
