"""How an instance pauses whose body runs: what is under way ends and is recorded, nothing begins,
and then the body is unwound (L3).

A body that was refused something while it was to pause has a task that never goes on. So if it is
resumed before it has left, it leaves all the same when what runs has ended, and begins again from
its history; one that asked for nothing meanwhile goes on as if nothing had been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._body import stopping
from .._ending import End
from .._operations import standing

if TYPE_CHECKING:
    from .._body.runner import Runner
    from .host import Host


async def pause(host: Host, runner: Runner) -> None:
    """Waits until nothing of a body runs, and unwinds it, unless it need not pause any more."""
    who = runner.who
    with host.borrowed.listening():
        while not runner.stopping and _goes_on(runner) and standing.runs(runner):
            await host.next_progress()
    if runner.stopping or not _goes_on(runner):
        return
    host.core.paused(who.no, who.incarnation)
    stopping.unwind(runner, End.PAUSED)


def _goes_on(runner: Runner) -> bool:
    """Whether it is still to leave."""
    return runner.is_pausing or runner.is_refused
