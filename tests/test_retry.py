"""Retry: the formulas of R1, the exclusions of R6, and rules of users that misbehave."""

import functools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import (
    InvalidConfig,
    NonRetryableError,
    NotSerializable,
    Retry,
    StepwellError,
    TooLarge,
)

SECOND = 1_000_000


def waits(retry: Retry, attempts: int) -> list[float]:
    return [
        retry.delay_us(n, None, ValueError(), Random(0)) / SECOND for n in range(1, attempts + 1)
    ]


def test_r1_defaults() -> None:
    retry = Retry()
    assert (retry.limit, retry.delay, retry.backoff, retry.max_delay, retry.jitter) == (
        5,
        "10 seconds",
        "exponential",
        "1 hour",
        0.1,
    )
    assert [retry.allows(n) for n in (1, 5, 6)] == [True, True, False]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ("constant", [10, 10, 10, 10]),
        ("linear", [10, 20, 30, 40]),
        ("exponential", [10, 20, 40, 80]),
    ],
)
def test_r1_backoff(backoff: Any, expected: list[float]) -> None:
    assert waits(Retry(backoff=backoff, jitter=0), 4) == expected


def test_r1_a_wait_is_capped() -> None:
    assert waits(Retry(delay="30 min", jitter=0), 4) == [1800, 3600, 3600, 3600]
    assert Retry.forever.delay_us(10_000_000, None, ValueError(), Random(0)) <= 3600 * SECOND
    assert Retry(delay=0).delay_us(10, None, ValueError(), Random(0)) == 0


@given(st.integers(1, 200), st.integers(), st.sampled_from(["constant", "linear", "exponential"]))
def test_r1_jitter_stays_within_its_share(attempt: int, seed: int, backoff: Any) -> None:
    plain = Retry(backoff=backoff, jitter=0).delay_us(attempt, None, ValueError(), Random(0))
    jittered = Retry(backoff=backoff).delay_us(attempt, None, ValueError(), Random(seed))
    assert 0.9 * plain - 1 <= jittered <= min(1.1 * plain + 1, 3600 * SECOND)


def test_never_and_forever() -> None:
    assert not Retry.never.allows(1)
    assert Retry.forever.allows(10**9)


def test_a_delay_function_is_taken_at_its_word() -> None:
    retry = Retry(delay=lambda ctx, exc: ctx + len(str(exc)), max_delay="1 min")
    assert retry.delay_us(3, 10, ValueError("12345"), Random(1)) == 15 * SECOND
    assert retry.delay_us(3, 100, ValueError(), Random(1)) == 60 * SECOND
    assert (
        Retry(delay=lambda c, e: timedelta(seconds=2)).delay_us(1, None, ValueError(), Random(1))
        == 2 * SECOND
    )


async def later(ctx: object, exc: Exception) -> str:
    return "1 s"


@pytest.mark.parametrize("answer", ["soon", None, -1, float("nan"), True, [1]])
def test_r6_a_delay_function_that_returns_nonsense_ends_the_step(answer: Any) -> None:
    with pytest.raises(StepwellError, match="delay function of Retry returned nonsense"):
        Retry(delay=lambda ctx, exc: answer).delay_us(1, None, ValueError(), Random())


@pytest.mark.filterwarnings("error")
def test_r6_a_delay_function_that_raises_or_is_async_ends_the_step() -> None:
    with pytest.raises(StepwellError, match="raised ZeroDivisionError") as caught:
        Retry(delay=lambda ctx, exc: 1 / 0).delay_us(1, None, ValueError(), Random())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(StepwellError, match="is async"):
        Retry(delay=lambda ctx, exc: later(ctx, exc)).delay_us(1, None, ValueError(), Random())  # type: ignore[arg-type,return-value]


class Later:
    async def __call__(self, *_: object) -> bool:
        return False


async def answers(*_: object) -> bool:
    return False


def yields(*_: object) -> Iterator[bool]:
    yield False


async def yields_later(*_: object) -> AsyncIterator[bool]:
    yield False


@pytest.mark.parametrize(
    "rule",
    [answers, Later(), Later().__call__, functools.partial(answers, 1), yields, yields_later],
)
@pytest.mark.parametrize("option", ["retry_on", "delay"])
def test_r6_a_rule_that_does_not_answer_at_once_is_refused_where_it_is_written(
    option: str, rule: Any
) -> None:
    with pytest.raises(InvalidConfig, match=rf"Retry\({option}=.*a plain function"):
        Retry(**{option: rule})


@pytest.mark.filterwarnings("error")
def test_r6_a_predicate_that_is_async_in_disguise_ends_the_step_and_leaks_nothing() -> None:
    with pytest.raises(StepwellError, match="retry_on of Retry is async"):
        Retry(retry_on=lambda exc: answers(exc)).retries(ValueError())  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "exc",
    [
        NonRetryableError("x"),
        type("Mine", (NonRetryableError,), {})("x"),
        NotSerializable("x"),
        TooLarge("x"),
        NameError("x"),
        UnboundLocalError("x"),
        ImportError("x"),
        ModuleNotFoundError("x"),
        ExceptionGroup("g", [ValueError(), NonRetryableError()]),
        KeyboardInterrupt(),
        SystemExit(),
    ],
)
def test_r6_some_errors_are_never_retried(exc: BaseException) -> None:
    assert not Retry.forever.retries(exc)
    assert not Retry(retry_on=lambda e: True).retries(exc)


def test_retry_on_classes() -> None:
    retry = Retry(retry_on=(ConnectionError, TimeoutError))
    assert retry.retries(ConnectionResetError())
    assert retry.retries(
        ExceptionGroup("g", [ConnectionResetError(), ExceptionGroup("h", [TimeoutError()])])
    )
    assert not retry.retries(ValueError())
    assert not retry.retries(ExceptionGroup("g", [ConnectionResetError(), ValueError()]))
    assert Retry(retry_on=OSError).retries(ConnectionResetError())
    assert not Retry(retry_on=()).retries(ValueError())
    assert Retry().retries(ExceptionGroup("g", [ValueError()]))


def test_retry_on_predicate() -> None:
    retry = Retry(retry_on=lambda exc: "busy" in str(exc))
    assert retry.retries(ValueError("busy"))
    assert not retry.retries(ValueError("broken"))
    with pytest.raises(StepwellError, match="retry_on of Retry raised ZeroDivisionError"):
        Retry(retry_on=lambda exc: bool(1 / 0)).retries(ValueError())


@pytest.mark.parametrize(
    "options",
    [
        {"limit": -1},
        {"limit": 10_001},
        {"limit": True},
        {"limit": 1.0},
        {"limit": "5"},
        {"delay": "soon"},
        {"delay": -1},
        {"delay": None},
        {"backoff": "quadratic"},
        {"backoff": None},
        {"max_delay": "2 years"},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": float("nan")},
        {"jitter": True},
        {"retry_on": 3},
        {"retry_on": (int,)},
        {"retry_on": [ValueError]},
        {"retry_on": (KeyboardInterrupt,)},
        {"delay": "2 hours"},
    ],
)
def test_a_malformed_retry_is_refused_where_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="Retry"):
        Retry(**options)


def test_a_delay_over_the_default_cap_needs_a_longer_cap() -> None:
    with pytest.raises(InvalidConfig, match="max_delay"):
        Retry(delay="2 hours")
    assert waits(Retry(delay="2 hours", max_delay="2 hours", jitter=0), 2) == [7200, 7200]
    assert (
        Retry(delay="365 days", max_delay="365 days").delay_us(99, None, ValueError(), Random(3))
        <= 365 * 86_400 * 1_000_000
    )


def test_a_retry_is_a_value() -> None:
    assert Retry() == Retry()
    assert hash(Retry()) == hash(Retry())
    assert repr(Retry.never).startswith("Retry(limit=0, delay='10 seconds'")
