"""What is done anew when an instance goes on whose body raised the failures of its steps (R7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core import DO, OK
from .._replay import Recorded
from .._types import STATUSES, Status
from .answers import faults_in
from .look import Look

if TYPE_CHECKING:
    from .desk import Who
    from .host import Host

_BLOCKED = STATUSES.index(Status.BLOCKED)


async def at_fault(host: Host, who: Who) -> list[int]:
    """Returns the places of what is recorded of the steps that are at fault; none, if it is not
    blocked for such a thing. If others resume it meanwhile, these are places of what was: nothing
    is lost that came since."""
    core = host.core
    if core.peek(*who) != _BLOCKED:
        return []
    row = (await host.ask(core.find, *who, True)).data
    if row is None:
        return []
    look = Look._make(row)
    steps = {it for it in faults_in(look) if it[0] == DO}
    if look.reason != "body_failed" or not steps:
        return []
    found = (await host.ask(core.history, look.no)).data
    records = [] if found is None else [Recorded._make(it) for it in found[1]]
    steps -= {it.identity for it in records if it.verdict == OK}  # by hand, since then
    return [it.seq for it in records if it.identity in steps]
