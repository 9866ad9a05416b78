"""How an engine drains: no more steps start, attempts that run have a grace, then every body is unwound (L14).

A task of the engine's own does it. Whoever asks for it only waits, and may give that up: what has begun comes to its end all the same,
for a half drained engine would neither go on nor tell anybody that it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._ending import End
from ._log import log
from ._unwinding import end_all

if TYPE_CHECKING:
    from ._driver import Driver

DRAINS = "the engine drains: no more steps start. Open a new engine on the same store to go on."
DRAINED = "the engine has drained, so nothing runs any more. Open a new engine on the same store to go on."


class Drain:
    """The one time that an engine drains.

    Attributes:
        grace: Scope of the wait for attempts that run; who cancels it, even before it all begins, has them waited for no longer.
    """

    def __init__(self, driver: Driver) -> None:
        self.grace = trio.CancelScope()
        self._driver = driver
        self._begun = trio.Event()
        self._over = trio.Event()

    def begin(self, grace: float) -> None:
        """Begins it, if nobody has; of several graces, in seconds, the one that is over first counts."""
        self.grace.deadline = min(self.grace.deadline, trio.current_time() + grace)
        if not self._begun.is_set():
            self._driver.draining = self._driver.observed = True
            self._driver.core.end_waiting()
            self._begun.set()

    async def wait(self) -> None:
        """Waits until it is over, or has failed, which stops the engine."""
        await self._over.wait()

    async def run(self) -> None:
        """Drains once that has begun."""
        await self._begun.wait()
        try:
            await self._run()
        finally:
            self._over.set()

    async def _run(self) -> None:
        driver = self._driver
        with self.grace:
            while driver.borrowed.attempts:
                await driver.next_progress()
        threads = driver.borrowed.threads
        if threads:
            names = ", ".join(str(thread) for thread in list(threads)[:5])
            log.warning("threads still run and cannot be stopped; what they return is discarded (%d: %s)", len(threads), names)
        await end_all(driver, End.DRAINED)
        driver.has_drained()
