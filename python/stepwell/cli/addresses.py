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
_AGO = re.compile(
    r"(\d+(?:\.\d+)?) ?(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?)(?: ago)?", re.ASCII
)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


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
            return Given(value_of(json.loads(text)))
        except ValueError as error:
            hint = "" if where else f"; text goes in quotes: {json.dumps(value)!r}"
            self.fail(f"{where or repr(value)} is no JSON: {error}{hint}", param, ctx)


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
        if (found := _AGO.fullmatch(value.strip())) is not None:
            try:
                past = timedelta(seconds=float(found[1]) * _UNITS[found[2][0]])
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
    """A duration, as the API takes it: "5 min", or a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads numbers; what is no duration is refused by who takes it."""
        try:
            return float(value)
        except ValueError:
            return value


def seconds(span: Any) -> float:
    """Returns how long a duration of `Span` is.

    Raises:
        Failure: It is none.
    """
    if isinstance(span, float) and span >= 0:
        return span
    if isinstance(span, str) and (found := _AGO.fullmatch(span.strip())) is not None:
        return float(found[1]) * _UNITS[found[2][0]]
    raise Failure(USAGE, f"{span!r} is no duration; write 30 seconds, 5 min, 2 hours, or 1.5.")


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
            read = json.loads(text)
        except ValueError:
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
