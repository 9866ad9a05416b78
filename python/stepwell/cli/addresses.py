"""How what is typed becomes what is meant: instances, values, moments, attributes.

An instance is `WORKFLOW/ID`, split at the first "/", for ids may have some too; `WORKFLOW/latest`
is the one created last, and `latest` the one created last of all.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from .escaping import in_line
from .exits import NOT_FOUND, USAGE, Failure
from .values import value_of

if TYPE_CHECKING:
    from stepwell import Client, ClientNamespace, Instance

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # which earlier versions do not subscript

LATEST = "latest"
_SPAN = re.compile(
    r"(\d+(?:\.\d*)?|\.\d+) ?"
    r"(ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)?",
    re.ASCII,
)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN_MAX = 365 * 86_400


def split(text: str) -> tuple[str, str] | None:
    """Returns workflow and id of an address; None: it is a workflow, or `latest`.

    Raises:
        Failure: Nothing stands before the "/", or behind it.
    """
    if "/" not in text:
        return None
    workflow, _, id = text.partition("/")
    if not workflow or not id:
        raise Failure(USAGE, f"{text!r} is no instance; give WORKFLOW/ID, WORKFLOW/latest, latest.")
    return workflow, id


def is_instance(text: str) -> bool:
    """Whether one instance is meant."""
    return text == LATEST or split(text) is not None


async def found(client: Client | ClientNamespace, text: str) -> Instance[Any]:
    """Returns the instance of an address.

    Raises:
        Failure: It is none, or nothing is there yet.
        InstanceNotFound: There is none.
    """
    if text != LATEST and split(text) is None:
        raise Failure(
            USAGE,
            f"{text!r} is no instance; give WORKFLOW/ID, such as {text}/latest, or latest.",
        )
    workflow, id = split(text) or (None, LATEST)
    if id == LATEST:
        page = await client.list(workflow, limit=1)
        if not page.items:
            raise Failure(
                NOT_FOUND,
                "there is no instance yet." if workflow is None else
                f"there is no instance of {workflow} yet.",
            )  # fmt: skip
        workflow, id = page.items[0].workflow, page.items[0].id
    assert workflow is not None, "an id is of a workflow"
    return await client.get(workflow, id)


class Value(ParamType):
    """A value: JSON, `-` for JSON on standard input, `@file` for JSON in a file."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads it."""
        if not isinstance(value, str):
            return value
        try:
            text, where = _text(value)
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}", param, ctx)
        except UnicodeDecodeError:
            self.fail(f"{value} is no text in UTF-8", param, ctx)
        try:
            read = json.loads(text)
        except ValueError as error:
            hint = "" if where else f"; text goes in quotes: {json.dumps(value)!r}"
            self.fail(f"{where or repr(value)} is no JSON: {error}{hint}", param, ctx)
        except RecursionError:
            self.fail(f"{where or 'what is given'} is nested too deeply", param, ctx)
        try:
            return Given(value_of(read))
        except ValueError as error:
            self.fail(f"{where or repr(value)} is no value: {error}", param, ctx)


class Given:
    """A value that was given, None among them."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _text(value: str) -> tuple[str, str]:
    if value == "-":
        return sys.stdin.buffer.read().decode(), "standard input"
    if value.startswith("@"):
        with open(value[1:], encoding="utf-8") as file:
            return file.read(), value[1:]
    return value, ""


class Moment(ParamType):
    """A moment: RFC 3339 with its zone, or a duration from now."""

    name = "when"

    def __init__(self, *, is_ahead: bool = False) -> None:
        self.is_ahead = is_ahead
        """Whether a duration is one ahead, and not ago."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads it."""
        if isinstance(value, datetime):
            return value
        away = _SPAN.fullmatch(value.strip().removesuffix(" ago"))
        if away is not None and away[2]:
            try:
                past = timedelta(seconds=float(away[1]) * _UNITS[_unit(away[2])])
                now = datetime.now(UTC)
                return now + past if self.is_ahead else now - past
            except OverflowError:
                self.fail(f"{value!r} is too far away", param, ctx)
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            ago = "in a while: 2 hours" if self.is_ahead else "so long ago: 2 hours"
            self.fail(
                f"{value!r} is no moment; give one such as 2026-11-30T02:00Z, or {ago}", param, ctx
            )
        if at.tzinfo is None:
            self.fail(f"{value!r} does not say of which zone; write {value}Z for UTC", param, ctx)
        return at


class Span(ParamType):
    """A duration, in seconds: `5 min`, or a number of them."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads it."""
        if isinstance(value, float):
            return value
        seconds = seconds_of(value)
        if seconds is None:
            self.fail(
                f"{value!r} is no duration; write 30 seconds, 5 min or 2 hours, or how many "
                "seconds; at most 365 days",
                param,
                ctx,
            )
        return seconds


class When(Span):
    """When a schedule fires: a duration, or a cron expression, which whoever takes it reads."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads what is a duration."""
        seconds = seconds_of(value) if isinstance(value, str) else None
        return value if seconds is None else seconds


def seconds_of(text: str) -> float | None:
    """Returns how many seconds a duration is; None: it is none."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        return None
    seconds = float(found[1]) * _UNITS[_unit(found[2] or "s")]
    return seconds if seconds <= _SPAN_MAX else None


def _unit(word: str) -> str:
    return word if word.startswith("ms") else word[0]


class Attribute(ParamType):
    """`key=value`: numbers, true and false are what they look like, all else is text."""

    name = "k=v"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads it."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is no attribute; write KEY=VALUE", param, ctx)
        try:
            read = value_of(json.loads(text))
        except (ValueError, RecursionError):
            read = text
        return key, read if isinstance(read, str | int | float | bool) else text


def address(workflow: str, id: str) -> str:
    """Returns the address of an instance."""
    return f"{workflow}/{id}"


def place(record: Any) -> str:
    """Returns what a line of a history is called: `name`, `name[key]`, `name#2`, `name in branch`,
    which `--step` and `--from-step` take."""
    key = "" if record.key is None else f"[{record.key}]"
    count = "" if record.count == 1 or record.key is not None else f"#{record.count}"
    branch = f" in {record.branch}" if record.branch else ""
    return f"{record.name}{key}{count}{branch}"


def at_place(records: list[Any], text: str, who: str) -> Any:
    """Returns the line of a history that is called so.

    Raises:
        Failure: There is none.
    """
    for record in records:
        if place(record) == text:
            return record
    known = list(dict.fromkeys(place(it) for it in records))
    raise Failure(
        NOT_FOUND,
        f"{who} has no step {text!r}; "
        + (f"it has {', '.join(map(in_line, known[:20]))}" if known else "nothing is recorded yet")
        + (f" and {len(known) - 20} more" if len(known) > 20 else "") + ".",
    )  # fmt: skip
