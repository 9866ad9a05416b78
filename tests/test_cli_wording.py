"""What the API advises whoever writes a program is said with commands and options here."""

import re

import pytest
from commands import on_terminal, piped
from shop import fail, order, pay

from stepwell import InstanceErrored, InvalidConfig, cli, sync
from stepwell.cli import wording

PYTHON = re.compile(r"\b[a-z_]+=|\b[A-Z]\w+\(|\b\w+\(\)|workflows=")


@pytest.fixture
def engine(tmp_path, monkeypatch):
    path = str(tmp_path / "shop.db")
    monkeypatch.setenv("STEPWELL_STORE", path)
    monkeypatch.setenv("SHOP_KEY", str(tmp_path / "key"))
    with sync.Engine(path, workflows=[order, pay, fail]) as engine:
        engine.create(order, id="o").wait_for_status("waiting")
        engine.create(pay, id="p").wait_for_status("waiting")
        engine.create(fail, id="f").wait_for_status("errored")
        yield engine


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("create order --id o", 4, "Give --if-exists return, or another --id."),
        ("create order 1 --id o --if-exists return_if_same", 4, "Give another --id."),
        ("create nobody", 3, "Add it to the workflows of the engine's program."),
        ("show order/none", 3, "`stepwell list` tells what there is."),
        ("schedules put s order 'x y'", 2, "WHEN 'x y' is "),
        ("schedules put s order '1 day' --timezone Nowhere", 2, "--timezone Nowhere is no time"),
        ("schedules put s order '0 s'", 2, "WHEN "),
        ("bulk show 999", 3, "`stepwell bulk` has those of the last 30 days"),
        ("restart order/o --from-step failed", 4, "stepwell history"),
        ("limits set order --concurrency 0", 2, "concurrency"),
        ("list --cursor x", 2, "cursor"),
        ("pause order --status waiting --rate 0 --yes", 2, "rate"),
        ("retry fail/f", 4, "it has ended"),
        ("set-priority order/o 7", 4, "only"),
    ],
)
def test_a_refusal_speaks_of_options_and_commands(engine, line, code, told):
    words = [it.strip("'") for it in re.findall(r"'[^']*'|\S+", line)]
    done = piped(*words)
    assert (done.code, done.out) == (code, ""), done.err
    assert told in done.err
    assert PYTHON.findall(done.err) == []


def test_an_explanation_names_commands(engine):
    shown = on_terminal("explain", "fail/f", columns=400).out
    assert "`stepwell restart --from-step failed` runs again what failed" in shown
    assert PYTHON.findall(shown) == []
    engine.get(order, "o").pause()
    assert "`stepwell resume` lets it go on" in on_terminal("explain", "order/o", columns=400).out


def test_without_an_engine_it_says_how_one_is_started(tmp_path):
    path = str(tmp_path / "away.db")
    with sync.Engine(path, workflows=[order]):
        pass
    done = piped("limits", "--store", path, "--wait", "1")
    assert done.code == 6
    assert "answered for 1 second (it has no socket). " in done.err
    assert "Start one: `stepwell run MODULE:ENGINE`." in done.err


def test_what_code_of_users_says_stays_as_it_was():
    text = 'order/o failed: ValueError: resume() with if_exists="return"'
    assert wording.text_of(InstanceErrored(text)) == text
    assert wording.text_of(InvalidConfig('if_exists="return"')) == "--if-exists return"


def test_the_commands_that_texts_name_are_there():
    for name in {it.split()[0] for it in wording.COMMANDS.values()}:
        assert name in cli.COMMANDS
