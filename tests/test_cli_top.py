"""`stepwell top`, in tmux: a terminal of 80 columns and 24 lines, and keys as somebody types
them."""

import os
import shutil
import subprocess
import sys
import time

import pytest
from shop import order, pay

from stepwell import sync
from stepwell.cli.top import keys

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
    with sync.Engine(str(store), workflows=[order, pay]) as engine:
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
            top.keys("q")
            top.until_ended()
        finally:
            top("kill-server")


def test_keys_are_told_apart():
    assert list(keys("\x1b[A\x1b[Bq\rä\x7f".encode())) == [
        ("up", "\x1b[A"), ("down", "\x1b[B"), ("", "q"), ("enter", "\r"), ("", "ä"),
        ("back", "\x7f"),
    ]  # fmt: skip
    assert list(keys(b"\x1b")) == [("escape", "\x1b")]
    assert list(keys(b"\xff")) == [("", "\ufffd")]
