"""Attempts: how many, when, for how long, and what ends a step at once (rules R1, R4 to R6, R8,
T3)."""

import functools
import itertools
import logging
import re
import traceback
from datetime import timedelta

import pytest
import trio

from stepwell import (
    InstanceErrored,
    InvalidConfig,
    NonRetryableError,
    Retry,
    Status,
    StepFailed,
    StepTimeout,
    current_step,
    step_options,
    workflow,
)
from stepwell.testing import open_test_engine

at: list = []


@pytest.fixture(autouse=True)
def _nothing():
    at.clear()


async def fails() -> None:
    at.append(current_step().engine.clock.now())
    raise OSError("down")


def one_step(fn, *args, **options):
    @workflow(name="one")
    async def one(step):
        return await step.do(fn, *args, **options)

    return one


def gaps() -> list[float]:
    return [(b - a).total_seconds() for a, b in itertools.pairwise(at)]


async def errored(code, *, seed: int = 0):
    async with open_test_engine(workflows=[code], seed=seed) as engine:
        instance = await engine.create("one", id="i")
        with pytest.raises(InstanceErrored):
            await instance.result()
        return (await instance.status()).error, await instance.history()


async def test_r1_defaults_are_five_retries_from_ten_seconds_doubling_with_a_tenth_of_jitter():
    error, history = await errored(one_step(fails))
    assert error.attempts == len(at) == 6
    assert [r.status for r in history] == ["attempt_failed"] * 5 + ["failed"]
    for gap, wanted in zip(gaps(), (10, 20, 40, 80, 160), strict=True):
        assert wanted * 0.9 <= gap <= wanted * 1.1
    assert gaps() != [10, 20, 40, 80, 160]


@pytest.mark.parametrize(
    ("retry", "wanted"),
    [
        (Retry(limit=0), []),
        (Retry.never, []),
        (Retry(limit=3, delay="1 minute", backoff="linear", jitter=0), [60, 120, 180]),
        (Retry(limit=3, delay=7, backoff="constant", jitter=0), [7, 7, 7]),
        (Retry(limit=4, delay="30 minutes", jitter=0), [1800, 3600, 3600, 3600]),
        (Retry(limit=2, delay=lambda ctx, error: ctx.attempt * 5), [5, 10]),
        (Retry(limit=2, delay=0), [0, 0]),
    ],
)
async def test_r1_delays_follow_the_backoff(retry, wanted):
    await errored(one_step(fails, retry=retry))
    assert gaps() == pytest.approx(wanted, abs=0.001)


async def test_r1_an_attempt_may_take_ten_minutes_by_default():
    code = one_step(trio.sleep_forever, name="hangs", retry=Retry.never)
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create("one", id="i")
        await hanging(engine)
        begin = engine.clock.now()
        await advanced(engine, "599 seconds")
        assert (await instance.status()).status is Status.RUNNING
        await advanced(engine, "2 seconds")
        with pytest.raises(
            InstanceErrored,
            match=r'one/i failed: step "hangs" failed after 1 attempt: StepTimeout: .*600 s',
        ):
            await instance.result()
        assert engine.clock.now() - begin <= timedelta(seconds=601)


async def hanging(engine) -> None:
    """Waits until an attempt runs, and everything else is at rest."""
    while not engine._driver.borrowed.attempts:
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()


async def advanced(engine, duration) -> None:
    """Moves the clock of the core itself: `clock.advance` waits for running attempts, which never
    end here."""
    core = engine._driver.core
    core.advance(core.now() + round(duration_of(duration) * 1e6))
    for _ in range(50):
        await trio.testing.wait_all_tasks_blocked()
        if not core.busy():
            break
    await trio.testing.wait_all_tasks_blocked()


def duration_of(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"seconds": 1, "second": 1, "minutes": 60, "hour": 3600}[unit]


class Flaky(Exception):
    pass


async def times_out_once() -> int:
    if current_step().attempt == 1:
        try:
            await trio.sleep_forever()
        finally:
            at.append("cancelled")
    at.append("second")
    return current_step().attempt


async def test_r5_a_timed_out_attempt_has_ended_before_the_next_one_starts():
    code = one_step(times_out_once, timeout="5 seconds")
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create("one")
        await hanging(engine)
        await advanced(engine, "6 seconds")
        await instance.wait_for_status("waiting")
        assert at == ["cancelled"]
        await engine.clock.advance("1 minutes")
        assert await instance.result() == 2
        assert at == ["cancelled", "second"]


async def test_t3_a_step_that_gives_up_by_its_timeout_is_a_step_timeout_and_a_timeout_error():
    @workflow(name="one")
    async def one(step):
        try:
            await step.do(trio.sleep_forever, name="slow", timeout="5 seconds", retry=Retry.never)
        except TimeoutError as error:
            return [type(error) is StepTimeout, isinstance(error, StepFailed), str(error)]

    async with open_test_engine(workflows=[one], autojump=False) as engine:
        instance = await engine.create("one")
        await hanging(engine)
        await advanced(engine, "6 seconds")
        exact, failed, text = await instance.result()
        assert (exact, failed) == (True, True)
        assert text.startswith('step "slow" failed after 1 attempt: StepTimeout: ')
        assert "5 s" in text


async def beats_for(seconds: int) -> str:
    step = current_step()
    for _ in range(seconds):
        step.heartbeat()
        gate = trio.Event()
        at.append(gate)
        await gate.wait()
    await trio.sleep_forever()
    return ""


async def test_t3_heartbeat_timeout_counts_from_the_last_heartbeat():
    code = one_step(beats_for, 2, heartbeat_timeout="10 seconds", retry=Retry.never)
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create("one")
        for _ in range(2):
            await hanging(engine)
            await advanced(engine, "9 seconds")
            at[-1].set()
            await trio.testing.wait_all_tasks_blocked()
        assert (await instance.status()).status is Status.RUNNING
        await advanced(engine, "9 seconds")
        with pytest.raises(InstanceErrored, match=r"no heartbeat for 10"):
            await instance.result()


async def test_r4_a_retry_wait_releases_the_slot():
    code = one_step(fails, retry=Retry(limit=1, delay="1 hour"))
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create("one")
        await instance.wait_for_status("waiting")
        assert engine.statistics().leased == 0
        assert (await engine.count())[Status.WAITING] == 1


async def test_r4_a_very_short_retry_wait_need_not_release_the_slot_but_ends():
    code = one_step(fails, retry=Retry(limit=3, delay="10 ms", backoff="constant"))
    await errored(code)
    assert len(at) == 4


async def raises_non_retryable() -> None:
    at.append(1)
    raise NonRetryableError("pointless")


async def raises_name_error() -> None:
    at.append(1)
    undefined_name  # noqa: B018, F821


async def raises_import_error() -> None:
    at.append(1)
    import no_such_module_at_all  # noqa: F401


async def needs_two(a: int, b: int) -> None:
    at.append(1)


def needs_two_in_a_thread(a: int, b: int) -> None:
    at.append(1)


async def gives_an_object():
    at.append(1)
    return object()


async def gives_too_much() -> bytes:
    at.append(1)
    return b"x" * (1 << 20)


async def raises_flaky() -> None:
    at.append(1)
    raise Flaky("f")


@pytest.mark.parametrize(
    ("fn", "args", "options", "says"),
    [
        (raises_non_retryable, (), {}, "pointless"),
        (raises_name_error, (), {}, "undefined_name"),
        (raises_import_error, (), {}, "no_such_module_at_all"),
        (needs_two, (1,), {}, "needs_two"),
        (needs_two_in_a_thread, (1,), {}, "needs_two_in_a_thread"),
        (functools.partial(needs_two, c=1), (1, 2), {}, "needs_two"),
        (gives_an_object, (), {}, "object"),
        (gives_too_much, (), {}, "1,048,576"),
        (raises_flaky, (), {"retry": Retry(retry_on=(ValueError,))}, "f"),
        (raises_flaky, (), {"retry": Retry(retry_on=lambda error: "g" in str(error))}, "f"),
        (raises_flaky, (), {"retry": Retry(delay=lambda ctx, error: "soon")}, "delay"),
        (raises_flaky, (), {"retry": Retry(delay=lambda ctx, error: 1 / 0)}, "delay"),
        (raises_flaky, (), {"retry": Retry(delay=lambda ctx, error: -1)}, "delay"),
        (raises_flaky, (), {"retry": Retry(retry_on=lambda error: 1 / 0)}, "retry_on"),
    ],
)
async def test_r6_some_failures_end_the_step_at_once(fn, args, options, says):
    error, history = await errored(one_step(fn, *args, **options))
    assert error.attempts == 1
    assert [r.status for r in history] == ["failed"]
    assert says in error.message
    assert len(at) <= 1


@pytest.mark.parametrize("fn", [needs_two, needs_two_in_a_thread])
async def test_r6_a_type_error_inside_the_function_is_retried(fn):
    async def inner() -> None:
        at.append(1)
        len(5)  # type: ignore[arg-type]

    error, _ = await errored(one_step(inner, retry=Retry(limit=2, delay=1)))
    assert error.attempts == 3


async def test_r6_every_failed_attempt_is_logged_at_warning_with_its_traceback(caplog):
    with caplog.at_level(logging.WARNING, "stepwell"):
        await errored(one_step(fails, retry=Retry(limit=2, delay=1)))
    *attempts, body = [r for r in caplog.records if r.levelno == logging.WARNING and r.exc_info]
    assert body.getMessage() == "one/i failed"
    assert len(attempts) == 3
    for number, record in enumerate(attempts, 1):
        text = record.getMessage()
        assert f"attempt {number}" in text
        assert "fails" in text
        assert "one/i" in text
        assert record.exc_info[0] is OSError


def returns_an_awaitable() -> int:
    async def later() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    return later()  # type: ignore[return-value]


async def test_r8_an_awaitable_returned_by_a_plain_function_is_awaited():
    async with open_test_engine(workflows=[one_step(returns_an_awaitable)]) as engine:
        assert await engine.call("one") == 7
    async with open_test_engine(
        workflows=[one_step(lambda: returns_an_awaitable(), name="wrapped")]
    ) as engine:
        assert await engine.call("one") == 7


def generates():
    yield 1


async def generates_async():
    yield 1


@pytest.mark.parametrize("fn", [generates, generates_async])
async def test_r8_a_generator_function_is_invalid_config(fn):
    @workflow(name="one")
    async def one(step):
        try:
            await step.do(fn)
        except InvalidConfig as error:
            return str(error)

    async with open_test_engine(workflows=[one]) as engine:
        text = await engine.call("one")
    assert fn.__name__ in text
    assert "generator" in text


@step_options(name="configured", retry=Retry(limit=1, delay=1), timeout="1 minute")
async def configured() -> None:
    at.append(current_step().config.limit)
    raise OSError("x")


async def test_step_options_are_defaults_and_what_do_is_given_wins():
    error, _ = await errored(one_step(configured))
    assert (error.step, error.attempts) == ("configured", 2)
    error, _ = await errored(one_step(configured, name="other", retry=Retry.never))
    assert (error.step, error.attempts) == ("other", 1)
    assert at == [1, 1, 0]


async def test_r1_jitter_comes_from_the_seed():
    seen = []
    for seed in (1, 1, 2):
        at.clear()
        await errored(one_step(fails, retry=Retry(limit=3)), seed=seed)
        seen.append(gaps())
    assert seen[0] == seen[1] != seen[2]


def _deep() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize("way", ["async", "waiting", "thread", "asyncio"])
async def test_r6_a_failed_attempt_is_logged_and_recorded_from_the_users_code_on(way, caplog):
    async def fails() -> None:
        if way == "waiting":
            await trio.lowlevel.checkpoint()
        _deep()

    @workflow(name="fails")
    async def body(step) -> None:
        if way == "thread":
            await step.do(_deep, retry=Retry.never)
        else:
            await step.do(
                fails, retry=Retry.never, runtime="asyncio" if way == "asyncio" else "trio"
            )

    caplog.set_level(logging.WARNING, "stepwell")
    async with open_test_engine(workflows=[body]) as engine:
        instance = await engine.create(body)
        await instance.wait_for_status("errored")
        (failed,) = [it for it in await instance.history() if it.error is not None]
    attempt = next(it for it in caplog.records if "attempt 1" in it.message)
    logged = "".join(traceback.format_exception(*attempt.exc_info))
    for text in (logged, failed.error.traceback):
        frames = re.findall(r'File ".*?([^/"]+)", line \d+, in (\w+)', text)
        wanted = ["_deep"] if way == "thread" else ["fails", "_deep"]
        assert frames == [("test_attempts.py", name) for name in wanted]
