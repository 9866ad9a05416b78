"""What a command prints: tables on a terminal, JSON Lines into a pipe.

Everything that is printed passes through here, and through `escaping`. Answers go to standard
output, messages to standard error; no text is read as markup, and nothing is left out: what is too
wide for the terminal goes on in the next line.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, Literal

from .addresses import address, place
from .escaping import in_json, in_line, in_lines
from .exits import DONE, STORE, USAGE, Failure
from .values import VALUES, fields_of, plain, value_json
from .wording import advice, text_of

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS: dict[str, str] = {
    "InstanceSummary": "instance status reason why updated_at",
    "ReasonCount": "count of status code step error_type since next",
    "StepRecord": "step kind attempt status started_at took outcome",
    "ApprovalRequest": "id status detail asked_at until",
    "Bulk": "id operation workflow filter status done errors rate actor began_at",
    "BulkError": "id error",
    "AuditRow": "at actor operation on result note",
    "VersionCount": "workflow version registered counts",
    "size": "workflow version size share counts",
    "SlotHolder": "instance since steps",
    "WorkflowStatistics": "workflow namespace leased queued waiting paused blocked started ended",
    "Firing": "at until outcome why id",
    "Change": "instance status at",
    "Update": "at kind status what",
    "schedule": "id workflow when timezone next_at paused_at overlap catch_up has_code",
    "BatchError": "index id error",
}
"""What a table shows of a row, unless `--fields` says what."""
_AGES = {"updated_at", "since", "next", "asked_at", "until", "began_at", "next_at", "paused_at"}
"""Moments that a table tells by how far away they are."""
_BETWEEN = 2
"""Spaces between two columns."""
_COLOURS = {
    "complete": "green", "running": "cyan", "waiting": "blue", "queued": "yellow",
    "errored": "red", "blocked": "bold red", "terminated": "magenta", "paused": "yellow",
    "done": "green", "failed": "red", "attempt_failed": "red", "interrupted": "yellow",
}  # fmt: skip


def _why(row: Mapping[str, Any]) -> Any:
    error, waiting_on = row["error"], row["waiting_on"]
    return waiting_on if error is None else error


def _took(row: Mapping[str, Any]) -> str | None:
    begun, ended = row["started_at"], row["ended_at"]
    return None if begun is None or ended is None else span((ended - begun).total_seconds())


def _outcome(row: Mapping[str, Any]) -> Any:
    error, output = row["error"], row["output"]
    return value_text(output) if error is None else error


def _what(row: Mapping[str, Any]) -> str | None:
    record, progress = row["record"], row["progress"]
    if record is not None:
        return f"{place(record)} {record.status}"
    return None if row["kind"] != "progress" else value_text(progress)


def _size(row: Mapping[str, Any]) -> str:
    return size(row["bytes"])


def _on(row: Mapping[str, Any]) -> str | None:
    workflow, id, filter = row["workflow"], row["id"], row["filter"]
    if id is not None and workflow is not None:
        return address(workflow, id)
    return " ".join(it for it in (workflow, filter) if it) or None


class _Line:
    """What `place` reads of a line of a history."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.name, self.key, self.count = row["name"], row["key"], row["count"]
        self.branch = row["branch"]


def _instance(row: Mapping[str, Any]) -> str | None:
    return None if row["workflow"] is None else address(row["workflow"], row["id"])


def _of(row: Mapping[str, Any]) -> str:
    version = row["version"]
    return row["workflow"] if version is None else f"{row['workflow']}@{version}"


MADE: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "instance": _instance,
    "why": _why,
    "took": _took,
    "outcome": _outcome,
    "what": _what,
    "on": _on,
    "size": _size,
    "of": _of,
}
"""Columns that are made of several fields."""


@dataclass
class _Column:
    """How a column is laid out.

    Attributes:
        least: The width in which no word of it is parted.
        is_moment: Whether it is parted last of all.
    """

    header: str
    justify: Literal["left", "right"]
    width: int
    least: int
    is_moment: bool


def _is_made(of: Callable[[Mapping[str, Any]], Any], fields: Mapping[str, Any]) -> bool:
    """Whether a row has what a column is made of."""
    try:
        of(fields)
    except KeyError:
        return False
    return True


class Output:
    """How one command prints.

    Args:
        as_json: JSON Lines; None: where standard output is no terminal.
        fields: Only these.
        ids: Only addresses, or ids, one a line.
    """

    def __init__(
        self, *, as_json: bool | None = None, fields: str | None = None, ids: bool = False
    ) -> None:
        self.is_json = not sys.stdout.isatty() if not as_json else True
        self.fields = [it.strip() for it in fields.split(",") if it.strip()] if fields else None
        self.ids = ids
        self.told: int | None = None
        """How many rows were printed; None: it was not asked for any."""
        self._held: list[str] = []
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    # Rows.

    def rows(self, rows: Iterable[Any], nothing: str = "nothing.") -> None:
        """Prints rows of one kind; `nothing` is said where there are none."""
        given = list(rows)
        self.told = (self.told or 0) + len(given)
        if not given and not self.is_json and not self.ids:
            self.hold(nothing)
        elif self.ids or self.is_json:
            for it in given:
                self.row(it)
        elif given:
            self._table(given)

    def row(self, row: Any) -> None:
        """Prints one of many, at once."""
        if self.ids:
            self._write(in_line(_id(row)))
        elif self.is_json:
            self._write(in_json(json.dumps(self._chosen(row), ensure_ascii=False)))
        else:
            shown = [cell(name, it) for name, it in self._cells(row)]
            self._write("  ".join(it for it in shown if it))

    def one(self, row: Any, *shown: str) -> None:
        """Prints one alone, field by field; those of `shown` on a terminal, or all."""
        if self.is_json or self.ids:
            self.row(row)
            return
        names = self.fields or list(shown or fields_of(row) or ())
        table = _grid()
        for name, value in self._cells(row, names):
            text = cell(name, value, is_alone=True)
            if text or name in (self.fields or ()):
                table.add_row(_text(name.replace("_", " "), "dim"), _text(text, _colour(value)))
        self._print(table)

    def text(self, row: Any, text: str) -> None:
        """Prints a row that has a sentence: that, on a terminal."""
        self._held = [it for it in self._held if not text.endswith(it.partition(": ")[2] or it)]
        if self.is_json or self.fields:
            self.row(row)
        else:
            self._print(_text(in_lines(advice(text))))

    def document(self, value: Any) -> None:
        """Prints plain data, one line of JSON."""
        self._write(in_json(json.dumps(value, ensure_ascii=False)))

    def value(self, value: Any) -> None:
        """Prints a value of a user: one line of JSON."""
        self.document(value_json(value))

    def plain_text(self, text: str) -> None:
        """Prints text that is ours: a script, an id."""
        self._write(in_lines(text))

    def _chosen(self, row: Any) -> Any:
        if self.fields is None:
            return plain(row)
        return {
            name: value_json(it) if name in VALUES else plain(it) for name, it in self._cells(row)
        }

    def _cells(self, row: Any, names: list[str] | None = None) -> list[tuple[str, Any]]:
        fields = fields_of(row) or {}
        chosen = names or self.fields or COLUMNS.get(_kind(row), " ".join(fields)).split()
        made = {**MADE, "step": lambda it: place(_Line(it))} if "count" in fields else MADE
        told: list[tuple[str, Any]] = []
        for name in chosen:
            if name in fields and not (name == "step" and "branch" in fields):
                told.append((name, fields[name]))
                continue
            try:
                told.append((name, made[name](fields)))
            except KeyError:
                known = dict.fromkeys([*fields, *(it for it in made if _is_made(made[it], fields))])
                raise Failure(
                    USAGE, f"--fields: there is no {name!r}; there are {', '.join(known)}."
                ) from None
        return told

    def _table(self, rows: list[Any]) -> None:
        from rich.table import Table

        columns = [name for name, _ in self._cells(rows[0])]
        table = Table(box=None, padding=(0, _BETWEEN, 0, 0), pad_edge=False, header_style="bold")
        told = [self._cells(it) for it in rows]
        keep = [
            n
            for n, name in enumerate(columns)
            if self.fields or n == 0 or any(cell(name, line[n][1]) for line in told)
        ]
        made = [_column(columns[n], [line[n][1] for line in told]) for n in keep]
        _fit(made, self.console.width)
        for it in made:
            table.add_column(it.header, justify=it.justify, overflow="fold", width=it.width)
        for line in told:
            table.add_row(*(_text(cell(*line[n]), _colour(line[n][1])) for n in keep))
        self._print(table)

    # Where to.

    @property
    def console(self) -> Console:
        """The terminal, which takes nothing for markup."""
        return console(sys.stdout)

    def _write(self, line: str) -> None:
        self.release()
        with _printing():
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    def _print(self, shown: Any) -> None:
        self.release()
        with _printing():
            self.console.print(shown)

    def say(self, text: str) -> None:
        """Tells whoever runs the command something."""
        self.release()
        say(text)

    def hold(self, text: str) -> None:
        """Keeps a message until something is printed: it is about that."""
        self._held.append(text)

    def forget(self) -> None:
        """What is kept is not so."""
        self._held.clear()

    def release(self) -> None:
        """Prints what is kept."""
        held, self._held = self._held, []
        for it in held:
            say(it)


@contextmanager
def _printing() -> Generator[None]:
    """Ends the command where nothing can be printed any more: in silence, if whoever reads it has
    enough."""
    try:
        yield
    except (OSError, SystemExit) as error:  # rich leaves by itself when a pipe is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is left to be written
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            why = f"standard output cannot be written: {error.strerror}"
            raise Failure(STORE, why) from None
        raise Failure(DONE, "") from None


def say(text: str) -> None:
    """Writes a message to standard error; on a terminal its lines end between words."""
    lines = in_lines(text).split("\n")
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        lines = [part for it in lines for part in _wrapped(it, width)]
    sys.stderr.write("".join(f"{it}\n" for it in lines))
    sys.stderr.flush()


def _wrapped(line: str, width: int) -> list[str]:
    """Returns a line in parts that have room; one that is indented, as code is, stays as it is."""
    if len(line) <= width or line[:1].isspace():
        return [line]
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def console(stream: IO[str]) -> Console:
    """Returns a console on a stream that takes nothing for markup."""
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False)


def cell(name: str, value: Any, *, is_alone: bool = False) -> str:
    """Returns what a person is shown of a field: one line, or, alone, as many as it has."""
    shown = in_lines if is_alone else in_line
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in VALUES:
        return shown(value_text(value))
    if isinstance(value, timedelta):
        return span(value.total_seconds())
    if isinstance(value, datetime):
        at = moment(value)
        if is_alone:
            return f"{at} ({age(value)})"
        return age(value) if name in _AGES else at
    if isinstance(value, str):
        return shown(value.replace("_", " ") if name == "status" else value)
    if isinstance(value, int):
        return "" if name == "attempt" and value == 0 else f"{value:,}"
    if isinstance(value, float):
        return f"{value:.0%}" if name == "share" else f"{value:,g}"
    if isinstance(value, BaseException):
        return shown(f"{type(value).__name__}: {text_of(value)}")
    if hasattr(value, "message") and hasattr(value, "type"):  # an ErrorInfo
        return shown(_error(value, is_alone=is_alone))
    if isinstance(value, Mapping):
        pairs = [(key, it) for key, it in value.items() if name != "counts" or it]
        return ", ".join(f"{in_line(str(key))}: {cell('', it)}" for key, it in pairs)
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return ", ".join(cell("", it) for it in value)
    return shown(json.dumps(plain(value), ensure_ascii=False))


def _error(error: Any, *, is_alone: bool) -> str:
    message = advice(error.message) if error.type.startswith("stepwell.") else error.message
    told = f"{error.type}: {message}" if message else error.type
    return f"{told}\n{error.traceback.rstrip()}" if is_alone and error.traceback else told


def value_text(value: Any) -> str:
    """Returns a value of a user as JSON, to be shown."""
    return "" if value is None else json.dumps(value_json(value), ensure_ascii=False)


def moment(at: datetime) -> str:
    """Returns a moment, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age(at: datetime) -> str:
    """Returns how far away a moment is."""
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """Returns a duration in its largest unit."""
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def several(count: float, noun: str) -> str:
    """Returns how many there are of something: `1 second`, `2,000 rows`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:,g}"
    return f"{number} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Returns bytes in their largest unit."""
    for unit, of in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= of:
            return f"{count / of:,.1f} {unit}"
    return f"{count:,} B"


def _kind(row: Any) -> str:
    return getattr(row, "of", "") or type(row).__name__


def _id(row: Any) -> str:
    fields = fields_of(row) or {}
    if fields.get("workflow") and fields.get("example_id"):
        return address(fields["workflow"], fields["example_id"])
    if _kind(row) in ("InstanceSummary", "Change", "SlotHolder", "instance"):
        return address(fields["workflow"], fields["id"])
    if "id" in fields:
        return str(fields["id"])
    raise Failure(USAGE, "--ids: what this prints has no ids; leave it out, or give --fields.")


def _colour(value: Any) -> str:
    return _COLOURS.get(value, "") if isinstance(value, str) else ""


def _column(name: str, values: list[Any]) -> _Column:
    """Returns how a column is laid out, as wide as it would be."""
    from rich.cells import cell_len

    head = name.removesuffix("_at").replace("_", " ")
    told = [head, *(cell(name, value) for value in values)]
    is_moment = name not in _AGES and any(isinstance(it, datetime) for it in values)
    words = told if is_moment else [word for it in told for word in it.split()]
    number = all(isinstance(it, int | float) and not isinstance(it, bool) for it in values)
    width, least = max(map(cell_len, told)), max(map(cell_len, words))
    return _Column(head, "right" if number else "left", width, least, is_moment)


def _fit(columns: list[_Column], width: int) -> None:
    """Makes columns narrower until no letter is beyond the terminal, always the widest one, and
    those first in which only words are parted; what does not fit goes on in the next line."""
    for it in columns:
        it.width = min(it.width, width)
    beyond = sum(it.width + _BETWEEN for it in columns) - _BETWEEN - width
    for _ in range(beyond):
        between_words = [it for it in columns if it.width > it.least]
        words = [it for it in columns if it.width > 1 and not it.is_moment]
        widest = max(between_words or words or columns, key=lambda it: it.width)
        widest.width = max(1, widest.width - 1)


def _grid() -> Any:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _text(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style=style, overflow="fold")
