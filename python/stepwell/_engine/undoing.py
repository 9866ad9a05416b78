"""How an instance comes to undo its steps (L8): what runs of its body ends first, and then another
life begins.

A body that is terminated so begins nothing any more. Its attempts are cancelled, threads are waited
for, and what all of them come to is recorded, as if the body had cancelled them (I8); then it is
unwound. One that has failed waits for threads that it had given up. Only after that does the core
hear of it. The instance is replayed, and when that has told what there is to undo it is undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._body import stopping
from .._ending import End
from .._operations import standing
from .._operations.step_operation import StepOperation

if TYPE_CHECKING:
    from .._body.runner import Runner
    from .host import Host


async def end_attempts(host: Host, runner: Runner) -> None:
    """Ends what runs of a body that is to leave, and begins nothing any more, and unwinds it."""
    for step in list(runner.delivery.open.values()):
        if isinstance(step, StepOperation) and step.live:
            _end(step)
    with host.borrowed.listening():
        while runner.stopping is None and standing.runs(runner, but_in_body=True):
            await host.next_progress()
    stopping.unwind(runner, End.UNDOES)


def _end(step: StepOperation) -> None:
    if step.is_in_body and step.thread is None:
        # The task of the body cannot leave it but by unwinding, of which nothing is recorded.
        if not step.number:
            step.announce()
    elif step.stays_open():
        step.give_up()


async def begin(host: Host, runner: Runner) -> None:
    """A body has left, whose instance is to undo its steps: tells the core, once no thread of it
    runs any more."""
    core, who = host.core, runner.who
    if await nothing_runs(host, runner):
        core.undoes(who.no, who.incarnation, runner.undoing_for)


async def nothing_runs(host: Host, runner: Runner) -> bool:
    """Waits until no attempt of a body runs any more that has left. Returns whether anything is to
    be said for it then: if the engine drains, its instance is handed back, and another life of it
    says that."""
    core, who = host.core, runner.who
    with host.borrowed.listening():
        while runner.rest.threads or runner.rest.winding:
            await host.next_progress()
            if host.core is not core:
                return False
    if host.draining:
        core.release(who.no, who.incarnation)
    return not host.draining
