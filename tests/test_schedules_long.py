"""Schedules over years of virtual time, in which the engine crashes, stands still, has its clock
put forward and back, and somebody pauses and triggers; then a naive judge goes through what is
told.

`STEPWELL_SCHEDULES` schedules over `STEPWELL_SCHEDULE_YEARS` years: 25 over one for every change;
docs/reliability.md says how two thousand went over ten.
"""

import os
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from schedules_judge import Judge, Put, Wrong, cron_times

from stepwell import Retention, workflow
from stepwell.testing import open_test_engine

SCHEDULES = int(os.environ.get("STEPWELL_SCHEDULES", "25"))
YEARS = float(os.environ.get("STEPWELL_SCHEDULE_YEARS", "1"))
SEED = int(os.environ.get("STEPWELL_SEED", "1"))
BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata",
    "America/Santiago", "Africa/Casablanca", "Pacific/Auckland",
)  # fmt: skip
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def expression(dice: random.Random) -> str:
    """One that fires some fifty times a year at most."""
    minute = dice.choice(["0", "30", "15,45", "59", "*/30", "7"])
    hour = dice.choice(["2", "1-3", "0", "3", "23", "12"])
    day, weekday = dice.choice(
        [
            ("1", "*"),
            ("15,28", "*"),
            ("*", "SUN"),
            ("*", "1"),
            ("31", "*"),
            ("13", "5"),
            ("*/9", "6"),
        ]
    )
    if weekday in ("SUN", "1") or day == "15,28":
        minute, hour = minute.replace("15,45", "15").replace("*/30", "*/60"), hour.split("-")[0]
    month = dice.choice(["*", "*", "3,10", "1-6/2"])
    return f"{minute} {hour} {day} {month} {weekday}"


def drawn(dice: random.Random, number: int) -> dict:
    """What a schedule is put with."""
    when = (
        expression(dice)
        if dice.random() < 0.7
        else DAY * dice.randint(5, 40) + HOUR * dice.random()
    )
    return {
        "when": when,
        "timezone": dice.choice(ZONES),
        "catch_up": dice.choice(["skip", "one", "all"]),
        "overlap": dice.choice(["skip", "queue", "allow", "replace"]),
        "jitter": dice.choice([timedelta(0), timedelta(0), HOUR, DAY * 12]),
        "id": f"s{number}",
    }


class Story:
    """What happened, for the judge."""

    def __init__(self, dice: random.Random, engine) -> None:
        self.dice, self.engine = dice, engine
        self.openings = [engine.clock.now()]
        self.shaken: set[datetime] = set()
        self.gaps: list[tuple[datetime, datetime]] = []
        self.puts: list[Put] = []

    async def pass_time(self) -> None:
        """Time goes on, for some days."""
        left = DAY * self.dice.choice([1, 3, 10, 30]) * self.dice.random()
        await self.engine.clock.advance(left)

    async def crash(self) -> None:
        """The engine crashes, and opens again at once or a long time after."""
        downtime = self.dice.choice([timedelta(0), DAY * 40 * self.dice.random()])
        before = self.engine.clock.now()
        await self.engine.crash(downtime=downtime)
        self.gaps.append((before, self.engine.clock.now()))
        self.openings.append(self.engine.clock.now())
        self.shaken.add(self.engine.clock.now())
        await self.engine.clock.settled()

    async def jump(self) -> None:
        """The clock is put forward, or back; never to before the engine was opened."""
        now = self.engine.clock.now()
        back = min(DAY * 3, now - self.openings[-1]) * self.dice.random()
        by = self.dice.choice([DAY * 20 * self.dice.random(), -back])
        self.engine._running().core.jump(round(by / timedelta(microseconds=1)))
        self.shaken.add(self.engine.clock.now())
        if by > timedelta(0):
            self.gaps.append((now, now + by))
        await self.engine.clock.settled()
        if by < timedelta(0):
            # to where it was: until then nothing has to be judged
            await self.engine.clock.advance(-by)
            self.shaken.add(self.engine.clock.now())

    async def pause_or_resume(self) -> None:
        """Some are paused, others resumed."""
        for it in await self.engine.schedules():
            if self.dice.random() < 0.1:
                put = self.puts[int(it.id[1:])]
                now = self.engine.clock.now()
                if it.paused_at is None:
                    await it.pause()
                    put.pauses.append([now, datetime.max.replace(tzinfo=UTC)])
                else:
                    await it.resume()
                    put.pauses[-1][1] = now

    async def trigger(self) -> None:
        """One is triggered."""
        it = self.dice.choice(await self.engine.schedules())
        await it.trigger()
        await self.engine.clock.settled()


async def all_firings(schedule):
    told, cursor = [], None
    while True:
        page = await schedule.firings(limit=1_000, cursor=cursor)
        told += page.items
        if page.cursor is None:
            return told[::-1]
        cursor = page.cursor


@pytest.mark.slow
async def test_years_of_schedules_go_by_their_rules():
    print(f"STEPWELL_SEED={SEED}")
    dice = random.Random(SEED)
    ran: list[str] = []

    @workflow(retention=Retention(success="1 day", error="1 day"))
    async def noted(step, hours: float):
        await step.do(ran.append, step.instance.id, name="note")
        await step.sleep(timedelta(hours=hours))

    async with open_test_engine([noted], autojump=False, check_arguments=False) as engine:
        story = Story(dice, engine)
        for number in range(SCHEDULES):
            await engine.clock.advance(timedelta(minutes=7.3))
            options = drawn(dice, number)
            hours = dice.choice([0.01, 5.003, 24 * 9.007])
            await engine.put_schedule(noted, params=hours, **options)
            options.pop("id")
            story.puts.append(
                Put(f"s{number}", at=engine.clock.now(), lasts=HOUR * hours, **options)
            )
        deeds = [story.crash, story.jump, story.pause_or_resume, story.trigger]
        while engine.clock.now() < BEGINNING + 365 * DAY * YEARS:
            await story.pass_time()
            await dice.choice(deeds)()
        now = engine.clock.now()
        firings, fired = 0, set()
        for put, schedule in zip(story.puts, await engine.schedules(), strict=True):
            told = await all_firings(schedule)
            judge = Judge(put, now, story.openings, story.shaken, story.gaps)
            judge.judge(told)
            firings += len(told)
            fired |= {it.id for it in told if it.id is not None}
            assert schedule.queued == len(judge.queue)
        # Each that was told has run, and nobody else; and none began its step twice but by a crash.
        assert fired == set(ran)
        print(f"{SCHEDULES} schedules, {YEARS:g} years: {firings} firings, {len(ran)} instances")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_next_times_are_those_of_a_naive_calendar(seed):
    dice = random.Random(seed)

    @workflow
    async def w(step):
        pass

    async with open_test_engine([w], autojump=False) as engine:
        day = dice.choice([(3, 29), (3, 9), (10, 26), (11, 2), (4, 6), (9, 7)])
        await engine.clock.advance(datetime(2030, *day, 11, 7, tzinfo=UTC) - BEGINNING)
        now = engine.clock.now()
        for number in range(40):
            minute = dice.choice(["0", "30", "15,45", "*/20", "7-9", "59", "*/7"])
            hour = dice.choice(["2", "*", "*/3", "1-3", "0,23", "3", "2,3"])
            day = dice.choice(["*", "*/2", "1-15", "28-31"])
            when = f"{minute} {hour} {day} * {dice.choice(['*', 'SUN', '1-5', '0,7'])}"
            zone = dice.choice(ZONES)
            schedule = await engine.put_schedule(w, when, id=f"s{number}", timezone=zone)
            expected = cron_times(when, ZoneInfo(zone), now, now + 5 * DAY)
            found = [it.astimezone(UTC) for it in schedule.next_times(max(1, len(expected)))]
            assert found[: len(expected)] == expected, (when, zone)
            await schedule.delete()


def test_the_judge_finds_what_cannot_be():
    class Told:
        def __init__(self, at, decided_at, outcome="fired", why=None, until=None):
            self.at, self.until, self.decided_at = at, until, decided_at
            self.outcome, self.why = outcome, why

    put = Put("s", HOUR, "UTC", "one", "skip", timedelta(0), BEGINNING, HOUR * 1.5)
    one, two, three = (BEGINNING + HOUR * n for n in (1, 2, 3))
    good = [Told(one, one), Told(two, two, "skipped", "overlap"), Told(three, three)]
    now = three + HOUR / 2
    Judge(put, now, [BEGINNING], set()).judge(good)
    wrong = [
        good[:2],
        good[1:],
        [good[0], Told(two, two), good[2]],
        [good[0], good[1], good[1], good[2]],
        [Told(one, one, "skipped", "overlap"), *good[1:]],
        [good[0], Told(two, two, "missed", "engine_down"), good[2]],
        [Told(one, one + HOUR / 2), *good[1:]][::-1],
    ]
    for told in wrong:
        with pytest.raises(Wrong):
            Judge(put, now, [BEGINNING], set()).judge(told)
