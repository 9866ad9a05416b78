"""`stepwell top`, in tmux: a terminal of 80 columns and 24 lines, and keys as somebody types
them; and what it draws when the engine is silent, in virtual time."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
import trio
from rich.console import Console
from shop import order, pay
from trio.testing import MockClock

from stepwell import EngineStatistics, InvalidConfig, Page, ReasonCount, sync
from stepwell.cli.top import DRAWN_EACH, SECOND, SILENT, Top, drawn, keys

SECONDS_MAX = 60


class Tmux:
    """One terminal."""

    def __init__(self, folder, *command: str) -> None:
        self._socket = str(folder / "tmux")
        given = " ".join(command)
        self("new-session", "-d", "-x", "80", "-y", "24", "-s", "top", given)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *arguments], capture_output=True, text=True
        )
        return done.stdout

    def keys(self, *names: str) -> None:
        self("send-keys", "-t", "top", *names)

    def until(self, text: str) -> str:
        """Returns the screen once it has this text."""
        last = time.monotonic() + SECONDS_MAX
        while text not in (screen := self("capture-pane", "-t", "top", "-p")):
            assert time.monotonic() < last, screen
        return screen

    def until_without(self, text: str) -> None:
        last = time.monotonic() + SECONDS_MAX
        while text in (screen := self("capture-pane", "-t", "top", "-p")):
            assert time.monotonic() < last, screen

    def until_ended(self) -> None:
        last = time.monotonic() + SECONDS_MAX
        while self("has-session", "-t", "top") or self("ls"):
            assert time.monotonic() < last


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
def test_top_shows_explains_retries_and_filters(tmp_path, monkeypatch):
    store, key = tmp_path / "shop.db", tmp_path / "key"
    monkeypatch.setenv("SHOP_KEY", str(key))
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(sync.Engine(str(store), workflows=[order, pay]))
        for n in range(2):
            engine.create(pay, id=f"p-{n}").wait_for_status("waiting")
        engine.create(order, id="o").wait_for_status("waiting")
        top = Tmux(
            tmp_path, f"cd {os.getcwd()};", sys.executable, "-m", "stepwell", "top", "--store",
            str(store),
        )  # fmt: skip
        try:
            screen = top.until("charge AuthError")
            assert screen.splitlines()[0].startswith("shop.db: the engine answered in ")
            assert screen.splitlines()[1].startswith("slots 0/50,000  queued 0  waiting 3")
            assert "↑↓ choose  Enter explain" in screen
            top.keys("Enter")
            assert 'waits for retry 1 of "charge"' in top.until("any key: back")
            top.keys("x")
            top.until("charge AuthError")
            top.keys("f")
            top.keys("pay", "Enter")
            assert "event" not in top.until("filter: pay\n")
            key.touch()
            top.keys("r")
            top.until("retry all 2 that are retrying of charge? y, or any other key")
            top.keys("y")
            top.until("retry: 2 done (bulk ")
            for n in range(2):
                assert engine.get(pay, f"p-{n}").result() == "charged"
            top.keys("f")
            top.keys("BSpace", "BSpace", "BSpace", "Enter")
            top.until("event")
            top.until_without("charge")
            top.keys("p")
            top.until("pause all 1 that are event of paid?")
            top.keys("y")
            top.until("pause: 1 done")
            assert engine.get(order, "o").status().status == "paused"
            stack.close()
            top.until("shop.db: silent since ")
            top.keys("q")
            top.until_ended()
        finally:
            top("kill-server")


class Engine:
    """Answers as long as it runs."""

    def __init__(self) -> None:
        self.runs = trio.Event()
        self.runs.set()

    async def statistics(self) -> EngineStatistics:
        await self.runs.wait()
        return EngineStatistics(*[0] * 5, 7, 0, 0, 0, 0.0, 0.0, 0, 1, ())

    async def reasons(self) -> list[ReasonCount]:
        at = datetime.now(UTC)
        return [ReasonCount("pay", "1", "waiting", "event", None, None, 3, at, None, "p\x1b[31m")]

    async def list(self, **given: object) -> Page:
        return Page([], None)

    async def get(self, workflow: str, id: str) -> "Engine":
        await self.runs.wait()
        return self

    async def explain(self) -> str:
        return "waits for \x1b[31mred"

    async def retry_now(self, **given: object) -> None:
        await self.runs.wait()
        raise InvalidConfig('if_exists="return"')


def screen(top: Top) -> str:
    made = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    made.print(drawn(top, 80, 24))
    return made.file.getvalue()


def on_screen(story) -> None:
    """Tells a story about a screen and its engine, in virtual time."""

    async def told() -> None:
        async with trio.open_nursery() as nursery:
            engine = Engine()
            top = Top(engine, "/x/shop.db", nursery.start_soon)
            nursery.start_soon(top.looks)
            await trio.sleep(2.5)
            await story(engine, top)
            nursery.cancel_scope.cancel()

    trio.run(told, clock=MockClock(autojump_threshold=0))


def test_a_silent_engine_is_told_within_a_second_of_the_question():
    async def story(engine, top):
        assert "shop.db: the engine answered in 0 ms" in screen(top)
        engine.runs = trio.Event()
        await trio.sleep(0.5 + SILENT + 0.01)  # it was asked after half a second
        assert re.match(r"shop\.db: silent since \d\d:\d\d:\d\dZ, \d+ ms\n", screen(top))
        assert "slots 0/7" not in screen(top).splitlines()[0]
        assert "event" in screen(top)
        await trio.sleep(60)
        assert "Z, 61 s\n" in screen(top) or "Z, 60 s\n" in screen(top)
        engine.runs.set()
        await trio.sleep(2)
        assert "shop.db: the engine answered in" in screen(top)

    assert SILENT + DRAWN_EACH < SECOND
    on_screen(story)


def test_keys_work_while_the_engine_is_silent():
    async def story(engine, top):
        engine.runs = trio.Event()
        await trio.sleep(2)
        for key, letter in (
            ("enter", ""),
            ("", "r"),
            ("", "y"),
            ("", "f"),
            ("", "x"),
            ("back", ""),
        ):
            assert top.press(key, letter)
        assert "filter: " in screen(top)
        assert top.press("escape", "")
        assert not top.press("", "q")
        engine.runs.set()
        await trio.sleep(0.1)
        assert "waits for \\x1b[31mred" in screen(top)
        top.press("", "x")
        top.start(top._act, "retry", "retry_now", top.rows[0])
        await trio.sleep(0.1)
        assert "--if-exists return" in screen(top)

    on_screen(story)


def test_keys_are_told_apart():
    assert list(keys("\x1b[A\x1b[Bq\rä\x7f".encode())) == [
        ("up", "\x1b[A"), ("down", "\x1b[B"), ("", "q"), ("enter", "\r"), ("", "ä"),
        ("back", "\x7f"),
    ]  # fmt: skip
    assert list(keys(b"\x1b")) == [("escape", "\x1b")]
    assert list(keys(b"\xff")) == [("", "\ufffd")]
