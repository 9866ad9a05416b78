"""What a step and a body tell about themselves: report, save, log (silent on replay)."""

import logging

import pytest

from stepwell import NotSerializable, Retry, StepwellError, TooLarge, current_step, workflow
from stepwell.testing import open_test_engine

seen: list = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def saves_its_place() -> int:
    step = current_step()
    seen.append((step.attempt, step.saved))
    await step.save({"page": step.attempt})
    if step.attempt < 3:
        raise OSError("again")
    return step.attempt


@workflow
async def saving(step):
    return await step.do(saves_its_place, retry=Retry(delay="1 hour"))


async def test_what_an_attempt_saved_is_handed_to_the_next_one_over_crashes():
    async with open_test_engine(workflows=[saving], autojump=False) as engine:
        instance = await engine.create(saving)
        for _ in range(2):
            await instance.wait_for_status("waiting")
            await engine.crash()
            await engine.clock.advance("61 minutes")
        assert await instance.result() == 3
        assert seen == [(1, None), (2, {"page": 1}), (3, {"page": 2})]


@workflow
async def saving_badly(step, how: str):
    async def saves() -> str:
        try:
            await current_step().save(object() if how == "class" else "x" * (1 << 20))
        except StepwellError as error:
            return f"{type(error).__name__} {error}"
        return "saved"

    return await step.do(saves)


async def test_a_save_that_cannot_be_stored_is_an_error_at_the_call():
    async with open_test_engine(workflows=[saving_badly]) as engine:
        assert (await engine.call(saving_badly, "class")).startswith("NotSerializable save")
        assert (await engine.call(saving_badly, "size")).startswith("TooLarge save")


async def reports() -> None:
    current_step().report(0.5, "half", file="a.txt")


def reports_in_a_thread() -> None:
    current_step().report(0.75)
    current_step().heartbeat()


@workflow
async def reporting(step):
    step.report(0.1, "begun")
    await step.do(reports)
    await step.wait_for_event("go")
    await step.do(reports_in_a_thread)
    await step.wait_for_event("go")
    step.report("nearly", count=3)
    await step.wait_for_event("go")


async def test_the_last_report_is_kept_and_none_is_repeated_on_replay():
    async with open_test_engine(workflows=[reporting], autojump=False) as engine:
        instance = await engine.create(reporting)
        for wanted in ({"progress": 0.5, "message": "half", "file": "a.txt"}, {"progress": 0.75}, {"progress": "nearly", "count": 3}):
            await instance.wait_for_status("waiting")
            assert (await instance.status()).progress == wanted
            await instance.send_event("go")
            await instance.wait_for_status("waiting", "complete")
        await instance.result()
        assert (await instance.status()).progress == {"progress": "nearly", "count": 3}


@workflow
async def reporting_badly(step, how: str):
    try:
        step.report(object() if how == "class" else "x" * (1 << 16))
    except (NotSerializable, TooLarge) as error:
        return f"{type(error).__name__} {error}"


async def test_a_report_that_cannot_be_stored_is_an_error_at_the_call():
    async with open_test_engine(workflows=[reporting_badly]) as engine:
        assert (await engine.call(reporting_badly, "class")).startswith("NotSerializable report")
        assert (await engine.call(reporting_badly, "size")).startswith("TooLarge report")


@workflow
async def logging_body(step):
    step.log.info("before %d", 1)
    await step.do(reports)
    step.log.warning("between")
    await step.wait_for_event("go")
    step.log.info("after")


async def test_step_log_is_silent_on_replay_and_carries_the_instance_id(caplog):
    caplog.set_level(logging.INFO, "stepwell.workflow")
    async with open_test_engine(workflows=[logging_body], autojump=False) as engine:
        instance = await engine.create(logging_body, id="l")
        for _ in range(3):
            await instance.wait_for_status("waiting")
            await engine.crash()
        await instance.send_event("go")
        await instance.result()
    records = [r for r in caplog.records if r.name == "stepwell.workflow"]
    assert [r.getMessage() for r in records] == ["before 1", "between", "after"]
    assert {(r.instance_id, r.workflow) for r in records} == {("l", "logging_body")}


@workflow
async def reports_when_woken(step):
    await step.wait_for_event("go")
    step.report("woken")
    step.log.info("woken")
    await step.wait_for_event("go")


async def test_what_a_parked_body_says_when_an_event_woke_it_is_new(caplog):
    caplog.set_level(logging.INFO, "stepwell.workflow")
    async with open_test_engine(workflows=[reports_when_woken], autojump=False) as engine:
        instance = await engine.create(reports_when_woken)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        assert engine.statistics().resident == 0
        await instance.send_event("go")
        await instance.wait_for_status("waiting")
        assert (await instance.status()).progress == {"progress": "woken"}
        await engine.crash()
        await instance.wait_for_status("waiting")
    assert [r.getMessage() for r in caplog.records if r.name == "stepwell.workflow"] == ["woken"]


async def about() -> list:
    step = current_step()
    return [step.name, step.key, step.count, step.attempt, step.instance_id, step.config.limit, step.saved, step.engine is not None]


async def test_a_step_knows_its_place():
    @workflow(name="asks")
    async def asks(step):
        first = await step.do(about, key="k", retry=Retry(limit=2))
        return [first, *await step.map(lambda _: current_step().count, [1, 2], name="mapped")]

    async with open_test_engine(workflows=[asks]) as engine:
        assert await engine.call(asks, id="i") == [["about", "k", 1, 1, "i", 2, None, True], 1, 1]
