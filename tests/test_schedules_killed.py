"""kill -9 around firings: each time of a schedule creates one instance, with its row, whenever the
process dies. Time is virtual; the kill strikes wherever a hundred schedules are just then."""

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from stepwell import workflow
from stepwell.testing import TestEngine

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCHEDULES, KILLS = 100, 12


@workflow
async def noted(step):
    await step.do(int, name="note")


def engine_at(store, now: datetime) -> TestEngine:
    """A test engine whose clock begins at this time, as one that is opened then."""
    engine = TestEngine(store, seed=0, autojump=False, workflows=[noted])
    engine._virtual_time = round(
        (now - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)
    )
    return engine


async def child(store: str, now: str) -> None:
    """Fires minute by minute until it is killed, and says when it is."""
    async with engine_at(store, datetime.fromisoformat(now)) as engine:
        for number in range(SCHEDULES):
            await engine.put_schedule(
                noted, "1 minute", id=f"s{number}", catch_up="all", overlap="allow"
            )
        while True:
            await engine.clock.advance("1 minute")
            print(engine.clock.now().isoformat(), flush=True)


@pytest.mark.slow
async def test_each_time_fires_once_whenever_the_process_is_killed(tmp_path):
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    dice, store, now = random.Random(seed), tmp_path / "s.db", BEGINNING
    for _ in range(KILLS):
        command = [sys.executable, __file__, str(store), now.isoformat()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process:
            for _ in range(dice.randint(1, 4)):
                line = await trio.to_thread.run_sync(process.stdout.readline)
                now = datetime.fromisoformat(line.strip())
            # some of the next ones are done
            for _ in range(dice.randint(0, 20_000)):
                pass
            process.kill()
        now += MINUTE * dice.choice([1.5, 1.5, 7])
    async with engine_at(store, now) as engine:
        await engine.clock.settled()
        schedules = await engine.schedules()
        assert len(schedules) == SCHEDULES
        for schedule in schedules:
            page = await schedule.firings(limit=1_000)
            assert {(it.outcome, it.why) for it in page} == {("fired", None)}
            times = sorted(it.at for it in page)
            first = schedule.created_at + MINUTE
            assert times == [first + MINUTE * n for n in range(len(times))]
            assert times[-1] + MINUTE > now
            made = await engine.list(schedule=schedule.id, limit=1_000)
            assert sorted(it.id for it in made) == sorted(it.id for it in page if it.id)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    trio.run(child, *sys.argv[1:])
