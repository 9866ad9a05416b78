"""A step that is tried for months keeps its first and its last attempts whole; of the others it is
known what matters (R2)."""

import sqlite3
from contextlib import closing

import pytest

from stepwell import Retry, StepFailed, current_step, workflow
from stepwell._steps import past
from stepwell.testing import open_test_engine

HOURLY = Retry(limit=449, delay="1 hour", max_delay="1 hour", backoff="constant", jitter=0)
made: list[int] = []
ends_at = 450


@pytest.fixture(autouse=True)
def _fresh():
    made.clear()


async def tried() -> list[object]:
    context = current_step()
    made.append(context.attempt)
    if context.attempt in (7, 150):
        await context.save(f"saved at {context.attempt}")
    if context.attempt < ends_at:
        raise (ConnectionError if context.attempt % 10 else TimeoutError)(
            f"attempt {context.attempt}"
        )
    return [context.attempt, context.saved]


@workflow
async def patient(step):
    return await step.do(tried, retry=HOURLY)


@workflow
async def impatient(step):
    try:
        await step.do(
            tried,
            retry=Retry(
                limit=320, delay="1 hour", max_delay="1 hour", backoff="constant", jitter=0
            ),
        )
    except StepFailed as error:
        return error.attempts


@pytest.mark.slow
async def test_r2_of_many_attempts_the_first_and_the_last_are_kept_and_the_others_told_in_one_line(
    tmp_path,
):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[patient], store=store) as engine:
        instance = await engine.create(patient, id="a")
        assert await instance.result() == [450, "saved at 150"]
        history = await instance.history()
    assert made == list(range(1, 451))
    failed = [it.attempt for it in history if it.status == "attempt_failed"]
    assert failed == [*range(1, 101), *range(301, 450)]
    (line,) = [it for it in history if it.status == "attempts"]
    at = history.index(line)
    assert (history[at - 1].attempt, history[at + 1].attempt) == (100, line.output["last"] + 1)
    last = line.output["last"]
    assert line.output == {
        "first": 101, "last": last, "failed": last - 100, "interrupted": 0,
        "errors": {"ConnectionError": (last - 100) * 9 // 10, "TimeoutError": (last - 100) // 10},
    }  # fmt: skip
    assert (
        line.error.message
        == f"attempts 101 to {last}: ConnectionError {(last - 100) * 9 // 10} times, TimeoutError "
        f"{(last - 100) // 10} times"
    )
    assert history[at - 1].ended_at < line.started_at < line.ended_at < history[at + 1].ended_at
    with closing(sqlite3.connect(store)) as conn:
        (rows,) = conn.execute("SELECT count(*) FROM journal").fetchone()
    assert rows <= 100 + 200 + 5


@pytest.mark.slow
async def test_r2_a_limit_counts_erased_attempts_and_crashes_forget_none(tmp_path):
    async with open_test_engine(
        workflows=[impatient], store=str(tmp_path / "s.db"), autojump=False
    ) as engine:
        instance = await engine.create(impatient, id="a")
        while len(made) < 321:
            await engine.clock.advance("7 hours")
            if len(made) % 5 == 0:
                await engine.crash()
        assert await instance.result() == 321
    assert made == list(range(1, 322))


@pytest.mark.slow
async def test_r2_a_history_that_was_never_compacted_is_at_the_next_failed_attempt(
    tmp_path, monkeypatch
):
    store = str(tmp_path / "s.db")
    with monkeypatch.context() as patch:
        patch.setattr(past, "AT_ONCE", 1_000_000)  # as before there was such a thing
        async with open_test_engine(workflows=[patient], store=store, autojump=False) as engine:
            instance = await engine.create(patient, id="a")
            await engine.clock.advance("399 hours")
            assert len(await instance.history()) == 400 + 2 + 1  # saved values, and the delay
    async with open_test_engine(workflows=[patient], store=store, autojump=False) as engine:
        instance = await engine.get(patient, "a")
        await engine.clock.advance("400 hours")
        (line,) = [it for it in await instance.history() if it.status == "attempts"]
        assert line.output["last"] == 401 - 100
        await engine.crash()
        await engine.clock.advance("60 hours")
        assert await instance.result() == [450, "saved at 150"]
        (line,) = [it for it in await instance.history() if it.status == "attempts"]
        assert (line.output["first"], line.output["failed"]) == (101, line.output["last"] - 100)
    assert made == list(range(1, 451))
