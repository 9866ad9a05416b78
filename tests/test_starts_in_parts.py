"""Of a burst only some bodies begin in one round of the loop; whatever happens to the others
meanwhile counts."""

from datetime import timedelta

import pytest
import trio

from stepwell import Engine, NonRetryableError, Status, Step, StepFailed, workflow
from stepwell._engine import driver
from stepwell.testing import open_test_engine

begun: list[str] = []


@pytest.fixture(autouse=True)
def _fresh():
    begun.clear()


@workflow
async def twice(step: Step) -> list[str]:
    begun.append(step.instance.id)
    return [(await step.wait_for_event("go")).type, (await step.wait_for_event("go")).type]


@pytest.mark.parametrize("at_once", [1, 2, 7])
async def test_c6_a_burst_waits_without_slots_and_every_event_arrives(monkeypatch, at_once):
    monkeypatch.setattr(driver, "STARTS_AT_ONCE", at_once)
    async with Engine(":memory:", workflows=[twice]) as engine:
        created = (await engine.create_batch(twice, [None] * 50)).created
        for _ in range(2):
            for instance in created:
                await instance.wait_for_status("waiting")
            assert engine.statistics().leased == 0
            async with trio.open_nursery() as nursery:
                for instance in created:
                    nursery.start_soon(instance.send_event, "go")
        assert [await instance.result() for instance in created] == [["go", "go"]] * 50


async def test_an_event_may_come_before_its_body_has_begun(monkeypatch):
    monkeypatch.setattr(driver, "STARTS_AT_ONCE", 0)
    async with Engine(":memory:", workflows=[twice]) as engine:
        created = (await engine.create_batch(twice, [None] * 30)).created
        last = created[-1]
        await last.send_event("go")
        await last.send_event("go")
        assert begun == []
        monkeypatch.setattr(driver, "STARTS_AT_ONCE", 1)
        assert await last.result() == ["go", "go"]


async def stop() -> None:
    raise NonRetryableError("stop")


async def call_the_child(step: Step) -> None:
    await step.call(twice, id="child")


@workflow
async def gives_up(step: Step) -> str:
    await step.wait_for_event("call")
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(call_the_child, step)
            await step.wait_for_event("stop")
            await step.do(stop)
    except* StepFailed:
        pass
    return "gave up"


async def test_one_that_is_terminated_before_its_body_has_begun_never_begins(monkeypatch):
    async with Engine(":memory:", workflows=[twice, gives_up]) as engine:
        parent = await engine.create(gives_up)
        await parent.wait_for_status(Status.WAITING)
        await parent.send_event("call")
        monkeypatch.setattr(driver, "STARTS_AT_ONCE", 0)
        await parent.send_event("stop")
        assert await parent.result() == "gave up"
        child = await engine.get(twice, "child")
        assert await child.wait_for_status(Status.TERMINATED) is Status.TERMINATED
        monkeypatch.setattr(driver, "STARTS_AT_ONCE", 1)
        await (await engine.create(twice, id="other")).wait_for_status(Status.WAITING)
    assert begun == ["other"]


async def test_a_crash_or_an_end_before_all_bodies_have_begun_loses_none(monkeypatch, tmp_path):
    monkeypatch.setattr(driver, "STARTS_AT_ONCE", 1)
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[twice], store=store, autojump=False) as engine:
        created = (await engine.create_batch(twice, [None] * 30)).created
        assert len(begun) < 30
        await engine.crash()
        for instance in created:
            await instance.wait_for_status(Status.WAITING)
        more = (await engine.create_batch(twice, [None] * 30)).created
    async with open_test_engine(workflows=[twice], store=store, autojump=False) as engine:
        for instance in [*created, *more]:
            again = await engine.get(twice, instance.id)
            await again.wait_for_status(Status.WAITING)
        assert engine.statistics().leased == 0


async def test_time_does_not_jump_past_bodies_that_have_not_begun(monkeypatch):
    monkeypatch.setattr(driver, "STARTS_AT_ONCE", 1)

    @workflow
    async def naps(step: Step) -> str:
        before = step.now()
        await step.sleep("1 hour")
        return str(step.now() - before)

    async with open_test_engine(workflows=[naps]) as engine:
        created = (await engine.create_batch(naps, [None] * 20)).created
        assert {await it.result() for it in created} == {"1:00:00"}
        statuses = [await it.status() for it in created]
    assert {it.ended_at - it.created_at for it in statuses} == {timedelta(hours=1)}
