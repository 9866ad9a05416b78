"""The engine of the state machine: on a thread of its own, on virtual time, asked from outside."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from stepwell import Limits, StepwellError
from stepwell.testing import TestEngine

from . import bodies

PATIENCE_S = 100
"""Far above what any call takes; whoever hangs fails."""


class World:
    """A test engine that plain functions can ask, crash, and open again."""

    engine: TestEngine

    def __init__(self, store: str, seed: int) -> None:
        bodies.stage = self.stage = bodies.Stage()
        self._store = store
        self._seed = seed
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._live,), name="world")
        self._thread.start()
        self._answer()

    async def _live(self) -> None:
        now: int | None = None
        while True:
            self.engine = TestEngine(
                self._store, workflows=bodies.CODE.values(), autojump=False, seed=self._seed,
                grace=0, limits=Limits(recoveries=1_000_000),
            )  # fmt: skip
            self.engine._virtual_time = now or self.engine._virtual_time
            async with self.engine:
                self._answers.put(None)
                again = await self._serve()
                now = self.engine._running().now()
            if not again:
                return

    async def _serve(self) -> bool:
        """Does what it is asked; returns whether the engine is to open again."""
        while True:
            job = await trio.to_thread.run_sync(self._jobs.get)
            if isinstance(job, bool):
                return job
            answer: Any
            try:
                with trio.fail_after(PATIENCE_S):
                    answer = (await job(), None)
            except Exception as error:
                answer = (None, error)
            self._answers.put(answer)

    def _answer(self) -> Any:
        return self._answers.get(timeout=2 * PATIENCE_S)

    def ask(self, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Returns what a call comes to, or raises what it raises."""
        self._jobs.put(functools.partial(call, *args, **options))
        value, error = self._answer()
        if error is not None:
            raise error
        return value

    def outcome(self, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Returns what a call comes to, or the name of the error that it raises."""
        try:
            return self.ask(call, *args, **options)
        except StepwellError as error:
            return type(error).__name__

    def settle(self) -> None:
        """Waits until nothing happens any more without time moving on, or somebody being let go
        who holds."""
        self.ask(self._settled)

    async def _settled(self) -> None:
        clock, core = self.engine.clock, self.engine._running().core
        while True:
            clock._stirred = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            if not core.busy():
                return
            await clock._stirred.wait()

    def advance(self, seconds: int) -> None:
        """Moves time on, timer by timer, also beside attempts that hold."""
        self.ask(self._advance, seconds * 1_000_000)

    async def _advance(self, by: int) -> None:
        core = self.engine._running().core
        until = core.now() + by
        while True:
            await self._settled()
            timer = core.next_timer()
            if timer is None or timer > until:
                break
            core.advance(timer)
        core.advance(until)
        await self._settled()

    async def release(self) -> None:
        """Lets all end that hold."""
        self.stage.release()

    async def crash(self) -> None:
        """Loses what was not acknowledged, and recovers."""
        await self.engine.crash()

    def reopen(self) -> None:
        """Ends the engine in order, and opens another on its store."""
        self._jobs.put(True)
        self._answer()

    def close(self) -> None:
        """Ends it for good."""
        self._jobs.put(False)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it does not end"
