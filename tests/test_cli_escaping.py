"""Text of users never reaches a terminal as anything but text, whatever command prints it."""

import json
import unicodedata

import pytest
from commands import on_terminal, piped
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Step, StepwellError, cli, sync, workflow
from stepwell.cli import escaping

CORPUS = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b31m",
    "\x07\x08\x0c\x7f",
    "evil\r\x1b[Ksafe",
    "\u202egpj.exe",
    "\u2066\u2069\u200e\u061c",
    "a\u200bb\ufeff\u00ad",
    "\U000e0041\U000e007f",
    "line\u2028separator\u2029",
    "[bold red]x[/] [link=http://evil.example]y[/link]",
    ":smile: {0} %s",
    "=cmd()|' /C calc'!A0",
]
ATTACK = "\n".join(CORPUS)
LINE = "".join(it for it in ATTACK if it not in "\r\n")


def is_safe(text: str) -> None:
    """Asserts that nothing in a text is obeyed or unseen."""
    for letter in text:
        assert letter in "\n\t" or unicodedata.category(letter) not in {
            "Cc",
            "Cf",
            "Zl",
            "Zp",
            "Cs",
        }


class Evil(Exception):
    """Its text is somebody's."""


def hurts() -> None:
    """Fails with somebody's text."""
    raise Evil(ATTACK)


@workflow
async def attacked(step: Step, params: object = None) -> object:
    """Has somebody's text in each field."""
    step.report(progress=ATTACK, message=ATTACK)
    await step.do(lambda: ATTACK, name="s[bold]x:smile:")
    try:
        await step.do(hurts, name="hurts")
    except Exception:
        await step.sleep(0)
    await step.wait_for_approval("a[red]b", detail=ATTACK)
    await step.wait_for_event("end")
    raise Evil(ATTACK)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose every field holds the corpus."""
    path = str(tmp_path / "s.db")
    monkeypatch.setenv("STEPWELL_STORE", path)
    from stepwell import Retry, step_options

    step_options(retry=Retry.never)(hurts)
    with sync.Engine(path, workflows=[attacked]) as engine:
        it = engine.create(attacked, ATTACK, id="a", attributes={"k": ATTACK})
        it.wait_for_status("waiting")
        engine.put_schedule(attacked, "1 day", id="s", params=ATTACK)
        engine.set_limits(attacked, concurrency=9, actor="ann", note=ATTACK)
        engine.pause(ids=["a"], workflow=attacked, note=ATTACK)
        it.resume(note=ATTACK)
        it.wait_for_status("waiting")
        yield path


LOOKS = [
    "list", "show attacked/a", "history attacked/a", "explain attacked/a", "reasons",
    "approvals", "audit", "bulk", "schedules", "schedules show s", "versions", "count",
    "queue attacked", "watch attacked/a --until waiting", "limits", "top", "export attacked/a",
    "terminate attacked --status all --dry-run", "schedules backfill s 3d 1d --dry-run",
    "restart attacked/a --dry-run", "history attacked/a --step hurts", "versions --bytes",
    "audit attacked/a",
]  # fmt: skip


@pytest.mark.parametrize("command", LOOKS)
def test_what_is_printed_is_text_and_nothing_else(store, command):
    words = command.split()
    shown = on_terminal(*words, *(["--once"] if command == "top" else []))
    assert shown.code == 0, shown.out
    is_safe(shown.out)
    done = piped(*words)
    assert done.code == 0
    is_safe(done.out + done.err)
    for it in done.out.splitlines():
        json.loads(it)


def test_errors_are_escaped(store):
    for words in (
        ["show", f"attacked/{LINE}"],
        ["list", LINE],
        ["approve", f"attacked/a#{LINE}#1"],
        ["history", "attacked/a", "--step", LINE],
        ["list", "--fields", LINE],
        ["list", "--store", f"/none/{LINE}"],
        ["create", "attacked", LINE],
        [LINE],
    ):
        done = piped(*words)
        assert done.code in (2, 3, 8), words
        assert done.err
        is_safe(done.err)


def test_the_text_is_all_there(store):
    [row] = [json.loads(it) for it in piped("list").out.splitlines()]
    assert row["attributes"] == {"k": ATTACK}
    assert row["progress"]["message"] == ATTACK
    shown = on_terminal("list", "--fields", "attributes", columns=5_000).out
    assert r"\x1b[31mred\x1b[0m" in shown
    assert "[bold red]x[/] [link=http://evil.example]y[/link]" in shown
    assert r"\u202egpj.exe" in shown


@given(st.text())
def test_any_text_is_safe_in_every_form(text):
    is_safe(escaping.in_lines(text))
    line = escaping.in_line(text)
    is_safe(line)
    assert "\n" not in line
    written = escaping.in_json(json.dumps(text, ensure_ascii=False))
    is_safe(written)
    assert json.loads(written) == text


def test_an_error_of_ours_with_such_text_is_escaped(monkeypatch):
    def fails(*args, **given):
        raise StepwellError(ATTACK)

    monkeypatch.setattr(cli.stepwell, "main", fails)
    done = piped("list")
    assert done.code == 8
    is_safe(done.err)
