"""Commands that look: in a pipe, on a terminal, and where there is nothing."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest
from commands import is_row, on_terminal, piped
from shop import fail, order, pay

from stepwell import AuditRow, ReasonCount, sync
from stepwell.cli import output


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with an engine in another thread, and an instance of each kind."""
    path = str(tmp_path / "shop.db")
    monkeypatch.setenv("STEPWELL_STORE", path)
    monkeypatch.setenv("SHOP_KEY", str(tmp_path / "key"))
    with sync.Engine(path, workflows=[order, pay, fail]) as engine:
        for code, id in ((order, "o-17"), (order, "o/18"), (pay, "p"), (fail, "f")):
            it = engine.create(
                code, id=id, attributes={"customer": "acme"} if code is order else None
            )
            it.wait_for_status("waiting", "errored")
        yield path


def lines(text):
    return [json.loads(it) for it in text.splitlines()]


def test_list_prints_rows_and_a_table(store):
    done = piped("list")
    rows = lines(done.out)
    assert [(it["workflow"], it["id"]) for it in rows] == [
        ("fail", "f"), ("pay", "p"), ("order", "o/18"), ("order", "o-17"),
    ]  # fmt: skip
    for it in rows:
        is_row(it, "InstanceSummary")
    table = on_terminal("list")
    assert table.code == 0
    head, *told = table.out.splitlines()
    assert head.split() == ["instance", "status", "why", "updated"]
    assert told[0].startswith("fail/f      errored  ValueError: no such address")
    assert on_terminal("list", "--json").out == done.out


def test_list_takes_the_filters_of_the_table(store):
    def ids(*options):
        done = piped("list", "--ids", *options)
        assert done.code == 0, done.err
        return done.out.split()

    assert ids("order") == ["order/o/18", "order/o-17"]
    assert ids("order", "--oldest-first") == ["order/o-17", "order/o/18"]
    assert ids("--status", "errored", "--status", "running") == ["fail/f"]
    assert ids("--attribute", "customer=acme", "--id-prefix", "o-") == ["order/o-17"]
    assert ids("--reason", "retrying") == ["pay/p"]
    assert ids("--created-after", "1 hour") == ids()
    assert ids("--created-before", "1 hour ago") == []
    assert ids("--version", "2") == []


def test_what_is_not_shown_is_told(store):
    done = piped("list", "--limit", "3", "--ids")
    assert len(done.out.split()) == 3
    assert done.err.startswith("these are 3; there may be more: --limit 0, or --cursor ")
    cursor = done.err.split()[-1]
    assert piped("list", "--cursor", cursor, "--ids").out == "order/o-17\n"
    assert len(piped("list", "--limit", "0", "--ids").out.split()) == 4


def test_fields_are_chosen(store):
    assert lines(piped("list", "pay", "--fields", "id,status,instance").out) == [
        {"id": "p", "status": "waiting", "instance": "pay/p"}
    ]
    done = piped("list", "--fields", "id,nope")
    assert (done.code, done.out) == (2, "")
    assert "there is no 'nope'; there are id, workflow" in done.err
    known = done.err.rpartition("there are ")[2].strip(" .\n").split(", ")
    assert {"instance", "why", "of", "status"} <= set(known)
    assert "took" not in known
    assert piped("list", "--fields", ",".join(known)).code == 0
    known = piped("history", "pay/p", "--fields", "nope").err.rpartition("there are ")[2]
    assert {"step", "took", "outcome", "attempt"} <= set(known.strip(" .\n").split(", "))


def test_show_history_explain_and_reasons(store):
    [shown] = lines(piped("show", "order/o/18").out)
    is_row(shown, "InstanceStatus", workflow=str, id=str)
    assert (shown["workflow"], shown["id"], shown["status"]) == ("order", "o/18", "waiting")
    assert "ValueError: no such address\n" in on_terminal("show", "fail/latest").out
    records = lines(piped("history", "pay/p").out)
    for it in records:
        is_row(it, "StepRecord")
    assert [it["status"] for it in records] == ["attempt_failed", "waiting"]
    shown = on_terminal("history", "pay/p", columns=120).out
    assert "charge  do          1  attempt failed" in shown
    assert lines(piped("history", "pay/p", "--failed").out) == records[:1]
    [told] = lines(piped("explain", "pay/latest").out)
    is_row(told, "Explanation")
    assert 'waits for retry 1 of "charge"' in on_terminal("explain", "pay/p").out
    rows = lines(piped("reasons").out)
    for it in rows:
        is_row(it, "ReasonCount")
    assert rows[0]["count"] == 2
    assert "retrying" in on_terminal("reasons", "pay").out
    assert piped("reasons", "pay", "--ids").out == "pay/p\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["show", "order/none"], 3, 'there is no instance "none" of "order"'),
        (["show", "order"], 2, "give WORKFLOW/ID, such as order/latest, or latest"),
        (["show", "/x"], 2, "'/x' is no instance"),
        (["list", "nobody"], 3, 'no workflow "nobody" is registered'),
        (["list", "--cursor", "x"], 2, "cursor"),
        (["list", "--created-after", "2026-11-30"], 2, "write 2026-11-30Z for UTC"),
        (["list", "--created-after", "soon"], 2, "or so long ago: 2 hours"),
        (["list", "--attribute", "k"], 2, "write KEY=VALUE"),
        (["history", "pay/p", "--step", "nope"], 3, "recorded is charge"),
        (["list", "--namespace", "a b"], 2, "namespace"),
        (["list", "--namespace", "acme"], 3, 'a namespace "acme"; there is: default.'),
        (["count", "--namespace", "acme"], 3, 'a namespace "acme"; there is: default.'),
        (["reasons", "--namespace", "acme"], 3, 'a namespace "acme"'),
        (["approvals", "--namespace", "acme"], 3, 'a namespace "acme"'),
        (["audit", "nobody"], 3, 'there is no workflow "nobody"; there is: fail, order, pay.'),
        (["audit", "nobody/x"], 3, 'there is no workflow "nobody"'),
        (["approvals", "nobody"], 3, '"nobody"'),
        (["versions", "nobody"], 3, '"nobody"'),
        (["reasons", "nobody"], 3, '"nobody"'),
        (["count", "nobody"], 3, '"nobody"'),
        (["queue", "nobody"], 3, '"nobody"'),
    ],
)
def test_mistakes_have_a_code_and_a_text(store, arguments, code, told):
    done = piped(*arguments)
    assert (done.code, done.out) == (code, "")
    assert told in done.err


def test_whoever_reads_no_further_ends_a_command_in_silence(store):
    reading, writing = os.pipe()
    os.close(reading)
    done = printing_to(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_told(store):
    done = printing_to(os.open("/dev/full", os.O_WRONLY))
    text = "stepwell: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (8, text)


def printing_to(stdout):
    try:
        return subprocess.run(
            [sys.executable, "-m", "stepwell", "list"],
            stdout=stdout, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        os.close(stdout)


@pytest.mark.parametrize("columns", [40, 60, 80, 81, 120])
def test_a_table_leaves_no_letter_out_however_wide_the_terminal_is(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    at = datetime.fromtimestamp(0, UTC)
    words = ["order", "1", "waiting", "event", "paid", "ValueError"]
    long = [f"{it}-and-more-of-it" for it in words]
    rows = [ReasonCount(*of, 4_102, at, at, "i") for of in (words, long)]
    output.Output().rows(rows)
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert max(map(len, told.splitlines())) <= columns
    ago = output.age(at)
    cells = [*("count", "of", "status", "code", "step", "error type", "since", "next")]
    for workflow, version, *rest in (words, long):
        cells += ["4,102", f"{workflow}@{version}", *rest, ago, ago]
    assert Counter("".join(told.split())) == Counter("".join("".join(cells).split()))


@pytest.mark.parametrize("columns", [60, 70, 80, 100, 120])
def test_a_table_parts_words_and_moments_last(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    at = datetime(2026, 11, 30, 21, 22, 52, tzinfo=UTC)
    rows = [AuditRow(at, "root", "set_limits", "order", None, None, "test it, and more", "done")]
    output.Output().rows(rows)
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "2026-11-30 21:22:52Z" in told
    assert {"root", "set_limits", "order", "more"} <= set(told.split())


def test_a_message_ends_its_lines_between_words(store):
    told = "'order' is no instance; give WORKFLOW/ID, such as order/latest, or latest."
    shown = on_terminal("show", "order", columns=40).out
    assert shown.split() == ["stepwell:", *told.split()]
    assert max(map(len, shown.splitlines())) <= 40
    assert shown.count("\n") == 3


@pytest.mark.parametrize("name", ["list", "reasons"])
def test_a_store_that_is_not_there_is_not_made(tmp_path, name):
    path = tmp_path / "none.db"
    done = piped(name, "--store", str(path))
    assert (done.code, done.out) == (8, "")
    assert f"there is no store at {path}, and none was made" in done.err
    assert os.listdir(tmp_path) == []
    assert piped(name, "--store", str(tmp_path)).code == 8
    assert piped(name, "--store", ":memory:").code == 8


def test_an_engine_that_is_away_is_waited_for_and_then_told(store, tmp_path):
    path = tmp_path / "away.db"
    with sync.Engine(str(path), workflows=[order]):
        pass
    done = piped("limits", "--store", path, "--wait", "0")
    assert (done.code, done.out) == (6, "")
    assert f"no engine of {path} answered" in done.err


@pytest.mark.parametrize(
    "line",
    ["queue order", "terminate order/latest", "schedules trigger s", "limits"],
)
def test_what_was_read_of_the_file_is_not_told_where_an_engine_is_needed(tmp_path, line):
    path = tmp_path / "away.db"
    with sync.Engine(str(path), workflows=[order]) as engine:
        engine.create(order, id="o").wait_for_status("waiting")
        engine.put_schedule(order, "1 day", id="s")
    env = {**os.environ, "STEPWELL_STORE": str(path)}
    command = [sys.executable, "-m", "stepwell", *line.split(), "--wait", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith(f"stepwell: no engine of {path} answered")


def test_what_comes_from_the_file_says_so_once(tmp_path):
    path = tmp_path / "away.db"
    with sync.Engine(str(path), workflows=[order]) as engine:
        engine.create(order, id="o").wait_for_status("waiting")
    env = {**os.environ, "STEPWELL_STORE": str(path)}
    for line in ("list", "show order/o", "explain order/o", "history order/o", "show order/no"):
        done = subprocess.run(
            [sys.executable, "-m", "stepwell", *line.split()],
            capture_output=True, text=True, env=env,
        )  # fmt: skip
        assert (done.stdout + done.stderr).count("Read from the file: ") == 1, (line, done)


def test_a_store_of_somebody_else_is_not_allowed(store, monkeypatch):
    monkeypatch.setenv("LOGNAME", "bob")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    done = piped("list")
    assert (done.code, done.out) == (7, "")
    assert f"{store} may not be read by bob; ask as the user whose engine it is" in done.err
