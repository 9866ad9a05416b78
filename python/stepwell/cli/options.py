"""Options of commands, made from the table of operations.

A command names the operations that it asks for; each of their parameters becomes an option, of the
type that the row has, unless the command takes it as an argument or says that it goes without.
What an option is called on a command line, and what it means there, is said here, once for all
commands. A parameter that nobody has words for fails when its command is loaded, and so in the
tests.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from typing import Any

import click

from .._engine.operation import Parameter
from .._engine.table import BY_NAME
from .addresses import Attribute, Given, Moment, Span, Value

STATES = (
    "queued", "running", "waiting", "waiting_for_pause", "paused", "blocked", "complete",
    "errored", "terminated",
)  # fmt: skip
FILTERS = (
    "status", "version", "reason", "attributes", "parent", "id_prefix", "schedule",
    "created_after", "created_before",
)  # fmt: skip
"""Parameters that choose instances."""
Make = Callable[[Parameter], click.Option]


def _said(flag: str, help: str, **more: Any) -> Make:
    def made(it: Parameter) -> click.Option:
        default = (
            "" if it.default in (None, "None", "False", "True") else f"; default: {it.default}"
        )
        settings = dict(more)
        if it.default is None:
            settings.setdefault("required", True)
        text = f"{help}{default}".replace("'", "")
        return click.Option([flag, it.name], help=f"{text}.", **settings)

    return made


def _flag(flag: str, help: str, *, turned_off: bool = False) -> Make:
    """A switch; `turned_off`: one that makes False of what is True without it."""

    def made(it: Parameter) -> click.Option:
        return click.Option(
            [flag, it.name], is_flag=True, flag_value=not turned_off, default=None, help=f"{help}."
        )

    return made


def _status(it: Parameter) -> click.Option:
    if it.type.startswith("Literal["):
        words = _literals(it.type)
        return click.Option(
            ["--status", "status"], type=click.Choice([*words, "all"]), metavar="STATE",
            help=f"Only those that are so: {', '.join(words)}, or all; default: open.",
        )  # fmt: skip
    several = "Sequence" in it.type
    words = [*STATES, "all"] if '"all"' in it.type.replace("'", '"') else [*STATES]
    more = ", all" if words[-1] == "all" else ""
    repeated = "; may be given several times" if several else ""
    return click.Option(
        ["--status", "status"], type=click.Choice(words), multiple=several, metavar="STATE",
        help=f"Only instances in this state: {', '.join(STATES)}{more}{repeated}.",
    )  # fmt: skip


def _literals(text: str) -> list[str]:
    """Returns the words that a type allows, as it is written in a row."""
    [whole] = ast.parse(text).body
    constants = (it.value for it in ast.walk(whole) if isinstance(it, ast.Constant))
    return [it for it in constants if isinstance(it, str)]


def _words(flag: str, help: str, *words: str) -> Make:
    return _said(flag, f"{help}: {', '.join(words)}", type=click.Choice(words), metavar="WORD")


WORDS: dict[str, Make] = {
    "status": _status,
    "version": _said("--version", "Only instances of this version", metavar="V"),
    "reason": _said(
        "--reason",
        "Only instances that are where they are for this reason: a code of `stepwell reasons`",
        metavar="CODE",
    ),
    "attributes": _said(
        "--attribute",
        "An attribute; may be given several times",
        type=Attribute(),
        multiple=True,
        metavar="K=V",
    ),
    "parent": _said("--parent", "Only children of this instance", metavar="[WORKFLOW/]ID"),
    "id_prefix": _said("--id-prefix", "Only instances whose ids begin so", metavar="TEXT"),
    "schedule": _said("--schedule", "Only instances that this schedule created", metavar="ID"),
    "created_after": _said(
        "--created-after", "Only instances created since then", type=Moment(), metavar="WHEN"
    ),
    "created_before": _said(
        "--created-before", "Only instances created before then", type=Moment(), metavar="WHEN"
    ),
    "limit": _said("--limit", "At most so many; 0: all there are", type=click.IntRange(0)),
    "cursor": _said("--cursor", "Go on where an earlier answer ended", metavar="TEXT"),
    "newest_first": _flag("--oldest-first", "Oldest first", turned_off=True),
    "rate": _said("--rate", "At most so many in a second", type=float, metavar="N"),
    "frontier": _said(
        "--frontier", "Nobody created after the --dry-run that told this number", type=int
    ),
    "actor": _said("--by", "Who does it, for the audit; default: your login name", metavar="NAME"),
    "by": _said("--by", "Who decides; default: your login name", metavar="NAME", required=False),
    "note": _said("--note", "What there is to say to it, for the audit", metavar="TEXT"),
    "dry_run": _flag("--dry-run", "Only say what it would be done to"),
    "to_version": _said("--to-version", "The version as which they go on", metavar="V"),
    "undo": _flag("--undo", "Undo their steps first"),
    "from_step": _said(
        "--from-step",
        'Where to go on: "failed", or a step as `stepwell history` calls it',
        metavar="STEP",
    ),
    "id": _said("--id", "Its id", metavar="ID"),
    "priority": _said("--priority", "From -100 to 100, higher first", type=int),
    "start_at": _said("--start-at", "Not before then", type=Moment(is_ahead=True), metavar="WHEN"),
    "retention": _said(
        "--retention", "How long it is kept once it has ended", type=Span(), metavar="DURATION"
    ),
    "if_exists": _words("--if-exists", "If the id is taken", "raise", "return", "return_if_same"),
    "on_overload": _words("--on-overload", "If there is no room", "raise", "wait"),
    "dedup_id": _said("--dedup-id", "The same id is taken once", metavar="ID"),
    "timeout": _said("--timeout", "How long to wait for it", type=Span(), metavar="DURATION"),
    "metadata": _said("--metadata", "A value for the workflow", type=Value(), metavar="JSON"),
    "name": _said("--name", "Only requests of this name", metavar="NAME"),
    "params": _said("--params", "Its params", type=Value(), metavar="JSON"),
    "timezone": _said("--timezone", "Of its times", metavar="ZONE"),
    "catch_up": _words("--catch-up", "What becomes of times missed", "skip", "one", "all"),
    "overlap": _words(
        "--overlap", "If the last one has not ended", "skip", "queue", "allow", "replace"
    ),
    "jitter": _said("--jitter", "Put each off by up to so long", type=Span(), metavar="DURATION"),
    "n": _said("-n", "How many", type=click.IntRange(1, 1_000)),
    "value": _said("--value", "What it returned", type=Value(), metavar="JSON"),
    "error": _said("--error", "How it failed, in words", metavar="TEXT"),
    **{
        name: _said(
            f"--{name.replace('_', '-')}",
            f"{help}; none: what was set is cleared",
            metavar="N",
        )
        for name, help in {
            "concurrency": "Instances that run at once",
            "queue_entries": "Instances that wait for a slot",
            "create_rate": "Creations per second",
            "create_burst": "Creations at once on top of the rate",
            "steps": "Steps of one instance",
            "value_bytes": "Size of one value",
            "instance_bytes": "Size of all that one instance was given",
            "stream_bytes": "Size of what one stream holds",
            "stream_chunks": "Chunks that one stream holds",
            "chunk_bytes": "Size of one chunk of a stream",
            "recoveries": "Unclean stops after which an instance is blocked",
        }.items()
    },
}
"""How the parameter of a name is given on a command line."""

_OTHERWISE: dict[tuple[str, str], Make] = {
    ("engine.approvals.approve", "reason"): _said("--reason", "Why", metavar="TEXT"),
    ("engine.approvals.reject", "reason"): _said("--reason", "Why", metavar="TEXT"),
    ("instance.request", "timeout"): _said(
        "--timeout", "How long the answer may take", type=Span(), metavar="DURATION"
    ),
    ("engine.drain", "timeout"): _said(
        "--timeout", "How long attempts may go on", type=Span(), metavar="DURATION"
    ),
}
"""Where a name means something else."""


def options_of(names: Collection[str], without: Collection[str] = ()) -> list[click.Option]:
    """Returns the options that some operations have together.

    Args:
        names: Of the operations, the one whose words count first.
        without: Parameters that the command takes as arguments, or goes without.
    """
    made: dict[str, click.Option] = {}
    for name in names:
        for it in BY_NAME[name].parameters:
            if it.name not in without and it.name not in made:
                made[it.name] = _OTHERWISE.get((name, it.name), WORDS[it.name])(it)
    return list(made.values())


def given_to(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns what of the options was given and is a parameter of this operation, as it takes
    that."""
    taken: dict[str, Any] = {}
    for it in BY_NAME[name].parameters:
        value = given.get(it.name)
        if value is None or value == ():
            continue
        if isinstance(value, Given):
            value = value.value
        elif it.name == "attributes":
            value = dict(value)
        elif it.name == "parent" and isinstance(value, str) and "/" in value:
            value = tuple(value.split("/", 1))
        elif it.name == "status" and isinstance(value, tuple):
            several: list[str] = list(value)
            value = several if len(several) > 1 else several[0]
        taken[it.name] = value
    return taken
