"""Values, durations and moments as they are typed: what is one, and what is refused, and why."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import click
import pytest
from commands import piped
from hypothesis import given
from hypothesis import strategies as st
from shop import order

from stepwell import sync
from stepwell.cli import addresses, values

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.decimals(allow_nan=False) | st.uuids() | st.datetimes() | st.dates()
    | st.times() | st.timedeltas(timedelta(-9_000), timedelta(9_000))
)  # fmt: skip


@given(
    st.recursive(
        LEAVES,
        lambda of: st.lists(of) | st.dictionaries(st.text() | st.integers(), of)
        | st.sets(st.integers() | st.text()),
        max_leaves=8,
    )
)  # fmt: skip
def test_a_value_that_is_written_is_read_as_it_was(value):
    assert values.value_of(values.value_json(value)) == value


def test_what_is_not_a_number_is_one_if_that_is_said():
    assert math.isnan(values.value_of({"$": "float", "value": "nan"}))
    assert values.value_of({"$": "float", "value": "-inf"}) == -math.inf


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", "1e999", "[-1e999]", '{"a": {"b": NaN}}'])
def test_a_number_that_json_has_not_is_refused(text):
    done = piped("create", "order", text)
    assert (done.code, done.out) == (2, "")
    assert 'no number is NaN or so large; write {"$": "float", "value": "nan"}' in done.err


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float", "NaN and more"), ("float", math.inf), ("float", True), ("int", 1.5), ("int", "x"),
        ("int", "9" * 5_000), ("decimal", 1.1), ("decimal", "one"), ("bytes", "~~~"),
        ("bytes", 7), ("uuid", 5), ("uuid", "x"), ("duration", math.inf), ("duration", 1e300),
        ("duration", math.nan), ("duration", "1"), ("set", "ab"), ("set", [[1]]),
        ("set", [math.nan]),
        ("map", ["ab"]), ("map", [[1]]), ("map", [[[1], 2]]), ("map", {"a": 1}),
        ("datetime", "soon"), ("datetime", 0), ("date", "2026-13-01"), ("time", "25:00"),
        ("nothing", 1), (["set"], []), (None, 1),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_kind_is_refused(kind, value):
    with pytest.raises(ValueError, match=r"is no |no number is NaN"):
        values.value_of({"$": kind, "value": value})


def test_what_is_beside_a_kind_is_refused():
    for it in ({"$": "set"}, {"$": "set", "value": [], "more": 1}):
        with pytest.raises(ValueError, match='has a "value" beside it'):
            values.value_of(it)


def test_what_is_nested_too_deeply_is_refused():
    deep = "[" * 100_000 + "]" * 100_000
    done = piped("create", "order", "-", stdin=deep)
    assert (done.code, done.out) == (2, "")
    assert "standard input is nested too deeply" in done.err


def test_an_attribute_is_a_number_only_if_json_has_it():
    read = [addresses.Attribute().convert(f"k={it}", None, None)[1] for it in (
        "1", "1.5", "true", "NaN", "1e999", "null", "[1]", "x", '"x"', '{"$": "int"}',
    )]  # fmt: skip
    assert read == [1, 1.5, True, "NaN", "1e999", "null", "[1]", "x", "x", '{"$": "int"}']


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("1.5", 1.5), ("30s", 30), ("5 min", 300), ("2 hours", 7_200), ("1 day", 86_400),
        ("250 ms", 0.25), ("1.5h", 5_400), ("1 week", 604_800), ("365 days", 31_536_000),
    ],
)  # fmt: skip
def test_a_duration_is_seconds(text, seconds):
    assert addresses.Span().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["-1", "nan", "inf", "1e9", "soon", "", "5 mins ago", "366 days", "9" * 400, "1 yr"]
)
def test_what_is_no_duration_is_refused_before_anything_is_asked(text):
    with pytest.raises(click.BadParameter, match="is no duration; write 30 seconds"):
        addresses.Span().convert(text, None, None)
    for words in (["result", "order/x", "--timeout"], ["list", "--wait"], ["watch", "--timeout"]):
        done = piped(*words, text)
        assert (done.code, done.out) == (2, "")
        assert f"Invalid value for '{words[-1]}'" in done.err


def test_a_moment_is_one_of_the_calendar_or_away_from_now():
    at = datetime(2026, 11, 30, 2, tzinfo=UTC)
    assert addresses.Moment().convert("2026-11-30T02:00Z", None, None) == at
    for text in ("2 hours", "2 hours ago", "120min", "7200 s"):
        ago = datetime.now(UTC) - addresses.Moment().convert(text, None, None)
        assert abs(ago - timedelta(hours=2)) < timedelta(minutes=1)
    ahead = addresses.Moment(is_ahead=True).convert("1 day", None, None) - datetime.now(UTC)
    assert abs(ahead - timedelta(days=1)) < timedelta(minutes=1)
    for text in ("7200", "2 hours ago ago", "99999999999 weeks", "-2 hours"):
        with pytest.raises(click.BadParameter):
            addresses.Moment().convert(text, None, None)


def test_every_kind_goes_through_an_engine(tmp_path, monkeypatch):
    path = str(tmp_path / "shop.db")
    monkeypatch.setenv("STEPWELL_STORE", path)
    given = '{"b": {"$": "bytes", "value": "AAE="}, "f": {"$": "float", "value": "inf"}}'
    with sync.Engine(path, workflows=[order]) as engine:
        assert piped("create", "order", given, "--id", "o").code == 0
        assert piped("send-event", "order/o", "paid", '{"$": "decimal", "value": "1.50"}').code == 0
        told = engine.get(order, "o").result()
    assert told == {"params": {"b": b"\x00\x01", "f": math.inf}, "paid": Decimal("1.50")}
