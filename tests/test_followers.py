"""Whoever follows, however slowly, from wherever, over crashes and restarts of the engine, knows in
the end what there is to know, and was told no record twice."""

import random
from typing import Any

import pytest
import trio.testing

from stepwell import Status, workflow
from stepwell._engine import following
from stepwell.testing import open_test_engine

ACTIONS = 40


async def double(n: int) -> int:
    return 2 * n


@workflow
async def steps(step):
    """A step for each event, until the last."""
    n = 0
    while (await step.wait_for_event("go")).payload:
        await step.do(double, n)
        step.report(n)
        n += 1


async def quiet(engine: Any) -> None:
    """Nothing happens by itself any more."""
    while True:
        counts = await engine.count()
        if not counts["running"] and not counts["queued"]:
            break
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()


class Follower:
    """Follows all instances, and one of them; it knows what it was told, and no more."""

    def __init__(self) -> None:
        self.states: dict[str, Status] = {}
        self.cursor: str | None = None
        self.resets = 0
        self.outputs: list[int] = []
        self.state: Status | None = None
        self.place: str | None = None

    async def read_changes(self, engine: Any) -> None:
        """Reads on until it knows what there is."""
        await quiet(engine)
        now = {it.id: it.status for it in await engine.list(limit=1_000)}
        async with engine.changes(cursor=self.cursor) as changes:
            while self.states != now:
                change = await anext(changes)
                self.cursor = change.cursor
                if change.kind == "reset":
                    self.resets += 1
                else:
                    self.states[change.id] = change.status

    async def read_updates(self, instance: Any, count: int) -> None:
        """Reads on until it knows the outputs of so many steps, and the end if it has come."""
        status = (await instance.status()).status
        async with instance.watch(cursor=self.place) as updates:
            while len(self.outputs) < count or (status.is_final and self.state is not status):
                update = await anext(updates)
                self.place, self.state = update.cursor, update.status
                it = update.record
                if it is not None and (it.name, it.status) == ("double", "done"):
                    self.outputs.append(it.output)


async def act(dice: random.Random, engine: Any, made: dict[str, int]) -> None:
    """Something happens: `made` are the steps that were asked for, by instance."""
    id = dice.choice(sorted(made))
    it = await engine.get(steps, id)
    status = (await it.status()).status
    match dice.randrange(8):
        case 0:
            new = f"s-{len(made)}"
            await engine.create(steps, id=new)
            made[new] = 0
        case 1 if id != "s-0" and status is Status.WAITING:
            await it.terminate()
        case 2 if id != "s-0" and status is Status.WAITING:
            await it.pause()
        case 3 if status is Status.PAUSED:
            await it.resume()
        case _ if status is Status.WAITING:
            for _ in range(dice.choice((1, 1, 7))):
                await it.send_event("go", True)
                made[id] += 1


@pytest.mark.parametrize("seed", range(12))
async def test_a_follower_knows_what_there_is_to_know(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(following, "KEPT_MAX", 3)
    dice, follower, made = random.Random(seed), Follower(), {"s-0": 0}
    at_start, left = True, ACTIONS
    while left:
        async with open_test_engine(
            workflows=[steps], store=tmp_path / "s.db", autojump=False
        ) as engine:
            if at_start:
                at_start = False
                async with engine.changes() as changes:
                    await engine.create(steps, id="s-0")
                    first = await anext(changes)
                follower.cursor, follower.states = first.cursor, {first.id: first.status}
            watched = await engine.get(steps, "s-0")
            life = dice.randrange(1, 15)
            for _ in range(min(life, left)):
                left -= 1
                await quiet(engine)
                await act(dice, engine, made)
                if dice.randrange(4) == 0:
                    await engine.crash()
                if dice.randrange(3) == 0:
                    await quiet(engine)
                    wanted = made["s-0"] - dice.randrange(3)
                    await follower.read_updates(watched, wanted)
                if dice.randrange(3) == 0:
                    await follower.read_changes(engine)
    assert follower.resets == 0
    async with open_test_engine(
        workflows=[steps], store=tmp_path / "s.db", autojump=False
    ) as engine:
        await follower.read_changes(engine)
        watched = await engine.get(steps, "s-0")
        await watched.send_event("go", False)
        await watched.result()
        await follower.read_updates(watched, made["s-0"])
        assert follower.state is Status.COMPLETE
    assert follower.outputs == [2 * n for n in range(made["s-0"])]
