"""Lets a program meet its fate: releases steps, sends events, moves time, crashes; and watches that
it goes on.

Everything is drawn from the fate's seed, trio's shuffling included, so one program and one fate
always give the same run. A program that is at rest, with nothing left that could come, and has not
ended is stuck: that is a failure.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from stepwell import EngineClosed, Instance, InstanceNotFound, InvalidState
from stepwell._body import rest

from . import interpret, interpret_asyncio, oracle
from .interpret import TYPES
from .nodes import Cut, Fate, Program
from .seam import Mortal
from .told import Told
from .world import Life, World

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
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r, rest.PARK_AFTER_US
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = True, random.Random(fate.seed)
    rest.PARK_AFTER_US = int(fate.park_after * 1e6)
    try:
        trio.run(Conductor(world, fate).run)
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r, rest.PARK_AFTER_US = before
    return world


class Conductor:
    """One program and its fate."""

    engine: Mortal
    nursery: trio.Nursery

    def __init__(self, world: World, fate: Fate) -> None:
        self.world = world
        self.fate = fate
        self.chance = random.Random(fate.seed + 1)
        self.sent: list[int] = []
        self.told = Told()
        self.asking: set[str] = set()
        self.instance: Instance[Any] | None = None
        self.rounds = 0
        self.rescues = 0
        self.pauses = fate.pauses
        self.is_paused = self.is_acting = False
        self.acts = list(fate.acts)
        self.goes_on: trio.Event | None = None
        """Of one that was terminated: set when it is restarted."""
        self.restarts = 0
        world.runs_max = fate.runs
        self.workflows = (interpret_asyncio if fate.runtime == "asyncio" else interpret).WORKFLOWS
        self.main = self.workflows[0]
        self.is_open, self.leaving = trio.Event(), trio.Event()
        self.is_left = False
        world.moment = lambda: self.engine.seam.observes()

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                with trio.move_on_after(HANGS_AFTER) as scope:
                    nursery.start_soon(self._engines)
                    await self.is_open.wait()
                    await self._run()
                if scope.cancelled_caught:
                    raise Failed("it hangs: something goes on for ever, or a body does not unwind")
                nursery.cancel_scope.cancel()
        except* Failed as group:
            raise group.exceptions[0] from None
        finally:
            for thread in list(self.world.threads):
                self.world.let_go(thread)
            self.engine.let_go()

    async def _run(self) -> None:
        self.nursery.start_soon(self._create)
        await self._until_ended()
        self.engine.spare()
        for in_order in (False, True):
            await (self._left() if in_order else self._crashed())
            await self._settled()
            await self._until_ended()
            self._compare()
            problem = oracle.shorter(self.world.lives["main"])
            if problem is not None:
                raise Failed(problem)
        instance: Instance[Any] = await self._asked(self.engine.get, self.main, "main")
        records = await self._asked(instance.history)
        self._fail(
            oracle.twice(records),
            oracle.abandoned(self.world, records),
            oracle.events(self.world, self.sent),
        )
        self.nursery.start_soon(self._send, "end", 0)
        await self._settled()
        self._value(await self._asked(instance.result))

    # Engines and their ends.

    async def _engines(self) -> None:
        """One engine after the other, each left when its cut has come."""
        engine: Mortal | None = None
        while True:
            self.engine = self._successor(engine)
            async with self.engine as engine:
                self.is_left, self.leaving, self.instance = False, trio.Event(), None
                self.is_open.set()
                try:
                    await self.leaving.wait()
                except trio.Cancelled:
                    self._hurry()
                    raise
                cut = engine.cut or Cut()
                self.nursery.start_soon(self._drains, engine, cut)
            self._forget_turns(set())
            self.world.lives_again(in_order=not cut.dies, engine=True)
            if cut.stumbles:
                engine = await self._stumbled(engine)

    async def _stumbled(self, old: Mortal) -> Mortal:
        """The opening of the next engine is cancelled."""
        self.engine = old
        with trio.CancelScope() as scope:
            old = self._successor(old, scope.cancel)
            async with old:
                raise Failed("an engine is open though its opening was cancelled")
        self.world.lives_again(in_order=True, engine=True)
        old.cuts.insert(0, Cut())  # what is still to come is for the next one
        return old

    def _successor(self, old: Mortal | None, stumble: Callable[[], None] | None = None) -> Mortal:
        return Mortal(self.workflows, self.fate, self._leaves, old, stumble)

    def _leaves(self) -> None:
        """The engine is left now, whatever it is about."""
        if not self.is_left:
            self.is_open, self.is_left = trio.Event(), True
            self.leaving.set()

    async def _left(self) -> None:
        self._leaves()
        await self.is_open.wait()

    async def _crashed(self) -> None:
        self._dies()
        await self.engine.crash()
        self.world.lives_again(in_order=False, engine=False)

    async def _drains(self, old: Mortal, cut: Cut) -> None:
        """What happens while an engine drains: some go on to their end; then the grace is over, or
        the process dies."""
        for _ in range(cut.grace):
            await self._settled()
            possible = self._releases()
            if _has_drained(old) or not possible:
                break
            self.chance.choice(possible)()
        await self._settled()
        if not _has_drained(old):  # else the next one may be open by now
            if cut.dies:
                old.seam.dead = old.seam.mute = True
            self._hurry()

    def _hurry(self) -> None:
        self.engine.seam.hurry()
        self._dies()
        self.engine._hurry()

    def _dies(self) -> None:
        """What runs is cut short."""
        self._forget_turns(
            {
                it.operation.life.who.id
                for it in self.engine._running().borrowed.threads
                if it.operation.is_cancelled
            }
        )
        self.world.dies()

    def _forget_turns(self, cancelled: set[str]) -> None:
        """If steps were cancelled in the last turn, nobody knows in the next life which of them
        were under way and which waited for a thread, for a retry or for the commit of their
        outcome: that would be recorded in the next commit. The next life may wait for other ones,
        so what the lines saw in this turn may come in another order there (ADR 0017).

        Args:
            cancelled: Instances with threads whose steps were cancelled at any time.
        """
        for id, lives in self.world.lives.items():
            if lives[-1].unsure or id in cancelled:
                lives[-1].forget_turn()
            if lives[-1].on_its_way:
                self.world.unsure.add(self.world.life)

    def _value(self, value: Any) -> None:
        try:
            must = oracle.expected(self.world.program)
        except oracle.Unknown:
            return
        if value != must:
            raise Failed(f"it returned {value}, and must return {must}")

    def _compare(self) -> None:
        past = [("main, before it began anew", lives) for lives in self.world.past]
        for id, lives in [*self.world.lives.items(), *past]:
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
            if not self.is_left:
                self.engine.seam.rests(self.rounds)
            if self.is_left:
                await self.is_open.wait()
                continue
            if self.engine.seam.is_cut:
                await self._crashed()
                continue
            self._fail(*self.world.problems)
            await self._not_blocked()
            self._poll()
            possible = self._possible()
            if not possible and not self.is_acting:
                if self.goes_on is not None:
                    raise Failed("it is stuck: it was terminated, and does not end")
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

    @property
    def _was_over(self) -> bool:
        """Whether the program has ended in any life: one that is paused may not come to its end
        again."""
        return any(life.over for life in self.world.lives.get("main", ()))

    def _releases(self) -> list[Callable[[], None]]:
        """What an attempt may do: come to its end."""
        return [self._release] * 2 * bool(self.world.gates) + [self._release_thread] * 2 * bool(
            self.world.threads
        )

    def _possible(self) -> list[Callable[[], None]]:
        possible = self._releases()
        timer, now = self.engine.seam.next_timer(), self.engine.seam.now()
        if timer is not None and timer - now < HOUR_US:
            possible.append(lambda: self.engine.seam.advance(timer))
        if self.goes_on is not None:
            if not self.is_acting and self.engine.peek(self.main, "main") is None:
                possible.append(lambda: self._begin("restart"))
            return possible
        # what ends forgets the events that it was not told of
        may_end = any(act != "restart" for act in self.acts)
        if len(self.sent) < self.fate.events and not self._was_over and not may_end:
            possible.append(self._event)
            if self.world.gates:
                possible += [self._contest] * 3
        if not self.is_acting and (self.is_paused or self.pauses):
            possible.append(self._pause_or_resume)
        if not self.is_acting and self.acts and self._life is not None:
            possible.append(lambda: self._begin(self.acts.pop(0)))
        return possible

    def _pause_or_resume(self) -> None:
        """Somebody pauses the instance, whatever it is at, or lets it go on."""
        self.pauses -= not self.is_paused
        self._begin("resume" if self.is_paused else "pause")

    def _begin(self, verb: str) -> None:
        self.is_acting = True
        if verb in ("terminate", "undo"):
            self.goes_on = trio.Event()
        self.nursery.start_soon(self._act, verb)

    async def _act(self, verb: str) -> None:
        async def act() -> None:
            with contextlib.suppress(InstanceNotFound):
                instance = await self.engine.get(self.main, "main")
                # what is undone is not driven on, as what is paused
                self.world.was_paused |= verb in ("pause", "undo")
                await self._do(instance, verb)
                self.is_paused = verb == "pause"

        await self._again(act)
        self.is_acting = False

    async def _do(self, instance: Instance[Any], verb: str) -> None:
        match verb:
            case "restart":
                self.world.is_still = False
                before = len(self.world.seeds)
                await instance.restart()
                self._restarted(before)
            case "terminate" | "undo":
                # it has ended if an engine has died before that was told
                with contextlib.suppress(InvalidState):
                    await instance.terminate(undo=verb == "undo")
                self.world.is_still = True
            case _:
                await getattr(instance, verb)()

    def _restarted(self, before: int) -> None:
        if len(self.world.seeds) == before:  # else its body has begun before this was told
            self.world.restarted()
        self.told.forget("main")
        self.restarts += 1
        if self.goes_on is not None:
            self.goes_on.set()
            self.goes_on = None

    def _contest(self) -> None:
        """An event and a step's end in one commit: who waits for the one may be cancelled by the
        other (I8)."""
        self._event()
        self._release()

    def _release(self) -> None:
        self.world.gates.pop(self.chance.randrange(len(self.world.gates))).set()

    def _release_thread(self) -> None:
        self.world.threads.sort(key=lambda it: (it.engine, it.label))  # they came in any order
        self.world.let_go(self.chance.choice(self.world.threads))

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
            while True:
                try:
                    await self.instance.send_event(type, payload, dedup_id=f"{type}{payload}")
                    return
                except InvalidState:
                    if self.goes_on is None:
                        raise
                    await self.goes_on.wait()

        await self._again(send)

    async def _again(self, what: Callable[[], Any]) -> None:
        """Does something from outside, again if the engine ends before it is acknowledged."""
        while True:
            await self.is_open.wait()
            try:
                await what()
                return
            except EngineClosed:
                continue

    # What is told.

    def _poll(self) -> None:
        """Asks for the state and the history of each instance, beside whatever happens next."""
        if self.fate.polls:
            for id in self.world.lives.keys() - self.asking:
                self.asking.add(id)
                self.nursery.start_soon(
                    self._look, self.main if id == "main" else self.workflows[1], id
                )

    async def _look(self, workflow: Any, id: str) -> None:
        restarts, problems = self.restarts, list[str | None]()
        try:
            instance = await self.engine.get(workflow, id)
            status, history = await instance.status(), list(await instance.history())
            if not self.is_acting and self.restarts == restarts:
                problems = [self.told.status(id, status), self.told.history(id, history)]
        except EngineClosed:
            pass
        except InstanceNotFound:
            problems = [self.told.gone(id)]
        finally:
            self.asking.discard(id)
        self.world.problems += [it for it in problems if it is not None]

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
        while not _has_drained(self.engine):
            await trio.testing.wait_all_tasks_blocked()
            if _has_drained(self.engine):
                return
            if self._threads_go_on():
                time.sleep(0.00005)
                continue
            self.engine.seam.commit()
            if not self.engine.seam.busy():
                return

    def _threads_go_on(self) -> bool:
        """Whether a thread has been begun or let go, and does not wait or has not been given
        back."""
        borrowed, world = self.engine._running().borrowed, self.world
        return bool(world.going) or len(borrowed.threads) > sum(
            it.engine == world.engine for it in world.threads
        )

    async def _not_blocked(self) -> None:
        if self.engine.peek(self.main, "main") == "blocked":
            self.engine.spare()
            instance = await self._asked(self.engine.get, self.main, "main")
            raise Failed(str(await self._asked(instance.explain)))


def _has_drained(engine: Mortal) -> bool:
    return engine._driver is None or engine._driver.drained
