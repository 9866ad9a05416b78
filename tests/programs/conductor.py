"""Lets a program meet its fate: releases steps, sends events, moves time, crashes; and watches that it goes on.

Everything is drawn from the fate's seed, trio's shuffling included, so one program and one fate always give the same
run. A program that is at rest, with nothing left that could come, and has not ended is stuck: that is a failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from stepwell import EngineClosed, Instance, _rest

from . import interpret, interpret_asyncio, oracle
from .interpret import TYPES, Life, World
from .nodes import Fate, Program
from .seam import Mortal

HOUR_US = 3_600_000_000
ROUNDS_MAX = 3_000
RESCUES_MAX = 60
HANGS_AFTER = 100
"""Seconds, a hundred times what any program takes."""


class Failed(AssertionError):
    """A program did what it must not."""


def check(program: Program, fate: Fate) -> World:
    """Runs a program through its fate.

    Raises:
        Failed: Something does not hold; the text says what.
    """
    world = interpret.world = World(program)
    scheduler: Any = trio._core._run
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r, _rest.PARK_AFTER_US
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = True, random.Random(fate.seed)
    _rest.PARK_AFTER_US = int(fate.park_after * 1e6)
    try:
        trio.run(Conductor(world, fate).run)
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r, _rest.PARK_AFTER_US = before
    return world


class Conductor:
    """One program and its fate."""

    def __init__(self, world: World, fate: Fate) -> None:
        self.world = world
        self.fate = fate
        self.chance = random.Random(fate.seed + 1)
        self.sent: list[int] = []
        self.instance: Instance[Any] | None = None
        self.rounds = 0
        self.rescues = 0
        self.workflows = (interpret_asyncio if fate.runtime == "asyncio" else interpret).WORKFLOWS
        self.main = self.workflows[0]

    async def run(self) -> None:
        engine = Mortal(self.workflows, self.fate.cuts, self.fate.seed, self.fate.hold)
        try:
            async with engine, trio.open_nursery() as nursery:
                self.engine, self.nursery = engine, nursery
                with trio.move_on_after(HANGS_AFTER) as scope:
                    await self._run()
                nursery.cancel_scope.cancel()
                if scope.cancelled_caught:
                    raise Failed("it hangs: something goes on for ever, or a body does not unwind")
        except* Failed as group:
            raise group.exceptions[0] from None
        finally:
            engine.let_go()

    async def _run(self) -> None:
        self.nursery.start_soon(self._create)
        await self._until_ended()
        self.engine.spare()
        for _ in range(2):
            await self.engine.crash()
            await self._settled()
            await self._until_ended()
            self._compare()
            problem = oracle.shorter(self.world.lives["main"])
            if problem is not None:
                raise Failed(problem)
        instance: Instance[Any] = await self._asked(self.engine.get, self.main, "main")
        records = await self._asked(instance.history)
        self._fail(oracle.twice(records), oracle.events(self.world, self.sent, "main"))
        self.nursery.start_soon(self._send, "end", 0)
        await self._settled()
        self._value(await self._asked(instance.result))

    def _value(self, value: Any) -> None:
        try:
            must = oracle.expected(self.world.program)
        except oracle.Unknown:
            return
        if value != must:
            raise Failed(f"it returned {value}, and must return {must}")

    def _compare(self) -> None:
        for id, lives in self.world.lives.items():
            problem = oracle.disagreement(lives)
            if problem is not None:
                raise Failed(f"{id}: {problem}")
        self._fail(*self.world.problems)

    def _fail(self, *problems: str | None) -> None:
        for problem in problems:
            if problem is not None:
                raise Failed(problem)

    # What happens.

    async def _until_ended(self) -> None:
        """Lets things happen until the program has ended and nothing more can come."""
        while True:
            await self._settled()
            self.rounds += 1
            if self.rounds > ROUNDS_MAX:
                raise Failed("it runs for ever")
            cut = self.engine.cut
            if self.engine.seam.dead or (cut is not None and cut.kind == "rest" and self.rounds >= cut.at):
                await self.engine.crash()
                continue
            await self._not_blocked()
            possible = self._possible()
            if not possible:
                if self._life is not None and self._life.ended:
                    return
                self._rescue()
            for _ in range(self.chance.randint(1, self.fate.burst)):
                possible = self._possible()
                if possible:
                    self.chance.choice(possible)()

    @property
    def _life(self) -> Life | None:
        lives = self.world.lives.get("main")
        return lives[-1] if lives else None

    def _possible(self) -> list[Callable[[], None]]:
        possible: list[Callable[[], None]] = []
        if self.world.gates:
            possible.append(self._release)
            possible.append(self._release)
        timer, now = self.engine.seam.next_timer(), self.engine.seam.now()
        if timer is not None and timer - now < HOUR_US:
            possible.append(lambda: self.engine.seam.advance(timer))
        if len(self.sent) < self.fate.events and not (self._life is not None and self._life.over):
            possible.append(self._event)
            if self.world.gates:
                possible += [self._contest] * 3
        return possible

    def _contest(self) -> None:
        """An event and a step's end in one commit: who waits for the one may be cancelled by the other (I8)."""
        self._event()
        self._release()

    def _release(self) -> None:
        self.world.gates.pop(self.chance.randrange(len(self.world.gates))).set()

    def _event(self) -> None:
        payload = oracle.FIRST_EVENT + len(self.sent)
        self.sent.append(payload)
        self.nursery.start_soon(self._send, self.chance.choice(TYPES), payload)

    def _rescue(self) -> None:
        """Nothing can happen but an event; perhaps it waits for one."""
        self.rescues += 1
        if self.rescues > RESCUES_MAX:
            raise Failed("it is stuck: nothing is left that could come")
        payload = oracle.FIRST_EVENT + len(self.sent)
        self.sent.append(payload)
        self.nursery.start_soon(self._send, TYPES[self.rescues % len(TYPES)], payload)

    async def _create(self) -> None:
        await self._again(lambda: self.engine.create(self.main, id="main", if_exists="return"))

    async def _send(self, type: str, payload: int) -> None:
        async def send() -> None:
            if self.instance is None:
                self.instance = await self.engine.get(self.main, "main")
            await self.instance.send_event(type, payload, dedup_id=f"{type}{payload}")

        await self._again(send)

    async def _again(self, what: Callable[[], Any]) -> None:
        """Does something from outside, again if a crash comes before it is acknowledged."""
        while True:
            try:
                await what()
                return
            except EngineClosed:
                continue

    async def _asked(self, what: Callable[..., Any], *args: Any) -> Any:
        """Asks the engine something, which needs its notes to be told."""
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await what(*args))

        self.nursery.start_soon(ask)
        while not answers:
            await self._settled()
        return answers[0]

    async def _settled(self) -> None:
        """Waits until nothing happens any more without time, or something from outside."""
        while True:
            await trio.testing.wait_all_tasks_blocked()
            self.engine.seam.commit()
            if not self.engine.seam.busy():
                return

    async def _not_blocked(self) -> None:
        if self.engine.peek(self.main, "main") == "blocked":
            self.engine.spare()
            instance = await self._asked(self.engine.get, self.main, "main")
            raise Failed(str(await self._asked(instance.explain)))
