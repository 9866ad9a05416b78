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
    core, who = host.core, runner.who
    with host.borrowed.listening():
        while _leaves(runner) and standing.runs(runner):
            await host.next_progress()
    # a crash, which only tests survive, has taken the body with its core
    if not _leaves(runner) or host.core is not core:
        return
    core.paused(who.no, who.incarnation)
    stopping.unwind(runner, End.PAUSED)


def _leaves(runner: Runner) -> bool:
    """Whether it is to leave, or has come to its end after it was refused something: that end is
    none, and what it had given up may still run."""
    return runner.stopping in (None, End.CANCELLED) and (runner.is_pausing or runner.is_refused)
