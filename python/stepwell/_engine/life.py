"""The life of an open engine: one task that opens it, hosts its tasks until it is left, and closes
it.

It is a task of trio's system, where neither Ctrl-C nor a cancellation of the program strikes: an
engine is never half open, and never half closed. Whoever opens or leaves the engine waits for this
task. What strikes there meanwhile, a deadline, a failing sibling or Ctrl-C, makes haste here, and
is raised there once this has come to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .._ending import End
from . import collector
from .unwinding import end_all, leave_behind

if TYPE_CHECKING:
    from .._errors import StepwellError
    from .driver import Driver


class Life:
    """One engine from before it is open until after it is closed.

    Args:
        opens: Opens the store; returns the driver of it.
        closes: Closes it, once nothing of the engine runs any more; returns what failed, if
            anything.
        grace: Seconds that running attempts have when the engine is left.

    Attributes:
        block: The scope of the `async with` block; a failure of the engine cancels it.
        nursery: Of the engine's tasks.
        closing_failed: What `closes` returned.
        leaving: Set when the engine is to end, be it open yet or not.
    """

    nursery: trio.Nursery

    def __init__(
        self,
        opens: Callable[[], Awaitable[Driver]],
        closes: Callable[[Driver], Awaitable[StepwellError | None]],
        grace: float,
    ) -> None:
        self.block = trio.CancelScope()
        self.closing_failed: StepwellError | None = None
        self._opens = opens
        self._closes = closes
        self._grace = grace
        self._is_parents = False
        self._driver: Driver | None = None
        self._opening_failed: BaseException | None = None
        self._opened = trio.Event()
        self.leaving = trio.Event()
        self._over = trio.Event()

    # Whoever has the engine.

    @enable_ki_protection
    async def begin(self) -> None:
        """Waits until the engine is open; raises what opening it does. One who is struck meanwhile
        finds it closed again."""
        await trio.lowlevel.checkpoint_if_cancelled()  # then nothing is opened
        trio.lowlevel.spawn_system_task(self._run, context=copy_context())
        try:
            await self._opened.wait()
        except BaseException:
            self.hurry()
            await self.end()
            raise
        if self._opening_failed is not None:
            raise self._opening_failed

    @enable_ki_protection
    async def end(self) -> None:
        """Leaves the engine, and waits until it is closed. Ctrl-C meanwhile ends the grace, and is
        raised then."""
        self.leaving.set()
        struck: KeyboardInterrupt | None = None
        with trio.CancelScope(shield=True):
            while not self._over.is_set():
                try:
                    await self._over.wait()
                except KeyboardInterrupt as error:
                    struck = error
                    self.hurry()
        if struck is not None:
            raise struck

    def hurry(self) -> None:
        """Attempts that run are waited for no longer, now or when the engine is left."""
        self._grace = 0.0
        if self._driver is not None:
            self._driver.drain.grace.cancel()

    async def abandon(self) -> None:
        """Ends the engine's tasks in a forked child: the engine is the parent's, who goes on;
        nothing is drained and nothing closed."""
        assert self._driver is not None, "it was open"
        self._is_parents = True
        with trio.CancelScope(shield=True):
            await end_all(self._driver, End.STOPPED)
            self.nursery.cancel_scope.cancel()
            await self._over.wait()

    # The task.

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._outlive_main)
            with trio.CancelScope(shield=True):
                await self._live()
            nursery.cancel_scope.cancel()

    @enable_ki_protection
    async def _outlive_main(self) -> None:
        """The main task of trio may end without having left the engine."""
        try:
            await trio.sleep_forever()
        finally:
            self.hurry()
            self.leaving.set()

    async def _live(self) -> None:
        try:
            driver = self._driver = await self._opens()
        # whoever opens is told; nothing may leave a task of the system
        except BaseException as error:
            self._opening_failed = error
        else:
            if not self.leaving.is_set():
                await self._host(driver)
            if not (self._is_parents or self._over.is_set()):
                self.closing_failed = await self._closes(driver)
        self._opened.set()
        self._over.set()

    async def _host(self, driver: Driver) -> None:
        try:
            with collector.patient() as driver.patience, driver.watchdog:
                async with trio.open_nursery() as self.nursery:
                    driver.nursery = self.nursery
                    self.nursery.start_soon(self._watched, driver, driver.keeper.run)
                    self.nursery.start_soon(self._watched, driver, driver.callers.run)
                    self.nursery.start_soon(self._watched, driver, driver.run)
                    self.nursery.start_soon(self._watched, driver, driver.drain.run)
                    if driver.depot is not None:
                        self.nursery.start_soon(self._watched, driver, driver.depot.run)
                    if driver.server is not None:
                        driver.server.open()
                        self.nursery.start_soon(self._watched, driver, driver.server.run)
                    self._opened.set()
                    await self.leaving.wait()
                    await self._empty(driver)
                    self.nursery.cancel_scope.cancel()
                    if driver.left and not self._is_parents:
                        await self._leave_behind(driver)
        except BaseException as error:
            if not self._opened.is_set():  # no memory, no descriptors: whoever opens is told
                self._opening_failed = error
                return
            driver.broke(error)
            await self.leaving.wait()

    @enable_ki_protection
    async def _watched(
        self, driver: Driver, run: Callable[..., Awaitable[None]], *args: object
    ) -> None:
        """Runs one of the engine's own tasks. It ends with all others; whatever else ends it, a
        stray cancellation too, is told (R9)."""
        try:
            await run(*args)
        except BaseException as error:
            if not self.nursery.cancel_scope.cancel_called:
                driver.broke(error)

    async def _leave_behind(self, driver: Driver) -> None:
        """Closes the engine though some of its code cannot be ended (P1): whoever leaves it is
        told, and waits for them no longer."""
        with trio.CancelScope(shield=True):
            failure = leave_behind(driver)
            self.closing_failed = await self._closes(driver) or failure
            self._over.set()

    async def _empty(self, driver: Driver) -> None:
        if driver.failure is None or driver.draining:
            driver.drain.begin(self._grace)
            await driver.drain.wait()
        if not driver.drained:
            await end_all(driver, End.STOPPED)
