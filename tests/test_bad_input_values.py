"""Bad input: every value in the table of limits, just inside and just outside (section 7, rule
Q1)."""

from datetime import UTC, datetime, timedelta

import pytest

from stepwell import (
    InvalidConfig,
    InvalidName,
    Limits,
    NewInstance,
    Retry,
    StepwellError,
    TooLarge,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


@workflow
async def does(step, what: str):
    """Calls one primitive with a value from `given`; returns the error's class and text."""
    call, value = calls[what], given[0]
    try:
        await call(step, value)
    except StepwellError as error:
        return [type(error).__name__, str(error)]
    return "fine"


async def noop() -> None:
    pass


async def one(_: object) -> None:
    pass


given: list = []
calls = {
    "sleep": lambda step, v: step.sleep(v),
    "sleep_until": lambda step, v: step.sleep_until(v),
    "sleep name": lambda step, v: step.sleep(0, name=v),
    "event timeout": lambda step, v: step.wait_for_event("x", timeout=v),
    "approval timeout": lambda step, v: step.wait_for_approval("x", timeout=v),
    "attempt timeout": lambda step, v: step.do(noop, timeout=v),
    "heartbeat timeout": lambda step, v: step.do(noop, heartbeat_timeout=v),
    "step name": lambda step, v: step.do(noop, name=v),
    "step key": lambda step, v: step.do(noop, key=v),
    "event type": lambda step, v: step.wait_for_event(v, timeout=0),
    "approval name": lambda step, v: step.wait_for_approval(v, timeout=0),
    "map concurrency": lambda step, v: step.map(one, [1], concurrency=v),
    "each concurrency": lambda step, v: step.each(one, [1], concurrency=v),
    "on_error": lambda step, v: step.map(one, [1], on_error=v),
    "on_interrupt": lambda step, v: step.do(noop, on_interrupt=v),
    "retry": lambda step, v: step.do(noop, retry=v),
}

YEAR = timedelta(days=365)
DURATIONS_BAD = [
    -1,
    -0.001,
    YEAR.total_seconds() + 1,
    YEAR + timedelta(microseconds=1),
    "366 days",
    "",
    "10",
    "ten seconds",
    "1 fortnight",
    "-1 s",
    "1 hour\n",
    float("nan"),
    float("inf"),
    True,
    [],
    {"seconds": 1},
    timedelta(seconds=-1),
]
NAMES_BAD = ["", "x" * 257, "a\nb", "a\x00b", "\x7f", "\x85", "\ud800", 5, b"x", ["x"]]
EVENTS_BAD = ["", "x" * 101, "a b", "-x", ".x", "a\n", "a/b", "ä", 5, None]


async def outcome_of(what: str, value: object):
    given[:] = [value]
    async with open_test_engine(workflows=[does]) as engine:
        return await engine.call(does, what, id="i")


@pytest.mark.parametrize(
    "what", ["sleep", "event timeout", "approval timeout", "attempt timeout", "heartbeat timeout"]
)
@pytest.mark.parametrize("value", DURATIONS_BAD, ids=repr)
async def test_a_bad_duration_is_invalid_config_and_says_what_a_duration_is(what, value):
    name, text = await outcome_of(what, value)
    assert name == "InvalidConfig"
    assert "a duration is" in text
    assert repr(value) in text
    assert ("duration" if what == "sleep" else "timeout") in text


@pytest.mark.parametrize(
    "value",
    [0, 1e-6, "0 s", "1 ms", "365 days", YEAR, YEAR.total_seconds(), "1.5 hours", timedelta(0)],
    ids=repr,
)
async def test_a_good_duration_is_taken_and_slept_exactly(value):
    given[:] = [value]
    async with open_test_engine(workflows=[does]) as engine:
        before = engine.clock.now()
        assert await engine.call(does, "sleep") == "fine"
        exact = {"0 s": 0, "1 ms": 0.001, "365 days": YEAR.total_seconds(), "1.5 hours": 5400}.get(
            value, value
        )  # type: ignore[call-overload]
        wanted = exact.total_seconds() if isinstance(exact, timedelta) else exact
        assert (engine.clock.now() - before).total_seconds() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    "value",
    [datetime(2030, 1, 2), "tomorrow", 5, None, timedelta(1), datetime(2032, 1, 1, tzinfo=UTC)],
    ids=repr,
)
async def test_a_bad_instant_is_invalid_config(value):
    name, text = await outcome_of("sleep_until", value)
    assert name == "InvalidConfig"
    assert "when=" in text


async def test_a_naive_datetime_is_a_value_error_and_says_what_to_pass():
    naive = datetime(2030, 1, 2)
    async with open_test_engine(workflows=[echo]) as engine:
        for call in (
            lambda: engine.create(echo, start_at=naive),
            lambda: engine.list(created_after=naive),
            lambda: engine.list(created_before=naive),
        ):
            with pytest.raises(ValueError, match=r"datetime\(2030.*timezone.*now\(UTC\)") as caught:
                await call()
            assert type(caught.value) is InvalidConfig
        assert sum((await engine.count()).values()) == 0


async def test_sleeping_until_the_past_returns_at_once():
    given[:] = [datetime(1999, 1, 1, tzinfo=UTC)]
    async with open_test_engine(workflows=[does], autojump=False) as engine:
        assert await engine.call(does, "sleep_until") == "fine"


@pytest.mark.parametrize("what", ["step name", "step key", "sleep name", "approval name"])
@pytest.mark.parametrize("value", NAMES_BAD, ids=repr)
async def test_a_bad_step_name_is_invalid_name(what, value):
    name, text = await outcome_of(what, value)
    assert name == "InvalidName"
    assert "1 to 256 characters" in text
    assert "key" in text if what == "step key" else "name" in text


@pytest.mark.parametrize("value", ["x", "x" * 256, "größe 🎉", "a/b#c[0]%", " "], ids=repr)
async def test_a_good_step_name_is_kept(value):
    for what in ("step name", "step key", "sleep name"):
        given[:] = [value]
        async with open_test_engine(workflows=[does]) as engine:
            instance = await engine.create(does, what)
            assert await instance.result() == "fine"
            (record,) = await instance.history()
            assert value in (record.name, record.key)


@pytest.mark.parametrize("value", EVENTS_BAD, ids=repr)
async def test_a_bad_event_type_is_invalid_name_in_the_body_and_outside(value):
    name, text = await outcome_of("event type", value)
    assert name == "InvalidName"
    assert "event type" in text
    async with open_test_engine(workflows=[echo], autojump=False) as engine:
        instance = await engine.create(echo, start_at=engine.clock.now() + timedelta(days=1))
        with pytest.raises(InvalidName, match="event type"):
            await instance.send_event(value)
        await instance.send_event("x" * 100)
        await instance.send_event("A0_.-")


@pytest.mark.parametrize(
    "value", ["", "x" * 101, "a b", "-x", ".x", "a\n", "ä", "a#b", 5, b"x"], ids=repr
)
async def test_a_bad_id_is_invalid_name(value):
    async with open_test_engine(workflows=[echo]) as engine:
        for call in (
            lambda: engine.create(echo, id=value),
            lambda: engine.call(echo, id=value),
            lambda: engine.get(echo, value),
        ):
            with pytest.raises(InvalidName, match="instance id"):
                await call()
        assert sum((await engine.count()).values()) == 0


@pytest.mark.parametrize("value", ["x", "x" * 100, "0_.:@/+-"], ids=repr)
async def test_a_good_id_is_taken(value):
    async with open_test_engine(workflows=[echo]) as engine:
        assert (await engine.create(echo, id=value)).id == value
        assert (await engine.get(echo, value)).id == value


@pytest.mark.parametrize("value", ["", "x" * 65, "a b", "-x", "a.b", "a\n", "ä", 5], ids=repr)
def test_a_bad_workflow_name_is_invalid_name(value):
    with pytest.raises(InvalidName, match=r"workflow name.*1 to 64"):
        workflow(name=value)(echo.fn)
    workflow(name="x" * 64)(echo.fn)


@pytest.mark.parametrize("value", [-101, 101, 1.0, "1", True, None], ids=repr)
async def test_a_bad_priority_is_invalid_config(value):
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match=r"priority.*-100.*100"):
            await engine.create(echo, priority=value)
        for good in (-100, 0, 100):
            await engine.create(echo, priority=good)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({f"k{i}": i for i in range(33)}, "33.*32"),
        ({"k" * 65: 1}, "64"),
        ({"": 1}, "64"),
        ({5: 1}, "64"),
        ({"a": None}, "'a'"),
        ({"a": [1]}, "'a'"),
        ({"a": float("nan")}, "'a'"),
        ({"a": 2**63}, "'a'"),
        ({"a": "x" * 4096}, "4,096"),
        ([("a", 1)], "dict"),
        ("ab", "dict"),
    ],
    ids=lambda v: repr(v)[:30],
)
async def test_bad_attributes_are_invalid_config(value, says):
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match=says):
            await engine.create(echo, attributes=value)
        assert sum((await engine.count()).values()) == 0


async def test_good_attributes_come_back():
    good = {f"k{i}" + "x" * 50: i for i in range(28)} | {
        "s": "ü" * 100,
        "f": 1.5,
        "b": True,
        "n": -(2**63),
    }
    async with open_test_engine(workflows=[echo]) as engine:
        await engine.create(echo, attributes=good)
        assert (await engine.list()).items[0].attributes == good


@pytest.mark.parametrize("value", [0, -1, 10_001, 1.5, "5", None, True], ids=repr)
async def test_a_bad_concurrency_is_invalid_config(value):
    for what in ("map concurrency", "each concurrency"):
        name, text = await outcome_of(what, value)
        assert name == "InvalidConfig"
        assert "10,000" in text


@pytest.mark.parametrize(
    ("what", "value"),
    [("on_error", "ignore"), ("on_interrupt", "maybe"), ("retry", 3), ("retry", "3 times")],
)
async def test_bad_options_say_what_would_be_right(what, value):
    name, text = await outcome_of(what, value)
    assert name == "InvalidConfig"
    assert repr(value) in text
    assert {"on_error": "collect", "on_interrupt": "fail", "retry": "Retry("}[what] in text


async def test_batches_have_one_to_ten_thousand_items():
    async with open_test_engine(workflows=[echo], autojump=False) as engine:
        later = engine.clock.now() + timedelta(days=1)
        for bad in (0, 10_001):
            with pytest.raises(InvalidConfig, match="10,000"):
                await engine.create_batch(echo, [None] * bad)
        with pytest.raises(InvalidConfig, match="sequence"):
            await engine.create_batch(echo, (i for i in range(3)))
        with pytest.raises(InvalidConfig, match="sequence"):
            await engine.create_batch(echo, 5)
        assert len((await engine.create_batch(echo, [NewInstance(start_at=later)])).created) == 1


@pytest.mark.parametrize("value", [0, -1, 1001, "5", 1.5, None], ids=repr)
async def test_pages_have_one_to_a_thousand_rows(value):
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match="1,000"):
            await engine.list(limit=value)
        for good in (1, 1000):
            assert (await engine.list(limit=good)).items == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"status": "done"}, "done.*queued"),
        ({"status": ["running", "x"]}, "x"),
        ({"status": 5}, "5"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": 5}, "cursor"),
        ({"attributes": 5}, "attributes"),
        ({"created_after": "yesterday"}, "created_after"),
    ],
    ids=repr,
)
async def test_bad_filters_are_invalid_config(options, says):
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match=says):
            await engine.list(**options)


FULL = 1 << 20


@pytest.mark.parametrize("over", [0, 1])
async def test_a_value_may_have_one_mebibyte_encoded(over):
    text = "x" * (FULL - 5 + over)  # CBOR: five bytes of head

    @workflow(name="big")
    async def big(step, params):
        return await step.do(gives_big, len(params) if params else 0)

    async def gives_big(_: int):
        return text

    async with open_test_engine(workflows=[echo, big], autojump=False) as engine:
        waiting = await engine.create(echo, start_at=engine.clock.now() + timedelta(days=1))
        if over:
            with pytest.raises(TooLarge, match=r"params.*1,048,57[67]") as caught:
                await engine.create(echo, text)
            assert caught.value.limit == FULL
            with pytest.raises(TooLarge, match="payload"):
                await waiting.send_event("x", text)
            instance = await engine.create(big, id="b")
            await instance.wait_for_status("errored")
            error = (await instance.status()).error
            assert (error.type, error.step, error.attempts) == ("stepwell.TooLarge", "gives_big", 1)
        else:
            assert await engine.call(echo, text) == text
            await waiting.send_event("x", text)
            assert await engine.call(big) == text


def test_limits_are_whole_numbers_in_range():
    from stepwell import Engine

    for options in (
        {"limits": Limits(concurrency=0)}, {"limits": Limits(value_bytes=65 << 20)},
        {"limits": Limits(steps="5")}, {"limits": 5},
        {"slots": 0}, {"slots": 1_000_001}, {"slots": 1.5}, {"threads": 0}, {"shards": 0},
        {"shards": 4097},
        {"grace": -1}, {"grace": "soon"},
        {"durability": "none"}, {"default_runtime": "gevent"}, {"workflows": [echo.fn]},
        {"workflows": [echo, echo]}, {"workflows": echo},
    ):  # fmt: skip
        with pytest.raises(InvalidConfig) as caught:
            Engine(":memory:", **options)
        named = next(iter(options))
        assert (
            named in str(caught.value)
            or type(options[named]).__name__ in str(caught.value)
            or "echo" in str(caught.value)
        )
    with pytest.raises(InvalidName, match="namespace"):
        Engine(":memory:", namespace="no spaces")
    with pytest.raises(InvalidConfig, match="max_delay"):
        Retry(delay="2 hours")
