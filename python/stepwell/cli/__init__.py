"""The command `stepwell`: one command for each thing that can be asked of an engine, and a few
around that.

A command is loaded once it is asked for: `stepwell --help` imports none of them, and no engine.
`asking` makes commands of the rows of the table of operations, `output` prints, `addresses` reads
what is typed, `exits` has the exit codes.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("running:run", "Run the engine MODULE:ENGINE until a signal comes."),
    "list": ("looking:list_", "List instances."),
    "show": ("looking:show", "Show where one instance stands."),
    "history": ("looking:history", "Show what is recorded of one instance."),
    "explain": ("looking:explain", "Say why one instance is where it is, and what to do."),
    "reasons": ("looking:reasons", "Count instances by why they are where they are."),
    "queue": ("keeping:queue", "Say why instances of a workflow are queued."),
    "count": ("keeping:count", "Count instances by state."),
    "watch": ("watching:watch", "Follow one instance, or all of them."),
    "stream": ("watching:stream", "Read what one instance sends in a stream."),
    "top": ("top:top", "Watch the whole engine: slots, reasons, longest attempts."),
    "create": ("creating:create", "Create an instance."),
    "result": ("creating:result", "Wait for an instance, and print what it returned."),
    "send-event": ("creating:send_event", "Send an event to one instance, or to many."),
    "request": ("creating:request", "Send an event that wants an answer, and print that."),
    "approvals": ("approving:approvals", "List requests for approval."),
    "approve": ("approving:approve", "Approve one request, or many."),
    "reject": ("approving:reject", "Reject one request, or many."),
    "pause": ("acting:pause", "Pause one instance, or many."),
    "resume": ("acting:resume", "Let what is paused or blocked go on."),
    "retry": ("acting:retry", "Make attempts now that would come later."),
    "restart": ("acting:restart", "Restart, from the start or from a step."),
    "terminate": ("acting:terminate", "End instances for good."),
    "delete": ("acting:delete", "Delete instances with all that is recorded."),
    "resolve": ("acting:resolve", "Set the outcome of a stuck step by hand."),
    "set-priority": ("acting:set_priority", "Give a queued instance another priority."),
    "start-now": ("acting:start_now", "Let an instance wait for its start time no longer."),
    "bulk": ("bulks:bulk", "What is done to many: list, show, stop."),
    "schedules": ("scheduling:schedules", "Schedules: list, show, put, pause, backfill and more."),
    "limits": ("keeping:limits", "Limits: show, set."),
    "versions": ("keeping:versions", "List versions of workflows, and what is in them."),
    "namespaces": ("keeping:namespaces", "Namespaces: list, delete."),
    "audit": ("keeping:audit", "List who did what."),
    "export": ("watching:export", "Write all there is of an instance as JSON."),
    "backup": ("keeping:backup", "Copy the store while everything goes on."),
    "drain": ("keeping:drain", "Have the engine begin nothing more."),
    "reshard": ("keeping:reshard", "Spread instances over another number of shards."),
    "doctor": ("doctoring:doctor", "Say what is wrong with the store, and what to do."),
    "completion": ("completing:completion", "Print the completion script of a shell."),
    "demo": ("demo:demo", "A verified backup that survives kill -9."),
}
"""Every command: where it is, and what it does in a line."""
STORE_BEFORE = "stepwell.store"
"""Under which name a command finds the store that was given before it."""
UNCOMMANDED: dict[str, str] = {
    "engine.create_batch": "`create` makes one; whoever makes thousands has a program for it",
    "engine.call": "`create --result` is both of its halves",
    "engine.get": "an address is one",
    "engine.peek": "from memory of the engine's own process; `show` asks over the socket",
    "engine.namespace": "`--namespace` is one",
    "instance.wait_for_step": "for tests; `watch` shows each step as it is recorded",
}
"""Operations without a command, and why."""


class Commands(click.Group):
    """The commands, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns their names, as they are told."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Loads one."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that is asked for; refuses a store that would mean nothing to it."""
        name, command, rest = super().resolve_command(ctx, args)
        if ctx.meta.get(STORE_BEFORE) and name in ("run", "completion", "demo"):
            raise click.UsageError(f"{name} takes no --store before it.")
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Tells what each does, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def load(name: str) -> click.Command:
    """Returns the command of a name."""
    module, _, made = COMMANDS[name][0].partition(":")
    command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), made)
    return command


def _version(ctx: click.Context, param: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        from .._version import __version__

        click.echo(f"stepwell {__version__}")
        ctx.exit()


def _store(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    ctx.meta[STORE_BEFORE] = path


stepwell = Commands(
    "stepwell",
    help="Durable execution inside a Python process: look at what an engine does, and act on it, "
    "from any other process of the same user.",
    epilog="Instances are WORKFLOW/ID, WORKFLOW/latest or latest. What is printed is a table on a "
    "terminal and JSON Lines in a pipe. Exit codes: 0 done; 1 the instance errored or was "
    "terminated; 2 usage; 3 not found; 4 its state is against it; 5 overloaded, try again; 6 no "
    "engine; 7 not allowed; 8 store; 9 done in part; 10 doctor found something; 124 waited too "
    "long; 130 Ctrl-C.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--store"], metavar="PATH", expose_value=False, callback=_store,
            help="The engine's store; as well after the command.",
        ),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
            help="Print the version.",
        )
    ],
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: Without the program's name; default: those of this process.

    Returns:
        The exit code, for `sys.exit`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code: Any = stepwell.main(given, prog_name="stepwell", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:  # whoever read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except BaseException as error:
        return _failed(error)


def _failed(error: BaseException) -> int:
    """Says what went wrong, and returns the code for that."""
    from .exits import INTERRUPTED, USAGE, bare, code_of
    from .output import say
    from .wording import text_of

    error = bare(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message())
        return USAGE
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        if context is not None:
            say(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
        hint = ""
        if isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdigit():
            hint = " A negative number stands behind --, after all options."
        say(f"stepwell: {error.format_message()}{hint}")
        return USAGE
    if isinstance(error, click.Abort | KeyboardInterrupt):
        say("stepwell: stopped.")
        return INTERRUPTED
    code = code_of(error) if isinstance(error, Exception) else None
    if code is None:
        raise error
    if text := text_of(error):
        say(f"stepwell: {text}")
    return code
