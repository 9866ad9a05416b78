"""Schedules, through the public API: what fires when, what becomes of the other times, and what is
refused."""

import logging
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import trio

from stepwell import (
    Client,
    Engine,
    EngineClosed,
    InvalidConfig,
    InvalidName,
    Limits,
    NotSerializable,
    Overloaded,
    Status,
    aio,
    sync,
    workflow,
)
from stepwell.testing import open_test_engine

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@workflow
async def noted(step, params: str = "nothing"):
    return [params, step.instance.schedule]


@workflow
async def long(step):
    await step.sleep("150 minutes")


@workflow
async def long_in_runs(step, run: int = 1):
    """As long as `long`, in three runs of which each goes on as new."""
    await step.sleep("50 minutes")
    if run < 3:
        await step.continue_as_new(run + 1)


def opened(*workflows, **options):
    return open_test_engine(workflows or (noted, long, long_in_runs), autojump=False, **options)


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    return ":memory:" if request.param == "memory" else tmp_path / "s.db"


async def told(schedule, limit=50):
    """What came of its times, the first decided first: hours since the beginning, outcome, why."""
    page = await schedule.firings(limit=limit)
    hours = [(it.at - BEGINNING) / HOUR for it in page]
    return [(hour, it.outcome, it.why) for hour, it in zip(hours, page, strict=True)][::-1]


async def test_s1_each_time_creates_one_instance_and_a_row(store):
    async with opened(store=store) as engine:
        schedule = await engine.put_schedule(noted, "0 * * * *", id="hourly", params="x")
        assert schedule.next_times(2) == [BEGINNING + HOUR, BEGINNING + 2 * HOUR]
        assert schedule.next_at == BEGINNING + HOUR
        await engine.clock.advance("59 minutes")
        assert await told(schedule) == []
        await engine.clock.advance("1 minute")
        await engine.clock.advance("2 hours")
        assert await told(schedule) == [(1, "fired", None), (2, "fired", None), (3, "fired", None)]
        page = await schedule.firings(limit=2)
        rest = await schedule.firings(limit=2, cursor=page.cursor)
        assert [it.id for it in (*page, *rest)] == [
            f"hourly@2030-01-01T0{hour}:00:00Z" for hour in (3, 2, 1)
        ]
        made = await engine.get(noted, "hourly@2030-01-01T02:00:00Z")
        assert await made.result() == ["x", "hourly"]
        assert (await made.status()).created_at == BEGINNING + 2 * HOUR


async def test_the_instances_of_a_schedule_are_listed_by_it(store):
    async with opened(store=store) as engine:
        await engine.put_schedule(noted, "1 hour", id="a")
        await engine.put_schedule(noted, "2 hours", id="b")
        await engine.create(noted, id="by-hand")
        await engine.clock.advance("4 hours")
        assert len(await engine.list(schedule="a")) == 4
        assert len(await engine.list(noted, schedule="b", status="complete")) == 2
        assert len(await engine.list(schedule="c")) == 0
        assert len(await engine.list()) == 7


async def test_s2_a_schedule_goes_on_after_a_crash_and_misses_what_the_engine_slept_through(store):
    async with opened(store=store) as engine:
        schedules = {
            catch_up: await engine.put_schedule(
                noted, "1 hour", id=catch_up, catch_up=catch_up, overlap="allow"
            )
            for catch_up in ("skip", "one", "all")
        }
        await engine.clock.advance("90 minutes")
        await engine.crash(downtime="3 hours")
        await engine.clock.settled()
        await engine.clock.advance("1 hour")
        first, last = (1, "fired", None), (5, "fired", None)
        assert await told(schedules["skip"]) == [first, (2, "missed", "engine_down"), last]
        one = await told(schedules["one"])
        assert one == [first, (2, "missed", "engine_down"), (4, "fired", None), last]
        every = await told(schedules["all"])
        assert every == [first, *((hour, "fired", None) for hour in (2, 3, 4)), last]
        page = await schedules["skip"].firings()
        assert page.items[1].until == BEGINNING + 4 * HOUR
        # Now and then nothing was missed.
        await engine.crash()
        await engine.clock.advance("1 hour")
        assert (await told(schedules["skip"]))[-1] == (6, "fired", None)


async def test_s2_catching_up_all_fires_the_last_thousand():
    async with opened() as engine:
        schedule = await engine.put_schedule(
            noted, "* * * * *", id="s", catch_up="all", overlap="allow"
        )
        await engine.crash(downtime="20 hours")
        await engine.clock.settled()
        assert (await engine.count())[Status.COMPLETE] == 1_000
        first, *_ = await told(schedule, limit=1_000)
        assert first == (pytest.approx(201 / 60), "fired", None)
        page = await schedule.firings(limit=1_000)
        page = await schedule.firings(limit=10, cursor=page.cursor)
        [missed] = page
        assert missed.outcome == "missed"
        assert missed.at == BEGINNING + timedelta(minutes=1)
        assert missed.until == BEGINNING + timedelta(minutes=200)


async def test_s2_a_clock_that_jumps_makes_nothing_early_and_nothing_twice():
    async with opened() as engine:
        core = engine._running().core
        schedule = await engine.put_schedule(noted, "1 hour", id="s", catch_up="skip")
        await engine.clock.advance("1 hour")
        core.jump(round(timedelta(hours=3, minutes=30) / timedelta(microseconds=1)))
        await engine.clock.settled()
        over = [(1, "fired", None), (2, "missed", "overtaken"), (4, "fired", None)]
        assert await told(schedule) == over
        core.jump(-round(timedelta(hours=3) / timedelta(microseconds=1)))
        await engine.clock.advance("3 hours")
        assert await told(schedule) == over
        await engine.clock.advance("30 minutes")
        assert await told(schedule) == [*over, (5, "fired", None)]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", ["1 fired", "2 skipped overlap", "3 skipped overlap", "4 fired"]),
        ("queue", ["1 fired", "2 fired queued"]),
        ("allow", ["1 fired", "2 fired", "3 fired", "4 fired"]),
        ("replace", ["1 fired", "2 fired", "3 fired", "4 fired"]),
    ],
)
@pytest.mark.parametrize("body", [long, long_in_runs])
async def test_s3_what_overlaps_is_skipped_queued_allowed_or_replaces(
    overlap, expected, body, store
):
    async with opened(store=store) as engine:
        schedule = await engine.put_schedule(body, "1 hour", id="s", overlap=overlap)
        await engine.clock.advance("4 hours")
        lines = [
            f"{hour:g} {outcome} {why or ''}".strip() for hour, outcome, why in await told(schedule)
        ]
        assert lines == expected
        states = [it.status.value for it in await engine.list(newest_first=False)]
        assert (
            states
            == {
                "skip": ["complete", "waiting"],
                "queue": ["complete", "waiting"],
                "allow": ["complete", "waiting", "waiting", "waiting"],
                "replace": ["terminated", "terminated", "terminated", "waiting"],
            }[overlap]
        )
        if overlap == "queue":
            [now] = await engine.schedules()
            assert now.queued == 2
            # What waits is not forgotten by a crash, and begins when it may.
            await engine.crash()
            await engine.clock.advance("150 minutes")
            assert (await told(schedule))[2] == (3, "fired", "queued")
        if overlap == "replace":
            error = (await engine.list(status="terminated")).items[0].error
            assert error is not None
            assert 'schedule "s" replaced it' in error.message


async def test_s3_a_queue_has_a_hundred_places():
    async with opened() as engine:
        schedule = await engine.put_schedule(long, "1 minute", id="s", overlap="queue")
        await engine.clock.advance("110 minutes")
        [now] = await engine.schedules()
        assert now.queued == 100
        skipped = [it for it in await told(schedule) if it[1] == "skipped"]
        assert {why for _, _, why in skipped} == {"queue_full"}
        assert len(skipped) == 9


async def test_what_waits_in_the_queue_of_a_paused_schedule_begins_when_it_is_resumed():
    async with opened() as engine:
        schedule = await engine.put_schedule(long, "1 hour", id="s", overlap="queue")
        await engine.clock.advance("2 hours")
        await schedule.pause()
        await engine.clock.advance("1 day")
        assert await told(schedule) == [(1, "fired", None)]
        await schedule.resume()
        await engine.clock.advance("1 minute")
        rows = [(1, "fired", None), (3, "skipped", "paused"), (2, "fired", "queued")]
        assert await told(schedule) == rows


async def test_s4_a_pause_is_not_caught_up_and_says_so():
    async with opened() as engine:
        schedule = await engine.put_schedule(noted, "1 hour", id="s", catch_up="all")
        await engine.clock.advance("1 hour")
        await schedule.pause(actor="ann", note="quiet")
        await schedule.pause()
        [now] = await engine.schedules()
        assert (now.paused_at, now.next_at) == (BEGINNING + HOUR, None)
        assert now.next_times() == []
        await engine.clock.advance("150 minutes")
        await engine.crash()
        assert await told(schedule) == [(1, "fired", None)]
        await schedule.resume(actor="bob")
        await engine.clock.advance("1 hour")
        assert await told(schedule) == [
            (1, "fired", None), (2, "skipped", "paused"), (4, "fired", None)
        ]  # fmt: skip
        rows = [(it.actor, it.operation, it.filter, it.note) for it in await engine.audit()]
        assert rows == [
            ("bob", "resume_schedule", "schedule=s", None),
            ("ann", "pause_schedule", "schedule=s", "quiet"),
            (None, "put_schedule", "schedule=s", None),
        ]


async def test_s5_a_trigger_creates_an_instance_now_whatever_else():
    async with opened() as engine:
        schedule = await engine.put_schedule(long, "1 hour", id="s")
        await schedule.pause()
        one, two = await schedule.trigger(), await schedule.trigger(actor="ann")
        assert one.id != two.id
        assert {it.id for it in await engine.list(schedule="s")} == {one.id, two.id}
        assert await told(schedule) == [(0, "fired", "trigger")] * 2
        await schedule.resume()
        await engine.clock.advance("1 hour")
        assert (await told(schedule))[-1] == (1, "skipped", "overlap")
        assert [it.operation for it in await engine.audit(workflow=long, id=two.id)] == [
            "trigger_schedule"
        ]
        await engine.clock.advance("2 hours")
        await one.result()


async def test_s5_a_backfill_fires_what_did_not_fire_once(store):
    async with opened(store=store) as engine:
        schedule = await engine.put_schedule(noted, "1 hour", id="s", catch_up="skip")
        await engine.clock.advance("1 hour")
        await engine.crash(downtime="3 hours")
        await engine.clock.settled()
        start, end = BEGINNING, BEGINNING + 4 * HOUR
        preview = await schedule.backfill(start, end, dry_run=True)
        assert [(it.outcome, it.why) for it in preview] == [
            ("fired", "backfill"), ("skipped", "fired_before"), *[("fired", "backfill")] * 3
        ]  # fmt: skip
        assert len(await engine.list()) == 1
        assert await schedule.backfill(start, end, actor="ann") == preview
        assert len(await engine.list(schedule="s")) == 5
        again = await schedule.backfill(start, end)
        assert {(it.outcome, it.why) for it in again} == {("skipped", "fired_before")}
        assert len(await engine.list()) == 5
        assert await schedule.backfill(end - HOUR / 2, end - HOUR / 4) == []


async def test_what_is_put_again_goes_on_and_what_is_put_otherwise_begins_anew():
    async with opened() as engine:
        first = await engine.put_schedule(noted, "2 hours", id="s", params="a")
        await engine.clock.advance("3 hours")
        again = await engine.put_schedule(noted, "120 minutes", id="s", params="a")
        assert (again.created_at, again.updated_at) == (first.created_at, first.updated_at)
        other = await engine.put_schedule(noted, "2 hours", id="s", params="b", overlap="allow")
        assert other.next_at == BEGINNING + 4 * HOUR
        assert other.updated_at == BEGINNING + 3 * HOUR
        anew = await engine.put_schedule(noted, "3 hours", id="s", params="b")
        assert anew.next_at == BEGINNING + 6 * HOUR
        assert len(await engine.schedules()) == 1
        assert [it.result for it in await engine.audit()] == ["updated", "updated", "created"]
        await engine.clock.advance("3 hours")
        made = await engine.get(noted, "s@2030-01-01T06:00:00Z")
        assert (await made.result())[0] == "b"


async def test_a_deleted_schedule_fires_no_more_and_its_instances_stay(store):
    async with opened(store=store) as engine:
        schedule = await engine.put_schedule(noted, "1 hour", id="s")
        await engine.clock.advance("1 hour")
        await schedule.delete(note="enough")
        await engine.clock.advance("2 hours")
        assert await engine.schedules() == []
        assert len(await engine.list(schedule="s")) == 1
        for call in (schedule.pause, schedule.resume, schedule.delete, schedule.trigger):
            with pytest.raises(InvalidConfig, match="no schedule has the id 's'"):
                await call()
        with pytest.raises(InvalidConfig, match="no schedule"):
            await schedule.firings()
        anew = await engine.put_schedule(noted, "1 hour", id="s")
        assert await told(anew) == []


async def test_a_schedule_without_code_says_so_and_catches_up_when_there_is_some(tmp_path, caplog):
    store = tmp_path / "s.db"
    async with opened(store=store) as engine:
        await engine.put_schedule(noted, "1 hour", id="s")
    with caplog.at_level(logging.WARNING):
        async with opened(long, store=store) as engine:
            await engine.clock.advance("90 minutes")
            [schedule] = await engine.schedules()
            assert not schedule.has_code
            assert await told(schedule) == []
            with pytest.raises(InvalidConfig, match='no code for workflow "noted"'):
                await schedule.trigger()
    texts = [it.getMessage() for it in caplog.records if "does not fire" in it.getMessage()]
    assert len(texts) == 1
    assert 'schedule "s" does not fire: this engine has no code for workflow "noted"' in texts[0]
    async with opened(store=store) as engine:
        await engine.clock.advance("2 hours")
        [schedule] = await engine.schedules()
        assert schedule.has_code
        assert await told(schedule)


async def test_a_version_that_is_not_the_last_is_kept():
    @workflow(name="w", version="1")
    async def old(step):
        return 1

    @workflow(name="w", version="2")
    async def new(step):
        return 2

    async with opened(old, new) as engine:
        pinned = await engine.put_schedule(old, "1 hour", id="pinned")
        free = await engine.put_schedule("w", "1 hour", id="free")
        assert (pinned.version, free.version) == ("1", None)
        await engine.clock.advance("1 hour")
        versions = {it.id.partition("@")[0]: it.version for it in await engine.list()}
        assert versions == {"pinned": "1", "free": "2"}


async def test_s6_jitter_puts_each_time_off_always_by_the_same_and_keeps_the_order():
    async def moments():
        async with opened() as engine:
            schedule = await engine.put_schedule(
                noted, "1 hour", id="s", jitter="3 hours", overlap="allow"
            )
            assert schedule.jitter == 3 * HOUR
            await engine.clock.advance("3 days")
            page = await schedule.firings(limit=1_000)
            assert {it.outcome for it in page} == {"fired"}
            return [(it.at, it.decided_at) for it in page][::-1]

    found = await moments()
    assert found == await moments()
    assert [at for at, _ in found] == [BEGINNING + HOUR * n for n in range(1, len(found) + 1)]
    assert all(timedelta(0) <= decided - at < 3 * HOUR for at, decided in found)
    assert len({decided - at for at, decided in found}) > 20


async def test_what_finds_no_room_fires_when_there_is_some():
    async with opened(limits=Limits(create_rate=0.001, create_burst=1)) as engine:
        schedule = await engine.put_schedule(noted, "1 hour", id="s")
        await engine.clock.advance("3599 seconds")
        await engine.create(noted)
        await engine.clock.advance("10 minutes")
        assert await told(schedule) == []
        await engine.clock.advance("10 minutes")
        [fired] = await schedule.firings()
        assert (fired.at, fired.why) == (BEGINNING + HOUR, None)
        assert fired.decided_at - fired.at > timedelta(minutes=16)
        with pytest.raises(Overloaded):
            await schedule.trigger()


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("when", "day", "expected"),
    [
        ("30 2 * * *", (2030, 3, 30), ["30 02:30+01:00", "31 03:00+02:00", "01 02:30+02:00"]),
        ("30 2 * * *", (2030, 10, 26), ["26 02:30+02:00", "27 02:30+02:00", "28 02:30+01:00"]),
        ("15 * 31 3 *", (2030, 3, 31), ["31 00:15+01:00", "31 01:15+01:00", "31 03:15+02:00"]),
        ("0 2-4 27 10 *", (2030, 10, 27), ["27 02:00+02:00", "27 03:00+01:00", "27 04:00+01:00"]),
        ("*/30 2 27 10 *", (2030, 10, 27),
         ["27 02:00+02:00", "27 02:30+02:00", "27 02:00+01:00", "27 02:30+01:00"]),
        ("0 2,3 31 3 *", (2030, 3, 31), ["31 03:00+02:00"]),
    ],
)  # fmt: skip
async def test_s6_where_the_clock_is_changed(when, day, expected):
    async with opened() as engine:
        begin = datetime(*day, tzinfo=BERLIN) - timedelta(seconds=1)
        await engine.clock.advance(begin - BEGINNING)
        schedule = await engine.put_schedule(
            noted, when, id="s", timezone="Europe/Berlin", overlap="allow"
        )
        times = [f"{it:%d %H:%M}{it.isoformat()[-6:]}" for it in schedule.next_times(4)]
        assert times[: len(expected)] == expected
        await engine.clock.advance("3 days")
        fired = [it.at.astimezone(BERLIN) for it in await schedule.firings()][::-1]
        fired = [f"{it:%d %H:%M}{it.isoformat()[-6:]}" for it in fired]
        assert fired[: len(expected)] == expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("0 0 * * *", ["02 04:00", "03 04:00", "04 03:00"]),
        ("*/30 0 * * *", ["02 04:00", "02 04:30", "04 03:00", "04 03:30"]),
        ("*/30 * 3 9 *", ["03 04:00", "03 04:30", "03 05:00"]),
        ("*/60 1 * * SUN", ["03 04:00", "10 04:00"]),
        ("*/30 1 3 * *", ["03 04:00", "03 04:30", "03 04:00", "03 04:30"]),
        ("*/30 1 * 9 0,1,6", ["02 05:00", "02 05:30", "03 04:00", "03 04:30", "04 04:00"]),
        ("30 */2 * * SUN", ["03 05:30", "03 07:30"]),
    ],
)
async def test_s6_where_the_clock_is_changed_at_midnight(when, expected):
    async with opened() as engine:
        while (left := datetime(2034, 9, 2, tzinfo=UTC) - engine.clock.now()) > timedelta(0):
            await engine.clock.advance(min(left, timedelta(days=365)))
        zone = "America/Santiago"
        schedule = await engine.put_schedule(noted, when, id="s", timezone=zone)
        times = [f"{it.astimezone(UTC):%d %H:%M}" for it in schedule.next_times(len(expected))]
        assert times == expected


@pytest.mark.parametrize(
    ("month", "when", "expected"),
    [
        (4, "*/20 2 2 4 *", ["01 15:30", "01 15:50", "01 16:10"]),  # at two it is half past one
        (9, "30 * 1 10 *", ["30 14:00", "30 15:00", "30 15:30", "30 16:30"]),  # and half past two
    ],
)
async def test_s6_where_the_clock_is_changed_by_half_an_hour(month, when, expected):
    async with opened() as engine:
        begin = datetime(2034, month, 1, tzinfo=UTC)
        while (left := begin - engine.clock.now()) > timedelta(0):
            await engine.clock.advance(min(left, timedelta(days=365)))
        zone = "Australia/Lord_Howe"
        schedule = await engine.put_schedule(noted, when, id="s", timezone=zone)
        times = [f"{it.astimezone(UTC):%d %H:%M}" for it in schedule.next_times(9)]
        assert times[times.index(expected[0]) :][: len(expected)] == expected


REFUSED = [
    ({"when": "0 2 * *"}, "is not five fields"),
    ({"when": "0 0 2 * * *"}, "is not five fields"),
    ({"when": "@daily"}, "names such as @daily are not known"),
    ({"when": "61 2 * * *"}, "is no cron expression: bad minute"),
    ({"when": "0 2 * * MONDAY"}, "is no cron expression: bad day-of-week"),
    ({"when": "0 0 31 4 *"}, "bad day-of-month"),
    ({"when": "0 0 30 2 */8"}, "day"),
    ({"when": "0 0 * 2 MON#5/2"}, "is no cron expression"),
    ({"when": "*" * 300}, "has 300 characters"),
    ({"when": "sometimes"}, "is neither a cron expression of five fields"),
    ({"when": None}, "is neither a cron expression"),
    ({"when": "500 ms"}, "an interval is at least 1 second"),
    ({"when": 0}, "an interval is at least 1 second"),
    ({"timezone": "Mars/Olympus"}, "timezone='Mars/Olympus' is no time zone"),
    ({"timezone": "../etc/passwd"}, "is no time zone"),
    ({"timezone": None}, "is no time zone"),
    ({"catch_up": "some"}, "catch_up='some' is none of 'skip', 'one', 'all'"),
    ({"overlap": True}, "overlap=True is none of"),
    ({"jitter": "-1 hour"}, "jitter='-1 hour' is not a duration"),
    ({"actor": ""}, "actor"),
]


@pytest.mark.parametrize(("bad", "text"), REFUSED)
async def test_what_is_malformed_is_refused_before_anything_is_written(bad, text):
    async with opened() as engine:
        good = {"when": "1 hour", "id": "s"}
        with pytest.raises((InvalidConfig, InvalidName), match=re.escape(text)):
            await engine.put_schedule(noted, **{**good, **bad})
        assert await engine.schedules() == []
        assert len(await engine.audit()) == 0


async def test_what_else_is_refused():
    async with opened() as engine:
        with pytest.raises(InvalidName, match="schedule id"):
            await engine.put_schedule(noted, "1 hour", id="a b")
        with pytest.raises(InvalidConfig, match="is not registered"):
            await engine.put_schedule("nobody", "1 hour", id="s")
        with pytest.raises(NotSerializable):
            await engine.put_schedule(noted, "1 hour", id="s", params=object())
        schedule = await engine.put_schedule(noted, "1 second", id="s")
        with pytest.raises(InvalidConfig, match=r"end=.* is before start="):
            await schedule.backfill(BEGINNING, BEGINNING - HOUR)
        with pytest.raises(InvalidConfig, match="has no timezone"):
            await schedule.backfill(datetime(2030, 1, 1), BEGINNING)
        with pytest.raises(InvalidConfig, match="more than 1,000 times"):
            await schedule.backfill(BEGINNING - HOUR, BEGINNING)
        with pytest.raises(InvalidConfig, match="is ahead of now"):
            await schedule.backfill(BEGINNING, BEGINNING + HOUR)
        with pytest.raises(InvalidConfig, match="n=0"):
            schedule.next_times(0)
        with pytest.raises(InvalidConfig, match="cursor"):
            await schedule.firings(cursor="x")
    with pytest.raises(EngineClosed):
        await schedule.pause()


async def test_ids_of_long_schedules_are_short_enough_and_differ():
    async with opened() as engine:
        for tail in "ab":
            await engine.put_schedule(noted, "1 hour", id="x" * 99 + tail)
        await engine.clock.advance("1 hour")
        found = [it.id for it in await engine.list()]
        assert len(set(found)) == 2
        assert all(len(it) <= 100 for it in found)


def test_blocking_programs_have_schedules(tmp_path):
    with sync.Engine(tmp_path / "s.db", workflows=[noted]) as engine:
        schedule = engine.put_schedule(noted, "30 4 * * *", id="s")
        assert type(schedule) is sync.Schedule
        made = schedule.trigger()
        assert type(made) is sync.Instance
        assert made.result() == ["nothing", "s"]
        assert engine.schedules() == [schedule]
        assert type(engine.schedules()[0]) is sync.Schedule
        assert [it.why for it in schedule.firings()] == ["trigger"]
        assert len(schedule.next_times(3)) == 3
        schedule.pause()
        assert engine.schedules()[0].paused_at is not None
        schedule.resume()
        now = datetime.now(UTC)
        assert len(schedule.backfill(now - timedelta(days=2), now, dry_run=True)) == 2
        schedule.delete()


async def test_asyncio_programs_have_schedules(tmp_path):
    import asyncio

    async def main():
        async with aio.Engine(tmp_path / "s.db", workflows=[noted]) as engine:
            schedule = await engine.put_schedule(noted, "30 4 * * *", id="s")
            assert type(schedule) is aio.Schedule
            made = await schedule.trigger()
            assert await made.result() == ["nothing", "s"]
            assert await engine.schedules() == [schedule]
            assert len(schedule.next_times(3)) == 3
            assert [it.why for it in await schedule.firings()] == ["trigger"]
            await schedule.pause()
            await schedule.resume()
            now = datetime.now(UTC)
            assert len(await schedule.backfill(now - timedelta(days=2), now, dry_run=True)) == 2
            await schedule.delete()

    await trio.to_thread.run_sync(asyncio.run, main())


async def test_other_processes_have_schedules(tmp_path):
    path = tmp_path / "s.db"
    async with Engine(path, workflows=[noted]), Client(path, timeout=5) as client:
        schedule = await client.put_schedule(noted, "30 4 * * *", id="s", params="x", actor="ann")
        named = await client.put_schedule("noted", "5 minutes", id="t", params="y")
        assert (schedule.version, named.version) == (None, None)
        assert [it.id for it in await client.schedules()] == ["s", "t"]
        assert await (await schedule.trigger()).result() == ["x", "s"]
        assert await (await named.trigger()).result() == ["y", "t"]
        await schedule.pause()
        assert (await client.schedules())[0].paused_at is not None
        await schedule.resume()
        assert len(schedule.next_times(3)) == 3
        now = datetime.now(UTC)
        assert len(await schedule.backfill(now - timedelta(days=2), now, dry_run=True)) == 2
        assert [it.why for it in await schedule.firings()] == ["trigger"]
        with pytest.raises(InvalidConfig, match="ahead of now"):
            await schedule.backfill(now, now + HOUR)
        await named.delete()
        with pytest.raises(InvalidConfig, match="no schedule"):
            await named.pause()
        assert [it.id for it in await client.list(schedule="s")] != []


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"when": "0 0 0 * *"}, "is no cron expression"),
        ({"when": "0  2 * * *"}, "is not spelled as a schedule keeps it"),
        ({"when": 999}, "at least 1 second"),
        ({"timezone": "Mars"}, "no time zone"),
        ({"jitter": -1}, "jitter"),
        ({"workflow": "nobody"}, "not registered"),
        ({"version": "9"}, "not registered"),
        ({"params": b"\xff"}, "params cannot be read"),
    ],
)
async def test_what_a_client_makes_up_is_refused(tmp_path, changed, text):
    path = tmp_path / "s.db"
    async with Engine(path, workflows=[noted]) as engine, Client(path, timeout=5) as client:
        good = await engine.put_schedule(noted, "30 4 * * *", id="s")
        plan = good._row.plan._replace(**changed)
        with pytest.raises(InvalidConfig, match=text):
            await client._desk.put_schedule("default", "t", plan, (None, None))
        assert len(await engine.schedules()) == 1
