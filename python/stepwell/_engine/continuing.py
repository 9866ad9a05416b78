"""How an instance comes to go on as new (L15): its body has left memory, what still runs of it
ends, and then the core hears of it.

So no attempt of one run is under way while the next one runs. Until that is durable the instance is
where it was: whoever replays it comes to the same place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._body.runner import TIME_LIMIT
from .._errors import CodecFailed
from .._log import log
from .._values.codec import codec
from .._values.failures import describe_body
from . import undoing

if TYPE_CHECKING:
    from .._body.runner import Runner
    from .host import Host


async def begin(host: Host, runner: Runner) -> None:
    """A body has left that goes on as new: tells the core, once nothing of it runs any more."""
    core, who = host.core, runner.who
    if not await undoing.nothing_runs(host, runner):
        return
    assert runner.delivery.renewals is not None, "it was unwound by one"
    (renewal,) = runner.delivery.renewals
    limit = None if who.workflow.timeout is None else TIME_LIMIT
    try:
        core.continue_as_new(
            who.no,
            who.incarnation,
            renewal.params,
            renewal.run,
            limit,
            renewal.untold,
            renewal.passed,
        )
    except CodecFailed as error:  # of the user's: the params stay with the body, which is replayed
        log.error("%s is blocked (body_failed): %s", who, error)
        core.block(who.no, who.incarnation, "body_failed", codec.encode(describe_body(error)), None)
