"""How an engine that closes, or crashes, ends what it has in memory: bodies, and attempts that
outlive them (P1).

All is cancelled, and waited for. What resists is ended after a while, its code unfinished, and said
in one error of the log; what stands where nothing can end it is left behind, and whoever closes the
engine is told. `_body.resisting` and `_body.asyncio_turns` do the ending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from .._body import diagnosis
from .._log import log

if TYPE_CHECKING:
    from .._body.life import Life
    from .._ending import End
    from .._errors import InvalidState
    from .host import Host

RESISTS_MAX = 4.0
"""Seconds that an engine which closes waits for code that resists (P1)."""
ENDS_MAX = 0.5
"""Seconds in which that is then ended, unfinished; it takes some rounds of trio's loop for each
nursery."""


async def end_all(host: Host, why: End) -> None:
    """Unwinds every body, and waits for them and for attempts that outlive them; what resists is
    ended, if that can be done.

    Also one that begins as another ends, of the same instance.
    """
    host.unwind_all(why)
    with trio.move_on_after(RESISTS_MAX):
        while not _only_resists(host):
            await host.next_progress()
            host.unwind_all(why)
    if not (host.runners or host.borrowed.attempts):
        return
    log.error(
        "%s",
        diagnosis.resist_the_end(
            list(host.runners.values()), host.resistance.attempts(), host.borrowed.attempts
        ),
    )
    if host.bridge is not None:
        host.bridge.forsake_unwanted()
    with trio.move_on_after(ENDS_MAX):
        while host.runners or host.borrowed.attempts:
            for runner in list(host.runners.values()):
                _end(host, runner)
            for task in host.resistance.attempts():
                host.resistance.end_attempt(task)
            await trio.sleep(0.001)
    host.left = [
        runner.task for runner in host.runners.values() if runner.task is not None
    ] + host.resistance.attempts()


def _only_resists(host: Host) -> bool:
    """Whether nothing is driven any more of what has not ended."""
    if not host.runners and host.borrowed.attempts and not host.resistance.attempts():
        return False
    return all(_resists(host, runner) for runner in host.runners.values()) and all(
        host.resistance.holds(task) for task in host.resistance.attempts()
    )


def _resists(host: Host, runner: Life) -> bool:
    turns: Any = runner.turns
    return host.resistance.holds(runner.task) if runner.loop is None else bool(turns.has_given_up)


def _end(host: Host, runner: Life) -> None:
    turns: Any = runner.turns
    if runner.loop is None:
        host.resistance.end_body(runner)
    else:
        turns.abandon()


def leave_behind(host: Host) -> InvalidState:
    """Hands back the instances of bodies that could not be ended. Returns what whoever closes the
    engine is told."""
    for runner in host.runners.values():
        if runner.stopping is not None and runner.stopping.is_for_later:
            host.core.release(runner.who.no, runner.who.incarnation)
    failure = diagnosis.cannot_be_ended(host.left)
    log.error("%s", failure)
    return failure
