"""Every answer is one moment: a state and a result, waits and records never come from two of
them."""

import collections

import pytest
import trio

from stepwell import Engine, Status, workflow
from stepwell.testing import open_test_engine


@workflow
async def brief(step, n: int) -> int:
    await step.sleep(0.001)
    return n


@workflow
async def twice(step):
    await step.wait_for_event("go")
    await step.wait_for_event("go")


@workflow
async def naps(step):
    await step.sleep("1 hour", name="nap")
    await step.wait_for_event("go", timeout="2 hours")


@pytest.mark.slow
@pytest.mark.parametrize("store", ["file", ":memory:"])
async def test_a_polled_status_has_its_output_exactly_when_it_is_complete(tmp_path, store):
    seen = collections.Counter()

    async def poll(instance):
        while True:
            status = await instance.status()
            row = next(
                it for it in (await engine.list(brief, limit=1000)).items if it.id == instance.id
            )
            seen[(status.status, status.output, status.ended_at is not None)] += 1
            assert (row.waiting_on is None) == (row.status is not Status.WAITING)
            assert (status.waiting_on is None) == (status.status is not Status.WAITING)
            if status.status is Status.COMPLETE:
                return

    path = str(tmp_path / "a.db") if store == "file" else store
    async with Engine(path, workflows=[brief]) as engine, trio.open_nursery() as nursery:
        for _ in range(150):
            nursery.start_soon(poll, await engine.create(brief, 7))
    assert seen[(Status.COMPLETE, 7, True)] == 150
    assert {key for key in seen if key[0] is not Status.COMPLETE} <= {
        (status, None, False) for status in (Status.RUNNING, Status.WAITING, Status.QUEUED)
    }


async def test_a_look_that_is_cut_in_half_by_a_commit_is_not_told(monkeypatch):
    # Whatever comes between two questions to the core belongs to another moment: one answer is one
    # question.
    async with open_test_engine(workflows=[naps]) as engine:
        instance = await engine.create(naps, id="n")
        await instance.wait_for_status("waiting")
        asked = []
        ask = engine._driver.ask

        def counted(*question):
            asked.append(question)
            return ask(*question)

        monkeypatch.setattr(engine._driver, "ask", counted)
        for look in (
            instance.status,
            instance.history,
            instance.explain,
            engine.list,
            engine.approvals.list,
        ):
            asked.clear()
            await look()
            assert len(asked) == 1, look


@pytest.mark.slow
async def test_a_history_never_has_an_operation_both_recorded_and_waited_for():
    async with Engine(":memory:", workflows=[twice]) as engine:
        instances = [await engine.create(twice) for _ in range(100)]

        async def watch(instance):
            while (await instance.status()).status is not Status.COMPLETE:
                refs = [record.ref for record in await instance.history()]
                assert len(set(refs)) == len(refs)

        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(watch, instance)
                await instance.send_event("go")
                nursery.start_soon(instance.send_event, "go")


async def test_a_listing_says_what_waiting_instances_wait_for():
    async with open_test_engine(workflows=[naps, brief], autojump=False) as engine:
        instance = await engine.create(naps, id="n")
        await instance.wait_for_status("waiting")
        await engine.create(brief, 1, id="b", start_at=engine.clock.now().replace(year=2031))
        told = {row.id: row.waiting_on for row in (await engine.list()).items}
        assert told == {"n": 'sleep "nap" until 2030-01-01 01:00:00 UTC', "b": None}
        assert told["n"] == (await instance.status()).waiting_on
        await engine.clock.advance("1 hour")
        await instance.wait_for_status("waiting")
        (row,) = (await engine.list(naps)).items
        assert row.waiting_on == 'event "go" until 2030-01-01 03:00:00 UTC'
        await instance.send_event("go")
        await instance.result()
        assert [row.waiting_on for row in (await engine.list(naps)).items] == [None]
