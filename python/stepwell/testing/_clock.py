"""The virtual clock of a test engine, and when it may move.

Time stands still while anything happens: while the core has work, an attempt runs, or a body can go
on. Only when all of that has come to rest does it jump to the next timer (T3), by itself with
`autojump`, or up to where `advance` was told to go.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import trio
import trio.testing
from trio.lowlevel import enable_ki_protection

from .._errors import InvalidConfig, InvalidState
from .._values.durations import LAST_US, Duration, from_us, to_us

if TYPE_CHECKING:
    from .._engine.driver import Driver


_NO_END = (
    "virtual time jumped from timer to timer up to the year 9999, where Python's dates end: some "
    "instance sleeps, or tries again, without end. Send what ends it, or open the test engine with "
    "autojump=False and move the clock yourself."
)


class Clock:
    """Time as a test engine sees it. It begins at 2030-01-01 00:00 UTC and never goes back."""

    def __init__(self) -> None:
        self._driver: Driver | None = None
        self._stirred = trio.Event()

    def attach(self, driver: Driver) -> None:
        """Takes the driver whose core has the time."""
        self._driver = driver
        driver.idle = self._stir

    def _stir(self) -> None:
        self._stirred.set()

    def now(self) -> datetime:
        """Returns the time."""
        return from_us(self._core_driver.now())

    @property
    def _core_driver(self) -> Driver:
        assert self._driver is not None, "a test engine attaches its clock when it opens"
        return self._driver

    async def advance(self, duration: Duration) -> None:
        """Moves time on, timer by timer; returns when all that became due is durable and no body
        can go on.

        Time does not move while an attempt runs: one that never ends makes this wait for ever.

        Raises:
            InvalidConfig: The duration is malformed, or leads past the year 9999.
        """
        until = self._core_driver.now() + to_us(duration, "duration")
        if until > LAST_US:
            raise InvalidConfig(
                f"duration={duration!r} leads past the year 9999, where Python's "
                f"dates end. It is {self.now()} now."
            )
        while True:
            await self.settled()
            core = self._core_driver.core
            timer = core.next_timer()
            if timer is None or timer > until:
                if core.now() < until:
                    core.advance(until)
                    await self.settled()
                return
            core.advance(timer)

    async def settled(self) -> None:
        """Waits until nothing happens any more without time moving on."""
        while True:
            self._stirred = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            driver = self._core_driver
            if driver.core.busy():
                await self._stirred.wait()
            elif not driver.borrowed.is_at_rest:
                await driver.attempt_ended()
            elif driver.borrowed.threads:
                await driver.borrowed.threads_are_back()  # and then something may come of that
            else:
                driver.borrowed.check()
                return

    @enable_ki_protection
    async def autojump(self) -> None:
        """Jumps to the next timer whenever everything has come to rest. Never returns."""
        while True:
            await self.settled()
            core = self._core_driver.core
            timer = core.next_timer()
            if timer is not None and timer > LAST_US:
                self._core_driver.stop(InvalidState(_NO_END))
            elif timer is not None and self._core_driver.may_jump:
                core.advance(timer)
            self._stirred = trio.Event()
            if not core.busy():
                await self._core_driver.next_news().wait()
