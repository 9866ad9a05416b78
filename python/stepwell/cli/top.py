"""`stepwell top`: the whole engine on one screen, every second.

`Seen` is what was asked of the engine, `Screen` what is drawn of it, `Top` what keys do. Into a
pipe it is one line of the engine's counters.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import trio

from .asking import asks, of_command
from .escaping import in_lines
from .exits import DONE
from .output import Output, age, cell, console, span
from .wording import advice, text_of

if TYPE_CHECKING:
    from rich.console import Group

    from stepwell import Client, EngineStatistics, InstanceSummary, ReasonCount

SECOND = 1.0
"""Between two looks."""
DRAWN_EACH = 0.25
SILENT = 0.6
"""Seconds without an answer, which are told."""
LONGEST = 4
WORKFLOWS = 5
_KEYS = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"k": "up",
    b"j": "down", b"\r": "enter", b"\n": "enter", b"\x1b": "escape", b"\x7f": "back",
    b"\x03": "q",
}  # fmt: skip
HELP = "↑↓ choose  Enter explain  r retry group  p pause group  f filter  q quit"


class Seen(NamedTuple):
    """What was asked at one moment."""

    at: float
    took: float
    statistics: EngineStatistics
    reasons: list[ReasonCount]
    longest: list[InstanceSummary]


class Top:
    """What is on the screen, and what a key makes of it."""

    def __init__(self, client: Client, store: str, start: Callable[..., None]) -> None:
        self.client = client
        self.start = start
        """Starts what a key asks for, which may take long."""
        self.store = os.path.basename(store)
        self.seen: Seen | None = None
        self.before: Seen | None = None
        self.chosen = 0
        self.filter = ""
        self.typing: str | None = None
        """The filter, while it is typed."""
        self.question: tuple[str, str, ReasonCount] | None = None
        """The operation that is asked about, in words and by its method, and for whom."""
        self.text = ""
        """What is shown instead of the lists, until a key comes."""
        self.message = ""
        self.asked_at: float | None = None
        """Since when an answer is waited for; None: it has come."""
        self.hurry = trio.Event()
        """Set when a look is not to wait for its time."""

    @property
    def rows(self) -> list[ReasonCount]:
        """The reasons that the filter lets through."""
        given = [] if self.seen is None else self.seen.reasons
        return [it for it in given if self.filter in f"{it.workflow} {it.code} {it.step}"]

    @property
    def silence(self) -> float:
        """For how many seconds the engine has not answered."""
        return 0 if self.asked_at is None else trio.current_time() - self.asked_at

    async def look(self) -> None:
        """Asks the engine."""
        from stepwell import EngineClosed, NoEngine

        began = trio.current_time()
        self.asked_at = began if self.asked_at is None else self.asked_at
        try:
            statistics = await self.client.statistics()
            took = trio.current_time() - began
            reasons = await self.client.reasons()
            running = await self.client.list(status="running", newest_first=False, limit=1_000)
        except (NoEngine, EngineClosed):
            return
        self.asked_at = None
        longest = sorted(running.items, key=lambda it: it.updated_at)[:LONGEST]
        self.before, self.seen = self.seen, Seen(began, took, statistics, reasons, longest)
        self.chosen = max(0, min(self.chosen, len(self.rows) - 1))

    async def looks(self) -> None:
        """Asks it again and again."""
        while True:
            await self.look()
            with trio.move_on_after(SECOND):
                await self.hurry.wait()
            self.hurry = trio.Event()

    def press(self, key: str, letter: str) -> bool:
        """Does what a key asks for; returns whether to go on."""
        self.message = ""
        if self.typing is not None:
            self._type(key, letter)
        elif self.question is not None:
            question, self.question = self.question, None
            if letter in ("y", "Y"):
                self.message = f"{question[0]}: under way …"
                self.start(self._act, *question)
        elif self.text:
            self.text = ""
            return letter != "q"
        elif key == "q" or letter == "q":
            return False
        elif key in ("up", "down"):
            step = 1 if key == "down" else -1
            self.chosen = max(0, min(self.chosen + step, len(self.rows) - 1))
        elif letter == "f":
            self.typing = self.filter
        elif self.rows and key == "enter":
            self.start(self._explain, self.rows[self.chosen])
        elif self.rows and letter in ("r", "p"):
            word, method = ("retry", "retry_now") if letter == "r" else ("pause", "pause")
            self.question = (word, method, self.rows[self.chosen])
        return True

    def _type(self, key: str, letter: str) -> None:
        assert self.typing is not None, "a filter is typed"
        if key == "enter":
            self.filter, self.typing, self.chosen = self.typing, None, 0
        elif key == "escape":
            self.typing = None
        elif key == "back":
            self.typing = self.typing[:-1]
        elif letter.isprintable():
            self.typing += letter

    async def _explain(self, row: ReasonCount) -> None:
        from stepwell import StepwellError

        if row.workflow is None or row.example_id is None:
            self.message = "these are many reasons in one row; there is no example."
            return
        try:
            it = await self.client.get(row.workflow, row.example_id)
            self.text = advice(str(await it.explain()))
        except StepwellError as error:
            self.message = text_of(error)

    async def _act(self, word: str, method: str, row: ReasonCount) -> None:
        from stepwell import StepwellError

        from .asking import login

        try:
            done = await getattr(self.client, method)(
                reason=row, actor=login(), note="stepwell top"
            )
            refused = f", {len(done.errors):,} refused" if done.errors else ""
            self.message = f"{word}: {done.done:,} done{refused} (bulk {done.id})"
            self.hurry.set()
        except StepwellError as error:
            self.message = text_of(error)


def drawn(top: Top, width: int, height: int) -> Group:
    """Returns the screen."""
    from rich.console import Group

    parts: list[Any] = [_text(it, style) for it, style in _head(top, width)]
    if top.text:
        parts += [_text(""), _text(in_lines(top.text)), _text(""), _text("any key: back", "dim")]
        return Group(*parts)
    left = height - len(parts) - 3
    if top.seen is not None:
        for table, lines in _tables(top, left):
            parts += [_text(""), table]
            left -= lines + 1
    parts += [_text(""), *_foot(top)]
    return Group(*parts)


def _head(top: Top, width: int) -> Iterator[tuple[str, str]]:
    if (silence := top.silence) >= SILENT:
        since = datetime.now(UTC) - timedelta(seconds=silence)
        yield f"{top.store}: silent since {since:%H:%M:%S}Z, {span(silence)}", "bold red"
    if top.seen is None:
        return
    it, before = top.seen.statistics, top.before
    if silence < SILENT:
        yield f"{top.store}: the engine answered in {span(top.seen.took)}", "bold"
    told = "  ".join(
        f"{word} {'–' if rate is None else f'{rate:,.0f}/s'}"
        for word in ("commits", "records")
        for rate in (_rate(word, top.seen, before),)
    )
    disk = "DISK FULL" if it.extra.get("disk_full") else "disk ok"
    yield (
        f"slots {it.leased:,}/{it.slots:,}  queued {it.queued:,}  waiting {it.waiting:,}  "
        f"in memory {it.resident:,}",
        "",
    )
    yield f"{told}  commit p99 {span(it.commit_p99)}  {disk}", "bold red" if disk.isupper() else ""


def _rate(name: str, seen: Seen, before: Seen | None) -> float | None:
    """Returns how much a counter grew in a second; None: it began anew with its engine, or is
    known once only."""
    if before is None or seen.at <= before.at:
        return None
    grown = getattr(seen.statistics, name) - getattr(before.statistics, name)
    return grown / (seen.at - before.at) if grown >= 0 else None


def _tables(top: Top, left: int) -> Iterator[tuple[Any, int]]:
    """Yields tables and their heights; what has no room is counted."""
    assert top.seen is not None, "there is something to draw"
    workflows = sorted(top.seen.statistics.workflows, key=lambda it: (-it.leased, -it.queued))
    shown = workflows[: min(WORKFLOWS, max(1, left // 4))]
    table = _table("workflow", "slots", "queued", "waiting", "paused", "blocked", "ended")
    for of in shown:
        numbers = (of.leased, of.queued, of.waiting, of.paused, of.blocked, of.ended)
        table.add_row(_text(cell("", of.workflow)), *(_text(f"{it:,}") for it in numbers))
    _count_rest(table, len(workflows) - len(shown))
    used = 1 + len(shown) + (len(workflows) > len(shown))
    yield table, used
    longest = top.seen.longest[: max(0, left // 5)]
    rows, room = top.rows, max(1, left - used - len(longest) - 5)
    first = max(0, min(top.chosen - room + 1, len(rows) - room))
    table = _table("count", "reason", "workflow", "about", "since", "next", justified=1)
    for n, it in enumerate(rows[first : first + room], first):
        about = " ".join(filter(None, (it.step, it.error_type and it.error_type.split(".")[-1])))
        told = (
            f"{it.count:,}", cell("", it.code), f"{it.workflow}@{it.version}", cell("", about),
            "" if it.since is None else age(it.since), "" if it.next is None else age(it.next),
        )  # fmt: skip
        style = "reverse" if n == top.chosen else ""
        table.add_row(*(_text(cell("", value), style) for value in told))
    _count_rest(table, len(rows) - min(room, len(rows)))
    yield table, 1 + min(room, len(rows)) + (len(rows) > room)
    if longest:
        table = _table("running longest", "since", "progress", justified=0)
        for run in longest:
            name = cell("", f"{run.workflow}/{run.id}")
            progress = cell("progress", run.progress)
            table.add_row(_text(name), _text(age(run.updated_at)), _text(progress))
        yield table, 1 + len(longest)


def _count_rest(table: Any, more: int) -> None:
    if more > 0:
        table.add_row(_text(f"+{more:,} more", "dim"))


def _foot(top: Top) -> list[Any]:
    if top.typing is not None:
        return [_text(f"filter: {cell('', top.typing)}▏ (Enter: take it)")]
    if top.question is not None:
        word, _, row = top.question
        about = f" of {row.step}" if row.step else ""
        return [_text(
            f"{word} all {row.count:,} that are {row.code}{about}? y, or any other key", "bold"
        )]  # fmt: skip
    told = f"filter: {cell('', top.filter)}" if top.filter else ""
    return [_text(it) for it in (cell("", top.message) or told,) if it] + [_text(HELP, "dim")]


def _table(*columns: str, justified: int | None = None) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for n, name in enumerate(columns):
        right = n < justified if justified is not None else n > 0
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    return table


def _text(text: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(text, style=style, overflow="ellipsis")


@contextmanager
def _keys_at_once(fd: int) -> Generator[None]:
    """The terminal gives each key as it is pressed, and does not show it."""
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


async def _screen(client: Client, store: str) -> None:
    from rich.live import Live

    fd, terminal = sys.stdin.fileno(), console(sys.stdout)
    with (
        _keys_at_once(fd),
        Live(console=terminal, screen=True, auto_refresh=False) as live,
    ):
        async with trio.open_nursery() as nursery:
            top = Top(client, store, nursery.start_soon)

            def draw() -> None:
                live.update(drawn(top, terminal.width, terminal.height), refresh=True)

            async def draws() -> None:
                while True:
                    draw()
                    await trio.sleep(DRAWN_EACH)

            nursery.start_soon(top.looks)
            nursery.start_soon(draws)
            goes_on = True
            while goes_on:
                await trio.lowlevel.wait_readable(fd)
                pressed = os.read(fd, 64)
                goes_on = bool(pressed) and all(top.press(*it) for it in keys(pressed))
                draw()
            nursery.cancel_scope.cancel()


def keys(pressed: bytes) -> Iterator[tuple[str, str]]:
    """Yields the keys that a terminal sent: what each is called, and its letter."""
    while pressed:
        for code, name in _KEYS.items():
            if pressed.startswith(code) and (len(code) > 1 or code != b"\x1b" or len(pressed) == 1):
                yield name, code.decode()
                pressed = pressed[len(code) :]
                break
        else:
            letter = pressed.decode(errors="replace")[0]
            yield "", letter
            pressed = pressed[max(1, len(letter.encode()) if letter != "\ufffd" else 1) :]


@asks(
    "engine.statistics",
    name="top",
    more=[click.Option(["--once"], is_flag=True, help="Print the counters once, as into a pipe.")],
)
async def top(client: Client, out: Output, once: bool, **given: Any) -> int:
    """Watch the engine, every second: slots, queues, why instances are where they are, and what
    runs longest. Into a pipe it prints the counters of the engine, once."""
    if once or out.is_json or not sys.stdin.isatty():
        told = await client.statistics()
        out.one(told, *(it for it in told._fields if it != "workflows"))
        if not (out.is_json or out.fields or out.ids):
            out.rows(told.workflows)
        return DONE
    await _screen(client, of_command("store"))
    return DONE
