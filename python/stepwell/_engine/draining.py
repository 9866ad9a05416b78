"""How an engine drains: no more steps start, attempts that run have a grace, then every body is
unwound (L14).

A task of the engine's own does it. Whoever asks for it only waits, and may give that up: what has
begun comes to its end all the same, for a half drained engine would neither go on nor tell anybody
that it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._ending import End
from .._log import log
from .unwinding import end_all

if TYPE_CHECKING:
    from .host import Host

DRAINS = "the engine drains: no more steps start. Open a new engine on the same store to go on."
DRAINED = (
    "the engine has drained, so nothing runs any more. Open a new engine on the same store "
    "to go on."
)


class Drain:
    """The one time that an engine drains.

    Attributes:
        grace: Scope of the wait for attempts that run; who cancels it, even before it all begins,
            has them waited for no longer.
    """

    def __init__(self, host: Host) -> None:
        self.grace = trio.CancelScope()
        self._host = host
        self._begun = trio.Event()
        self._over = trio.Event()

    def begin(self, grace: float) -> None:
        """Begins it, if nobody has; of several graces, in seconds, the one that is over first
        counts."""
        self.grace.deadline = min(self.grace.deadline, trio.current_time() + grace)
        if not self._begun.is_set():
            self._host.draining = self._host.observed = True
            self._host.core.end_waiting()
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
        host = self._host
        with self.grace:
            while host.borrowed.attempts or host.is_putting:
                await host.next_progress()
        threads = host.borrowed.threads
        if threads:
            names = ", ".join(str(thread) for thread in list(threads)[:5])
            log.warning(
                "threads still run and cannot be stopped; what they return is discarded (%d: %s)",
                len(threads),
                names,
            )
        await end_all(host, End.DRAINED)
        host.has_drained()
