"""Durations, instants and names: what is accepted, and that the message says what would be."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import InvalidConfig, InvalidName
from stepwell._values import names
from stepwell._values.durations import DURATION_MAX_US, from_us, instant_us, text, to_us

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("value", "us"),
    [
        ("10 seconds", 10 * SECOND),
        ("1 second", SECOND),
        ("10s", 10 * SECOND),
        ("10 sec", 10 * SECOND),
        ("5 min", 300 * SECOND),
        ("5m", 300 * SECOND),
        ("1 hour", 3600 * SECOND),
        ("1.5 h", 5400 * SECOND),
        ("7 days", 7 * 86400 * SECOND),
        ("2 weeks", 14 * 86400 * SECOND),
        ("250 ms", SECOND // 4),
        ("0 seconds", 0),
        ("365 days", DURATION_MAX_US),
        (0, 0),
        (0.0, 0),
        (-0.0, 0),
        (3, 3 * SECOND),
        (0.1, SECOND // 10),
        (timedelta(minutes=2, microseconds=1), 120 * SECOND + 1),
        (timedelta(days=365), DURATION_MAX_US),
    ],
)
def test_a_duration_is_read_exactly(value: Any, us: int) -> None:
    assert to_us(value) == us


@pytest.mark.parametrize(
    "value",
    [
        "10 seconds\n",
        " 10 seconds",
        "10",
        "seconds",
        "10  seconds",
        "-1 s",
        "+1 s",
        "1e3 s",
        "1h30m",
        "١ s",
        "10 Seconds",
        "1. s",
        "1 fortnight",
        "",
        "366 days",
        "9" * 5000 + " s",
        -1,
        -0.0000001,
        366 * 86400,
        10**400,
        float("nan"),
        float("inf"),
        1e308,
        True,
        False,
        None,
        b"1 s",
        timedelta(days=366),
        timedelta(microseconds=-1),
        timedelta.max,
        [1],
        date(2026, 1, 1),
    ],
)
def test_what_is_no_duration_is_refused_with_the_grammar(value: Any) -> None:
    with pytest.raises(
        InvalidConfig,
        match=r"(?s)max_delay=.* is not a duration: a duration is \"10 seconds\".*365 days",
    ):
        to_us(value, "max_delay")


@pytest.mark.parametrize(
    ("us", "expected"),
    [
        (0, "0 seconds"),
        (1, "0.001 ms"),
        (1500, "1.5 ms"),
        (SECOND, "1 second"),
        (90 * SECOND, "90 seconds"),
        (1_500_000, "1.5 seconds"),
        (600 * SECOND, "10 minutes"),
        (3600 * SECOND, "1 hour"),
        (86400 * SECOND, "1 day"),
        (DURATION_MAX_US, "365 days"),
    ],
)
def test_a_duration_is_written_as_people_write_it(us: int, expected: str) -> None:
    assert text(us) == expected


@given(st.integers(0, DURATION_MAX_US // 1000))
def test_a_written_duration_reads_back(ms: int) -> None:
    assert to_us(text(ms * 1000)) == ms * 1000


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_comes_back_to_the_microsecond(when: datetime) -> None:
    assert from_us(instant_us(when)) == when
    assert from_us(instant_us(when)).tzinfo is UTC


def test_an_instant_is_the_same_in_every_timezone() -> None:
    assert (
        instant_us(datetime(1970, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))))
        == 0
    )
    assert instant_us(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))) > 0


def test_a_naive_datetime_is_refused_and_the_message_has_the_cure() -> None:
    with pytest.raises(InvalidConfig, match=r"start_at=.*no timezone.*datetime\.now\(UTC\)"):
        instant_us(datetime(2026, 1, 1), "start_at")
    with pytest.raises(InvalidConfig, match="start_at="):
        instant_us(date(2026, 1, 1), "start_at")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a", "_", "A-b_9", "x" * 64])
def test_a_workflow_name_is_accepted(name: str) -> None:
    assert names.workflow_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "x" * 65, "ä", "a.b", None, 3, b"a"])
def test_a_malformed_workflow_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidName, match=r"(?s)workflow name .* is not valid: 1 to 64"):
        names.workflow_name(name)


@pytest.mark.parametrize("id", ["a", "crawl-1", "user@example.org/2026+1:x", "x" * 100])
def test_an_instance_id_is_accepted(id: str) -> None:
    assert names.instance_id(id) == id


@pytest.mark.parametrize("id", ["", ".a", "/a", "a\n", "a b", "x" * 101, "é", None])
def test_a_malformed_instance_id_is_refused(id: object) -> None:
    with pytest.raises(InvalidName, match="schedule id"):
        names.instance_id(id, "schedule id")


@pytest.mark.parametrize("type_", ["", ".a", "a/b", "a\n", "x" * 101, None])
def test_a_malformed_event_type_is_refused(type_: object) -> None:
    with pytest.raises(InvalidName, match="event type"):
        names.event_type(type_)
    assert names.event_type("order.paid-2") == "order.paid-2"


@pytest.mark.parametrize("name", ["", "a\n", "\x00", "a\x7f", "x" * 257, "\ud800", None, 1])
def test_a_malformed_step_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidName, match="step name"):
        names.step_name(name)
    assert names.step_name("prüfe die Bestellung ✓") == "prüfe die Bestellung ✓"


@pytest.mark.parametrize("value", [-101, 101, 1.0, True, None, "1"])
def test_a_priority_is_a_whole_number_in_range(value: object) -> None:
    with pytest.raises(InvalidConfig, match="priority="):
        names.priority(value)
    assert [names.priority(p) for p in (-100, 0, 100)] == [-100, 0, 100]


def test_pages_and_batches_have_a_size() -> None:
    assert names.page_limit(1000) == 1000
    assert names.batch_size(10_000) == 10_000
    for check, value in (
        (names.page_limit, 1001),
        (names.page_limit, 0),
        (names.batch_size, 10_001),
        (names.batch_size, 0),
    ):
        with pytest.raises(InvalidConfig, match="whole number from 1 to"):
            check(value)


def test_attributes_are_copied() -> None:
    given_: dict[str, str | int | float | bool] = {"tenant": "acme", "n": 1, "x": 1.5, "ok": True}
    checked = names.attributes(given_)
    assert checked == given_
    assert checked is not given_
    assert names.attributes(None) == {}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1], "not a dict"),
        ({str(i): 1 for i in range(33)}, "33 attributes"),
        ({"": 1}, "key"),
        ({"k" * 65: 1}, "key"),
        ({1: 1}, "key"),
        ({"a": None}, "'a'=None"),
        ({"a": [1]}, "'a'="),
        ({"a": 2**63}, "'a'="),
        ({"a": float("nan")}, "'a'="),
        ({"a": "\ud800"}, "'a'="),
        ({"a": "x" * 4096}, "4,097 bytes"),
        ({"a": "€" * 1400}, "4,201 bytes"),
    ],
)
def test_attributes_over_a_limit_are_refused(value: Any, match: str) -> None:
    with pytest.raises(InvalidConfig, match=match):
        names.attributes(value)
