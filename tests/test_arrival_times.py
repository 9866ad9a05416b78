"""When an event was sent and a decision made, whatever the time when a wait took it (rules E2,
E5)."""

from datetime import timedelta

import pytest

from stepwell import workflow
from stepwell._replay import Cursor
from stepwell.testing import open_test_engine


@workflow
async def waits_late(step) -> list:
    await step.sleep("1 hour")
    event = await step.wait_for_event("paid")
    approval = await step.wait_for_approval("ok")
    taken = step.now()
    last = await step.wait_for_event("go")
    return [it.isoformat() for it in (event.timestamp, approval.at, taken, last.timestamp)]


@pytest.mark.parametrize("crashes", [False, True])
async def test_e2_what_was_sent_and_decided_early_says_when_that_was(crashes):
    async with open_test_engine(workflows=[waits_late], autojump=False) as engine:
        instance = await engine.create(waits_late, id="a")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        sent = engine.clock.now()
        await instance.send_event("paid")
        await engine.clock.advance("1 minute")
        await engine.approvals.approve("waits_late/a#ok#1", by="ann")
        if crashes:
            await engine.crash()
        await engine.clock.advance("1 hour")
        taken = sent + timedelta(minutes=59)  # the turn's own time goes on as ever (I13)
        await engine.clock.advance("1 hour")
        if crashes:
            await engine.crash()
        await instance.wait_for_status("waiting")
        await instance.send_event("go")
        expected = [sent, sent + timedelta(minutes=1), taken, engine.clock.now()]
        assert await instance.result() == [it.isoformat() for it in expected]


@workflow
async def gives_back(step) -> list:
    taken = []

    async def takes():
        event = await step.wait_for_event("paid")
        taken.append(event)

    with step.move_on_after("1 hour"):
        async with step.open_nursery() as nursery:
            nursery.start_soon(takes)
            await step.wait_for_event("first")
            nursery.cancel_scope.cancel()
    await step.sleep("1 hour")
    event = await step.wait_for_event("paid")
    return [len(taken), event.timestamp.isoformat()]


@pytest.mark.parametrize("crashes", [False, True])
async def test_i8_an_event_that_went_back_keeps_the_time_when_it_was_sent(crashes):
    async with open_test_engine(workflows=[gives_back], autojump=False) as engine:
        instance = await engine.create(gives_back)
        await instance.wait_for_status("waiting")
        sent = engine.clock.now()
        await instance.send_event("first")
        await instance.send_event("paid")
        if crashes:
            await engine.crash()
        await instance.wait_for_status("waiting")
        await engine.clock.advance("2 hours")
        assert (await instance.result())[-1] == sent.isoformat()


async def test_d3_a_record_of_before_has_no_other_time_than_its_own():
    record = (5, 2, "", "paid", None, 1, 0, 0, 10, 20, None, "paid", None)
    assert Cursor.over([record]).pending[0].came_at is None
    now = (*record[:10], 15, *record[11:])
    assert Cursor.over([now]).pending[0].came_at == 15
