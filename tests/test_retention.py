"""How long instances are kept after their end (rule L9)."""

import logging
import sqlite3

import pytest
import trio
import trio.testing

from stepwell import Engine, InstanceNotFound, InvalidConfig, NewInstance, Retention, workflow
from stepwell.testing import open_test_engine

DAY = 86_400.0


@workflow
async def short(step, n: int = 0) -> int:
    if n < 0:
        raise ValueError("negative")
    return n


@workflow(retention=Retention(success="1 day", error="3 days"))
async def kept_a_day(step, n: int = 0) -> int:
    if n < 0:
        raise ValueError("negative")
    return n


@workflow
async def waits(step) -> str:
    event = await step.wait_for_event("go")
    return event.payload


@workflow(retention=Retention(success="1 day"))
async def holds(step) -> int:
    event = await step.wait_for_event("go")
    return event.payload


@workflow
async def calls(step) -> int:
    return await step.call(holds, id="child")


def jump(engine, seconds: float) -> None:
    engine._running().core.jump(round(seconds * 1e6))


async def ids(engine, code=None) -> list[str]:
    found, cursor = [], None
    while True:
        page = await engine.list(code, limit=1_000, cursor=cursor)
        found.extend(it.id for it in page.items)
        cursor = page.cursor
        if cursor is None:
            return sorted(found)


async def ended(engine, code, *args, **options):
    instance = await engine.create(code, *args, **options)
    await instance.wait_for_status("complete", "errored")
    return instance


async def test_l9_what_has_ended_goes_when_its_time_is_over_and_not_before():
    async with open_test_engine([kept_a_day], autojump=False) as engine:
        fine = await ended(engine, kept_a_day, 1, id="fine")
        await ended(engine, kept_a_day, -1, id="failed")
        await engine.clock.advance(DAY - 1)
        assert await ids(engine) == ["failed", "fine"]
        await engine.clock.advance(1)
        assert await ids(engine) == ["failed"]
        with pytest.raises(InstanceNotFound):
            await fine.status()
        assert (await engine.count(kept_a_day))["complete"] == 0
        again = await ended(engine, kept_a_day, 2, id="fine")
        assert await again.result() == 2
        await engine.clock.advance(2 * DAY)
        assert await ids(engine) == []


async def test_l9_a_terminated_instance_counts_as_an_error():
    own = workflow(waits.fn, name="own", retention=Retention(success="1 day", error="2 days"))
    async with open_test_engine([own], autojump=False) as engine:
        instance = await engine.create(own, id="x")
        await instance.terminate()
        await engine.clock.advance(1.5 * DAY)
        assert await ids(engine) == ["x"]
        await engine.clock.advance(0.5 * DAY)
        assert await ids(engine) == []


async def test_l9_an_instance_is_kept_as_it_was_created_then_as_its_workflow_says():
    of_engine = Retention(success="5 days", error=None)
    async with open_test_engine([short, kept_a_day], autojump=False, retention=of_engine) as engine:
        own = Retention(success="9 days", error="9 days")
        forever = Retention(success=None, error=None)
        await ended(engine, short, id="engine")
        await ended(engine, kept_a_day, id="workflow")
        await ended(engine, short, id="own", retention=own)
        items = [NewInstance(1, id="batch", retention=own), NewInstance(1, id="plain")]
        for it in (await engine.create_batch(kept_a_day, items)).created:
            await it.result()
        await ended(engine, short, id="forever", retention=forever)
        await ended(engine, short, -1, id="failed")
        left = {
            1: ["batch", "engine", "failed", "forever", "own"],
            5: ["batch", "failed", "forever", "own"],
            9: ["failed", "forever"],
            365: ["failed", "forever"],
        }
        day = 0
        for at, expected in left.items():
            await engine.clock.advance((at - day) * DAY)
            day = at
            assert await ids(engine) == expected, at


async def test_l9_a_year_of_instances_goes_day_by_day():
    yearly = workflow(short.fn, name="yearly", retention=Retention(success="365 days"))
    async with open_test_engine([yearly], autojump=False) as engine:
        for day in range(0, 365, 73):
            await ended(engine, yearly, id=str(day))
            await engine.clock.advance(73 * DAY)
        for gone in range(1, 6):
            assert len(await ids(engine)) == 5 - gone
            await engine.clock.advance(73 * DAY)


async def test_l9_beyond_a_count_those_that_ended_first_go():
    some = workflow(short.fn, name="some", retention=Retention(success=None, error=None, count=3))
    async with open_test_engine([some, short]) as engine:
        for n in range(5):
            await ended(engine, some, n if n % 2 else -1, id=f"i{n}")
        await engine.clock.advance(1)
        assert await ids(engine, some) == ["i2", "i3", "i4"]
        other = engine.namespace("other")
        await ended(other, some, 1, id="theirs")
        await ended(engine, short, 1, id="else")
        await engine.clock.advance(1)
        assert await ids(engine) == ["else", "i2", "i3", "i4"]
        assert await ids(other) == ["theirs"]


async def test_l9_more_than_a_batch_goes_and_a_crash_in_the_middle_costs_nothing(tmp_path):
    store = tmp_path / "audit.db"
    async with open_test_engine([kept_a_day], autojump=False, store=store) as engine:
        created = (await engine.create_batch(kept_a_day, list(range(500)))).created
        for it in created:
            await it.result()
        await engine.clock.advance(DAY - 1)
        jump(engine, 2)  # whatever is to go goes while the engine dies
        await engine.crash()
        await engine.clock.advance(1)
        assert await ids(engine) == []
        assert not any((await engine.count()).values())
    with sqlite3.connect(store) as db:
        for table in ("instance", "params", "result", "grave", "tally"):
            [(rows,)] = db.execute(f"SELECT count(*) FROM {table}")
            assert rows == (table == "tally"), table


async def test_l9_the_store_gives_the_room_back(tmp_path):
    large = workflow(wide, name="large", retention=Retention(success="1 day"))
    store = tmp_path / "audit.db"
    async with open_test_engine([large], autojump=False, store=store) as engine:
        for it in (await engine.create_batch(large, ["x" * 50_000] * 200)).created:
            await it.result()
    full = store.stat().st_size
    assert full > 10_000_000
    async with open_test_engine([large], autojump=False, store=store) as engine:
        await engine.clock.advance(2 * DAY)
        assert await ids(engine) == []
        while store.stat().st_size > full / 10:  # the idle writer gives some back at a time
            await trio.testing.wait_all_tasks_blocked(0.005)


async def wide(step, text: str) -> str:
    return text


async def test_l9_todays_code_says_how_long(tmp_path):
    store = tmp_path / "audit.db"

    def code(retention):
        return workflow(short.fn, name="short", retention=retention)

    async with open_test_engine([code(Retention("9 days"))], autojump=False, store=store) as engine:
        await ended(engine, "short", id="x")
        await engine.clock.advance(DAY)
        assert await ids(engine) == ["x"]
    async with open_test_engine([code(None)], autojump=False, store=store) as engine:
        await engine.clock.advance(100 * DAY)
        assert await ids(engine) == ["x"]
    async with open_test_engine([code(Retention("1 day"))], autojump=False, store=store) as engine:
        await engine.clock.advance(2 * DAY)
        assert await ids(engine) == []


async def test_l9_of_several_versions_the_last_says_how_long():
    first = workflow(short.fn, name="v", version="1", retention=Retention("1 day"))
    second = workflow(short.fn, name="v", version="2")
    async with open_test_engine([first, second], autojump=False) as engine:
        await ended(engine, first, id="x")
        await engine.clock.advance(9 * DAY)
        assert await ids(engine) == ["x"]
    async with open_test_engine([second, first], autojump=False) as engine:
        await ended(engine, second, id="x")
        await engine.clock.advance(9 * DAY)
        assert await ids(engine) == []


async def test_l9_without_code_nothing_goes(tmp_path):
    store = tmp_path / "audit.db"
    async with open_test_engine([kept_a_day], autojump=False, store=store) as engine:
        await ended(engine, kept_a_day, id="x")
    everything = Retention("1 day", "1 day", 1)
    async with open_test_engine(
        [short], autojump=False, store=store, retention=everything
    ) as engine:
        await engine.clock.advance(100 * DAY)
        assert await ids(engine) == ["x"]


async def test_l9_a_first_retention_on_an_old_store_tells_what_goes_an_hour_before(
    tmp_path, caplog
):
    store = tmp_path / "audit.db"
    async with open_test_engine([short], autojump=False, store=store) as engine:
        jump(engine, -9 * DAY)
        for n in range(3):
            await ended(engine, short, id=str(n))
        jump(engine, 9 * DAY)
        await ended(engine, short, id="new")
    caplog.set_level(logging.WARNING)

    def open_with(retention):
        return open_test_engine([short], autojump=False, store=store, retention=retention)

    async with open_with(Retention("1 day")) as engine:
        [told] = [it.message for it in caplog.records]
        assert "the time of 3 of its instances is over" in told
        assert "deleted from 2030-01-01T01:00:00+00:00 on" in told
        await engine.clock.advance(3_599)
        assert await ids(engine) == ["0", "1", "2", "new"]
    caplog.clear()
    async with open_with(None) as engine:  # taken back
        await engine.clock.advance(2 * DAY)
        assert await ids(engine) == ["0", "1", "2", "new"]
    async with open_with(Retention("1 day")) as engine:
        await engine.clock.advance(3_599)
        assert await ids(engine) == ["0", "1", "2", "new"]
        await engine.clock.advance(1)
        assert await ids(engine) == ["new"]
    assert caplog.records == []  # it is told once


async def test_l9_a_first_retention_on_a_store_with_nothing_to_go_is_not_told_of(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    store = tmp_path / "audit.db"
    async with open_test_engine([kept_a_day], autojump=False, store=store) as engine:
        await ended(engine, kept_a_day, id="x")
        await engine.clock.advance(DAY)
        assert await ids(engine) == []
    assert caplog.records == []


async def test_l9_a_child_whose_parent_has_not_heard_of_its_end_stays():
    async with open_test_engine([calls, holds], autojump=False) as engine:
        parent = await engine.create(calls, id="parent")
        await parent.wait_for_status("waiting")
        child = await engine.get(holds, "child")
        await parent.pause()
        await child.send_event("go", 7)
        await child.result()
        await engine.clock.advance(9 * DAY)
        assert await ids(engine) == ["child", "parent"]
        await parent.resume()
        assert await parent.result() == 7
        await engine.clock.advance("1 hour")
        assert await ids(engine) == ["parent"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"success": "soon"}, "Retention success='soon' is not a duration"),
        ({"error": -1}, "Retention error=-1 is not a duration"),
        ({"success": 0}, "nobody could read the result"),
        ({"success": "366 days"}, "0 to 365 days"),
        ({"count": 0}, "from 1 to 1,000,000,000"),
        ({"count": True}, "from 1 to 1,000,000,000"),
        ({"count": 1.5}, "from 1 to 1,000,000,000"),
    ],
)
def test_l9_a_retention_that_makes_no_sense_is_refused(given, says):
    with pytest.raises(InvalidConfig, match=says.replace("(", "\\(")):
        Retention(**given)


async def test_l9_what_is_no_retention_is_refused_wherever_it_is_given():
    with pytest.raises(InvalidConfig, match="@workflow: retention is '30 days'"):
        workflow(retention="30 days")(short.fn)  # type: ignore[call-overload]
    with pytest.raises(InvalidConfig, match="Engine: retention is 30"):
        Engine(retention=30)  # type: ignore[arg-type]
    async with open_test_engine([short]) as engine:
        with pytest.raises(InvalidConfig, match="create: retention is 30"):
            await engine.create(short, retention=30)
        with pytest.raises(InvalidConfig, match="count=3, which is for all"):
            await engine.create(short, retention=Retention(count=3))
        batch = await engine.create_batch(short, [1, NewInstance(2, retention=30)])
        assert [it.index for it in batch.errors] == [1]
        assert await ids(engine, short) == [batch.created[0].id]
